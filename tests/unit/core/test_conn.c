/* test_conn.c -- bytes in and out of one connection: boundaries, hang-ups, time, and
 * readers that do not read. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/conn.h"

#include "core/flow.h"
#include "core/rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>

enum { ANSWERS_MAX = 4096 };

/* ---- boundaries --------------------------------------------------------------- */

static void add(struct buf *b, const struct packet *p) {
    assert_true(packet_append(p, MQTT_5, b));
}

/* One of everything a client may say, and its end. */
static struct buf conversation(void) {
    struct buf b = BUF_INIT, list = BUF_INIT;
    struct packet p = connect_packet(MQTT_5, "me", true);
    add(&b, &p);
    filters_add(&list, SLICE("a/#"), &(struct subscribe_options){ .qos = 0 }, MQTT_5);
    p = (struct packet){ .type = PKT_SUBSCRIBE, .filters = { .packet_id = 1, .count = 1 } };
    p.filters.filters = buf_slice(&list);
    add(&b, &p);
    buf_deinit(&list);
    for (uint8_t qos = 0; qos <= 2; qos++) {
        p = publish_packet("a/b", "payload", qos, qos);
        add(&b, &p);
    }
    p = (struct packet){ .type = PKT_PUBREL, .ack = { .packet_id = 2 } };
    add(&b, &p);
    add(&b, &(struct packet){ .type = PKT_PINGREQ });
    filters_add(&list, SLICE("a/#"), NULL, MQTT_5);
    p = (struct packet){ .type = PKT_UNSUBSCRIBE, .filters = { .packet_id = 3, .count = 1 } };
    p.filters.filters = buf_slice(&list);
    add(&b, &p);
    buf_deinit(&list);
    add(&b, &(struct packet){ .type = PKT_DISCONNECT });
    return b;
}

/* What the broker answers when the bytes come in pieces: up to `cut`, then `step` each. */
static size_t answers(struct rig *r, const struct buf *b, size_t cut, size_t step, uint8_t *out) {
    struct peer p;
    size_t len = 0;
    peer_open(&p, r, MQTT_5);
    for (size_t at = 0; at < b->len;) {
        size_t n = at < cut ? cut - at : step;
        if (n > b->len - at) n = b->len - at;
        peer_bytes(&p, b->at + at, n);
        rig_settle(r);
        at += n;
    }
    ssize_t n;
    while ((n = recv(p.fd, out + len, ANSWERS_MAX - len, 0)) > 0) len += (size_t)n;
    assert_int_equal(n, 0); /* after DISCONNECT the broker closes */
    peer_drop(&p);
    return len;
}

static void packets_may_be_cut_anywhere(void **state) {
    struct buf b = conversation();
    uint8_t whole[ANSWERS_MAX], pieces[ANSWERS_MAX];
    size_t len = answers(*state, &b, b.len, b.len, whole);
    assert_true(len > 60);
    for (size_t cut = 1; cut < b.len; cut++) {
        assert_int_equal(answers(*state, &b, cut, b.len, pieces), len);
        assert_memory_equal(pieces, whole, len);
    }
    for (size_t step = 1; step < 12; step++) {
        assert_int_equal(answers(*state, &b, 0, step, pieces), len);
        assert_memory_equal(pieces, whole, len);
    }
    buf_deinit(&b);
}

static void an_idle_connection_owns_no_buffer(void **state) {
    struct rig *r = *state;
    struct peer p;
    join(&p, r, MQTT_5, "me", true);
    subscribe(&p, "t", 0);
    publish(&p, "t", "x", 0, 0);
    expect_publish(&p, "t", "x");
    peer_bytes(&p, "\xC0", 1); /* half a PINGREQ ... */
    rig_settle(r);
    assert_non_null(peer_conn(&p)->tail.at);
    peer_bytes(&p, "\0", 1);
    expect(&p, PKT_PINGRESP);
    assert_null(peer_conn(&p)->tail.at);
    assert_null(peer_conn(&p)->out.head);
    peer_drop(&p);
}

