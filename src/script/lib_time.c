/* lib_time.c -- sol.now, time, sleep, after, every, spawn.
 *
 * A timer belongs to its script's list until it has fired for the last time; the
 * userdata scripts hold and the timer point at each other, and either may go first.
 * What a timer or sol.spawn runs is a task of its own without a time limit: it fails
 * alone, in the log.  `every` keeps its rhythm and leaves out a beat rather than run
 * twice at once.  A timer made while the policy is loaded, by every worker that is, runs on
 * the first one alone unless it says otherwise. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib_time.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/worker.h"
#include "script/invoke.h"
#include "script/lib.h"
#include "script/object.h"
#include "script/script.h"
#include "script/task.h"

#include <stdlib.h>

#define SECONDS_MAX 4.0e9 /* of a sleep or timer: over a century */

struct script_timer {
    struct timer timer;
    struct script *script;             /* lent */
    struct timer_box *box;             /* lent: the userdata's block; NULL once collected */
    int fn_ref;                        /* registry reference */
    uint64_t delay_ms;                 /* until the first time, while it is not armed */
    uint64_t period_ms;                /* every; 0: once */
    bool is_busy;                      /* its function runs or waits */
    bool is_over;                      /* goes when it is no longer busy */
    bool is_elsewhere;                 /* runs on the first worker, and this is another */
    char *name;                        /* owned: "sol.every (file:line)" */
    struct script_timer *next, **link; /* script->timers */
};

struct timer_box {
    struct script_timer *timer; /* lent; NULL: it has gone */
};

static const struct object_type timer_type;

static uint64_t check_ms(lua_State *L, int arg) {
    lua_Number s = luaL_checknumber(L, arg);
    luaL_argcheck(L, s >= 0 && s <= SECONDS_MAX, arg, "expected seconds, 0 or more");
    return (uint64_t)(s * 1000 + 0.5);
}

/* ---- tasks of their own -------------------------------------------------------------- */

static void log_task_error(struct vm *vm, const struct task *t, const char *what) {
    task_push_error(vm->L, t); /* text */
    vm->failures++;
    log_error(vm->log, "policy", "%s failed: %s", what, lua_tostring(vm->L, -1));
    lua_pop(vm->L, 1); /* */
}

static void timer_done(struct script_timer *t);

/* A timer's or spawned task took a step.  Its obj is the timer, NULL for spawn. */
static void task_stepped(struct task *t, enum task_status status) {
    struct vm *vm = t->vm;
    struct script_timer *timer = t->obj;
    bool was = vm_uncap(vm);
    if (status == TASK_FAILED) log_task_error(vm, t, t->name);
    if (status != TASK_PARKED) {
        task_put(t);
        if (timer) timer_done(timer);
    }
    vm->is_capped = was;
}

static void launch(struct task *t, const char *name, int nargs, struct script_timer *timer) {
    t->woken = task_stepped;
    t->obj = timer;
    t->name = name;
    task_stepped(t, task_start(t, nargs));
}

void task_launch(struct task *t, const char *name, int nargs) {
    launch(t, name, nargs, NULL);
}

/* ---- timers ----------------------------------------------------------------------------- */

static void timer_free(struct script_timer *t) {
    struct vm *vm = t->script->vm;
    if (vm->worker) loop_cancel(vm->worker->loop, &t->timer);
    if (t->box) t->box->timer = NULL;
    luaL_unref(vm->L, LUA_REGISTRYINDEX, t->fn_ref);
    *t->link = t->next;
    if (t->next) t->next->link = t->link;
    closure_deinit(&t->timer.closure);
    free(t->name);
    free(t);
}

static void timer_done(struct script_timer *t) {
    t->is_busy = false;
    if (t->is_over) timer_free(t);
}

static void timer_fire(struct closure *self, unsigned loop_events) {
    struct script_timer *t = self->obj;
    struct vm *vm = t->script->vm;
    struct loop *loop = vm->worker->loop;
    uint64_t now = loop_now_ms(loop);
    (void)loop_events;
    if (t->period_ms == 0) {
        t->is_over = true;
    } else {
        uint64_t due = t->timer.deadline_ms + t->period_ms;
        loop_arm(loop, &t->timer, due > now ? due : now + t->period_ms);
    }
    if (t->is_busy) return;
    t->is_busy = true;
    struct task *task = task_get(vm);
    lua_rawgeti(task->co, LUA_REGISTRYINDEX, t->fn_ref); /* mark, fn */
    launch(task, t->name, 0, t);
}

