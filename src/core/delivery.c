/* delivery.c -- messages on their way to one client; the deliver hooks come before, held.c.
 *
 * The ring of a session, from its head:
 *
 *     [ out on this connection | to be sent again | waiting ]
 *       ring_again               ring_sent          ring_len
 *
 * Entries before ring_sent have packet ids, counted up from first_id.  An acknowledged
 * entry stays until it is the head, so ids stay contiguous.
 *
 * Where a full queue loses its eldest, the dropped leave a gap in front of those waiting;
 * what is in flight moves up to close it before it gets long, or when the next is sent. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/delivery.h"

#include "base/mem.h"
#include "core/conn.h"
#include "core/retain.h"
#include "core/fanout.h"
#include "core/worker.h"

#include <stdlib.h>

enum {
    RING_START = 4,
    REPLAY_PER_RUN = 512, /* retained messages sent at a time */
    /* Packet ids between the eldest unacknowledged message and the newest, per message
     * of the window: a client that never acknowledges one of them stalls here instead of
     * growing the ring. */
    SPAN_PER_WINDOW = 8,
    SPAN_MAX = 65535
};

/* ---- the ring ----------------------------------------------------------- */

static struct delivery *ring_at(const struct session *s, uint32_t i) {
    return &s->ring[(s->ring_head + i) & (s->ring_cap - 1)];
}

static uint16_t id_at(const struct session *s, uint32_t i) {
    return (uint16_t)((s->first_id - 1u + i) % 65535u + 1u);
}

static void ring_grow(struct session *s) {
    uint32_t cap = s->ring_cap ? s->ring_cap * 2 : RING_START;
    struct delivery *ring = xmalloc(cap * sizeof *ring);
    for (uint32_t i = 0; i < s->ring_len; i++) ring[i] = *ring_at(s, i);
    free(s->ring);
    s->ring = ring;
    s->ring_cap = cap;
    s->ring_head = 0;
}

uint32_t *delivery_identifiers(const struct outgoing *o) {
    if (!o->identifiers_len) return NULL;
    uint32_t *ids = xmalloc((o->identifiers_len + 1u) * sizeof *ids);
    ids[0] = o->identifiers_len;
    memcpy(ids + 1, o->identifiers, o->identifiers_len * sizeof *ids);
    return ids;
}

static struct delivery *ring_push(struct session *s, const struct outgoing *o) {
    if (s->ring_len == s->ring_cap) ring_grow(s);
    struct delivery *d = ring_at(s, s->ring_len++);
    *d = (struct delivery){ .message = message_ref(o->message),
                            .identifiers = delivery_identifiers(o),
                            .qos = o->qos,
                            .retain = o->retain,
                            .state = DELIVERY_QUEUED,
                            .share = o->share };
    s->queued_bytes += message_weight(o->message);
    if (o->qos == 0) s->waiting_qos0++;
    return d;
}

/* The message has left our care (acknowledged, or received by the client). */
static void let_go(struct session *s, struct delivery *d) {
    if (d->message) {
        size_t weight = message_weight(d->message);
        if (d->state == DELIVERY_QUEUED) s->queued_bytes -= weight;
        if (d->state == DELIVERY_SENT) s->open_bytes -= weight;
    }
    d->message = message_unref(d->message);
    free(d->identifiers);
    d->identifiers = NULL;
}

/* Drops acknowledged entries from the head; an empty ring owns nothing when large. */
static void ring_trim(struct session *s) {
    while (s->ring_sent && ring_at(s, 0)->state == DELIVERY_DONE) {
        s->ring_head = (s->ring_head + 1) & (s->ring_cap - 1);
        s->ring_len--;
        s->ring_sent--;
        if (s->ring_again) s->ring_again--;
        s->first_id = (uint16_t)(s->first_id % 65535u + 1u);
    }
    if (s->ring_len || s->ring_cap <= 64) return;
    free(s->ring);
    s->ring = NULL;
    s->ring_cap = s->ring_head = 0;
}

/* Those in flight move up to those waiting. */
static void close_gap(struct session *s) {
    for (uint32_t i = s->ring_sent; i-- > 0;) *ring_at(s, i + s->ring_gaps) = *ring_at(s, i);
    s->ring_head = (s->ring_head + s->ring_gaps) & (s->ring_cap - 1);
    s->ring_len -= s->ring_gaps;
    s->ring_gaps = 0;
}

