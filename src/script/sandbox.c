/* sandbox.c -- Lua's libraries, made safe for a broker.
 *
 * Left out: what ends or blocks the process (os.exit, os.execute, io), loads machine code
 * or bytecode, or looks into other functions (debug).  Each name left out says what to
 * use instead.  Made bounded: C functions that loop without an end the budget could
 * reach, since no hook is called inside C (patterns that backtrack, string.rep of "",
 * table.move over 2^63 places, table functions on a __len that lies, sorting millions).
 * Forbidden: __gc, because Lua runs finalizers with hooks off. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/sandbox.h"

#include "base/log.h"
#include "base/mem.h"
#include "script/embed.h"
#include "script/lib.h"
#include "script/lib_file.h"
#include "script/vm.h"

#include <lualib.h>
#include <string.h>

/* ---- what is not there --------------------------------------------------------- */

struct absent {
    const char *table; /* NULL: a global */
    const char *name;
    const char *instead;
};

static const struct absent absents[] = {
    { NULL, "dofile", "use require, or plugin() in sol.lua" },
    { NULL, "loadfile", "use require, or plugin() in sol.lua" },
    { "os", "exit", "send the broker SIGTERM" },
    { "os", "execute", "a policy cannot start programs" },
    { "os", "remove", "a policy cannot change files" },
    { "os", "rename", "a policy cannot change files" },
    { "os", "tmpname", "a policy cannot change files" },
    { "os", "setlocale", "the locale belongs to the whole process" },
    { "string", "dump", "bytecode cannot be loaded" },
    { "debug", "getinfo", "only debug.traceback is there" },
    { "debug", "sethook", "only debug.traceback is there" },
};

/* Upvalues: the full name, what to use instead. */
static int l_absent(lua_State *L) {
    return luaL_error(L, "%s is not available in a policy: %s",
                      lua_tostring(L, lua_upvalueindex(1)), lua_tostring(L, lua_upvalueindex(2)));
}

static int io_index(lua_State *L) {
    return luaL_error(L,
                      "io.%s is not available in a policy: use sol.read_file to read a file, "
                      "sol.log to write",
                      luaL_tolstring(L, 2, NULL));
}

/* Puts functions that explain themselves where something was left out; the globals are on
 * top. [-0, +0, m] */
static void add_absents(lua_State *L) {
    for (unsigned i = 0; i < ARRAY_LEN(absents); i++) {
        const struct absent *a = &absents[i];
        if (a->table)
            lua_getfield(L, -1, a->table); /* globals, table */
        else
            lua_pushvalue(L, -1); /* globals, globals */
        if (a->table)
            lua_pushfstring(L, "%s.%s", a->table, a->name);
        else
            lua_pushstring(L, a->name);   /* globals, table, full name */
        lua_pushstring(L, a->instead);    /* globals, table, full name, instead */
        lua_pushcclosure(L, l_absent, 2); /* globals, table, fn */
        lua_setfield(L, -2, a->name);     /* globals, table */
        lua_pop(L, 1);                    /* globals */
    }
    lua_newtable(L);                /* globals, io */
    lua_newtable(L);                /* globals, io, meta */
    lua_pushcfunction(L, io_index); /* globals, io, meta, fn */
    lua_setfield(L, -2, "__index"); /* globals, io, meta */
    lua_setmetatable(L, -2);        /* globals, io */
    lua_setfield(L, -2, "io");      /* globals */
}

/* ---- what is bounded ----------------------------------------------------------- */

#define MOVE_MAX 10000000 /* elements of one table.move */

/* Calls the library's own function, upvalue 1, with the arguments. */
static int call_original(lua_State *L) {
    lua_pushvalue(L, lua_upvalueindex(1));       /* args, fn */
    lua_insert(L, 1);                            /* fn, args */
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET); /* results */
    return lua_gettop(L);
}

static int l_rep(lua_State *L) {
    size_t len, sep_len = 0;
    luaL_checklstring(L, 1, &len);
    luaL_optlstring(L, 3, "", &sep_len);
    if (len + sep_len > 0) return call_original(L);
    luaL_checkinteger(L, 2);
    lua_pushliteral(L, ""); /* args, "" */
    return 1;
}

static int l_move(lua_State *L) {
    lua_Integer from = luaL_checkinteger(L, 2), to = luaL_checkinteger(L, 3);
    if (to > from && (lua_Unsigned)to - (lua_Unsigned)from > MOVE_MAX)
        return luaL_argerror(L, 3, "too many elements to move");
    return call_original(L);
}

