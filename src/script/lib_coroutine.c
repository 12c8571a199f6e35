/* lib_coroutine.c -- Lua's coroutine library, for scripts that may be killed and parked.
 *
 * As the manual says, but every resume goes through task.c: the budget reaches into a
 * script's own coroutines, and a wait inside one parks the whole task without the outer
 * coroutines noticing.  A coroutine that waits, or that belongs to a task, cannot be
 * resumed or closed by anyone else. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "script/task.h"

#include <lauxlib.h>

/* Coroutines being closed, nested: each has a budget of its own. */
#define CLOSE_DEPTH_MAX 10

static lua_State *check_coroutine(lua_State *L) {
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "coroutine");
    return co;
}

/* ---- status -------------------------------------------------------------- */

enum co_status { CO_RUNNING, CO_DEAD, CO_SUSPENDED, CO_NORMAL };

static enum co_status status_of(lua_State *L, lua_State *co) {
    lua_Debug ar;
    if (L == co) return CO_RUNNING;
    if (lua_status(co) == LUA_YIELD) return CO_SUSPENDED;
    if (lua_status(co) != LUA_OK) return CO_DEAD;
    if (lua_getstack(co, 0, &ar)) return CO_NORMAL;
    return lua_gettop(co) == 0 || task_holds(co) ? CO_DEAD : CO_SUSPENDED;
}

static int l_status(lua_State *L) {
    static const char *const names[] = { "running", "dead", "suspended", "normal" };
    lua_pushstring(L, names[status_of(L, check_coroutine(L))]); /* co, status */
    return 1;
}

static int l_isyieldable(lua_State *L) {
    lua_State *co = lua_isnone(L, 1) ? L : check_coroutine(L);
    struct task *t = task_running(vm_of(L));
    lua_pushboolean(L, lua_isyieldable(co) && !(t && t->co == co)); /* ..., answer */
    return 1;
}

static int l_running(lua_State *L) {
    struct task *t = task_running(vm_of(L));
    int is_main = lua_pushthread(L);                  /* co */
    lua_pushboolean(L, is_main || (t && t->co == L)); /* co, main */
    return 2;
}

/* ---- resume -------------------------------------------------------------- */

/* How a resume ended. */
enum outcome { RESUMED, RAISED, WAITS };

/* Moves the results, or the error, of a resume from `co` to `L`. [-0, +*n, e] */
static enum outcome take(lua_State *L, lua_State *co, int status, int nresults, bool killed,
                         int *n) {
    if (killed) luaL_error(L, "ran past its budget of %d ms", (int)vm_of(L)->clock.budget_ms);
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_xmove(co, L, 1); /* ..., error */
        *n = 1;
        return RAISED;
    }
    if (status == LUA_OK) nresults = lua_gettop(co);
    if (!lua_checkstack(L, nresults + 1)) {
        lua_pop(co, nresults);
        lua_pushliteral(L, "too many results to resume"); /* ..., error */
        *n = 1;
        return RAISED;
    }
    lua_xmove(co, L, nresults); /* ..., results */
    *n = nresults;
    return RESUMED;
}

static enum outcome drive(lua_State *L, lua_State *co, int nargs, int *n) {
    bool killed, waits;
    int nresults;
    int status = task_run_inner(L, co, nargs, &nresults, &killed, &waits);
    if (waits) return WAITS;
    return take(L, co, status, nresults, killed, n);
}

/* Checks that `co` may be resumed and gives it the values above `base` on `L`; otherwise
 * pushes what is wrong and says false. [-args, +0|1, -] */
static bool give_args(lua_State *L, lua_State *co, int nargs) {
    enum co_status status = status_of(L, co);
    if (status == CO_DEAD) {
        lua_pushliteral(L, "cannot resume dead coroutine");
    } else if (status != CO_SUSPENDED) {
        lua_pushliteral(L, "cannot resume non-suspended coroutine");
    } else if (task_holds(co)) {
        lua_pushliteral(L, "cannot resume a coroutine that waits");
    } else if (!lua_checkstack(co, nargs)) {
        lua_pushliteral(L, "too many arguments to resume");
    } else {
        lua_xmove(L, co, nargs);
        return true;
    }
    return false;
}

static int finish_resume(lua_State *L, enum outcome outcome, int n) {
    lua_pushboolean(L, outcome == RESUMED); /* ..., results, ok */
    lua_insert(L, -(n + 1));                /* ..., ok, results */
    return n + 1;
}

