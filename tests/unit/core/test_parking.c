/* test_parking.c -- hooks that wait: what goes on meanwhile, in what order it goes on
 * afterwards, and what becomes of a wait whose client has gone. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/conn.h"

#include "core/flow.h"
#include "core/rig.h"

static void send_connect(struct peer *p, struct rig *r, const char *id, bool clean) {
    struct packet c = connect_packet(MQTT_5, id, clean);
    peer_open(p, r, MQTT_5);
    peer_send(p, &c);
}

static void say_ping(struct peer *p) {
    peer_post(p, &(struct packet){ .type = PKT_PINGREQ });
    rig_settle(p->rig);
}

static void post_publish(struct peer *p, const char *topic, uint8_t qos, uint16_t id) {
    struct packet m = publish_packet(topic, "x", qos, id);
    peer_post(p, &m);
}

/* The events that can hold up a connection, and what starts each of them. */
static void start_connect(struct peer *p, struct rig *r) {
    send_connect(p, r, "p", false);
}

static void start_publish(struct peer *p, struct rig *r) {
    (void)r;
    publish(p, "t", "x", 1, 9);
}

static void start_subscribe(struct peer *p, struct rig *r) {
    say_subscribe(p, true, "t", (struct subscribe_options){ .qos = 1 }, 0);
    rig_settle(r);
}

static void start_unsubscribe(struct peer *p, struct rig *r) {
    say_subscribe(p, false, "t", (struct subscribe_options){ 0 }, 0);
    rig_settle(r);
}

static const struct asked {
    enum hook_event event;
    void (*start)(struct peer *p, struct rig *r);
    bool is_connect;
    int answer; /* packet that says how it ended */
    uint8_t default_denial;
} asked[] = {
    { HOOK_CONNECT, start_connect, true, PKT_CONNACK, RC_NOT_AUTHORIZED },
    { HOOK_AUTHENTICATE, start_connect, true, PKT_CONNACK, RC_BAD_USER_NAME_OR_PASSWORD },
    { HOOK_PUBLISH, start_publish, false, PKT_PUBACK, RC_NOT_AUTHORIZED },
    { HOOK_AUTHORIZE, start_publish, false, PKT_PUBACK, RC_NOT_AUTHORIZED },
    { HOOK_SUBSCRIBE, start_subscribe, false, PKT_SUBACK, RC_NOT_AUTHORIZED },
    { HOOK_AUTHORIZE, start_subscribe, false, PKT_SUBACK, RC_NOT_AUTHORIZED },
    { HOOK_UNSUBSCRIBE, start_unsubscribe, false, PKT_UNSUBACK, RC_NOT_AUTHORIZED },
};

/* Brings `p` to where the hook of the row waits. */
static void start(const struct asked *a, struct peer *p, struct rig *r) {
    fake_want(&r->hooks, 0);
    if (!a->is_connect) join(p, r, MQTT_5, "p", false);
    fake_on(&r->hooks, a->event, fake_wait);
    a->start(p, r);
    assert_int_equal(r->hooks.waiting_len, 1);
    assert_non_null(peer_conn(p)->parked_cancel);
    assert_int_equal(peer_next(p), 0);
}

static uint8_t code_of(const struct packet *p) {
    if (p->type == PKT_CONNACK) return p->connack.reason_code;
    if (p->type == PKT_PUBACK) return p->ack.reason_code;
    return p->codes.codes.at[0];
}

#define EACH(a) (const struct asked *a = asked; a < asked + ARRAY_LEN(asked); a++)

/* ---- verdicts --------------------------------------------------------------------- */

static void an_allowed_wait_goes_on_in_order(void **state) {
    struct rig *r = *state;
    for
        EACH(a) {
            struct peer p;
            start(a, &p, r);
            if (!a->is_connect) say_ping(&p); /* waits behind it */
            expect_nothing(&p);
            fake_answer(&r->hooks, VERDICT_ALLOW, 0);
            assert_in_range(code_of(expect(&p, a->answer)), 0, RC_UNSPECIFIED_ERROR - 1);
            if (a->is_connect) say_ping(&p);
            expect(&p, PKT_PINGRESP);
            peer_drop(&p);
        }
}

