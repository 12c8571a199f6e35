/* trace.c -- copies, differences, stop-watches. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/trace.h"

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/client.h"
#include "script/handlers.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    TEXT_MAX = 160,    /* bytes of a value that are shown */
    FIELDS_MAX = 1000, /* that are looked at: a message may have many times as many properties */
    NOTES_MAX = 100    /* of a handler: one that waits in a loop would make them without an end */
};

static uint64_t clock_ns(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The text in a buffer becomes a string of its own; never NULL. */
static char *buf_take(struct buf *b) {
    buf_add(b, "", 1);
    char *text = (char *)b->at;
    *b = BUF_INIT;
    return text;
}

static char *format(const char *fmt, va_list args) {
    char *text;
    must(vasprintf(&text, fmt, args) >= 0);
    return text;
}

/* ---- values ------------------------------------------------------------------- */

/* The beginning of `s` that does not end within a UTF-8 character. */
static struct slice beginning(struct slice s) {
    if (s.len <= TEXT_MAX) return s;
    size_t len = TEXT_MAX;
    while (len > TEXT_MAX - 4 && (s.at[len] & 0xc0) == 0x80) len--;
    return slice_of(s.at, len);
}

/* A literal as JSON has it, but for nil; so it stays on one line. */
static char *shown(struct slice value) {
    struct buf text = BUF_INIT;
    if (!value.at) return xstrdup("nil");
    buf_add(&text, "\"", 1);
    log_escape(&text, LOG_JSON, beginning(value));
    if (value.len > TEXT_MAX) buf_printf(&text, "... (%zu bytes)", value.len);
    buf_add(&text, "\"", 1);
    return buf_take(&text);
}

/* Takes both strings. */
static void add(struct trace_fields *f, char *name, char *text, struct slice value) {
    static const uint64_t seed[2] = { 0x736f6c, 0x7472616365 };
    f->at = xrealloc(f->at, (f->len + 1) * sizeof *f->at);
    f->at[f->len++] =
        (struct trace_field){ .name = name, .text = text, .hash = siphash13(seed, value) };
}

void trace_field_text(struct trace_fields *f, struct slice value, const char *name, ...) {
    va_list args;
    if (f->len == FIELDS_MAX) return;
    va_start(args, name);
    char *full = format(name, args);
    va_end(args);
    add(f, full, shown(value), value);
}

void trace_field_plain(struct trace_fields *f, const char *text, const char *name, ...) {
    va_list args;
    if (f->len == FIELDS_MAX) return;
    va_start(args, name);
    char *full = format(name, args);
    va_end(args);
    add(f, full, xstrdup(text), slice_str(text));
}

void trace_field_number(struct trace_fields *f, uint64_t value, const char *name) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    trace_field_plain(f, text, "%s", name);
}

void trace_field_bool(struct trace_fields *f, bool value, const char *name) {
    trace_field_plain(f, value ? "true" : "false", "%s", name);
}

static void fields_deinit(struct trace_fields *f) {
    for (unsigned i = 0; i < f->len; i++) {
        free(f->at[i].name);
        free(f->at[i].text);
    }
    free(f->at);
    *f = (struct trace_fields){ NULL, 0 };
}

/* ---- notes ---------------------------------------------------------------------- */

/* Takes `text`. */
static void note(struct trace_notes *notes, enum trace_note_type type, char *text, uint64_t ns) {
    if (notes->len == NOTES_MAX) {
        notes->left_out++;
        free(text);
        return;
    }
    notes->at = xrealloc(notes->at, (notes->len + 1) * sizeof *notes->at);
    notes->at[notes->len++] = (struct trace_note){ type, text, ns };
}

static void notes_deinit(struct trace_notes *notes) {
    for (unsigned i = 0; i < notes->len; i++) free(notes->at[i].text);
    free(notes->at);
}

void trace_note(struct trace *t, enum trace_note_type type, const char *fmt, ...) {
    struct trace_run *r = trace_current(t);
    va_list args;
    va_start(args, fmt);
    note(r ? &r->notes : &t->notes, type, format(fmt, args), 0);
    va_end(args);
}

/* ---- the record ------------------------------------------------------------------ */

struct trace *trace_new(const struct hook_call *call, struct slice topic) {
    static const char *const actions[] = { [ACCESS_PUBLISH] = "publish",
                                           [ACCESS_SUBSCRIBE] = "subscribe",
                                           [ACCESS_WILL] = "will",
                                           [ACCESS_DELIVER] = "deliver" };
    struct trace *t = xcalloc(1, sizeof *t);
    t->event = call->event;
    t->event_name = events[call->event].name;
    if (call->event == HOOK_AUTHORIZE) t->action = actions[call->access.action];
    t->trial = call->trial;
    t->client = call->client ? xslicedup(call->client->id) : NULL;
    t->topic = xslicedup(topic);
    t->is_filter = call_is_about_filter(call);
    t->started_ns = clock_ns(CLOCK_REALTIME);
    return t;
}

