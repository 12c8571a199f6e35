/* subscribe.c -- SUBSCRIBE and UNSUBSCRIBE.
 *
 * The filters are taken one by one: subscribe hooks (which may change them), validation,
 * authorization, the index.  When a hook waits the connection is parked and the job keeps
 * its place.  The acknowledgement goes out when the last filter has its code. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/subscribe.h"

#include "base/buf.h"
#include "base/mem.h"
#include "core/config.h"
#include "core/conn.h"
#include "core/grants.h"
#include "core/mount.h"
#include "core/retain.h"
#include "core/session.h"
#include "core/trial.h"
#include "core/worker.h"
#include "mqtt/decode.h"
#include "mqtt/encode.h"
#include "mqtt/topic.h"

#include <stdlib.h>

enum { NEXT_FILTER, HAVE_HOOK, ASK_AUTHORIZE, HAVE_AUTHORIZE, APPLY, OVER };

enum { FEW = 16 }; /* filters in most packets, at most */

struct subscribing {
    struct client *client; /* owned reference */
    struct worker *worker; /* lent */
    struct trial *trial;   /* lent: only asked what would be (trial.h); or NULL */
    uint8_t by;            /* enum trial_decider: who did, of a trial */
    bool is_subscribe;
    bool is_refusal_logged; /* one refusal a packet is news, the others are detail */
    uint16_t packet_id;
    uint8_t stage;
    uint32_t identifier;
    uint8_t *list;        /* owned copy of the filters when hooks may wait; or NULL */
    struct slice filters; /* the list being walked */
    size_t at;
    uint8_t *codes; /* one for each filter so far: `few`, or owned */
    unsigned codes_len;
    uint8_t few[FEW];
    struct subscribe_request request;
    struct hook_call call;
    char *reason; /* owned: why the last refusal, for the client */
};

static void subscribing_deinit(struct subscribing *j) {
    hook_call_deinit(&j->call);
    xfree(j->request.kept);
    xfree(j->list);
    xfree(j->reason);
    if (j->codes != j->few) free(j->codes);
    client_unref(j->client);
}

static struct session *session_of(const struct subscribing *j) {
    return j->client->conn ? j->client->conn->session : NULL;
}

/* ---- one filter --------------------------------------------------------- */

/* The code of this filter is known: on to the next. */
static void settle(struct subscribing *j, uint8_t code) {
    bool can_say = j->trial || j->client->version == MQTT_5 || code < RC_UNSPECIFIED_ERROR;
    uint8_t wire = can_say ? code : RC_UNSPECIFIED_ERROR; /* 3.1.1 knows 0x80 only */
    if (j->client->version == MQTT_5)
        wire =
            reason_code_for(j->is_subscribe ? PKT_SUBACK : PKT_UNSUBACK, code, RC_NOT_AUTHORIZED);
    j->codes[j->codes_len++] = wire;
    j->stage = NEXT_FILTER;
}

/* To the log, where the first of several is news and the others are detail, and to the hooks. */
static void tell_refusal(struct subscribing *j, const char *what, uint8_t rc) {
    const char *reason = j->call.reason;
    enum log_level level = j->is_refusal_logged ? LOG_DEBUG : LOG_INFO;
    j->is_refusal_logged = true;
    if (log_enabled(j->worker->log, level))
        log_write(j->worker->log, level, "policy", "%s of client %.*s to %.*s refused: 0x%02X%s%s",
                  what, SLICE_FMT(j->client->id), SLICE_FMT(j->request.filter), rc,
                  reason ? " " : "", reason ? reason : "");
    hooks_tell(
        j->worker->hooks, HOOK_REFUSED, j->client,
        &(struct fact){
            .action = what, .topic = j->request.filter, .reason_code = rc, .reason = reason });
}

static void deny(struct subscribing *j, const char *what) {
    struct hook_call *call = &j->call;
    bool says_why = call->verdict == VERDICT_DENY && call->reason_code >= RC_UNSPECIFIED_ERROR;
    uint8_t rc = says_why ? call->reason_code : (uint8_t)RC_NOT_AUTHORIZED;
    if (!j->trial) tell_refusal(j, what, rc);
    if (call->reason) {
        free(j->reason);
        j->reason = call->reason;
        call->reason = NULL;
    }
    settle(j, rc);
}

