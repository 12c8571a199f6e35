/* lib_pg.h -- the connections under sol.pg. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_LIB_PG_H
#define SOL_SCRIPT_LIB_PG_H

#include <lua.h>

/* Adds pg_connect and path_of to the table on top. [-0, +0, m] */
void lib_pg_add(lua_State *L);

#endif
