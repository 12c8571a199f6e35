/* pg.h -- a connection to PostgreSQL: the object behind sol.pg, and how it waits.
 *
 * libpq's asynchronous half on the loop.  A connection is connecting, open or closed, and
 * does one thing at a time; a wait that is cancelled closes it. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_PG_H
#define SOL_SCRIPT_PG_H

#include "io/pool.h"
#include "script/object.h"
#include "script/op.h"

#define PG_STATEMENTS 64 /* prepared on one connection */

struct pg_conn; /* libpq's PGconn */

/* What stays with a connection, also in a pool: the state of its stream. */
struct pg_session {
    struct pg_conn *conn;            /* owned */
    char *statements[PG_STATEMENTS]; /* owned: SQL that is prepared as "sol_N" */
    unsigned statements_len;
    bool is_personal; /* it listens: nobody else wants it */
};

/* What a query sends: parameters lie on the caller's stack. */
struct pg_question {
    const char *sql;
    const char *const *values; /* text; NULL: null */
    int len;
    int statement;     /* prepared under this number; -1: not at all */
    bool is_preparing; /* first this */
};

struct pg {
    struct vm *vm;              /* lent */
    bool is_live;               /* connecting or open: counted, and in a pool */
    struct pg_session *session; /* owned; NULL: none yet */
    struct watch watch;
    struct pool *pool; /* in use there, or queued; NULL: neither */
    struct pool_turn turn;
    unsigned pool_limit, reused;
    const char *const
        *info; /* keywords and values by turns, NULL ends them; on l_connect's stack */
    uint64_t timeout_ms;
    struct op connect, query, notice;
    char *text; /* owned: why something failed */
    /* the query under way */
    struct pg_question question;
    void *held;   /* a notification to be told; owned */
    int rows_ref; /* registry reference of its result table */
    lua_Integer rows_len;
    size_t taken, result_max; /* bytes of it */
};

extern const struct object_type pg_type;

/* Pushes a closed one. [-0, +1, m] */
struct pg *pg_new(lua_State *L);
/* Gives up what is being done, closes, leaves the pool.  Harmless when closed. */
void pg_drop(struct pg *p);
/* For __gc: pg_drop, and what is left. */
void pg_free(struct pg *p);

/* The pool's turn has come: takes the session that was kept, or begins to connect. */
void pg_on_turn(void *obj, struct pooled c);
/* Takes a session that was kept. */
void pg_adopt(struct pg *p, struct pooled c);
/* Begins to connect with p->info; p->connect is on, and is woken later. */
void pg_dial(struct pg *p);
bool pg_is_open(const struct pg *p);

/* The number under which this is prepared, or that of statements there are. */
unsigned pg_find_statement(const struct pg *p, const char *sql);
/* Asks p->question and waits: what the C function returns. [-0, +n, e] */
int pg_ask(lua_State *L, struct pg *p);
/* Waits for a notification: what the C function returns. [-0, +n, e] */
int pg_receive(lua_State *L, struct pg *p, uint64_t timeout_ms);
/* Gives the session to its pool, and closes this object.  NULL, or why (static) it was
 * closed instead. */
const char *pg_keep(struct pg *p, uint64_t idle_ms, unsigned most);

#endif
