/* slots.h -- objects named by slot and generation.
 *
 * A handle outlives its object safely: once the object has left its slot the handle
 * finds nothing, also when the slot is in use again.  Invariant: a generation is
 * never 0, so the zero handle (HANDLE_NONE) names nothing.  Owned by one thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_BASE_SLOTS_H
#define SOL_BASE_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct handle {
    uint32_t slot, gen;
};

#define HANDLE_NONE ((struct handle){ 0, 0 })

#define SLOTS_MAX (UINT32_C(1) << 26) /* objects */

struct slot {
    void *obj;     /* lent by the caller; NULL while the slot is free */
    uint32_t gen;  /* bumped when the object leaves */
    uint32_t next; /* next free slot, while free */
};

struct slots {
    struct slot *at;
    uint32_t len, cap;
    uint32_t free; /* head of the free list, UINT32_MAX when empty */
    uint32_t base; /* the first slot's number */
    uint32_t used; /* objects present */
};

/* Empty; allocates when the first object comes. */
void slots_init(struct slots *t);
/* Likewise, its slots numbered from `base`, a multiple of SLOTS_MAX: so the handles of
 * several owners differ, and say whose they are. */
void slots_init_at(struct slots *t, uint32_t base);
/* Must be empty of objects. */
void slots_deinit(struct slots *t);
/* Files `obj` (borrowed until slots_del) and gives its handle. */
struct handle slots_add(struct slots *t, void *obj);
/* Forgets the object; a stale handle does nothing. */
void slots_del(struct slots *t, struct handle h);

/* Lends the object, or NULL when it has gone. */
static inline void *slots_find(const struct slots *t, struct handle h) {
    uint32_t i = h.slot - t->base; /* of another's handle: beyond any length */
    if (i >= t->len || t->at[i].gen != h.gen) return NULL;
    return t->at[i].obj;
}

/* Walks the present objects: start with *at == 0; NULL ends the walk.  Adding and
 * deleting during the walk is allowed; what is added may be missed. */
void *slots_next(const struct slots *t, uint32_t *at);

static inline bool handle_eq(struct handle a, struct handle b) {
    return a.slot == b.slot && a.gen == b.gen;
}

/* Which of several owners a handle is from: its base / SLOTS_MAX. */
static inline unsigned handle_owner(struct handle h) {
    return h.slot / SLOTS_MAX;
}

static inline bool handle_is_none(struct handle h) {
    return h.gen == 0;
}

#endif
