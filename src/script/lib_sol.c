/* lib_sol.c -- the library `sol`, put together from its modules.
 *
 * First those in C, then those in Lua (lua/sol/), which are given `sol` as it is by then
 * and `native`: primitives that scripts do not see, and what earlier ones left there for
 * later ones. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "base/mem.h"
#include "script/lib_http.h"
#include "script/lib_jwt.h"
#include "script/lib_mqtt.h"
#include "script/lib_pg.h"
#include "script/lib_shared.h"
#include "script/lib_subscribe.h"
#include "script/lib_wait.h"
#include "script/policy.h"
#include "script/sandbox.h"
#include "script/script.h"
#include "script/suggest.h"
#include "script/vm.h"
#include "script/watch.h"

/* In the order of docs/lua-api.md. */
static const struct module {
    const char *name; /* NULL: the module's functions become sol's own */
    lua_CFunction open;
} modules[] = {
    { NULL, luaopen_sol_hook },
    { NULL, luaopen_sol_publish },
    { NULL, luaopen_sol_retain },
    { NULL, luaopen_sol_clients },
    { NULL, luaopen_sol_grant },
    { NULL, luaopen_sol_time },
    { NULL, luaopen_sol_file },
    { NULL, luaopen_sol_append },
    { "log", luaopen_sol_log },
    { "topic", luaopen_sol_topic },
    { "json", luaopen_sol_json },
    { "uuid", luaopen_sol_uuid },
    { "password", luaopen_sol_password },
    { NULL, luaopen_sol_stats },
    { NULL, luaopen_sol_crypto },
    { "base64", luaopen_sol_base64 },
    { "hex", luaopen_sol_hex },
    { "shared", luaopen_sol_shared },
    { "kv", luaopen_sol_kv },
    { "socket", luaopen_sol_socket },
    { "dns", luaopen_sol_dns },
    { "sqlite", luaopen_sol_sqlite },
};

/* Embedded chunks: each gives a table whose fields become sol's own. */
static const char *const lua_modules[] = {
    "options",   "task", "semaphore", "once",      "lru",           "cache",   "rate",  "breaker",
    "keys",      "jwks", "jwt",       "subscribe", "metrics",       "http",    "redis", "pg",
    "mqtt_link", "mqtt", "template",  "rules",     "authenticator", "observe",
};

int lib_suggest(lua_State *L) {
    char buf[SUGGEST_MAX + 24];
    struct suggest near;
    suggest_init(&near, luaL_checkstring(L, 1));
    luaL_checktype(L, 2, LUA_TTABLE);
    for (lua_Integer i = 1; lua_rawgeti(L, 2, i) == LUA_TSTRING; i++) { /* word, names, name */
        suggest_offer(&near, lua_tostring(L, -1));
        lua_pop(L, 1); /* word, names */
    }
    lua_pushstring(L, suggest_text(&near, buf)); /* word, names, nil, text */
    return 1;
}

void lib_merge(lua_State *L) {
    for (lua_pushnil(L); lua_next(L, -2);) { /* into, from, name, value */
        lua_pushvalue(L, -2);                /* into, from, name, value, name */
        lua_insert(L, -2);                   /* into, from, name, name, value */
        lua_rawset(L, -5);                   /* into, from, name */
    }
    lua_pop(L, 1); /* into */
}

/* Pushes the primitives of the Lua modules. [-0, +1, m] */
static void push_native(lua_State *L) {
    lua_newtable(L); /* native */
    lib_wait_add(L);
    lib_jwt_add(L);
    lib_shared_add(L);
    lib_subscribe_add(L);
    lib_http_add(L);
    lib_pg_add(L);
    lib_mqtt_add(L);
    watch_add(L);
    lua_pushcfunction(L, lib_suggest); /* native, suggest */
    lua_setfield(L, -2, "suggest");    /* native */
}

/* ask(kind, ...): what the world's stand-in says. */
static int l_ask(lua_State *L) {
    const struct offline *offline = script_of(L)->offline;
    return offline->ask(offline->obj, L);
}

/* sol and native are on top. [-0, +0, e] */
static void add_lua_module(lua_State *L, const char *name) {
    lua_pushvalue(L, -2);    /* sol, native, sol */
    lua_pushvalue(L, -2);    /* sol, native, sol, native */
    sandbox_run(L, name, 2); /* sol, native, module */
    lua_insert(L, -2);       /* sol, module, native */
    lua_insert(L, -3);       /* native, sol, module */
    lib_merge(L);            /* native, sol */
    lua_insert(L, -2);       /* sol, native */
}

/* sol is on top. [-0, +0, e] */
static void add_lua_modules(lua_State *L) {
    push_native(L); /* sol, native */
    if (script_of(L)->offline) {
        lua_pushcfunction(L, l_ask);  /* sol, native, ask */
        lua_setfield(L, -2, "ask");   /* sol, native */
        add_lua_module(L, "offline"); /* before those that keep what it replaces */
    }
    for (unsigned i = 0; i < ARRAY_LEN(lua_modules); i++) add_lua_module(L, lua_modules[i]);
    lua_pop(L, 1); /* sol */
}

int luaopen_sol(lua_State *L) {
    lua_newtable(L); /* sol */
    for (unsigned i = 0; i < ARRAY_LEN(modules); i++) {
        modules[i].open(L); /* sol, module */
        if (modules[i].name)
            lua_setfield(L, -2, modules[i].name); /* sol */
        else
            lib_merge(L); /* sol */
    }
    lua_pushliteral(L, SOL_VERSION); /* sol, version */
    lua_setfield(L, -2, "version");  /* sol */
    add_lua_modules(L);
    return 1;
}

struct worker *lib_worker(lua_State *L, const char *what) {
    struct worker *w = vm_of(L)->worker;
    if (!w) luaL_error(L, "%s cannot be used while the policy is loaded", what);
    return w;
}
