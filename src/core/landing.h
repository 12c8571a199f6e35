/* landing.h -- where a worker's input lands, and the messages whose payload still lies there.
 *
 * Most messages are gone before the worker reads again, so a large payload that will pass is
 * not copied: its message is *lent* the place where it has landed.  Reads go behind what is
 * lent.  When there is no room left, the payloads of those who are still there are moved to
 * memory of their own, and so is that of a message which other threads are to see
 * (message_share).  So nothing is pinned: who keeps a message keeps its bytes, no more (one that
 * has adopted its packet at most four times as many), and need not know where they lie.
 *
 * A payload that only another worker's clients receive is lent to that worker, whose message is
 * made around it.  Reads go behind it, and on in another block when this one is full; whoever of
 * the borrower's clients has not been sent it in a turn or two gets it moved.
 *
 * One worker's thread, but for landing_return; a message that is not lent belongs to whoever
 * holds it. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_LANDING_H
#define SOL_CORE_LANDING_H

#include "base/mem.h"
#include "base/slots.h"
#include "core/message.h"

struct large; /* private to landing.c */

struct landing_block; /* private to landing.c; a reference is its owner's or a borrower's */

enum {
    LANDING_BYTES = 524288 - CACHE_LINE, /* of a block; what was never used takes no memory */
    LANDING_BLOCKS = 4
};

struct landing {
    struct landing_block *blocks[LANDING_BLOCKS]; /* a reference each; those not needed yet: NULL */
    uint8_t *at;         /* of the block in use; NULL: there are none, it lists what is borrowed */
    size_t used;         /* bytes at the front where lent payloads may lie */
    struct large *first; /* the eldest lent, or borrowed; NULL: none */
    struct large **last;
    unsigned lent;  /* messages */
    unsigned round; /* of landing_age */
};

/* An empty one, with its memory. */
void landing_init(struct landing *l);
/* One that lists what is borrowed. */
void landing_init_borrowed(struct landing *l);
/* Nothing is lent any more; what others have borrowed stays until they return it. */
void landing_deinit(struct landing *l);

/* Lends the place for the next read, `want` bytes (<= LANDING_BYTES) at least; NULL: something
 * has to be moved first. */
uint8_t *landing_room(struct landing *l, size_t want);
/* Does `s` lie there? */
static inline bool landing_holds(const struct landing *l, struct slice s) {
    return (uintptr_t)s.at - (uintptr_t)l->at < LANDING_BYTES;
}

/* Large messages (message.h).  The payload is copied, ... */
struct message *landing_copy(const struct message_parts *parts);
/* ... stays in `room`, memory of xmalloc's that is taken, ... */
struct message *landing_adopt(void *room, const struct message_parts *parts);
/* ... or stays in the landing, which holds it. */
struct message *landing_lend(struct landing *l, const struct message_parts *parts);

/* Lends `s`, which the landing holds, to another worker, with a reference to where it lies.  NULL:
 * it is not lent, too much is. */
struct landing_block *landing_lend_out(struct landing *l, struct slice s);
/* The borrower's message of it, listed in its `l`; takes the reference. */
struct message *landing_borrow(struct landing *l, const struct message_parts *parts,
                               struct landing_block *from);
/* Gives up the reference.  Any thread. */
void landing_return(struct landing_block *b);
/* Moves what has been there since before the last call.  True: some is left. */
bool landing_age(struct landing *l);

/* `m`, a large one, is to be written to this session's connection: where that is done in
 * time it need not be moved.  One such is remembered. */
void landing_note_reader(struct message *m, struct handle session);
/* That of the eldest lent; HANDLE_NONE: it has none, or nothing is lent. */
struct handle landing_reader(const struct landing *l);
/* Moves the eldest. */
void landing_move(struct landing *l);

/* For message.c: nobody refers to a large one any more.  (landing_settle is in message.h.) */
void landing_free(struct message *m);

#endif
