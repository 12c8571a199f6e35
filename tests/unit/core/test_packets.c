/* test_packets.c -- what the packets of an open connection mean: publishing at every QoS,
 * retained messages, subscribing and its options. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/packets.h"

#include "core/rig.h"

static uint8_t ack_code(struct peer *p, int type, uint16_t id) {
    const struct pkt_ack *a = &expect(p, type)->ack;
    assert_int_equal(a->packet_id, id);
    return a->reason_code;
}

/* ---- publishing -------------------------------------------------------------------- */

static void each_qos_is_acknowledged_in_its_way(void **state) {
    struct rig *r = *state;
    for (int version = MQTT_3_1; version <= MQTT_5; version++) {
        struct peer p;
        join(&p, r, version, "p", true);
        uint8_t nobody = version == MQTT_5 ? RC_NO_MATCHING_SUBSCRIBERS : 0;
        publish(&p, "t", "x", 0, 0);
        expect_nothing(&p);
        publish(&p, "t", "x", 1, 5);
        assert_int_equal(ack_code(&p, PKT_PUBACK, 5), nobody);
        publish(&p, "t", "x", 2, 6);
        assert_int_equal(ack_code(&p, PKT_PUBREC, 6), nobody);
        ack(&p, PKT_PUBREL, 6, 0);
        assert_int_equal(ack_code(&p, PKT_PUBCOMP, 6), 0);
        subscribe(&p, "t", 0);
        publish(&p, "t", "x", 1, 7);
        expect_publish(&p, "t", "x");
        assert_int_equal(ack_code(&p, PKT_PUBACK, 7), 0);
        peer_drop(&p);
    }
}

/* The connection remembers the route it used last; subscriptions and policies change it. */
static void a_topic_published_again_reaches_who_wants_it_by_then(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    join(&p, r, MQTT_5, "p", true);
    join(&s, r, MQTT_5, "s", true);
    for (int round = 0; round < 3; round++) {
        publish(&p, "t/a", "early", 0, 0);
        subscribe(&s, "t/+", 0);
        publish(&p, "t/a", "x", 0, 0);
        expect_publish(&s, "t/a", "x");
        fake_on(&r->hooks, HOOK_PUBLISH, NULL); /* one that counts: the long way */
        publish(&p, "t/a", "y", 0, 0);
        expect_publish(&s, "t/a", "y");
        say_subscribe(&s, false, "t/+", (struct subscribe_options){ 0 }, 0);
        expect(&s, PKT_UNSUBACK);
        publish(&p, "t/a", "late", 0, 0);
        expect_nothing(&s);
        fake_want(&r->hooks, 0);
    }
    peer_drop(&p);
    peer_drop(&s);
}

static void a_qos_2_message_is_taken_once(void **state) { /* [MQTT-4.3.3-10] */
    struct rig *r = *state;
    struct peer p, s;
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "t", 0);
    join(&p, r, MQTT_5, "p", false);
    publish(&p, "t", "1", 2, 9);
    peer_drop(&p); /* before it has heard PUBREC */
    join(&p, r, MQTT_5, "p", false);
    struct packet again = publish_packet("t", "1", 2, 9);
    again.publish.dup = true;
    peer_send(&p, &again);
    assert_int_equal(ack_code(&p, PKT_PUBREC, 9), 0);
    ack(&p, PKT_PUBREL, 9, 0);
    assert_int_equal(ack_code(&p, PKT_PUBCOMP, 9), 0);
    ack(&p, PKT_PUBREL, 9, 0); /* again: it is gone by now */
    assert_int_equal(ack_code(&p, PKT_PUBCOMP, 9), RC_PACKET_IDENTIFIER_NOT_FOUND);
    publish(&p, "t", "2", 2, 9); /* a new one of the same id */
    expect_publish(&s, "t", "1");
    expect_publish(&s, "t", "2");
    expect_nothing(&s);
    peer_drop(&p);
    peer_drop(&s);
}

