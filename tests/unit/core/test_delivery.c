/* test_delivery.c -- messages on their way to one client, case by case; see
 * test_delivery_model.c for all of them at once. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/session.h"

#include "core/numbered.h"

static void at_most_a_window_is_open(void **state) { /* [MQTT-3.3.4-9] */
    struct rig *r = *state;
    struct peer p;
    join_window(&p, r, "s", 2);
    subscribe(&p, "t", 2);
    for (unsigned n = 0; n < 5; n++) say(r, "t", n, 1, MESSAGE_NEVER);
    uint16_t first = expect_publish(&p, "t", "0")->packet_id;
    uint16_t second = expect_publish(&p, "t", "1")->packet_id;
    expect_nothing(&p);
    say(r, "t", 100, 0, MESSAGE_NEVER); /* QoS 0 is not held up */
    expect_publish(&p, "t", "100");
    ack(&p, PKT_PUBACK, second, 0);
    expect_publish(&p, "t", "2");
    expect_nothing(&p);
    ack(&p, PKT_PUBACK, first, 0);
    expect_publish(&p, "t", "3");
    peer_drop(&p);
}

static void a_released_message_still_counts(void **state) { /* 4.9 */
    struct rig *r = *state;
    struct peer p;
    join_window(&p, r, "s", 1);
    subscribe(&p, "t", 2);
    say(r, "t", 0, 2, MESSAGE_NEVER);
    say(r, "t", 1, 2, MESSAGE_NEVER);
    uint16_t id = expect_publish(&p, "t", "0")->packet_id;
    ack(&p, PKT_PUBREC, id, 0);
    assert_int_equal(expect(&p, PKT_PUBREL)->ack.packet_id, id);
    expect_nothing(&p);
    ack(&p, PKT_PUBCOMP, id, 0);
    expect_publish(&p, "t", "1");
    peer_drop(&p);
}

static void a_refusing_pubrec_ends_the_exchange(void **state) { /* [MQTT-4.3.3-4] */
    struct rig *r = *state;
    struct peer p;
    join_window(&p, r, "s", 1);
    subscribe(&p, "t", 2);
    say(r, "t", 0, 2, MESSAGE_NEVER);
    say(r, "t", 1, 2, MESSAGE_NEVER);
    ack(&p, PKT_PUBREC, expect_publish(&p, "t", "0")->packet_id, RC_QUOTA_EXCEEDED);
    expect_publish(&p, "t", "1");
    peer_drop(&p);
}

static void acknowledgements_out_of_turn_are_protocol_errors(void **state) {
    static const struct {
        uint8_t qos;
        int acks[2];
    } rows[] = {
        { 1, { PKT_PUBREC, 0 } },  { 1, { PKT_PUBCOMP, 0 } },         { 2, { PKT_PUBACK, 0 } },
        { 2, { PKT_PUBCOMP, 0 } }, { 2, { PKT_PUBREC, PKT_PUBACK } },
    };
    struct rig *r = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct peer p;
        join(&p, r, MQTT_5, "s", true);
        subscribe(&p, "t", 2);
        say(r, "t", 0, rows[i].qos, MESSAGE_NEVER);
        uint16_t id = expect_publish(&p, "t", "0")->packet_id;
        ack(&p, rows[i].acks[0], id, 0);
        if (rows[i].acks[1]) {
            expect(&p, PKT_PUBREL);
            ack(&p, rows[i].acks[1], id, 0);
        }
        expect_disconnect(&p, RC_PROTOCOL_ERROR);
    }
}

static void acknowledgements_of_nothing_are_borne(void **state) {
    struct rig *r = *state;
    struct peer p;
    join(&p, r, MQTT_5, "s", true);
    ack(&p, PKT_PUBACK, 9, 0);
    ack(&p, PKT_PUBCOMP, 9, 0);
    expect_nothing(&p);
    ack(&p, PKT_PUBREC, 9, 0);
    const struct packet *rel = expect(&p, PKT_PUBREL); /* so that the client can forget it */
    assert_int_equal(rel->ack.reason_code, RC_PACKET_IDENTIFIER_NOT_FOUND);
    peer_drop(&p);
}

