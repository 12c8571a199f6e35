/* conn_send.c -- packets out: laid out for their receiver in the connection's chain.
 *
 * A PUBLISH is written around the shared bytes of its message: the receiver's packet id,
 * identifiers and alias, then topic, properties and payload, a large payload by reference.
 * Writing to the socket is conn.c's. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/conn.h"

#include "base/mem.h"
#include "core/client.h"
#include "core/message.h"
#include "core/mount.h"
#include "core/session.h"
#include "core/worker.h"
#include "mqtt/encode.h"
#include "mqtt/props.h"

enum { SHORT_NAME_KEPT = 4096 }; /* bytes of the worker's buffer that stay for the next PUBLISH */

bool conn_send(struct conn *c, const struct packet *p) {
    size_t size = packet_size(p, c->version);
    if (c->state >= CONN_ENDING || !size) return false; /* [MQTT-3.14.4-1] */
    if (c->max_out && size > c->max_out) return false;
    packet_encode(p, c->version, chain_reserve(&c->out, &c->worker->chunks, size));
    chain_commit(&c->out, size);
    conn_out_dirty(c);
    return true;
}

bool conn_make_fit(const struct conn *c, struct packet *p, struct props *props) {
    static const enum prop_id comforts[] = { PROP_REASON_STRING, PROP_RESPONSE_INFORMATION,
                                             PROP_SERVER_REFERENCE };
    size_t most = c->max_out ? c->max_out : SIZE_MAX, size = packet_size(p, c->version);
    for (size_t i = 0; i < ARRAY_LEN(comforts) && (!size || size > most); i++) {
        props->present &= ~PROP_BIT(comforts[i]);
        size = packet_size(p, c->version);
    }
    return size && size <= most;
}

bool conn_send_fitting(struct conn *c, struct packet *p, struct props *props) {
    return conn_make_fit(c, p, props) && conn_send(c, p);
}

void conn_send_ack(struct conn *c, enum packet_type type, uint16_t packet_id, uint8_t reason_code,
                   const char *reason) {
    if (c->state >= CONN_ENDING) return;
    bool is_plain = !(reason && c->version == MQTT_5 && c->wants_problem_info);
    if (is_plain && (!c->max_out || c->max_out >= ACK_MAX_SIZE)) {
        uint8_t *at = chain_reserve(&c->out, &c->worker->chunks, ACK_MAX_SIZE);
        uint8_t *end = ack_encode(at, type, packet_id, reason_code, c->version);
        chain_commit(&c->out, (size_t)(end - at));
        conn_out_dirty(c);
        return;
    }
    struct packet p = { .type = type,
                        .ack = { .packet_id = packet_id, .reason_code = reason_code } };
    if (!is_plain) {
        p.ack.props.present = PROP_BIT(PROP_REASON_STRING);
        p.ack.props.reason_string = slice_str(reason);
    }
    /* Not to have been understood would leave the exchange open for ever. */
    if (!conn_send_fitting(c, &p, &p.ack.props))
        conn_end(c, RC_PACKET_TOO_LARGE, NULL, "it takes no acknowledgement");
}

/* ---- PUBLISH out -------------------------------------------------------- */

static size_t identifiers_size(const struct publish_out *o) {
    size_t size = 0;
    for (unsigned i = 0; i < o->identifiers_len; i++) size += 1 + varint_size(o->identifiers[i]);
    return size;
}

/* Seconds left, at least 1: what has expired is not sent at all [MQTT-3.3.2-6]. */
static uint32_t expiry_left(const struct conn *c, const struct message *m) {
    uint64_t now = loop_now_ms(c->worker->loop);
    return m->expires_ms > now ? (uint32_t)((m->expires_ms - now + 999) / 1000) : 1;
}

static uint8_t *put_u16(uint8_t *at, uint16_t v) {
    *at++ = (uint8_t)(v >> 8);
    *at++ = (uint8_t)v;
    return at;
}

static uint8_t *put(uint8_t *at, struct slice s) {
    if (s.len) memcpy(at, s.at, s.len);
    return at + s.len;
}

/* A PUBLISH laid out for one receiver. */
struct layout {
    struct slice topic; /* with its length; a lone zero length when the alias says it */
    struct slice props; /* that travel with the message, as the client knows them */
    uint16_t alias;     /* 0: none */
    uint32_t props_len; /* without their length */
    uint32_t remaining;
    size_t size;
};

