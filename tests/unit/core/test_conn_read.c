/* test_conn_read.c -- large payloads on their way in: cut anywhere, many at a time, to
 * receivers of every kind, byte by byte as they were sent. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/conn.h"

#include "core/rig.h"

enum { PIECE = 60000, MARK = 8 }; /* bytes: of one send; at the start of each payload */

/* ---- payloads that tell whether they are right ----------------------------------- */

static uint8_t byte_at(uint32_t number, uint32_t i) {
    return (uint8_t)((number + 1) * 2654435761u >> 24 ^ i * 40503u >> 8 ^ i);
}

/* Appends PUBLISH number `number`, with `len` bytes (>= MARK). */
static void add_publish(struct buf *b, const char *topic, uint32_t number, uint32_t len,
                        uint8_t qos) {
    uint8_t *payload = xmalloc(len);
    for (uint32_t i = MARK; i < len; i++) payload[i] = byte_at(number, i);
    memcpy(payload, &number, 4);
    memcpy(payload + 4, &len, 4);
    struct packet p = publish_packet(topic, "", qos, qos ? (uint16_t)(number % 65535 + 1) : 0);
    p.publish.payload = slice_of(payload, len);
    assert_true(packet_append(&p, MQTT_5, b));
    free(payload);
}

static void add_ping(struct buf *b) {
    assert_true(packet_append(&(struct packet){ .type = PKT_PINGREQ }, MQTT_5, b));
}

/* Its number. */
static uint32_t check_publish(const struct pkt_publish *p) {
    uint32_t number, len;
    assert_true(p->payload.len >= MARK);
    memcpy(&number, p->payload.at, 4);
    memcpy(&len, p->payload.at + 4, 4);
    assert_int_equal(p->payload.len, len);
    for (uint32_t i = MARK; i < len; i++)
        if (p->payload.at[i] != byte_at(number, i)) fail_msg("message %u, byte %u", number, i);
    return number;
}

static void expect_number(struct peer *p, uint32_t number) {
    assert_int_equal(check_publish(&expect(p, PKT_PUBLISH)->publish), number);
}

/* Sends in pieces that a socket takes; `to` reads meanwhile. */
static void send_all(struct peer *p, const struct buf *b, size_t from, size_t to,
                     struct peer *reader) {
    while (from < to) {
        size_t n = to - from < PIECE ? to - from : PIECE;
        peer_bytes(p, b->at + from, n);
        rig_settle(p->rig);
        peer_fill(reader);
        from += n;
    }
}

/* Two workers: the publisher lives on one, its reader on the other. */
static int far_setup(void **state) {
    *state = rig_new();
    rig_workers(*state, 2);
    return 0;
}

#define FAR(test)                                                                                  \
    (const struct CMUnitTest) {                                                                    \
#test " (far)", test, far_setup, rig_teardown, NULL                                        \
    }

static void join_pair(struct rig *r, struct peer *p, struct peer *s, uint8_t qos) {
    char id[16];
    rig_name(r, 0, "p", id);
    join(p, r, MQTT_5, id, true);
    rig_name(r, r->broker->workers_len - 1, "s", id);
    join(s, r, MQTT_5, id, true);
    subscribe(s, "t", qos);
}

/* ---- boundaries ------------------------------------------------------------------ */

static void a_large_packet_may_be_cut_anywhere(void **state) {
    struct rig *r = *state;
    static const uint32_t lens[] = { 1000, 1024, 16370, 16384, 65530, 65536, 300000, 1300000 };
    struct peer p, s;
    uint32_t number = 0;
    r->config->limits.max_packet_size = 4000000;
    join_pair(r, &p, &s, 0);
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        const size_t cuts[] = { 1,     2,     3,     4,           5,           9,
                                10,    100,   16383, 16384,       16385,       32768,
                                65535, 65536, 65537, lens[i] - 1, lens[i] + 1, lens[i] + 20 };
        for (size_t k = 0; k < ARRAY_LEN(cuts); k++) {
            struct buf b = BUF_INIT;
            add_publish(&b, "t", number++, lens[i], 0);
            add_ping(&b);
            add_publish(&b, "t", number++, 2000, 0);
            size_t cut = cuts[k] < b.len ? cuts[k] : b.len;
            send_all(&p, &b, 0, cut, &s);
            send_all(&p, &b, cut, b.len, &s);
            expect_number(&s, number - 2);
            expect_number(&s, number - 1);
            expect(&p, PKT_PINGRESP);
            assert_null(peer_conn(&p)->tail.at);
            buf_deinit(&b);
        }
    }
    expect_nothing(&s);
    peer_drop(&p);
    peer_drop(&s);
}

