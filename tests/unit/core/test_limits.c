/* test_limits.c -- settings held against packets, and the buckets of a rate. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/limits.h"

#include "core/rig.h"

static void without_settings_there_are_no_limits(void **state) {
    static const struct limits l = LIMITS_DEFAULTS;
    struct props p;
    const char *why;
    (void)state;
    props_init(&p);
    limits_announce(&l, &p);
    assert_int_equal(p.present, 0);
    assert_false(limits_on_publish(&l));
    assert_null(rate_new(&l));
    assert_int_equal(rate_spend(NULL, 1 << 20, 5), 0);
    assert_int_equal(limits_publish(&l, &(struct pkt_publish){ .qos = 2, .retain = true }, &why),
                     0);
    assert_int_equal(limits_filter(&l, SLICE("$share/g/#")), 0);
}

static void a_publish_is_refused_for_its_flags(void **state) {
    static const struct {
        uint8_t max_qos;
        bool retains;
        uint8_t qos;
        bool retain;
        uint8_t rc;
    } rows[] = {
        { 2, false, 2, false, 0 },
        { 2, false, 0, true, RC_RETAIN_NOT_SUPPORTED }, /* [MQTT-3.2.2-14] */
        { 1, true, 1, true, 0 },
        { 1, true, 2, false, RC_QOS_NOT_SUPPORTED }, /* [MQTT-3.2.2-11] */
        { 0, true, 1, false, RC_QOS_NOT_SUPPORTED },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct limits l = LIMITS_DEFAULTS;
        const char *why;
        l.max_qos = rows[i].max_qos;
        l.retain_available = rows[i].retains;
        assert_true(limits_on_publish(&l));
        struct pkt_publish p = { .qos = rows[i].qos, .retain = rows[i].retain };
        assert_int_equal(limits_publish(&l, &p, &why), rows[i].rc);
    }
}

static void filters_are_refused_for_what_they_use(void **state) {
    static const struct {
        bool wildcards, shares;
        const char *filter;
        uint8_t rc;
    } rows[] = {
        { false, true, "a/b", 0 },
        { false, true, "a/+", RC_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED },
        { false, true, "$share/g/a", 0 },
        { false, true, "$share/g/#", RC_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED },
        { true, false, "#", 0 },
        { true, false, "$share/g/a", RC_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED },
        { false, false, "$share/g/+/a", RC_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct limits l = { .wildcard_subscription = rows[i].wildcards,
                                  .shared_subscription = rows[i].shares };
        assert_int_equal(limits_filter(&l, slice_str(rows[i].filter)), rows[i].rc);
    }
}

static struct rate *rated(uint32_t messages, uint32_t bytes) {
    struct limits l = LIMITS_DEFAULTS;
    l.message_rate = messages;
    l.byte_rate = bytes;
    return rate_new(&l);
}

static void a_second_of_messages_may_come_at_once(void **state) {
    struct rate *r = rated(10, 0);
    (void)state;
    for (unsigned i = 0; i < 10; i++) assert_int_equal(rate_spend(r, 100, 50000), 0);
    assert_int_equal(rate_spend(r, 100, 50000), 50100);
    assert_int_equal(rate_wait_ms(r), 50100);
    assert_int_equal(rate_spend(r, 100, 50100), 50200);
    for (unsigned i = 0; i < 10; i++) /* after a rest again, and no more than that */
        assert_int_equal(rate_spend(r, 100, 90000), 0);
    assert_int_equal(rate_spend(r, 100, 90000), 90100);
    free(r);
}

static void a_steady_client_is_never_slowed(void **state) {
    static const uint32_t rates[] = { 1, 3, 7, 100, 999 };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
        struct rate *r = rated(rates[i], 0);
        for (uint64_t n = 0; n < 5000; n++)
            assert_int_equal(rate_spend(r, 1, 10000 + (n * 1000 + rates[i] - 1) / rates[i]), 0);
        free(r);
    }
}

static void the_stricter_of_two_rates_counts(void **state) {
    struct rate *r = rated(1000, 1000);
    (void)state;
    assert_int_equal(rate_spend(r, 1000, 50000), 0);
    assert_int_equal(rate_spend(r, 500, 50000), 50500);
    assert_int_equal(rate_spend(r, 4000000, 60000), 60000 + 3999000); /* had on credit */
    free(r);
}

/* One who has used up its second is not read, and loses nothing by it. */
static void a_fast_client_is_read_again_in_time(void **state) {
    struct rig *r = *state;
    struct peer p, other;
    r->config->limits.message_rate = 2;
    join(&p, r, MQTT_5, "p", true);
    join(&other, r, MQTT_3_1_1, "other", true);
    subscribe(&other, "t", 0);
    for (unsigned n = 0; n < 5; n++) {
        struct packet packet = publish_packet("t", "x", 0, 0);
        peer_post(&p, &packet);
    }
    say_disconnect(&p, 0); /* comes after them */
    for (unsigned n = 0; n < 3; n++) expect_publish(&other, "t", "x");
    expect_nothing(&other);
    assert_true(peer_conn(&p)->is_throttled);
    rig_pass_ms(r, 499);
    expect_nothing(&other);
    rig_pass_ms(r, 2);
    expect_publish(&other, "t", "x");
    expect_nothing(&other);
    rig_pass_ms(r, 500);
    expect_publish(&other, "t", "x");
    assert_non_null(peer_conn(&p));
    rig_pass_ms(r, 500);
    expect_end(&p);
    peer_drop(&other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_settings_there_are_no_limits),
        cmocka_unit_test(a_publish_is_refused_for_its_flags),
        cmocka_unit_test(filters_are_refused_for_what_they_use),
        cmocka_unit_test(a_second_of_messages_may_come_at_once),
        cmocka_unit_test(a_steady_client_is_never_slowed),
        cmocka_unit_test(the_stricter_of_two_rates_counts),
        RIG(a_fast_client_is_read_again_in_time),
    };
    return cmocka_run_group_tests_name("core/limits", tests, NULL, NULL);
}
