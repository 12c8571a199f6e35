/* fetch.h -- HTTP requests, driven by the loop.
 *
 * libcurl does the work, connections are kept and shared.  Names are looked up by the
 * caller, who says where to connect: curl's own look-up would use threads.  Owned by the
 * loop's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_IO_FETCH_H
#define SOL_IO_FETCH_H

#include "base/buf.h"
#include "io/loop.h"
#include "io/tls.h"

struct fetch_request {
    const char *method;
    const char *url;            /* http or https */
    const char *addresses;      /* "HOST:PORT:ADDRESS,ADDRESS": where that is; NULL: in the URL */
    const char *path;           /* of a unix socket to connect to; NULL: none */
    const char *const *headers; /* "Name: value"; NULL ends them */
    struct slice body;          /* SLICE_NONE: none */
    struct tls_client_opts tls;
    uint64_t timeout_ms; /* of the whole */
    size_t body_max;     /* bytes */
};

/* What came of it. */
struct fetch_reply {
    const char *error; /* lent; NULL: there is a response */
    long status;
    struct buf headers; /* the response's header lines, as they came */
    struct buf body;
};

struct fetcher;
struct fetch;

/* The outcome, lent; the fetch is over.  May begin and cancel others. */
typedef void fetch_fn(void *obj, const struct fetch_reply *reply);

/* Lends `loop`, on whose thread everything here happens. */
struct fetcher *fetcher_new(struct loop *loop);
/* Fetches under way are dropped, not answered.  Not from within a fetch_fn.  NULL is fine. */
void fetcher_free(struct fetcher *f);
/* Requests under way. */
unsigned fetcher_len(const struct fetcher *f);

/* Begins; copies what it needs; fn is called once, in a later step of the loop. */
struct fetch *fetch_start(struct fetcher *f, const struct fetch_request *q, fetch_fn *fn,
                          void *obj);
/* Nobody wants it any more: fn is not called.  Takes the fetch. */
void fetch_cancel(struct fetch *t);

/* The parts of an absolute URL, or of one relative to `base`; owned strings. */
struct fetch_url {
    char *url;           /* absolute, without a fragment */
    char *scheme, *host; /* host without brackets */
    unsigned port;
};
/* False, with `why` (static), when it is no http or https URL. */
bool fetch_url_parse(const char *url, const char *base, struct fetch_url *out, const char **why);
void fetch_url_deinit(struct fetch_url *u);

#endif
