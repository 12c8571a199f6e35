/* test_reentry.c -- hooks that do anything to anyone in the middle of everything.
 *
 * A dozen clients do random things, and every hook does random things back: it denies,
 * drops, waits, rewrites, throws clients out (its own, too), publishes, answers another
 * hook's wait.  Nothing is expected but that nothing breaks: AddressSanitizer watches the
 * memory, must() the invariants, and in the end nothing may be left. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/rig.h"

enum { PEERS = 12, NAMES = 6, STEPS = 24000 };

static struct world {
    struct rig *rig;
    struct peer peers[PEERS];
    uint64_t seed;
    unsigned depth; /* of hooks within hooks */
    bool is_calm;   /* hooks do nothing any more */
} world;

static uint32_t chance(uint32_t below) {
    return rnd(&world.seed, below);
}

static const char *random_topic(void) {
    static const char *const topics[] = { "a", "a/b", "a/b/c", "b", "b/c", "will" };
    return topics[chance(ARRAY_LEN(topics))];
}

static const char *random_filter(void) {
    static const char *const filters[] = { "#",          "a/#",  "+",
                                           "a/b",        "b/+",  "$share/g/a/#",
                                           "$share/g/#", "will", "a/+/c" };
    return filters[chance(ARRAY_LEN(filters))];
}

static const char *random_name(void) {
    static const char *const names[NAMES] = { "n0", "n1", "n2", "n3", "n4", "n5" };
    return names[chance(NAMES)];
}

/* ---- what hooks do ------------------------------------------------------------ */

static void throw_someone_out(void) {
    struct slots *clients = &world.rig->worker->clients;
    uint32_t at = clients->len ? chance(clients->len) : 0;
    struct client *c = slots_next(clients, &at);
    if (c) kick(c);
}

static void publish_something(struct client *as) {
    struct message_parts parts = { .topic = slice_str(random_topic()),
                                   .payload = chance(4) ? SLICE("hook") : SLICE(""),
                                   .expires_ms = MESSAGE_NEVER,
                                   .qos = (uint8_t)chance(3),
                                   .retain = chance(3) == 0 };
    if (chance(2)) {
        publish_trusted(world.rig->worker, &parts);
        return;
    }
    struct publish *p = publish_new(world.rig->worker); /* through the hooks, as a client */
    p->client = as ? client_ref(as) : NULL;
    p->message = message_new(&parts);
    publish_start(p);
}

static void answer_someone(void) {
    static const enum verdict verdicts[] = { VERDICT_NONE, VERDICT_ALLOW, VERDICT_ALLOW,
                                             VERDICT_DENY, VERDICT_DROP };
    struct fake *f = &world.rig->hooks;
    if (f->waiting_len) fake_answer(f, verdicts[chance(ARRAY_LEN(verdicts))], 0);
}

static void do_something(struct client *own) {
    switch (chance(8)) {
    case 0:
    case 1: throw_someone_out(); break;
    case 2: publish_something(own); break;
    case 3: answer_someone(); break;
    case 4:
        if (own) kick(own);
        break;
    default: break;
    }
}

static void rewrite(struct hook_call *call) {
    struct message_parts parts = message_parts(call->message);
    parts.topic = slice_str(chance(20) ? random_topic() : "a/#"); /* sometimes none at all */
    call->changed = message_new(&parts);
}

static void on_hook(struct fake *f, struct hook_call *call) {
    (void)f;
    if (world.is_calm) return;
    if (world.depth < 4 && chance(3) == 0) {
        world.depth++;
        do_something(call->client);
        world.depth--;
    }
    if (HOOK_IS_FACT(call->event)) return;
    if (call->event == HOOK_AUTH && chance(2)) {
        call->verdict = VERDICT_CONTINUE;
        return;
    }
    switch (chance(16)) {
    case 0: call->verdict = VERDICT_DENY; break;
    case 1: call->verdict = VERDICT_DROP; break;
    case 2: call->verdict = VERDICT_ALLOW; break;
    case 3:
    case 4:
        if (world.rig->hooks.waiting_len < FAKE_WAITING_MAX - 1) call->verdict = VERDICT_WAIT;
        break;
    default: break;
    }
    bool has_message = call->event == HOOK_PUBLISH || call->event == HOOK_DELIVER;
    if (has_message && call->verdict != VERDICT_WAIT && chance(4) == 0) rewrite(call);
}

