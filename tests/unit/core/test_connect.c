/* test_connect.c -- CONNECT: who gets in, what CONNACK says, what hooks may change. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/connect.h"

#include "core/rig.h"

/* Sends it and gives the CONNACK; with a code, the end must follow. */
static const struct pkt_connack *try_connect(struct peer *p, struct rig *r,
                                             const struct packet *c) {
    peer_open(p, r, c->connect.version);
    peer_post(p, c);
    return &expect(p, PKT_CONNACK)->connack;
}

static uint8_t refusal(struct rig *r, const struct packet *c) {
    struct peer p;
    uint8_t code = try_connect(&p, r, c)->reason_code;
    if (code)
        expect_end(&p);
    else
        peer_drop(&p);
    assert_int_equal(r->worker->conns_len, 0);
    return code;
}

/* ---- identifiers --------------------------------------------------------------- */

static void an_empty_identifier_is_a_matter_of_version(void **state) {
    static const struct {
        int version;
        bool clean;
        uint8_t code;
    } rows[] = {
        { MQTT_3_1, true, 2 },   { MQTT_3_1, false, 2 },
        { MQTT_3_1_1, true, 0 }, { MQTT_3_1_1, false, 2 }, /* [MQTT-3.1.3-8] */
        { MQTT_5, true, 0 },     { MQTT_5, false, 0 },     /* [MQTT-3.1.3-6] */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct packet c = connect_packet(rows[i].version, "", rows[i].clean);
        assert_int_equal(refusal(*state, &c), rows[i].code);
    }
}

static void an_identifier_is_assigned_and_told(void **state) { /* [MQTT-3.1.3-7] */
    struct rig *r = *state;
    struct peer a, b;
    struct packet c = connect_packet(MQTT_5, "", true);
    const struct pkt_connack *ack = try_connect(&a, r, &c);
    assert_true(props_has(&ack->props, PROP_ASSIGNED_CLIENT_IDENTIFIER));
    assert_true(slice_eq(ack->props.assigned_client_identifier, a.client->id));
    join_with(&b, r, &c);
    assert_false(slice_eq(a.client->id, b.client->id));
    assert_int_equal(r->broker->connected, 2);
    peer_drop(&a);
    peer_drop(&b);
}

/* ---- CONNACK --------------------------------------------------------------------- */

static void connack_tells_what_the_broker_made_of_it(void **state) {
    struct rig *r = *state;
    struct peer p;
    r->config->limits.max_inflight = 17;
    r->config->limits.max_packet_size = 5000;
    r->config->limits.max_session_expiry = 600;
    struct packet c = connect_packet(MQTT_5, "me", true);
    c.connect.props.present |= PROP_BIT(PROP_SESSION_EXPIRY_INTERVAL);
    c.connect.props.session_expiry_interval = 601;
    const struct pkt_connack *ack = try_connect(&p, r, &c);
    assert_int_equal(ack->props.receive_maximum, 17);
    assert_int_equal(ack->props.maximum_packet_size, 5000);
    assert_int_equal(ack->props.session_expiry_interval, 600);
    assert_false(props_has(&ack->props, PROP_SERVER_KEEP_ALIVE));
    assert_false(props_has(&ack->props, PROP_ASSIGNED_CLIENT_IDENTIFIER));
    peer_drop(&p);
    c.connect.props.session_expiry_interval = 600;
    ack = try_connect(&p, r, &c);
    assert_false(props_has(&ack->props, PROP_SESSION_EXPIRY_INTERVAL));
    peer_drop(&p);
}

static void session_present_is_the_truth(void **state) { /* [MQTT-3.2.2-2] [MQTT-3.2.2-3] */
    struct rig *r = *state;
    for (int version = MQTT_3_1; version <= MQTT_5; version++) {
        struct peer p;
        bool can_say = version > MQTT_3_1;
        assert_false(join(&p, r, version, "me", false));
        peer_drop(&p);
        assert_int_equal(join(&p, r, version, "me", false), can_say);
        peer_drop(&p);
        assert_false(join(&p, r, version, "me", true)); /* [MQTT-3.1.2-4] */
        peer_drop(&p);
        assert_int_equal(r->worker->sessions.used, 0);
        assert_false(join(&p, r, version, "me", false));
        peer_drop(&p);
        join(&p, r, version, "me", true);
        peer_drop(&p);
    }
}