static void many_in_one_go(void **state) {
    struct rig *r = *state;
    static const uint32_t lens[] = { 1024, 16300, 20000, 40000 };
    struct peer p, s;
    join_pair(r, &p, &s, 0);
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct buf b = BUF_INIT;
        for (uint32_t n = 0; n < 100; n++) add_publish(&b, "t", n, lens[i], 0);
        for (size_t at = 0; at < b.len;) {
            ssize_t n = send(p.fd, b.at + at, b.len - at, MSG_NOSIGNAL);
            if (n > 0) at += (size_t)n;
            rig_turns(r, 1);
            peer_fill(&s);
        }
        for (uint32_t n = 0; n < 100; n++) expect_number(&s, n);
        buf_deinit(&b);
    }
    assert_null(peer_conn(&p)->tail.at);
    peer_drop(&p);
    peer_drop(&s);
}

/* More in one turn than the landing holds: readers get theirs before its end, and whoever
 * is not that quick keeps a copy. */
static void more_publishers_than_the_landing_has_room_for(void **state) {
    struct rig *r = *state;
    enum { PUBLISHERS = 20, EACH = 3 };
    struct peer p[PUBLISHERS], s[PUBLISHERS], all;
    char topic[16];
    join(&all, r, MQTT_5, "all", true);
    subscribe(&all, "#", 0);
    for (int i = 0; i < PUBLISHERS; i++) {
        snprintf(topic, sizeof topic, "t%d", i);
        join(&p[i], r, MQTT_5, topic + 1, true);
        join(&s[i], r, MQTT_5, topic, true);
        subscribe(&s[i], topic, 0);
    }
    for (uint32_t i = 0; i < PUBLISHERS; i++) {
        struct buf b = BUF_INIT;
        snprintf(topic, sizeof topic, "t%u", i);
        for (uint32_t n = 0; n < EACH; n++) add_publish(&b, topic, i * EACH + n, 20000, 0);
        peer_bytes(&p[i], b.at, b.len);
        buf_deinit(&b);
    }
    rig_turns(r, 1);
    unsigned seen[PUBLISHERS * EACH] = { 0 };
    for (uint32_t n = 0; n < PUBLISHERS * EACH; n++) {
        uint32_t number = check_publish(&expect(&all, PKT_PUBLISH)->publish);
        assert_int_equal(seen[number]++, 0);
        if (number % EACH) assert_int_equal(seen[number - 1], 1);
    }
    for (uint32_t i = 0; i < PUBLISHERS; i++) {
        for (uint32_t n = 0; n < EACH; n++) expect_number(&s[i], i * EACH + n);
        peer_drop(&p[i]);
        peer_drop(&s[i]);
    }
    peer_drop(&all);
}

/* ---- what is kept ---------------------------------------------------------------- */

