/* embed.h -- the Lua half of the API, compiled into the binary.
 *
 * build/.../embed.c is made by embed.lua from lua/sol/X.lua. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_EMBED_H
#define SOL_SCRIPT_EMBED_H

#include <lua.h>
#include <stddef.h>

struct embedded {
    const char *name; /* "prelude"; NULL ends the list */
    const char *source;
    size_t len; /* bytes */
};

extern const struct embedded embedded_lua[];

/* What has been compiled once: for who makes many VMs one after the other, since compiling
 * is nearly all that a VM costs.  Lines are not kept: in a traceback such functions are "?".
 * One thread. */
struct embed_cache;
struct embed_cache *embed_cache_new(void);
/* NULL is fine. */
void embed_cache_free(struct embed_cache *cache);

/* Pushes the embedded lua/sol/NAME.lua as a function whose globals are those of the state.
 * `cache`: NULL, none. [-0, +1, e] */
void embed_push(lua_State *L, const char *name, struct embed_cache *cache);

#endif
