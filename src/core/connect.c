/* connect.c -- CONNECT.
 *
 * connect hooks (may change the request) -> validation -> a move to the worker where the
 * client's session lives -> authenticate hooks, or an exchange (auth.h) where CONNECT names
 * an authentication method -> take-over -> session -> CONNACK.  The packet's bytes are
 * copied first, since hooks may wait. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/connect.h"

#include "base/mem.h"
#include "base/uuid.h"
#include "core/auth.h"
#include "core/conn.h"
#include "core/connecting.h"
#include "core/mail.h"
#include "core/review.h"
#include "core/session.h"
#include "core/trial.h"
#include "core/worker.h"
#include "mqtt/decode.h"
#include "mqtt/topic.h"

#include <stdlib.h>

enum {
    ASK_CONNECT,
    HAVE_CONNECT,
    MOVE,
    ASK_AUTHENTICATE,
    HAVE_AUTHENTICATE,
    EXCHANGE,
    ACCEPT,
    OVER
};

static void connecting_free(struct connecting *q) {
    hook_call_deinit(&q->call);
    connect_request_deinit(&q->request);
    client_unref(q->client);
    free(q->bytes);
    free(q);
}

/* ---- CONNACK ------------------------------------------------------------ */

/* A 5.0 reason code as 3.x says it (table 3.1 of 3.1.1). */
static uint8_t return_code(uint8_t reason_code) {
    switch (reason_code) {
    case RC_SUCCESS: return 0;
    case RC_UNSUPPORTED_PROTOCOL_VERSION: return 1;
    case RC_CLIENT_IDENTIFIER_NOT_VALID: return 2;
    case RC_BAD_USER_NAME_OR_PASSWORD: return 4;
    case RC_SERVER_UNAVAILABLE:
    case RC_SERVER_BUSY:
    case RC_SERVER_SHUTTING_DOWN:
    case RC_QUOTA_EXCEEDED:
    case RC_CONNECTION_RATE_EXCEEDED:
    case RC_USE_ANOTHER_SERVER:
    case RC_SERVER_MOVED: return 3;
    default: return 5;
    }
}

static void send_connack(struct conn *c, struct pkt_connack *ack) {
    struct packet p = { .type = PKT_CONNACK };
    if (c->version != MQTT_5)
        ack->reason_code = return_code(ack->reason_code);
    else
        ack->reason_code = reason_code_for(PKT_CONNACK, ack->reason_code, RC_NOT_AUTHORIZED);
    p.connack = *ack;
    conn_send_fitting(c, &p, &p.connack.props);
}

/* Refuses before the session: CONNACK, then the connection ends. */
static void refuse(struct conn *c, const struct farewell *f) {
    struct pkt_connack ack = { .reason_code = f->reason_code };
    if (f->reason && c->wants_problem_info) {
        ack.props.present |= PROP_BIT(PROP_REASON_STRING);
        ack.props.reason_string = slice_str(f->reason);
    }
    if (f->server_reference) {
        ack.props.present |= PROP_BIT(PROP_SERVER_REFERENCE);
        ack.props.server_reference = slice_str(f->server_reference);
    }
    COUNT(c->worker, connects_refused);
    if (c->version) send_connack(c, &ack);
    conn_end(c, 0, NULL, f->why);
}

void connect_refuse(struct connecting *q, uint8_t reason_code, const char *reason,
                    const char *why) {
    q->stage = OVER;
    if (q->conn->trial) {
        trial_refused(q->conn->trial, q, reason_code, reason ? reason : why);
        return;
    }
    struct slice id = q->request.packet.client_id; /* empty: not assigned yet */
    log_info(q->conn->worker->log, "connect", "CONNECT of client %.*s refused: 0x%02X %s",
             SLICE_FMT(id.len ? id : SLICE("-")), reason_code, reason ? reason : why);
    refuse(q->conn, &(struct farewell){ reason_code, reason, q->server_reference, NULL });
    /* A hook may have hidden a name that is a secret. */
    const struct pkt_connect *p = &q->request.packet;
    client_set_username(q->client, p->has_username ? p->username : SLICE_NONE);
    hooks_tell(q->conn->worker->hooks, HOOK_REFUSED, q->client,
               &(struct fact){ .action = "connect",
                               .reason_code = reason_code,
                               .reason = reason ? reason : why });
}

