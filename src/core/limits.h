/* limits.h -- what the limits of one client mean for its packets.
 *
 * The limits of a connection are fixed when it is accepted, so that what CONNACK said
 * holds until it ends, whatever a reload brings.  They are shared by all who have the same.
 * Answers are reason codes of MQTT 5.0; the caller says them as the client's version
 * demands.  No I/O, one worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_LIMITS_H
#define SOL_CORE_LIMITS_H

#include "mqtt/packet.h"

struct limits; /* config.h */

/* ---- sharing ------------------------------------------------------------ */

/* Gives an immutable copy with one reference. */
const struct limits *limits_share(const struct limits *l);
const struct limits *limits_ref(const struct limits *shared);
/* Always NULL; NULL is fine. */
const struct limits *limits_unref(const struct limits *shared);

/* ---- packets ------------------------------------------------------------ */

/* Has a PUBLISH to be held against them at all (its topic apart)? */
bool limits_on_publish(const struct limits *l);
/* Adds to CONNACK what the client has to know. */
void limits_announce(const struct limits *l, struct props *p);

/* A CONNECT as it came: 0, or the code that refuses it; `why` is static. */
uint8_t limits_connect_packet(const struct limits *l, const struct pkt_connect *p,
                              const char **why);
/* A CONNECT as hooks have left it; likewise. Shortens the keep-alive of an MQTT 5 client. */
uint8_t limits_connect(const struct limits *l, struct pkt_connect *p, const char **why);
/* 0, or the code that ends the connection over this PUBLISH; `why` is static. */
uint8_t limits_publish(const struct limits *l, const struct pkt_publish *p, const char **why);
/* 0, or the code that refuses its payload, not the connection; `why` is static. */
uint8_t limits_payload(const struct limits *l, const struct pkt_publish *p, const char **why);
/* 0, or the code that refuses a subscription to this filter (a valid one). */
uint8_t limits_filter(const struct limits *l, struct slice filter);

/* ---- rates -------------------------------------------------------------- */

struct rate; /* private: how fast a client may publish, and how fast it did */

/* NULL: as fast as it likes.  free() it. */
struct rate *rate_new(const struct limits *l);
/* A PUBLISH of `size` bytes came at this moment: 0, or until when (loop clock) the client
 * has to be kept from sending more.  NULL is fine. */
uint64_t rate_spend(struct rate *r, size_t size, uint64_t now_ms);
/* Until when the client is kept from sending, as rate_spend said last. */
uint64_t rate_wait_ms(const struct rate *r);

#endif