/* ---- what clients do ------------------------------------------------------------ */

static void come(struct peer *p) {
    struct packet c = connect_packet(MQTT_5, random_name(), chance(3) == 0);
    peer_open(p, world.rig, MQTT_5);
    if (c.connect.props.present) c.connect.props.session_expiry_interval = 1 + chance(20);
    c.connect.props.present |= PROP_BIT(PROP_RECEIVE_MAXIMUM);
    c.connect.props.receive_maximum = (uint16_t)(1 + chance(5));
    c.connect.has_will = chance(2);
    c.connect.will.topic = SLICE("will");
    c.connect.will.payload = SLICE("gone");
    c.connect.will.qos = (uint8_t)chance(3);
    if (chance(2)) {
        c.connect.will.props.present = PROP_BIT(PROP_WILL_DELAY_INTERVAL);
        c.connect.will.props.will_delay_interval = chance(10);
    }
    if (chance(4) == 0) {
        c.connect.props.present |= PROP_BIT(PROP_AUTHENTICATION_METHOD);
        c.connect.props.authentication_method = SLICE("m");
    }
    peer_post(p, &c);
}

/* Whatever has been closed under a client's feet is no error here. */
static void try_packet(struct peer *p, const struct packet *packet) {
    struct buf b = BUF_INIT;
    assert_true(packet_append(packet, p->version, &b));
    (void)!send(p->fd, b.at, b.len, MSG_NOSIGNAL);
    buf_deinit(&b);
}

static void try_ack(struct peer *p, int type, uint16_t id) {
    struct packet packet = { .type = (enum packet_type)type,
                             .ack = { .packet_id = id, .reason_code = 0 } };
    props_init(&packet.ack.props);
    try_packet(p, &packet);
}

static void try_auth(struct peer *p, uint8_t reason_code) {
    struct packet a = { .type = PKT_AUTH, .reason = { .reason_code = reason_code } };
    props_init(&a.reason.props);
    a.reason.props.present = PROP_BIT(PROP_AUTHENTICATION_METHOD);
    a.reason.props.authentication_method = SLICE("m");
    try_packet(p, &a);
}

static void read_some(struct peer *p) {
    for (int type; (type = peer_next(p));) {
        const struct pkt_publish *m = &p->packet.publish;
        uint16_t id = type == PKT_PUBLISH ? m->packet_id : p->packet.ack.packet_id;
        if (type == PKT_PUBLISH && m->qos && chance(4))
            try_ack(p, m->qos == 1 ? PKT_PUBACK : PKT_PUBREC, id);
        if (type == PKT_AUTH && p->packet.reason.reason_code == RC_CONTINUE_AUTHENTICATION)
            try_auth(p, RC_CONTINUE_AUTHENTICATION);
        if (type == PKT_PUBREC) try_ack(p, PKT_PUBREL, id);
        if (type == PKT_PUBREL) try_ack(p, PKT_PUBCOMP, id);
    }
    if (p->is_over) peer_drop(p);
}

static void try_filter(struct peer *p, bool is_subscribe) {
    struct buf list = BUF_INIT;
    struct subscribe_options options = { .qos = (uint8_t)chance(3) };
    for (int n = 0; n < 2; n++)
        filters_add(&list, slice_str(random_filter()), is_subscribe ? &options : NULL, MQTT_5);
    struct packet packet = { .type = is_subscribe ? PKT_SUBSCRIBE : PKT_UNSUBSCRIBE,
                             .filters = { .packet_id = 7, .count = 2 } };
    props_init(&packet.filters.props);
    packet.filters.filters = buf_slice(&list);
    try_packet(p, &packet);
    buf_deinit(&list);
}

static void try_publish(struct peer *p) {
    struct packet m = publish_packet(random_topic(), "x", (uint8_t)chance(3), 0);
    if (m.publish.qos) m.publish.packet_id = (uint16_t)(1 + chance(20));
    m.publish.retain = chance(4) == 0;
    try_packet(p, &m);
}

