/* flow.c -- what publishers send, what subscribers answer, what is counted. */
/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "flow.h"

#include <string.h>

/* -- publishing ------------------------------------------------------------------- */

void flow_ready(struct traffic *t, struct publisher *p) {
    if (p->queued) return;
    p->queued = true;
    t->ready[(t->ready_at + t->ready_len++) % t->o->publishers] = p;
}

/* Messages the publisher may send now: none until there is room for a whole batch. */
static uint32_t room(const struct traffic *t, const struct publisher *p, uint32_t batch) {
    uint64_t used = t->owing ? (p->owed + t->owing - 1) / t->owing : 0;
    if (used < p->unacked) used = p->unacked;
    uint64_t free = t->window > used ? t->window - used : 0;
    if (free > t->budget) return (uint32_t)t->budget;
    return free < batch ? 0 : (uint32_t)free;
}

static uint16_t next_id(uint16_t id) {
    return id == 65535 ? 1 : (uint16_t)(id + 1);
}

/* xorshift64: cheap, and the same topics in every run. */
static uint32_t random_below(uint64_t *state, uint32_t bound) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)((*state >> 32) * bound >> 32);
}

/* Filters: gives the message a topic, and a number among those its subscriber hears. */
static uint32_t choose_topic(struct traffic *t, struct publisher *p, uint8_t *at) {
    uint32_t k = random_below(&p->random, t->o->filters);
    filter_topic(k, (char *)at + p->topic_at);
    return p->published_to[k % t->o->subscribers]++;
}

/* Copies the packet behind what is queued and makes it this message. */
static void put_message(struct traffic *t, struct publisher *p, uint8_t *at, int64_t sent_ns) {
    struct stamp s = { p->client.peer.index, p->published++, sent_ns };
    memcpy(at, p->packet, p->packet_len);
    if (t->o->topology == TOPO_FILTERS) s.seq = choose_topic(t, p, at);
    memcpy(at + p->payload_at, &s, sizeof s);
    if (t->o->qos) {
        p->last_id = next_id(p->last_id);
        wire_set_u16(at + p->id_at, p->last_id);
        p->unacked++;
        t->unacked++;
    }
    p->owed += t->owing;
    t->owed += t->owing;
    t->budget--;
}

bool flow_fenced(const struct traffic *t) {
    return t->fan == 0 && t->o->qos == 0;
}

/* A PINGREQ whose answer says that `messages` have been read. */
static void put_fence(struct traffic *t, struct publisher *p, uint32_t messages) {
    uint8_t *at = net_reserve(&p->client.peer, 2);
    net_commit(&t->net, &p->client.peer, wire_put_empty(at, PKT_PINGREQ));
    p->fence[(p->fence_at + p->fences++) % t->o->window] = messages;
}

static void publish(struct traffic *t, struct publisher *p, uint32_t messages) {
    uint8_t *at = net_reserve(&p->client.peer, messages * p->packet_len);
    for (uint32_t i = 0; i < messages; i++)
        put_message(t, p, at + i * p->packet_len, t->o->latency ? now_ns() : 0);
    net_commit(&t->net, &p->client.peer, messages * p->packet_len);
    if (flow_fenced(t)) put_fence(t, p, messages);
}

/* As fast as the windows allow. */
void flow_publish(struct traffic *t) {
    for (unsigned n = t->ready_len; n; n--) {
        struct publisher *p = t->ready[t->ready_at];
        t->ready_at = (t->ready_at + 1) % t->o->publishers;
        t->ready_len--;
        p->queued = false;
        uint32_t messages = room(t, p, t->batch);
        if (messages) publish(t, p, messages);
    }
}

static int64_t due_ns(const struct traffic *t) {
    return t->rate_start_ns + (int64_t)((double)t->rate_sent * 1e9 / t->o->rate);
}

/* On schedule.  A message held back by a full window keeps the time it was due, so a
 * slow broker cannot hide its delays by slowing the load. */
int64_t flow_publish_due(struct traffic *t, int64_t now) {
    for (; t->budget && due_ns(t) <= now; t->rate_sent++) {
        struct publisher *p = &t->pubs[t->rate_sent % t->o->publishers];
        if (!room(t, p, 1)) return INT64_MAX;
        uint8_t *at = net_reserve(&p->client.peer, p->packet_len);
        put_message(t, p, at, due_ns(t));
        net_commit(&t->net, &p->client.peer, p->packet_len);
        if (flow_fenced(t)) put_fence(t, p, 1);
    }
    return t->budget ? due_ns(t) : INT64_MAX;
}

