/* wire.h -- the data types of MQTT (section 1.5), read and written.
 *
 * Private to src/mqtt.  A reader never passes its end; its first error sticks, empties
 * it and makes every later read give zeros, so a decoder asks once, at the end.  The
 * put functions trust the caller with the room.  No state, any thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_MQTT_WIRE_H
#define SOL_MQTT_WIRE_H

#include "base/slice.h"
#include "mqtt/packet.h"
#include "mqtt/utf8.h"

#define STRING_MAX 65535u /* bytes of a string or of binary data */

/* ---- reading ------------------------------------------------------------ */

struct reader {
    const uint8_t *at, *end;
    int error; /* 0 or the reason code of the first failure; at == end when set */
};

/* Lends a reader over `in` (in.at is not NULL). */
static inline struct reader reader_of(struct slice in) {
    return (struct reader){ in.at, in.at + in.len, 0 };
}

static inline size_t reader_left(const struct reader *r) {
    return (size_t)(r->end - r->at);
}

static inline void reader_fail(struct reader *r, int reason_code) {
    if (!r->error) r->error = reason_code;
    r->at = r->end;
}

static inline struct slice read_bytes(struct reader *r, size_t len) {
    if (reader_left(r) < len) {
        reader_fail(r, RC_MALFORMED_PACKET);
        len = 0;
    }
    struct slice s = { r->at, len };
    r->at += len;
    return s;
}

static inline struct slice read_rest(struct reader *r) {
    return read_bytes(r, reader_left(r));
}

static inline uint8_t read_u8(struct reader *r) {
    struct slice s = read_bytes(r, 1);
    return s.len ? s.at[0] : 0;
}

static inline uint16_t read_u16(struct reader *r) {
    struct slice s = read_bytes(r, 2);
    return s.len ? (uint16_t)(s.at[0] << 8 | s.at[1]) : 0;
}

static inline uint32_t read_u32(struct reader *r) {
    uint32_t high = read_u16(r);
    return high << 16 | read_u16(r);
}

/* The variable byte integer at the start of at[0..len).  Gives the bytes taken (1 to 4), 0
 * when more are needed, -1 for a fifth byte or a longer form than needed [MQTT-1.5.5-1]. */
static inline int varint_decode(const uint8_t *at, size_t len, uint32_t *value) {
    uint32_t v = 0;
    if (len && at[0] < 0x80) { /* most are one byte long */
        *value = at[0];
        return 1;
    }
    for (unsigned i = 0; i < 4; i++) {
        if (i == len) return 0;
        v |= (uint32_t)(at[i] & 0x7F) << 7 * i;
        if (at[i] & 0x80) continue;
        *value = v;
        return at[i] == 0 ? -1 : (int)i + 1;
    }
    return -1;
}

static inline uint32_t read_varint(struct reader *r) {
    uint32_t value = 0;
    int taken = varint_decode(r->at, reader_left(r), &value);
    if (taken <= 0) {
        reader_fail(r, RC_MALFORMED_PACKET);
        return 0;
    }
    r->at += taken;
    return value;
}

static inline struct slice read_binary(struct reader *r) {
    return read_bytes(r, read_u16(r));
}

/* [MQTT-1.5.4-1] [MQTT-1.5.4-2] */
static inline struct slice read_string(struct reader *r) {
    struct slice s = read_binary(r);
    if (!utf8_valid(s)) reader_fail(r, RC_MALFORMED_PACKET);
    return s;
}

/* ---- writing ------------------------------------------------------------ */

static inline uint8_t *put_u8(uint8_t *out, uint8_t v) {
    *out = v;
    return out + 1;
}

static inline uint8_t *put_u16(uint8_t *out, uint16_t v) {
    out[0] = (uint8_t)(v >> 8);
    out[1] = (uint8_t)v;
    return out + 2;
}

static inline uint8_t *put_u32(uint8_t *out, uint32_t v) {
    return put_u16(put_u16(out, (uint16_t)(v >> 16)), (uint16_t)v);
}

static inline uint8_t *put_bytes(uint8_t *out, struct slice s) {
    if (s.len) memcpy(out, s.at, s.len); /* s.at may be NULL when empty */
    return out + s.len;
}

/* At most STRING_MAX bytes; the length is the caller's to check. */
static inline uint8_t *put_binary(uint8_t *out, struct slice s) {
    return put_bytes(put_u16(out, (uint16_t)s.len), s);
}

#endif