static void a_smaller_window_after_reconnect_holds(void **state) {
    struct rig *r = *state;
    struct peer p;
    join_window(&p, r, "s", 10);
    subscribe(&p, "t", 2);
    for (unsigned n = 0; n < 12; n++) say(r, "t", n, 1, MESSAGE_NEVER);
    for (unsigned n = 0; n < 10; n++) expect(&p, PKT_PUBLISH);
    peer_drop(&p);
    assert_true(join_window(&p, r, "s", 2));
    for (unsigned n = 0; n < 2; n++) {
        const struct pkt_publish *m = &expect(&p, PKT_PUBLISH)->publish;
        assert_true(m->dup); /* [MQTT-4.4.0-1] [MQTT-3.3.1-1] */
        assert_int_equal(m->packet_id, n + 1);
        assert_int_equal(number_of(m->payload), n);
    }
    expect_nothing(&p);
    ack(&p, PKT_PUBACK, 5, 0); /* of one that has not been sent again: it need not be */
    expect_nothing(&p);
    for (uint16_t id = 1; id <= 10; id++) {
        if (id != 5) ack(&p, PKT_PUBACK, id, 0);
    }
    unsigned got = 0, last = 0;
    for (; peer_next(&p); got++) {
        last = number_of(p.packet.publish.payload);
        assert_int_not_equal(last, 4);
    }
    assert_int_equal(got, 8 - 1 + 2);
    assert_int_equal(last, 11);
    peer_drop(&p);
}

/* It may answer before the message has come again: the exchange goes on from there. */
static void an_answer_may_come_before_the_repetition(void **state) {
    struct rig *r = *state;
    struct peer p;
    join_window(&p, r, "s", 3);
    subscribe(&p, "t", 2);
    for (unsigned n = 0; n < 5; n++) say(r, "t", n, 2, MESSAGE_NEVER);
    for (unsigned n = 0; n < 3; n++) expect(&p, PKT_PUBLISH);
    peer_drop(&p);
    join_window(&p, r, "s", 1);
    expect_publish(&p, "t", "0");
    ack(&p, PKT_PUBREC, 2, 0);
    assert_int_equal(expect(&p, PKT_PUBREL)->ack.packet_id, 2);
    ack(&p, PKT_PUBCOMP, 2, 0);
    expect_nothing(&p);
    ack(&p, PKT_PUBREC, 1, 0);
    expect(&p, PKT_PUBREL);
    ack(&p, PKT_PUBCOMP, 1, 0);
    assert_true(expect_publish(&p, "t", "2")->dup);
    ack(&p, PKT_PUBREC, 3, RC_UNSPECIFIED_ERROR);
    assert_false(expect_publish(&p, "t", "3")->dup);
    peer_drop(&p);
}

static void the_unsent_expire_and_the_sent_do_not(void **state) { /* [MQTT-3.3.2-5] */
    struct rig *r = *state;
    struct peer p;
    join_window(&p, r, "s", 1);
    subscribe(&p, "t", 1);
    say(r, "t", 0, 1, rig_clock_ms + 5000);
    say(r, "t", 1, 1, rig_clock_ms + 5000);
    say(r, "t", 2, 1, rig_clock_ms + 60000);
    uint32_t left = expect_publish(&p, "t", "0")->props.message_expiry_interval;
    assert_int_equal(left, 5);
    peer_drop(&p);
    rig_pass_ms(r, 10000);
    join_window(&p, r, "s", 10);
    assert_true(expect_publish(&p, "t", "0")->dup);
    left = expect_publish(&p, "t", "2")->props.message_expiry_interval; /* [MQTT-3.3.2-6] */
    assert_int_equal(left, 50);
    expect_nothing(&p);
    assert_int_equal(r->worker->counters.dropped_expired, 1);
    peer_drop(&p);
}

static void a_full_queue_drops_the_newest(void **state) {
    struct rig *r = *state;
    struct peer p;
    r->config->limits.max_queued = 3;
    join(&p, r, MQTT_5, "s", false);
    subscribe(&p, "t", 1);
    peer_drop(&p);
    for (unsigned n = 0; n < 5; n++) say(r, "t", n, 1, MESSAGE_NEVER);
    assert_int_equal(r->worker->counters.dropped_queue_full, 2);
    join(&p, r, MQTT_5, "s", false);
    for (unsigned n = 0; n < 3; n++)
        assert_int_equal(number_of(expect(&p, PKT_PUBLISH)->publish.payload), n);
    expect_nothing(&p);
    peer_drop(&p);
}

static void expect_numbers(struct peer *p, unsigned from, unsigned to) {
    for (unsigned n = from; n <= to; n++) {
        assert_int_equal(number_of(expect(p, PKT_PUBLISH)->publish.payload), n);
        if (p->packet.publish.qos) ack(p, PKT_PUBACK, p->packet.publish.packet_id, 0);
    }
    expect_nothing(p);
}

