/* fanout.h -- from a message and its route to the sessions that receive it.
 *
 * Sessions of this worker get it at once, other workers once each, a share one member
 * wherever it lives: the next in turn that is ready.  One worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_FANOUT_H
#define SOL_CORE_FANOUT_H

#include <stdbool.h>
#include <stdint.h>

struct conn;
struct message;
struct message_parts;
struct parcel;
struct route;
struct session;
struct worker;

/* Hand `m` (borrowed) to everyone on the route; gives the number of receivers, where each
 * other worker that has some counts for one.
 * `from` is the publishing connection, slowed when receivers lag; or NULL. */
unsigned fanout_message(struct worker *w, struct route *r, struct message *m, struct conn *from);

/* Likewise for one of these parts that was not made yet.  False: nobody was given it, it has to be
 * made, because not all its receivers live on one other worker, or because it is large. */
bool fanout_parts(struct worker *w, const struct route *r, const struct message_parts *parts,
                  struct conn *from);

/* Another worker sends a message (borrowed) for sessions that live here. */
void fanout_arrived(struct worker *w, const struct parcel *p);

/* Hand `m` (borrowed) to this session of the worker's alone, whatever it has subscribed to. */
void fanout_to(struct worker *w, struct session *s, struct message *m);

/* A member of a shared subscription has ended without acknowledging `m` (borrowed):
 * another one gets it, if there is one. */
void fanout_share_again(struct worker *w, uint32_t share, struct message *m);

#endif
