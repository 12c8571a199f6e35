/* lib_jwt.h -- the signatures under sol.jwt. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_LIB_JWT_H
#define SOL_SCRIPT_LIB_JWT_H

#include <lua.h>

/* Adds jwt_verify, jwt_sign, ed25519_verify and ed25519_sign to the table on top.
 * [-0, +0, m] */
void lib_jwt_add(lua_State *L);

#endif
