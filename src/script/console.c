/* console.c -- questions run as tasks, and the primitives they have. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/console.h"

#include "base/mem.h"
#include "core/mail.h"
#include "core/worker.h"
#include "script/handlers.h"
#include "script/invoke.h"
#include "script/lib_time.h"
#include "script/object.h"
#include "script/sandbox.h"
#include "script/task.h"

#include <stdlib.h>

/* One question under way. */
struct evaluation {
    struct script *script;  /* lent */
    struct door_call *call; /* lent */
    struct task *task;
    struct evaluation *next, **link; /* script->evaluations */
};

/* Under this address in the registry: lua/sol/console.lua, once it was asked for. */
static const char module_key = 'c';

/* ---- life of a question --------------------------------------------------------- */

static void evaluation_end(struct evaluation *e, bool ok, struct slice text) {
    struct script *s = e->script;
    e->call->state = NULL;
    door_end(e->call, ok, text);
    *e->link = e->next;
    if (e->next) e->next->link = e->link;
    task_put(e->task);
    free(e);
    script_settle(s);
}

void console_end(struct script *s, const char *why) {
    while (s->evaluations) evaluation_end(s->evaluations, false, slice_str(why));
}

/* Without the last frame of the traceback, which is our own. */
static struct slice without_own_frame(struct slice text) {
    static const char own[] = "\n\tsol/console.lua:";
    const char *cut = NULL;
    for (const char *at = (const char *)text.at; at && (at = strstr(at, own)); at++) cut = at;
    bool is_last = cut && !strchr(cut + 1, '\n');
    return is_last ? slice_of(text.at, (size_t)(cut - (const char *)text.at)) : text;
}

static void on_stepped(struct task *t, enum task_status status) {
    struct evaluation *e = t->obj;
    struct vm *vm = t->vm;
    if (status == TASK_PARKED) return;
    bool was = vm_uncap(vm);
    if (status == TASK_FAILED) {
        task_push_error(vm->L, t); /* text */
        evaluation_end(e, false, without_own_frame(vm_to_slice(vm->L, -1)));
        lua_pop(vm->L, 1); /* */
    } else {
        /* co: a text, or nil and what is wrong */
        bool ok = !lua_isnil(t->co, TASK_FIRST);
        evaluation_end(e, ok, vm_to_slice(t->co, ok ? TASK_FIRST : TASK_FIRST + 1));
    }
    vm->is_capped = was;
}

static struct evaluation *evaluation_new(struct script *s, struct door_call *call) {
    struct evaluation *e = xcalloc(1, sizeof *e);
    e->script = s;
    e->call = call;
    e->task = task_get(s->vm);
    e->task->woken = on_stepped;
    e->task->obj = e;
    e->task->name = "console";
    e->next = s->evaluations;
    e->link = &s->evaluations;
    if (e->next) e->next->link = &e->next;
    s->evaluations = e;
    call->state = e;
    return e;
}

/* The question that the running code belongs to, or NULL. */
static struct evaluation *present(lua_State *L) {
    struct task *t = task_running(vm_of(L));
    return t && t->woken == on_stepped ? t->obj : NULL;
}

/* ---- primitives: out ------------------------------------------------------------- */

/* say(text): to who asked. */
static int l_say(lua_State *L) {
    struct slice text = vm_check_slice(L, 1);
    struct evaluation *e = present(L);
    lua_pushboolean(L, e && door_say(e->call, text)); /* text, said */
    return 1;
}

static int l_describe(lua_State *L) {
    luaL_checkany(L, 1);
    return object_describe(L, 1) ? 3 : 0; /* value, type, fields, methods */
}

/* ---- primitives: looking ---------------------------------------------------------- */

static void set_text(lua_State *L, const char *name, const char *text) {
    lua_pushstring(L, text);   /* row, text */
    lua_setfield(L, -2, name); /* row */
}

static void set_seconds(lua_State *L, const char *name, int64_t ms) {
    lua_pushnumber(L, (lua_Number)ms / 1000); /* row, seconds */
    lua_setfield(L, -2, name);                /* row */
}

static int l_timers(lua_State *L) {
    timers_push(L, script_of(L)); /* list */
    return 1;
}

struct listing {
    lua_State *L; /* the list is on its top */
    lua_Integer len, total;
    lua_Integer limit;
    struct slice name; /* of the closures wanted; SLICE_NONE: all */
    uint64_t now_ms;
};

