/* handlers.h -- who is called for what: the events, and the handlers sol.on registered.
 *
 * Handlers are registered while the policy loads and never change afterwards, so core may
 * remember which events a topic meets.  Filters are matched here, before Lua is entered. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_HANDLERS_H
#define SOL_SCRIPT_HANDLERS_H

#include "script/script.h"

/* ---- events ------------------------------------------------------------------ */

/* What a handler of an event is called with, after the client. */
enum event_arg {
    ARG_NOTHING, /* and no client either */
    ARG_INFO,    /* a table, from struct fact */
    ARG_TOLD,    /* the message, read-only, and a reason: from struct fact */
    ARG_MESSAGE,
    ARG_CONNECT,
    ARG_CREDENTIALS,
    ARG_EXCHANGE,
    ARG_SUBSCRIPTION,
    ARG_FILTER,
    ARG_ACCESS
};

#define VERDICT_BIT(v) (1u << (v))

struct event {
    const char *name;   /* in sol.on */
    uint8_t arg;        /* enum event_arg */
    uint8_t verdicts;   /* VERDICT_BITs a handler may give; 0: a fact */
    uint8_t on_failure; /* enum verdict: when a handler fails; VERDICT_NONE: go on */
    bool has_topic;     /* sol.on takes a filter */
};

/* By enum hook_event; a NULL name: not offered. */
extern const struct event events[HOOK_EVENTS];

/* ---- handlers ----------------------------------------------------------------- */

#define HANDLER_TIMES 16 /* of a histogram: below 1, 2, 4 ... microseconds, and the rest */

/* What has become of a handler's calls; written by its worker alone. */
struct handler_stats {
    uint64_t calls, errors, timeouts, waits;
    uint64_t verdicts[VERDICT_WAIT]; /* by enum verdict, but for VERDICT_NONE */
    uint64_t us;                     /* of the calls that were timed */
    uint32_t times[HANDLER_TIMES];   /* of them, up to their first wait */
    uint64_t counted, instructions;  /* calls whose instructions were counted; theirs */
};
/* One call in so many is timed: the clock costs more than a small handler. */
#define HANDLER_TIMED_EVERY 64
/* Of one in so many the instructions are counted, which costs more still. */
#define HANDLER_COUNTED_EVERY 1024
#define HANDLER_UNTIMED       (HANDLER_TIMED_EVERY - 1) /* script->untimed, when nobody watches */

struct handler {
    struct closure closure; /* fn runs it for script's present invocation; name is "file:line" */
    struct script *script;  /* lent */
    int fn_ref;             /* registry reference of the function */
    enum hook_event event;
    long long priority;    /* higher runs first */
    struct slice *filters; /* owned, with their bytes; any of them matches */
    unsigned filters_len;  /* 0: every topic */
    unsigned actions;      /* authorize: bits of enum access_action */
    bool hears_all;        /* every call of its event concerns it; set by handler_add */
    bool each_worker;      /* start, stop, reload: not on the first worker alone */
    bool never_waits;      /* declared so: fails where it would */
    enum verdict on_failure;
    uint32_t timeout_ms; /* waiting; 0: the setting's */
    char *name;          /* owned: closure.name */
    struct handler_stats stats;
};

/* Files `h` (taken) in its place. */
void handler_add(struct script *s, struct handler *h);
void handler_free(struct handler *h);
void handlers_free(struct script *s);

/* Does `call`, with this `effective` topic (NULL: the call's), concern the handler? */
bool handler_concerns(const struct handler *h, const struct hook_call *call,
                      const struct slice *effective);
/* The index from `from` on of the next handler that it concerns; the list's length when there
 * is none. */
static inline unsigned handlers_next(const struct script *s, const struct hook_call *call,
                                     const struct slice *effective, unsigned from) {
    const struct handler_list *list = &s->events[call->event];
    for (; from < list->len; from++)
        if (list->at[from]->hears_all || handler_concerns(list->at[from], call, effective)) break;
    return from;
}
/* Is the "topic" of this call a filter? */
bool call_is_about_filter(const struct hook_call *call);
/* The topic or filter a call is about, SLICE_NONE without one. */
struct slice call_topic(const struct hook_call *call);
/* hooks->wants. */
uint32_t handlers_want(const struct script *s, struct slice topic);

#endif
