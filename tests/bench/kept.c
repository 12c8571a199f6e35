/* kept.c -- messages the broker keeps for later: retained ones for whoever subscribes, and
 * queued ones for a session whose client is away.
 *
 * A publisher fills the broker, a subscriber comes and takes everything; only the taking
 * is metered, round after round.  A round ends with a PINGRESP behind the last
 * acknowledgement, so that the broker's work on those is paid for too. */
/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "client.h"
#include "filters.h"
#include "load.h"
#include "meter.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STALL_S = 10, SETTLE_MS = 300 /* before memory is read */ };

enum role { PUBLISHER, SUBSCRIBER };

/* Which of the two kinds is measured. */
struct kind {
    const char *name;
    const char *filter;        /* of the subscriber */
    enum session_kind session; /* of the subscriber */
    unsigned fill_qos;
    bool retain;
    bool own_topics; /* every message has a topic of its own */
    bool refill;     /* taking empties the broker */
};

struct kept {
    const struct options *o;
    const struct kind *kind;
    struct net net;
    struct client pub, sub;
    bool failed;
    /* filling */
    uint8_t *packet;
    size_t packet_len, topic_at, id_at, payload_at;
    uint32_t sent, acked;
    uint16_t last_id;
    /* taking */
    uint8_t *seen;         /* by number; this round */
    uint32_t got, highest; /* this round */
    bool ponged, leaving;
    uint64_t done;
    uint64_t lost, dup, reordered, altered;
    struct meter meter;
};

/* -- packets ---------------------------------------------------------------------- */

static void send_ack(struct kept *k, enum packet_type type, uint16_t id) {
    uint8_t *at = net_reserve(&k->sub.peer, WIRE_ACK_LEN);
    net_commit(&k->net, &k->sub.peer, wire_put_ack(at, type, id));
}

static void send_empty(struct kept *k, struct client *c, enum packet_type type) {
    net_commit(&k->net, &c->peer, wire_put_empty(net_reserve(&c->peer, 2), type));
}

static void count_message(struct kept *k, const struct publish *m) {
    uint32_t number;
    if (m->payload_len != k->o->payload || m->qos != k->o->qos) {
        k->altered++;
        return;
    }
    memcpy(&number, m->payload, sizeof number);
    if (number >= k->o->kept || k->seen[number]) {
        k->dup++;
        return;
    }
    k->seen[number] = 1;
    if (!k->kind->own_topics && number < k->highest) k->reordered++;
    k->highest = number;
    k->got++;
    k->done++;
}

static bool on_message(struct kept *k, const struct frame *f) {
    struct publish m;
    if (wire_publish(&m, f, (int)k->o->version) < 0) return false;
    count_message(k, &m);
    if (m.qos) send_ack(k, m.qos == 1 ? PKT_PUBACK : PKT_PUBREC, m.packet_id);
    if (k->got == k->o->kept) send_empty(k, &k->sub, PKT_PINGREQ);
    return true;
}

static bool subscriber_packet(struct kept *k, const struct frame *f) {
    switch (f->type) {
    case PKT_PUBLISH: return on_message(k, f);
    case PKT_PUBREL: send_ack(k, PKT_PUBCOMP, wire_ack_id(f)); return true;
    case PKT_PINGRESP: k->ponged = true; return true;
    default: return false;
    }
}

/* Publishes when half the window is free. */
static void fill_some(struct kept *k) {
    unsigned room = k->o->window - (k->sent - k->acked);
    if (room < (k->o->window + 1) / 2) return;
    for (; room && k->sent < k->o->kept; room--, k->sent++) {
        uint8_t *at = net_reserve(&k->pub.peer, k->packet_len);
        memcpy(at, k->packet, k->packet_len);
        memcpy(at + k->payload_at, &k->sent, sizeof k->sent);
        if (k->kind->own_topics) filter_topic(k->sent, (char *)at + k->topic_at);
        k->last_id = k->last_id == 65535 ? 1 : (uint16_t)(k->last_id + 1);
        wire_set_u16(at + k->id_at, k->last_id);
        net_commit(&k->net, &k->pub.peer, k->packet_len);
    }
}