static void try_disconnect(struct peer *p) {
    struct packet d = { .type = PKT_DISCONNECT,
                        .reason = { .reason_code = chance(2) ? RC_DISCONNECT_WITH_WILL : 0 } };
    props_init(&d.reason.props);
    try_packet(p, &d);
}

static void one_client_acts(void) {
    struct peer *p = &world.peers[chance(PEERS)];
    if (p->fd < 0) {
        come(p);
        return;
    }
    switch (chance(24)) {
    case 0: peer_drop(p); break;
    case 1: try_disconnect(p); break;
    case 2: shutdown(p->fd, SHUT_WR); break;
    case 3:
    case 4:
    case 5: try_filter(p, true); break;
    case 6: try_filter(p, false); break;
    case 7:
        if (chance(2))
            try_auth(p, RC_REAUTHENTICATE);
        else
            try_packet(p, &(struct packet){ .type = PKT_PINGREQ });
        break;
    case 8:
    case 9:
    case 10: read_some(p); break;
    default: try_publish(p); break;
    }
}

/* ---- the test ----------------------------------------------------------------------- */

static void check_world(void) {
    const struct worker *w = world.rig->worker;
    unsigned connected = 0, conns = 0;
    for (const struct conn *c = w->conns; c; c = c->next) {
        conns++;
        connected += c->state == CONN_OPEN;
        assert_int_not_equal(c->state, CONN_CLOSED);
        assert_ptr_equal(c->client->conn, c);
        assert_int_equal(c->state == CONN_OPEN, c->session != NULL);
        if (c->session) assert_ptr_equal(c->session->conn, c);
    }
    assert_int_equal(conns, w->conns_len);
    assert_int_equal(connected, w->broker->connected);
    assert_int_equal(w->sessions.used, w->by_id.len);
}

static void begin(uint64_t seed) {
    world = (struct world){ .rig = rig_new(), .seed = seed };
    for (unsigned i = 0; i < PEERS; i++) world.peers[i].fd = -1;
    struct config *config = world.rig->config;
    config->limits.max_queued = 1 + chance(20); /* small, so that everything is met */
    config->drop = chance(2) ? DROP_OLDEST : DROP_NEWEST;
    config->queue_qos0 = chance(2);
    config->limits.message_rate = chance(2) ? 20 : 0;
    config->default_access = chance(4);
    for (enum hook_event e = 0; e < HOOK_EVENTS; e++) fake_on(&world.rig->hooks, e, on_hook);
    fake_want(&world.rig->hooks, world.rig->hooks.port.wanted | HOOK_BIT_AUTHORIZE_DELIVER);
}

static void finish(void) {
    struct rig *r = world.rig;
    world.is_calm = true;
    while (r->hooks.waiting_len) answer_someone();
    for (unsigned i = 0; i < PEERS; i++) peer_drop(&world.peers[i]);
    rig_pass_ms(r, 30000); /* the last sessions and wills */
    check_world();
    assert_int_equal(r->worker->sessions.used, 0);
    assert_int_equal(r->worker->clients.used, 0);
    assert_int_equal(subs_count(r->broker->subs), 0);
    assert_int_equal(subs_filters(r->broker->subs), 0);
    rig_free(r);
}

static void live(uint64_t seed, unsigned steps) {
    begin(seed);
    for (unsigned i = 0; i < steps; i++) {
        one_client_acts();
        if (chance(4) == 0) answer_someone();
        if (chance(50) == 0) rig_pass_ms(world.rig, chance(3000));
        rig_turns(world.rig, 1);
        check_world();
    }
}

static void nothing_breaks_and_nothing_is_left(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        live(seed * 88172645463325252u, STEPS / 8);
        finish();
    }
}

/* The broker ends in the middle of it. */
static void the_end_may_come_at_any_time(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        live(seed * 4101842887655102017u, 40 + (unsigned)seed);
        struct buf in[PEERS];
        for (unsigned i = 0; i < PEERS; i++) in[i] = world.peers[i].in;
        rig_free(world.rig);
        for (unsigned i = 0; i < PEERS; i++) buf_deinit(&in[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_breaks_and_nothing_is_left),
        cmocka_unit_test(the_end_may_come_at_any_time),
    };
    return cmocka_run_group_tests_name("core/reentry", tests, NULL, NULL);
}
