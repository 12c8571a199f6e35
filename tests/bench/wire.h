/* wire.h -- the few MQTT packets a load generator says and hears.
 *
 * Deliberately not Sol's codec: a measuring tool that shared the code it measures could
 * not disagree with it.  Encoders write into room the caller has reserved. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stddef.h>
#include <stdint.h>

enum packet_type {
    PKT_CONNECT = 1,
    PKT_CONNACK,
    PKT_PUBLISH,
    PKT_PUBACK,
    PKT_PUBREC,
    PKT_PUBREL,
    PKT_PUBCOMP,
    PKT_SUBSCRIBE,
    PKT_SUBACK,
    PKT_UNSUBSCRIBE,
    PKT_UNSUBACK,
    PKT_PINGREQ,
    PKT_PINGRESP,
    PKT_DISCONNECT,
};

enum {
    WIRE_HEAD_MAX = 5,    /* type byte and four length bytes */
    WIRE_RETAIN = 1,      /* flag of a PUBLISH, in its first byte */
    WIRE_ACK_LEN = 4,     /* PUBACK, PUBREC, PUBREL, PUBCOMP without a reason */
    WIRE_KEEP_ALIVE = 900 /* seconds: longer than any run */
};

/* One whole packet inside a read buffer. */
struct frame {
    const uint8_t *at;   /* the fixed header; `total` bytes in all */
    const uint8_t *body; /* behind the fixed header */
    size_t total, body_len;
    enum packet_type type;
    uint8_t flags; /* low half of the first byte */
};

enum { FRAME_MORE = 1 };
/* Finds the packet at `p`.  0, FRAME_MORE when it is not all there, or -EPROTO. */
int wire_frame(struct frame *f, const uint8_t *p, size_t len);

/* The parts of a PUBLISH a receiver needs. */
struct publish {
    const char *topic;
    size_t topic_len;
    const uint8_t *payload;
    size_t payload_len;
    unsigned qos;
    uint16_t packet_id; /* 0 at QoS 0 */
};

/* Takes a PUBLISH apart (version 4 or 5).  0 or -EPROTO. */
int wire_publish(struct publish *p, const struct frame *f, int version);

/* The CONNACK's return code, and the Receive Maximum it grants (65535 when it names
 * none).  The code, or -EPROTO. */
int wire_connack(const struct frame *f, int version, unsigned *receive_max);

/* The packet id of an acknowledgement, and its reason (0 when left out). */
uint16_t wire_ack_id(const struct frame *f);
uint8_t wire_ack_reason(const struct frame *f);

/* What CONNECT asks for: a session that ends with the connection, or never. */
enum session_kind { SESSION_CLEAN, SESSION_KEPT };

/* Encoders return the bytes written; the bound on what they need stands beside. */
size_t wire_put_connect(uint8_t *at, const char *id, int version,
                        enum session_kind session); /* 40 + strlen(id) */
size_t wire_put_subscribe(uint8_t *at, uint16_t packet_id, const char *filter, unsigned qos,
                          int version); /* 16 + strlen(filter) */
size_t wire_put_ack(uint8_t *at, enum packet_type type, uint16_t packet_id);
/* A PUBLISH with an unset packet id and payload; where they go is left in *id_at
 * (0 at QoS 0) and *payload_at.  16 + strlen(topic) + payload_len. */
size_t wire_put_publish(uint8_t *at, const char *topic, size_t payload_len, unsigned qos,
                        int version, size_t *id_at, size_t *payload_at);

/* Two-byte packets: PINGREQ, PINGRESP, DISCONNECT. */
static inline size_t wire_put_empty(uint8_t *at, enum packet_type type) {
    at[0] = (uint8_t)(type << 4);
    at[1] = 0;
    return 2;
}

static inline void wire_set_u16(uint8_t *at, uint16_t v) {
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

static inline uint16_t wire_u16(const uint8_t *at) {
    return (uint16_t)(at[0] << 8 | at[1]);
}

#endif