static void unknown_versions_are_told_so(void **state) { /* [MQTT-3.1.2-2] */
    static const struct {
        uint8_t level;
        int speaks;
        uint8_t code;
    } rows[] = {
        { 6, MQTT_5, RC_UNSUPPORTED_PROTOCOL_VERSION },
        { 2, MQTT_3_1_1, 1 },
        { 0, MQTT_3_1_1, 1 },
    };
    struct rig *r = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct peer p;
        uint8_t wire[] = { 0x10, 15, 0, 4, 'M', 'Q', 'T', 'T', rows[i].level,
                           2,    0,  0, 0, 0,   2,   'm', 'e' };
        peer_open(&p, r, rows[i].speaks);
        peer_bytes(&p, wire, sizeof wire);
        if (rows[i].speaks)
            assert_int_equal(expect(&p, PKT_CONNACK)->connack.reason_code, rows[i].code);
        expect_end(&p);
    }
    struct peer p; /* and what is not MQTT at all gets no answer [MQTT-3.1.2-1] */
    peer_open(&p, r, MQTT_5);
    peer_bytes(&p, "\x10\x0F\0\4HTTP\4\2\0\0\0\0\2me", 17);
    expect_end(&p);
}

static void in_3_return_codes_are_five(void **state) { /* 3.1.1 table 3.1 */
    static const struct {
        uint8_t reason_code, code3;
    } rows[] = {
        { RC_CLIENT_IDENTIFIER_NOT_VALID, 2 }, { RC_SERVER_UNAVAILABLE, 3 }, { RC_SERVER_BUSY, 3 },
        { RC_BAD_USER_NAME_OR_PASSWORD, 4 },   { RC_NOT_AUTHORIZED, 5 },     { RC_BANNED, 5 },
        { RC_UNSPECIFIED_ERROR, 5 },           { RC_QUOTA_EXCEEDED, 3 },
    };
    struct rig *r = *state;
    fake_on(&r->hooks, HOOK_CONNECT, fake_wait);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (int version = MQTT_3_1; version <= MQTT_5; version++) {
            struct peer p;
            struct packet c = connect_packet(version, "me", true);
            peer_open(&p, r, version);
            peer_send(&p, &c);
            fake_answer(&r->hooks, VERDICT_DENY, rows[i].reason_code);
            uint8_t code = expect(&p, PKT_CONNACK)->connack.reason_code;
            assert_int_equal(code, version == MQTT_5 ? rows[i].reason_code : rows[i].code3);
            expect_end(&p);
        }
    }
    assert_int_equal(r->worker->counters.connects_refused, ARRAY_LEN(rows) * 3);
}

static void deny_with_a_long_reason(struct fake *f, struct hook_call *call) {
    (void)f;
    call->verdict = VERDICT_DENY;
    call->reason = xstrdup("for reasons that take more room than the client has");
}

static void a_reason_is_told_where_it_fits(void **state) { /* [MQTT-3.2.2-19] */
    struct rig *r = *state;
    struct peer p;
    fake_on(&r->hooks, HOOK_AUTHENTICATE, deny_with_a_long_reason);
    struct packet c = connect_packet(MQTT_5, "me", true);
    const struct pkt_connack *ack = try_connect(&p, r, &c);
    assert_true(props_has(&ack->props, PROP_REASON_STRING));
    assert_false(ack->session_present); /* [MQTT-3.2.2-6] */
    expect_end(&p);
    c.connect.props.present |= PROP_BIT(PROP_MAXIMUM_PACKET_SIZE);
    c.connect.props.maximum_packet_size = 30;
    ack = try_connect(&p, r, &c);
    assert_int_equal(ack->reason_code, RC_BAD_USER_NAME_OR_PASSWORD);
    assert_false(props_has(&ack->props, PROP_REASON_STRING));
    expect_end(&p);
}

