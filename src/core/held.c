/* held.c -- deliveries on their way through the deliver hooks.
 *
 * Each session has a queue of them, asked about one by one, so a hook that waits keeps the
 * order of what is behind it.  What passes goes on to delivery.c. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/delivery.h"

#include "base/mem.h"
#include "core/conn.h"
#include "core/grants.h"
#include "core/mount.h"
#include "core/worker.h"

#include <stdlib.h>

enum { HELD_PER_RUN = 64 }; /* deliveries of a session shown to the hooks at a time */

struct held {
    struct held *next;
    struct session *session;
    struct message *message; /* owned reference; the call's while a deliver hook runs */
    uint32_t *identifiers;   /* owned: count, then that many; or NULL */
    uint32_t share;
    uint32_t ask;  /* HOOK_BITs still to be asked */
    size_t weight; /* of the message before the deliver hooks */
    uint8_t qos;
    bool retain;
    struct hook_call call;
};

/* What a session needs for that; made with the first. */
struct holding {
    struct held *first, **tail;   /* owned: to be shown to the deliver hooks, in order */
    struct hook_call *asking;     /* the call in progress, or NULL */
    size_t bytes;                 /* weights of the messages in the queue */
    uint32_t len;                 /* of the queue */
    struct session *next, **link; /* worker->held_sessions: goes on next turn */
};

static struct holding *holding_of(struct session *s) {
    if (s->holding) return s->holding;
    s->holding = xcalloc(1, sizeof *s->holding);
    s->holding->tail = &s->holding->first;
    return s->holding;
}

bool held_any(const struct session *s) {
    return s->holding && s->holding->first;
}

bool held_asks(const struct session *s) {
    return s->holding && s->holding->asking;
}

static void held_free(struct held *h) {
    hook_call_deinit(&h->call);
    message_unref(h->message);
    xfree(h->identifiers);
    free(h);
}

static struct held *held_pop(struct holding *all) {
    struct held *h = all->first;
    all->first = h->next;
    if (!all->first) all->tail = &all->first;
    all->len--;
    all->bytes -= message_weight(h->message);
    return h;
}

/* ---- what grants say ------------------------------------------------------ */

static struct grant_answer granted(const struct session *s, const struct message *m) {
    const struct grants *all = s->client->grants;
    if (!all) return (struct grant_answer){ .verdict = VERDICT_NONE };
    return grants_deliver(all, message_topic(m), loop_now_ms(s->worker->loop));
}

/* Does default_access let through what nobody decides?  Not where authorize hooks could have
 * refused the subscription and were not asked, since a grant reached into it. */
static bool is_open(const struct worker *w) {
    return w->config->default_access && !hooks_want(w->hooks, HOOK_AUTHORIZE);
}

/* False: the client may not have it.  Where grants settle it no authorize hook is asked. */
static bool may_have(const struct session *s, struct outgoing *o) {
    const bool hooks_decide = (o->ask & HOOK_BIT_AUTHORIZE_DELIVER) != 0;
    const struct grant_answer a = granted(s, o->message);
    if (a.verdict == VERDICT_DENY) return false;
    if (a.verdict == VERDICT_NONE)
        return hooks_decide || o->standing != STANDING_PARTLY || is_open(s->worker);
    o->ask &= ~HOOK_BIT_AUTHORIZE_DELIVER;
    if (a.qos < o->qos) o->qos = a.qos;
    return true;
}

bool session_denies(const struct session *s, struct message *m, uint8_t standing) {
    if (standing < STANDING_EXCEPT) return false;
    uint32_t ask = hooks_for_delivery(s->worker->hooks, m);
    return !may_have(s, &(struct outgoing){ .message = m, .standing = standing, .ask = ask });
}

/* ---- one delivery --------------------------------------------------------- */