/* Fills in the lengths from topic and alias; size is SIZE_MAX for what MQTT cannot say. */
static void measure(const struct conn *c, const struct message *m, const struct publish_out *o,
                    struct layout *l) {
    size_t props = 0, remaining = l->topic.len + (o->qos ? 2u : 0u) + m->payload_len;
    if (c->version == MQTT_5) {
        props = l->props.len + (m->expires_ms != MESSAGE_NEVER ? 5u : 0u) + identifiers_size(o) +
                (l->alias ? 3u : 0u);
        remaining += varint_size((uint32_t)props) + props;
    }
    l->props_len = (uint32_t)props;
    l->remaining = (uint32_t)remaining;
    l->size = remaining > MQTT_MAX_REMAINING ? SIZE_MAX
                                             : 1 + varint_size((uint32_t)remaining) + remaining;
}

/* Puts an alias in the topic's place, or beside it the first time. */
static void use_alias(struct conn *c, const struct message *m, const struct publish_out *o,
                      struct layout *l) {
    static const uint8_t no_topic[2] = { 0, 0 };
    bool is_known;
    uint32_t most = c->max_out ? c->max_out : MQTT_MAX_REMAINING;
    if (l->size + 8 > most) return; /* naming it might not fit */
    l->alias = alias_for(&c->aliases, slice_of(l->topic.at + 2, l->topic.len - 2), &is_known);
    if (is_known) l->topic = slice_of(no_topic, sizeof no_topic);
    if (l->alias) measure(c, m, o, l);
}

/* Without the prefix this client does not see. */
static void unmount(struct conn *c, const struct message *m, struct layout *l) {
    struct slice mount = c->client->mount, topic = mount_strip(mount, message_topic(m));
    struct buf *out = &c->worker->short_name;
    size_t topic_len = 2 + topic.len;
    out->len = 0;
    put_u16(buf_reserve(out, 2), (uint16_t)topic.len);
    out->len = 2;
    buf_add_slice(out, topic);
    mount_props(mount, l->props, MOUNT_OUT, out);
    l->topic = slice_of(out->at, topic_len);
    l->props = slice_of(out->at + topic_len, out->len - topic_len);
}

/* So far that QoS 0 is lost to it. */
static bool falls_behind(struct conn *c, const struct publish_out *o) {
    if (o->qos || c->out.len <= c->worker->config->max_output_bytes) return false;
    COUNT(c->worker, dropped_slow_reader);
    return true;
}

/* False when this receiver does not take it. */
static bool lay_out(struct conn *c, const struct message *m, const struct publish_out *o,
                    struct layout *l) {
    *l = (struct layout){ .topic = slice_of(m->bytes, 2u + m->topic_len),
                          .props = message_props(m) };
    if (c->is_mounted) unmount(c, m, l);
    measure(c, m, o, l);
    if (l->size > (c->max_out ? c->max_out : SIZE_MAX - 1)) {
        COUNT(c->worker, dropped_too_large);
        return false;
    }
    if (c->aliases.out_max) use_alias(c, m, o, l);
    return true;
}

static uint8_t *put_props(uint8_t *at, const struct conn *c, const struct message *m,
                          const struct publish_out *o, const struct layout *l) {
    at = varint_encode(l->props_len, at);
    if (m->expires_ms != MESSAGE_NEVER) {
        uint32_t left = expiry_left(c, m);
        *at++ = PROP_MESSAGE_EXPIRY_INTERVAL;
        for (int shift = 24; shift >= 0; shift -= 8) *at++ = (uint8_t)(left >> shift);
    }
    for (unsigned i = 0; i < o->identifiers_len; i++) {
        *at++ = PROP_SUBSCRIPTION_IDENTIFIER;
        at = varint_encode(o->identifiers[i], at);
    }
    if (l->alias) {
        *at++ = PROP_TOPIC_ALIAS;
        at = put_u16(at, l->alias);
    }
    return put(at, l->props);
}

