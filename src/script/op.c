/* op.c -- waits with a time-out that belong to an object. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/op.h"

#include "core/worker.h"

static void op_off(struct op *op) {
    op->is_on = false;
    loop_cancel(op->vm->worker->loop, &op->timer);
    closure_deinit(&op->timer.closure);
}

static void on_cancel(void *obj) {
    struct op *op = obj;
    op_off(op);
    op->cancelled(op->obj);
}

static void on_time(struct closure *self, unsigned events) {
    struct op *op = self->obj;
    (void)events;
    if (!op->why) op->why = "timeout";
    op_wake(op);
}

void op_begin(lua_State *L, struct op *op, uint64_t ms) {
    op->vm = vm_of(L);
    op->wait = task_wait(L, on_cancel, op);
    op->is_on = true;
    op->timer.closure = (struct closure){ .fn = on_time, .obj = op, .name = "wait" };
    struct loop *loop = op->vm->worker->loop;
    loop_arm(loop, &op->timer, loop_now_ms(loop) + ms);
}

void op_wake(struct op *op) {
    op_off(op);
    task_wake(op->vm, op->wait, op->push, op->obj);
}

void op_fail(struct op *op, const char *why) {
    if (!op->is_on) return;
    op->why = why;
    loop_arm(op->vm->worker->loop, &op->timer, 0);
}

void op_check_free(lua_State *L, const struct op *op, const char *doing) {
    if (op->is_on) luaL_error(L, "another coroutine is %s", doing);
}
