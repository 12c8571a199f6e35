/* test_delivery_hooks.c -- deliveries that are asked about: the order they keep, what
 * hooks make of them, and what becomes of them when the session or the connection goes.
 * And shared subscriptions, whose messages find another reader then. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/session.h"

#include "core/rig.h"

static void say(struct rig *r, const char *topic, const char *payload, uint8_t qos) {
    publish_trusted(r->worker, &(struct message_parts){ .topic = slice_str(topic),
                                                        .payload = slice_str(payload),
                                                        .expires_ms = MESSAGE_NEVER,
                                                        .qos = qos });
}

static void on_delivery(struct rig *r, fake_fn *fn) {
    fake_want(&r->hooks, 0);
    fake_on(&r->hooks, HOOK_DELIVER, fn);
}

/* ---- order ------------------------------------------------------------------------ */

static void deliveries_wait_one_behind_the_other(void **state) {
    struct rig *r = *state;
    struct peer s;
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "#", 2);
    on_delivery(r, fake_wait);
    say(r, "t", "0", 0);
    say(r, "t", "1", 1);
    say(r, "t", "2", 2);
    assert_int_equal(r->hooks.waiting_len, 1);
    fake_want(&r->hooks, 0);
    say(r, "t", "3", 0); /* nobody asks about it, but it stands behind them */
    expect_nothing(&s);
    on_delivery(r, fake_wait);
    fake_answer(&r->hooks, VERDICT_NONE, 0);
    expect_publish(&s, "t", "0");
    fake_answer(&r->hooks, VERDICT_DROP, 0);
    expect_nothing(&s);
    fake_answer(&r->hooks, VERDICT_ALLOW, 0);
    expect_publish(&s, "t", "2");
    expect_publish(&s, "t", "3");
    assert_int_equal(r->worker->counters.dropped_by_hook, 1);
    peer_drop(&s);
}

static void each_receiver_waits_for_itself(void **state) {
    struct rig *r = *state;
    struct peer a, b;
    join(&a, r, MQTT_5, "a", true);
    join(&b, r, MQTT_5, "b", true);
    subscribe(&a, "t", 0);
    subscribe(&b, "t", 0);
    on_delivery(r, fake_wait);
    say(r, "t", "x", 0);
    assert_int_equal(r->hooks.waiting_len, 2);
    struct peer *first = r->hooks.waiting[0]->client == a.client ? &a : &b;
    struct peer *second = first == &a ? &b : &a;
    fake_answer(&r->hooks, VERDICT_NONE, 0);
    expect_publish(first, "t", "x");
    expect_nothing(second);
    fake_answer(&r->hooks, VERDICT_NONE, 0);
    expect_publish(second, "t", "x");
    peer_drop(&a);
    peer_drop(&b);
}

static void nobody_is_asked_about_what_goes_nowhere(void **state) {
    struct rig *r = *state;
    struct peer s;
    join(&s, r, MQTT_5, "s", false);
    subscribe(&s, "t", 1);
    peer_drop(&s);
    on_delivery(r, NULL);
    say(r, "t", "x", 0);
    assert_int_equal(r->hooks.calls[HOOK_DELIVER], 0);
    say(r, "t", "x", 1); /* this one is kept */
    assert_int_equal(r->hooks.calls[HOOK_DELIVER], 1);
}

static void what_waits_is_bounded(void **state) {
    struct rig *r = *state;
    struct peer s;
    r->config->limits.max_queued = 3;
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "t", 0);
    on_delivery(r, fake_wait);
    for (int i = 0; i < 10; i++) say(r, "t", "x", 0);
    assert_int_equal(r->worker->counters.dropped_queue_full, 6);
    peer_drop(&s);
}

/* ---- many at once --------------------------------------------------------------------- */

enum { PILE = 200, PER_RUN = 64 /* held.c: HELD_PER_RUN */ };

/* `n` subscribers, each with a pile that waits for the first verdict. */
static void pile_up(struct rig *r, struct peer *peers, int n) {
    static const char *const ids[] = { "a", "b" };
    for (int i = 0; i < n; i++) {
        join(&peers[i], r, MQTT_5, ids[i], true);
        subscribe(&peers[i], "t", 0);
    }
    on_delivery(r, fake_wait);
    for (int i = 0; i < PILE; i++) {
        char number[12];
        snprintf(number, sizeof number, "%d", i);
        say(r, "t", number, 0);
    }
    assert_int_equal(r->hooks.waiting_len, n);
    on_delivery(r, NULL);
    r->hooks.calls[HOOK_DELIVER] = 0;
}

