/* test_delivery.c -- messages on their way to one client.
 *
 * Rows first.  Then a subscriber that acknowledges at random and out of order, vanishes
 * and comes back with another window, beside a model of what it must see: every message
 * once (QoS 2) or at least once (QoS 1), in order, again with DUP and its old packet id
 * after a reconnect, never more of them open than its Receive Maximum, and no packet id
 * twice in flight while they wrap. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/session.h"

#include "core/rig.h"

/* The broker publishes. */
static void say(struct rig *r, const char *topic, unsigned n, uint8_t qos, uint64_t expires_ms) {
    char payload[16];
    snprintf(payload, sizeof payload, "%u", n);
    route_publish_trusted(r->worker, &(struct message_parts){ .topic = slice_str(topic),
                                                              .payload = slice_str(payload),
                                                              .expires_ms = expires_ms,
                                                              .qos = qos });
}

static unsigned number_of(struct slice payload) {
    char text[16] = { 0 };
    assert_in_range(payload.len, 1, sizeof text - 1);
    memcpy(text, payload.at, payload.len);
    return (unsigned)atoi(text);
}

static bool join_window(struct peer *p, struct rig *r, const char *id, uint16_t window) {
    struct packet c = connect_packet(MQTT_5, id, false);
    c.connect.props.present |= PROP_BIT(PROP_RECEIVE_MAXIMUM);
    c.connect.props.receive_maximum = window;
    return join_with(p, r, &c);
}

static struct session *session_of(struct rig *r, const char *id) {
    return session_find(r->worker, slice_str(id));
}

/* ---- rows ------------------------------------------------------------------ */

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
    r->config->max_queued = 3;
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
    r->config->max_queued = 3;
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
    r->config->max_queued_bytes = 20;
    r->config->drop = DROP_OLDEST;
    join(&p, r, MQTT_5, "s", false);
    subscribe(&p, "t", 1);
    peer_drop(&p);
    for (unsigned n = 0; n < 10; n++) say(r, "t", n, 1, MESSAGE_NEVER);
    say(r, "t", 12345678, 1, MESSAGE_NEVER); /* 9 bytes: five of 2 go */
    assert_int_equal(r->worker->counters.dropped_queue_full, 5);
    assert_int_equal(session_of(r, "s")->queued_bytes, 19);
    route_publish_trusted(r->worker, &(struct message_parts){
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
    r->config->max_queued_bytes = 10;
    join(&p, r, MQTT_5, "s", false);
    subscribe(&p, "t", 1);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned n = 0; n < 9; n++) say(r, "t", n, 1, MESSAGE_NEVER);
        unsigned got = 0;
        rig_settle(r);
        for (; peer_next(&p); got++) ack(&p, PKT_PUBACK, p.packet.publish.packet_id, 0);
        assert_int_equal(got, 5); /* "t" and a digit each */
        assert_int_equal(session_of(r, "s")->queued_bytes, 0);
    }
    peer_drop(&p);
}

