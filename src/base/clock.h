/* clock.h -- where time comes from.
 *
 * Whoever needs to know the time is given a clock: the system's, or one that a test drives
 * by hand.  Any thread may read the system's. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_BASE_CLOCK_H
#define SOL_BASE_CLOCK_H

#include <stdint.h>

struct clock {
    uint64_t (*monotonic_ns)(void *obj); /* since some time or other; never goes back */
    uint64_t (*wall_ns)(void *obj);      /* since 1970 */
    void *obj;                           /* lent */
};

extern const struct clock clock_system;

static inline uint64_t clock_monotonic_ns(const struct clock *c) {
    return c->monotonic_ns(c->obj);
}

static inline uint64_t clock_wall_ns(const struct clock *c) {
    return c->wall_ns(c->obj);
}

/* A clock that stands still until told. */
struct hand_clock {
    struct clock clock; /* to be lent while the hand_clock stays where it is */
    uint64_t now_ns;    /* monotonic */
    uint64_t since_ns;  /* what the wall clock is ahead of it */
};

/* Sets it by the system's clock, to a full millisecond. */
void hand_clock_init(struct hand_clock *h);
void hand_clock_pass_ms(struct hand_clock *h, uint64_t ms);

#endif
