/* test_worker.c -- policies change places, a broker starts and stops. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/worker.h"

#include "core/rig.h"

#include <sys/un.h>

/* ---- policies ------------------------------------------------------------------------- */

/* Puts another policy in place; its configuration is the defaults but for strangers. */
static struct config *swap(struct rig *r, struct fake *next) {
    struct config *config = config_new();
    config->limits.allow_anonymous = YES;
    fake_init(next);
    fake_on(next, HOOK_RELOAD, NULL);
    broker_set_policy(r->broker, 0, config, &next->port);
    return config;
}

static void a_new_policy_takes_the_old_ones_place_between_two_turns(void **state) {
    struct rig *r = *state;
    static struct fake next; /* until the broker's end */
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    publish(&p, "t", "x", 0, 0); /* remembered: nobody asks about it */
    struct config *config = swap(r, &next);
    config->limits.max_packet_size = 77;
    fake_on(&next, HOOK_PUBLISH, NULL);
    assert_ptr_equal(r->worker->hooks, &r->hooks.port);
    rig_settle(r);
    assert_ptr_equal(r->worker->hooks, &next.port);
    assert_int_equal(next.attached, 1);
    assert_int_equal(next.calls[HOOK_RELOAD], 1);
    assert_int_equal(r->hooks.retired, 1);
    publish(&p, "t", "x", 0, 0);
    assert_int_equal(next.calls[HOOK_PUBLISH], 1); /* not from the old routes */
    peer_drop(&p);
    join(&p, r, MQTT_5, "p", true); /* who came before keeps what CONNACK said */
    peer_bytes(&p, "\x30\x4C", 2);  /* 78 bytes in all */
    expect_disconnect(&p, RC_PACKET_TOO_LARGE);
}

static void a_wait_of_the_old_policy_goes_on_with_the_new_one(void **state) {
    struct rig *r = *state;
    static struct fake next; /* until the broker's end */
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    fake_on(&r->hooks, HOOK_PUBLISH, fake_wait);
    publish(&p, "t", "x", 1, 7);
    swap(r, &next);
    fake_on(&next, HOOK_AUTHORIZE, NULL);
    rig_settle(r);
    r->hooks.worker = NULL;
    fake_answer(&r->hooks, VERDICT_NONE, 0);
    expect(&p, PKT_PUBACK);
    assert_int_equal(next.calls[HOOK_AUTHORIZE], 1);
    peer_drop(&p);
}

static void a_wait_of_the_old_policy_is_cancelled_there(void **state) {
    struct rig *r = *state;
    static struct fake next; /* until the broker's end */
    struct peer p, q;
    fake_on(&r->hooks, HOOK_SUBSCRIBE, fake_wait);
    fake_on(&r->hooks, HOOK_PUBLISH, fake_wait);
    join(&p, r, MQTT_5, "p", true);
    join(&q, r, MQTT_5, "q", true);
    say_subscribe(&p, true, "t", (struct subscribe_options){ 0 }, 0);
    publish(&q, "t", "x", 1, 7);
    swap(r, &next);
    rig_settle(r);
    kick(p.client);
    assert_int_equal(r->hooks.cancelled, 1);
    buf_deinit(&p.in); /* q's wait ends with the broker */
    buf_deinit(&q.in);
}

static void who_may_come_in_unnamed_is_worked_out_anew(void **state) {
    static const struct {
        int allow;
        const char *url;
        bool asks, anonymous;
    } rows[] = {
        { YES, "mqtt://0.0.0.0", true, true },
        { NO, "mqtt://localhost", false, false },
        { UNSET, "mqtt://localhost", false, true },
        { UNSET, "mqtt://127.0.0.9:1", false, true },
        { UNSET, "mqtt://[::1]:1883", false, true },
        { UNSET, "unix:///run/s", false, true },
        { UNSET, "mqtt://0.0.0.0", false, false },
        { UNSET, "mqtt://*:1883", false, false },
        { UNSET, "mqtt://127.0.0.1.example", false, false },
        { UNSET, "mqtt://example.org", false, false },
        { UNSET, "mqtt://localhost", true, false },
    };
    struct rig *r = *state;
    static struct fake next[ARRAY_LEN(rows)];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config *config = swap(r, &next[i]);
        config->limits.allow_anonymous = rows[i].allow;
        config_add_listener(config, rows[i].url, 0, 0);
        if (rows[i].asks) fake_on(&next[i], HOOK_AUTHENTICATE, NULL);
        rig_settle(r);
        assert_int_equal(r->worker->anonymous, rows[i].anonymous);
        if (i) assert_int_equal(next[i - 1].retired, 1);
    }
}

