/* lib_file.h -- reading files for policies: regular ones, of bounded size. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_LIB_FILE_H
#define SOL_SCRIPT_LIB_FILE_H

#include "base/slice.h"

#include <lua.h>

/* Pushes the contents of a regular file, lent in *text while they are on the stack; or
 * false, nothing pushed, and *why (static). [-0, +0|1, m] */
bool file_push(lua_State *L, const char *path, struct slice *text, const char **why);

/* Pushes `path` as it is from the broker's folder: one that is not absolute is meant from
 * sol.lua's. [-0, +1, m] */
const char *file_push_path(lua_State *L, const char *path);

#endif
