/* test_session.c -- how long sessions live, and when wills are published. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/session.h"

#include "core/rig.h"

struct will_case {
    int version;
    uint32_t session_expiry; /* seconds */
    uint32_t delay;          /* seconds */
};

static struct packet will_packet(const struct will_case *c) {
    struct packet p = connect_packet(c->version, "p", c->version != MQTT_5 && !c->session_expiry);
    p.connect.has_will = true;
    p.connect.will.topic = SLICE("will");
    p.connect.will.payload = SLICE("gone");
    if (c->version != MQTT_5) return p;
    p.connect.props.session_expiry_interval = c->session_expiry;
    p.connect.will.props.present = PROP_BIT(PROP_WILL_DELAY_INTERVAL);
    p.connect.will.props.will_delay_interval = c->delay;
    return p;
}

static struct session *session_of(struct rig *r, const char *id) {
    return session_find(r->worker, slice_str(id));
}

/* A watcher of wills. */
static void watch(struct peer *s, struct rig *r) {
    join(s, r, MQTT_5, "watcher", true);
    subscribe(s, "will", 2);
}

static void expect_will(struct peer *s) {
    expect_publish(s, "will", "gone");
    expect_nothing(s);
}

/* ---- expiry ----------------------------------------------------------------------- */

static void a_session_lives_as_long_as_it_asked(void **state) { /* [MQTT-3.1.2-23] */
    struct rig *r = *state;
    struct peer p;
    struct packet c = connect_packet(MQTT_5, "p", false);
    c.connect.props.session_expiry_interval = 10;
    join_with(&p, r, &c);
    rig_pass_ms(r, 60000); /* not while connected */
    peer_drop(&p);
    rig_pass_ms(r, 9999);
    assert_non_null(session_of(r, "p"));
    assert_true(join_with(&p, r, &c));
    rig_pass_ms(r, 60000);
    peer_drop(&p);
    rig_pass_ms(r, 10000);
    assert_null(session_of(r, "p"));
    assert_int_equal(r->worker->sessions.used, 0);
}

static void sessions_end_with_the_connection_unless_told(void **state) {
    struct rig *r = *state;
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    assert_non_null(session_of(r, "p"));
    peer_drop(&p);
    assert_null(session_of(r, "p"));
    join(&p, r, MQTT_3_1_1, "p", true);
    peer_drop(&p);
    assert_null(session_of(r, "p"));
}

static void kept_sessions_of_3_live_as_configured(void **state) {
    struct rig *r = *state;
    struct peer p;
    r->config->limits.session_expiry_3x = 100;
    join(&p, r, MQTT_3_1_1, "p", false);
    peer_drop(&p);
    rig_pass_ms(r, 99999);
    assert_non_null(session_of(r, "p"));
    rig_pass_ms(r, 1);
    assert_null(session_of(r, "p"));
    r->config->limits.session_expiry_3x = SESSION_FOREVER;
    join(&p, r, MQTT_3_1_1, "p", false);
    peer_drop(&p);
    rig_pass_ms(r, UINT64_C(10000000000));
    assert_non_null(session_of(r, "p"));
}

static void say_goodbye(struct peer *p, uint32_t expiry) {
    struct packet d = { .type = PKT_DISCONNECT };
    props_init(&d.reason.props);
    d.reason.props.present = PROP_BIT(PROP_SESSION_EXPIRY_INTERVAL);
    d.reason.props.session_expiry_interval = expiry;
    peer_send(p, &d);
}

