/* listen.h -- addresses, listening sockets and the accept loop.
 *
 * Accepts until EAGAIN (bounded a turn).  Out of descriptors (EMFILE, ENFILE, ENOMEM)
 * it stops accepting for a short while instead of spinning, says so once, and goes on.
 * Owned by the loop's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_IO_LISTEN_H
#define SOL_IO_LISTEN_H

#include "base/log.h"
#include "io/loop.h"
#include "io/stream.h"

/* "mqtt://HOST:PORT" (also "tcp://"; [v6] in brackets; HOST "*" or empty: all
 * addresses, dual-stack; PORT missing: 1883) or "unix:///path". */
struct listen_url {
    const struct stream_type *type;
    char *host; /* owned; NULL: all addresses */
    char *path; /* owned; unix only */
    uint16_t port;
};

/* 0, or -EINVAL with `why` (lent, static) naming what is wrong. */
int listen_url_parse(struct slice url, struct listen_url *out, const char **why);
void listen_url_deinit(struct listen_url *u);

struct listen_opts {
    struct listen_url url; /* borrowed during the call */
    int backlog;           /* 0: SOMAXCONN */
    int unix_mode;         /* file mode of a unix socket; 0: 0660, -1: as umask has it */
};

struct listener; /* owns the listening descriptors (a host name may have several) */

/* A new connection; takes `fd` (non-blocking, close-on-exec, TCP_NODELAY set).  `peer`
 * is the remote address as text ("127.0.0.1:4711", "[::1]:4711", "unix"), lent.  May
 * close the listener. */
typedef void listener_fn(void *obj, const struct stream_type *type, int fd, const char *peer);

/* Opens, binds and listens without a loop yet: 0 and a listener, or -errno with a
 * one-line explanation in `why` (free() it).  A stale unix socket file is replaced, a
 * live one gives -EADDRINUSE. */
int listener_open(const struct listen_opts *opts, struct listener **out, char **why);
/* Starts accepting on `loop`; fn is called for each connection. */
void listener_start(struct listener *l, struct loop *loop, struct log *log, listener_fn *fn,
                    void *obj);
/* Another listener on the sockets of `l`, for a loop of its own; whichever loop comes first
 * takes a connection.  0 or -errno (out of descriptors).  A socket file stays `l`'s. */
int listener_share(const struct listener *l, struct listener **out);
/* Stops accepting, closes, removes a unix socket file it made. NULL is fine. */
void listener_close(struct listener *l);
/* The port bound (the kernel's choice for port 0), 0 for unix. */
uint16_t listener_port(const struct listener *l);

#endif
