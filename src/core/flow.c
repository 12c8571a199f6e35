/* flow.c -- pauses: who waits for whom, and how long at most.
 *
 * Those who wait for a reader hang in a list: of its connection when it lives here, else of
 * the worker. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/flow.h"

#include "base/mem.h"
#include "core/conn.h"
#include "core/mail.h"
#include "core/message.h"
#include "core/session.h"
#include "core/worker.h"

#include <stdlib.h>

enum {
    OUT_LAGS = 1048576, /* unsent bytes from which on publishers are slowed */
    PAUSE_MS = 1000,    /* the longest a publisher waits for a lagging reader */
    REST_MS = 5,        /* of a publisher, between looks at a congested worker */
    STUCK_MS = 10000,   /* after which they wait for it no more, at least so long */
    WATCH_MS = 1000     /* between looks at the keep-alive of one that waits */
};

/* What a connection needs once it waits or is waited for; made then, gone with it. */
struct flow {
    /* of a publisher */
    struct conn *next, **link; /* of the lagging reader's waiters, or worker->slow_far */
    struct handle reader;      /* the session it waits for */
    uint64_t pause_until_ms;   /* loop clock, while it does */
    uint64_t rest_until_ms;    /* loop clock, while another worker is to catch up; or 0 */
    unsigned rest_for;         /* that worker */
    /* of a reader */
    struct conn *waiters;   /* publishers waiting for this connection to drain */
    uint64_t far;           /* bit per other worker where more of them wait */
    struct handle told;     /* the session of the one of those told last */
    uint64_t told_ms;       /* loop clock, when that was */
    uint64_t lags_since_ms; /* loop clock; 0: does not lag */
};

static struct flow *flow_of(struct conn *c) {
    if (!c->flow) c->flow = xcalloc(1, sizeof *c->flow);
    return c->flow;
}

bool flow_is_waiting(const struct conn *c) {
    return c->parked_cancel || c->is_paused;
}

static bool waits_for_reader(const struct conn *c) {
    return c->flow && c->flow->link;
}

