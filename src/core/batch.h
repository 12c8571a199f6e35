/* batch.h -- messages for another worker's sessions, written one behind the other.
 *
 * A small message travels as a copy, which the receiver uses where it lies; others as a
 * reference, or without their payload, which is lent (landing.h).  Who of the receiver's sessions
 * it is for lies in front of it, once for a row of messages with the same receivers.  What is read
 * is lent until the batch is dropped. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_BATCH_H
#define SOL_CORE_BATCH_H

#include "base/mem.h"
#include "base/slice.h"
#include "io/mailbox.h"

struct landing_block;
struct message;
struct message_parts;
struct route_entry;
struct subs_age;

/* A message is offered to the members of a share; nobody was ready yet. */
struct offer {
    uint32_t share;       /* 0: no offer, the message is for the plain subscribers */
    uint8_t best_fitness; /* of the members on the workers that were asked */
    uint8_t best_worker;  /* where that was; counts when best_fitness is not 0 */
    bool is_last;         /* everybody was asked: whoever is best here takes it */
    uint64_t tried;       /* bit per worker that was asked */
};

/* A message for another worker's sessions; borrowed, but for `from`. */
struct parcel {
    struct message *message;
    /* Or what it is to be made of, BATCH_COPY_MAX at most; but with `from` without its payload,
     * which lies in another worker's landing. */
    const struct message_parts *parts;
    struct landing_block *from;   /* owned reference; or NULL */
    struct slice payload;         /* with `from` */
    const struct route_entry *to; /* the plain subscribers there; none: they are to be looked up */
    const struct subs_age *age;   /* of `to` */
    unsigned to_len;
    uint32_t names; /* a number that stands for `to` and `age` until the batch leaves; not 0 */
    bool is_lone;   /* no further worker gets it */
    struct offer offer;
};

enum {
    BATCH_BYTES = 65536 - 64, /* of letters in one */
    BATCH_COPY_MAX = 5120     /* of a message (message_size) that travels as a copy */
};

/* Batches without letters, for one worker's next messages. */
struct batch_pool {
    struct batch *spare; /* owned; this worker's thread */
    /* any thread */
    _Alignas(CACHE_LINE) _Atomic(struct batch *) returned; /* owned */
    _Atomic unsigned returned_len;
};

struct batch {
    struct mail mail;
    struct batch *next;      /* of those in the pool */
    struct batch_pool *pool; /* borrowed: of the worker that has made it */
    size_t weight;           /* what it counts for in its receiver's inbox; the user's */
    /* private to batch.c */
    bool has_references;
    uint32_t len;   /* bytes used */
    uint32_t names; /* that were written last */
    _Alignas(16) uint8_t letters[BATCH_BYTES];
};

/* An empty one. */
struct batch *batch_new(struct batch_pool *pool);
/* Takes p->from, and shares a message that goes by reference (message_share).  False: there is no
 * room, and nothing was taken.  An empty batch has room for every parcel. */
bool batch_add(struct batch *b, const struct parcel *p);

/* A walk along the letters; zeroed, it starts with the first. */
struct batch_walk {
    uint32_t at;
    const uint8_t *named; /* receivers of the last one that named some */
    uint32_t named_len;
};
/* Gives the next parcel, or false at the end.  Its message may lie in the batch (message.h).
 * p->from is given once, to the caller. */
bool batch_next(struct batch *b, struct batch_walk *walk, struct parcel *p);

/* Any thread that may drop references to messages; takes the batch with what is in it, and
 * gives its memory back to the pool. */
void batch_drop(struct batch *b);

/* When no batch of the pool is under way any more. */
void batch_pool_deinit(struct batch_pool *pool);

#endif
