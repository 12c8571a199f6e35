/* test_mail.c -- several workers in one thread, turned by hand: messages in batches, offers
 * of shares, visits, moves, and what becomes of them when a worker stops. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/mail.h"

#include "core/rig.h"

enum { WORKERS = 4 };

static int setup(void **state) {
    *state = rig_new();
    rig_workers(*state, WORKERS);
    return 0;
}

#define SEVERAL(test) cmocka_unit_test_setup_teardown(test, setup, rig_teardown)

static struct worker *at(struct rig *r, unsigned worker) {
    return &r->broker->workers[worker];
}

/* Connects a client whose home is `worker`, by that worker's door. */
static void join_at(struct peer *p, struct rig *r, unsigned worker, const char *stem) {
    char id[16];
    rig_name(r, worker, stem, id);
    r->worker = at(r, worker);
    join(p, r, MQTT_5, id, false);
}

static void drop_all(struct peer *p, size_t n) {
    for (size_t i = 0; i < n; i++) peer_drop(&p[i]);
}

static void stop(struct rig *r, unsigned worker) {
    struct mail *mail = xcalloc(1, sizeof *mail);
    mail->type = MAIL_STOP;
    mailbox_post(&at(r, worker)->inbox, mail);
    rig_turn(at(r, worker));
}

/* ---- messages --------------------------------------------------------------------- */

static void a_message_crosses_once_per_worker(void **state) {
    struct rig *r = *state;
    struct peer p[4];
    static const char *const stems[] = { "a", "b", "c" };
    join_at(&p[3], r, 0, "p");
    for (unsigned i = 0; i < 3; i++) {
        join_at(&p[i], r, 1, stems[i]);
        subscribe(&p[i], "t", 0);
    }
    struct packet m = publish_packet("t", "hello", 0, 0);
    peer_post(&p[3], &m);
    rig_turn(at(r, 0));
    assert_int_equal(atomic_load(&at(r, 1)->inbox_bytes), 6 + 64 + 4096);
    assert_int_equal(atomic_load(&at(r, 2)->inbox_bytes), 0); /* nobody there wants it */
    for (unsigned i = 0; i < 3; i++) expect_publish(&p[i], "t", "hello");
    assert_int_equal(atomic_load(&at(r, 1)->inbox_bytes), 0);
    drop_all(p, 4);
}

/* More than one batch holds, and what a batch holds not; large ones between small ones. */
static void the_order_of_a_publisher_is_kept(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    char payload[2000];
    join_at(&s, r, 2, "s");
    subscribe(&s, "t", 1);
    join_at(&p, r, 1, "p");
    for (int i = 0; i < 200; i++) {
        snprintf(payload, sizeof payload, "%0*d", i % 7 ? 3 : 1500, i);
        struct packet m = publish_packet("t", payload, i % 2, (uint16_t)(i % 2 ? i : 0));
        peer_post(&p, &m);
        if (i == 40) rig_turn(at(r, 1));
    }
    for (int i = 0; i < 200; i++) {
        snprintf(payload, sizeof payload, "%0*d", i % 7 ? 3 : 1500, i);
        uint16_t id = expect_publish(&s, "t", payload)->packet_id;
        if (i % 2) ack(&s, PKT_PUBACK, id, RC_SUCCESS);
    }
    expect_nothing(&s);
    peer_drop(&p);
    peer_drop(&s);
}

/* What crosses lies in a batch, which is gone when it is fetched. */
static void what_has_crossed_may_be_kept(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    at(r, 1)->config->queue_qos0 = true;
    join_at(&p, r, 0, "p");
    char id[16];
    rig_name(r, 1, "s", id);
    r->worker = at(r, 1);
    join(&s, r, MQTT_3_1_1, id, false);
    subscribe(&s, "t", 0);
    peer_drop(&s);
    publish(&p, "t", "first", 0, 0);
    publish(&p, "t", "second", 0, 0);
    join(&s, r, MQTT_3_1_1, id, false);
    expect_publish(&s, "t", "first");
    expect_publish(&s, "t", "second");
    drop_all((struct peer[]){ p, s }, 2);
}

