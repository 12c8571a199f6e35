/* lib_grant.h -- the methods of a client that concern its grants (core/grants.h).
 *
 * Each takes the client at index 1. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_LIB_GRANT_H
#define SOL_SCRIPT_LIB_GRANT_H

#include <lua.h>

/* client:grant(table): the grant's name; or nil, "closed". [-0, +1|2, e] */
int client_grant(lua_State *L);
/* client:revoke([name]): how many have ended; or nil, "closed". [-0, +1|2, e] */
int client_revoke(lua_State *L);
/* client:grants(): a list of tables; or nil, "closed". [-0, +1|2, e] */
int client_grants(lua_State *L);

#endif
