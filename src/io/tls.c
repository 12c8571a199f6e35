/* tls.c -- OpenSSL behind a stream's table of functions.
 *
 * OpenSSL does not touch the socket itself: a BIO of ours reads and writes through the
 * stream the connection had before, so that a vanished peer is an error and not a signal.
 * What OpenSSL has read ahead no epoll knows of: readers must read until -EAGAIN before
 * they wait. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/tls.h"

#include "base/mem.h"
#include "io/loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WHY_MAX 256 /* bytes of text */

struct tls_context {
    unsigned refs;
    SSL_CTX *ssl;     /* owned */
    BIO_METHOD *wire; /* owned */
};

struct tls_state {
    struct tls_context *context; /* reference */
    struct stream below;         /* what carries it; owned */
    SSL *ssl;                    /* owned */
    unsigned wants;
    char why[WHY_MAX];
};

/* ---- the wire ---------------------------------------------------------------------- */

static int wire_result(BIO *bio, ssize_t n) {
    if (n == -EAGAIN) return -1;
    BIO_clear_retry_flags(bio);
    if (n >= 0) return (int)n;
    errno = (int)-n;
    return -1;
}

static int wire_read(BIO *bio, char *at, int len) {
    struct tls_state *t = BIO_get_data(bio);
    BIO_set_retry_read(bio);
    return wire_result(bio, stream_read(&t->below, at, (size_t)len));
}

static int wire_write(BIO *bio, const char *at, int len) {
    struct tls_state *t = BIO_get_data(bio);
    struct iovec iov = { (void *)(uintptr_t)at, (size_t)len };
    BIO_set_retry_write(bio);
    return wire_result(bio, stream_writev(&t->below, &iov, 1));
}

