/* limits.c -- settings held against packets. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/limits.h"

#include "base/mem.h"
#include "core/config.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"

#include <stdlib.h>

/* ---- sharing ------------------------------------------------------------ */

struct shared {
    uint32_t refs;
    struct limits limits;
};

static struct shared *shared_of(const struct limits *l) {
    return CONTAINER_OF((struct limits *)(uintptr_t)l, struct shared, limits);
}

const struct limits *limits_share(const struct limits *l) {
    struct shared *s = xmalloc(sizeof *s);
    s->refs = 1;
    s->limits = *l;
    return &s->limits;
}

const struct limits *limits_ref(const struct limits *shared) {
    shared_of(shared)->refs++;
    return shared;
}

const struct limits *limits_unref(const struct limits *shared) {
    if (shared && --shared_of(shared)->refs == 0) free(shared_of(shared));
    return NULL;
}

/* ---- rates -------------------------------------------------------------- */

/* A bucket that holds what a second allows, kept as the moment at which it will be full
 * again: each unit spent moves that moment on. */
struct bucket {
    uint32_t per_second; /* 0: no limit */
    uint64_t full_ns;    /* loop clock */
};

struct rate {
    struct bucket messages, bytes;
    uint64_t until_ms; /* loop clock: what was overdrawn has come back */
};

#define SECOND_NS UINT64_C(1000000000)
#define MS_NS     UINT64_C(1000000)

struct rate *rate_new(const struct limits *l) {
    if (!l->message_rate && !l->byte_rate) return NULL;
    struct rate *r = xcalloc(1, sizeof *r);
    r->messages.per_second = l->message_rate;
    r->bytes.per_second = l->byte_rate;
    return r;
}

/* Gives the moment from which the bucket is not overdrawn.  The last PUBLISH is had on
 * credit: only when it is there is known that there was one more, and how large. */
static uint64_t bucket_take(struct bucket *b, uint64_t units, uint64_t now_ns) {
    if (!b->per_second) return 0;
    if (b->full_ns < now_ns) b->full_ns = now_ns;
    b->full_ns += units * SECOND_NS / b->per_second;
    return b->full_ns > SECOND_NS ? b->full_ns - SECOND_NS : 0;
}

uint64_t rate_spend(struct rate *r, size_t size, uint64_t now_ms) {
    if (!r) return 0;
    uint64_t messages_ns = bucket_take(&r->messages, 1, now_ms * MS_NS);
    uint64_t bytes_ns = bucket_take(&r->bytes, size, now_ms * MS_NS);
    uint64_t until_ns = messages_ns > bytes_ns ? messages_ns : bytes_ns;
    r->until_ms = (until_ns + MS_NS - 1) / MS_NS;
    return r->until_ms > now_ms ? r->until_ms : 0;
}

uint64_t rate_wait_ms(const struct rate *r) {
    return r ? r->until_ms : 0;
}

/* ---- CONNACK ------------------------------------------------------------ */

bool limits_on_publish(const struct limits *l) {
    return l->message_rate || l->byte_rate || l->max_payload_size || l->max_qos < 2 ||
           !l->retain_available || l->validate_payload_format;
}

void limits_announce(const struct limits *l, struct props *p) {
    if (l->max_qos < 2) { /* [MQTT-3.2.2-9] */
        p->present |= PROP_BIT(PROP_MAXIMUM_QOS);
        p->maximum_qos = (uint8_t)l->max_qos;
    }
    if (!l->retain_available) {
        p->present |= PROP_BIT(PROP_RETAIN_AVAILABLE);
        p->retain_available = 0;
    }
    if (!l->wildcard_subscription) {
        p->present |= PROP_BIT(PROP_WILDCARD_SUBSCRIPTION_AVAILABLE);
        p->wildcard_subscription_available = 0;
    }
    if (!l->shared_subscription) {
        p->present |= PROP_BIT(PROP_SHARED_SUBSCRIPTION_AVAILABLE);
        p->shared_subscription_available = 0;
    }
    if (!l->subscription_identifiers) {
        p->present |= PROP_BIT(PROP_SUBSCRIPTION_IDENTIFIER_AVAILABLE);
        p->subscription_identifier_available = 0;
    }
}

/* ---- CONNECT ------------------------------------------------------------ */

