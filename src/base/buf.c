/* buf.c -- a byte buffer that grows by doubling.  See buf.h for the invariant. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/buf.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BUF_MIN 64 /* bytes; the first allocation */

void buf_deinit(struct buf *b) {
    xfree(b->at);
    *b = BUF_INIT;
}

uint8_t *buf_reserve(struct buf *b, size_t n) {
    if (b->at && n <= b->cap - b->len) return b->at + b->len;
    must(n <= SIZE_MAX / 2 - b->len);
    size_t cap = b->cap ? b->cap : BUF_MIN;
    while (cap < b->len + n) cap *= 2;
    b->at = xrealloc(b->at, cap);
    b->cap = cap;
    return b->at + b->len;
}

void buf_add(struct buf *b, const void *at, size_t n) {
    if (n == 0) return;
    memcpy(buf_reserve(b, n), at, n);
    b->len += n;
}

void buf_add_slice(struct buf *b, struct slice s) {
    buf_add(b, s.at, s.len);
}

void buf_printf(struct buf *b, const char *fmt, ...) {
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    size_t room = b->cap - b->len;
    int n = vsnprintf(b->at ? (char *)b->at + b->len : NULL, room, fmt, args);
    must(n >= 0);
    /* vsnprintf wants room for a NUL, which is not part of the contents. */
    if ((size_t)n >= room)
        (void)vsnprintf((char *)buf_reserve(b, (size_t)n + 1), (size_t)n + 1, fmt, again);
    b->len += (size_t)n;
    va_end(again);
    va_end(args);
}

void buf_drop(struct buf *b, size_t n) {
    must(n <= b->len);
    if (n == 0) return;
    b->len -= n;
    memmove(b->at, b->at + n, b->len);
}
