/* test_buf.c -- growth, formatting and dropping. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void an_empty_buffer_owns_nothing(void **state) {
    (void)state;
    struct buf b = BUF_INIT;
    assert_null(b.at);
    buf_add(&b, NULL, 0);
    buf_add_slice(&b, SLICE_NONE);
    buf_drop(&b, 0);
    assert_null(b.at);
    assert_int_equal(buf_slice(&b).len, 0);
    buf_deinit(&b);
}

static void what_was_added_stays_through_growth(void **state) {
    (void)state;
    struct buf b = BUF_INIT;
    for (unsigned i = 0; i < 10000; i++) buf_add(&b, &(uint8_t){ (uint8_t)i }, 1);
    assert_int_equal(b.len, 10000);
    assert_true(b.cap >= b.len && b.cap < 4 * b.len);
    for (unsigned i = 0; i < 10000; i++) assert_int_equal(b.at[i], (uint8_t)i);
    buf_deinit(&b);
    assert_null(b.at);
    assert_int_equal(b.cap, 0);
}

static void only_what_is_too_large_is_trimmed(void **state) {
    (void)state;
    struct buf b = BUF_INIT;
    buf_trim(&b, 0);
    buf_add(&b, "x", 1);
    size_t cap = b.cap;
    buf_trim(&b, cap);
    assert_int_equal(b.len, 1);
    buf_trim(&b, cap - 1);
    assert_null(b.at);
    assert_int_equal(b.cap, 0);
}

static void reserved_room_is_used_by_adding_to_len(void **state) {
    (void)state;
    struct buf b = BUF_INIT;
    memset(buf_reserve(&b, 1000), 'x', 1000);
    assert_int_equal(b.len, 0);
    assert_true(b.cap >= 1000);
    b.len += 1000;
    const uint8_t *before = b.at;
    assert_ptr_equal(buf_reserve(&b, b.cap - b.len), before + 1000);
    buf_deinit(&b);
}

static void printing_fits_at_every_fill(void **state) {
    (void)state;
    /* From an exact fit without room for vsnprintf's NUL to ample room. */
    for (size_t fill = 0; fill <= 140; fill++) {
        struct buf b = BUF_INIT;
        memset(buf_reserve(&b, fill), '.', fill);
        b.len = fill;
        buf_printf(&b, "<%d %s>", 42, "text");
        buf_printf(&b, "%s", "");
        assert_int_equal(b.len, fill + 9);
        assert_memory_equal(b.at + fill, "<42 text>", 9);
        assert_true(b.len <= b.cap);
        buf_deinit(&b);
    }
}

static void dropping_moves_the_rest_to_the_front(void **state) {
    (void)state;
    struct buf b = BUF_INIT;
    buf_add_slice(&b, SLICE("abcdef"));
    buf_drop(&b, 4);
    assert_true(slice_eq(buf_slice(&b), SLICE("ef")));
    buf_drop(&b, 2);
    assert_int_equal(b.len, 0);
    buf_deinit(&b);
}

static void slices_compare_by_bytes(void **state) {
    (void)state;
    assert_true(slice_eq(SLICE_NONE, SLICE("")));
    assert_true(slice_eq(slice_str("ab"), slice_of("abc", 2)));
    assert_false(slice_eq(SLICE("ab"), SLICE("ac")));
    assert_true(slice_starts(SLICE("abc"), SLICE("ab")));
    assert_true(slice_starts(SLICE("abc"), SLICE_NONE));
    assert_false(slice_starts(SLICE("a"), SLICE("ab")));
    assert_null(slice_str(NULL).at);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_buffer_owns_nothing),
        cmocka_unit_test(what_was_added_stays_through_growth),
        cmocka_unit_test(only_what_is_too_large_is_trimmed),
        cmocka_unit_test(reserved_room_is_used_by_adding_to_len),
        cmocka_unit_test(printing_fits_at_every_fill),
        cmocka_unit_test(dropping_moves_the_rest_to_the_front),
        cmocka_unit_test(slices_compare_by_bytes),
    };
    return cmocka_run_group_tests_name("base/buf", tests, NULL, NULL);
}
