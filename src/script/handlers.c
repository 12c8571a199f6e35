/* handlers.c -- the table of events, the lists of handlers, their filters. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/handlers.h"

#include "base/mem.h"
#include "mqtt/topic.h"

#include <stdlib.h>

/* ---- events ------------------------------------------------------------------ */

#define ALLOW VERDICT_BIT(VERDICT_ALLOW)
#define DENY  VERDICT_BIT(VERDICT_DENY)
#define DROP  VERDICT_BIT(VERDICT_DROP)
#define AGAIN VERDICT_BIT(VERDICT_CONTINUE)

/* clang-format off */
const struct event events[HOOK_EVENTS] = {
    [HOOK_CONNECT]      = { "connect",      ARG_CONNECT,      ALLOW | DENY,        VERDICT_DENY, false },
    [HOOK_AUTHENTICATE] = { "authenticate", ARG_CREDENTIALS,  ALLOW | DENY,        VERDICT_DENY, false },
    [HOOK_AUTH]         = { "auth",         ARG_EXCHANGE,     ALLOW | DENY | AGAIN, VERDICT_DENY, false },
    [HOOK_SUBSCRIBE]    = { "subscribe",    ARG_SUBSCRIPTION, ALLOW | DENY,        VERDICT_DENY, true },
    [HOOK_UNSUBSCRIBE]  = { "unsubscribe",  ARG_FILTER,       ALLOW,               VERDICT_NONE, true },
    [HOOK_PUBLISH]      = { "publish",      ARG_MESSAGE,      ALLOW | DENY | DROP, VERDICT_DENY, true },
    [HOOK_AUTHORIZE]    = { "authorize",    ARG_ACCESS,       ALLOW | DENY,        VERDICT_DENY, true },
    [HOOK_DELIVER]      = { "deliver",      ARG_MESSAGE,      ALLOW | DROP,        VERDICT_DROP, true },
    [HOOK_CONNECTED]    = { "connected",    ARG_INFO,    0, VERDICT_NONE, false },
    [HOOK_DISCONNECTED] = { "disconnected", ARG_INFO,    0, VERDICT_NONE, false },
    [HOOK_SUBSCRIBED]   = { "subscribed",   ARG_INFO,    0, VERDICT_NONE, true },
    [HOOK_UNSUBSCRIBED] = { "unsubscribed", ARG_INFO,    0, VERDICT_NONE, true },
    [HOOK_PUBLISHED]    = { "published",    ARG_TOLD,    0, VERDICT_NONE, true },
    [HOOK_ACKED]        = { "acked",        ARG_TOLD,    0, VERDICT_NONE, true },
    [HOOK_DROPPED]      = { "dropped",      ARG_TOLD,    0, VERDICT_NONE, true },
    [HOOK_EXPIRED]      = { "expired",      ARG_TOLD,    0, VERDICT_NONE, true },
    [HOOK_WILL]         = { "will",         ARG_TOLD,    0, VERDICT_NONE, true },
    [HOOK_REFUSED]      = { "refused",      ARG_INFO,    0, VERDICT_NONE, false },
    [HOOK_START]        = { "start",        ARG_NOTHING, 0, VERDICT_NONE, false },
    [HOOK_STOP]         = { "stop",         ARG_NOTHING, 0, VERDICT_NONE, false },
    [HOOK_RELOAD]       = { "reload",       ARG_NOTHING, 0, VERDICT_NONE, false },
};
/* clang-format on */

/* ---- lists ------------------------------------------------------------------- */

static uint32_t wanted_bits(const struct handler *h) {
    bool delivers = h->event == HOOK_AUTHORIZE && (h->actions & (1u << ACCESS_DELIVER));
    return HOOK_BIT(h->event) | (delivers ? HOOK_BIT_AUTHORIZE_DELIVER : 0);
}

/* Once per broker, and this is another worker's script. */
static bool handler_sleeps(const struct handler *h) {
    return h->event >= HOOK_START && !h->each_worker && !h->script->is_first;
}

