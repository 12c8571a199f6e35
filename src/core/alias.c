/* alias.c -- which topics have numbers.
 *
 * Outgoing aliases are a table in which each topic has one place, by its hash.  The topic
 * in a place gains credit with every message and loses it to others that would have the
 * place; at zero the next one takes over.  So frequent topics keep their alias, and there
 * is nothing to search and nothing to sort. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/alias.h"

#include "base/mem.h"
#include "mqtt/packet.h"

#include <stdlib.h>

enum { CREDIT_MAX = 16 };

struct alias_entry {
    struct slice topic; /* owned bytes; SLICE_NONE: free */
    uint8_t credit;
};

static void topic_set(struct slice *old, struct slice topic) {
    free((void *)old->at);
    *old = slice_of(xslicedup(topic), topic.len);
}

void aliases_deinit(struct aliases *a) {
    for (unsigned i = 0; a->in && i < a->in_max; i++) free((void *)a->in[i].at);
    for (unsigned i = 0; a->out && i < a->out_max; i++) free((void *)a->out[i].topic.at);
    xfree(a->in);
    xfree(a->out);
    *a = (struct aliases){ 0 };
}

int alias_resolve(struct aliases *a, uint16_t id, struct slice *topic) {
    if (id == 0 || id > a->in_max) return RC_TOPIC_ALIAS_INVALID; /* [MQTT-3.3.2-8], -9 */
    if (!a->in) a->in = xcalloc(a->in_max, sizeof *a->in);
    struct slice *known = &a->in[id - 1];
    if (topic->len)
        topic_set(known, *topic);
    else if (!known->at)
        return RC_PROTOCOL_ERROR;
    *topic = *known;
    return 0;
}

static uint32_t hash(struct slice topic) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < topic.len; i++) h = (h ^ topic.at[i]) * 16777619u;
    return h;
}

uint16_t alias_for(struct aliases *a, struct slice topic, bool *is_known) {
    *is_known = false;
    if (!a->out_max) return 0;
    if (!a->out) a->out = xcalloc(a->out_max, sizeof *a->out);
    uint16_t place = (uint16_t)(hash(topic) % a->out_max);
    struct alias_entry *e = &a->out[place];
    if (e->topic.at && slice_eq(e->topic, topic)) {
        *is_known = true;
        if (e->credit < CREDIT_MAX) e->credit++;
    } else if (e->credit) {
        e->credit--;
        return 0;
    } else {
        topic_set(&e->topic, topic);
        e->credit = 1;
    }
    return (uint16_t)(place + 1);
}
