/* lib_publish.c -- sol.publish.
 *
 * Without `as` a message is the broker's own word: no hooks.  With `as = client` it takes
 * the way of that client's messages; if a hook there waits, the caller waits for the
 * outcome, or, where it cannot, leaves the message on its way. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib_publish.h"

#include "base/mem.h"
#include "core/client.h"
#include "core/publish.h"
#include "core/session.h"
#include "core/worker.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"
#include "script/errand.h"
#include "script/invoke.h"
#include "script/lib.h"
#include "script/lib_client.h"
#include "script/obj_message.h"
#include "script/script.h"
#include "script/suggest.h"
#include "script/task.h"

#include <stdlib.h>

/* A message whose hooks publish, and so on. */
#define DEPTH_MAX 10

/* One publish in a client's name, until its outcome is known. */
struct publishing {
    struct script *script; /* lent; NULL: retired, nobody to tell */
    struct wait wait;      /* of the caller; gen 0: nobody waits */
    bool is_waiting;       /* publish_start has returned, the outcome is still to come */
    uint8_t reason_code;
    char *reason;                    /* owned, or NULL */
    struct publishing *next, **link; /* script->publishing */
};

/* What the third argument says. */
struct publish_opts {
    int qos;
    bool retain;
    int64_t expiry;    /* seconds; -1: never */
    struct buf *props; /* lent: on the stack */
    int as;            /* stack index of the client; 0: the broker */
    bool has_to;       /* for this client alone: */
    struct client_place to;
};

/* ---- options -------------------------------------------------------------------------- */

static void opt_qos(lua_State *L, struct publish_opts *o) {
    int is_integer;
    lua_Integer qos = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer || qos < 0 || qos > 2) luaL_error(L, "sol.publish: qos must be 0, 1 or 2");
    o->qos = (int)qos;
}

static void opt_retain(lua_State *L, struct publish_opts *o) {
    if (!lua_isboolean(L, -1)) luaL_error(L, "sol.publish: retain must be true or false");
    o->retain = lua_toboolean(L, -1);
}

static void opt_expiry(lua_State *L, struct publish_opts *o) {
    int is_integer;
    o->expiry = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer || o->expiry < 0 || o->expiry > UINT32_MAX)
        luaL_error(L, "sol.publish: expiry must be seconds from 0 to 4294967295");
}

static void opt_properties(lua_State *L, struct publish_opts *o) {
    int64_t expiry;
    if (!lua_istable(L, -1)) luaL_error(L, "sol.publish: properties must be a table");
    props_from_table(L, -1, o->props, &expiry);
    if (expiry >= 0) o->expiry = expiry;
}

static void opt_as(lua_State *L, struct publish_opts *o) {
    if (!client_is(L, -1)) luaL_error(L, "sol.publish: as must be a client");
    o->as = 1; /* found again by its name */
}

static void opt_to(lua_State *L, struct publish_opts *o) {
    if (!client_is(L, -1)) luaL_error(L, "sol.publish: to must be a client");
    o->to = client_place(L, -1);
    o->has_to = true;
}

static const struct option {
    const char *name;
    void (*take)(lua_State *L, struct publish_opts *o);
} options[] = {
    { "qos", opt_qos }, { "retain", opt_retain },         { "expiry", opt_expiry },
    { "as", opt_as },   { "properties", opt_properties }, { "to", opt_to },
};

/* The option named at index -2 takes the value on top. [-0, +0, v] */
static void take_option(lua_State *L, struct publish_opts *o) {
    char buf[SUGGEST_MAX + 24];
    struct suggest near;
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
    suggest_init(&near, name);
    for (unsigned i = 0; i < ARRAY_LEN(options); i++) {
        if (strcmp(options[i].name, name) == 0) {
            options[i].take(L, o);
            return;
        }
        suggest_offer(&near, options[i].name);
    }
    luaL_error(L, "sol.publish: unknown option \"%s\"%s", name, suggest_text(&near, buf));
}

/* Reads the options at index 3; the client, if there is one, is left on top and named by
 * o->as. [-0, +0|1, v] */
static void check_options(lua_State *L, struct publish_opts *o) {
    if (lua_isnil(L, 3)) return;
    luaL_checktype(L, 3, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, 3); lua_pop(L, 1)) /* ..., name, value */
        take_option(L, o);
    if (o->has_to && (o->as || o->retain))
        luaL_error(L, "sol.publish: to goes with neither as nor retain");
    if (!o->as) return;
    lua_getfield(L, 3, "as"); /* ..., client */
    o->as = lua_gettop(L);
}

/* ---- in a client's name ------------------------------------------------------------------ */

static struct publishing *publishing_new(struct script *s) {
    struct publishing *p = xcalloc(1, sizeof *p);
    p->script = s;
    p->next = s->publishing;
    p->link = &s->publishing;
    if (p->next) p->next->link = &p->next;
    s->publishing = p;
    return p;
}

static void publishing_free(struct publishing *p) {
    if (p->link) {
        *p->link = p->next;
        if (p->next) p->next->link = p->link;
    }
    free(p->reason);
    free(p);
}

