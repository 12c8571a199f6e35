/* test_fanout.c -- who gets a copy, and as what. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/fanout.h"

#include "core/rig.h"

static void say(struct rig *r, const char *topic) {
    publish_trusted(r->worker, &(struct message_parts){ .topic = slice_str(topic),
                                                        .payload = SLICE("x"),
                                                        .expires_ms = MESSAGE_NEVER });
}

static void no_local_keeps_a_clients_own_messages_from_it(void **state) { /* [MQTT-3.8.3-3] */
    struct rig *r = *state;
    struct peer p, q;
    join(&p, r, MQTT_5, "p", false);
    join(&q, r, MQTT_5, "q", true);
    say_subscribe(&p, true, "t", (struct subscribe_options){ .no_local = true }, 0);
    expect(&p, PKT_SUBACK);
    publish(&p, "t", "mine", 0, 0);
    publish(&q, "t", "yours", 0, 0);
    say(r, "t");
    expect_publish(&p, "t", "yours");
    expect_publish(&p, "t", "x");
    peer_drop(&p);
    join(&p, r, MQTT_5, "p", false); /* the session knows its own after a reconnect, too */
    publish(&p, "t", "mine", 0, 0);
    expect_nothing(&p);
    subscribe(&p, "+", 0); /* another subscription that does not mind */
    publish(&p, "t", "mine", 0, 0);
    expect_publish(&p, "t", "mine");
    peer_drop(&p);
    peer_drop(&q);
}

static void retain_is_told_where_it_is_asked_for(void **state) { /* [MQTT-3.3.1-13] */
    struct rig *r = *state;
    struct peer p, s;
    join(&p, r, MQTT_5, "p", true);
    join(&s, r, MQTT_5, "s", true);
    subscribe(&p, "t", 0);
    say_subscribe(&s, true, "t", (struct subscribe_options){ .retain_as_published = true }, 0);
    expect(&s, PKT_SUBACK);
    publish_retained(&p, "t", "kept");
    assert_false(expect_publish(&p, "t", "kept")->retain);
    assert_true(expect_publish(&s, "t", "kept")->retain);
    publish(&p, "t", "not", 0, 0);
    assert_false(expect_publish(&s, "t", "not")->retain);
    peer_drop(&p);
    peer_drop(&s);
}

static void the_lower_qos_wins(void **state) { /* 3.8.4 */
    struct rig *r = *state;
    struct peer p, s;
    join(&p, r, MQTT_5, "p", true);
    for (uint8_t most = 0; most <= 2; most++) {
        join(&s, r, MQTT_5, "s", true);
        subscribe(&s, "t", most);
        for (uint8_t qos = 0; qos <= 2; qos++) {
            publish(&p, "t", "x", qos, (uint16_t)(qos ? 1 + most * 3 + qos : 0));
            assert_int_equal(expect_publish(&s, "t", "x")->qos, qos < most ? qos : most);
        }
        peer_drop(&s);
    }
    peer_drop(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(no_local_keeps_a_clients_own_messages_from_it),
        RIG(retain_is_told_where_it_is_asked_for),
        RIG(the_lower_qos_wins),
    };
    return cmocka_run_group_tests_name("core/fanout", tests, NULL, NULL);
}
