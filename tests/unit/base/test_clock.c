/* test_clock.c -- the system's clock goes, the other one is told to. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"

#include <time.h>

static void the_system_clock_is_the_system_s(void **state) {
    (void)state;
    uint64_t before = clock_monotonic_ns(&clock_system);
    uint64_t wall_s = (uint64_t)time(NULL);
    assert_true(clock_monotonic_ns(&clock_system) >= before);
    assert_true(clock_wall_ns(&clock_system) / 1000000000u + 1 >= wall_s);
}

static void a_hand_clock_passes_when_told(void **state) {
    (void)state;
    struct hand_clock h;
    uint64_t before = clock_monotonic_ns(&clock_system), wall = clock_wall_ns(&clock_system);
    hand_clock_init(&h);
    uint64_t start = clock_monotonic_ns(&h.clock), wall_start = clock_wall_ns(&h.clock);
    assert_true(start + 1000000 > before && start % 1000000 == 0);
    assert_true(wall_start + 1000000000 > wall);
    assert_true(clock_monotonic_ns(&h.clock) == start);
    hand_clock_pass_ms(&h, 1500);
    assert_true(clock_monotonic_ns(&h.clock) - start == 1500000000u);
    assert_true(clock_wall_ns(&h.clock) - wall_start == 1500000000u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_system_clock_is_the_system_s),
        cmocka_unit_test(a_hand_clock_passes_when_told),
    };
    return cmocka_run_group_tests_name("base/clock", tests, NULL, NULL);
}
