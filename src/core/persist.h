/* persist.h -- the port to what outlives the process.
 *
 * Changes are filed from any thread and written in the order of filing.  What a change says
 * holds for those who look already while it is on its way to the disk; who must not speak of
 * it before it is safe asks for a notice.  src/store fills the port in. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_PERSIST_H
#define SOL_CORE_PERSIST_H

#include "base/slice.h"
#include "core/mail.h"

struct worker;

enum persist_kind {
    PERSIST_NONE, /* nothing there: the row is deleted */
    PERSIST_BOOLEAN,
    PERSIST_INTEGER,
    PERSIST_REAL,
    PERSIST_TEXT
};

/* What is kept under one key of sol.kv. */
struct persist_row {
    struct slice key;
    enum persist_kind kind;
    union {
        int64_t integer; /* 0 or 1 for a boolean */
        double real;
    };
    struct slice text;
    uint64_t expires_ms; /* since 1970; 0: never */
};

/* "What was filed before me is safe", brought to a worker. */
struct persist_notice {
    struct chore chore; /* `run` is set by whoever asks */
    bool is_safe;       /* out: false when it could not be written, and now never will */
};

struct persist {
    bool waits; /* durability = "sync": who makes a change goes on when it is safe */
    /* Does so much wait to be written that nothing should be added?  Any thread. */
    bool (*is_full)(struct persist *p);
    /* Copies the row.  Any thread. */
    void (*put)(struct persist *p, const struct persist_row *row);
    /* Takes the notice until its chore is run on `w`.  Any thread. */
    void (*notify)(struct persist *p, struct worker *w, struct persist_notice *n);
};

#endif
