/* decode.h -- bytes to packets.
 *
 * Zero-copy, bounded, table-driven; no state between calls, any thread.  Every
 * malformed sequence has one outcome: a reason code of MQTT 5.0, which the caller turns
 * into what the connection's version knows. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_MQTT_DECODE_H
#define SOL_MQTT_DECODE_H

#include "mqtt/packet.h"
#include "mqtt/utf8.h" /* utf8_valid, for whoever checks what it is about to send */

/* The largest remaining length the format can express [MQTT-1.5.5-1]. */
#define MQTT_MAX_REMAINING 268435455u

/* The fixed header and the extent of its packet. */
struct frame {
    uint8_t type;        /* enum packet_type; 0 is forbidden and refused */
    uint8_t flags;       /* the low four bits */
    uint32_t head_len;   /* 2 to 5 bytes */
    uint32_t body_len;   /* remaining length */
    const uint8_t *body; /* lent: at + head_len; only body_len bytes once all are there */
};

enum { FRAME_OK = 0, FRAME_MORE = -1 };

/* Looks at the start of `at[0..len)`.
 * FRAME_OK: a whole packet is there; `f` describes it.
 * FRAME_MORE: more bytes are needed; when the header is complete, f->head_len is set
 *   and head_len + body_len is what to wait for, else f->head_len is 0.
 * A reason code (> 0): refuse the peer: RC_MALFORMED_PACKET for a non-minimal or over-long
 *   length, type 0, or flags the type forbids in every version [MQTT-2.1.3-1];
 *   RC_PACKET_TOO_LARGE when the packet (header included) exceeds `max_packet` bytes (0: no
 *   limit).  Said as soon as the bytes that show it are there. */
int frame_read(const uint8_t *at, size_t len, uint32_t max_packet, struct frame *f);

/* Decodes one whole packet for a connection of this version (CONNECT carries its own;
 * `version` is then ignored).  Lends slices of the frame's bytes.  0, or the reason code
 * to refuse it with; RC_UNSUPPORTED_PROTOCOL_VERSION for a CONNECT whose name is known
 * but whose level is not (out->connect.version is the level asked for) or whose name is
 * not known (0).  For any other refusal of a CONNECT out->connect.version is the version to
 * answer in, 0 when the packet ended before that.  Nothing else in `out` is valid then.
 * With version 0 (nothing agreed yet) every packet but CONNECT is malformed.
 * Direction is not checked: a client's and a server's packets are both understood.  Topic
 * names and filters are checked here, as UTF-8 and by the rules of topic.h; "$share/" is
 * special in 5.0 only. */
int packet_decode(const struct frame *f, uint8_t version, struct packet *out);

/* The hot one: PUBLISH only, same contract.  A topic equal to `known`, which was found valid
 * before, is not checked again: out->topic is `known` itself then. */
int publish_decode(const struct frame *f, uint8_t version, struct slice known,
                   struct pkt_publish *out);

/* The topic a PUBLISH begins with, unchecked; SLICE_NONE when it is cut off. */
static inline struct slice publish_topic(const struct frame *f) {
    if (f->body_len < 2) return SLICE_NONE;
    size_t len = (size_t)f->body[0] << 8 | f->body[1];
    return len > f->body_len - 2 ? SLICE_NONE : slice_of(f->body + 2, len);
}

/* May a packet of this type bear the code?  MQTT 5.0, table 2-6; 3.x: its return codes. */
bool reason_code_allowed(enum packet_type type, uint8_t version, uint8_t code);
/* A code given by somebody who need not know the table, for a packet of MQTT 5.0: itself,
 * or `otherwise` where the packet may not bear it. */
static inline uint8_t reason_code_for(enum packet_type type, uint8_t code, uint8_t otherwise) {
    return reason_code_allowed(type, MQTT_5, code) ? code : otherwise;
}

struct filter_item {
    struct slice filter;
    struct subscribe_options options; /* SUBSCRIBE only */
};
/* Walks pkt_filters.filters: start with *at == 0; false at the end.  `subscribe` tells
 * which of the two layouts it is. */
bool filters_next(struct slice filters, bool subscribe, size_t *at, struct filter_item *out);

#endif