static void expect_pile(struct peer *p) {
    for (int i = 0; i < PILE; i++) {
        char number[12];
        snprintf(number, sizeof number, "%d", i);
        expect_publish(p, "t", number);
    }
    expect_nothing(p);
}

static void a_pile_is_shown_to_the_hooks_over_several_turns(void **state) {
    struct rig *r = *state;
    struct peer peers[2];
    pile_up(r, peers, 2);
    fake_answer(&r->hooks, VERDICT_NONE, 0);
    assert_int_equal(r->hooks.calls[HOOK_DELIVER], PER_RUN);
    fake_answer(&r->hooks, VERDICT_NONE, 0); /* the other need not wait for the whole pile */
    assert_int_equal(r->hooks.calls[HOOK_DELIVER], 2 * PER_RUN);
    rig_turns(r, 1);
    assert_int_equal(r->hooks.calls[HOOK_DELIVER], 4 * PER_RUN);
    rig_settle(r);
    assert_int_equal(r->hooks.calls[HOOK_DELIVER], 2 * (PILE - 1));
    for (int i = 0; i < 2; i++) {
        expect_pile(&peers[i]);
        peer_drop(&peers[i]);
    }
}

static void a_pile_goes_with_its_session(void **state) {
    struct rig *r = *state;
    struct peer peers[2];
    pile_up(r, peers, 2);
    struct peer *goes = r->hooks.waiting[0]->client == peers[0].client ? &peers[0] : &peers[1];
    struct peer *stays = goes == &peers[0] ? &peers[1] : &peers[0];
    fake_answer(&r->hooks, VERDICT_NONE, 0);
    fake_answer(&r->hooks, VERDICT_NONE, 0);
    kick(goes->client);
    unsigned asked = r->hooks.calls[HOOK_DELIVER];
    rig_settle(r);
    assert_int_equal(r->hooks.calls[HOOK_DELIVER] - asked, PILE - 1 - PER_RUN); /* of one */
    expect_pile(stays);
    peer_drop(goes);
    peer_drop(stays);
}

static struct peer *to_end;

static void end_the_other(struct fake *f, struct hook_call *call) {
    if (call->client == to_end->client || f->calls[HOOK_DELIVER] < 3 * PER_RUN) return;
    kick(to_end->client);
}

static void a_hook_may_end_a_session_whose_pile_waits(void **state) {
    struct rig *r = *state;
    struct peer peers[2];
    for (int i = 0; i < 2; i++) { /* whichever comes first */
        pile_up(r, peers, 2);
        to_end = &peers[i];
        on_delivery(r, end_the_other);
        fake_answer(&r->hooks, VERDICT_NONE, 0);
        fake_answer(&r->hooks, VERDICT_NONE, 0);
        rig_settle(r);
        assert_null(session_find(r->worker, slice_str(i == 0 ? "a" : "b")));
        expect_pile(&peers[1 - i]);
        for (int k = 0; k < 2; k++) peer_drop(&peers[k]);
    }
}

/* ---- changes ------------------------------------------------------------------------ */

static const char *new_topic;

static void rewrite(struct fake *f, struct hook_call *call) {
    struct message_parts parts = message_parts(call->message);
    (void)f;
    parts.topic = slice_str(new_topic);
    parts.payload = call->client->id;
    call->changed = message_new(&parts);
}

static void each_receiver_has_its_own_copy(void **state) {
    struct rig *r = *state;
    struct peer a, b;
    join(&a, r, MQTT_5, "a", true);
    join(&b, r, MQTT_5, "b", true);
    subscribe(&a, "t", 1);
    subscribe(&b, "t", 1);
    on_delivery(r, rewrite);
    new_topic = "for/you";
    say(r, "t", "x", 1);
    expect_publish(&a, "for/you", "a");
    expect_publish(&b, "for/you", "b");
    new_topic = "no/#"; /* what is no message is not sent */
    say(r, "t", "x", 1);
    expect_nothing(&a);
    assert_int_equal(r->worker->counters.dropped_by_hook, 2);
    peer_drop(&a);
    peer_drop(&b);
}

