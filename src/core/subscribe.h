/* subscribe.h -- SUBSCRIBE and UNSUBSCRIBE, filter by filter through the hooks. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_SUBSCRIBE_H
#define SOL_CORE_SUBSCRIBE_H

#include "mqtt/packet.h"

struct conn;
struct session;
struct trial;

/* Handles one decoded packet (lent) of an open connection and answers it.  Parks the
 * connection when a hook waits. */
void subscribe_start(struct conn *c, const struct pkt_filters *p, bool subscribe);

/* The last step of both, which asks nobody: a valid filter, shared or not, by its full name.
 * Retained messages follow as the options say; handlers are told. */
void subscribe_add(struct session *s, struct slice filter, const struct subscribe_options *options,
                   uint32_t identifier);
/* False when there is no such subscription.  `reason` (static) why handlers are told; NULL:
 * somebody asked for it. */
bool subscribe_remove(struct session *s, struct slice filter, const char *reason);

/* Asks what would become of a subscription of the trial's client (trial.h). */
void subscribe_try(struct trial *t, struct slice filter, const struct subscribe_options *options);

#endif
