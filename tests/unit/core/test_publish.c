/* test_publish.c -- a message's way: hooks, validation, authorization, outcome. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/publish.h"

#include "core/rig.h"

static void say(struct rig *r, const char *topic) {
    publish_trusted(r->worker, &(struct message_parts){ .topic = slice_str(topic),
                                                        .payload = SLICE("x"),
                                                        .expires_ms = MESSAGE_NEVER });
}

static const char *new_topic;
static bool allows;

static void rewrite(struct fake *f, struct hook_call *call) {
    struct message_parts parts = message_parts(call->message);
    (void)f;
    parts.topic = slice_str(new_topic);
    parts.qos = 0;
    call->changed = message_new(&parts);
}

static void check_topic(struct fake *f, struct hook_call *call) {
    (void)f;
    assert_int_equal(call->access.action, ACCESS_PUBLISH);
    assert_slice(call->access.topic, new_topic);
    call->verdict = allows ? VERDICT_ALLOW : VERDICT_DENY;
}

static void authorize_sees_the_effective_topic(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "#", 2);
    join(&p, r, MQTT_5, "p", true);
    fake_on(&r->hooks, HOOK_PUBLISH, rewrite);
    fake_on(&r->hooks, HOOK_AUTHORIZE, check_topic);
    new_topic = "other";
    allows = true;
    publish(&p, "t", "x", 2, 7);
    assert_int_equal(expect_publish(&s, "other", "x")->qos, 0);
    const struct packet *ack_of = expect(&p, PKT_PUBREC); /* as it was sent, not as it became */
    assert_int_equal(ack_of->ack.packet_id, 7);
    allows = false;
    publish(&p, "t", "x", 1, 8);
    assert_int_equal(expect(&p, PKT_PUBACK)->ack.reason_code, RC_NOT_AUTHORIZED);
    expect_nothing(&s);
    peer_drop(&p);
    peer_drop(&s);
}

static void a_message_goes_where_its_new_topic_leads(void **state) {
    struct rig *r = *state;
    struct peer p, was, is;
    join(&was, r, MQTT_5, "was", true);
    subscribe(&was, "t", 0);
    join(&is, r, MQTT_5, "is", true);
    subscribe(&is, "other", 0);
    join(&p, r, MQTT_5, "p", true);
    fake_on(&r->hooks, HOOK_PUBLISH, rewrite);
    new_topic = "other";
    for (unsigned i = 0; i < 2; i++) { /* the second finds the connection's route of "t" */
        publish(&p, "t", "x", 0, 0);
        expect_publish(&is, "other", "x");
    }
    expect_nothing(&was);
    peer_drop(&p);
    peer_drop(&was);
    peer_drop(&is);
}

static void what_a_hook_makes_of_a_message_must_be_one(void **state) {
    static const char *const names[] = { "", "a/#", "+", "\xFF", "\xC0\x80" };
    struct rig *r = *state;
    struct peer p, s;
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "#", 2);
    join(&p, r, MQTT_5, "p", true);
    fake_on(&r->hooks, HOOK_PUBLISH, rewrite);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        new_topic = names[i];
        publish(&p, "t", "x", 1, 8);
        assert_int_equal(expect(&p, PKT_PUBACK)->ack.reason_code, RC_IMPLEMENTATION_SPECIFIC_ERROR);
    }
    expect_nothing(&s);
    peer_drop(&p);
    peer_drop(&s);
}

static uint8_t outcome;

static void note_outcome(struct publish *p, uint8_t reason_code, const char *reason) {
    (void)p, (void)reason;
    outcome = reason_code;
}

static void a_script_says_nothing_invalid_either(void **state) {
    struct rig *r = *state;
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    for (int trusted = 0; trusted < 2; trusted++) {
        struct publish *q = publish_new(r->worker);
        q->client = client_ref(p.client);
        q->message = message_new(&(struct message_parts){ .topic = SLICE("a/+") });
        q->trusted = trusted;
        q->done = note_outcome;
        assert_false(publish_start(q));
        assert_int_equal(outcome, RC_IMPLEMENTATION_SPECIFIC_ERROR);
    }
    say(r, "");
    peer_drop(&p);
}

static void drop(struct fake *f, struct hook_call *call) {
    (void)f;
    call->verdict = VERDICT_DROP;
}

static void a_dropped_message_is_acknowledged(void **state) {
    struct rig *r = *state;
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    subscribe(&p, "#", 0);
    fake_on(&r->hooks, HOOK_PUBLISH, drop);
    publish(&p, "t", "x", 1, 8);
    assert_int_equal(expect(&p, PKT_PUBACK)->ack.reason_code, RC_SUCCESS);
    expect_nothing(&p);
    peer_drop(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(authorize_sees_the_effective_topic),
        RIG(a_message_goes_where_its_new_topic_leads),
        RIG(what_a_hook_makes_of_a_message_must_be_one),
        RIG(a_script_says_nothing_invalid_either),
        RIG(a_dropped_message_is_acknowledged),
    };
    return cmocka_run_group_tests_name("core/publish", tests, NULL, NULL);
}
