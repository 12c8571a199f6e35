/* fuzz_broker.c -- libFuzzer target: whole conversations with a broker.
 *
 * An input is a program: STEP bytes of settings, then steps of STEP bytes each: what to do, with
 * which client, and arguments. Small alphabets of client ids, topics and filters make clients
 * meet: they take each other over, share subscriptions, fill each other's queues, while hooks
 * decide, wait, or disconnect them, and time is made to pass.  After every step a witness
 * (witness.h) judges what each client heard and the broker's books are audited.
 *
 * tests/fuzz/seeds.lua writes programs by the names of the steps. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/rig.h"
#include "core/sys.h"
#include "mutate.h"
#include "witness.h"

enum { ARGS = STEP - 2, CLIENTS = 8, FAKES = 4 };

enum op {
    OP_CONNECT,
    OP_SUBSCRIBE,
    OP_UNSUBSCRIBE,
    OP_PUBLISH,
    OP_FLOOD,
    OP_ACK,
    OP_SAY,
    OP_RAW,
    OP_SPLIT,
    OP_STALL,
    OP_LEAVE,
    OP_PASS,
    OP_HOOK,
    OP_ANSWER,
    OP_POLICY,
    OPS
};

#define PICK(table, n) ((table)[(n) % ARRAY_LEN(table)])

struct fuzz_client {
    int fd; /* -1: not connected */
    struct witness witness;
    size_t split;    /* the next packet goes in two parts, of which this is the first; 0: whole */
    bool is_stalled; /* it does not read */
    bool is_choked;  /* its output did not fit into the socket: it says no more */
};

struct fuzz {
    struct rig *rig;
    struct fuzz_client clients[CLIENTS];
    struct fake *fakes[FAKES]; /* generations of hooks; the first is the rig's */
    unsigned fakes_len;
    bool is_hasty; /* the step at hand does not wait for what comes of it */
    bool is_stopping;
};

/* How the handlers of each event behave. */
enum conduct { PASSES, ALLOWS, DENIES, WAITS, DROPS, CHANGES, KICKS, CONTINUES, CONDUCTS };
static struct {
    enum conduct conduct;
    uint8_t reason_code;
} manners[HOOK_EVENTS];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
static const char *const topics[] = { "a", "a/b", "a/b/c", "b", "/", "a//b", "$x/y", "" };
static const char *const filters[] = { "#",    "+",          "a/#",          "a/+",        "+/b/#",
                                       "a/b",  "$share/g/#", "$share/h/a/#", "$share/g/a", "b",
                                       "/+",   "$SYS/#",     "$share/g/+/b", "a/+/c",      "$x/#",
                                       "a/#/b" };
static const uint8_t codes[] = { 0x00, 0x04, 0x10, 0x18, 0x19, 0x80, 0x87, 0x91, 0x92, 0x97, 0x99 };

/* ---- hooks ------------------------------------------------------------------- */

static void change(struct hook_call *call) {
    if (call->event != HOOK_PUBLISH && call->event != HOOK_DELIVER) return;
    struct message_parts parts = message_parts(call->message);
    parts.topic = slice_str("a/b/c");
    parts.payload = slice_str("changed");
    call->changed = message_new(&parts);
}

/* Only what the script layer would let through, too. */
static void decide(struct hook_call *call, enum conduct conduct, uint8_t reason_code) {
    bool is_message = call->event == HOOK_PUBLISH || call->event == HOOK_DELIVER;
    if (conduct == CONTINUES && call->event == HOOK_AUTH) {
        auth_reply(call->auth, slice_str("go on"));
        call->verdict = VERDICT_CONTINUE;
        return;
    }
    if (conduct == CHANGES) change(call);
    call->verdict = conduct == ALLOWS                ? VERDICT_ALLOW
                    : conduct == DENIES              ? VERDICT_DENY
                    : conduct == DROPS && is_message ? VERDICT_DROP
                                                     : VERDICT_NONE;
    if (conduct != DENIES) return;
    call->reason_code = reason_code;
    if (reason_code & 1) call->reason = xstrdup("because");
}

static void behave(struct fake *f, struct hook_call *call) {
    (void)f;
    enum conduct conduct = manners[call->event].conduct;
    if (conduct == KICKS && call->client)
        client_disconnect(call->client, &(struct farewell){ 0x98, "kicked", NULL, NULL });
    if (HOOK_IS_FACT(call->event)) return;
    if (conduct == WAITS)
        call->verdict = VERDICT_WAIT;
    else
        decide(call, conduct, manners[call->event].reason_code);
}

