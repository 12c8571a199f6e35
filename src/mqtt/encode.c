/* encode.c -- packets to bytes.
 *
 * One row a packet type.  A body function is run twice: by a writer without room, which
 * counts, and by one with the room that was counted; so size and bytes cannot disagree. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "mqtt/encode.h"

#include "mqtt/decode.h"
#include "mqtt/props.h"
#include "mqtt/wire.h"

/* ---- the writer --------------------------------------------------------- */

struct writer {
    uint8_t *at; /* NULL: only count */
    size_t len;  /* bytes written or counted */
    bool bad;    /* something cannot be expressed */
};

static void write_bytes(struct writer *w, struct slice s) {
    if (w->at) w->at = put_bytes(w->at, s);
    w->len += s.len;
}

static void write_u8(struct writer *w, uint8_t v) {
    write_bytes(w, slice_of(&v, 1));
}

static void write_u16(struct writer *w, uint16_t v) {
    uint8_t wire[2];
    put_u16(wire, v);
    write_bytes(w, slice_of(wire, sizeof wire));
}

static void write_binary(struct writer *w, struct slice s) {
    if (s.len > STRING_MAX) w->bad = true;
    write_u16(w, (uint16_t)s.len);
    write_bytes(w, s);
}

static void write_props(struct writer *w, const struct props *p, uint8_t version) {
    if (version < MQTT_5) return;
    size_t size = props_size(p);
    if (size == 0) w->bad = true;
    if (w->at) w->at = props_encode(p, w->at);
    w->len += size;
}

/* ---- bodies ------------------------------------------------------------- */

static uint8_t connect_flags(const struct pkt_connect *c) {
    unsigned will = c->has_will ? 0x04u | c->will.qos << 3 | c->will.retain << 5 : 0;
    return (uint8_t)(c->clean_start << 1 | will | c->has_password << 6 | c->has_username << 7);
}

static void write_connect(struct writer *w, const struct packet *p, uint8_t version) {
    const struct pkt_connect *c = &p->connect;
    write_binary(w, version == MQTT_3_1 ? SLICE("MQIsdp") : SLICE("MQTT"));
    write_u8(w, version);
    write_u8(w, connect_flags(c));
    write_u16(w, c->keep_alive);
    write_props(w, &c->props, version);
    write_binary(w, c->client_id);
    if (c->has_will) {
        write_props(w, &c->will.props, version);
        write_binary(w, c->will.topic);
        write_binary(w, c->will.payload);
    }
    if (c->has_username) write_binary(w, c->username);
    if (c->has_password) write_binary(w, c->password);
}

static void write_connack(struct writer *w, const struct packet *p, uint8_t version) {
    write_u8(w, p->connack.session_present && version > MQTT_3_1);
    write_u8(w, p->connack.reason_code);
    write_props(w, &p->connack.props, version);
}

static void write_publish(struct writer *w, const struct packet *p, uint8_t version) {
    write_binary(w, p->publish.topic);
    if (p->publish.qos) write_u16(w, p->publish.packet_id);
    write_props(w, &p->publish.props, version);
    write_bytes(w, p->publish.payload);
}

/* Reason code and properties, as few of them as say it all. */
static void write_reason(struct writer *w, uint8_t code, const struct props *props,
                         uint8_t version) {
    if (version < MQTT_5) return;
    bool has_props = props_size(props) != 1;
    if (code || has_props) write_u8(w, code);
    if (has_props) write_props(w, props, version);
}

static void write_ack(struct writer *w, const struct packet *p, uint8_t version) {
    write_u16(w, p->ack.packet_id);
    write_reason(w, p->ack.reason_code, &p->ack.props, version);
}

static void write_filters(struct writer *w, const struct packet *p, uint8_t version) {
    write_u16(w, p->filters.packet_id);
    write_props(w, &p->filters.props, version);
    write_bytes(w, p->filters.filters);
}

static void write_codes(struct writer *w, const struct packet *p, uint8_t version) {
    write_u16(w, p->codes.packet_id);
    write_props(w, &p->codes.props, version);
    if (p->type == PKT_UNSUBACK && version < MQTT_5) return; /* has no payload */
    write_bytes(w, p->codes.codes);
}

static void write_only_reason(struct writer *w, const struct packet *p, uint8_t version) {
    write_reason(w, p->reason.reason_code, &p->reason.props, version);
}

