/* lib_http.h -- the requests under sol.http. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_LIB_HTTP_H
#define SOL_SCRIPT_LIB_HTTP_H

#include <lua.h>

/* Adds http_fetch and parse_url to the table on top. [-0, +0, m] */
void lib_http_add(lua_State *L);

#endif