/* ---- checks ------------------------------------------------------------- */

static bool lives_here(const struct connecting *q, struct slice client_id) {
    const struct worker *w = q->conn->worker;
    return broker_home(w->broker, client_id) == w->id;
}

/* Lives anywhere, like any other: doors may be busier on one worker than on another. */
static struct slice assigned_id(struct connecting *q) {
    char uuid[UUID_TEXT];
    uuid_make(uuid);
    return connect_keep(&q->request, slice_str(uuid));
}

/* Its full names can be said. */
static bool will_fits(const struct connecting *q) {
    const struct will *will = &q->request.packet.will;
    size_t most = UINT16_MAX - q->request.mount.len;
    return will->topic.len <= most &&
           !(props_has(&will->props, PROP_RESPONSE_TOPIC) && will->props.response_topic.len > most);
}

/* What hooks made of the request must still be one: 0, or the reason to refuse it. */
static uint8_t check(struct connecting *q, const char **why) {
    struct pkt_connect *p = &q->request.packet;
    uint8_t rc = limits_connect(&q->request.limits, p, why);
    if (rc) return rc;
    *why = "client identifier not valid";
    if (p->client_id.len > UINT16_MAX || !utf8_valid(p->client_id))
        return RC_CLIENT_IDENTIFIER_NOT_VALID;
    if (p->client_id.len == 0) {
        /* [MQTT-3.1.3-8] of 3.1.1; 3.1 wants one always */
        if (p->version == MQTT_3_1 || (p->version == MQTT_3_1_1 && !p->clean_start))
            return RC_CLIENT_IDENTIFIER_NOT_VALID;
        p->client_id = assigned_id(q);
    }
    *why = "user name not valid";
    if (p->username.len > UINT16_MAX || !utf8_valid(p->username))
        return RC_BAD_USER_NAME_OR_PASSWORD;
    *why = "will topic not valid";
    if (p->has_will && (!topic_name_valid(p->will.topic) || !utf8_valid(p->will.topic)))
        return RC_TOPIC_NAME_INVALID;
    *why = "will topic too long";
    if (p->has_will && !will_fits(q)) return RC_TOPIC_NAME_INVALID;
    *why = connect_too_many;
    bool here = lives_here(q, p->client_id); /* elsewhere it is judged on arrival */
    return here && connect_is_one_too_many(q, p->client_id) ? RC_SERVER_BUSY : 0;
}

/* Takes the request's final words over into client and connection. */
static void adopt(struct connecting *q) {
    const struct pkt_connect *p = &q->request.packet;
    struct conn *c = q->conn;
    client_set_id(q->client, p->client_id);
    client_set_username(q->client, p->has_username ? p->username : SLICE_NONE);
    client_set_mount(q->client, q->request.mount);
    review_rebind(q->client);
    q->client->clean_start = p->clean_start;
    q->client->keep_alive = p->keep_alive;
    c->keep_alive = p->keep_alive;
}

/* ---- stages ------------------------------------------------------------- */

static void have_connect(struct connecting *q) {
    const char *why;
    if (q->call.verdict == VERDICT_DENY || q->call.verdict == VERDICT_DROP) {
        q->server_reference = q->call.server_reference;
        connect_refuse(q, hook_denial(&q->call, RC_NOT_AUTHORIZED), q->call.reason,
                       "refused by policy");
        return;
    }
    uint8_t rc = check(q, &why);
    if (rc) {
        connect_refuse(q, rc, NULL, why);
        return;
    }
    adopt(q);
    q->stage = MOVE;
}

static void have_moved(struct connecting *q) {
    bool has_method = props_has(&q->request.packet.props, PROP_AUTHENTICATION_METHOD);
    q->stage = has_method ? EXCHANGE : ASK_AUTHENTICATE;
}

/* The client is who it says it is.  The request is checked again: hooks may have waited,
 * or changed it. */
static void admit(struct connecting *q) {
    const char *why;
    uint8_t rc = check(q, &why);
    if (rc) {
        connect_refuse(q, rc, NULL, why);
        return;
    }
    adopt(q);
    q->stage = ACCEPT;
}