/* The next question: may this client have it at all, then what it looks like. */
static void held_prepare(struct held *h, hook_done_fn *on_verdict) {
    bool authorize = (h->ask & HOOK_BIT_AUTHORIZE_DELIVER) != 0;
    hook_call_deinit(&h->call);
    h->call = (struct hook_call){ .event = authorize ? HOOK_AUTHORIZE : HOOK_DELIVER,
                                  .client = h->session->client,
                                  .done = on_verdict,
                                  .obj = h };
    if (authorize) {
        h->ask &= ~HOOK_BIT_AUTHORIZE_DELIVER;
        h->call.access = (struct access_request){ .action = ACCESS_DELIVER,
                                                  .topic = message_topic(h->message),
                                                  .qos = h->qos,
                                                  .retain = h->retain,
                                                  .message = h->message };
    } else {
        h->ask = 0;
        h->weight = message_weight(h->message);
        h->call.message = h->message;
    }
}

/* Is the copy the deliver hooks made still a message this client may be sent?  Its topic is
 * nobody's to route any more and may have any number of levels. */
static const char *invalid(const struct held *h, size_t most_bytes) {
    const char *why = message_invalid(h->message, UINT32_MAX, (uint32_t)most_bytes);
    bool is_checked = h->session->client->limits->validate_payload_format;
    if (!why && is_checked && message_misnamed(h->message)) why = "it says to be UTF-8 and is not";
    return why;
}

/* What the authorize hooks have not decided: they may have granted it meanwhile. */
static bool held_granted(struct held *h) {
    const struct grant_answer a = granted(h->session, h->message);
    if (a.verdict == VERDICT_NONE) return h->session->worker->config->default_access;
    if (a.verdict == VERDICT_ALLOW && a.qos < h->qos) h->qos = a.qos;
    return a.verdict == VERDICT_ALLOW;
}

/* The verdict is there: takes what the hooks made of the message; false when the delivery is
 * refused. */
static bool held_passes(struct held *h) {
    struct worker *w = h->session->worker;
    enum verdict v = h->call.verdict;
    bool is_changed = h->call.event == HOOK_DELIVER && h->call.changed;
    if (is_changed) {
        message_unref(h->message);
        h->message = h->call.changed;
    }
    if (v == VERDICT_DENY || v == VERDICT_DROP) return false;
    if (h->call.event == HOOK_AUTHORIZE)
        return v == VERDICT_ALLOW || (v == VERDICT_NONE && held_granted(h));
    if (!is_changed) return true;
    size_t most = config_most_bytes(w->config);
    if (most < h->weight) most = h->weight;
    const char *why = invalid(h, most);
    if (why)
        log_error(w->log, "policy", "a deliver hook's message for %.*s is dropped: %s",
                  SLICE_FMT(h->session->client->id), why);
    return !why;
}

static void held_deliver(struct held *h) {
    uint32_t n = h->identifiers ? h->identifiers[0] : 0;
    delivery_now(h->session, &(struct outgoing){ .message = h->message,
                                                 .identifiers = n ? h->identifiers + 1 : NULL,
                                                 .identifiers_len = n,
                                                 .share = h->share,
                                                 .qos = h->qos,
                                                 .retain = h->retain });
    held_free(h);
}

static void held_refuse(struct held *h) {
    COUNT(h->session->worker, dropped_by_hook);
    held_free(h);
}

static void on_held_verdict(struct hook_call *call);

/* Asks what is left to ask, and delivers.  False when a hook waits; else `h` is gone.  A
 * hook may end this very session: its memory stays until the end of the turn. */
static bool held_go(struct held *h) {
    struct session *s = h->session;
    struct worker *w = s->worker;
    while (h->ask) {
        held_prepare(h, on_held_verdict);
        s->holding->asking = &h->call; /* what comes meanwhile queues behind */
        w->hooks->run(w->hooks, &h->call);
        bool has_ended = slots_find(&w->sessions, s->handle) != s;
        bool waits = h->call.verdict == VERDICT_WAIT;
        if (waits && !has_ended) return false;
        if (waits) h->call.hooks->cancel(h->call.hooks, &h->call);
        s->holding->asking = NULL;
        if (held_passes(h) && !has_ended) continue;
        held_refuse(h);
        return true;
    }
    held_deliver(h);
    return true;
}