/* What stays with somebody while the landing is used again and again. */
static void what_is_kept_is_not_written_over(void **state) {
    struct rig *r = *state;
    struct peer p, s, away;
    struct buf kept = BUF_INIT, passing = BUF_INIT;
    for (unsigned i = 0; i < r->broker->workers_len; i++)
        r->broker->workers[i].config->queue_qos0 = true;
    join_pair(r, &p, &s, 0);
    join(&away, r, MQTT_5, "away", false);
    subscribe(&away, "kept", 1);
    peer_drop(&away);
    static const uint32_t lens[] = { 1024, 5000, 16300, 16384, 30000, 200000 };
    for (uint32_t n = 0; n < 2 * ARRAY_LEN(lens); n++) {
        add_publish(&kept, "kept", n, lens[n / 2], n % 2);
        send_all(&p, &kept, 0, kept.len, &s);
        kept.len = 0;
    }
    for (uint32_t n = 0; n < 60; n++) add_publish(&passing, "t", n, 20000, 0);
    send_all(&p, &passing, 0, passing.len, &s);
    for (uint32_t n = 0; n < 60; n++) expect_number(&s, n);
    assert_true(join(&away, r, MQTT_5, "away", false));
    for (uint32_t n = 0; n < 2 * ARRAY_LEN(lens); n++) expect_number(&away, n);
    buf_deinit(&kept);
    buf_deinit(&passing);
    peer_drop(&away);
    peer_drop(&p);
    peer_drop(&s);
}

/* A client that does not acknowledge keeps what is its own, not the other worker's input. */
static void what_is_kept_elsewhere_leaves_the_landing(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    struct buf b = BUF_INIT;
    struct landing *from = &r->worker->landing, *to = &r->broker->workers[1].borrowed;
    join_pair(r, &p, &s, 1);
    for (uint32_t n = 0; n < 3; n++) add_publish(&b, "t", n, 18000, 1);
    peer_bytes(&p, b.at, b.len);
    rig_turn(r->worker);
    rig_turn(&r->broker->workers[1]);
    assert_int_equal(to->lent, 3);
    rig_turn(&r->broker->workers[1]);
    assert_int_equal(to->lent, 0);
    assert_ptr_equal(landing_room(from, LANDING_BYTES), from->at);
    memset(from->at, '!', LANDING_BYTES);
    for (uint32_t n = 0; n < 3; n++) expect_number(&s, n);
    buf_deinit(&b);
    peer_drop(&p);
    peer_drop(&s);
}

static void what_a_hook_waits_with_is_not_written_over(void **state) {
    struct rig *r = *state;
    struct peer p, q, s;
    struct buf b = BUF_INIT;
    join_pair(r, &p, &s, 0);
    join(&q, r, MQTT_5, "q", true);
    fake_on(&r->hooks, HOOK_AUTHORIZE, fake_wait);
    for (uint32_t n = 0; n < 3; n++) add_publish(&b, "t", n, 18000, 0);
    send_all(&p, &b, 0, b.len, &s); /* the first waits, the others behind it */
    assert_int_equal(r->hooks.waiting_len, 1);
    r->hooks.on[HOOK_AUTHORIZE] = NULL;
    b.len = 0;
    for (uint32_t n = 0; n < 60; n++) add_publish(&b, "u", 99, 20000, 0);
    send_all(&q, &b, 0, b.len, &s);
    fake_answer(&r->hooks, VERDICT_ALLOW, 0);
    for (uint32_t n = 0; n < 3; n++) expect_number(&s, n);
    buf_deinit(&b);
    peer_drop(&p);
    peer_drop(&q);
    peer_drop(&s);
}

static void retained_ones_last(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    struct buf b = BUF_INIT;
    join_pair(r, &p, &s, 0);
    add_publish(&b, "kept", 7, 30000, 0);
    b.at[0] |= 1; /* RETAIN */
    send_all(&p, &b, 0, b.len, &s);
    b.len = 0;
    for (uint32_t n = 0; n < 60; n++) add_publish(&b, "t", n, 20000, 0);
    send_all(&p, &b, 0, b.len, &s);
    for (uint32_t n = 0; n < 60; n++) expect_number(&s, n);
    subscribe(&s, "kept", 0);
    expect_number(&s, 7);
    buf_deinit(&b);
    peer_drop(&p);
    peer_drop(&s);
}

/* ---- endings --------------------------------------------------------------------- */

static void a_publisher_may_go_in_mid_packet(void **state) {
    struct rig *r = *state;
    static const size_t cuts[] = { 3, 1000, 20000, 59999 };
    struct peer p, s;
    struct buf b = BUF_INIT;
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "t", 0);
    add_publish(&b, "t", 1, 60000, 0);
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        join(&p, r, MQTT_5, "p", true);
        peer_bytes(&p, b.at, cuts[i]);
        rig_settle(r);
        peer_drop(&p);
        expect_nothing(&s);
    }
    buf_deinit(&b);
    peer_drop(&s);
}

