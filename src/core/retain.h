/* retain.h -- the last retained message of each topic.
 *
 * A trie of topic levels.  Expired messages are dropped when met, or by the sweep.  The lock lives
 * in retain.c.  Messages are this worker's (message.h). */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_RETAIN_H
#define SOL_CORE_RETAIN_H

#include "core/message.h"

struct retain;

/* An empty store, for all workers; to be freed after their threads. */
struct retain *retain_new(void);
void retain_free(struct retain *r);

/* Keeps a reference to `m` for its topic, or forgets the topic when the payload is
 * empty [MQTT-3.3.1-6] [MQTT-3.3.1-7]. */
void retain_set(struct retain *r, struct message *m);

/* A number that grows with each message kept. */
uint64_t retain_stamp(struct retain *r);

struct retain_query {
    struct slice filter;
    uint64_t now_ms; /* what has expired by then is left out */
    uint64_t up_to;  /* a retain_stamp: what was kept later is left out */
    size_t max;      /* so many at most, in the whole list; 0: all there are */
};

/* Could anything match this filter?  Tells without the lock where nothing is kept but what the
 * broker says of itself. */
bool retain_may_match(const struct retain *r, struct slice filter);
/* Collects a reference to every message the query finds: appended to *list (xrealloc'd, *len
 * counts).  The caller unrefs each and frees the list. */
void retain_match(struct retain *r, const struct retain_query *q, struct message ***list,
                  size_t *len);

/* Is `m` (met by retain_match earlier) still the message of its topic?  If not, what came
 * in its place has been routed since, and the old one must not follow it. */
static inline bool retain_holds(const struct message *m) {
    return atomic_load_explicit(&m->is_retained, memory_order_relaxed);
}

/* Topics that hold a message. */
size_t retain_count(const struct retain *r);

/* Forgets messages that have expired, met or not: looks at a part of the store and goes on
 * there the next time.  Cheap where nothing can expire. */
void retain_sweep(struct retain *r, uint64_t now_ms);

#endif
