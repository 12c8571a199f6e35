/* route.c -- hooks, authorization, retained store, receivers; and the route cache. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/route.h"

#include "base/mem.h"
#include "core/conn.h"
#include "core/flow.h"
#include "core/mail.h"
#include "core/retain.h"
#include "core/session.h"
#include "core/worker.h"
#include "mqtt/topic.h"

#include <stdlib.h>

/* ---- the route cache ---------------------------------------------------- */

enum {
    ROUTES_MAX = 131072,     /* topics remembered per worker */
    RECEIVERS_MAX = 2000000, /* and receivers of all of them (24 bytes each) */
    SEEN_MAX = 65536,        /* topics met lately, by hash */
    ROOM_MIN = 32,           /* bytes for a topic */
    SPARE_MAX = 64           /* receivers of a route whose memory is kept */
};

static struct slice route_key(const void *obj) {
    return ((const struct route *)obj)->topic;
}

static void route_free(struct route *r) {
    if (!r) return;
    route_entries_deinit(&r->to);
    free(r);
}

static void route_unref(struct worker *w, struct route *r) {
    if (--r->refs) return;
    if (w->route_spare || r->to.cap > SPARE_MAX)
        route_free(r);
    else
        w->route_spare = r;
}

static size_t receivers_of(const struct route *r) {
    size_t n = r->to.len;
    for (uint32_t i = 0; i < r->to.shares_len; i++) n += r->to.shares[i].len;
    return n;
}

static void route_enter(struct worker *w, struct route *r, unsigned place) {
    r->place = place;
    w->route_hand[place] = r;
    w->route_receivers += receivers_of(r);
}

static void route_leave(struct worker *w, struct route *r) {
    w->route_receivers -= receivers_of(r);
    route_unref(w, r);
}

void route_cache_init(struct worker *w) {
    map_init(&w->routes, route_key);
    w->route_hand = xcalloc(ROUTES_MAX, sizeof(struct route *));
    w->route_seen = xcalloc(SEEN_MAX, sizeof *w->route_seen);
    w->route_len = w->route_at = 0;
}

void route_cache_clear(struct worker *w) {
    for (unsigned i = 0; i < w->route_len; i++) {
        struct route *r = w->route_hand[i];
        map_del_hashed(&w->routes, r->topic, r->hash);
        route_leave(w, r);
    }
    w->route_len = w->route_at = 0;
    route_forget(w, &w->route_passing);
}

void route_cache_deinit(struct worker *w) {
    route_cache_clear(w);
    map_deinit(&w->routes);
    free(w->route_hand);
    free(w->route_seen);
    route_free(w->route_spare);
    w->route_spare = NULL;
    w->route_hand = NULL;
    w->route_seen = NULL;
}

/* Room for a route, with what room for receivers the spare one has. */
static struct route *route_alloc(struct worker *w, size_t topic_len) {
    struct route *r = w->route_spare;
    w->route_spare = NULL;
    if (r && r->room >= topic_len) return r;
    route_free(r);
    size_t room = topic_len < ROOM_MIN ? ROOM_MIN : topic_len;
    r = xmalloc(sizeof *r + room);
    r->room = (uint32_t)room;
    r->to = (struct route_entries){ 0 };
    return r;
}

static struct route *route_new(struct worker *w, struct slice topic, uint64_t hash) {
    struct route *r = route_alloc(w, topic.len);
    *r = (struct route){ .refs = 1, .room = r->room, .to = r->to, .hash = hash };
    memcpy(r->topic_bytes, topic.at, topic.len);
    r->topic = slice_of(r->topic_bytes, topic.len);
    r->levels = topic_levels(topic);
    r->policy = w->policies;
    r->wants = w->hooks->wanted ? w->hooks->wants(w->hooks, topic) : 0;
    subs_match(w->broker->subs, w->id, topic, (enum overlapping)w->config->overlapping, &r->to);
    return r;
}

