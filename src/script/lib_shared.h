/* lib_shared.h -- the setting `shared` and the dictionaries it declares. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_LIB_SHARED_H
#define SOL_SCRIPT_LIB_SHARED_H

#include <lua.h>

struct script;

/* `shared = { name = size, ... }`: opens what the table at `index` declares, or raises.
 * [-0, +0, e] */
void shared_declare(lua_State *L, struct script *s, int index);
/* Pushes what has been declared, as such a table. [-0, +1, m] */
void shared_push_declared(lua_State *L, const struct script *s);
/* The policy has been loaded: sizes take effect. */
void shared_settle(struct script *s);
/* Adds dict() to the table of primitives on top. [-0, +0, m] */
void lib_shared_add(lua_State *L);
/* Gives the script's dictionaries back. */
void shared_close(struct script *s);

#endif
