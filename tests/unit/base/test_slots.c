/* test_slots.c -- handles that outlive their objects. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdlib.h>

static int objects[1000];

static void the_zero_handle_names_nothing(void **state) {
    (void)state;
    struct slots t;
    slots_init(&t);
    assert_null(slots_find(&t, HANDLE_NONE));
    struct handle h = slots_add(&t, &objects[0]);
    assert_int_equal(h.slot, 0);
    assert_false(handle_is_none(h));
    assert_true(handle_is_none(HANDLE_NONE));
    assert_null(slots_find(&t, HANDLE_NONE));
    slots_del(&t, HANDLE_NONE);
    assert_ptr_equal(slots_find(&t, h), &objects[0]);
    slots_del(&t, h);
    slots_deinit(&t);
}

static void a_stale_handle_does_not_find_the_slots_next_user(void **state) {
    (void)state;
    struct slots t;
    slots_init(&t);
    struct handle first = slots_add(&t, &objects[0]);
    slots_del(&t, first);
    assert_null(slots_find(&t, first));
    struct handle second = slots_add(&t, &objects[1]);
    assert_int_equal(second.slot, first.slot);
    assert_false(handle_eq(first, second));
    assert_null(slots_find(&t, first));
    slots_del(&t, first); /* stale: the second must stay */
    assert_ptr_equal(slots_find(&t, second), &objects[1]);
    assert_int_equal(t.used, 1);
    slots_del(&t, second);
    slots_deinit(&t);
}

static void a_generation_wraps_past_zero(void **state) {
    (void)state;
    struct slots t;
    slots_init(&t);
    slots_del(&t, slots_add(&t, &objects[0]));
    t.at[0].gen = UINT32_MAX;
    struct handle last = slots_add(&t, &objects[0]);
    assert_int_equal(last.gen, UINT32_MAX);
    slots_del(&t, last);
    struct handle next = slots_add(&t, &objects[0]);
    assert_int_equal(next.gen, 1);
    slots_del(&t, next);
    slots_deinit(&t);
}

static void a_handle_from_elsewhere_is_out_of_range(void **state) {
    (void)state;
    struct slots t;
    slots_init(&t);
    assert_null(slots_find(&t, (struct handle){ 12345, 1 }));
    slots_del(&t, (struct handle){ 12345, 1 });
    slots_deinit(&t);
}

static void many_come_and_go(void **state) {
    (void)state;
    enum { N = 1000 };
    struct slots t;
    struct handle now[N] = { { 0, 0 } }, before[N] = { { 0, 0 } };
    slots_init(&t);
    srand(1);
    for (int step = 0; step < 100000; step++) {
        int i = rand() % N;
        if (handle_is_none(now[i])) {
            now[i] = slots_add(&t, &objects[i]);
        } else {
            slots_del(&t, now[i]);
            before[i] = now[i];
            now[i] = HANDLE_NONE;
        }
        int k = rand() % N;
        assert_null(slots_find(&t, before[k]));
        assert_ptr_equal(slots_find(&t, now[k]), handle_is_none(now[k]) ? NULL : &objects[k]);
    }
    uint32_t used = 0;
    for (int i = 0; i < N; i++) used += !handle_is_none(now[i]);
    assert_int_equal(t.used, used);
    for (int i = 0; i < N; i++) slots_del(&t, now[i]);
    assert_int_equal(t.used, 0);
    assert_true(t.len <= N);
    slots_deinit(&t);
}

static void a_walk_bears_deletion(void **state) {
    (void)state;
    struct slots t;
    struct handle h[10];
    slots_init(&t);
    for (int i = 0; i < 10; i++) h[i] = slots_add(&t, &objects[i]);
    int seen = 0;
    uint32_t at = 0;
    for (int *o; (o = slots_next(&t, &at));) {
        long i = o - objects;
        assert_true(i % 2 == 0);
        seen++;
        slots_del(&t, h[i]);
        slots_del(&t, h[i + 1]); /* its neighbour, not met yet */
    }
    assert_int_equal(seen, 5);
    slots_deinit(&t);
}

/* Several owners' handles differ, name their owner, and find nothing at another's. */
static void handles_say_whose_they_are(void **state) {
    (void)state;
    static const unsigned owners[] = { 0, 1, 2, 31, 63 };
    enum { OWNERS = sizeof owners / sizeof *owners };
    struct slots t[OWNERS];
    struct handle h[OWNERS];
    for (int i = 0; i < OWNERS; i++) {
        slots_init_at(&t[i], owners[i] * SLOTS_MAX);
        h[i] = slots_add(&t[i], &objects[i]);
        assert_int_equal(handle_owner(h[i]), owners[i]);
        assert_null(slots_find(&t[i], HANDLE_NONE));
    }
    for (int i = 0; i < OWNERS; i++)
        for (int k = 0; k < OWNERS; k++) {
            assert_ptr_equal(slots_find(&t[i], h[k]), i == k ? &objects[i] : NULL);
            if (i != k) slots_del(&t[i], h[k]); /* stale here: nothing happens */
        }
    for (int i = 0; i < OWNERS; i++) {
        slots_del(&t[i], h[i]);
        assert_null(slots_find(&t[i], h[i]));
        struct handle again = slots_add(&t[i], &objects[9]);
        assert_int_equal(again.slot, h[i].slot);
        assert_false(handle_eq(again, h[i]));
        slots_del(&t[i], again);
        slots_deinit(&t[i]);
        assert_int_equal(t[i].base, owners[i] * SLOTS_MAX);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_zero_handle_names_nothing),
        cmocka_unit_test(a_stale_handle_does_not_find_the_slots_next_user),
        cmocka_unit_test(a_generation_wraps_past_zero),
        cmocka_unit_test(a_handle_from_elsewhere_is_out_of_range),
        cmocka_unit_test(many_come_and_go),
        cmocka_unit_test(a_walk_bears_deletion),
        cmocka_unit_test(handles_say_whose_they_are),
    };
    return cmocka_run_group_tests_name("base/slots", tests, NULL, NULL);
}