/* A place in the eviction ring: a free one, or that of a route not used since the hand
 * came by.  A topic met once goes before one that is met again and again. */
static unsigned place_for(struct worker *w) {
    if (w->route_len < ROUTES_MAX) return w->route_len++;
    for (;;) {
        unsigned place = w->route_at;
        struct route *r = w->route_hand[place];
        w->route_at = (place + 1) % ROUTES_MAX;
        if (!r->referenced) {
            map_del_hashed(&w->routes, r->topic, r->hash);
            route_leave(w, r);
            return place;
        }
        r->referenced = false;
    }
}

/* Notes that this topic was met; was it before, lately? */
static bool seen_before(struct worker *w, uint64_t hash) {
    uint16_t *place = &w->route_seen[hash % SEEN_MAX], mark = (uint16_t)(hash >> 48 | 1);
    bool before = *place == mark;
    *place = mark;
    return before;
}

/* With the cache full a topic has to come twice to be remembered: those that come once
 * pass by without driving out the others. */
static struct route *route_add(struct worker *w, struct slice topic, uint64_t hash) {
    route_forget(w, &w->route_passing);
    struct route *r = route_new(w, topic, hash);
    if (w->route_len == ROUTES_MAX && !seen_before(w, hash)) {
        w->route_passing = r;
        return r;
    }
    /* Many receivers of many topics: building such a route costs no more than delivering
     * to it, so starting anew is cheap enough. */
    if (w->route_receivers > RECEIVERS_MAX) route_cache_clear(w);
    route_enter(w, r, place_for(w));
    map_put_hashed(&w->routes, r, hash);
    return r;
}

static struct route *route_renew(struct worker *w, struct route *old) {
    struct route *r = route_new(w, old->topic, old->hash);
    route_enter(w, r, old->place);
    map_put_hashed(&w->routes, r, r->hash); /* in place of the old one */
    route_leave(w, old);
    return r;
}

static bool is_current(const struct worker *w, const struct route *r) {
    return subs_current(w->broker->subs, r->to.part, r->to.epoch, r->to.epoch_wide);
}

struct route *route_find(struct worker *w, struct slice topic) {
    uint64_t hash = map_hash(&w->routes, topic);
    struct route *r = map_find_hashed(&w->routes, topic, hash);
    if (!r) return route_add(w, topic, hash);
    if (!is_current(w, r)) r = route_renew(w, r);
    r->referenced = true;
    return r;
}

struct route *route_again(struct worker *w, struct slice topic, struct route **memo) {
    struct route *r = *memo;
    bool same = r && (topic.at == r->topic.at || slice_eq(topic, r->topic));
    if (same && r->policy == w->policies && is_current(w, r)) {
        r->referenced = true;
        return r;
    }
    r = route_find(w, topic);
    r->refs++; /* first: the topic may be the old one's */
    route_forget(w, memo);
    return *memo = r;
}

void route_forget(struct worker *w, struct route **memo) {
    if (*memo) route_unref(w, *memo);
    *memo = NULL;
}

/* ---- receivers ---------------------------------------------------------- */

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
    const uint32_t *ids = e->identifiers_len ? to->identifiers + e->identifiers_at : NULL;
    session_deliver(s, &(struct outgoing){ .message = m,
                                           .identifiers = ids,
                                           .identifiers_len = e->identifiers_len,
                                           .share = share,
                                           .qos = m->qos < e->qos ? m->qos : e->qos,
                                           .retain = m->retain && e->retain_as_published,
                                           .ask = d->ask });
    if (s->conn) flow_delivered(s->conn, d->from, m);
}

/* Sends `m` (borrowed) to a worker that has receivers; slows the publisher down when they
 * cannot keep up. */
