/* conn.c -- the life of a connection: its events, writing, waiting, closing.
 *
 * How bytes become packets is in conn_read.c, what they mean in packets.c, connect.c and
 * subscribe.c; how ours are laid out in conn_send.c.  A connection that has
 * said its last word lingers: output is flushed, input discarded, so that the peer reads
 * the last packet instead of a reset. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/conn.h"

#include "base/mem.h"
#include "core/auth.h"
#include "core/config.h"
#include "core/flow.h"
#include "core/gate.h"
#include "core/review.h"
#include "core/route.h"
#include "core/session.h"
#include "core/trial.h"
#include "core/worker.h"
#include "mqtt/decode.h"

#include <errno.h>
#include <stdlib.h>

enum {
    OUT_FLUSH = 131072,    /* bytes that are written before the turn ends */
    OUT_ROOM = 131072,     /* below it a connection takes queued messages */
    OUT_ANSWERS = 1048576, /* of our answers, before a client that does not read is not read */
    LINGER_MS = 2000       /* for the peer to read our last packet */
};

/* ---- interest ----------------------------------------------------------- */

/* A client that only sends and never reads our answers: so much of them is kept. */
static bool is_overfull(const struct conn *c) {
    return c->out.len > OUT_ANSWERS + 2 * c->worker->config->max_output_bytes;
}

bool conn_is_reading(const struct conn *c) {
    return !flow_is_waiting(c) && !c->has_hung_up && !is_overfull(c);
}

void conn_update_interest(struct conn *c) {
    if (c->state == CONN_CLOSED) return;
    unsigned want = (conn_is_reading(c) ? LOOP_READ : 0u) | (c->is_blocked ? LOOP_WRITE : 0u);
    loop_want(c->worker->loop, &c->watch, want);
}

uint64_t conn_keep_alive_due(const struct conn *c) {
    return c->heard_ms + (uint64_t)c->keep_alive * 1500; /* [MQTT-3.1.2-22] (5.0) */
}

/* The time it was not listened to does not count against its keep-alive. */
void conn_resume(struct conn *c) {
    if (c->state == CONN_CLOSED) return;
    c->heard_ms = loop_now_ms(c->worker->loop);
    loop_defer(c->worker->loop, &c->resume);
}

/* ---- writing ------------------------------------------------------------ */

void conn_pump_again(struct conn *c) {
    loop_defer(c->worker->loop, &c->flush);
}

bool conn_has_room(const struct conn *c) {
    return c->out.len < OUT_ROOM && c->state == CONN_OPEN;
}

static void finish_lingering(struct conn *c) {
    if (c->has_hung_up)
        conn_close(c, NULL);
    else
        c->stream.type->finish(&c->stream);
}

static void conn_flush(struct conn *c) {
    if (c->state == CONN_CLOSED) return;
    size_t before = c->out.len;
    int r = chain_flush(&c->out, &c->worker->chunks, &c->stream);
    COUNT_ADD(c->worker, bytes_out, before - c->out.len);
    if (r < 0) {
        conn_close(c, "write failed");
        return;
    }
    if (is_overfull(c) && c->out.len < before) c->heard_ms = loop_now_ms(c->worker->loop);
    c->is_blocked = r == CHAIN_BLOCKED;
    conn_update_interest(c);
    if (c->out.len < OUT_ROOM) flow_drained(c);
    if (c->state == CONN_ENDING && r == CHAIN_EMPTY) finish_lingering(c);
}

/* Written and drained: what waited for room goes now. */
static void on_flush(struct closure *self, unsigned events) {
    struct conn *c = self->obj;
    (void)events;
    if (!c->is_blocked)
        conn_flush(c);
    else
        conn_update_interest(c);
    if (c->session) session_pump(c->session);
}

void conn_write_now(struct conn *c) {
    if (!c->out.len || c->is_blocked || c->state != CONN_OPEN) return;
    size_t before = c->out.len;
    int r = chain_flush(&c->out, &c->worker->chunks, &c->stream);
    COUNT_ADD(c->worker, bytes_out, before - c->out.len);
    c->is_blocked = r != CHAIN_EMPTY; /* on_flush asks for LOOP_WRITE; an error shows then */
}

void conn_out_dirty(struct conn *c) {
    if (c->out.len >= OUT_FLUSH) conn_write_now(c);
    loop_defer(c->worker->loop, &c->flush);
}

/* ---- events -------------------------------------------------------------- */

