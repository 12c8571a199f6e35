/* cosocket.c -- sockets whose reads and writes wait in their coroutine.
 *
 * What is asked for is tried at once; only what cannot be done yet waits.  An event serves
 * one waiting coroutine, receiver first, since Lua runs then and the socket may be gone
 * afterwards: the loop is level-triggered and comes back for the other.  Input is read
 * until there is none, because TLS may hold some that epoll does not see. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/cosocket.h"

#include "core/worker.h"
#include "io/dial.h"
#include "io/tls.h"
#include "script/net.h"
#include "script/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK      16384 /* bytes of one read */
#define READS_STEP 64    /* reads of one step, so that one sender cannot hold the loop */
#define KEEP_CAP   65536 /* bytes of an empty input buffer that stay allocated */
#define IDLE_MAX   30    /* connections in a pool without a size */
#define SEND_MAX   (64u << 20)

enum step { STEP_DONE, STEP_WAIT };

static struct loop *loop_of(const struct cosocket *s) {
    return s->vm->worker->loop;
}

static bool is_tls(const struct cosocket *s) {
    return s->stream.type == &stream_tls;
}

static void set_interest(struct cosocket *s) {
    unsigned interest = 0;
    if (s->stream.fd < 0) return;
    if (s->receive.is_on) interest |= s->receive.wants;
    if (s->send.is_on) interest |= s->send.wants;
    loop_want(loop_of(s), &s->watch, interest);
}

/* ---- life -------------------------------------------------------------------------------- */

bool cosocket_begin(struct cosocket *s) {
    s->is_live = net_socket_enter(s->vm);
    return s->is_live;
}

static void destination_deinit(struct destination *to) {
    listen_url_deinit(&to->url);
    to->tls = tls_context_unref(to->tls);
    free(to->server_name);
    to->server_name = NULL;
}

/* Everything but the connection itself. */
static void release(struct cosocket *s) {
    struct pool *p = s->pool;
    s->pool = NULL;
    if (s->dial) dial_cancel(s->dial);
    s->dial = NULL;
    destination_deinit(&s->to);
    if (p && s->turn.link)
        pool_turn_cancel(p, &s->turn);
    else if (p)
        pool_leave(p);
    buf_deinit(&s->in);
    s->in_at = s->scanned = 0;
    net_socket_leave(s->vm);
    op_fail(&s->connect, "closed");
    op_fail(&s->receive, "closed");
    op_fail(&s->send, "closed");
}

/* Tries once: nobody is there to wait. */
static void say_farewell(struct cosocket *s) {
    struct iovec iov = { s->farewell, s->farewell_len };
    if (s->farewell_len && s->stream.fd >= 0 && !s->broken && s->out_at == s->out_len)
        stream_writev(&s->stream, &iov, 1);
    s->farewell_len = 0;
}

void cosocket_drop(struct cosocket *s) {
    if (!s->is_live) return;
    s->is_live = false;
    say_farewell(s);
    loop_abandon(loop_of(s), &s->watch);
    stream_close(&s->stream);
    if (s->broken) s->broken = "closed"; /* it may have been the stream's text */
    release(s);
}

static bool is_open(const struct cosocket *s) {
    return s->stream.fd >= 0;
}

/* ---- events --------------------------------------------------------------------------------- */

/* What a failed call of the stream means; lent while it is open. */
static const char *why_of(const struct cosocket *s, ssize_t error) {
    if (error == -EPROTO && is_tls(s)) return tls_why(&s->stream);
    if (error == -EPIPE || error == -ECONNRESET) return "closed";
    if (error == -ETIMEDOUT) return "timeout";
    return strerror((int)-error);
}

static size_t in_len(const struct cosocket *s) {
    return s->in.len - s->in_at;
}

static void in_take(struct cosocket *s, size_t len) {
    s->in_at += len;
    s->scanned = 0;
    if (s->in_at < s->in.len) return;
    s->in.len = s->in_at = 0;
    if (s->in.cap > KEEP_CAP) buf_deinit(&s->in);
}

