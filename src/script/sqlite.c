/* sqlite.c -- the user's SQLite files: open, prepare, step.
 *
 * Everything that could run or wait without an end looks at the question's is_void: the
 * virtual machine every few thousand instructions, the wait for a lock every few
 * milliseconds.  Strings are bounded by the size of a result, so that no single function of
 * SQL's holds a helper up. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/sqlite.h"

#include "base/mem.h"
#include "core/helpers.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#define STATEMENTS_MAX 64 /* kept prepared, the latest used first */
#define SQL_MAX        65536
#define LIKE_MAX       1000 /* bytes of a pattern */
#define STEPS          4000 /* instructions between two looks at is_void */
#define BUSY_STEP_MS   5
#define ROW_WEIGHT     64 /* bytes that a row and a value count for beyond their text */
#define VALUE_WEIGHT   16

struct sqlite_conn {
    struct sqlite_file file; /* path owned */
    sqlite3 *db;             /* NULL: not open */
    dev_t device;            /* of the file that is open */
    ino_t inode;
    sqlite3_stmt *statements[STATEMENTS_MAX];
    unsigned statements_len;
    struct sqlite_question *question; /* lent: being answered */
};

/* ---- values -------------------------------------------------------------------------- */

void sqlite_value_add(struct buf *row, const struct sqlite_value *v) {
    uint8_t kind = (uint8_t)v->kind;
    buf_add(row, &kind, 1);
    switch (v->kind) {
    case SQLITE_IS_NULL: break;
    case SQLITE_IS_INTEGER: buf_add(row, &v->integer, sizeof v->integer); break;
    case SQLITE_IS_FLOAT: buf_add(row, &v->number, sizeof v->number); break;
    case SQLITE_IS_TEXT:
        buf_add(row, &v->text.len, sizeof v->text.len);
        buf_add_slice(row, v->text);
        break;
    }
}

bool sqlite_value_next(struct slice row, size_t *at, struct sqlite_value *out) {
    if (*at >= row.len) return false;
    *out = (struct sqlite_value){ .kind = (enum sqlite_kind)row.at[(*at)++] };
    switch (out->kind) {
    case SQLITE_IS_NULL: break;
    case SQLITE_IS_INTEGER:
        memcpy(&out->integer, row.at + *at, sizeof out->integer);
        *at += sizeof out->integer;
        break;
    case SQLITE_IS_FLOAT:
        memcpy(&out->number, row.at + *at, sizeof out->number);
        *at += sizeof out->number;
        break;
    case SQLITE_IS_TEXT:
        memcpy(&out->text.len, row.at + *at, sizeof out->text.len);
        *at += sizeof out->text.len;
        out->text.at = row.at + *at;
        *at += out->text.len;
        break;
    }
    return true;
}

void sqlite_question_deinit(struct sqlite_question *q) {
    free(q->sql);
    free(q->error);
    buf_deinit(&q->params);
    buf_deinit(&q->values);
    q->sql = q->error = NULL;
    q->params_len = q->columns_len = 0;
    q->rows_len = 0;
}

/* ---- what goes wrong ----------------------------------------------------------------- */

/* The first counts. */
__attribute__((format(printf, 2, 3))) static void fail(struct sqlite_question *q,
                                                       const char *format, ...) {
    va_list args;
    if (q->error) return;
    va_start(args, format);
    must(vasprintf(&q->error, format, args) >= 0);
    va_end(args);
}

static bool is_void(const struct sqlite_question *q) {
    return atomic_load_explicit(&q->is_void, memory_order_relaxed) || helpers_stopping(q->helpers);
}

static int on_progress(void *obj) {
    const struct sqlite_conn *conn = obj;
    return conn->question && is_void(conn->question);
}

/* Somebody else has locked the file: wait a little, or give up. */
static int on_busy(void *obj, int times) {
    const struct sqlite_conn *conn = obj;
    const struct timespec step = { .tv_nsec = BUSY_STEP_MS * 1000000L };
    if (!conn->question || is_void(conn->question)) return 0;
    if (times >= conn->file.busy_ms / BUSY_STEP_MS) return 0;
    nanosleep(&step, NULL);
    return 1;
}

/* Other files are opened as this one was, so that one may see where: not by SQL.  VACUUM
 * attaches one without a name. */
static int on_authorize(void *obj, int action, const char *name, const char *b, const char *c,
                        const char *d) {
    (void)obj, (void)b, (void)c, (void)d;
    return action == SQLITE_ATTACH && (!name || *name) ? SQLITE_DENY : SQLITE_OK;
}

/* ---- life ---------------------------------------------------------------------------- */

struct sqlite_conn *sqlite_conn_new(const struct sqlite_file *file) {
    struct sqlite_conn *conn = xcalloc(1, sizeof *conn);
    conn->file = *file;
    conn->file.path = xstrdup(file->path);
    return conn;
}

