/* accept.c -- the end of a CONNECT that is welcome: take-over, session, will, CONNACK. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/buf.h"
#include "base/mem.h"
#include "core/auth.h"
#include "core/conn.h"
#include "core/connecting.h"
#include "core/gate.h"
#include "core/mount.h"
#include "core/session.h"
#include "core/worker.h"

/* ---- CONNACK ------------------------------------------------------------ */

static bool wants_response_information(const struct props *p) { /* [MQTT-3.1.2-28] */
    return props_has(p, PROP_REQUEST_RESPONSE_INFORMATION) && p->request_response_information;
}

static void set_props(const struct connecting *q, struct props *p) {
    const struct conn *c = q->conn;
    p->present = PROP_BIT(PROP_MAXIMUM_PACKET_SIZE);
    p->maximum_packet_size = c->client->limits->max_packet_size;
    limits_announce(c->client->limits, p);
    if (q->request.response_information.at &&
        wants_response_information(&q->request.packet.props)) {
        p->present |= PROP_BIT(PROP_RESPONSE_INFORMATION);
        p->response_information = q->request.response_information;
    }
    if (c->aliases.in_max) {
        p->present |= PROP_BIT(PROP_TOPIC_ALIAS_MAXIMUM);
        p->topic_alias_maximum = c->aliases.in_max;
    }
    if (c->receive_max != UINT16_MAX) {
        p->present |= PROP_BIT(PROP_RECEIVE_MAXIMUM);
        p->receive_maximum = c->receive_max;
    }
    if (q->expiry != q->asked_expiry) {
        p->present |= PROP_BIT(PROP_SESSION_EXPIRY_INTERVAL);
        p->session_expiry_interval = q->expiry;
    }
    if (c->keep_alive != q->asked_keep_alive) {
        p->present |= PROP_BIT(PROP_SERVER_KEEP_ALIVE);
        p->server_keep_alive = c->keep_alive;
    }
    if (q->is_assigned) {
        p->present |= PROP_BIT(PROP_ASSIGNED_CLIENT_IDENTIFIER);
        p->assigned_client_identifier = q->client->id;
    }
    if (c->auth) auth_put_props(c->auth, p); /* [MQTT-4.12.0-5] */
}

/* ---- the will ------------------------------------------------------------ */

/* The properties of the will that travel on. */
static void will_props(const struct connecting *q, struct buf *out) {
    const struct props *p = &q->request.packet.will.props;
    AUTO(buf_deinit) struct buf props = BUF_INIT;
    message_props_from(p, &props);
    mount_props(q->client->mount, buf_slice(&props), MOUNT_IN, out);
}

static struct pending_will *will_of(struct connecting *q, struct handle publisher) {
    const struct will *will = &q->request.packet.will;
    AUTO(buf_deinit) struct buf props = BUF_INIT, name = BUF_INIT;
    if (!q->request.packet.has_will) return NULL;
    must(mount_topic(q->client->mount, will->topic, &name));
    struct message_parts parts = { .topic = buf_slice(&name),
                                   .payload = will->payload,
                                   .expires_ms = MESSAGE_NEVER,
                                   .publisher = publisher,
                                   .qos = will->qos,
                                   .retain = will->retain };
    struct pending_will *w = xcalloc(1, sizeof *w);
    if (will->props.present) {
        will_props(q, &props);
        parts.props = buf_slice(&props);
        if (props_has(&will->props, PROP_WILL_DELAY_INTERVAL))
            w->delay = will->props.will_delay_interval;
        if (props_has(&will->props, PROP_MESSAGE_EXPIRY_INTERVAL))
            w->expiry = will->props.message_expiry_interval;
    }
    w->message = message_new(&parts);
    w->client = client_ref(q->client);
    return w;
}

/* Its subscriptions lie below a mount point that is not the client's any more. */
static bool lies_elsewhere(const struct session *s, const struct connecting *q) {
    return !slice_eq(s->client->mount, q->client->mount);
}

/* The older connection of this client id goes; with clean start its session too. */
static struct session *take_over(struct connecting *q) {
    struct worker *w = q->conn->worker;
    struct slice id = q->client->id;
    struct session *s;
    while ((s = session_find(w, id)) &&
           (s->conn || q->request.packet.clean_start || lies_elsewhere(s, q))) {
        if (s->conn)
            conn_end(s->conn, RC_SESSION_TAKEN_OVER, NULL, "session taken over");
        else
            session_end(s);
    }
    return s;
}

static uint16_t window_of(const struct connecting *q) {
    const struct props *p = &q->request.packet.props;
    uint32_t window = q->client->limits->max_inflight;
    if (props_has(p, PROP_RECEIVE_MAXIMUM) && p->receive_maximum < window)
        window = p->receive_maximum;
    return (uint16_t)window;
}

const char connect_too_many[] = "too many connections";

