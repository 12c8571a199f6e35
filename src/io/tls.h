/* tls.h -- TLS over a socket, as one more stream.
 *
 * The only way to OpenSSL.  A context holds certificates and trust and is shared by many
 * streams; it belongs to one thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_IO_TLS_H
#define SOL_IO_TLS_H

#include "io/stream.h"

struct tls_context;

struct tls_client_opts {
    const char *ca;         /* file of trusted certificates (PEM); NULL: the system's */
    const char *cert, *key; /* files of our own certificate and its key; NULL: none */
    bool no_verify;         /* take any certificate */
};

/* A context for connections we make, with one reference.  NULL, with `why` (free() it),
 * when a file cannot be used.  Reads files. */
struct tls_context *tls_client_new(const struct tls_client_opts *opts, char **why);
struct tls_context *tls_context_ref(struct tls_context *c);
/* Always NULL; NULL is fine. */
struct tls_context *tls_context_unref(struct tls_context *c);

/* Turns a connected socket into a TLS stream that has yet to shake hands, as the client.
 * The server has to be `server_name`, a host name or an address. */
void tls_wrap_client(struct stream *s, struct tls_context *c, const char *server_name);
/* Goes on with the handshake: 0 when it is done, -EAGAIN when the loop should wait for
 * tls_wants, or another -errno, with tls_why telling more. */
int tls_handshake(struct stream *s);
/* What a call that gave -EAGAIN waits for: LOOP_READ or LOOP_WRITE. */
unsigned tls_wants(const struct stream *s);
/* Why the handshake failed; lent until the stream closes. */
const char *tls_why(const struct stream *s);

extern const struct stream_type stream_tls;

#endif
