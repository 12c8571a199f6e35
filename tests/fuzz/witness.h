/* witness.h -- what one client has sent, and whether all it hears is as MQTT has it.
 *
 * Knows nothing of the broker's insides: it reads the bytes that go in and the bytes that
 * come out.  Every answer belongs to something asked, in the order asked; the client's Receive
 * Maximum, Maximum Packet Size and aliases are kept to; nothing follows the end. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_TESTS_FUZZ_WITNESS_H
#define SOL_TESTS_FUZZ_WITNESS_H

#include "base/buf.h"
#include "base/mem.h"
#include "mqtt/decode.h"
#include "mqtt/props.h"

enum { ALIASES_MAX = 32, RECEIVE_MAX = 65535 };

/* A message on its way to the client. */
struct flight {
    uint16_t id;
    uint8_t qos;
    uint8_t recs;     /* PUBRECs sent that PUBREL has not followed */
    bool is_released; /* PUBREL has come */
    bool is_open;     /* counts against Receive Maximum: its PUBLISH came, not only PUBREL */
};

/* Something asked that wants an answer. */
struct question {
    uint16_t id;
    uint16_t count; /* of filters */
};

struct witness {
    /* sent */
    struct buf sent;  /* the start of a packet that is not complete yet */
    bool has_connect; /* a first packet is out */
    bool is_blind;    /* what was sent is no MQTT: nobody has to answer it */
    uint8_t version;  /* that CONNECT asked for; 0: none that can be understood */
    uint32_t max_packet;
    uint16_t receive_max, alias_max;
    struct buf asked[PKT_TYPES]; /* struct question, by the type of the answer */
    unsigned unexpected_acks;    /* sent before their PUBLISH was read */
    /* heard */
    struct buf heard;   /* likewise */
    struct buf flights; /* struct flight, in order */
    unsigned open;      /* of them */
    bool knows[ALIASES_MAX + 1];
    bool is_answered, is_accepted, is_authenticating; /* CONNACK has come, saying yes; AUTH has */
    bool has_ended;                                   /* the last packet has come */
    bool is_over;                                     /* the last byte, too */
};

static inline void witness_init(struct witness *w) {
    *w = (struct witness){ .receive_max = RECEIVE_MAX };
}

static inline void witness_deinit(struct witness *w) {
    buf_deinit(&w->sent);
    buf_deinit(&w->heard);
    buf_deinit(&w->flights);
    for (int i = 0; i < PKT_TYPES; i++) buf_deinit(&w->asked[i]);
}

/* ---- messages on their way --------------------------------------------------- */

static inline unsigned flights_len(const struct witness *w) {
    return (unsigned)(w->flights.len / sizeof(struct flight));
}

static inline struct flight *flight_at(const struct witness *w, unsigned i) {
    return (struct flight *)(void *)w->flights.at + i;
}

static inline struct flight *flight_find(const struct witness *w, uint16_t id) {
    for (unsigned i = 0; i < flights_len(w); i++)
        if (flight_at(w, i)->id == id) return flight_at(w, i);
    return NULL;
}

static inline void flight_end(struct witness *w, struct flight *f) {
    w->open -= f->is_open;
    uint8_t *end = w->flights.at + w->flights.len;
    memmove(f, f + 1, (size_t)(end - (uint8_t *)(f + 1)));
    w->flights.len -= sizeof *f;
}

/* ---- what goes out ------------------------------------------------------------- */

static inline void witness_asks(struct witness *w, int answer, uint16_t id, unsigned count) {
    struct question q = { id, (uint16_t)count };
    buf_add(&w->asked[answer], &q, sizeof q);
}

/* PUBREC leaves it open unless it is a refusal. */
static inline void witness_acks(struct witness *w, const struct packet *p) {
    struct flight *f = flight_find(w, p->ack.packet_id);
    if (!f)
        w->unexpected_acks++;
    else if (p->type != PKT_PUBREC || p->ack.reason_code >= RC_UNSPECIFIED_ERROR)
        flight_end(w, f);
    else
        f->recs++;
}

static inline void witness_connects(struct witness *w, const struct pkt_connect *p) {
    const struct props *props = &p->props;
    if (props_has(props, PROP_RECEIVE_MAXIMUM)) w->receive_max = props->receive_maximum;
    if (props_has(props, PROP_MAXIMUM_PACKET_SIZE)) w->max_packet = props->maximum_packet_size;
    if (props_has(props, PROP_TOPIC_ALIAS_MAXIMUM)) w->alias_max = props->topic_alias_maximum;
}

static inline void witness_packet(struct witness *w, const struct packet *p) {
    const struct pkt_publish *m = &p->publish;
    switch (p->type) {
    case PKT_PUBLISH:
        if (m->qos) witness_asks(w, m->qos == 1 ? PKT_PUBACK : PKT_PUBREC, m->packet_id, 0);
        break;
    case PKT_PUBREL: witness_asks(w, PKT_PUBCOMP, p->ack.packet_id, 0); break;
    case PKT_SUBSCRIBE: witness_asks(w, PKT_SUBACK, p->filters.packet_id, p->filters.count); break;
    case PKT_UNSUBSCRIBE:
        witness_asks(w, PKT_UNSUBACK, p->filters.packet_id, p->filters.count);
        break;
    case PKT_PINGREQ: witness_asks(w, PKT_PINGRESP, 0, 0); break;
    case PKT_PUBACK:
    case PKT_PUBREC:
    case PKT_PUBCOMP: witness_acks(w, p); break;
    case PKT_DISCONNECT: w->is_blind = true; break;
    default: break;
    }
}

