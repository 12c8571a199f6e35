/* test_alias.c -- topic aliases, both directions. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/alias.h"

#include "mqtt/packet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static int resolve(struct aliases *a, uint16_t id, const char *topic, struct slice *out) {
    *out = slice_str(topic);
    return alias_resolve(a, id, out);
}

static void an_alias_means_the_topic_it_was_last_named_with(void **state) {
    struct aliases a = { .in_max = 2 };
    struct slice topic;
    (void)state;
    assert_int_equal(resolve(&a, 1, "a", &topic), 0);
    assert_int_equal(resolve(&a, 2, "b", &topic), 0);
    assert_int_equal(resolve(&a, 1, "", &topic), 0);
    assert_true(slice_eq(topic, SLICE("a")));
    assert_int_equal(resolve(&a, 1, "c", &topic), 0);
    assert_int_equal(resolve(&a, 1, "", &topic), 0);
    assert_true(slice_eq(topic, SLICE("c")));
    aliases_deinit(&a);
}

static void an_alias_out_of_range_or_unnamed_is_refused(void **state) {
    struct aliases a = { .in_max = 2 }, none = { 0 };
    struct slice topic;
    (void)state;
    assert_int_equal(resolve(&a, 0, "a", &topic), RC_TOPIC_ALIAS_INVALID); /* [MQTT-3.3.2-8] */
    assert_int_equal(resolve(&a, 3, "a", &topic), RC_TOPIC_ALIAS_INVALID); /* [MQTT-3.3.2-9] */
    assert_int_equal(resolve(&a, 2, "", &topic), RC_PROTOCOL_ERROR);
    assert_int_equal(resolve(&none, 1, "a", &topic), RC_TOPIC_ALIAS_INVALID);
    aliases_deinit(&a);
}

static void a_client_that_takes_no_aliases_gets_none(void **state) {
    struct aliases a = { 0 };
    bool known;
    (void)state;
    assert_int_equal(alias_for(&a, SLICE("t"), &known), 0);
    assert_null(a.out);
}

static void the_second_time_the_topic_is_known(void **state) {
    struct aliases a = { .out_max = 8 };
    bool known;
    (void)state;
    uint16_t id = alias_for(&a, SLICE("t"), &known);
    assert_in_range(id, 1, 8);
    assert_false(known);
    assert_int_equal(alias_for(&a, SLICE("t"), &known), id);
    assert_true(known);
    aliases_deinit(&a);
}

static void a_frequent_topic_keeps_its_alias_and_a_rare_one_loses_it(void **state) {
    struct aliases a = { .out_max = 1 };
    bool known;
    (void)state;
    for (int i = 0; i < 3; i++) alias_for(&a, SLICE("often"), &known);
    assert_int_equal(alias_for(&a, SLICE("rare"), &known), 0);
    assert_int_equal(alias_for(&a, SLICE("often"), &known), 1);
    assert_true(known);
    for (int i = 0; i < 3; i++) assert_int_equal(alias_for(&a, SLICE("new"), &known), 0);
    assert_int_equal(alias_for(&a, SLICE("new"), &known), 1);
    assert_false(known);
    aliases_deinit(&a);
}

/* The receiver's table must never disagree with ours. */
static void what_we_send_resolves_to_what_we_meant(void **state) {
    struct aliases ours = { .out_max = 4 }, theirs = { .in_max = 4 };
    (void)state;
    for (unsigned i = 0, x = 1; i < 5000; i++) {
        char name[16];
        bool known;
        x = x * 1103515245u + 12345u;
        snprintf(name, sizeof name, "t%u", (x >> 16) % 9);
        struct slice topic = slice_str(name), sent = topic;
        uint16_t id = alias_for(&ours, topic, &known);
        if (known) sent.len = 0;
        if (id) assert_int_equal(alias_resolve(&theirs, id, &sent), 0);
        assert_true(slice_eq(sent, topic));
    }
    aliases_deinit(&ours);
    aliases_deinit(&theirs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_alias_means_the_topic_it_was_last_named_with),
        cmocka_unit_test(an_alias_out_of_range_or_unnamed_is_refused),
        cmocka_unit_test(a_client_that_takes_no_aliases_gets_none),
        cmocka_unit_test(the_second_time_the_topic_is_known),
        cmocka_unit_test(a_frequent_topic_keeps_its_alias_and_a_rare_one_loses_it),
        cmocka_unit_test(what_we_send_resolves_to_what_we_meant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
