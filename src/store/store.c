/* store.c -- the store's thread.
 *
 * What is filed is a list under a lock; the thread takes the whole list, writes it in one
 * transaction and only then lets go of it.  Invariant: a change leaves the list when it is on
 * the disk, or when the store is closed and the disk does not take it.
 *
 * The connection holds the file's lock as long as it lives (locking_mode = EXCLUSIVE): a second
 * broker finds it taken.  WAL with synchronous = FULL syncs once a transaction. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "store/store.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/worker.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#define APPLICATION 0x536f6c31  /* "Sol1": SQLite's application_id */
#define VERSION     1           /* of the tables: user_version */
#define BYTES_MAX   (64u << 20) /* that wait to be written */
#define RETRY_S     1           /* between two attempts of a disk that fails */
#define GATHER_S    1   /* durability = "async": what comes in that time is written together */
#define SWEEP_S     600 /* between two looks for what is over */

/* A row to be written, or a notice to be brought when those before it are. */
struct change {
    struct change *next;
    struct worker *worker;         /* of a notice; lent */
    struct persist_notice *notice; /* taken; NULL: a row */
    struct persist_row row;
    size_t bytes; /* of all this */
    uint8_t copy[];
};

struct store {
    struct persist port; /* first */
    struct log *log;     /* lent */
    char *path;          /* owned */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    /* under it */
    struct change *first, **end;
    size_t bytes; /* filed and not written yet */
    bool is_closing;
    /* the thread's, once it runs */
    sqlite3 *db;
    sqlite3_stmt *put, *del;
    unsigned sweep_s;       /* between two sweeps */
    uint64_t next_sweep_ms; /* monotonic */
    bool has_lost;          /* something that was filed: no later notice may say that all is safe */
    char *why;              /* owned: the latest failure, or NULL */
};

/* ---- SQL -------------------------------------------------------------------------- */

static int execute(struct store *s, const char *sql) {
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL);
}

/* The first column of the first row, or -1. */
static int64_t number_of(struct store *s, const char *sql) {
    sqlite3_stmt *stmt = NULL;
    int64_t n = -1;
    if (sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return n;
}

static int bind_blob(sqlite3_stmt *stmt, int at, struct slice s) {
    return sqlite3_bind_blob64(stmt, at, s.len ? (const void *)s.at : "", s.len, SQLITE_STATIC);
}

static int bind_value(sqlite3_stmt *stmt, int at, const struct persist_row *row) {
    switch (row->kind) {
    case PERSIST_REAL: return sqlite3_bind_double(stmt, at, row->real);
    case PERSIST_TEXT: return bind_blob(stmt, at, row->text);
    default: return sqlite3_bind_int64(stmt, at, row->integer);
    }
}

/* A statement that gives no rows. */
static int finish(sqlite3_stmt *stmt) {
    sqlite3_step(stmt);
    return sqlite3_reset(stmt); /* what went wrong, if anything */
}

static int write_row(struct store *s, const struct persist_row *row) {
    if (row->kind == PERSIST_NONE) {
        bind_blob(s->del, 1, row->key);
        return finish(s->del);
    }
    bind_blob(s->put, 1, row->key);
    sqlite3_bind_int(s->put, 2, (int)row->kind);
    bind_value(s->put, 3, row);
    sqlite3_bind_int64(s->put, 4, (int64_t)row->expires_ms);
    return finish(s->put);
}

/* All of it, or nothing. */
static int write_batch(struct store *s, const struct change *batch) {
    int r = execute(s, "BEGIN IMMEDIATE");
    for (const struct change *c = batch; c && r == SQLITE_OK; c = c->next)
        if (!c->notice) r = write_row(s, &c->row);
    if (r == SQLITE_OK) r = execute(s, "COMMIT");
    if (r == SQLITE_OK) return r;
    /* before the next statement, which changes what it says */
    free(s->why);
    s->why = xstrdup(sqlite3_errmsg(s->db));
    if (!sqlite3_get_autocommit(s->db)) execute(s, "ROLLBACK");
    return r;
}

static uint64_t wall_ms(void) {
    return clock_wall_ns(&clock_system) / 1000000;
}

static uint64_t now_ms(void) {
    return clock_monotonic_ns(&clock_system) / 1000000;
}

/* Forgets what is over, now and then; if that fails, the next time does it. */
static void sweep(struct store *s) {
    char sql[96];
    if (now_ms() < s->next_sweep_ms) return;
    s->next_sweep_ms = now_ms() + s->sweep_s * UINT64_C(1000);
    snprintf(sql, sizeof sql, "DELETE FROM kv WHERE expires > 0 AND expires <= %llu",
             (unsigned long long)wall_ms());
    execute(s, sql);
}

/* ---- the thread ---------------------------------------------------------------------- */

/* Waits until there is something to do or `seconds` have passed; under the lock. */
static void wait_for_work(struct store *s, unsigned seconds) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += seconds;
    pthread_cond_timedwait(&s->work, &s->lock, &until);
}