/* A reload opens and closes no listener: the one that is open counts. */
static void an_open_door_is_not_forgotten_by_a_reload(void **state) {
    struct rig *r = *state;
    static struct fake next;
    config_add_listener(r->config, "mqtt://0.0.0.0:0", 0, 0);
    assert_int_equal(broker_listen(r->broker), 0);
    struct config *config = swap(r, &next);
    config->limits.allow_anonymous = UNSET;
    config_add_listener(config, "mqtt://localhost", 0, 0);
    rig_settle(r);
    assert_false(r->worker->anonymous);
}

/* ---- stopping -------------------------------------------------------------------------- */

static void post_stop(struct rig *r) {
    struct mail *mail = xcalloc(1, sizeof *mail);
    mail->type = MAIL_STOP;
    mailbox_post(&r->worker->inbox, mail);
    rig_settle(r);
}

/* Closes whoever comes next in the worker's list. */
static void end_neighbour(struct fake *f, struct hook_call *call) {
    static bool is_nested;
    struct conn *next = call->client->conn->next;
    (void)f;
    if (is_nested || !next) return;
    is_nested = true;
    conn_close(next, NULL);
    is_nested = false;
}

static void everyone_is_told_goodbye(void **state) {
    struct rig *r = *state;
    struct peer p[3], stranger;
    static const char *const names[] = { "a", "b", "c" };
    for (int i = 0; i < 3; i++) join(&p[i], r, i ? MQTT_5 : MQTT_3_1_1, names[i], false);
    peer_open(&stranger, r, MQTT_5);
    fake_on(&r->hooks, HOOK_STOP, NULL);
    fake_on(&r->hooks, HOOK_DISCONNECTED, NULL);
    post_stop(r);
    expect_end(&p[0]);
    expect_disconnect(&p[1], RC_SERVER_SHUTTING_DOWN);
    expect_disconnect(&p[2], RC_SERVER_SHUTTING_DOWN);
    expect_end(&stranger);
    assert_int_equal(r->hooks.calls[HOOK_STOP], 1);
    assert_int_equal(r->hooks.calls[HOOK_DISCONNECTED], 3);
    assert_int_equal(r->broker->connected, 0);
}

static void hooks_may_close_others_meanwhile(void **state) {
    struct rig *r = *state;
    struct peer p[6];
    char name[16];
    unsigned told = 0;
    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "p%d", i);
        join(&p[i], r, MQTT_5, name, false);
    }
    fake_on(&r->hooks, HOOK_DISCONNECTED, end_neighbour);
    post_stop(r);
    assert_int_equal(r->hooks.calls[HOOK_DISCONNECTED], 6);
    for (int i = 0; i < 6; i++) told += peer_hear(&p[i]) == PKT_DISCONNECT;
    assert_in_range(told, 1, 5);
    for (int i = 0; i < 6; i++) {
        assert_true(p[i].is_over);
        peer_drop(&p[i]);
    }
}

static void those_who_do_not_go_are_closed(void **state) {
    struct rig *r = *state;
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    post_stop(r);
    rig_pass_ms(r, 1499);
    assert_non_null(r->worker->conns);
    rig_pass_ms(r, 1);
    assert_null(r->worker->conns);
    peer_drop(&p);
}

static void what_waits_is_cancelled(void **state) {
    struct rig *r = *state;
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    fake_on(&r->hooks, HOOK_PUBLISH, fake_wait);
    publish(&p, "t", "x", 1, 1);
    struct publish *script = publish_new(r->worker); /* and one of nobody's */
    script->message = message_new(&(struct message_parts){ .topic = SLICE("t") });
    publish_start(script);
    assert_int_equal(r->hooks.waiting_len, 2);
    post_stop(r);
    assert_int_equal(r->hooks.cancelled, 2);
    expect_disconnect(&p, RC_SERVER_SHUTTING_DOWN);
}