static struct fake *fake_now(const struct fuzz *z) {
    return z->fakes[z->fakes_len - 1];
}

static void do_hook(struct fuzz *z, const uint8_t *a) {
    unsigned event = a[0] % (HOOK_EVENTS + 1u);
    struct fake *f = fake_now(z);
    if (event == HOOK_EVENTS) {
        fake_want(f, f->port.wanted ^ HOOK_BIT_AUTHORIZE_DELIVER);
        return;
    }
    manners[event].conduct = (enum conduct)(a[1] % CONDUCTS);
    manners[event].reason_code = PICK(codes, a[2]);
    fake_on(f, (enum hook_event)event, behave);
}

/* One of those that wait gets its verdict. */
static void settle_one(struct fake *f, unsigned which, enum conduct conduct, uint8_t code) {
    struct hook_call *call = f->waiting[which % f->waiting_len];
    fake_forget_call(f, call);
    decide(call, conduct, code);
    call->done(call);
}

static void do_answer(struct fuzz *z, const uint8_t *a) {
    struct fake *f = z->fakes[a[0] % z->fakes_len];
    if (f->waiting_len) settle_one(f, a[1], (enum conduct)(a[2] % CONDUCTS), PICK(codes, a[3]));
}

/* ---- clients ------------------------------------------------------------------- */

static void client_open(struct fuzz *z, struct fuzz_client *c) {
    int fds[2], little = 8192;
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    must(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &little, sizeof little) == 0);
    *c = (struct fuzz_client){ .fd = fds[1] };
    witness_init(&c->witness);
    conn_open(z->rig->worker, &stream_unix, fds[0], "fuzz", "unix:fuzz");
}

static void client_drop(struct fuzz_client *c) {
    if (c->fd < 0) return;
    close(c->fd);
    c->fd = -1;
    witness_deinit(&c->witness);
}

static void client_send(struct fuzz_client *c, const void *at, size_t len) {
    if (c->is_choked || !len) return;
    ssize_t n = send(c->fd, at, len, MSG_NOSIGNAL);
    c->is_choked = n != (ssize_t)len;
    if (n > 0) witness_sent(&c->witness, at, (size_t)n);
}

/* Gives the bytes that have come. */
static size_t client_read(struct fuzz_client *c) {
    uint8_t in[16384];
    ssize_t n;
    size_t all = 0;
    while (!c->witness.is_over && (n = recv(c->fd, in, sizeof in, 0)) != -1) {
        must(n >= 0);
        all += (size_t)n;
        if (n == 0)
            c->witness.is_over = true;
        else
            witness_heard(&c->witness, in, (size_t)n);
    }
    return all;
}

/* What was said has its consequences; gives the bytes that come of it. */
static size_t settle(struct fuzz *z) {
    size_t all = 0;
    rig_settle(z->rig);
    for (int i = 0; i < CLIENTS; i++) {
        struct fuzz_client *c = &z->clients[i];
        if (c->fd >= 0 && !c->is_stalled) all += client_read(c);
    }
    return all;
}

static void client_post(struct fuzz *z, struct fuzz_client *c, const struct packet *p) {
    struct buf b = BUF_INIT;
    uint8_t version = c->witness.version ? c->witness.version : MQTT_5;
    if (c->fd < 0) client_open(z, c);
    if (packet_append(p, version, &b)) {
        size_t first = c->split < b.len ? c->split : b.len;
        client_send(c, b.at, first);
        if (c->split && !z->is_hasty) settle(z);
        client_send(c, b.at + first, b.len - first);
    }
    c->split = 0;
    buf_deinit(&b);
}

/* ---- steps: packets ---------------------------------------------------------------- */

static void put_u32(struct props *p, enum prop_id id, uint32_t *member, uint32_t value) {
    p->present |= PROP_BIT(id);
    *member = value;
}

static void put_u16(struct props *p, enum prop_id id, uint16_t *member, uint16_t value) {
    p->present |= PROP_BIT(id);
    *member = value;
}