static void a_full_queue_may_drop_the_eldest_that_waits(void **state) {
    static const unsigned windows[] = { 1, 2, 3, 7 };
    struct rig *r = *state;
    struct peer p;
    r->config->limits.max_queued = 3;
    r->config->drop = DROP_OLDEST;
    for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
        unsigned window = windows[i];
        r->worker->counters.dropped_queue_full = 0;
        join_window(&p, r, "s", (uint16_t)window);
        subscribe(&p, "t", 1);
        for (unsigned n = 0; n < 40; n++) say(r, "t", n, 1, MESSAGE_NEVER);
        assert_int_equal(r->worker->counters.dropped_queue_full, 40 - window - 3);
        const struct session *s = session_of(r, "s");
        assert_in_range(s->ring_len, window + 3, 2 * window + 3); /* and it does not grow */
        for (unsigned n = 0; n < window; n++) {                   /* none that is in flight */
            uint16_t id = expect(&p, PKT_PUBLISH)->publish.packet_id;
            assert_int_equal(number_of(p.packet.publish.payload), n);
            ack(&p, PKT_PUBACK, id, 0);
        }
        expect_numbers(&p, 37, 39);
        assert_int_equal(s->ring_len, 0);
        assert_int_equal(s->queued_bytes, 0);
        peer_drop(&p);
    }
}

static void a_large_message_drops_as_many_as_it_must(void **state) {
    struct rig *r = *state;
    struct peer p;
    r->config->limits.max_queued_bytes = 20;
    r->config->drop = DROP_OLDEST;
    join(&p, r, MQTT_5, "s", false);
    subscribe(&p, "t", 1);
    peer_drop(&p);
    for (unsigned n = 0; n < 10; n++) say(r, "t", n, 1, MESSAGE_NEVER);
    say(r, "t", 12345678, 1, MESSAGE_NEVER); /* 9 bytes: five of 2 go */
    assert_int_equal(r->worker->counters.dropped_queue_full, 5);
    assert_int_equal(session_of(r, "s")->queued_bytes, 19);
    publish_trusted(r->worker, &(struct message_parts){
                                   .topic = SLICE("t"),
                                   .payload = SLICE("more than twenty bytes"),
                                   .expires_ms = MESSAGE_NEVER,
                                   .qos = 1 }); /* room cannot be made: none of them goes */
    assert_int_equal(r->worker->counters.dropped_queue_full, 6);
    join(&p, r, MQTT_5, "s", false);
    for (unsigned n = 5; n < 10; n++)
        assert_int_equal(number_of(expect(&p, PKT_PUBLISH)->publish.payload), n);
    expect_publish(&p, "t", "12345678");
    expect_nothing(&p);
    peer_drop(&p);
}

static void qos0_may_wait_for_an_absent_client(void **state) {
    struct rig *r = *state;
    struct peer p;
    r->config->queue_qos0 = true;
    join_window(&p, r, "s", 1);
    subscribe(&p, "t", 1);
    peer_drop(&p);
    say(r, "t", 0, 0, MESSAGE_NEVER);
    say(r, "t", 1, 1, MESSAGE_NEVER);
    say(r, "t", 2, 0, rig_clock_ms + 10);
    say(r, "t", 3, 0, MESSAGE_NEVER);
    rig_pass_ms(r, 100);
    join_window(&p, r, "s", 1);
    assert_int_equal(expect_publish(&p, "t", "0")->qos, 0);
    uint16_t id = expect_publish(&p, "t", "1")->packet_id;
    say(r, "t", 4, 0, MESSAGE_NEVER); /* behind its elders [MQTT-4.6.0-6] */
    expect_nothing(&p);
    ack(&p, PKT_PUBACK, id, 0);
    expect_numbers(&p, 3, 4);
    assert_int_equal(session_of(r, "s")->waiting_qos0, 0);
    say(r, "t", 5, 0, MESSAGE_NEVER);
    expect_numbers(&p, 5, 5);
    assert_int_equal(session_of(r, "s")->ring_len, 0);
    assert_int_equal(r->worker->counters.dropped_expired, 1);
    peer_drop(&p);
}

static void queued_bytes_are_bounded_and_given_back(void **state) {
    struct rig *r = *state;
    struct peer p;
    struct packet c = connect_packet(MQTT_5, "s", false);
    c.connect.props.present |= PROP_BIT(PROP_RECEIVE_MAXIMUM);
    c.connect.props.receive_maximum = 1;
    r->config->limits.max_queued_bytes = 10;
    join_with(&p, r, &c);
    subscribe(&p, "t", 1);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned n = 0; n < 9; n++) say(r, "t", n, 1, MESSAGE_NEVER);
        unsigned got = 0;
        rig_settle(r);
        assert_int_equal(session_of(r, "s")->queued_bytes, 10); /* "t" and a digit each */
        for (; peer_next(&p); got++) ack(&p, PKT_PUBACK, p.packet.publish.packet_id, 0);
        assert_int_equal(got, 6); /* one was on its way and did not wait */
        assert_int_equal(session_of(r, "s")->queued_bytes, 0);
    }
    peer_drop(&p);
}

/* A topic that makes every PUBLISH larger than the 40 bytes a small client takes. */
static const char long_topic[] = "tttttttttttttttttttttttttttttttttttttttt";