/* ---- the real thing ------------------------------------------------------------------------ */

static void path_of(char *path, size_t size) {
    snprintf(path, size, "/tmp/sol-test-worker-%d.sock", (int)getpid());
}

static int dial(const char *path) {
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void expect_bytes(int fd, const char *bytes, size_t len) {
    char in[64];
    for (size_t got = 0; got < len;) {
        ssize_t n = recv(fd, in + got, len - got, 0);
        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_memory_equal(in, bytes, len);
}

static void a_broker_with_its_thread_starts_serves_and_stops(void **state) {
    struct log log;
    struct fake hooks;
    char path[64], url[80];
    (void)state;
    rig_clock_ms = 0; /* real time */
    log_init(&log, -1, LOG_OFF, LOG_TEXT);
    fake_init(&hooks);
    fake_on(&hooks, HOOK_START, NULL);
    fake_on(&hooks, HOOK_STOP, NULL);
    struct config *config = config_new();
    path_of(path, sizeof path);
    snprintf(url, sizeof url, "unix://%s", path);
    config_add_listener(config, url, 0, 0600);
    struct broker *b = broker_new(&log, config, &hooks.port);
    assert_int_equal(broker_listen(b), 0);
    assert_int_equal(broker_start(b), 0);
    int fd = dial(path);
    assert_int_equal(send(fd, "\x10\x0E\0\4MQTT\4\2\0\0\0\2me", 16, 0), 16);
    expect_bytes(fd, "\x20\2\0\0", 4);
    assert_int_equal(send(fd, "\xC0\0", 2, 0), 2);
    expect_bytes(fd, "\xD0\0", 2);
    broker_stop(b);
    char end;
    assert_int_equal(recv(fd, &end, 1, 0), 0);
    broker_stop(b); /* harmless */
    broker_free(b);
    close(fd);
    assert_int_equal(hooks.calls[HOOK_START], 1);
    assert_int_equal(hooks.calls[HOOK_STOP], 1);
    assert_int_equal(hooks.retired, 1);
    assert_int_equal(access(path, F_OK), -1); /* the socket file has gone, too */
}

static void what_cannot_be_opened_is_an_error(void **state) {
    struct log log;
    (void)state;
    log_init(&log, -1, LOG_OFF, LOG_TEXT);
    struct config *config = config_new();
    config_add_listener(config, "unix:///nowhere/at/all.sock", 0, 0);
    struct broker *b = broker_new(&log, config, &hooks_none);
    assert_true(broker_listen(b) < 0);
    broker_free(b);
    broker_free(NULL);
}

static void everything_is_counted(void **state) {
    struct rig *r = *state;
    const struct counters *n = &r->worker->counters;
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    subscribe(&p, "t", 1);
    uint64_t in = n->bytes_in, out = n->bytes_out;
    publish(&p, "t", "xyz", 1, 1);
    expect_publish(&p, "t", "xyz");
    expect(&p, PKT_PUBACK);
    assert_int_equal(n->connections, 1);
    assert_int_equal(n->messages_in, 1);
    assert_int_equal(n->messages_out, 1);
    assert_int_equal(n->bytes_in - in, 2 + 3 + 2 + 1 + 3);
    assert_int_equal(n->bytes_out - out, 2 + 3 + 2 + 1 + 3 + 4);
    peer_drop(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(a_new_policy_takes_the_old_ones_place_between_two_turns),
        RIG(a_wait_of_the_old_policy_goes_on_with_the_new_one),
        RIG(a_wait_of_the_old_policy_is_cancelled_there),
        RIG(who_may_come_in_unnamed_is_worked_out_anew),
        RIG(an_open_door_is_not_forgotten_by_a_reload),
        RIG(everyone_is_told_goodbye),
        RIG(hooks_may_close_others_meanwhile),
        RIG(those_who_do_not_go_are_closed),
        RIG(what_waits_is_cancelled),
        cmocka_unit_test(a_broker_with_its_thread_starts_serves_and_stops),
        cmocka_unit_test(what_cannot_be_opened_is_an_error),
        RIG(everything_is_counted),
    };
    return cmocka_run_group_tests_name("core/worker", tests, NULL, NULL);
}