static void connect_props(struct props *p, const uint8_t *a) {
    static const uint32_t sizes[] = { 0, 1, 16, 30, 64, 200, 1000, 70000 };
    static const uint32_t expiries[] = { 0, 0, 5, SESSION_FOREVER };
    static const uint16_t windows[] = { 0, 1, 2, 10 }, aliases[] = { 0, 1, 3, 32 };
    uint32_t size = PICK(sizes, a[2]);
    uint16_t window = PICK(windows, a[1] >> 4), alias = PICK(aliases, a[1] >> 6);
    if (size) put_u32(p, PROP_MAXIMUM_PACKET_SIZE, &p->maximum_packet_size, size);
    if (a[2] & 0x18)
        put_u32(p, PROP_SESSION_EXPIRY_INTERVAL, &p->session_expiry_interval,
                PICK(expiries, a[2] >> 3));
    if (window) put_u16(p, PROP_RECEIVE_MAXIMUM, &p->receive_maximum, window);
    if (alias) put_u16(p, PROP_TOPIC_ALIAS_MAXIMUM, &p->topic_alias_maximum, alias);
    if (a[0] & 0x40) {
        p->present |= PROP_BIT(PROP_AUTHENTICATION_METHOD) | PROP_BIT(PROP_AUTHENTICATION_DATA);
        p->authentication_method = slice_str("m");
        p->authentication_data = slice_str("x");
    }
    if (a[0] & 0x80) {
        p->present |= PROP_BIT(PROP_REQUEST_PROBLEM_INFORMATION);
        p->request_problem_information = 0;
    }
}

static void connect_will(struct will *w, const uint8_t *a) {
    w->topic = slice_str(PICK(topics, a[3]));
    w->payload = slice_str("will");
    w->qos = (uint8_t)((a[2] >> 5 & 3) % 3);
    w->retain = a[2] & 0x80;
    if (a[4]) put_u32(&w->props, PROP_WILL_DELAY_INTERVAL, &w->props.will_delay_interval, a[4]);
    if (a[5])
        put_u32(&w->props, PROP_MESSAGE_EXPIRY_INTERVAL, &w->props.message_expiry_interval, a[5]);
}

static void do_connect(struct fuzz *z, struct fuzz_client *c, const uint8_t *a) {
    static const char *const ids[] = { "a", "b", "c", "" };
    static const uint16_t keep_alives[] = { 0, 1, 60, 0 };
    struct packet p = connect_packet(MQTT_3_1 + (a[0] & 3) % 3, PICK(ids, a[1]), a[0] & 4);
    p.connect.keep_alive = PICK(keep_alives, a[1] >> 2);
    p.connect.has_will = a[0] & 8;
    if (a[0] & 0x10) {
        p.connect.has_username = p.connect.has_password = true;
        p.connect.username = p.connect.password = slice_str("user");
    }
    p.connect.props.present = 0;
    connect_props(&p.connect.props, a);
    connect_will(&p.connect.will, a);
    client_post(z, c, &p);
}

static void do_filters(struct fuzz *z, struct fuzz_client *c, const uint8_t *a, bool subscribe) {
    struct buf list = BUF_INIT;
    uint8_t version = c->witness.version ? c->witness.version : MQTT_5;
    struct subscribe_options o = { .qos = (uint8_t)((a[1] & 3) % 3),
                                   .no_local = a[1] & 4,
                                   .retain_as_published = a[1] & 8,
                                   .retain_handling = (uint8_t)((a[1] >> 4 & 3) % 3) };
    struct packet p = { .type = subscribe ? PKT_SUBSCRIBE : PKT_UNSUBSCRIBE };
    props_init(&p.filters.props);
    p.filters.packet_id = (uint16_t)(1 + a[3] % 8);
    p.filters.count = 1 + (a[0] >> 4) % 4;
    for (unsigned i = 0; i < p.filters.count; i++)
        filters_add(&list, slice_str(PICK(filters, a[0] + i)), subscribe ? &o : NULL, version);
    p.filters.filters = buf_slice(&list);
    if (a[2] && subscribe)
        put_u32(&p.filters.props, PROP_SUBSCRIPTION_IDENTIFIER,
                &p.filters.props.subscription_identifier, a[2]);
    client_post(z, c, &p);
    buf_deinit(&list);
}

static void publish_props(struct props *p, const uint8_t *a) {
    if (a[3] & 1)
        put_u32(p, PROP_MESSAGE_EXPIRY_INTERVAL, &p->message_expiry_interval,
                a[3] & 0x80 ? 100 : 1);
    if (a[3] & 2) put_u16(p, PROP_TOPIC_ALIAS, &p->topic_alias, (uint16_t)(1 + a[4] % 4));
    if (a[3] & 4) {
        p->present |= PROP_BIT(PROP_RESPONSE_TOPIC) | PROP_BIT(PROP_CORRELATION_DATA);
        p->response_topic = slice_str("a/b");
        p->correlation_data = slice_str("x");
    }
    if (a[3] & 8) {
        p->present |= PROP_BIT(PROP_CONTENT_TYPE) | PROP_BIT(PROP_PAYLOAD_FORMAT_INDICATOR);
        p->content_type = slice_str("text");
        p->payload_format_indicator = 1;
    }
}