static void authorize_comes_before_deliver(void **state) {
    struct rig *r = *state;
    struct peer s;
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "t", 0);
    fake_on(&r->hooks, HOOK_AUTHORIZE, fake_wait);
    fake_on(&r->hooks, HOOK_DELIVER, fake_wait);
    fake_want(&r->hooks, r->hooks.port.wanted | HOOK_BIT_AUTHORIZE_DELIVER);
    static const struct {
        enum verdict authorize, deliver;
        bool access, comes;
    } rows[] = {
        { VERDICT_ALLOW, VERDICT_NONE, false, true }, { VERDICT_NONE, VERDICT_NONE, true, true },
        { VERDICT_NONE, VERDICT_NONE, false, false }, { VERDICT_DENY, VERDICT_NONE, true, false },
        { VERDICT_ALLOW, VERDICT_DROP, true, false },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        r->config->default_access = rows[i].access;
        say(r, "t", "x", 0);
        assert_int_equal(r->hooks.waiting[0]->event, HOOK_AUTHORIZE);
        assert_int_equal(r->hooks.waiting[0]->access.action, ACCESS_DELIVER);
        fake_answer(&r->hooks, rows[i].authorize, 0);
        if (r->hooks.waiting_len) fake_answer(&r->hooks, rows[i].deliver, 0);
        if (rows[i].comes) expect_publish(&s, "t", "x");
        expect_nothing(&s);
    }
    peer_drop(&s);
}

/* ---- retained ------------------------------------------------------------------------- */

static void keep(struct rig *r, const char *topic) {
    publish_trusted(r->worker, &(struct message_parts){ .topic = slice_str(topic),
                                                        .payload = SLICE("kept"),
                                                        .expires_ms = MESSAGE_NEVER,
                                                        .retain = true });
}

static void retained_messages_are_asked_about_one_by_one(void **state) {
    struct rig *r = *state;
    struct peer s;
    keep(r, "a");
    keep(r, "b");
    keep(r, "c");
    join(&s, r, MQTT_5, "s", true);
    on_delivery(r, fake_wait);
    subscribe(&s, "#", 0);
    for (int n = 0; n < 3; n++) {
        assert_int_equal(r->hooks.waiting_len, 1);
        /* Also where nothing is sent that would make the connection go on by itself. */
        fake_answer(&r->hooks, n == 1 ? VERDICT_NONE : VERDICT_DROP, 0);
    }
    assert_int_equal(r->hooks.waiting_len, 0);
    assert_true(expect(&s, PKT_PUBLISH)->publish.retain);
    expect_nothing(&s);
    peer_drop(&s);
}

/* ---- ends ----------------------------------------------------------------------------- */

static void a_lost_connection_does_not_end_the_question(void **state) {
    struct rig *r = *state;
    struct peer s;
    join(&s, r, MQTT_5, "s", false);
    subscribe(&s, "t", 1);
    on_delivery(r, fake_wait);
    say(r, "t", "0", 1);
    say(r, "t", "1", 1);
    peer_drop(&s);
    assert_int_equal(r->hooks.waiting_len, 1);
    fake_answer(&r->hooks, VERDICT_NONE, 0);
    join(&s, r, MQTT_5, "s", false);
    expect_publish(&s, "t", "0");
    fake_answer(&r->hooks, VERDICT_NONE, 0);
    expect_publish(&s, "t", "1");
    peer_drop(&s);
}

static void the_end_of_a_session_does(void **state) {
    struct rig *r = *state;
    struct peer s;
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "t", 1);
    on_delivery(r, fake_wait);
    say(r, "t", "0", 1);
    say(r, "t", "1", 1);
    peer_drop(&s);
    assert_int_equal(r->hooks.waiting_len, 0);
    assert_int_equal(r->hooks.cancelled, 1);
}

static void end_receiver(struct fake *f, struct hook_call *call) {
    (void)f;
    kick(call->client);
}

static void end_receiver_and_wait(struct fake *f, struct hook_call *call) {
    end_receiver(f, call);
    call->verdict = VERDICT_WAIT;
}

static void a_hook_may_end_the_session_it_is_asked_for(void **state) {
    static fake_fn *const ways[] = { end_receiver, end_receiver_and_wait };
    struct rig *r = *state;
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        for (int clean = 0; clean < 2; clean++) {
            struct peer s;
            join(&s, r, MQTT_5, "s", clean);
            subscribe(&s, "t", 1);
            on_delivery(r, fake_wait); /* three in a row, the first one waiting */
            for (int n = 0; n < 3; n++) say(r, "t", "x", 1);
            on_delivery(r, ways[i]);
            fake_answer(&r->hooks, VERDICT_NONE, 0); /* and the second one does it */
            while (r->hooks.waiting_len) fake_answer(&r->hooks, VERDICT_NONE, 0);
            rig_settle(r);
            assert_int_equal(r->broker->connected, 0);
            assert_int_equal(r->worker->sessions.used, !clean);
            fake_want(&r->hooks, 0);
            peer_drop(&s);
            join(&s, r, MQTT_5, "s", true);
            peer_drop(&s);
        }
    }
}

