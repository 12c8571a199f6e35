/* lib_retain.c -- sol.retained: what the broker has retained.
 *
 * The messages found are held by a userdata until they have become tables: an error on the
 * way leaks nothing. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "core/retain.h"
#include "core/worker.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"
#include "script/obj_message.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <stdlib.h>

#define FOUND_DEFAULT 1000
#define FOUND_MAX     10000 /* tables that one call makes */

struct found {
    struct message **list; /* owned references, in owned memory */
    size_t len;
};

static int found_gc(lua_State *L) {
    struct found *f = lua_touserdata(L, 1);
    while (f->len) message_unref(f->list[--f->len]);
    free(f->list);
    f->list = NULL;
    return 0;
}

/* [-0, +1, m] */
static struct found *push_found(lua_State *L) {
    struct found *f = lua_newuserdatauv(L, sizeof *f, 0); /* found */
    *f = (struct found){ NULL, 0 };
    if (luaL_newmetatable(L, "sol.found")) { /* found, meta */
        lua_pushcfunction(L, found_gc);      /* found, meta, fn */
        lua_setfield(L, -2, "__gc");         /* found, meta */
    }
    lua_setmetatable(L, -2); /* found */
    return f;
}

/* retained(filter [, max]): a list of messages, and whether there are more. */
static int l_retained(lua_State *L) {
    struct slice filter = vm_check_slice(L, 1);
    lua_Integer max = luaL_optinteger(L, 2, FOUND_DEFAULT);
    luaL_argcheck(L, topic_filter_valid(filter) && utf8_valid(filter), 1, "not a topic filter");
    luaL_argcheck(L, max >= 1 && max <= FOUND_MAX, 2, "expected 1 to 10000");
    struct worker *w = lib_worker(L, "sol.retained");
    struct found *f = push_found(L);               /* filter, max, found */
    struct retain *retained = w->broker->retained; /* one more than asked for tells of more */
    retain_match(retained,
                 &(struct retain_query){ .filter = filter,
                                         .now_ms = loop_now_ms(w->loop),
                                         .up_to = UINT64_MAX,
                                         .max = (size_t)max + 1 },
                 &f->list, &f->len);
    int n = (int)(f->len > (size_t)max ? (size_t)max : f->len);
    lua_createtable(L, n, 0); /* filter, max, found, list */
    for (int i = 0; i < n; i++) {
        message_push_table(L, f->list[i], true); /* ..., list, message */
        lua_rawseti(L, -2, i + 1);               /* ..., list */
    }
    lua_pushboolean(L, f->len > (size_t)max); /* ..., list, more */
    return 2;
}

static const luaL_Reg functions[] = {
    { "retained", l_retained },
    { NULL, NULL },
};

int luaopen_sol_retain(lua_State *L) {
    luaL_newlib(L, functions); /* functions */
    return 1;
}