static void do_publish(struct fuzz *z, struct fuzz_client *c, const uint8_t *a, unsigned times) {
    static const uint32_t sizes[] = { 0, 1, 10, 100, 1000, 5000, 40000, 70000 };
    static uint8_t payload[70000];
    bool is_unnamed = a[0] & 0x80;
    struct packet p = publish_packet(is_unnamed ? "" : PICK(topics, a[0] & 7), "",
                                     (uint8_t)((a[0] >> 3 & 3) % 3), 0);
    p.publish.retain = a[0] & 0x20;
    p.publish.dup = p.publish.qos && (a[0] & 0x40);
    p.publish.payload = slice_of(payload, PICK(sizes, a[1]));
    publish_props(&p.publish.props, a);
    memset(payload, 'x', 16);
    for (unsigned i = 0; i < times; i++) {
        p.publish.packet_id = p.publish.qos ? (uint16_t)(1 + a[2] % 16 + i) : 0;
        client_post(z, c, &p);
    }
}

static void send_ack(struct fuzz *z, struct fuzz_client *c, enum packet_type type, uint16_t id,
                     uint8_t reason_code) {
    struct packet p = { .type = type, .ack = { .packet_id = id, .reason_code = reason_code } };
    props_init(&p.ack.props);
    client_post(z, c, &p);
}

/* What the client of a good library would answer. */
static void answer_flight(struct fuzz *z, struct fuzz_client *c, unsigned i) {
    const struct flight f = *flight_at(&c->witness, i);
    send_ack(z, c, f.qos == 1 ? PKT_PUBACK : f.is_released ? PKT_PUBCOMP : PKT_PUBREC, f.id, 0);
}

static void do_ack(struct fuzz *z, struct fuzz_client *c, const uint8_t *a) {
    unsigned len = c->fd < 0 ? 0 : flights_len(&c->witness);
    if (a[0] & 1) {
        send_ack(z, c, PKT_PUBACK + (a[0] >> 1 & 3), a[2], PICK(codes, a[1]));
    } else if (a[0] & 8) {
        if (len) answer_flight(z, c, a[1] % len);
    } else {
        while (len--) answer_flight(z, c, len);
    }
}

static void do_say(struct fuzz *z, struct fuzz_client *c, const uint8_t *a) {
    static const enum packet_type types[] = { PKT_PINGREQ, PKT_DISCONNECT, PKT_AUTH };
    struct packet p = { .type = PICK(types, a[0]) };
    struct props *props = &p.reason.props;
    props_init(props);
    p.reason.reason_code = PICK(codes, a[1]);
    if (p.type == PKT_DISCONNECT && a[2])
        put_u32(props, PROP_SESSION_EXPIRY_INTERVAL, &props->session_expiry_interval, a[2] - 1u);
    if (p.type == PKT_AUTH) {
        props->present = PROP_BIT(PROP_AUTHENTICATION_METHOD);
        props->authentication_method = slice_str(a[2] & 1 ? "n" : "m");
    }
    client_post(z, c, &p);
}

/* ---- steps: the rest ------------------------------------------------------------------- */

static void do_raw(struct fuzz *z, struct fuzz_client *c, const uint8_t *a) {
    if (c->fd < 0) client_open(z, c);
    client_send(c, a + 1, 1 + a[0] % (ARGS - 1));
}

static void do_leave(struct fuzz_client *c, const uint8_t *a) {
    if (c->fd < 0) return;
    c->is_choked = true;
    if (a[0] & 1)
        shutdown(c->fd, SHUT_WR);
    else
        client_drop(c);
}

static void do_pass(struct fuzz *z, const uint8_t *a) {
    static const unsigned ms[] = { 1, 100, 1000, 2000, 6000, 11000, 60000, 3600000 };
    rig_clock_ms += PICK(ms, a[0]);
    settle(z);
}

