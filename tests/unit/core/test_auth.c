/* test_auth.c -- enhanced authentication: whose turn it is, what ends an exchange, and
 * what goes on beside it. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/auth.h"

#include "core/rig.h"

#define METHOD SLICE("TEST")

/* ---- what is said -------------------------------------------------------------- */

static void put(struct props *p, struct slice method, struct slice data) {
    p->present |= PROP_BIT(PROP_AUTHENTICATION_METHOD);
    p->authentication_method = method;
    if (!data.at) return;
    p->present |= PROP_BIT(PROP_AUTHENTICATION_DATA);
    p->authentication_data = data;
}

static struct packet hello(const char *id, bool clean, struct slice data) {
    struct packet c = connect_packet(MQTT_5, id, clean);
    put(&c.connect.props, METHOD, data);
    return c;
}

static void say_hello(struct peer *p, struct rig *r, struct slice data) {
    struct packet c = hello("p", false, data);
    peer_open(p, r, MQTT_5);
    peer_send(p, &c);
}

static void say_auth_of(struct peer *p, uint8_t code, struct slice method, struct slice data) {
    struct packet a = { .type = PKT_AUTH, .reason = { .reason_code = code } };
    props_init(&a.reason.props);
    put(&a.reason.props, method, data);
    peer_send(p, &a);
}

static void say_auth(struct peer *p, uint8_t code, struct slice data) {
    say_auth_of(p, code, METHOD, data);
}

static void say_ping(struct peer *p) {
    peer_send(p, &(struct packet){ .type = PKT_PINGREQ });
}

/* An absent slice and an empty one are not the same here. */
static void assert_data(const struct props *p, struct slice data) {
    assert_true(props_has(p, PROP_AUTHENTICATION_METHOD));
    assert_true(slice_eq(p->authentication_method, METHOD));
    assert_int_equal(props_has(p, PROP_AUTHENTICATION_DATA), data.at != NULL);
    if (data.at) assert_true(slice_eq(p->authentication_data, data));
}

static void expect_auth(struct peer *p, uint8_t code, struct slice data) {
    const struct packet *a = expect(p, PKT_AUTH);
    assert_int_equal(a->reason.reason_code, code);
    assert_data(&a->reason.props, data);
}

static void expect_welcome(struct peer *p, struct slice data) {
    const struct packet *a = expect(p, PKT_CONNACK);
    assert_int_equal(a->connack.reason_code, RC_SUCCESS);
    assert_data(&a->connack.props, data);
}

static void expect_refusal(struct peer *p, uint8_t code) {
    assert_int_equal(expect(p, PKT_CONNACK)->connack.reason_code, code);
    expect_end(p);
}

/* ---- hooks ---------------------------------------------------------------------- */

/* "more" asks for more, "yes" succeeds, "no" is refused; the reply is what came. */
static void echo(struct fake *f, struct hook_call *call) {
    struct auth_exchange *x = call->auth;
    (void)f;
    assert_true(slice_eq(x->method, METHOD));
    assert_null(x->reply.at);
    if (slice_eq(x->data, SLICE("yes")))
        call->verdict = VERDICT_ALLOW;
    else if (slice_eq(x->data, SLICE("no")))
        call->verdict = VERDICT_DENY;
    else
        call->verdict = VERDICT_CONTINUE;
    if (x->data.at) auth_reply(x, x->data);
}

static void denied_with_reason(struct fake *f, struct hook_call *call) {
    (void)f;
    call->verdict = VERDICT_DENY;
    call->reason_code = RC_BANNED;
    call->reason = xstrdup("because");
}

/* Joins through an exchange of two rounds. */
static void join_by_exchange(struct peer *p, struct rig *r) {
    fake_on(&r->hooks, HOOK_AUTH, echo);
    say_hello(p, r, SLICE("one"));
    expect_auth(p, RC_CONTINUE_AUTHENTICATION, SLICE("one"));
    say_auth(p, RC_CONTINUE_AUTHENTICATION, SLICE("yes"));
    expect_welcome(p, SLICE("yes"));
}

