/* test_shared.c -- dictionaries under a lock: their semantics, their bound, and many threads
 * at a time. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "script/shared.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static _Atomic uint64_t clock_ms;

static uint64_t test_now(void *obj) {
    (void)obj;
    return atomic_load(&clock_ms) * 1000000;
}

static struct shared *all;
static struct dict *dict;

static int set_up(void **state) {
    (void)state;
    clock_ms = 1000;
    all = shared_new(&(struct clock){ test_now, test_now, NULL });
    dict = dict_open(all, SLICE("d"), 1 << 20);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    dict = dict_unref(dict);
    all = shared_unref(all);
    return 0;
}

static struct shared_value integer(int64_t n) {
    return (struct shared_value){ .type = SHARED_INTEGER, .integer = n };
}

static struct shared_value real(double n) {
    return (struct shared_value){ .type = SHARED_REAL, .real = n };
}

static struct shared_value text(const char *s) {
    return (struct shared_value){ .type = SHARED_TEXT, .text = slice_str(s) };
}

static struct slice key_of(const char *s) {
    return slice_str(s);
}

static const char *store(enum dict_verb verb, const char *key, struct shared_value v,
                         uint64_t ttl_ms) {
    return dict_store(dict, key_of(key), &v,
                      &(struct dict_store){ .verb = verb, .ttl_ms = ttl_ms, .may_evict = true });
}

static void assert_text(const char *key, const char *expected) {
    struct shared_value v;
    assert_null(dict_get(dict, key_of(key), &v));
    if (expected) {
        assert_int_equal(v.type, SHARED_TEXT);
        assert_true(slice_eq(v.text, slice_str(expected)));
    } else {
        assert_int_equal(v.type, SHARED_NONE);
    }
    shared_value_deinit(&v);
}

static void assert_integer(const char *key, int64_t expected) {
    struct shared_value v;
    assert_null(dict_get(dict, key_of(key), &v));
    assert_int_equal(v.type, SHARED_INTEGER);
    assert_int_equal(v.integer, expected);
}

static void the_verbs_differ_in_what_must_be_there(void **state) {
    (void)state;
    assert_string_equal(store(DICT_REPLACE, "k", text("a"), 0), "not found");
    assert_null(store(DICT_ADD, "k", text("a"), 0));
    assert_string_equal(store(DICT_ADD, "k", text("b"), 0), "exists");
    assert_text("k", "a");
    assert_null(store(DICT_REPLACE, "k", text("c"), 0));
    assert_text("k", "c");
    assert_null(store(DICT_SET, "k", integer(7), 0));
    assert_integer("k", 7);
    assert_null(store(DICT_SET, "k", (struct shared_value){ 0 }, 0));
    assert_text("k", NULL);
    assert_false(dict_delete(dict, key_of("k")));
    assert_int_equal(dict_used(dict), 0);
}

static void values_keep_their_type(void **state) {
    struct shared_value v, yes = { .type = SHARED_BOOLEAN, .boolean = true };
    (void)state;
    store(DICT_SET, "r", real(2.0), 0);
    store(DICT_SET, "b", yes, 0);
    store(DICT_SET, "t", text(""), 0);
    assert_null(dict_get(dict, key_of("r"), &v));
    assert_int_equal(v.type, SHARED_REAL);
    assert_null(dict_get(dict, key_of("b"), &v));
    assert_true(v.type == SHARED_BOOLEAN && v.boolean);
    assert_text("t", "");
}

static void time_ends_values(void **state) {
    (void)state;
    store(DICT_SET, "a", text("x"), 100);
    store(DICT_SET, "b", text("y"), 0);
    assert_int_equal(dict_ttl(dict, key_of("a")), 100);
    assert_int_equal(dict_ttl(dict, key_of("b")), 0);
    assert_int_equal(dict_ttl(dict, key_of("c")), -1);
    clock_ms += 99;
    assert_text("a", "x");
    clock_ms += 1;
    assert_text("a", NULL);
    assert_null(store(DICT_ADD, "a", text("z"), 0));
    assert_true(dict_expire(dict, key_of("a"), 10));
    assert_true(dict_expire(dict, key_of("b"), 10));
    assert_false(dict_expire(dict, key_of("c"), 10));
    clock_ms += 10;
    assert_int_equal(dict_flush_expired(dict, 1), 1);
    assert_int_equal(dict_flush_expired(dict, 0), 1);
    assert_int_equal(dict_used(dict), 0);
}

static const char *incr(const char *key, struct dict_incr *how) {
    how->may_evict = true;
    return dict_incr(dict, key_of(key), how);
}

static void numbers_are_counted_up_as_what_they_are(void **state) {
    struct dict_incr how = { .by = integer(2) };
    (void)state;
    assert_string_equal(incr("n", &how), "not found");
    how.init = integer(10);
    how.init_ttl_ms = 50;
    assert_null(incr("n", &how));
    assert_int_equal(how.sum.integer, 12);
    clock_ms += 30;
    assert_null(incr("n", &how));
    assert_int_equal(how.sum.integer, 14);
    assert_int_equal(dict_ttl(dict, key_of("n")), 20); /* the time is that of its birth */
    how.by = real(0.5);
    assert_null(incr("n", &how));
    assert_int_equal(how.sum.type, SHARED_REAL);
    assert_true(how.sum.real == 14.5);
    store(DICT_SET, "m", integer(INT64_MAX), 0);
    how.by = integer(1);
    assert_string_equal(incr("m", &how), "integer overflow");
    assert_integer("m", INT64_MAX);
    store(DICT_SET, "t", text("1"), 0);
    assert_string_equal(incr("t", &how), "not a number");
}