static void reload(struct fuzz *z) {
    if (z->fakes_len == FAKES || z->is_stopping) return;
    struct config *config = config_new();
    *config = *z->rig->worker->config;
    struct fake *f = xcalloc(1, sizeof *f);
    fake_init(f);
    memcpy(f->on, fake_now(z)->on, sizeof f->on);
    f->port.wanted = fake_now(z)->port.wanted;
    f->worker = z->rig->worker;
    z->fakes[z->fakes_len++] = f;
    z->rig->broker->generation++;
    broker_set_policy(z->rig->broker, 0, config, &f->port);
    rig_settle(z->rig);
}

static void stop(struct fuzz *z) {
    if (z->is_stopping) return;
    z->is_stopping = true;
    struct mail *mail = xcalloc(1, sizeof *mail);
    mail->type = MAIL_STOP;
    mailbox_post(&z->rig->worker->inbox, mail);
}

static void do_policy(struct fuzz *z, const uint8_t *a) {
    struct worker *w = z->rig->worker;
    uint32_t at = a[1];
    struct client *client = slots_next(&w->clients, &at);
    struct message_parts parts = { .topic = slice_str(PICK(topics, a[1] % 7)),
                                   .payload = slice_str("ours"),
                                   .qos = a[2] % 3,
                                   .retain = a[2] & 4,
                                   .expires_ms = MESSAGE_NEVER };
    switch (a[0] & 3) {
    case 0:
        if (!client) break;
        const char *reason = a[3] & 1 ? "policy" : NULL;
        client_disconnect(client, &(struct farewell){ PICK(codes, a[2]), reason, NULL, NULL });
        break;
    case 1: publish_trusted(w, &parts); break;
    case 2: reload(z); break;
    case 3:
        if (a[1] == 0 && a[2] == 0) stop(z);
        break;
    }
}

static void do_step(struct fuzz *z, const uint8_t *step) {
    struct fuzz_client *c = &z->clients[step[1] % CLIENTS];
    const uint8_t *a = step + 2;
    z->is_hasty = step[1] & 0x80;
    switch ((enum op)(step[0] % OPS)) {
    case OP_CONNECT: do_connect(z, c, a); break;
    case OP_SUBSCRIBE: do_filters(z, c, a, true); break;
    case OP_UNSUBSCRIBE: do_filters(z, c, a, false); break;
    case OP_PUBLISH: do_publish(z, c, a, 1); break;
    case OP_FLOOD: do_publish(z, c, a, 2 + a[5] % 32); break;
    case OP_ACK: do_ack(z, c, a); break;
    case OP_SAY: do_say(z, c, a); break;
    case OP_RAW: do_raw(z, c, a); break;
    case OP_SPLIT: c->split = 1 + a[0] % 64; break;
    case OP_STALL: c->is_stalled = a[0] & 1; break;
    case OP_LEAVE: do_leave(c, a); break;
    case OP_PASS: do_pass(z, a); break;
    case OP_HOOK: do_hook(z, a); break;
    case OP_ANSWER: do_answer(z, a); break;
    case OP_POLICY: do_policy(z, a); break;
    case OPS: break;
    }
    if (!z->is_hasty) settle(z);
}

/* ---- the broker's books ------------------------------------------------------------------ */

static void audit_session(const struct session *s) {
    size_t bytes = 0, open_bytes = 0;
    must(s->ring_again <= s->ring_sent && s->ring_sent <= s->ring_len);
    must(s->ring_len <= s->ring_cap);
    must(!s->conn || s->conn->session == s);
    must(!s->conn || s->ring_open <= s->window);
    for (uint32_t i = 0; i < s->ring_len; i++) {
        const struct delivery *d = &s->ring[(s->ring_head + i) & (s->ring_cap - 1)];
        if (!d->message) continue;
        if (d->state == DELIVERY_QUEUED) bytes += message_weight(d->message);
        if (d->state == DELIVERY_SENT) open_bytes += message_weight(d->message);
    }
    must(bytes == s->queued_bytes && open_bytes == s->open_bytes);
}

static void audit(const struct fuzz *z) {
    struct worker *w = z->rig->worker;
    unsigned conns = 0, connected = 0;
    size_t subs = 0;
    uint32_t at = 0;
    for (struct conn *c = w->conns; c; c = c->next) conns++;
    must(conns == w->conns_len);
    for (struct client *c; (c = slots_next(&w->clients, &at));) connected += c->is_counted;
    must(connected == w->broker->connected && connected <= conns);
    at = 0;
    for (struct session *s; (s = slots_next(&w->sessions, &at)); subs += s->subs_len)
        audit_session(s);
    must(subs == subs_count(z->rig->broker->subs));
}