static bool publisher_packet(struct kept *k, const struct frame *f) {
    if (f->type != PKT_PUBACK || wire_ack_reason(f) >= 0x80) return false;
    k->acked++;
    fill_some(k);
    return true;
}

/* Retained messages may come before the SUBACK. */
static bool on_packet(void *arg, struct peer *p, const struct frame *f) {
    struct kept *k = arg;
    struct client *c = (struct client *)p;
    bool early = p->role == SUBSCRIBER && f->type == PKT_PUBLISH;
    int r = early ? CLIENT_OTHER : client_on_packet(&k->net, k->o, c, f);
    if (r == 0) return true;
    if (r == CLIENT_OTHER &&
        (p->role == PUBLISHER ? publisher_packet(k, f) : subscriber_packet(k, f)))
        return true;
    fprintf(stderr, "%s: unexpected packet, type %d\n",
            p->role == PUBLISHER ? "publisher" : "subscriber", f->type);
    k->failed = true;
    net_close(&k->net, p);
    return false;
}

static void on_close(void *arg, struct peer *p) {
    struct kept *k = arg;
    ((struct client *)p)->state = CLIENT_CLOSED;
    if (p->role == SUBSCRIBER && k->leaving) return;
    fprintf(stderr, "the broker closed a connection\n");
    k->failed = true;
}

/* -- the run ---------------------------------------------------------------------- */

static bool sub_ready(const struct kept *k) {
    return k->sub.state == CLIENT_READY;
}

static bool pub_ready(const struct kept *k) {
    return k->pub.state == CLIENT_READY;
}

static bool sub_gone(const struct kept *k) {
    return k->sub.state == CLIENT_CLOSED;
}

static bool filled(const struct kept *k) {
    return k->acked == k->o->kept;
}

static bool taken(const struct kept *k) {
    return k->ponged;
}

/* Turns until `over`.  False after a failure or ten seconds without a message. */
static bool turn_until(struct kept *k, bool (*over)(const struct kept *k)) {
    const struct net_events on = { .on_packet = on_packet, .on_close = on_close, .arg = k };
    int64_t moved_ns = now_ns();
    uint64_t last = k->done + k->acked;
    while (!over(k) && !k->failed) {
        int64_t now = now_ns();
        if (k->done + k->acked != last) moved_ns = now;
        last = k->done + k->acked;
        if (now - moved_ns > (int64_t)STALL_S * 1000000000) return false;
        net_flush(&k->net, &on);
        if (net_turn(&k->net, &on, 50000000) < 0) return false;
    }
    return !k->failed;
}

static void settle(struct kept *k) {
    const struct net_events on = { .on_packet = on_packet, .on_close = on_close, .arg = k };
    int64_t until_ns = now_ns() + (int64_t)SETTLE_MS * 1000000;
    for (int64_t now; (now = now_ns()) < until_ns;) net_turn(&k->net, &on, until_ns - now);
}

static bool open_client(struct kept *k, struct client *c, const char *id) {
    if (client_open(&k->net, k->o, c, id) == 0) return true;
    fprintf(stderr, "client %s: no connection\n", id);
    return false;
}

static bool leave(struct kept *k) {
    k->leaving = true;
    send_empty(k, &k->sub, PKT_DISCONNECT);
    return turn_until(k, sub_gone);
}

static bool fill(struct kept *k) {
    k->sent = k->acked = 0;
    fill_some(k);
    return turn_until(k, filled);
}

/* One round: the subscriber comes, takes everything and goes. */
static bool take(struct kept *k) {
    memset(k->seen, 0, k->o->kept);
    k->got = k->highest = 0;
    k->ponged = k->leaving = false;
    meter_resume(&k->meter);
    bool fine = open_client(k, &k->sub, "bench-sub") && turn_until(k, taken);
    meter_pause(&k->meter, k->done);
    k->lost += k->o->kept - k->got;
    return fine && leave(k);
}

/* The subscriber of a queue subscribes once, ahead of everything. */
static bool introduce(struct kept *k) {
    if (!open_client(k, &k->pub, "bench-pub") || !turn_until(k, pub_ready)) return false;
    if (k->kind->session == SESSION_CLEAN) return true;
    if (!open_client(k, &k->sub, "bench-sub") || !turn_until(k, sub_ready)) return false;
    k->sub.filter[0] = '\0';
    return leave(k);
}