/* All a message has, beside its topic and payload. */
static void a_copy_is_the_whole_message(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    join_at(&s, r, 1, "s");
    subscribe(&s, "t", 1);
    join_at(&p, r, 0, "p");
    struct packet m = publish_packet("t", "x", 1, 1);
    m.publish.props.present = PROP_BIT(PROP_CONTENT_TYPE) | PROP_BIT(PROP_MESSAGE_EXPIRY_INTERVAL);
    m.publish.props.content_type = SLICE("text");
    m.publish.props.message_expiry_interval = 7;
    peer_post(&p, &m);
    const struct pkt_publish *got = expect_publish(&s, "t", "x");
    assert_int_equal(got->qos, 1);
    assert_slice(got->props.content_type, "text");
    assert_int_equal(got->props.message_expiry_interval, 7);
    drop_all((struct peer[]){ p, s }, 2);
}

/* More properties than payload: with neither is memory kept, nor a place in the landing lent. */
static void large_properties_cross_and_leave_nothing(void **state) {
    struct rig *r = *state;
    static char text[20000];
    memset(text, 'c', sizeof text - 1);
    struct peer p, s;
    join_at(&s, r, 1, "s");
    subscribe(&s, "t", 0);
    join_at(&p, r, 0, "p");
    for (size_t len = 10; len < sizeof text; len += len < 5040 || len > 5100 ? 5030 : 3) {
        struct packet m = publish_packet("t", "payload", 0, 0);
        m.publish.props.present = PROP_BIT(PROP_CONTENT_TYPE);
        m.publish.props.content_type = slice_of(text, len);
        peer_post(&p, &m);
        rig_turn(at(r, 0));
        const uint8_t *block = at(r, 0)->landing.at;
        assert_ptr_equal(landing_room(&at(r, 0)->landing, LANDING_BYTES), block);
        const struct pkt_publish *got = expect_publish(&s, "t", "payload");
        assert_int_equal(got->props.content_type.len, len);
        assert_true(at(r, 0)->props.cap <= 4096);
    }
    drop_all((struct peer[]){ p, s }, 2);
}

/* Who was subscribed when it was sent is named in the parcel. */
static void what_has_changed_on_the_way_counts(void **state) {
    struct rig *r = *state;
    struct peer p, s[2];
    join_at(&p, r, 0, "p");
    join_at(&s[0], r, 1, "a");
    join_at(&s[1], r, 1, "b");
    subscribe(&s[0], "t", 0);
    subscribe(&s[1], "#", 1);
    struct packet m = publish_packet("t", "x", 1, 1);
    peer_post(&p, &m);
    rig_turn(at(r, 0)); /* on its way */
    struct handle a = peer_conn(&s[0])->session->handle;
    assert_true(subs_del(r->broker->subs, a, SLICE("t")));
    assert_int_equal(expect_publish(&s[1], "t", "x")->qos, 1);
    expect_nothing(&s[0]);
    drop_all(s, 2);
    peer_drop(&p);
}

/* All receivers on one other worker is the short way, and these do not take it. */
static void those_elsewhere_are_not_all(void **state) {
    struct rig *r = *state;
    struct peer p, s, member, late;
    join_at(&p, r, 0, "p");
    join_at(&s, r, 1, "s");
    subscribe(&s, "t", 0);
    struct packet m = publish_packet("t", "kept", 0, 0);
    m.publish.retain = true;
    peer_post(&p, &m);
    expect_publish(&s, "t", "kept");
    join_at(&late, r, 1, "l");
    subscribe(&late, "t", 0);
    expect_publish(&late, "t", "kept");
    join_at(&member, r, 0, "m");
    subscribe(&member, "$share/g/t", 0);
    publish(&p, "t", "shared", 0, 0);
    expect_publish(&s, "t", "shared");
    expect_publish(&late, "t", "shared");
    expect_publish(&member, "t", "shared");
    subscribe(&p, "t", 0);
    expect_publish(&p, "t", "kept");
    publish(&p, "t", "mine", 0, 0);
    expect_publish(&s, "t", "mine");
    expect_publish(&p, "t", "mine");
    drop_all((struct peer[]){ p, s, member, late }, 4);
}

