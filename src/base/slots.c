/* slots.c -- an array of slots with a free list threaded through it.
 *
 * The generation is bumped when an object leaves, so every handle given out before is
 * stale from then on.  It wraps after 2^32 - 1 uses of one slot, past zero.  The array
 * never shrinks: a generation must outlive the slot's emptiness. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/slots.h"

#include "base/mem.h"

#include <stdlib.h>

#define NO_SLOT UINT32_MAX

void slots_init_at(struct slots *t, uint32_t base) {
    *t = (struct slots){ .free = NO_SLOT, .base = base };
}

void slots_init(struct slots *t) {
    slots_init_at(t, 0);
}

void slots_deinit(struct slots *t) {
    must(t->used == 0);
    free(t->at);
    slots_init_at(t, t->base);
}

/* A slot never used before, at the end of the array. */
static uint32_t slot_fresh(struct slots *t) {
    if (t->len == t->cap) {
        must(t->cap < SLOTS_MAX);
        t->cap = t->cap ? t->cap * 2 : 16;
        t->at = xrealloc(t->at, t->cap * sizeof *t->at);
    }
    t->at[t->len].gen = 1;
    return t->len++;
}

struct handle slots_add(struct slots *t, void *obj) {
    must(obj);
    uint32_t i = t->free;
    if (i == NO_SLOT)
        i = slot_fresh(t);
    else
        t->free = t->at[i].next;
    t->at[i].obj = obj;
    t->used++;
    return (struct handle){ t->base + i, t->at[i].gen };
}

void slots_del(struct slots *t, struct handle h) {
    if (!slots_find(t, h)) return;
    struct slot *s = &t->at[h.slot - t->base];
    s->obj = NULL;
    if (++s->gen == 0) s->gen = 1;
    s->next = t->free;
    t->free = h.slot - t->base;
    t->used--;
}

void *slots_next(const struct slots *t, uint32_t *at) {
    while (*at < t->len) {
        void *obj = t->at[(*at)++].obj;
        if (obj) return obj;
    }
    return NULL;
}
