/* delivery.h -- what delivery.c and held.c know of each other; outside, session.h counts. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_DELIVERY_H
#define SOL_CORE_DELIVERY_H

#include "core/session.h"

/* ---- delivery.c ---------------------------------------------------------- */

/* Send or queue it, no hook asked any more. */
void delivery_now(struct session *s, const struct outgoing *o);
/* Gives a copy of the subscription identifiers: their number, then they; or NULL for none.
 * free() it. */
uint32_t *delivery_identifiers(const struct outgoing *o);
/* Tells HOOK_DROPPED that `m` (lent) is lost to this session; `reason` is static. */
void delivery_tell_dropped(struct session *s, struct message *m, const char *reason);

/* ---- held.c ---------------------------------------------------------------- */

/* Sessions with more for the deliver hooks than one run takes go on. */
void held_again(struct worker *w);
/* Do deliveries wait for the one before them? */
bool held_any(const struct session *s);
/* Is a hook being asked about one? */
bool held_asks(const struct session *s);
/* Cancels what waits and drops the queue.  Whoever has asked may still be at work: s->holding
 * goes with the session. */
void held_deinit(struct session *s);

#endif
