/* embed.c -- embedded chunks as functions, compiled once or each time. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/embed.h"

#include "base/buf.h"
#include "base/mem.h"

#include <lauxlib.h>
#include <stdlib.h>

struct embed_cache {
    unsigned len;
    struct buf at[]; /* by place in embedded_lua; empty: not compiled yet */
};

struct embed_cache *embed_cache_new(void) {
    unsigned len = 0;
    while (embedded_lua[len].name) len++;
    struct embed_cache *cache = xcalloc(1, sizeof *cache + len * sizeof *cache->at);
    cache->len = len;
    return cache;
}

void embed_cache_free(struct embed_cache *cache) {
    for (unsigned i = 0; cache && i < cache->len; i++) buf_deinit(&cache->at[i]);
    free(cache);
}

static int keep(lua_State *L, const void *at, size_t len, void *obj) {
    (void)L;
    buf_add(obj, at, len);
    return 0;
}

void embed_push(lua_State *L, const char *name, struct embed_cache *cache) {
    const struct embedded *e = embedded_lua;
    while (e->name && strcmp(e->name, name) != 0) e++;
    must(e->name != NULL);
    struct buf *compiled = cache ? &cache->at[e - embedded_lua] : NULL;
    bool is_known = compiled && compiled->len;
    const char *chunk = is_known ? (const char *)compiled->at : e->source;
    size_t len = is_known ? compiled->len : e->len;
    lua_pushfstring(L, "=sol/%s.lua", name); /* chunk name */
    if (luaL_loadbufferx(L, chunk, len, lua_tostring(L, -1), is_known ? "b" : "t") != LUA_OK)
        lua_error(L);
    lua_remove(L, -2); /* chunk */
    if (compiled && !is_known) lua_dump(L, keep, compiled, true);
}
