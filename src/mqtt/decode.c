/* decode.c -- bytes to packets.
 *
 * One row a packet type says which flags it bears, since which version it exists and who
 * reads its body.  A body function reads straight on; the reader's sticky error and what is
 * left over are looked at once, in packet_decode.  Slices point into the input.
 *
 * Where the standard leaves the outcome open, this is ours:
 *   topic name with a wildcard, empty will topic     0x90  Topic Name invalid
 *   topic filter against the rules                   0x8F  Topic Filter invalid
 *   packet identifier 0, no filters, no codes        0x82  Protocol Error
 *   reason code the packet may not bear              0x82
 *   DUP with QoS 0, wrong flags, bytes left over     0x81  Malformed Packet
 * MQTT 3.1 says of some bits that they are "not used" or "disregarded"; those are not
 * judged, and there alone.  Not here: who may send what, and when (core/conn.c). */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "mqtt/decode.h"

#include "base/mem.h"
#include "mqtt/props.h"
#include "mqtt/topic.h"
#include "mqtt/wire.h"

/* ---- parts that several packets share ----------------------------------- */

/* For what PUBLISH reads: with it the reader of publish_decode stays in registers. */
#define HOT static inline __attribute__((always_inline))

/* [MQTT-2.2.1-3] [MQTT-2.2.1-4] */
HOT uint16_t read_packet_id(struct reader *r) {
    uint16_t id = read_u16(r);
    if (id == 0) reader_fail(r, RC_PROTOCOL_ERROR);
    return id;
}

HOT void read_props(struct reader *r, uint8_t version, unsigned place, struct props *out) {
    props_init(out);
    if (version < MQTT_5) return;
    if (reader_left(r) && *r->at == 0) { /* nearly every block is empty */
        r->at++;
        return;
    }
    size_t taken = 0;
    int rc = props_decode(slice_of(r->at, reader_left(r)), &taken, place, out);
    if (rc)
        reader_fail(r, rc);
    else
        r->at += taken;
}

/* [MQTT-4.7.3-1] [MQTT-4.7.3-2] [MQTT-3.3.2-1] [MQTT-3.3.2-2] */
static int topic_check(struct slice topic) {
    if (topic.len && utf8_plain(topic)) return 0;
    if (!utf8_valid(topic)) return RC_MALFORMED_PACKET;
    return topic_name_valid(topic) ? 0 : RC_TOPIC_NAME_INVALID;
}

/* ---- reason codes ------------------------------------------------------- */

#define IN(type) (1u << PKT_##type)
#define REFUSALS                                                                                   \
    (IN(CONNACK) | IN(PUBACK) | IN(PUBREC) | IN(SUBACK) | IN(UNSUBACK) | IN(DISCONNECT))

