/* trace.h -- the record of one hook call: which handlers ran, what each changed and said.
 *
 * Made only while somebody asks (watch.h), filled in as the call goes through its handlers,
 * shown by trace_text.h, then freed.  It owns copies of all it tells, long values cut short,
 * so it may outlive what it is about.  One thread at a time. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_TRACE_H
#define SOL_SCRIPT_TRACE_H

#include "base/buf.h"
#include "core/hooks.h"

struct handler;

/* ---- values ------------------------------------------------------------------- */

/* What may change, as it stood at one moment: names, values as text, and a hash of each
 * whole value, since the text of a long one is only its beginning. */
struct trace_field {
    char *name, *text; /* owned */
    uint64_t hash;
    bool is_taken; /* private: it has its counterpart */
};

struct trace_fields {
    struct trace_field *at; /* owned */
    unsigned len;
};

/* Append one field, as long as there are no more than a thousand; the name is given as printf has
 * it: a string, and a value that is shown as it stands (copied). */
void trace_field_text(struct trace_fields *f, struct slice value, const char *name, ...)
    __attribute__((format(printf, 3, 4)));
void trace_field_plain(struct trace_fields *f, const char *text, const char *name, ...)
    __attribute__((format(printf, 3, 4)));
/* Likewise, under a plain name. */
void trace_field_number(struct trace_fields *f, uint64_t value, const char *name);
void trace_field_bool(struct trace_fields *f, bool value, const char *name);

/* ---- the record ------------------------------------------------------------------ */

struct trace_change {
    char *field, *before, *after; /* owned; "nil": was or is not there */
};

/* What else happened while it ran. */
enum trace_note_type { NOTE_WAIT, NOTE_CACHE, NOTE_GRANT };

struct trace_note {
    enum trace_note_type type;
    char *text;  /* owned */
    uint64_t ns; /* how long: of a wait */
};

struct trace_notes {
    struct trace_note *at; /* owned */
    unsigned len;
    unsigned left_out; /* there were too many */
};

/* One handler's run. */
struct trace_run {
    char *name;    /* owned: "sol.lua:12", or "its name (sol.lua:12)" */
    char *filters; /* owned: "a/#, b"; NULL: every topic */
    long long priority;
    struct trace_fields before; /* until it is over */
    struct trace_change *changes;
    unsigned changes_len;
    struct trace_notes notes;
    uint64_t ns;           /* at work, without its waits */
    uint64_t instructions; /* of Lua's machine; COUNT_MAX: or more (count.h) */
    char *failure;         /* owned: the error; NULL: it did not fail */
    enum verdict verdict;  /* VERDICT_NONE: it had no opinion, and the next was asked */
    uint8_t reason_code;
    bool is_over;
};

struct trace {
    enum hook_event event;
    const char *event_name; /* static */
    const char *action;     /* static: authorize: "publish" ...; NULL elsewhere */
    char *client;           /* owned: its id; NULL: the broker itself */
    char *topic;            /* owned: topic or filter at first; NULL: the event has none */
    bool is_filter;         /* `topic` is a filter */
    uint64_t started_ns;    /* wall clock, since 1970 */
    struct trace_run *runs; /* owned */
    unsigned runs_len;
    struct trace_notes notes; /* of no handler: a grant */
    enum verdict verdict;
    uint8_t reason_code;    /* VERDICT_DENY */
    char *reason;           /* owned: what the client is told; or NULL */
    const char *by_default; /* static: nobody decided and this did; or NULL */
    bool is_cancelled;      /* the client went while a handler waited */
    /* while it is filled in */
    const void *trial;         /* of the call */
    uint64_t loop_ms;          /* loop clock, when it began */
    uint64_t *outer_counter;   /* lent: whose instructions were counted before */
    uint64_t running_since_ns; /* 0: nothing runs */
    uint64_t waiting_since_ns; /* 0: nothing waits */
    char *waiting_for;         /* owned; or NULL */
};

/* A record of `call`, without handlers so far. */
struct trace *trace_new(const struct hook_call *call, struct slice topic);
/* NULL is fine. */
void trace_free(struct trace *t);

/* The next handler begins; takes the contents of `before`. */
void trace_begin(struct trace *t, const struct handler *h, struct trace_fields *before);
/* It is over, with this verdict; takes the contents of `after` (NULL: nobody can tell).
 * Harmless when there is none, or it is over already. */
void trace_end(struct trace *t, enum verdict verdict, uint8_t reason_code,
               struct trace_fields *after);
/* It failed. */
void trace_fail(struct trace *t, const char *text);
/* The handler that runs, or NULL. */
struct trace_run *trace_current(struct trace *t);

/* It goes to work, and stops. */
void trace_work(struct trace *t);
void trace_pause(struct trace *t);
/* It waits for `what` (taken), until trace_waited. */
void trace_wait(struct trace *t, char *what);
void trace_waited(struct trace *t);
/* Something worth telling, as printf has it: with the handler that runs, or the call. */
void trace_note(struct trace *t, enum trace_note_type type, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