static void a_client_too_small_for_connack_is_closed(void **state) { /* [MQTT-3.1.2-24] */
    struct rig *r = *state;
    struct peer p, other;
    join(&other, r, MQTT_5, "other", true);
    assert_int_equal(subscribe(&other, "#", 0), 0);
    struct packet c = connect_packet(MQTT_5, "me", true);
    c.connect.props.present |= PROP_BIT(PROP_MAXIMUM_PACKET_SIZE);
    c.connect.props.maximum_packet_size = 4;
    c.connect.has_will = true;
    c.connect.will.topic = SLICE("gone");
    peer_open(&p, r, MQTT_5);
    peer_post(&p, &c);
    struct packet m = publish_packet("t", "x", 2, 1);
    peer_post(&p, &m);
    expect_end(&p);
    expect_nothing(&other); /* no will: it was never told that it was connected */
    assert_int_equal(r->broker->connected, 1);
    peer_drop(&other);
}

/* ---- limits ------------------------------------------------------------------------ */

static void connections_are_bounded_but_a_client_may_replace_itself(void **state) {
    struct rig *r = *state;
    struct peer a, b, c;
    r->config->limits.max_connections = 1;
    join(&a, r, MQTT_5, "a", true);
    struct packet other = connect_packet(MQTT_5, "b", true);
    assert_int_equal(try_connect(&b, r, &other)->reason_code, RC_SERVER_BUSY);
    expect_end(&b);
    join(&c, r, MQTT_5, "a", true);
    expect_disconnect(&a, RC_SESSION_TAKEN_OVER);
    peer_drop(&c);
    join(&b, r, MQTT_5, "b", true);
    peer_drop(&b);
}

static void strangers_need_someone_to_vouch(void **state) {
    struct rig *r = *state;
    struct packet c = connect_packet(MQTT_5, "me", true);
    r->config->limits.allow_anonymous = UNSET;
    r->worker->anonymous = false;
    assert_int_equal(refusal(r, &c), RC_NOT_AUTHORIZED);
    fake_on(&r->hooks, HOOK_AUTHENTICATE, NULL); /* says nothing */
    assert_int_equal(refusal(r, &c), RC_NOT_AUTHORIZED);
}

static void enhanced_authentication_is_refused_by_name(void **state) {
    struct packet c = connect_packet(MQTT_5, "me", true);
    c.connect.props.present |= PROP_BIT(PROP_AUTHENTICATION_METHOD);
    c.connect.props.authentication_method = SLICE("SCRAM");
    assert_int_equal(refusal(*state, &c), RC_BAD_AUTHENTICATION_METHOD);
}

/* ---- what hooks may change ------------------------------------------------------------ */

static struct packet changes;

static void change(struct fake *f, struct hook_call *call) {
    struct connect_request *q = call->connect;
    (void)f;
    q->packet.client_id = connect_keep(q, changes.connect.client_id);
    q->packet.username = connect_keep(q, changes.connect.username);
    q->packet.has_username = changes.connect.has_username;
    q->packet.keep_alive = changes.connect.keep_alive;
    q->packet.has_will = changes.connect.has_will;
    q->packet.will = changes.connect.will;
    q->session_expiry = 7;
}

static void what_a_hook_changes_holds(void **state) {
    struct rig *r = *state;
    struct peer p;
    fake_on(&r->hooks, HOOK_CONNECT, change);
    changes = connect_packet(MQTT_5, "other", true);
    changes.connect.has_username = true;
    changes.connect.username = SLICE("root");
    changes.connect.keep_alive = 33;
    struct packet c = connect_packet(MQTT_5, "me", true);
    const struct pkt_connack *ack = try_connect(&p, r, &c);
    assert_int_equal(ack->reason_code, 0);
    assert_int_equal(ack->props.server_keep_alive, 33); /* [MQTT-3.2.2-21] */
    assert_int_equal(ack->props.session_expiry_interval, 7);
    assert_slice(p.client->id, "other");
    assert_slice(p.client->username, "root");
    assert_int_equal(p.client->keep_alive, 33);
    assert_int_equal(session_find(r->worker, SLICE("other"))->expiry, 7);
    assert_null(session_find(r->worker, SLICE("me")));
    peer_drop(&p);
}