/* Larger than the read buffer, in pieces of many sizes, with a small packet behind it. */
static void large_packets_come_through(void **state) {
    struct rig *r = *state;
    static const size_t sizes[] = { 32760, 32768, 65520, 65536, 70000, 300000, 900000 };
    struct peer p, s;
    uint64_t seed = 88172645463325252u;
    join(&p, r, MQTT_5, "p", true);
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "big", 0);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct buf b = BUF_INIT;
        char *payload = xmalloc(sizes[i] + 1);
        for (size_t k = 0; k < sizes[i]; k++) payload[k] = (char)('a' + rnd(&seed, 26));
        payload[sizes[i]] = 0;
        struct packet packet = publish_packet("big", payload, 0, 0);
        add(&b, &packet);
        add(&b, &(struct packet){ .type = PKT_PINGREQ });
        for (size_t at = 0, n; at < b.len; at += n) {
            n = 1 + rnd(&seed, 50000);
            if (n > b.len - at) n = b.len - at;
            peer_bytes(&p, b.at + at, n);
            rig_settle(r);
            peer_fill(&s);
        }
        expect_publish(&s, "big", payload);
        expect(&p, PKT_PINGRESP);
        assert_null(peer_conn(&p)->tail.at);
        free(payload);
        buf_deinit(&b);
    }
    peer_drop(&p);
    peer_drop(&s);
}

static void what_is_too_large_is_refused_before_it_has_come(void **state) {
    struct rig *r = *state;
    struct peer p;
    r->config->limits.max_packet_size = 100;
    join(&p, r, MQTT_5, "p", true);
    peer_bytes(&p, "\x30\x63", 2);              /* 101 bytes in all */
    expect_disconnect(&p, RC_PACKET_TOO_LARGE); /* [MQTT-3.1.2-25] the other way round */
    join(&p, r, MQTT_3_1_1, "p", true);
    peer_bytes(&p, "\x30\x63", 2);
    expect_end(&p);
}

static void what_is_no_packet_ends_the_connection(void **state) {
    static const struct {
        const char *bytes;
        size_t len;
        uint8_t code;
    } rows[] = {
        { "\x00\x00", 2, RC_MALFORMED_PACKET },
        { "\xC1\x00", 2, RC_MALFORMED_PACKET }, /* flags of PINGREQ */
        { "\x30\xFF\xFF\xFF\xFF", 5, RC_MALFORMED_PACKET },
        { "\x10\x00", 2, RC_PROTOCOL_ERROR },             /* a second CONNECT [MQTT-3.1.0-2] */
        { "\x20\x03\x00\x00\x00", 5, RC_PROTOCOL_ERROR }, /* CONNACK from a client */
        { "\xF0\x00", 2, RC_PROTOCOL_ERROR },             /* AUTH out of turn */
        { "\x82\x03\x00\x01\x00", 5, RC_PROTOCOL_ERROR }, /* SUBSCRIBE to nothing */
    };
    struct rig *r = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct peer p;
        join(&p, r, MQTT_5, "p", true);
        peer_bytes(&p, rows[i].bytes, rows[i].len);
        expect_disconnect(&p, rows[i].code);
        join(&p, r, MQTT_3_1_1, "p", true); /* which knows no such word */
        peer_bytes(&p, rows[i].bytes, rows[i].len);
        expect_end(&p);
    }
}

static void the_first_packet_is_connect(void **state) { /* [MQTT-3.1.0-1] */
    struct rig *r = *state;
    struct peer p;
    peer_open(&p, r, MQTT_5);
    peer_post(&p, &(struct packet){ .type = PKT_PINGREQ });
    rig_settle(r);
    assert_null(peer_conn(&p));
    expect_end(&p);
    peer_open(&p, r, MQTT_5);
    peer_bytes(&p, "\x30", 1); /* PUBLISH, of which no more need come */
    expect_end(&p);
}

/* ---- the end --------------------------------------------------------------------- */

static void join_with_will(struct peer *p, struct rig *r, const char *id) {
    struct packet c = connect_packet(MQTT_5, id, true);
    c.connect.has_will = true;
    c.connect.will.topic = SLICE("will");
    c.connect.will.payload = SLICE("gone");
    join_with(p, r, &c);
}

static void a_half_closed_peer_gets_its_last_bytes(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "will", 0);
    join_with_will(&p, r, "p");
    struct packet last = publish_packet("t", "x", 1, 5);
    peer_post(&p, &last);
    shutdown(p.fd, SHUT_WR);
    assert_int_equal(expect(&p, PKT_PUBACK)->ack.packet_id, 5);
    expect_end(&p);
    expect_publish(&s, "will", "gone");
    peer_drop(&s);
}

static void the_last_word_is_read_though_we_lingered(void **state) {
    struct rig *r = *state;
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    assert_true(kick(p.client));
    assert_false(kick(p.client));
    assert_int_equal(peer_conn(&p)->state, CONN_ENDING);
    peer_post(&p, &(struct packet){ .type = PKT_PINGREQ }); /* what it says now is not heard */
    const struct packet *d = expect(&p, PKT_DISCONNECT);
    assert_int_equal(d->reason.reason_code, RC_ADMINISTRATIVE_ACTION);
    assert_slice(d->reason.props.reason_string, "kicked");
    expect_end(&p);
    assert_null(r->worker->conns);
}

