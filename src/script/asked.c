/* asked.c -- from a door's call to an explanation or a watcher, and back. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/asked.h"

#include "base/mem.h"
#include "core/door.h"
#include "core/worker.h"
#include "script/explain.h"
#include "script/inquiry.h"
#include "script/trace_text.h"
#include "script/watch.h"

#include <stdio.h>
#include <stdlib.h>

/* A call under way. */
struct asked {
    struct door_call *call; /* lent */
    struct inquiry inquiry;
    struct explain *explain; /* explain: owned, until it is done */
    struct watcher watcher;  /* trace */
    unsigned long long left_out;
};

static void asked_free(struct asked *a) {
    inquiry_deinit(&a->inquiry);
    free(a);
}

/* Ends the call, last of all. */
static void end(struct asked *a, bool ok, const char *text) {
    struct door_call *call = a->call;
    asked_free(a);
    door_end(call, ok, slice_str(text));
}

/* NULL: the question was none, and has been answered. */
static struct asked *asked_new(struct door_call *call, bool traces) {
    struct asked *a = xcalloc(1, sizeof *a);
    a->call = call;
    const char *why = inquiry_read(&a->inquiry, call->body);
    if (!why && traces != (a->inquiry.action == INQUIRE_TRACE)) why = "malformed question";
    if (!why) return a;
    end(a, false, why);
    return NULL;
}

/* ---- explain --------------------------------------------------------------------------- */

static void put(void *obj, struct slice text) {
    (void)door_say(((struct asked *)obj)->call, text);
}

static void on_done(void *obj, enum explain_end how) {
    static const char *const words[] = { [EXPLAIN_ALLOWED] = "allowed",
                                         [EXPLAIN_REFUSED] = "refused",
                                         [EXPLAIN_IMPOSSIBLE] = "impossible" };
    end(obj, true, words[how]);
}

static void start_explain(struct worker *w, struct door_call *call) {
    struct asked *a = asked_new(call, false);
    char home[32];
    if (!a) return;
    call->state = NULL;
    unsigned worker = broker_home(w->broker, a->inquiry.client);
    if (w->stopping) {
        end(a, false, "the broker stops");
    } else if (worker != w->id) {
        snprintf(home, sizeof home, "worker=%u", worker);
        end(a, true, home);
    } else {
        struct explain_opts opts = {
            .inquiry = &a->inquiry, .put = put, .done = on_done, .obj = a
        };
        struct explain *e = explain_start(w, &opts); /* NULL: `a` has gone */
        if (!e) return;
        a->explain = e;
        call->state = a;
    }
}

static void cancel_explain(struct worker *w, struct door_call *call) {
    struct asked *a = call->state;
    (void)w;
    explain_cancel(a->explain);
    end(a, false, "given up");
}

const struct door_verb asked_explain = {
    .name = "explain", .on_worker = true, .start = start_explain, .cancel = cancel_explain
};

/* ---- trace ----------------------------------------------------------------------------- */

static void put_left_out(const struct asked *a, struct buf *out) {
    if (!a->left_out) return;
    buf_printf(out, a->inquiry.is_json ? "{\"left_out\":%llu}\n" : "(%llu left out)\n",
               a->left_out);
}

static void on_record(struct watcher *w, const struct trace *t) {
    AUTO(buf_deinit) struct buf text = BUF_INIT;
    struct asked *a = w->obj;
    put_left_out(a, &text);
    if (a->inquiry.is_json)
        trace_put_json(&text, t);
    else
        trace_put_text(&text, t);
    if (door_say(a->call, buf_slice(&text)))
        a->left_out = 0;
    else
        a->left_out++;
}

static void start_trace(struct worker *w, struct door_call *call) {
    struct asked *a = asked_new(call, true);
    if (!a) return;
    if (w->stopping) {
        end(a, false, "the broker stops");
        return;
    }
    call->state = a;
    a->watcher = (struct watcher){
        .client = a->inquiry.client, .filter = a->inquiry.topic, .record = on_record, .obj = a
    };
    watch_begin(w->hooks, &a->watcher);
}

static void cancel_trace(struct worker *w, struct door_call *call) {
    struct asked *a = call->state;
    (void)w;
    watch_end(&a->watcher);
    end(a, true, "");
}

const struct door_verb asked_trace = {
    .name = "trace", .on_worker = true, .start = start_trace, .cancel = cancel_trace
};
