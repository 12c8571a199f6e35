/* inner.h -- a session that belongs to the broker itself: what a script subscribes to.
 *
 * It has no client and no connection, is found under no client id, asks no hooks and queues
 * nothing: a message is handed over as it comes.  Otherwise it is a session like any other,
 * so routing need not know.  One worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_INNER_H
#define SOL_CORE_INNER_H

#include "core/session.h"

/* A new one.  fn(obj, message) is lent each message and may do anything, ending the session
 * included; `obj` is borrowed until its end. */
struct handle inner_open(struct worker *w, inner_fn *fn, void *obj);
/* Harmless when it has ended (the worker ends those that are left). */
void inner_close(struct worker *w, struct handle h);
/* Subscribes to a valid filter; every message for it names `identifier`. */
void inner_subscribe(struct worker *w, struct handle h, struct slice filter, uint32_t identifier);
void inner_unsubscribe(struct worker *w, struct handle h, struct slice filter);

#endif
