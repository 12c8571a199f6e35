/* batch.c -- letters in a batch, and the way batches take home.
 *
 * A letter is its head, then what its marks say: an offer, the names of its receivers (a
 * struct subs_age and as many struct route_entry), where its payload lies (a struct loan), and a
 * reference to the message, or the message itself.
 *
 * The receiver gives a batch back to the worker it came from: memory that one thread only
 * allocates and another only frees costs both more than the messages in it. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/batch.h"

#include "core/landing.h"
#include "core/message.h"
#include "core/subs.h"

#include <stdlib.h>

enum { RETURNED_MAX = 16 };

enum { HAS_OFFER = 1, HAS_NAMES = 2, IS_NAMED = 4, HAS_LOAN = 8, IS_REFERENCE = 16 };

struct letter {
    uint32_t size; /* bytes, to the next letter */
    uint8_t marks;
    uint8_t to_len; /* with HAS_NAMES */
};

struct loan {
    struct landing_block *from; /* reference; NULL: it was taken */
    struct slice payload;
};

enum { UNIT = 8 }; /* of the parts' sizes */

static size_t padded(size_t size) {
    return (size + UNIT - 1) / UNIT * UNIT;
}

/* What a letter takes at most, beside its message. */
enum {
    LETTER_MAX = sizeof(struct letter) + sizeof(struct offer) + sizeof(struct loan) +
                 sizeof(struct subs_age) + SUBS_FAR_MAX * sizeof(struct route_entry) + 2 * UNIT
};
_Static_assert((int)LETTER_MAX + (int)BATCH_COPY_MAX <= (int)BATCH_BYTES,
               "an empty batch has room");
_Static_assert((int)SUBS_FAR_MAX <= UINT8_MAX, "to_len");

static size_t names_size(unsigned to_len) {
    return sizeof(struct subs_age) + padded(to_len * sizeof(struct route_entry));
}

/* ---- the pool -------------------------------------------------------------- */

static struct batch *take_returned(struct batch_pool *pool) {
    struct batch *all = atomic_exchange_explicit(&pool->returned, NULL, memory_order_acquire);
    unsigned n = 0;
    for (const struct batch *b = all; b; b = b->next) n++;
    if (n) atomic_fetch_sub_explicit(&pool->returned_len, n, memory_order_relaxed);
    return all;
}

struct batch *batch_new(struct batch_pool *pool) {
    if (!pool->spare) pool->spare = take_returned(pool);
    struct batch *b = pool->spare;
    if (b)
        pool->spare = b->next;
    else
        b = xmalloc(sizeof *b);
    b->pool = pool;
    b->weight = 0;
    b->has_references = false;
    b->len = 0;
    b->names = 0;
    return b;
}

static void give_back(struct batch *b) {
    struct batch_pool *pool = b->pool;
    if (atomic_fetch_add_explicit(&pool->returned_len, 1, memory_order_relaxed) >= RETURNED_MAX) {
        atomic_fetch_sub_explicit(&pool->returned_len, 1, memory_order_relaxed);
        free(b);
        return;
    }
    b->next = atomic_load_explicit(&pool->returned, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&pool->returned, &b->next, b,
                                                  memory_order_release, memory_order_relaxed)) {
    }
}

static void free_all(struct batch *b) {
    for (struct batch *next; b; b = next) {
        next = b->next;
        free(b);
    }
}

void batch_pool_deinit(struct batch_pool *pool) {
    free_all(pool->spare);
    free_all(take_returned(pool));
    pool->spare = NULL;
}

/* ---- writing --------------------------------------------------------------- */

/* Bytes of the message in a letter; 0: a reference to it goes. */
static size_t copy_size(const struct parcel *p) {
    if (p->parts) return message_size(p->parts);
    const struct message *m = p->message;
    size_t size = m->is_shared || (m->is_large && !p->is_lone) ? 0 : message_copy_size(m);
    return size <= BATCH_COPY_MAX ? size : 0;
}

