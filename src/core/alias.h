/* alias.h -- the topic aliases of one connection, both directions (MQTT 5.0, 3.3.2.3.4).
 *
 * Owns nothing until an alias is used.  One worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_ALIAS_H
#define SOL_CORE_ALIAS_H

#include "base/slice.h"

struct alias_entry;

struct aliases {
    struct slice *in;        /* owned: topics the client has named; in_max of them, or NULL */
    struct alias_entry *out; /* owned: topics we have named; out_max of them, or NULL */
    uint16_t in_max;         /* what we announced */
    uint16_t out_max;        /* what the client takes, bounded by ours */
};

/* Frees both tables; zeroed ones are fine. */
void aliases_deinit(struct aliases *a);

/* An incoming PUBLISH with alias `id` and `topic` (may be empty): gives the topic meant in
 * *topic, lent until the alias is named again.  0, RC_TOPIC_ALIAS_INVALID for an alias out
 * of range, RC_PROTOCOL_ERROR for one not named yet. */
int alias_resolve(struct aliases *a, uint16_t id, struct slice *topic);

/* An outgoing PUBLISH: the alias to send with it, 0 for none; *is_known tells that the
 * client has it already, so the topic may be left out.  Topics that come often win the
 * aliases. */
uint16_t alias_for(struct aliases *a, struct slice topic, bool *is_known);

#endif