/* Table functions that loop over #t: a __len of the script's own may say anything. */
static int l_honest_len(lua_State *L) {
    if (luaL_getmetafield(L, 1, "__len") != LUA_TNIL)
        return luaL_argerror(L, 1, "a table with a __len is not taken here");
    return call_original(L);
}

#define SORT_MAX 10000 /* elements sorted by C's own comparison */

/* A long table without a comparison of its own is sorted by one in Lua, where the budget
 * can end it. */
static int l_sort(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    if (lua_isnoneornil(L, 2) && lua_rawlen(L, 1) > SORT_MAX) {
        lua_settop(L, 1);                               /* t */
        lua_getfield(L, LUA_REGISTRYINDEX, "sol.less"); /* t, less */
    }
    return l_honest_len(L);
}

static int l_setmetatable(lua_State *L) {
    if (lua_istable(L, 2)) {
        lua_pushliteral(L, "__gc");       /* t, meta, "__gc" */
        if (lua_rawget(L, 2) != LUA_TNIL) /* t, meta, gc */
            return luaL_error(L, "__gc is not available in a policy: use a <close> variable");
        lua_pop(L, 1); /* t, meta */
    }
    return call_original(L);
}

static int l_collectgarbage(lua_State *L) {
    if (strcmp(luaL_optstring(L, 1, "collect"), "count") != 0)
        return luaL_error(L, "collectgarbage: only \"count\" is available in a policy");
    lua_pushnumber(L, (lua_Number)vm_of(L)->used_bytes / 1024.0); /* ..., KiB */
    return 1;
}

struct bound {
    const char *table; /* NULL: a global */
    const char *name;
    lua_CFunction fn; /* with the library's function as upvalue 1 */
};

static const struct bound bounds[] = {
    { "string", "rep", l_rep },
    { "table", "move", l_move },
    { "table", "concat", l_honest_len },
    { "table", "insert", l_honest_len },
    { "table", "remove", l_honest_len },
    { "table", "sort", l_sort },
    { "table", "unpack", l_honest_len },
    { NULL, "setmetatable", l_setmetatable },
    { NULL, "collectgarbage", l_collectgarbage },
};

/* Wraps them; the globals are on top. [-0, +0, m] */
static void add_bounds(lua_State *L) {
    for (unsigned i = 0; i < ARRAY_LEN(bounds); i++) {
        if (bounds[i].table)
            lua_getfield(L, -1, bounds[i].table); /* globals, table */
        else
            lua_pushvalue(L, -1);             /* globals, globals */
        lua_getfield(L, -1, bounds[i].name);  /* globals, table, original */
        lua_pushcclosure(L, bounds[i].fn, 1); /* globals, table, fn */
        lua_setfield(L, -2, bounds[i].name);  /* globals, table */
        lua_pop(L, 1);                        /* globals */
    }
}

/* ---- print ---------------------------------------------------------------------- */

/* A policy has no terminal: what it prints goes to the log. */
static int l_print(lua_State *L) {
    int n = lua_gettop(L);
    luaL_Buffer line;
    luaL_buffinit(L, &line);
    for (int i = 1; i <= n; i++) {
        if (i > 1) luaL_addchar(&line, '\t');
        luaL_tolstring(L, i, NULL); /* args, ..., text */
        luaL_addvalue(&line);       /* args, ... */
    }
    luaL_pushresult(&line); /* args, line */
    log_info(vm_of(L)->log, "policy", "%s", lua_tostring(L, -1));
    return 0;
}

/* ---- the globals ---------------------------------------------------------------- */

static const char globals_key = 'g';

/* Copies names of the library on top into a fresh table in its place. [-1, +1, m] */
static void keep_only(lua_State *L, const char *const *names) {
    lua_newtable(L); /* library, kept */
    for (; *names; names++) {
        lua_getfield(L, -2, *names); /* library, kept, value */
        lua_setfield(L, -2, *names); /* library, kept */
    }
    lua_remove(L, -2); /* kept */
}

static const char *const base_names[] = {
    "assert",   "collectgarbage", "error",  "getmetatable", "ipairs",   "next",   "pairs",
    "pcall",    "rawequal",       "rawget", "rawlen",       "rawset",   "select", "setmetatable",
    "tonumber", "tostring",       "type",   "xpcall",       "_VERSION", NULL,
};
static const char *const os_names[] = { "clock", "date", "difftime", "getenv", "time", NULL };
static const char *const debug_names[] = { "traceback", NULL };

