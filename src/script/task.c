/* task.c -- coroutines from a pool, parked and woken.
 *
 * Lua 5.4 lets a coroutine that ended well be used again, so a task keeps its own.  At
 * index 1 lies the task mark (a script that got hold of the coroutine cannot resume it),
 * above it the pins, then the function and its arguments, or its results.  A coroutine
 * that failed is dropped: a kill that raised leaves hooks switched off in it.
 *
 * A wait inside a coroutine of the script's own parks every coroutine between it and the
 * task: each yields the wait mark to the one outside, and waking goes the same way back
 * in.  The mark on top of a suspended coroutine is how resume tells such a one. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/task.h"

#include "base/mem.h"
#include "core/worker.h"

#include <stdlib.h>

struct tasks {
    struct task **at; /* by slot; owned */
    uint32_t len;
    struct task *free;    /* pool */
    struct task *running; /* innermost; NULL: none */
    bool chain_can_wait;  /* no C function between the running coroutine and the task */
};

/* Addresses that mark a stack. */
static const char task_mark = 't', wait_mark = 'w', dead_mark = 'd';

static void push_mark(lua_State *L, const char *mark) {
    lua_pushlightuserdata(L, (void *)(uintptr_t)mark); /* ..., mark */
}

/* ---- pool ---------------------------------------------------------------- */

static void coroutine_new(struct task *t) {
    lua_State *L = t->vm->L;
    t->co = lua_newthread(L);                   /* ..., co */
    t->co_ref = luaL_ref(L, LUA_REGISTRYINDEX); /* ... */
    push_mark(t->co, &task_mark);               /* co: mark */
    for (int i = 0; i < TASK_PINS; i++)         /* co: mark, pins */
        if (t->pins[i].ref)
            lua_rawgeti(t->co, LUA_REGISTRYINDEX, t->pins[i].ref);
        else
            lua_pushnil(t->co);
}

void task_pin(lua_State *L, struct task *t, int which) {
    struct pin *p = &t->pins[which];
    p->block = lua_touserdata(L, -1);
    p->ref = luaL_ref(L, LUA_REGISTRYINDEX);       /* takes it */
    lua_rawgeti(t->co, LUA_REGISTRYINDEX, p->ref); /* co: mark, pins, pin */
    lua_replace(t->co, TASK_PIN(which));           /* co: mark, pins */
}

static void coroutine_drop(struct task *t) {
    luaL_unref(t->vm->L, LUA_REGISTRYINDEX, t->co_ref);
}

static struct task *task_new(struct vm *vm) {
    struct tasks *all = vm->tasks;
    struct task *t = xcalloc(1, sizeof *t);
    t->vm = vm;
    t->slot = all->len;
    t->gen = 1;
    all->at = xrealloc(all->at, (all->len + 1) * sizeof *all->at);
    all->at[all->len++] = t;
    coroutine_new(t);
    return t;
}

struct task *task_get(struct vm *vm) {
    struct task *t = vm->tasks->free;
    if (t)
        vm->tasks->free = t->next;
    else
        t = task_new(vm);
    t->is_used = true;
    t->may_wait = true;
    t->hops = 0;
    return t;
}

static void next_gen(struct task *t) {
    if (++t->gen == 0) t->gen = 1;
}

/* The present wait will not end by task_wake. */
static void wait_void(struct task *t) {
    task_cancel_fn *cancel = t->cancel;
    next_gen(t);
    t->is_waiting = t->is_parked = false;
    t->cancel = NULL;
    if (cancel) cancel(t->cancel_obj);
}

/* Runs the pending <close> variables; they may not wait.  A kill that had to raise (inside
 * table.sort, say) left hooks off in the coroutine: nothing could end an endless <close>
 * handler there, so those do not run. */
static void coroutine_close(struct task *t) {
    struct task *outer = t->vm->tasks->running;
    if (t->is_killed && lua_status(t->co) != LUA_YIELD) return;
    bool was_running = t->is_running;
    t->vm->tasks->running = NULL;
    t->is_running = true; /* a <close> handler may end the very call this task serves */
    vm_reset_thread(t->vm, t->co);
    t->is_running = was_running;
    t->vm->tasks->running = outer;
}

void task_reset(struct task *t) {
    bool was = vm_uncap(t->vm);
    if (t->is_waiting || t->is_parked) wait_void(t);
    if (lua_status(t->co) != LUA_OK) {
        coroutine_close(t);
        coroutine_drop(t);
        coroutine_new(t);
    }
    lua_settop(t->co, TASK_FIRST - 1);
    t->vm->is_capped = was;
}

void task_put(struct task *t) {
    struct tasks *all = t->vm->tasks;
    if (t->vm->worker) loop_cancel(t->vm->worker->loop, &t->limit);
    task_reset(t);
    t->is_used = false;
    t->woken = NULL;
    t->waking = NULL;
    t->obj = NULL;
    t->next = all->free;
    all->free = t;
}

/* ---- running ------------------------------------------------------------- */

enum task_status task_start(struct task *t, int nargs) {
    struct tasks *all = t->vm->tasks;
    struct task *outer = all->running;
    bool could = all->chain_can_wait;

    all->running = t;
    all->chain_can_wait = true;
    t->is_running = true;
    t->status = vm_resume(t->co, nargs, &t->top, &t->is_killed);
    t->is_running = false;
    all->running = outer;
    all->chain_can_wait = could;