static void done(struct session *s, struct delivery *d) {
    let_go(s, d);
    if (d->state != DELIVERY_RESEND && d->state != DELIVERY_REL_AGAIN) s->ring_open--;
    d->state = DELIVERY_DONE;
    ring_trim(s);
}

static uint32_t span_limit(const struct session *s) {
    uint32_t span = (uint32_t)s->window * SPAN_PER_WINDOW;
    return span < SPAN_MAX ? span : SPAN_MAX;
}

/* ---- sending ------------------------------------------------------------ */

void delivery_tell_dropped(struct session *s, struct message *m, const char *reason) {
    if (!hooks_want(s->worker->hooks, HOOK_DROPPED)) return;
    struct message *told = message_ref(m); /* scripts are shown one that can be held */
    hooks_tell(s->worker->hooks, HOOK_DROPPED, s->client,
               &(struct fact){ .topic = message_topic(told), .message = told, .reason = reason });
    message_unref(told);
}

static int send_publish(struct session *s, const struct delivery *d, uint16_t id, bool dup) {
    return conn_send_publish(
        s->conn, d->message,
        &(struct publish_out){ .identifiers = d->identifiers ? d->identifiers + 1 : NULL,
                               .identifiers_len = d->identifiers ? d->identifiers[0] : 0,
                               .packet_id = id,
                               .qos = d->qos,
                               .retain = d->retain,
                               .dup = dup });
}

static bool is_expired(const struct session *s, const struct message *m) {
    return m->expires_ms <= loop_now_ms(s->worker->loop);
}

/* An entry that cannot be sent is as good as acknowledged [MQTT-3.1.2-25]. */
static void skip(struct session *s, struct delivery *d) {
    let_go(s, d);
    d->state = DELIVERY_DONE;
    ring_trim(s);
}

static bool window_open(const struct session *s) {
    return s->ring_open < s->window && s->open_bytes < s->window_bytes && conn_has_room(s->conn);
}

/* PUBRELs do not wait for the window [MQTT-3.3.4-10]. */
static void release_again(struct session *s) {
    for (uint32_t i = s->ring_again; s->conn && s->ring_releases && i < s->ring_sent; i++) {
        struct delivery *d = ring_at(s, i);
        if (d->state != DELIVERY_REL_AGAIN) continue;
        d->state = DELIVERY_RELEASED;
        s->ring_releases--;
        s->ring_open++;
        conn_send_ack(s->conn, PKT_PUBREL, id_at(s, i), RC_SUCCESS, NULL);
    }
}

static void send_again(struct session *s) {
    release_again(s);
    while (s->conn && s->ring_again < s->ring_sent && window_open(s)) {
        uint32_t i = s->ring_again;
        struct delivery *d = ring_at(s, i);
        s->ring_again++;
        if (d->state != DELIVERY_RESEND) continue;
        s->ring_open++;
        d->state = DELIVERY_SENT; /* [MQTT-4.4.0-1]: also when it has expired meanwhile */
        s->open_bytes += message_weight(d->message);
        if (send_publish(s, d, id_at(s, i), true) == SEND_OK) continue;
        s->ring_open--;
        skip(s, d);
    }
}

static void expire(struct session *s, struct delivery *d) {
    struct message *m = message_ref(d->message);
    COUNT(s->worker, dropped_expired);
    skip(s, d);
    hooks_tell(s->worker->hooks, HOOK_EXPIRED, s->client,
               &(struct fact){ .topic = message_topic(m), .message = m });
    message_unref(m);
}

/* Kept for an absent client: it takes a place in the ring, and so a packet id, that nobody
 * will see. */
static void send_qos0(struct session *s, struct delivery *d) {
    s->waiting_qos0--;
    if (is_expired(s, d->message)) {
        expire(s, d);
        return;
    }
    int r = send_publish(s, d, 0, false);
    struct message *m = r == SEND_OK ? NULL : message_ref(d->message);
    skip(s, d);
    if (!m) return;
    delivery_tell_dropped(s, m, "the client does not take it");
    message_unref(m);
}

