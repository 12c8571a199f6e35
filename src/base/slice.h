/* slice.h -- a borrowed run of bytes.
 *
 * A slice owns nothing: whoever hands one out says how long its bytes live.
 * An absent value is SLICE_NONE (at == NULL); an empty one has at != NULL. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_BASE_SLICE_H
#define SOL_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *at;
    size_t len; /* bytes */
};

#define SLICE_NONE ((struct slice){ NULL, 0 })
/* A slice of a string literal, without its closing NUL. */
#define SLICE(literal) ((struct slice){ (const uint8_t *)(literal), sizeof(literal) - 1 })
/* Arguments for printf's "%.*s". */
#define SLICE_FMT(s) (int)(s).len, (const char *)((s).at ? (s).at : (const uint8_t *)"")

/* Lends the bytes of a NUL-terminated string; NULL gives SLICE_NONE. */
static inline struct slice slice_str(const char *str) {
    return (struct slice){ (const uint8_t *)str, str ? strlen(str) : 0 };
}

static inline struct slice slice_of(const void *at, size_t len) {
    return (struct slice){ at, len };
}

/* Same length and bytes; an absent slice equals an empty one. */
static inline bool slice_eq(struct slice a, struct slice b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

static inline bool slice_starts(struct slice s, struct slice prefix) {
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.at, prefix.at, prefix.len) == 0);
}

#endif