static int resume_k(lua_State *L, int status, lua_KContext ctx) {
    int n = 0;
    (void)status;
    enum outcome outcome = drive(L, lua_tothread(L, 1), TASK_WOKEN, &n);
    if (outcome == WAITS) return task_park_outer(L, ctx, resume_k);
    return finish_resume(L, outcome, n);
}

static int l_resume(lua_State *L) {
    lua_State *co = check_coroutine(L);
    int nargs = lua_gettop(L) - 1, n = 1;
    if (!give_args(L, co, nargs)) return finish_resume(L, RAISED, n);
    enum outcome outcome = drive(L, co, nargs, &n); /* co, results */
    if (outcome == WAITS) return task_park_outer(L, 0, resume_k);
    return finish_resume(L, outcome, n);
}

/* ---- wrap ---------------------------------------------------------------- */

/* The error on top goes on, with the place of the call before a text. */
static int raise_wrapped(lua_State *L, lua_State *co) {
    if (lua_status(co) > LUA_YIELD && !task_killed(co)) {
        if (vm_reset_thread(vm_of(L), co) != LUA_OK) {
            lua_xmove(co, L, 1); /* ..., error, error in closing */
            lua_remove(L, -2);   /* ..., error */
        }
    }
    if (lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);  /* ..., error, place */
        lua_insert(L, -2); /* ..., place, error */
        lua_concat(L, 2);  /* ..., error */
    }
    return lua_error(L);
}

static int wrap_k(lua_State *L, int status, lua_KContext ctx) {
    int n = 0;
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    (void)status;
    enum outcome outcome = drive(L, co, TASK_WOKEN, &n);
    if (outcome == WAITS) return task_park_outer(L, ctx, wrap_k);
    return outcome == RAISED ? raise_wrapped(L, co) : n;
}

static int wrapped(lua_State *L) {
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    int nargs = lua_gettop(L), n = 0;
    if (!give_args(L, co, nargs)) return raise_wrapped(L, co);
    enum outcome outcome = drive(L, co, nargs, &n);
    if (outcome == WAITS) return task_park_outer(L, 0, wrap_k);
    return outcome == RAISED ? raise_wrapped(L, co) : n;
}

static int l_create(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L); /* fn, ..., co */
    lua_pushvalue(L, 1);              /* fn, ..., co, fn */
    lua_xmove(L, co, 1);              /* fn, ..., co */
    return 1;
}

static int l_wrap(lua_State *L) {
    l_create(L);                     /* fn, ..., co */
    lua_pushcclosure(L, wrapped, 1); /* fn, ..., wrapped */
    return 1;
}

/* ---- yield, close ---------------------------------------------------------- */

static int l_yield(lua_State *L) {
    struct task *t = task_running(vm_of(L));
    if (t && t->co == L) return luaL_error(L, "attempt to yield from outside a coroutine");
    return lua_yield(L, lua_gettop(L));
}

/* [-0, +1|2, e] */
static int close_suspended(lua_State *L, lua_State *co) {
    struct vm *vm = vm_of(L);
    if (vm->close_depth >= CLOSE_DEPTH_MAX) return luaL_error(L, "too many nested closes");
    vm->close_depth++;
    int status = vm_reset_thread(vm, co);
    vm->close_depth--;
    lua_pushboolean(L, status == LUA_OK); /* ..., ok */
    if (status == LUA_OK) return 1;
    lua_xmove(co, L, 1); /* ..., ok, error */
    return 2;
}

static int l_close(lua_State *L) {
    lua_State *co = check_coroutine(L);
    enum co_status status = status_of(L, co);
    if (status != CO_DEAD && status != CO_SUSPENDED)
        return luaL_error(L, "cannot close a %s coroutine",
                          status == CO_RUNNING ? "running" : "normal");
    if (task_holds(co)) return luaL_error(L, "cannot close a coroutine that waits");
    if (task_killed(co)) {
        lua_pushboolean(L, 0);                     /* co, false */
        lua_pushliteral(L, "ran past its budget"); /* co, false, error */
        return 2;
    }
    return close_suspended(L, co);
}

static const luaL_Reg functions[] = {
    { "close", l_close },   { "create", l_create },   { "isyieldable", l_isyieldable },
    { "resume", l_resume }, { "running", l_running }, { "status", l_status },
    { "wrap", l_wrap },     { "yield", l_yield },     { NULL, NULL },
};

int luaopen_sol_coroutine(lua_State *L) {
    luaL_newlib(L, functions); /* coroutine */
    return 1;
}