static void send_to(const struct delivering *d, unsigned to, const struct parcel *p) {
    message_share(d->message);
    struct parcel parcel = *p;
    parcel.message = message_ref(d->message);
    if (!mail_parcel(d->worker, to, &parcel) && d->from) flow_rest(d->from, to);
}

static unsigned send_to_all(const struct delivering *d, uint64_t workers) {
    unsigned n = 0;
    for (; workers; workers &= workers - 1, n++)
        send_to(d, (unsigned)__builtin_ctzll(workers), &(struct parcel){ 0 });
    return n;
}

/* ---- shares -------------------------------------------------------------- */

enum { FIT_NOT, FIT_AWAY, FIT_BUSY, FIT_READY };

/* How well a session can take a message of a share. */
static int fitness(const struct session *s, const struct route_entry *e) {
    if (!s) return FIT_NOT;
    bool can_wait = e->qos || s->worker->config->queue_qos0; /* for the session's return */
    if (!s->conn) return can_wait ? FIT_AWAY : FIT_NOT;
    return session_is_ready(s) ? FIT_READY : FIT_BUSY;
}

/* The next member in turn that is ready; else the best there is; or NULL.  Of members on
 * the workers in `elsewhere` the best is hoped: they are asked when it is their turn. */
static const struct route_entry *share_pick(struct worker *w, const struct route_entries *to,
                                            const struct route_share *share, uint64_t elsewhere,
                                            int *best_fitness) {
    const struct route_entry *best = NULL;
    *best_fitness = FIT_NOT;
    for (uint32_t i = 0; i < share->len && *best_fitness < FIT_READY; i++) {
        uint32_t at = (share->next + i) % share->len;
        const struct route_entry *e = &to->at[share->first + at];
        unsigned owner = handle_owner(e->session);
        int fit = elsewhere >> owner & 1;
        fit = owner == w->id ? fitness(slots_find(&w->sessions, e->session), e) : fit * FIT_READY;
        if (fit <= *best_fitness) continue;
        best = e;
        *best_fitness = fit;
    }
    return best;
}

/* `e` has had its turn. */
static void share_passes(const struct route_entries *to, struct route_share *share,
                         const struct route_entry *e) {
    share->next = (uint32_t)(e - &to->at[share->first] + 1) % share->len;
}

/* Where members of the share live that have not been asked. */
static uint64_t share_homes(const struct route_entries *to, const struct route_share *share) {
    uint64_t homes = 0;
    for (uint32_t i = 0; i < share->len; i++)
        homes |= UINT64_C(1) << handle_owner(to->at[share->first + i].session);
    return homes;
}

static void share_take(const struct delivering *d, const struct route_entries *to,
                       struct route_share *share, const struct route_entry *e) {
    share_passes(to, share, e);
    deliver_to(d, to, e, slots_find(&d->worker->sessions, e->session), share->id);
}

/* Offers it to the next member in turn that lives on one of `homes`, where some do. */
static void share_offer(const struct delivering *d, const struct route_entries *to,
                        struct route_share *share, const struct parcel *p, uint64_t homes) {
    const struct route_entry *e;
    do {
        e = &to->at[share->first + share->next];
        share_passes(to, share, e);
    } while (!(homes >> handle_owner(e->session) & 1));
    send_to(d, handle_owner(e->session), p);
}

static unsigned share_deliver(const struct delivering *d, const struct route_entries *to,
                              struct route_share *share) {
    int fit;
    const struct route_entry *e = share_pick(d->worker, to, share, UINT64_MAX, &fit);
    if (!e) return 0;
    unsigned owner = handle_owner(e->session);
    if (owner == d->worker->id)
        share_take(d, to, share, e);
    else
        share_offer(d, to, share, &(struct parcel){ .share = share->id }, UINT64_C(1) << owner);
    return 1;
}

/* Another worker's message for one of our members: a ready one takes it; else it goes on to
 * a worker not asked yet, and in the end to whoever was best. */
