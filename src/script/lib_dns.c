/* lib_dns.c -- sol.dns: questions to name servers. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "base/mem.h"
#include "core/worker.h"
#include "io/resolver.h"
#include "script/net.h"
#include "script/options.h"
#include "script/script.h"
#include "script/task.h"

#include <string.h>

#define TIMEOUT_MS  5000
#define SERVERS_MAX 16

/* One call of resolve: a userdata on the stack of the coroutine that waits. */
struct question {
    struct vm *vm; /* lent */
    struct wait wait;
    struct dns_query *query; /* NULL: over */
    enum dns_type type;
    struct timer timer;
    const struct dns_answer *answer; /* lent while it is pushed; NULL: see why */
    const char *why;                 /* static: there is no answer */
};

static const char *const type_names[] = { "ADDRESS", "A",   "AAAA", "MX", "NS",
                                          "PTR",     "SRV", "TXT",  NULL }; /* as enum dns_type */
_Static_assert(ARRAY_LEN(type_names) == DNS_TYPES + 1, "a name for each type");

/* ---- answers --------------------------------------------------------------------------- */

static void set_number(lua_State *L, const char *name, lua_Integer n) {
    lua_pushinteger(L, n);     /* record, n */
    lua_setfield(L, -2, name); /* record */
}

/* Pushes a record: text, or a table where there is more to it. [-0, +1, m] */
static void push_record(lua_State *L, enum dns_type type, const struct dns_record *r) {
    if (type != DNS_MX && type != DNS_SRV) {
        lua_pushlstring(L, r->text, r->text_len); /* text */
        return;
    }
    lua_createtable(L, 0, 4);    /* record */
    lua_pushstring(L, r->text);  /* record, host */
    lua_setfield(L, -2, "host"); /* record */
    set_number(L, "priority", r->priority);
    if (type == DNS_MX) return;
    set_number(L, "weight", r->weight);
    set_number(L, "port", r->port);
}

static int push_answer(lua_State *L, void *obj) {
    const struct question *q = obj;
    if (!q->answer) return vm_fail(L, "%s", q->why);
    if (q->answer->error) return vm_fail(L, "%s", q->answer->error);
    lua_createtable(L, (int)q->answer->len, 0); /* list */
    for (unsigned i = 0; i < q->answer->len; i++) {
        push_record(L, q->type, &q->answer->at[i]); /* list, record */
        lua_rawseti(L, -2, (int)i + 1);             /* list */
    }
    return 1;
}

/* ---- waiting ------------------------------------------------------------------------------ */

static void question_end(struct question *q) {
    if (q->query) resolver_forget(q->query);
    q->query = NULL;
    loop_cancel(q->vm->worker->loop, &q->timer);
    closure_deinit(&q->timer.closure);
}

static void on_cancel(void *obj) {
    question_end(obj);
}

static void on_time(struct closure *self, unsigned events) {
    struct question *q = self->obj;
    (void)events;
    question_end(q);
    task_wake(q->vm, q->wait, push_answer, q);
}

static void on_answer(void *obj, const struct dns_answer *answer) {
    struct question *q = obj;
    q->query = NULL; /* the resolver has taken it back */
    question_end(q);
    q->answer = answer;
    task_wake(q->vm, q->wait, push_answer, q);
}

/* ---- functions ------------------------------------------------------------------------------ */

static enum dns_type check_type(lua_State *L) {
    const char *name = options_push_string(L, 2, "type"); /* name, options, type */
    enum dns_type type = DNS_ADDRESS;
    while (name && type < DNS_TYPES && strcmp(type_names[type], name) != 0) type++;
    if (type == DNS_TYPES)
        luaL_error(L, "option \"type\" must be A, AAAA, MX, NS, PTR, SRV or TXT");
    return type;
}

static int l_resolve(lua_State *L) {
    static const char *const names[] = { "type", "timeout", NULL };
    struct vm *vm = vm_of(L);
    struct slice name = vm_check_slice(L, 1);
    const char *why = NULL;
    lua_settop(L, 2); /* name, options */
    luaL_argcheck(L, name.len && name.len <= 255 && !memchr(name.at, '\0', name.len), 1,
                  "expected a name of 1 to 255 bytes");
    options_check(L, 2, "sol.dns.resolve", names);
    struct worker *w = lib_worker(L, "sol.dns.resolve");
    enum dns_type type = check_type(L);
    uint64_t ms = options_ms(L, 2, "timeout", TIMEOUT_MS);
    struct resolver *r = net_resolver(vm, &why);
    if (!r) return vm_fail(L, "no DNS: %s", why);

    struct question *q = lua_newuserdatauv(L, sizeof *q, 0); /* ..., question */
    memset(q, 0, sizeof *q);
    q->vm = vm;
    q->type = type;
    q->wait = task_wait(L, on_cancel, q);
    q->query = resolver_ask(r, (const char *)name.at, type, on_answer, q);
    q->why = q->query ? "timeout" : "too many names are being looked up";
    if (!q->query) ms = 0;
    q->timer.closure = (struct closure){ .fn = on_time, .obj = q, .name = "sol.dns" };
    loop_arm(w->loop, &q->timer, loop_now_ms(w->loop) + ms);
    return task_park(L);
}

static int l_servers(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    if (!script_of(L)->is_loading)
        return luaL_error(L, "sol.dns.servers can be called only while the policy is loaded");
    lua_Integer len = (lua_Integer)lua_rawlen(L, 1);
    luaL_argcheck(L, len >= 1 && len <= SERVERS_MAX, 1, "expected 1 to 16 addresses");
    luaL_Buffer list;
    luaL_buffinit(L, &list);
    for (lua_Integer i = 1; i <= len; i++) {
        if (i > 1) luaL_addchar(&list, ',');
        if (lua_rawgeti(L, 1, i) != LUA_TSTRING) /* servers, ..., server */
            return luaL_error(L, "server %d is no string", (int)i);
        luaL_addvalue(&list); /* servers, ... */
    }
    luaL_pushresult(&list); /* servers, list */
    const char *servers = lua_tostring(L, -1);
    luaL_argcheck(L, resolver_servers_valid(servers), 1,
                  "expected addresses: \"10.0.0.1\", \"10.0.0.1:5353\", \"[::1]:53\"");
    net_set_servers(vm_of(L), servers);
    return 0;
}

static const luaL_Reg functions[] = {
    { "resolve", l_resolve },
    { "servers", l_servers },
    { NULL, NULL },
};

int luaopen_sol_dns(lua_State *L) {
    luaL_newlib(L, functions); /* functions */
    return 1;
}
