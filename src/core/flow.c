/* flow.c -- pauses: who waits for whom, and how long at most.
 *
 * Those who wait for a reader hang in a list: of its connection when it lives here, else of
 * the worker. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/flow.h"

#include "core/conn.h"
#include "core/mail.h"
#include "core/message.h"
#include "core/session.h"
#include "core/worker.h"

enum {
    OUT_LAGS = 1048576, /* unsent bytes from which on publishers are slowed */
    PAUSE_MS = 1000,    /* the longest a publisher waits for a lagging reader */
    REST_MS = 5,        /* of a publisher, between looks at a congested worker */
    STUCK_MS = 10000,   /* after which they wait for it no more, at least so long */
    WATCH_MS = 1000     /* between looks at the keep-alive of one that waits */
};

bool flow_is_waiting(const struct conn *c) {
    return c->parked_cancel || c->is_paused;
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

void flow_arm_timer(struct conn *c) {
    uint64_t now = loop_now_ms(c->worker->loop), due = UINT64_MAX;
    if (c->keep_alive) due = flow_is_waiting(c) ? now + WATCH_MS : conn_keep_alive_due(c);
    if (c->slow_link) due = earlier(due, c->pause_until_ms);
    if (c->is_throttled) due = earlier(due, rate_wait_ms(c->rate));
    if (c->rest_until_ms) due = earlier(due, c->rest_until_ms);
    if (due != UINT64_MAX) loop_arm(c->worker->loop, &c->timer, due);
}

static void hold(struct conn *c) {
    c->is_paused = true;
    flow_arm_timer(c);
    conn_update_interest(c);
}

/* One of its pauses is over.  It may be parked as well, and is then read when that is over,
 * too. */
static void go_on(struct conn *c) {
    c->is_paused = c->slow_link || c->is_throttled || c->rest_until_ms;
    conn_resume(c);
}

/* ---- waiting for a reader ------------------------------------------------- */

static void slow_unlink(struct conn *c) {
    if (!c->slow_link) return;
    if (c->slow_next) c->slow_next->slow_link = c->slow_link;
    *c->slow_link = c->slow_next;
    c->slow_link = NULL;
    c->slow_next = NULL;
}

static void stop_waiting(struct conn *c) {
    slow_unlink(c);
    go_on(c);
}

static void wait_for(struct conn *c, struct handle reader, struct conn **list) {
    if (c->slow_link || c->state != CONN_OPEN) return;
    c->pause_until_ms = loop_now_ms(c->worker->loop) + PAUSE_MS;
    c->slow_for = reader;
    c->slow_next = *list;
    c->slow_link = list;
    if (c->slow_next) c->slow_next->slow_link = &c->slow_next;
    *list = c;
    hold(c);
}

void flow_slow_down(struct conn *from, struct conn *to) {
    if (from != to) wait_for(from, to->session->handle, &to->slow_waiters);
}

void flow_slow_down_far(struct conn *c, struct handle reader) {
    wait_for(c, reader, &c->worker->slow_far);
}

void flow_drained_far(struct worker *w, struct handle reader) {
    for (struct conn *c = w->slow_far, *next; c; c = next) {
        next = c->slow_next;
        if (handle_eq(c->slow_for, reader)) stop_waiting(c);
    }
}

/* ---- being waited for ------------------------------------------------------ */

static void wake_waiters(struct conn *c) {
    while (c->slow_waiters) stop_waiting(c->slow_waiters);
    if (c->slow_workers) mail_drained(c->worker, c->slow_workers, c->session->handle);
    c->slow_workers = 0;
}

/* The reader has had its time to catch up: publishers wait for it no more until it has,
 * and for a while longer, so that it cannot hold them up again and again. */
static void leave_behind(struct conn *c) {
    c->is_stuck = true;
    c->lags_since_ms = loop_now_ms(c->worker->loop);
    log_info(c->worker->log, "flow", "client %.*s reads too slowly; QoS 0 to it may be dropped",
             SLICE_FMT(c->client->id));
    wake_waiters(c);
}

/* So far behind that publishers should wait for it? */
static bool lags(struct conn *c) {
    if (c->out.len < OUT_LAGS || c->is_stuck) return false;
    uint64_t now = loop_now_ms(c->worker->loop);
    if (!c->lags_since_ms) c->lags_since_ms = now;
    if (now - c->lags_since_ms < PAUSE_MS) return true;
    leave_behind(c);
    return false;
}

/* What is under way from one publisher comes in a row: it is told once. */
static void slow_far(struct conn *c, struct handle publisher) {
    struct worker *w = c->worker;
    uint64_t now = loop_now_ms(w->loop), home = UINT64_C(1) << handle_owner(publisher);
    if (handle_is_none(publisher) || handle_owner(publisher) == w->id) return;
    if (c->slow_workers & home && c->told_ms == now && handle_eq(c->told, publisher)) return;
    c->told = publisher;
    c->told_ms = now;
    c->slow_workers |= home;
    mail_slow(w, publisher, c->session->handle);
}

void flow_delivered(struct conn *to, struct conn *from, const struct message *m) {
    if (!lags(to)) return;
    if (from)
        flow_slow_down(from, to);
    else
        slow_far(to, m->publisher);
}

static void catch_up(struct conn *c) {
    uint64_t now = loop_now_ms(c->worker->loop);
    if (c->is_stuck && now - c->lags_since_ms < STUCK_MS) return;
    c->is_stuck = false;
    c->lags_since_ms = 0;
}

void flow_drained(struct conn *c) {
    if (c->lags_since_ms) catch_up(c);
    if (c->slow_waiters || c->slow_workers) wake_waiters(c);
}

void flow_leave(struct conn *c) {
    slow_unlink(c);
    c->is_paused = c->is_throttled = false;
    c->rest_until_ms = 0;
    wake_waiters(c);
}

/* ---- a rate, a congested worker --------------------------------------------- */

void flow_throttle(struct conn *c) {
    if (c->state != CONN_OPEN) return;
    c->is_throttled = true;
    hold(c);
}

void flow_rest(struct conn *c, unsigned worker) {
    if (c->state != CONN_OPEN) return;
    c->rest_until_ms = loop_now_ms(c->worker->loop) + REST_MS;
    c->rest_for = (uint8_t)worker;
    hold(c);
}

/* ---- time -------------------------------------------------------------------- */

static void give_up_waiting(struct conn *c) {
    const struct session *slow = slots_find(&c->worker->sessions, c->slow_for);
    if (slow && slow->conn)
        leave_behind(slow->conn);
    else
        stop_waiting(c);
}

void flow_check(struct conn *c) {
    uint64_t now = loop_now_ms(c->worker->loop);
    if (c->is_throttled && rate_wait_ms(c->rate) <= now) {
        c->is_throttled = false;
        go_on(c);
    }
    if (c->rest_until_ms && c->rest_until_ms <= now) {
        if (mail_congested(&c->worker->broker->workers[c->rest_for])) {
            flow_rest(c, c->rest_for);
        } else {
            c->rest_until_ms = 0;
            go_on(c);
        }
    }
    if (c->slow_link && c->pause_until_ms <= now) give_up_waiting(c);
}