/* Is the line's end there?  Gives the line with it. */
static bool find_line(struct cosocket *s, size_t *len) {
    if (in_len(s) == 0) return false;
    const uint8_t *at = s->in.at + s->in_at;
    const uint8_t *end = memchr(at + s->scanned, '\n', in_len(s) - s->scanned);
    s->scanned = in_len(s);
    if (!end) return false;
    *len = (size_t)(end - at) + 1;
    return true;
}

/* Is what was asked for in the buffer?  Gives how much of it. */
static bool is_there(struct cosocket *s, size_t *len) {
    switch (s->what) {
    case RECEIVE_LINE: return find_line(s, len);
    case RECEIVE_COUNT: *len = s->count; return in_len(s) >= s->count;
    case RECEIVE_ALL: *len = in_len(s); return s->at_end;
    case RECEIVE_ANY: break;
    }
    *len = in_len(s) < s->count ? in_len(s) : s->count;
    return *len > 0;
}

/* Reads once: false when the loop has to come back. */
static bool read_some(struct cosocket *s) {
    if (s->in_at) {
        buf_drop(&s->in, s->in_at);
        s->in_at = 0;
    }
    ssize_t n = stream_read(&s->stream, buf_reserve(&s->in, CHUNK), CHUNK);
    if (n == -EAGAIN) {
        s->receive.wants = is_tls(s) ? tls_wants(&s->stream) : LOOP_READ;
        return false;
    }
    if (n > 0)
        s->in.len += (size_t)n;
    else if (n == 0)
        s->at_end = true;
    else
        s->broken = why_of(s, n);
    return true;
}

/* Done: s->receive.why says whether it failed. */
static enum step step_receive(struct cosocket *s) {
    size_t len;
    for (unsigned reads = 0;; reads++) {
        bool found = is_there(s, &len);
        s->receive.why = NULL;
        if (found ? len > s->receive_max : in_len(s) > s->receive_max)
            s->receive.why = "too long";
        else if (found)
            return STEP_DONE;
        else if (s->broken)
            s->receive.why = s->broken;
        else if (s->at_end)
            s->receive.why = "closed";
        if (s->receive.why) return STEP_DONE;
        if (reads == READS_STEP && !is_tls(s)) {
            s->receive.wants = LOOP_READ;
            return STEP_WAIT;
        }
        if (!read_some(s)) return STEP_WAIT;
    }
}

static enum step step_send(struct cosocket *s) {
    while (s->out_at < s->out_len) {
        struct iovec iov = { (void *)(uintptr_t)(s->out + s->out_at), s->out_len - s->out_at };
        ssize_t n = stream_writev(&s->stream, &iov, 1);
        if (n == -EAGAIN) {
            s->send.wants = is_tls(s) ? tls_wants(&s->stream) : LOOP_WRITE;
            return STEP_WAIT;
        }
        if (n < 0) {
            s->send.why = s->broken = why_of(s, n);
            return STEP_DONE;
        }
        s->out_at += (size_t)n;
    }
    return STEP_DONE;
}

static void on_event(struct closure *self, unsigned events) {
    struct cosocket *s = self->obj;
    (void)events;
    if (s->receive.is_on && step_receive(s) == STEP_DONE)
        op_wake(&s->receive);
    else if (s->send.is_on && step_send(s) == STEP_DONE)
        op_wake(&s->send);
    else
        set_interest(s);
}

void cosocket_adopt(struct cosocket *s, struct pooled c) {
    s->stream = c.stream;
    s->reused = c.reused;
    s->watch.closure = (struct closure){ .fn = on_event, .obj = s, .name = "sol.socket" };
    loop_watch(loop_of(s), &s->watch, c.stream.fd, 0);
    destination_deinit(&s->to);
}

/* ---- methods ----------------------------------------------------------------------------------
 */

static struct cosocket *check_socket(lua_State *L) {
    return object_check(L, 1, &cosocket_type);
}

