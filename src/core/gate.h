/* gate.h -- what holds for the clients of one listener.
 *
 * A worker knows each listener by its URL, from the first connection on: the limits and
 * the mount point its clients start with, and how many of them there are, on all workers.
 * A reload shows in the connections that come later.  One worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_GATE_H
#define SOL_CORE_GATE_H

#include "base/slice.h"

#include <stdatomic.h>

struct broker;
struct config;
struct limits;
struct worker;

/* The clients of one listener, over all workers; there before their threads start. */
struct gate_total {
    char *url; /* owned */
    _Atomic unsigned connected;
};

struct gate {
    struct gate *next;           /* worker->gates */
    char *url;                   /* owned */
    const struct limits *limits; /* owned reference, shared with its clients (limits.h) */
    struct slice mount;          /* owned; SLICE_NONE: none */
    _Atomic unsigned *connected; /* lent: its clients, by whatever worker */
    _Atomic unsigned own;        /* for a URL that is no listener's */
};

/* Before the threads start: for the listeners of this configuration. */
void gate_totals_init(struct broker *b, const struct config *config);
void gate_totals_deinit(struct broker *b);

/* The gate of this listener, as the present configuration has it; lent for the worker's
 * life.  A URL that is no listener's gets the global limits. */
struct gate *gate_get(struct worker *w, const char *url);
/* One client more, or less; gives how many there are then. */
static inline unsigned gate_count(struct gate *g, int change) {
    unsigned before =
        atomic_fetch_add_explicit(g->connected, (unsigned)change, memory_order_relaxed);
    return before + (unsigned)change;
}
/* Shutdown, after the clients. */
void gates_free(struct worker *w);

#endif
