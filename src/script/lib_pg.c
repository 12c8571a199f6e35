/* lib_pg.c -- the connection object of sol.pg, and what lua/sol/pg.lua connects with. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib_pg.h"

#include "script/lib.h"
#include "script/lib_file.h"
#include "script/net.h"
#include "script/options.h"
#include "script/pg.h"

#include <stdio.h>
#include <string.h>

#define IDLE_MAX    30 /* connections in a pool without a size */
#define IDLE_MS     60000
#define PARAMS_MAX  1000
#define RESULT_MAX  (256 << 20) /* bytes */
#define FOR_EVER_MS 86400000u

/* Where the object lies on the stack of l_pg_connect. */
#define AT_CONNECTION 3

/* ---- parameters -------------------------------------------------------------------------- */

/* Puts the value at `index` there as PostgreSQL's text, and lends that; NULL for null.
 * [-0, +0, v] */
static const char *to_text(lua_State *L, int index) {
    char number[32];
    switch (lua_type(L, index)) {
    case LUA_TNIL: return NULL;
    case LUA_TUSERDATA:
        if (lib_is_null(L, index)) return NULL;
        break;
    case LUA_TBOOLEAN:
        lua_pushstring(L, lua_toboolean(L, index) ? "t" : "f"); /* ..., text */
        lua_replace(L, index);                                  /* ... */
        break;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index)) break;
        snprintf(number, sizeof number, "%.17g", lua_tonumber(L, index));
        lua_pushstring(L, number); /* ..., text */
        lua_replace(L, index);     /* ... */
        break;
    default: break;
    }
    size_t len;
    const char *text = luaL_checklstring(L, index, &len);
    luaL_argcheck(L, strlen(text) == len, index, "a zero byte: send bytes as '\\x' and hex digits");
    return text;
}

/* Pushes the array of the parameters from index 3 on. [-0, +1, v] */
static void push_params(lua_State *L, struct pg_question *q) {
    int top = lua_gettop(L);
    luaL_argcheck(L, top - 2 <= PARAMS_MAX, 2, "more than 1000 parameters");
    q->len = top - 2;
    const char **values = lua_newuserdatauv(L, ((size_t)q->len + 1) * sizeof *values, 0);
    for (int i = 0; i < q->len; i++) values[i] = to_text(L, i + 3);
    q->values = values;
}

/* ---- methods ------------------------------------------------------------------------------- */

static struct pg *check(lua_State *L) {
    struct pg *p = object_check(L, 1, &pg_type);
    op_check_free(L, &p->query, "using this connection");
    op_check_free(L, &p->notice, "using this connection");
    return p;
}

static const char *check_sql(lua_State *L) {
    size_t len;
    const char *sql = luaL_checklstring(L, 2, &len);
    luaL_argcheck(L, strlen(sql) == len, 2, "SQL has no zero byte");
    return sql;
}

static int pg_query(lua_State *L) {
    struct pg *p = check(L);
    struct pg_question q = { .sql = check_sql(L), .statement = -1 };
    push_params(L, &q); /* pg, sql, ..., params */
    if (!pg_is_open(p)) return vm_fail(L, "closed");
    p->question = q;
    return pg_ask(L, p);
}

static int pg_execute(lua_State *L) {
    struct pg *p = check(L);
    struct pg_question q = { .sql = check_sql(L), .statement = -1 };
    push_params(L, &q); /* pg, sql, ..., params */
    if (!pg_is_open(p)) return vm_fail(L, "closed");
    unsigned number = pg_find_statement(p, q.sql);
    if (number < PG_STATEMENTS) q.statement = (int)number;
    q.is_preparing = number < PG_STATEMENTS && number == p->session->statements_len;
    p->question = q;
    return pg_ask(L, p);
}

static int pg_listen(lua_State *L) {
    struct pg *p = check(L);
    const char *channel = luaL_checkstring(L, 2);
    lua_settop(L, 2);                              /* pg, channel */
    channel = luaL_gsub(L, channel, "\"", "\"\""); /* pg, channel, escaped */
    p->question = (struct pg_question){ .statement = -1 };
    p->question.sql = lua_pushfstring(L, "LISTEN \"%s\"", channel); /* pg, channel, escaped, sql */
    if (!pg_is_open(p)) return vm_fail(L, "closed");
    p->session->is_personal = true;
    return pg_ask(L, p);
}

static int pg_receive_method(lua_State *L) {
    struct pg *p = check(L);
    uint64_t ms = lua_isnoneornil(L, 2) ? FOR_EVER_MS : options_check_ms(L, 2);
    if (!pg_is_open(p)) return vm_fail(L, "closed");
    return pg_receive(L, p, ms);
}

static int pg_keepalive(lua_State *L) {
    struct pg *p = check(L);
    uint64_t idle_ms = lua_isnoneornil(L, 2) ? IDLE_MS : options_check_ms(L, 2);
    lua_Integer most = luaL_optinteger(L, 3, p->pool_limit ? p->pool_limit : IDLE_MAX);
    luaL_argcheck(L, most >= 0 && most <= NET_SOCKETS_MAX, 3, "expected 0 to 4096 connections");
    if (!pg_is_open(p)) return vm_fail(L, "closed");
    const char *why = pg_keep(p, idle_ms, (unsigned)most);
    if (why) return vm_fail(L, "%s", why);
    lua_pushboolean(L, 1); /* pg, ..., true */
    return 1;
}

