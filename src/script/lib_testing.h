/* lib_testing.h -- what lua/sol/testing.lua stands on: rehearsals for a test's Lua state. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_LIB_TESTING_H
#define SOL_SCRIPT_LIB_TESTING_H

#include <lua.h>

/* Pushes { new, folder }.  The state must be that of a VM (vm_new) without a script. [-0, +1, m] */
int luaopen_sol_testing(lua_State *L);

#endif