static void a_peer_that_does_not_close_is_closed(void **state) {
    struct rig *r = *state;
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    kick(p.client);
    rig_pass_ms(r, 1999);
    assert_non_null(peer_conn(&p));
    rig_pass_ms(r, 1);
    assert_null(peer_conn(&p));
    peer_drop(&p);
}

static void who_says_goodbye_is_closed_at_once(void **state) {
    struct rig *r = *state;
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    struct packet last = publish_packet("t", "x", 1, 5);
    peer_post(&p, &last);
    say_disconnect(&p, 0);
    rig_settle(r);
    assert_null(r->worker->conns); /* though it has not closed its end */
    assert_int_equal(expect(&p, PKT_PUBACK)->ack.packet_id, 5);
    expect_end(&p);
}

/* Connected through real TCP, for its resets. */
static void tcp_open(struct peer *p, struct rig *r, int version) {
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof a;
    int fds[2], door = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(door, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(door, 1), 0);
    assert_int_equal(getsockname(door, (struct sockaddr *)&a, &len), 0);
    fds[1] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fds[1], (struct sockaddr *)&a, sizeof a), 0);
    fds[0] = accept(door, NULL, NULL);
    for (int i = 0; i < 2; i++) fcntl(fds[i], F_SETFL, O_NONBLOCK);
    close(door);
    peer_init(p, r, version, fds);
}

/* It does not read what comes and closes: the kernel sends a reset instead of a FIN. */
static void what_was_sent_before_a_reset_counts(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "#", 0);
    tcp_open(&p, r, MQTT_5);
    struct packet c = connect_packet(MQTT_5, "p", true);
    c.connect.has_will = true;
    c.connect.will.topic = SLICE("will");
    peer_post(&p, &c);
    expect(&p, PKT_CONNACK);
    subscribe(&p, "noise", 0);
    publish(&s, "noise", "x", 0, 0);
    expect_publish(&s, "noise", "x");
    struct packet last = publish_packet("last", "words", 0, 0);
    peer_post(&p, &last);
    say_disconnect(&p, 0);
    setsockopt(p.fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 },
               sizeof(struct linger));
    peer_drop(&p);
    expect_publish(&s, "last", "words");
    expect_nothing(&s); /* no will: it said DISCONNECT */
    assert_int_equal(r->worker->conns_len, 1);
    peer_drop(&s);
}

/* ---- time -------------------------------------------------------------------------- */

static void a_silent_stranger_is_closed(void **state) {
    struct rig *r = *state;
    struct peer p;
    peer_open(&p, r, MQTT_5);
    peer_bytes(&p, "\x10", 1);
    rig_pass_ms(r, r->config->limits.connect_timeout_ms - 1);
    assert_non_null(peer_conn(&p));
    rig_pass_ms(r, 1);
    assert_null(peer_conn(&p));
    peer_drop(&p);
}

static void keep_alive_is_one_and_a_half_times_what_was_said(void **state) { /* 3.1.2.10 */
    struct rig *r = *state;
    struct peer p;
    struct packet c = connect_packet(MQTT_5, "p", true);
    c.connect.keep_alive = 10;
    join_with(&p, r, &c);
    for (int i = 0; i < 5; i++) {
        rig_pass_ms(r, 14999);
        peer_post(&p, &(struct packet){ .type = PKT_PINGREQ });
        expect(&p, PKT_PINGRESP);
    }
    rig_pass_ms(r, 14999);
    expect_nothing(&p);
    rig_pass_ms(r, 1);
    expect_disconnect(&p, RC_KEEP_ALIVE_TIMEOUT);
    c.connect.keep_alive = 0;
    join_with(&p, r, &c);
    rig_pass_ms(r, 1000000000);
    expect_nothing(&p);
    peer_drop(&p);
}