static void join_small(struct peer *p, struct rig *r) {
    struct packet c = connect_packet(MQTT_5, "s", false);
    c.connect.props.present |= PROP_BIT(PROP_MAXIMUM_PACKET_SIZE);
    c.connect.props.maximum_packet_size = 40;
    join_with(p, r, &c);
}

static void what_a_client_cannot_take_is_passed_over(void **state) { /* [MQTT-3.1.2-24] */
    struct rig *r = *state;
    struct peer p;
    join_small(&p, r);
    subscribe(&p, "#", 1);
    say(r, "t", 0, 1, MESSAGE_NEVER);
    say(r, long_topic, 1, 1, MESSAGE_NEVER); /* as if it had been received [MQTT-3.1.2-25] */
    say(r, "t", 2, 1, MESSAGE_NEVER);
    uint16_t id = expect_publish(&p, "t", "0")->packet_id;
    assert_int_equal(number_of(expect(&p, PKT_PUBLISH)->publish.payload), 2);
    assert_int_not_equal(p.packet.publish.packet_id, id);
    assert_int_equal(r->worker->counters.dropped_too_large, 1);
    ack(&p, PKT_PUBACK, id, 0);
    ack(&p, PKT_PUBACK, p.packet.publish.packet_id, 0);
    assert_int_equal(session_of(r, "s")->ring_len, 0);
    peer_drop(&p);
}

static void what_it_takes_no_more_is_not_repeated(void **state) {
    struct rig *r = *state;
    struct peer p;
    r->config->queue_qos0 = true;
    join(&p, r, MQTT_5, "s", false);
    subscribe(&p, "#", 1);
    for (unsigned n = 0; n < 4; n++) say(r, n % 2 ? long_topic : "t", n, 1, MESSAGE_NEVER);
    for (unsigned n = 0; n < 4; n++) expect(&p, PKT_PUBLISH);
    peer_drop(&p);
    say(r, long_topic, 4, 0, MESSAGE_NEVER);
    say(r, "t", 5, 0, MESSAGE_NEVER);
    join_small(&p, r);
    assert_true(expect_publish(&p, "t", "0")->dup);
    assert_true(expect_publish(&p, "t", "2")->dup);
    expect_publish(&p, "t", "5");
    expect_nothing(&p);
    const struct session *s = session_of(r, "s");
    assert_int_equal(s->ring_open, 2); /* the window has all its other places */
    ack(&p, PKT_PUBACK, 1, 0);
    ack(&p, PKT_PUBACK, 3, 0);
    assert_int_equal(s->ring_open, 0);
    assert_int_equal(s->ring_len, 0);
    assert_int_equal(s->open_bytes + s->queued_bytes + s->waiting_qos0, 0);
    assert_int_equal(r->worker->counters.dropped_too_large, 3);
    peer_drop(&p);
}

static void one_message_never_acknowledged_does_not_grow_the_ring(void **state) {
    struct rig *r = *state;
    struct peer p;
    join_window(&p, r, "s", 4);
    subscribe(&p, "t", 1);
    for (unsigned n = 0; n < 100; n++) say(r, "t", n, 1, MESSAGE_NEVER);
    unsigned got = 0;
    rig_settle(r);
    for (; peer_next(&p); got++)
        if (got) ack(&p, PKT_PUBACK, p.packet.publish.packet_id, 0);
    assert_in_range(got, 8, 99);
    assert_in_range(session_of(r, "s")->ring_sent, 8, 4 * 8);
    ack(&p, PKT_PUBACK, 1, 0); /* at last */
    for (; peer_next(&p); got++) ack(&p, PKT_PUBACK, p.packet.publish.packet_id, 0);
    assert_int_equal(got, 100);
    peer_drop(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(at_most_a_window_is_open),
        RIG(a_released_message_still_counts),
        RIG(a_refusing_pubrec_ends_the_exchange),
        RIG(acknowledgements_out_of_turn_are_protocol_errors),
        RIG(acknowledgements_of_nothing_are_borne),
        RIG(a_smaller_window_after_reconnect_holds),
        RIG(an_answer_may_come_before_the_repetition),
        RIG(the_unsent_expire_and_the_sent_do_not),
        RIG(a_full_queue_drops_the_newest),
        RIG(a_full_queue_may_drop_the_eldest_that_waits),
        RIG(a_large_message_drops_as_many_as_it_must),
        RIG(qos0_may_wait_for_an_absent_client),
        RIG(queued_bytes_are_bounded_and_given_back),
        RIG(what_a_client_cannot_take_is_passed_over),
        RIG(what_it_takes_no_more_is_not_repeated),
        RIG(one_message_never_acknowledged_does_not_grow_the_ring),
    };
    return cmocka_run_group_tests_name("core/delivery", tests, NULL, NULL);
}
