/* embed.h -- the Lua half of the API, compiled into the binary.
 *
 * build/.../embed.c is made by embed.lua from lua/sol/X.lua. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_EMBED_H
#define SOL_SCRIPT_EMBED_H

#include <stddef.h>

struct embedded {
    const char *name; /* "prelude"; NULL ends the list */
    const char *source;
    size_t len; /* bytes */
};

extern const struct embedded embedded_lua[];

#endif