static void disconnect_may_change_the_expiry(void **state) { /* 3.14.2.2.2 */
    struct rig *r = *state;
    struct peer p;
    r->config->limits.max_session_expiry = 1000;
    join(&p, r, MQTT_5, "p", false);
    say_goodbye(&p, 5);
    expect_end(&p);
    assert_int_equal(session_of(r, "p")->expiry, 5);
    join(&p, r, MQTT_5, "p", false);
    say_goodbye(&p, 5000);
    expect_end(&p);
    assert_int_equal(session_of(r, "p")->expiry, 1000);
    join(&p, r, MQTT_5, "p", false);
    say_goodbye(&p, 0);
    expect_end(&p);
    assert_null(session_of(r, "p"));
    join(&p, r, MQTT_5, "p", true);
    say_goodbye(&p, 5); /* not from 0 [MQTT-3.14.2-2] */
    expect_disconnect(&p, RC_PROTOCOL_ERROR);
}

static void a_session_takes_its_subscriptions_with_it(void **state) {
    struct rig *r = *state;
    struct peer p;
    struct packet c = connect_packet(MQTT_5, "p", false);
    c.connect.props.session_expiry_interval = 1;
    join_with(&p, r, &c);
    subscribe(&p, "a/#", 1);
    subscribe(&p, "b", 1);
    peer_drop(&p);
    assert_int_equal(subs_count(r->broker->subs), 2);
    rig_pass_ms(r, 1000);
    assert_int_equal(subs_count(r->broker->subs), 0);
}

/* ---- wills ---------------------------------------------------------------------------- */

static void a_lost_client_leaves_its_will_when_it_is_due(void **state) { /* [MQTT-3.1.3-9] */
    static const struct {
        struct will_case c;
        uint32_t due_ms;
    } rows[] = {
        { { MQTT_3_1, 0, 0 }, 0 },
        { { MQTT_3_1_1, 1, 0 }, 0 },
        { { MQTT_5, 0, 0 }, 0 },
        { { MQTT_5, 0, 100 }, 0 }, /* the session ends first */
        { { MQTT_5, 100, 0 }, 0 },
        { { MQTT_5, 100, 5 }, 5000 },
        { { MQTT_5, 5, 100 }, 5000 },
        { { MQTT_5, 5, 5 }, 5000 },
        { { MQTT_5, SESSION_FOREVER, 5 }, 5000 },
    };
    struct rig *r = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct peer p, s;
        watch(&s, r);
        struct packet c = will_packet(&rows[i].c);
        join_with(&p, r, &c);
        peer_drop(&p);
        if (rows[i].due_ms) {
            rig_pass_ms(r, rows[i].due_ms - 1);
            expect_nothing(&s);
            rig_pass_ms(r, 1);
        }
        expect_will(&s);
        rig_pass_ms(r, 200000); /* and once only */
        expect_nothing(&s);
        peer_drop(&s);
        join(&p, r, MQTT_5, "p", true);
        peer_drop(&p);
    }
}

static void a_client_that_says_goodbye_leaves_none(void **state) { /* [MQTT-3.14.4-3] */
    static const struct {
        int version;
        uint8_t code;
        bool will;
    } rows[] = {
        { MQTT_3_1, 0, false },
        { MQTT_3_1_1, 0, false },
        { MQTT_5, 0, false },
        { MQTT_5, RC_DISCONNECT_WITH_WILL, true }, /* [MQTT-3.14.4-3] */
        { MQTT_5, RC_UNSPECIFIED_ERROR, true },
    };
    struct rig *r = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct peer p, s;
        watch(&s, r);
        struct packet c = will_packet(&(struct will_case){ rows[i].version, 0, 0 });
        join_with(&p, r, &c);
        say_disconnect(&p, rows[i].code);
        expect_end(&p);
        if (rows[i].will)
            expect_will(&s);
        else
            expect_nothing(&s);
        peer_drop(&s);
    }
}

static void whoever_is_thrown_out_leaves_a_will(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    watch(&s, r);
    struct packet c = will_packet(&(struct will_case){ MQTT_5, 0, 0 });
    c.connect.keep_alive = 1;
    join_with(&p, r, &c);
    kick(p.client);
    expect_will(&s);
    peer_drop(&p);
    join_with(&p, r, &c);
    rig_pass_ms(r, 1500); /* keep-alive */
    expect_will(&s);
    peer_drop(&p);
    join_with(&p, r, &c);
    peer_bytes(&p, "\0", 1); /* a malformed packet */
    expect_will(&s);
    peer_drop(&p);
    peer_drop(&s);
}