static void run_deinit(struct trace_run *r) {
    for (unsigned i = 0; i < r->changes_len; i++) {
        free(r->changes[i].field);
        free(r->changes[i].before);
        free(r->changes[i].after);
    }
    free(r->changes);
    fields_deinit(&r->before);
    notes_deinit(&r->notes);
    free(r->name);
    free(r->filters);
    free(r->failure);
}

void trace_free(struct trace *t) {
    if (!t) return;
    for (unsigned i = 0; i < t->runs_len; i++) run_deinit(&t->runs[i]);
    free(t->runs);
    notes_deinit(&t->notes);
    free(t->client);
    free(t->topic);
    free(t->reason);
    free(t->waiting_for);
    free(t);
}

struct trace_run *trace_current(struct trace *t) {
    struct trace_run *r = t->runs_len ? &t->runs[t->runs_len - 1] : NULL;
    return r && !r->is_over ? r : NULL;
}

static char *filters_of(const struct handler *h) {
    struct buf text = BUF_INIT;
    if (!h->filters_len) return NULL;
    for (unsigned i = 0; i < h->filters_len; i++)
        buf_printf(&text, "%s%.*s", i ? ", " : "", SLICE_FMT(h->filters[i]));
    return buf_take(&text);
}

void trace_begin(struct trace *t, const struct handler *h, struct trace_fields *before) {
    t->runs = xrealloc(t->runs, (t->runs_len + 1) * sizeof *t->runs);
    t->runs[t->runs_len++] = (struct trace_run){ .name = xstrdup(h->closure.name),
                                                 .filters = filters_of(h),
                                                 .priority = h->priority,
                                                 .before = *before };
    *before = (struct trace_fields){ NULL, 0 };
}

/* The first field of that name, from *at on and then from the beginning, that was not taken yet:
 * user properties may share a name.  *at is behind it then: most come in the same order. */
static const struct trace_field *field_take(struct trace_fields *f, const char *name,
                                            unsigned *at) {
    for (unsigned n = 0; n < f->len; n++) {
        unsigned i = (*at + n) % f->len;
        if (f->at[i].is_taken || strcmp(f->at[i].name, name) != 0) continue;
        f->at[i].is_taken = true;
        *at = i + 1;
        return &f->at[i];
    }
    return NULL;
}

static void add_change(struct trace_run *r, const char *name, const struct trace_field *before,
                       const struct trace_field *after) {
    r->changes = xrealloc(r->changes, (r->changes_len + 1) * sizeof *r->changes);
    r->changes[r->changes_len++] =
        (struct trace_change){ .field = xstrdup(name),
                               .before = xstrdup(before ? before->text : "nil"),
                               .after = xstrdup(after ? after->text : "nil") };
}

static void compare(struct trace_run *r, struct trace_fields *after) {
    unsigned at = 0;
    for (unsigned i = 0; i < after->len; i++) {
        const struct trace_field *now = &after->at[i],
                                 *was = field_take(&r->before, now->name, &at);
        bool same = was && was->hash == now->hash && strcmp(was->text, now->text) == 0;
        if (!same) add_change(r, now->name, was, now);
    }
    for (unsigned i = 0; i < r->before.len; i++) {
        const struct trace_field *was = &r->before.at[i];
        if (!was->is_taken) add_change(r, was->name, was, NULL);
    }
}

void trace_end(struct trace *t, enum verdict verdict, uint8_t reason_code,
               struct trace_fields *after) {
    struct trace_run *r = trace_current(t);
    if (r) {
        trace_pause(t);
        trace_waited(t);
        if (after) compare(r, after);
        fields_deinit(&r->before);
        r->verdict = verdict;
        r->reason_code = reason_code;
        r->is_over = true;
    }
    if (after) fields_deinit(after);
}

void trace_fail(struct trace *t, const char *text) {
    struct trace_run *r = trace_current(t);
    const char *end = strstr(text, "\nstack traceback:"); /* that is for the log */
    if (!r || r->failure) return;
    r->failure = end ? xslicedup(slice_of(text, (size_t)(end - text))) : xstrdup(text);
}

/* ---- time -------------------------------------------------------------------------- */

void trace_work(struct trace *t) {
    t->running_since_ns = clock_ns(CLOCK_MONOTONIC);
}

void trace_pause(struct trace *t) {
    struct trace_run *r = trace_current(t);
    if (r && t->running_since_ns) r->ns += clock_ns(CLOCK_MONOTONIC) - t->running_since_ns;
    t->running_since_ns = 0;
}

void trace_wait(struct trace *t, char *what) {
    t->waiting_for = what;
    t->waiting_since_ns = clock_ns(CLOCK_MONOTONIC);
}

void trace_waited(struct trace *t) {
    struct trace_run *r = trace_current(t);
    if (!t->waiting_since_ns) return;
    uint64_t ns = clock_ns(CLOCK_MONOTONIC) - t->waiting_since_ns;
    if (r)
        note(&r->notes, NOTE_WAIT, t->waiting_for, ns);
    else
        free(t->waiting_for);
    t->waiting_for = NULL;
    t->waiting_since_ns = 0;
}
