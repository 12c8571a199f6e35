/* landing.h -- where a worker's input lands, and the messages whose payload still lies there.
 *
 * Most messages are gone before the worker reads again, so a large payload that will pass is
 * not copied: its message is *lent* the place where it has landed.  Reads go behind what is
 * lent.  When there is no room left, the payloads of those who are still there are moved to
 * memory of their own, and so is that of a message which other threads are to see
 * (message_share).  So nothing is pinned: who keeps a message keeps its bytes, no more (one that
 * has adopted its packet at most four times as many), and need not know where they lie.
 *
 * One worker's thread; a message that is not lent belongs to whoever holds it. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_LANDING_H
#define SOL_CORE_LANDING_H

#include "base/slots.h"
#include "core/message.h"

struct large; /* private to landing.c */

struct landing {
    uint8_t *at;         /* owned: LANDING_BYTES; what was never used takes no memory */
    size_t used;         /* bytes at the front where lent payloads may lie */
    struct large *first; /* the eldest lent; NULL: none */
    struct large **last;
    unsigned lent; /* messages */
};

enum { LANDING_BYTES = 524288 };

/* An empty one, with its memory. */
void landing_init(struct landing *l);
/* Nothing is lent any more. */
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
