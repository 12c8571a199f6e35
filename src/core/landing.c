/* landing.c -- large messages, and the places their payloads lie in. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/landing.h"

#include "base/mem.h"

#include <stddef.h>
#include <stdlib.h>

/* In front of each large message; message_place knows that `payload` is the last. */
struct large {
    void *room;                 /* owned: what the payload lies in, unless behind the message */
    struct landing *landing;    /* while it is lent or borrowed; else NULL */
    struct landing_block *from; /* reference: of one borrowed; else NULL */
    struct large *next, **link;
    struct handle reader;
    unsigned round; /* of the landing, when it was listed */
    const uint8_t *payload;
};

struct landing_block {
    _Atomic unsigned refs; /* the owner's and the borrowers' */
    uint8_t apart[CACHE_LINE - sizeof(unsigned)];
    uint8_t bytes[LANDING_BYTES];
};

static struct large *large_of(struct message *m) {
    must(m->is_large);
    return (struct large *)(void *)m - 1;
}

static struct message *message_of(struct large *e) {
    return (struct message *)(void *)(e + 1);
}

static struct large *make(const struct message_parts *parts) {
    struct large *e = xmalloc(sizeof *e + message_size(parts));
    *e = (struct large){ .reader = HANDLE_NONE };
    message_fill(e + 1, parts)->is_large = true;
    return e;
}

/* With the payload where it is. */
static struct large *make_around(const struct message_parts *parts) {
    struct message_parts rest = *parts;
    rest.payload = SLICE_NONE;
    struct large *e = make(&rest);
    e->payload = parts->payload.at;
    message_of(e)->payload_len = (uint32_t)parts->payload.len;
    return e;
}

struct message *landing_copy(const struct message_parts *parts) {
    struct large *e = make(parts);
    struct message *m = message_of(e);
    e->payload = m->bytes + 2 + m->topic_len + m->props_len;
    return m;
}

struct message *landing_adopt(void *room, const struct message_parts *parts) {
    struct large *e = make_around(parts);
    e->room = room;
    return message_of(e);
}

/* ---- lent and borrowed ---------------------------------------------------------- */

static struct large *make_listed(struct landing *l, const struct message_parts *parts) {
    struct large *e = make_around(parts);
    e->landing = l;
    e->round = l->round;
    e->link = l->last;
    *l->last = e;
    l->last = &e->next;
    l->lent++;
    return e;
}

/* Reads go behind `s`. */
static void note_used(struct landing *l, struct slice s) {
    l->used = (size_t)(s.at + s.len - l->at);
}

struct message *landing_lend(struct landing *l, const struct message_parts *parts) {
    note_used(l, parts->payload);
    return message_of(make_listed(l, parts));
}

struct message *landing_borrow(struct landing *l, const struct message_parts *parts,
                               struct landing_block *from) {
    struct large *e = make_listed(l, parts);
    e->from = from;
    return message_of(e);
}

static void unlist(struct large *e) {
    struct landing *l = e->landing;
    if (e->next)
        e->next->link = e->link;
    else
        l->last = e->link;
    *e->link = e->next;
    e->landing = NULL;
    l->lent--;
    if (e->from) landing_return(e->from);
    e->from = NULL;
}

void landing_settle(struct message *m) {
    struct large *e = large_of(m);
    if (!e->landing) return;
    e->room = xmalloc(m->payload_len);
    e->payload = memcpy(e->room, e->payload, m->payload_len);
    unlist(e);
}

void landing_free(struct message *m) {
    struct large *e = large_of(m);
    if (e->landing) unlist(e);
    xfree(e->room);
    free(e);
}

void landing_note_reader(struct message *m, struct handle session) {
    struct large *e = large_of(m);
    if (e->landing) e->reader = session;
}

struct handle landing_reader(const struct landing *l) {
    return l->first ? l->first->reader : HANDLE_NONE;
}

void landing_move(struct landing *l) {
    if (l->first) landing_settle(message_of(l->first));
}

bool landing_age(struct landing *l) {
    while (l->first && l->first->round != l->round) landing_move(l);
    l->round++;
    return l->first != NULL;
}

/* ---- blocks ----------------------------------------------------------------------- */

static struct landing_block *block_new(void) {
    struct landing_block *b = xmalloc(sizeof *b);
    atomic_init(&b->refs, 1);
    return b;
}

void landing_return(struct landing_block *b) {
    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1) free(b);
}

/* Nobody has borrowed of it. */
static bool is_whole(const struct landing_block *b) {
    return atomic_load_explicit(&b->refs, memory_order_acquire) == 1;
}

static struct landing_block *block_in_use(const struct landing *l) {
    return (struct landing_block *)(void *)(l->at - offsetof(struct landing_block, bytes));
}

/* Where to go on reading when others have borrowed of the block in use: a place in `blocks`, or
 * LANDING_BLOCKS. */
static unsigned next_block(const struct landing *l) {
    unsigned i = 0;
    while (i < LANDING_BLOCKS && l->blocks[i] && !is_whole(l->blocks[i])) i++;
    return i;
}

/* The next block is sure to be there when it is needed: only what lies in the block in use can be
 * lent out, and not that one is counted. */
struct landing_block *landing_lend_out(struct landing *l, struct slice s) {
    struct landing_block *b = block_in_use(l);
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed); /* so it is no next one */
    if (next_block(l) == LANDING_BLOCKS) {
        landing_return(b);
        return NULL;
    }
    note_used(l, s);
    return b;
}

static void use_block(struct landing *l, unsigned i) {
    if (!l->blocks[i]) l->blocks[i] = block_new();
    l->at = l->blocks[i]->bytes;
    l->used = 0;
}

uint8_t *landing_room(struct landing *l, size_t want) {
    if (!l->lent && l->used && is_whole(block_in_use(l))) l->used = 0;
    if (LANDING_BYTES - l->used < want) {
        if (l->lent) return NULL;
        use_block(l, next_block(l));
    }
    return l->at + l->used;
}

/* ---- life ------------------------------------------------------------------------- */

void landing_init_borrowed(struct landing *l) {
    *l = (struct landing){ .at = NULL };
    l->last = &l->first;
}

void landing_init(struct landing *l) {
    landing_init_borrowed(l);
    use_block(l, 0);
}

void landing_deinit(struct landing *l) {
    while (l->first) landing_move(l);
    for (unsigned i = 0; i < LANDING_BLOCKS && l->blocks[i]; i++) landing_return(l->blocks[i]);
    l->at = NULL;
}