static void many_elsewhere_all_get_it(void **state) {
    struct rig *r = *state;
    enum { MANY = 20 };
    struct peer p, s[MANY];
    char stem[4];
    join_at(&p, r, 0, "p");
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(stem, sizeof stem, "%c", (char)('a' + i));
        join_at(&s[i], r, 1 + i % 2, stem);
        subscribe(&s[i], "t", 0);
        publish(&p, "t", "x", 0, 0); /* named while they are few, then not */
        for (unsigned k = 0; k <= i; k++) expect_publish(&s[k], "t", "x");
    }
    drop_all(s, MANY);
    peer_drop(&p);
}

static void deliver_hooks_are_asked_elsewhere(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    join_at(&p, r, 0, "p");
    join_at(&s, r, 1, "s");
    subscribe(&s, "t", 0);
    fake_on(&r->others[1], HOOK_DELIVER, fake_wait);
    publish(&p, "t", "x", 0, 0);
    expect_nothing(&s);
    fake_answer(&r->others[1], VERDICT_DROP, 0);
    expect_nothing(&s);
    peer_drop(&p);
    peer_drop(&s);
}

static void a_publisher_does_not_hear_itself_but_others_do(void **state) {
    struct rig *r = *state;
    struct peer p[3];
    struct subscribe_options quiet = { .no_local = true };
    static const char *const stems[] = { "a", "b", "c" };
    for (unsigned i = 0; i < 3; i++) {
        join_at(&p[i], r, i, stems[i]);
        say_subscribe(&p[i], true, "t", quiet, 0);
        expect(&p[i], PKT_SUBACK);
    }
    publish(&p[1], "t", "x", 0, 0);
    expect_publish(&p[0], "t", "x");
    expect_publish(&p[2], "t", "x");
    expect_nothing(&p[1]);
    drop_all(p, 3);
}

/* ---- shares ----------------------------------------------------------------------- */

static void the_members_of_a_share_take_turns_wherever_they_live(void **state) {
    struct rig *r = *state;
    static const struct {
        unsigned worker;
        const char *stem;
    } rows[] = { { 0, "a" }, { 1, "b" }, { 1, "c" }, { 3, "d" } };
    struct peer p, m[ARRAY_LEN(rows)];
    join_at(&p, r, 2, "p");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        join_at(&m[i], r, rows[i].worker, rows[i].stem);
        subscribe(&m[i], "$share/g/t", 1);
    }
    for (int i = 0; i < 40; i++) publish(&p, "t", "x", 1, (uint16_t)(i + 1));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (int k = 0; k < 10; k++)
            ack(&m[i], PKT_PUBACK, expect_publish(&m[i], "t", "x")->packet_id, RC_SUCCESS);
        expect_nothing(&m[i]);
    }
    peer_drop(&p);
    drop_all(m, ARRAY_LEN(rows));
}

/* A member on each worker but the publisher's, each with a window of one. */
static void share_of_three(struct rig *r, struct peer *p, struct peer m[3]) {
    static const char *const stems[] = { "a", "b", "c" };
    join_at(p, r, 0, "p");
    for (unsigned i = 0; i < 3; i++) {
        at(r, i + 1)->config->limits.max_inflight = 1;
        join_at(&m[i], r, i + 1, stems[i]);
        subscribe(&m[i], "$share/g/t", 1);
    }
}

