/* publish.c -- the stages of a message on its way in, any of which may wait. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/publish.h"

#include "base/mem.h"
#include "core/conn.h"
#include "core/fanout.h"
#include "core/grants.h"
#include "core/retain.h"
#include "core/route.h"
#include "core/session.h"
#include "core/trial.h"
#include "core/worker.h"

#include <stdlib.h>

/* Where it goes on: from the start, or with the verdict of these hooks. */
enum { START, HAVE_PUBLISH, HAVE_AUTHORIZE };

struct publish *publish_new(struct worker *w) {
    struct publish *p = w->free_publishes;
    if (p)
        w->free_publishes = p->next;
    else
        p = xmalloc(sizeof *p);
    memset(p, 0, offsetof(struct publish, call));
    p->worker = w;
    return p;
}

static void set_waiting(struct publish *p) {
    struct worker *w = p->worker;
    if (p->link) return;
    p->next = w->waiting;
    p->link = &w->waiting;
    if (p->next) p->next->link = &p->next;
    w->waiting = p;
}

static void unlink_waiting(struct publish *p) {
    if (!p->link) return;
    if (p->next) p->next->link = p->link;
    *p->link = p->next;
    p->link = NULL;
}

static void forget_route(struct publish *p) {
    if (p->route) route_unref(p->worker, p->route);
    p->route = NULL;
}

/* A hook has run: subscriptions and policy may be others. */
static void route_anew(struct publish *p) {
    struct worker *w = p->worker;
    const struct route *r = p->route;
    p->is_routed = true;
    if (r && r->policy == w->policies && route_is_current(w, r)) return;
    forget_route(p);
    p->route = route_ref(route_find(w, message_topic(p->message)));
}

/* The route of the message as it is now. */
static struct route *route_of(struct publish *p) {
    if (!p->is_routed) route_anew(p);
    return p->route;
}

/* Puts `m` (taken; NULL at the end) in the place of its message. */
static void replace_message(struct publish *p, struct message *m) {
    if (p->is_draft)
        message_discard(&p->worker->draft, p->message);
    else
        message_unref(p->message);
    p->is_draft = false;
    p->message = m;
}

static void publish_free(struct publish *p) {
    struct worker *w = p->worker;
    unlink_waiting(p);
    forget_route(p);
    hook_call_deinit(&p->call);
    replace_message(p, NULL);
    client_unref(p->client);
    p->next = w->free_publishes;
    w->free_publishes = p;
}

static void finish(struct publish *p, uint8_t reason_code, const char *reason) {
    if (p->done) p->done(p, reason_code, reason);
    publish_free(p);
}

static bool run(struct publish *p);

static void cancel_parked(void *obj) {
    publish_cancel(obj);
}

void publish_park(struct publish *p, struct conn *c) {
    p->parked = c;
    conn_park(c, cancel_parked, p);
}

/* While run() is at work the connection is not parked: a hook may close it, which must not
 * free `p` then. */
static void on_verdict(struct hook_call *call) {
    struct publish *p = call->obj;
    struct conn *c = p->parked;
    unlink_waiting(p);
    if (c) conn_unpark(c);
    if (run(p) && c) publish_park(p, c);
}

static struct access_request access_of(const struct publish *p) {
    return (struct access_request){ .action = p->is_will ? ACCESS_WILL : ACCESS_PUBLISH,
                                    .topic = message_topic(p->message),
                                    .qos = p->message->qos,
                                    .retain = p->message->retain,
                                    .message = p->message };
}

/* True when the hook waits. */
static bool ask(struct publish *p, enum hook_event event) {
    struct hook_call *call = &p->call;
    p->is_routed = false;
    hook_call_deinit(call);
    call->event = event;
    if (event == HOOK_PUBLISH) {
        call->message = p->message;
        call->is_will = p->is_will;
    } else {
        call->access = access_of(p);
    }
    p->worker->hooks->run(p->worker->hooks, call);
    if (call->verdict == VERDICT_WAIT) {
        set_waiting(p);
        return true;
    }
    return false;
}

static bool is_wanted(struct publish *p, enum hook_event event) {
    if (p->trusted || !hooks_want(p->worker->hooks, event)) return false;
    return (route_of(p)->wants & HOOK_BIT(event)) != 0;
}