void publishing_retire(struct script *s, bool at_once) {
    while (s->publishing) {
        struct publishing *p = s->publishing;
        s->publishing = p->next;
        if (p->next) p->next->link = &s->publishing;
        p->link = NULL;
        p->script = NULL;
        if (at_once) publishing_free(p);
    }
}

/* true; or nil, the reason, its code. [-0, +1|3, m] */
static int push_outcome(lua_State *L, void *obj) {
    const struct publishing *p = obj;
    if (p->reason_code < RC_UNSPECIFIED_ERROR) {
        lua_pushboolean(L, 1); /* true */
        return 1;
    }
    lua_pushnil(L);                                       /* nil */
    lua_pushstring(L, p->reason ? p->reason : "refused"); /* nil, reason */
    lua_pushinteger(L, p->reason_code);                   /* nil, reason, code */
    return 3;
}

static void on_published(struct publish *publish, uint8_t reason_code, const char *reason) {
    struct publishing *p = publish->obj;
    p->reason_code = reason_code;
    p->reason = reason ? xstrdup(reason) : NULL;
    if (!p->is_waiting) return; /* at once: the caller looks itself */
    if (p->script && p->wait.gen) task_wake(p->script->vm, p->wait, push_outcome, p);
    publishing_free(p);
}

/* The caller no longer waits; the message goes on. */
static void stop_waiting(void *obj) {
    ((struct publishing *)obj)->wait.gen = 0;
}

/* Sends it on its way; the outcome may be there already. */
static struct publishing *start_as(struct script *s, struct client *c,
                                   const struct message_parts *parts) {
    struct publishing *p = publishing_new(s);
    struct publish *publish = publish_new(c->worker);
    publish->client = client_ref(c);
    publish->message = message_new(parts);
    publish->done = on_published;
    publish->obj = p;
    p->is_waiting = publish_start(publish);
    return p;
}

/* Gives the caller the outcome, now or later. */
static int outcome(lua_State *L, struct publishing *p) {
    struct vm *vm = vm_of(L);
    if (p->is_waiting && task_can_wait(L)) {
        p->wait = task_wait(L, stop_waiting, p);
        return task_park(L);
    }
    if (p->is_waiting) {
        lua_pushboolean(L, 1); /* ..., true: on its way */
        return 1;
    }
    bool was = vm_uncap(vm);
    int n = push_outcome(L, p); /* ..., outcome */
    publishing_free(p);
    vm->is_capped = was;
    return n;
}

/* ---- sol.publish --------------------------------------------------------------------------- */

static int l_publish(lua_State *L) {
    struct slice topic = vm_check_slice(L, 1);
    struct slice payload = lua_isnoneornil(L, 2) ? SLICE("") : vm_check_slice(L, 2);
    struct worker *w = lib_worker(L, "sol.publish");
    struct publish_opts o = { .expiry = -1 };
    luaL_argcheck(L, topic_name_valid(topic) && utf8_valid(topic), 1, "not a topic name");
    lua_settop(L, 3);
    o.props = push_buf(L); /* topic, payload, options, props */
    check_options(L, &o);  /* topic, payload, options, props, [client] */
    struct client *as = o.as ? client_check(L, o.as) : NULL;
    if (o.as && (!as || w->stopping)) return vm_fail(L, "closed");
    struct script *s = script_of(L);
    unsigned hops = invoke_hops(s->vm);
    if (hops > MESSAGE_HOPS_MAX)
        return luaL_error(L, "sol.publish: messages cause messages, %d in a row", MESSAGE_HOPS_MAX);
    if (s->publish_depth >= DEPTH_MAX)
        return luaL_error(L, "sol.publish: messages cause messages, %d deep", DEPTH_MAX);

    struct message_parts parts = {
        .topic = topic,
        .payload = payload,
        .props = buf_slice(o.props),
        .expires_ms =
            o.expiry < 0 ? MESSAGE_NEVER : loop_now_ms(w->loop) + (uint64_t)o.expiry * 1000,
        .publisher = as && as->session ? as->session->handle : HANDLE_NONE,
        .qos = (uint8_t)o.qos,
        .hops = (uint8_t)hops,
        .retain = o.retain,
    };
    struct publishing *p = NULL;
    int n = 0;
    bool was = vm_uncap(s->vm);
    s->publish_depth++;
    if (o.has_to)
        n = client_send(L, o.to, message_new(&parts)); /* ..., true or nil, why */
    else if (as)
        p = start_as(s, as, &parts);
    else
        publish_trusted(w, &parts);
    s->publish_depth--;
    s->vm->is_capped = was;
    if (p) return outcome(L, p);
    if (n) return n;
    lua_pushboolean(L, 1); /* ..., true */
    return 1;
}

static const luaL_Reg functions[] = {
    { "publish", l_publish },
    { NULL, NULL },
};

int luaopen_sol_publish(lua_State *L) {
    luaL_newlib(L, functions); /* functions */
    return 1;
}
