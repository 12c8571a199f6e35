/* lib_sol.c -- the library `sol`, put together from its modules. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "base/mem.h"
#include "script/vm.h"

/* In the order of docs/lua-api.md. */
static const struct module {
    const char *name; /* NULL: the module's functions become sol's own */
    lua_CFunction open;
} modules[] = {
    { NULL, luaopen_sol_hook },     { NULL, luaopen_sol_publish },
    { NULL, luaopen_sol_clients },  { NULL, luaopen_sol_time },
    { NULL, luaopen_sol_file },     { "log", luaopen_sol_log },
    { "topic", luaopen_sol_topic }, { "json", luaopen_sol_json },
    { "uuid", luaopen_sol_uuid },   { "password", luaopen_sol_password },
};

void lib_merge(lua_State *L) {
    for (lua_pushnil(L); lua_next(L, -2);) { /* into, from, name, value */
        lua_pushvalue(L, -2);                /* into, from, name, value, name */
        lua_insert(L, -2);                   /* into, from, name, name, value */
        lua_rawset(L, -5);                   /* into, from, name */
    }
    lua_pop(L, 1); /* into */
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
    return 1;
}

struct worker *lib_worker(lua_State *L, const char *what) {
    struct worker *w = vm_of(L)->worker;
    if (!w) luaL_error(L, "%s cannot be used while the policy is loaded", what);
    return w;
}
