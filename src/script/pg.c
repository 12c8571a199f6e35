/* pg.c -- libpq without its blocking half.
 *
 * While connecting libpq may close its socket and open another, so the watch is taken off
 * before each step and put on again after it.  Rows become Lua values as they arrive (libpq
 * would pile them up), in a table that the registry keeps.  A kept connection is a stream
 * whose read only lets libpq look: the pool needs no more. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/pg.h"

#include "base/mem.h"
#include "core/worker.h"
#include "script/net.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static PGconn *conn_of(const struct pg_session *s) {
    return (PGconn *)(void *)s->conn;
}

static struct loop *loop_of(const struct pg *p) {
    return p->vm->worker->loop;
}

/* ---- a session as a stream --------------------------------------------------------------- */

static void session_free(struct pg_session *s) {
    PQfinish(conn_of(s));
    for (unsigned i = 0; i < s->statements_len; i++) free(s->statements[i]);
    free(s);
}

static ssize_t idle_read(struct stream *stream, void *at, size_t len) {
    const struct pg_session *s = stream->state;
    (void)at;
    (void)len;
    if (!PQconsumeInput(conn_of(s)) || PQstatus(conn_of(s)) != CONNECTION_OK) return -ECONNRESET;
    for (PGnotify *n; (n = PQnotifies(conn_of(s)));) PQfreemem(n);
    return -EAGAIN;
}

static ssize_t no_write(struct stream *stream, const struct iovec *iov, int n) {
    (void)stream;
    (void)iov;
    (void)n;
    return -EPIPE;
}

static void no_finish(struct stream *stream) {
    (void)stream;
}

static void idle_close(struct stream *stream) {
    session_free(stream->state);
    *stream = (struct stream){ stream->type, -1, NULL };
}

static const struct stream_type stream_pg = {
    .name = "postgresql",
    .read = idle_read,
    .writev = no_write,
    .finish = no_finish,
    .close = idle_close,
};

/* ---- life ------------------------------------------------------------------------------------ */

static void result_forget(struct pg *p) {
    if (p->rows_ref) luaL_unref(p->vm->L, LUA_REGISTRYINDEX, p->rows_ref);
    p->rows_ref = 0;
}

void pg_drop(struct pg *p) {
    if (!p->is_live) return;
    p->is_live = false;
    loop_unwatch(loop_of(p), &p->watch);
    if (p->session) session_free(p->session);
    p->session = NULL;
    PQfreemem(p->held);
    p->held = NULL;
    result_forget(p);
    struct pool *pool = p->pool;
    p->pool = NULL;
    if (pool && p->turn.link)
        pool_turn_cancel(pool, &p->turn);
    else if (pool)
        pool_leave(pool);
    net_socket_leave(p->vm);
    op_fail(&p->connect, "closed");
    op_fail(&p->query, "closed");
    op_fail(&p->notice, "closed");
}

static void on_cancelled(void *obj) {
    pg_drop(obj);
}

/* libpq's message, in one line, as ours; lent until the next. */
static const char *keep_text(struct pg *p, const char *message) {
    while (strncmp(message, "ERROR:", 6) == 0 || strncmp(message, "FATAL:", 6) == 0 ||
           *message == ' ')
        message += *message == ' ' ? 1 : 6;
    size_t len = strlen(message);
    while (len && message[len - 1] == '\n') len--;
    char *text = xslicedup(slice_of(message, len));
    free(p->text);
    p->text = text;
    for (; *text; text++)
        if (*text == '\n' || *text == '\t') *text = ' ';
    return p->text;
}

static const char *conn_error(struct pg *p) {
    return keep_text(p, PQerrorMessage(conn_of(p->session)));
}

static void watch(struct pg *p, closure_fn *fn, unsigned interest) {
    p->watch.closure = (struct closure){ .fn = fn, .obj = p, .name = "sol.pg" };
    loop_watch(loop_of(p), &p->watch, PQsocket(conn_of(p->session)), interest);
}

/* ---- connecting -------------------------------------------------------------------------------
 */

static void on_event(struct closure *self, unsigned events);

static void on_connecting(struct closure *self, unsigned events) {
    struct pg *p = self->obj;
    (void)events;
    loop_unwatch(loop_of(p), &p->watch);
    switch (PQconnectPoll(conn_of(p->session))) {
    case PGRES_POLLING_READING: watch(p, on_connecting, LOOP_READ); return;
    case PGRES_POLLING_WRITING: watch(p, on_connecting, LOOP_WRITE); return;
    case PGRES_POLLING_OK:
        PQsetnonblocking(conn_of(p->session), 1);
        watch(p, on_event, 0);
        break;
    default: p->connect.why = conn_error(p);
    }
    op_wake(&p->connect);
}

