/* conf.c -- sol.lua's environment: settings by assignment, and `listen`.
 *
 * Three tables make the environment: an empty one that scripts see, so that every
 * assignment comes here; behind it the builtins (plugin, listen, require ...) and the
 * sandbox's globals; behind those the settings, for reading.  Errors name file and line
 * of the assignment, the value, and the nearest known name. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/conf.h"

#include "base/mem.h"
#include "core/config.h"
#include "core/mount.h"
#include "io/listen.h"
#include "script/script.h"
#include "script/settings.h"
#include "script/suggest.h"

#include <stdlib.h>

/* ---- listen --------------------------------------------------------------------- */

/* The integer option `name` of the table at index 1, or `unset`. */
static int listen_option(lua_State *L, const char *name, int max, int unset) {
    int is_integer;
    if (lua_getfield(L, 1, name) == LUA_TNIL) { /* options, value */
        lua_pop(L, 1);                          /* options */
        return unset;
    }
    lua_Integer v = lua_tointegerx(L, -1, &is_integer);
    if (lua_type(L, -1) != LUA_TNUMBER || !is_integer || v < 1 || v > max)
        luaL_error(L, "listen: %s must be an integer from 1 to %d, got %s", name, max,
                   setting_push_shown(L, lua_gettop(L)));
    lua_pop(L, 1); /* options */
    return (int)v;
}

/* The mount point of the table at index 1, lent from the top of the stack, or NULL. */
static const char *push_mount_point(lua_State *L) {
    lua_getfield(L, 1, "mount_point"); /* ..., mount point */
    if (lua_isnil(L, -1)) return NULL;
    struct slice mount = vm_to_slice(L, -1);
    const char *why = mount.at ? mount_invalid(mount) : "it must be a string";
    if (why) luaL_error(L, "listen: mount_point %s: %s", setting_push_shown(L, lua_gettop(L)), why);
    return (const char *)mount.at;
}

/* Raises: the option on top, its name below it, is unknown. */
static void unknown_option(lua_State *L, const char *const *known, size_t known_len) {
    char buf[SUGGEST_MAX + 24];
    struct suggest near;
    struct slice name = vm_to_slice(L, -2);
    const char *text = name.at ? (const char *)name.at : "?";
    const struct setting *row = setting_find(slice_str(text));
    suggest_init(&near, text);
    for (size_t i = 0; i < known_len; i++) suggest_offer(&near, known[i]);
    settings_offer(&near, SETTING_LISTEN);
    const char *value = setting_push_shown(L, lua_gettop(L)); /* ..., name, value, text */
    if (row) luaL_error(L, "listen: \"%s\" (= %s) is set for all listeners alone", text, value);
    luaL_error(L, "listen: unknown option \"%s\" (= %s)%s", text, value, suggest_text(&near, buf));
}

/* Sets the limits among the fields of the table at index 1; what is neither a limit nor
 * known raises. */
static void take_listen_options(lua_State *L, struct listen_config *l) {
    static const char *const known[] = { "url", "backlog", "mode", "mount_point" };
    lua_settop(L, 1);                                     /* options; the strings stay in it */
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) { /* options, name, value */
        if (lua_isinteger(L, -2) && lua_tointeger(L, -2) == 1) continue;
        struct slice name = vm_to_slice(L, -2);
        const struct setting *row = name.at ? setting_find(name) : NULL;
        bool is_known = false;
        for (unsigned i = 0; i < ARRAY_LEN(known); i++)
            is_known |= slice_eq(name, slice_str(known[i]));
        if (row && setting_may_stand(row, SETTING_LISTEN))
            setting_set_listener(L, row, l); /* takes the value at index 3 */
        else if (!is_known)
            unknown_option(L, known, ARRAY_LEN(known));
    }
}

/* listen "url" and listen { "url", backlog =, mode =, mount_point =, limits ... }. */
static int l_listen(lua_State *L) {
    struct script *s = lua_touserdata(L, lua_upvalueindex(1));
    struct listen_url parsed;
    const char *why = NULL;
    bool is_table = lua_istable(L, 1);
    lua_settop(L, 1); /* URL or options */
    if (!s->is_loading)
        return luaL_error(L, "listen: listeners are fixed once the policy is loaded");
    if (is_table && lua_geti(L, 1, 1) == LUA_TNIL) lua_getfield(L, 1, "url"); /* options, url */
    struct slice url = vm_to_slice(L, -1);
    if (!url.at || memchr(url.at, 0, url.len))
        return luaL_error(L, "listen: expected a URL, got %s",
                          setting_push_shown(L, lua_gettop(L)));
    lua_replace(L, is_table ? 2 : 1);
    int backlog = is_table ? listen_option(L, "backlog", 65535, 0) : 0;
    int mode = is_table ? listen_option(L, "mode", 0777, 0) : 0;
    const char *mount = is_table ? push_mount_point(L) : NULL;
    const char *text = (const char *)url.at;
    if (config_listener(s->config, text))
        return luaL_error(L, "listen: \"%s\" is there twice", text);
    if (listen_url_parse(url, &parsed, &why) != 0)
        return luaL_error(L, "listen: \"%s\": %s", text, why);
    listen_url_deinit(&parsed);
    struct listen_config given = { 0 };
    if (is_table) take_listen_options(L, &given);
    /* nothing below may raise */
    struct listen_config *l = config_add_listener(s->config, text, backlog, mode);
    l->limits = given.limits;
    l->given = given.given;
    l->mount_point = mount ? xstrdup(mount) : NULL;
    return 0;
}

