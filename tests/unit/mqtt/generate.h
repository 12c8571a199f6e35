/* generate.h -- random packets that are right, from a seed. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_MQTT_GENERATE_H
#define TESTS_MQTT_GENERATE_H

#include "mqtt/packets.h"

/* What a generated packet lends lives here until the next one is made. */
struct gen {
    uint64_t seed;      /* not 0 */
    uint8_t text[8192]; /* strings */
    size_t used;
    struct buf encoded, will_encoded, filters;
};

static inline uint32_t gen_number(struct gen *g) { /* xorshift64* */
    g->seed ^= g->seed >> 12, g->seed ^= g->seed << 25, g->seed ^= g->seed >> 27;
    return (uint32_t)(g->seed * UINT64_C(2685821657736338717) >> 32);
}

static inline uint32_t gen_below(struct gen *g, uint32_t n) {
    return gen_number(g) % n;
}

static inline bool gen_flag(struct gen *g) {
    return gen_below(g, 2);
}

/* 0 to 39 bytes drawn from `alphabet`. */
static inline struct slice gen_from(struct gen *g, struct slice alphabet, uint32_t least) {
    struct slice s = { g->text + g->used, least + gen_below(g, 40 - least) };
    for (size_t i = 0; i < s.len; i++)
        g->text[g->used++] = alphabet.at[gen_below(g, (uint32_t)alphabet.len)];
    return s;
}

static inline struct slice gen_topic(struct gen *g) {
    return gen_from(g, SLICE("abc/$ "), 1);
}

static inline struct slice gen_text(struct gen *g) {
    return gen_flag(g) ? gen_from(g, SLICE("text +#"), 0)
                       : SLICE("gr\xC3\xBC\xC3\x9F dich \xF0\x9F\x98\x80");
}

static inline struct slice gen_binary(struct gen *g) {
    return gen_from(g, SLICE("\0\x01\x7F\x80\xFF"), 0);
}

static inline uint16_t gen_packet_id(struct gen *g) {
    return (uint16_t)(1 + gen_below(g, 65535));
}

static inline void gen_member(struct gen *g, struct props *p, const struct prop_rule *rule) {
    void *member = (char *)p + rule->member;
    uint32_t shift = gen_below(g, 32), most = rule->most ? rule->most : UINT32_MAX;
    uint32_t number = gen_number(g) >> shift & most;
    if (number < rule->least) number = rule->least;
    switch ((enum prop_kind)rule->kind) {
    case PROP_U8: *(uint8_t *)member = (uint8_t)number; break;
    case PROP_U16: *(uint16_t *)member = (uint16_t)(number | rule->least); break;
    case PROP_U32: *(uint32_t *)member = number; break;
    case PROP_VARINT: *(uint32_t *)member = (number & MQTT_MAX_REMAINING) | rule->least; break;
    case PROP_STRING: *(struct slice *)member = rule->is_topic ? gen_topic(g) : gen_text(g); break;
    case PROP_BINARY: *(struct slice *)member = gen_binary(g); break;
    case PROP_PAIR: break;
    }
}

static inline void gen_repeated(struct gen *g, unsigned place, struct props *p, struct buf *b) {
    b->len = 0;
    for (uint32_t n = gen_below(g, 4); props_has(p, PROP_USER_PROPERTY) && n <= 3; n++)
        props_add_user(b, gen_text(g), gen_text(g));
    if (place == PKT_PUBLISH && props_has(p, PROP_SUBSCRIPTION_IDENTIFIER) && gen_flag(g))
        props_add_number(b, PROP_SUBSCRIPTION_IDENTIFIER, 1 + gen_below(g, 1000));
    p->encoded = buf_slice(b);
}

static inline void gen_props(struct gen *g, uint8_t version, unsigned place, struct props *p,
                             struct buf *b) {
    props_init(p);
    for (unsigned id = 0; version == MQTT_5 && id < 64; id++) {
        const struct prop_rule *rule = prop_rule(id);
        if (!rule || !(rule->places & 1u << place) || gen_below(g, 3)) continue;
        gen_member(g, p, rule);
        p->present |= PROP_BIT(id);
    }
    bool method_due = place == PKT_AUTH || props_has(p, PROP_AUTHENTICATION_DATA);
    if (method_due && version == MQTT_5) {
        p->authentication_method = SLICE("SCRAM-SHA-256");
        p->present |= PROP_BIT(PROP_AUTHENTICATION_METHOD);
    }
    gen_repeated(g, place, p, b);
}

