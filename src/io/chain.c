/* chain.c -- chunks, their pool and the gathered write.
 *
 * A chunk is a run of copied bytes, then perhaps one reference:
 *
 *     head -> [copied .... | ref] -> [copied ............ | -] -> tail
 *
 * so a header copied and a payload referenced make one chunk.  Once it holds a
 * reference a chunk takes no more copies.  The first chunk of a chain is the smallest
 * that will do; one that follows a full one is a class larger, so a connection that
 * answers a ping borrows 256 bytes and one that is far behind few large chunks.
 *
 * Chunks go back to the pool when written.  What the pool keeps is bounded, so a peak
 * does not stay. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/chain.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>

#define CLASSES    4
#define POOL_MAX   ((size_t)4 << 20) /* bytes kept for reuse */
#define GATHER_MAX 64                /* entries for one writev */

static const uint32_t class_bytes[CLASSES] = { 256, 1024, 4096, 16384 };

struct chunk {
    struct chunk *next;
    uint8_t *at;                /* copied bytes still to write */
    const uint8_t *const *ref;  /* referenced bytes, to be written after those */
    void (*release)(void *obj); /* NULL: no reference in this chunk */
    void *obj;
    uint32_t len;             /* bytes at `at` */
    uint32_t ref_at, ref_len; /* of the referenced: written, and still to write */
    uint32_t cap;             /* bytes of data[] */
    uint8_t class;            /* CLASSES: a size of its own */
    uint8_t data[];
};

#define HEADER offsetof(struct chunk, data)

/* ---- pool ---------------------------------------------------------------- */

void chain_pool_init(struct chain_pool *p) {
    *p = (struct chain_pool){ .free_bytes = 0 };
}

void chain_pool_deinit(struct chain_pool *p) {
    for (unsigned i = 0; i < CLASSES; i++) {
        for (struct chunk *k; (k = p->free[i]);) {
            p->free[i] = k->next;
            free(k);
        }
    }
    p->free_bytes = 0;
}

/* A chunk for `n` bytes, of `class` at least. */
static struct chunk *chunk_new(struct chain_pool *p, unsigned class, size_t n) {
    must(n <= UINT32_MAX - HEADER);
    while (class < CLASSES && class_bytes[class] - HEADER < n) class ++;
    struct chunk *k = class < CLASSES ? p->free[class] : NULL;
    size_t bytes = class < CLASSES ? class_bytes[class] : HEADER + n;
    if (k) {
        p->free[class] = k->next;
        p->free_bytes -= bytes;
    } else {
        k = xmalloc(bytes);
    }
    *k = (struct chunk){ .cap = (uint32_t)(bytes - HEADER), .class = (uint8_t) class };
    k->at = k->data;
    return k;
}

static void chunk_free(struct chain_pool *p, struct chunk *k) {
    if (k->release) k->release(k->obj);
    if (k->class == CLASSES || p->free_bytes + class_bytes[k->class] > POOL_MAX) {
        free(k);
        return;
    }
    k->next = p->free[k->class];
    p->free[k->class] = k;
    p->free_bytes += class_bytes[k->class];
}

/* ---- the two ends -------------------------------------------------------- */

static size_t chunk_room(const struct chunk *k) {
    return k && !k->release ? (size_t)(k->data + k->cap - k->at) - k->len : 0;
}

static struct chunk *tail_append(struct chain *c, struct chain_pool *p, size_t n) {
    unsigned class = 0;
    if (c->tail && !c->tail->release) class = c->tail->class + 1u;
    struct chunk *k = chunk_new(p, class < CLASSES ? class : CLASSES - 1, n);
    if (c->tail)
        c->tail->next = k;
    else
        c->head = k;
    c->tail = k;
    return k;
}

static void head_drop(struct chain *c, struct chain_pool *p) {
    struct chunk *k = c->head;
    c->head = k->next;
    if (!c->head) c->tail = NULL;
    c->len -= k->len + k->ref_len;
    chunk_free(p, k);
}

void chain_deinit(struct chain *c, struct chain_pool *p) {
    while (c->head) head_drop(c, p);
    must(c->len == 0);
}

/* ---- filling ------------------------------------------------------------- */

uint8_t *chain_reserve(struct chain *c, struct chain_pool *p, size_t n) {
    struct chunk *k = c->tail;
    if (!k || chunk_room(k) < n) k = tail_append(c, p, n);
    return k->at + k->len;
}

void chain_commit(struct chain *c, size_t n) {
    must(c->tail && n <= chunk_room(c->tail));
    c->tail->len += (uint32_t)n;
    c->len += n;
}

void chain_add(struct chain *c, struct chain_pool *p, struct slice s) {
    while (s.len) {
        size_t room = chunk_room(c->tail);
        size_t n = room && room < s.len ? room : s.len;
        memcpy(chain_reserve(c, p, n), s.at, n);
        chain_commit(c, n);
        s = slice_of(s.at + n, s.len - n);
    }
}

void chain_ref(struct chain *c, struct chain_pool *p, const struct chain_loan *loan) {
    must(loan->release && loan->len <= UINT32_MAX);
    if (loan->len == 0) {
        loan->release(loan->obj);
        return;
    }
    struct chunk *k = c->tail;
    if (!k || k->release) k = tail_append(c, p, 0);
    k->ref = loan->at;
    k->ref_len = (uint32_t)loan->len;
    k->release = loan->release;
    k->obj = loan->obj;
    c->len += loan->len;
}

/* ---- writing ------------------------------------------------------------- */

static int gather(const struct chain *c, struct iovec iov[GATHER_MAX]) {
    int n = 0;
    for (const struct chunk *k = c->head; k && n <= GATHER_MAX - 2; k = k->next) {
        if (k->len) iov[n++] = (struct iovec){ k->at, k->len };
        if (k->ref_len) iov[n++] = (struct iovec){ (uint8_t *)*k->ref + k->ref_at, k->ref_len };
    }
    return n;
}

/* Forgets the first `n` bytes, which are written. */
static void consume(struct chain *c, struct chain_pool *p, size_t n) {
    c->len -= n;
    for (struct chunk *k; (k = c->head);) {
        uint32_t copied = n < k->len ? (uint32_t)n : k->len;
        k->at += copied;
        k->len -= copied;
        n -= copied;
        if (k->len) break;
        uint32_t referenced = n < k->ref_len ? (uint32_t)n : k->ref_len;
        k->ref_at += referenced;
        k->ref_len -= referenced;
        n -= referenced;
        if (k->ref_len) break;
        head_drop(c, p);
    }
}

int chain_flush(struct chain *c, struct chain_pool *p, struct stream *s) {
    while (c->len) {
        struct iovec iov[GATHER_MAX];
        ssize_t n = stream_writev(s, iov, gather(c, iov));
        if (n == -EAGAIN || n == 0) return CHAIN_BLOCKED;
        if (n < 0) return (int)n;
        consume(c, p, (size_t)n);
    }
    consume(c, p, 0); /* a chunk reserved and never used */
    return CHAIN_EMPTY;
}
