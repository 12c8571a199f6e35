/* plain.c -- keys and plain values on their way. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/plain.h"

#include "base/buf.h"
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

void plain_push_keys(lua_State *L, struct buf *keys) {
    size_t at = 0, len;
    lua_newtable(L); /* list */
    for (lua_Integer n = 1; at < keys->len; n++) {
        memcpy(&len, keys->at + at, sizeof len);
        lua_pushlstring(L, (const char *)keys->at + at + sizeof len, len); /* list, key */
        lua_rawseti(L, -2, n);                                             /* list */
        at += sizeof len + len;
        if (n % 1024 == 0) vm_check_budget(L);
    }
    buf_deinit(keys);
}