/* ---- the way in -------------------------------------------------------------------- */

static void rounds_lead_to_connack(void **state) {
    static const struct {
        struct slice data;
    } rows[] = {
        { { NULL, 0 } },
        { { (const uint8_t *)"", 0 } },
        { { (const uint8_t *)"\0\xff\0", 3 } },
        { { (const uint8_t *)"text", 4 } },
    };
    struct rig *r = *state;
    fake_on(&r->hooks, HOOK_AUTH, echo);
    fake_on(&r->hooks, HOOK_AUTHENTICATE, NULL);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct peer p;
        say_hello(&p, r, rows[i].data);
        expect_auth(&p, RC_CONTINUE_AUTHENTICATION, rows[i].data);
        say_auth(&p, RC_CONTINUE_AUTHENTICATION, rows[i].data);
        expect_auth(&p, RC_CONTINUE_AUTHENTICATION, rows[i].data);
        say_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE("yes"));
        expect_welcome(&p, SLICE("yes"));
        say_ping(&p);
        expect(&p, PKT_PINGRESP);
        peer_drop(&p);
    }
    assert_int_equal(r->hooks.calls[HOOK_AUTHENTICATE], 0); /* `auth` has decided */
    assert_int_equal(r->hooks.exchanges_over, ARRAY_LEN(rows));
}

static void a_method_in_connect_needs_somebody_who_knows_it(void **state) {
    struct rig *r = *state;
    struct peer p;
    for (int has_handler = 0; has_handler < 2; has_handler++) {
        if (has_handler) fake_on(&r->hooks, HOOK_AUTH, NULL);
        say_hello(&p, r, SLICE("yes"));
        expect_refusal(&p, RC_BAD_AUTHENTICATION_METHOD);
    }
    assert_false(join(&p, r, MQTT_5, "q", true)); /* without one all is as ever */
    assert_false(props_has(&p.packet.connack.props, PROP_AUTHENTICATION_METHOD));
    assert_int_equal(r->hooks.calls[HOOK_AUTH], 1);
    peer_drop(&p);
}

static void a_refusal_is_told_in_connack(void **state) {
    struct rig *r = *state;
    struct peer p;
    fake_on(&r->hooks, HOOK_AUTH, echo);
    say_hello(&p, r, SLICE("no"));
    expect_refusal(&p, RC_NOT_AUTHORIZED);
    say_hello(&p, r, SLICE_NONE);
    expect_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE_NONE);
    say_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE("no"));
    expect_refusal(&p, RC_NOT_AUTHORIZED);
    assert_int_equal(r->hooks.exchanges_over, 2);
}

static void a_reason_is_for_those_who_want_it(void **state) {
    struct rig *r = *state;
    for (uint8_t wants = 0; wants < 2; wants++) {
        struct peer p;
        struct packet c = hello("p", true, SLICE_NONE);
        fake_on(&r->hooks, HOOK_AUTH, denied_with_reason);
        c.connect.props.present |= PROP_BIT(PROP_REQUEST_PROBLEM_INFORMATION);
        c.connect.props.request_problem_information = wants;
        peer_open(&p, r, MQTT_5);
        peer_send(&p, &c);
        const struct pkt_connack *ack = &expect(&p, PKT_CONNACK)->connack;
        assert_int_equal(ack->reason_code, RC_BANNED);
        assert_int_equal(props_has(&ack->props, PROP_REASON_STRING), wants);
        if (wants) assert_slice(ack->props.reason_string, "because");
        expect_end(&p);
    }
}

static void only_auth_and_disconnect_come_before_connack(void **state) {
    struct rig *r = *state;
    struct peer p;
    fake_on(&r->hooks, HOOK_AUTH, echo);
    struct packet rows[] = { { .type = PKT_PINGREQ },
                             publish_packet("t", "x", 0, 0),
                             hello("p", true, SLICE_NONE) };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        say_hello(&p, r, SLICE_NONE);
        expect_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE_NONE);
        peer_send(&p, &rows[i]);
        expect_refusal(&p, RC_PROTOCOL_ERROR);
    }
    say_hello(&p, r, SLICE_NONE);
    expect_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE_NONE);
    say_disconnect(&p, RC_SUCCESS);
    expect_end(&p);
    assert_int_equal(r->hooks.exchanges_over, ARRAY_LEN(rows) + 1);
}