/* ---- the environment -------------------------------------------------------------- */

/* Pushes "; did you mean ...?" or "". `builtins` is an upvalue. [-0, +1, m] */
static const char *push_suggestion(lua_State *L, const char *name, int builtins,
                                   bool settings_only) {
    char buf[SUGGEST_MAX + 24];
    struct suggest near;
    suggest_init(&near, name);
    settings_offer(&near, SETTING_FILE);
    if (!settings_only) {
        lua_pushvalue(L, builtins);                          /* builtins */
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) /* builtins, name, value */
            if (lua_type(L, -2) == LUA_TSTRING) suggest_offer(&near, lua_tostring(L, -2));
        lua_pop(L, 1); /* */
    }
    return lua_pushstring(L, suggest_text(&near, buf)); /* text */
}

/* Upvalues: script, builtins. */
static int env_newindex(lua_State *L) {
    struct script *s = lua_touserdata(L, lua_upvalueindex(1));
    const char *name =
        lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_tolstring(L, 2, NULL);
    const struct setting *row = setting_find(slice_str(name));
    lua_settop(L, 3); /* env, name, value */
    if (row && s->is_loading) {
        setting_set(L, row, s->config);
        return 0;
    }
    if (row) return luaL_error(L, "%s: settings are fixed once the policy is loaded", name);
    lua_pushvalue(L, 2); /* env, name, value, name */
    if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL)
        return luaL_error(L, "\"%s\" is not a setting and cannot be replaced", name);
    const char *near = push_suggestion(L, name, 0, true); /* env, name, value, ?, near */
    if (lua_isfunction(L, 3))
        return luaL_error(L, "unknown setting \"%s\" (= function)%s%s", name, near,
                          *near ? "" : "; a function of your own needs \"local function\"");
    return luaL_error(L, "unknown setting \"%s\" (= %s)%s%s", name, setting_push_shown(L, 3), near,
                      *near ? "" : "; a variable of your own needs \"local\"");
}

/* What neither the environment nor the builtins have. */
static int env_index(lua_State *L) {
    struct script *s = lua_touserdata(L, lua_upvalueindex(1));
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
    const struct setting *row = setting_find(slice_str(name));
    if (row) {
        setting_get(L, row, s->config ? s->config : &s->settings); /* env, name, value */
        return 1;
    }
    return luaL_error(L, "unknown name \"%s\"%s", name,
                      push_suggestion(L, name, lua_upvalueindex(2), false));
}

/* Pushes a function with script and builtins (at `builtins`) as upvalues. [-0, +1, m] */
static void push_accessor(lua_State *L, lua_CFunction fn, struct script *s, int builtins) {
    lua_pushlightuserdata(L, s); /* script */
    lua_pushvalue(L, builtins);  /* script, builtins */
    lua_pushcclosure(L, fn, 2);  /* fn */
}

void conf_push_environment(lua_State *L, struct script *s) {
    int builtins = lua_gettop(L);             /* builtins */
    lua_pushlightuserdata(L, s);              /* builtins, script */
    lua_pushcclosure(L, l_listen, 1);         /* builtins, listen */
    lua_setfield(L, builtins, "listen");      /* builtins */
    lua_newtable(L);                          /* builtins, meta */
    push_accessor(L, env_index, s, builtins); /* builtins, meta, fn */
    lua_setfield(L, -2, "__index");           /* builtins, meta */
    lua_setmetatable(L, builtins);            /* builtins */

    lua_newtable(L);                             /* builtins, env */
    lua_newtable(L);                             /* builtins, env, meta */
    lua_pushvalue(L, builtins);                  /* builtins, env, meta, builtins */
    lua_setfield(L, -2, "__index");              /* builtins, env, meta */
    push_accessor(L, env_newindex, s, builtins); /* builtins, env, meta, fn */
    lua_setfield(L, -2, "__newindex");           /* builtins, env, meta */
    lua_pushboolean(L, 0);                       /* builtins, env, meta, false */
    lua_setfield(L, -2, "__metatable");          /* builtins, env, meta */
    lua_setmetatable(L, -2);                     /* builtins, env */
    lua_remove(L, builtins);                     /* env */
}