static void coming_back_in_time_takes_the_will_back(void **state) { /* [MQTT-3.1.3-9] */
    struct rig *r = *state;
    struct peer p, s;
    watch(&s, r);
    struct packet with = will_packet(&(struct will_case){ MQTT_5, 100, 5 });
    join_with(&p, r, &with);
    peer_drop(&p);
    rig_pass_ms(r, 4999);
    join(&p, r, MQTT_5, "p", false); /* without a will this time */
    rig_pass_ms(r, 10000);
    expect_nothing(&s);
    peer_drop(&p);
    rig_pass_ms(r, 10000);
    expect_nothing(&s);
    peer_drop(&s);
}

static void a_take_over_counts_as_loss_or_return(void **state) { /* 3.1.4, 3.1.3.2.2 */
    static const struct {
        uint32_t delay;
        bool clean, will;
    } rows[] = {
        { 0, false, true },
        { 5, false, false },
        { 5, true, true },
        { 0, true, true },
    };
    struct rig *r = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct peer a, b, s;
        watch(&s, r);
        struct packet c = will_packet(&(struct will_case){ MQTT_5, 100, rows[i].delay });
        join_with(&a, r, &c);
        join(&b, r, MQTT_5, "p", rows[i].clean);
        expect_disconnect(&a, RC_SESSION_TAKEN_OVER);
        if (rows[i].will) expect_will(&s);
        rig_pass_ms(r, 10000);
        expect_nothing(&s);
        peer_drop(&b);
        peer_drop(&s);
        join(&b, r, MQTT_5, "p", true);
        peer_drop(&b);
    }
}

static void a_will_is_a_message_like_any_other(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    struct packet c = will_packet(&(struct will_case){ MQTT_5, 0, 0 });
    c.connect.will.retain = true;
    c.connect.will.qos = 2;
    c.connect.will.props.present |=
        PROP_BIT(PROP_MESSAGE_EXPIRY_INTERVAL) | PROP_BIT(PROP_CONTENT_TYPE);
    c.connect.will.props.message_expiry_interval = 50;
    c.connect.will.props.content_type = SLICE("text");
    watch(&s, r);
    join_with(&p, r, &c);
    rig_pass_ms(r, 20000); /* does not age before it is published [3.1.3.2.4] */
    peer_drop(&p);
    const struct pkt_publish *m = expect_publish(&s, "will", "gone");
    assert_int_equal(m->qos, 2);
    assert_false(m->retain);
    assert_int_equal(m->props.message_expiry_interval, 50);
    assert_slice(m->props.content_type, "text");
    assert_false(props_has(&m->props, PROP_WILL_DELAY_INTERVAL));
    peer_drop(&s);
    rig_pass_ms(r, 10000);
    join(&s, r, MQTT_5, "late", true);
    subscribe(&s, "will", 0);
    m = expect_publish(&s, "will", "gone"); /* [MQTT-3.1.2-15] */
    assert_true(m->retain);
    assert_int_equal(m->props.message_expiry_interval, 40);
    peer_drop(&s);
}

static void refuse_wills(struct fake *f, struct hook_call *call) {
    (void)f;
    assert_int_equal(call->access.action, ACCESS_WILL);
    call->verdict = VERDICT_DENY;
}

