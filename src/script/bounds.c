/* bounds.c -- library functions, bounded.
 *
 * No hook is called inside a C function, so one that loops is beyond the budget's reach
 * until it returns: string.rep of a gigabyte, table.concat over 2^50 places, a __len that
 * lies.  Those that may loop long look at the clock themselves or refuse.  How long a string
 * may be is the allocator's business (vm.c). */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/bounds.h"

#include "base/mem.h"
#include "script/seal.h"
#include "script/vm.h"

#include <string.h>

#define MOVE_MAX   10000000   /* elements of one table.move */
#define SORT_MAX   10000      /* elements sorted by C's own comparison */
#define UTF8_MAX   (16 << 20) /* bytes one function of utf8 walks over */
#define DATE_MAX   1024       /* bytes of a format of os.date */
#define CHECK_WORK 65536      /* bytes or so between two looks at the clock */

/* Calls the library's own function, upvalue 1, with the arguments. */
static int call_original(lua_State *L) {
    lua_pushvalue(L, lua_upvalueindex(1));       /* args, fn */
    lua_insert(L, 1);                            /* fn, args */
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET); /* results */
    return lua_gettop(L);
}

/* ---- string ---------------------------------------------------------------------- */

/* Fills at[0 .. len) with what its first `step` bytes are, again and again. */
static void fill(char *at, size_t len, size_t step) {
    for (size_t done = step; done < len;) {
        size_t n = done <= len - done ? done : len - done;
        memcpy(at + done, at, n);
        done += n;
    }
}

static int l_rep(lua_State *L) {
    size_t len, sep_len = 0;
    const char *s = luaL_checklstring(L, 1, &len);
    lua_Integer n = luaL_checkinteger(L, 2);
    const char *sep = luaL_optlstring(L, 3, "", &sep_len);
    luaL_Buffer out;
    if (n <= 0 || len + sep_len == 0) {
        lua_pushliteral(L, ""); /* args, "" */
        return 1;
    }
    if ((lua_Unsigned)n > vm_longest_string(vm_of(L)) / (len + sep_len))
        return luaL_error(L, "string.rep: not enough memory for the result (vm_memory)");
    size_t total = (size_t)n * len + (size_t)(n - 1) * sep_len;
    char *at = luaL_buffinitsize(L, &out, total);
    memcpy(at, s, len);
    if (n > 1) memcpy(at + len, sep, sep_len);
    if (n > 1) fill(at, total, len + sep_len);
    luaL_pushresultsize(&out, total); /* args, result */
    return 1;
}

/* Walks over its first argument, a string. */
static int l_utf8(lua_State *L) {
    size_t len = 0;
    luaL_checklstring(L, 1, &len);
    luaL_argcheck(L, len <= UTF8_MAX, 1, "longer than 16 MiB");
    return call_original(L);
}

static int l_date(lua_State *L) {
    size_t len = 0;
    luaL_optlstring(L, 1, "", &len);
    luaL_argcheck(L, len <= DATE_MAX, 1, "format too long");
    return call_original(L);
}

/* ---- table ----------------------------------------------------------------------- */

static int l_concat(lua_State *L) {
    size_t sep_len = 0, work = 0, len;
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *sep = luaL_optlstring(L, 2, "", &sep_len);
    lua_Integer i = luaL_optinteger(L, 3, 1),
                last = luaL_opt(L, luaL_checkinteger, 4, luaL_len(L, 1));
    luaL_Buffer out;
    lua_settop(L, 4);
    luaL_buffinit(L, &out);
    for (; i <= last; i++) {
        lua_geti(L, 1, i); /* ..., value */
        if (!lua_isstring(L, -1))
            return luaL_error(L, "invalid value (at index %I) in table for 'concat'",
                              (LUAI_UACINT)i);
        lua_tolstring(L, -1, &len);
        luaL_addvalue(&out);  /* ... */
        if (i == last) break; /* it may be the last integer there is */
        luaL_addlstring(&out, sep, sep_len);
        work += len + sep_len + 64;
        if (work < CHECK_WORK) continue;
        vm_check_budget(L);
        work = 0;
    }
    luaL_pushresult(&out); /* ..., text */
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

/* ---- globals --------------------------------------------------------------------- */

static int l_setmetatable(lua_State *L) {
    if (lua_istable(L, 2)) {
        lua_pushliteral(L, "__gc");       /* t, meta, "__gc" */
        if (lua_rawget(L, 2) != LUA_TNIL) /* t, meta, gc */
            return luaL_error(L, "__gc is not available in a policy: use a <close> variable");
        lua_pop(L, 1); /* t, meta */
    }
    return call_original(L);
}

static int l_rawset(lua_State *L) {
    if (seal_is(L, 1)) return luaL_argerror(L, 1, "this table belongs to everybody");
    return call_original(L);
}

static int l_collectgarbage(lua_State *L) {
    if (strcmp(luaL_optstring(L, 1, "collect"), "count") != 0)
        return luaL_error(L, "collectgarbage: only \"count\" is available in a policy");
    lua_pushnumber(L, (lua_Number)vm_of(L)->used_bytes / 1024.0); /* ..., KiB */
    return 1;
}

/* ---- all of them ------------------------------------------------------------------- */

struct bound {
    const char *table; /* NULL: a global */
    const char *name;
    lua_CFunction fn; /* with the library's function as upvalue 1 */
};

static const struct bound bounds[] = {
    { "string", "rep", l_rep },
    { "utf8", "len", l_utf8 },
    { "utf8", "offset", l_utf8 },
    { "utf8", "codepoint", l_utf8 },
    { "os", "date", l_date },
    { "table", "move", l_move },
    { "table", "concat", l_concat },
    { "table", "insert", l_honest_len },
    { "table", "remove", l_honest_len },
    { "table", "sort", l_sort },
    { "table", "unpack", l_honest_len },
    { NULL, "setmetatable", l_setmetatable },
    { NULL, "rawset", l_rawset },
    { NULL, "collectgarbage", l_collectgarbage },
};

void bounds_add(lua_State *L) {
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
