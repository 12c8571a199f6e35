/* route.h -- the route cache: who receives a topic and which hooks it meets.
 *
 * Each worker remembers that per topic, so a message on a known topic takes no lock and
 * walks no trie.  A route is found again as long as the subscriptions in its parts of
 * the index are what they were.  One worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_ROUTE_H
#define SOL_CORE_ROUTE_H

#include "core/subs.h"
#include "core/worker.h"

#define ROUTE_NOWHERE UINT32_MAX

/* What the cache knows of one topic; immutable, counted while in use.  Where many topics are
 * remembered each line of it is a wait for memory: with a short topic and one receiver it has two.
 */
struct route {
    uint32_t refs;
    uint32_t wants;     /* HOOK_BITs whose filters match */
    uint64_t hash;      /* of the topic, as the cache has it */
    unsigned place;     /* in the eviction ring; ROUTE_NOWHERE: the cache does not have it */
    unsigned policy;    /* worker->policies when `wants` was asked */
    uint32_t serial;    /* no other route of the worker's has it, nor 0 */
    unsigned levels;    /* of the topic */
    uint16_t topic_len; /* bytes; and as many there is room for */
    uint16_t room;
    bool referenced; /* used since the clock hand passed (cache eviction) */
    struct route_entries to;
    uint8_t topic[];
};

/* Lends it. */
static inline struct slice route_topic(const struct route *r) {
    return slice_of(r->topic, r->topic_len);
}

/* The topic's route, from the cache or fresh; lends it until the next route call. */
struct route *route_find(struct worker *w, struct slice topic);
/* Likewise for one who often asks for the topic it asked for last: *memo (NULL at first) is its
 * own reference to that route, which route_forget gives back. */
struct route *route_again(struct worker *w, struct slice topic, struct route **memo);
void route_forget(struct worker *w, struct route **memo);
/* The routes of topics that will be asked for, SUBS_TOGETHER at most, from the cache or fresh:
 * together they take a fraction of the time.  A reference to each; the cache learns nothing. */
void route_prepare(struct worker *w, const struct slice *topics, struct route **out, unsigned len);
/* Its topic is asked for now: false when it is no longer what route_find would give. */
bool route_use(struct worker *w, struct route *r);
/* Is the route what a fresh look-up would give?  (Hooks aside: see `policy`.) */
static inline bool route_is_current(const struct worker *w, const struct route *r) {
    return subs_current(w->broker->subs, &r->to.age);
}

/* A reference keeps a route while it is in use: hooks and closing connections may renew or
 * evict it. */
static inline struct route *route_ref(struct route *r) {
    r->refs++;
    return r;
}

/* Nobody refers to it any more: frees it or keeps it to be used again. */
void route_drop(struct worker *w, struct route *r);

static inline void route_unref(struct worker *w, struct route *r) {
    if (--r->refs == 0) route_drop(w, r);
}

/* Of a worker, before its thread and after it. */
void route_cache_init(struct worker *w);
/* Forget everything (hooks were replaced, or shutdown). */
void route_cache_clear(struct worker *w);
void route_cache_deinit(struct worker *w);

#endif