/* Waits for a while that nothing but the end cuts short; under the lock. */
static void wait_long(struct store *s, unsigned seconds) {
    uint64_t until = now_ms() + seconds * UINT64_C(1000);
    while (!s->is_closing && now_ms() < until) wait_for_work(s, seconds);
}

/* The batch is written, or is given up. */
static void let_go(struct store *s, struct change *batch) {
    size_t bytes = 0;
    for (struct change *c; (c = batch);) {
        batch = c->next;
        bytes += c->bytes;
        if (c->notice) {
            c->notice->is_safe = !s->has_lost;
            mail_chore(c->worker, &c->notice->chore);
        }
        free(c);
    }
    pthread_mutex_lock(&s->lock);
    s->bytes -= bytes;
    pthread_mutex_unlock(&s->lock);
}

/* Tries until it is written; false: the store is closed and it is not. */
static bool write_or_wait(struct store *s, const struct change *batch) {
    bool is_failing = false;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        bool is_last = s->is_closing;
        pthread_mutex_unlock(&s->lock);
        if (write_batch(s, batch) == SQLITE_OK) break;
        if (!is_failing || is_last)
            log_error(s->log, "store", "%s: %s; %s", s->path, s->why,
                      is_last ? "the latest changes are lost"
                              : "nothing more is safe until it can be written again");
        is_failing = true;
        if (is_last) return false;
        pthread_mutex_lock(&s->lock);
        wait_long(s, RETRY_S);
        pthread_mutex_unlock(&s->lock);
    }
    if (is_failing) log_info(s->log, "store", "%s can be written again", s->path);
    return true;
}

static struct change *take_all(struct store *s) {
    struct change *batch = s->first;
    s->first = NULL;
    s->end = &s->first;
    return batch;
}