static void a_will_passes_the_hooks(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    watch(&s, r);
    struct packet c = will_packet(&(struct will_case){ MQTT_5, 0, 0 });
    fake_on(&r->hooks, HOOK_PUBLISH, fake_wait);
    fake_on(&r->hooks, HOOK_WILL, NULL);
    join_with(&p, r, &c);
    peer_drop(&p); /* its author has gone while the hook waits */
    assert_true(r->hooks.waiting[0]->is_will);
    assert_slice(r->hooks.waiting[0]->client->id, "p");
    expect_nothing(&s);
    fake_answer(&r->hooks, VERDICT_NONE, 0);
    expect_will(&s);
    assert_int_equal(r->hooks.calls[HOOK_WILL], 1);
    fake_want(&r->hooks, 0);
    fake_on(&r->hooks, HOOK_AUTHORIZE, refuse_wills);
    join_with(&p, r, &c);
    peer_drop(&p);
    expect_nothing(&s);
    peer_drop(&s);
}

static void no_will_is_left_by_the_broker_going(void **state) {
    struct rig *r = *state;
    static const struct will_case cases[] = { { MQTT_5, 100, 0 },
                                              { MQTT_5, 0, 0 },
                                              { MQTT_5, 100, 5 } };
    static const char *const names[] = { "kept", "clean", "later" };
    struct peer p[3];
    fake_on(&r->hooks, HOOK_WILL, NULL);
    for (size_t i = 0; i < 3; i++) {
        struct packet c = will_packet(&cases[i]);
        c.connect.client_id = slice_str(names[i]);
        join_with(&p[i], r, &c);
    }
    peer_drop(&p[2]); /* its will is due later */
    struct mail *stop = xcalloc(1, sizeof *stop);
    stop->type = MAIL_STOP;
    mailbox_post(&r->worker->inbox, stop);
    rig_pass_ms(r, 1000); /* the clients are told, and go */
    peer_drop(&p[0]);
    rig_pass_ms(r, 200000);
    assert_int_equal(r->hooks.calls[HOOK_WILL], 0);
    peer_drop(&p[1]);
}

/* The hooks of a will bring the same client back, and throw it out again. */
static void come_and_go(struct fake *f, struct hook_call *call) {
    if (!call->is_will || !f->waiting_len) return;
    fake_answer(f, VERDICT_ALLOW, 0); /* its next connection has waited for this */
    struct session *s = session_find(call->client->worker, SLICE("p"));
    assert_non_null(s->conn);
    conn_end(s->conn, RC_ADMINISTRATIVE_ACTION, NULL, NULL);
}

static void a_client_may_come_and_go_under_its_wills_hooks(void **state) {
    struct rig *r = *state;
    struct peer a, b;
    struct packet c = will_packet(&(struct will_case){ MQTT_5, 100, 0 });
    join_with(&a, r, &c);
    fake_on(&r->hooks, HOOK_AUTHENTICATE, fake_wait);
    fake_on(&r->hooks, HOOK_PUBLISH, come_and_go);
    peer_open(&b, r, MQTT_5);
    peer_send(&b, &c);
    peer_drop(&a);
    assert_null(session_of(r, "p")->conn);
    peer_drop(&b);
    rig_pass_ms(r, 99999);
    assert_non_null(session_of(r, "p"));
    rig_pass_ms(r, 1);
    assert_null(session_of(r, "p"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(a_session_lives_as_long_as_it_asked),
        RIG(sessions_end_with_the_connection_unless_told),
        RIG(kept_sessions_of_3_live_as_configured),
        RIG(disconnect_may_change_the_expiry),
        RIG(a_session_takes_its_subscriptions_with_it),
        RIG(a_lost_client_leaves_its_will_when_it_is_due),
        RIG(a_client_that_says_goodbye_leaves_none),
        RIG(whoever_is_thrown_out_leaves_a_will),
        RIG(coming_back_in_time_takes_the_will_back),
        RIG(a_take_over_counts_as_loss_or_return),
        RIG(a_will_is_a_message_like_any_other),
        RIG(a_will_passes_the_hooks),
        RIG(no_will_is_left_by_the_broker_going),
        RIG(a_client_may_come_and_go_under_its_wills_hooks),
    };
    return cmocka_run_group_tests_name("core/session", tests, NULL, NULL);
}