/* What was received; or nil, why, and what there is of it. */
static int push_received(lua_State *L, void *obj) {
    struct cosocket *s = obj;
    size_t len = in_len(s), take = 0;
    const char *at = len ? (const char *)s->in.at + s->in_at : "";
    if (s->receive.why) {
        bool is_partial = strcmp(s->receive.why, "too long") != 0;
        lua_pushnil(L);                               /* nil */
        lua_pushstring(L, s->receive.why);            /* nil, why */
        lua_pushlstring(L, at, is_partial ? len : 0); /* nil, why, partial */
        if (is_partial) in_take(s, len);
        return 3;
    }
    s->scanned = 0;
    is_there(s, &take);
    len = take;
    if (s->what == RECEIVE_LINE) len -= len > 1 && at[len - 2] == '\r' ? 2 : 1;
    lua_pushlstring(L, at, len); /* data */
    in_take(s, take);
    return 1;
}

static int receive(lua_State *L, struct cosocket *s) {
    op_check_free(L, &s->receive, "receiving on this socket");
    if (!is_open(s)) return vm_fail(L, "closed");
    if (s->count > s->receive_max) return vm_fail(L, "too long");
    if (step_receive(s) == STEP_DONE) return push_received(L, s);
    op_begin(L, &s->receive, s->receive_ms);
    set_interest(s);
    return task_park(L);
}

static int socket_receive(lua_State *L) {
    static const char *const names[] = { "line", "all", NULL };
    struct cosocket *s = check_socket(L);
    if (lua_type(L, 2) == LUA_TNUMBER) {
        lua_Integer n = luaL_checkinteger(L, 2);
        luaL_argcheck(L, n >= 0, 2, "expected a number of bytes, 0 or more");
        op_check_free(L, &s->receive, "receiving on this socket");
        s->what = RECEIVE_COUNT;
        s->count = (size_t)n;
    } else {
        bool is_line = luaL_checkoption(L, 2, "line", names) == 0;
        op_check_free(L, &s->receive, "receiving on this socket");
        s->what = is_line ? RECEIVE_LINE : RECEIVE_ALL;
        s->count = 0;
    }
    return receive(L, s);
}

static int socket_receive_any(lua_State *L) {
    struct cosocket *s = check_socket(L);
    lua_Integer n = luaL_optinteger(L, 2, (lua_Integer)s->receive_max);
    luaL_argcheck(L, n > 0, 2, "expected a number of bytes, 1 or more");
    op_check_free(L, &s->receive, "receiving on this socket");
    s->what = RECEIVE_ANY;
    s->count = (size_t)n < s->receive_max ? (size_t)n : s->receive_max;
    return receive(L, s);
}

static int push_sent(lua_State *L, void *obj) {
    struct cosocket *s = obj;
    if (s->send.why) {
        if (!s->broken) s->broken = "a send was cut off";
        return vm_fail(L, "%s", s->send.why);
    }
    lua_pushinteger(L, (lua_Integer)s->out_len); /* bytes */
    return 1;
}

/* Puts the strings of the list at index 2, joined, in its place. [-0, +0, v] */
static void join(lua_State *L) {
    luaL_Buffer joined;
    lua_Integer len = (lua_Integer)lua_rawlen(L, 2);
    luaL_buffinit(L, &joined);
    for (lua_Integer i = 1; i <= len; i++) {
        int type = lua_rawgeti(L, 2, i); /* ..., piece */
        if (type != LUA_TSTRING && type != LUA_TNUMBER)
            luaL_error(L, "piece %d to send is a %s, not a string", (int)i, lua_typename(L, type));
        luaL_addvalue(&joined); /* ... */
    }
    luaL_pushresult(&joined); /* ..., data */
    lua_replace(L, 2);        /* ... */
}

static int socket_send(lua_State *L) {
    struct cosocket *s = check_socket(L);
    lua_settop(L, 2); /* socket, data */
    if (lua_istable(L, 2)) join(L);
    struct slice data = vm_check_slice(L, 2);
    luaL_argcheck(L, data.len <= SEND_MAX, 2, "longer than 64 MiB");
    op_check_free(L, &s->send, "sending on this socket");
    if (!is_open(s)) return vm_fail(L, "closed");
    if (s->broken) return vm_fail(L, "%s", s->broken);
    s->out = (const char *)data.at;
    s->out_len = data.len;
    s->out_at = 0;
    s->send.why = NULL;
    if (step_send(s) == STEP_DONE) return push_sent(L, s);
    if (!task_can_wait(L)) s->broken = "a send was cut off";
    op_begin(L, &s->send, s->send_ms);
    set_interest(s);
    return task_park(L);
}

