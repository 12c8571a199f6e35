/* sandbox.c -- Lua's libraries, made safe for a broker.
 *
 * Left out: what ends or blocks the process (os.exit, os.execute, io), loads machine code
 * or bytecode, or looks into other functions (debug).  Each name left out says what to
 * use instead.  What could run without end is bounded (bounds.c, lib_string.c), __gc is
 * forbidden, because Lua runs finalizers with hooks off.
 *
 * Nothing that one environment can change is seen by another: each has copies of Lua's
 * libraries (prelude.lua), `sol` is a read-only view (seal.c). */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/sandbox.h"

#include "base/log.h"
#include "base/mem.h"
#include "script/bounds.h"
#include "script/embed.h"
#include "script/lib.h"
#include "script/lib_file.h"
#include "script/script.h"
#include "script/seal.h"
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
    { "os", "remove", "a policy can only add to files: sol.append_file" },
    { "os", "rename", "a policy can only add to files: sol.append_file" },
    { "os", "tmpname", "a policy can only add to files: sol.append_file" },
    { "os", "setlocale", "the locale belongs to the whole process" },
    { "string", "dump", "bytecode cannot be loaded" },
    { "debug", "getinfo", "only debug.traceback is there" },
    { "debug", "getlocal", "only debug.traceback is there" },
    { "debug", "getmetatable", "only debug.traceback is there" },
    { "debug", "getupvalue", "only debug.traceback is there" },
    { "debug", "setmetatable", "only debug.traceback is there" },
    { "debug", "setupvalue", "only debug.traceback is there" },
    { "debug", "sethook", "only debug.traceback is there" },
};

/* Upvalues: the full name, what to use instead. */
static int l_absent(lua_State *L) {
    return luaL_error(L, "%s is not available in a policy: %s",
                      lua_tostring(L, lua_upvalueindex(1)), lua_tostring(L, lua_upvalueindex(2)));
}

/* What a function of io does, elsewhere. */
static const char *io_instead(const char *name) {
    static const struct {
        const char *name, *instead;
    } rows[] = {
        { "popen", "a policy cannot start programs" },
        { "open", "use sol.read_file, while the policy loads" },
        { "lines", "use sol.read_file, while the policy loads" },
        { "write", "use sol.log or sol.append_file" },
        { "stderr", "use sol.log" },
        { "stdout", "use sol.log" },
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].name, name) == 0) return rows[i].instead;
    return "use sol.read_file to read a file, sol.append_file or sol.log to write";
}

static int io_index(lua_State *L) {
    const char *name = luaL_tolstring(L, 2, NULL); /* io, key, name */
    return luaL_error(L, "io.%s is not available in a policy: %s", name, io_instead(name));
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
    seal(L, "io");                  /* globals, io */
    lua_getmetatable(L, -1);        /* globals, io, meta */
    lua_pushcfunction(L, io_index); /* globals, io, meta, fn */
    lua_setfield(L, -2, "__index"); /* globals, io, meta */
    lua_pop(L, 1);                  /* globals, io */
    lua_setfield(L, -2, "io");      /* globals */
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
    bounds_add(L);
    lua_pushvalue(L, -1);                            /* globals, globals */
    lua_rawsetp(L, LUA_REGISTRYINDEX, &globals_key); /* globals */
    luaL_requiref(L, "sol", luaopen_sol, 0);         /* globals, sol: errors know its functions */
    seal(L, "sol");                                  /* globals, view */
    lua_setfield(L, -2, "sol");                      /* globals */
}

void sandbox_push(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &globals_key); /* globals */
}

/* ---- loading --------------------------------------------------------------------- */

void sandbox_run(lua_State *L, const char *name, int nargs) {
    embed_push(L, name, script_of(L)->compiled); /* args, chunk */
    sandbox_push(L);                             /* args, chunk, globals */
    lua_setupvalue(L, -2, 1);                    /* args, chunk */
    lua_insert(L, -nargs - 1);                   /* chunk, args */
    lua_call(L, nargs, 1);                       /* result */
}

/* As sandbox_load_file, of the text on top of its environment. */
static int load_text(lua_State *L, const char *path, struct slice text) {
    int env = lua_gettop(L) - 1;
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

int sandbox_load_file(lua_State *L, const char *path) {
    struct slice text;
    const char *why;
    if (!file_push(L, path, &text, &why)) { /* env, text */
        lua_pop(L, 1);                      /* */
        return vm_fail(L, "%s: %s", path, why);
    }
    return load_text(L, path, text); /* fn, or nil, error */
}

int sandbox_load_text(lua_State *L, const char *path, struct slice text) {
    vm_push_slice(L, text);          /* env, text */
    return load_text(L, path, text); /* fn, or nil, error */
}