static void timer_start(struct script_timer *t) {
    struct worker *w = t->script->vm->worker;
    if (w && !t->is_elsewhere) loop_arm(w->loop, &t->timer, loop_now_ms(w->loop) + t->delay_ms);
}

/* The option table at index 3, or nothing: is it for each worker? [-0, +0, v] */
static bool check_each_worker(lua_State *L, const char *what) {
    bool each = false;
    if (lua_isnoneornil(L, 3)) return false;
    luaL_checktype(L, 3, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, 3); lua_pop(L, 1)) { /* s, fn, options, name, value */
        if (!slice_eq(vm_to_slice(L, -2), SLICE("each_worker")) || !lua_isboolean(L, -1)) {
            const char *name = luaL_tolstring(L, -2, NULL);
            luaL_error(L, "%s: expected each_worker = true or false, got %s", what, name);
        }
        each = lua_toboolean(L, -1);
    }
    return each;
}

static char *timer_name(lua_State *L, const char *what, int fn) {
    lua_Debug ar;
    char text[LUA_IDSIZE + 48];
    lua_pushvalue(L, fn);      /* ..., fn */
    lua_getinfo(L, ">S", &ar); /* ... */
    snprintf(text, sizeof text, "%s %s:%d", what, ar.short_src, ar.linedefined);
    return xstrdup(text);
}