/* NULL, or what is wrong with the message, and the code that says so. */
static const char *invalid(const struct publish *p, uint8_t *rc) {
    const struct limits *l = p->client ? p->client->limits : &p->worker->config->limits;
    uint32_t levels = l->max_topic_levels + (p->client ? p->client->mount_levels : 0u);
    const char *why = message_invalid(p->message, levels, l->max_packet_size);
    if (why || !l->validate_payload_format || !message_misnamed(p->message)) return why;
    *rc = RC_PAYLOAD_FORMAT_INVALID;
    return "it says to be UTF-8 and is not";
}

/* The code of a refusal; a code that means success is no refusal. */
static uint8_t denial(const struct hook_call *call) {
    bool says_why = call->verdict == VERDICT_DENY && call->reason_code >= RC_UNSPECIFIED_ERROR;
    return says_why ? call->reason_code : (uint8_t)RC_NOT_AUTHORIZED;
}

static void log_invalid(const struct publish *p, const char *why) {
    struct slice author = p->client ? p->client->id : SLICE("the broker");
    log_error(p->worker->log, "policy", "a script's message from %.*s is refused: %s",
              SLICE_FMT(author), why);
}

/* Scripts have made this message.  False: it cannot be sent, and this was its end. */
static bool check(struct publish *p) {
    uint8_t rc = RC_IMPLEMENTATION_SPECIFIC_ERROR;
    const char *why = invalid(p, &rc);
    if (!why) return true;
    if (!p->trial) log_invalid(p, why);
    finish(p, rc, why);
    return false;
}

/* The publish hooks have answered.  False: that was its end. */
static bool have_publish(struct publish *p) {
    const struct hook_call *call = &p->call;
    bool is_changed = call->changed != NULL;
    if (is_changed) replace_message(p, call->changed);
    if (call->verdict == VERDICT_DENY) {
        finish(p, denial(call), call->reason);
        return false;
    }
    if (call->verdict == VERDICT_DROP) {
        if (!p->trial) COUNT(p->worker, dropped_by_hook);
        finish(p, RC_SUCCESS, NULL);
        return false;
    }
    if (!is_changed && p->is_checked) return true;
    if (p->route && !slice_eq(route_topic(p->route), message_topic(p->message))) forget_route(p);
    return check(p);
}

/* Whoever watches, or asks, hears of it. */
static void tell_granted(const struct publish *p, const struct grant_answer *a) {
    struct hooks *hooks = p->worker->hooks;
    struct hook_call call = { .event = HOOK_AUTHORIZE, .client = p->client, .trial = p->trial };
    call.access = access_of(p);
    if (p->trial) trial_granted(p->trial, a);
    if (hooks->is_watched) hooks->granted(hooks, &call, a);
}

static enum verdict ask_grants(const struct publish *p) {
    const struct message *m = p->message;
    const struct grant_publish what = { .topic = message_topic(m),
                                        .size = message_payload(m).len,
                                        .qos = m->qos,
                                        .retain = m->retain };
    struct grant_answer a = grants_publish(p->client->grants, &what, loop_now_ms(p->worker->loop));
    bool is_heard = p->trial || p->worker->hooks->is_watched;
    if (is_heard && a.verdict != VERDICT_NONE) tell_granted(p, &a);
    return a.verdict;
}

/* What its author's grants say of it. */
static enum verdict granted(const struct publish *p) {
    const struct client *c = p->client;
    return c && c->grants && !p->trusted ? ask_grants(p) : VERDICT_NONE;
}

/* Grants settle it: no hook is asked. */
static bool is_settled(struct publish *p) {
    enum verdict v = granted(p);
    if (v == VERDICT_NONE) return false;
    hook_call_deinit(&p->call);
    p->call.event = HOOK_AUTHORIZE;
    p->call.verdict = v;
    p->call.reason_code = 0;
    return true;
}

