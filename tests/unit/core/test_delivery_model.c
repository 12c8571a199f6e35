/* test_delivery_model.c -- a subscriber that acknowledges at random and out of order,
 * vanishes and comes back with another window, beside a model of what it must see: every
 * message once (QoS 2) or at least once (QoS 1), in order, again with DUP and its old
 * packet id after a reconnect, never more of them open than its Receive Maximum, and no
 * packet id twice in flight while they wrap. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/session.h"

#include "core/numbered.h"

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

/* Everything elder must have come on this connection before; a PUBREL waits for no PUBLISH
 * [MQTT-3.3.4-10]. */
static void check_turn(const struct model *m, const struct flight *f) {
    for (const struct flight *elder = m->flights; elder < f; elder++)
        assert_true(elder->is_seen || (f->is_received && !elder->is_received));
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
    m->rig->config->limits.max_inflight = m->version == MQTT_5 ? 10 : m->window;
    if (m->version == MQTT_5)
        present = join_window(&m->peer, m->rig, "s", (uint16_t)m->window);
    else
        present = join(&m->peer, m->rig, m->version, "s", false);
    if (m->window > m->rig->config->limits.max_inflight)
        m->window = m->rig->config->limits.max_inflight;
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
        struct flight *f = m->flights; /* released ones may fill the window */
        while (f < m->flights + m->flights_len - 1 && !f->is_seen) f++;
        assert_true(f->is_seen);
        acknowledge(m, f);
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
    r->config->limits.max_queued = 12;
    r->config->limits.max_queued_bytes = 120;
    run_model(r, MQTT_5, 2862933555777941757u);
    assert_true(r->worker->counters.dropped_queue_full > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(nothing_is_lost_doubled_or_disordered_in_5),
        RIG(nothing_is_lost_doubled_or_disordered_in_3),
        RIG(only_the_eldest_that_wait_are_lost),
    };
    return cmocka_run_group_tests_name("core/delivery model", tests, NULL, NULL);
}
