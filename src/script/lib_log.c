/* lib_log.c -- sol.log: the policy's lines in the broker's log.
 *
 * One argument is written as it is; with more, the first is a format as string.format
 * takes it; a plain table at the end gives fields, written after the text.  The area of a line is
 * the plugin's name, or "policy".  A level that is off formats nothing. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "base/log.h"
#include "script/vm.h"

#include <lualib.h>
#include <string.h>

#define AREA_MAX 32 /* bytes, NUL included */

/* Upvalues: the level and string.format. */
enum { UP_LEVEL = 1, UP_FORMAT };

/* Who writes: ".../plugins/acl/init.lua" is "acl", any other chunk is "policy". */
static void area_of(lua_State *L, char area[AREA_MAX]) {
    static const char tail[] = "/init.lua";
    lua_Debug ar;
    strcpy(area, "policy");
    if (!lua_getstack(L, 1, &ar) || !lua_getinfo(L, "S", &ar)) return;
    if (ar.source[0] != '@' || ar.srclen < sizeof tail) return;
    const char *end = ar.source + ar.srclen - (sizeof tail - 1), *at = end;
    if (strcmp(end, tail) != 0) return;
    while (at > ar.source + 1 && at[-1] != '/') at--;
    if (end == at || (size_t)(end - at) >= AREA_MAX) return;
    memcpy(area, at, (size_t)(end - at));
    area[end - at] = '\0';
}

/* Writes `text` on a line of its own.  A NUL would hide what follows it: it becomes its
 * picture. */
static void write_line(lua_State *L, enum log_level level, struct slice text) {
    static const char picture[] = "\xe2\x90\x80"; /* U+2400 */
    char line[LOG_LINE_MAX], area[AREA_MAX];
    size_t len = 0;
    for (size_t i = 0; i < text.len && len + sizeof picture < sizeof line; i++) {
        const char *from = text.at[i] ? (const char *)&text.at[i] : picture;
        size_t n = text.at[i] ? 1 : sizeof picture - 1;
        memcpy(line + len, from, n);
        len += n;
    }
    line[len] = '\0';
    area_of(L, area);
    log_write(vm_of(L)->log, level, area, "%s", line);
}

/* The text on top, without its traceback, is an error of our caller: format itself would
 * not know where it was called. */
static int raise_here(lua_State *L) {
    const char *text = lua_tostring(L, -1), *end = strstr(text, "\nstack traceback:");
    luaL_where(L, 1);                                                    /* ..., text, place */
    lua_pushlstring(L, text, end ? (size_t)(end - text) : strlen(text)); /* ..., place, text */
    lua_concat(L, 2);                                                    /* ..., error */
    return lua_error(L);
}

/* ---- fields -------------------------------------------------------------------------- */

/* Is the last of several arguments a table of fields? */
static bool has_fields(lua_State *L, int first) {
    if (lua_gettop(L) == first || !lua_istable(L, -1)) return false;
    if (!lua_getmetatable(L, -1)) return true;
    lua_pop(L, 1);
    return false;
}

/* Replaces the text on top by one that can be told from its neighbours: quoted where it is
 * empty or has a space, a quote or an equals sign in it. [-1, +1, m] */
static void quote(lua_State *L) {
    luaL_Buffer quoted;
    const char *text = lua_tostring(L, -1);
    if (*text && !strpbrk(text, " \"=\\\n\t")) return;
    text = luaL_gsub(L, text, "\\", "\\\\"); /* text, text */
    text = luaL_gsub(L, text, "\"", "\\\""); /* text, text, text */
    luaL_buffinit(L, &quoted);
    luaL_addchar(&quoted, '"');
    luaL_addstring(&quoted, text);
    luaL_addchar(&quoted, '"');
    luaL_pushresult(&quoted); /* text, text, text, quoted */
    lua_replace(L, -4);       /* quoted, text, text */
    lua_pop(L, 2);            /* quoted */
}