static long wire_ctrl(BIO *bio, int command, long number, void *at) {
    (void)bio;
    (void)number;
    (void)at;
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *wire_new(void) {
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
    must(m != NULL);
    BIO_meth_set_read(m, wire_read);
    BIO_meth_set_write(m, wire_write);
    BIO_meth_set_ctrl(m, wire_ctrl);
    return m;
}

/* ---- contexts ------------------------------------------------------------------------ */

/* What OpenSSL says was wrong with `path`; free() it. */
static char *file_error(const char *what, const char *path) {
    char text[WHY_MAX + 512];
    unsigned long code = ERR_peek_error();
    const char *reason =
        ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
    snprintf(text, sizeof text, "%s %s: %s", what, path, reason ? reason : "not PEM");
    ERR_clear_error();
    return xstrdup(text);
}

/* The system's folder of certificates is looked into as needed; its file with all of them,
 * which takes long to read, only where there is no folder or SSL_CERT_FILE asks for it. */
static void trust_system(SSL_CTX *ssl) {
    const char *folder = getenv(X509_get_default_cert_dir_env());
    if (!folder) folder = X509_get_default_cert_dir();
    SSL_CTX_set_default_verify_dir(ssl);
    if (getenv(X509_get_default_cert_file_env()) || access(folder, R_OK) < 0)
        SSL_CTX_set_default_verify_file(ssl);
    ERR_clear_error();
}

static char *load_files(SSL_CTX *ssl, const struct tls_client_opts *o) {
    if (o->ca && SSL_CTX_load_verify_locations(ssl, o->ca, NULL) != 1)
        return file_error("ca", o->ca);
    if (o->cert && SSL_CTX_use_certificate_chain_file(ssl, o->cert) != 1)
        return file_error("cert", o->cert);
    if (o->key && SSL_CTX_use_PrivateKey_file(ssl, o->key, SSL_FILETYPE_PEM) != 1)
        return file_error("key", o->key);
    return NULL;
}

struct tls_context *tls_client_new(const struct tls_client_opts *opts, char **why) {
    struct tls_context *c = xcalloc(1, sizeof *c);
    c->refs = 1;
    c->wire = wire_new();
    c->ssl = SSL_CTX_new(TLS_client_method());
    must(c->ssl != NULL);
    SSL_CTX_set_min_proto_version(c->ssl, TLS1_2_VERSION);
    SSL_CTX_set_options(c->ssl, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                 SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(c->ssl, opts->no_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if (!opts->ca) trust_system(c->ssl);
    ERR_clear_error();
    *why = load_files(c->ssl, opts);
    return *why ? tls_context_unref(c) : c;
}

struct tls_context *tls_context_ref(struct tls_context *c) {
    c->refs++;
    return c;
}

struct tls_context *tls_context_unref(struct tls_context *c) {
    if (!c || --c->refs > 0) return NULL;
    SSL_CTX_free(c->ssl);
    BIO_meth_free(c->wire);
    free(c);
    return NULL;
}

/* ---- streams ----------------------------------------------------------------------------- */

static struct tls_state *state_of(const struct stream *s) {
    must(s->type == &stream_tls);
    return s->state;
}

static bool is_address(const char *name) {
    struct in6_addr any;
    return inet_pton(AF_INET, name, &any) == 1 || inet_pton(AF_INET6, name, &any) == 1;
}

/* The certificate has to be for this name or address. */
static void expect_server(SSL *ssl, const char *name) {
    if (is_address(name)) {
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name);
        return;
    }
    SSL_set1_host(ssl, name);
    SSL_set_tlsext_host_name(ssl, name);
}

void tls_wrap_client(struct stream *s, struct tls_context *c, const char *server_name) {
    struct tls_state *t = xcalloc(1, sizeof *t);
    BIO *bio = BIO_new(c->wire);
    t->context = tls_context_ref(c);
    t->below = *s;
    t->ssl = SSL_new(c->ssl);
    must(t->ssl && bio);
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_connect_state(t->ssl);
    expect_server(t->ssl, server_name);
    *s = (struct stream){ &stream_tls, t->below.fd, t };
}

/* The -errno of a call of OpenSSL's that gave `r`, its first error kept as text. */
static int failure(struct tls_state *t, int r, int saved_errno) {
    switch (SSL_get_error(t->ssl, r)) {
    case SSL_ERROR_WANT_READ: t->wants = LOOP_READ; return -EAGAIN;
    case SSL_ERROR_WANT_WRITE: t->wants = LOOP_WRITE; return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN: return 0;
    case SSL_ERROR_SYSCALL: return saved_errno ? -saved_errno : -ECONNRESET;
    default: break;
    }
    long verdict = SSL_get_verify_result(t->ssl);
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    if (verdict != X509_V_OK && SSL_get_verify_mode(t->ssl) != SSL_VERIFY_NONE)
        snprintf(t->why, sizeof t->why, "certificate verify failed: %s",
                 X509_verify_cert_error_string(verdict));
    else
        snprintf(t->why, sizeof t->why, "TLS: %s", reason ? reason : "protocol error");
    return -EPROTO;
}

int tls_handshake(struct stream *s) {
    struct tls_state *t = state_of(s);
    ERR_clear_error();
    errno = 0;
    int r = SSL_do_handshake(t->ssl);
    if (r == 1) return 0;
    r = failure(t, r, errno);
    return r == 0 ? -ECONNRESET : r;
}

unsigned tls_wants(const struct stream *s) {
    return state_of(s)->wants;
}

const char *tls_why(const struct stream *s) {
    return state_of(s)->why;
}

static ssize_t tls_read(struct stream *s, void *at, size_t len) {
    struct tls_state *t = s->state;
    ERR_clear_error();
    errno = 0;
    int r = SSL_read(t->ssl, at, len > INT32_MAX ? INT32_MAX : (int)len);
    return r > 0 ? r : failure(t, r, errno);
}

/* The first piece that is not empty: the next call takes the next. */
static ssize_t tls_writev(struct stream *s, const struct iovec *iov, int n) {
    struct tls_state *t = s->state;
    while (n > 1 && iov->iov_len == 0) iov++, n--;
    ERR_clear_error();
    errno = 0;
    size_t len = iov->iov_len > INT32_MAX ? INT32_MAX : iov->iov_len;
    int r = SSL_write(t->ssl, iov->iov_base, (int)len);
    if (r > 0) return r;
    r = failure(t, r, errno);
    return r == 0 ? -EPIPE : r;
}

static void tls_finish(struct stream *s) {
    struct tls_state *t = s->state;
    ERR_clear_error();
    (void)SSL_shutdown(t->ssl);
    t->below.type->finish(&t->below);
}

static void tls_close(struct stream *s) {
    struct tls_state *t = s->state;
    if (SSL_is_init_finished(t->ssl)) {
        ERR_clear_error();
        (void)SSL_shutdown(t->ssl); /* says goodbye if there is room for it */
    }
    SSL_free(t->ssl);
    stream_close(&t->below);
    tls_context_unref(t->context);
    free(t);
    *s = (struct stream){ &stream_tls, -1, NULL };
}

const struct stream_type stream_tls = {
    .name = "tls",
    .read = tls_read,
    .writev = tls_writev,
    .finish = tls_finish,
    .close = tls_close,
};
