/* route.c -- the route cache. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/route.h"

#include "base/mem.h"
#include "core/ahead.h"
#include "core/hooks.h"
#include "mqtt/topic.h"

#include <stdlib.h>

enum {
    ROUTES_MAX = 131072,     /* topics remembered per worker */
    RECEIVERS_MAX = 2000000, /* and receivers of all of them (16 bytes each) */
    SEEN_MAX = 65536,        /* topics met lately, by hash */
    ROUTE_SIZE = 128,        /* bytes with a short topic */
    ROOM_MAX = 1024          /* for the topic of a route whose memory is kept */
};

static struct slice route_key(const void *obj) {
    return route_topic(obj);
}

void route_drop(struct worker *w, struct route *r) {
    route_entries_deinit(&r->to);
    if (r->room > ROOM_MAX || w->route_spare_len == ROUTES_SPARE)
        free(r);
    else
        w->route_spare[w->route_spare_len++] = r;
}

static size_t receivers_of(const struct route *r) {
    size_t n = r->to.len + r->to.far_len;
    uint32_t shares;
    const struct route_share *share = route_shares(&r->to, &shares);
    for (; shares; shares--, share++) n += share->len;
    return n;
}

static void route_enter(struct worker *w, struct route *r, unsigned place) {
    r->place = place;
    w->route_hand[place] = route_ref(r);
    w->route_receivers += receivers_of(r);
}

static void route_leave(struct worker *w, struct route *r) {
    w->route_receivers -= receivers_of(r);
    r->place = ROUTE_NOWHERE;
    route_unref(w, r);
}

void route_cache_init(struct worker *w) {
    map_init_seeded(&w->routes, route_key, subs_seed(w->broker->subs));
    w->route_hand = xcalloc(ROUTES_MAX, sizeof(struct route *));
    w->route_seen = xcalloc(SEEN_MAX, sizeof *w->route_seen);
    w->route_len = w->route_at = 0;
}

void route_cache_clear(struct worker *w) {
    for (unsigned i = 0; i < w->route_len; i++) {
        struct route *r = w->route_hand[i];
        map_del_hashed(&w->routes, route_topic(r), r->hash);
        route_leave(w, r);
    }
    w->route_len = w->route_at = 0;
    route_forget(w, &w->route_passing);
    route_forget(w, &w->route_arrived);
}

void route_cache_deinit(struct worker *w) {
    route_cache_clear(w);
    map_deinit(&w->routes);
    free(w->route_hand);
    free(w->route_seen);
    while (w->route_spare_len) free(w->route_spare[--w->route_spare_len]);
    w->route_hand = NULL;
    w->route_seen = NULL;
}

enum { HEAD = offsetof(struct route, topic) };
_Static_assert((int)sizeof(struct route) <= (int)ROUTE_SIZE, "a route fits");

/* Room for a route. */
static struct route *route_alloc(struct worker *w, size_t topic_len) {
    struct route *r = w->route_spare_len ? w->route_spare[--w->route_spare_len] : NULL;
    if (r && r->room >= topic_len) return r;
    free(r);
    size_t size = HEAD + topic_len < ROUTE_SIZE ? ROUTE_SIZE : HEAD + topic_len;
    r = xmalloc(size);
    r->room = (uint16_t)(size - HEAD);
    return r;
}

/* All but its receivers. */
static struct route *route_begin(struct worker *w, struct slice topic, uint64_t hash) {
    struct route *r = route_alloc(w, topic.len);
    *r = (struct route){ .refs = 1,
                         .room = r->room,
                         .hash = hash,
                         .place = ROUTE_NOWHERE,
                         .topic_len = (uint16_t)topic.len };
    memcpy(r->topic, topic.at, topic.len);
    r->levels = topic_levels(topic);
    r->policy = w->policies;
    r->serial = w->route_serial += 1 + (w->route_serial == UINT32_MAX);
    r->wants = w->hooks->wanted ? w->hooks->wants(w->hooks, topic) : 0;
    return r;
}

static void route_match(struct worker *w, const struct subs_query *queries, unsigned len) {
    subs_match_all(w->broker->subs, w->id, (enum overlapping)w->config->overlapping, queries, len);
}

static struct route *route_new(struct worker *w, struct slice topic, uint64_t hash) {
    struct route *r = route_begin(w, topic, hash);
    route_match(w, &(struct subs_query){ topic, hash, &r->to }, 1);
    return r;
}

/* A place in the eviction ring: a free one, or that of a route not used since the hand
 * came by.  A topic met once goes before one that is met again and again. */
