/* buf.h -- a byte buffer that grows.
 *
 * Invariant: len <= cap; at == NULL iff cap == 0.  Owned by one thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_BASE_BUF_H
#define SOL_BASE_BUF_H

#include "base/slice.h"

struct buf {
    uint8_t *at;
    size_t len, cap; /* bytes */
};

#define BUF_INIT ((struct buf){ NULL, 0, 0 })

/* Frees the bytes and leaves a valid empty buffer. */
void buf_deinit(struct buf *b);
/* Likewise if there is room for more than `most` bytes: what few contents need is not kept. */
static inline void buf_trim(struct buf *b, size_t most) {
    if (b->cap > most) buf_deinit(b);
}
/* Lends room for `n` more bytes behind `len`; the caller adds what it wrote to
 * `len`.  The pointer lives until the next call. */
uint8_t *buf_reserve(struct buf *b, size_t n);
/* Appends a copy. */
void buf_add(struct buf *b, const void *at, size_t n);
void buf_add_slice(struct buf *b, struct slice s);
/* Appends formatted text (no NUL). */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Drops the first `n` bytes (n <= len), moving the rest to the front. */
void buf_drop(struct buf *b, size_t n);

/* Lends the contents until the buffer changes. */
static inline struct slice buf_slice(const struct buf *b) {
    return slice_of(b->at, b->len);
}

#endif
