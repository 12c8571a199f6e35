/* explain.c -- one trial after another, watched. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/explain.h"

#include "base/mem.h"
#include "core/client.h"
#include "core/session.h"
#include "core/trial.h"
#include "core/worker.h"
#include "mqtt/reason.h"
#include "script/handlers.h"
#include "script/inquiry.h"
#include "script/trace_text.h"
#include "script/watch.h"

#include <stdlib.h>

struct explain {
    struct explain_opts opts;
    const struct inquiry *inquiry; /* lent */
    struct worker *worker;         /* lent */
    struct trial trial;
    struct watcher watcher;
    const enum hook_event *stages; /* what the present trial asks, HOOK_EVENTS at the end */
    char *decider;                 /* owned: who decided last, as the records have it; or NULL */
    bool is_connecting;            /* the present trial is that of a CONNECT */
    bool is_starting;              /* explain_start is at work */
    bool is_over;
};

static const enum hook_event connect_stages[] = { HOOK_CONNECT, HOOK_AUTHENTICATE, HOOK_EVENTS };
static const enum hook_event publish_stages[] = { HOOK_PUBLISH, HOOK_AUTHORIZE, HOOK_EVENTS };
static const enum hook_event subscribe_stages[] = { HOOK_SUBSCRIBE, HOOK_AUTHORIZE, HOOK_EVENTS };

/* ---- telling ------------------------------------------------------------------------ */

static void put(struct explain *e, const struct buf *text) {
    e->opts.put(e->opts.obj, buf_slice(text));
}

static void put_nobody(struct explain *e, enum hook_event event) {
    AUTO(buf_deinit) struct buf text = BUF_INIT;
    if (e->inquiry->is_json) return;
    buf_printf(&text, "%s\n  no handler is concerned\n", events[event].name);
    put(e, &text);
}

/* The present trial has come to this event, HOOK_EVENTS: to its end.  What was passed by on the
 * way has no handlers. */
static void advance(struct explain *e, enum hook_event event) {
    for (; *e->stages != event && *e->stages != HOOK_EVENTS; e->stages++) put_nobody(e, *e->stages);
    if (*e->stages == event && event != HOOK_EVENTS) e->stages++;
}

static void on_record(struct watcher *w, const struct trace *t) {
    AUTO(buf_deinit) struct buf text = BUF_INIT;
    struct explain *e = w->obj;
    const char *who = trace_decider(t);
    advance(e, t->event);
    if (e->inquiry->is_json)
        trace_put_json(&text, t);
    else
        trace_put_text(&text, t);
    put(e, &text);
    free(e->decider);
    e->decider = who ? xstrdup(who) : NULL;
}

static const char *setting(const struct explain *e) {
    if (e->is_connecting) return "allow_anonymous";
    return e->worker->config->default_access ? "default_access = \"allow\""
                                             : "default_access = \"deny\"";
}

/* Who decided, for people. */
static const char *decider(const struct explain *e) {
    switch ((enum trial_decider)e->trial.by) {
    case TRIAL_BY_HANDLER: return e->decider ? e->decider : "a handler";
    case TRIAL_BY_GRANT: return e->trial.grant;
    case TRIAL_BY_DEFAULT: return setting(e);
    case TRIAL_BY_CHECK: return "a limit or a rule of MQTT";
    }
    return "";
}

static bool is_refused(const struct explain *e) {
    return e->trial.reason_code >= RC_UNSPECIFIED_ERROR;
}

static const char *verdict_word(const struct explain *e) {
    return is_refused(e) ? "refused" : e->trial.is_dropped ? "dropped" : "allowed";
}

static void put_outcome(const struct explain *e, struct buf *out) {
    static const char *const actions[] = { "connect", "publish", "subscribe" };
    const struct trial *t = &e->trial;
    buf_printf(out, "%s: %s", actions[e->is_connecting ? INQUIRE_CONNECT : e->inquiry->action],
               verdict_word(e));
    if (is_refused(e)) buf_printf(out, " 0x%02X (%s)", t->reason_code, reason_text(t->reason_code));
    if (t->reason) {
        buf_add(out, " \"", 2);
        log_escape(out, LOG_TEXT, slice_str(t->reason));
        buf_add(out, "\"", 1);
    }
    buf_add(out, ", by ", 5);
    log_escape(out, LOG_TEXT, slice_str(decider(e)));
    if (!is_refused(e) && !e->is_connecting && e->inquiry->action == INQUIRE_SUBSCRIBE)
        buf_printf(out, "; QoS %u", t->reason_code);
    if (!is_refused(e) && !e->is_connecting && e->inquiry->action == INQUIRE_PUBLISH &&
        !t->is_dropped)
        buf_printf(out, "; %u %s get it", t->receivers,
                   t->receivers == 1 ? "subscriber would" : "subscribers would");
    buf_add(out, "\n", 1);
}