static void end_own(struct fake *f, struct hook_call *call) {
    (void)f;
    kick(call->client);
}

static void a_packet_may_end_the_connection_it_came_by(void **state) {
    struct rig *r = *state;
    static const size_t cuts[] = { 0, 100, 17000 };
    struct peer p, s;
    struct buf b = BUF_INIT;
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "t", 0);
    fake_on(&r->hooks, HOOK_PUBLISH, end_own);
    add_publish(&b, "t", 1, 20000, 0);
    add_publish(&b, "t", 2, 20000, 0);
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        join(&p, r, MQTT_5, "p", true);
        send_all(&p, &b, 0, cuts[i], &s);
        send_all(&p, &b, cuts[i], b.len, &s);
        expect_disconnect(&p, RC_ADMINISTRATIVE_ACTION);
        expect_number(&s, 1);
        expect_nothing(&s);
    }
    buf_deinit(&b);
    peer_drop(&s);
}

static void close_own(struct fake *f, struct hook_call *call) {
    (void)f;
    conn_close(call->client->conn, "test");
}

static void what_waited_behind_goes_with_its_connection(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    struct buf b = BUF_INIT;
    join_pair(r, &p, &s, 0);
    fake_on(&r->hooks, HOOK_AUTHORIZE, fake_wait);
    for (uint32_t n = 0; n < 3; n++) add_publish(&b, "t", n, 15000, 0);
    send_all(&p, &b, 0, b.len, &s);
    assert_true(peer_conn(&p)->tail.len > 30000);
    r->hooks.on[HOOK_AUTHORIZE] = close_own; /* by the second: the third is left */
    fake_answer(&r->hooks, VERDICT_ALLOW, 0);
    expect_number(&s, 0);
    expect_end(&p);
    buf_deinit(&b);
    peer_drop(&s);
}

/* ---- memory ---------------------------------------------------------------------- */

static void room_is_made_for_what_is_announced_by_clients(void **state) {
    struct rig *r = *state;
    static const struct {
        uint32_t len;
        size_t room; /* 0: of the packet's size */
    } rows[] = { { 100000, 0 }, { 1000000, 0 }, { 3000000, 1048576 } };
    r->config->limits.max_packet_size = 4000000;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct peer p, s;
        struct buf b = BUF_INIT;
        join_pair(r, &p, &s, 0);
        add_publish(&b, "t", 5, rows[i].len, 0);
        send_all(&p, &b, 0, 30000, &s);
        assert_int_equal(peer_conn(&p)->tail.cap, rows[i].room ? rows[i].room : b.len);
        send_all(&p, &b, 30000, b.len, &s);
        expect_number(&s, 5);
        assert_null(peer_conn(&p)->tail.at);
        buf_deinit(&b);
        peer_drop(&p);
        peer_drop(&s);
    }
}

static struct slice shown; /* the payload a hook saw last; to be compared, not read */

static void note_payload(struct fake *f, struct hook_call *call) {
    (void)f;
    shown = message_payload(call->message);
}

static void large_payloads_stay_where_they_are(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    struct buf b = BUF_INIT;
    join_pair(r, &p, &s, 2);
    fake_on(&r->hooks, HOOK_PUBLISH, note_payload);
    add_publish(&b, "t", 1, 30000, 0);
    send_all(&p, &b, 0, b.len, &s); /* whole */
    assert_true(landing_holds(&r->worker->landing, shown));
    for (uint8_t qos = 0; qos <= 1; qos++) {
        b.len = 0;
        add_publish(&b, "t", 2, 30000, qos);
        send_all(&p, &b, 0, 20000, &s); /* in pieces */
        struct slice tail = buf_slice(&peer_conn(&p)->tail);
        send_all(&p, &b, 20000, b.len, &s);
        assert_ptr_equal(shown.at, tail.at + b.len - 30000);
    }
    expect_number(&s, 1);
    expect_number(&s, 2);
    expect_number(&s, 2);
    expect(&p, PKT_PUBACK);
    buf_deinit(&b);
    peer_drop(&p);
    peer_drop(&s);
}

