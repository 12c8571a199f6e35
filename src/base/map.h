/* map.h -- hash map from byte strings to objects that carry their own key.
 *
 * Open addressing with linear probing and backward-shift deletion; no tombstones.
 * Hashed with SipHash-1-3 under a key drawn at init from getrandom(), because
 * clients choose the strings.  An object's key must not change while it is filed.
 * Owned by one thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_BASE_MAP_H
#define SOL_BASE_MAP_H

#include "base/slice.h"

/* Lends the key of a filed object. */
typedef struct slice map_key_fn(const void *obj);

struct map_cell {
    void *obj; /* NULL: free */
    uint64_t hash;
};

struct map {
    struct map_cell *cells;
    size_t len;  /* objects */
    size_t mask; /* cells - 1; cells is 0 or a power of two */
    map_key_fn *key;
    uint64_t seed[2];
};

/* Empty; allocates when the first object comes.  `key` names an object as long as it is in. */
void map_init(struct map *m, map_key_fn *key);
/* Likewise with a key for the hash that other maps have, too: they can be asked by one hash. */
void map_init_seeded(struct map *m, map_key_fn *key, const uint64_t seed[2]);
/* Frees the table, not the objects. */
void map_deinit(struct map *m);

/* The map's hash of a key, for the *_hashed calls. */
uint64_t map_hash(const struct map *m, struct slice key);

/* Lends the object with this key, or NULL. */
void *map_find(const struct map *m, struct slice key);
void *map_find_hashed(const struct map *m, struct slice key, uint64_t hash);
/* Before a look-up that comes a little later: asks memory for what it begins with. */
static inline void map_prefetch(const struct map *m, uint64_t hash) {
    if (m->cells) __builtin_prefetch(&m->cells[hash & m->mask]);
}
/* The object that a look-up by this hash is likely to give, NULL: it will give none.  Does not
 * touch the object. */
void *map_peek(const struct map *m, uint64_t hash);
/* As map_find_hashed, with what map_peek has given meanwhile. */
static inline void *map_confirm(const struct map *m, void *likely, struct slice key,
                                uint64_t hash) {
    if (!likely || slice_eq(m->key(likely), key)) return likely;
    return map_find_hashed(m, key, hash);
}
/* Files `obj` (borrowed until deleted) under its key; gives the object that had
 * this key before, or NULL. */
void *map_put(struct map *m, void *obj);
void *map_put_hashed(struct map *m, void *obj, uint64_t hash);
/* Takes the object with this key out and gives it back, or NULL. */
void *map_del(struct map *m, struct slice key);
void *map_del_hashed(struct map *m, struct slice key, uint64_t hash);

/* Walks the objects in no order: start with *at == 0; NULL ends the walk.  The map
 * must not change during the walk, or some are met twice or not at all. */
void *map_next(const struct map *m, size_t *at);

/* SipHash-1-3 of `key` under `seed`; the one keyed hash of the tree. */
uint64_t siphash13(const uint64_t seed[2], struct slice key);

#endif