static void our_receive_maximum_holds(void **state) { /* [MQTT-3.3.4-7] */
    struct rig *r = *state;
    struct peer p;
    r->config->limits.max_inflight = 3;
    join(&p, r, MQTT_5, "p", true);
    for (uint16_t id = 1; id <= 3; id++) publish(&p, "t", "x", 2, id);
    for (uint16_t id = 1; id <= 3; id++) expect(&p, PKT_PUBREC);
    publish(&p, "t", "x", 0, 0); /* QoS 0 does not count */
    publish(&p, "t", "x", 2, 2); /* nor does one sent again */
    expect(&p, PKT_PUBREC);
    ack(&p, PKT_PUBREL, 1, 0);
    expect(&p, PKT_PUBCOMP);
    publish(&p, "t", "x", 1, 9);
    expect(&p, PKT_PUBACK);
    publish(&p, "t", "x", 2, 4);
    expect(&p, PKT_PUBREC);
    publish(&p, "t", "x", 1, 9);
    expect_disconnect(&p, RC_RECEIVE_MAXIMUM_EXCEEDED);
    join(&p, r, MQTT_3_1_1, "p", true); /* which knows no such limit */
    for (uint16_t id = 1; id <= 9; id++) publish(&p, "t", "x", 2, id);
    for (uint16_t id = 1; id <= 9; id++) expect(&p, PKT_PUBREC);
    peer_drop(&p);
}

static void deny(struct fake *f, struct hook_call *call) {
    (void)f;
    call->verdict = VERDICT_DENY;
    call->reason_code = RC_QUOTA_EXCEEDED;
    call->reason = xstrdup("enough");
}

static void a_refusal_is_told_where_the_version_can(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "#", 0);
    fake_on(&r->hooks, HOOK_PUBLISH, deny);
    join(&p, r, MQTT_5, "p", true);
    publish(&p, "t", "x", 2, 9);
    const struct pkt_ack *a = &expect(&p, PKT_PUBREC)->ack;
    assert_int_equal(a->reason_code, RC_QUOTA_EXCEEDED);
    assert_slice(a->props.reason_string, "enough");
    ack(&p, PKT_PUBREL, 9, 0); /* it was not kept */
    assert_int_equal(ack_code(&p, PKT_PUBCOMP, 9), RC_PACKET_IDENTIFIER_NOT_FOUND);
    peer_drop(&p);
    join(&p, r, MQTT_3_1_1, "p", true);
    publish(&p, "t", "x", 2, 9); /* [MQTT-3.3.5-2] of 3.1.1: acknowledged all the same */
    ack_code(&p, PKT_PUBREC, 9);
    ack(&p, PKT_PUBREL, 9, 0);
    ack_code(&p, PKT_PUBCOMP, 9);
    expect_nothing(&s);
    peer_drop(&p);
    peer_drop(&s);
}

static void who_asked_for_no_reasons_gets_none(void **state) { /* [MQTT-3.1.2-29] */
    struct rig *r = *state;
    struct peer p;
    struct packet c = connect_packet(MQTT_5, "p", true);
    c.connect.props.present |= PROP_BIT(PROP_REQUEST_PROBLEM_INFORMATION);
    c.connect.props.request_problem_information = 0;
    join_with(&p, r, &c);
    fake_on(&r->hooks, HOOK_PUBLISH, deny);
    publish(&p, "t", "x", 1, 9);
    const struct pkt_ack *a = &expect(&p, PKT_PUBACK)->ack;
    assert_int_equal(a->reason_code, RC_QUOTA_EXCEEDED);
    assert_false(props_has(&a->props, PROP_REASON_STRING));
    peer_drop(&p);
}

static void default_access_decides_where_nobody_does(void **state) {
    struct rig *r = *state;
    struct peer p;
    r->config->default_access = false;
    join(&p, r, MQTT_5, "p", true);
    publish(&p, "t", "x", 1, 9);
    assert_int_equal(ack_code(&p, PKT_PUBACK, 9), RC_NOT_AUTHORIZED);
    assert_int_equal(subscribe(&p, "t", 0), RC_NOT_AUTHORIZED);
    fake_on(&r->hooks, HOOK_AUTHORIZE, NULL); /* says nothing */
    publish(&p, "t", "x", 1, 9);
    assert_int_equal(ack_code(&p, PKT_PUBACK, 9), RC_NOT_AUTHORIZED);
    peer_drop(&p);
}

