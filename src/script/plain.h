/* plain.h -- keys and plain values between Lua and dictionaries: sol.shared, sol.kv. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_PLAIN_H
#define SOL_SCRIPT_PLAIN_H

#include "script/shared.h"

#include <lua.h>

/* The key at index 2, lent; raises unless it has 1 to 65,535 bytes. */
struct slice plain_check_key(lua_State *L);
/* The argument's seconds as milliseconds; 0: for ever, or not given. */
uint64_t plain_opt_ttl(lua_State *L, int arg);
struct shared_value plain_check_number(lua_State *L, int arg);
/* A boolean, number or string, lent; nil is SHARED_NONE where it `may_be_nil`. */
struct shared_value plain_check_value(lua_State *L, int arg, bool may_be_nil);
/* Pushes a value and lets go of it; gives 1. [-0, +1, m] */
int plain_push(lua_State *L, struct shared_value *v);
/* How many at most, at index 2; 0: all. */
size_t plain_opt_max(lua_State *L, lua_Integer otherwise);

/* The methods of both that only look: they take the arguments behind the object at index 1 and
 * give the number of results. [-0, +1|2, e] */
int plain_get(lua_State *L, struct dict *d);
int plain_ttl(lua_State *L, struct dict *d);
int plain_keys(lua_State *L, struct dict *d);
int plain_capacity(lua_State *L, struct dict *d);
int plain_free_space(lua_State *L, struct dict *d);

#endif