static void auth_has_its_turn_and_its_method(void **state) {
    static const struct {
        uint8_t code;
        const char *method;
        uint8_t answer;
    } rows[] = {
        { RC_REAUTHENTICATE, "TEST", RC_PROTOCOL_ERROR },
        { RC_SUCCESS, "TEST", RC_PROTOCOL_ERROR },
        { RC_CONTINUE_AUTHENTICATION, "test", RC_BAD_AUTHENTICATION_METHOD },
        { RC_CONTINUE_AUTHENTICATION, "", RC_BAD_AUTHENTICATION_METHOD },
    };
    struct rig *r = *state;
    struct peer p;
    fake_on(&r->hooks, HOOK_AUTH, echo);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        say_hello(&p, r, SLICE_NONE);
        expect_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE_NONE);
        say_auth_of(&p, rows[i].code, slice_str(rows[i].method), SLICE("yes"));
        expect_refusal(&p, rows[i].answer);
    }
    say_hello(&p, r, SLICE_NONE);
    expect_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE_NONE);
    peer_bytes(&p, "\xf0\x02\x18\x00", 4); /* names no method */
    expect_refusal(&p, RC_PROTOCOL_ERROR);
}

static void name_it(struct fake *f, struct hook_call *call) {
    auth_name(call->auth, call->auth->data);
    echo(f, call);
}

static void the_user_name_is_what_the_exchange_made_of_it(void **state) {
    struct rig *r = *state;
    struct peer p;
    struct packet c = hello("p", true, SLICE("ann"));
    c.connect.has_username = true;
    c.connect.username = SLICE("nobody");
    fake_on(&r->hooks, HOOK_AUTH, name_it);
    peer_open(&p, r, MQTT_5);
    peer_send(&p, &c);
    expect_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE("ann"));
    assert_slice(p.client->username, "nobody");
    fake_on(&r->hooks, HOOK_AUTH, echo);
    say_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE("yes"));
    expect_welcome(&p, SLICE("yes"));
    assert_slice(p.client->username, "ann");

    fake_on(&r->hooks, HOOK_AUTH, name_it);
    say_auth(&p, RC_REAUTHENTICATE, SLICE_NONE);
    expect_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE_NONE);
    assert_slice(p.client->username, "ann");
    fake_on(&r->hooks, HOOK_AUTH, echo);
    say_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE("yes"));
    expect_auth(&p, RC_SUCCESS, SLICE("yes"));
    assert_null(p.client->username.at);
    peer_drop(&p);
}

/* ---- time and ends ------------------------------------------------------------------- */

static void each_turn_of_the_client_has_its_time(void **state) {
    struct rig *r = *state;
    struct peer p;
    uint64_t most = r->config->limits.connect_timeout_ms;
    fake_on(&r->hooks, HOOK_AUTH, echo);
    say_hello(&p, r, SLICE_NONE);
    for (int i = 0; i < 3; i++) {
        expect_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE_NONE);
        rig_pass_ms(r, most - 100);
        say_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE_NONE);
    }
    expect_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE_NONE);
    rig_pass_ms(r, most + 100);
    expect_refusal(&p, RC_NOT_AUTHORIZED);
    assert_int_equal(r->hooks.exchanges_over, 1);
}

static void the_end_of_the_connection_ends_the_exchange(void **state) {
    struct rig *r = *state;
    for (int is_reauth = 0; is_reauth < 2; is_reauth++) {
        for (int waits = 0; waits < 2; waits++) {
            struct peer p;
            if (is_reauth) join_by_exchange(&p, r);
            r->hooks.exchanges_over = r->hooks.cancelled = 0;
            fake_on(&r->hooks, HOOK_AUTH, waits ? fake_wait : echo);
            if (is_reauth)
                say_auth(&p, RC_REAUTHENTICATE, SLICE_NONE);
            else
                say_hello(&p, r, SLICE_NONE);
            assert_int_equal(r->hooks.waiting_len, waits);
            if (waits) kick(p.client);
            peer_drop(&p);
            assert_int_equal(r->hooks.cancelled, waits);
            assert_int_equal(r->hooks.exchanges_over, 1);
        }
    }
}