static void forbidden_publishes_end_the_connection(void **state) {
    struct rig *r = *state;
    struct peer p;
    r->config->limits.max_topic_levels = 3;
    join(&p, r, MQTT_5, "p", true);
    publish(&p, "a/b/c/d", "x", 0, 0);
    expect_disconnect(&p, RC_TOPIC_NAME_INVALID);
    join(&p, r, MQTT_5, "p", true);
    struct packet m = publish_packet("t", "x", 0, 0);
    m.publish.props.present = PROP_BIT(PROP_SUBSCRIPTION_IDENTIFIER);
    m.publish.props.subscription_identifier = 4;
    peer_send(&p, &m);
    expect_disconnect(&p, RC_PROTOCOL_ERROR); /* [MQTT-3.3.4-6] */
}

static void aliases_stand_for_topics(void **state) { /* 3.3.2.3.4 */
    struct rig *r = *state;
    struct peer p, s;
    r->config->limits.max_topic_alias = 5;
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "#", 0);
    join(&p, r, MQTT_5, "p", true);
    struct packet m = publish_packet("long/topic", "1", 0, 0);
    m.publish.props.present = PROP_BIT(PROP_TOPIC_ALIAS);
    m.publish.props.topic_alias = 5;
    peer_send(&p, &m);
    m.publish.topic = SLICE("");
    peer_send(&p, &m);
    expect_publish(&s, "long/topic", "1");
    expect_publish(&s, "long/topic", "1");
    m.publish.topic = SLICE("another");
    peer_send(&p, &m);
    m.publish.topic = SLICE("");
    peer_send(&p, &m);
    expect_publish(&s, "another", "1");
    expect_publish(&s, "another", "1");
    m.publish.props.topic_alias = 4; /* not named yet */
    peer_send(&p, &m);
    expect_disconnect(&p, RC_PROTOCOL_ERROR);
    join(&p, r, MQTT_5, "p", true);
    m.publish.topic = SLICE("t");
    m.publish.props.topic_alias = 6; /* [MQTT-3.3.2-9] */
    peer_send(&p, &m);
    expect_disconnect(&p, RC_TOPIC_ALIAS_INVALID);
    peer_drop(&s);
}

/* A hook of the acknowledgement ends the client: no PUBREL may follow DISCONNECT. */
static void end_own(struct fake *f, struct hook_call *call) {
    (void)f;
    kick(call->client);
}

static void nothing_follows_disconnect(void **state) { /* [MQTT-3.14.4-1] */
    struct rig *r = *state;
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    subscribe(&p, "t", 2);
    fake_on(&r->hooks, HOOK_ACKED, end_own);
    publish_trusted(r->worker, &(struct message_parts){
                                   .topic = SLICE("t"), .expires_ms = MESSAGE_NEVER, .qos = 2 });
    ack(&p, PKT_PUBREC, expect(&p, PKT_PUBLISH)->publish.packet_id, 0);
    expect_disconnect(&p, RC_ADMINISTRATIVE_ACTION);
}

/* ---- retained ---------------------------------------------------------------------------- */

static void retained_messages_await_the_subscriber(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    join(&p, r, MQTT_5, "p", true);
    publish_retained(&p, "a/b", "old");
    publish_retained(&p, "a/b", "kept");
    publish_retained(&p, "a/c", "gone");
    publish_retained(&p, "a/c", "");
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "a/#", 0);
    assert_true(expect_publish(&s, "a/b", "kept")->retain); /* [MQTT-3.3.1-8] */
    expect_nothing(&s);
    publish_retained(&p, "a/b", "live");
    assert_false(expect_publish(&s, "a/b", "live")->retain); /* [MQTT-3.3.1-12] */
    publish_retained(&p, "a/b", "");
    expect_publish(&s, "a/b", ""); /* and empty ones are handed on */
    assert_int_equal(retain_count(r->broker->retained), 0);
    peer_drop(&p);
    peer_drop(&s);
}

/* Subscribes with these options; gives how many retained messages came. */
static unsigned retained_for(struct peer *s, const char *filter, unsigned handling) {
    unsigned n = 0;
    say_subscribe(s, true, filter,
                  (struct subscribe_options){ .retain_handling = (uint8_t)handling }, 0);
    assert_int_equal(expect(s, PKT_SUBACK)->codes.codes.at[0], 0);
    while (peer_hear(s) == PKT_PUBLISH) n++;
    return n;
}

