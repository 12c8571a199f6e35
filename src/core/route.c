/* route.c -- the route cache. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/route.h"

#include "base/mem.h"
#include "core/hooks.h"
#include "mqtt/topic.h"

#include <stdlib.h>

enum {
    ROUTES_MAX = 131072,     /* topics remembered per worker */
    RECEIVERS_MAX = 2000000, /* and receivers of all of them (24 bytes each) */
    SEEN_MAX = 65536,        /* topics met lately, by hash */
    ROOM_MIN = 32,           /* bytes for a topic */
    SPARE_MAX = 64           /* receivers of a route whose memory is kept */
};

static struct slice route_key(const void *obj) {
    return ((const struct route *)obj)->topic;
}

static void route_free(struct route *r) {
    if (!r) return;
    route_entries_deinit(&r->to);
    free(r);
}

void route_drop(struct worker *w, struct route *r) {
    if (w->route_spare || r->to.cap > SPARE_MAX)
        route_free(r);
    else
        w->route_spare = r;
}

static size_t receivers_of(const struct route *r) {
    size_t n = r->to.len + r->to.far_len;
    for (uint32_t i = 0; i < r->to.shares_len; i++) n += r->to.shares[i].len;
    return n;
}

static void route_enter(struct worker *w, struct route *r, unsigned place) {
    r->place = place;
    w->route_hand[place] = r;
    w->route_receivers += receivers_of(r);
}

static void route_leave(struct worker *w, struct route *r) {
    w->route_receivers -= receivers_of(r);
    route_unref(w, r);
}

void route_cache_init(struct worker *w) {
    map_init(&w->routes, route_key);
    w->route_hand = xcalloc(ROUTES_MAX, sizeof(struct route *));
    w->route_seen = xcalloc(SEEN_MAX, sizeof *w->route_seen);
    w->route_len = w->route_at = 0;
}

void route_cache_clear(struct worker *w) {
    for (unsigned i = 0; i < w->route_len; i++) {
        struct route *r = w->route_hand[i];
        map_del_hashed(&w->routes, r->topic, r->hash);
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
    route_free(w->route_spare);
    w->route_spare = NULL;
    w->route_hand = NULL;
    w->route_seen = NULL;
}

/* Room for a route, with what room for receivers the spare one has. */
static struct route *route_alloc(struct worker *w, size_t topic_len) {
    struct route *r = w->route_spare;
    w->route_spare = NULL;
    if (r && r->room >= topic_len) return r;
    route_free(r);
    size_t room = topic_len < ROOM_MIN ? ROOM_MIN : topic_len;
    r = xmalloc(sizeof *r + room);
    r->room = (uint32_t)room;
    r->to = (struct route_entries){ 0 };
    return r;
}

static struct route *route_new(struct worker *w, struct slice topic, uint64_t hash) {
    struct route *r = route_alloc(w, topic.len);
    *r = (struct route){ .refs = 1, .room = r->room, .to = r->to, .hash = hash };
    memcpy(r->topic_bytes, topic.at, topic.len);
    r->topic = slice_of(r->topic_bytes, topic.len);
    r->levels = topic_levels(topic);
    r->policy = w->policies;
    r->wants = w->hooks->wanted ? w->hooks->wants(w->hooks, topic) : 0;
    subs_match(w->broker->subs, w->id, topic, (enum overlapping)w->config->overlapping, &r->to);
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
            map_del_hashed(&w->routes, r->topic, r->hash);
            route_leave(w, r);
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

/* With the cache full a topic has to come twice to be remembered: those that come once
 * pass by without driving out the others. */
static struct route *route_add(struct worker *w, struct slice topic, uint64_t hash) {
    route_forget(w, &w->route_passing);
    struct route *r = route_new(w, topic, hash);
    if (w->route_len == ROUTES_MAX && !seen_before(w, hash)) {
        w->route_passing = r;
        return r;
    }
    /* Many receivers of many topics: building such a route costs no more than delivering
     * to it, so starting anew is cheap enough. */
    if (w->route_receivers > RECEIVERS_MAX) route_cache_clear(w);
    route_enter(w, r, place_for(w));
    map_put_hashed(&w->routes, r, hash);
    return r;
}

static struct route *route_renew(struct worker *w, struct route *old) {
    struct route *r = route_new(w, old->topic, old->hash);
    route_enter(w, r, old->place);
    map_put_hashed(&w->routes, r, r->hash); /* in place of the old one */
    route_leave(w, old);
    return r;
}

struct route *route_find(struct worker *w, struct slice topic) {
    uint64_t hash = map_hash(&w->routes, topic);
    struct route *r = map_find_hashed(&w->routes, topic, hash);
    if (!r) return route_add(w, topic, hash);
    if (!route_is_current(w, r)) r = route_renew(w, r);
    r->referenced = true;
    return r;
}

struct route *route_again(struct worker *w, struct slice topic, struct route **memo) {
    struct route *r = *memo;
    bool same = r && (topic.at == r->topic.at || slice_eq(topic, r->topic));
    if (same && r->policy == w->policies && route_is_current(w, r)) {
        r->referenced = true;
        return r;
    }
    r = route_find(w, topic);
    route_ref(r); /* first: the topic may be the old one's */
    route_forget(w, memo);
    return *memo = r;
}

void route_forget(struct worker *w, struct route **memo) {
    if (*memo) route_unref(w, *memo);
    *memo = NULL;
}
