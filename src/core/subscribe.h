/* subscribe.h -- SUBSCRIBE and UNSUBSCRIBE, filter by filter through the hooks. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_SUBSCRIBE_H
#define SOL_CORE_SUBSCRIBE_H

#include "mqtt/packet.h"

struct conn;

/* Handles one decoded packet (lent) of an open connection and answers it.  Parks the
 * connection when a hook waits. */
void subscribe_start(struct conn *c, const struct pkt_filters *p, bool subscribe);

#endif
