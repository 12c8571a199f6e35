/* pool.h -- connections kept for the next who wants the same place.
 *
 * A pool has a name, connections in use and idle ones.  Who takes from it gets an idle
 * connection, or leave to make one; where the pool has a limit, one waits in its queue for
 * either.  Every connection counted in must be given back or left.  Owned by the loop's
 * thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_IO_POOL_H
#define SOL_IO_POOL_H

#include "io/loop.h"
#include "io/stream.h"

struct pool;
struct pools;

/* A connection that lay in a pool, or leave to make one: then its stream has fd -1. */
struct pooled {
    struct stream stream;
    unsigned reused; /* how often it was taken from a pool */
};

/* One's turn has come: `p` is taken by the callee, and counted in as in use. */
typedef void pool_fn(void *obj, struct pooled p);

/* A place in a pool's queue.  Zeroed memory is one outside any queue. */
struct pool_turn {
    pool_fn *fn;
    void *obj;
    /* private to pool.c */
    struct pool_turn *next, **link; /* link == NULL: not queued */
};

struct pool_bounds {
    unsigned limit;   /* connections in use and idle; 0: any number */
    unsigned backlog; /* places in the queue, with a limit */
};

enum pool_result {
    POOL_TAKEN = 0, /* *out is the caller's */
    POOL_QUEUED,    /* the turn is in the queue */
    POOL_FULL       /* neither */
};

/* None yet; lends `loop`, by which idle connections are watched and closed. */
struct pools *pools_new(struct loop *loop);
/* Closes what is idle.  Nothing may be in use or queued. */
void pools_free(struct pools *all);

/* The pool of this name, made if need be; it goes when nothing is in it any more, so the
 * next call has to be pool_take. */
struct pool *pool_get(struct pools *all, const char *name);
/* Takes a connection or leave to make one, or queues `turn` (lent until its fn is called
 * or it leaves the queue).  When it gives POOL_FULL the pool may have gone. */
enum pool_result pool_take(struct pool *p, const struct pool_bounds *bounds, struct pool_turn *turn,
                           struct pooled *out);
/* Leaves the queue; harmless when not in it.  The pool may go. */
void pool_turn_cancel(struct pool *p, struct pool_turn *turn);
/* Gives a connection back, takes its stream: it stays idle for `idle_ms` at most (0: no
 * end) while the pool has no more than `idle_max`.  The pool may go. */
void pool_give(struct pool *p, struct pooled c, uint64_t idle_ms, unsigned idle_max);
/* A connection in use has closed, or could not be made.  The pool may go. */
void pool_leave(struct pool *p);

#endif
