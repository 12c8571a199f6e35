/* test_phrase.c -- the admin socket's phrases: whole, in parts, and wrong. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/phrase.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

static void assert_slice(struct slice s, const char *text) {
    assert_int_equal(s.len, strlen(text));
    assert_memory_equal(s.at, text, s.len);
}

static void a_whole_phrase_is_taken_apart(void **state) {
    static const struct {
        const char *in;
        uint32_t id;
        const char *verb, *words, *body;
        size_t used;
    } rows[] = {
        { "1 ping 0\n", 1, "ping", "", "", 9 },
        { "4294967295 eval worker=3 5\n1 + 1rest", UINT32_MAX, "eval", "worker=3", "1 + 1", 32 },
        { "7 trace a b=c d 2\nx\n", 7, "trace", "a b=c d", "x\n", 20 },
        { "0 fail 3\n\n\n\n", 0, "fail", "", "\n\n\n", 12 },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct phrase p;
        size_t used = 0;
        assert_int_equal(phrase_read(slice_str(rows[i].in), &p, &used), PHRASE_WHOLE);
        assert_int_equal(p.id, rows[i].id);
        assert_slice(p.verb, rows[i].verb);
        assert_slice(p.words, rows[i].words);
        assert_slice(p.body, rows[i].body);
        assert_int_equal(used, rows[i].used);
    }
}

static void every_part_of_a_phrase_asks_for_more(void **state) {
    static const char whole[] = "12 eval worker=1 6\nreturn";
    (void)state;
    for (size_t len = 0; len < sizeof whole - 1; len++) {
        struct phrase p;
        size_t used;
        char *copy = xmalloc(len + 1); /* so that a sanitizer sees who reads beyond it */
        memcpy(copy, whole, len);
        assert_int_equal(phrase_read(slice_of(copy, len), &p, &used), PHRASE_PART);
        free(copy);
    }
}

static void what_is_no_phrase_is_refused(void **state) {
    static const char *const rows[] = {
        "\n",
        " \n",
        "1\n",
        "1 \n",
        "1 ping\n",
        "ping 0\n",
        "1 ping x\n",
        "1  0\n",
        "-1 ping 0\n",
        "1 ping -1\n",
        "1 ping 1048577\n",
        "4294967296 ping 0\n",
        "1 ping 99999999999\n",
        "1 p\001ng 0\n",
        "1 ping 0\r\n",
        "1 ping 0 \n",
    };
    char long_head[PHRASE_HEAD_MAX];
    struct phrase p;
    size_t used;
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(phrase_read(slice_str(rows[i]), &p, &used), -EPROTO);
    memset(long_head, 'x', sizeof long_head);
    assert_int_equal(phrase_read(slice_of(long_head, sizeof long_head), &p, &used), -EPROTO);
}

static void a_head_is_what_is_read_again(void **state) {
    char head[PHRASE_HEAD_MAX], words[PHRASE_HEAD_MAX];
    struct phrase p;
    size_t used;
    (void)state;
    size_t n = phrase_head(head, 9, "trace", "client=d1 worker=0", 0);
    assert_slice(slice_of(head, n), "9 trace client=d1 worker=0 0\n");
    assert_int_equal(phrase_read(slice_of(head, n), &p, &used), PHRASE_WHOLE);
    assert_slice(phrase_word(p.words, SLICE("worker")), "0");
    assert_slice(phrase_word(p.words, SLICE("client")), "d1");
    assert_null(phrase_word(p.words, SLICE("work")).at);
    assert_null(phrase_word(p.words, SLICE("nothing")).at);
    assert_slice(slice_of(head, phrase_head(head, 1, "ok", NULL, 12)), "1 ok 12\n");
    memset(words, 'w', sizeof words);
    words[sizeof words - 1] = '\0';
    assert_int_equal(phrase_head(head, 1, "trace", words, 0), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_phrase_is_taken_apart),
        cmocka_unit_test(every_part_of_a_phrase_asks_for_more),
        cmocka_unit_test(what_is_no_phrase_is_refused),
        cmocka_unit_test(a_head_is_what_is_read_again),
    };
    return cmocka_run_group_tests_name("admin/phrase", tests, NULL, NULL);
}