static bool has_reached(uint64_t connected, uint32_t most) {
    return most && connected >= most;
}

bool connect_is_one_too_many(const struct connecting *q, struct slice client_id) {
    struct worker *w = q->conn->worker;
    const struct gate *gate = q->client->gate;
    bool is_full = has_reached(w->broker->connected, w->config->limits.max_connections);
    bool is_gate_full = has_reached(*gate->connected, gate->limits->max_connections);
    if (!is_full && !is_gate_full) return false;
    const struct session *s = session_find(w, client_id);
    const struct gate *leaves = s && s->conn ? s->client->gate : NULL;
    return (!leaves && is_full) || (leaves != gate && is_gate_full);
}

/* Takes a place among max_connections, the broker's and the listener's; false: another
 * worker's client had the last. */
static bool take_place(const struct connecting *q) {
    const struct worker *w = q->conn->worker;
    struct broker *b = w->broker;
    struct gate *gate = q->client->gate;
    uint64_t before = atomic_fetch_add(&b->connected, 1), most = b->most_connected;
    unsigned here = gate_count(gate, 1);
    if (has_reached(before, w->config->limits.max_connections) ||
        has_reached(here - 1, gate->limits->max_connections)) {
        atomic_fetch_sub(&b->connected, 1);
        gate_count(gate, -1);
        return false;
    }
    while (before >= most && !atomic_compare_exchange_weak(&b->most_connected, &most, before + 1)) {
    }
    q->client->is_counted = true;
    return true;
}

static void set_aliases(struct conn *c, const struct props *p) {
    uint16_t ours = (uint16_t)c->client->limits->max_topic_alias;
    uint16_t theirs = props_has(p, PROP_TOPIC_ALIAS_MAXIMUM) ? p->topic_alias_maximum : 0;
    c->aliases.in_max = ours;
    c->aliases.out_max = theirs < ours ? theirs : ours;
}

/* From here on the limits of the connection are what they are. */
static void settle_limits(struct connecting *q) {
    struct conn *c = q->conn;
    if (q->request.has_own_limits) client_set_limits(q->client, &q->request.limits);
    const struct limits *l = q->client->limits;
    uint32_t expiry = q->request.session_expiry;
    q->expiry = expiry < l->max_session_expiry ? expiry : l->max_session_expiry;
    c->checks_publish = limits_on_publish(l);
    c->rate = rate_new(l);
    c->receive_max = (uint16_t)l->max_inflight;
    c->is_mounted = q->client->mount.at != NULL;
    c->max_topic_len = l->max_topic_length + (uint32_t)q->client->mount.len;
    c->max_topic_levels = l->max_topic_levels + q->client->mount_levels;
    if (c->version == MQTT_5) set_aliases(c, &q->request.packet.props);
}

static void open_session(struct connecting *q, struct session *s) {
    struct conn *c = q->conn;
    if (!s) s = session_new(c->worker, q->client);
    session_attach(s, c, q->client, window_of(q));
    s->expiry = q->expiry;
    session_set_will(s, will_of(q, s->handle));
    c->will_on_close = true;
    c->state = CONN_OPEN;
    conn_start_keep_alive(c);
}

static void log_accept(const struct connecting *q, bool present) {
    const struct client *client = q->client;
    static const char *const names[] = {
        [MQTT_3_1] = "3.1", [MQTT_3_1_1] = "3.1.1", [MQTT_5] = "5.0"
    };
    log_info(q->conn->worker->log, "connect", "client %.*s (%s, MQTT %s, user %.*s) connected%s",
             SLICE_FMT(client->id), client->peer, names[client->version],
             SLICE_FMT(client->username.at ? client->username : SLICE("-")),
             present ? ", session resumed" : "");
}

void connect_accept(struct connecting *q) {
    struct conn *c = q->conn;
    struct worker *w = c->worker;
    struct packet ack = { .type = PKT_CONNACK };
    settle_limits(q);
    if (c->version == MQTT_5) set_props(q, &ack.connack.props);
    if (!conn_make_fit(c, &ack, &ack.connack.props)) { /* [MQTT-3.1.2-24] */
        connect_refuse(q, RC_PACKET_TOO_LARGE, NULL, "CONNACK larger than the client takes");
        return;
    }
    struct session *s = take_over(q);
    if (c->state != CONN_OPENING) return; /* a hook of the old connection's will closed this one */
    bool present = s != NULL;
    if (!take_place(q)) {
        connect_refuse(q, RC_SERVER_BUSY, NULL, connect_too_many);
        return;
    }
    open_session(q, s);
    ack.connack.session_present = present; /* [MQTT-3.2.2-2] */
    conn_send(c, &ack);
    log_accept(q, present);
    hooks_tell(w->hooks, HOOK_CONNECTED, c->client, &(struct fact){ .session_present = present });
    if (c->session) session_pump(c->session);
}