static void put_json_outcome(const struct explain *e, struct buf *out) {
    static const char *const words[] = { "handler", "grant", "default", "check" };
    static const char *const actions[] = { "connect", "publish", "subscribe" };
    const struct trial *t = &e->trial;
    buf_printf(out, "{\"action\":\"%s\",\"outcome\":\"%s\",\"reason_code\":%u,\"reason\":",
               actions[e->is_connecting ? INQUIRE_CONNECT : e->inquiry->action], verdict_word(e),
               t->reason_code);
    trace_put_json_string(out, t->reason);
    buf_printf(out, ",\"by\":\"%s\",\"who\":", words[t->by]);
    trace_put_json_string(out, decider(e));
    if (!e->is_connecting && e->inquiry->action == INQUIRE_PUBLISH)
        buf_printf(out, ",\"receivers\":%u", t->receivers);
    buf_add(out, "}\n", 2);
}

static void tell_outcome(struct explain *e) {
    AUTO(buf_deinit) struct buf text = BUF_INIT;
    if (e->inquiry->is_json)
        put_json_outcome(e, &text);
    else
        put_outcome(e, &text);
    put(e, &text);
}

/* ---- life --------------------------------------------------------------------------- */

static void explain_free(struct explain *e) {
    watch_end(&e->watcher);
    trial_deinit(&e->trial);
    free(e->decider);
    free(e);
}

void explain_cancel(struct explain *e) {
    explain_free(e);
}

static void finish(struct explain *e, enum explain_end end) {
    e->is_over = true;
    e->opts.done(e->opts.obj, end);
    if (!e->is_starting) explain_free(e);
}

/* It could not be asked. */
static void fail(struct explain *e, const char *why) {
    AUTO(buf_deinit) struct buf text = BUF_INIT;
    buf_printf(&text, "%s\n", why);
    put(e, &text);
    finish(e, EXPLAIN_IMPOSSIBLE);
}

/* ---- the way --------------------------------------------------------------------------- */

static void begin(struct explain *e, const enum hook_event *stages, bool is_connecting) {
    free(e->decider);
    e->decider = NULL;
    e->stages = stages;
    e->is_connecting = is_connecting;
}

static void act(struct explain *e) {
    const struct inquiry *q = e->inquiry;
    if (q->action == INQUIRE_PUBLISH) {
        begin(e, publish_stages, false);
        struct pkt_publish p = { .topic = q->topic,
                                 .payload = q->payload.at ? q->payload : SLICE(""),
                                 .qos = q->qos,
                                 .retain = q->retain };
        trial_publish(&e->trial, &p);
    } else {
        begin(e, subscribe_stages, false);
        trial_subscribe(&e->trial, q->filter, &(struct subscribe_options){ .qos = q->qos });
    }
}

static void on_done(struct trial *t) {
    struct explain *e = t->obj;
    bool was_connect = e->is_connecting;
    bool asked_all = !is_refused(e) || t->by == TRIAL_BY_DEFAULT;
    if (asked_all && !t->is_dropped) advance(e, HOOK_EVENTS);
    tell_outcome(e);
    if (was_connect && !is_refused(e) && e->inquiry->action != INQUIRE_CONNECT)
        act(e);
    else
        finish(e, is_refused(e) ? EXPLAIN_REFUSED : EXPLAIN_ALLOWED);
}

static void ask_connect(struct explain *e, const char *listener) {
    struct pkt_connect p = inquiry_connect(e->inquiry);
    begin(e, connect_stages, true);
    trial_init(&e->trial, e->worker, NULL);
    if (trial_connect(&e->trial, listener, &p) < 0) fail(e, "no descriptor left for the question");
}

/* A client of its own, whom nobody has asked anything. */
static void take_for_connected(struct explain *e, const char *listener) {
    const struct inquiry *q = e->inquiry;
    struct client *c = client_new(e->worker, "explain", listener);
    client_set_id(c, q->client);
    client_set_username(c, q->username);
    c->version = MQTT_5;
    trial_init(&e->trial, e->worker, c);
    client_unref(c);
    act(e);
}

/* The listener that is meant: the first one, unless another is named; NULL: there is none
 * such. */
static const char *listener_of(const struct explain *e) {
    const struct config *config = e->worker->config;
    for (unsigned i = 0; i < config->listeners_len; i++)
        if (!e->inquiry->listener.at ||
            slice_eq(e->inquiry->listener, slice_str(config->listeners[i].url)))
            return config->listeners[i].url;
    return NULL;
}

static void start(struct explain *e) {
    const struct inquiry *q = e->inquiry;
    const char *listener = listener_of(e);
    struct session *s = session_find(e->worker, q->client);
    bool is_there = s && s->conn && q->action != INQUIRE_CONNECT && !q->as_connected;
    if (!listener) {
        fail(e, "there is no such listener");
    } else if (is_there) {
        trial_init(&e->trial, e->worker, s->client);
        act(e);
    } else if (q->as_connected) {
        take_for_connected(e, listener);
    } else {
        ask_connect(e, listener);
    }
}

struct explain *explain_start(struct worker *w, const struct explain_opts *opts) {
    struct explain *e = xcalloc(1, sizeof *e);
    e->opts = *opts;
    e->inquiry = opts->inquiry;
    e->worker = w;
    e->trial.done = on_done;
    e->trial.obj = e;
    e->trial.far_end = -1;
    e->watcher.trial = &e->trial;
    e->watcher.record = on_record;
    e->watcher.obj = e;
    watch_begin(w->hooks, &e->watcher);
    e->is_starting = true;
    start(e);
    e->is_starting = false;
    if (!e->is_over) return e;
    explain_free(e);
    return NULL;
}
