/* packets.c -- what each packet of an open connection means.
 *
 * One row a packet type.  Replies collect in the connection's chain. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/packets.h"

#include "base/mem.h"
#include "core/auth.h"
#include "core/conn.h"
#include "core/connect.h"
#include "core/flow.h"
#include "core/grants.h"
#include "core/mount.h"
#include "core/fanout.h"
#include "core/publish.h"
#include "core/route.h"
#include "core/session.h"
#include "core/subscribe.h"
#include "core/worker.h"
#include "mqtt/decode.h"

#include <stdlib.h>

enum { PROPS_KEPT = 4096 }; /* bytes of the worker's buffer that stay for the next message */

static void refuse(struct conn *c, int reason_code, const char *why) {
    conn_end(c, (uint8_t)reason_code, NULL, why);
}

/* ---- PUBLISH in --------------------------------------------------------- */

/* Acknowledges as the QoS asks [MQTT-4.3.2-4] [MQTT-4.3.3-8].  Only 5.0 can say no. */
static void acknowledge(struct conn *c, uint8_t qos, uint16_t packet_id, uint8_t reason_code,
                        const char *reason) {
    if (qos == 0 || !c->session) return;
    uint8_t rc = c->version == MQTT_5 ? reason_code_for(PKT_PUBACK, reason_code, RC_NOT_AUTHORIZED)
                                      : (uint8_t)RC_SUCCESS;
    if (qos == 2 && rc < RC_UNSPECIFIED_ERROR) pidset_add(&c->session->received, packet_id);
    conn_send_ack(c, qos == 1 ? PKT_PUBACK : PKT_PUBREC, packet_id, rc, reason);
}

/* To the log, where the first refusal of a connection is news and the others are detail, and
 * to the hooks: after the acknowledgement, since they may end the connection. */
static void tell_refusal(struct conn *c, struct slice topic, uint8_t rc, const char *reason) {
    enum log_level level = c->refusal_logged ? LOG_DEBUG : LOG_INFO;
    c->refusal_logged = true;
    if (log_enabled(c->worker->log, level))
        log_write(c->worker->log, level, "policy",
                  "publish of client %.*s to %.*s refused: 0x%02X%s%s", SLICE_FMT(c->client->id),
                  SLICE_FMT(topic), rc, reason ? " " : "", reason ? reason : "");
    hooks_tell(
        c->worker->hooks, HOOK_REFUSED, c->client,
        &(struct fact){ .action = "publish", .topic = topic, .reason_code = rc, .reason = reason });
}

static void on_published(struct publish *p, uint8_t reason_code, const char *reason) {
    struct conn *c = p->client->conn;
    if (!c) return;
    acknowledge(c, p->qos, p->packet_id, reason_code, reason);
    if (reason_code >= RC_UNSPECIFIED_ERROR)
        tell_refusal(c, message_topic(p->message), reason_code, reason);
}

/* The properties that travel on; Response Topic is a topic, too. */
static void travelling_props(const struct conn *c, const struct props *p, struct buf *out) {
    if (!c->is_mounted) {
        message_props_from(p, out);
        return;
    }
    AUTO(buf_deinit) struct buf props = BUF_INIT;
    message_props_from(p, &props);
    mount_props(c->client->mount, buf_slice(&props), MOUNT_IN, out);
}

/* Nothing is left of it, as a rule, when its receivers have their copies. */
static bool is_passing(const struct pkt_publish *p) {
    return !p->qos && !p->retain;
}

/* A large payload stays where it is: with the packet, if that lies alone and is hardly
 * more, or where it has landed, if it will soon be gone. */
static struct message *message_of(struct worker *w, const struct pkt_publish *p,
                                  const struct message_parts *parts) {
    if (w->whole && 4 * parts->payload.len >= w->whole->len) {
        void *room = w->whole->at;
        *w->whole = BUF_INIT;
        w->whole = NULL;
        return landing_adopt(room, parts);
    }
    if (!is_passing(p)) return message_new(parts);
    if (parts->payload.len >= CHAIN_REF_MIN && landing_holds(&w->landing, parts->payload))
        return landing_lend(&w->landing, parts);
    return message_draft(&w->draft, parts);
}

/* Lends the parts until the next PUBLISH. */
static struct message_parts parts_of(const struct conn *c, const struct pkt_publish *p) {
    struct buf *props = &c->worker->props;
    struct message_parts parts = { .topic = p->topic,
                                   .payload = p->payload,
                                   .expires_ms = MESSAGE_NEVER,
                                   .publisher = c->session->handle,
                                   .qos = p->qos,
                                   .retain = p->retain };
    if (!p->props.present) return parts;
    props->len = 0;
    travelling_props(c, &p->props, props);
    parts.props = buf_slice(props);
    if (props_has(&p->props, PROP_MESSAGE_EXPIRY_INTERVAL))
        parts.expires_ms =
            loop_now_ms(c->worker->loop) + (uint64_t)p->props.message_expiry_interval * 1000;
    return parts;
}