static void members_whose_window_is_closed_are_passed_over(void **state) {
    struct rig *r = *state;
    struct peer p, m[3];
    share_of_three(r, &p, m);
    uint16_t ids[3];
    for (int i = 0; i < 3; i++) publish(&p, "t", "first", 1, (uint16_t)(i + 1));
    for (int i = 0; i < 3; i++) ids[i] = expect_publish(&m[i], "t", "first")->packet_id;
    for (int round = 0; round < 9; round++) {
        int ready = round * 2 % 3; /* never the one whose turn it would be */
        ack(&m[ready], PKT_PUBACK, ids[ready], RC_SUCCESS);
        expect_nothing(&m[ready]);
        publish(&p, "t", "next", 1, (uint16_t)(round + 10));
        ids[ready] = expect_publish(&m[ready], "t", "next")->packet_id;
    }
    peer_drop(&p);
    drop_all(m, 3);
}

/* Its turns do not all fall to the same neighbour. */
static void the_turns_of_a_busy_member_go_to_all_others(void **state) {
    struct rig *r = *state;
    struct peer p, m[3];
    int got[3] = { 0 };
    share_of_three(r, &p, m);
    for (int i = 0; i < 3; i++) publish(&p, "t", "first", 1, (uint16_t)(i + 1));
    for (int i = 0; i < 3; i++) expect_publish(&m[i], "t", "first");
    ack(&m[1], PKT_PUBACK, 1, RC_SUCCESS);
    ack(&m[2], PKT_PUBACK, 1, RC_SUCCESS);
    for (int n = 0; n < 30; n++) {
        publish(&p, "t", "x", 1, (uint16_t)(n + 10));
        for (int i = 0; i < 3; i++) {
            if (peer_hear(&m[i]) != PKT_PUBLISH) continue;
            ack(&m[i], PKT_PUBACK, m[i].packet.publish.packet_id, RC_SUCCESS);
            got[i]++;
        }
    }
    assert_int_equal(got[0], 0);
    assert_int_equal(got[1] + got[2], 30);
    assert_in_range(got[1], 12, 18);
    peer_drop(&p);
    drop_all(m, 3);
}

static void the_busy_are_better_than_the_absent(void **state) {
    struct rig *r = *state;
    struct peer p, m[3];
    share_of_three(r, &p, m);
    peer_drop(&m[0]);
    peer_drop(&m[2]);
    publish(&p, "t", "1", 1, 1);
    publish(&p, "t", "2", 1, 2);
    for (int i = 1; i <= 2; i++) {
        const struct pkt_publish *got = expect_publish(&m[1], "t", i == 1 ? "1" : "2");
        ack(&m[1], PKT_PUBACK, got->packet_id, RC_SUCCESS);
    }
    expect_nothing(&m[1]);
    peer_drop(&p);
    peer_drop(&m[1]);
}

/* The offer goes back to the best that was met, who is a member no more. */
static void an_offer_outlives_the_member_it_was_kept_for(void **state) {
    struct rig *r = *state;
    struct peer p, m[3];
    share_of_three(r, &p, m);
    for (int i = 0; i < 3; i++) publish(&p, "t", "first", 1, (uint16_t)(i + 1));
    uint16_t id = 0;
    for (int i = 0; i < 3; i++) id = expect_publish(&m[i], "t", "first")->packet_id;
    struct packet late = publish_packet("t", "late", 1, 9);
    peer_post(&p, &late);
    rig_turn(at(r, 0));
    rig_turn(at(r, 1)); /* met busy, goes on */
    say_subscribe(&m[0], false, "$share/g/t", (struct subscribe_options){ 0 }, 0);
    rig_turn(at(r, 1));
    assert_int_equal(atomic_load(&at(r, 2)->inbox_bytes),
                     5 + 64 + 4096); /* still on its way round */
    rig_settle(r);
    for (int i = 1; i < 3; i++) { /* with one of the two that are left */
        ack(&m[i], PKT_PUBACK, id, RC_SUCCESS);
        if (peer_hear(&m[i])) break;
        id = 1;
        assert_int_equal(i, 1);
    }
    peer_drop(&p);
    drop_all(m, 3);
}