    if (t->status == LUA_YIELD && !t->is_killed) {
        must(t->is_waiting); /* lib_coroutine.c refuses a plain yield here */
        t->is_waiting = false;
        t->is_parked = true;
        t->parked_ms = loop_now_ms(t->vm->worker->loop);
        return TASK_PARKED;
    }
    if (t->is_waiting) wait_void(t); /* it raised between task_wait and task_park */
    return t->is_killed || t->status != LUA_OK ? TASK_FAILED : TASK_DONE;
}

void task_push_error(lua_State *L, const struct task *t) {
    vm_push_error(L, t->co, t->status, t->is_killed);
}

struct task *task_running(const struct vm *vm) {
    return vm->tasks->running;
}

void tasks_each(struct vm *vm, void (*fn)(struct task *t, void *obj), void *obj) {
    for (uint32_t i = 0; i < vm->tasks->len; i++)
        if (vm->tasks->at[i]->is_used) fn(vm->tasks->at[i], obj);
}

void tasks_init(struct vm *vm) {
    vm->tasks = xcalloc(1, sizeof *vm->tasks);
}

void tasks_deinit(struct vm *vm) {
    struct tasks *all = vm->tasks;
    if (!all) return;
    for (uint32_t i = 0; i < all->len; i++) {
        must(!all->at[i]->is_used);
        closure_deinit(&all->at[i]->sleep.closure);
        closure_deinit(&all->at[i]->limit.closure);
        free(all->at[i]);
    }
    free(all->at);
    free(all);
    vm->tasks = NULL;
}

/* ---- waiting ------------------------------------------------------------- */

struct wait task_wait(lua_State *L, task_cancel_fn *cancel, void *obj) {
    struct vm *vm = vm_of(L);
    struct task *t = vm->tasks->running;
    if (!vm->worker) luaL_error(L, "cannot wait while the policy is loaded");
    if (!t || !t->may_wait) luaL_error(L, "cannot wait here");
    if (!vm->tasks->chain_can_wait || !lua_isyieldable(L))
        luaL_error(L, "cannot wait inside a function that C calls "
                      "(table.sort, string.gsub, __tostring ...)");
    must(!t->is_waiting && !t->is_parked);
    next_gen(t);
    t->is_waiting = true;
    t->cancel = cancel;
    t->cancel_obj = obj;
    return (struct wait){ t->slot, t->gen };
}

bool task_can_wait(lua_State *L) {
    struct vm *vm = vm_of(L);
    struct task *t = vm->tasks->running;
    return vm->worker && t && t->may_wait && vm->tasks->chain_can_wait && lua_isyieldable(L);
}

int task_park(lua_State *L) {
    struct task *t = vm_of(L)->tasks->running;
    must(t && t->is_waiting);
    t->waiter = L;
    push_mark(L, &wait_mark);
    return lua_yield(L, 1);
}

bool task_wake(struct vm *vm, struct wait w, task_push_fn *push, void *obj) {
    if (!vm->L || w.slot >= vm->tasks->len) return false;
    struct task *t = vm->tasks->at[w.slot];
    if (t->gen != w.gen || !t->is_parked) return false;
    next_gen(t); /* this wait cannot fire twice */
    t->is_parked = false;
    t->cancel = NULL;

    bool was = vm_uncap(vm);
    lua_State *L = t->waiter;
    lua_pop(L, 1); /* the mark */
    must(lua_checkstack(L, 16));
    t->wake_results = push(L, obj);
    if (L != t->co) lua_pop(t->co, 1); /* its mark */
    vm->is_capped = was;

    if (t->waking) t->waking(t);
    enum task_status status = task_start(t, L == t->co ? t->wake_results : 0);
    t->woken(t, status);
    return true;
}

/* ---- coroutines inside a task ---------------------------------------------- */

static bool has_mark(lua_State *co, int index, const char *mark) {
    return lua_islightuserdata(co, index) && lua_touserdata(co, index) == mark;
}

bool task_holds(lua_State *co) {
    lua_Debug ar;
    if (lua_status(co) == LUA_YIELD) return lua_gettop(co) > 0 && has_mark(co, -1, &wait_mark);
    return lua_status(co) == LUA_OK && !lua_getstack(co, 0, &ar) && lua_gettop(co) > 0 &&
           has_mark(co, 1, &task_mark);
}

int task_run_inner(lua_State *L, lua_State *co, int nargs, int *nresults, bool *killed,
                   bool *waits) {
    struct vm *vm = vm_of(L);
    struct tasks *all = vm->tasks;
    bool could = all->chain_can_wait;

    if (nargs == TASK_WOKEN) {
        bool is_waiter = all->running->waiter == co;
        if (!is_waiter) lua_pop(co, 1); /* its mark */
        nargs = is_waiter ? all->running->wake_results : 0;
    }
    all->chain_can_wait = could && lua_isyieldable(L);
    int status = vm_resume(co, nargs, nresults, killed);
    all->chain_can_wait = could;
    *waits = status == LUA_YIELD && !*killed && task_holds(co);
    if (*killed && status > LUA_YIELD) push_mark(co, &dead_mark);
    return status;
}

bool task_killed(lua_State *co) {
    return lua_status(co) > LUA_YIELD && has_mark(co, -1, &dead_mark);
}

int task_park_outer(lua_State *L, lua_KContext ctx, lua_KFunction k) {
    push_mark(L, &wait_mark);
    return lua_yieldk(L, 1, ctx, k);
}
