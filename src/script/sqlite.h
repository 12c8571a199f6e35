/* sqlite.h -- a connection to an SQLite file of the user's, and questions to it.
 *
 * No Lua here: a question holds copies of all it needs, is answered on a helper's thread
 * and carries its answer home.  A connection serves one thread at a time. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_SQLITE_H
#define SOL_SCRIPT_SQLITE_H

#include "base/buf.h"

#include <stdatomic.h>

struct helpers;
struct sqlite_conn;

/* What to open. */
struct sqlite_file {
    const char *path; /* absolute, or with a slash in it: "./x.db" */
    bool may_write;   /* and be made */
    int busy_ms;      /* how long to wait for whoever has locked it */
};

/* ---- values -------------------------------------------------------------------------- */

enum sqlite_kind { SQLITE_IS_NULL, SQLITE_IS_INTEGER, SQLITE_IS_FLOAT, SQLITE_IS_TEXT };

struct sqlite_value {
    enum sqlite_kind kind;
    int64_t integer;
    double number;
    struct slice text; /* bytes too */
};

/* Appends a copy to a row of values. */
void sqlite_value_add(struct buf *row, const struct sqlite_value *v);
/* Walks the values: start with *at == 0; false at the end.  Lends text of the row. */
bool sqlite_value_next(struct slice row, size_t *at, struct sqlite_value *out);

/* ---- questions ----------------------------------------------------------------------- */

struct sqlite_question {
    /* set by who asks */
    char *sql; /* owned */
    size_t sql_len;
    struct buf params; /* values */
    int params_len;
    size_t result_max;       /* bytes */
    struct helpers *helpers; /* lent: whose thread it is */
    _Atomic bool is_void;    /* nobody waits any more: any thread may say so */
    /* the answer */
    char *error;       /* owned; NULL: there is none */
    struct buf values; /* the names of the columns, then row after row */
    int columns_len;
    size_t rows_len;
    int64_t affected, last_id; /* rows changed; number of the latest row added */
};

/* Frees what it holds and leaves an empty one. */
void sqlite_question_deinit(struct sqlite_question *q);

/* ---- connections --------------------------------------------------------------------- */

/* Opens nothing yet.  Copies `file`. */
struct sqlite_conn *sqlite_conn_new(const struct sqlite_file *file);
/* Closes the file, which may take its time; NULL is fine. */
void sqlite_conn_free(struct sqlite_conn *conn);
/* Answers `q`; opens the file first if need be, and anew when another has its name now.
 * Ends soon after q->is_void is set. */
void sqlite_conn_ask(struct sqlite_conn *conn, struct sqlite_question *q);

#endif
