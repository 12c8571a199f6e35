/* fanout.c -- receivers here and elsewhere, and the members of shares. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/fanout.h"

#include "core/conn.h"
#include "core/flow.h"
#include "core/mail.h"
#include "core/route.h"
#include "core/session.h"
#include "core/worker.h"
#include "io/chain.h"

/* What the receivers of one message have in common. */
struct delivering {
    struct worker *worker;
    struct message *message;
    struct conn *from; /* the publishing connection, or NULL */
    uint32_t ask;      /* HOOK_BITs that want to see each delivery */
};

static void deliver_to(const struct delivering *d, const struct route_entries *to,
                       const struct route_entry *e, struct session *s, uint32_t share) {
    struct message *m = d->message;
    uint32_t ids_len;
    const uint32_t *ids = route_identifiers(to, e, &ids_len);
    session_deliver(s, &(struct outgoing){ .message = m,
                                           .identifiers = ids,
                                           .identifiers_len = ids_len,
                                           .share = share,
                                           .qos = m->qos < e->qos ? m->qos : e->qos,
                                           .retain = m->retain && e->retain_as_published,
                                           .standing = e->standing,
                                           .ask = d->ask });
    if (s->conn) flow_delivered(s->conn, d->from, m);
}

/* Sends the message to a worker that has receivers; slows the publisher down when they cannot
 * keep up. */
static void send_to(const struct delivering *d, unsigned to, const struct parcel *p) {
    if (!mail_parcel(d->worker, to, p) && d->from) flow_rest(d->from, to);
}

static unsigned send_to_all(const struct delivering *d, const struct route *route) {
    const struct route_entries *r = &route->to;
    const struct route_entry *all = route_entries_at(r);
    unsigned n = 0;
    uint32_t at = r->far_at, end = at + r->far_len;
    for (uint64_t workers = r->remote; workers; workers &= workers - 1, n++) {
        unsigned worker = (unsigned)__builtin_ctzll(workers);
        struct parcel p = { .message = d->message,
                            .age = &r->age,
                            .names = route->serial,
                            .is_lone = !(r->remote & (r->remote - 1)) };
        if (at < end) p.to = &all[at];
        for (; at < end && handle_owner(all[at].session) == worker; at++) p.to_len++;
        send_to(d, worker, &p);
    }
    return n;
}

static void send_offer(const struct delivering *d, unsigned to, const struct offer *o) {
    send_to(d, to, &(struct parcel){ .message = d->message, .offer = *o });
}

/* ---- shares -------------------------------------------------------------- */

enum { FIT_NOT, FIT_AWAY, FIT_BUSY, FIT_READY };

/* How well a session can take a message of a share. */
static int fitness(const struct session *s, const struct route_entry *e, struct message *m) {
    if (!s || session_hides(s, m) || session_denies(s, m, e->standing)) return FIT_NOT;
    bool can_wait = e->qos || s->worker->config->queue_qos0; /* for the session's return */
    if (!s->conn) return can_wait ? FIT_AWAY : FIT_NOT;
    return session_is_ready(s) ? FIT_READY : FIT_BUSY;
}

/* The next member in turn that is ready; else the best there is; or NULL.  Of members on
 * the workers in `elsewhere` the best is hoped: they are asked when it is their turn. */
static const struct route_entry *share_pick(const struct delivering *d,
                                            const struct route_entries *to,
                                            const struct route_share *share, uint64_t elsewhere,
                                            int *best_fitness) {
    const struct route_entry *best = NULL;
    struct worker *w = d->worker;
    *best_fitness = FIT_NOT;
    for (uint32_t i = 0; i < share->len && *best_fitness < FIT_READY; i++) {
        uint32_t at = (share->next + i) % share->len;
        const struct route_entry *e = &route_entries_at(to)[share->first + at];
        unsigned owner = handle_owner(e->session);
        int fit = elsewhere >> owner & 1;
        fit = owner == w->id ? fitness(slots_find(&w->sessions, e->session), e, d->message)
                             : fit * FIT_READY;
        if (fit <= *best_fitness) continue;
        best = e;
        *best_fitness = fit;
    }
    return best;
}