static void a_denied_wait_is_answered(void **state) {
    struct rig *r = *state;
    for
        EACH(a) {
            for (int with_code = 0; with_code < 2; with_code++) {
                struct peer p;
                start(a, &p, r);
                fake_answer(&r->hooks, VERDICT_DENY,
                            with_code ? RC_IMPLEMENTATION_SPECIFIC_ERROR : 0);
                uint8_t code = code_of(expect(&p, a->answer));
                assert_int_equal(code,
                                 with_code ? RC_IMPLEMENTATION_SPECIFIC_ERROR : a->default_denial);
                if (a->is_connect)
                    expect_end(&p);
                else
                    say_ping(&p), expect(&p, PKT_PINGRESP);
                peer_drop(&p);
            }
        }
}

static void no_code_of_success_denies(void **state) {
    struct rig *r = *state;
    for
        EACH(a) {
            struct peer p;
            start(a, &p, r);
            fake_answer(&r->hooks, VERDICT_DENY, RC_GRANTED_QOS_1);
            assert_int_equal(code_of(expect(&p, a->answer)), a->default_denial);
            peer_drop(&p);
        }
}

static void others_go_on_meanwhile(void **state) {
    struct rig *r = *state;
    struct peer p, other;
    join(&other, r, MQTT_5, "other", true);
    start(&asked[2], &p, r);
    say_ping(&other);
    expect(&other, PKT_PINGRESP);
    peer_drop(&other);
    fake_answer(&r->hooks, VERDICT_ALLOW, 0);
    expect(&p, PKT_PUBACK);
    peer_drop(&p);
}

/* ---- order --------------------------------------------------------------------------- */

static void a_pipeline_waits_packet_by_packet(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "#", 0);
    join(&p, r, MQTT_5, "p", true);
    fake_on(&r->hooks, HOOK_PUBLISH, fake_wait);
    char topic[8];
    for (uint16_t n = 1; n <= 20; n++) { /* all of them read at once */
        snprintf(topic, sizeof topic, "t/%u", n);
        post_publish(&p, topic, n % 3, n);
    }
    rig_settle(r);
    for (uint16_t n = 1; n <= 20; n++) {
        assert_int_equal(r->hooks.waiting_len, 1);
        expect_nothing(&s);
        fake_answer(&r->hooks, VERDICT_NONE, 0);
        snprintf(topic, sizeof topic, "t/%u", n);
        expect_publish(&s, topic, "x");
    }
    for (uint16_t n = 1; n <= 20; n++) {
        if (n % 3 == 0) continue;
        assert_int_equal(expect(&p, n % 3 == 1 ? PKT_PUBACK : PKT_PUBREC)->ack.packet_id, n);
    }
    peer_drop(&p);
    peer_drop(&s);
}

/* What had been read when the wait began, and the end of the input behind it. */
static void a_hang_up_does_not_overtake_what_came_before(void **state) {
    struct rig *r = *state;
    for (int full = 0; full < 2; full++) {
        struct peer p, s;
        join(&s, r, MQTT_5, "s", true);
        subscribe(&s, "#", 0);
        struct packet c = connect_packet(MQTT_5, "p", true);
        c.connect.has_will = true;
        c.connect.will.topic = SLICE("will");
        join_with(&p, r, &c);
        fake_on(&r->hooks, HOOK_PUBLISH, fake_wait);
        for (uint16_t n = 1; n <= 3; n++) post_publish(&p, "t", 0, 0);
        say_disconnect(&p, 0);
        rig_settle(r);
        if (full)
            peer_drop(&p);
        else
            shutdown(p.fd, SHUT_WR);
        for (uint16_t n = 1; n <= 3; n++) {
            rig_settle(r);
            fake_answer(&r->hooks, VERDICT_NONE, 0);
            expect_publish(&s, "t", "x");
        }
        expect_nothing(&s); /* no will: DISCONNECT was read */
        assert_int_equal(r->worker->conns_len, 1);
        if (!full) expect_end(&p);
        fake_want(&r->hooks, 0);
        peer_drop(&s);
    }
}