/* Which packets may bear a code: MQTT 5.0, table 2-6. */
static const uint16_t code_places[] = {
    [RC_SUCCESS] = IN(CONNACK) | IN(PUBACK) | IN(PUBREC) | IN(PUBREL) | IN(PUBCOMP) | IN(SUBACK) |
                   IN(UNSUBACK) | IN(DISCONNECT) | IN(AUTH),
    [RC_GRANTED_QOS_1] = IN(SUBACK),
    [RC_GRANTED_QOS_2] = IN(SUBACK),
    [RC_DISCONNECT_WITH_WILL] = IN(DISCONNECT),
    [RC_NO_MATCHING_SUBSCRIBERS] = IN(PUBACK) | IN(PUBREC),
    [RC_NO_SUBSCRIPTION_EXISTED] = IN(UNSUBACK),
    [RC_CONTINUE_AUTHENTICATION] = IN(AUTH),
    [RC_REAUTHENTICATE] = IN(AUTH),
    [RC_UNSPECIFIED_ERROR] = REFUSALS,
    [RC_MALFORMED_PACKET] = IN(CONNACK) | IN(DISCONNECT),
    [RC_PROTOCOL_ERROR] = IN(CONNACK) | IN(DISCONNECT),
    [RC_IMPLEMENTATION_SPECIFIC_ERROR] = REFUSALS,
    [RC_UNSUPPORTED_PROTOCOL_VERSION] = IN(CONNACK),
    [RC_CLIENT_IDENTIFIER_NOT_VALID] = IN(CONNACK),
    [RC_BAD_USER_NAME_OR_PASSWORD] = IN(CONNACK),
    [RC_NOT_AUTHORIZED] = REFUSALS,
    [RC_SERVER_UNAVAILABLE] = IN(CONNACK),
    [RC_SERVER_BUSY] = IN(CONNACK) | IN(DISCONNECT),
    [RC_BANNED] = IN(CONNACK),
    [RC_SERVER_SHUTTING_DOWN] = IN(DISCONNECT),
    [RC_BAD_AUTHENTICATION_METHOD] = IN(CONNACK) | IN(DISCONNECT),
    [RC_KEEP_ALIVE_TIMEOUT] = IN(DISCONNECT),
    [RC_SESSION_TAKEN_OVER] = IN(DISCONNECT),
    [RC_TOPIC_FILTER_INVALID] = IN(SUBACK) | IN(UNSUBACK) | IN(DISCONNECT),
    [RC_TOPIC_NAME_INVALID] = IN(CONNACK) | IN(PUBACK) | IN(PUBREC) | IN(DISCONNECT),
    [RC_PACKET_IDENTIFIER_IN_USE] = IN(PUBACK) | IN(PUBREC) | IN(SUBACK) | IN(UNSUBACK),
    [RC_PACKET_IDENTIFIER_NOT_FOUND] = IN(PUBREL) | IN(PUBCOMP),
    [RC_RECEIVE_MAXIMUM_EXCEEDED] = IN(DISCONNECT),
    [RC_TOPIC_ALIAS_INVALID] = IN(DISCONNECT),
    [RC_PACKET_TOO_LARGE] = IN(CONNACK) | IN(DISCONNECT),
    [RC_MESSAGE_RATE_TOO_HIGH] = IN(DISCONNECT),
    [RC_QUOTA_EXCEEDED] = IN(CONNACK) | IN(PUBACK) | IN(PUBREC) | IN(SUBACK) | IN(DISCONNECT),
    [RC_ADMINISTRATIVE_ACTION] = IN(DISCONNECT),
    [RC_PAYLOAD_FORMAT_INVALID] = IN(CONNACK) | IN(PUBACK) | IN(PUBREC) | IN(DISCONNECT),
    [RC_RETAIN_NOT_SUPPORTED] = IN(CONNACK) | IN(DISCONNECT),
    [RC_QOS_NOT_SUPPORTED] = IN(CONNACK) | IN(DISCONNECT),
    [RC_USE_ANOTHER_SERVER] = IN(CONNACK) | IN(DISCONNECT),
    [RC_SERVER_MOVED] = IN(CONNACK) | IN(DISCONNECT),
    [RC_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED] = IN(SUBACK) | IN(DISCONNECT),
    [RC_CONNECTION_RATE_EXCEEDED] = IN(CONNACK) | IN(DISCONNECT),
    [RC_MAXIMUM_CONNECT_TIME] = IN(DISCONNECT),
    [RC_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED] = IN(SUBACK) | IN(DISCONNECT),
    [RC_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED] = IN(SUBACK) | IN(DISCONNECT),
};

/* 3.x has return codes in CONNACK and SUBACK only: 3.1.1 table 3.1 and [MQTT-3.9.3-2]. */
bool reason_code_allowed(enum packet_type type, uint8_t version, uint8_t code) {
    if (version < MQTT_5) return type == PKT_CONNACK ? code <= 5 : code <= 2 || code == 0x80;
    return code < ARRAY_LEN(code_places) && (code_places[code] & 1u << type);
}

static uint8_t read_code(struct reader *r, enum packet_type type, uint8_t version) {
    uint8_t code = read_u8(r);
    if (!reason_code_allowed(type, version, code)) reader_fail(r, RC_PROTOCOL_ERROR);
    return code;
}

/* ---- CONNECT and CONNACK ------------------------------------------------ */

enum connect_flag {
    FLAG_RESERVED = 0x01,
    FLAG_CLEAN_START = 0x02,
    FLAG_WILL = 0x04,
    FLAG_WILL_QOS = 0x18,
    FLAG_WILL_RETAIN = 0x20,
    FLAG_PASSWORD = 0x40,
    FLAG_USERNAME = 0x80
};

static void read_protocol(struct reader *r, struct pkt_connect *c) {
    static const struct {
        const char *name;
        uint8_t level;
    } protocols[] = {
        { "MQIsdp", MQTT_3_1 },
        { "MQTT", MQTT_3_1_1 },
        { "MQTT", MQTT_5 },
    };
    struct slice name = read_binary(r);
    uint8_t level = read_u8(r);
    if (r->error) return;
    for (size_t i = 0; i < ARRAY_LEN(protocols); i++) {
        if (!slice_eq(name, slice_str(protocols[i].name))) continue;
        c->version = level;
        if (level == protocols[i].level) return;
    }
    reader_fail(r, RC_UNSUPPORTED_PROTOCOL_VERSION); /* [MQTT-3.1.2-1] [MQTT-3.1.2-2] */
}