struct library {
    const char *name;
    lua_CFunction open;
    const char *const *names; /* what is kept of it; NULL: all */
    lua_CFunction replace;    /* gives functions in place of some; NULL: none */
};

static const struct library libraries[] = {
    { "string", luaopen_string, NULL, luaopen_sol_string },
    { "table", luaopen_table, NULL, NULL },
    { "math", luaopen_math, NULL, NULL },
    { "utf8", luaopen_utf8, NULL, NULL },
    { "os", luaopen_os, os_names, NULL },
    { "debug", luaopen_debug, debug_names, NULL },
    { "coroutine", luaopen_sol_coroutine, NULL, NULL },
};

/* Hides the metatable of strings: what is put there is seen by everybody. [-0, +0, m] */
static void seal_strings(lua_State *L) {
    lua_pushliteral(L, "");             /* "" */
    lua_getmetatable(L, -1);            /* "", meta */
    lua_pushboolean(L, 0);              /* "", meta, false */
    lua_setfield(L, -2, "__metatable"); /* "", meta */
    lua_pop(L, 2);                      /* */
}

void sandbox_open(lua_State *L) {
    luaL_requiref(L, "_G", luaopen_base, 0);             /* base */
    lua_getfield(L, -1, "load");                         /* base, load */
    lua_setfield(L, LUA_REGISTRYINDEX, "sol.load");      /* base */
    luaL_loadstring(L, "local a, b = ... return a < b"); /* base, less */
    lua_setfield(L, LUA_REGISTRYINDEX, "sol.less");      /* base */
    keep_only(L, base_names);                            /* globals */
    for (unsigned i = 0; i < ARRAY_LEN(libraries); i++) {
        luaL_requiref(L, libraries[i].name, libraries[i].open, 0); /* globals, library */
        if (libraries[i].names) keep_only(L, libraries[i].names);
        if (libraries[i].replace) {
            libraries[i].replace(L); /* globals, library, functions */
            lib_merge(L);            /* globals, library */
        }
        lua_setfield(L, -2, libraries[i].name); /* globals */
    }
    seal_strings(L);
    lua_pushcfunction(L, l_print); /* globals, print */
    lua_setfield(L, -2, "print");  /* globals */
    add_absents(L);
    add_bounds(L);
    luaL_requiref(L, "sol", luaopen_sol, 0);         /* globals, sol: errors know its functions */
    lua_setfield(L, -2, "sol");                      /* globals */
    lua_pushvalue(L, -1);                            /* globals, globals */
    lua_rawsetp(L, LUA_REGISTRYINDEX, &globals_key); /* globals */
}

void sandbox_push(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &globals_key); /* globals */
}

/* ---- loading --------------------------------------------------------------------- */

void sandbox_prelude(lua_State *L) {
    const struct embedded *e = embedded_lua;
    while (e->name && strcmp(e->name, "prelude") != 0) e++;
    must(e->name != NULL);
    if (luaL_loadbufferx(L, e->source, e->len, "=prelude", "t") != LUA_OK) lua_error(L);
    sandbox_push(L);          /* native, chunk, globals */
    lua_setupvalue(L, -2, 1); /* native, chunk */
    lua_insert(L, -2);        /* chunk, native */
    lua_call(L, 1, 1);        /* result */
}

int sandbox_load_file(lua_State *L, const char *path) {
    struct slice text;
    const char *why;
    int env = lua_gettop(L);
    if (!file_push(L, path, &text, &why)) { /* env, text */
        lua_pop(L, 1);                      /* */
        return vm_fail(L, "%s: %s", path, why);
    }
    lua_pushfstring(L, "@%s", path); /* env, text, chunk name */
    if (luaL_loadbufferx(L, (const char *)text.at, text.len, lua_tostring(L, -1), "t") != LUA_OK) {
        lua_pushnil(L);          /* env, text, chunk name, error, nil */
        lua_replace(L, env);     /* nil, text, chunk name, error */
        lua_replace(L, env + 1); /* nil, error, chunk name */
        lua_settop(L, env + 1);  /* nil, error */
        return 2;
    }
    lua_pushvalue(L, env);    /* env, text, chunk name, fn, env */
    lua_setupvalue(L, -2, 1); /* env, text, chunk name, fn */
    lua_replace(L, env);      /* fn, text, chunk name */
    lua_settop(L, env);       /* fn */
    return 1;
}