static void wait_or_wake(struct fake *f, struct hook_call *call) {
    if (slice_eq(call->access.topic, SLICE("wait"))) call->verdict = VERDICT_WAIT;
    if (slice_eq(call->access.topic, SLICE("wake"))) fake_answer(f, VERDICT_ALLOW, 0);
}

/* In one batch of events another client's packet ends the wait, then the peer's end shows. */
static void nor_when_it_comes_in_the_turn_of_the_verdict(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "#", 0);
    join(&p, r, MQTT_5, "p", true);
    fake_on(&r->hooks, HOOK_AUTHORIZE, wait_or_wake);
    post_publish(&p, "wait", 0, 0);
    post_publish(&p, "behind", 0, 0);
    rig_settle(r);
    post_publish(&s, "wake", 0, 0);
    shutdown(p.fd, SHUT_WR);
    expect_publish(&s, "wait", "x");
    expect_publish(&s, "wake", "x");
    expect_publish(&s, "behind", "x");
    expect_end(&p);
    peer_drop(&s);
}

static void slow_to(struct rig *r, struct peer *p, struct peer *s) {
    flow_slow_down(peer_conn(p), peer_conn(s));
    assert_true(peer_conn(p)->is_paused);
    rig_settle(r);
}

/* Paused for a lagging reader and parked for a hook: one ends, the other goes on. */
static void being_parked_outlasts_being_paused(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    join(&s, r, MQTT_5, "s", true);
    start(&asked[2], &p, r);
    say_ping(&p);
    slow_to(r, &p, &s);
    peer_drop(&s); /* wakes its waiters */
    assert_false(peer_conn(&p)->is_paused);
    assert_non_null(peer_conn(&p)->parked_cancel);
    expect_nothing(&p);
    fake_answer(&r->hooks, VERDICT_ALLOW, 0);
    expect(&p, PKT_PUBACK);
    expect(&p, PKT_PINGRESP);
    peer_drop(&p);
}

static void being_paused_outlasts_being_parked(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    join(&s, r, MQTT_5, "s", true);
    start(&asked[2], &p, r);
    say_ping(&p);
    slow_to(r, &p, &s);
    fake_answer(&r->hooks, VERDICT_ALLOW, 0);
    expect(&p, PKT_PUBACK);
    expect_nothing(&p);
    peer_drop(&s);
    expect(&p, PKT_PINGRESP);
    peer_drop(&p);
}

/* ---- the client goes while it waits ------------------------------------------------------ */

static void its_end_cancels_the_wait(void **state) {
    struct rig *r = *state;
    unsigned cancelled = 0;
    for
        EACH(a) {
            struct peer p;
            start(a, &p, r);
            assert_true(kick(p.client));
            assert_int_equal(r->hooks.cancelled, ++cancelled);
            assert_int_equal(r->hooks.waiting_len, 0);
            if (!a->is_connect) assert_int_equal(expect(&p, PKT_DISCONNECT)->type, PKT_DISCONNECT);
            expect_end(&p);
        }
}

static void the_brokers_end_cancels_the_wait(void **state) {
    for
        EACH(a) {
            struct rig *r = rig_new();
            struct peer p;
            start(a, &p, r);
            buf_deinit(&p.in);
            rig_free(r); /* asserts that nothing waits */
        }
    (void)state;
}

static void a_take_over_cancels_the_wait(void **state) {
    struct rig *r = *state;
    for
        EACH(a) {
            struct peer p, q;
            if (a->is_connect) continue; /* no session yet: see below */
            start(a, &p, r);
            fake_want(&r->hooks, 0);
            assert_true(join(&q, r, MQTT_5, "p", false));
            assert_int_equal(r->hooks.waiting_len, 0);
            expect_disconnect(&p, RC_SESSION_TAKEN_OVER);
            assert_ptr_equal(q.client->session->conn, peer_conn(&q));
            say_ping(&q);
            expect(&q, PKT_PINGRESP);
            peer_drop(&q);
        }
}