static const char *push(const char *key, bool left, struct shared_value v) {
    size_t len;
    return dict_push(dict, key_of(key), left, &v, &len);
}

static void assert_pop(const char *key, bool left, int64_t expected) {
    struct shared_value v;
    assert_null(dict_pop(dict, key_of(key), left, &v));
    assert_int_equal(v.type, SHARED_INTEGER);
    assert_int_equal(v.integer, expected);
}

static void lists_have_two_ends(void **state) {
    struct shared_value v;
    size_t len;
    (void)state;
    assert_null(push("l", true, integer(2)));
    assert_null(push("l", true, integer(1)));
    assert_null(push("l", false, integer(3)));
    assert_null(push("l", false, text("four")));
    assert_null(dict_len(dict, key_of("l"), &len));
    assert_int_equal(len, 4);
    assert_string_equal(dict_get(dict, key_of("l"), &v), "value is a list");
    assert_string_equal(incr("l", &(struct dict_incr){ .by = integer(1) }), "not a number");
    assert_null(dict_pop(dict, key_of("l"), false, &v));
    assert_true(slice_eq(v.text, SLICE("four")));
    shared_value_deinit(&v);
    assert_pop("l", true, 1);
    assert_pop("l", false, 3);
    assert_pop("l", false, 2);
    assert_int_equal(dict_used(dict), 0);
    assert_null(dict_pop(dict, key_of("l"), true, &v));
    assert_int_equal(v.type, SHARED_NONE);
    store(DICT_SET, "s", integer(1), 0);
    assert_string_equal(push("s", true, integer(1)), "value not a list");
    assert_string_equal(dict_pop(dict, key_of("s"), true, &v), "value not a list");
    assert_string_equal(dict_len(dict, key_of("s"), &len), "value not a list");
    push("l", true, text("gone with its key"));
    store(DICT_SET, "l", integer(1), 0);
    assert_integer("l", 1);
}