/* `e` has had its turn. */
static void share_passes(const struct route_entries *to, struct route_share *share,
                         const struct route_entry *e) {
    share->next = (uint32_t)(e - &route_entries_at(to)[share->first] + 1) % share->len;
}

/* Where members of the share live that have not been asked. */
static uint64_t share_homes(const struct route_entries *to, const struct route_share *share) {
    uint64_t homes = 0;
    for (uint32_t i = 0; i < share->len; i++)
        homes |= UINT64_C(1) << handle_owner(route_entries_at(to)[share->first + i].session);
    return homes;
}

static void share_take(const struct delivering *d, const struct route_entries *to,
                       struct route_share *share, const struct route_entry *e) {
    share_passes(to, share, e);
    deliver_to(d, to, e, slots_find(&d->worker->sessions, e->session), share->id);
}

/* Offers it to the next member in turn that lives on one of `homes`, where some do. */
static void share_offer(const struct delivering *d, const struct route_entries *to,
                        struct route_share *share, const struct offer *o, uint64_t homes) {
    const struct route_entry *e;
    do {
        e = &route_entries_at(to)[share->first + share->next];
        share_passes(to, share, e);
    } while (!(homes >> handle_owner(e->session) & 1));
    send_offer(d, handle_owner(e->session), o);
}

static unsigned share_deliver(const struct delivering *d, const struct route_entries *to,
                              struct route_share *share) {
    int fit;
    const struct route_entry *e = share_pick(d, to, share, UINT64_MAX, &fit);
    if (!e) return 0;
    unsigned owner = handle_owner(e->session);
    if (owner == d->worker->id)
        share_take(d, to, share, e);
    else
        share_offer(d, to, share, &(struct offer){ .share = share->id }, UINT64_C(1) << owner);
    return 1;
}

/* Another worker's message for one of our members: a ready one takes it; else it goes on to
 * a worker not asked yet, and in the end to whoever was best. */
static void offer_arrived(const struct delivering *d, const struct route_entries *to,
                          struct route_share *share, const struct offer *o) {
    unsigned here = d->worker->id;
    int fit;
    const struct route_entry *e = share_pick(d, to, share, 0, &fit);
    if (e && (fit == FIT_READY || o->is_last)) {
        share_take(d, to, share, e);
        return;
    }
    struct offer next = *o;
    if (o->is_last) next = (struct offer){ .share = o->share }; /* who was best has gone: anew */
    next.tried |= UINT64_C(1) << here;
    if (fit > next.best_fitness) {
        next.best_fitness = (uint8_t)fit;
        next.best_worker = (uint8_t)here;
    }
    uint64_t left = share_homes(to, share) & ~next.tried;
    if (left) {
        share_offer(d, to, share, &next, left);
    } else if (next.best_fitness && next.best_worker == here) {
        share_take(d, to, share, e);
    } else if (next.best_fitness) {
        next.is_last = true;
        send_offer(d, next.best_worker, &next);
    }
}

/* The turns of our own members among themselves must not shift those of all members. */
static void share_arrived(const struct delivering *d, const struct route_entries *to,
                          struct route_share *share, const struct offer *o) {
    struct route_share ours = *share;
    ours.next = share->next_here;
    offer_arrived(d, to, &ours, o);
    share->next_here = ours.next;
}

/* ---- everybody ------------------------------------------------------------ */

void fanout_share_again(struct worker *w, uint32_t share, struct message *m) {
    struct route_entries to = { 0 };
    struct delivering d = { .worker = w, .message = m, .ask = hooks_for_delivery(w->hooks, m) };
    subs_share(w->broker->subs, share, &to);
    if (to.more) share_deliver(&d, &to, to.more->shares);
    route_entries_deinit(&to);
}