static void what_a_dead_member_has_not_acknowledged_goes_to_another_worker(void **state) {
    struct rig *r = *state;
    struct peer p, m[2];
    join_at(&p, r, 0, "p");
    join_at(&m[0], r, 1, "a");
    subscribe(&m[0], "$share/g/t", 1);
    for (int i = 0; i < 5; i++) publish(&p, "t", "x", 1, (uint16_t)(i + 1));
    for (int i = 0; i < 5; i++) expect_publish(&m[0], "t", "x");
    join_at(&m[1], r, 2, "b");
    subscribe(&m[1], "$share/g/t", 1);
    struct packet bye = { .type = PKT_DISCONNECT };
    props_init(&bye.reason.props);
    bye.reason.props.present = PROP_BIT(PROP_SESSION_EXPIRY_INTERVAL); /* 0: at once */
    peer_send(&m[0], &bye);
    for (int i = 0; i < 5; i++)
        ack(&m[1], PKT_PUBACK, expect_publish(&m[1], "t", "x")->packet_id, RC_SUCCESS);
    expect_nothing(&m[1]);
    peer_drop(&p);
    drop_all(m, 2);
}

/* ---- back-pressure ------------------------------------------------------------------ */

enum { LARGE = 60000, ENOUGH = 4 << 20 };

/* Posts large messages until the broker reads no more, turning its worker alone. */
static void flood(struct rig *r, struct peer *p, struct buf *packet) {
    for (int refused = 0; refused < 20;) {
        ssize_t n = send(p->fd, packet->at, packet->len, MSG_NOSIGNAL);
        if (n < 0) refused++;
        must(n < 0 || (size_t)n == packet->len);
        rig_clock_ms++;
        rig_turn(p->rig->worker);
        must(atomic_load(&at(r, 1)->inbox_bytes) < 2 * ENOUGH);
    }
}

