/* dial.h -- connections we make: name, address, socket, TLS.
 *
 * A dial looks the name up, tries its addresses one after the other and shakes hands when
 * TLS is asked for, all within one time-out.  Owned by the loop's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_IO_DIAL_H
#define SOL_IO_DIAL_H

#include "io/loop.h"
#include "io/stream.h"

#include <stdint.h>

struct resolver;
struct tls_context;

struct dial_opts {
    struct loop *loop;
    struct resolver *resolver; /* lent while the dial goes on */
    const char *host;          /* name or address, without brackets; NULL: unix */
    uint16_t port;
    const char *path;        /* of a unix socket */
    struct tls_context *tls; /* NULL: plain */
    const char *server_name; /* whom TLS expects; NULL: host */
    uint64_t timeout_ms;
};

struct dial;

/* The outcome; the dial is over.  With `why` NULL `s` is connected and taken by the
 * callee, else `why` (lent) says what went wrong: "timeout", "connection refused" ... */
typedef void dial_fn(void *obj, struct stream s, const char *why);

/* Begins; fn is called once, in a later step of the loop.  Copies what it needs. */
struct dial *dial_start(const struct dial_opts *opts, dial_fn *fn, void *obj);
/* Nobody wants it any more: fn is not called.  Takes the dial. */
void dial_cancel(struct dial *d);

#endif
