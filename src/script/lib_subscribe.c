/* lib_subscribe.c -- one inner session a script, and what it listens to.
 *
 * Each distinct filter has a number, which comes back with every message as its
 * subscription identifier: whose functions are called is lua/sol/subscribe.lua's business.
 * A message is handled in a task of its own, which counts as caused by that message. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib_subscribe.h"

#include "base/mem.h"
#include "core/inner.h"
#include "core/worker.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"
#include "script/lib_time.h"
#include "script/obj_message.h"
#include "script/script.h"
#include "script/task.h"

#include <stdlib.h>

/* One filter. */
struct listening {
    struct listening *next;
    struct slice filter; /* owned bytes */
    uint32_t number;
};

/* Under this address in the registry: the function that is called with every message. */
static const char dispatch_key = 'd';

static void on_message(void *obj, const struct outgoing *o) {
    struct script *s = obj;
    struct vm *vm = s->vm;
    bool was = vm_uncap(vm);
    struct task *t = task_get(vm);
    lua_State *co = t->co;
    must(lua_checkstack(co, o->identifiers_len + 16));
    lua_rawgetp(co, LUA_REGISTRYINDEX, &dispatch_key); /* ..., fn */
    message_push_table(co, o->message, o->retain);     /* ..., fn, message */
    for (unsigned i = 0; i < o->identifiers_len; i++)
        lua_pushinteger(co, o->identifiers[i]); /* ..., fn, message, numbers */
    t->hops = (uint8_t)(o->message->hops + 1);
    task_launch(t, "sol.subscribe", 1 + o->identifiers_len);
    vm->is_capped = was;
}

static void start(struct script *s, const struct listening *l) {
    struct worker *w = s->vm->worker;
    if (handle_is_none(s->inbox)) s->inbox = inner_open(w, on_message, s);
    inner_subscribe(w, s->inbox, l->filter, l->number);
}

void subscriptions_attach(struct script *s) {
    for (const struct listening *l = s->listening; l; l = l->next) start(s, l);
}

static void listening_free(struct listening *l) {
    free((void *)l->filter.at);
    free(l);
}

void subscriptions_retire(struct script *s) {
    if (s->vm->worker && !handle_is_none(s->inbox)) inner_close(s->vm->worker, s->inbox);
    s->inbox = HANDLE_NONE;
    while (s->listening) {
        struct listening *l = s->listening;
        s->listening = l->next;
        listening_free(l);
    }
}

/* ---- primitives ------------------------------------------------------------------ */

static struct slice check_filter(lua_State *L) {
    struct slice filter = vm_check_slice(L, 1);
    luaL_argcheck(L, topic_filter_valid(filter) && utf8_valid(filter), 1, "not a topic filter");
    luaL_argcheck(L, !slice_starts(filter, SLICE("$share/")), 1, "a shared filter");
    return filter;
}

/* listen(filter, number) */
static int l_listen(lua_State *L) {
    struct script *s = script_of(L);
    struct slice filter = check_filter(L);
    lua_Integer number = luaL_checkinteger(L, 2);
    if (s->is_retired) return luaL_error(L, "this policy has been replaced");
    struct listening *l = xcalloc(1, sizeof *l);
    l->filter = slice_of(xslicedup(filter), filter.len);
    l->number = (uint32_t)number;
    l->next = s->listening;
    s->listening = l;
    if (s->vm->worker) start(s, l);
    return 0;
}

/* unlisten(filter) */
static int l_unlisten(lua_State *L) {
    struct script *s = script_of(L);
    struct slice filter = vm_check_slice(L, 1);
    for (struct listening **link = &s->listening; *link; link = &(*link)->next) {
        struct listening *l = *link;
        if (!slice_eq(l->filter, filter)) continue;
        *link = l->next;
        if (s->vm->worker) inner_unsubscribe(s->vm->worker, s->inbox, l->filter);
        listening_free(l);
        break;
    }
    return 0;
}

/* on_message(fn): fn(message, numbers...) is called with every message. */
static int l_on_message(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &dispatch_key); /* */
    return 0;
}

static int l_is_first(lua_State *L) {
    lua_pushboolean(L, script_of(L)->is_first); /* answer */
    return 1;
}

static const luaL_Reg functions[] = {
    { "listen", l_listen },
    { "unlisten", l_unlisten },
    { "on_message", l_on_message },
    { "is_first", l_is_first },
    { NULL, NULL },
};

void lib_subscribe_add(lua_State *L) {
    luaL_setfuncs(L, functions, 0); /* native */
}