static void have_authenticate(struct connecting *q) {
    enum verdict v = q->call.verdict;
    int anonymous = q->client->limits->allow_anonymous;
    if (anonymous == UNSET) anonymous = q->conn->worker->anonymous;
    if (v == VERDICT_ALLOW || (v == VERDICT_NONE && anonymous == YES)) {
        admit(q);
    } else if (v == VERDICT_NONE) {
        connect_refuse(q, RC_NOT_AUTHORIZED, NULL,
                       "nobody vouches for the client and allow_anonymous is off");
    } else {
        q->server_reference = q->call.server_reference;
        connect_refuse(q, hook_denial(&q->call, RC_BAD_USER_NAME_OR_PASSWORD), q->call.reason,
                       "refused by policy");
    }
}

static void have_exchange(struct connecting *q, const struct auth_outcome *o) {
    struct pkt_connect *p = &q->request.packet;
    if (o->reason_code != RC_SUCCESS) {
        q->server_reference = o->server_reference;
        connect_refuse(q, o->reason_code, o->reason, o->why);
        return;
    }
    p->has_username = o->username.at != NULL;
    if (p->has_username) p->username = connect_keep(&q->request, o->username);
    admit(q);
}

static bool run(struct connecting *q);

static void cancel(void *obj) {
    struct connecting *q = obj;
    if (q->is_leaving)
        loop_undefer(&q->departure);
    else
        q->call.hooks->cancel(q->call.hooks, &q->call);
    connecting_free(q);
}

/* While run() is at work the connection is not parked: if a hook closes it, it is run()
 * that notices and frees. */
static void on_verdict(struct hook_call *call) {
    struct connecting *q = call->obj;
    struct conn *c = q->conn;
    conn_unpark(c);
    if (run(q)) conn_park(c, cancel, q);
}

static void on_exchanged(void *obj, const struct auth_outcome *o) {
    struct connecting *q = obj;
    if (q->conn->state == CONN_OPENING) have_exchange(q, o);
    run(q); /* asks nothing more */
}

/* True when the hook waits. */
static bool ask(struct connecting *q, enum hook_event event) {
    struct hooks *hooks = q->conn->worker->hooks;
    hook_call_deinit(&q->call);
    q->call = (struct hook_call){ .event = event,
                                  .client = q->client,
                                  .connect = &q->request,
                                  .done = on_verdict,
                                  .obj = q,
                                  .trial = q->conn->trial };
    if (!hooks_want(hooks, event)) return false;
    hooks->run(hooks, &q->call);
    return q->call.verdict == VERDICT_WAIT;
}

static void step(struct connecting *q) {
    switch (q->stage) {
    case HAVE_CONNECT: have_connect(q); break;
    case MOVE: have_moved(q); break;
    case HAVE_AUTHENTICATE: have_authenticate(q); break;
    case ACCEPT:
        q->stage = OVER;
        if (q->conn->trial)
            trial_accepted(q->conn->trial, q);
        else
            connect_accept(q);
        break;
    default: break;
    }
}

/* ---- moving ------------------------------------------------------------- */

static void on_departure(struct closure *self, unsigned events) {
    struct connecting *q = self->obj;
    struct conn *c = q->conn;
    struct worker *w = c->worker,
                  *home = &w->broker->workers[broker_home(w->broker, q->client->id)];
    (void)events;
    c->parked_cancel = NULL;
    closure_deinit(&q->departure.closure);
    hook_call_deinit(&q->call);
    q->is_leaving = false;
    q->client = client_unref(q->client);
    conn_depart(c);
    q->mail.type = MAIL_MOVE;
    mailbox_post(&home->inbox, &q->mail);
}

/* With the end of the turn: what has been read with the packet comes along. */
static void leave(struct connecting *q) {
    q->is_leaving = true;
    q->departure.closure = (struct closure){ .fn = on_departure, .obj = q, .name = "move" };
    loop_defer(q->conn->worker->loop, &q->departure);
}

/* True when a hook waits, or it moves; otherwise the CONNECT is settled and freed, or left
 * to an exchange. */
