/* plain.c -- keys and plain values on their way. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/plain.h"

#include "base/buf.h"
#include "script/obj_message.h"
#include "script/vm.h"

#include <lauxlib.h>

#define KEY_MAX 65535 /* bytes */
#define TTL_MAX 4e9   /* seconds */

struct slice plain_check_key(lua_State *L) {
    struct slice key = vm_check_slice(L, 2);
    luaL_argcheck(L, key.len > 0 && key.len <= KEY_MAX, 2, "a key has 1 to 65535 bytes");
    return key;
}

uint64_t plain_opt_ttl(lua_State *L, int arg) {
    lua_Number s = luaL_optnumber(L, arg, 0);
    luaL_argcheck(L, s >= 0 && s <= TTL_MAX, arg, "expected seconds, 0 or more");
    return s > 0 && s < 0.001 ? 1 : (uint64_t)(s * 1000 + 0.5);
}

struct shared_value plain_check_number(lua_State *L, int arg) {
    struct shared_value v = { 0 };
    v.real = luaL_checknumber(L, arg);
    v.type = SHARED_REAL;
    if (!lua_isinteger(L, arg)) return v;
    return (struct shared_value){ .type = SHARED_INTEGER, .integer = lua_tointeger(L, arg) };
}

struct shared_value plain_check_value(lua_State *L, int arg, bool may_be_nil) {
    switch (lua_type(L, arg)) {
    case LUA_TBOOLEAN:
        return (struct shared_value){ .type = SHARED_BOOLEAN, .boolean = lua_toboolean(L, arg) };
    case LUA_TNUMBER: return plain_check_number(L, arg);
    case LUA_TSTRING:
        return (struct shared_value){ .type = SHARED_TEXT, .text = vm_to_slice(L, arg) };
    case LUA_TNIL:
        if (may_be_nil) return (struct shared_value){ 0 };
        break;
    default: break;
    }
    luaL_argerror(L, arg, "expected a string, number or boolean");
    return (struct shared_value){ 0 };
}

int plain_push(lua_State *L, struct shared_value *v) {
    struct vm *vm = vm_of(L);
    bool was = vm_uncap(vm); /* an error on the way would keep the blob */
    switch (v->type) {
    case SHARED_NONE: lua_pushnil(L); break;
    case SHARED_BOOLEAN: lua_pushboolean(L, v->boolean); break;
    case SHARED_INTEGER: lua_pushinteger(L, v->integer); break;
    case SHARED_REAL: lua_pushnumber(L, v->real); break;
    case SHARED_TEXT: vm_push_slice(L, v->text); break;
    }
    shared_value_deinit(v);
    vm->is_capped = was;
    return 1;
}

size_t plain_opt_max(lua_State *L, lua_Integer otherwise) {
    lua_Integer max = luaL_optinteger(L, 2, otherwise);
    luaL_argcheck(L, max >= 0, 2, "expected a number, 0 for all");
    return (size_t)max;
}

/* ---- looking into a dictionary ----------------------------------------------------- */

int plain_get(lua_State *L, struct dict *d) {
    struct shared_value v;
    const char *err = dict_get(d, plain_check_key(L), &v);
    if (err) return vm_fail(L, "%s", err);
    return plain_push(L, &v);
}

int plain_ttl(lua_State *L, struct dict *d) {
    int64_t left_ms = dict_ttl(d, plain_check_key(L));
    if (left_ms < 0) return vm_fail(L, "not found");
    lua_pushnumber(L, (lua_Number)left_ms / 1000); /* ..., seconds */
    return 1;
}

int plain_keys(lua_State *L, struct dict *d) {
    size_t max = plain_opt_max(L, 1024), at = 0, len;
    struct buf *keys = push_buf(L); /* ..., keys */
    dict_keys(d, max, keys);
    lua_newtable(L); /* ..., keys, list */
    for (lua_Integer n = 1; at < keys->len; n++) {
        memcpy(&len, keys->at + at, sizeof len);
        lua_pushlstring(L, (const char *)keys->at + at + sizeof len, len); /* ..., list, key */
        lua_rawseti(L, -2, n);                                             /* ..., list */
        at += sizeof len + len;
        if (n % 1024 == 0) vm_check_budget(L);
    }
    buf_deinit(keys);
    return 1;
}

int plain_capacity(lua_State *L, struct dict *d) {
    lua_pushinteger(L, (lua_Integer)dict_capacity(d)); /* ..., bytes */
    return 1;
}

int plain_free_space(lua_State *L, struct dict *d) {
    size_t cap = dict_capacity(d), used = dict_used(d);
    lua_pushinteger(L, (lua_Integer)(cap > used ? cap - used : 0)); /* ..., bytes */
    return 1;
}
