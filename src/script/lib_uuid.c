/* lib_uuid.c -- sol.uuid(): a random name. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "base/uuid.h"
#include "script/vm.h"

static int l_uuid(lua_State *L) {
    char text[UUID_TEXT];
    uuid_make(text);
    lua_pushstring(L, text);
    return 1;
}

int luaopen_sol_uuid(lua_State *L) {
    lua_pushcfunction(L, l_uuid);
    return 1;
}
