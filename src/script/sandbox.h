/* sandbox.h -- the globals of a policy: Lua's libraries without what could hold up or
 * harm the broker. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_SANDBOX_H
#define SOL_SCRIPT_SANDBOX_H

#include "base/slice.h"

#include <lua.h>

/* Pushes the table every environment inherits, `sol` included, and keeps it for
 * sandbox_push. [-0, +1, e] */
void sandbox_open(lua_State *L);
/* Pushes it again. [-0, +1, -] */
void sandbox_push(lua_State *L);

/* Runs the embedded lua/sol/NAME.lua with the `nargs` values on top and Lua's libraries as
 * they are: its one result in their place. [-nargs, +1, e] */
void sandbox_run(lua_State *L, const char *name, int nargs);

/* Loads the text file at `path` as a function with the environment on top of the stack:
 * the function, or nil and the error, in its place. [-1, +1|2, m] */
int sandbox_load_file(lua_State *L, const char *path);
/* Likewise, of a text that is given; `path` is what errors call it. [-1, +1|2, m] */
int sandbox_load_text(lua_State *L, const char *path, struct slice text);

#endif