/* The way through the hooks. */
static void publish_asking(struct conn *c, const struct pkt_publish *pkt, struct route *r) {
    const struct message_parts parts = parts_of(c, pkt);
    struct publish *p = publish_new(c->worker);
    p->client = client_ref(c->client);
    p->message = message_of(c->worker, pkt, &parts);
    buf_trim(&c->worker->props, PROPS_KEPT);
    p->is_draft = is_passing(pkt);
    p->route = route_ref(r);
    p->packet_id = pkt->packet_id;
    p->qos = pkt->qos;
    p->is_checked = true;
    p->done = on_published;
    if (publish_start(p)) publish_park(p, c);
}

static void tell_granted(const struct conn *c, const struct pkt_publish *p,
                         const struct grant_answer *a) {
    struct hooks *hooks = c->worker->hooks;
    struct hook_call call = { .event = HOOK_AUTHORIZE, .client = c->client };
    call.access = (struct access_request){
        .action = ACCESS_PUBLISH, .topic = p->topic, .qos = p->qos, .retain = p->retain
    };
    hooks->granted(hooks, &call, a);
}

static enum verdict granted(const struct conn *c, const struct pkt_publish *p) {
    const struct grants *all = c->client->grants;
    if (!all) return VERDICT_NONE;
    const struct grant_publish what = {
        .topic = p->topic, .size = p->payload.len, .qos = p->qos, .retain = p->retain
    };
    struct grant_answer a = grants_publish(all, &what, loop_now_ms(c->worker->loop));
    if (c->worker->hooks->is_watched && a.verdict != VERDICT_NONE) tell_granted(c, p, &a);
    return a.verdict;
}

/* Gives the number of receivers, as fanout_message does. */
static unsigned hand_out(struct conn *c, const struct pkt_publish *pkt, struct route *r) {
    struct worker *w = c->worker;
    const struct message_parts parts = parts_of(c, pkt);
    if (!r->to.len && !pkt->retain && fanout_parts(w, r, &parts, c)) {
        buf_trim(&w->props, PROPS_KEPT);
        return 1;
    }
    struct message *m = message_of(w, pkt, &parts);
    buf_trim(&w->props, PROPS_KEPT);
    if (pkt->retain) publish_retain(w, m);
    unsigned receivers = fanout_message(w, r, m, c);
    if (is_passing(pkt))
        message_discard(&w->draft, m);
    else
        message_unref(m);
    return receivers;
}

/* No hook wants this topic, or all that is asked is settled by grants: the short way. */
static void publish_plain(struct conn *c, const struct pkt_publish *pkt, struct route *r,
                          enum verdict v) {
    unsigned receivers = 0;
    if (v == VERDICT_DENY || (v == VERDICT_NONE && !c->worker->config->default_access)) {
        acknowledge(c, pkt->qos, pkt->packet_id, RC_NOT_AUTHORIZED, NULL);
        tell_refusal(c, pkt->topic, RC_NOT_AUTHORIZED, NULL);
        return;
    }
    if (r->to.len || r->to.more || r->to.remote || pkt->retain) receivers = hand_out(c, pkt, r);
    acknowledge(c, pkt->qos, pkt->packet_id, receivers ? RC_SUCCESS : RC_NO_MATCHING_SUBSCRIBERS,
                NULL);
}

/* Checks what the decoder cannot know and puts the topic an alias stands for in place.
 * 0, or why this PUBLISH must end the connection. */
static int publish_check(struct conn *c, struct pkt_publish *p) {
    if (props_has(&p->props, PROP_TOPIC_ALIAS)) {
        int r = alias_resolve(&c->aliases, p->props.topic_alias, &p->topic);
        if (r) return r;
    }
    if (props_has(&p->props, PROP_SUBSCRIPTION_IDENTIFIER))
        return RC_PROTOCOL_ERROR; /* [MQTT-3.3.4-6] */
    return 0;
}

/* The quota begins anew with each connection (4.9). */
static bool exceeds_receive_maximum(const struct conn *c, const struct pkt_publish *p) {
    const struct session *s = c->session;
    return p->qos && c->version == MQTT_5 && s->received.len - s->elder.len >= c->receive_max;
}

/* Its first copy was taken, and is not released yet. */
static bool is_repeat(const struct conn *c, const struct pkt_publish *p) {
    return p->qos == 2 && pidset_has(&c->session->received, p->packet_id);
}

