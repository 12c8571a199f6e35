/* flow.h -- when a connection is not read although nothing is wrong with it.
 *
 * A publisher waits for a reader that lags, here or on another worker, for a worker that
 * has more than enough to do, and for its own rate.  All of it is `is_paused`, and none of
 * it counts against the keep-alive.  One worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_FLOW_H
#define SOL_CORE_FLOW_H

#include "base/slots.h"

struct conn;
struct message;
struct worker;

/* Is it parked or paused? */
bool flow_is_waiting(const struct conn *c);

/* `m` (borrowed) has been delivered to `to`: if that lags, its publisher waits until it
 * drains, or a while has passed.  `from` is the publisher's connection, or NULL: it may
 * live on another worker. */
void flow_delivered(struct conn *to, struct conn *from, const struct message *m);
/* As above: do not read `from` until `to` drains. */
void flow_slow_down(struct conn *from, struct conn *to);
/* It has published more than its rate allows: do not read it until that is made up for. */
void flow_throttle(struct conn *c);
/* It published to sessions of another worker, which has more than enough to do: do not
 * read it while that is so. */
void flow_rest(struct conn *c, unsigned worker);

/* `c` published to a session of another worker, which lags. */
void flow_slow_down_far(struct conn *c, struct handle reader);
/* That session has drained, or is waited for no more. */
void flow_drained_far(struct worker *w, struct handle reader);

/* For conn.c: little is left to be written to it. */
void flow_drained(struct conn *c);
/* Does anyone wait for it? */
bool flow_is_awaited(const struct conn *c);
/* It ends: it waits for nobody, and nobody for it. */
void flow_leave(struct conn *c);
/* Arms the one timer of an open connection: for its keep-alive and its pauses. */
void flow_arm_timer(struct conn *c);
/* The timer: ends the pauses that are over. */
void flow_check(struct conn *c);

#endif
