/* rig.h -- what the tests of src/core share: a broker without threads and without a
 * network, on a clock driven by hand, and clients at the other ends of socket pairs.
 *
 * The worker's loop is turned by the test itself, so a test is one thread and the same
 * every time it runs. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_TESTS_CORE_RIG_H
#define SOL_TESTS_CORE_RIG_H

#include "base/buf.h"
#include "base/mem.h"
#include "core/client.h"
#include "core/conn.h"
#include "core/retain.h"
#include "core/publish.h"
#include "core/route.h"
#include "core/session.h"
#include "core/subs.h"
#include "core/worker.h"
#include "mqtt/decode.h"
#include "mqtt/encode.h"
#include "mqtt/props.h"
#include "mqtt/topic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- the clock ----------------------------------------------------------- */

/* Monotonic time, for this whole program: it stands still until told.  0: the real one. */
static uint64_t rig_clock_ms;

int clock_gettime(clockid_t id, struct timespec *t) {
    if (id != CLOCK_MONOTONIC || !rig_clock_ms) return (int)syscall(SYS_clock_gettime, id, t);
    t->tv_sec = (time_t)(rig_clock_ms / 1000);
    t->tv_nsec = (long)(rig_clock_ms % 1000) * 1000000;
    return 0;
}

/* ---- hooks that do what a test says --------------------------------------- */

struct fake;
typedef void fake_fn(struct fake *f, struct hook_call *call);

enum { FAKE_WAITING_MAX = 256 };

struct fake {
    struct hooks port;
    fake_fn *on[HOOK_EVENTS]; /* NULL: no handler; see fake_on */
    unsigned calls[HOOK_EVENTS];
    struct hook_call *waiting[FAKE_WAITING_MAX];
    unsigned waiting_len;
    unsigned cancelled, forgotten, exchanges_over, attached, retired;
    struct worker *worker; /* whose routes remember what is wanted; or NULL */
};

static inline struct fake *fake_of(struct hooks *h) {
    return CONTAINER_OF(h, struct fake, port);
}

static inline uint32_t fake_wants(struct hooks *h, struct slice topic) {
    (void)topic;
    return h->wanted;
}

static inline void fake_run(struct hooks *h, struct hook_call *call) {
    struct fake *f = fake_of(h);
    f->calls[call->event]++;
    call->verdict = VERDICT_NONE;
    if (f->on[call->event]) f->on[call->event](f, call);
    if (call->verdict != VERDICT_WAIT) return;
    must(call->done && f->waiting_len < FAKE_WAITING_MAX);
    call->hooks = h;
    f->waiting[f->waiting_len++] = call;
}

static inline void fake_forget_call(struct fake *f, const struct hook_call *call) {
    unsigned i = 0;
    while (i < f->waiting_len && f->waiting[i] != call) i++;
    must(i < f->waiting_len); /* core speaks of a call that does not wait */
    for (f->waiting_len--; i < f->waiting_len; i++) f->waiting[i] = f->waiting[i + 1];
    if (f->waiting_len == 0) hooks_settled(&f->port); /* if retired: nothing is left to do */
}

static inline void fake_cancel(struct hooks *h, struct hook_call *call) {
    struct fake *f = fake_of(h);
    fake_forget_call(f, call);
    f->cancelled++;
}

static inline void fake_attach(struct hooks *h, struct worker *w) {
    (void)w;
    fake_of(h)->attached++;
}

static inline void fake_retire(struct hooks *h, bool at_once) {
    must(!at_once || fake_of(h)->waiting_len == 0); /* core cancels first */
    fake_of(h)->retired++;
    if (fake_of(h)->waiting_len == 0) hooks_settled(h);
}

static inline void fake_forget(struct hooks *h, struct client *c) {
    (void)c;
    fake_of(h)->forgotten++;
}

static inline void fake_auth_over(struct hooks *h, struct client *c, struct auth_exchange *x) {
    (void)c, (void)x;
    fake_of(h)->exchanges_over++;
}

static inline void fake_init(struct fake *f) {
    *f = (struct fake){ .port = { .wants = fake_wants,
                                  .run = fake_run,
                                  .cancel = fake_cancel,
                                  .attach = fake_attach,
                                  .retire = fake_retire,
                                  .forget = fake_forget,
                                  .auth_over = fake_auth_over } };
}

static inline void fake_want(struct fake *f, uint32_t wanted) {
    f->port.wanted = wanted;
    if (!f->worker) return;
    f->worker->policies++; /* as if others had been put in place */
    route_cache_clear(f->worker);
}