static void waiting_for_a_hook_is_not_silence(void **state) {
    struct rig *r = *state;
    struct peer p;
    struct packet c = connect_packet(MQTT_5, "p", true);
    c.connect.keep_alive = 1;
    fake_on(&r->hooks, HOOK_AUTHENTICATE, fake_wait);
    fake_on(&r->hooks, HOOK_PUBLISH, fake_wait);
    peer_open(&p, r, MQTT_5);
    peer_send(&p, &c);
    rig_pass_ms(r, 5000);
    fake_answer(&r->hooks, VERDICT_ALLOW, 0);
    assert_int_equal(expect(&p, PKT_CONNACK)->connack.reason_code, 0);
    rig_pass_ms(r, 1400);
    publish(&p, "t", "x", 1, 1);
    rig_pass_ms(r, 5000);
    fake_answer(&r->hooks, VERDICT_ALLOW, 0);
    rig_turns(r, 1);
    assert_int_equal(expect(&p, PKT_PUBACK)->ack.packet_id, 1);
    rig_pass_ms(r, 1499);
    expect_nothing(&p);
    rig_pass_ms(r, 1);
    expect_disconnect(&p, RC_KEEP_ALIVE_TIMEOUT);
}

/* ---- readers that do not read --------------------------------------------------------- */

enum { LETTER = 4096 };

/* A PUBLISH that says which it is. */
static bool post_letter(struct peer *p, unsigned n, uint8_t qos) {
    char payload[LETTER + 1];
    memset(payload, 'x', LETTER);
    payload[LETTER] = 0;
    payload[snprintf(payload, sizeof payload, "%06u", n)] = 'x';
    struct buf b = BUF_INIT;
    struct packet packet = publish_packet("t", payload, qos, (uint16_t)(n + 1));
    assert_true(packet_append(&packet, p->version, &b));
    ssize_t sent = send(p->fd, b.at, b.len, MSG_NOSIGNAL);
    assert_true(sent < 0 || (size_t)sent == b.len);
    buf_deinit(&b);
    return sent > 0;
}

static unsigned letter_of(const struct peer *p) {
    char number[7] = { 0 };
    assert_int_equal(p->packet.publish.payload.len, LETTER);
    memcpy(number, p->packet.publish.payload.at, 6);
    return (unsigned)atoi(number);
}

/* Publishes letters `from` and up until `reader` makes the publisher wait. */
static unsigned post_until_paused(struct peer *p, unsigned from) {
    while (!peer_conn(p)->is_paused) {
        assert_true(post_letter(p, from, 0));
        from++;
        rig_settle(p->rig);
        assert_true(from < 3000);
    }
    return from;
}

static void a_lagging_reader_slows_its_publisher(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    join(&p, r, MQTT_5, "p", true);
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "t", 0);
    unsigned n = post_until_paused(&p, 0);
    assert_in_range(n, (1 << 20) / LETTER, 2 * (1 << 20) / LETTER);
    while (post_letter(&p, n, 0)) n++; /* into its socket, and no further */
    size_t before = peer_conn(&s)->out.len;
    rig_settle(r);
    assert_int_equal(peer_conn(&s)->out.len, before);
    unsigned got = 0;
    for (; got < n && expect(&s, PKT_PUBLISH); got++) assert_int_equal(letter_of(&s), got);
    expect_nothing(&s);
    assert_false(peer_conn(&p)->is_paused);
    assert_int_equal(r->worker->counters.dropped_slow_reader, 0);
    peer_drop(&p);
    peer_drop(&s);
}

static void a_reader_that_stands_still_is_waited_for_no_longer(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    r->config->max_output_bytes = 2 << 20;
    join(&p, r, MQTT_5, "p", true);
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "t", 1);
    unsigned n = post_until_paused(&p, 0);
    rig_pass_ms(r, 999);
    assert_true(peer_conn(&p)->is_paused);
    rig_pass_ms(r, 1);
    assert_false(peer_conn(&p)->is_paused);
    for (unsigned end = n + 600; n < end; n++) {
        assert_true(post_letter(&p, n, 0));
        rig_settle(r);
    }
    assert_false(peer_conn(&p)->is_paused);
    assert_in_range(peer_conn(&s)->out.len, 2 << 20, (2 << 20) + 2 * LETTER);
    uint64_t dropped = r->worker->counters.dropped_slow_reader;
    assert_true(dropped > 0);
    unsigned got = 0;
    while (peer_hear(&s)) got++;
    assert_int_equal(got + dropped, n);
    rig_pass_ms(r, 10000);
    post_until_paused(&p, n); /* it reads again, so it is waited for again */
    peer_drop(&s);            /* and when it goes, nobody waits */
    assert_false(peer_conn(&p)->is_paused);
    publish(&p, "t", "x", 1, 9);
    expect(&p, PKT_PUBACK);
    peer_drop(&p);
}

