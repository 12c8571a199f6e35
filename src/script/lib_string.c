/* lib_string.c -- string.find, match, gmatch and gsub, under the VM's budget.
 *
 * As the manual says; see pattern.h for why they are here. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "script/pattern.h"
#include "script/vm.h"

#include <string.h>

/* ---- find and match -------------------------------------------------------------- */

/* Where in a string of `len` bytes argument `arg` points, from 0; past the end for too far. */
static size_t check_init(lua_State *L, int arg, size_t len) {
    lua_Integer at = luaL_optinteger(L, arg, 1);
    if (at > 0) return (size_t)at - 1;
    if (at == 0 || at < -(lua_Integer)len) return 0;
    return len + (size_t)at;
}

static bool is_plain(struct slice pat) {
    for (size_t i = 0; i < pat.len; i++)
        if (pat.at[i] && strchr("^$*+?.([%-", pat.at[i])) return false;
    return true;
}

/* [-0, +2|1, -] */
static int find_plain(lua_State *L, struct slice s, struct slice pat, size_t init) {
    const uint8_t *at = memmem(s.at + init, s.len - init, pat.at, pat.len);
    if (!at) {
        lua_pushnil(L); /* ..., nil */
        return 1;
    }
    lua_pushinteger(L, at - s.at + 1);                    /* ..., start */
    lua_pushinteger(L, at - s.at + (lua_Integer)pat.len); /* ..., start, end */
    return 2;
}

static int find_or_match(lua_State *L, bool find) {
    struct slice s = vm_check_slice(L, 1), pat = vm_check_slice(L, 2);
    size_t init = check_init(L, 3, s.len);
    struct matcher m;
    if (init > s.len) {
        lua_pushnil(L); /* ..., nil */
        return 1;
    }
    if (find && (lua_toboolean(L, 4) || is_plain(pat))) return find_plain(L, s, pat, init);
    const char *p = (const char *)pat.at, *at = (const char *)s.at + init;
    bool anchored = pat.len > 0 && *p == '^';
    matcher_init(&m, L, s, pat);
    do {
        m.captures_len = 0;
        const char *end = matcher_run(&m, at, p + anchored);
        if (!end) continue;
        if (!find) return matcher_push_all(&m, at, end); /* ..., captures */
        lua_pushinteger(L, at - m.src + 1);              /* ..., start */
        lua_pushinteger(L, end - m.src);                 /* ..., start, end */
        return matcher_push_all(&m, NULL, NULL) + 2;     /* ..., start, end, captures */
    } while (at++ < m.src_end && !anchored);
    lua_pushnil(L); /* ..., nil */
    return 1;
}

static int l_find(lua_State *L) {
    return find_or_match(L, true);
}

static int l_match(lua_State *L) {
    return find_or_match(L, false);
}

/* ---- gmatch ------------------------------------------------------------------------ */

/* Upvalues: string, pattern, this state. */
struct walk {
    size_t at;   /* next place to try */
    size_t last; /* end of the latest match; SIZE_MAX: none */
};

static int gmatch_next(lua_State *L) {
    struct slice s = vm_to_slice(L, lua_upvalueindex(1)), pat = vm_to_slice(L, lua_upvalueindex(2));
    struct walk *w = lua_touserdata(L, lua_upvalueindex(3));
    struct matcher m;
    matcher_init(&m, L, s, pat);
    for (; w->at <= s.len; w->at++) {
        m.captures_len = 0;
        const char *at = m.src + w->at, *end = matcher_run(&m, at, (const char *)pat.at);
        if (!end || (size_t)(end - m.src) == w->last) continue;
        w->at = w->last = (size_t)(end - m.src);
        return matcher_push_all(&m, at, end); /* captures */
    }
    return 0;
}

static int l_gmatch(lua_State *L) {
    struct slice s = vm_check_slice(L, 1);
    vm_check_slice(L, 2);
    size_t init = check_init(L, 3, s.len);
    lua_settop(L, 2);                                    /* s, pattern */
    struct walk *w = lua_newuserdatauv(L, sizeof *w, 0); /* s, pattern, walk */
    w->at = init > s.len ? s.len + 1 : init;
    w->last = SIZE_MAX;
    lua_pushcclosure(L, gmatch_next, 3); /* next */
    return 1;
}

