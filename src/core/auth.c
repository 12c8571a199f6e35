/* auth.c -- whose turn it is, round by round.
 *
 * An exchange is settled exactly once: by the hooks, by a client that breaks the rules or
 * takes too long, or by the end of the connection.  When that comes in the middle of a
 * hook of ours, take_verdict notices; when it comes while hooks wait, cancel; in the
 * client's turn, auth_leave. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/auth.h"

#include "base/mem.h"
#include "core/client.h"
#include "core/conn.h"
#include "core/review.h"
#include "core/worker.h"
#include "mqtt/decode.h"
#include "mqtt/props.h"

#include <stdlib.h>

enum turn { TURN_NOBODY, TURN_HOOKS, TURN_CLIENT };

struct auth {
    struct conn *conn; /* lent: it owns us */
    struct auth_exchange exchange;
    struct hook_call call;
    struct timer timer;       /* TURN_CLIENT: it has connect_timeout for its AUTH */
    auth_settled_fn *settled; /* of the exchange that CONNECT began */
    void *obj;
    char *method, *data; /* owned: what the exchange lends */
    uint8_t turn;        /* enum turn */
};

static const struct auth_outcome gone = { .reason_code = RC_NOT_AUTHORIZED };

/* ---- the end of an exchange ---------------------------------------------- */

static void take_data(struct auth *a, struct slice data) {
    free(a->data);
    a->data = xslicedup(data);
    a->exchange.data = slice_of(a->data, data.len);
    auth_reply(&a->exchange, SLICE_NONE);
}

static bool send_auth(struct auth *a, uint8_t reason_code) {
    struct packet p = { .type = PKT_AUTH, .reason = { .reason_code = reason_code } };
    props_init(&p.reason.props);
    auth_put_props(a, &p.reason.props);
    return conn_send(a->conn, &p);
}

static void reauth_settled(struct auth *a, const struct auth_outcome *o) {
    struct conn *c = a->conn;
    if (c->state != CONN_OPEN) return;
    if (o->reason_code != RC_SUCCESS) { /* [MQTT-4.12.1-2] */
        /* What CONNACK may say DISCONNECT may not always [MQTT-3.14.2-1]. */
        bool fits = reason_code_allowed(PKT_DISCONNECT, MQTT_5, o->reason_code);
        conn_end_with(c, &(struct farewell){ fits ? o->reason_code : RC_NOT_AUTHORIZED, o->reason,
                                             o->server_reference, o->why });
        return;
    }
    review_reauthenticated(c->client, o->username);
    log_info(c->worker->log, "connect", "client %.*s (user %.*s) authenticated again",
             SLICE_FMT(c->client->id), SLICE_FMT(o->username.at ? o->username : SLICE("-")));
    if (!send_auth(a, RC_SUCCESS))
        conn_end(c, RC_NOT_AUTHORIZED, NULL, "AUTH larger than the client takes");
}

static void settle(struct auth *a, const struct auth_outcome *o) {
    struct conn *c = a->conn;
    a->turn = TURN_NOBODY;
    loop_cancel(c->worker->loop, &a->timer);
    if (c->state == CONN_AUTHENTICATING) c->state = CONN_OPENING;
    if (a->exchange.is_reauth)
        reauth_settled(a, o);
    else
        a->settled(a->obj, o);
    c->worker->hooks->auth_over(c->worker->hooks, c->client, &a->exchange);
    take_data(a, SLICE_NONE);
    auth_name(&a->exchange, SLICE_NONE);
}

static void refuse(struct auth *a, uint8_t reason_code, const char *reason, const char *why) {
    settle(a, &(struct auth_outcome){ .reason_code = reason_code, .reason = reason, .why = why });
}

void auth_refuse(struct auth *a, uint8_t reason_code, const char *why) {
    refuse(a, reason_code, NULL, why);
}

void auth_leave(struct auth *a) {
    if (a->turn == TURN_CLIENT) settle(a, &gone);
}

/* ---- the client's turn --------------------------------------------------- */

static void arm(struct auth *a) {
    struct worker *w = a->conn->worker;
    loop_arm(w->loop, &a->timer,
             loop_now_ms(w->loop) + a->conn->client->limits->connect_timeout_ms);
}

static void on_timer(struct closure *self, unsigned events) {
    struct auth *a = self->obj;
    struct conn *c = a->conn;
    (void)events;
    if (c->parked_cancel || c->is_paused)
        arm(a); /* it may have answered: we have not read it */
    else
        refuse(a, RC_NOT_AUTHORIZED, NULL, "no AUTH in time");
}

static void pass_turn(struct auth *a) {
    if (!send_auth(a, RC_CONTINUE_AUTHENTICATION)) {
        refuse(a, RC_NOT_AUTHORIZED, NULL, "AUTH larger than the client takes");
        return;
    }
    a->turn = TURN_CLIENT;
    if (!a->exchange.is_reauth) a->conn->state = CONN_AUTHENTICATING;
    arm(a);
}

/* ---- the hooks' turn ----------------------------------------------------- */

