/* plain.h -- keys and plain values between Lua and dictionaries: sol.shared, sol.kv. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_PLAIN_H
#define SOL_SCRIPT_PLAIN_H

#include "script/shared.h"

#include <lua.h>

enum { PLAIN_KEYS = 1024 }; /* how many get_keys gives unless told */

/* The key at index 2, lent; raises unless it has 1 to 65,535 bytes. */
struct slice plain_check_key(lua_State *L);
/* The argument's seconds as milliseconds; 0: for ever, or not given. */
uint64_t plain_opt_ttl(lua_State *L, int arg);
struct shared_value plain_check_number(lua_State *L, int arg);
/* A boolean, number or string, lent; nil is SHARED_NONE where it `may_be_nil`. */
struct shared_value plain_check_value(lua_State *L, int arg, bool may_be_nil);
/* Pushes a value and lets go of it; gives 1. [-0, +1, m] */
int plain_push(lua_State *L, struct shared_value *v);
/* Pushes what dict_keys appended as a list, and empties it. [-0, +1, e] */
void plain_push_keys(lua_State *L, struct buf *keys);

#endif
