/* wire.c -- encoding and framing for the load generator and the relay. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "wire.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { PROP_SESSION_EXPIRY = 0x11, PROP_RECEIVE_MAXIMUM = 0x21 };

/* How many bytes a CONNACK property's value takes: fixed sizes, or one of these. */
enum { V_NONE = 0, V_TEXT = -1, V_PAIR = -2 };

static const signed char connack_prop_len[256] = {
    [PROP_SESSION_EXPIRY] = 4,
    [0x12] = V_TEXT, /* assigned client id */
    [0x13] = 2,      /* server keep-alive */
    [0x15] = V_TEXT, /* authentication method */
    [0x16] = V_TEXT, /* authentication data */
    [0x1a] = V_TEXT, /* response information */
    [0x1c] = V_TEXT, /* server reference */
    [0x1f] = V_TEXT, /* reason string */
    [PROP_RECEIVE_MAXIMUM] = 2,
    [0x22] = 2,      /* topic alias maximum */
    [0x24] = 1,      /* maximum QoS */
    [0x25] = 1,      /* retain available */
    [0x26] = V_PAIR, /* user property */
    [0x27] = 4,      /* maximum packet size */
    [0x28] = 1,      /* wildcards available */
    [0x29] = 1,      /* subscription ids available */
    [0x2a] = 1,      /* shared subscriptions available */
};

/* A variable-length integer.  Bytes used, 0 when unfinished, -EPROTO when too long. */
static int varint(const uint8_t *p, size_t len, size_t *value) {
    *value = 0;
    for (int i = 0; i < 4; i++) {
        if ((size_t)i >= len) return 0;
        *value |= (size_t)(p[i] & 0x7f) << (7 * i);
        if (!(p[i] & 0x80)) return i + 1;
    }
    return -EPROTO;
}

static size_t put_varint(uint8_t *at, size_t value) {
    size_t n = 0;
    do {
        at[n] = (uint8_t)(value & 0x7f);
        value >>= 7;
        if (value) at[n] |= 0x80;
        n++;
    } while (value);
    return n;
}

static size_t put_text(uint8_t *at, const char *text) {
    size_t len = strlen(text);
    wire_set_u16(at, (uint16_t)len);
    memcpy(at + 2, text, len);
    return 2 + len;
}

int wire_frame(struct frame *f, const uint8_t *p, size_t len) {
    if (len < 2) return FRAME_MORE;
    int used = varint(p + 1, len - 1, &f->body_len);
    if (used < 0) return used;
    if (used == 0) return FRAME_MORE;
    f->total = 1 + (size_t)used + f->body_len;
    if (f->total > len) return FRAME_MORE;
    f->at = p;
    f->body = p + 1 + used;
    f->type = (enum packet_type)(p[0] >> 4);
    f->flags = p[0] & 0x0f;
    return 0;
}

int wire_publish(struct publish *p, const struct frame *f, int version) {
    const uint8_t *at = f->body, *end = at + f->body_len;
    p->qos = f->flags >> 1 & 3;
    if (end - at < 2) return -EPROTO;
    p->topic_len = wire_u16(at);
    p->topic = (const char *)at + 2;
    at += 2;
    if ((size_t)(end - at) < p->topic_len + (p->qos ? 2 : 0)) return -EPROTO;
    at += p->topic_len;
    p->packet_id = 0;
    if (p->qos) {
        p->packet_id = wire_u16(at);
        at += 2;
    }
    if (version == 5) {
        size_t props;
        int used = varint(at, (size_t)(end - at), &props);
        if (used <= 0 || (size_t)(end - at) < (size_t)used + props) return -EPROTO;
        at += (size_t)used + props;
    }
    p->payload = at;
    p->payload_len = (size_t)(end - at);
    return 0;
}

