/* pidset.h -- a small set of packet identifiers.
 *
 * Open addressing over u16 with 0 (never a packet identifier) as the free mark.  Empty:
 * no memory.  One thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_PIDSET_H
#define SOL_CORE_PIDSET_H

#include <stdbool.h>
#include <stdint.h>

struct pidset {
    uint16_t *at; /* owned */
    uint32_t cap; /* 0 or a power of two */
    uint32_t len;
};

/* Frees it; a zeroed one is empty and valid. */
void pidset_deinit(struct pidset *s);
/* Makes `s` equal to `other`. */
void pidset_copy(struct pidset *s, const struct pidset *other);
bool pidset_has(const struct pidset *s, uint16_t id);
/* False when it was there already. */
bool pidset_add(struct pidset *s, uint16_t id);
/* False when it was not there. */
bool pidset_del(struct pidset *s, uint16_t id);

#endif