static void retain_handling_is_heeded(void **state) { /* [MQTT-3.3.1-9] .. [MQTT-3.3.1-11] */
    struct rig *r = *state;
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    publish_retained(&p, "t", "x");
    assert_int_equal(retained_for(&p, "t", 2), 0);
    assert_int_equal(retained_for(&p, "t", 1), 0);
    assert_int_equal(retained_for(&p, "t", 0), 1);
    assert_int_equal(retained_for(&p, "t", 0), 1);
    assert_int_equal(retained_for(&p, "+", 1), 1);
    assert_int_equal(retained_for(&p, "+", 1), 0);
    assert_int_equal(retained_for(&p, "$share/g/t", 0), 0);
    peer_drop(&p);
}

static void many_retained_messages_come_as_there_is_room(void **state) {
    struct rig *r = *state;
    struct peer s;
    char topic[16], payload[1001];
    enum { MANY = 2000 };
    memset(payload, 'x', 1000);
    payload[1000] = 0;
    join(&s, r, MQTT_5, "s", true);
    for (unsigned n = 0; n < MANY; n++) {
        snprintf(topic, sizeof topic, "r/%u", n);
        publish_trusted(r->worker, &(struct message_parts){ .topic = slice_str(topic),
                                                            .payload = slice_str(payload),
                                                            .expires_ms = MESSAGE_NEVER,
                                                            .retain = true });
    }
    say_subscribe(&s, true, "r/#", (struct subscribe_options){ 0 }, 0);
    rig_settle(r);
    assert_in_range(peer_conn(&s)->out.len, 1, 200000); /* not two megabytes at once */
    expect(&s, PKT_SUBACK);
    for (unsigned n = 0; n < MANY; n++) expect(&s, PKT_PUBLISH);
    expect_nothing(&s);
    peer_drop(&s);
}

static void keep(struct peer *p, const char *topic, uint8_t qos) {
    struct packet m = publish_packet(topic, "old", qos, 1);
    m.publish.retain = true;
    peer_send(p, &m);
    expect(p, PKT_PUBACK);
}

/* While they are still being sent a topic gets a new message: the old one must not follow. */
static void a_retained_message_does_not_follow_its_successor(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    struct packet c = connect_packet(MQTT_5, "s", true);
    c.connect.props.present = PROP_BIT(PROP_RECEIVE_MAXIMUM);
    c.connect.props.receive_maximum = 1;
    join(&p, r, MQTT_5, "p", true);
    keep(&p, "a", 1);
    keep(&p, "b", 1);
    join_with(&s, r, &c);
    subscribe(&s, "#", 1);
    const struct pkt_publish *first = &expect(&s, PKT_PUBLISH)->publish;
    const char *other = slice_eq(first->topic, SLICE("a")) ? "b" : "a";
    uint16_t id = first->packet_id;
    expect_nothing(&s); /* the window is full */
    publish_retained(&p, other, "new");
    expect_publish(&s, other, "new");
    ack(&s, PKT_PUBACK, id, 0);
    expect_nothing(&s);
    peer_drop(&p);
    peer_drop(&s);
}

/* ---- subscribing --------------------------------------------------------------------------- */

static void suback_and_unsuback_answer_filter_by_filter(void **state) {
    struct rig *r = *state;
    struct peer p;
    struct buf list = BUF_INIT;
    r->config->limits.max_topic_levels = 3;
    join(&p, r, MQTT_5, "p", true);
    assert_int_equal(subscribe(&p, "a", 0), 0);
    assert_int_equal(subscribe(&p, "b/+", 1), 1);
    assert_int_equal(subscribe(&p, "#", 2), 2); /* [MQTT-3.8.4-8] */
    assert_int_equal(subscribe(&p, "a/b/c/d", 0), RC_TOPIC_FILTER_INVALID);
    filters_add(&list, SLICE("a"), NULL, MQTT_5);
    filters_add(&list, SLICE("never"), NULL, MQTT_5);
    filters_add(&list, SLICE("#"), NULL, MQTT_5);
    struct packet u = { .type = PKT_UNSUBSCRIBE, .filters = { .packet_id = 8, .count = 3 } };
    u.filters.filters = buf_slice(&list);
    props_init(&u.filters.props);
    peer_post(&p, &u);
    buf_deinit(&list);
    const struct packet *a = expect(&p, PKT_UNSUBACK);
    assert_int_equal(a->codes.codes.len, 3);
    assert_memory_equal(a->codes.codes.at, "\x00\x11\x00", 3);
    assert_int_equal(subs_count(r->broker->subs), 1);
    peer_drop(&p);
}