/* From now on `event` has a handler; NULL: one that only counts. */
static inline void fake_on(struct fake *f, enum hook_event event, fake_fn *fn) {
    f->on[event] = fn;
    fake_want(f, f->port.wanted | HOOK_BIT(event));
}

/* A handler that waits. */
static inline void fake_wait(struct fake *f, struct hook_call *call) {
    (void)f;
    call->verdict = VERDICT_WAIT;
}

/* The eldest waiting call gets its verdict. */
static inline void fake_answer(struct fake *f, enum verdict verdict, uint8_t reason_code) {
    must(f->waiting_len);
    struct hook_call *call = f->waiting[0];
    fake_forget_call(f, call);
    call->verdict = verdict;
    call->reason_code = reason_code;
    call->done(call);
}

/* ---- the broker ------------------------------------------------------------ */

/* What a peer holds, so that a test that fails does not leave it behind. */
struct holding {
    int fd;                /* -1: given up */
    struct client *client; /* owned reference */
};

enum { HOLDINGS_MAX = 64, RIG_WORKERS_MAX = 4 };

struct rig {
    struct log log;
    struct fake hooks;
    struct fake others[RIG_WORKERS_MAX]; /* of the workers after the first, by number */
    struct broker *broker;
    struct worker *worker; /* accepts the next peer */
    struct config *config; /* the first worker's: tests may change it */
    struct holding holdings[HOLDINGS_MAX];
};

static inline void rig_turn(struct worker *w) {
    assert_int_equal(loop_turn(w->loop, 0), 0);
}

static inline void rig_turns(struct rig *r, int n) {
    while (n--)
        for (unsigned i = 0; i < r->broker->workers_len; i++) rig_turn(&r->broker->workers[i]);
}

/* Until all that follows from what the clients have sent is done. */
static inline void rig_settle(struct rig *r) {
    rig_turns(r, 5);
}

static inline void rig_pass_ms(struct rig *r, uint64_t ms) {
    rig_clock_ms += ms;
    rig_settle(r);
}

static inline struct rig *rig_new(void) {
    struct rig *r = xcalloc(1, sizeof *r);
    rig_clock_ms = 1000000;
    log_init(&r->log, -1, LOG_OFF, LOG_TEXT);
    fake_init(&r->hooks);
    r->config = config_new();
    r->config->limits.allow_anonymous = YES;
    r->broker = broker_new(&r->log, r->config, &r->hooks.port);
    r->worker = &r->broker->workers[0];
    r->hooks.worker = r->worker;
    r->worker->anonymous = true; /* what its thread would find out at the start */
    for (int i = 0; i < HOLDINGS_MAX; i++) r->holdings[i].fd = -1;
    return r;
}

/* So many workers in all; before anybody comes. */
static inline void rig_workers(struct rig *r, unsigned n) {
    must(n <= RIG_WORKERS_MAX);
    for (unsigned i = r->broker->workers_len; i < n; i++) {
        struct config *config = config_new();
        config->limits.allow_anonymous = YES;
        fake_init(&r->others[i]);
        broker_add_worker(r->broker, config, &r->others[i].port);
        struct worker *w = &r->broker->workers[i];
        w->anonymous = true;
        r->others[i].worker = w;
    }
}

/* A client id at home on that worker: `stem` and a number. */
static inline void rig_name(const struct rig *r, unsigned worker, const char *stem, char out[16]) {
    unsigned i = 0;
    do snprintf(out, 16, "%s%u", stem, i++);
    while (broker_home(r->broker, slice_str(out)) != worker);
}

static inline void holding_end(struct holding *h) {
    if (h->fd >= 0) close(h->fd);
    h->fd = -1;
    h->client = client_unref(h->client);
}

static inline void rig_free(struct rig *r) {
    if (!r) return;
    for (int i = 0; i < HOLDINGS_MAX; i++) holding_end(&r->holdings[i]);
    broker_free(r->broker);
    assert_int_equal(r->hooks.waiting_len, 0);
    free(r);
}

static inline int rig_setup(void **state) {
    *state = rig_new();
    return 0;
}

static inline int rig_teardown(void **state) {
    rig_free(*state);
    return 0;
}

#define RIG(test) cmocka_unit_test_setup_teardown(test, rig_setup, rig_teardown)

/* ---- clients ---------------------------------------------------------------- */

struct peer {
    struct rig *rig;
    int fd;
    uint8_t version;
    bool is_over;          /* the broker has said that it will send no more */
    struct client *client; /* outlives the connection */
    struct holding *holding;
    struct buf in;
    size_t used;          /* of `in`, up to the end of the packet lent */
    struct packet packet; /* the latest; lent until the next */
};