static void the_brokers_end_ends_the_exchange(void **state) {
    (void)state;
    for (int waits = 0; waits < 2; waits++) {
        struct rig *r = rig_new();
        struct peer p;
        fake_on(&r->hooks, HOOK_AUTH, waits ? fake_wait : echo);
        say_hello(&p, r, SLICE_NONE);
        rig_free(r); /* asserts that nothing waits */
    }
}

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

static void end_own_and_go_on(struct fake *f, struct hook_call *call) {
    end_own(f, call);
    call->verdict = VERDICT_CONTINUE;
}

static void a_hook_may_end_its_own_client(void **state) {
    static fake_fn *const ways[] = { end_own, end_own_and_wait, end_own_and_allow,
                                     end_own_and_go_on };
    struct rig *r = *state;
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        for (int is_reauth = 0; is_reauth < 2; is_reauth++) {
            struct peer p;
            if (is_reauth) join_by_exchange(&p, r);
            fake_on(&r->hooks, HOOK_AUTH, ways[i]);
            if (is_reauth)
                say_auth(&p, RC_REAUTHENTICATE, SLICE_NONE);
            else
                say_hello(&p, r, SLICE_NONE);
            assert_int_equal(r->hooks.waiting_len, 0);
            if (is_reauth)
                expect_disconnect(&p, RC_ADMINISTRATIVE_ACTION);
            else
                expect_end(&p);
        }
    }
}

/* ---- hooks that wait -------------------------------------------------------------------- */

static void a_round_may_wait(void **state) {
    struct rig *r = *state;
    struct peer p;
    fake_on(&r->hooks, HOOK_AUTH, fake_wait);
    say_hello(&p, r, SLICE("one"));
    say_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE("two")); /* not read yet */
    rig_pass_ms(r, 60000);                                  /* nor is it late */
    assert_int_equal(r->hooks.calls[HOOK_AUTH], 1);
    assert_slice(r->hooks.waiting[0]->auth->data, "one");
    fake_answer(&r->hooks, VERDICT_CONTINUE, 0);
    expect_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE_NONE);
    assert_int_equal(r->hooks.waiting_len, 1);
    assert_slice(r->hooks.waiting[0]->auth->data, "two");
    auth_reply(r->hooks.waiting[0]->auth, SLICE("bye"));
    fake_answer(&r->hooks, VERDICT_ALLOW, 0);
    expect_welcome(&p, SLICE("bye"));
    peer_drop(&p);
}

static void two_of_one_name_and_the_later_wins(void **state) {
    struct rig *r = *state;
    struct peer a, b;
    fake_on(&r->hooks, HOOK_AUTH, echo);
    say_hello(&a, r, SLICE_NONE);
    say_hello(&b, r, SLICE_NONE);
    expect_auth(&a, RC_CONTINUE_AUTHENTICATION, SLICE_NONE);
    expect_auth(&b, RC_CONTINUE_AUTHENTICATION, SLICE_NONE);
    say_auth(&b, RC_CONTINUE_AUTHENTICATION, SLICE("yes"));
    expect_welcome(&b, SLICE("yes"));
    say_auth(&a, RC_CONTINUE_AUTHENTICATION, SLICE("yes"));
    expect_welcome(&a, SLICE("yes"));
    expect_disconnect(&b, RC_SESSION_TAKEN_OVER);
    peer_drop(&a);
}

static void the_limit_of_connections_holds_at_the_end(void **state) {
    struct rig *r = *state;
    struct peer p, q;
    r->config->limits.max_connections = 1;
    fake_on(&r->hooks, HOOK_AUTH, echo);
    say_hello(&p, r, SLICE_NONE);
    expect_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE_NONE);
    join(&q, r, MQTT_5, "q", true);
    say_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE("yes"));
    expect_refusal(&p, RC_SERVER_BUSY);
    peer_drop(&q);
}

