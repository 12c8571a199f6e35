/* props.c -- MQTT 5.0 properties as a table.
 *
 * `rules` is all there is to know about a property; nothing below it names one, but for
 * the rule that authentication data needs its method.  Reading, storing and writing follow
 * the kind of the row. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "mqtt/props.h"

#include "base/mem.h"
#include "mqtt/decode.h"
#include "mqtt/topic.h"
#include "mqtt/wire.h"

#include <stddef.h>

/* ---- the table ---------------------------------------------------------- */

/* clang-format off */
#define IN(type)   (1u << PKT_##type)
#define IN_WILL    (1u << PROPS_WILL)
#define MESSAGE    (IN(PUBLISH) | IN_WILL)
#define HANDSHAKE  (IN(CONNECT) | IN(CONNACK))
#define ANSWERS    (IN(CONNACK) | IN(PUBACK) | IN(PUBREC) | IN(PUBREL) | IN(PUBCOMP) | \
                    IN(SUBACK) | IN(UNSUBACK) | IN(DISCONNECT) | IN(AUTH))
#define ANYWHERE   (ANSWERS | MESSAGE | IN(CONNECT) | IN(SUBSCRIBE) | IN(UNSUBSCRIBE))
#define ROW(id, m, ...) \
    [PROP_##id] = { .name = #m, .member = offsetof(struct props, m), __VA_ARGS__ }

static const struct prop_rule rules[] = {
    ROW(PAYLOAD_FORMAT_INDICATOR, payload_format_indicator, PROP_U8, MESSAGE, .most = 1),
    ROW(MESSAGE_EXPIRY_INTERVAL, message_expiry_interval, PROP_U32, MESSAGE),
    ROW(CONTENT_TYPE, content_type, PROP_STRING, MESSAGE),
    ROW(RESPONSE_TOPIC, response_topic, PROP_STRING, MESSAGE, .is_topic = true),
    ROW(CORRELATION_DATA, correlation_data, PROP_BINARY, MESSAGE),
    ROW(SUBSCRIPTION_IDENTIFIER, subscription_identifier, PROP_VARINT, IN(PUBLISH) | IN(SUBSCRIBE),
        .repeats = IN(PUBLISH), .least = 1),
    ROW(SESSION_EXPIRY_INTERVAL, session_expiry_interval, PROP_U32, HANDSHAKE | IN(DISCONNECT)),
    ROW(ASSIGNED_CLIENT_IDENTIFIER, assigned_client_identifier, PROP_STRING, IN(CONNACK)),
    ROW(SERVER_KEEP_ALIVE, server_keep_alive, PROP_U16, IN(CONNACK)),
    ROW(AUTHENTICATION_METHOD, authentication_method, PROP_STRING, HANDSHAKE | IN(AUTH)),
    ROW(AUTHENTICATION_DATA, authentication_data, PROP_BINARY, HANDSHAKE | IN(AUTH)),
    ROW(REQUEST_PROBLEM_INFORMATION, request_problem_information, PROP_U8, IN(CONNECT), .most = 1),
    ROW(WILL_DELAY_INTERVAL, will_delay_interval, PROP_U32, IN_WILL),
    ROW(REQUEST_RESPONSE_INFORMATION, request_response_information, PROP_U8, IN(CONNECT),
        .most = 1),
    ROW(RESPONSE_INFORMATION, response_information, PROP_STRING, IN(CONNACK)),
    ROW(SERVER_REFERENCE, server_reference, PROP_STRING, IN(CONNACK) | IN(DISCONNECT)),
    ROW(REASON_STRING, reason_string, PROP_STRING, ANSWERS),
    ROW(RECEIVE_MAXIMUM, receive_maximum, PROP_U16, HANDSHAKE, .least = 1),
    ROW(TOPIC_ALIAS_MAXIMUM, topic_alias_maximum, PROP_U16, HANDSHAKE),
    ROW(TOPIC_ALIAS, topic_alias, PROP_U16, IN(PUBLISH), .least = 1,
        .refusal = RC_TOPIC_ALIAS_INVALID),
    ROW(MAXIMUM_QOS, maximum_qos, PROP_U8, IN(CONNACK), .most = 1),
    ROW(RETAIN_AVAILABLE, retain_available, PROP_U8, IN(CONNACK), .most = 1),
    [PROP_USER_PROPERTY] = { .name = "user_property", .kind = PROP_PAIR, .places = ANYWHERE,
                             .repeats = ANYWHERE },
    ROW(MAXIMUM_PACKET_SIZE, maximum_packet_size, PROP_U32, HANDSHAKE, .least = 1),
    ROW(WILDCARD_SUBSCRIPTION_AVAILABLE, wildcard_subscription_available, PROP_U8, IN(CONNACK),
        .most = 1),
    ROW(SUBSCRIPTION_IDENTIFIER_AVAILABLE, subscription_identifier_available, PROP_U8, IN(CONNACK),
        .most = 1),
    ROW(SHARED_SUBSCRIPTION_AVAILABLE, shared_subscription_available, PROP_U8, IN(CONNACK),
        .most = 1),
};
/* clang-format on */

const struct prop_rule *prop_rule(uint32_t id) {
    return id < ARRAY_LEN(rules) && rules[id].name ? &rules[id] : NULL;
}

/* What the type of a number can hold. */
static uint32_t kind_max(unsigned kind) {
    static const uint32_t max[] = {
        [PROP_U8] = UINT8_MAX,
        [PROP_U16] = UINT16_MAX,
        [PROP_U32] = UINT32_MAX,
        [PROP_VARINT] = MQTT_MAX_REMAINING,
    };
    return max[kind];
}

/* ---- reading ------------------------------------------------------------ */

static void read_value(struct reader *r, unsigned kind, struct prop_item *out) {
    switch ((enum prop_kind)kind) {
    case PROP_U8: out->number = read_u8(r); break;
    case PROP_U16: out->number = read_u16(r); break;
    case PROP_U32: out->number = read_u32(r); break;
    case PROP_VARINT: out->number = read_varint(r); break;
    case PROP_STRING: out->value = read_string(r); break;
    case PROP_BINARY: out->value = read_binary(r); break;
    case PROP_PAIR:
        out->key = read_string(r);
        out->value = read_string(r);
        break;
    }
}

bool props_next(struct slice raw, size_t *at, struct prop_item *out) {
    if (*at >= raw.len) return false;
    struct reader r = reader_of(slice_of(raw.at + *at, raw.len - *at));
    *out = (struct prop_item){ .id = (uint8_t)read_varint(&r) };
    const struct prop_rule *rule = prop_rule(out->id);
    if (!rule) return false; /* only in a block that was never validated */
    read_value(&r, rule->kind, out);
    *at = (size_t)(r.at - raw.at);
    return !r.error;
}

static bool in_range(const struct prop_rule *rule, const struct prop_item *item) {
    if (rule->is_topic) return topic_name_valid(item->value);
    return item->number >= rule->least && (rule->most == 0 || item->number <= rule->most);
}

static void *member_of(struct props *p, const struct prop_rule *rule) {
    return (char *)p + rule->member;
}

static void store(struct props *p, const struct prop_rule *rule, const struct prop_item *item) {
    void *member = member_of(p, rule);
    switch ((enum prop_kind)rule->kind) {
    case PROP_U8: *(uint8_t *)member = (uint8_t)item->number; break;
    case PROP_U16: *(uint16_t *)member = (uint16_t)item->number; break;
    case PROP_U32:
    case PROP_VARINT: *(uint32_t *)member = item->number; break;
    case PROP_STRING:
    case PROP_BINARY: *(struct slice *)member = item->value; break;
    case PROP_PAIR: break; /* stays in `raw` */
    }
}

static void property_decode(struct reader *r, unsigned place, struct props *out) {
    uint32_t id = read_varint(r);
    const struct prop_rule *rule = prop_rule(id);
    /* not valid for its packet type: malformed (2.2.2.2) */
    if (!rule || !(rule->places & 1u << place)) return reader_fail(r, RC_MALFORMED_PACKET);
    bool again = props_has(out, id);
    if (again && !(rule->repeats & 1u << place)) return reader_fail(r, RC_PROTOCOL_ERROR);

    struct prop_item item = { .id = (uint8_t)id };
    read_value(r, rule->kind, &item);
    if (r->error) return;
    if (rule->kind != PROP_PAIR && !in_range(rule, &item))
        return reader_fail(r, rule->refusal ? rule->refusal : RC_PROTOCOL_ERROR);
    if (!again) store(out, rule, &item);
    out->present |= PROP_BIT(id);
}

int props_decode(struct slice in, size_t *at, unsigned place, struct props *out) {
    props_init(out);
    struct reader all = reader_of(slice_of(in.at + *at, in.len - *at));
    size_t len = read_varint(&all);
    out->raw = read_bytes(&all, len);
    if (all.error) return all.error;
    *at = (size_t)(all.at - in.at);

    struct reader r = reader_of(out->raw);
    while (reader_left(&r)) property_decode(&r, place, out);
    /* 3.1.2.11.10: data without a method is a protocol error */
    if (props_has(out, PROP_AUTHENTICATION_DATA) && !props_has(out, PROP_AUTHENTICATION_METHOD))
        reader_fail(&r, RC_PROTOCOL_ERROR);
    return r.error;
}

/* ---- writing ------------------------------------------------------------ */

uint8_t *varint_encode(uint32_t v, uint8_t *out) {
    for (; v >= 0x80; v >>= 7) out = put_u8(out, (uint8_t)(v | 0x80));
    return put_u8(out, (uint8_t)v);
}

/* Bytes of one property, identifier included; 0 when it cannot be expressed. */
static size_t item_size(unsigned kind, const struct prop_item *item) {
    if (item->key.len > STRING_MAX || item->value.len > STRING_MAX) return 0;
    switch ((enum prop_kind)kind) {
    case PROP_U8: return 1 + 1;
    case PROP_U16: return 1 + 2;
    case PROP_U32: return 1 + 4;
    case PROP_VARINT:
        return item->number > kind_max(PROP_VARINT) ? 0 : 1 + varint_size(item->number);
    case PROP_STRING:
    case PROP_BINARY: return 1 + 2 + item->value.len;
    case PROP_PAIR: return 1 + 2 + item->key.len + 2 + item->value.len;
    }
    return 0;
}

static uint8_t *item_encode(unsigned kind, const struct prop_item *item, uint8_t *out) {
    out = put_u8(out, item->id);
    switch ((enum prop_kind)kind) {
    case PROP_U8: return put_u8(out, (uint8_t)item->number);
    case PROP_U16: return put_u16(out, (uint16_t)item->number);
    case PROP_U32: return put_u32(out, item->number);
    case PROP_VARINT: return varint_encode(item->number, out);
    case PROP_STRING:
    case PROP_BINARY: return put_binary(out, item->value);
    case PROP_PAIR: return put_binary(put_binary(out, item->key), item->value);
    }
    return out;
}

static struct prop_item load(const struct props *p, uint8_t id, const struct prop_rule *rule) {
    const void *member = (const char *)p + rule->member;
    struct prop_item item = { .id = id };
    switch ((enum prop_kind)rule->kind) {
    case PROP_U8: item.number = *(const uint8_t *)member; break;
    case PROP_U16: item.number = *(const uint16_t *)member; break;
    case PROP_U32:
    case PROP_VARINT: item.number = *(const uint32_t *)member; break;
    case PROP_STRING:
    case PROP_BINARY: item.value = *(const struct slice *)member; break;
    case PROP_PAIR: break;
    }
    return item;
}

/* Walks the members named by `present` in the order of their identifiers: *left starts as
 * `present`; NULL at the end. */
static const struct prop_rule *next_member(const struct props *p, uint64_t *left,
                                           struct prop_item *item) {
    while (*left) {
        uint8_t id = (uint8_t)__builtin_ctzll(*left);
        *left &= *left - 1;
        const struct prop_rule *rule = prop_rule(id);
        if (!rule || rule->kind == PROP_PAIR) continue; /* pairs come from `encoded` */
        *item = load(p, id, rule);
        return rule;
    }
    return NULL;
}

/* SIZE_MAX: cannot be expressed. */
static size_t block_size(const struct props *p) {
    size_t size = p->encoded.len;
    uint64_t left = p->present;
    struct prop_item item;
    const struct prop_rule *rule;
    while ((rule = next_member(p, &left, &item))) {
        size_t n = item_size(rule->kind, &item);
        if (n == 0) return SIZE_MAX;
        size += n;
    }
    return size;
}

size_t props_size(const struct props *p) {
    size_t block = block_size(p);
    return block > MQTT_MAX_REMAINING ? 0 : varint_size((uint32_t)block) + block;
}

uint8_t *props_encode(const struct props *p, uint8_t *out) {
    uint64_t left = p->present;
    struct prop_item item;
    const struct prop_rule *rule;
    out = varint_encode((uint32_t)block_size(p), out);
    while ((rule = next_member(p, &left, &item))) out = item_encode(rule->kind, &item, out);
    return put_bytes(out, p->encoded);
}

static bool item_add(struct buf *b, unsigned kind, const struct prop_item *item) {
    size_t size = item_size(kind, item);
    if (size == 0) return false;
    item_encode(kind, item, buf_reserve(b, size));
    b->len += size;
    return true;
}

bool props_add_user(struct buf *b, struct slice name, struct slice value) {
    struct prop_item item = { .id = PROP_USER_PROPERTY, .key = name, .value = value };
    return item_add(b, PROP_PAIR, &item);
}

bool props_add_number(struct buf *b, enum prop_id id, uint32_t value) {
    const struct prop_rule *rule = prop_rule(id);
    must(rule && rule->kind <= PROP_VARINT);
    if (value > kind_max(rule->kind)) return false;
    return item_add(b, rule->kind, &(struct prop_item){ .id = (uint8_t)id, .number = value });
}

bool props_add_slice(struct buf *b, enum prop_id id, struct slice value) {
    const struct prop_rule *rule = prop_rule(id);
    must(rule && (rule->kind == PROP_STRING || rule->kind == PROP_BINARY));
    return item_add(b, rule->kind, &(struct prop_item){ .id = (uint8_t)id, .value = value });
}