static int socket_settimeouts(lua_State *L) {
    struct cosocket *s = check_socket(L);
    uint64_t send_ms = options_check_ms(L, 2);
    uint64_t receive_ms = lua_isnoneornil(L, 3) ? send_ms : options_check_ms(L, 3);
    s->send_ms = send_ms;
    s->receive_ms = receive_ms;
    return 0;
}

/* Why it cannot be kept, or NULL. */
static const char *unfit(const struct cosocket *s) {
    if (s->broken) return s->broken;
    if (s->at_end) return "closed";
    if (in_len(s)) return "there is unread input";
    return NULL;
}

static int socket_setkeepalive(lua_State *L) {
    struct cosocket *s = check_socket(L);
    uint64_t idle_ms = lua_isnoneornil(L, 2) ? 60000 : options_check_ms(L, 2);
    unsigned size = s->pool_limit ? s->pool_limit : IDLE_MAX;
    lua_Integer most = luaL_optinteger(L, 3, size);
    luaL_argcheck(L, most >= 0 && most <= NET_SOCKETS_MAX, 3, "expected 0 to 4096 connections");
    op_check_free(L, &s->receive, "receiving on this socket");
    op_check_free(L, &s->send, "sending on this socket");
    if (!is_open(s)) return vm_fail(L, "closed");
    const char *why = unfit(s);
    if (why) {
        vm_fail(L, "%s", why); /* socket, ..., nil, why */
        cosocket_drop(s);
        return 2;
    }
    struct pool *p = s->pool;
    struct pooled c = { s->stream, s->reused };
    loop_unwatch(loop_of(s), &s->watch);
    s->stream.fd = -1;
    s->pool = NULL;
    cosocket_drop(s);
    pool_give(p, c, idle_ms, (unsigned)most);
    lua_pushboolean(L, 1); /* socket, ..., true */
    return 1;
}

static int socket_close(lua_State *L) {
    struct cosocket *s = check_socket(L);
    if (!is_open(s)) return vm_fail(L, "closed");
    cosocket_drop(s);
    lua_pushboolean(L, 1); /* socket, true */
    return 1;
}

static int socket_gc(lua_State *L) {
    struct cosocket *s = lua_touserdata(L, 1);
    cosocket_drop(s);
    destination_deinit(&s->to);
    free(s->text);
    s->text = NULL;
    return 0;
}

static int socket_to_be_closed(lua_State *L) {
    cosocket_drop(check_socket(L));
    return 0;
}

static void *resolve(lua_State *L, void *block) {
    (void)L;
    return block;
}

static void get_open(lua_State *L, void *obj) {
    lua_pushboolean(L, is_open(obj));
}

static void get_reused(lua_State *L, void *obj) {
    lua_pushinteger(L, ((struct cosocket *)obj)->reused);
}

static const struct field fields[] = {
    { "open", get_open, NULL },
    { "reused", get_reused, NULL },
    { NULL, NULL, NULL },
};

static const luaL_Reg methods[] = {
    { "send", socket_send },
    { "receive", socket_receive },
    { "receive_any", socket_receive_any },
    { "settimeouts", socket_settimeouts },
    { "setkeepalive", socket_setkeepalive },
    { "close", socket_close },
    { NULL, NULL },
};

static const luaL_Reg meta[] = {
    { "__close", socket_to_be_closed },
    { NULL, NULL },
};

const struct object_type cosocket_type = {
    .name = "socket",
    .fields = fields,
    .methods = methods,
    .resolve = resolve,
    .gc = socket_gc,
    .meta = meta,
};

static void on_cancelled(void *obj) {
    cosocket_drop(obj);
}

struct cosocket *cosocket_new(lua_State *L) {
    struct cosocket *s = object_new(L, &cosocket_type, sizeof *s, 0); /* socket */
    s->vm = vm_of(L);
    s->stream.fd = -1;
    s->connect = (struct op){ .cancelled = on_cancelled, .obj = s };
    s->receive = (struct op){ .push = push_received, .cancelled = on_cancelled, .obj = s };
    s->send = (struct op){ .push = push_sent, .cancelled = on_cancelled, .obj = s };
    return s;
}