/* To the plain subscribers that live here. */
static unsigned deliver_here(const struct delivering *d, const struct route_entries *to) {
    unsigned receivers = 0;
    for (uint32_t i = 0; i < to->len; i++) {
        const struct route_entry *e = &route_entries_at(to)[i];
        struct route_entry own;
        struct session *s = slots_find(&d->worker->sessions, e->session);
        if (!s) continue;
        /* Each time: a hook in between may have sent another message to many. */
        if (to->len > 1) conn_fan_out(d->worker, d->message);
        if (handle_eq(d->message->publisher, e->session)) {
            if (e->no_local) continue;
            own = route_entry_own(e);
            e = &own;
        }
        receivers++;
        deliver_to(d, to, e, s, 0);
    }
    if (to->len > 1) conn_fan_out(d->worker, NULL);
    return receivers;
}

/* Do all its receivers live on one other worker? */
static bool is_far(const struct route *r) {
    const struct route_entries *to = &r->to;
    return to->remote && !(to->remote & (to->remote - 1)) && !to->len && !to->more;
}

/* A payload too large to be copied is lent, if it lies in the landing; `head` is to be the rest. */
static bool lend(struct worker *w, struct parcel *p, struct message_parts *head) {
    *head = *p->parts;
    head->payload = SLICE_NONE;
    if (!landing_holds(&w->landing, p->parts->payload) || p->parts->payload.len < CHAIN_REF_MIN ||
        message_size(head) > BATCH_COPY_MAX)
        return false;
    p->payload = p->parts->payload;
    p->parts = head;
    p->from = landing_lend_out(&w->landing, p->payload);
    return p->from != NULL;
}

bool fanout_parts(struct worker *w, const struct route *r, const struct message_parts *parts,
                  struct conn *from) {
    const struct route_entries *to = &r->to;
    struct message_parts head;
    if (!is_far(r)) return false;
    const struct delivering d = { .worker = w, .from = from };
    struct parcel p = { .parts = parts,
                        .to = to->far_len ? &route_entries_at(to)[to->far_at] : NULL,
                        .to_len = to->far_len,
                        .age = &to->age,
                        .names = r->serial };
    if (message_size(parts) > BATCH_COPY_MAX && !lend(w, &p, &head)) return false;
    send_to(&d, (unsigned)__builtin_ctzll(to->remote), &p);
    return true;
}

unsigned fanout_message(struct worker *w, struct route *r, struct message *m, struct conn *from) {
    struct delivering d = {
        .worker = w, .message = m, .from = from, .ask = r->wants & HOOK_ASKED_AT_DELIVERY
    };
    route_ref(r); /* hooks and closing connections may renew or evict it meanwhile */
    unsigned receivers = r->to.remote ? send_to_all(&d, r) : 0;
    receivers += deliver_here(&d, &r->to);
    uint32_t shares;
    struct route_share *share = route_shares(&r->to, &shares);
    for (; shares; shares--, share++) receivers += share_deliver(&d, &r->to, share);
    route_unref(w, r);
    return receivers;
}

void fanout_to(struct worker *w, struct session *s, struct message *m) {
    session_deliver(s, &(struct outgoing){
                           .message = m, .qos = m->qos, .ask = hooks_for_delivery(w->hooks, m) });
    if (s->conn) flow_delivered(s->conn, NULL, m);
}

/* Are the receivers named in the parcel all there are? */
static bool is_addressed(const struct worker *w, const struct parcel *p) {
    return p->to_len && !(w->hooks->wanted & HOOK_ASKED_AT_DELIVERY) &&
           subs_current(w->broker->subs, p->age);
}

void fanout_arrived(struct worker *w, const struct parcel *p) {
    struct delivering d = { .worker = w, .message = p->message };
    if (is_addressed(w, p)) {
        deliver_here(&d, &(struct route_entries){ .many = (void *)(uintptr_t)p->to,
                                                  .cap = p->to_len,
                                                  .len = p->to_len });
        return;
    }
    struct route *r = route_again(w, message_topic(p->message), &w->route_arrived);
    d.ask = r->wants & HOOK_ASKED_AT_DELIVERY;
    route_ref(r);
    if (!p->offer.share) deliver_here(&d, &r->to);
    uint32_t shares;
    struct route_share *share = route_shares(&r->to, &shares);
    for (; p->offer.share && shares; shares--, share++)
        if (share->id == p->offer.share) share_arrived(&d, &r->to, share, &p->offer);
    route_unref(w, r);
}