static void *run(void *obj) {
    struct store *s = obj;
    pthread_mutex_lock(&s->lock);
    while (s->first || !s->is_closing) {
        if (!s->first) wait_for_work(s, s->sweep_s);
        if (s->first && !s->port.waits) wait_long(s, GATHER_S);
        struct change *batch = take_all(s);
        pthread_mutex_unlock(&s->lock);
        if (batch && !write_or_wait(s, batch)) s->has_lost = true;
        let_go(s, batch);
        sweep(s);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- the port -------------------------------------------------------------------------- */

static struct store *store_of(struct persist *p) {
    return CONTAINER_OF(p, struct store, port);
}

static void file(struct store *s, struct change *c) {
    pthread_mutex_lock(&s->lock);
    *s->end = c;
    s->end = &c->next;
    s->bytes += c->bytes;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

static bool port_is_full(struct persist *p) {
    struct store *s = store_of(p);
    pthread_mutex_lock(&s->lock);
    bool is_full = s->bytes > BYTES_MAX;
    pthread_mutex_unlock(&s->lock);
    return is_full;
}

static void port_put(struct persist *p, const struct persist_row *row) {
    size_t text_len = row->kind == PERSIST_TEXT ? row->text.len : 0;
    size_t bytes = sizeof(struct change) + row->key.len + text_len;
    struct change *c = xmalloc(bytes);
    *c = (struct change){ .row = *row, .bytes = bytes };
    memcpy(c->copy, row->key.at, row->key.len);
    if (text_len) memcpy(c->copy + row->key.len, row->text.at, text_len);
    c->row.key.at = c->copy;
    c->row.text = slice_of(c->copy + row->key.len, text_len);
    file(store_of(p), c);
}

static void port_notify(struct persist *p, struct worker *w, struct persist_notice *n) {
    struct change *c = xcalloc(1, sizeof *c);
    c->worker = w;
    c->notice = n;
    c->bytes = sizeof *c;
    file(store_of(p), c);
}

/* ---- opening ----------------------------------------------------------------------------- */

/* What is wrong with the file, or NULL. */
static const char *look_at(struct store *s) {
    int64_t tables = number_of(s, "SELECT count(*) FROM sqlite_master");
    if (tables < 0) return sqlite3_errmsg(s->db);
    if (tables == 0) return NULL;
    if (number_of(s, "PRAGMA application_id") != APPLICATION)
        return "it is a database, but not one of Sol's";
    if (number_of(s, "PRAGMA user_version") > VERSION) return "it was written by a later Sol";
    return NULL;
}

/* Makes what is not there.  In a transaction, which takes the file's lock for good. */
static int make_tables(struct store *s) {
    char sql[512];
    snprintf(sql, sizeof sql,
             "BEGIN IMMEDIATE;"
             "PRAGMA application_id = %d;"
             "PRAGMA user_version = %d;"
             "CREATE TABLE IF NOT EXISTS kv (key BLOB PRIMARY KEY, kind INTEGER NOT NULL,"
             " value ANY, expires INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
             "COMMIT",
             APPLICATION, VERSION);
    int r = execute(s, sql);
    if (r == SQLITE_OK)
        r = sqlite3_prepare_v2(s->db, "REPLACE INTO kv VALUES (?, ?, ?, ?)", -1, &s->put, NULL);
    if (r == SQLITE_OK)
        r = sqlite3_prepare_v2(s->db, "DELETE FROM kv WHERE key = ?", -1, &s->del, NULL);
    return r;
}

/* NULL, or what is wrong. */
static const char *open_db(struct store *s) {
    mode_t was = umask(077);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int r = sqlite3_open_v2(s->path, &s->db, flags, NULL);
    if (r == SQLITE_OK) r = execute(s, "PRAGMA locking_mode = EXCLUSIVE");
    const char *fault = r == SQLITE_OK ? look_at(s) : sqlite3_errmsg(s->db);
    if (!fault && execute(s, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL") != SQLITE_OK)
        fault = sqlite3_errmsg(s->db);
    if (!fault && make_tables(s) != SQLITE_OK) fault = sqlite3_errmsg(s->db);
    umask(was);
    if (sqlite3_errcode(s->db) == SQLITE_BUSY) fault = "it is in use by another process";
    return fault;
}

static struct slice blob_of(sqlite3_stmt *stmt, int column) {
    const void *at = sqlite3_column_blob(stmt, column); /* before its length is asked for */
    return slice_of(at ? at : "", (size_t)sqlite3_column_bytes(stmt, column));
}

static void show_row(sqlite3_stmt *stmt, store_row_fn *fn, void *obj) {
    struct persist_row row = { .key = blob_of(stmt, 0),
                               .kind = (enum persist_kind)sqlite3_column_int(stmt, 1),
                               .expires_ms = (uint64_t)sqlite3_column_int64(stmt, 3) };
    if (row.kind == PERSIST_REAL && sqlite3_column_type(stmt, 2) == SQLITE_NULL)
        row.real = NAN; /* which SQLite has no other word for */
    else if (row.kind == PERSIST_REAL)
        row.real = sqlite3_column_double(stmt, 2);
    else if (row.kind == PERSIST_TEXT)
        row.text = blob_of(stmt, 2);
    else
        row.integer = sqlite3_column_int64(stmt, 2);
    fn(obj, &row);
}

static int load(struct store *s, store_row_fn *fn, void *obj) {
    sqlite3_stmt *stmt = NULL;
    sweep(s);
    int r = sqlite3_prepare_v2(s->db, "SELECT key, kind, value, expires FROM kv", -1, &stmt, NULL);
    if (r == SQLITE_OK)
        while ((r = sqlite3_step(stmt)) == SQLITE_ROW) show_row(stmt, fn, obj);
    sqlite3_finalize(stmt);
    return r == SQLITE_DONE ? SQLITE_OK : r;
}

static void store_free(struct store *s) {
    sqlite3_finalize(s->put);
    sqlite3_finalize(s->del);
    sqlite3_close(s->db);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    free(s->why);
    free(s->path);
    free(s);
}

static struct store *store_new(const struct store_opts *opts) {
    struct store *s = xcalloc(1, sizeof *s);
    pthread_condattr_t attr;
    s->port = (struct persist){
        .waits = opts->waits, .is_full = port_is_full, .put = port_put, .notify = port_notify
    };
    s->log = opts->log;
    s->sweep_s = opts->sweep_s ? opts->sweep_s : SWEEP_S;
    s->path = xstrdup(opts->path);
    s->end = &s->first;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->work, &attr);
    pthread_condattr_destroy(&attr);
    return s;
}

int store_open(const struct store_opts *opts, store_row_fn *fn, void *obj, struct store **out,
               char **error) {
    struct store *s = store_new(opts);
    const char *fault = open_db(s);
    if (!fault && load(s, fn, obj) != SQLITE_OK) fault = sqlite3_errmsg(s->db);
    if (!fault && thread_start(&s->thread, "sol-store", run, s) < 0) fault = "no thread for it";
    if (!fault) {
        *out = s;
        return 0;
    }
    must(asprintf(error, "the store %s cannot be used: %s", s->path, fault) >= 0);
    store_free(s);
    return -EINVAL;
}

struct persist *store_port(struct store *s) {
    return s ? &s->port : NULL;
}

void store_close(struct store *s) {
    if (!s) return;
    pthread_mutex_lock(&s->lock);
    s->is_closing = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    store_free(s);
}