/* The full name of the filter; false when it gets too long. */
static bool put_below_mount(struct subscribing *j) {
    AUTO(buf_deinit) struct buf full = BUF_INIT;
    struct slice mount = j->client->mount;
    if (!mount.len) return true;
    if (!mount_filter(mount, j->request.filter, &full)) return false;
    subscribe_keep(&j->request, buf_slice(&full));
    return true;
}

static void next_filter(struct subscribing *j) {
    struct filter_item item;
    if (!filters_next(j->filters, j->is_subscribe, &j->at, &item)) {
        j->stage = OVER;
        return;
    }
    xfree(j->request.kept);
    j->request = (struct subscribe_request){ .filter = item.filter,
                                             .options = item.options,
                                             .subscription_identifier = j->identifier };
    j->call.verdict = VERDICT_NONE;
    if (put_below_mount(j))
        j->stage = HAVE_HOOK;
    else
        settle(j, RC_TOPIC_FILTER_INVALID);
}

/* 0, or the code that refuses the filter. */
static uint8_t filter_refusal(const struct subscribing *j) {
    struct slice filter = j->request.filter, group, inner;
    bool valid;
    bool is_checked = !j->request.kept && !j->trial; /* by the decoder */
    if (!is_checked && !(topic_filter_valid(filter) && utf8_valid(filter)))
        return RC_TOPIC_FILTER_INVALID;
    const struct client *client = j->client;
    const struct limits *l = client->limits; /* of what the client sees */
    if (topic_is_deeper(filter, l->max_topic_levels + client->mount_levels))
        return RC_TOPIC_FILTER_INVALID;
    if (filter.len > l->max_topic_length + client->mount.len) return RC_TOPIC_FILTER_INVALID;
    if (topic_shared(filter, &group, &inner, &valid) && !valid) return RC_TOPIC_FILTER_INVALID;
    return j->is_subscribe ? limits_filter(l, filter) : 0;
}

/* The filter that counts for authorization: of a shared one what is shared. */
static struct slice effective_filter(struct slice filter) {
    struct slice group, inner;
    bool valid;
    return topic_shared(filter, &group, &inner, &valid) ? inner : filter;
}

static void have_hook(struct subscribing *j) {
    const char *what = j->is_subscribe ? "subscribe" : "unsubscribe";
    if (j->call.verdict == VERDICT_DENY || j->call.verdict == VERDICT_DROP) {
        j->by = TRIAL_BY_HANDLER;
        deny(j, what);
        return;
    }
    uint8_t refusal = filter_refusal(j);
    uint32_t max_qos = j->client->limits->max_qos;
    if (j->request.options.qos > max_qos)
        j->request.options.qos = (uint8_t)max_qos; /* [MQTT-3.2.2-10] */
    if (refusal)
        settle(j, refusal);
    else
        j->stage = j->is_subscribe ? ASK_AUTHORIZE : APPLY;
}

/* What grants say of the filter; *its standing if it is authorized by others. */
static struct grant_answer granted(const struct subscribing *j) {
    const struct grants *all = j->client->grants;
    if (!all) return (struct grant_answer){ .verdict = VERDICT_NONE };
    uint64_t now_ms = loop_now_ms(j->worker->loop);
    return grants_subscribe(all, effective_filter(j->request.filter), now_ms);
}

static struct access_request access_of(const struct subscribing *j) {
    return (struct access_request){ .action = ACCESS_SUBSCRIBE,
                                    .topic = effective_filter(j->request.filter),
                                    .qos = j->request.options.qos };
}

/* Whoever watches, or asks, hears of it. */
static void tell_granted(const struct subscribing *j, const struct grant_answer *a) {
    struct hooks *hooks = j->worker->hooks;
    struct hook_call call = { .event = HOOK_AUTHORIZE, .client = j->client, .trial = j->trial };
    call.access = access_of(j);
    if (j->trial) trial_granted(j->trial, a);
    if (hooks->is_watched) hooks->granted(hooks, &call, a);
}

/* Grants are asked first, and once more when no hook has decided: it may have granted
 * something. */
static void have_authorize(struct subscribing *j) {
    struct hook_call *call = &j->call;
    struct subscribe_options *options = &j->request.options;
    struct grant_answer a = granted(j);
    bool by_grant = call->verdict == VERDICT_NONE && a.verdict == VERDICT_ALLOW;
    j->by = call->verdict == VERDICT_NONE ? TRIAL_BY_DEFAULT : TRIAL_BY_HANDLER;
    if (j->by == TRIAL_BY_DEFAULT && a.verdict != VERDICT_NONE) tell_granted(j, &a);
    if (call->verdict == VERDICT_NONE) call->verdict = a.verdict;
    if (call->verdict == VERDICT_NONE && j->worker->config->default_access)
        call->verdict = VERDICT_ALLOW;
    if (call->verdict != VERDICT_ALLOW) {
        deny(j, "subscribe");
        return;
    }
    options->standing = standing_of(&a, by_grant);
    if (by_grant && a.qos < options->qos) options->qos = a.qos;
    j->stage = APPLY;
}