static void held_unlist(struct holding *all) {
    if (!all->link) return;
    if (all->next) all->next->holding->link = all->link;
    *all->link = all->next;
    all->link = NULL;
}

/* The others come first: goes on with the next turn. */
static void held_list(struct session *s) {
    struct worker *w = s->worker;
    struct holding *all = s->holding;
    all->next = w->held_sessions;
    all->link = &w->held_sessions;
    if (all->next) all->next->holding->link = &all->next;
    w->held_sessions = s;
    loop_defer(w->loop, &w->held_again);
}

/* Hooks may cause messages that end up here again, so one run takes a bounded number. */
static void held_run(struct session *s) {
    struct holding *all = s->holding;
    for (unsigned n = 0; all->first && !all->asking && !all->link; n++) {
        if (n == HELD_PER_RUN)
            held_list(s);
        else if (!held_go(held_pop(all)))
            return;
    }
}

void held_again(struct worker *w) {
    struct session *list = w->held_sessions;
    if (list) list->holding->link = &list;
    w->held_sessions = NULL;
    while (list) {
        struct session *s = list;
        held_unlist(s->holding);
        held_run(s);
        session_pump(s);
    }
}

static void on_held_verdict(struct hook_call *call) {
    struct held *h = call->obj;
    struct session *s = h->session;
    s->holding->asking = NULL;
    if (!held_passes(h))
        held_refuse(h);
    else if (!held_go(h))
        return;
    held_run(s);
    session_pump(s); /* retained messages may have waited behind it */
}

void held_deinit(struct session *s) {
    struct holding *all = s->holding;
    if (!all) return;
    struct hook_call *call = all->asking;
    if (call && call->verdict == VERDICT_WAIT) {
        struct held *h = call->obj;
        call->hooks->cancel(call->hooks, call);
        held_free(h);
    }
    all->asking = NULL;
    held_unlist(all);
    while (all->first) held_free(held_pop(all));
}

bool session_hides(const struct session *s, const struct message *m) {
    if (s->inner || !s->client->mount.at) return false;
    return mount_hides(s->client->mount, message_topic(m));
}

/* Through the hooks that ask for it. */
static void show(struct session *s, const struct outgoing *o) {
    if (!o->ask && !held_any(s) && !held_asks(s)) {
        delivery_now(s, o);
        return;
    }
    struct holding *all = holding_of(s);
    const struct limits *l = s->client->limits;
    if (all->len >= l->max_queued ||
        all->bytes + message_weight(o->message) > l->max_queued_bytes) {
        COUNT(s->worker, dropped_queue_full);
        delivery_tell_dropped(s, o->message, "too many messages wait for deliver hooks");
        return;
    }
    struct held *h = xcalloc(1, sizeof *h);
    h->session = s;
    h->message = message_ref(o->message);
    h->identifiers = delivery_identifiers(o);
    h->share = o->share;
    h->ask = o->ask;
    h->qos = o->qos;
    h->retain = o->retain;
    *all->tail = h;
    all->tail = &h->next;
    all->len++;
    all->bytes += message_weight(o->message);
    held_run(s);
}

/* What lies inside a grant was settled with the subscription. */
static void judge(struct session *s, const struct outgoing *o) {
    struct outgoing judged = *o;
    if (o->standing == STANDING_GRANTED)
        judged.ask &= ~HOOK_BIT_AUTHORIZE_DELIVER;
    else if (!may_have(s, &judged)) {
        COUNT(s->worker, dropped_by_hook);
        return;
    }
    show(s, &judged);
}

void session_deliver(struct session *s, const struct outgoing *o) {
    if (s->inner) {
        s->inner(s->inner_obj, o);
        return;
    }
    if (o->qos == 0 && !s->conn && !s->worker->config->queue_qos0)
        return; /* goes nowhere: no hook need see it */
    if (session_hides(s, o->message)) return;
    if (o->standing || (s->client->grants && (o->ask & HOOK_BIT_AUTHORIZE_DELIVER)))
        judge(s, o);
    else
        show(s, o);
}