static inline void peer_init(struct peer *p, struct rig *r, int version, const int fds[2]) {
    *p = (struct peer){ .rig = r, .fd = fds[1], .version = (uint8_t)version };
    conn_open(r->worker, &stream_unix, fds[0], "test", "unix:test");
    p->client = client_ref(r->worker->conns->client);
    p->holding = r->holdings;
    while (p->holding->fd >= 0) p->holding++;
    must(p->holding < r->holdings + HOLDINGS_MAX);
    *p->holding = (struct holding){ p->fd, p->client };
}

static inline void peer_open(struct peer *p, struct rig *r, int version) {
    int fds[2];
    const int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    assert_int_equal(socketpair(AF_UNIX, type, 0, fds), 0);
    peer_init(p, r, version, fds);
}

/* As a policy disconnects a client. */
static inline bool kick(struct client *c) {
    return client_disconnect(
        c, &(struct farewell){ .reason_code = RC_ADMINISTRATIVE_ACTION, .reason = "kicked" });
}

/* Goes without a word. */
static inline void peer_drop(struct peer *p) {
    if (p->fd < 0) return;
    struct client *c = client_ref(p->client);
    holding_end(p->holding);
    p->fd = -1;
    rig_settle(p->rig);
    buf_deinit(&p->in);
    p->used = 0;
    p->client = client_unref(c);
}

static inline struct conn *peer_conn(const struct peer *p) {
    return p->client->conn;
}

static inline void peer_bytes(struct peer *p, const void *at, size_t len) {
    ssize_t n = send(p->fd, at, len, MSG_NOSIGNAL);
    assert_int_equal(n, len);
}

/* Sends without waiting for what comes of it. */
static inline void peer_post(struct peer *p, const struct packet *packet) {
    struct buf b = BUF_INIT;
    assert_true(packet_append(packet, p->version, &b));
    peer_bytes(p, b.at, b.len);
    buf_deinit(&b);
}

static inline void peer_send(struct peer *p, const struct packet *packet) {
    peer_post(p, packet);
    rig_settle(p->rig);
}

static inline void peer_fill(struct peer *p) {
    ssize_t n;
    if (p->used == p->in.len) p->used = p->in.len = 0;
    while (!p->is_over && (n = recv(p->fd, buf_reserve(&p->in, 65536), 65536, 0)) >= 0) {
        p->in.len += (size_t)n;
        p->is_over = n == 0;
    }
}

/* The next packet that has come, by its type; 0: none. */
static inline int peer_next(struct peer *p) {
    struct frame f;
    peer_fill(p);
    int r = frame_read(p->in.at + p->used, p->in.len - p->used, 0, &f);
    if (r == FRAME_MORE) return 0;
    assert_int_equal(r, FRAME_OK);
    p->used += f.head_len + f.body_len;
    assert_int_equal(packet_decode(&f, p->version, &p->packet), 0);
    return p->packet.type;
}

/* As peer_next, after all that can be sent has come. */
static inline int peer_hear(struct peer *p) {
    size_t before;
    do {
        before = p->in.len;
        rig_settle(p->rig);
        peer_fill(p);
    } while (p->in.len > before);
    return peer_next(p);
}

static inline const struct packet *expect(struct peer *p, int type) {
    assert_int_equal(peer_hear(p), type);
    return &p->packet;
}

static inline void expect_nothing(struct peer *p) {
    assert_int_equal(peer_hear(p), 0);
    assert_false(p->is_over);
}

/* Nothing more comes; answered by closing, too. */
static inline void expect_end(struct peer *p) {
    assert_int_equal(peer_hear(p), 0);
    assert_true(p->is_over);
    peer_drop(p);
}

/* ---- conversations ------------------------------------------------------------ */

static inline struct packet connect_packet(int version, const char *id, bool clean) {
    struct packet p = { .type = PKT_CONNECT };
    p.connect = (struct pkt_connect){ .version = (uint8_t)version,
                                      .clean_start = clean,
                                      .client_id = slice_str(id) };
    props_init(&p.connect.props);
    props_init(&p.connect.will.props);
    if (version == MQTT_5 && !clean) {
        p.connect.props.present = PROP_BIT(PROP_SESSION_EXPIRY_INTERVAL);
        p.connect.props.session_expiry_interval = SESSION_FOREVER;
    }
    return p;
}

