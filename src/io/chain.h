/* chain.h -- what waits to be written to one stream.
 *
 * A list of chunks from a pool shared by the loop's connections: small packets are
 * copied into the last chunk, large payloads are referenced, all of it leaves in one
 * writev.  An empty chain owns nothing.  Owned by one thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_IO_CHAIN_H
#define SOL_IO_CHAIN_H

#include "io/stream.h"

/* Payloads from this size on are worth a reference instead of a copy (bytes). */
#define CHAIN_REF_MIN 1024

struct chunk; /* private to chain.c */

/* Free chunks by size class; one a worker. */
struct chain_pool {
    struct chunk *free[4];
    size_t free_bytes; /* kept for reuse; bounded by chain.c */
};

struct chain {
    struct chunk *head, *tail; /* NULL: empty */
    size_t len;                /* bytes still to write */
};

/* An empty pool; deinit frees what it keeps, after the chains that use it. */
void chain_pool_init(struct chain_pool *p);
void chain_pool_deinit(struct chain_pool *p);

/* Frees what is queued and leaves an empty chain. */
void chain_deinit(struct chain *c, struct chain_pool *p);

/* Lends room for `n` contiguous bytes at the end (any n; larger than a chunk gets one
 * of its own, under 4 GiB).  Call chain_commit with what was used (<= n) before anything
 * else; room left unused goes with the next flush. */
uint8_t *chain_reserve(struct chain *c, struct chain_pool *p, size_t n);
void chain_commit(struct chain *c, size_t n);
/* Appends a copy. */
void chain_add(struct chain *c, struct chain_pool *p, struct slice s);
/* Bytes that others keep for a chain. */
struct chain_loan {
    const uint8_t *const *at; /* where they lie is looked up at each write: they may move */
    size_t len;
    void (*release)(void *obj); /* they are written, or the chain is dropped */
    void *obj;
};
/* Appends a reference: the bytes and `at` itself must live until release(obj) is called. */
void chain_ref(struct chain *c, struct chain_pool *p, const struct chain_loan *loan);

enum { CHAIN_EMPTY = 0, CHAIN_BLOCKED = 1 }; /* blocked: wait for LOOP_WRITE */
/* Writes as much as the stream takes (gathered).  CHAIN_EMPTY, CHAIN_BLOCKED, or a
 * fatal -errno from the stream. */
int chain_flush(struct chain *c, struct chain_pool *p, struct stream *s);

#endif
