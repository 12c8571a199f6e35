/* options.c -- checked access to tables of options. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/options.h"

#include "script/lib_file.h"
#include "script/suggest.h"

#include <lauxlib.h>
#include <string.h>

#define SECONDS_MAX 86400.0 /* of a time-out */

static bool is_among(const char *name, const char *const *names) {
    while (*names && strcmp(*names, name) != 0) names++;
    return *names != NULL;
}

static int unknown(lua_State *L, const char *what, const char *name, const char *const *names) {
    char buf[SUGGEST_MAX + 24];
    struct suggest near;
    suggest_init(&near, name);
    for (; *names; names++) suggest_offer(&near, *names);
    return luaL_error(L, "%s: unknown option \"%s\"%s", what, name, suggest_text(&near, buf));
}

void options_check(lua_State *L, int arg, const char *what, const char *const *names) {
    if (lua_isnoneornil(L, arg)) return;
    luaL_checktype(L, arg, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, arg); lua_pop(L, 1)) { /* name, value */
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "%s: options have names, not a %s", what, luaL_typename(L, -2));
        if (!is_among(lua_tostring(L, -2), names)) unknown(L, what, lua_tostring(L, -2), names);
    }
}

/* Pushes the option and gives its type. [-0, +1, -] */
static int push_option(lua_State *L, int arg, const char *name) {
    if (!lua_isnoneornil(L, arg)) return lua_getfield(L, arg, name); /* value */
    lua_pushnil(L);                                                  /* nil */
    return LUA_TNIL;
}

static bool in_ms(lua_State *L, int index, uint64_t *ms) {
    lua_Number s = lua_tonumber(L, index);
    if (lua_type(L, index) != LUA_TNUMBER || !(s > 0 && s <= SECONDS_MAX)) return false;
    *ms = (uint64_t)(s * 1000 + 0.999);
    return true;
}

uint64_t options_ms(lua_State *L, int arg, const char *name, uint64_t otherwise) {
    uint64_t ms = otherwise;
    if (push_option(L, arg, name) != LUA_TNIL && !in_ms(L, -1, &ms)) /* value */
        luaL_error(L, "option \"%s\" must be seconds, above 0 and up to 86400", name);
    lua_pop(L, 1); /* */
    return ms;
}

uint64_t options_check_ms(lua_State *L, int arg) {
    uint64_t ms = 0;
    luaL_argcheck(L, in_ms(L, arg, &ms), arg, "expected seconds, above 0 and up to 86400");
    return ms;
}

lua_Integer options_integer(lua_State *L, int arg, const char *name, lua_Integer min,
                            lua_Integer max, lua_Integer otherwise) {
    lua_Integer n = otherwise;
    if (push_option(L, arg, name) != LUA_TNIL) { /* value */
        int is_integer = lua_type(L, -1) == LUA_TNUMBER;
        if (is_integer) n = lua_tointegerx(L, -1, &is_integer);
        if (!is_integer || n < min || n > max)
            luaL_error(L, "option \"%s\" must be an integer from %I to %I", name, (LUAI_UACINT)min,
                       (LUAI_UACINT)max);
    }
    lua_pop(L, 1); /* */
    return n;
}

bool options_boolean(lua_State *L, int arg, const char *name, bool otherwise) {
    if (push_option(L, arg, name) != LUA_TNIL) { /* value */
        if (!lua_isboolean(L, -1)) luaL_error(L, "option \"%s\" must be true or false", name);
        otherwise = lua_toboolean(L, -1);
    }
    lua_pop(L, 1); /* */
    return otherwise;
}

const char *options_push_string(lua_State *L, int arg, const char *name) {
    int type = push_option(L, arg, name); /* value */
    if (type == LUA_TNIL) return NULL;
    if (type != LUA_TSTRING) luaL_error(L, "option \"%s\" must be a string", name);
    if (strlen(lua_tostring(L, -1)) != lua_rawlen(L, -1))
        luaL_error(L, "option \"%s\" has a zero byte in it", name);
    return lua_tostring(L, -1);
}

const char *options_push_path(lua_State *L, int arg, const char *name) {
    const char *path = options_push_string(L, arg, name); /* path or nil */
    if (!path) return NULL;
    path = file_push_path(L, path); /* path, full path */
    lua_replace(L, -2);             /* full path */
    return path;
}

void options_push_tls(lua_State *L, int arg, struct tls_client_opts *out) {
    out->ca = options_push_path(L, arg, "ca");     /* ca */
    out->cert = options_push_path(L, arg, "cert"); /* ca, cert */
    out->key = options_push_path(L, arg, "key");   /* ca, cert, key */
    out->no_verify = !options_boolean(L, arg, "verify", true);
    if (!out->cert != !out->key) luaL_error(L, "options \"cert\" and \"key\" belong together");
}