/* ---- shared subscriptions ---------------------------------------------------------------- */

static void members_of_a_group_take_turns(void **state) { /* 4.8.2 */
    struct rig *r = *state;
    struct peer m[3];
    const char *names[] = { "a", "b", "c" };
    unsigned got[3] = { 0 };
    for (int i = 0; i < 3; i++) {
        join(&m[i], r, MQTT_5, names[i], true);
        subscribe(&m[i], "$share/g/t/#", 1);
    }
    for (int n = 0; n < 30; n++) say(r, "t/x", "x", 1);
    for (int i = 0; i < 3; i++)
        while (peer_hear(&m[i]) == PKT_PUBLISH) got[i]++;
    for (int i = 0; i < 3; i++) assert_int_equal(got[i], 10);
    for (int i = 0; i < 3; i++) peer_drop(&m[i]);
}

static void whoever_can_take_it_is_preferred(void **state) {
    struct rig *r = *state;
    struct peer full, away, ready;
    struct packet c = connect_packet(MQTT_5, "full", true);
    c.connect.props.present = PROP_BIT(PROP_RECEIVE_MAXIMUM);
    c.connect.props.receive_maximum = 1;
    join_with(&full, r, &c);
    subscribe(&full, "$share/g/t", 1);
    say(r, "t", "0", 1);
    expect_publish(&full, "t", "0"); /* its window is full now */
    join(&away, r, MQTT_5, "away", false);
    subscribe(&away, "$share/g/t", 1);
    peer_drop(&away);
    join(&ready, r, MQTT_5, "ready", true);
    subscribe(&ready, "$share/g/t", 1);
    for (int n = 0; n < 5; n++) {
        say(r, "t", "x", 1);
        ack(&ready, PKT_PUBACK, expect_publish(&ready, "t", "x")->packet_id, 0);
    }
    peer_drop(&ready);
    say(r, "t", "1", 1); /* waits for the connected one rather than for the absent */
    ack(&full, PKT_PUBACK, 1, 0);
    expect_publish(&full, "t", "1");
    peer_drop(&full);
    join(&away, r, MQTT_5, "away", false);
    expect_publish(&away, "t", "1"); /* whose session has ended without an answer */
    peer_drop(&away);
}

static void what_a_member_leaves_behind_goes_to_another(void **state) { /* [MQTT-4.8.2-5] */
    struct rig *r = *state;
    struct peer a, b;
    join(&a, r, MQTT_5, "a", true);
    subscribe(&a, "$share/g/t", 2);
    for (int n = 0; n < 3; n++) say(r, "t", "x", 1);
    for (int n = 0; n < 3; n++) expect_publish(&a, "t", "x");
    ack(&a, PKT_PUBACK, 2, 0);
    join(&b, r, MQTT_5, "b", true);
    subscribe(&b, "$share/g/t", 2);
    peer_drop(&a);
    expect_publish(&b, "t", "x");
    expect_publish(&b, "t", "x");
    expect_nothing(&b);
    peer_drop(&b);
    assert_int_equal(subs_count(r->broker->subs), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(deliveries_wait_one_behind_the_other),
        RIG(each_receiver_waits_for_itself),
        RIG(nobody_is_asked_about_what_goes_nowhere),
        RIG(what_waits_is_bounded),
        RIG(a_pile_is_shown_to_the_hooks_over_several_turns),
        RIG(a_pile_goes_with_its_session),
        RIG(a_hook_may_end_a_session_whose_pile_waits),
        RIG(each_receiver_has_its_own_copy),
        RIG(authorize_comes_before_deliver),
        RIG(retained_messages_are_asked_about_one_by_one),
        RIG(a_lost_connection_does_not_end_the_question),
        RIG(the_end_of_a_session_does),
        RIG(a_hook_may_end_the_session_it_is_asked_for),
        RIG(members_of_a_group_take_turns),
        RIG(whoever_can_take_it_is_preferred),
        RIG(what_a_member_leaves_behind_goes_to_another),
    };
    return cmocka_run_group_tests_name("core/delivery hooks", tests, NULL, NULL);
}