static void two_of_one_name_wait_and_the_later_verdict_wins(void **state) {
    struct rig *r = *state;
    for (int clean = 0; clean < 2; clean++) {
        struct peer a, b;
        fake_on(&r->hooks, HOOK_AUTHENTICATE, fake_wait);
        send_connect(&a, r, "p", clean);
        send_connect(&b, r, "p", clean);
        fake_answer(&r->hooks, VERDICT_ALLOW, 0);
        expect(&a, PKT_CONNACK);
        fake_answer(&r->hooks, VERDICT_ALLOW, 0);
        assert_int_equal(expect(&b, PKT_CONNACK)->connack.session_present, !clean);
        expect_disconnect(&a, RC_SESSION_TAKEN_OVER);
        assert_int_equal(r->broker->connected, 1);
        peer_drop(&b);
    }
}

static void the_limit_of_connections_holds_for_those_who_waited(void **state) {
    struct rig *r = *state;
    struct peer a, b;
    r->config->limits.max_connections = 1;
    fake_on(&r->hooks, HOOK_AUTHENTICATE, fake_wait);
    send_connect(&a, r, "a", true);
    send_connect(&b, r, "b", true);
    fake_answer(&r->hooks, VERDICT_ALLOW, 0);
    assert_int_equal(expect(&a, PKT_CONNACK)->connack.reason_code, RC_SUCCESS);
    fake_answer(&r->hooks, VERDICT_ALLOW, 0);
    assert_int_equal(expect(&b, PKT_CONNACK)->connack.reason_code, RC_SERVER_BUSY);
    expect_end(&b);
    peer_drop(&a);
}

/* ---- hooks that end their own client --------------------------------------------------- */

static void end_own(struct fake *f, struct hook_call *call) {
    (void)f;
    kick(call->client);
}

static void end_own_and_wait(struct fake *f, struct hook_call *call) {
    end_own(f, call);
    call->verdict = VERDICT_WAIT;
}

static void end_own_and_allow(struct fake *f, struct hook_call *call) {
    end_own(f, call);
    call->verdict = VERDICT_ALLOW;
}

static void a_hook_may_end_its_own_client(void **state) {
    static fake_fn *const ways[] = { end_own, end_own_and_wait, end_own_and_allow };
    struct rig *r = *state;
    for
        EACH(a) {
            for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
                struct peer p;
                fake_want(&r->hooks, 0);
                if (!a->is_connect) join(&p, r, MQTT_5, "p", false);
                fake_on(&r->hooks, a->event, ways[i]);
                a->start(&p, r);
                assert_int_equal(r->hooks.waiting_len, 0);
                if (!a->is_connect)
                    assert_int_equal(expect(&p, PKT_DISCONNECT)->type, PKT_DISCONNECT);
                expect_end(&p); /* and no word after it */
            }
        }
}

/* The verdict of one question is there, and the hook of the next one ends the client. */
static void the_next_question_may_end_a_client_that_waited(void **state) {
    static const struct {
        unsigned row;
        enum hook_event next;
    } rows[] = {
        { 0, HOOK_AUTHENTICATE }, { 0, HOOK_CONNECTED },  { 1, HOOK_CONNECTED },
        { 2, HOOK_AUTHORIZE },    { 2, HOOK_PUBLISHED },  { 3, HOOK_PUBLISHED },
        { 4, HOOK_AUTHORIZE },    { 4, HOOK_SUBSCRIBED }, { 5, HOOK_SUBSCRIBED },
        { 6, HOOK_UNSUBSCRIBED },
    };
    struct rig *r = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (int waits = 0; waits < 2; waits++) {
            struct peer p;
            start(&asked[rows[i].row], &p, r);
            bool may_wait = !HOOK_IS_FACT(rows[i].next);
            fake_on(&r->hooks, rows[i].next, waits && may_wait ? end_own_and_wait : end_own);
            fake_answer(&r->hooks, VERDICT_NONE, 0);
            rig_settle(r);
            assert_int_equal(r->hooks.waiting_len, 0);
            assert_int_equal(r->broker->connected, 0);
            peer_drop(&p);
        }
    }
}

