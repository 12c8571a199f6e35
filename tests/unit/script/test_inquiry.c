/* test_inquiry.c -- questions, given by name and sent between processes. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "script/inquiry.h"

#include <stdlib.h>

static unsigned row_of(const char *name) {
    unsigned i = 0;
    while (strcmp(inquiry_name(i), name) != 0) i++;
    return i;
}

static void set(struct inquiry *q, const char *name, struct slice value) {
    assert_null(inquiry_set(q, row_of(name), value));
}

static void assert_slice(struct slice a, struct slice b) {
    assert_int_equal(a.len, b.len);
    if (a.len) assert_memory_equal(a.at, b.at, a.len);
    assert_true(!a.at == !b.at);
}

/* A question with all that goes with a publish. */
static void fill(struct inquiry *q) {
    *q = (struct inquiry){ 0 };
    assert_true(inquiry_set_action(q, SLICE("publish")));
    set(q, "client", SLICE("d1"));
    set(q, "username", SLICE(""));
    set(q, "password", SLICE("\0\xff\n 7\n"));
    set(q, "topic", SLICE("first"));
    set(q, "topic", SLICE("a/b c")); /* in its place */
    set(q, "payload", SLICE("topic 3\nxyz\n"));
    set(q, "qos", SLICE("2"));
    set(q, "retain", SLICE_NONE);
}

static void what_is_written_is_read(void **state) {
    struct inquiry q, back = { 0 };
    struct buf text = BUF_INIT;
    (void)state;
    fill(&q);
    inquiry_write(&q, &text);
    assert_null(inquiry_read(&back, buf_slice(&text)));
    assert_int_equal(back.action, INQUIRE_PUBLISH);
    assert_slice(back.client, q.client);
    assert_slice(back.username, q.username);
    assert_slice(back.password, q.password);
    assert_slice(back.topic, SLICE("a/b c"));
    assert_slice(back.payload, q.payload);
    assert_slice(back.listener, SLICE_NONE);
    assert_int_equal(back.qos, 2);
    assert_true(back.retain && !back.as_connected && !back.is_json);
    inquiry_deinit(&q);
    inquiry_deinit(&back);
    buf_deinit(&text);
}

static void a_part_of_a_question_is_none(void **state) {
    struct inquiry q;
    struct buf text = BUF_INIT;
    (void)state;
    fill(&q);
    inquiry_write(&q, &text);
    for (size_t len = 0; len < text.len; len++) {
        struct inquiry back = { 0 };
        /* in memory of its own, so that reading too far shows */
        uint8_t *copy = (uint8_t *)xslicedup(slice_of(text.at, len));
        const char *why = inquiry_read(&back, slice_of(copy, len));
        bool is_whole = copy[len ? len - 1 : 0] == '\n' && back.client.at && back.topic.at;
        if (!why && !is_whole) fail_msg("%zu bytes were enough", len);
        inquiry_deinit(&back);
        free(copy);
    }
    inquiry_deinit(&q);
    buf_deinit(&text);
}

static void what_is_no_question_is_refused(void **state) {
    static const char *const rows[] = {
        "\n",
        " \n",
        "action\n",
        "action 5",
        "action 5\n",
        "action 7\npublisher\n",
        "action x\nconnect\n",
        "action 7\nconnect\nclient 18446744073709551616\nx\n",
        "action 7\nconnect\nclient 1\nxy\n",
        "action 7\nconnect\nnothing 1\nx\n",
        "action 7\nconnect\nclient 1\nx\nqos 1\n3\n",
        "action 7\nconnect\nclient 1\nx\ntopic 1\nt\n",
        "action 7\nconnect\nclient 1\n\xff\n",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct inquiry q = { 0 };
        if (!inquiry_read(&q, slice_str(rows[i]))) fail_msg("row %zu is taken", i);
        inquiry_deinit(&q);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_part_of_a_question_is_none),
        cmocka_unit_test(what_is_no_question_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