static void in_3_a_refused_filter_is_0x80(void **state) { /* 3.1.1 [MQTT-3.9.3-2] */
    struct rig *r = *state;
    struct peer p;
    fake_on(&r->hooks, HOOK_SUBSCRIBE, deny);
    join(&p, r, MQTT_3_1_1, "p", true);
    assert_int_equal(subscribe(&p, "a", 0), 0x80);
    say_subscribe(&p, false, "a", (struct subscribe_options){ 0 }, 0);
    assert_int_equal(expect(&p, PKT_UNSUBACK)->codes.codes.len, 0);
    peer_drop(&p);
}

static void shift(struct fake *f, struct hook_call *call) {
    (void)f;
    subscribe_keep(call->subscribe, SLICE("user/p/t"));
    call->subscribe->options.qos = 1;
}

static void note_access(struct fake *f, struct hook_call *call) {
    (void)f;
    assert_int_equal(call->access.action, ACCESS_SUBSCRIBE);
    assert_slice(call->access.topic, "user/p/t");
    assert_int_equal(call->access.qos, 1);
}

static void authorize_sees_the_filter_that_counts(void **state) {
    struct rig *r = *state;
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    fake_on(&r->hooks, HOOK_SUBSCRIBE, shift);
    fake_on(&r->hooks, HOOK_AUTHORIZE, note_access);
    assert_int_equal(subscribe(&p, "t", 2), 1);
    fake_want(&r->hooks, HOOK_BIT(HOOK_AUTHORIZE));
    subscribe(&p, "$share/g/user/p/t", 1); /* of a shared one what is shared */
    fake_want(&r->hooks, 0);
    publish(&p, "t", "x", 0, 0);
    expect_nothing(&p);
    publish(&p, "user/p/t", "x", 0, 0);
    expect_publish(&p, "user/p/t", "x");
    peer_drop(&p);
}

static void identifiers_come_with_the_message(void **state) { /* [MQTT-3.3.4-3] .. -5 */
    struct rig *r = *state;
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    say_subscribe(&p, true, "a/+", (struct subscribe_options){ .qos = 1 }, 5);
    expect(&p, PKT_SUBACK);
    say_subscribe(&p, true, "a/b", (struct subscribe_options){ .qos = 0 }, 268435455);
    expect(&p, PKT_SUBACK);
    publish(&p, "a/b", "x", 1, 1);
    const struct pkt_publish *m = expect_publish(&p, "a/b", "x");
    size_t at = 0;
    struct prop_item item;
    uint32_t sum = 0, n = 0;
    while (props_next(m->props.raw, &at, &item)) n++, sum += item.number;
    assert_int_equal(n, 2);
    assert_int_equal(sum, 5 + 268435455);
    assert_int_equal(m->qos, 1); /* [MQTT-3.3.4-2]: one copy, the highest QoS */
    expect(&p, PKT_PUBACK);
    expect_nothing(&p);
    peer_drop(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(each_qos_is_acknowledged_in_its_way),
        RIG(a_qos_2_message_is_taken_once),
        RIG(our_receive_maximum_holds),
        RIG(a_refusal_is_told_where_the_version_can),
        RIG(who_asked_for_no_reasons_gets_none),
        RIG(default_access_decides_where_nobody_does),
        RIG(forbidden_publishes_end_the_connection),
        RIG(aliases_stand_for_topics),
        RIG(nothing_follows_disconnect),
        RIG(retained_messages_await_the_subscriber),
        RIG(retain_handling_is_heeded),
        RIG(many_retained_messages_come_as_there_is_room),
        RIG(a_retained_message_does_not_follow_its_successor),
        RIG(suback_and_unsuback_answer_filter_by_filter),
        RIG(a_topic_published_again_reaches_who_wants_it_by_then),
        RIG(in_3_a_refused_filter_is_0x80),
        RIG(authorize_sees_the_filter_that_counts),
        RIG(identifiers_come_with_the_message),
    };
    return cmocka_run_group_tests_name("core/packets", tests, NULL, NULL);
}