static struct client *victim;

static void end_victim(struct fake *f, struct hook_call *call) {
    (void)f, (void)call;
    if (victim) kick(victim);
}

/* The publish had waited; while it is handed out its publisher is thrown out. */
static void a_receivers_hook_may_end_a_publisher_that_waited(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "t", 1);
    start(&asked[2], &p, r);
    fake_on(&r->hooks, HOOK_DELIVER, end_victim);
    victim = p.client;
    fake_answer(&r->hooks, VERDICT_NONE, 0);
    victim = NULL;
    expect_publish(&s, "t", "x"); /* it had been published */
    expect_disconnect(&p, RC_ADMINISTRATIVE_ACTION);
    peer_drop(&s);
}

/* A filter that waits is settled, and another one waits: one SUBACK in the end. */
static void each_filter_of_a_subscribe_may_wait(void **state) {
    struct rig *r = *state;
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    fake_on(&r->hooks, HOOK_SUBSCRIBE, fake_wait);
    fake_on(&r->hooks, HOOK_AUTHORIZE, fake_wait);
    struct buf list = BUF_INIT;
    filters_add(&list, SLICE("a"), &(struct subscribe_options){ .qos = 0 }, MQTT_5);
    filters_add(&list, SLICE("b"), &(struct subscribe_options){ .qos = 1 }, MQTT_5);
    filters_add(&list, SLICE("c"), &(struct subscribe_options){ .qos = 2 }, MQTT_5);
    struct packet s = { .type = PKT_SUBSCRIBE, .filters = { .packet_id = 5, .count = 3 } };
    s.filters.filters = buf_slice(&list);
    peer_send(&p, &s);
    buf_deinit(&list);
    fake_answer(&r->hooks, VERDICT_NONE, 0); /* a */
    fake_answer(&r->hooks, VERDICT_ALLOW, 0);
    fake_answer(&r->hooks, VERDICT_DENY, RC_NOT_AUTHORIZED); /* b */
    fake_answer(&r->hooks, VERDICT_NONE, 0);                 /* c */
    expect_nothing(&p);
    fake_answer(&r->hooks, VERDICT_ALLOW, 0);
    const struct packet *ack = expect(&p, PKT_SUBACK);
    assert_int_equal(ack->codes.codes.len, 3);
    assert_memory_equal(ack->codes.codes.at, "\x00\x87\x02", 3);
    assert_int_equal(subs_count(r->broker->subs), 2);
    peer_drop(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(an_allowed_wait_goes_on_in_order),
        RIG(a_denied_wait_is_answered),
        RIG(no_code_of_success_denies),
        RIG(others_go_on_meanwhile),
        RIG(a_pipeline_waits_packet_by_packet),
        RIG(a_hang_up_does_not_overtake_what_came_before),
        RIG(nor_when_it_comes_in_the_turn_of_the_verdict),
        RIG(being_parked_outlasts_being_paused),
        RIG(being_paused_outlasts_being_parked),
        RIG(its_end_cancels_the_wait),
        cmocka_unit_test(the_brokers_end_cancels_the_wait),
        RIG(a_take_over_cancels_the_wait),
        RIG(two_of_one_name_wait_and_the_later_verdict_wins),
        RIG(the_limit_of_connections_holds_for_those_who_waited),
        RIG(a_hook_may_end_its_own_client),
        RIG(the_next_question_may_end_a_client_that_waited),
        RIG(a_receivers_hook_may_end_a_publisher_that_waited),
        RIG(each_filter_of_a_subscribe_may_wait),
    };
    return cmocka_run_group_tests_name("core/parking", tests, NULL, NULL);
}
