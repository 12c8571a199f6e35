/* dial.c -- one outgoing connection on its way.
 *
 * A dial is looking up, connecting or shaking hands; it owns the descriptor of the attempt
 * under way, if any.  When an address fails the next is tried, each for its share of the
 * time that is left, so that one that swallows packets does not use up all of it.  What is
 * known at once (a bad address, a refusal on this machine) is still told in a later step:
 * the timer brings it. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/dial.h"

#include "base/mem.h"
#include "io/resolver.h"
#include "io/tls.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define ADDRESSES_MAX 16 /* of one name */
#define WHY_MAX       320

#define SOCKET_TYPE (SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)

struct dial {
    struct loop *loop; /* lent */
    dial_fn *fn;
    void *obj;
    uint16_t port;
    struct tls_context *tls;  /* reference, or NULL */
    char *host, *server_name; /* owned */
    uint64_t deadline_ms;
    struct timer timer;
    struct watch watch;
    struct dns_query *query; /* while it is looked up */
    struct stream stream;    /* of this attempt */
    bool is_connected;       /* shaking hands */
    bool is_failed;          /* the timer tells */
    struct sockaddr_un path; /* sun_family 0: not unix */
    union dns_sockaddr at[ADDRESSES_MAX];
    unsigned len, next;
    char why[WHY_MAX]; /* of the latest attempt */
};

/* ---- ends -------------------------------------------------------------------------- */

static void attempt_drop(struct dial *d) {
    loop_abandon(d->loop, &d->watch);
    stream_close(&d->stream);
    d->is_connected = false;
}

static void dial_free(struct dial *d) {
    loop_cancel(d->loop, &d->timer);
    closure_deinit(&d->timer.closure);
    if (d->query) resolver_forget(d->query);
    attempt_drop(d);
    tls_context_unref(d->tls);
    free(d->host);
    free(d->server_name);
    free(d);
}

void dial_cancel(struct dial *d) {
    dial_free(d);
}

static void succeed(struct dial *d) {
    struct stream s = d->stream;
    dial_fn *fn = d->fn;
    void *obj = d->obj;
    loop_unwatch(d->loop, &d->watch);
    d->stream.fd = -1;
    dial_free(d);
    fn(obj, s, NULL);
}

static void fail(struct dial *d) {
    dial_fn *fn = d->fn;
    void *obj = d->obj;
    char why[WHY_MAX];
    memcpy(why, d->why, sizeof why);
    dial_free(d);
    fn(obj, (struct stream){ NULL, -1, NULL }, why);
}

/* From inside a call that must not give its result yet. */
static void fail_soon(struct dial *d) {
    attempt_drop(d);
    d->is_failed = true;
    loop_arm(d->loop, &d->timer, 0);
}

static void set_why(struct dial *d, int error) {
    switch (error) {
    case -ECONNREFUSED: strcpy(d->why, "connection refused"); break;
    case -ETIMEDOUT: strcpy(d->why, "timeout"); break;
    case -ECONNRESET:
    case -EPIPE: strcpy(d->why, "closed"); break;
    default: snprintf(d->why, sizeof d->why, "%s", strerror(-error));
    }
}

/* ---- attempts -------------------------------------------------------------------------- */

static void on_ready(struct closure *self, unsigned events);

/* Each address left has its share of the time. */
static void arm(struct dial *d) {
    uint64_t now_ms = loop_now_ms(d->loop);
    uint64_t left_ms = d->deadline_ms > now_ms ? d->deadline_ms - now_ms : 0;
    unsigned left = d->len - d->next;
    loop_arm(d->loop, &d->timer, now_ms + left_ms / (left + 1));
}

/* 0 when it is on its way, or -errno. */
static int attempt(struct dial *d, const struct sockaddr *to, socklen_t len) {
    int on = 1, fd = socket(to->sa_family, SOCKET_TYPE, 0);
    if (fd < 0) return -errno;
    d->stream = (struct stream){ d->path.sun_family ? &stream_unix : &stream_tcp, fd, NULL };
    if (!d->path.sun_family) (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, to, len) < 0 && errno != EINPROGRESS) return -errno;
    d->watch.closure = (struct closure){ .fn = on_ready, .obj = d, .name = "dial" };
    loop_watch(d->loop, &d->watch, fd, LOOP_WRITE);
    return 0;
}