/* ---- gsub --------------------------------------------------------------------------- */

/* Appends the replacement string at index 3 for the match [s, e). [-0, +0, e] */
static void add_text(struct matcher *m, luaL_Buffer *out, const char *s, const char *e) {
    struct slice text = vm_to_slice(m->L, 3);
    for (size_t i = 0; i < text.len; i++) {
        char c = (char)text.at[i];
        if (c != '%') {
            luaL_addchar(out, c);
            continue;
        }
        c = ++i < text.len ? (char)text.at[i] : '\0';
        if (c == '%') {
            luaL_addchar(out, c);
        } else if (c == '0') {
            luaL_addlstring(out, s, (size_t)(e - s));
        } else if (c >= '1' && c <= '9') {
            matcher_push(m, c - '1', s, e); /* ..., capture */
            luaL_tolstring(m->L, -1, NULL); /* ..., capture, text */
            lua_remove(m->L, -2);           /* ..., text */
            luaL_addvalue(out);             /* ... */
        } else {
            luaL_error(m->L, "invalid use of '%%' in replacement string");
        }
    }
}

/* Appends what the function or table at index 3 gives for the match; false when it keeps
 * the original. [-0, +0, e] */
static bool add_value(struct matcher *m, luaL_Buffer *out, const char *s, const char *e) {
    lua_State *L = m->L;
    if (lua_isfunction(L, 3)) {
        lua_pushvalue(L, 3);               /* ..., fn */
        int n = matcher_push_all(m, s, e); /* ..., fn, captures */
        lua_call(L, n, 1);                 /* ..., value */
    } else {
        matcher_push(m, 0, s, e); /* ..., capture */
        lua_gettable(L, 3);       /* ..., value */
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1); /* ... */
        luaL_addlstring(out, s, (size_t)(e - s));
        return false;
    }
    if (!lua_isstring(L, -1))
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    luaL_addvalue(out); /* ... */
    return true;
}

static bool add_replacement(struct matcher *m, luaL_Buffer *out, const char *s, const char *e) {
    if (lua_type(m->L, 3) != LUA_TSTRING) return add_value(m, out, s, e);
    add_text(m, out, s, e);
    return true;
}

static void check_replacement(lua_State *L) {
    int type = lua_type(L, 3);
    luaL_argexpected(L,
                     type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION ||
                         type == LUA_TTABLE,
                     3, "string/function/table");
    if (type == LUA_TNUMBER) lua_tostring(L, 3); /* converts it in place */
}

static int l_gsub(lua_State *L) {
    struct slice s = vm_check_slice(L, 1), pat = vm_check_slice(L, 2);
    check_replacement(L);
    lua_Integer max = luaL_optinteger(L, 4, (lua_Integer)s.len + 1), n = 0;
    const char *p = (const char *)pat.at, *at = (const char *)s.at, *last = NULL;
    bool anchored = pat.len > 0 && *p == '^', changed = false;
    struct matcher m;
    luaL_Buffer out;
    matcher_init(&m, L, s, pat);
    luaL_buffinit(L, &out);
    while (n < max) {
        m.captures_len = 0;
        const char *end = matcher_run(&m, at, p + anchored);
        if (end && end != last) {
            n++;
            changed |= add_replacement(&m, &out, at, end);
            at = last = end;
        } else if (at < m.src_end) {
            luaL_addchar(&out, *at++);
        } else {
            break;
        }
        if (anchored) break;
    }
    if (changed) luaL_addlstring(&out, at, (size_t)(m.src_end - at));
    if (changed)
        luaL_pushresult(&out); /* ..., result */
    else
        lua_pushvalue(L, 1); /* ..., original */
    lua_pushinteger(L, n);   /* ..., result, n */
    return 2;
}

static const luaL_Reg functions[] = {
    { "find", l_find }, { "match", l_match }, { "gmatch", l_gmatch },
    { "gsub", l_gsub }, { NULL, NULL },
};

int luaopen_sol_string(lua_State *L) {
    luaL_newlib(L, functions); /* functions */
    return 1;
}
