/* lib_sqlite.c -- sol.sqlite: questions to a file, answered on a helper's thread.
 *
 * A database has a few connections.  Each is idle, or with a query that a helper answers;
 * further queries stand in line.  All of that is the worker's thread's; a helper touches
 * its query and that query's connection alone.  A query nobody waits for any more is void:
 * a helper gives it up, or never begins.  It is freed when it has come home.
 * A database lives as long as its userdata and its queries. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "base/mem.h"
#include "core/helpers.h"
#include "core/worker.h"
#include "script/lib_file.h"
#include "script/net.h"
#include "script/object.h"
#include "script/op.h"
#include "script/options.h"
#include "script/sqlite.h"

#include <stdlib.h>

#define TIMEOUT_MS      5000
#define BUSY_MS         1000
#define RESULT_DEFAULT  (16 << 20) /* bytes */
#define RESULT_MAX      (256 << 20)
#define CONNECTIONS_MAX 8
#define BACKLOG_DEFAULT 1000
#define BACKLOG_MAX     4096
#define PARAMS_MAX      1000

struct query;

struct database {
    unsigned refs; /* its userdata's and its queries' */
    char *path;    /* owned */
    struct sqlite_file file;
    size_t result_max; /* bytes */
    uint64_t timeout_ms;
    bool is_closed;
    struct sqlite_conn *idle[CONNECTIONS_MAX]; /* owned */
    unsigned idle_len, conns_len;              /* conns: idle and in use */
    unsigned limit;                            /* of conns */
    struct query *head, **tail;                /* in line; owned */
    unsigned queue_len, backlog;
};

/* One query, or (without a task that waits) the closing of a connection. */
struct query {
    struct job job;
    struct database *db;      /* reference */
    struct vm *vm;            /* reference */
    struct worker *worker;    /* lent: outlives its jobs */
    struct sqlite_conn *conn; /* with a helper */
    struct sqlite_question question;
    bool is_answered; /* or the helpers have stopped before */
    struct op op;
    struct query *next, **link; /* link == NULL: not in line */
};

static const struct object_type database_type;

/* ---- connections and the line -------------------------------------------------------- */

static void query_free(struct query *q);

static void run_close(struct job *job) {
    struct query *q = CONTAINER_OF(job, struct query, job);
    sqlite_conn_free(q->conn);
    q->conn = NULL;
}

static void done_close(struct job *job) {
    struct query *q = CONTAINER_OF(job, struct query, job);
    sqlite_conn_free(q->conn); /* where the helpers have stopped */
    query_free(q);
}

static struct query *query_new(struct database *db, struct vm *vm) {
    struct query *q = xcalloc(1, sizeof *q);
    q->db = db;
    db->refs++;
    q->vm = vm_ref(vm);
    q->worker = vm->worker;
    q->job.home = &q->worker->inbox;
    return q;
}

/* A helper closes it, since that may write; unless they have stopped. */
static void conn_discard(struct database *db, struct vm *vm, struct sqlite_conn *conn) {
    db->conns_len--;
    if (vm->worker->stopping) {
        sqlite_conn_free(conn);
        return;
    }
    struct query *q = query_new(db, vm);
    q->conn = conn;
    q->job.run = run_close;
    q->job.done = done_close;
    helpers_submit(q->worker->broker->helpers, &q->job);
}

/* What has been asked is still answered. */
static void database_close(struct database *db, struct vm *vm) {
    if (db->is_closed) return;
    db->is_closed = true;
    net_socket_leave(vm);
    while (db->idle_len) conn_discard(db, vm, db->idle[--db->idle_len]);
}

static void database_unref(struct database *db) {
    if (--db->refs) return;
    must(!db->head && !db->idle_len);
    free(db->path);
    free(db);
}

static void query_free(struct query *q) {
    sqlite_question_deinit(&q->question);
    database_unref(q->db);
    vm_unref(q->vm);
    free(q);
}

static void line_up(struct database *db, struct query *q) {
    q->link = db->tail;
    *db->tail = q;
    db->tail = &q->next;
    db->queue_len++;
}

static void leave_line(struct query *q) {
    struct database *db = q->db;
    *q->link = q->next;
    if (q->next)
        q->next->link = q->link;
    else
        db->tail = q->link;
    q->next = NULL;
    q->link = NULL;
    db->queue_len--;
}

/* A connection that may be used now, or NULL. */
static struct sqlite_conn *take_conn(struct database *db) {
    if (db->idle_len) return db->idle[--db->idle_len];
    if (db->conns_len == db->limit) return NULL;
    db->conns_len++;
    return sqlite_conn_new(&db->file);
}

static bool is_full(const struct database *db) {
    return !db->idle_len && db->conns_len == db->limit && db->queue_len >= db->backlog;
}

/* Sends off what is in line, as far as there are connections. */
static void serve(struct database *db) {
    for (struct query *q; (q = db->head);) {
        bool is_ending = q->worker->stopping;
        if (!is_ending && !(q->conn = take_conn(db))) return;
        leave_line(q);
        if (!is_ending) {
            helpers_submit(q->worker->broker->helpers, &q->job);
            continue;
        }
        op_wake(&q->op);
        query_free(q);
    }
}