static inline void gen_connect(struct gen *g, uint8_t version, struct packet *out) {
    struct pkt_connect *c = &out->connect;
    *c = (struct pkt_connect){ .version = version, .clean_start = gen_flag(g) };
    c->keep_alive = (uint16_t)gen_number(g);
    c->client_id = gen_text(g);
    c->has_username = gen_flag(g);
    c->has_password = gen_flag(g) && (c->has_username || version == MQTT_5);
    if (c->has_username) c->username = gen_text(g);
    if (c->has_password) c->password = gen_binary(g);
    c->has_will = gen_flag(g);
    if (!c->has_will) return;
    c->will = (struct will){ .qos = (uint8_t)gen_below(g, 3), .retain = gen_flag(g) };
    c->will.topic = gen_topic(g);
    c->will.payload = gen_binary(g);
    gen_props(g, version, PROPS_WILL, &c->will.props, &g->will_encoded);
}

static inline void gen_publish(struct gen *g, struct packet *out) {
    struct pkt_publish *p = &out->publish;
    p->qos = (uint8_t)gen_below(g, 3);
    p->dup = p->qos && gen_flag(g);
    p->retain = gen_flag(g);
    p->packet_id = p->qos ? gen_packet_id(g) : 0;
    p->topic = gen_topic(g);
    p->payload = gen_binary(g);
}

static inline void gen_filters(struct gen *g, uint8_t version, struct packet *out) {
    static const char *const filters[] = { "a", "+", "#", "a/+/b", "/#", "$SYS/#", "$share/g/a/#" };
    struct pkt_filters *p = &out->filters;
    p->packet_id = gen_packet_id(g);
    p->count = 1 + gen_below(g, 5);
    g->filters.len = 0;
    for (unsigned i = 0; i < p->count; i++) {
        uint32_t pick = gen_below(g, 7);
        struct subscribe_options o = { .qos = (uint8_t)gen_below(g, 3) };
        o.no_local = version == MQTT_5 && pick != 6 && gen_flag(g);
        o.retain_as_published = version == MQTT_5 && gen_flag(g);
        o.retain_handling = version == MQTT_5 ? (uint8_t)gen_below(g, 3) : 0;
        bool subscribe = out->type == PKT_SUBSCRIBE;
        filters_add(&g->filters, slice_str(filters[pick]), subscribe ? &o : NULL, version);
    }
    p->filters = buf_slice(&g->filters);
}

static inline uint8_t gen_pick(struct gen *g, struct slice codes) {
    return codes.at[gen_below(g, (uint32_t)codes.len)];
}

static inline void gen_codes(struct gen *g, uint8_t version, struct packet *out) {
    out->codes.packet_id = gen_packet_id(g);
    bool suback = out->type == PKT_SUBACK;
    if (version == MQTT_5)
        out->codes.codes = gen_from(g, suback ? SLICE("\0\1\2\x80\x87") : SLICE("\0\x11\x87"), 1);
    else
        out->codes.codes = suback ? gen_from(g, SLICE("\0\1\2\x80"), 1) : SLICE_NONE;
}

/* Makes a packet of this type that the version can express. */
static inline void gen_packet(struct gen *g, enum packet_type type, uint8_t version,
                              struct packet *out) {
    bool v5 = version == MQTT_5;
    g->used = 0;
    out->type = type;
    switch (type) {
    case PKT_CONNECT: gen_connect(g, version, out); break;
    case PKT_CONNACK:
        out->connack.reason_code = gen_pick(g, v5 ? SLICE("\0\x84\x87\x9F") : SLICE("\0\1\5"));
        out->connack.session_present =
            out->connack.reason_code == 0 && version != MQTT_3_1 && gen_flag(g);
        break;
    case PKT_PUBLISH: gen_publish(g, out); break;
    case PKT_PUBACK:
    case PKT_PUBREC: out->ack.reason_code = v5 ? gen_pick(g, SLICE("\0\x10\x87\x99")) : 0; break;
    case PKT_PUBREL:
    case PKT_PUBCOMP: out->ack.reason_code = v5 ? gen_pick(g, SLICE("\0\x92")) : 0; break;
    case PKT_SUBSCRIBE:
    case PKT_UNSUBSCRIBE: gen_filters(g, version, out); break;
    case PKT_SUBACK:
    case PKT_UNSUBACK: gen_codes(g, version, out); break;
    case PKT_DISCONNECT:
        out->reason.reason_code = v5 ? gen_pick(g, SLICE("\0\4\x8E\x9D")) : 0;
        break;
    case PKT_AUTH: out->reason.reason_code = gen_pick(g, SLICE("\0\x18\x19")); break;
    default: break;
    }
    if (type >= PKT_PUBACK && type <= PKT_PUBCOMP) out->ack.packet_id = gen_packet_id(g);
    struct props *props = packet_props(out);
    if (props) gen_props(g, version, type, props, &g->encoded);
}

static inline void gen_deinit(struct gen *g) {
    buf_deinit(&g->encoded);
    buf_deinit(&g->will_encoded);
    buf_deinit(&g->filters);
}

#endif