static void a_publisher_rests_while_another_worker_is_congested(void **state) {
    struct rig *r = *state;
    struct peer s, p;
    struct buf packet = BUF_INIT;
    char *payload = xcalloc(1, LARGE + 1);
    memset(payload, 'x', LARGE);
    join_at(&s, r, 1, "s");
    subscribe(&s, "t", 0);
    join_at(&p, r, 0, "p");
    int small = 2 * LARGE; /* so that a packet is sent whole or not at all */
    assert_int_equal(setsockopt(p.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    struct packet m = publish_packet("t", payload, 0, 0);
    assert_true(packet_append(&m, MQTT_5, &packet));
    flood(r, &p, &packet);
    size_t full = atomic_load(&at(r, 1)->inbox_bytes);
    assert_in_range(full, ENOUGH, ENOUGH + 40 * LARGE);
    rig_turns(r, 20);
    for (int i = 0; i < 20; i++) rig_pass_ms(r, 100); /* nobody reads, until that is stuck */
    assert_int_equal(atomic_load(&at(r, 1)->inbox_bytes), 0);
    rig_pass_ms(r, 2000);
    assert_false(peer_conn(&p)->is_paused);
    buf_deinit(&packet);
    free(payload);
    peer_drop(&p);
    peer_drop(&s);
}

/* A reader that does not read, and a publisher on another worker that waits for it. */
static void lagging(struct rig *r, struct peer *s, struct peer *p) {
    char payload[40001] = "";
    memset(payload, 'x', sizeof payload - 1);
    join_at(s, r, 1, "s");
    subscribe(s, "t", 0);
    join_at(p, r, 0, "p");
    for (int i = 0; i < 100 && !peer_conn(p)->is_paused; i++) publish(p, "t", payload, 0, 0);
    assert_true(peer_conn(p)->is_paused);
    assert_in_range(peer_conn(s)->out.len, 1048576, 1048576 + 2 * sizeof payload);
}

static void a_publisher_waits_until_a_far_reader_has_drained(void **state) {
    struct rig *r = *state;
    struct peer s, p;
    lagging(r, &s, &p);
    rig_pass_ms(r, 500);
    assert_true(peer_conn(&p)->is_paused);
    while (peer_conn(&s)->out.len) peer_hear(&s);
    rig_settle(r);
    assert_false(peer_conn(&p)->is_paused);
    peer_drop(&p);
    peer_drop(&s);
}

static void a_far_reader_that_is_stuck_or_gone_is_waited_for_no_more(void **state) {
    struct rig *r = *state;
    struct peer s[2], p[2];
    lagging(r, &s[0], &p[0]);
    rig_pass_ms(r, 1100);
    assert_false(peer_conn(&p[0])->is_paused);
    publish(&p[0], "t", "x", 0, 0); /* finds that it has had its time */
    assert_true(peer_conn(&s[0])->is_stuck);
    assert_false(peer_conn(&p[0])->is_paused);
    drop_all(s, 1);
    drop_all(p, 1);
    lagging(r, &s[1], &p[1]);
    peer_drop(&s[1]);
    rig_settle(r);
    assert_false(peer_conn(&p[1])->is_paused);
    peer_drop(&p[1]);
}

/* ---- chores ------------------------------------------------------------------------- */

struct seen_chore {
    struct chore chore;
    struct worker *seen;
    bool was_stopping;
};

static void do_chore(struct worker *w, struct chore *chore) {
    struct seen_chore *c = CONTAINER_OF(chore, struct seen_chore, chore);
    assert_null(c->seen);
    c->seen = w;
    c->was_stopping = w->stopping;
}

static void a_chore_is_done_in_any_case(void **state) {
    struct rig *r = *state;
    struct seen_chore chores[2] = { 0 };
    for (unsigned i = 0; i < ARRAY_LEN(chores); i++) chores[i].chore.run = do_chore;
    mail_chore(at(r, 1), &chores[0].chore);
    rig_turn(at(r, 1));
    assert_ptr_equal(chores[0].seen, at(r, 1));
    assert_false(chores[0].was_stopping);
    stop(r, 2);
    mail_chore(at(r, 2), &chores[1].chore);
    rig_turn(at(r, 2));
    assert_ptr_equal(chores[1].seen, at(r, 2));
    assert_true(chores[1].was_stopping);
}

/* ---- visits ------------------------------------------------------------------------- */

struct trip {
    struct visit visit;
    struct worker *seen;
    bool is_home;
};

static void see(struct worker *w, struct visit *v) {
    CONTAINER_OF(v, struct trip, visit)->seen = w;
}

static void arrive(struct visit *v) {
    CONTAINER_OF(v, struct trip, visit)->is_home = true;
}

static void a_visit_comes_home(void **state) {
    struct rig *r = *state;
    struct trip t = { .visit = { .there = see, .home = arrive } };
    mail_visit(at(r, 1), 3, &t.visit);
    rig_turn(at(r, 1));
    assert_false(t.is_home);
    rig_turn(at(r, 3));
    assert_ptr_equal(t.seen, at(r, 3));
    assert_false(t.is_home);
    rig_turn(at(r, 1));
    assert_true(t.is_home);
}

static void a_visit_to_one_that_stops_comes_home_unheard(void **state) {
    struct rig *r = *state;
    struct trip t = { .visit = { .there = see, .home = arrive } };
    stop(r, 2);
    mail_visit(at(r, 0), 2, &t.visit);
    rig_settle(r);
    assert_null(t.seen);
    assert_true(t.is_home);
}

/* Static: they come home after the test. */
static struct trip underway[3];

static int all_are_home(void **state) {
    rig_teardown(state);
    for (size_t i = 0; i < ARRAY_LEN(underway); i++)
        if (!underway[i].is_home || underway[i].seen) return -1;
    return 0;
}

static void visits_under_way_come_home_with_the_brokers_end(void **state) {
    struct rig *r = *state;
    for (unsigned i = 0; i < ARRAY_LEN(underway); i++) {
        underway[i] = (struct trip){ .visit = { .there = see, .home = arrive } };
        mail_visit(at(r, i), (i + 2) % WORKERS, &underway[i].visit);
    }
}

/* ---- moves -------------------------------------------------------------------------- */

/* Posts CONNECT of a client at home on `home` to the door of worker 0. */
static void knock(struct peer *p, struct rig *r, unsigned home, const char *stem, char id[16]) {
    rig_name(r, home, stem, id);
    r->worker = at(r, 0);
    peer_open(p, r, MQTT_5);
    struct packet c = connect_packet(MQTT_5, id, true);
    peer_post(p, &c);
}

static void what_follows_connect_comes_along(void **state) {
    struct rig *r = *state;
    struct peer p;
    char id[16];
    knock(&p, r, 3, "p", id);
    say_subscribe(&p, true, "t", (struct subscribe_options){ .qos = 1 }, 0);
    struct packet m = publish_packet("t", "x", 1, 5);
    peer_post(&p, &m);
    rig_turn(at(r, 0));
    assert_int_equal(at(r, 0)->conns_len, 0);
    m = publish_packet("t", "y", 0, 0);
    peer_post(&p, &m); /* while nobody has the connection */
    expect(&p, PKT_CONNACK);
    expect(&p, PKT_SUBACK);
    expect_publish(&p, "t", "x");
    expect(&p, PKT_PUBACK);
    expect_publish(&p, "t", "y");
    assert_int_equal(at(r, 3)->conns_len, 1);
    assert_int_equal(BROKER_SUM(r->broker, connections), 1);
    assert_int_equal(r->broker->connected, 1);
    peer_follow(&p, slice_str(id));
    peer_drop(&p);
    assert_int_equal(r->broker->connected, 0);
}

static void a_client_may_go_while_it_moves(void **state) {
    struct rig *r = *state;
    struct peer p;
    char id[16];
    knock(&p, r, 2, "p", id);
    rig_turn(at(r, 0));
    holding_end(p.holding);
    p.client = NULL;
    rig_settle(r);
    rig_settle(r);
    assert_int_equal(at(r, 0)->conns_len + at(r, 2)->conns_len, 0);
    assert_int_equal(at(r, 0)->clients.used + at(r, 2)->clients.used, 0);
    assert_int_equal(r->broker->connected, 0);
}

static void attributes_come_along_and_the_old_worker_forgets(void **state) {
    struct rig *r = *state;
    struct peer p;
    char id[16];
    struct attr tag = { .type = ATTR_STRING, .string = SLICE("blue") };
    rig_name(r, 1, "p", id);
    r->worker = at(r, 0);
    peer_open(&p, r, MQTT_5);
    assert_true(client_attr_set(p.client, "tag", &tag));
    struct packet c = connect_packet(MQTT_5, id, true);
    peer_send(&p, &c);
    peer_follow(&p, slice_str(id));
    assert_ptr_equal(p.client->worker, at(r, 1));
    assert_true(slice_eq(client_attr_find(p.client, "tag")->string, SLICE("blue")));
    assert_string_equal(p.client->listener, "unix:test");
    assert_int_equal(r->hooks.forgotten, 1);
    peer_drop(&p);
}

static void the_later_connection_takes_over_wherever_it_came_in(void **state) {
    struct rig *r = *state;
    struct peer first, second;
    char id[16];
    rig_name(r, 2, "p", id);
    r->worker = at(r, 1);
    join(&first, r, MQTT_5, id, true);
    r->worker = at(r, 3);
    join(&second, r, MQTT_5, id, true);
    expect_disconnect(&first, RC_SESSION_TAKEN_OVER);
    expect_nothing(&second);
    assert_int_equal(r->broker->connected, 1);
    peer_drop(&second);
}

/* Between two workers' turns, at each of a move's stations. */
static void a_move_meets_the_stop_of_either_worker(void **state) {
    struct rig *r = *state;
    struct peer p[2];
    char id[16];
    knock(&p[0], r, 1, "a", id);
    stop(r, 1);
    expect_end(&p[0]); /* moves all the same, to be closed there */
    knock(&p[1], r, 2, "b", id);
    rig_turn(at(r, 0));
    stop(r, 0); /* gone already */
    expect(&p[1], PKT_CONNACK);
    peer_follow(&p[1], slice_str(id));
    peer_drop(&p[1]);
}

/* ---- the end ------------------------------------------------------------------------ */

/* Sanitizers tell whether something is left or touched too late. */
static void mail_under_way_is_dropped_with_the_broker(void **state) {
    struct rig *r = *state;
    struct peer s, p, q;
    char id[16];
    join_at(&s, r, 1, "s");
    subscribe(&s, "t", 1);
    subscribe(&s, "$share/g/t", 1);
    join_at(&p, r, 0, "p");
    struct packet m = publish_packet("t", "x", 1, 1);
    peer_post(&p, &m);
    rig_turn(at(r, 0)); /* in the inbox */
    knock(&q, r, 2, "q", id);
    rig_turn(at(r, 0));
    buf_deinit(&s.in);
    buf_deinit(&p.in);
}

static void a_worker_that_stops_sends_nothing_more(void **state) {
    struct rig *r = *state;
    struct message *m = message_new(&(struct message_parts){ .topic = SLICE("t") });
    stop(r, 0);
    message_share(m);
    assert_true(mail_parcel(at(r, 0), 1, &(struct parcel){ .message = m }));
    rig_turn(at(r, 0));
    assert_int_equal(atomic_load(&at(r, 1)->inbox_bytes), 0);
    assert_int_equal(atomic_load(&m->refs), 1);
    message_unref(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SEVERAL(a_message_crosses_once_per_worker),
        SEVERAL(the_order_of_a_publisher_is_kept),
        SEVERAL(what_has_crossed_may_be_kept),
        SEVERAL(a_copy_is_the_whole_message),
        SEVERAL(large_properties_cross_and_leave_nothing),
        SEVERAL(what_has_changed_on_the_way_counts),
        SEVERAL(those_elsewhere_are_not_all),
        SEVERAL(many_elsewhere_all_get_it),
        SEVERAL(deliver_hooks_are_asked_elsewhere),
        SEVERAL(a_publisher_does_not_hear_itself_but_others_do),
        SEVERAL(the_members_of_a_share_take_turns_wherever_they_live),
        SEVERAL(members_whose_window_is_closed_are_passed_over),
        SEVERAL(the_turns_of_a_busy_member_go_to_all_others),
        SEVERAL(the_busy_are_better_than_the_absent),
        SEVERAL(an_offer_outlives_the_member_it_was_kept_for),
        SEVERAL(what_a_dead_member_has_not_acknowledged_goes_to_another_worker),
        SEVERAL(a_publisher_rests_while_another_worker_is_congested),
        SEVERAL(a_publisher_waits_until_a_far_reader_has_drained),
        SEVERAL(a_far_reader_that_is_stuck_or_gone_is_waited_for_no_more),
        SEVERAL(a_chore_is_done_in_any_case),
        SEVERAL(a_visit_comes_home),
        SEVERAL(a_visit_to_one_that_stops_comes_home_unheard),
        cmocka_unit_test_setup_teardown(visits_under_way_come_home_with_the_brokers_end, setup,
                                        all_are_home),
        SEVERAL(what_follows_connect_comes_along),
        SEVERAL(a_client_may_go_while_it_moves),
        SEVERAL(attributes_come_along_and_the_old_worker_forgets),
        SEVERAL(the_later_connection_takes_over_wherever_it_came_in),
        SEVERAL(a_move_meets_the_stop_of_either_worker),
        SEVERAL(mail_under_way_is_dropped_with_the_broker),
        SEVERAL(a_worker_that_stops_sends_nothing_more),
    };
    return cmocka_run_group_tests_name("core/mail", tests, NULL, NULL);
}