/* One more would be too many, and it is not one the session has already. */
static bool is_one_too_many(const struct subscribing *j, const struct session *s) {
    uint32_t max = j->client->limits->max_subscriptions;
    return max && s->subs_len >= max &&
           !subs_has(j->worker->broker->subs, s->handle, j->request.filter);
}

void subscribe_add(struct session *s, struct slice filter, const struct subscribe_options *options,
                   uint32_t identifier) {
    struct worker *w = s->worker;
    int r = subs_add(w->broker->subs, &s->subs, s->handle, filter, options, identifier);
    if (r == SUBS_NEW) s->subs_len++;
    bool is_shared = effective_filter(filter).at != filter.at;
    bool replay = options->retain_handling == 0 ||
                  (options->retain_handling == 1 && r == SUBS_NEW); /* [MQTT-3.3.1-10] */
    if (replay && !is_shared) session_replay(s, filter, options, identifier);
    hooks_tell(w->hooks, HOOK_SUBSCRIBED, s->client,
               &(struct fact){ .topic = filter, .qos = options->qos });
}

bool subscribe_remove(struct session *s, struct slice filter, const char *reason) {
    struct worker *w = s->worker;
    bool had = subs_del(w->broker->subs, s->handle, filter);
    if (had) s->subs_len--;
    hooks_tell(w->hooks, HOOK_UNSUBSCRIBED, s->client,
               &(struct fact){ .topic = filter, .reason = reason });
    return had;
}

static void add(struct subscribing *j, struct session *s) {
    const struct subscribe_request *q = &j->request;
    if (is_one_too_many(j, s)) {
        settle(j, RC_QUOTA_EXCEEDED);
        return;
    }
    subscribe_add(s, q->filter, &q->options, q->subscription_identifier);
    settle(j, q->options.qos);
}

static void apply(struct subscribing *j) {
    struct session *s = session_of(j);
    if (j->trial) {
        bool is_full = s && is_one_too_many(j, s);
        if (is_full) j->by = TRIAL_BY_CHECK;
        settle(j, is_full ? RC_QUOTA_EXCEEDED : j->request.options.qos);
    } else if (!s) {
        j->stage = OVER;
    } else if (j->is_subscribe) {
        add(j, s);
    } else {
        bool had = subscribe_remove(s, j->request.filter, NULL);
        settle(j, had ? RC_SUCCESS : RC_NO_SUBSCRIPTION_EXISTED);
    }
}

/* ---- the job ------------------------------------------------------------ */

static void tell_trial(struct subscribing *j) {
    struct trial *t = j->trial;
    uint8_t code = j->codes[0];
    char *reason = j->reason;
    struct trial_outcome o = { code, j->by, reason };
    j->reason = NULL;
    subscribing_deinit(j);
    trial_over(t, &o);
    free(reason);
}

static void finish(struct subscribing *j) {
    if (j->trial) {
        tell_trial(j);
        return;
    }
    struct conn *c = j->client->conn;
    if (c && c->session) {
        struct packet p = { .type = j->is_subscribe ? PKT_SUBACK : PKT_UNSUBACK,
                            .codes = { .packet_id = j->packet_id } };
        if (j->is_subscribe || c->version == MQTT_5)
            p.codes.codes = slice_of(j->codes, j->codes_len);
        if (j->reason && c->wants_problem_info) {
            p.codes.props.present = PROP_BIT(PROP_REASON_STRING);
            p.codes.props.reason_string = slice_str(j->reason);
        }
        if (!conn_send(c, &p) && p.codes.props.present) {
            p.codes.props.present = 0;
            conn_send(c, &p);
        }
        session_pump(c->session);
    }
    subscribing_deinit(j);
}

static bool run(struct subscribing *j);

static void cancel(void *obj) {
    struct subscribing *j = obj;
    j->call.hooks->cancel(j->call.hooks, &j->call);
    subscribing_deinit(j);
    free(j);
}

