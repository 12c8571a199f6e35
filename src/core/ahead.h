/* ahead.h -- the topics of the packets that stand in line behind the one being handled.
 *
 * A look-up among very many filters is waiting for memory, several at once wait hardly longer than
 * one.  So when a client's topic is looked up, those of the PUBLISHes that have come with it are,
 * too.  One worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_AHEAD_H
#define SOL_CORE_AHEAD_H

#include "core/worker.h"

/* Of a worker, before its thread and after it. */
void ahead_init(struct worker *w);
void ahead_deinit(struct worker *w);

/* The input that worker->behind is part of is over. */
void ahead_clear(struct worker *w);

/* The route of a topic that is asked for now, as route_find would give it, with a reference; NULL:
 * it has not been looked up and need not be.  `last` is the client's route before, or NULL. */
struct route *ahead_route(struct worker *w, struct slice topic, const struct route *last);

#endif
