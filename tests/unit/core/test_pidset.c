/* test_pidset.c -- a set of packet identifiers against a plain array of flags. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/pidset.h"

#include "core/rig.h"

static void an_empty_set_owns_nothing_and_has_nothing(void **state) {
    (void)state;
    struct pidset s = { 0 };
    assert_false(pidset_has(&s, 1));
    assert_false(pidset_del(&s, 1));
    assert_null(s.at);
    pidset_deinit(&s);
}

static void adding_and_deleting_say_whether_it_was_there(void **state) {
    (void)state;
    struct pidset s = { 0 };
    assert_true(pidset_add(&s, 7));
    assert_false(pidset_add(&s, 7));
    assert_true(pidset_has(&s, 7));
    assert_true(pidset_del(&s, 7));
    assert_false(pidset_del(&s, 7));
    assert_int_equal(s.len, 0);
    pidset_deinit(&s);
}

static void every_identifier_fits_at_once(void **state) {
    (void)state;
    struct pidset s = { 0 };
    for (uint32_t id = 65535; id >= 1; id--) assert_true(pidset_add(&s, (uint16_t)id));
    assert_int_equal(s.len, 65535);
    for (uint32_t id = 1; id <= 65535; id++) assert_true(pidset_has(&s, (uint16_t)id));
    for (uint32_t id = 1; id <= 65535; id++) assert_true(pidset_del(&s, (uint16_t)id));
    assert_int_equal(s.len, 0);
    pidset_deinit(&s);
}

static void a_burst_leaves_no_memory_behind(void **state) {
    (void)state;
    struct pidset s = { 0 };
    for (uint16_t id = 1; id <= 1000; id++) pidset_add(&s, id);
    for (uint16_t id = 1; id <= 1000; id++) pidset_del(&s, id);
    assert_null(s.at);
    assert_true(pidset_add(&s, 3)); /* and it goes on */
    assert_true(pidset_has(&s, 3));
    pidset_deinit(&s);
}

/* A few homes only, so that probes run long and deletions shift far. */
static void a_copy_is_equal_and_its_own(void **state) {
    (void)state;
    struct pidset a = { 0 }, b = { 0 };
    pidset_add(&b, 9);
    for (uint16_t id = 1; id <= 40; id++) pidset_add(&a, id);
    pidset_copy(&b, &a);
    assert_int_equal(b.len, 40);
    pidset_del(&a, 7);
    assert_true(pidset_has(&b, 7));
    pidset_deinit(&a);
    pidset_copy(&b, &a);
    assert_null(b.at);
}

static void it_behaves_like_an_array_of_flags(void **state) {
    (void)state;
    static const uint32_t strides[] = { 1, 8, 64, 1024 };
    uint64_t seed = 88172645463325252u;
    for (size_t k = 0; k < ARRAY_LEN(strides); k++) {
        struct pidset s = { 0 };
        bool model[65536] = { false };
        uint32_t len = 0;
        for (int i = 0; i < 30000; i++) {
            uint16_t id = (uint16_t)(1 + rnd(&seed, 60) * strides[k] + rnd(&seed, 3));
            if (rnd(&seed, 2)) {
                assert_int_equal(pidset_add(&s, id), !model[id]);
                len += !model[id];
                model[id] = true;
            } else {
                assert_int_equal(pidset_del(&s, id), model[id]);
                len -= model[id];
                model[id] = false;
            }
            assert_int_equal(s.len, len);
            uint16_t other = (uint16_t)(1 + rnd(&seed, 60) * strides[k]);
            assert_int_equal(pidset_has(&s, other), model[other]);
        }
        pidset_deinit(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_set_owns_nothing_and_has_nothing),
        cmocka_unit_test(adding_and_deleting_say_whether_it_was_there),
        cmocka_unit_test(every_identifier_fits_at_once),
        cmocka_unit_test(a_burst_leaves_no_memory_behind),
        cmocka_unit_test(a_copy_is_equal_and_its_own),
        cmocka_unit_test(it_behaves_like_an_array_of_flags),
    };
    return cmocka_run_group_tests_name("core/pidset", tests, NULL, NULL);
}