static void a_reply_too_large_for_the_client_refuses(void **state) {
    struct rig *r = *state;
    struct peer p;
    uint8_t bytes[200] = { 0 };
    struct packet c = hello("p", true, slice_of(bytes, sizeof bytes));
    c.connect.props.present |= PROP_BIT(PROP_MAXIMUM_PACKET_SIZE);
    c.connect.props.maximum_packet_size = 100;
    fake_on(&r->hooks, HOOK_AUTH, echo);
    peer_open(&p, r, MQTT_5);
    peer_send(&p, &c);
    expect_refusal(&p, RC_NOT_AUTHORIZED);
}

/* ---- again ---------------------------------------------------------------------------------- */

static void a_client_authenticates_again_as_often_as_it_likes(void **state) {
    struct rig *r = *state;
    struct peer p;
    join_by_exchange(&p, r);
    for (int i = 0; i < 3; i++) {
        say_auth(&p, RC_REAUTHENTICATE, SLICE("more"));
        expect_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE("more"));
        say_ping(&p); /* other things go on */
        expect(&p, PKT_PINGRESP);
        say_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE("yes"));
        expect_auth(&p, RC_SUCCESS, SLICE("yes"));
    }
    assert_int_equal(r->hooks.exchanges_over, 4);
    peer_drop(&p);
}

static void allow_at_length(struct fake *f, struct hook_call *call) {
    static const uint8_t bytes[200];
    (void)f;
    auth_reply(call->auth, slice_of(bytes, sizeof bytes));
    call->verdict = VERDICT_ALLOW;
}

static void a_last_word_too_large_for_the_client_ends_it(void **state) {
    struct rig *r = *state;
    struct peer p;
    join_by_exchange(&p, r);
    peer_conn(&p)->max_out = 100;
    fake_on(&r->hooks, HOOK_AUTH, allow_at_length);
    say_auth(&p, RC_REAUTHENTICATE, SLICE("more"));
    expect_disconnect(&p, RC_NOT_AUTHORIZED);
}

static void refuse_with_quota(struct fake *f, struct hook_call *call) {
    denied_with_reason(f, call);
    call->reason_code = RC_QUOTA_EXCEEDED;
}

static void failing_again_ends_the_connection(void **state) {
    static const struct {
        fake_fn *hook;
        uint8_t code;
        bool has_reason;
    } rows[] = {
        { echo, RC_NOT_AUTHORIZED, false },
        { refuse_with_quota, RC_QUOTA_EXCEEDED, true },
        { denied_with_reason, RC_NOT_AUTHORIZED, true }, /* "banned" is for CONNACK only */
        { NULL, RC_BAD_AUTHENTICATION_METHOD, false },
    };
    struct rig *r = *state;
    struct peer p;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        join_by_exchange(&p, r);
        fake_on(&r->hooks, HOOK_AUTH, rows[i].hook);
        say_auth(&p, RC_REAUTHENTICATE, SLICE("no"));
        const struct pkt_reason *said = &expect(&p, PKT_DISCONNECT)->reason;
        assert_int_equal(said->reason_code, rows[i].code);
        assert_int_equal(props_has(&said->props, PROP_REASON_STRING), rows[i].has_reason);
        expect_end(&p);
    }
}

