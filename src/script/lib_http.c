/* lib_http.c -- what lua/sol/http.lua stands on: one request to one place, and URLs.
 *
 * Redirects, names and the shape of requests are its business; here is the waiting. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib_http.h"

#include "base/mem.h"
#include "core/worker.h"
#include "io/fetch.h"
#include "script/lib.h"
#include "script/net.h"
#include "script/options.h"
#include "script/task.h"

#include <string.h>

#define BODY_MAX (256u << 20) /* bytes */

/* One request: a userdata on the stack of the coroutine that waits. */
struct errand {
    struct vm *vm; /* lent */
    struct wait wait;
    struct fetch *fetch;
    const struct fetch_reply *reply; /* lent while it is pushed */
};

/* status, header lines, body; or nil and why */
static int push_reply(lua_State *L, void *obj) {
    const struct fetch_reply *r = ((struct errand *)obj)->reply;
    if (r->error) return vm_fail(L, "%s", r->error);
    lua_pushinteger(L, r->status); /* status */
    lua_pushlstring(L, r->headers.len ? (char *)r->headers.at : "",
                    r->headers.len);                                        /* .., headers */
    lua_pushlstring(L, r->body.len ? (char *)r->body.at : "", r->body.len); /* .., body */
    return 3;
}

static void on_cancel(void *obj) {
    fetch_cancel(((struct errand *)obj)->fetch);
}

static void on_reply(void *obj, const struct fetch_reply *reply) {
    struct errand *e = obj;
    e->reply = reply;
    task_wake(e->vm, e->wait, push_reply, e);
}

/* Pushes what keeps the header lines of the request's list "headers" together, and fills
 * them in. [-0, +2, v] */
static void push_headers(lua_State *L, struct fetch_request *q) {
    lua_getfield(L, 1, "headers"); /* ..., list */
    lua_Integer len = (lua_Integer)lua_rawlen(L, -1);
    const char **lines =
        lua_newuserdatauv(L, ((size_t)len + 1) * sizeof *lines, 0); /* ..., list, lines */
    for (lua_Integer i = 0; i < len; i++) {
        lua_rawgeti(L, -2, i + 1); /* ..., list, lines, line */
        lines[i] = lua_tostring(L, -1);
        lua_pop(L, 1); /* ..., list, lines */
    }
    lines[len] = NULL;
    q->headers = lines;
}

/* http_fetch{ method, url, addresses, socket, headers = {lines}, body, timeout, max_body, ca,
 * cert, key, verify }: http.lua has checked what scripts may get wrong. */
static int l_http_fetch(lua_State *L) {
    struct vm *vm = vm_of(L);
    struct fetch_request q = { 0 };
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1); /* request */
    lib_worker(L, "sol.http");
    q.method = options_push_string(L, 1, "method");       /* ..., method */
    q.url = options_push_string(L, 1, "url");             /* ..., url */
    q.addresses = options_push_string(L, 1, "addresses"); /* ..., addresses */
    q.path = options_push_path(L, 1, "socket");           /* ..., path */
    q.timeout_ms = options_ms(L, 1, "timeout", 1);
    q.body_max = (size_t)options_integer(L, 1, "max_body", 0, BODY_MAX, 0);
    options_push_tls(L, 1, &q.tls);
    push_headers(L, &q);
    lua_getfield(L, 1, "body"); /* ..., body */
    q.body = vm_to_slice(L, -1);
    struct fetcher *f = net_fetcher(vm);
    if (fetcher_len(f) >= NET_FETCHES_MAX) return vm_fail(L, "too many requests");

    struct errand *e = lua_newuserdatauv(L, sizeof *e, 0); /* ..., errand */
    *e = (struct errand){ .vm = vm };
    if (!task_can_wait(L)) task_wait(L, NULL, NULL); /* raises */
    e->fetch = fetch_start(f, &q, on_reply, e);
    e->wait = task_wait(L, on_cancel, e);
    return task_park(L);
}

static void set_string(lua_State *L, const char *name, const char *text) {
    lua_pushstring(L, text);   /* parts, text */
    lua_setfield(L, -2, name); /* parts */
}

/* parse_url(url [, base]): { url, scheme, host, port }, or nil and why */
static int l_parse_url(lua_State *L) {
    struct vm *vm = vm_of(L);
    struct fetch_url u;
    const char *why = NULL, *url = luaL_checkstring(L, 1), *base = luaL_optstring(L, 2, NULL);
    if (!fetch_url_parse(url, base, &u, &why)) return vm_fail(L, "%s", why);
    bool was = vm_uncap(vm);  /* nothing may raise while the parts are ours */
    lua_createtable(L, 0, 4); /* ..., parts */
    set_string(L, "url", u.url);
    set_string(L, "scheme", u.scheme);
    set_string(L, "host", u.host);
    lua_pushinteger(L, u.port);  /* ..., parts, port */
    lua_setfield(L, -2, "port"); /* ..., parts */
    vm->is_capped = was;
    fetch_url_deinit(&u);
    return 1;
}

static const luaL_Reg functions[] = {
    { "http_fetch", l_http_fetch },
    { "parse_url", l_parse_url },
    { NULL, NULL },
};

void lib_http_add(lua_State *L) {
    luaL_setfuncs(L, functions, 0); /* native */
}
