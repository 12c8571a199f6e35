/* limits.c -- settings held against packets. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/limits.h"

#include "base/mem.h"
#include "core/config.h"
#include "mqtt/topic.h"

#include <stdlib.h>

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

/* Gives the moment from which the bucket is not overdrawn.  The last PUBLISH is had on
 * credit: only when it is there is known that there was one more, and how large. */
static uint64_t bucket_take(struct bucket *b, uint64_t units, uint64_t now_ns) {
    if (!b->per_second) return 0;
    if (b->full_ns < now_ns) b->full_ns = now_ns;
    b->full_ns += units * SECOND_NS / b->per_second;
    return b->full_ns > SECOND_NS ? b->full_ns - SECOND_NS : 0;
}

uint64_t limits_spend(struct limits *l, size_t size, uint64_t now_ms) {
    struct rate *r = l->rate;
    if (!r) return 0;
    uint64_t messages_ns = bucket_take(&r->messages, 1, now_ms * MS_NS);
    uint64_t bytes_ns = bucket_take(&r->bytes, size, now_ms * MS_NS);
    uint64_t until_ns = messages_ns > bytes_ns ? messages_ns : bytes_ns;
    r->until_ms = (until_ns + MS_NS - 1) / MS_NS;
    return r->until_ms > now_ms ? r->until_ms : 0;
}

uint64_t limits_wait_ms(const struct limits *l) {
    return l->rate ? l->rate->until_ms : 0;
}

/* ---- a connection ------------------------------------------------------- */

void limits_init(struct limits *l, const struct config *config) {
    *l = (struct limits){ .max_payload =
                              config->max_payload_size ? config->max_payload_size : UINT32_MAX,
                          .max_qos = (uint8_t)config->max_qos,
                          .retain_available = config->retain_available,
                          .wildcard_subscription = config->wildcard_subscription,
                          .shared_subscription = config->shared_subscription,
                          .subscription_identifiers = config->subscription_identifiers };
    if (config->message_rate || config->byte_rate) {
        l->rate = xcalloc(1, sizeof *l->rate);
        l->rate->messages.per_second = config->message_rate;
        l->rate->bytes.per_second = config->byte_rate;
    }
    l->on_publish = l->rate || config->max_payload_size || l->max_qos < 2 || !l->retain_available;
}

void limits_deinit(struct limits *l) {
    free(l->rate);
    l->rate = NULL;
}

void limits_announce(const struct limits *l, struct props *p) {
    if (l->max_qos < 2) { /* [MQTT-3.2.2-9] */
        p->present |= PROP_BIT(PROP_MAXIMUM_QOS);
        p->maximum_qos = l->max_qos;
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

uint8_t limits_connect_packet(const struct config *config, const struct pkt_connect *p,
                              const char **why) {
    *why = "protocol version not served";
    if (!(config->protocol_versions & 1u << p->version)) return RC_UNSUPPORTED_PROTOCOL_VERSION;
    *why = "client identifier of more than 23 characters";
    if (config->strict_3_1_ids && p->version == MQTT_3_1 && characters(p->client_id) > 23)
        return RC_CLIENT_IDENTIFIER_NOT_VALID;
    return 0;
}

static uint8_t check_will(const struct config *config, const struct will *will, const char **why) {
    *why = "will QoS above max_qos";
    if (will->qos > config->max_qos) return RC_QOS_NOT_SUPPORTED; /* [MQTT-3.2.2-12] */
    *why = "retained wills are not available";
    if (will->retain && !config->retain_available)
        return RC_RETAIN_NOT_SUPPORTED; /* [MQTT-3.2.2-13] */
    *why = "will topic too long";
    if (will->topic.len > config->max_topic_length ||
        topic_levels(will->topic) > config->max_topic_levels)
        return RC_TOPIC_NAME_INVALID;
    *why = "will payload too large";
    if (config->max_payload_size && will->payload.len > config->max_payload_size)
        return RC_QUOTA_EXCEEDED;
    return 0;
}

uint8_t limits_connect(const struct config *config, struct pkt_connect *p, const char **why) {
    *why = "no client identifier";
    if (p->client_id.len == 0 && !config->allow_empty_client_id)
        return RC_CLIENT_IDENTIFIER_NOT_VALID;
    uint32_t keep_alive = p->keep_alive ? p->keep_alive : UINT32_MAX;
    *why = "keep-alive above max_keepalive";
    if (config->max_keepalive && keep_alive > config->max_keepalive) {
        /* 3.x has no way to be told another one; the code is the one mosquitto gives */
        if (p->version != MQTT_5) return RC_CLIENT_IDENTIFIER_NOT_VALID;
        p->keep_alive = (uint16_t)config->max_keepalive;
    }
    return p->has_will ? check_will(config, &p->will, why) : 0;
}

/* ---- PUBLISH and SUBSCRIBE ---------------------------------------------- */

uint8_t limits_publish(const struct limits *l, const struct pkt_publish *p, const char **why) {
    *why = "PUBLISH above max_qos";
    if (p->qos > l->max_qos) return RC_QOS_NOT_SUPPORTED; /* [MQTT-3.2.2-11] */
    *why = "retained messages are not available";
    if (p->retain && !l->retain_available) return RC_RETAIN_NOT_SUPPORTED; /* [MQTT-3.2.2-14] */
    return 0;
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