/* The authorize hooks have answered.  False: that was its end. */
static bool have_authorize(struct publish *p) {
    enum verdict v = p->call.event == HOOK_AUTHORIZE ? p->call.verdict : VERDICT_NONE;
    if (v == VERDICT_NONE) v = granted(p); /* a hook may have done it just now */
    bool allowed = v == VERDICT_ALLOW || (v == VERDICT_NONE && p->worker->config->default_access);
    if (allowed || p->trusted) return true;
    finish(p, denial(&p->call), p->call.reason);
    return false;
}

void publish_retain(struct worker *w, struct message *m) {
    if (w->broker->workers_len > 1) message_share(m);
    retain_set(w->broker->retained, m);
}

/* Nothing comes of it. */
static void try_route(struct publish *p) {
    const struct route_entries *to = &route_of(p)->to;
    uint32_t shares;
    route_shares(to, &shares);
    p->trial->receivers = to->len + shares + (unsigned)__builtin_popcountll(to->remote);
    finish(p, p->trial->receivers ? RC_SUCCESS : RC_NO_MATCHING_SUBSCRIBERS, NULL);
}

static void tell_published(const struct publish *p, enum hook_event event) {
    struct message *m = p->message;
    hooks_tell(p->worker->hooks, event, p->client,
               &(struct fact){ .topic = message_topic(m), .message = m, .qos = m->qos });
}

static void route_it(struct publish *p) {
    struct worker *w = p->worker;
    struct message *m = p->message;
    struct conn *from = p->client ? p->client->conn : NULL;
    if (m->retain) publish_retain(w, m);
    struct route *r = route_of(p);
    bool tell = (r->wants & HOOK_BIT(HOOK_PUBLISHED)) != 0;
    unsigned receivers = fanout_message(w, r, m, from);
    if (tell) tell_published(p, HOOK_PUBLISHED);
    if (p->is_will) tell_published(p, HOOK_WILL);
    finish(p, receivers ? RC_SUCCESS : RC_NO_MATCHING_SUBSCRIBERS, NULL);
}

/* True when the publish hooks wait. */
static bool ask_publish(struct publish *p) {
    p->stage = HAVE_PUBLISH;
    return is_wanted(p, HOOK_PUBLISH) && ask(p, HOOK_PUBLISH);
}

/* True when the authorize hooks wait. */
static bool ask_authorize(struct publish *p) {
    p->stage = HAVE_AUTHORIZE;
    return !is_settled(p) && is_wanted(p, HOOK_AUTHORIZE) && ask(p, HOOK_AUTHORIZE);
}

/* Takes the stages that are left, any of which may end it.  True when a hook waits. */
static bool run(struct publish *p) {
    switch (p->stage) {
    case START:
        if (ask_publish(p)) return true;
        /* fall through */
    case HAVE_PUBLISH:
        if (!have_publish(p)) return false;
        if (ask_authorize(p)) return true;
        /* fall through */
    case HAVE_AUTHORIZE:
        if (!have_authorize(p)) return false;
    }
    if (p->trial)
        try_route(p);
    else
        route_it(p);
    return false;
}

/* What it has in common for all events. */
static void init_call(struct publish *p) {
    struct hook_call *call = &p->call;
    call->event = HOOK_EVENTS; /* nothing has been asked */
    call->client = p->client;
    call->done = on_verdict;
    call->obj = p;
    call->trial = p->trial;
    call->changed = NULL;
    call->verdict = VERDICT_NONE;
    call->reason = call->server_reference = NULL;
}

bool publish_start(struct publish *p) {
    init_call(p);
    p->link = NULL;
    p->parked = NULL;
    p->stage = START;
    p->is_routed = p->route != NULL;
    return run(p);
}

void publish_cancel(struct publish *p) {
    if (p->trial) trial_wait(p->trial, NULL, NULL);
    p->call.hooks->cancel(p->call.hooks, &p->call);
    publish_free(p);
}

void publish_cancel_all(struct worker *w) {
    while (w->waiting) publish_cancel(w->waiting);
}

void publish_pool_deinit(struct worker *w) {
    while (w->free_publishes) {
        struct publish *p = w->free_publishes;
        w->free_publishes = p->next;
        free(p);
    }
}

void publish_trusted(struct worker *w, const struct message_parts *parts) {
    struct publish *p = publish_new(w);
    p->trusted = true;
    p->message = message_new(parts);
    publish_start(p);
}