/* ---- a program ------------------------------------------------------------------------------ */

static void configure(struct config *c, const uint8_t *a) {
    static const uint32_t inflight[] = { 1024, 1, 2, 5 }, queued[] = { 10000, 1, 3, 20 },
                          queued_bytes[] = { 1 << 26, 100, 1000, 5000 },
                          inflight_bytes[] = { 0, 1, 50, 2000 },
                          packet[] = { 1 << 20, 128, 1000, 60000 },
                          output[] = { 1 << 23, 1000, 100000, 20000 }, alias[] = { 32, 0, 1, 5 },
                          subs[] = { 0, 1, 3, 10 }, levels[] = { 200, 2 }, conns[] = { 0, 3 };
    struct limits *l = &c->limits;
    c->default_access = !(a[0] & 2);
    c->queue_qos0 = a[0] & 4;
    c->drop = a[0] & 8 ? DROP_OLDEST : DROP_NEWEST;
    c->overlapping = a[0] & 16 ? OVERLAPPING_EACH : OVERLAPPING_ONCE;
    l->retain_available = !(a[0] & 32);
    l->max_inflight = PICK(inflight, a[1]);
    l->max_queued = PICK(queued, a[1] >> 2);
    l->max_queued_bytes = PICK(queued_bytes, a[1] >> 4);
    l->max_inflight_bytes = PICK(inflight_bytes, a[1] >> 6);
    l->max_packet_size = PICK(packet, a[2]);
    c->max_output_bytes = PICK(output, a[2] >> 2);
    l->max_topic_alias = PICK(alias, a[2] >> 4);
    l->max_qos = a[2] >> 6 < 2 ? 2 : (a[2] >> 6) - 2u;
    l->max_subscriptions = PICK(subs, a[3]);
    l->max_topic_levels = PICK(levels, a[3] >> 2);
    l->max_connections = PICK(conns, a[3] >> 3);
    l->message_rate = a[3] & 16 ? 3 : 0;
    l->byte_rate = a[3] & 32 ? 1000 : 0;
    l->max_keepalive = a[3] & 64 ? 5 : 0;
    l->max_session_expiry = a[3] & 128 ? 3 : UINT32_MAX;
    l->wildcard_subscription = !(a[4] & 1);
    l->shared_subscription = !(a[4] & 2);
    l->subscription_identifiers = !(a[4] & 4);
    l->allow_empty_client_id = !(a[4] & 8);
}

static void begin(struct fuzz *z, const uint8_t *settings) {
    *z = (struct fuzz){ .rig = rig_new(), .fakes_len = 1 };
    memset(manners, 0, sizeof manners);
    z->fakes[0] = &z->rig->hooks;
    for (int i = 0; i < CLIENTS; i++) z->clients[i].fd = -1;
    configure(z->rig->config, settings);
    if (settings[0] & 1) z->rig->worker->sys = sys_new(z->rig->worker);
}

/* Everybody reads, all that waits is settled, time passes: then nobody is owed anything. */
static void make_peace(struct fuzz *z) {
    const struct config *config = z->rig->worker->config;
    memset(manners, 0, sizeof manners);
    for (int i = 0; i < CLIENTS; i++) z->clients[i].is_stalled = false;
    for (int rounds = 0; rounds < 4; rounds++) {
        for (unsigned i = 0; i < z->fakes_len; i++)
            while (z->fakes[i]->waiting_len) settle_one(z->fakes[i], 0, PASSES, 0);
        while (settle(z)) continue;
        rig_clock_ms += 1001;
        settle(z);
    }
    if (config->limits.message_rate || config->limits.byte_rate) return;
    for (int i = 0; i < CLIENTS; i++)
        if (z->clients[i].fd >= 0) witness_is_content(&z->clients[i].witness);
}

static void finish(struct fuzz *z) {
    for (int i = 0; i < CLIENTS; i++) client_drop(&z->clients[i]);
    rig_free(z->rig);
    for (unsigned i = 1; i < z->fakes_len; i++) {
        must(z->fakes[i]->waiting_len == 0);
        free(z->fakes[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz z;
    if (size < STEP) return 0;
    begin(&z, data);
    for (size_t at = STEP; at + STEP <= size; at += STEP) {
        do_step(&z, data + at);
        audit(&z);
    }
    make_peace(&z);
    audit(&z);
    finish(&z);
    return 0;
}