/* The connection has moved: its client is another worker's. */
static inline void peer_follow(struct peer *p, struct slice id) {
    struct worker *home = &p->rig->broker->workers[broker_home(p->rig->broker, id)];
    struct session *s = session_find(home, id);
    must(s);
    if (s->client == p->client) return;
    client_unref(p->client);
    p->client = p->holding->client = client_ref(s->client);
}

/* Opens and connects; gives session present. */
static inline bool join_with(struct peer *p, struct rig *r, const struct packet *connect) {
    peer_open(p, r, connect->connect.version);
    peer_post(p, connect);
    const struct packet *ack = expect(p, PKT_CONNACK);
    assert_int_equal(ack->connack.reason_code, RC_SUCCESS);
    bool present = ack->connack.session_present;
    if (connect->connect.client_id.len) peer_follow(p, connect->connect.client_id);
    return present;
}

static inline bool join(struct peer *p, struct rig *r, int version, const char *id, bool clean) {
    struct packet c = connect_packet(version, id, clean);
    return join_with(p, r, &c);
}

static inline void say_subscribe(struct peer *p, bool subscribe, const char *filter,
                                 struct subscribe_options options, uint32_t identifier) {
    struct buf list = BUF_INIT;
    filters_add(&list, slice_str(filter), subscribe ? &options : NULL, p->version);
    struct packet packet = { .type = subscribe ? PKT_SUBSCRIBE : PKT_UNSUBSCRIBE,
                             .filters = { .packet_id = 77, .count = 1 } };
    props_init(&packet.filters.props);
    packet.filters.filters = buf_slice(&list);
    if (identifier) {
        packet.filters.props.present = PROP_BIT(PROP_SUBSCRIPTION_IDENTIFIER);
        packet.filters.props.subscription_identifier = identifier;
    }
    peer_post(p, &packet);
    buf_deinit(&list);
}

/* Gives the code of the SUBACK. */
static inline uint8_t subscribe(struct peer *p, const char *filter, uint8_t qos) {
    say_subscribe(p, true, filter, (struct subscribe_options){ .qos = qos }, 0);
    const struct packet *ack = expect(p, PKT_SUBACK);
    assert_int_equal(ack->codes.packet_id, 77);
    assert_int_equal(ack->codes.codes.len, 1);
    return ack->codes.codes.at[0];
}

static inline struct packet publish_packet(const char *topic, const char *payload, uint8_t qos,
                                           uint16_t packet_id) {
    struct packet p = { .type = PKT_PUBLISH };
    p.publish = (struct pkt_publish){
        .qos = qos, .packet_id = packet_id, .topic = slice_str(topic), .payload = slice_str(payload)
    };
    props_init(&p.publish.props);
    return p;
}

static inline void publish(struct peer *p, const char *topic, const char *payload, uint8_t qos,
                           uint16_t packet_id) {
    struct packet packet = publish_packet(topic, payload, qos, packet_id);
    peer_send(p, &packet);
}

static inline void publish_retained(struct peer *p, const char *topic, const char *payload) {
    struct packet packet = publish_packet(topic, payload, 0, 0);
    packet.publish.retain = true;
    peer_send(p, &packet);
}

static inline void ack(struct peer *p, int type, uint16_t packet_id, uint8_t reason_code) {
    struct packet packet = { .type = (enum packet_type)type,
                             .ack = { .packet_id = packet_id, .reason_code = reason_code } };
    props_init(&packet.ack.props);
    peer_send(p, &packet);
}

static inline void say_disconnect(struct peer *p, uint8_t reason_code) {
    struct packet packet = { .type = PKT_DISCONNECT, .reason = { .reason_code = reason_code } };
    props_init(&packet.reason.props);
    peer_post(p, &packet);
}

static inline void assert_slice(struct slice s, const char *text) {
    assert_int_equal(s.len, strlen(text));
    assert_memory_equal(s.at, text, s.len);
}

static inline const struct pkt_publish *expect_publish(struct peer *p, const char *topic,
                                                       const char *payload) {
    const struct packet *packet = expect(p, PKT_PUBLISH);
    assert_slice(packet->publish.topic, topic);
    assert_slice(packet->publish.payload, payload);
    return &packet->publish;
}

static inline void expect_disconnect(struct peer *p, uint8_t reason_code) {
    assert_int_equal(expect(p, PKT_DISCONNECT)->reason.reason_code, reason_code);
    expect_end(p);
}

/* ---- chance -------------------------------------------------------------------- */

/* xorshift64*: the same numbers every time. */
static inline uint32_t rnd(uint64_t *seed, uint32_t below) {
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return (uint32_t)((*seed * 2685821657736338717u) >> 33) % below;
}

#endif