static void conn_close(struct sqlite_conn *conn) {
    for (unsigned i = 0; i < conn->statements_len; i++) sqlite3_finalize(conn->statements[i]);
    conn->statements_len = 0;
    sqlite3_close(conn->db);
    conn->db = NULL;
}

void sqlite_conn_free(struct sqlite_conn *conn) {
    if (!conn) return;
    conn_close(conn);
    free((char *)(uintptr_t)conn->file.path);
    free(conn);
}

static void limit(struct sqlite_conn *conn, size_t result_max) {
    int most = result_max < 1 << 20 ? 1 << 20 : (int)result_max;
    sqlite3_limit(conn->db, SQLITE_LIMIT_LENGTH, most);
    sqlite3_limit(conn->db, SQLITE_LIMIT_SQL_LENGTH, SQL_MAX);
    sqlite3_limit(conn->db, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, LIKE_MAX);
    sqlite3_limit(conn->db, SQLITE_LIMIT_WORKER_THREADS, 0);
}

static bool conn_open(struct sqlite_conn *conn, struct sqlite_question *q) {
    int flags =
        conn->file.may_write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
    struct stat st;
    int r = sqlite3_open_v2(conn->file.path, &conn->db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (r != SQLITE_OK || !conn->db) {
        fail(q, "%s: %s", conn->file.path, conn->db ? sqlite3_errmsg(conn->db) : "no memory");
        conn_close(conn);
        return false;
    }
    limit(conn, q->result_max);
    sqlite3_extended_result_codes(conn->db, 1);
    sqlite3_busy_handler(conn->db, on_busy, conn);
    sqlite3_set_authorizer(conn->db, on_authorize, NULL);
    sqlite3_progress_handler(conn->db, STEPS, on_progress, conn);
    if (stat(conn->file.path, &st) == 0) {
        conn->device = st.st_dev;
        conn->inode = st.st_ino;
    }
    return true;
}

/* The file is open, and is the one of that name. */
static bool conn_ready(struct sqlite_conn *conn, struct sqlite_question *q) {
    struct stat st;
    bool is_there = stat(conn->file.path, &st) == 0;
    if (!is_there && !conn->file.may_write) {
        fail(q, "%s: %s", conn->file.path, strerror(errno));
        conn_close(conn);
        return false;
    }
    if (is_there && !S_ISREG(st.st_mode)) { /* opening a pipe would wait for its other end */
        fail(q, "%s: not a regular file", conn->file.path);
        return false;
    }
    if (conn->db && is_there && st.st_dev == conn->device && st.st_ino == conn->inode) return true;
    conn_close(conn);
    return conn_open(conn, q);
}

/* ---- statements ---------------------------------------------------------------------- */

/* The statement at `i` becomes the first. */
static sqlite3_stmt *to_front(struct sqlite_conn *conn, unsigned i) {
    sqlite3_stmt *stmt = conn->statements[i];
    memmove(conn->statements + 1, conn->statements, i * sizeof conn->statements[0]);
    conn->statements[0] = stmt;
    return stmt;
}

static sqlite3_stmt *find_statement(struct sqlite_conn *conn, const char *sql) {
    for (unsigned i = 0; i < conn->statements_len; i++)
        if (strcmp(sqlite3_sql(conn->statements[i]), sql) == 0) return to_front(conn, i);
    return NULL;
}

/* Is there another statement in the rest? */
static bool has_more(struct sqlite_conn *conn, const char *rest) {
    sqlite3_stmt *next = NULL;
    int r = *rest ? sqlite3_prepare_v2(conn->db, rest, -1, &next, NULL) : SQLITE_OK;
    sqlite3_finalize(next);
    return r != SQLITE_OK || next;
}

static sqlite3_stmt *prepare(struct sqlite_conn *conn, struct sqlite_question *q) {
    sqlite3_stmt *stmt = find_statement(conn, q->sql);
    const char *rest = "";
    if (stmt) return stmt;
    /* The length counts the closing zero: so SQLite makes no copy. */
    if (sqlite3_prepare_v3(conn->db, q->sql, (int)q->sql_len + 1, SQLITE_PREPARE_PERSISTENT, &stmt,
                           &rest) != SQLITE_OK) {
        fail(q, "%s", sqlite3_errmsg(conn->db));
        return NULL;
    }
    if (!stmt || has_more(conn, rest)) {
        fail(q, stmt ? "a query holds one statement" : "an empty query");
        sqlite3_finalize(stmt);
        return NULL;
    }
    if (conn->statements_len == STATEMENTS_MAX)
        sqlite3_finalize(conn->statements[--conn->statements_len]);
    conn->statements[conn->statements_len] = stmt;
    return to_front(conn, conn->statements_len++);
}

static int bind_value(sqlite3_stmt *stmt, int n, const struct sqlite_value *v) {
    switch (v->kind) {
    case SQLITE_IS_INTEGER: return sqlite3_bind_int64(stmt, n, v->integer);
    case SQLITE_IS_FLOAT: return sqlite3_bind_double(stmt, n, v->number);
    case SQLITE_IS_TEXT:
        return sqlite3_bind_text64(stmt, n, (const char *)v->text.at, v->text.len, SQLITE_STATIC,
                                   SQLITE_UTF8);
    case SQLITE_IS_NULL: break;
    }
    return sqlite3_bind_null(stmt, n);
}

static bool bind(struct sqlite_conn *conn, sqlite3_stmt *stmt, struct sqlite_question *q) {
    int wanted = sqlite3_bind_parameter_count(stmt), n = 0;
    struct sqlite_value v;
    if (wanted != q->params_len) {
        fail(q, "%d parameters for a statement with %d", q->params_len, wanted);
        return false;
    }
    for (size_t at = 0; sqlite_value_next(buf_slice(&q->params), &at, &v);)
        if (bind_value(stmt, ++n, &v) != SQLITE_OK) {
            fail(q, "parameter %d: %s", n, sqlite3_errmsg(conn->db));
            return false;
        }
    return true;
}

/* ---- rows ---------------------------------------------------------------------------- */

static void take_value(sqlite3_stmt *stmt, int column, struct buf *row) {
    struct sqlite_value v = { .kind = SQLITE_IS_NULL };
    switch (sqlite3_column_type(stmt, column)) {
    case SQLITE_INTEGER:
        v.kind = SQLITE_IS_INTEGER;
        v.integer = sqlite3_column_int64(stmt, column);
        break;
    case SQLITE_FLOAT:
        v.kind = SQLITE_IS_FLOAT;
        v.number = sqlite3_column_double(stmt, column);
        break;
    case SQLITE_TEXT:
    case SQLITE_BLOB:
        v.kind = SQLITE_IS_TEXT; /* the pointer first: it may convert */
        v.text.at = sqlite3_column_blob(stmt, column);
        v.text.len = (size_t)sqlite3_column_bytes(stmt, column);
        break;
    default: break;
    }
    sqlite_value_add(row, &v);
}

static void take_names(sqlite3_stmt *stmt, struct sqlite_question *q) {
    q->columns_len = sqlite3_column_count(stmt);
    for (int c = 0; c < q->columns_len; c++) {
        const char *name = sqlite3_column_name(stmt, c);
        sqlite_value_add(&q->values,
                         &(struct sqlite_value){ .kind = SQLITE_IS_TEXT, .text = slice_str(name) });
    }
}

static bool is_too_large(const struct sqlite_question *q) {
    size_t rows = q->rows_len * (ROW_WEIGHT + (size_t)q->columns_len * VALUE_WEIGHT);
    return q->values.len + rows > q->result_max;
}

/* Takes the row there is; false: the result is too large. */
static bool take_row(sqlite3_stmt *stmt, struct sqlite_question *q) {
    q->rows_len++;
    for (int c = 0; c < q->columns_len; c++) { /* of one row, too: it may have 2000 columns */
        take_value(stmt, c, &q->values);
        if (is_too_large(q)) return false;
    }
    return true;
}

/* The names come after the first step, which prepares a statement anew if need be. */
static void step(struct sqlite_conn *conn, sqlite3_stmt *stmt, struct sqlite_question *q) {
    sqlite3_int64 before = sqlite3_total_changes64(conn->db);
    int r = sqlite3_step(stmt);
    if (r == SQLITE_ROW || r == SQLITE_DONE) take_names(stmt, q);
    for (; r == SQLITE_ROW; r = sqlite3_step(stmt)) {
        if (take_row(stmt, q)) continue;
        fail(q, "result too large");
        return;
    }
    if (r != SQLITE_DONE) fail(q, "%s", sqlite3_errmsg(conn->db));
    /* what a statement that changes nothing leaves is the count of an earlier one */
    if (sqlite3_total_changes64(conn->db) != before) q->affected = sqlite3_changes64(conn->db);
    q->last_id = sqlite3_last_insert_rowid(conn->db);
}

void sqlite_conn_ask(struct sqlite_conn *conn, struct sqlite_question *q) {
    if (is_void(q)) return;
    conn->question = q;
    sqlite3_stmt *stmt = conn_ready(conn, q) ? prepare(conn, q) : NULL;
    if (stmt && bind(conn, stmt, q)) step(conn, stmt, q);
    if (stmt) sqlite3_reset(stmt);
    if (stmt) sqlite3_clear_bindings(stmt);
    if (conn->db && !sqlite3_get_autocommit(conn->db)) {
        sqlite3_exec(conn->db, "ROLLBACK", NULL, NULL, NULL);
        fail(q, "a transaction must not be left open");
    }
    conn->question = NULL;
}
