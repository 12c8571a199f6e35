/* filters.c -- the mixed filters' names, and windows of SUBSCRIBE packets. */
/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "filters.h"

#include <stdio.h>
#include <string.h>

enum { KINDS = 3, GROUP_DIGITS = 4, DIGITS = 7, GROUP_AT = 6, NUMBER_AT = 11 };

void filter_topic(uint32_t k, char *at) {
    memcpy(at, "bench/0000/0000000/v", FILTER_TOPIC_LEN);
    for (int i = DIGITS - 1; i >= 0; i--, k /= 10) at[NUMBER_AT + i] = (char)('0' + k % 10);
    memcpy(at + GROUP_AT, at + NUMBER_AT, GROUP_DIGITS);
}

void filter_text(uint32_t k, char *at) {
    filter_topic(k, at);
    at[FILTER_TOPIC_LEN] = '\0';
    if (k % KINDS == 1) {
        at[GROUP_AT] = '+';
        memmove(at + GROUP_AT + 1, at + GROUP_AT + GROUP_DIGITS,
                FILTER_TOPIC_LEN + 1 - GROUP_AT - GROUP_DIGITS);
    }
    if (k % KINDS == 2) at[FILTER_TOPIC_LEN - 1] = '#';
}

void adder_send(struct net *n, const struct options *o, struct client *c, struct adder *a) {
    unsigned room = o->window - a->in_flight;
    if (room < (o->window + 1) / 2) return;
    for (; room && a->next < a->end; room--, a->next += a->step) {
        char text[FILTER_TOPIC_LEN + 1];
        filter_text(a->next, text);
        a->last_id = a->last_id == 65535 ? 1 : (uint16_t)(a->last_id + 1);
        a->in_flight++;
        uint8_t *at = net_reserve(&c->peer, 16 + strlen(text));
        net_commit(n, &c->peer, wire_put_subscribe(at, a->last_id, text, c->qos, (int)o->version));
    }
}

bool adder_on_suback(struct client *c, struct adder *a, const struct frame *f) {
    bool granted = f->body_len >= 3 && f->body[f->body_len - 1] == c->qos;
    if (!granted || !a->in_flight) {
        fprintf(stderr, "client %u: a SUBSCRIBE was not granted QoS %u\n", c->peer.index, c->qos);
        return false;
    }
    a->in_flight--;
    return true;
}
