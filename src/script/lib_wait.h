/* lib_wait.h -- the primitive under everything that waits for another part of the policy. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_LIB_WAIT_H
#define SOL_SCRIPT_LIB_WAIT_H

#include <lua.h>

/* Adds waiter(), can_wait() and is_loading() to the table on top. [-0, +0, m] */
void lib_wait_add(lua_State *L);

#endif