static void what_a_hook_changes_must_be_valid(void **state) {
    static const enum hook_event when[] = { HOOK_CONNECT, HOOK_AUTHENTICATE };
    struct rig *r = *state;
    struct packet c = connect_packet(MQTT_5, "me", true);
    for (size_t i = 0; i < ARRAY_LEN(when); i++) {
        fake_want(&r->hooks, 0);
        fake_on(&r->hooks, when[i], change);
        changes = connect_packet(MQTT_5, "\xFF", true);
        assert_int_equal(refusal(r, &c), RC_CLIENT_IDENTIFIER_NOT_VALID);
        changes = connect_packet(MQTT_5, "me", true);
        changes.connect.username = SLICE("\xFF");
        assert_int_equal(refusal(r, &c), RC_BAD_USER_NAME_OR_PASSWORD);
        changes = connect_packet(MQTT_5, "me", true);
        changes.connect.has_will = true;
        changes.connect.will.topic = SLICE("a/+");
        assert_int_equal(refusal(r, &c), RC_TOPIC_NAME_INVALID);
        changes.connect.will.topic = SLICE("a/b");
        assert_int_equal(refusal(r, &c), 0);
    }
}

/* ---- take-over ---------------------------------------------------------------------- */

static void the_newer_connection_has_the_session(void **state) { /* [MQTT-3.1.4-3] */
    struct rig *r = *state;
    struct peer a, b;
    join(&a, r, MQTT_5, "me", false);
    subscribe(&a, "t", 1);
    assert_true(join(&b, r, MQTT_5, "me", false));
    expect_disconnect(&a, RC_SESSION_TAKEN_OVER);
    publish(&b, "t", "x", 1, 1);
    expect(&b, PKT_PUBLISH);
    expect(&b, PKT_PUBACK);
    assert_int_equal(r->broker->connected, 1);
    assert_int_equal(r->worker->sessions.used, 1);
    peer_drop(&b);
}

static void a_clean_start_takes_over_and_starts_anew(void **state) {
    struct rig *r = *state;
    struct peer a, b;
    join(&a, r, MQTT_5, "me", false);
    subscribe(&a, "t", 1);
    assert_false(join(&b, r, MQTT_5, "me", true));
    expect_disconnect(&a, RC_SESSION_TAKEN_OVER);
    assert_int_equal(subs_count(r->broker->subs), 0);
    peer_drop(&b);
}

static void in_3_the_older_connection_is_just_closed(void **state) {
    struct rig *r = *state;
    struct peer a, b;
    join(&a, r, MQTT_3_1_1, "me", false);
    assert_true(join(&b, r, MQTT_3_1_1, "me", false));
    expect_end(&a);
    peer_drop(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(an_empty_identifier_is_a_matter_of_version),
        RIG(an_identifier_is_assigned_and_told),
        RIG(connack_tells_what_the_broker_made_of_it),
        RIG(session_present_is_the_truth),
        RIG(unknown_versions_are_told_so),
        RIG(in_3_return_codes_are_five),
        RIG(a_reason_is_told_where_it_fits),
        RIG(a_client_too_small_for_connack_is_closed),
        RIG(connections_are_bounded_but_a_client_may_replace_itself),
        RIG(strangers_need_someone_to_vouch),
        RIG(enhanced_authentication_is_refused_by_name),
        RIG(what_a_hook_changes_holds),
        RIG(what_a_hook_changes_must_be_valid),
        RIG(the_newer_connection_has_the_session),
        RIG(a_clean_start_takes_over_and_starts_anew),
        RIG(in_3_the_older_connection_is_just_closed),
    };
    return cmocka_run_group_tests_name("core/connect", tests, NULL, NULL);
}
