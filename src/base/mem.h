/* mem.h -- memory that is there or the process is not.
 *
 * Running out of memory ends the process in one place (mem.c); greed is refused
 * earlier, by the limits in core/config.h.  Any thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_BASE_MEM_H
#define SOL_BASE_MEM_H

#include "base/slice.h"

#include <stddef.h>
#include <stdlib.h>

/* Gives `size` bytes, uninitialised; free() them.  Never NULL. */
void *xmalloc(size_t size);
/* Gives `count * size` zeroed bytes; an overflow counts as out of memory. */
void *xcalloc(size_t count, size_t size);
/* What different threads write in turn lies on cache lines of its own: a core that writes a
 * line takes it away from all others. */
#define CACHE_LINE 64
/* As xcalloc, for structs with members so aligned. */
void *xcalloc_lines(size_t count, size_t size);
/* As realloc; takes `at`.  Never NULL for size > 0. */
void *xrealloc(void *at, size_t size);
/* free(), where there is rarely anything: the allocator takes its time over NULL, too. */
static inline void xfree(void *at) {
    if (at) free(at);
}
/* Gives a NUL-terminated copy; free() it. */
char *xstrdup(const char *str);
/* Gives a copy of the slice's bytes plus a NUL; free() it.  NULL for SLICE_NONE. */
char *xslicedup(struct slice s);

/* An invariant of ours, checked in release builds too: prints the expression and
 * its place, then aborts.  Never for input. */
#define must(expr) ((expr) ? (void)0 : must_failed(#expr, __FILE__, __LINE__))
_Noreturn void must_failed(const char *expr, const char *file, int line);

/* Run `fn(&variable)` when the variable's scope ends. */
#define AUTO(fn) __attribute__((cleanup(fn)))

#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