static void send_waiting(struct session *s) {
    while (s->conn && s->ring_sent < s->ring_len && s->ring_sent < span_limit(s) &&
           window_open(s)) {
        if (s->ring_gaps) close_gap(s);
        uint32_t i = s->ring_sent++;
        struct delivery *d = ring_at(s, i);
        s->ring_again = s->ring_sent;
        if (d->qos == 0) {
            send_qos0(s, d);
            continue;
        }
        if (is_expired(s, d->message)) {
            expire(s, d);
            continue;
        }
        size_t weight = message_weight(d->message);
        d->state = DELIVERY_SENT;
        s->ring_open++;
        s->queued_bytes -= weight;
        s->open_bytes += weight;
        if (send_publish(s, d, id_at(s, i), false) == SEND_OK) continue;
        s->ring_open--;
        skip(s, d);
    }
}

/* ---- delivering --------------------------------------------------------- */

static uint32_t waiting(const struct session *s) {
    return s->ring_len - s->ring_sent - s->ring_gaps;
}

/* Would `m` be too much once `len` waiting messages of `bytes` are gone? */
static bool is_full_without(const struct session *s, const struct message *m, uint32_t len,
                            size_t bytes) {
    const struct limits *l = s->client->limits;
    return waiting(s) - len >= l->max_queued ||
           s->queued_bytes - bytes + message_weight(m) > l->max_queued_bytes;
}

static bool is_full(const struct session *s, const struct message *m) {
    return is_full_without(s, m, 0, 0);
}

/* How many of the eldest must go so that `m` fits; 0: all of them would not help. */
static uint32_t price_of_room(const struct session *s, const struct message *m) {
    size_t bytes = 0;
    for (uint32_t n = 0; n < waiting(s);) {
        bytes += message_weight(ring_at(s, s->ring_sent + s->ring_gaps + n)->message);
        if (!is_full_without(s, m, ++n, bytes)) return n;
    }
    return 0;
}

/* The gap stays shorter than what would have to move to close it. */
static void drop_eldest(struct session *s) {
    struct delivery *d = ring_at(s, s->ring_sent + s->ring_gaps);
    struct message *m = message_ref(d->message);
    if (d->qos == 0) s->waiting_qos0--;
    let_go(s, d);
    s->ring_gaps++;
    if (s->ring_gaps > s->ring_sent || !waiting(s)) close_gap(s);
    COUNT(s->worker, dropped_queue_full);
    delivery_tell_dropped(s, m, "the session's queue is full");
    message_unref(m);
}

/* Room for `m` in a full queue, as `drop` says; false when there is none, or the session
 * has ended over it: a hook that is told may do anything. */
static bool make_room(struct session *s, const struct message *m) {
    if (s->worker->config->drop != DROP_OLDEST) return false;
    for (uint32_t n = price_of_room(s, m); n > 0 && waiting(s); n--) {
        drop_eldest(s);
        if (slots_find(&s->worker->sessions, s->handle) != s) return false;
    }
    return !is_full(s, m);
}

static void enqueue(struct session *s, const struct outgoing *o) {
    if (is_full(s, o->message) && !make_room(s, o->message)) {
        COUNT(s->worker, dropped_queue_full);
        delivery_tell_dropped(s, o->message, "the session's queue is full");
        return;
    }
    ring_push(s, o);
    if (s->conn && s->ring_again == s->ring_sent) send_waiting(s);
}

/* Those kept while the client was away go first [MQTT-4.6.0-6]. */
static bool must_queue(const struct session *s) {
    return !s->conn || s->waiting_qos0;
}

static void deliver_qos0(struct session *s, const struct outgoing *o) {
    if (must_queue(s)) {
        if (s->worker->config->queue_qos0 || s->conn) enqueue(s, o);
        return;
    }
    int r = conn_send_publish(s->conn, o->message,
                              &(struct publish_out){ .identifiers = o->identifiers,
                                                     .identifiers_len = o->identifiers_len,
                                                     .retain = o->retain });
    if (r == SEND_DROPPED) delivery_tell_dropped(s, o->message, "the client does not take it");
}