static void auth_out_of_turn_ends_the_connection(void **state) {
    static const struct {
        bool in_exchange;
        uint8_t code;
        const char *method;
        uint8_t answer;
    } rows[] = {
        { false, RC_CONTINUE_AUTHENTICATION, "TEST", RC_PROTOCOL_ERROR },
        { false, RC_SUCCESS, "TEST", RC_PROTOCOL_ERROR },
        { false, RC_REAUTHENTICATE, "OTHER", RC_BAD_AUTHENTICATION_METHOD },
        { true, RC_REAUTHENTICATE, "TEST", RC_PROTOCOL_ERROR },
        { true, RC_SUCCESS, "TEST", RC_PROTOCOL_ERROR },
        { true, RC_CONTINUE_AUTHENTICATION, "OTHER", RC_BAD_AUTHENTICATION_METHOD },
    };
    struct rig *r = *state;
    struct peer p;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        join_by_exchange(&p, r);
        if (rows[i].in_exchange) {
            say_auth(&p, RC_REAUTHENTICATE, SLICE_NONE);
            expect_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE_NONE);
        }
        say_auth_of(&p, rows[i].code, slice_str(rows[i].method), SLICE("yes"));
        expect_disconnect(&p, rows[i].answer);
    }
    fake_on(&r->hooks, HOOK_AUTH, echo);
    join(&p, r, MQTT_5, "p", true);
    say_auth(&p, RC_REAUTHENTICATE, SLICE("yes")); /* CONNECT named no method [MQTT-4.12.0-7] */
    expect_disconnect(&p, RC_PROTOCOL_ERROR);
}

static void a_second_exchange_that_waits_parks_its_client_alone(void **state) {
    struct rig *r = *state;
    struct peer p, other;
    join_by_exchange(&p, r);
    join(&other, r, MQTT_5, "other", true);
    subscribe(&p, "to/p", 0);
    fake_on(&r->hooks, HOOK_AUTH, fake_wait);
    say_auth(&p, RC_REAUTHENTICATE, SLICE("x"));
    say_ping(&p);
    publish(&other, "to/p", "hello", 0, 0);
    expect_publish(&p, "to/p", "hello");
    expect_nothing(&p); /* its own words wait */
    fake_answer(&r->hooks, VERDICT_ALLOW, 0);
    expect_auth(&p, RC_SUCCESS, SLICE_NONE);
    expect(&p, PKT_PINGRESP);
    peer_drop(&other);
    peer_drop(&p);
}

static void the_client_is_not_late_while_we_do_not_read_it(void **state) {
    struct rig *r = *state;
    struct peer p;
    uint64_t most = r->config->limits.connect_timeout_ms;
    join_by_exchange(&p, r);
    say_auth(&p, RC_REAUTHENTICATE, SLICE_NONE);
    expect_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE_NONE);
    fake_on(&r->hooks, HOOK_PUBLISH, fake_wait);
    publish(&p, "t", "x", 1, 1);
    say_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE("more"));
    rig_pass_ms(r, most + 100);
    fake_answer(&r->hooks, VERDICT_ALLOW, 0);
    expect(&p, PKT_PUBACK);
    expect_auth(&p, RC_CONTINUE_AUTHENTICATION, SLICE("more"));
    rig_pass_ms(r, most + 100);
    expect_disconnect(&p, RC_NOT_AUTHORIZED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(rounds_lead_to_connack),
        RIG(a_method_in_connect_needs_somebody_who_knows_it),
        RIG(a_refusal_is_told_in_connack),
        RIG(a_reason_is_for_those_who_want_it),
        RIG(only_auth_and_disconnect_come_before_connack),
        RIG(auth_has_its_turn_and_its_method),
        RIG(the_user_name_is_what_the_exchange_made_of_it),
        RIG(each_turn_of_the_client_has_its_time),
        RIG(the_end_of_the_connection_ends_the_exchange),
        cmocka_unit_test(the_brokers_end_ends_the_exchange),
        RIG(a_hook_may_end_its_own_client),
        RIG(a_round_may_wait),
        RIG(two_of_one_name_and_the_later_wins),
        RIG(the_limit_of_connections_holds_at_the_end),
        RIG(a_reply_too_large_for_the_client_refuses),
        RIG(a_client_authenticates_again_as_often_as_it_likes),
        RIG(a_last_word_too_large_for_the_client_ends_it),
        RIG(failing_again_ends_the_connection),
        RIG(auth_out_of_turn_ends_the_connection),
        RIG(a_second_exchange_that_waits_parks_its_client_alone),
        RIG(the_client_is_not_late_while_we_do_not_read_it),
    };
    return cmocka_run_group_tests_name("core/auth", tests, NULL, NULL);
}