static bool connect_flags_valid(unsigned flags, uint8_t version) {
    bool will = flags & FLAG_WILL;
    if (will && (flags & FLAG_WILL_QOS) == FLAG_WILL_QOS) return false; /* [MQTT-3.1.2-12] */
    if (version < MQTT_5 && (flags & FLAG_PASSWORD) && !(flags & FLAG_USERNAME))
        return false; /* 3.1.1 [MQTT-3.1.2-22] */
    if (version == MQTT_3_1) return true;
    if (flags & FLAG_RESERVED) return false;                      /* [MQTT-3.1.2-3] */
    return will || !(flags & (FLAG_WILL_QOS | FLAG_WILL_RETAIN)); /* [MQTT-3.1.2-11] [-13] */
}

static void read_will(struct reader *r, const struct pkt_connect *c, unsigned flags,
                      struct will *out) {
    out->qos = (flags & FLAG_WILL_QOS) >> 3;
    out->retain = flags & FLAG_WILL_RETAIN;
    read_props(r, c->version, PROPS_WILL, &out->props);
    out->topic = read_binary(r);
    out->payload = read_binary(r);
    int rc = r->error ? 0 : topic_check(out->topic); /* [MQTT-3.1.3-11] */
    if (rc) reader_fail(r, rc);
}

/* In 3.1 "the remaining length takes precedence" over the flags of user name and
 * password: a client may set them and leave the strings out. */
static bool credential_follows(const struct reader *r, unsigned flag, uint8_t version) {
    return flag && !(version == MQTT_3_1 && reader_left(r) == 0);
}

static void read_credentials(struct reader *r, unsigned flags, struct pkt_connect *c) {
    c->has_username = credential_follows(r, flags & FLAG_USERNAME, c->version);
    if (c->has_username) c->username = read_string(r); /* [MQTT-3.1.3-12] */
    c->has_password = credential_follows(r, flags & FLAG_PASSWORD, c->version);
    if (c->has_password) c->password = read_binary(r);
}

static void decode_connect(struct reader *r, uint8_t version, struct packet *out) {
    (void)version; /* brings its own */
    struct pkt_connect *c = &out->connect;
    *c = (struct pkt_connect){ 0 };
    read_protocol(r, c);
    unsigned flags = read_u8(r);
    if (!connect_flags_valid(flags, c->version)) reader_fail(r, RC_MALFORMED_PACKET);
    c->clean_start = flags & FLAG_CLEAN_START;
    c->has_will = flags & FLAG_WILL;
    c->keep_alive = read_u16(r);
    read_props(r, c->version, PKT_CONNECT, &c->props);
    c->client_id = read_string(r); /* [MQTT-3.1.3-4] */
    if (c->has_will) read_will(r, c, flags, &c->will);
    read_credentials(r, flags, c);
}

static void decode_connack(struct reader *r, uint8_t version, struct packet *out) {
    struct pkt_connack *p = &out->connack;
    uint8_t flags = read_u8(r);
    if (flags & 0xFE) reader_fail(r, RC_MALFORMED_PACKET);     /* [MQTT-3.2.2-1] */
    p->session_present = (flags & 0x01) && version > MQTT_3_1; /* 3.1: "not used" */
    p->reason_code = read_code(r, PKT_CONNACK, version);
    if (p->session_present && p->reason_code != 0)
        reader_fail(r, RC_PROTOCOL_ERROR); /* [MQTT-3.2.2-6] */
    read_props(r, version, PKT_CONNACK, &p->props);
}

/* ---- PUBLISH and its acknowledgements ----------------------------------- */

int publish_decode(const struct frame *f, uint8_t version, struct slice known,
                   struct pkt_publish *out) {
    const bool dup = f->flags & 0x08, retain = f->flags & 0x01;
    const uint8_t qos = f->flags >> 1 & 0x03;
    if (qos == 3) return RC_MALFORMED_PACKET;        /* [MQTT-3.3.1-4] */
    if (dup && qos == 0) return RC_MALFORMED_PACKET; /* [MQTT-3.3.1-2] */

    struct reader r = reader_of(slice_of(f->body, f->body_len));
    out->dup = dup;
    out->retain = retain;
    out->qos = qos;
    out->topic = read_binary(&r);
    out->packet_id = qos ? read_packet_id(&r) : 0;
    read_props(&r, version, PKT_PUBLISH, &out->props);
    out->payload = read_rest(&r);
    if (r.error) return r.error;
    if (out->topic.len == 0) /* 3.3.2.1 */
        return props_has(&out->props, PROP_TOPIC_ALIAS) ? 0 : RC_PROTOCOL_ERROR;
    if (!slice_eq(out->topic, known)) return topic_check(out->topic);
    out->topic = known;
    return 0;
}