/* Notices are for people at terminals. */
static void no_notice(void *obj, const PGresult *result) {
    (void)obj;
    (void)result;
}

void pg_dial(struct pg *p) {
    const char *names[32], *values[32];
    int n = 0;
    for (; p->info[2 * n] && n < 31; n++) {
        names[n] = p->info[2 * n];
        values[n] = p->info[2 * n + 1];
    }
    names[n] = values[n] = NULL;
    p->session = xcalloc(1, sizeof *p->session);
    p->session->conn = (struct pg_conn *)(void *)PQconnectStartParams(names, values, 0);
    must(p->session->conn != NULL);
    PQsetNoticeReceiver(conn_of(p->session), no_notice, NULL);
    if (PQstatus(conn_of(p->session)) == CONNECTION_BAD)
        op_fail(&p->connect, conn_error(p));
    else
        watch(p, on_connecting, LOOP_WRITE);
}

void pg_adopt(struct pg *p, struct pooled c) {
    p->session = c.stream.state;
    p->reused = c.reused;
    watch(p, on_event, 0);
}

void pg_on_turn(void *obj, struct pooled c) {
    struct pg *p = obj;
    if (c.stream.fd < 0) {
        pg_dial(p);
        return;
    }
    pg_adopt(p, c);
    op_wake(&p->connect);
}

/* ---- rows
 * ---------------------------------------------------------------------------------------- */

enum {
    OID_BOOL = 16,
    OID_BYTEA = 17,
    OID_INT8 = 20,
    OID_INT2 = 21,
    OID_INT4 = 23,
    OID_OID = 26,
    OID_FLOAT4 = 700,
    OID_FLOAT8 = 701
};

/* Pushes a value that is not null. [-0, +1, m] */
static void push_value(lua_State *L, const PGresult *r, int row, int column) {
    const char *text = PQgetvalue(r, row, column);
    size_t len = 0;
    switch (PQftype(r, column)) {
    case OID_BOOL: lua_pushboolean(L, text[0] == 't'); return;
    case OID_INT2:
    case OID_INT4:
    case OID_INT8:
    case OID_OID: lua_pushinteger(L, strtoll(text, NULL, 10)); return;
    case OID_FLOAT4:
    case OID_FLOAT8: lua_pushnumber(L, strtod(text, NULL)); return;
    case OID_BYTEA: {
        unsigned char *bytes = PQunescapeBytea((const unsigned char *)text, &len);
        lua_pushlstring(L, bytes ? (const char *)bytes : "", len);
        PQfreemem(bytes);
        return;
    }
    default: lua_pushlstring(L, text, (size_t)PQgetlength(r, row, column));
    }
}

/* Appends the rows to the result table; false when that is too large. */
static bool take_rows(struct pg *p, const PGresult *r) {
    lua_State *L = p->vm->L;
    int columns = PQnfields(r);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->rows_ref); /* result */
    for (int row = 0; row < PQntuples(r) && p->taken <= p->result_max; row++) {
        lua_createtable(L, 0, columns); /* result, row */
        p->taken += 64;                 /* or so, of an empty row */
        for (int c = 0; c < columns; c++) {
            if (PQgetisnull(r, row, c)) continue;
            p->taken += (size_t)PQgetlength(r, row, c) + 16;
            push_value(L, r, row, c);           /* result, row, value */
            lua_setfield(L, -2, PQfname(r, c)); /* result, row */
        }
        lua_rawseti(L, -2, ++p->rows_len); /* result */
    }
    lua_pop(L, 1); /* */
    return p->taken <= p->result_max;
}

/* The result is complete: names of the columns, and how many rows were changed. */
static void take_end(struct pg *p, const PGresult *r) {
    lua_State *L = p->vm->L;
    int columns = PQnfields(r);
    const char *affected = PQcmdTuples((PGresult *)(uintptr_t)r);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->rows_ref); /* result */
    lua_createtable(L, columns, 0);                 /* result, columns */
    for (int c = 0; c < columns; c++) {
        lua_pushstring(L, PQfname(r, c)); /* result, columns, name */
        lua_rawseti(L, -2, c + 1);        /* result, columns */
    }
    lua_setfield(L, -2, "columns");                  /* result */
    lua_pushinteger(L, strtoll(affected, NULL, 10)); /* result, n */
    lua_setfield(L, -2, "affected");                 /* result */
    lua_pop(L, 1);                                   /* */
}