/* ---- a query ------------------------------------------------------------------------- */

static void run(struct job *job) {
    struct query *q = CONTAINER_OF(job, struct query, job);
    sqlite_conn_ask(q->conn, &q->question);
    q->is_answered = true;
}

/* Nobody waits any more. */
static void on_cancelled(void *obj) {
    struct query *q = obj;
    atomic_store_explicit(&q->question.is_void, true, memory_order_relaxed);
    if (!q->link) return;
    leave_line(q);
    query_free(q);
}

/* Pushes a value; text lives as long as the question. [-0, +1, m] */
static void push_value(lua_State *L, const struct sqlite_value *v) {
    switch (v->kind) {
    case SQLITE_IS_NULL: lua_pushnil(L); break;
    case SQLITE_IS_INTEGER: lua_pushinteger(L, v->integer); break;
    case SQLITE_IS_FLOAT: lua_pushnumber(L, v->number); break;
    case SQLITE_IS_TEXT: lua_pushlstring(L, (const char *)v->text.at, v->text.len); break;
    }
}

/* The result: rows by the names of their columns. [-0, +1, m] */
static void push_rows(lua_State *L, const struct sqlite_question *a) {
    struct slice values = buf_slice(&a->values);
    struct sqlite_value v;
    size_t at = 0;
    lua_createtable(L, (int)a->rows_len, 3); /* result */
    lua_createtable(L, a->columns_len, 0);   /* result, columns */
    for (int c = 1; c <= a->columns_len; c++) {
        sqlite_value_next(values, &at, &v);
        push_value(L, &v);     /* result, columns, name */
        lua_rawseti(L, -2, c); /* result, columns */
    }
    for (size_t row = 1; row <= a->rows_len; row++) {
        lua_createtable(L, 0, a->columns_len); /* result, columns, row */
        for (int c = 1; c <= a->columns_len; c++) {
            sqlite_value_next(values, &at, &v);
            lua_rawgeti(L, -2, c); /* result, columns, row, name */
            push_value(L, &v);     /* result, columns, row, name, value */
            lua_rawset(L, -3);     /* result, columns, row */
        }
        lua_rawseti(L, -3, (lua_Integer)row); /* result, columns */
    }
    lua_setfield(L, -2, "columns");  /* result */
    lua_pushinteger(L, a->affected); /* result, n */
    lua_setfield(L, -2, "affected"); /* result */
    lua_pushinteger(L, a->last_id);  /* result, n */
    lua_setfield(L, -2, "last_id");  /* result */
}

/* What the waiting call gives: also when its time is up, and a helper still at work. */
static int push_answer(lua_State *L, void *obj) {
    struct query *q = obj;
    if (!q->op.why && !q->is_answered) q->op.why = "the broker is stopping";
    if (q->op.why) {
        vm_fail(L, "%s", q->op.why); /* nil, why */
        on_cancelled(q);
        return 2;
    }
    if (q->question.error) return vm_fail(L, "%s", q->question.error); /* nil, why */
    push_rows(L, &q->question);                                        /* result */
    return 1;
}

/* It has come home: the connection goes on to the next, the caller gets the answer. */
static void done(struct job *job) {
    struct query *q = CONTAINER_OF(job, struct query, job);
    struct database *db = q->db;
    if (db->is_closed)
        conn_discard(db, q->vm, q->conn);
    else
        db->idle[db->idle_len++] = q->conn;
    q->conn = NULL;
    serve(db);
    if (q->op.is_on) op_wake(&q->op);
    query_free(q);
}

/* ---- functions ----------------------------------------------------------------------- */

/* The argument as a value; lends its text. [-0, +0, v] */
static void check_value(lua_State *L, int arg, struct sqlite_value *v) {
    *v = (struct sqlite_value){ .kind = SQLITE_IS_NULL };
    switch (lua_type(L, arg)) {
    case LUA_TNIL: return;
    case LUA_TBOOLEAN:
        v->kind = SQLITE_IS_INTEGER;
        v->integer = lua_toboolean(L, arg);
        return;
    case LUA_TNUMBER:
        v->kind = lua_isinteger(L, arg) ? SQLITE_IS_INTEGER : SQLITE_IS_FLOAT;
        v->integer = lua_tointeger(L, arg);
        v->number = lua_tonumber(L, arg);
        return;
    case LUA_TSTRING:
        v->kind = SQLITE_IS_TEXT;
        v->text = vm_to_slice(L, arg);
        return;
    default: break;
    }
    if (!lib_is_null(L, arg))
        luaL_argerror(L, arg, "expected a string, a number, a boolean, nil or sol.json.null");
}

static struct database *check(lua_State *L) {
    return *(struct database **)object_check(L, 1, &database_type);
}