/* The optional tail of an acknowledgement, DISCONNECT and AUTH: reason code, then
 * properties.  In 3.x whatever is there is too much, which packet_decode sees. */
static void read_reason(struct reader *r, enum packet_type type, uint8_t version, uint8_t *code,
                        struct props *props) {
    *code = RC_SUCCESS;
    props_init(props);
    if (version < MQTT_5 || reader_left(r) == 0) return;
    *code = read_code(r, type, version);
    if (reader_left(r)) read_props(r, version, type, props);
}

static void decode_ack(struct reader *r, uint8_t version, struct packet *out) {
    struct pkt_ack *p = &out->ack;
    p->packet_id = read_packet_id(r);
    read_reason(r, out->type, version, &p->reason_code, &p->props);
}

/* ---- SUBSCRIBE, UNSUBSCRIBE and their acknowledgements ------------------ */

static struct subscribe_options options_of(uint8_t bits) {
    return (struct subscribe_options){
        .qos = bits & 0x03,
        .no_local = bits & 0x04,
        .retain_as_published = bits & 0x08,
        .retain_handling = bits >> 4 & 0x03,
    };
}

static struct subscribe_options read_options(struct reader *r, uint8_t version) {
    uint8_t bits = read_u8(r);
    uint8_t reserved = version < MQTT_5 ? 0xFC : 0xC0;
    struct subscribe_options options = options_of(bits);
    if (bits & reserved) reader_fail(r, RC_MALFORMED_PACKET); /* [MQTT-3.8.3-5] */
    if (options.qos == 3 || options.retain_handling == 3)
        reader_fail(r, RC_PROTOCOL_ERROR); /* 3.8.3.1 */
    return options;
}

/* [MQTT-4.8.2-1] [MQTT-4.8.2-2] [MQTT-3.8.3-4] */
static int shared_check(struct slice filter, bool no_local) {
    struct slice group, inner;
    bool valid;
    if (!topic_shared(filter, &group, &inner, &valid)) return 0;
    if (!valid) return RC_TOPIC_FILTER_INVALID;
    return no_local ? RC_PROTOCOL_ERROR : 0;
}

static void read_filter(struct reader *r, uint8_t version, enum packet_type type) {
    struct subscribe_options options = { 0 };
    struct slice filter = read_string(r); /* [MQTT-3.8.3-1] [MQTT-3.10.3-1] */
    if (type == PKT_SUBSCRIBE) options = read_options(r, version);
    if (r->error) return;
    int rc = version < MQTT_5 ? 0 : shared_check(filter, options.no_local);
    if (!topic_filter_valid(filter)) rc = RC_TOPIC_FILTER_INVALID; /* [MQTT-4.7.1-1] */
    if (rc) reader_fail(r, rc);
}

static void decode_filters(struct reader *r, uint8_t version, struct packet *out) {
    struct pkt_filters *p = &out->filters;
    p->packet_id = read_packet_id(r);
    read_props(r, version, out->type, &p->props);
    p->filters = slice_of(r->at, reader_left(r));
    for (p->count = 0; reader_left(r); p->count++) read_filter(r, version, out->type);
    if (p->count == 0) reader_fail(r, RC_PROTOCOL_ERROR); /* [MQTT-3.8.3-2] [MQTT-3.10.3-2] */
}

bool filters_next(struct slice filters, bool subscribe, size_t *at, struct filter_item *out) {
    if (*at >= filters.len) return false;
    struct reader r = reader_of(slice_of(filters.at + *at, filters.len - *at));
    out->filter = read_binary(&r);
    out->options = options_of(subscribe ? read_u8(&r) : 0);
    *at = (size_t)(r.at - filters.at);
    return !r.error;
}

static void decode_codes(struct reader *r, uint8_t version, struct packet *out) {
    struct pkt_codes *p = &out->codes;
    p->packet_id = read_packet_id(r);
    read_props(r, version, out->type, &p->props);
    p->codes = slice_of(r->at, reader_left(r));
    if (version < MQTT_5 && out->type == PKT_UNSUBACK) return; /* has no payload */
    if (p->codes.len == 0) reader_fail(r, RC_PROTOCOL_ERROR);
    while (reader_left(r)) read_code(r, out->type, version);
}

/* ---- the rest ----------------------------------------------------------- */

static void decode_empty(struct reader *r, uint8_t version, struct packet *out) {
    (void)r, (void)version, (void)out; /* any byte is left over */
}

