/* trace_text.c -- a record as indented lines, or as a JSON object. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/trace_text.h"

#include "base/log.h"
#include "mqtt/reason.h"
#include "script/count.h"
#include "script/trace.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const verdicts[] = {
    [VERDICT_NONE] = "none", [VERDICT_ALLOW] = "allow",       [VERDICT_DENY] = "deny",
    [VERDICT_DROP] = "drop", [VERDICT_CONTINUE] = "continue", [VERDICT_WAIT] = "wait",
};

static void put(struct buf *out, const char *text) {
    buf_add(out, text, strlen(text));
}

const char *trace_decider(const struct trace *t) {
    for (unsigned i = t->runs_len; i > 0; i--)
        if (t->runs[i - 1].verdict != VERDICT_NONE) return t->runs[i - 1].name;
    for (unsigned i = 0; i < t->notes.len; i++)
        if (t->notes.at[i].type == NOTE_GRANT) return t->notes.at[i].text;
    return t->by_default;
}

/* A duration as people read it: "12.3 us", "50.2 ms", "1.50 s". */
static void put_duration(struct buf *out, uint64_t ns) {
    if (ns < 1000000)
        buf_printf(out, "%.1f us", (double)ns / 1e3);
    else if (ns < 1000000000)
        buf_printf(out, "%.1f ms", (double)ns / 1e6);
    else
        buf_printf(out, "%.2f s", (double)ns / 1e9);
}

/* ---- lines -------------------------------------------------------------------------- */

static void put_escaped(struct buf *out, const char *text) {
    log_escape(out, LOG_TEXT, slice_str(text));
}

static void put_verdict(struct buf *out, enum verdict verdict, uint8_t reason_code) {
    put(out, verdict == VERDICT_NONE ? "no opinion" : verdicts[verdict]);
    if (verdict == VERDICT_DENY && reason_code)
        buf_printf(out, " 0x%02X (%s)", reason_code, reason_text(reason_code));
}

static void put_note(struct buf *out, const struct trace_note *note) {
    static const char *const words[] = {
        [NOTE_WAIT] = "      waited ", [NOTE_CACHE] = "      cache: ", [NOTE_GRANT] = "  "
    };
    put(out, words[note->type]);
    if (note->type == NOTE_WAIT) {
        put_duration(out, note->ns);
        put(out, " in ");
    }
    put_escaped(out, note->text);
    put(out, "\n");
}

static void put_notes(struct buf *out, const struct trace_notes *notes) {
    for (unsigned i = 0; i < notes->len; i++) put_note(out, &notes->at[i]);
    if (notes->left_out) buf_printf(out, "      (%u more left out)\n", notes->left_out);
}

static void put_changes(struct buf *out, const struct trace_run *r) {
    for (unsigned i = 0; i < r->changes_len; i++) {
        put(out, "      ");
        put_escaped(out, r->changes[i].field);
        buf_printf(out, ": %s -> %s\n", r->changes[i].before, r->changes[i].after);
    }
}

static void put_run(struct buf *out, const struct trace *t, const struct trace_run *r) {
    put(out, "  ");
    put_escaped(out, r->name);
    if (r->filters) {
        put(out, " [");
        put_escaped(out, r->filters);
        put(out, "]");
    }
    buf_printf(out, " priority %lld: ", r->priority);
    if (r->failure) {
        put(out, "failed: ");
        put_escaped(out, r->failure);
        put(out, "; ");
    }
    if (HOOK_IS_FACT(t->event))
        put(out, r->failure ? "goes on" : "told");
    else
        put_verdict(out, r->verdict, r->reason_code);
    put(out, ", ");
    put_duration(out, r->ns);
    buf_printf(out, ", %s%llu instructions\n", r->instructions == COUNT_MAX ? "over " : "",
               (unsigned long long)r->instructions);
    put_changes(out, r);
    put_notes(out, &r->notes);
}

static void put_head(struct buf *out, const struct trace *t) {
    put(out, t->event_name);
    if (t->action) buf_printf(out, " %s", t->action);
    if (t->topic) {
        put(out, " ");
        put_escaped(out, t->topic);
    }
    if (t->client) {
        put(out, " by ");
        put_escaped(out, t->client);
    }
    put(out, "\n");
}

static void put_end(struct buf *out, const struct trace *t) {
    const char *who = trace_decider(t);
    if (HOOK_IS_FACT(t->event)) return;
    put(out, "  => ");
    if (t->is_cancelled)
        put(out, "the client has gone");
    else if (t->verdict == VERDICT_NONE)
        put(out, "nobody decided");
    else
        put_verdict(out, t->verdict, t->reason_code);
    if (t->reason) {
        put(out, " \"");
        put_escaped(out, t->reason);
        put(out, "\"");
    }
    if (who && !t->is_cancelled) {
        put(out, t->verdict == VERDICT_NONE ? ": " : ", by ");
        put_escaped(out, who);
    }
    put(out, "\n");
}

