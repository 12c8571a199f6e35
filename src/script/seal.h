/* seal.h -- read-only views of the tables that every environment of a VM shares. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_SEAL_H
#define SOL_SCRIPT_SEAL_H

#include <lua.h>
#include <stdbool.h>

/* Puts a view in place of the table on top, and of every table in it.  Reading a member
 * that is not there and assigning any raise, with `name` ("sol") and a suggestion.
 * [-1, +1, m] */
void seal(lua_State *L, const char *name);
/* Is the value at `index` such a view?  No raw access may write to it. [-0, +0, -] */
bool seal_is(lua_State *L, int index);

#endif
