/* lib_socket.c -- sol.socket: making connections.
 *
 * A connection is asked of its pool first.  The pool gives an idle one, leave to make one,
 * or a place in its queue; making one is a dial (io/dial.h).  All of it happens on behalf
 * of the userdata that connect will return, which owns what there is at any moment. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "base/mem.h"
#include "core/worker.h"
#include "io/dial.h"
#include "io/tls.h"
#include "script/cosocket.h"
#include "script/net.h"
#include "script/options.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS      5000
#define RECEIVE_DEFAULT (1 << 20) /* bytes of one result */
#define RECEIVE_MAX     (64 << 20)

/* Where the socket lies on the stack of l_connect. */
#define AT_SOCKET 3

/* ---- on the way ---------------------------------------------------------------------- */

/* The socket, or nil and why. */
static int push_connected(lua_State *L, void *obj) {
    struct cosocket *s = obj;
    if (s->connect.why) {
        vm_fail(L, "%s", s->connect.why); /* url, options, socket, ..., nil, why */
        cosocket_drop(s);
        return 2;
    }
    lua_pushvalue(L, AT_SOCKET); /* url, options, socket, ..., socket */
    return 1;
}

static void on_dialed(void *obj, struct stream stream, const char *why) {
    struct cosocket *s = obj;
    s->dial = NULL;
    if (why)
        s->connect.why = s->text = xstrdup(why);
    else
        cosocket_adopt(s, (struct pooled){ stream, 0 });
    op_wake(&s->connect);
}

static void dial(struct cosocket *s) {
    const char *why = NULL;
    struct loop *loop = s->vm->worker->loop;
    uint64_t now_ms = loop_now_ms(loop), deadline_ms = s->to.deadline_ms;
    struct resolver *r = net_resolver(s->vm, &why);
    s->dial = dial_start(
        &(struct dial_opts){ .loop = loop,
                             .resolver = r,
                             .host = s->to.url.host,
                             .port = s->to.url.port,
                             .path = s->to.url.path,
                             .tls = s->to.tls,
                             .server_name = s->to.server_name,
                             .timeout_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 0 },
        on_dialed, s);
}

/* It is our turn in the pool. */
static void on_turn(void *obj, struct pooled c) {
    struct cosocket *s = obj;
    if (c.stream.fd < 0) {
        dial(s);
        return;
    }
    cosocket_adopt(s, c);
    op_wake(&s->connect);
}

/* ---- where to -------------------------------------------------------------------------- */

static bool has_port(const char *url) {
    size_t len = strlen(url);
    while (len && isdigit((unsigned char)url[len - 1])) len--;
    return url[len] && len && url[len - 1] == ':';
}

/* tcp://HOST:PORT, tls://HOST:PORT or unix:///path.  *why (static) when it is none. */
static bool parse_url(struct cosocket *s, const char *url, bool *tls, const char **why) {
    char *copy = xstrdup(url);
    *tls = strncmp(url, "tls://", 6) == 0;
    if (*tls) memcpy(copy, "tcp://", 6);
    *why = "expected tcp://HOST:PORT, tls://HOST:PORT or unix:///path";
    bool is = strncmp(copy, "tcp://", 6) == 0 || strncmp(copy, "unix://", 7) == 0;
    is = is && listen_url_parse(slice_str(copy), &s->to.url, why) == 0;
    if (is && !s->to.url.path && (!s->to.url.host || !has_port(url))) {
        *why = "a host and a port are needed: tcp://HOST:PORT";
        is = false;
    }
    free(copy);
    return is;
}

static const char *const option_names[] = { "timeout",     "pool",        "pool_size", "backlog",
                                            "cert",        "key",         "ca",        "verify",
                                            "server_name", "max_receive", NULL };

