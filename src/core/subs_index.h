/* subs_index.h -- how the subscription index lies in memory (see the head of subs.c).
 *
 * For subs.c, which changes it, subs_search.c and subs_match.c, which read it; each under the locks
 * of the shards concerned. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_SUBS_INDEX_H
#define SOL_CORE_SUBS_INDEX_H

#include "base/map.h"
#include "base/mem.h"
#include "core/subs.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>

/* A filter without wildcards, a root, one level below it, or a shared filter.  There may be
 * millions: what few of them need lies elsewhere. */
struct filter_node {
    uintptr_t below;      /* for subs_below: what children it has */
    struct share *shares; /* groups that share this filter */
    union {
        struct subscription *one;   /* lent; while subs_cap is 0 */
        struct subscription **many; /* owned array of lent ones */
    };
    uint32_t subs_len, subs_cap;
    uint16_t len;    /* bytes of the filter, prefix or level in key */
    uint16_t part;   /* of the index */
    uint8_t kind;    /* enum node_kind */
    bool is_crowded; /* its subscriptions are in the map `crowd` */
    uint8_t key[];   /* LEVEL: the parent's address (a root has none), then prefix or level; else
                        the filter */
};

enum node_kind { EXACT, LEVEL, SHARE };

/* The children of a LEVEL. */
struct branch {
    struct filter_node *plus, *hash; /* those for `+` and `#`, or NULL */
    size_t others;                   /* so many the map `levels` has */
};

/* How filter_node.below says it: where they are all of one kind, as with almost every node, without
 * a struct branch, by a tag in the lowest bits. */
enum { BELOW_BRANCH = 0, BELOW_PLUS, BELOW_HASH, BELOW_OTHERS, BELOW_TAG = 3, BELOW_SHIFT = 2 };

static inline struct branch subs_below(const struct filter_node *n) {
    uintptr_t value = n->below & ~(uintptr_t)BELOW_TAG;
    switch (n->below & BELOW_TAG) {
    case BELOW_PLUS: return (struct branch){ .plus = (struct filter_node *)value };
    case BELOW_HASH: return (struct branch){ .hash = (struct filter_node *)value };
    case BELOW_OTHERS: return (struct branch){ .others = value >> BELOW_SHIFT };
    default: return value ? *(const struct branch *)value : (struct branch){ 0 };
    }
}

/* One group on one filter. */
struct share {
    struct filter_node *inner;  /* the filter shared */
    struct share *next, **link; /* inner->shares */
    uint32_t id;
    struct filter_node node; /* its members; last, for its key */
};

enum {
    PARENT = sizeof(struct filter_node *), /* bytes at the start of a LEVEL's key */
    SHARDS = 64,
    CROWD = 32 /* subscriptions of one node that are still searched one by one */
};

/* The parts whose numbers are the same modulo SHARDS. */
struct shard {
    alignas(CACHE_LINE) pthread_rwlock_t lock;
    size_t subscriptions, filters;
    struct map levels;    /* filter_node by parent and level, or prefix */
    struct map exact;     /* filter_node by filter */
    struct map shares;    /* filter_node of a share, by its whole filter */
    struct map share_ids; /* share by its id */
    struct map crowd;     /* subscription by subscription_key, those of crowded nodes */
    uint32_t last_share_id;
    struct filter_node *wide; /* the root of filters that begin with a wildcard */
};

struct subs {
    uint64_t seed[2]; /* of subs_hash and the maps `exact` */
    struct shard shards[SHARDS];
    alignas(CACHE_LINE) _Atomic uint64_t epoch[SUBS_PARTS];
};

static inline struct shard *shard_of(struct subs *s, uint16_t part) {
    return &s->shards[part % SHARDS];
}

static inline struct subscription *const *subs_of(const struct filter_node *n) {
    return n->subs_cap ? n->many : &n->one;
}

/* How a topic or plain filter begins: its first none, one and two levels, each with the slash
 * behind it, as far as there are levels and before the first wildcard. */
struct prefixes {
    unsigned last;                /* the longest: 0 to 2 */
    size_t len[SUBS_PREFIXES];    /* bytes; one more than there are when all is prefix */
    uint16_t part[SUBS_PREFIXES]; /* that filters with this for their longest belong to */
};

/* How often these parts have changed, all together; any thread.  Before they are searched. */
uint64_t subs_epochs(const struct subs *s, const uint16_t part[SUBS_PREFIXES]);

/* Of any text, no wildcard of which need be valid. */
struct prefixes subs_prefixes(struct slice text);

/* The key of the child of `parent` (NULL: of the root) whose level (prefix) is the `len` bytes of
 * `text` from `from` on; to PARENT + len bytes.  A byte behind the text is a slash. */
static inline struct slice subs_level_key(uint8_t *out, const struct filter_node *parent,
                                          struct slice text, size_t from, size_t len) {
    size_t there = from + len > text.len ? text.len - from : len;
    memcpy(out, &parent, PARENT);
    if (there) memcpy(out + PARENT, text.at + from, there);
    if (there < len) out[PARENT + there] = '/';
    return slice_of(out, PARENT + len);
}

/* ---- subs_search.c ------------------------------------------------------ */

/* A node whose subscribers and shares belong to the answer. */
struct hit {
    const struct filter_node *node; /* lent */
    unsigned query;
};

/* A node to be looked for in a map. */
struct step {
    const struct map *map;            /* of a shard: `levels` or `exact` */
    const struct filter_node *parent; /* NULL: a root, or in `exact` */
    void *likely;                     /* what map_peek gave: a filter_node */
    uint64_t hash;
    uint32_t from, len; /* the bytes of the topic that are its level, prefix, or all */
    uint16_t query;
    bool is_exact;
};

enum { STEPS_FEW = 64, HITS_FEW = 16 };

/* What there is to find for several topics at once, and what was found. */
struct search {
    /* of the caller */
    struct subs *subs;
    const struct subs_query *queries; /* lent */
    const struct prefixes *prefixes;  /* lent: of each query's topic */
    unsigned len;                     /* queries */
    /* the answer */
    struct hit *hits;
    size_t hits_len, hits_cap;
    /* private */
    struct step *steps;
    size_t steps_len, steps_cap;
    struct hit few_hits[HITS_FEW]; /* `hits`, until they are more; likewise: */
    struct step few_steps[STEPS_FEW];
};

/* Fills in the hits; under the locks of the shards concerned. */
void subs_search(struct search *x);
/* Frees what subs_search has made. */
void subs_search_deinit(struct search *x);

#endif