bool session_is_ready(const struct session *s) {
    return s->conn && s->ring_sent == s->ring_len && window_open(s) && !held_any(s);
}

void delivery_now(struct session *s, const struct outgoing *o) {
    if (o->qos == 0) {
        deliver_qos0(s, o);
        return;
    }
    enqueue(s, o);
}

/* ---- retained messages -------------------------------------------------- */

struct replay {
    struct replay *next;
    struct message **list; /* owned, with its references from `at` on; once matched */
    size_t len, at;
    uint64_t up_to; /* retain_stamp at SUBSCRIBE: what is kept later comes as it is published */
    uint32_t identifier;
    uint8_t qos;
    uint8_t standing; /* of the subscription */
    bool is_matched;
    uint16_t filter_len;
    uint8_t filter[];
};

static void replay_free(struct replay *r) {
    while (r->at < r->len) message_unref(r->list[r->at++]);
    free(r->list);
    free(r);
}

static void replay_one(struct session *s, struct replay *r) {
    struct message *m = r->list[r->at++];
    if (is_expired(s, m) || !retain_holds(m)) {
        message_unref(m);
        return;
    }
    session_deliver(s, &(struct outgoing){ .message = m,
                                           .identifiers = &r->identifier,
                                           .identifiers_len = r->identifier != 0,
                                           .qos = m->qos < r->qos ? m->qos : r->qos,
                                           .retain = true,
                                           .standing = r->standing,
                                           .ask = hooks_for_delivery(s->worker->hooks, m) });
    message_unref(m);
}

/* Room on the wire, and nothing waiting that these would push out of the queue. */
static bool may_replay(const struct session *s) {
    return s->conn && s->replay && s->ring_sent == s->ring_len && !held_any(s) && !held_asks(s) &&
           window_open(s);
}

static void replay_pop(struct session *s) {
    struct replay *r = s->replay;
    s->replay = r->next;
    if (!s->replay) s->replay_tail = &s->replay;
    replay_free(r);
}

/* One step: look the filter up, send a message, or be done with it. */
static void replay_step(struct session *s) {
    struct worker *w = s->worker;
    struct replay *r = s->replay;
    if (!r->is_matched) {
        r->is_matched = true;
        retain_match(w->broker->retained,
                     &(struct retain_query){ .filter = slice_of(r->filter, r->filter_len),
                                             .now_ms = loop_now_ms(w->loop),
                                             .up_to = r->up_to },
                     &r->list, &r->len);
    } else if (r->at < r->len) {
        replay_one(s, r);
    } else {
        replay_pop(s);
    }
}

/* A bounded number of steps, so that nobody waits for a client that asked for much. */
static void replay_pump(struct session *s) {
    for (unsigned n = 0; may_replay(s); n++) {
        if (n == REPLAY_PER_RUN) {
            conn_pump_again(s->conn);
            return;
        }
        replay_step(s);
    }
}

void session_replay(struct session *s, struct slice filter, const struct subscribe_options *options,
                    uint32_t identifier) {
    if (!retain_may_match(s->worker->broker->retained, filter)) return;
    struct replay *r = xcalloc(1, sizeof *r + filter.len);
    r->up_to = retain_stamp(s->worker->broker->retained);
    r->qos = options->qos;
    r->standing = options->standing;
    r->identifier = identifier;
    r->filter_len = (uint16_t)filter.len;
    memcpy(r->filter, filter.at, filter.len);
    *s->replay_tail = r;
    s->replay_tail = &r->next;
}

static bool replays(const struct replay *r, struct slice filter) {
    return slice_eq(slice_of(r->filter, r->filter_len), filter);
}

void session_replay_stands(struct session *s, struct slice filter, uint8_t standing) {
    for (struct replay *r = s->replay; r; r = r->next)
        if (replays(r, filter)) r->standing = standing;
}

/* They stay in the list, with nothing left to send: one of them may be at it just now. */
void session_replay_end(struct session *s, struct slice filter) {
    for (struct replay *r = s->replay; r; r = r->next) {
        if (!replays(r, filter)) continue;
        while (r->at < r->len) message_unref(r->list[r->at++]);
        r->is_matched = true;
    }
}