static void it_stays_within_its_bytes(void **state) {
    char key[32], *long_text = xcalloc(1, 5000), *too_long = xcalloc(1, 20000);
    (void)state;
    memset(long_text, 'x', 4999);
    memset(too_long, 'x', 19999);
    dict_resize(dict, DICT_MIN);
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_null(store(DICT_SET, key, integer(i), 0));
        assert_text("used", i ? "always" : NULL);
        if (i == 0) store(DICT_SET, "used", text("always"), 0);
        assert_true(dict_used(dict) <= DICT_MIN);
    }
    assert_integer("k1999", 1999);
    assert_text("k0", NULL);
    struct dict_store how = { .may_evict = true };
    struct shared_value v = text(long_text);
    assert_null(dict_store(dict, key_of("long"), &v, &how));
    assert_true(how.evicted);
    v = text(too_long);
    assert_string_equal(dict_store(dict, key_of("long"), &v, &how), "no memory");
    assert_text("long", long_text); /* what cannot be stored replaces nothing */
    how.may_evict = false;
    v = text(long_text);
    for (int i = 0; i < 2; i++) dict_store(dict, key_of(i ? "two" : "one"), &v, &how);
    assert_text("long", long_text);
    assert_string_equal(push("list", true, text(too_long)), "no memory");
    free(long_text);
    free(too_long);
}

static void a_name_is_one_dictionary_while_somebody_holds_it(void **state) {
    (void)state;
    struct dict *again = dict_open(all, SLICE("d"), 1 << 16);
    assert_ptr_equal(again, dict);
    assert_int_equal(dict_capacity(again), 1 << 20);
    store(DICT_SET, "k", text("v"), 0);
    dict_unref(dict);
    dict = dict_open(all, SLICE("d"), 1 << 16);
    dict_unref(again);
    assert_text("k", "v");
    dict_unref(dict);
    dict = dict_open(all, SLICE("d"), 1 << 16);
    assert_text("k", NULL);
}

static void keys_can_be_listed(void **state) {
    struct buf keys = BUF_INIT;
    size_t len;
    (void)state;
    store(DICT_SET, "a", integer(1), 0);
    store(DICT_SET, "bb", integer(1), 5);
    store(DICT_SET, "c", integer(1), 0);
    assert_int_equal(dict_keys(dict, 2, &keys), 2);
    memcpy(&len, keys.at, sizeof len);
    assert_true(len == 1 && keys.at[sizeof len] == 'c');
    clock_ms += 5;
    assert_int_equal(dict_keys(dict, 0, &keys), 2);
    buf_deinit(&keys);
    dict_flush_all(dict);
    assert_int_equal(dict_used(dict), 0);
}

/* ---- threads --------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 3000 };

static void *work(void *obj) {
    struct shared *home = obj;
    char key[32];
    for (int i = 0; i < ROUNDS; i++) {
        struct dict *d = dict_open(home, SLICE("d"), 1 << 20);
        struct shared_value v, s = text("some text that is shared");
        struct dict_incr how = { .by = integer(1), .init = integer(0) };
        assert_null(dict_incr(d, SLICE("sum"), &how));
        snprintf(key, sizeof key, "k%d", i % 50);
        dict_store(d, slice_str(key), &s, &(struct dict_store){ .may_evict = true });
        dict_get(d, SLICE("k7"), &v);
        shared_value_deinit(&v);
        size_t len;
        s = integer(1);
        dict_push(d, SLICE("list"), i & 1, &s, &len);
        dict_pop(d, SLICE("list"), i & 2, &v);
        if (i % 500 == 0) dict_flush_expired(d, 0);
        if (i % 700 == 0) dict_resize(d, i % 1400 ? 1 << 19 : 1 << 20);
        dict_unref(d);
    }
    return NULL;
}

static void threads_count_together(void **state) {
    pthread_t threads[THREADS];
    (void)state;
    for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, all);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    assert_integer("sum", THREADS * ROUNDS);
    size_t len;
    assert_null(dict_len(dict, SLICE("list"), &len));
    assert_int_equal(len, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_verbs_differ_in_what_must_be_there),
        TEST(values_keep_their_type),
        TEST(time_ends_values),
        TEST(numbers_are_counted_up_as_what_they_are),
        TEST(lists_have_two_ends),
        TEST(it_stays_within_its_bytes),
        TEST(a_name_is_one_dictionary_while_somebody_holds_it),
        TEST(keys_can_be_listed),
        TEST(threads_count_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