static void write_nothing(struct writer *w, const struct packet *p, uint8_t version) {
    (void)w, (void)p, (void)version;
}

/* ---- packets ------------------------------------------------------------ */

/* clang-format off */
static const struct body_rule {
    void (*body)(struct writer *w, const struct packet *p, uint8_t version);
    uint8_t flags; /* PUBLISH brings its own */
} body_rules[PKT_TYPES] = {
    [PKT_CONNECT]     = { write_connect,     0 },
    [PKT_CONNACK]     = { write_connack,     0 },
    [PKT_PUBLISH]     = { write_publish,     0 },
    [PKT_PUBACK]      = { write_ack,         0 },
    [PKT_PUBREC]      = { write_ack,         0 },
    [PKT_PUBREL]      = { write_ack,         0x02 },
    [PKT_PUBCOMP]     = { write_ack,         0 },
    [PKT_SUBSCRIBE]   = { write_filters,     0x02 },
    [PKT_SUBACK]      = { write_codes,       0 },
    [PKT_UNSUBSCRIBE] = { write_filters,     0x02 },
    [PKT_UNSUBACK]    = { write_codes,       0 },
    [PKT_PINGREQ]     = { write_nothing,     0 },
    [PKT_PINGRESP]    = { write_nothing,     0 },
    [PKT_DISCONNECT]  = { write_only_reason, 0 },
    [PKT_AUTH]        = { write_only_reason, 0 },
};
/* clang-format on */

static uint8_t first_byte(const struct packet *p) {
    unsigned flags = body_rules[p->type].flags;
    if (p->type == PKT_PUBLISH)
        flags = p->publish.dup << 3 | p->publish.qos << 1 | p->publish.retain;
    return (uint8_t)(p->type << 4 | flags);
}

static uint8_t version_of(const struct packet *p, uint8_t version) {
    return p->type == PKT_CONNECT ? p->connect.version : version;
}

/* SIZE_MAX: cannot be expressed. */
static size_t body_size(const struct packet *p, uint8_t version) {
    struct writer count = { NULL, 0, false };
    body_rules[p->type].body(&count, p, version_of(p, version));
    return count.bad || count.len > MQTT_MAX_REMAINING ? SIZE_MAX : count.len;
}

static size_t size_with(size_t body) {
    return body == SIZE_MAX ? 0 : 1 + varint_size((uint32_t)body) + body;
}

static uint8_t *write_packet(const struct packet *p, uint8_t version, size_t body, uint8_t *out) {
    out = varint_encode((uint32_t)body, put_u8(out, first_byte(p)));
    struct writer w = { out, 0, false };
    body_rules[p->type].body(&w, p, version_of(p, version));
    return w.at;
}

size_t packet_size(const struct packet *p, uint8_t version) {
    return size_with(body_size(p, version));
}

uint8_t *packet_encode(const struct packet *p, uint8_t version, uint8_t *out) {
    return write_packet(p, version, body_size(p, version), out);
}

bool packet_append(const struct packet *p, uint8_t version, struct buf *b) {
    size_t body = body_size(p, version);
    size_t size = size_with(body);
    if (size == 0) return false;
    write_packet(p, version, body, buf_reserve(b, size));
    b->len += size;
    return true;
}

uint8_t *ack_encode(uint8_t *out, enum packet_type type, uint16_t packet_id, uint8_t reason_code,
                    uint8_t version) {
    bool says_why = version >= MQTT_5 && reason_code;
    out = put_u8(out, (uint8_t)(type << 4 | body_rules[type].flags));
    out = put_u8(out, says_why ? 3 : 2);
    out = put_u16(out, packet_id);
    return says_why ? put_u8(out, reason_code) : out;
}

/* ---- filters ------------------------------------------------------------ */

static uint8_t options_bits(const struct subscribe_options *o, uint8_t version) {
    unsigned more = o->no_local << 2 | o->retain_as_published << 3 | o->retain_handling << 4;
    return (uint8_t)(o->qos | (version < MQTT_5 ? 0 : more));
}

bool filters_add(struct buf *list, struct slice filter, const struct subscribe_options *options,
                 uint8_t version) {
    if (filter.len > STRING_MAX) return false;
    uint8_t *out = put_binary(buf_reserve(list, 2 + filter.len + 1), filter);
    if (options) out = put_u8(out, options_bits(options, version));
    list->len += 2 + filter.len + (options ? 1 : 0);
    return true;
}
