/* clock.c -- the system's clock, and one driven by hand. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/clock.h"

#include <time.h>

static uint64_t read_clock(clockid_t id) {
    struct timespec now;
    (void)clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t system_monotonic_ns(void *obj) {
    (void)obj;
    return read_clock(CLOCK_MONOTONIC);
}

static uint64_t system_wall_ns(void *obj) {
    (void)obj;
    return read_clock(CLOCK_REALTIME);
}

const struct clock clock_system = { system_monotonic_ns, system_wall_ns, 0 };

static uint64_t hand_monotonic_ns(void *obj) {
    return ((struct hand_clock *)obj)->now_ns;
}

static uint64_t hand_wall_ns(void *obj) {
    const struct hand_clock *h = obj;
    return h->now_ns + h->since_ns;
}

void hand_clock_init(struct hand_clock *h) {
    h->clock = (struct clock){ hand_monotonic_ns, hand_wall_ns, h };
    h->now_ns = clock_monotonic_ns(&clock_system) / 1000000u * 1000000u;
    h->since_ns = clock_wall_ns(&clock_system) - h->now_ns;
}

void hand_clock_pass_ms(struct hand_clock *h, uint64_t ms) {
    h->now_ns += ms * 1000000u;
}
