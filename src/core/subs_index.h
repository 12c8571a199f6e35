/* subs_index.h -- how the subscription index lies in memory (see the head of subs.c).
 *
 * For subs.c, which changes it, and subs_match.c, which reads it; each under its lock. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_SUBS_INDEX_H
#define SOL_CORE_SUBS_INDEX_H

#include "base/map.h"
#include "core/subs.h"

#include <pthread.h>
#include <stdatomic.h>

/* A filter without wildcards, one level of those with, or a shared filter.  There may be
 * millions: what few of them need lies elsewhere. */
struct filter_node {
    struct branch *below; /* owned; NULL: no children */
    struct share *shares; /* groups that share this filter */
    union {
        struct subscription *one;   /* lent; while subs_cap is 0 */
        struct subscription **many; /* owned array of lent ones */
    };
    uint32_t subs_len, subs_cap;
    uint16_t len;    /* bytes of the filter or level in key */
    uint16_t part;   /* of the tree that a change here concerns; PART_WIDE: all of it */
    uint8_t kind;    /* enum node_kind */
    bool is_crowded; /* its subscriptions are in the map `crowd` */
    uint8_t key[];   /* LEVEL: the parent's address, then the level; else the filter */
};

enum node_kind { EXACT, LEVEL, SHARE };

/* The children of a LEVEL that the map `levels` does not find. */
struct branch {
    struct filter_node *plus, *hash;
    uint32_t children; /* these and those in the map */
};

/* One group on one filter. */
struct share {
    struct filter_node *inner;  /* the filter shared */
    struct share *next, **link; /* inner->shares */
    uint32_t id;
    struct filter_node node; /* its members; last, for its key */
};

enum {
    PARENT = sizeof(struct filter_node *), /* bytes at the start of a LEVEL's key */
    PART_WIDE = SUBS_PARTS,
    CROWD = 32 /* subscriptions of one node that are still searched one by one */
};

struct subs {
    pthread_rwlock_t lock;
    struct map exact;     /* filter_node by filter */
    struct map levels;    /* filter_node by parent and level */
    struct map shares;    /* filter_node of a share, by its whole filter */
    struct map share_ids; /* share by its id */
    struct map crowd;     /* subscription by subscription_key, those of crowded nodes */
    struct filter_node *root;
    uint32_t last_share_id;
    size_t subscriptions, filters;
    _Atomic uint64_t epoch_wide;
    _Atomic uint64_t epoch[SUBS_PARTS];
};

static inline struct subscription *const *subs_of(const struct filter_node *n) {
    return n->subs_cap ? n->many : &n->one;
}

/* FNV-1a of the first level: not keyed, a collision only costs a rebuilt route. */
static inline uint32_t subs_part(struct slice topic) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < topic.len && topic.at[i] != '/'; i++) h = (h ^ topic.at[i]) * 16777619u;
    return h & (SUBS_PARTS - 1);
}

/* The child of `parent` for this level of a filter, lent; NULL: it has none. */
struct filter_node *subs_child(const struct subs *s, const struct filter_node *parent,
                               struct slice level);

#endif