/* The bytes a property's value takes at `at`, or -EPROTO. */
static int prop_value_len(uint8_t id, const uint8_t *at, const uint8_t *end) {
    int kind = connack_prop_len[id];
    if (kind == V_NONE) return -EPROTO;
    if (kind > 0) return end - at < kind ? -EPROTO : kind;
    int len = 0;
    for (int texts = kind == V_PAIR ? 2 : 1; texts; texts--) {
        if (end - at < len + 2) return -EPROTO;
        len += 2 + wire_u16(at + len);
    }
    return end - at < len ? -EPROTO : len;
}

int wire_connack(const struct frame *f, int version, unsigned *receive_max) {
    *receive_max = 65535;
    if (f->body_len < 2) return -EPROTO;
    int code = f->body[1];
    if (version != 5 || f->body_len == 2) return code;
    size_t props;
    const uint8_t *at = f->body + 2, *end = f->body + f->body_len;
    int used = varint(at, (size_t)(end - at), &props);
    if (used <= 0 || (size_t)(end - at) != (size_t)used + props) return -EPROTO;
    for (at += used; at < end;) {
        uint8_t id = *at++;
        int len = prop_value_len(id, at, end);
        if (len < 0) return len;
        if (id == PROP_RECEIVE_MAXIMUM) *receive_max = wire_u16(at);
        at += len;
    }
    return code;
}

uint16_t wire_ack_id(const struct frame *f) {
    return f->body_len < 2 ? 0 : wire_u16(f->body);
}

uint8_t wire_ack_reason(const struct frame *f) {
    return f->body_len < 3 ? 0 : f->body[2];
}

size_t wire_put_connect(uint8_t *at, const char *id, int version, enum session_kind session) {
    bool forever = version == 5 && session == SESSION_KEPT;
    size_t body_len = 10 + (version == 5) + (forever ? 5 : 0) + 2 + strlen(id);
    size_t n = 0;
    at[n++] = PKT_CONNECT << 4;
    n += put_varint(at + n, body_len);
    n += put_text(at + n, "MQTT");
    at[n++] = (uint8_t)version;
    at[n++] = session == SESSION_CLEAN ? 0x02 : 0; /* clean session / clean start */
    wire_set_u16(at + n, WIRE_KEEP_ALIVE);
    n += 2;
    if (version == 5) at[n++] = forever ? 5 : 0; /* bytes of properties */
    if (forever) at[n++] = PROP_SESSION_EXPIRY;
    for (int i = 0; forever && i < 4; i++) at[n++] = 0xff;
    return n + put_text(at + n, id);
}

size_t wire_put_subscribe(uint8_t *at, uint16_t packet_id, const char *filter, unsigned qos,
                          int version) {
    size_t n = 0;
    at[n++] = PKT_SUBSCRIBE << 4 | 0x02;
    n += put_varint(at + n, 2 + (version == 5) + 2 + strlen(filter) + 1);
    wire_set_u16(at + n, packet_id);
    n += 2;
    if (version == 5) at[n++] = 0;
    n += put_text(at + n, filter);
    at[n++] = (uint8_t)qos;
    return n;
}

size_t wire_put_ack(uint8_t *at, enum packet_type type, uint16_t packet_id) {
    at[0] = (uint8_t)(type << 4 | (type == PKT_PUBREL ? 0x02 : 0));
    at[1] = 2;
    wire_set_u16(at + 2, packet_id);
    return WIRE_ACK_LEN;
}

size_t wire_put_publish(uint8_t *at, const char *topic, size_t payload_len, unsigned qos,
                        int version, size_t *id_at, size_t *payload_at) {
    size_t n = 0;
    at[n++] = (uint8_t)(PKT_PUBLISH << 4 | qos << 1);
    n += put_varint(at + n, 2 + strlen(topic) + (qos ? 2 : 0) + (version == 5) + payload_len);
    n += put_text(at + n, topic);
    *id_at = 0;
    if (qos) {
        *id_at = n;
        n += 2;
    }
    if (version == 5) at[n++] = 0;
    *payload_at = n;
    return n + payload_len;
}
