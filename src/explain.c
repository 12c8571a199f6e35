/* explain.c -- a question to a policy, in a broker of its own or to one that runs.
 *
 * Without --live the policy is loaded into a broker without a network (script/rehearsal.h).
 * There the client connects in earnest, so that what `connected` handlers do for it counts,
 * and what it would do then is asked as a trial.  Time is the system's: what waits is waited
 * for. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "explain.h"

#include "ask.h"
#include "base/mem.h"
#include "core/solo.h"
#include "core/worker.h"
#include "mqtt/reason.h"
#include "script/explain.h"
#include "script/rehearsal.h"
#include "script/trace_text.h"
#include "script/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* ---- a broker of its own -------------------------------------------------------------- */

struct stage {
    const struct inquiry *inquiry; /* lent */
    struct rehearsal *rehearsal;   /* owned */
    uint64_t started_ns, passed_ms;
    bool is_over;
    enum explain_end end;
    char *refusal; /* owned: why the CONNECT was refused, as the log has it; or NULL */
};

static void print(void *obj, struct slice text) {
    (void)obj;
    fwrite(text.at, 1, text.len, stdout);
    fflush(stdout);
}

static void on_done(void *obj, enum explain_end end) {
    struct stage *s = obj;
    s->is_over = true;
    s->end = end;
}

/* Shows what the policy says itself, its failures among it. */
static void on_log(void *obj, enum log_level level, const char *area, const char *text) {
    AUTO(buf_deinit) struct buf line = BUF_INIT;
    struct stage *s = obj;
    static const char refused[] = " refused: 0xNN ", ended[] = " disconnected: ";
    const char *refusal = strstr(text, " refused: 0x"), *end = strstr(text, ended);
    (void)level;
    if (strcmp(area, "connect") == 0 && (refusal || end)) {
        free(s->refusal);
        s->refusal = xstrdup(refusal ? refusal + strlen(refused) : end + strlen(ended));
    }
    if (strcmp(area, "policy") != 0) return;
    log_escape(&line, LOG_TEXT, slice_str(text));
    fprintf(stderr, "log: %.*s\n", SLICE_FMT(buf_slice(&line)));
}

static uint64_t real_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Lets the broker's time go on to where real time is. */
static void pass(struct stage *s) {
    uint64_t now_ms = (real_ns() - s->started_ns) / 1000000;
    (void)solo_pass_ms(s->rehearsal->solo, now_ms - s->passed_ms);
    s->passed_ms = now_ms;
}

static void rest(void) {
    nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
}

/* ---- CONNECT, in earnest ---------------------------------------------------------------- */

static void on_record(struct watcher *w, const struct trace *t) {
    AUTO(buf_deinit) struct buf text = BUF_INIT;
    const struct stage *s = w->obj;
    if (s->inquiry->is_json)
        trace_put_json(&text, t);
    else
        trace_put_text(&text, t);
    print(NULL, buf_slice(&text));
}

/* Says how a CONNECT ended, when it was refused. */
static void print_refusal(const struct stage *s, uint8_t code) {
    AUTO(buf_deinit) struct buf text = BUF_INIT;
    if (s->inquiry->is_json) {
        buf_printf(&text,
                   "{\"action\":\"connect\",\"outcome\":\"refused\",\"reason_code\":%u,"
                   "\"reason\":",
                   code);
        trace_put_json_string(&text, s->refusal);
        buf_printf(&text, "}\n");
    } else {
        buf_printf(&text, "connect: refused 0x%02X (%s)", code, reason_text(code));
        if (s->refusal) buf_printf(&text, ": ");
        log_escape(&text, LOG_TEXT, slice_str(s->refusal));
        buf_printf(&text, "\n");
    }
    print(NULL, buf_slice(&text));
}

/* False: it was refused, and that has been said. */
static bool connect_client(struct stage *s, struct solo_peer *peer) {
    struct watcher watcher = { .record = on_record, .obj = s };
    const struct packet *p = NULL;
    watch_begin(solo_worker(s->rehearsal->solo)->hooks, &watcher);
    struct packet connect = { .type = PKT_CONNECT, .connect = inquiry_connect(s->inquiry) };
    bool posted = solo_post(peer, &connect);
    while (posted && !p) {
        pass(s);
        p = solo_take(peer);
        if (!p && solo_is_over(peer)) break;
        if (!p) rest();
    }
    watch_end(&watcher);
    bool is_answered = p && p->type == PKT_CONNACK;
    uint8_t code = is_answered ? p->connack.reason_code : RC_UNSPECIFIED_ERROR;
    if (code) print_refusal(s, code);
    return code == RC_SUCCESS;
}

/* ---- the question ------------------------------------------------------------------------- */

static enum explain_end ask(struct stage *s) {
    struct explain_opts opts = { .inquiry = s->inquiry, .put = print, .done = on_done, .obj = s };
    (void)explain_start(solo_worker(s->rehearsal->solo), &opts);
    while (!s->is_over) {
        pass(s);
        if (!s->is_over) rest();
    }
    return s->end;
}

static enum explain_end play(struct stage *s) {
    const struct inquiry *q = s->inquiry;
    struct solo *solo = s->rehearsal->solo;
    const char *listener = (const char *)q->listener.at;
    if (q->action == INQUIRE_CONNECT || q->as_connected) return ask(s);
    if (listener && !config_listener(solo_worker(solo)->config, listener)) return ask(s);
    struct solo_peer *peer = solo_open(solo, &(struct solo_origin){ .listener = listener });
    if (!peer) return EXPLAIN_IMPOSSIBLE;
    return connect_client(s, peer) ? ask(s) : EXPLAIN_REFUSED;
}

static int rehearse(const struct ask *a) {
    static const int statuses[] = { [EXPLAIN_ALLOWED] = ASK_ALLOWED,
                                    [EXPLAIN_REFUSED] = ASK_REFUSED,
                                    [EXPLAIN_IMPOSSIBLE] = ASK_IMPOSSIBLE };
    struct stage s = { .inquiry = &a->inquiry, .started_ns = real_ns() };
    char *error = NULL;
    if (!a->config && access("sol.lua", R_OK) == 0)
        fputs("there is a sol.lua here; to ask it: -c sol.lua\n", stderr);
    s.rehearsal = rehearsal_new(
        &(struct rehearsal_opts){ .path = a->config, .sink = on_log, .sink_obj = &s }, &error);
    if (!s.rehearsal) {
        fprintf(stderr, "sol: %s\n", error);
        free(error);
        return ASK_IMPOSSIBLE;
    }
    int status = statuses[play(&s)];
    rehearsal_free(s.rehearsal);
    free(s.refusal);
    return status;
}

int explain_main(int argc, char **argv) {
    struct ask a;
    int status = ask_read(argc, argv, &a);
    if (status == ASK_GO_ON) status = a.is_live ? ask_broker(&a) : rehearse(&a);
    inquiry_deinit(&a.inquiry);
    return status;
}