static void whoever_comes_later_does_not_wait_again(void **state) {
    struct rig *r = *state;
    struct peer p, q, s;
    join(&p, r, MQTT_5, "p", true);
    join(&q, r, MQTT_5, "q", true);
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "t", 0);
    post_until_paused(&p, 0);
    kick(p.client);
    peer_drop(&p);
    rig_pass_ms(r, 1000); /* nobody has waited so long, but the reader has had its time */
    publish(&q, "t", "x", 1, 9);
    assert_false(peer_conn(&q)->is_paused);
    expect(&q, PKT_PUBACK);
    peer_drop(&q);
    peer_drop(&s);
}

static void a_publisher_may_go_while_it_waits(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    join(&p, r, MQTT_5, "p", true);
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "t", 0);
    post_until_paused(&p, 0);
    assert_true(flow_is_awaited(peer_conn(&s)));
    kick(p.client);
    assert_false(flow_is_awaited(peer_conn(&s)));
    peer_drop(&p);
    peer_drop(&s);
}

/* More in one turn than the socket takes: it is full in the middle of the turn. */
static void a_socket_filled_within_a_turn_is_filled_on(void **state) {
    struct rig *r = *state;
    struct peer s;
    char payload[LETTER];
    memset(payload, 'x', LETTER);
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "t", 0);
    for (unsigned n = 0; n < 500; n++)
        publish_trusted(r->worker, &(struct message_parts){ .topic = SLICE("t"),
                                                            .payload = slice_of(payload, LETTER),
                                                            .expires_ms = MESSAGE_NEVER });
    for (unsigned n = 0; n < 500; n++) expect(&s, PKT_PUBLISH);
    expect_nothing(&s);
    peer_drop(&s);
}

/* It sends and sends, and never reads what we answer. */
static void answers_nobody_reads_are_bounded(void **state) {
    struct rig *r = *state;
    struct peer p;
    struct packet c = connect_packet(MQTT_5, "p", true);
    char pings[20000];
    unsigned sent = 0, got = 0;
    r->config->max_output_bytes = 1000;
    c.connect.keep_alive = 10;
    join_with(&p, r, &c);
    for (size_t i = 0; i < sizeof pings; i++) pings[i] = i % 2 ? 0 : (char)0xC0;
    for (unsigned idle = 0; idle < 20;) {
        ssize_t n = send(p.fd, pings + sent % 2, sizeof pings - 2, MSG_NOSIGNAL);
        rig_settle(r);
        if (n > 0)
            sent += (unsigned)n, idle = 0;
        else
            idle++;
        assert_true(sent < 16 << 20);
    }
    assert_true(peer_conn(&p)->out.len < 2 << 20);
    while (peer_hear(&p)) got++;
    assert_int_equal(got, sent / 2);
    while (send(p.fd, pings, sizeof pings, MSG_NOSIGNAL) > 0) rig_settle(r);
    rig_pass_ms(r, 20000); /* nothing read and nothing heard */
    assert_int_equal(r->broker->connected, 0);
    peer_drop(&p);
}

static void the_last_packet_leaves_a_full_socket_too(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    join(&p, r, MQTT_5, "p", true);
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "t", 0);
    unsigned n = post_until_paused(&p, 0), got = 0;
    kick(s.client);
    int type;
    while ((type = peer_hear(&s)) == PKT_PUBLISH) got++;
    assert_int_equal(got, n);
    assert_int_equal(type, PKT_DISCONNECT);
    expect_end(&s);
    peer_drop(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(packets_may_be_cut_anywhere),
        RIG(an_idle_connection_owns_no_buffer),
        RIG(large_packets_come_through),
        RIG(what_is_too_large_is_refused_before_it_has_come),
        RIG(what_is_no_packet_ends_the_connection),
        RIG(the_first_packet_is_connect),
        RIG(a_half_closed_peer_gets_its_last_bytes),
        RIG(the_last_word_is_read_though_we_lingered),
        RIG(a_peer_that_does_not_close_is_closed),
        RIG(who_says_goodbye_is_closed_at_once),
        RIG(what_was_sent_before_a_reset_counts),
        RIG(a_silent_stranger_is_closed),
        RIG(keep_alive_is_one_and_a_half_times_what_was_said),
        RIG(waiting_for_a_hook_is_not_silence),
        RIG(a_lagging_reader_slows_its_publisher),
        RIG(a_reader_that_stands_still_is_waited_for_no_longer),
        RIG(whoever_comes_later_does_not_wait_again),
        RIG(a_publisher_may_go_while_it_waits),
        RIG(a_socket_filled_within_a_turn_is_filled_on),
        RIG(answers_nobody_reads_are_bounded),
        RIG(the_last_packet_leaves_a_full_socket_too),
    };
    return cmocka_run_group_tests_name("core/conn", tests, NULL, NULL);
}