static void push_parked(struct task *t, void *obj) {
    struct listing *l = obj;
    lua_State *L = l->L;
    if (!t->is_parked) return;
    lua_createtable(L, 0, 5); /* list, row */
    set_seconds(L, "seconds", (int64_t)(l->now_ms - t->parked_ms));
    if (!invocation_describe(L, t)) set_text(L, "what", t->name);
    luaL_traceback(L, t->waiter, NULL, 0); /* list, row, traceback */
    lua_setfield(L, -2, "traceback");      /* list, row */
    lua_rawseti(L, -2, ++l->len);          /* list */
}

static int l_parked(lua_State *L) {
    struct vm *vm = vm_of(L);
    struct listing l = { .L = L, .now_ms = loop_now_ms(vm->worker->loop) };
    lua_settop(L, 0);
    lua_newtable(L); /* list */
    luaL_checkstack(L, 8, NULL);
    tasks_each(vm, push_parked, &l);
    return 1;
}

/* Adds a closure's row; false: enough. */
static bool add_closure(struct listing *l, struct closure *c, const char *kind) {
    lua_State *L = l->L;
    if (l->name.at && !(c->name && slice_eq(l->name, slice_str(c->name)))) return false;
    l->total++;
    if (l->len == l->limit) return false;
    lua_createtable(L, 0, 5); /* list, row */
    set_text(L, "uuid", closure_uuid(c));
    set_text(L, "kind", kind);
    set_text(L, "name", c->name);
    return true;
}

static bool look_at(void *obj, const struct loop_item *item) {
    static const char *const kinds[] = { "watch", "timer", "deferred" };
    struct listing *l = obj;
    if (!add_closure(l, item->closure, kinds[item->kind])) return true;
    if (item->fd >= 0) {
        lua_pushinteger(l->L, item->fd); /* list, row, fd */
        lua_setfield(l->L, -2, "fd");    /* list, row */
    }
    if (item->kind == LOOP_ITEM_TIMER)
        set_seconds(l->L, "due", (int64_t)(item->deadline_ms - l->now_ms));
    lua_rawseti(l->L, -2, ++l->len); /* list */
    return true;
}

static void look_at_handlers(struct listing *l, const struct script *s) {
    for (int e = 0; e < HOOK_EVENTS; e++)
        for (unsigned i = 0; i < s->events[e].len; i++) {
            if (!add_closure(l, &s->events[e].at[i]->closure, "hook")) continue;
            lua_rawseti(l->L, -2, ++l->len); /* list */
        }
}

/* closures(limit, name or nil): their rows, and how many there are. */
static int l_closures(lua_State *L) {
    struct loop *loop = vm_of(L)->worker->loop;
    struct listing l = { .L = L, .now_ms = loop_now_ms(loop) };
    l.limit = luaL_checkinteger(L, 1);
    l.name = vm_opt_slice(L, 2);
    lua_settop(L, 2);
    luaL_checkstack(L, 8, NULL);
    bool was = vm_uncap(vm_of(L)); /* the loop is walked: nothing may raise */
    lua_newtable(L);               /* limit, name, list */
    look_at_handlers(&l, script_of(L));
    loop_each(loop, look_at, &l);
    vm_of(L)->is_capped = was;
    lua_pushinteger(L, l.total); /* limit, name, list, total */
    return 2;
}

/* ---- primitives: reload ------------------------------------------------------------- */

/* A reload that a console waits for: to the main thread, and home as a chore. */
struct wish {
    struct door_call call;
    struct chore home;
    struct worker *worker; /* lent */
    struct vm *vm;         /* reference */
    struct wait wait;
    bool ok;
    char *text; /* owned */
};

static int push_outcome(lua_State *L, void *obj) {
    const struct wish *wish = obj;
    if (wish->ok)
        lua_pushboolean(L, 1); /* true */
    else
        lua_pushnil(L);            /* nil */
    lua_pushstring(L, wish->text); /* true or nil, text */
    return 2;
}

/* Where the worker stops no Lua is run any more: what waits is cut off with the policy. */
static void wish_home(struct worker *w, struct chore *chore) {
    struct wish *wish = CONTAINER_OF(chore, struct wish, home);
    if (!w->stopping) task_wake(wish->vm, wish->wait, push_outcome, wish);
    vm_unref(wish->vm);
    free(wish->text);
    free(wish);
}