static bool run(struct kept *k, long *before_kib, long *full_kib) {
    if (!introduce(k)) return false;
    *before_kib = process_rss_kib(k->o->broker_pid);
    if (!fill(k)) return false;
    settle(k);
    *full_kib = process_rss_kib(k->o->broker_pid);
    meter_begin(&k->meter, k->o->broker_pid, 0);
    meter_pause(&k->meter, 0);
    int64_t until_ns = now_ns() + (int64_t)(k->o->seconds * 1e9);
    do {
        if (k->kind->refill && k->done && !fill(k)) return false;
        if (!take(k)) return false;
    } while (now_ns() < until_ns);
    meter_resume(&k->meter);
    meter_end(&k->meter, k->done);
    return true;
}

static void kept_init(struct kept *k) {
    char topic[FILTER_TOPIC_LEN + 1];
    filter_text(0, topic);
    k->packet = calloc(1, 16 + sizeof topic + k->o->payload);
    k->seen = calloc(1, k->o->kept);
    if (!k->packet || !k->seen) abort();
    k->packet_len = wire_put_publish(k->packet, topic, k->o->payload, k->kind->fill_qos,
                                     (int)k->o->version, &k->id_at, &k->payload_at);
    k->topic_at = k->id_at - FILTER_TOPIC_LEN;
    if (k->kind->retain) k->packet[0] |= WIRE_RETAIN;
    k->pub.peer = (struct peer){ .fd = -1, .role = PUBLISHER };
    k->sub.peer = (struct peer){ .fd = -1, .role = SUBSCRIBER };
    k->sub.session = k->kind->session;
    k->sub.qos = k->o->qos;
    snprintf(k->sub.filter, CLIENT_NAME_MAX, "%s", k->kind->filter);
}

static void kept_deinit(struct kept *k) {
    net_close(&k->net, &k->pub.peer);
    net_close(&k->net, &k->sub.peer);
    net_peer_deinit(&k->pub.peer);
    net_peer_deinit(&k->sub.peer);
    net_deinit(&k->net);
    free(k->packet);
    free(k->seen);
}

static int kept_run(const struct options *o, const struct kind *kind) {
    static struct kept k;
    k = (struct kept){ .o = o, .kind = kind };
    if (net_init(&k.net, o->payload + 256) < 0) return RUN_FAILED;
    kept_init(&k);
    long before_kib = 0, full_kib = 0;
    bool fine = run(&k, &before_kib, &full_kib);
    bool untrue = k.lost || k.dup || k.reordered || k.altered;
    if (k.meter.len > 1) {
        printf("mode=%s kept=%u qos=%u payload=%u version=%u", kind->name, o->kept, o->qos,
               o->payload, o->version);
        meter_print(&k.meter, "msg");
        printf(" bytes_per_kept=%.0f lost=%" PRIu64 " dup=%" PRIu64 " reordered=%" PRIu64
               " refused=0 bad_acks=%" PRIu64 "\n",
               (double)(full_kib - before_kib) * 1024 / o->kept, k.lost, k.dup, k.reordered,
               k.altered);
    }
    kept_deinit(&k);
    return untrue ? RUN_UNTRUE : fine ? RUN_OK : RUN_FAILED;
}

int retained_run(const struct options *o) {
    static const struct kind retained = { .name = "retained",
                                          .filter = "bench/#",
                                          .session = SESSION_CLEAN,
                                          .fill_qos = 1,
                                          .retain = true,
                                          .own_topics = true };
    return kept_run(o, &retained);
}

int drain_run(const struct options *o) {
    static const struct kind queued = {
        .name = "drain", .filter = "bench/#", .session = SESSION_KEPT, .fill_qos = 1, .refill = true
    };
    if (o->qos == 0) {
        fprintf(stderr, "drain: QoS 0 is not queued; give --qos 1 or 2\n");
        return RUN_FAILED;
    }
    return kept_run(o, &queued);
}
