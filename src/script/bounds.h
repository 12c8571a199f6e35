/* bounds.h -- library functions that a script could make run without end, made bounded. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_BOUNDS_H
#define SOL_SCRIPT_BOUNDS_H

#include <lua.h>

/* Puts bounded functions in place of the libraries' own; the globals are on top.
 * [-0, +0, m] */
void bounds_add(lua_State *L);

#endif