/* Everything up to the payload.  Inline: half of the time of a PUBLISH out. */
static inline __attribute__((always_inline)) uint8_t *put_head(uint8_t *at, const struct conn *c,
                                                               const struct message *m,
                                                               const struct publish_out *o,
                                                               const struct layout *l) {
    *at++ = (uint8_t)(PKT_PUBLISH << 4 | (o->dup ? 8 : 0) | o->qos << 1 | (o->retain ? 1 : 0));
    at = varint_encode(l->remaining, at);
    at = put(at, l->topic);
    if (o->qos) at = put_u16(at, o->packet_id);
    return c->version == MQTT_5 ? put_props(at, c, m, o, l) : at;
}

static void send_by_reference(struct conn *c, struct message *m) {
    if (c->session) landing_note_reader(m, c->session->handle);
    chain_ref(
        &c->out, &c->worker->chunks,
        &(struct chain_loan){ message_place(m), m->payload_len, message_release, message_ref(m) });
}

static void send_laid_out(struct conn *c, struct message *m, const struct publish_out *o,
                          const struct layout *l) {
    bool by_reference = m->is_large;
    size_t head = by_reference ? l->size - m->payload_len : l->size;
    uint8_t *at = put_head(chain_reserve(&c->out, &c->worker->chunks, head), c, m, o, l);
    if (!by_reference) put(at, message_payload(m));
    chain_commit(&c->out, head);
    if (by_reference) send_by_reference(c, m);
}

/* ---- to many -------------------------------------------------------------- */

enum {
    LOOKS = 12,      /* MQTT 5 or not, retained or not, each QoS */
    LOOK_MAX = 1536, /* bytes; larger ones are laid out each time */
};

/* A PUBLISH as all its receivers of one kind get it, but for the packet id. */
struct look {
    uint16_t len; /* 0: not laid out yet */
    uint16_t id_at;
    uint8_t bytes[LOOK_MAX];
};

struct fan {
    const struct message *message; /* lent; NULL: nothing goes to many now */
    struct look looks[LOOKS];
};

void conn_fan_out(struct worker *w, const struct message *m) {
    if (!w->fan && m) w->fan = xcalloc(1, sizeof *w->fan);
    if (!w->fan || w->fan->message == m) return;
    w->fan->message = m;
    for (unsigned i = 0; i < LOOKS; i++) w->fan->looks[i].len = 0;
}

/* The look that serves this receiver; NULL: it gets one of its own. */
static struct look *look_for(const struct conn *c, const struct message *m,
                             const struct publish_out *o) {
    struct fan *fan = c->worker->fan;
    if (!fan || fan->message != m) return NULL;
    if (o->dup || o->identifiers_len || c->is_mounted || c->aliases.out_max) return NULL;
    return &fan->looks[(c->version == MQTT_5) * 6 + o->retain * 3 + o->qos];
}

static void look_lay_out(struct look *look, const struct conn *c, const struct message *m,
                         const struct publish_out *o, const struct layout *l) {
    if (l->size > LOOK_MAX || m->is_large) return;
    put(put_head(look->bytes, c, m, o, l), message_payload(m));
    look->len = (uint16_t)l->size;
    look->id_at = (uint16_t)(1 + varint_size(l->remaining) + l->topic.len);
}

static void send_look(struct conn *c, const struct look *look, const struct publish_out *o) {
    uint8_t *at = chain_reserve(&c->out, &c->worker->chunks, look->len);
    memcpy(at, look->bytes, look->len);
    if (o->qos) put_u16(at + look->id_at, o->packet_id);
    chain_commit(&c->out, look->len);
}

int conn_send_publish(struct conn *c, struct message *m, const struct publish_out *o) {
    if (c->state != CONN_OPEN || falls_behind(c, o)) return SEND_DROPPED;
    struct look *look = look_for(c, m, o);
    if (look && look->len && (!c->max_out || look->len <= c->max_out)) {
        send_look(c, look, o);
    } else {
        struct layout l;
        if (!lay_out(c, m, o, &l)) return SEND_DROPPED;
        if (look && !look->len) look_lay_out(look, c, m, o, &l);
        send_laid_out(c, m, o, &l);
        buf_trim(&c->worker->short_name, SHORT_NAME_KEPT);
    }
    COUNT(c->worker, messages_out);
    conn_out_dirty(c);
    return SEND_OK;
}