/* ---- queries
 * -------------------------------------------------------------------------------------- */

static int send_question(struct pg *p) {
    const struct pg_question *q = &p->question;
    char name[16];
    PGconn *conn = conn_of(p->session);
    snprintf(name, sizeof name, "sol_%d", q->statement);
    if (q->is_preparing) return PQsendPrepare(conn, name, q->sql, 0, NULL);
    int ok = q->statement < 0
                 ? PQsendQueryParams(conn, q->sql, q->len, NULL, q->values, NULL, NULL, 0)
                 : PQsendQueryPrepared(conn, name, q->len, q->values, NULL, NULL, 0);
    if (ok) PQsetSingleRowMode(conn);
    return ok;
}

static bool fail(struct pg *p, const char *why) {
    if (!p->query.why) p->query.why = why; /* the first counts */
    return false;
}

/* Likewise, as libpq tells it; the text of the first stays where it is. */
static void fail_conn(struct pg *p) {
    if (!p->query.why) p->query.why = conn_error(p);
}

/* One result; an error goes to p->query.why.  False: the rest need not be awaited. */
static bool take_result(struct pg *p, PGresult *r) {
    switch (PQresultStatus(r)) {
    case PGRES_SINGLE_TUPLE: return take_rows(p, r) || fail(p, "result too large");
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
        if (!p->question.is_preparing) take_end(p, r);
        return true;
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH: return fail(p, "COPY is not supported");
    case PGRES_EMPTY_QUERY: fail(p, "an empty query"); return true;
    default: break;
    }
    if (!p->query.why) fail(p, keep_text(p, PQresultErrorMessage(r)));
    return true;
}

/* May the connection be used after this? */
static bool is_sound(const struct pg *p) {
    const PGconn *conn = conn_of(p->session);
    return PQstatus(conn) == CONNECTION_OK && PQtransactionStatus(conn) != PQTRANS_ACTIVE;
}

enum step { STEP_WAIT, STEP_DONE };

/* All results of a message are there: done, or on to what was prepared. */
static enum step step_on(struct pg *p) {
    struct pg_session *s = p->session;
    if (p->query.why || !p->question.is_preparing) return STEP_DONE;
    s->statements[s->statements_len++] = xstrdup(p->question.sql);
    p->question.is_preparing = false;
    if (send_question(p)) return STEP_WAIT;
    fail_conn(p);
    return STEP_DONE;
}

/* Takes what has come.  Done: p->query.why says whether it failed. */
static enum step step_results(struct pg *p) {
    PGconn *conn = conn_of(p->session);
    bool was = vm_uncap(p->vm); /* nothing may raise while a result is ours */
    enum step step = STEP_WAIT;
    while (!PQisBusy(conn)) {
        PGresult *r = PQgetResult(conn);
        bool goes_on = r && take_result(p, r);
        PQclear(r);
        if (r ? !goes_on : step_on(p) == STEP_DONE) {
            step = STEP_DONE;
            break;
        }
    }
    p->vm->is_capped = was;
    return step;
}

/* Goes on with the query. */
static enum step step_query(struct pg *p) {
    PGconn *conn = conn_of(p->session);
    if (!PQconsumeInput(conn) || step_results(p) == STEP_DONE) {
        if (PQstatus(conn) != CONNECTION_OK) fail_conn(p);
        return STEP_DONE;
    }
    int unsent = PQflush(conn);
    if (unsent < 0) fail_conn(p);
    loop_want(loop_of(p), &p->watch, LOOP_READ | (unsent > 0 ? LOOP_WRITE : 0u));
    return unsent < 0 ? STEP_DONE : STEP_WAIT;
}

/* The result, or nil and why; a connection that is no longer sound is closed. */
static int push_result(lua_State *L, void *obj) {
    struct pg *p = obj;
    int n = 1;
    if (p->query.why)
        n = vm_fail(L, "%s", p->query.why); /* nil, why */
    else
        lua_rawgeti(L, LUA_REGISTRYINDEX, p->rows_ref); /* result */
    result_forget(p);
    if (p->session && !is_sound(p)) pg_drop(p);
    return n;
}