static unsigned place_for(struct worker *w) {
    if (w->route_len < ROUTES_MAX) return w->route_len++;
    for (;;) {
        unsigned place = w->route_at;
        struct route *r = w->route_hand[place];
        w->route_at = (place + 1) % ROUTES_MAX;
        if (!r->referenced) {
            map_del_hashed(&w->routes, route_topic(r), r->hash);
            route_leave(w, r);
            __builtin_prefetch(w->route_hand[w->route_at]); /* likely the next to go */
            return place;
        }
        r->referenced = false;
    }
}

/* Notes that this topic was met; was it before, lately? */
static bool seen_before(struct worker *w, uint64_t hash) {
    uint16_t *place = &w->route_seen[hash % SEEN_MAX], mark = (uint16_t)(hash >> 48 | 1);
    bool before = *place == mark;
    *place = mark;
    return before;
}

/* In place of one that is out of date. */
static void route_replace(struct worker *w, struct route *r, struct route *old) {
    route_enter(w, r, old->place);
    map_put_hashed(&w->routes, r, r->hash);
    route_leave(w, old);
}

/* With the cache full a topic has to come twice to be remembered: those that come once
 * pass by without driving out the others. */
static void route_remember(struct worker *w, struct route *r) {
    if (w->route_len == ROUTES_MAX && !seen_before(w, r->hash)) return;
    /* Many receivers of many topics: building such a route costs no more than delivering
     * to it, so starting anew is cheap enough. */
    if (w->route_receivers > RECEIVERS_MAX) route_cache_clear(w);
    route_enter(w, r, place_for(w));
    map_put_hashed(&w->routes, r, r->hash);
}

struct route *route_find(struct worker *w, struct slice topic) {
    uint64_t hash = map_hash(&w->routes, topic);
    struct route *r = map_find_hashed(&w->routes, topic, hash), *old = r;
    if (!old || !route_is_current(w, old)) {
        r = route_new(w, topic, hash);
        if (old)
            route_replace(w, r, old);
        else
            route_remember(w, r);
        route_forget(w, &w->route_passing);
        w->route_passing = r;
    }
    r->referenced = old != NULL;
    return r;
}

/* Asks memory for what the cache may have of them, all at once. */
static void announce(const struct worker *w, const struct subs_query *asked, void **likely,
                     unsigned len) {
    for (unsigned i = 0; i < len; i++) map_prefetch(&w->routes, asked[i].hash);
    for (unsigned i = 0; i < len; i++) {
        const uint8_t *r = likely[i] = map_peek(&w->routes, asked[i].hash);
        size_t size = HEAD + asked[i].topic.len;
        for (size_t at = 0; r && at < size; at += CACHE_LINE) __builtin_prefetch(r + at);
    }
}

/* The route that the cache has, with a reference, or one that is still to be matched. */
static struct route *prepare(struct worker *w, const struct subs_query *asked, void *likely) {
    struct route *r = map_confirm(&w->routes, likely, asked->topic, asked->hash);
    if (!r || !route_is_current(w, r)) return route_begin(w, asked->topic, asked->hash);
    if (r->to.cap) __builtin_prefetch(r->to.many);
    return route_ref(r);
}

void route_prepare(struct worker *w, const struct slice *topics, struct route **out, unsigned len) {
    struct subs_query asked[SUBS_TOGETHER];
    void *likely[SUBS_TOGETHER];
    unsigned fresh = 0;
    for (unsigned i = 0; i < len; i++)
        asked[i] =
            (struct subs_query){ .topic = topics[i], .hash = map_hash(&w->routes, topics[i]) };
    announce(w, asked, likely, len);
    for (unsigned i = 0; i < len; i++) {
        out[i] = prepare(w, &asked[i], likely[i]);
        if (out[i]->place != ROUTE_NOWHERE) continue;
        asked[i].out = &out[i]->to;
        asked[fresh++] = asked[i];
    }
    if (fresh) route_match(w, asked, fresh);
}

bool route_use(struct worker *w, struct route *r) {
    if (r->policy != w->policies || !route_is_current(w, r)) return false;
    struct route *old =
        r->place == ROUTE_NOWHERE ? map_find_hashed(&w->routes, route_topic(r), r->hash) : r;
    if (!old)
        route_remember(w, r);
    else if (old != r)
        route_replace(w, r, old);
    r->referenced = old != NULL;
    return true;
}

struct route *route_again(struct worker *w, struct slice topic, struct route **memo) {
    struct route *r = *memo;
    bool same = r && (topic.at == r->topic || slice_eq(topic, route_topic(r)));
    if (same && r->policy == w->policies && route_is_current(w, r)) {
        r->referenced = true;
        return r;
    }
    r = ahead_route(w, topic, r);
    if (!r) r = route_ref(route_find(w, topic)); /* before: the topic may be the old one's */
    route_forget(w, memo);
    return *memo = r;
}

void route_forget(struct worker *w, struct route **memo) {
    if (*memo) route_unref(w, *memo);
    *memo = NULL;
}