/* On the main thread. */
static void wish_end(struct door_call *call, bool ok, struct slice text) {
    struct wish *wish = CONTAINER_OF(call, struct wish, call);
    wish->ok = ok;
    wish->text = xslicedup(text);
    wish->home.run = wish_home;
    mail_chore(wish->worker, &wish->home);
}

/* reload(): true or nil, and what came of it; waits. */
static int l_reload(lua_State *L) {
    struct worker *w = vm_of(L)->worker;
    const struct broker_port *port = w->broker->port;
    if (!port || w->stopping) return luaL_error(L, "nobody can reload here");
    struct wait wait = task_wait(L, NULL, NULL);
    struct wish *wish = xcalloc(1, sizeof *wish);
    wish->call.end = wish_end;
    wish->worker = w;
    wish->vm = vm_ref(vm_of(L));
    wish->wait = wait;
    port->reload(port->obj, &wish->call);
    return task_park(L);
}

/* ---- the module --------------------------------------------------------------------- */

static const luaL_Reg primitives[] = {
    { "say", l_say },       { "describe", l_describe }, { "timers", l_timers },
    { "parked", l_parked }, { "closures", l_closures }, { "reload", l_reload },
    { NULL, NULL },
};

static int open_module(lua_State *L) {
    static const char *const kept[] = { "load", "env", "builtins" };
    luaL_newlib(L, primitives); /* native */
    for (unsigned i = 0; i < ARRAY_LEN(kept); i++) {
        lua_pushfstring(L, "sol.%s", kept[i]); /* native, name */
        lua_gettable(L, LUA_REGISTRYINDEX);    /* native, value */
        lua_setfield(L, -2, kept[i]);          /* native */
    }
    sandbox_push(L);                                /* native, globals */
    lua_getfield(L, -1, "sol");                     /* native, globals, sol */
    lua_setfield(L, -3, "sol");                     /* native, globals */
    lua_pop(L, 1);                                  /* native */
    sandbox_run(L, "console", 1);                   /* module */
    lua_rawsetp(L, LUA_REGISTRYINDEX, &module_key); /* */
    return 0;
}

/* Pushes the module; or what went wrong, and false. [-0, +1, m] */
static bool push_module(lua_State *L) {
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &module_key) != LUA_TNIL) return true;
    lua_pop(L, 1);
    lua_pushcfunction(L, open_module);              /* fn */
    if (vm_call(L, 0, 0) != LUA_OK) return false;   /* error */
    lua_rawgetp(L, LUA_REGISTRYINDEX, &module_key); /* module */
    return true;
}

/* ---- the verbs ------------------------------------------------------------------------- */

static void start(struct worker *w, struct door_call *call) {
    struct script *s = script_of_hooks(w->hooks);
    lua_State *L = s->vm->L;
    bool was = vm_uncap(s->vm);
    if (push_module(L)) { /* module */
        struct task *t = evaluation_new(s, call)->task;
        lua_getfield(L, -1, call->verb->name);       /* module, fn */
        vm_push_slice(L, call->body);                /* module, fn, body */
        lua_pushinteger(L, (lua_Integer)call->peer); /* module, fn, body, peer */
        lua_xmove(L, t->co, 3);                      /* module */
        on_stepped(t, task_start(t, 2));
    } else {
        door_end(call, false, vm_to_slice(L, -1));
    }
    lua_pop(L, 1); /* */
    s->vm->is_capped = was;
}

static void cancel(struct worker *w, struct door_call *call) {
    (void)w;
    if (call->state) evaluation_end(call->state, false, SLICE("cancelled"));
}

static void forget(struct worker *w, uint64_t peer) {
    struct script *s = script_of_hooks(w->hooks);
    lua_State *L = s->vm->L;
    bool was = vm_uncap(s->vm);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &module_key) == LUA_TTABLE) { /* module */
        lua_getfield(L, -1, "forget");                                  /* module, fn */
        lua_pushinteger(L, (lua_Integer)peer);                          /* module, fn, peer */
        if (vm_call(L, 1, 0) != LUA_OK) lua_pop(L, 1);                  /* module */
    }
    lua_pop(L, 1); /* */
    s->vm->is_capped = was;
}

const struct door_verb console_verbs[CONSOLE_VERBS] = {
    { .name = "eval", .on_worker = true, .start = start, .cancel = cancel, .forget = forget },
    { .name = "parse", .on_worker = true, .start = start, .cancel = cancel },
    { .name = "complete", .on_worker = true, .start = start, .cancel = cancel },
};
