/* test_mem.c -- copies, and the two ways in which the process ends. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void free_text(char **text) {
    free(*text);
}

static void a_copy_is_terminated_and_absence_is_kept(void **state) {
    (void)state;
    AUTO(free_text) char *copy = xslicedup(slice_of("abc\0d", 5));
    assert_memory_equal(copy, "abc\0d", 6);
    AUTO(free_text) char *empty = xslicedup(SLICE(""));
    assert_string_equal(empty, "");
    AUTO(free_text) char *str = xstrdup("abc");
    assert_string_equal(str, "abc");
    assert_null(xslicedup(SLICE_NONE));
    assert_null(xstrdup(NULL));
}

static void no_size_is_no_reason_for_null(void **state) {
    (void)state;
    void *a = xmalloc(0), *b = xcalloc(0, 8), *c = xrealloc(NULL, 0);
    assert_true(a && b && c);
    free(a), free(b), free(c);
}

static bool is_zero(const uint8_t *at, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (at[i]) return false;
    return true;
}

static void zeroed_memory_is_zero_in_every_size(void **state) {
    (void)state;
    for (size_t len = 1; len < 5000; len += 61) {
        free(memset(xmalloc(len), 0xff, len)); /* most likely what comes next */
        uint8_t *at = xcalloc(1, len);
        assert_true(is_zero(at, len));
        free(at);
        free(memset(xmalloc(len * CACHE_LINE), 0xff, len * CACHE_LINE));
        at = xcalloc_lines(len, CACHE_LINE);
        assert_true(is_zero(at, len * CACHE_LINE));
        assert_int_equal((uintptr_t)at % CACHE_LINE, 0);
        free(at);
    }
}

/* Whether a child running `fn` comes to a bad end (a sanitizer makes its own of it). */
static bool ends_badly(void (*fn)(void)) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDERR_FILENO);
        setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
        signal(SIGABRT, SIG_DFL);
        fn();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status != 0;
}

static volatile size_t huge = SIZE_MAX / 2;

static void keep(void) {
    must(huge > 0);
}
static void break_it(void) {
    must(huge == 0);
}
static void overflow(void) {
    free(xcalloc(huge, 16));
}

static void a_broken_invariant_aborts(void **state) {
    (void)state;
    assert_false(ends_badly(keep));
    assert_true(ends_badly(break_it));
}

static void an_overflowing_product_is_out_of_memory(void **state) {
    (void)state;
    assert_true(ends_badly(overflow));
}

static void containers_are_found_from_members(void **state) {
    (void)state;
    struct outer {
        int a;
        struct inner {
            int b;
        } inner;
    } o;
    assert_ptr_equal(CONTAINER_OF(&o.inner, struct outer, inner), &o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_is_terminated_and_absence_is_kept),
        cmocka_unit_test(no_size_is_no_reason_for_null),
        cmocka_unit_test(zeroed_memory_is_zero_in_every_size),
        cmocka_unit_test(a_broken_invariant_aborts),
        cmocka_unit_test(an_overflowing_product_is_out_of_memory),
        cmocka_unit_test(containers_are_found_from_members),
    };
    return cmocka_run_group_tests_name("base/mem", tests, NULL, NULL);
}
