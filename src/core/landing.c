/* landing.c -- messages whose payload does not lie behind them. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/landing.h"

#include "base/mem.h"

#include <stdlib.h>

/* Lies in front of each such message. */
struct lent {
    void *room;              /* owned: what the payload lies in; NULL: the landing */
    struct landing *landing; /* while it lends the room */
    struct lent *next, **link;
    struct handle reader;
};

static struct lent *lent_of(struct message *m) {
    must(m->is_apart);
    return (struct lent *)(void *)m - 1;
}

static struct message *message_of(struct lent *e) {
    return (struct message *)(void *)(e + 1);
}

static struct lent *make(const struct message_parts *parts) {
    struct message_parts rest = *parts;
    rest.payload = SLICE_NONE;
    struct lent *e = xmalloc(sizeof *e + message_size(&rest));
    struct message *m = message_fill(e + 1, &rest);
    m->is_apart = true;
    m->payload = parts->payload.at;
    m->payload_len = (uint32_t)parts->payload.len;
    *e = (struct lent){ .reader = HANDLE_NONE };
    return e;
}

struct message *landing_adopt(void *room, const struct message_parts *parts) {
    struct lent *e = make(parts);
    e->room = room;
    return message_of(e);
}

struct message *landing_lend(struct landing *l, const struct message_parts *parts) {
    struct lent *e = make(parts);
    e->landing = l;
    e->link = l->last;
    *l->last = e;
    l->last = &e->next;
    l->lent++;
    l->used = (size_t)(parts->payload.at + parts->payload.len - l->at);
    return message_of(e);
}

static void unlist(struct lent *e) {
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
    struct lent *e = lent_of(m);
    if (!e->landing) return;
    unlist(e);
    e->room = xmalloc(m->payload_len);
    m->payload = memcpy(e->room, m->payload, m->payload_len);
}

void landing_free(struct message *m) {
    struct lent *e = lent_of(m);
    if (e->landing) unlist(e);
    xfree(e->room);
    free(e);
}

void landing_note_reader(struct message *m, struct handle session) {
    lent_of(m)->reader = session;
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