int pg_ask(lua_State *L, struct pg *p) {
    p->query.why = NULL;
    p->rows_len = 0;
    p->taken = 0;
    lua_newtable(L);                              /* ..., result */
    p->rows_ref = luaL_ref(L, LUA_REGISTRYINDEX); /* ... */
    bool is_sent = send_question(p);
    if (!is_sent) fail_conn(p);
    if (!is_sent || step_query(p) == STEP_DONE) return push_result(L, p);
    if (!task_can_wait(L)) pg_drop(p);
    op_begin(L, &p->query, p->timeout_ms);
    return task_park(L);
}

/* ---- notifications
 * ----------------------------------------------------------------------------------- */

/* Has one come, or will none come any more? */
static enum step step_notice(struct pg *p) {
    PGconn *conn = conn_of(p->session);
    if (!PQconsumeInput(conn)) p->notice.why = conn_error(p);
    p->held = PQnotifies(conn);
    loop_want(loop_of(p), &p->watch, LOOP_READ);
    return p->held || p->notice.why ? STEP_DONE : STEP_WAIT;
}

/* { channel, payload, pid }, or nil and why */
static int push_notice(lua_State *L, void *obj) {
    struct pg *p = obj;
    PGnotify *n = p->held;
    if (!n) {
        int pushed = vm_fail(L, "%s", p->notice.why); /* nil, why */
        if (p->session && PQstatus(conn_of(p->session)) != CONNECTION_OK) pg_drop(p);
        return pushed;
    }
    bool was = vm_uncap(p->vm);     /* nothing may raise while it is ours */
    lua_createtable(L, 0, 3);       /* notification */
    lua_pushstring(L, n->relname);  /* notification, channel */
    lua_setfield(L, -2, "channel"); /* notification */
    lua_pushstring(L, n->extra);    /* notification, payload */
    lua_setfield(L, -2, "payload"); /* notification */
    lua_pushinteger(L, n->be_pid);  /* notification, pid */
    lua_setfield(L, -2, "pid");     /* notification */
    p->vm->is_capped = was;
    PQfreemem(n);
    p->held = NULL;
    return 1;
}

int pg_receive(lua_State *L, struct pg *p, uint64_t timeout_ms) {
    p->notice.why = NULL;
    if (step_notice(p) == STEP_DONE) return push_notice(L, p);
    op_begin(L, &p->notice, timeout_ms);
    return task_park(L);
}

/* ---- events ------------------------------------------------------------------------------- */

static void on_event(struct closure *self, unsigned events) {
    struct pg *p = self->obj;
    (void)events;
    if (p->query.is_on) {
        if (step_query(p) == STEP_DONE) op_wake(&p->query);
    } else if (p->notice.is_on) {
        if (step_notice(p) == STEP_DONE) op_wake(&p->notice);
    } else {
        loop_want(loop_of(p), &p->watch, 0);
    }
}

/* ---- keeping --------------------------------------------------------------------------------- */

bool pg_is_open(const struct pg *p) {
    return p->session && !p->connect.is_on;
}

unsigned pg_find_statement(const struct pg *p, const char *sql) {
    unsigned i = 0;
    while (i < p->session->statements_len && strcmp(p->session->statements[i], sql) != 0) i++;
    return i;
}

const char *pg_keep(struct pg *p, uint64_t idle_ms, unsigned most) {
    const char *why = NULL;
    struct pg_session *s = p->session;
    if (PQtransactionStatus(conn_of(s)) != PQTRANS_IDLE) why = "a transaction is open";
    if (s->is_personal) why = "it listens";
    if (why) {
        pg_drop(p);
        return why;
    }
    struct pool *pool = p->pool;
    struct pooled c = { { &stream_pg, PQsocket(conn_of(s)), s }, p->reused };
    p->session = NULL;
    p->pool = NULL;
    pg_drop(p);
    pool_give(pool, c, idle_ms, most);
    return NULL;
}

struct pg *pg_new(lua_State *L) {
    struct pg *p = object_new(L, &pg_type, sizeof *p, 0); /* pg */
    p->vm = vm_of(L);
    p->connect = (struct op){ .cancelled = on_cancelled, .obj = p };
    p->query = (struct op){ .push = push_result, .cancelled = on_cancelled, .obj = p };
    p->notice = (struct op){ .push = push_notice, .cancelled = on_cancelled, .obj = p };
    return p;
}

void pg_free(struct pg *p) {
    pg_drop(p);
    free(p->text);
    p->text = NULL;
}
