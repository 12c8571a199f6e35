/* limits.h -- what the settings let one client do.
 *
 * The limits of a connection are fixed when it is accepted, so that what CONNACK said
 * holds until it ends, whatever a reload brings.  Answers are reason codes of MQTT 5.0; the
 * caller says them as the client's version demands.  No I/O, any thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_LIMITS_H
#define SOL_CORE_LIMITS_H

#include "mqtt/packet.h"

struct config;
struct rate; /* private: how fast a client may publish, and how fast it did */

struct limits {
    struct rate *rate;    /* owned; NULL: as fast as it likes */
    uint32_t max_payload; /* bytes of a PUBLISH, UINT32_MAX: none */
    uint8_t max_qos;
    bool retain_available;
    bool wildcard_subscription, shared_subscription, subscription_identifiers;
    bool on_publish; /* anything of the above concerns a PUBLISH */
};

/* The limits of a new connection. */
void limits_init(struct limits *l, const struct config *config);
void limits_deinit(struct limits *l);
/* Adds to CONNACK what the client has to know. */
void limits_announce(const struct limits *l, struct props *p);

/* A CONNECT as it came: 0, or the code that refuses it; `why` is static. */
uint8_t limits_connect_packet(const struct config *config, const struct pkt_connect *p,
                              const char **why);
/* A CONNECT as hooks have left it; likewise. Shortens the keep-alive of an MQTT 5 client. */
uint8_t limits_connect(const struct config *config, struct pkt_connect *p, const char **why);
/* 0, or the code that ends the connection over this PUBLISH; `why` is static. */
uint8_t limits_publish(const struct limits *l, const struct pkt_publish *p, const char **why);
/* A PUBLISH of `size` bytes came at this moment: 0, or until when (loop clock) the client
 * has to be kept from sending more. */
uint64_t limits_spend(struct limits *l, size_t size, uint64_t now_ms);
/* Until when the client is kept from sending, as limits_spend said last. */
uint64_t limits_wait_ms(const struct limits *l);
/* 0, or the code that refuses a subscription to this filter (a valid one). */
uint8_t limits_filter(const struct limits *l, struct slice filter);

#endif