static bool rests(const struct conn *c) {
    return c->flow && c->flow->rest_until_ms;
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

void flow_arm_timer(struct conn *c) {
    uint64_t now = loop_now_ms(c->worker->loop), due = UINT64_MAX;
    if (c->keep_alive) due = flow_is_waiting(c) ? now + WATCH_MS : conn_keep_alive_due(c);
    if (waits_for_reader(c)) due = earlier(due, c->flow->pause_until_ms);
    if (c->is_throttled) due = earlier(due, rate_wait_ms(c->rate));
    if (rests(c)) due = earlier(due, c->flow->rest_until_ms);
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
    c->is_paused = c->is_throttled || waits_for_reader(c) || rests(c);
    conn_resume(c);
}

/* ---- waiting for a reader ------------------------------------------------- */

static void unlink_waiter(struct conn *c) {
    struct flow *f = c->flow;
    if (!f || !f->link) return;
    if (f->next) f->next->flow->link = f->link;
    *f->link = f->next;
    f->link = NULL;
    f->next = NULL;
}

static void stop_waiting(struct conn *c) {
    unlink_waiter(c);
    go_on(c);
}

static void wait_for(struct conn *c, struct handle reader, struct conn **list) {
    if (waits_for_reader(c) || c->state != CONN_OPEN) return;
    struct flow *f = flow_of(c);
    f->pause_until_ms = loop_now_ms(c->worker->loop) + PAUSE_MS;
    f->reader = reader;
    f->next = *list;
    f->link = list;
    if (f->next) f->next->flow->link = &f->next;
    *list = c;
    hold(c);
}

void flow_slow_down(struct conn *from, struct conn *to) {
    if (from != to) wait_for(from, to->session->handle, &flow_of(to)->waiters);
}

void flow_slow_down_far(struct conn *c, struct handle reader) {
    wait_for(c, reader, &c->worker->slow_far);
}

void flow_drained_far(struct worker *w, struct handle reader) {
    for (struct conn *c = w->slow_far, *next; c; c = next) {
        next = c->flow->next;
        if (handle_eq(c->flow->reader, reader)) stop_waiting(c);
    }
}

/* ---- being waited for ------------------------------------------------------ */

static void wake_waiters(struct conn *c) {
    struct flow *f = c->flow;
    if (!f) return;
    while (f->waiters) stop_waiting(f->waiters);
    if (f->far) mail_drained(c->worker, f->far, c->session->handle);
    f->far = 0;
}

bool flow_is_awaited(const struct conn *c) {
    return c->flow && (c->flow->waiters || c->flow->far);
}

/* The reader has had its time to catch up: publishers wait for it no more until it has,
 * and for a while longer, so that it cannot hold them up again and again. */
static void leave_behind(struct conn *c) {
    c->is_stuck = true;
    flow_of(c)->lags_since_ms = loop_now_ms(c->worker->loop);
    log_info(c->worker->log, "flow", "client %.*s reads too slowly; QoS 0 to it may be dropped",
             SLICE_FMT(c->client->id));
    wake_waiters(c);
}

/* So far behind that publishers should wait for it? */
static bool lags(struct conn *c) {
    if (c->out.len < OUT_LAGS || c->is_stuck) return false;
    uint64_t now = loop_now_ms(c->worker->loop);
    struct flow *f = flow_of(c);
    if (!f->lags_since_ms) f->lags_since_ms = now;
    if (now - f->lags_since_ms < PAUSE_MS) return true;
    leave_behind(c);
    return false;
}

/* What is under way from one publisher comes in a row: it is told once. */
static void slow_far(struct conn *c, struct handle publisher) {
    struct worker *w = c->worker;
    struct flow *f = flow_of(c);
    uint64_t now = loop_now_ms(w->loop), home = UINT64_C(1) << handle_owner(publisher);
    if (handle_is_none(publisher) || handle_owner(publisher) == w->id) return;
    if (f->far & home && f->told_ms == now && handle_eq(f->told, publisher)) return;
    f->told = publisher;
    f->told_ms = now;
    f->far |= home;
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
    if (c->is_stuck && now - c->flow->lags_since_ms < STUCK_MS) return;
    c->is_stuck = false;
    c->flow->lags_since_ms = 0;
}

void flow_drained(struct conn *c) {
    if (!c->flow) return;
    if (c->flow->lags_since_ms) catch_up(c);
    wake_waiters(c);
}

void flow_leave(struct conn *c) {
    unlink_waiter(c);
    wake_waiters(c);
    c->is_paused = c->is_throttled = false;
    xfree(c->flow);
    c->flow = NULL;
}

/* ---- a rate, a congested worker --------------------------------------------- */

void flow_throttle(struct conn *c) {
    if (c->state != CONN_OPEN) return;
    c->is_throttled = true;
    hold(c);
}

void flow_rest(struct conn *c, unsigned worker) {
    if (c->state != CONN_OPEN) return;
    flow_of(c)->rest_until_ms = loop_now_ms(c->worker->loop) + REST_MS;
    c->flow->rest_for = worker;
    hold(c);
}

/* ---- time -------------------------------------------------------------------- */

static void give_up_waiting(struct conn *c) {
    const struct session *slow = slots_find(&c->worker->sessions, c->flow->reader);
    if (slow && slow->conn)
        leave_behind(slow->conn);
    else
        stop_waiting(c);
}

static void check_rest(struct conn *c) {
    struct flow *f = c->flow;
    if (mail_congested(&c->worker->broker->workers[f->rest_for])) {
        flow_rest(c, f->rest_for);
    } else {
        f->rest_until_ms = 0;
        go_on(c);
    }
}

void flow_check(struct conn *c) {
    uint64_t now = loop_now_ms(c->worker->loop);
    if (c->is_throttled && rate_wait_ms(c->rate) <= now) {
        c->is_throttled = false;
        go_on(c);
    }
    if (rests(c) && c->flow->rest_until_ms <= now) check_rest(c);
    if (waits_for_reader(c) && c->flow->pause_until_ms <= now) give_up_waiting(c);
}