static void what_a_client_cannot_take_is_passed_over(void **state) { /* [MQTT-3.1.2-24] */
    struct rig *r = *state;
    struct peer p;
    struct packet c = connect_packet(MQTT_5, "s", false);
    c.connect.props.present |= PROP_BIT(PROP_MAXIMUM_PACKET_SIZE);
    c.connect.props.maximum_packet_size = 40;
    join_with(&p, r, &c);
    subscribe(&p, "#", 1);
    char topic[41];
    memset(topic, 't', 40);
    topic[40] = 0;
    say(r, "t", 0, 1, MESSAGE_NEVER);
    say(r, topic, 1, 1, MESSAGE_NEVER); /* as if it had been received [MQTT-3.1.2-25] */
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

/* ---- the model --------------------------------------------------------------- */

enum { MESSAGES = 3000 };

/* A message in flight, as the client and the broker both know it. */
struct flight {
    unsigned n;
    uint16_t id;
    uint8_t qos;
    bool is_received; /* we have sent PUBREC */
    bool is_released; /* PUBREL has come, on this connection */
    bool is_seen;     /* came on this connection, as PUBLISH or PUBREL */
    bool is_open;     /* its PUBLISH came on this connection */
};

struct model {
    struct rig *rig;
    struct peer peer;
    uint8_t version;
    bool is_connected;
    bool drops; /* the queue is short and loses its eldest */
    unsigned window, open;
    unsigned left_out;          /* messages that never came */
    unsigned said, last_n;      /* messages published, the newest seen */
    struct flight flights[512]; /* in order */
    unsigned flights_len, resent;
    bool stored[65536]; /* QoS 2 ids received and not released: the client's */
    unsigned delivered[MESSAGES + 1];
    uint8_t qos[MESSAGES + 1];
    uint64_t expires_ms[MESSAGES + 1];
    uint64_t seed;
};

static struct flight *flight_find(struct model *m, uint16_t id) {
    for (unsigned i = 0; i < m->flights_len; i++)
        if (m->flights[i].id == id) return &m->flights[i];
    return NULL;
}

static void flight_end(struct model *m, struct flight *f) {
    m->open -= f->is_open;
    unsigned i = (unsigned)(f - m->flights);
    for (m->flights_len--; i < m->flights_len; i++) m->flights[i] = m->flights[i + 1];
}

/* Everything elder must have come on this connection before. */
static void check_turn(const struct model *m, const struct flight *f) {
    for (const struct flight *elder = m->flights; elder < f; elder++) assert_true(elder->is_seen);
}

static struct flight *flight_new(struct model *m, const struct pkt_publish *p, unsigned n) {
    assert_null(flight_find(m, p->packet_id)); /* [MQTT-2.2.1-2] */
    assert_int_not_equal(p->packet_id, 0);
    assert_true(n > m->last_n); /* [MQTT-4.6.0-6] */
    for (unsigned k = m->last_n + 1; k < n; k++, m->left_out++)
        assert_true(m->drops || m->expires_ms[k] <= rig_clock_ms); /* nothing else is left out */
    m->last_n = n;
    struct flight *f = &m->flights[m->flights_len++];
    *f = (struct flight){ .n = n, .id = p->packet_id, .qos = p->qos };
    return f;
}

static void on_publish(struct model *m, const struct pkt_publish *p) {
    unsigned n = number_of(p->payload);
    struct flight *f = p->dup ? flight_find(m, p->packet_id) : flight_new(m, p, n);
    assert_non_null(f);
    assert_int_equal(f->n, n);
    assert_int_equal(p->qos, m->qos[n]);
    assert_false(f->is_received); /* [MQTT-4.3.3-6]: then only PUBREL may come */
    assert_false(f->is_seen);
    check_turn(m, f);
    f->is_seen = f->is_open = true;
    assert_true(++m->open <= m->window);
    if (p->qos == 1 || !m->stored[f->id]) m->delivered[n]++;
    if (p->qos == 2) m->stored[f->id] = true;
}

static void on_pubrel(struct model *m, uint16_t id) {
    struct flight *f = flight_find(m, id);
    assert_non_null(f);
    assert_true(f->is_received);
    if (!f->is_seen) check_turn(m, f);
    f->is_seen = f->is_released = true;
    m->stored[id] = false;
}

static void receive(struct model *m) {
    rig_settle(m->rig);
    for (int type; (type = peer_next(&m->peer));) {
        if (type == PKT_PUBLISH)
            on_publish(m, &m->peer.packet.publish);
        else if (type == PKT_PUBREL)
            on_pubrel(m, m->peer.packet.ack.packet_id);
        else
            fail();
    }
}

/* The broker must not sit on messages it may send. */
static void check_progress(struct model *m) {
    const struct session *s = session_of(m->rig, "s");
    unsigned seen = 0;
    for (unsigned i = 0; i < m->flights_len; i++) seen += m->flights[i].is_seen;
    if (seen >= m->window) return;
    assert_int_equal(seen, m->flights_len);
    if (s->ring_sent < m->window * 8) assert_int_equal(s->ring_len, s->ring_sent);
}

static void acknowledge(struct model *m, struct flight *f) {
    if (f->qos == 1) {
        ack(&m->peer, PKT_PUBACK, f->id, 0);
        flight_end(m, f);
    } else if (f->is_released) {
        ack(&m->peer, PKT_PUBCOMP, f->id, 0);
        flight_end(m, f);
    } else if (!f->is_received && m->version == MQTT_5 && rnd(&m->seed, 10) == 0) {
        m->stored[f->id] = false;
        ack(&m->peer, PKT_PUBREC, f->id, RC_UNSPECIFIED_ERROR);
        flight_end(m, f);
    } else {
        f->is_received = true;
        ack(&m->peer, PKT_PUBREC, f->id, 0); /* perhaps again: that is borne */
    }
}

static void reconnect(struct model *m) {
    bool present;
    m->window = 1 + rnd(&m->seed, 12);
    m->rig->config->max_inflight = m->version == MQTT_5 ? 10 : m->window;
    if (m->version == MQTT_5)
        present = join_window(&m->peer, m->rig, "s", (uint16_t)m->window);
    else
        present = join(&m->peer, m->rig, m->version, "s", false);
    if (m->window > m->rig->config->max_inflight) m->window = m->rig->config->max_inflight;
    assert_int_equal(present, m->said > 0);
    m->is_connected = true;
    m->open = 0;
}

static void lose_connection(struct model *m) {
    peer_drop(&m->peer); /* with whatever has not been read */
    m->is_connected = false;
    for (unsigned i = 0; i < m->flights_len; i++) {
        struct flight *f = &m->flights[i];
        f->is_seen = f->is_open = f->is_released = false;
    }
}

static void publish_some(struct model *m) {
    for (unsigned k = rnd(&m->seed, 5); k && m->said < MESSAGES && m->said - m->last_n < 300; k--) {
        unsigned n = ++m->said;
        m->qos[n] = (uint8_t)(1 + rnd(&m->seed, 2));
        m->expires_ms[n] =
            rnd(&m->seed, 8) ? MESSAGE_NEVER : rig_clock_ms + 1 + rnd(&m->seed, 2000);
        say(m->rig, "q/t", n, m->qos[n], m->expires_ms[n]);
    }
}

static void random_step(struct model *m) {
    unsigned what = rnd(&m->seed, 100);
    if (!m->is_connected && what < 50) {
        reconnect(m);
    } else if (m->is_connected && what < 4) {
        lose_connection(m);
    } else if (what < 8) {
        rig_clock_ms += rnd(&m->seed, 500);
    } else if (what < 40) {
        publish_some(m);
    } else if (m->is_connected && m->flights_len) {
        struct flight *f = &m->flights[rnd(&m->seed, m->flights_len)];
        if (f->is_seen) acknowledge(m, f);
    }
    if (!m->is_connected) return;
    receive(m);
    check_progress(m);
}

static void finish(struct model *m) {
    if (!m->is_connected) reconnect(m);
    receive(m);
    while (m->flights_len) {
        assert_true(m->flights[0].is_seen);
        acknowledge(m, &m->flights[0]);
        receive(m);
    }
    for (unsigned n = 1; n <= m->said; n++) {
        bool may_miss = m->drops || m->expires_ms[n] != MESSAGE_NEVER;
        if (m->qos[n] == 2)
            assert_in_range(m->delivered[n], may_miss ? 0 : 1, 1);
        else
            assert_true(m->delivered[n] || may_miss);
    }
    const struct session *s = session_of(m->rig, "s");
    const struct counters *counters = &m->rig->worker->counters;
    assert_int_equal(m->left_out + (m->said - m->last_n),
                     counters->dropped_queue_full + counters->dropped_expired);
    assert_int_equal(s->ring_len, 0);
    assert_int_equal(s->ring_open, 0);
    assert_int_equal(s->queued_bytes, 0);
    assert_int_equal(s->open_bytes, 0);
}

static void run_model(struct rig *r, uint8_t version, uint64_t seed) {
    struct model *m = xcalloc(1, sizeof *m);
    *m = (struct model){ .rig = r, .version = version, .seed = seed };
    m->drops = r->config->drop == DROP_OLDEST;
    reconnect(m);
    subscribe(&m->peer, "q/#", 2);
    session_of(r, "s")->first_id = 65000; /* ids wrap soon */
    while (m->said < MESSAGES) random_step(m);
    finish(m);
    assert_in_range(session_of(r, "s")->first_id, 1, 10000); /* and have wrapped */
    peer_drop(&m->peer);
    free(m);
}

static void nothing_is_lost_doubled_or_disordered_in_5(void **state) {
    run_model(*state, MQTT_5, 88172645463325252u);
}

static void nothing_is_lost_doubled_or_disordered_in_3(void **state) {
    run_model(*state, MQTT_3_1_1, 4101842887655102017u);
}

static void only_the_eldest_that_wait_are_lost(void **state) {
    struct rig *r = *state;
    r->config->drop = DROP_OLDEST;
    r->config->max_queued = 12;
    r->config->max_queued_bytes = 120;
    run_model(r, MQTT_5, 2862933555777941757u);
    assert_true(r->worker->counters.dropped_queue_full > 100);
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
        RIG(one_message_never_acknowledged_does_not_grow_the_ring),
        RIG(nothing_is_lost_doubled_or_disordered_in_5),
        RIG(nothing_is_lost_doubled_or_disordered_in_3),
        RIG(only_the_eldest_that_wait_are_lost),
    };
    return cmocka_run_group_tests_name("core/delivery", tests, NULL, NULL);
}
