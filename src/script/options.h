/* options.h -- tables of options, as the modules that reach the world take them. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_OPTIONS_H
#define SOL_SCRIPT_OPTIONS_H

#include "io/tls.h"

#include <lua.h>
#include <stdint.h>

/* In all of them `arg` may also be nil or absent: then every option is. */

/* Raises, with a suggestion, when the table has a key that is not among `names` (NULL ends
 * them), or when it is no table. `what` names the function. [-0, +0, v] */
void options_check(lua_State *L, int arg, const char *what, const char *const *names);
/* A number of seconds above 0, in milliseconds. [-0, +0, v] */
uint64_t options_ms(lua_State *L, int arg, const char *name, uint64_t otherwise);
/* An integer within bounds. [-0, +0, v] */
lua_Integer options_integer(lua_State *L, int arg, const char *name, lua_Integer min,
                            lua_Integer max, lua_Integer otherwise);
/* A boolean. [-0, +0, v] */
bool options_boolean(lua_State *L, int arg, const char *name, bool otherwise);
/* Pushes a string, lent while it is on the stack, or nil and gives NULL. [-0, +1, v] */
const char *options_push_string(lua_State *L, int arg, const char *name);
/* Likewise a file's path, as from the folder of sol.lua. [-0, +1, v] */
const char *options_push_path(lua_State *L, int arg, const char *name);
/* Reads ca, cert, key (files, from the folder of sol.lua) and verify; pushes what was
 * read. [-0, +OPTIONS_TLS, v] */
#define OPTIONS_TLS 3
void options_push_tls(lua_State *L, int arg, struct tls_client_opts *out);

/* The seconds at `arg`, above 0, in milliseconds. [-0, +0, v] */
uint64_t options_check_ms(lua_State *L, int arg);

#endif