static void on_ready(struct closure *self, unsigned events) {
    struct conn *c = self->obj;
    /* What a peer sent before it reset the connection counts, a DISCONNECT above all; the
     * read after that finds the error. */
    if ((events & LOOP_ERROR) && conn_is_reading(c)) {
        conn_read(c, true);
        return;
    }
    /* Reset while a hook decides: nobody waits for the verdict any more. */
    if ((events & LOOP_ERROR) && c->parked_cancel) {
        conn_close(c, "connection lost");
        return;
    }
    if (events & LOOP_WRITE) {
        c->is_blocked = false;
        conn_flush(c);
        if (c->session) session_pump(c->session);
        if (c->state == CONN_CLOSED) return;
    }
    /* A hang-up while parked is no haste: the peer's last bytes wait for the hook, and the
     * read that follows them finds the end. */
    if ((events & (LOOP_READ | LOOP_HANGUP)) && conn_is_reading(c)) conn_read(c, false);
}

/* ---- parking ------------------------------------------------------------ */

void conn_park(struct conn *c, void (*cancel)(void *obj), void *obj) {
    if (c->state == CONN_ENDING || c->state == CONN_CLOSED) {
        cancel(obj); /* the hook that waits has ended its own connection */
        return;
    }
    c->parked_cancel = cancel;
    c->parked_obj = obj;
    conn_update_interest(c);
}

static void on_resume(struct closure *self, unsigned events) {
    struct conn *c = self->obj;
    (void)events;
    if (c->state == CONN_CLOSED || flow_is_waiting(c)) return;
    conn_read_on(c);
    conn_update_interest(c);
}

void conn_unpark(struct conn *c) {
    c->parked_cancel = NULL;
    c->parked_obj = NULL;
    conn_resume(c);
}

/* ---- time --------------------------------------------------------------- */

static void check_keep_alive(struct conn *c) {
    uint64_t now = loop_now_ms(c->worker->loop);
    if (c->keep_alive && !flow_is_waiting(c) && conn_keep_alive_due(c) <= now)
        conn_end(c, RC_KEEP_ALIVE_TIMEOUT, NULL, "keep-alive exceeded");
    else
        flow_arm_timer(c);
}

static void on_timer(struct closure *self, unsigned events) {
    struct conn *c = self->obj;
    (void)events;
    switch (c->state) {
    case CONN_NEW: conn_close(c, "no CONNECT in time"); break;
    case CONN_OPEN:
        if (c->is_paused) flow_check(c);
        if (c->state == CONN_OPEN) check_keep_alive(c);
        break;
    case CONN_ENDING: conn_close(c, NULL); break;
    default: break;
    }
}

void conn_start_keep_alive(struct conn *c) {
    conn_note_held(c);
    loop_cancel(c->worker->loop, &c->timer);
    if (c->keep_alive) loop_arm(c->worker->loop, &c->timer, conn_keep_alive_due(c));
}

/* ---- life --------------------------------------------------------------- */

static void list(struct conn *c) {
    struct worker *w = c->worker;
    c->next = w->conns;
    c->link = &w->conns;
    if (c->next) c->next->link = &c->next;
    w->conns = c;
    w->conns_len++;
}

static void unlist(struct conn *c) {
    if (c->next) c->next->link = c->link;
    *c->link = c->next;
    c->worker->conns_len--;
}

void conn_open(struct worker *w, const struct stream_type *type, int fd, const char *peer,
               const char *listener) {
    struct conn *c = xcalloc(1, sizeof *c);
    c->stream = (struct stream){ type, fd, NULL };
    c->worker = w;
    c->client = client_new(w, peer, listener);
    c->client->conn = c;
    c->heard_ms = loop_now_ms(w->loop);
    c->watch.closure = (struct closure){ .fn = on_ready, .obj = c, .name = "connection" };
    c->timer.closure = (struct closure){ .fn = on_timer, .obj = c, .name = "connection timer" };
    c->flush.closure = (struct closure){ .fn = on_flush, .obj = c, .name = "connection flush" };
    c->resume.closure = (struct closure){ .fn = on_resume, .obj = c, .name = "connection resume" };
    list(c);
    COUNT(w, connections);
    loop_watch(w->loop, &c->watch, fd, LOOP_READ);
    loop_arm(w->loop, &c->timer, c->heard_ms + c->client->limits->connect_timeout_ms);
}

void conn_depart(struct conn *c) {
    struct worker *w = c->worker;
    struct client *old = c->client;
    must(!c->session && !c->out.len && !c->parked_cancel);
    loop_unwatch(w->loop, &c->watch);
    loop_cancel(w->loop, &c->timer);
    loop_undefer(&c->flush);
    loop_undefer(&c->resume);
    unlist(c);
    COUNT_ADD(w, connect_bytes, -(uint64_t)c->connect_bytes);
    c->connect_bytes = 0;
    c->client = client_copy(old);
    review_depart(old, c->client);
    old->conn = NULL;
    client_unref(old);
}

void conn_arrive(struct conn *c, struct worker *w) {
    c->worker = w;
    client_file(c->client, w);
    review_arrive(c->client);
    c->client->conn = c;
    conn_note_held(c);
    list(c);
    c->watch.closure = (struct closure){ .fn = on_ready, .obj = c, .name = "connection" };
    loop_watch(w->loop, &c->watch, c->stream.fd, LOOP_READ);
    conn_resume(c);
}