static void take_verdict(struct auth *a) {
    struct hook_call *call = &a->call;
    if (a->conn->state >= CONN_ENDING) { /* a hook has ended its own connection */
        settle(a, &gone);
        return;
    }
    switch (call->verdict) {
    case VERDICT_CONTINUE: pass_turn(a); break;
    case VERDICT_ALLOW:
        settle(a, &(struct auth_outcome){ .username = a->exchange.username });
        break;
    case VERDICT_NONE:
        refuse(a, RC_BAD_AUTHENTICATION_METHOD, NULL, "nobody knows the authentication method");
        break;
    default:
        settle(a, &(struct auth_outcome){ .reason_code = hook_denial(call, RC_NOT_AUTHORIZED),
                                          .reason = call->reason,
                                          .server_reference = call->server_reference,
                                          .why = "refused by policy" });
    }
}

static void cancel(void *obj) {
    struct auth *a = obj;
    a->call.hooks->cancel(a->call.hooks, &a->call);
    settle(a, &gone);
}

static void on_verdict(struct hook_call *call) {
    struct auth *a = call->obj;
    conn_unpark(a->conn);
    take_verdict(a);
}

/* One round. */
static void ask(struct auth *a, struct slice data) {
    struct conn *c = a->conn;
    struct hooks *hooks = c->worker->hooks;
    a->turn = TURN_HOOKS;
    take_data(a, data);
    hook_call_deinit(&a->call);
    a->call = (struct hook_call){
        .event = HOOK_AUTH, .client = c->client, .auth = &a->exchange, .done = on_verdict, .obj = a
    };
    if (hooks_want(hooks, HOOK_AUTH)) hooks->run(hooks, &a->call);
    if (a->call.verdict == VERDICT_WAIT)
        conn_park(c, cancel, a);
    else
        take_verdict(a);
}

/* ---- packets ------------------------------------------------------------- */

static struct slice data_of(const struct props *p) {
    return props_has(p, PROP_AUTHENTICATION_DATA) ? p->authentication_data : SLICE_NONE;
}

static void begin(struct auth *a, bool is_reauth, struct slice data) {
    a->exchange.is_reauth = is_reauth;
    if (is_reauth) review_exchange(a->conn->client);
    auth_name(&a->exchange, a->conn->client->username);
    ask(a, data);
}

void auth_begin(struct conn *c, const struct props *p, auth_settled_fn *settled, void *obj) {
    struct auth *a = c->auth = xcalloc(1, sizeof *a);
    a->conn = c;
    a->settled = settled;
    a->obj = obj;
    a->timer.closure = (struct closure){ .fn = on_timer, .obj = a, .name = "authentication timer" };
    a->method = xslicedup(p->authentication_method);
    a->exchange.method = slice_of(a->method, p->authentication_method.len);
    begin(a, false, data_of(p));
}

/* 0, or what is wrong with this AUTH. */
static int check(const struct auth *a, const struct pkt_reason *p, const char **why) {
    *why = "AUTH, but CONNECT named no authentication method";
    if (!a) return RC_PROTOCOL_ERROR; /* [MQTT-4.12.0-7] */
    *why = "AUTH out of turn";
    uint8_t due = a->turn == TURN_CLIENT ? RC_CONTINUE_AUTHENTICATION : RC_REAUTHENTICATE;
    if (p->reason_code != due) return RC_PROTOCOL_ERROR; /* [MQTT-4.12.0-3] */
    *why = "AUTH of another authentication method";
    if (!slice_eq(p->props.authentication_method, a->exchange.method))
        return RC_BAD_AUTHENTICATION_METHOD; /* [MQTT-4.12.0-5] [MQTT-4.12.1-1] */
    return 0;
}

void auth_packet(struct conn *c, const struct frame *f) {
    struct auth *a = c->auth;
    struct packet p;
    const char *why = "malformed AUTH";
    int r = packet_decode(f, c->version, &p);
    if (r == 0) r = check(a, &p.reason, &why);
    if (r && c->state == CONN_AUTHENTICATING) {
        auth_refuse(a, (uint8_t)r, why);
    } else if (r) {
        conn_end(c, (uint8_t)r, NULL, why);
    } else if (a->turn == TURN_CLIENT) {
        loop_cancel(c->worker->loop, &a->timer);
        if (c->state == CONN_AUTHENTICATING) c->state = CONN_OPENING;
        ask(a, data_of(&p.reason.props));
    } else {
        begin(a, true, data_of(&p.reason.props));
    }
}

void auth_put_props(const struct auth *a, struct props *p) {
    p->present |= PROP_BIT(PROP_AUTHENTICATION_METHOD);
    p->authentication_method = a->exchange.method;
    if (!a->exchange.reply.at) return;
    p->present |= PROP_BIT(PROP_AUTHENTICATION_DATA);
    p->authentication_data = a->exchange.reply;
}

/* ---- life ---------------------------------------------------------------- */

void auth_free(struct auth *a) {
    if (!a) return;
    hook_call_deinit(&a->call);
    auth_exchange_deinit(&a->exchange);
    closure_deinit(&a->timer.closure);
    free(a->method);
    free(a->data);
    free(a);
}
