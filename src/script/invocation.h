/* invocation.h -- what an invocation is made of, for those that run it (invoke.c) and those
 * that watch (watch.c). */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_INVOCATION_H
#define SOL_SCRIPT_INVOCATION_H

#include "script/obj_message.h"
#include "script/obj_request.h"
#include "script/script.h"
#include "script/task.h"
#include "script/verdict.h"

struct trace;

struct invocation {
    struct script *script;   /* lent */
    struct task *task;       /* its own, also while it is in the pool */
    struct invocation *next; /* free list */
    struct hook_call *call;  /* lent; NULL: cancelled, or a fact that went on without */
    struct client *client;   /* lent by the call, or NULL; owned reference with holds_refs */
    struct message *message; /* what was asked about; likewise */
    struct handler *handler; /* running or waiting */
    struct trace *trace;     /* owned: what became of it, while somebody watches; or NULL */
    const struct event *event;
    uint64_t deadline_ms; /* for all its handlers' waiting; 0: not waited yet */
    struct answer answer;
    unsigned next_handler;
    enum hook_event id;
    enum task_status status; /* of the latest run */
    bool is_used;            /* not in the pool */
    bool holds_refs;
    bool may_wait;    /* those of its handlers that do not say otherwise */
    bool has_request; /* lent to the task's userdata */
    uint8_t open;     /* OPEN_MESSAGE, OPEN_ACCESS: userdata that scripts can use */
    bool has_waited;  /* the answer goes through done */
    bool is_counted;  /* among the parked */
};

/* What a task keeps for invocations. */
enum {
    PIN_MESSAGE,
    PIN_ACCESS = PIN_MESSAGE + LIVE_VALUES,
    PIN_REQUEST = PIN_ACCESS + LIVE_VALUES,
    PINS = PIN_REQUEST + REQUEST_KINDS
};
_Static_assert(PINS <= TASK_PINS, "a pin for each");

#endif