void session_pump(struct session *s) {
    if (!s->conn) return;
    send_again(s);
    if (s->ring_again == s->ring_sent) send_waiting(s);
    if (s->replay) replay_pump(s);
}

/* ---- acknowledgements --------------------------------------------------- */

static struct delivery *find(struct session *s, uint16_t packet_id, uint32_t *index) {
    uint32_t i = (packet_id + 65535u - s->first_id) % 65535u;
    if (packet_id == 0 || i >= s->ring_sent) return NULL;
    struct delivery *d = ring_at(s, i);
    *index = i;
    return d->state == DELIVERY_DONE ? NULL : d;
}

/* For HOOK_ACKED: a reference to be told of once the ring is in order again. */
static struct message *acked_message(struct session *s, struct delivery *d) {
    bool tell = hooks_want(s->worker->hooks, HOOK_ACKED) && d->message;
    return tell ? message_ref(d->message) : NULL;
}

static void tell_acked(struct session *s, struct message *m, uint8_t qos) {
    if (!m) return;
    hooks_tell(s->worker->hooks, HOOK_ACKED, s->client,
               &(struct fact){ .topic = message_topic(m), .message = m, .qos = qos });
    message_unref(m);
}

int session_puback(struct session *s, uint16_t packet_id) {
    uint32_t i;
    struct delivery *d = find(s, packet_id, &i);
    if (!d) return ACK_UNKNOWN;
    if (d->qos != 1) return ACK_OUT_OF_TURN;
    struct message *m = acked_message(s, d);
    done(s, d);
    tell_acked(s, m, 1);
    return ACK_OK;
}

int session_pubrec(struct session *s, uint16_t packet_id, uint8_t reason_code) {
    uint32_t i;
    struct delivery *d = find(s, packet_id, &i);
    if (!d) return ACK_UNKNOWN;
    if (d->qos != 2) return ACK_OUT_OF_TURN;
    if (reason_code >= RC_UNSPECIFIED_ERROR) {
        done(s, d);
        return ACK_OK;
    }
    if (d->state == DELIVERY_RESEND || d->state == DELIVERY_REL_AGAIN) s->ring_open++;
    struct message *m = acked_message(s, d);
    let_go(s, d);
    d->state = DELIVERY_RELEASED;
    tell_acked(s, m, 2);
    return ACK_OK;
}

int session_pubcomp(struct session *s, uint16_t packet_id) {
    uint32_t i;
    struct delivery *d = find(s, packet_id, &i);
    if (!d) return ACK_UNKNOWN;
    if (d->state != DELIVERY_RELEASED && d->state != DELIVERY_REL_AGAIN) return ACK_OUT_OF_TURN;
    done(s, d);
    return ACK_OK;
}

/* ---- life --------------------------------------------------------------- */

void delivery_rewind(struct session *s) {
    s->ring_again = s->ring_open = s->ring_releases = 0;
    s->open_bytes = 0;
    for (uint32_t i = 0; i < s->ring_sent; i++) {
        struct delivery *d = ring_at(s, i);
        if (d->state == DELIVERY_SENT)
            d->state = DELIVERY_RESEND;
        else if (d->state == DELIVERY_RELEASED)
            d->state = DELIVERY_REL_AGAIN;
        s->ring_releases += d->state == DELIVERY_REL_AGAIN;
    }
}

void delivery_deinit(struct session *s) {
    held_deinit(s);
    while (s->replay) {
        struct replay *r = s->replay;
        s->replay = r->next;
        replay_free(r);
    }
    for (uint32_t i = 0; i < s->ring_len; i++) {
        struct delivery *d = ring_at(s, i);
        /* Its group has others who can still have it [MQTT-4.8.2-5]. */
        bool may_move = d->qos == 1 || d->state == DELIVERY_QUEUED; /* QoS 2: only once, ever */
        bool is_good = d->share && d->message && !is_expired(s, d->message);
        if (is_good && may_move && !s->worker->stopping)
            fanout_share_again(s->worker, d->share, d->message);
        let_go(s, d);
    }
    xfree(s->ring);
    s->ring = NULL;
    s->ring_cap = s->ring_len = s->ring_sent = s->ring_again = s->ring_open = s->ring_gaps = 0;
}