/* Tries what is left until something is on its way.  False: nothing is. */
static bool try_next(struct dial *d) {
    attempt_drop(d);
    while (d->next < d->len) {
        union dns_sockaddr *to = &d->at[d->next++];
        bool is_v6 = to->any.sa_family == AF_INET6;
        if (is_v6)
            to->v6.sin6_port = htons(d->port);
        else
            to->v4.sin_port = htons(d->port);
        int r = attempt(d, &to->any, is_v6 ? sizeof to->v6 : sizeof to->v4);
        if (r == 0) {
            arm(d);
            return true;
        }
        set_why(d, r);
        attempt_drop(d);
    }
    return false;
}

/* Goes on with TLS, or is there. */
static void shake_hands(struct dial *d) {
    int r = d->tls ? tls_handshake(&d->stream) : 0;
    if (r == 0) {
        succeed(d);
    } else if (r == -EAGAIN) {
        loop_want(d->loop, &d->watch, tls_wants(&d->stream));
    } else {
        set_why(d, r);
        if (r == -EPROTO) snprintf(d->why, sizeof d->why, "%s", tls_why(&d->stream));
        fail(d); /* another address would have the same certificate */
    }
}

static void on_ready(struct closure *self, unsigned events) {
    struct dial *d = self->obj;
    int error = 0;
    socklen_t len = sizeof error;
    (void)events;
    if (!d->is_connected) {
        if (getsockopt(d->stream.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0) error = errno;
        if (error) {
            set_why(d, -error);
            if (!try_next(d)) fail(d);
            return;
        }
        d->is_connected = true;
        loop_arm(d->loop, &d->timer, d->deadline_ms);
        if (d->tls) tls_wrap_client(&d->stream, d->tls, d->server_name);
    }
    shake_hands(d);
}

static void on_time(struct closure *self, unsigned events) {
    struct dial *d = self->obj;
    (void)events;
    if (!d->is_failed) {
        set_why(d, -ETIMEDOUT);
        if (!d->is_connected && !d->query && try_next(d)) return;
    }
    fail(d);
}

/* ---- beginning --------------------------------------------------------------------------- */

static void on_answer(void *obj, const struct dns_answer *answer) {
    struct dial *d = obj;
    d->query = NULL;
    if (answer->error) {
        snprintf(d->why, sizeof d->why, "%.255s: %s", d->host, answer->error);
        fail(d);
        return;
    }
    while (d->len < ADDRESSES_MAX && d->len < answer->len) {
        d->at[d->len] = answer->at[d->len].address;
        d->len++;
    }
    if (!try_next(d)) fail(d);
}

static void look_up(struct dial *d, const struct dial_opts *o) {
    d->query = resolver_ask(o->resolver, o->host, DNS_ADDRESS, on_answer, d);
    if (d->query) return;
    strcpy(d->why, "too many names are being looked up");
    fail_soon(d);
}

static void dial_unix(struct dial *d, const char *path) {
    d->path.sun_family = AF_UNIX;
    if (strlen(path) >= sizeof d->path.sun_path) {
        set_why(d, -ENAMETOOLONG);
        fail_soon(d);
        return;
    }
    strcpy(d->path.sun_path, path);
    int r = attempt(d, (struct sockaddr *)&d->path, sizeof d->path);
    if (r == 0) return;
    set_why(d, r);
    fail_soon(d);
}

struct dial *dial_start(const struct dial_opts *o, dial_fn *fn, void *obj) {
    struct dial *d = xcalloc(1, sizeof *d);
    const char *name = o->server_name ? o->server_name : o->host;
    d->loop = o->loop;
    d->fn = fn;
    d->obj = obj;
    d->port = o->port;
    d->tls = o->tls ? tls_context_ref(o->tls) : NULL;
    d->host = o->host ? xstrdup(o->host) : NULL;
    d->server_name = name ? xstrdup(name) : NULL;
    d->stream.fd = -1;
    d->deadline_ms = loop_now_ms(o->loop) + o->timeout_ms;
    d->timer.closure = (struct closure){ .fn = on_time, .obj = d, .name = "dial" };
    loop_arm(d->loop, &d->timer, d->deadline_ms);
    if (o->path)
        dial_unix(d, o->path);
    else
        look_up(d, o);
    return d;
}