/* Pushes the smallest name of a field above `after`, nil when there is none. [-0, +1, v] */
static void push_next_name(lua_State *L, int fields, const char *after) {
    lua_pushnil(L);                                            /* best */
    for (lua_pushnil(L); lua_next(L, fields); lua_pop(L, 1)) { /* best, name, value */
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "sol.log: the name of a field is a %s, not a string",
                       luaL_typename(L, -2));
        const char *name = lua_tostring(L, -2), *best = lua_tostring(L, -3);
        vm_check_budget(L);
        if ((after && strcmp(name, after) <= 0) || (best && strcmp(name, best) >= 0)) continue;
        lua_pushvalue(L, -2); /* best, name, value, name */
        lua_replace(L, -4);   /* name, name, value */
    }
}

/* Appends the fields of the table at `fields` to the text on top. [-1, +1, e] */
static void add_fields(lua_State *L, int fields) {
    lua_pushnil(L); /* text, nil */
    for (;;) {
        push_next_name(L, fields, lua_tostring(L, -1)); /* text, last, name */
        lua_remove(L, -2);                              /* text, name */
        if (lua_isnil(L, -1) || lua_rawlen(L, -2) > LOG_LINE_MAX) break;
        lua_pushfstring(L, "%s %s=", lua_tostring(L, -2), lua_tostring(L, -1)); /* .., head */
        lua_pushvalue(L, -2);                                                   /* .., head, name */
        lua_rawget(L, fields);       /* text, name, head, value */
        luaL_tolstring(L, -1, NULL); /* text, name, head, value, value */
        lua_remove(L, -2);           /* text, name, head, value */
        quote(L);                    /* text, name, head, value */
        lua_concat(L, 2);            /* text, name, text */
        lua_replace(L, -3);          /* text, name */
    }
    lua_pop(L, 1); /* text */
}

static int write_args(lua_State *L, int first) {
    enum log_level level = (enum log_level)lua_tointeger(L, lua_upvalueindex(UP_LEVEL));
    luaL_checkany(L, first);
    if (!log_enabled(vm_of(L)->log, level)) return 0;

    bool with_fields = has_fields(L, first);
    if (with_fields) lua_insert(L, first++); /* ..., fields, ... */
    if (lua_gettop(L) > first) {
        lua_pushvalue(L, lua_upvalueindex(UP_FORMAT));                            /* ..., format */
        lua_insert(L, first);                                                     /* format, ... */
        if (vm_call(L, lua_gettop(L) - first, 1) != LUA_OK) return raise_here(L); /* text */
    } else {
        luaL_tolstring(L, first, NULL); /* value, text */
    }
    if (with_fields) add_fields(L, first - 1);
    size_t len;
    const char *at = lua_tolstring(L, -1, &len);
    write_line(L, level, slice_of(at, len));
    return 0;
}

static int l_log(lua_State *L) {
    return write_args(L, 1);
}

/* sol.log(...): the table itself comes first. */
static int l_call(lua_State *L) {
    return write_args(L, 2);
}

static const struct {
    const char *name;
    enum log_level level;
} levels[] = {
    { "debug", LOG_DEBUG },
    { "info", LOG_INFO },
    { "warn", LOG_WARN },
    { "error", LOG_ERROR },
};

/* Pushes `fn` for `level`; string.format is on top of the stack. [-0, +1, m] */
static void push_function(lua_State *L, lua_CFunction fn, enum log_level level) {
    lua_pushinteger(L, level); /* format, level */
    lua_pushvalue(L, -2);      /* format, level, format */
    lua_pushcclosure(L, fn, 2);
}

int luaopen_sol_log(lua_State *L) {
    lua_createtable(L, 0, 4); /* log */
    luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 0);
    lua_getfield(L, -1, "format"); /* log, string, format */
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        push_function(L, l_log, levels[i].level); /* log, string, format, function */
        lua_setfield(L, -4, levels[i].name);
    }
    lua_createtable(L, 0, 1);           /* log, string, format, meta */
    lua_insert(L, -2);                  /* log, string, meta, format */
    push_function(L, l_call, LOG_INFO); /* log, string, meta, format, function */
    lua_setfield(L, -3, "__call");      /* log, string, meta, format */
    lua_pop(L, 1);                      /* log, string, meta */
    lua_setmetatable(L, -3);            /* log, string */
    lua_pop(L, 1);                      /* log */
    return 1;
}