/* -- what comes back -------------------------------------------------------------- */

static void on_ack(struct traffic *t, struct publisher *p, const struct frame *f) {
    uint8_t reason = wire_ack_reason(f);
    if (reason >= 0x80) t->refused++;
    if (f->type != PKT_PUBCOMP) {
        p->acked_id = next_id(p->acked_id);
        if (wire_ack_id(f) != p->acked_id) t->bad_acks++;
    }
    if (f->type == PKT_PUBREC && reason < 0x80) {
        uint8_t *at = net_reserve(&p->client.peer, WIRE_ACK_LEN);
        net_commit(&t->net, &p->client.peer, wire_put_ack(at, PKT_PUBREL, wire_ack_id(f)));
        return;
    }
    if (p->unacked == 0) {
        t->bad_acks++;
        return;
    }
    p->unacked--;
    t->unacked--;
    if (!t->fan) t->done++;
    flow_ready(t, p);
}

static void on_pingresp(struct traffic *t, struct publisher *p) {
    if (!p->fences) return;
    uint32_t messages = p->fence[p->fence_at];
    p->fence_at = (p->fence_at + 1) % t->o->window;
    p->fences--;
    p->owed -= messages;
    t->owed -= messages;
    t->done += messages;
    flow_ready(t, p);
}

static bool publisher_packet(struct traffic *t, struct publisher *p, const struct frame *f) {
    switch (f->type) {
    case PKT_PUBACK:
    case PKT_PUBREC:
    case PKT_PUBCOMP: on_ack(t, p, f); return true;
    case PKT_PINGRESP: on_pingresp(t, p); return true;
    default: return false;
    }
}

/* The ledger for this message, or NULL when it should not have come here. */
static struct track *track_of(struct traffic *t, struct subscriber *s, const struct stamp *m) {
    if (t->o->topology == TOPO_PAIR) return m->publisher == s->client.peer.index ? s->tracks : NULL;
    return m->publisher < t->o->publishers ? &s->tracks[m->publisher] : NULL;
}

static void answer(struct traffic *t, struct subscriber *s, enum packet_type type, uint16_t id) {
    uint8_t *at = net_reserve(&s->client.peer, WIRE_ACK_LEN);
    net_commit(&t->net, &s->client.peer, wire_put_ack(at, type, id));
}

static bool on_delivery(struct traffic *t, struct subscriber *s, const struct frame *f) {
    struct publish m;
    struct stamp stamp;
    if (wire_publish(&m, f, (int)t->o->version) < 0) return false;
    if (m.payload_len != t->o->payload || m.qos != t->o->qos) return false;
    memcpy(&stamp, m.payload, sizeof stamp);
    struct track *track = track_of(t, s, &stamp);
    if (!track) return false;
    if (m.payload_len > sizeof stamp && m.payload[m.payload_len - 1] != FILL) return false;

    uint64_t dup = t->verdict.dup;
    track_add(track, stamp.seq, &t->verdict);
    if (m.qos) answer(t, s, m.qos == 1 ? PKT_PUBACK : PKT_PUBREC, m.packet_id);
    if (t->verdict.dup != dup) return true; /* counted, but paid for already */
    if (t->phase == MEASURE && t->latency) histogram_add(t->latency, now_ns() - stamp.sent_ns);
    struct publisher *p = &t->pubs[stamp.publisher];
    p->owed--;
    t->owed--;
    t->done++;
    if (p->owed % t->owing == 0) flow_ready(t, p);
    return true;
}

static bool subscriber_packet(struct traffic *t, struct subscriber *s, const struct frame *f) {
    switch (f->type) {
    case PKT_PUBLISH: return on_delivery(t, s, f);
    case PKT_PUBREL: answer(t, s, PKT_PUBCOMP, wire_ack_id(f)); return true;
    case PKT_SUBACK:
        if (!adder_on_suback(&s->client, &s->adder, f)) return false;
        t->subscribed++;
        adder_send(&t->net, t->o, &s->client, &s->adder);
        return true;
    default: return false;
    }
}

bool flow_on_packet(struct traffic *t, struct client *c, const struct frame *f) {
    switch ((enum role)c->peer.role) {
    case PUBLISHER: return publisher_packet(t, (struct publisher *)c, f);
    case SUBSCRIBER: return subscriber_packet(t, (struct subscriber *)c, f);
    default: return false; /* nobody speaks to the idle */
    }
}