void trace_put_text(struct buf *out, const struct trace *t) {
    put_head(out, t);
    put_notes(out, &t->notes);
    for (unsigned i = 0; i < t->runs_len; i++) put_run(out, t, &t->runs[i]);
    put_end(out, t);
}

/* ---- JSON ----------------------------------------------------------------------------- */

void trace_put_json_string(struct buf *out, const char *text) {
    if (!text) {
        put(out, "null");
        return;
    }
    put(out, "\"");
    log_escape(out, LOG_JSON, slice_str(text));
    put(out, "\"");
}

static void put_member(struct buf *out, const char *name, const char *text) {
    buf_printf(out, ",\"%s\":", name);
    trace_put_json_string(out, text);
}

static void put_json_time(struct buf *out, uint64_t ns) {
    time_t s = (time_t)(ns / 1000000000);
    struct tm utc;
    char text[32];
    gmtime_r(&s, &utc);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    buf_printf(out, "\"%s.%03uZ\"", text, (unsigned)(ns / 1000000 % 1000));
}

static void put_json_verdict(struct buf *out, enum verdict verdict, uint8_t reason_code) {
    put_member(out, "verdict", verdicts[verdict]);
    if (verdict == VERDICT_DENY) buf_printf(out, ",\"reason_code\":%u", reason_code);
}

/* A value's text is a JSON literal, but for nil. */
static const char *literal(const char *text) {
    return strcmp(text, "nil") == 0 ? "null" : text;
}

static void put_json_changes(struct buf *out, const struct trace_run *r) {
    put(out, ",\"changes\":[");
    for (unsigned i = 0; i < r->changes_len; i++) {
        const struct trace_change *c = &r->changes[i];
        put(out, i ? ",{\"field\":" : "{\"field\":");
        trace_put_json_string(out, c->field);
        buf_printf(out, ",\"before\":%s,\"after\":%s}", literal(c->before), literal(c->after));
    }
    put(out, "]");
}

/* The notes of one type, as an array under `name`. */
static void put_json_notes(struct buf *out, const struct trace_notes *notes,
                           enum trace_note_type type, const char *name) {
    const char *comma = "";
    buf_printf(out, ",\"%s\":[", name);
    for (unsigned i = 0; i < notes->len; i++) {
        const struct trace_note *note = &notes->at[i];
        if (note->type != type) continue;
        put(out, comma);
        if (type == NOTE_WAIT) put(out, "{\"for\":");
        trace_put_json_string(out, note->text);
        if (type == NOTE_WAIT) buf_printf(out, ",\"seconds\":%.9f}", (double)note->ns / 1e9);
        comma = ",";
    }
    put(out, "]");
}

static void put_json_run(struct buf *out, const struct trace_run *r) {
    put(out, "{\"name\":");
    trace_put_json_string(out, r->name);
    put_member(out, "filters", r->filters);
    buf_printf(out, ",\"priority\":%lld", r->priority);
    put_json_verdict(out, r->verdict, r->reason_code);
    put_member(out, "failure", r->failure);
    buf_printf(out, ",\"seconds\":%.9f,\"instructions\":%llu", (double)r->ns / 1e9,
               (unsigned long long)r->instructions);
    put_json_changes(out, r);
    put_json_notes(out, &r->notes, NOTE_WAIT, "waits");
    put_json_notes(out, &r->notes, NOTE_CACHE, "caches");
    if (r->notes.left_out) buf_printf(out, ",\"left_out\":%u", r->notes.left_out);
    put(out, "}");
}

void trace_put_json(struct buf *out, const struct trace *t) {
    put(out, "{\"time\":");
    put_json_time(out, t->started_ns);
    put_member(out, "event", t->event_name);
    if (t->action) put_member(out, "action", t->action);
    put_member(out, "client", t->client);
    put_member(out, "topic", t->topic);
    put(out, ",\"handlers\":[");
    for (unsigned i = 0; i < t->runs_len; i++) {
        if (i) put(out, ",");
        put_json_run(out, &t->runs[i]);
    }
    put(out, "]");
    put_json_notes(out, &t->notes, NOTE_GRANT, "grants");
    put_json_verdict(out, t->verdict, t->reason_code);
    put_member(out, "reason", t->reason);
    put_member(out, "by", trace_decider(t));
    if (t->is_cancelled) put(out, ",\"cancelled\":true");
    put(out, "}\n");
}