/* Until the hooks have their verdict. */
static void wait(struct subscribing *j) {
    if (j->trial)
        trial_wait(j->trial, cancel, j);
    else
        conn_park(j->client->conn, cancel, j);
}

/* While run() is at work the connection is not parked: a hook may close it. */
static void on_verdict(struct hook_call *call) {
    struct subscribing *j = call->obj;
    if (!j->trial) conn_unpark(j->client->conn);
    if (run(j))
        wait(j);
    else
        free(j);
}

/* True when the hook waits. */
static bool ask(struct subscribing *j, enum hook_event event) {
    struct hooks *hooks = j->worker->hooks;
    struct hook_call *call = &j->call;
    hook_call_deinit(call);
    *call = (struct hook_call){
        .event = event, .client = j->client, .done = on_verdict, .obj = j, .trial = j->trial
    };
    if (!hooks_want(hooks, event)) return false;
    if (event == HOOK_AUTHORIZE)
        call->access = access_of(j);
    else
        call->subscribe = &j->request;
    hooks->run(hooks, call);
    return call->verdict == VERDICT_WAIT;
}

static bool ask_hook(struct subscribing *j) {
    return ask(j, j->is_subscribe ? HOOK_SUBSCRIBE : HOOK_UNSUBSCRIBE);
}

/* Where grants settle it no hook is asked. */
static bool ask_authorize(struct subscribing *j) {
    if (granted(j).verdict == VERDICT_NONE) return ask(j, HOOK_AUTHORIZE);
    hook_call_deinit(&j->call);
    j->call = (struct hook_call){ .event = HOOK_AUTHORIZE };
    return false;
}

/* True when a hook waits; otherwise the job is over. */
static bool run(struct subscribing *j) {
    while (j->stage != OVER) {
        switch (j->stage) {
        case NEXT_FILTER:
            next_filter(j);
            if (j->stage == HAVE_HOOK && ask_hook(j)) return true;
            break;
        case HAVE_HOOK: have_hook(j); break;
        case ASK_AUTHORIZE:
            j->stage = HAVE_AUTHORIZE;
            if (ask_authorize(j)) return true;
            break;
        case HAVE_AUTHORIZE: have_authorize(j); break;
        case APPLY: apply(j); break;
        default: break;
        }
    }
    finish(j);
    return false;
}

static bool may_wait(const struct hooks *hooks) {
    return hooks_want(hooks, HOOK_SUBSCRIBE) || hooks_want(hooks, HOOK_UNSUBSCRIBE) ||
           hooks_want(hooks, HOOK_AUTHORIZE);
}

void subscribe_start(struct conn *c, const struct pkt_filters *p, bool subscribe) {
    struct hooks *hooks = c->worker->hooks;
    bool has_identifier = props_has(&p->props, PROP_SUBSCRIPTION_IDENTIFIER);
    if (has_identifier && !c->client->limits->subscription_identifiers) { /* 3.2.2.3.12 */
        conn_end(c, RC_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, NULL,
                 "subscription identifiers are not available");
        return;
    }
    struct subscribing own, *j = may_wait(hooks) ? xmalloc(sizeof *j) : &own;
    *j = (struct subscribing){ .client = client_ref(c->client),
                               .worker = c->worker,
                               .is_subscribe = subscribe,
                               .packet_id = p->packet_id,
                               .filters = p->filters };
    j->codes = p->count > FEW ? xmalloc(p->count) : j->few;
    if (has_identifier) j->identifier = p->props.subscription_identifier;
    if (j != &own) {
        j->list = (uint8_t *)xslicedup(p->filters);
        j->filters.at = j->list;
    }
    if (run(j))
        wait(j);
    else if (j != &own)
        free(j);
}

void subscribe_try(struct trial *t, struct slice filter, const struct subscribe_options *options) {
    AUTO(buf_deinit) struct buf list = BUF_INIT;
    if (!filters_add(&list, filter, options, MQTT_5)) {
        trial_over(t, &(struct trial_outcome){ RC_TOPIC_FILTER_INVALID, TRIAL_BY_CHECK,
                                               "filter too long" });
        return;
    }
    struct subscribing *j = xcalloc(1, sizeof *j);
    j->client = client_ref(t->client);
    j->worker = t->worker;
    j->is_subscribe = true;
    j->trial = t;
    j->codes = j->few;
    j->by = TRIAL_BY_CHECK;
    j->list = (uint8_t *)xslicedup(buf_slice(&list));
    j->filters = slice_of(j->list, list.len);
    if (run(j))
        wait(j);
    else
        free(j);
}
