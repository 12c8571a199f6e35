/* pidset.c -- linear probing with backward-shift deletion. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/pidset.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { CAP_START = 8 };

/* Fibonacci hashing: identifiers usually run upwards, and by their low bits they would
 * stand in one long run, all of which a deletion would have to look at. */
static uint32_t home(const struct pidset *s, uint16_t id) {
    return (uint32_t)(id * 2654435769u) >> (32 - __builtin_ctz(s->cap));
}

static uint32_t find(const struct pidset *s, uint16_t id) {
    uint32_t i = home(s, id);
    while (s->at[i] && s->at[i] != id) i = (i + 1) & (s->cap - 1);
    return i;
}

void pidset_deinit(struct pidset *s) {
    xfree(s->at);
    *s = (struct pidset){ 0 };
}

void pidset_copy(struct pidset *s, const struct pidset *other) {
    pidset_deinit(s);
    if (!other->len) return;
    *s = *other;
    s->at = xmalloc(s->cap * sizeof *s->at);
    memcpy(s->at, other->at, s->cap * sizeof *s->at);
}

bool pidset_has(const struct pidset *s, uint16_t id) {
    return s->len && s->at[find(s, id)] == id;
}

static void grow(struct pidset *s) {
    struct pidset wider = { .cap = s->cap ? s->cap * 2 : CAP_START, .len = s->len };
    wider.at = xcalloc(wider.cap, sizeof *wider.at);
    for (uint32_t i = 0; i < s->cap; i++)
        if (s->at[i]) wider.at[find(&wider, s->at[i])] = s->at[i];
    free(s->at);
    *s = wider;
}

bool pidset_add(struct pidset *s, uint16_t id) {
    if ((s->len + 1) * 2 > s->cap) grow(s);
    uint32_t i = find(s, id);
    if (s->at[i]) return false;
    s->at[i] = id;
    s->len++;
    return true;
}

bool pidset_del(struct pidset *s, uint16_t id) {
    if (!s->len) return false;
    uint32_t mask = s->cap - 1, hole = find(s, id);
    if (!s->at[hole]) return false;
    s->len--;
    for (uint32_t i = (hole + 1) & mask; s->at[i]; i = (i + 1) & mask) {
        /* An entry may fill the hole unless its home lies after the hole. */
        if (((i - home(s, s->at[i])) & mask) < ((i - hole) & mask)) continue;
        s->at[hole] = s->at[i];
        hole = i;
    }
    s->at[hole] = 0;
    if (!s->len && s->cap > CAP_START) pidset_deinit(s); /* a burst leaves nothing behind */
    return true;
}