/* What settings say about a PUBLISH: true when it goes no further. */
static bool stop_at_limits(struct conn *c, const struct frame *f, const struct pkt_publish *p) {
    const char *why;
    uint8_t rc = limits_publish(c->client->limits, p, &why);
    if (rc) {
        refuse(c, rc, why);
        return true;
    }
    uint64_t now = loop_now_ms(c->worker->loop);
    if (rate_spend(c->rate, f->head_len + f->body_len, now)) flow_throttle(c);
    rc = limits_payload(c->client->limits, p, &why);
    if (!rc || is_repeat(c, p)) return false;
    if (rc == RC_QUOTA_EXCEEDED) COUNT(c->worker, dropped_too_large);
    if (p->qos == 0 && rc == RC_PAYLOAD_FORMAT_INVALID)
        refuse(c, rc, why);
    else
        acknowledge(c, p->qos, p->packet_id, rc, why);
    tell_refusal(c, p->topic, rc, why);
    return true;
}

/* Puts the topic below the client's mount point; false when it is too long.  It is lent
 * until the next PUBLISH. */
static bool put_below_mount(struct conn *c, struct pkt_publish *p) {
    struct slice mount = c->client->mount;
    struct buf *name = &c->worker->full_name;
    name->len = 0;
    if (props_has(&p->props, PROP_RESPONSE_TOPIC) &&
        mount.len + p->props.response_topic.len > UINT16_MAX)
        return false;
    if (!mount_topic(mount, p->topic, name)) return false;
    p->topic = buf_slice(name);
    return true;
}

static void on_publish(struct conn *c, const struct frame *f) {
    struct pkt_publish p;
    int r = publish_decode(f, c->version, c->route ? route_topic(c->route) : SLICE_NONE, &p);
    if (r == 0) r = publish_check(c, &p);
    if (r) {
        refuse(c, r, "malformed or forbidden PUBLISH");
        return;
    }
    COUNT(c->worker, messages_in);
    if (c->checks_publish && stop_at_limits(c, f, &p)) return;
    if (is_repeat(c, &p)) {
        pidset_del(&c->session->elder, p.packet_id);
        conn_send_ack(c, PKT_PUBREC, p.packet_id, RC_SUCCESS, NULL); /* [MQTT-4.3.3-10] */
        return;
    }
    if (exceeds_receive_maximum(c, &p)) {
        refuse(c, RC_RECEIVE_MAXIMUM_EXCEEDED, "Receive Maximum exceeded");
        return;
    }
    bool fits = !c->is_mounted || put_below_mount(c, &p);
    struct route *route = fits ? route_again(c->worker, p.topic, &c->route) : NULL;
    if (!fits || p.topic.len > c->max_topic_len || route->levels > c->max_topic_levels) {
        refuse(c, RC_TOPIC_NAME_INVALID, "topic with too many levels or bytes");
        return;
    }
    p.topic = route_topic(route); /* it may have been that of the route before, which is gone */
    if (slice_starts(p.topic, SLICE("$SYS/"))) { /* the broker's own */
        acknowledge(c, p.qos, p.packet_id, RC_NOT_AUTHORIZED, NULL);
        tell_refusal(c, p.topic, RC_NOT_AUTHORIZED, NULL);
        return;
    }
    const uint32_t others = HOOK_BIT(HOOK_PUBLISH) | HOOK_BIT(HOOK_PUBLISHED);
    enum verdict v = route->wants & others ? VERDICT_NONE : granted(c, &p);
    if (route->wants & (others | (v == VERDICT_NONE ? HOOK_BIT(HOOK_AUTHORIZE) : 0)))
        publish_asking(c, &p, route);
    else
        publish_plain(c, &p, route, v);
}

/* ---- acknowledgements --------------------------------------------------- */

static bool decode(struct conn *c, const struct frame *f, struct packet *p) {
    int r = packet_decode(f, c->version, p);
    if (r) refuse(c, r, "malformed packet");
    return r == 0;
}

static bool acked_in_turn(struct conn *c, int r) {
    if (r == ACK_OUT_OF_TURN) refuse(c, RC_PROTOCOL_ERROR, "acknowledgement out of turn");
    return r == ACK_OK;
}

static void on_puback(struct conn *c, const struct frame *f) {
    struct packet p;
    if (!decode(c, f, &p)) return;
    if (acked_in_turn(c, session_puback(c->session, p.ack.packet_id)) && c->session)
        session_pump(c->session);
}

