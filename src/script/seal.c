/* seal.c -- tables that can be read and not written.
 *
 * A view is an empty table: reading goes on to the real one by `__index`, writing ends in
 * an error.  The real table is reachable through its view alone, so what one plugin does
 * is never seen by another. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/seal.h"

#include "script/settings.h"
#include "script/suggest.h"
#include "script/vm.h"

#include <string.h>

/* In the metatable of a view: true. */
static const char seal_key = 's';

/* Upvalues of the metamethods. */
enum { UP_NAME = 1, UP_REAL };

static const char *name_of(lua_State *L) {
    return lua_tostring(L, lua_upvalueindex(UP_NAME));
}

/* Offers the members of the real table. [-0, +0, -] */
static void offer_members(lua_State *L, struct suggest *near) {
    lua_pushvalue(L, lua_upvalueindex(UP_REAL));         /* ..., real */
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) /* ..., real, name, value */
        if (lua_type(L, -2) == LUA_TSTRING) suggest_offer(near, lua_tostring(L, -2));
    lua_pop(L, 1); /* ... */
}

/* A member that is not there is read. */
static int l_unknown(lua_State *L) {
    char buf[SUGGEST_MAX + 24];
    struct suggest near;
    if (lua_type(L, 2) != LUA_TSTRING)
        return luaL_error(L, "%s has no member of type %s", name_of(L), luaL_typename(L, 2));
    suggest_init(&near, lua_tostring(L, 2));
    offer_members(L, &near);
    return luaL_error(L, "%s has no member \"%s\"%s", name_of(L), near.word,
                      suggest_text(&near, buf));
}

/* Any member is assigned. */
static int l_assign(lua_State *L) {
    char buf[SUGGEST_MAX + 24];
    struct suggest near;
    const char *member = luaL_tolstring(L, 2, NULL); /* view, key, value, member */
    const char *name = name_of(L);
    if (strcmp(name, "sol") == 0 && setting_find(slice_str(member)))
        return luaL_error(L, "sol.%s cannot be assigned: it is a setting, written \"%s = ...\"",
                          member, member);
    lua_pushvalue(L, 2); /* view, key, value, member, key */
    if (lua_rawget(L, lua_upvalueindex(UP_REAL)) != LUA_TNIL)
        return luaL_error(L, "%s.%s cannot be replaced", name, member);
    suggest_init(&near, member);
    if (strcmp(name, "sol") == 0) settings_offer(&near, SETTING_FILE);
    if (near.distance <= SUGGEST_MAX)
        return luaL_error(L, "sol.%s cannot be assigned%s (a setting is written without \"sol.\")",
                          member, suggest_text(&near, buf));
    return luaL_error(L, "%s cannot be changed (.%s); a value of your own needs \"local\"", name,
                      member);
}

static int view_next(lua_State *L) {
    lua_settop(L, 2);
    lua_pushvalue(L, lua_upvalueindex(1)); /* view, key, real */
    lua_insert(L, 2);                      /* view, real, key */
    return lua_next(L, 2) ? 2 : 0;         /* view, real, key, value */
}

static int l_pairs(lua_State *L) {
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(UP_REAL)); /* view, real */
    lua_pushcclosure(L, view_next, 1);           /* view, next */
    lua_insert(L, 1);                            /* next, view */
    return 2;
}

/* Sets meta[event] = fn, with the name and the real table; meta is on top. [-0, +0, m] */
static void set_meta(lua_State *L, int real, const char *name, const char *event,
                     lua_CFunction fn) {
    lua_pushstring(L, name);    /* meta, name */
    lua_pushvalue(L, real);     /* meta, name, real */
    lua_pushcclosure(L, fn, 2); /* meta, fn */
    lua_setfield(L, -2, event); /* meta */
}

/* Seals the tables within the one on top. [-0, +0, m] */
static void seal_members(lua_State *L, const char *name) {
    int real = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, real);) { /* real, key, value */
        if (!lua_istable(L, -1) || lua_type(L, -2) != LUA_TSTRING || seal_is(L, -1)) {
            lua_pop(L, 1); /* real, key */
            continue;
        }
        lua_pushfstring(L, "%s.%s", name, lua_tostring(L, -2)); /* real, key, value, name */
        lua_insert(L, -2);                                      /* real, key, name, value */
        seal(L, lua_tostring(L, -2));                           /* real, key, name, view */
        lua_remove(L, -2);                                      /* real, key, view */
        lua_pushvalue(L, -2);                                   /* real, key, view, key */
        lua_insert(L, -2);                                      /* real, key, key, view */
        lua_rawset(L, real);                                    /* real, key */
    }
}

void seal(lua_State *L, const char *name) {
    int real = lua_gettop(L);
    luaL_checkstack(L, 8, NULL);
    seal_members(L, name);
    lua_newtable(L);          /* real, view */
    lua_createtable(L, 1, 6); /* real, view, meta */
    lua_pushboolean(L, 1);    /* real, view, meta, true */
    lua_rawsetp(L, -2, &seal_key);
    lua_pushvalue(L, real);         /* real, view, meta, real */
    lua_setfield(L, -2, "__index"); /* real, view, meta */
    lua_pushboolean(L, 0);          /* real, view, meta, false */
    lua_setfield(L, -2, "__metatable");
    set_meta(L, real, name, "__newindex", l_assign);
    set_meta(L, real, name, "__pairs", l_pairs);
    if (luaL_getmetafield(L, real, "__call") != LUA_TNIL) /* real, view, meta, call */
        lua_setfield(L, -2, "__call");                    /* real, view, meta */
    lua_setmetatable(L, -2);                              /* real, view */
    if (!lua_getmetatable(L, real)) lua_newtable(L);      /* real, view, real's meta */
    set_meta(L, real, name, "__index", l_unknown);
    lua_setmetatable(L, real); /* real, view */
    lua_remove(L, real);       /* view */
}

bool seal_is(lua_State *L, int index) {
    if (!lua_istable(L, index) || !lua_getmetatable(L, index)) return false; /* meta */
    bool is = lua_rawgetp(L, -1, &seal_key) == LUA_TBOOLEAN;                 /* meta, mark */
    lua_pop(L, 2);                                                           /* */
    return is;
}
