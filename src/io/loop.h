/* loop.h -- one epoll instance, its timers and its deferred work.
 *
 * A turn: apply the collected interest changes, wait, run the closures of the events and of the
 * inlets, run the deferred list; if there are any, run the closures of patient watches and the
 * timers that are due, and the deferred list again. Everything belongs to the thread that runs the
 * loop; other threads reach it through a mailbox only.
 *
 * A closure that runs may detach and free itself and any other, of whatever kind: what
 * was fetched for a watch that has gone, or whose slot serves another, is dropped. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_IO_LOOP_H
#define SOL_IO_LOOP_H

#include "base/slots.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- types -------------------------------------------------------------- */

/* What the loop runs: a function, the object it works on, and a name.  The UUID by
 * which logs and tools name a closure is made when first asked for. */
struct closure;
typedef void closure_fn(struct closure *self, unsigned events);

struct closure {
    closure_fn *fn;
    void *obj;        /* borrowed; fn's business */
    const char *name; /* borrowed, static */
    char *uuid;       /* owned; NULL until closure_uuid() */
};

enum {
    LOOP_READ = 1, /* readable, or the peer closed */
    LOOP_WRITE = 2,
    LOOP_HANGUP = 4, /* the peer closed its sending half (EPOLLRDHUP) or all (EPOLLHUP) */
    LOOP_ERROR = 8
};

/* A closure on a descriptor.  Zeroed memory is a valid unwatched one. */
struct watch {
    struct closure closure;
    int fd; /* borrowed: the owner closes it after loop_unwatch or loop_abandon */
    /* Its closure is costly: when many such are ready, a turn runs some of them, after all
     * others, and leaves the rest to the next. */
    bool is_patient;
    /* Several loops watch the descriptor, and one of those that wait is woken, not all.  It is
     * told of no LOOP_HANGUP by itself. */
    bool is_exclusive;
    /* Told of each time it becomes ready, not as long as it is. */
    bool is_edge;
    /* private to loop.c */
    struct handle handle;
    uint32_t dirty;     /* 1 + index in the list of changes, 0: none */
    uint8_t want, have; /* interest asked for, interest the kernel knows */
};

/* A closure at a time.  Zeroed memory is a valid unarmed one. */
struct timer {
    struct closure closure;
    uint64_t deadline_ms; /* of the loop's clock; set by loop_arm, then read-only */
    /* private to timer.c */
    struct timer *next, **link; /* link == NULL: not armed */
};

/* A closure to run later in this turn.  Zeroed memory is valid. */
struct deferred {
    struct closure closure;
    /* private to loop.c */
    struct deferred *next, **link;
};

/* What other threads leave for this one, looked at in every turn: they need to wake the loop only
 * while it waits.  The functions run on the loop's thread. */
struct inlet {
    struct closure closure; /* takes what is there, or some of it */
    /* Is nothing there?  While `waits`, whoever leaves something from here on wakes the loop. */
    bool (*is_empty)(struct inlet *in, bool waits);
    /* private to loop.c */
    struct inlet *next, **link;
};

struct clock;
struct loop; /* owns the epoll descriptor, the wheel and the watch slots */

struct loop_opts {
    const struct clock *clock; /* copied; NULL: the system's */
    unsigned events_start;     /* event array, 0: 64; doubles when full up to ... */
    unsigned events_max;       /* ... 0: 4096 */
};

/* ---- life --------------------------------------------------------------- */

/* Gives a loop, or NULL with errno when epoll_create1 fails.  NULL opts: defaults. */
struct loop *loop_new(const struct loop_opts *opts);
/* Watches, timers and deferred closures still attached are detached, not run. */
void loop_free(struct loop *loop);

/* ---- operations --------------------------------------------------------- */

/* Watch `fd` for `interest`; w->closure.fn/obj/name are set by the caller.  Borrows
 * `w` until loop_unwatch.  The kernel hears of it before the next wait; a descriptor it
 * refuses (EPERM: a regular file, ENOSPC: the user's limit of watches) is reported to
 * the closure as LOOP_ERROR in that turn, once, and not tried again until the interest
 * changes.  Level-triggered: what is left unread is reported again next turn.
 * LOOP_HANGUP and LOOP_ERROR are always reported, but not for ever: a half-closed peer
 * is told once, and a watch without interest is told a full close or an error once. */