void handler_add(struct script *s, struct handler *h) {
    struct handler_list *list = &s->events[h->event];
    unsigned at = list->len++;
    h->hears_all = !h->filters_len && h->event != HOOK_AUTHORIZE && !handler_sleeps(h);
    list->at = xrealloc(list->at, list->len * sizeof(struct handler *));
    for (; at > 0 && list->at[at - 1]->priority < h->priority; at--)
        list->at[at] = list->at[at - 1];
    list->at[at] = h;
    if (!handler_sleeps(h)) s->port.wanted |= wanted_bits(h);
}

void handler_free(struct handler *h) {
    for (unsigned i = 0; i < h->filters_len; i++) free((void *)h->filters[i].at);
    free(h->filters);
    free(h->name);
    closure_deinit(&h->closure);
    free(h);
}

void handlers_free(struct script *s) {
    for (unsigned e = 0; e < HOOK_EVENTS; e++) {
        for (unsigned i = 0; i < s->events[e].len; i++) handler_free(s->events[e].at[i]);
        free(s->events[e].at);
        s->events[e] = (struct handler_list){ NULL, 0, 0 };
    }
}

/* ---- filters ------------------------------------------------------------------- */

bool call_is_about_filter(const struct hook_call *call) {
    return call->event == HOOK_SUBSCRIBE || call->event == HOOK_UNSUBSCRIBE ||
           call->event == HOOK_SUBSCRIBED || call->event == HOOK_UNSUBSCRIBED ||
           (call->event == HOOK_AUTHORIZE && call->access.action == ACCESS_SUBSCRIBE);
}

static bool topic_concerns(const struct handler *h, struct slice topic) {
    for (unsigned i = 0; i < h->filters_len; i++)
        if (topic_match(h->filters[i], topic)) return true;
    return h->filters_len == 0;
}

/* A handler must hear of a subscription that reaches into its topics, though it does not lie
 * within them. */
static bool filter_concerns(const struct handler *h, struct slice filter) {
    struct slice group, inner;
    bool valid;
    if (topic_shared(filter, &group, &inner, &valid) && valid) filter = inner;
    for (unsigned i = 0; i < h->filters_len; i++)
        if (topic_filters_overlap(h->filters[i], filter)) return true;
    return h->filters_len == 0;
}

struct slice call_topic(const struct hook_call *call) {
    switch (events[call->event].arg) {
    case ARG_MESSAGE: return message_topic(call->message);
    case ARG_SUBSCRIPTION:
    case ARG_FILTER: return call->subscribe->filter;
    case ARG_ACCESS: return call->access.topic;
    case ARG_TOLD:
    case ARG_INFO: return call->fact ? call->fact->topic : SLICE_NONE;
    default: return SLICE_NONE;
    }
}

bool handler_concerns(const struct handler *h, const struct hook_call *call,
                      const struct slice *effective) {
    if (handler_sleeps(h)) return false;
    if (h->event == HOOK_AUTHORIZE && !(h->actions & (1u << call->access.action))) return false;
    if (h->filters_len == 0) return true;
    struct slice topic = effective ? *effective : call_topic(call);
    return call_is_about_filter(call) ? filter_concerns(h, topic) : topic_concerns(h, topic);
}

uint32_t handlers_want(const struct script *s, struct slice topic) {
    static const enum hook_event by_topic[] = { HOOK_PUBLISH, HOOK_AUTHORIZE, HOOK_DELIVER,
                                                HOOK_PUBLISHED };
    uint32_t wants = 0;
    for (unsigned i = 0; i < ARRAY_LEN(by_topic); i++) {
        const struct handler_list *list = &s->events[by_topic[i]];
        for (unsigned j = 0; j < list->len; j++)
            if (topic_concerns(list->at[j], topic)) wants |= wanted_bits(list->at[j]);
    }
    return wants;
}