static int timer_new(lua_State *L, const char *what, bool repeats) {
    struct script *s = script_of(L);
    uint64_t ms = check_ms(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    luaL_argcheck(L, !repeats || ms > 0, 1, "expected at least 0.001 seconds");
    bool each_worker = check_each_worker(L, what);
    lua_settop(L, 2);
    struct timer_box *box = object_new(L, &timer_type, sizeof *box, 0); /* s, fn, timer */
    lua_pushvalue(L, 2);                                                /* s, fn, timer, fn */
    int ref = luaL_ref(L, LUA_REGISTRYINDEX);                           /* s, fn, timer */
    struct script_timer *t = xcalloc(1, sizeof *t);
    box->timer = t;
    t->box = box;
    t->script = s;
    t->fn_ref = ref;
    t->delay_ms = ms;
    t->period_ms = repeats ? ms : 0;
    t->name = timer_name(L, what, 2);
    t->is_elsewhere = s->is_loading && !s->is_first && !each_worker;
    t->timer.closure = (struct closure){ .fn = timer_fire, .obj = t, .name = t->name };
    t->next = s->timers;
    t->link = &s->timers;
    if (t->next) t->next->link = &t->next;
    s->timers = t;
    timer_start(t);
    return 1;
}

static void timer_end(struct script_timer *t) {
    struct worker *w = t->script->vm->worker;
    if (w) loop_cancel(w->loop, &t->timer);
    t->is_over = true;
    if (!t->is_busy) timer_free(t);
}

void timers_attach(struct script *s) {
    for (struct script_timer *t = s->timers; t; t = t->next) timer_start(t);
}

void timers_push(lua_State *L, const struct script *s) {
    uint64_t now = s->vm->worker ? loop_now_ms(s->vm->worker->loop) : 0;
    lua_Integer n = 0;
    lua_newtable(L); /* list */
    for (const struct script_timer *t = s->timers; t; t = t->next) {
        if (t->is_elsewhere) continue;
        lua_createtable(L, 0, 4);       /* list, row */
        lua_pushstring(L, t->name);     /* list, row, name */
        lua_setfield(L, -2, "name");    /* list, row */
        lua_pushboolean(L, t->is_busy); /* list, row, busy */
        lua_setfield(L, -2, "busy");    /* list, row */
        if (timer_armed(&t->timer)) {
            lua_pushnumber(L, ((lua_Number)t->timer.deadline_ms - (lua_Number)now) / 1000);
            lua_setfield(L, -2, "due"); /* list, row */
        }
        if (t->period_ms) {
            lua_pushnumber(L, (lua_Number)t->period_ms / 1000); /* list, row, seconds */
            lua_setfield(L, -2, "period");                      /* list, row */
        }
        lua_rawseti(L, -2, ++n); /* list */
    }
}

static void end_task(struct task *t, void *obj) {
    (void)obj;
    if (t->woken == task_stepped) task_put(t);
}

void timers_retire(struct script *s) {
    tasks_each(s->vm, end_task, NULL);
    while (s->timers) timer_free(s->timers);
}

static int timer_cancel(lua_State *L) {
    struct timer_box *box = object_check(L, 1, &timer_type);
    lua_pushboolean(L, box->timer && !box->timer->is_over); /* timer, was active */
    if (box->timer && !box->timer->is_over) timer_end(box->timer);
    return 1;
}

static int timer_gc(lua_State *L) {
    struct timer_box *box = lua_touserdata(L, 1);
    if (box->timer) box->timer->box = NULL;
    return 0;
}

static void *resolve(lua_State *L, void *block) {
    (void)L;
    return block;
}

static void get_active(lua_State *L, void *obj) {
    struct script_timer *t = ((struct timer_box *)obj)->timer;
    lua_pushboolean(L, t && !t->is_over);
}

static const struct field timer_fields[] = {
    { "active", get_active, NULL },
    { NULL, NULL, NULL },
};

static const luaL_Reg timer_methods[] = {
    { "cancel", timer_cancel },
    { NULL, NULL },
};

static const struct object_type timer_type = {
    .name = "timer",
    .fields = timer_fields,
    .methods = timer_methods,
    .resolve = resolve,
    .gc = timer_gc,
};

/* ---- sleep -------------------------------------------------------------------------------- */

static int push_nothing(lua_State *L, void *obj) {
    (void)L;
    (void)obj;
    return 0;
}

static void wake_up(struct closure *self, unsigned loop_events) {
    struct task *t = self->obj;
    (void)loop_events;
    task_wake(t->vm, (struct wait){ t->slot, t->gen }, push_nothing, NULL);
}

static void cancel_sleep(void *obj) {
    struct task *t = obj;
    loop_cancel(t->vm->worker->loop, &t->sleep);
}

static int l_sleep(lua_State *L) {
    uint64_t ms = check_ms(L, 1);
    struct worker *w = lib_worker(L, "sol.sleep");
    struct task *t = task_running(vm_of(L));
    task_wait(L, cancel_sleep, t);
    closure_set(&t->sleep.closure, wake_up, t, "sol.sleep");
    loop_arm(w->loop, &t->sleep, (loop_clock_refresh(w->loop) + 999999) / 1000000 + ms);
    return task_park(L);
}

/* ---- functions ------------------------------------------------------------------------------ */

static int l_after(lua_State *L) {
    return timer_new(L, "sol.after", false);
}

static int l_every(lua_State *L) {
    return timer_new(L, "sol.every", true);
}

/* Upvalues of a spawned function: it and its arguments. */
static int l_spawn(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    struct vm *vm = vm_of(L);
    int n = lua_gettop(L);
    lib_worker(L, "sol.spawn");
    bool was = vm_uncap(vm);
    struct task *t = task_get(vm);
    must(lua_checkstack(t->co, n + 1));
    lua_xmove(L, t->co, n); /* t->co: mark, fn, args */
    t->hops = (uint8_t)invoke_hops(vm);
    task_launch(t, "sol.spawn", n - 1);
    vm->is_capped = was;
    return 0;
}

/* [-0, +1, -] */
static void push_seconds(lua_State *L, uint64_t ns) {
    lua_pushnumber(L, (lua_Number)(ns / 1000000000) + (lua_Number)(ns % 1000000000) / 1e9);
}

/* Seconds of a clock that only goes forward. */
static int l_now(lua_State *L) {
    push_seconds(L, clock_monotonic_ns(script_of(L)->clock)); /* seconds */
    return 1;
}

/* Seconds since 1970. */
static int l_time(lua_State *L) {
    push_seconds(L, clock_wall_ns(script_of(L)->clock)); /* seconds */
    return 1;
}

static const luaL_Reg functions[] = {
    { "sleep", l_sleep }, { "after", l_after }, { "every", l_every }, { "spawn", l_spawn },
    { "now", l_now },     { "time", l_time },   { NULL, NULL },
};

int luaopen_sol_time(lua_State *L) {
    object_register(L, &timer_type);
    luaL_newlib(L, functions); /* functions */
    return 1;
}