static uint8_t *put_names(uint8_t *at, const struct parcel *p) {
    memcpy(at, p->age, sizeof *p->age);
    memcpy(at + sizeof *p->age, p->to, p->to_len * sizeof *p->to);
    return at + names_size(p->to_len);
}

static void put_copy(uint8_t *at, const struct parcel *p) {
    if (p->parts)
        message_fill(at, p->parts)->in_batch = true;
    else
        message_copy_to(at, p->message);
}

static void put_reference(uint8_t *at, struct message *m) {
    struct message *ref = message_ref(m); /* first: counted with less effort */
    message_share(m);
    memcpy(at, &ref, sizeof ref);
}

bool batch_add(struct batch *b, const struct parcel *p) {
    size_t copy = copy_size(p);
    size_t size = sizeof(struct letter) + (copy ? padded(copy) : sizeof p->message);
    unsigned marks = copy ? 0 : IS_REFERENCE;
    if (p->to_len) {
        marks |= b->names == p->names ? IS_NAMED : HAS_NAMES;
        if (marks & HAS_NAMES) size += names_size(p->to_len);
    }
    if (p->offer.share) {
        marks |= HAS_OFFER;
        size += sizeof p->offer;
    }
    if (p->from) {
        marks |= HAS_LOAN;
        size += sizeof(struct loan);
    }
    if (BATCH_BYTES - b->len < size) return false;

    struct letter *letter = (void *)(b->letters + b->len);
    uint8_t *at = (uint8_t *)(letter + 1);
    *letter = (struct letter){ (uint32_t)size, (uint8_t)marks, (uint8_t)p->to_len };
    if (marks & HAS_OFFER) {
        memcpy(at, &p->offer, sizeof p->offer);
        at += sizeof p->offer;
    }
    if (marks & HAS_NAMES) {
        at = put_names(at, p);
        b->names = p->names;
    }
    if (marks & HAS_LOAN) {
        memcpy(at, &(struct loan){ p->from, p->payload }, sizeof(struct loan));
        at += sizeof(struct loan);
    }
    if (copy)
        put_copy(at, p);
    else
        put_reference(at, p->message);
    b->has_references |= (marks & (HAS_LOAN | IS_REFERENCE)) != 0;
    b->len += (uint32_t)size;
    return true;
}

/* ---- reading --------------------------------------------------------------- */

bool batch_next(struct batch *b, struct batch_walk *walk, struct parcel *p) {
    if (walk->at == b->len) return false;
    const struct letter *letter = (const void *)(b->letters + walk->at);
    uint8_t *at = (uint8_t *)(uintptr_t)(letter + 1);
    *p = (struct parcel){ .message = NULL };
    walk->at += letter->size;
    if (letter->marks & HAS_OFFER) {
        memcpy(&p->offer, at, sizeof p->offer);
        at += sizeof p->offer;
    }
    if (letter->marks & HAS_NAMES) {
        walk->named = at;
        walk->named_len = letter->to_len;
        at += names_size(letter->to_len);
    }
    if (letter->marks & (HAS_NAMES | IS_NAMED)) {
        p->age = (const void *)walk->named;
        p->to = (const void *)(walk->named + sizeof *p->age);
        p->to_len = walk->named_len;
    }
    if (letter->marks & HAS_LOAN) {
        struct loan *loan = (void *)at;
        p->from = loan->from;
        p->payload = loan->payload;
        loan->from = NULL;
        at += sizeof *loan;
    }
    if (letter->marks & IS_REFERENCE)
        memcpy(&p->message, at, sizeof p->message);
    else
        p->message = (void *)at;
    return true;
}

void batch_drop(struct batch *b) {
    struct parcel p;
    for (struct batch_walk walk = { 0 }; b->has_references && batch_next(b, &walk, &p);) {
        if (!p.message->in_batch) message_unref(p.message);
        if (p.from) landing_return(p.from);
    }
    give_back(b);
}
