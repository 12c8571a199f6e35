/* filters.h -- a mixed set of filters, and clients that subscribe to them one by one.
 *
 * Filter k is exact, has a `+` in the middle or ends in `#`, in turn:
 *
 *     bench/0012/0012345/v     bench/+/0012346/v     bench/0012/0012347/#
 *
 * Topic k is matched by filter k and by no other, so a lookup is worth one delivery. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_FILTERS_H
#define BENCH_FILTERS_H

#include "client.h"
#include "load.h"

enum { FILTERS_MAX = 10000000, FILTER_TOPIC_LEN = 20 };

/* Writes topic k: FILTER_TOPIC_LEN bytes and no terminator. */
void filter_topic(uint32_t k, char *at);
/* Writes filter k, terminated: at most FILTER_TOPIC_LEN + 1 bytes. */
void filter_text(uint32_t k, char *at);

/* A ready client's share of the set: filters `next`, `next + step` and so on. */
struct adder {
    uint32_t next, step, end;
    unsigned in_flight;
    uint16_t last_id;
};

/* Sends SUBSCRIBE packets of one filter each, when half the window is free. */
void adder_send(struct net *n, const struct options *o, struct client *c, struct adder *a);
/* Takes a SUBACK.  False when the subscription was refused. */
bool adder_on_suback(struct client *c, struct adder *a, const struct frame *f);

#endif
