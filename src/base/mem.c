/* mem.c -- the one place where the process ends for want of memory.
 *
 * abort() rather than exit(): no destructor may run on a heap that is exhausted, and
 * a core file shows who asked.  Any thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

enum { SMALL = 1024 }; /* bytes */

static _Noreturn void out_of_memory(size_t size) {
    fprintf(stderr, "sol: out of memory (%zu bytes asked for)\n", size);
    abort();
}

void *xmalloc(size_t size) {
    void *at = malloc(size ? size : 1);
    if (!at) out_of_memory(size);
    return at;
}

/* Zeroing a small block here is several times as fast as calloc; a large one may come from
 * the kernel, which has zeroed it. */
void *xcalloc(size_t count, size_t size) {
    if (count <= SMALL && size <= SMALL / (count ? count : 1))
        return memset(xmalloc(count * size), 0, count * size);
    void *at = calloc(count ? count : 1, size ? size : 1);
    if (!at) out_of_memory(size && count > SIZE_MAX / size ? SIZE_MAX : count * size);
    return at;
}

void *xcalloc_lines(size_t count, size_t size) {
    must(size % CACHE_LINE == 0 && count <= SIZE_MAX / size);
    void *at = aligned_alloc(CACHE_LINE, count * size);
    if (!at) out_of_memory(count * size);
    return memset(at, 0, count * size);
}

void *xrealloc(void *at, size_t size) {
    void *moved = realloc(at, size ? size : 1);
    if (!moved) out_of_memory(size);
    return moved;
}

char *xstrdup(const char *str) {
    return xslicedup(slice_str(str));
}

char *xslicedup(struct slice s) {
    if (!s.at) return NULL;
    char *copy = xmalloc(s.len + 1);
    memcpy(copy, s.at, s.len);
    copy[s.len] = '\0';
    return copy;
}

void must_failed(const char *expr, const char *file, int line) {
    fprintf(stderr, "sol: %s:%d: broken invariant: %s\n", file, line, expr);
    abort();
}