static inline void witness_frame(struct witness *w, const struct frame *f) {
    struct packet p;
    bool is_first = !w->has_connect;
    w->has_connect = true;
    if (is_first != (f->type == PKT_CONNECT)) {
        w->is_blind = true;
        return;
    }
    int rc = packet_decode(f, w->version, &p);
    if (is_first) w->version = p.connect.version;
    w->is_blind = rc != 0;
    if (rc == 0 && is_first) witness_connects(w, &p.connect);
    if (rc == 0 && !is_first) witness_packet(w, &p);
}

/* These bytes have been sent. */
static inline void witness_sent(struct witness *w, const void *at, size_t len) {
    struct frame f;
    int rc = FRAME_OK;
    size_t used = 0;
    buf_add(&w->sent, at, len);
    while (!w->is_blind) {
        rc = frame_read(w->sent.at + used, w->sent.len - used, 0, &f);
        if (rc != FRAME_OK) break;
        witness_frame(w, &f);
        used += f.head_len + f.body_len;
    }
    if (rc > 0) w->is_blind = true;
    buf_drop(&w->sent, used);
}

/* ---- what comes in ------------------------------------------------------------- */

static inline struct question witness_answer(struct witness *w, int type, uint16_t id) {
    struct question q;
    must(w->asked[type].len >= sizeof q);
    memcpy(&q, w->asked[type].at, sizeof q);
    buf_drop(&w->asked[type], sizeof q);
    must(q.id == id);
    return q;
}

static inline void witness_topic(struct witness *w, const struct pkt_publish *p) {
    bool has_alias = props_has(&p->props, PROP_TOPIC_ALIAS);
    uint16_t alias = has_alias ? p->props.topic_alias : 0;
    must(p->topic.len || has_alias);
    if (!has_alias) return;
    must(alias > 0 && alias <= w->alias_max && alias <= ALIASES_MAX);
    must(p->topic.len || w->knows[alias]);
    w->knows[alias] = true;
}

static inline void witness_publish(struct witness *w, const struct pkt_publish *p) {
    witness_topic(w, p);
    if (p->qos == 0) {
        must(!p->dup);
        return;
    }
    must(!flight_find(w, p->packet_id));
    struct flight f = { .id = p->packet_id, .qos = p->qos, .is_open = true };
    buf_add(&w->flights, &f, sizeof f);
    must(++w->open <= w->receive_max + w->unexpected_acks);
}

static inline void witness_pubrel(struct witness *w, const struct pkt_ack *p) {
    struct flight *f = flight_find(w, p->packet_id);
    if (f) {
        must(f->qos == 2 && (f->recs || w->unexpected_acks));
        f->recs -= f->recs > 0;
        f->is_released = true;
        return;
    }
    struct flight again = { .id = p->packet_id, .qos = 2, .is_released = true };
    buf_add(&w->flights, &again, sizeof again);
}

static inline void witness_connack(struct witness *w, const struct pkt_connack *p) {
    must(!w->is_answered);
    w->is_answered = true;
    w->is_accepted = p->reason_code == 0;
    w->has_ended = !w->is_accepted;
    must(w->is_accepted || !p->session_present);
}

static inline void witness_hears_packet(struct witness *w, const struct packet *p) {
    must(!w->has_ended);
    must(w->is_accepted || p->type == PKT_CONNACK || p->type == PKT_AUTH);
    switch (p->type) {
    case PKT_CONNACK: witness_connack(w, &p->connack); break;
    case PKT_PUBLISH: witness_publish(w, &p->publish); break;
    case PKT_PUBREL: witness_pubrel(w, &p->ack); break;
    case PKT_PUBACK:
    case PKT_PUBREC:
    case PKT_PUBCOMP: witness_answer(w, p->type, p->ack.packet_id); break;
    case PKT_PINGRESP: witness_answer(w, p->type, 0); break;
    case PKT_SUBACK:
    case PKT_UNSUBACK: {
        unsigned count = witness_answer(w, p->type, p->codes.packet_id).count;
        must(p->codes.codes.len == (p->type == PKT_UNSUBACK && w->version < MQTT_5 ? 0 : count));
        break;
    }
    case PKT_DISCONNECT: w->has_ended = true; break;
    case PKT_AUTH: w->is_authenticating = true; break;
    default: must(!"a packet that only clients send");
    }
}

static inline void witness_hears_frame(struct witness *w, const struct frame *f) {
    struct packet p;
    uint32_t size = f->head_len + f->body_len;
    /* To a version it does not know, the broker answers in the nearest that it does. */
    uint8_t version = w->version > MQTT_5     ? MQTT_5
                      : w->version < MQTT_3_1 ? MQTT_3_1_1
                                              : w->version;
    must(w->has_connect);
    must(f->type != PKT_DISCONNECT || version == MQTT_5);
    must(!w->max_packet || size <= w->max_packet);
    must(packet_decode(f, version, &p) == 0);
    witness_hears_packet(w, &p);
}

/* These bytes have come. */
static inline void witness_heard(struct witness *w, const void *at, size_t len) {
    struct frame f;
    size_t used = 0;
    int rc;
    buf_add(&w->heard, at, len);
    while ((rc = frame_read(w->heard.at + used, w->heard.len - used, 0, &f)) == FRAME_OK) {
        witness_hears_frame(w, &f);
        used += f.head_len + f.body_len;
    }
    must(rc == FRAME_MORE);
    buf_drop(&w->heard, used);
}

/* Time has passed, nobody waits for anything: has all been answered that should be? */
static inline void witness_is_content(const struct witness *w) {
    if (w->is_blind || w->is_over || w->has_ended || w->is_authenticating) return;
    if (w->max_packet && w->max_packet < 64) return;
    must(w->is_accepted || !w->has_connect);
    for (int i = 0; i < PKT_TYPES; i++) must(w->asked[i].len == 0);
}

#endif