static void a_stranger_gets_room_for_what_has_come(void **state) {
    struct rig *r = *state;
    struct peer p;
    char id[60001];
    memset(id, 'x', sizeof id - 1);
    id[60000] = 0;
    struct packet c = connect_packet(MQTT_5, id, true);
    struct buf b = BUF_INIT;
    assert_true(packet_append(&c, MQTT_5, &b));
    peer_open(&p, r, MQTT_5);
    for (size_t at = 0, n; at + 1 < b.len; at += n) {
        n = at + 3000 < b.len ? 3000 : b.len - at - 1;
        peer_bytes(&p, b.at + at, n);
        rig_settle(r);
        assert_in_range(peer_conn(&p)->tail.cap, at + n, 2 * (at + n));
    }
    peer_bytes(&p, b.at + b.len - 1, 1);
    assert_int_equal(expect(&p, PKT_CONNACK)->connack.reason_code, RC_SUCCESS);
    assert_null(peer_conn(&p)->tail.at);
    buf_deinit(&b);
    peer_drop(&p);
}

/* ---- everything at once ----------------------------------------------------------- */

enum { PUBLISHERS = 4, READERS = 4, MESSAGES = 60 };

struct crowd {
    struct rig *rig;
    uint64_t seed;
    struct peer publishers[PUBLISHERS], readers[READERS], away;
    struct buf out[PUBLISHERS];
    size_t sent[PUBLISHERS];
    uint32_t next[READERS + 1][PUBLISHERS]; /* expected by each reader, then by `away` */
};

static uint32_t any_len(uint64_t *seed) {
    static const uint32_t near[] = { 100, 1024, 4000, 16384, 32768, 65536, 150000, 262144 };
    return near[rnd(seed, ARRAY_LEN(near))] - 40 + rnd(seed, 80);
}

static void crowd_init(struct crowd *all, struct rig *r) {
    char name[16], topic[16];
    rig_workers(r, 3);
    for (unsigned i = 0; i < 3; i++) {
        struct config *config = r->broker->workers[i].config;
        config->queue_qos0 = true;
        config->max_output_bytes = 1 << 30;
        config->limits.max_queued_bytes = 1 << 30;
    }
    for (unsigned i = 0; i < READERS; i++) {
        rig_name(r, i % 3, (char[]){ (char)('a' + i), 0 }, name);
        join(&all->readers[i], r, MQTT_5, name, true);
        subscribe(&all->readers[i], "t/#", i % 2);
    }
    join(&all->away, r, MQTT_5, "away", false);
    subscribe(&all->away, "t/#", 1);
    peer_drop(&all->away);
    for (uint32_t i = 0; i < PUBLISHERS; i++) {
        rig_name(r, i % 3, (char[]){ (char)('p' + i), 0 }, name);
        join(&all->publishers[i], r, MQTT_5, name, true);
        snprintf(topic, sizeof topic, "t/%u", i);
        for (uint32_t n = 0; n < MESSAGES; n++)
            add_publish(&all->out[i], topic, i * MESSAGES + n, any_len(&all->seed), i % 2);
    }
}

/* Whole or in part, as much as the socket takes. */
static void crowd_send(struct crowd *all, unsigned i) {
    struct peer *p = &all->publishers[i];
    size_t left = all->out[i].len - all->sent[i];
    size_t n = rnd(&all->seed, 3) ? 1 + rnd(&all->seed, 100000) : 1 + rnd(&all->seed, 10);
    if (left == 0) return;
    ssize_t sent = send(p->fd, all->out[i].at + all->sent[i], n < left ? n : left, MSG_NOSIGNAL);
    if (sent > 0) all->sent[i] += (size_t)sent;
    while (peer_next(p)) assert_int_equal(p->packet.type, PKT_PUBACK);
}