static void on_pubrec(struct conn *c, const struct frame *f) {
    struct packet p;
    if (!decode(c, f, &p)) return;
    int r = session_pubrec(c->session, p.ack.packet_id, p.ack.reason_code);
    if (r == ACK_OUT_OF_TURN) {
        acked_in_turn(c, r);
    } else if (p.ack.reason_code >= RC_UNSPECIFIED_ERROR) {
        if (c->session) session_pump(c->session);
    } else {
        uint8_t rc = r == ACK_UNKNOWN ? RC_PACKET_IDENTIFIER_NOT_FOUND : RC_SUCCESS;
        conn_send_ack(c, PKT_PUBREL, p.ack.packet_id, rc, NULL);
    }
}

static void on_pubrel(struct conn *c, const struct frame *f) {
    struct packet p;
    if (!decode(c, f, &p)) return;
    bool known = pidset_del(&c->session->received, p.ack.packet_id);
    pidset_del(&c->session->elder, p.ack.packet_id);
    conn_send_ack(c, PKT_PUBCOMP, p.ack.packet_id,
                  known ? RC_SUCCESS : RC_PACKET_IDENTIFIER_NOT_FOUND, NULL);
}

static void on_pubcomp(struct conn *c, const struct frame *f) {
    struct packet p;
    if (!decode(c, f, &p)) return;
    if (acked_in_turn(c, session_pubcomp(c->session, p.ack.packet_id)) && c->session)
        session_pump(c->session);
}

/* ---- the others --------------------------------------------------------- */

static void on_subscribe(struct conn *c, const struct frame *f) {
    struct packet p;
    if (decode(c, f, &p)) subscribe_start(c, &p.filters, true);
}

static void on_unsubscribe(struct conn *c, const struct frame *f) {
    struct packet p;
    if (decode(c, f, &p)) subscribe_start(c, &p.filters, false);
}

static void on_pingreq(struct conn *c, const struct frame *f) {
    struct packet p;
    if (!decode(c, f, &p)) return;
    conn_send(c, &(struct packet){ .type = PKT_PINGRESP });
}

/* The session expiry a client may change its mind to: not from 0 [MQTT-3.14.2-2]. */
static bool change_expiry(struct conn *c, const struct pkt_reason *p) {
    if (!props_has(&p->props, PROP_SESSION_EXPIRY_INTERVAL)) return true;
    uint32_t expiry = p->props.session_expiry_interval,
             limit = c->client->limits->max_session_expiry;
    if (c->session->expiry == 0 && expiry != 0) return false;
    c->session->expiry = expiry < limit ? expiry : limit;
    return true;
}

static void on_disconnect(struct conn *c, const struct frame *f) {
    struct packet p;
    if (!decode(c, f, &p)) return;
    if (!change_expiry(c, &p.reason)) {
        refuse(c, RC_PROTOCOL_ERROR, "session expiry changed from 0 at DISCONNECT");
        return;
    }
    /* Any reason but a normal end leaves the will in force [MQTT-3.14.4-3]. */
    c->will_on_close = p.reason.reason_code != RC_SUCCESS;
    /* Whoever has said goodbye sends no more: no need to wait for its FIN. */
    c->has_hung_up = c->stream.type->ends_by_close;
    conn_end(c, 0, NULL, "DISCONNECT");
}

/* ---- dispatch ----------------------------------------------------------- */

typedef void packet_fn(struct conn *c, const struct frame *f);

/* A type without a row is the server's to send. */
static packet_fn *const on_packet[PKT_TYPES] = {
    [PKT_PUBLISH] = on_publish,         [PKT_PUBACK] = on_puback,
    [PKT_PUBREC] = on_pubrec,           [PKT_PUBREL] = on_pubrel,
    [PKT_PUBCOMP] = on_pubcomp,         [PKT_SUBSCRIBE] = on_subscribe,
    [PKT_UNSUBSCRIBE] = on_unsubscribe, [PKT_PINGREQ] = on_pingreq,
    [PKT_DISCONNECT] = on_disconnect,   [PKT_AUTH] = auth_packet,
};

/* Before CONNACK a client says nothing but AUTH and DISCONNECT [MQTT-3.1.2-30]. */
static void on_early_packet(struct conn *c, const struct frame *f) {
    if (f->type == PKT_AUTH)
        auth_packet(c, f);
    else if (f->type == PKT_DISCONNECT)
        conn_end(c, 0, NULL, "DISCONNECT");
    else
        auth_refuse(c->auth, RC_PROTOCOL_ERROR, "packet before the end of authentication");
}

void packets_handle(struct conn *c, const struct frame *f) {
    if (c->state == CONN_NEW)
        connect_start(c, f);
    else if (c->state == CONN_AUTHENTICATING)
        on_early_packet(c, f);
    else if (on_packet[f->type])
        on_packet[f->type](c, f);
    else
        refuse(c, RC_PROTOCOL_ERROR,
               f->type == PKT_CONNECT ? "second CONNECT" /* [MQTT-3.1.0-2] */
                                      : "packet a client may not send");
}