static bool run(struct connecting *q) {
    struct conn *c = q->conn;
    while (q->stage != OVER && c->state == CONN_OPENING) {
        if (q->stage == EXCHANGE) {
            auth_begin(c, &q->request.packet.props, on_exchanged, q);
            return false;
        }
        if (q->stage == MOVE && !c->trial && !lives_here(q, q->client->id)) {
            leave(q);
            return true;
        }
        bool asks = q->stage == ASK_CONNECT || q->stage == ASK_AUTHENTICATE;
        if (!asks) {
            step(q);
            continue;
        }
        enum hook_event event = q->stage == ASK_CONNECT ? HOOK_CONNECT : HOOK_AUTHENTICATE;
        q->stage++;
        if (ask(q, event)) return true;
    }
    connecting_free(q);
    return false;
}

void connect_arrived(struct worker *w, struct mail *mail) {
    struct connecting *q = CONTAINER_OF(mail, struct connecting, mail);
    struct conn *c = q->conn;
    conn_arrive(c, w);
    q->client = client_ref(c->client);
    if (w->stopping) conn_close(c, NULL);
    if (run(q)) conn_park(c, cancel, q);
}

/* ---- the packet --------------------------------------------------------- */

/* What the standard lets a server say about a CONNECT it cannot take: to 3.x that its level is
 * unknown, to 5.0 anything, once so much of the packet could be read. */
static void refuse_packet(struct conn *c, int rc, const struct packet *p, struct slice body) {
    bool is_unserved =
        rc == RC_UNSUPPORTED_PROTOCOL_VERSION &&
        (slice_starts(body, SLICE("\0\4MQTT")) || slice_starts(body, SLICE("\0\6MQIsdp")));
    if (is_unserved)
        c->version = p->connect.version >= MQTT_5 ? MQTT_5 : MQTT_3_1_1;
    else if (p->connect.version == MQTT_5)
        c->version = MQTT_5;
    if (c->version)
        refuse(c, &(struct farewell){ (uint8_t)rc, .why = "CONNECT not acceptable" });
    else
        conn_close(c, "malformed CONNECT");
}

static uint32_t session_expiry(const struct pkt_connect *p, const struct limits *l) {
    if (p->version == MQTT_5)
        return props_has(&p->props, PROP_SESSION_EXPIRY_INTERVAL) ? p->props.session_expiry_interval
                                                                  : 0;
    return p->clean_start ? 0 : l->session_expiry_3x;
}

static void begin(struct conn *c, struct connecting *q) {
    const struct pkt_connect *p = &q->request.packet;
    q->conn = c;
    q->client = client_ref(c->client);
    q->request.limits = *c->client->limits;
    if (c->client->mount.at) q->request.mount = connect_keep(&q->request, c->client->mount);
    q->request.session_expiry = session_expiry(p, c->client->limits);
    q->asked_expiry = q->request.session_expiry;
    q->asked_keep_alive = p->keep_alive;
    q->is_assigned = p->client_id.len == 0;
    c->version = c->client->version = p->version;
    c->max_out = props_has(&p->props, PROP_MAXIMUM_PACKET_SIZE) ? p->props.maximum_packet_size : 0;
    c->wants_problem_info = !props_has(&p->props, PROP_REQUEST_PROBLEM_INFORMATION) ||
                            p->props.request_problem_information;
    adopt(q); /* so that hooks see who it says it is */
    c->state = CONN_OPENING;
    const char *why;
    uint8_t rc = limits_connect_packet(c->client->limits, p, &why);
    if (rc) connect_refuse(q, rc, NULL, why);
    if (run(q)) conn_park(c, cancel, q);
}

void connect_start(struct conn *c, const struct frame *f) {
    if (f->type != PKT_CONNECT) {
        conn_close(c, "the first packet is not CONNECT"); /* [MQTT-3.1.0-1] */
        return;
    }
    struct connecting *q = xcalloc(1, sizeof *q);
    struct packet p;
    struct frame own = *f;
    q->bytes = (uint8_t *)xslicedup(slice_of(f->body, f->body_len));
    own.body = q->bytes;
    int r = packet_decode(&own, 0, &p);
    if (r) {
        refuse_packet(c, r, &p, slice_of(own.body, own.body_len));
        connecting_free(q);
        return;
    }
    q->request.packet = p.connect;
    c->connect_len = own.body_len;
    begin(c, q);
}
