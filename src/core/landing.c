/* landing.c -- large messages, and the places their payloads lie in. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/landing.h"

#include "base/mem.h"

#include <stdlib.h>

/* In front of each large message; message_place knows that `payload` is the last. */
struct large {
    void *room;              /* owned: what the payload lies in, unless behind the message */
    struct landing *landing; /* while it is lent; else NULL */
    struct large *next, **link;
    struct handle reader;
    const uint8_t *payload;
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

struct message *landing_lend(struct landing *l, const struct message_parts *parts) {
    struct large *e = make_around(parts);
    e->landing = l;
    e->link = l->last;
    *l->last = e;
    l->last = &e->next;
    l->lent++;
    l->used = (size_t)(parts->payload.at + parts->payload.len - l->at);
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
    if (--l->lent == 0) l->used = 0;
}

void landing_settle(struct message *m) {
    struct large *e = large_of(m);
    if (!e->landing) return;
    unlist(e);
    e->room = xmalloc(m->payload_len);
    e->payload = memcpy(e->room, e->payload, m->payload_len);
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

uint8_t *landing_room(struct landing *l, size_t want) {
    return LANDING_BYTES - l->used >= want ? l->at + l->used : NULL;
}

void landing_init(struct landing *l) {
    *l = (struct landing){ .at = xmalloc(LANDING_BYTES) };
    l->last = &l->first;
}

void landing_deinit(struct landing *l) {
    while (l->first) landing_move(l);
    free(l->at);
    l->at = NULL;
}
