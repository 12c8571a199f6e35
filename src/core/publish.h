/* publish.h -- a message's way through the broker.
 *
 * publish hooks -> validation -> authorize on the effective topic -> retained store ->
 * subscribers.  Every message takes it: a client's, a will, a script's.  One worker's
 * thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_PUBLISH_H
#define SOL_CORE_PUBLISH_H

#include "core/hooks.h"

struct conn;
struct route;
struct worker;

/* One message on its way in. */
struct publish {
    struct worker *worker;
    struct client *client;   /* owned reference; NULL: the broker */
    struct message *message; /* owned reference */
    struct trial *trial;     /* lent: only asked what would be (trial.h); or NULL */
    bool is_will;
    bool trusted;    /* the broker's own: no hooks, no authorization */
    bool is_checked; /* the decoder has made sure that it is a valid message */
    /* called once with the outcome: RC_SUCCESS, RC_NO_MATCHING_SUBSCRIBERS or the reason
     * of a refusal; `reason` (lent) explains it or is NULL.  NULL: nobody asks. */
    void (*done)(struct publish *p, uint8_t reason_code, const char *reason);
    void *obj;           /* the starter's */
    uint16_t packet_id;  /* the starter's */
    uint8_t qos;         /* the starter's: as received */
    bool is_draft;       /* message_draft has made the message */
    struct route *route; /* owned reference: of the topic as last seen; NULL: to be found */
    /* private to publish.c, from here on set by publish_start */
    struct hook_call call;
    struct publish *next, **link; /* worker->waiting, or the free list */
    struct conn *parked;          /* lent while it waits: parked for it; or NULL */
    uint8_t stage;
    bool is_routed; /* `route` is right: nothing has been asked since it was found */
};

/* From the worker's free list; what its starter may set is zeroed, but for worker. */
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
void publish_trusted(struct worker *w, const struct message_parts *parts);
/* Keeps `m` (borrowed) as the retained message of its topic, or forgets the topic. */
void publish_retain(struct worker *w, struct message *m);

#endif