/* What has come, in the order of each publisher. */
static unsigned crowd_read(struct peer *p, uint32_t next[PUBLISHERS]) {
    unsigned got = 0;
    for (; peer_next(p) == PKT_PUBLISH; got++) {
        uint32_t number = check_publish(&p->packet.publish);
        assert_int_equal(number % MESSAGES, next[number / MESSAGES]);
        next[number / MESSAGES]++;
        if (p->packet.publish.qos) ack(p, PKT_PUBACK, p->packet.publish.packet_id, RC_SUCCESS);
    }
    return got;
}

static void crowd_step(struct crowd *all) {
    crowd_send(all, rnd(&all->seed, PUBLISHERS));
    if (rnd(&all->seed, 2)) rig_turns(all->rig, 1);
    unsigned i = rnd(&all->seed, 2 * READERS); /* half of the time nobody reads */
    if (i < READERS) crowd_read(&all->readers[i], all->next[i]);
}

static bool has_sent_all(const struct crowd *all) {
    for (unsigned i = 0; i < PUBLISHERS; i++)
        if (all->sent[i] < all->out[i].len) return false;
    return true;
}

static void crowd_end(struct crowd *all) {
    struct rig *r = all->rig;
    unsigned left = READERS * PUBLISHERS * MESSAGES;
    for (unsigned i = 0; i < READERS; i++)
        for (unsigned k = 0; k < PUBLISHERS; k++) left -= all->next[i][k];
    for (unsigned turns = 0; left && turns < 10000; turns++) {
        rig_settle(r);
        for (unsigned i = 0; i < READERS; i++) left -= crowd_read(&all->readers[i], all->next[i]);
        for (unsigned i = 0; i < PUBLISHERS; i++) peer_fill(&all->publishers[i]);
    }
    assert_int_equal(left, 0);
    assert_true(join(&all->away, r, MQTT_5, "away", false));
    left = PUBLISHERS * MESSAGES;
    for (unsigned turns = 0; left && turns < 10000; turns++) {
        rig_settle(r);
        left -= crowd_read(&all->away, all->next[READERS]);
    }
    assert_int_equal(left, 0);
}

static void whatever_comes_in_any_pieces_goes_out_as_it_came(void **state) {
    struct crowd all = { .rig = *state, .seed = 88172645463325252u };
    crowd_init(&all, *state);
    while (!has_sent_all(&all)) crowd_step(&all);
    crowd_end(&all);
    for (unsigned i = 0; i < PUBLISHERS; i++) {
        assert_null(peer_conn(&all.publishers[i])->tail.at);
        peer_drop(&all.publishers[i]);
        buf_deinit(&all.out[i]);
    }
    for (unsigned i = 0; i < READERS; i++) peer_drop(&all.readers[i]);
    peer_drop(&all.away);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(a_large_packet_may_be_cut_anywhere),
        RIG(many_in_one_go),
        RIG(more_publishers_than_the_landing_has_room_for),
        RIG(what_is_kept_is_not_written_over),
        RIG(what_a_hook_waits_with_is_not_written_over),
        RIG(retained_ones_last),
        RIG(a_publisher_may_go_in_mid_packet),
        RIG(a_packet_may_end_the_connection_it_came_by),
        RIG(what_waited_behind_goes_with_its_connection),
        RIG(large_payloads_stay_where_they_are),
        RIG(room_is_made_for_what_is_announced_by_clients),
        RIG(a_stranger_gets_room_for_what_has_come),
        RIG(whatever_comes_in_any_pieces_goes_out_as_it_came),
        FAR(a_large_packet_may_be_cut_anywhere),
        FAR(many_in_one_go),
        FAR(more_publishers_than_the_landing_has_room_for),
        FAR(what_is_kept_is_not_written_over),
        FAR(what_is_kept_elsewhere_leaves_the_landing),
        FAR(retained_ones_last),
        FAR(a_publisher_may_go_in_mid_packet),
    };
    return cmocka_run_group_tests_name("core/conn_read", tests, NULL, NULL);
}
