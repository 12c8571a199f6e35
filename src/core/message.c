/* message.c -- making and dropping messages. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/message.h"

#include "base/buf.h"
#include "base/mem.h"
#include "core/landing.h"
#include "io/chain.h"
#include "mqtt/decode.h"
#include "mqtt/props.h"
#include "mqtt/topic.h"

#include <stddef.h>
#include <stdlib.h>

static uint8_t *put(uint8_t *at, struct slice s) {
    if (s.len) memcpy(at, s.at, s.len);
    return at + s.len;
}

enum { DRAFT_BYTES = 512 };

/* What cannot be a topic becomes an empty one, which message_invalid refuses. */
static struct slice topic_of(const struct message_parts *parts) {
    return parts->topic.len <= UINT16_MAX ? parts->topic : SLICE("");
}

/* At least the whole struct, whose end may be padding behind `bytes`. */
size_t message_size(const struct message_parts *parts) {
    size_t size = offsetof(struct message, bytes) + 2 + topic_of(parts).len + parts->props.len +
                  parts->payload.len;
    return size < sizeof(struct message) ? sizeof(struct message) : size;
}

struct message *message_fill(void *place, const struct message_parts *parts) {
    struct message *m = place;
    struct slice topic = topic_of(parts);
    *m = (struct message){ .refs = 1,
                           .payload_len = (uint32_t)parts->payload.len,
                           .expires_ms = parts->expires_ms,
                           .publisher = parts->publisher,
                           .props_len = (uint32_t)parts->props.len,
                           .topic_len = (uint16_t)topic.len,
                           .qos = parts->qos > 2 ? 3 : parts->qos,
                           .hops = parts->hops,
                           .retain = parts->retain };
    uint8_t *at = m->bytes;
    *at++ = (uint8_t)(topic.len >> 8);
    *at++ = (uint8_t)topic.len;
    at = put(at, topic);
    at = put(at, parts->props);
    put(at, parts->payload);
    return m;
}

struct message *message_new(const struct message_parts *parts) {
    if (parts->payload.len >= CHAIN_REF_MIN) return landing_copy(parts);
    return message_fill(xmalloc(message_size(parts)), parts);
}

struct message *message_draft(void **draft, const struct message_parts *parts) {
    if (message_size(parts) > DRAFT_BYTES) return message_new(parts);
    void *place = *draft ? *draft : xmalloc(DRAFT_BYTES);
    *draft = NULL;
    return message_fill(place, parts);
}

static size_t bytes_of(const struct message *m) {
    return offsetof(struct message, bytes) + 2 + message_weight(m);
}

size_t message_copy_size(const struct message *m) {
    return bytes_of(m);
}

void message_copy_to(void *at, const struct message *m) {
    size_t head = bytes_of(m) - m->payload_len;
    struct message *copy = memcpy(at, m, m->is_large ? head : head + m->payload_len);
    if (m->is_large) memcpy((uint8_t *)at + head, *message_place(m), m->payload_len);
    copy->is_large = false;
    copy->in_batch = true;
}

struct message *message_out_of_batch(const struct message *m) {
    const struct message_parts parts = message_parts(m);
    return message_new(&parts);
}

void message_discard(void **draft, struct message *m) {
    bool is_small = bytes_of(m) <= DRAFT_BYTES;
    bool is_kept = m->is_shared || atomic_load_explicit(&m->refs, memory_order_relaxed) > 1;
    if (*draft || !is_small || is_kept)
        message_unref(m);
    else
        *draft = m;
}

struct message *message_unref(struct message *m) {
    if (!m) return NULL;
    uint32_t left;
    if (m->is_shared) {
        left = atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) - 1;
    } else {
        left = atomic_load_explicit(&m->refs, memory_order_relaxed) - 1;
        atomic_store_explicit(&m->refs, left, memory_order_relaxed);
    }
    if (left > 0) return NULL;
    if (m->is_large)
        landing_free(m);
    else
        free(m);
    return NULL;
}

void message_release(void *m) {
    message_unref(m);
}

struct message_parts message_parts(const struct message *m) {
    return (struct message_parts){ .topic = message_topic(m),
                                   .payload = message_payload(m),
                                   .props = message_props(m),
                                   .expires_ms = m->expires_ms,
                                   .publisher = m->publisher,
                                   .qos = m->qos,
                                   .hops = m->hops,
                                   .retain = m->retain };
}

const char *message_invalid(const struct message *m, uint32_t max_levels, uint32_t max_bytes) {
    struct slice topic = message_topic(m);
    if (!topic_name_valid(topic) || !utf8_valid(topic))
        return "its topic is not a valid topic name";
    if (topic_is_deeper(topic, max_levels)) return "its topic has too many levels";
    if (m->qos > 2) return "its QoS is not 0, 1 or 2";
    if (message_weight(m) > max_bytes) return "it is larger than max_packet_size";
    return NULL;
}

bool message_misnamed(const struct message *m) {
    struct prop_item item;
    for (size_t at = 0; props_next(message_props(m), &at, &item);)
        if (item.id == PROP_PAYLOAD_FORMAT_INDICATOR)
            return item.number == 1 && !utf8_well_formed(message_payload(m));
    return false;
}

/* What travels with a message, in the order of the wire [MQTT-3.3.2-17]. */
static bool travels(uint8_t id) {
    switch (id) {
    case PROP_PAYLOAD_FORMAT_INDICATOR:
    case PROP_CONTENT_TYPE:
    case PROP_RESPONSE_TOPIC:
    case PROP_CORRELATION_DATA:
    case PROP_USER_PROPERTY: return true;
    default: return false;
    }
}

void message_props_from(const struct props *p, struct buf *out) {
    size_t at = 0, from = 0;
    struct prop_item item;
    if (!p->present) return;
    while (props_next(p->raw, &at, &item)) {
        if (travels(item.id)) buf_add(out, p->raw.at + from, at - from);
        from = at;
    }
}
