/* lib_wait.c -- one wait of one task, ended by a script or a clock.
 *
 * The primitive under sol.semaphore, sol.once and what else waits for another part of the
 * policy (lua/sol/): a waiter is waited for once and woken once, in either order.  The
 * task goes on at the end of the loop's turn, never inside the one that woke it: a row of
 * tasks that wake one another needs no deep stack. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib_wait.h"

#include "core/worker.h"
#include "script/lib.h"
#include "script/object.h"
#include "script/task.h"

#define VALUES_MAX 15 /* handed from wake to wait: a wait gives at most 16 */

struct waiter {
    struct vm *vm;      /* lent */
    struct wait wait;   /* while WAITING, and WOKEN with `has_task` */
    struct timer limit; /* of the wait */
    struct deferred go; /* listed once woken */
    int self_ref;       /* registry: the userdata, while `has_task` */
    bool has_task;      /* a task is parked here */
    enum { FRESH, WAITING, WOKEN, OVER } state;
};

enum { VALUE_VALUES = 1, USER_VALUES = VALUE_VALUES };

static const struct object_type waiter_type;

/* The task has gone on, or will not. */
static void detach(struct waiter *w) {
    struct loop *loop = w->vm->worker->loop;
    w->state = OVER;
    if (!w->has_task) return;
    w->has_task = false;
    loop_cancel(loop, &w->limit);
    loop_undefer(&w->go);
    luaL_unref(w->vm->L, LUA_REGISTRYINDEX, w->self_ref);
}

/* Pushes true and the values given to wake. [-0, +n, m] */
static int push_woken(lua_State *L, int waiter) {
    waiter = lua_absindex(L, waiter);
    int at = lua_gettop(L);
    lua_pushboolean(L, 1);                                          /* true */
    if (lua_getiuservalue(L, waiter, VALUE_VALUES) != LUA_TTABLE) { /* true, values */
        lua_pop(L, 1);                                              /* true */
        return 1;
    }
    int values = lua_gettop(L);
    lua_getfield(L, values, "n"); /* true, values, n */
    lua_Integer n = lua_tointeger(L, -1);
    lua_pop(L, 1);                                                  /* true, values */
    for (lua_Integer i = 1; i <= n; i++) lua_rawgeti(L, values, i); /* true, values, ... */
    lua_remove(L, values);                                          /* true, ... */
    return lua_gettop(L) - at;
}

static int push_values(lua_State *L, void *obj) {
    struct waiter *w = obj;
    int at = lua_gettop(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, w->self_ref); /* waiter */
    push_woken(L, -1);                              /* waiter, values */
    lua_remove(L, at + 1);                          /* values */
    detach(w);
    return lua_gettop(L) - at;
}

static int push_false(lua_State *L, void *obj) {
    detach(obj);
    lua_pushboolean(L, 0); /* false */
    return 1;
}

static void on_go(struct closure *self, unsigned loop_events) {
    struct waiter *w = self->obj;
    (void)loop_events;
    task_wake(w->vm, w->wait, push_values, w);
}

static void on_limit(struct closure *self, unsigned loop_events) {
    struct waiter *w = self->obj;
    (void)loop_events;
    task_wake(w->vm, w->wait, push_false, w);
}

static void on_cancel(void *obj) {
    detach(obj);
}

/* waiter:wait([seconds]): true and what wake was given, or false when the time is up. */
static int l_wait(lua_State *L) {
    struct waiter *w = object_check(L, 1, &waiter_type);
    lua_Number seconds = luaL_optnumber(L, 2, -1);
    struct vm *vm = vm_of(L);
    lua_settop(L, 1);
    if (w->state == WOKEN && !w->has_task) {
        w->state = OVER;
        return push_woken(L, 1); /* waiter, true, values */
    }
    if (w->state != FRESH) return luaL_error(L, "this waiter has been waited for");
    if (seconds == 0) {
        w->state = OVER;
        lua_pushboolean(L, 0); /* waiter, false */
        return 1;
    }
    w->wait = task_wait(L, on_cancel, w);
    bool was = vm_uncap(vm); /* nothing may raise any more */
    w->self_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    w->has_task = true;
    w->state = WAITING;
    if (seconds > 0) {
        uint64_t now = (loop_clock_refresh(vm->worker->loop) + 999999) / 1000000;
        uint64_t ms = seconds < 4e9 ? (uint64_t)(seconds * 1000 + 0.5) : UINT64_C(4000000000000);
        w->limit.closure = (struct closure){ .fn = on_limit, .obj = w, .name = "wait time-out" };
        loop_arm(vm->worker->loop, &w->limit, now + ms);
    }
    vm->is_capped = was;
    return task_park(L);
}

/* waiter:wake(...): true; false when it has been woken, has timed out or was cancelled. */
static int l_wake(lua_State *L) {
    struct waiter *w = object_check(L, 1, &waiter_type);
    int n = lua_gettop(L) - 1;
    bool is_first = w->state == FRESH || w->state == WAITING;
    luaL_argcheck(L, n <= VALUES_MAX, n, "too many values");
    if (is_first) {
        lua_createtable(L, n, 1); /* waiter, values, table */
        for (int i = 1; i <= n; i++) {
            lua_pushvalue(L, i + 1); /* waiter, values, table, value */
            lua_rawseti(L, -2, i);   /* waiter, values, table */
        }
        lua_pushinteger(L, n);                 /* waiter, values, table, n */
        lua_setfield(L, -2, "n");              /* waiter, values, table */
        lua_setiuservalue(L, 1, VALUE_VALUES); /* waiter, values */
        w->state = WOKEN;
    }
    if (is_first && w->has_task) {
        w->go.closure = (struct closure){ .fn = on_go, .obj = w, .name = "wait over" };
        loop_cancel(w->vm->worker->loop, &w->limit);
        loop_defer(w->vm->worker->loop, &w->go);
    }
    lua_pushboolean(L, is_first); /* ..., first */
    return 1;
}

static int waiter_gc(lua_State *L) {
    struct waiter *w = lua_touserdata(L, 1);
    if (w->vm && w->vm->worker) loop_cancel(w->vm->worker->loop, &w->limit);
    loop_undefer(&w->go);
    closure_deinit(&w->limit.closure);
    closure_deinit(&w->go.closure);
    return 0;
}

static const struct field no_fields[] = { { NULL, NULL, NULL } };

static const luaL_Reg waiter_methods[] = {
    { "wait", l_wait },
    { "wake", l_wake },
    { NULL, NULL },
};

static const struct object_type waiter_type = {
    .name = "waiter",
    .fields = no_fields,
    .methods = waiter_methods,
    .gc = waiter_gc,
};

static int l_waiter(lua_State *L) {
    struct waiter *w = object_new(L, &waiter_type, sizeof *w, USER_VALUES); /* waiter */
    w->vm = vm_of(L);
    return 1;
}

static int l_can_wait(lua_State *L) {
    lua_pushboolean(L, task_can_wait(L)); /* answer */
    return 1;
}

static int l_is_loading(lua_State *L) {
    lua_pushboolean(L, vm_of(L)->worker == NULL); /* answer */
    return 1;
}

static const luaL_Reg functions[] = {
    { "waiter", l_waiter },
    { "can_wait", l_can_wait },
    { "is_loading", l_is_loading },
    { NULL, NULL },
};

void lib_wait_add(lua_State *L) {
    object_register(L, &waiter_type);
    luaL_setfuncs(L, functions, 0); /* native */
}
