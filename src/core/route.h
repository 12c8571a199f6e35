/* route.h -- a message's way through the broker.
 *
 * publish hooks -> validation -> authorize on the effective topic -> retained store ->
 * subscribers.  Every message takes it: a client's, a will, a script's.  The worker's
 * route cache remembers per topic who receives it and which hooks it meets, so a message
 * on a known topic takes no lock and walks no trie.  One worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_ROUTE_H
#define SOL_CORE_ROUTE_H

#include "base/map.h"
#include "core/hooks.h"
#include "core/subs.h"

struct conn;
struct parcel;
struct worker;

/* What the cache knows of one topic; immutable, counted while in use. */
struct route {
    uint32_t refs;
    uint32_t wants;  /* HOOK_BITs whose filters match */
    unsigned place;  /* in the eviction ring */
    uint32_t room;   /* bytes for the topic */
    uint64_t hash;   /* of the topic, as the cache has it */
    unsigned levels; /* of the topic */
    unsigned policy; /* worker->policies when `wants` was asked */
    struct route_entries to;
    struct slice topic; /* behind the struct */
    bool referenced;    /* used since the clock hand passed (cache eviction) */
    uint8_t topic_bytes[];
};

/* One message on its way in. */
struct publish {
    struct worker *worker;
    struct client *client;   /* owned reference; NULL: the broker */
    struct message *message; /* owned reference */
    bool is_will;
    bool trusted;    /* the broker's own: no hooks, no authorization */
    bool is_checked; /* the decoder has made sure that it is a valid message */
    /* called once with the outcome: RC_SUCCESS, RC_NO_MATCHING_SUBSCRIBERS or the reason
     * of a refusal; `reason` (lent) explains it or is NULL.  NULL: nobody asks. */
    void (*done)(struct publish *p, uint8_t reason_code, const char *reason);
    void *obj;          /* the starter's */
    uint16_t packet_id; /* the starter's */
    uint8_t qos;        /* the starter's: as received */
    /* private to route.c */
    struct route *route;    /* owned reference: of the topic as last seen, or NULL */
    struct message *before; /* owned reference: what the publish hooks were given */
    struct hook_call call;
    struct publish *next, **link; /* worker->waiting, or the free list */
    struct conn *parked;          /* lent while it waits: parked for it; or NULL */
    uint8_t stage;
};

/* From the worker's free list, zeroed but for worker. */
struct publish *publish_new(struct worker *w);
/* Starts it.  Takes `p` with its references; calls p->done before returning unless a hook
 * waits.  True when it is waiting: `p` stays valid until done or publish_cancel. */
bool publish_start(struct publish *p);
/* It is waiting: `c` (its client's connection) is parked until it is over. */
void publish_park(struct publish *p, struct conn *c);
/* Stops a waiting one; done is not called. */
void publish_cancel(struct publish *p);
/* Stops all that wait, and frees the free list: shutdown. */
void publish_cancel_all(struct worker *w);
void publish_pool_deinit(struct worker *w);

/* The broker's own word, or a script's: no hooks.  Copies the parts. */
void route_publish_trusted(struct worker *w, const struct message_parts *parts);

/* The topic's route, from the cache or fresh; lends it until the next route call. */
struct route *route_find(struct worker *w, struct slice topic);
/* Likewise for one who often asks for the topic it asked for last: *memo (NULL at first) is its
 * own reference to that route, which route_forget gives back. */
struct route *route_again(struct worker *w, struct slice topic, struct route **memo);
void route_forget(struct worker *w, struct route **memo);
/* Hand `m` (borrowed) to everyone on the route; gives the number of receivers, where each
 * other worker that has some counts for one.
 * `from` is the publishing connection, slowed when receivers lag; or NULL. */
unsigned route_deliver(struct worker *w, struct route *r, struct message *m, struct conn *from);

/* Another worker sends a message (borrowed) for sessions that live here. */
void route_arrived(struct worker *w, const struct parcel *p);
/* Keeps `m` (borrowed) as the retained message of its topic, or forgets the topic. */
void route_retain(struct worker *w, struct message *m);

/* A member of a shared subscription has ended without acknowledging `m` (borrowed):
 * another one gets it, if there is one. */
void route_share_again(struct worker *w, uint32_t share, struct message *m);

void route_cache_init(struct worker *w);
/* Forget everything (hooks were replaced, or shutdown). */
void route_cache_clear(struct worker *w);
void route_cache_deinit(struct worker *w);

#endif
