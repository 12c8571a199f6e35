/* packets.h -- comparing packets, and sending on what was decoded.
 *
 * For the tests and the fuzz targets: nothing here knows the wire. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_MQTT_PACKETS_H
#define TESTS_MQTT_PACKETS_H

#include "base/buf.h"
#include "mqtt/decode.h"
#include "mqtt/encode.h"
#include "mqtt/props.h"

/* The properties of a packet (not its will's); NULL where it has none. */
static inline struct props *packet_props(struct packet *p) {
    switch (p->type) {
    case PKT_CONNECT: return &p->connect.props;
    case PKT_CONNACK: return &p->connack.props;
    case PKT_PUBLISH: return &p->publish.props;
    case PKT_PUBACK:
    case PKT_PUBREC:
    case PKT_PUBREL:
    case PKT_PUBCOMP: return &p->ack.props;
    case PKT_SUBSCRIBE:
    case PKT_UNSUBSCRIBE: return &p->filters.props;
    case PKT_SUBACK:
    case PKT_UNSUBACK: return &p->codes.props;
    case PKT_DISCONNECT:
    case PKT_AUTH: return &p->reason.props;
    default: return NULL;
    }
}

/* Appends what the members do not hold: user properties, and subscription identifiers but
 * the first. */
static inline void add_repeated(struct buf *b, struct slice raw) {
    struct prop_item item;
    bool first = true;
    for (size_t at = 0; props_next(raw, &at, &item);) {
        if (item.id == PROP_USER_PROPERTY) props_add_user(b, item.key, item.value);
        if (item.id != PROP_SUBSCRIPTION_IDENTIFIER) continue;
        if (!first) props_add_number(b, item.id, item.number);
        first = false;
    }
}

/* Makes a decoded packet fit for encoding; `keep` then holds what it lends. */
static inline void packet_keep_repeated(struct packet *p, struct buf keep[2]) {
    struct props *props = packet_props(p);
    if (!props) return;
    add_repeated(&keep[0], props->raw);
    props->encoded = buf_slice(&keep[0]);
    if (p->type != PKT_CONNECT || !p->connect.has_will) return;
    add_repeated(&keep[1], p->connect.will.props.raw);
    p->connect.will.props.encoded = buf_slice(&keep[1]);
}

static inline bool member_eq(const struct props *a, const struct props *b, unsigned id) {
    const struct prop_rule *rule = prop_rule(id);
    const char *at = (const char *)a + rule->member, *bt = (const char *)b + rule->member;
    switch ((enum prop_kind)rule->kind) {
    case PROP_U8: return *at == *bt;
    case PROP_U16: return memcmp(at, bt, 2) == 0;
    case PROP_U32:
    case PROP_VARINT: return memcmp(at, bt, 4) == 0;
    case PROP_STRING:
    case PROP_BINARY: return slice_eq(*(const struct slice *)at, *(const struct slice *)bt);
    case PROP_PAIR: return true;
    }
    return false;
}

/* `a` and `b` hold their repetitions in `encoded`. */
static inline bool props_eq(const struct props *a, const struct props *b) {
    if (a->present != b->present || !slice_eq(a->encoded, b->encoded)) return false;
    for (unsigned id = 0; id < 64; id++)
        if (props_has(a, id) && !member_eq(a, b, id)) return false;
    return true;
}

static inline bool will_eq(const struct will *a, const struct will *b) {
    return a->qos == b->qos && a->retain == b->retain && slice_eq(a->topic, b->topic) &&
           slice_eq(a->payload, b->payload) && props_eq(&a->props, &b->props);
}

static inline bool connect_eq(const struct pkt_connect *a, const struct pkt_connect *b) {
    return a->version == b->version && a->clean_start == b->clean_start &&
           a->has_will == b->has_will && a->has_username == b->has_username &&
           a->has_password == b->has_password && a->keep_alive == b->keep_alive &&
           slice_eq(a->client_id, b->client_id) && slice_eq(a->username, b->username) &&
           slice_eq(a->password, b->password) && (!a->has_will || will_eq(&a->will, &b->will));
}

static inline bool publish_eq(const struct pkt_publish *a, const struct pkt_publish *b) {
    return a->dup == b->dup && a->retain == b->retain && a->qos == b->qos &&
           a->packet_id == b->packet_id && slice_eq(a->topic, b->topic) &&
           slice_eq(a->payload, b->payload);
}

static inline bool packet_eq(struct packet *a, struct packet *b) {
    const struct props *ap = packet_props(a), *bp = packet_props(b);
    if (a->type != b->type || (ap && !props_eq(ap, bp))) return false;
    switch (a->type) {
    case PKT_CONNECT: return connect_eq(&a->connect, &b->connect);
    case PKT_CONNACK:
        return a->connack.session_present == b->connack.session_present &&
               a->connack.reason_code == b->connack.reason_code;
    case PKT_PUBLISH: return publish_eq(&a->publish, &b->publish);
    case PKT_PUBACK:
    case PKT_PUBREC:
    case PKT_PUBREL:
    case PKT_PUBCOMP:
        return a->ack.packet_id == b->ack.packet_id && a->ack.reason_code == b->ack.reason_code;
    case PKT_SUBSCRIBE:
    case PKT_UNSUBSCRIBE:
        return a->filters.packet_id == b->filters.packet_id &&
               a->filters.count == b->filters.count &&
               slice_eq(a->filters.filters, b->filters.filters);
    case PKT_SUBACK:
    case PKT_UNSUBACK:
        return a->codes.packet_id == b->codes.packet_id && slice_eq(a->codes.codes, b->codes.codes);
    case PKT_DISCONNECT:
    case PKT_AUTH: return a->reason.reason_code == b->reason.reason_code;
    default: return true;
    }
}

#endif