static void decode_disconnect(struct reader *r, uint8_t version, struct packet *out) {
    read_reason(r, PKT_DISCONNECT, version, &out->reason.reason_code, &out->reason.props);
}

/* The whole body may be left out; once there is one, the method is due (3.15.2.2.2). */
static void decode_auth(struct reader *r, uint8_t version, struct packet *out) {
    bool bare = reader_left(r) == 0;
    read_reason(r, PKT_AUTH, version, &out->reason.reason_code, &out->reason.props);
    if (!bare && !props_has(&out->reason.props, PROP_AUTHENTICATION_METHOD))
        reader_fail(r, RC_PROTOCOL_ERROR);
}

/* ---- dispatch ----------------------------------------------------------- */

/* clang-format off */
static const struct packet_rule {
    void (*body)(struct reader *r, uint8_t version, struct packet *out);
    uint8_t flags; /* as they must be [MQTT-2.1.3-1] */
    uint8_t open;  /* flags that are not fixed; the 3.1 DUP of a repeated request */
    uint8_t since; /* enum mqtt_version; 0: no such packet */
} packet_rules[PKT_TYPES] = {
    [PKT_CONNECT]     = { decode_connect,   0, 0, MQTT_3_1 },
    [PKT_CONNACK]     = { decode_connack,   0, 0, MQTT_3_1 },
    [PKT_PUBLISH]     = { NULL,             0, 0x0F, MQTT_3_1 }, /* publish_decode */
    [PKT_PUBACK]      = { decode_ack,       0, 0, MQTT_3_1 },
    [PKT_PUBREC]      = { decode_ack,       0, 0, MQTT_3_1 },
    [PKT_PUBREL]      = { decode_ack,       0x02, 0x08, MQTT_3_1 },
    [PKT_PUBCOMP]     = { decode_ack,       0, 0, MQTT_3_1 },
    [PKT_SUBSCRIBE]   = { decode_filters,   0x02, 0x08, MQTT_3_1 },
    [PKT_SUBACK]      = { decode_codes,     0, 0, MQTT_3_1 },
    [PKT_UNSUBSCRIBE] = { decode_filters,   0x02, 0x08, MQTT_3_1 },
    [PKT_UNSUBACK]    = { decode_codes,     0, 0, MQTT_3_1 },
    [PKT_PINGREQ]     = { decode_empty,     0, 0, MQTT_3_1 },
    [PKT_PINGRESP]    = { decode_empty,     0, 0, MQTT_3_1 },
    [PKT_DISCONNECT]  = { decode_disconnect,0, 0, MQTT_3_1 },
    [PKT_AUTH]        = { decode_auth,      0, 0, MQTT_5 },
};
/* clang-format on */

static bool flags_allowed(const struct frame *f) {
    const struct packet_rule *rule = &packet_rules[f->type];
    return rule->since && (f->flags & ~rule->open) == rule->flags;
}

int frame_read(const uint8_t *at, size_t len, uint32_t max_packet, struct frame *f) {
    f->head_len = 0;
    if (len == 0) return FRAME_MORE;
    f->type = at[0] >> 4;
    f->flags = at[0] & 0x0F;
    if (!flags_allowed(f)) return RC_MALFORMED_PACKET;
    int taken = varint_decode(at + 1, len - 1, &f->body_len);
    if (taken < 0) return RC_MALFORMED_PACKET;
    if (taken == 0) return FRAME_MORE;
    f->head_len = 1 + (uint32_t)taken;
    f->body = at + f->head_len;
    if (max_packet && f->head_len + f->body_len > max_packet) return RC_PACKET_TOO_LARGE;
    return len - f->head_len < f->body_len ? FRAME_MORE : FRAME_OK;
}

/* frame_read could not know the version; CONNECT brings its own. */
static bool is_of_version(const struct frame *f, uint8_t version) {
    const struct packet_rule *rule = &packet_rules[f->type];
    if (f->type == PKT_CONNECT) return true;
    if (version < rule->since) return false;
    return f->type == PKT_PUBLISH || version == MQTT_3_1 || f->flags == rule->flags;
}

int packet_decode(const struct frame *f, uint8_t version, struct packet *out) {
    out->type = f->type;
    if (f->type == PKT_CONNECT) out->connect.version = 0;
    if (!flags_allowed(f) || !is_of_version(f, version)) return RC_MALFORMED_PACKET;
    if (f->type == PKT_PUBLISH) return publish_decode(f, version, SLICE_NONE, &out->publish);

    struct reader r = reader_of(slice_of(f->body, f->body_len));
    packet_rules[f->type].body(&r, version, out);
    if (reader_left(&r)) reader_fail(&r, RC_MALFORMED_PACKET);
    return r.error;
}