/* Characters, not bytes, of valid UTF-8. */
static size_t characters(struct slice s) {
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) n += (s.at[i] & 0xC0) != 0x80;
    return n;
}

uint8_t limits_connect_packet(const struct limits *l, const struct pkt_connect *p,
                              const char **why) {
    *why = "protocol version not served";
    if (!(l->protocol_versions & 1u << p->version)) return RC_UNSUPPORTED_PROTOCOL_VERSION;
    *why = "client identifier of more than 23 characters";
    if (l->strict_3_1_ids && p->version == MQTT_3_1 && characters(p->client_id) > 23)
        return RC_CLIENT_IDENTIFIER_NOT_VALID;
    return 0;
}

static const char not_utf8[] = "payload is said to be UTF-8 and is not";

/* Is a payload said to be text, and none? */
static bool is_misnamed(const struct limits *l, const struct props *p, struct slice payload) {
    return l->validate_payload_format && props_has(p, PROP_PAYLOAD_FORMAT_INDICATOR) &&
           p->payload_format_indicator == 1 && !utf8_well_formed(payload);
}

static uint8_t check_will(const struct limits *l, const struct will *will, const char **why) {
    *why = "will QoS above max_qos";
    if (will->qos > l->max_qos) return RC_QOS_NOT_SUPPORTED; /* [MQTT-3.2.2-12] */
    *why = "retained wills are not available";
    if (will->retain && !l->retain_available) return RC_RETAIN_NOT_SUPPORTED; /* [MQTT-3.2.2-13] */
    *why = "will topic too long";
    if (will->topic.len > l->max_topic_length || topic_is_deeper(will->topic, l->max_topic_levels))
        return RC_TOPIC_NAME_INVALID;
    *why = "will payload too large";
    if (l->max_payload_size && will->payload.len > l->max_payload_size) return RC_QUOTA_EXCEEDED;
    *why = not_utf8;
    if (is_misnamed(l, &will->props, will->payload)) return RC_PAYLOAD_FORMAT_INVALID;
    return 0;
}

uint8_t limits_connect(const struct limits *l, struct pkt_connect *p, const char **why) {
    *why = "no client identifier";
    if (p->client_id.len == 0 && !l->allow_empty_client_id) return RC_CLIENT_IDENTIFIER_NOT_VALID;
    uint32_t keep_alive = p->keep_alive ? p->keep_alive : UINT32_MAX;
    *why = "keep-alive above max_keepalive";
    if (l->max_keepalive && keep_alive > l->max_keepalive) {
        /* 3.x has no way to be told another one; the code is the one mosquitto gives */
        if (p->version != MQTT_5) return RC_CLIENT_IDENTIFIER_NOT_VALID;
        p->keep_alive = (uint16_t)l->max_keepalive;
    }
    return p->has_will ? check_will(l, &p->will, why) : 0;
}

/* ---- PUBLISH and SUBSCRIBE ---------------------------------------------- */

uint8_t limits_publish(const struct limits *l, const struct pkt_publish *p, const char **why) {
    *why = "PUBLISH above max_qos";
    if (p->qos > l->max_qos) return RC_QOS_NOT_SUPPORTED; /* [MQTT-3.2.2-11] */
    *why = "retained messages are not available";
    if (p->retain && !l->retain_available) return RC_RETAIN_NOT_SUPPORTED; /* [MQTT-3.2.2-14] */
    return 0;
}

uint8_t limits_payload(const struct limits *l, const struct pkt_publish *p, const char **why) {
    *why = "payload larger than max_payload_size";
    if (l->max_payload_size && p->payload.len > l->max_payload_size) return RC_QUOTA_EXCEEDED;
    *why = not_utf8;
    return is_misnamed(l, &p->props, p->payload) ? RC_PAYLOAD_FORMAT_INVALID : 0;
}

uint8_t limits_filter(const struct limits *l, struct slice filter) {
    struct slice group, inner;
    bool valid;
    bool is_shared = topic_shared(filter, &group, &inner, &valid);
    if (is_shared && !l->shared_subscription) return RC_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED;
    if (!l->wildcard_subscription && topic_has_wildcard(is_shared ? inner : filter))
        return RC_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED;
    return 0;
}