/* Pushes the name of the pool: the same place, trusted in the same way. [-0, +1, v] */
static const char *push_pool_name(lua_State *L, const char *url, const struct tls_client_opts *o,
                                  const char *server_name) {
    const char *pool = options_push_string(L, 2, "pool"); /* name or nil */
    pool = lua_pushfstring(L, "%s\n%s\n%s\n%s\n%s\n%s\n%d", pool ? pool : "", url,
                           o->ca ? o->ca : "", o->cert ? o->cert : "", o->key ? o->key : "",
                           server_name ? server_name : "", (int)o->no_verify); /* ..., full name */
    lua_replace(L, -2);                                                        /* full name */
    return pool;
}

/* ---- functions ---------------------------------------------------------------------------- */

/* Takes from the pool or sets out; the socket's results. */
static int set_out(lua_State *L, struct cosocket *s, const char *pool_name,
                   const struct pool_bounds *bounds, uint64_t timeout_ms) {
    struct pooled c;
    struct loop *loop = s->vm->worker->loop;
    s->to.deadline_ms = loop_now_ms(loop) + timeout_ms;
    s->connect.push = push_connected;
    s->turn.fn = on_turn;
    s->turn.obj = s;
    if (!cosocket_begin(s)) return vm_fail(L, "too many sockets");
    struct pool *pool = pool_get(net_pools(s->vm), pool_name);
    enum pool_result r = pool_take(pool, bounds, &s->turn, &c);
    if (r == POOL_FULL) {
        cosocket_drop(s);
        return vm_fail(L, "too many wait for this pool");
    }
    s->pool = pool;
    if (r == POOL_TAKEN && c.stream.fd >= 0) {
        cosocket_adopt(s, c);
        lua_pushvalue(L, AT_SOCKET); /* url, options, socket, ..., socket */
        return 1;
    }
    if (!task_can_wait(L)) cosocket_drop(s);
    op_begin(L, &s->connect, timeout_ms);
    if (r == POOL_TAKEN) dial(s);
    return task_park(L);
}

static int l_connect(lua_State *L) {
    const char *why, *url = luaL_checkstring(L, 1);
    struct tls_client_opts tls = { 0 };
    bool is_tls;
    char *error = NULL;
    lua_settop(L, 2); /* url, options */
    lib_worker(L, "sol.socket.connect");
    options_check(L, 2, "sol.socket.connect", option_names);
    struct cosocket *s = cosocket_new(L); /* url, options, socket */
    luaL_argcheck(L, parse_url(s, url, &is_tls, &why), 1, why);
    uint64_t timeout_ms = options_ms(L, 2, "timeout", TIMEOUT_MS);
    struct pool_bounds bounds = {
        .limit = (unsigned)options_integer(L, 2, "pool_size", 1, NET_SOCKETS_MAX, 0),
        .backlog = (unsigned)options_integer(L, 2, "backlog", 0, NET_SOCKETS_MAX, 0),
    };
    s->receive_max = (size_t)options_integer(L, 2, "max_receive", 1, RECEIVE_MAX, RECEIVE_DEFAULT);
    options_push_tls(L, 2, &tls);
    const char *name = options_push_string(L, 2, "server_name");
    const char *pool = push_pool_name(L, url, &tls, name);
    s->send_ms = s->receive_ms = timeout_ms;
    s->pool_limit = bounds.limit;
    if (name) s->to.server_name = xstrdup(name);
    if (!s->to.url.path && !net_resolver(s->vm, &why)) return vm_fail(L, "no DNS: %s", why);
    struct tls_context *context = is_tls ? net_tls(s->vm, &tls, &error) : NULL;
    if (context) s->to.tls = tls_context_ref(context);
    s->text = error;
    if (error) return vm_fail(L, "%s", error);
    lua_gc(L, LUA_GCSTEP, 4); /* a socket forgotten costs more than its userdata */
    return set_out(L, s, pool, &bounds, timeout_ms);
}

static const luaL_Reg functions[] = {
    { "connect", l_connect },
    { NULL, NULL },
};

int luaopen_sol_socket(lua_State *L) {
    object_register(L, &cosocket_type);
    luaL_newlib(L, functions); /* functions */
    return 1;
}