/* The session goes on (or ends) without this connection. */
static void leave(struct conn *c, uint8_t reason_code, const char *why) {
    struct worker *w = c->worker;
    flow_leave(c);
    if (c->trial) trial_lost(c->trial, reason_code, why);
    if (c->session) { /* first of all: from here on nobody finds us by our session */
        if (c->client->is_counted) {
            atomic_fetch_sub(&w->broker->connected, 1);
            gate_count(c->client->gate, -1);
        }
        c->client->is_counted = false;
        session_detach(c->session, c->will_on_close);
        hooks_tell(w->hooks, HOOK_DISCONNECTED, c->client,
                   &(struct fact){
                       .reason = why, .reason_code = reason_code, .is_normal = !c->will_on_close });
    }
    if (c->parked_cancel) {
        void (*cancel)(void *) = c->parked_cancel;
        c->parked_cancel = NULL;
        cancel(c->parked_obj);
    }
    if (c->auth) auth_leave(c->auth);
}

static void log_end(struct conn *c, const char *why) {
    if (!why || c->trial) return;
    struct client *client = c->client;
    if (client->version)
        log_info(c->worker->log, "connect", "client %.*s (%s) disconnected: %s",
                 SLICE_FMT(client->id), client->peer, why);
    else
        log_info(c->worker->log, "connect", "connection from %s closed: %s", client->peer, why);
}

void conn_close(struct conn *c, const char *why) {
    if (c->state == CONN_CLOSED) return;
    struct worker *w = c->worker;
    bool was_ending = c->state == CONN_ENDING;
    c->state = CONN_CLOSED;
    if (!was_ending) {
        log_end(c, why);
        leave(c, 0, why);
    }
    c->client->conn = NULL;
    loop_cancel(w->loop, &c->timer);
    loop_undefer(&c->flush);
    loop_undefer(&c->resume);
    chain_deinit(&c->out, &w->chunks);
    buf_deinit(&c->tail);
    aliases_deinit(&c->aliases);
    xfree(c->rate);
    c->rate = NULL;
    conn_note_held(c);
    loop_abandon(w->loop, &c->watch);
    stream_close(&c->stream);
    unlist(c);
    c->next = w->closed;
    w->closed = c;
    loop_defer(w->loop, &w->reap);
}

static void send_disconnect(struct conn *c, const struct farewell *f) {
    uint8_t rc = reason_code_for(PKT_DISCONNECT, f->reason_code, RC_ADMINISTRATIVE_ACTION);
    struct packet p = { .type = PKT_DISCONNECT, .reason = { .reason_code = rc } };
    if (f->server_reference) {
        p.reason.props.present |= PROP_BIT(PROP_SERVER_REFERENCE);
        p.reason.props.server_reference = slice_str(f->server_reference);
    }
    if (f->reason && c->wants_problem_info) {
        p.reason.props.present |= PROP_BIT(PROP_REASON_STRING);
        p.reason.props.reason_string = slice_str(f->reason);
    }
    conn_send_fitting(c, &p, &p.reason.props);
}

void conn_end_with(struct conn *c, const struct farewell *f) {
    if (c->state == CONN_CLOSED || c->state == CONN_ENDING) return;
    log_end(c, f->why);
    if (f->reason_code && c->version == MQTT_5 && c->state == CONN_OPEN) send_disconnect(c, f);
    c->state = CONN_ENDING;
    conn_note_held(c);
    leave(c, f->reason_code, f->why);
    if (c->state == CONN_CLOSED) return;
    if (c->has_hung_up && !c->out.len) {
        conn_close(c, NULL);
        return;
    }
    loop_arm(c->worker->loop, &c->timer, loop_now_ms(c->worker->loop) + LINGER_MS);
    loop_defer(c->worker->loop, &c->flush);
    conn_update_interest(c);
}

void conn_end(struct conn *c, uint8_t reason_code, const char *reason, const char *why) {
    conn_end_with(c, &(struct farewell){ reason_code, reason, NULL, why });
}

void conns_reap(struct worker *w) {
    while (w->closed) {
        struct conn *c = w->closed;
        w->closed = c->next;
        closure_deinit(&c->timer.closure);
        closure_deinit(&c->flush.closure);
        closure_deinit(&c->resume.closure);
        auth_free(c->auth);
        route_forget(w, &c->route);
        client_unref(c->client);
        free(c);
    }
}

bool client_disconnect(struct client *client, const struct farewell *f) {
    struct conn *c = client->conn;
    if (!c || c->state == CONN_CLOSED || c->state == CONN_ENDING) return false;
    struct farewell own = *f;
    own.why = f->reason ? f->reason : "disconnected by policy";
    conn_end_with(c, &own);
    return true;
}