static void offer_arrived(const struct delivering *d, const struct route_entries *to,
                          struct route_share *share, const struct parcel *p) {
    unsigned here = d->worker->id;
    int fit;
    const struct route_entry *e = share_pick(d->worker, to, share, 0, &fit);
    if (e && (fit == FIT_READY || p->is_last)) {
        share_take(d, to, share, e);
        return;
    }
    struct parcel next = *p;
    if (p->is_last) next = (struct parcel){ .share = p->share }; /* who was best has gone: anew */
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
        send_to(d, next.best_worker, &next);
    }
}

/* The turns of our own members among themselves must not shift those of all members. */
static void share_arrived(const struct delivering *d, const struct route_entries *to,
                          struct route_share *share, const struct parcel *p) {
    struct route_share ours = *share;
    ours.next = share->next_here;
    offer_arrived(d, to, &ours, p);
    share->next_here = ours.next;
}

/* ---- everybody ------------------------------------------------------------ */

void route_share_again(struct worker *w, uint32_t share, struct message *m) {
    struct route_entries to = { 0 };
    struct delivering d = { .worker = w, .message = m, .ask = hooks_for_delivery(w->hooks, m) };
    subs_share(w->broker->subs, share, &to);
    if (to.shares_len) share_deliver(&d, &to, to.shares);
    route_entries_deinit(&to);
}