static int pg_close(lua_State *L) {
    struct pg *p = object_check(L, 1, &pg_type);
    if (!pg_is_open(p)) return vm_fail(L, "closed");
    pg_drop(p);
    lua_pushboolean(L, 1); /* pg, true */
    return 1;
}

static int pg_gc(lua_State *L) {
    pg_free(lua_touserdata(L, 1));
    return 0;
}

static int pg_to_be_closed(lua_State *L) {
    pg_drop(object_check(L, 1, &pg_type));
    return 0;
}

static void *resolve(lua_State *L, void *block) {
    (void)L;
    return block;
}

static void get_open(lua_State *L, void *obj) {
    lua_pushboolean(L, pg_is_open(obj));
}

static void get_reused(lua_State *L, void *obj) {
    lua_pushinteger(L, ((struct pg *)obj)->reused);
}

static const struct field fields[] = {
    { "open", get_open, NULL },
    { "reused", get_reused, NULL },
    { NULL, NULL, NULL },
};

static const luaL_Reg methods[] = {
    { "query", pg_query },
    { "execute", pg_execute },
    { "listen", pg_listen },
    { "receive", pg_receive_method },
    { "keepalive", pg_keepalive },
    { "close", pg_close },
    { NULL, NULL },
};

static const luaL_Reg meta[] = {
    { "__close", pg_to_be_closed },
    { NULL, NULL },
};

const struct object_type pg_type = {
    .name = "pg connection",
    .fields = fields,
    .methods = methods,
    .resolve = resolve,
    .gc = pg_gc,
    .meta = meta,
};

/* ---- functions --------------------------------------------------------------------------------
 */

/* The connection, or nil and why. */
static int push_connected(lua_State *L, void *obj) {
    struct pg *p = obj;
    if (p->connect.why) {
        vm_fail(L, "%s", p->connect.why); /* info, options, pg, ..., nil, why */
        pg_drop(p);
        return 2;
    }
    lua_pushvalue(L, AT_CONNECTION); /* info, options, pg, ..., pg */
    return 1;
}

/* Pushes an array of the strings in the list at index 1, ended by NULL. [-0, +1, m] */
static const char *const *push_info(lua_State *L) {
    lua_Integer len = (lua_Integer)lua_rawlen(L, 1);
    const char **info = lua_newuserdatauv(L, ((size_t)len + 1) * sizeof *info, 0); /* ..., info */
    for (lua_Integer i = 0; i < len; i++) {
        lua_rawgeti(L, 1, i + 1); /* ..., info, word */
        info[i] = lua_tostring(L, -1);
        lua_pop(L, 1); /* ..., info: the list keeps the word */
    }
    info[len] = NULL;
    return info;
}

/* pg_connect({ keyword, value, ... }, { timeout, pool, pool_size, backlog, max_result }):
 * pg.lua has checked what scripts may get wrong. */
static int l_pg_connect(lua_State *L) {
    struct pooled c;
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2); /* info, options */
    lib_worker(L, "sol.pg");
    struct pg *p = pg_new(L); /* info, options, pg */
    p->info = push_info(L);   /* info, options, pg, info */
    p->timeout_ms = options_ms(L, 2, "timeout", 1);
    p->result_max = (size_t)options_integer(L, 2, "max_result", 1, RESULT_MAX, 1);
    struct pool_bounds bounds = {
        .limit = (unsigned)options_integer(L, 2, "pool_size", 1, NET_SOCKETS_MAX, 0),
        .backlog = (unsigned)options_integer(L, 2, "backlog", 0, NET_SOCKETS_MAX, 0),
    };
    const char *name = options_push_string(L, 2, "pool"); /* ..., pool */
    p->pool_limit = bounds.limit;
    p->connect.push = push_connected;
    p->turn.fn = pg_on_turn;
    p->turn.obj = p;
    if (!task_can_wait(L)) op_begin(L, &p->connect, 1); /* raises */
    if (!net_socket_enter(p->vm)) return vm_fail(L, "too many sockets");
    p->is_live = true;
    struct pool *pool = pool_get(net_pools(p->vm), name);
    enum pool_result r = pool_take(pool, &bounds, &p->turn, &c);
    if (r == POOL_FULL) {
        pg_drop(p);
        return vm_fail(L, "too many wait for this pool");
    }
    p->pool = pool;
    if (r == POOL_TAKEN && c.stream.fd >= 0) {
        pg_adopt(p, c);
        lua_pushvalue(L, AT_CONNECTION); /* info, options, pg, ..., pg */
        return 1;
    }
    op_begin(L, &p->connect, p->timeout_ms);
    if (r == POOL_TAKEN) pg_dial(p);
    return task_park(L);
}

/* path_of(name): as from the folder of sol.lua */
static int l_path_of(lua_State *L) {
    file_push_path(L, luaL_checkstring(L, 1));
    return 1;
}

static const luaL_Reg functions[] = {
    { "pg_connect", l_pg_connect },
    { "path_of", l_path_of },
    { NULL, NULL },
};

void lib_pg_add(lua_State *L) {
    object_register(L, &pg_type);
    luaL_setfuncs(L, functions, 0); /* native */
}