void loop_watch(struct loop *loop, struct watch *w, int fd, unsigned interest);
/* Change the interest; free when nothing changes.  0 keeps the watch, silent but for
 * errors and hang-ups.  Holds at once for events already fetched. */
void loop_want(struct loop *loop, struct watch *w, unsigned interest);
/* Leave epoll now; events already fetched for `w` are dropped.  Call before close().
 * Harmless when not watched.  Frees the closure's uuid. */
void loop_unwatch(struct loop *loop, struct watch *w);
/* Likewise, but close() follows at once, which takes a descriptor without duplicates out of
 * epoll by itself: one system call less. */
void loop_abandon(struct loop *loop, struct watch *w);

/* Look at `in` in every turn, after the events; borrows it until loop_inlet_del, which is
 * harmless when it was not added and frees the closure's uuid. */
void loop_inlet_add(struct loop *loop, struct inlet *in);
void loop_inlet_del(struct loop *loop, struct inlet *in);

/* (Re)arm `t` to fire once at `deadline_ms` of loop_now_ms(); a deadline in the past
 * fires when timers run next, for a timer's closure that is the next turn.  Never before
 * loop_now_ms() says so; earlier deadlines first, equal ones in the order of arming.  When
 * many are due, and costly, some of them have to wait for the next turn.
 * Borrows `t` until it fires or is cancelled; O(1).  The callback runs with events == 0
 * and may re-arm or free its timer. */
void loop_arm(struct loop *loop, struct timer *t, uint64_t deadline_ms);
/* Harmless when not armed. */
void loop_cancel(struct loop *loop, struct timer *t);
static inline bool timer_armed(const struct timer *t) {
    return t->link != NULL;
}

/* Run `d` once when the closures that are ready have run; when called from a deferred
 * closure, with those that come after it.  Harmless when already listed.  Borrows `d` until it
 * runs. */
void loop_defer(struct loop *loop, struct deferred *d);
void loop_undefer(struct deferred *d);

/* One turn; waits at most `max_wait_ms` (-1: until an event or timer).  Does not wait
 * when deferred work is listed.  0, or -errno for a fatal epoll error; EINTR is 0. */
int loop_turn(struct loop *loop, int max_wait_ms);
/* Turns until loop_stop; 0 or the fatal error. */
int loop_run(struct loop *loop);
/* Makes loop_run return after the present turn.  This thread only. */
void loop_stop(struct loop *loop);

/* The cached clock: read once a turn after the wait; milliseconds rounded down. */
uint64_t loop_now_ms(const struct loop *loop);
uint64_t loop_now_ns(const struct loop *loop);
/* For a timer or patient watch that has more of its work to do: may it go on in this turn?
 * Otherwise others come first; a timer armed for now has the next turn. */
bool loop_has_time(const struct loop *loop);
/* Read the clock afresh (long work within a turn). */
uint64_t loop_clock_refresh(struct loop *loop);
/* Milliseconds since 1970, read afresh. */
uint64_t loop_wall_ms(const struct loop *loop);

/* For whoever turns a loop by hand: how many closures it has run (a turn that adds none had
 * nothing to do), and when its timers want the next turn (never later than the earliest
 * deadline; UINT64_MAX: there are none). */
uint64_t loop_runs(const struct loop *loop);
uint64_t loop_next_ms(const struct loop *loop);

/* What is attached to a loop. */
struct loop_item {
    struct closure *closure; /* lent */
    enum { LOOP_ITEM_WATCH, LOOP_ITEM_TIMER, LOOP_ITEM_DEFERRED } kind;
    int fd;               /* of a watch; -1 */
    uint64_t deadline_ms; /* of a timer; 0 */
};
/* Shows `fn` every one until it says false.  It may ask for UUIDs, and change nothing. */
void loop_each(struct loop *loop, bool (*fn)(void *obj, const struct loop_item *item), void *obj);

/* Says what `c` runs.  Unlike an assignment it keeps the UUID: for a closure that is set
 * time and again. */
static inline void closure_set(struct closure *c, closure_fn *fn, void *obj, const char *name) {
    c->fn = fn;
    c->obj = obj;
    c->name = name;
}
/* Lends the closure's UUID text, made at the first call; lives as long as the
 * closure is attached (closure_deinit frees it). */
const char *closure_uuid(struct closure *c);
void closure_deinit(struct closure *c);

#endif