/* To the plain subscribers that live here. */
static unsigned deliver_here(const struct delivering *d, const struct route_entries *to) {
    unsigned receivers = 0;
    for (uint32_t i = 0; i < to->len; i++) {
        const struct route_entry *e = &to->at[i];
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

unsigned route_deliver(struct worker *w, struct route *r, struct message *m, struct conn *from) {
    struct delivering d = {
        .worker = w, .message = m, .from = from, .ask = r->wants & HOOK_ASKED_AT_DELIVERY
    };
    r->refs++; /* hooks and closing connections may renew or evict it meanwhile */
    unsigned receivers = r->to.remote ? send_to_all(&d, r->to.remote) : 0;
    receivers += deliver_here(&d, &r->to);
    for (uint32_t i = 0; i < r->to.shares_len; i++)
        receivers += share_deliver(&d, &r->to, &r->to.shares[i]);
    route_unref(w, r);
    return receivers;
}

void route_arrived(struct worker *w, const struct parcel *p) {
    struct route *r = route_find(w, message_topic(p->message));
    struct delivering d = { .worker = w,
                            .message = p->message,
                            .ask = r->wants & HOOK_ASKED_AT_DELIVERY };
    r->refs++;
    if (!p->share) deliver_here(&d, &r->to);
    for (uint32_t i = 0; p->share && i < r->to.shares_len; i++)
        if (r->to.shares[i].id == p->share) share_arrived(&d, &r->to, &r->to.shares[i], p);
    route_unref(w, r);
}

/* ---- one message on its way in ------------------------------------------ */

enum { ASK_PUBLISH, HAVE_PUBLISH, ASK_AUTHORIZE, HAVE_AUTHORIZE, ROUTE, OVER };

struct publish *publish_new(struct worker *w) {
    struct publish *p = w->free_publishes;
    if (p)
        w->free_publishes = p->next;
    else
        p = xmalloc(sizeof *p);
    memset(p, 0, sizeof *p);
    p->worker = w;
    return p;
}

static void set_waiting(struct publish *p) {
    struct worker *w = p->worker;
    if (p->link) return;
    p->next = w->waiting;
    p->link = &w->waiting;
    if (p->next) p->next->link = &p->next;
    w->waiting = p;
}

static void unlink_waiting(struct publish *p) {
    if (!p->link) return;
    if (p->next) p->next->link = p->link;
    *p->link = p->next;
    p->link = NULL;
}

/* The route of the message as it is now; looked up again only when topic, subscriptions
 * or policy have changed. */
static struct route *route_of(struct publish *p) {
    struct worker *w = p->worker;
    struct slice topic = message_topic(p->message);
    struct route *r = p->route;
    if (r && r->policy == w->policies && slice_eq(r->topic, topic) && is_current(w, r)) return r;
    if (r) route_unref(w, r);
    p->route = route_find(w, topic);
    p->route->refs++;
    return p->route;
}

static void publish_free(struct publish *p) {
    struct worker *w = p->worker;
    unlink_waiting(p);
    if (p->route) route_unref(w, p->route);
    hook_call_deinit(&p->call);
    message_unref(p->before);
    message_unref(p->message);
    client_unref(p->client);
    p->next = w->free_publishes;
    w->free_publishes = p;
}

static void finish(struct publish *p, uint8_t reason_code, const char *reason) {
    p->stage = OVER;
    if (p->done) p->done(p, reason_code, reason);
    publish_free(p);
}

static bool run(struct publish *p);

static void cancel_parked(void *obj) {
    publish_cancel(obj);
}

void publish_park(struct publish *p, struct conn *c) {
    p->parked = c;
    conn_park(c, cancel_parked, p);
}

/* While run() is at work the connection is not parked: a hook may close it, which must not
 * free `p` then. */
static void on_verdict(struct hook_call *call) {
    struct publish *p = call->obj;
    struct conn *c = p->parked;
    if (call->event == HOOK_PUBLISH) p->message = call->message;
    unlink_waiting(p);
    if (c) conn_unpark(c);
    if (run(p) && c) publish_park(p, c);
}

/* True when the hook waits. */
static bool ask(struct publish *p, enum hook_event event) {
    struct hook_call *call = &p->call;
    hook_call_deinit(call);
    *call = (struct hook_call){ .event = event, .client = p->client, .done = on_verdict, .obj = p };
    if (event == HOOK_PUBLISH) {
        message_unref(p->before);
        p->before = message_ref(p->message);
        call->message = p->message;
        call->is_will = p->is_will;
        p->message = NULL; /* the call's while it runs */
    } else {
        call->access = (struct access_request){ .action = p->is_will ? ACCESS_WILL : ACCESS_PUBLISH,
                                                .topic = message_topic(p->message),
                                                .qos = p->message->qos,
                                                .retain = p->message->retain,
                                                .message = p->message };
    }
    p->worker->hooks->run(p->worker->hooks, call);
    if (call->verdict == VERDICT_WAIT) {
        set_waiting(p);
        return true;
    }
    if (event == HOOK_PUBLISH) p->message = call->message;
    return false;
}

static bool is_wanted(struct publish *p, enum hook_event event) {
    if (p->trusted || !hooks_want(p->worker->hooks, event)) return false;
    return (route_of(p)->wants & HOOK_BIT(event)) != 0;
}

/* NULL, or what is wrong with the message, and the code that says so. */
static const char *invalid(const struct publish *p, uint8_t *rc) {
    const struct limits *l = p->client ? p->client->limits : &p->worker->config->limits;
    uint32_t levels = l->max_topic_levels + (p->client ? p->client->mount_levels : 0u);
    const char *why = message_invalid(p->message, levels, l->max_packet_size);
    if (why || !l->validate_payload_format || !message_misnamed(p->message)) return why;
    *rc = RC_PAYLOAD_FORMAT_INVALID;
    return "it says to be UTF-8 and is not";
}

/* The code of a refusal; a code that means success is no refusal. */
static uint8_t denial(const struct hook_call *call) {
    bool says_why = call->verdict == VERDICT_DENY && call->reason_code >= RC_UNSPECIFIED_ERROR;
    return says_why ? call->reason_code : (uint8_t)RC_NOT_AUTHORIZED;
}

static void have_publish(struct publish *p) {
    struct hook_call *call = &p->call;
    if (call->event == HOOK_PUBLISH && call->verdict == VERDICT_DENY) {
        finish(p, denial(call), call->reason);
    } else if (call->event == HOOK_PUBLISH && call->verdict == VERDICT_DROP) {
        COUNT(p->worker, dropped_by_hook);
        finish(p, RC_SUCCESS, NULL);
    } else {
        bool is_changed = call->event == HOOK_PUBLISH && p->message != p->before;
        bool fresh = !p->is_checked || is_changed;
        uint8_t rc = RC_IMPLEMENTATION_SPECIFIC_ERROR;
        const char *why = fresh ? invalid(p, &rc) : NULL;
        p->stage = ASK_AUTHORIZE;
        if (!why) return;
        struct slice author = p->client ? p->client->id : SLICE("the broker");
        log_error(p->worker->log, "policy", "a script's message from %.*s is refused: %s",
                  SLICE_FMT(author), why);
        finish(p, rc, why);
    }
}

static void have_authorize(struct publish *p) {
    enum verdict v = p->call.event == HOOK_AUTHORIZE ? p->call.verdict : VERDICT_NONE;
    bool allowed = v == VERDICT_ALLOW || (v == VERDICT_NONE && p->worker->config->default_access);
    if (allowed || p->trusted) {
        p->stage = ROUTE;
        return;
    }
    finish(p, denial(&p->call), p->call.reason);
}

void route_retain(struct worker *w, struct message *m) {
    if (w->broker->workers_len > 1) message_share(m);
    retain_set(w->broker->retained, m);
}

static void route_it(struct publish *p) {
    struct worker *w = p->worker;
    struct message *m = p->message;
    struct conn *from = p->client ? p->client->conn : NULL;
    if (m->retain) route_retain(w, m);
    struct route *r = route_of(p);
    bool tell = (r->wants & HOOK_BIT(HOOK_PUBLISHED)) != 0;
    unsigned receivers = route_deliver(w, r, m, from);
    struct fact fact = { .topic = message_topic(m), .message = m, .qos = m->qos };
    if (tell) hooks_tell(w->hooks, HOOK_PUBLISHED, p->client, &fact);
    if (p->is_will) hooks_tell(w->hooks, HOOK_WILL, p->client, &fact);
    finish(p, receivers ? RC_SUCCESS : RC_NO_MATCHING_SUBSCRIBERS, NULL);
}

/* True when a hook waits. */
static bool run(struct publish *p) {
    for (;;) {
        switch (p->stage) {
        case ASK_PUBLISH:
            p->stage = HAVE_PUBLISH;
            if (is_wanted(p, HOOK_PUBLISH) && ask(p, HOOK_PUBLISH)) return true;
            break;
        case HAVE_PUBLISH: have_publish(p); break;
        case ASK_AUTHORIZE:
            p->stage = HAVE_AUTHORIZE;
            if (is_wanted(p, HOOK_AUTHORIZE) && ask(p, HOOK_AUTHORIZE)) return true;
            break;
        case HAVE_AUTHORIZE: have_authorize(p); break;
        case ROUTE: route_it(p); break;
        default: return false;
        }
    }
}

bool publish_start(struct publish *p) {
    p->stage = ASK_PUBLISH;
    return run(p);
}

void publish_cancel(struct publish *p) {
    p->call.hooks->cancel(p->call.hooks, &p->call);
    if (p->call.event == HOOK_PUBLISH) p->message = p->call.message;
    p->stage = OVER;
    publish_free(p);
}

void publish_cancel_all(struct worker *w) {
    while (w->waiting) publish_cancel(w->waiting);
}

void publish_pool_deinit(struct worker *w) {
    while (w->free_publishes) {
        struct publish *p = w->free_publishes;
        w->free_publishes = p->next;
        free(p);
    }
}

void route_publish_trusted(struct worker *w, const struct message_parts *parts) {
    struct publish *p = publish_new(w);
    p->trusted = true;
    p->message = message_new(parts);
    publish_start(p);
}