/* What the arguments ask.  Nothing may raise. */
static struct query *query_make(lua_State *L, struct database *db, struct slice sql, int top) {
    struct query *q = query_new(db, vm_of(L));
    struct sqlite_value v;
    q->job.run = run;
    q->job.done = done;
    q->op = (struct op){ .push = push_answer, .cancelled = on_cancelled, .obj = q };
    q->question.sql = xslicedup(sql);
    q->question.sql_len = sql.len;
    q->question.helpers = q->worker->broker->helpers;
    q->question.result_max = db->result_max;
    q->question.params_len = top - 2;
    for (int arg = 3; arg <= top; arg++) {
        check_value(L, arg, &v);
        sqlite_value_add(&q->question.params, &v);
    }
    return q;
}

static int database_query(lua_State *L) {
    struct database *db = check(L);
    struct slice sql = vm_check_slice(L, 2);
    struct sqlite_value v;
    int top = lua_gettop(L);
    luaL_argcheck(L, !memchr(sql.at, 0, sql.len), 2, "SQL has no zero byte");
    luaL_argcheck(L, top - 2 <= PARAMS_MAX, 2, "more than 1000 parameters");
    for (int arg = 3; arg <= top; arg++) check_value(L, arg, &v);
    struct worker *w = lib_worker(L, "sol.sqlite");
    if (db->is_closed) return vm_fail(L, "closed");
    if (w->stopping) return vm_fail(L, "the broker is stopping");
    if (is_full(db)) return vm_fail(L, "too many queries wait for this file");
    if (!task_can_wait(L)) task_wait(L, NULL, NULL); /* raises */

    bool was = vm_uncap(vm_of(L)); /* nothing may raise any more */
    struct query *q = query_make(L, db, sql, top);
    vm_of(L)->is_capped = was;
    op_begin(L, &q->op, db->timeout_ms);
    line_up(db, q);
    serve(db);
    return task_park(L);
}

static int database_close_method(lua_State *L) {
    struct database *db = check(L);
    if (db->is_closed) return vm_fail(L, "closed");
    database_close(db, vm_of(L));
    lua_pushboolean(L, 1); /* db, true */
    return 1;
}

static int database_gc(lua_State *L) {
    struct database **block = lua_touserdata(L, 1), *db = *block;
    *block = NULL;
    if (!db) return 0;
    database_close(db, vm_of(L));
    database_unref(db);
    return 0;
}

static int database_to_be_closed(lua_State *L) {
    database_close(check(L), vm_of(L));
    return 0;
}

static void *resolve(lua_State *L, void *block) {
    (void)L;
    return *(struct database **)block;
}

static void get_open(lua_State *L, void *obj) {
    lua_pushboolean(L, !((struct database *)obj)->is_closed);
}

static const struct field fields[] = {
    { "open", get_open, NULL },
    { NULL, NULL, NULL },
};

static const luaL_Reg methods[] = {
    { "query", database_query },
    { "close", database_close_method },
    { NULL, NULL },
};

static const luaL_Reg meta[] = {
    { "__close", database_to_be_closed },
    { NULL, NULL },
};

static const struct object_type database_type = {
    .name = "sqlite database",
    .fields = fields,
    .methods = methods,
    .resolve = resolve,
    .gc = database_gc,
    .meta = meta,
};

static const char *const option_names[] = { "write",      "timeout",     "busy_timeout",
                                            "max_result", "connections", "backlog",
                                            NULL };

/* sol.sqlite.open(path [, options]) */
static int l_open(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    lua_settop(L, 2); /* path, options */
    options_check(L, 2, "sol.sqlite.open", option_names);
    struct database config = {
        .refs = 1,
        .file.may_write = options_boolean(L, 2, "write", false),
        .file.busy_ms = (int)options_ms(L, 2, "busy_timeout", BUSY_MS),
        .timeout_ms = options_ms(L, 2, "timeout", TIMEOUT_MS),
        .result_max = (size_t)options_integer(L, 2, "max_result", 1, RESULT_MAX, RESULT_DEFAULT),
        .limit = (unsigned)options_integer(L, 2, "connections", 1, CONNECTIONS_MAX, 1),
        .backlog = (unsigned)options_integer(L, 2, "backlog", 0, BACKLOG_MAX, BACKLOG_DEFAULT),
    };
    const char *path = file_push_path(L, name);                  /* path, options, full path */
    if (path[0] != '/') path = lua_pushfstring(L, "./%s", path); /* SQLite knows other names */
    lua_gc(L, LUA_GCSTEP, 4); /* one forgotten costs more than its userdata */
    struct database **block = object_new(L, &database_type, sizeof *block, 0); /* ..., db */
    if (!net_socket_enter(vm_of(L))) return vm_fail(L, "too many sockets");
    *block = xmalloc(sizeof **block);
    **block = config;
    (*block)->path = xstrdup(path);
    (*block)->file.path = (*block)->path;
    (*block)->tail = &(*block)->head;
    return 1;
}

static const luaL_Reg functions[] = {
    { "open", l_open },
    { NULL, NULL },
};

int luaopen_sol_sqlite(lua_State *L) {
    object_register(L, &database_type);
    luaL_newlib(L, functions); /* functions */
    return 1;
}
