/* obj_limits.h -- connect.limits: what one client may do, by the names of the settings.
 *
 * The rows are those of settings.h; assignments go into core's request. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_OBJ_LIMITS_H
#define SOL_SCRIPT_OBJ_LIMITS_H

#include <lua.h>

struct connect_request;
struct request_box;

/* Registers the type with a VM; once. [-0, +0, m] */
void limits_register(lua_State *L);
/* Pushes a view of the limits of the connect object at `index`, whose block is `box`.
 * [-0, +1, m] */
void limits_view_push(lua_State *L, int index, struct request_box *box);
/* connect.limits = table, at index 3: its fields one by one. [-0, +0, v] */
void limits_take(lua_State *L, struct connect_request *r);

#endif
