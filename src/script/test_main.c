/* test_main.c -- a Lua of its own for tests: all of Lua's libraries, sol.testing, and of `sol`
 * the tools that need no broker. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/test_main.h"

#include "base/log.h"
#include "base/mem.h"
#include "script/embed.h"
#include "script/lib.h"
#include "script/lib_testing.h"
#include "script/vm.h"

#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What tests may want to make payloads and tokens with. */
static const struct {
    const char *name; /* NULL: its functions are sol's own */
    lua_CFunction open;
} tools[] = {
    { "json", luaopen_sol_json },     { "topic", luaopen_sol_topic }, { "uuid", luaopen_sol_uuid },
    { "base64", luaopen_sol_base64 }, { "hex", luaopen_sol_hex },     { NULL, luaopen_sol_crypto },
};

/* [-0, +1, e] */
static void push_tools(lua_State *L) {
    lua_newtable(L); /* sol */
    for (unsigned i = 0; i < ARRAY_LEN(tools); i++) {
        tools[i].open(L); /* sol, module */
        if (tools[i].name)
            lua_setfield(L, -2, tools[i].name); /* sol */
        else
            lib_merge(L); /* sol */
    }
}

/* Arguments: argv's length and address. */
static int run(lua_State *L) {
    int argc = (int)lua_tointeger(L, 1);
    char **argv = lua_touserdata(L, 2);
    luaL_openlibs(L);
    lua_settop(L, 0);
    embed_push(L, "test_runner", NULL); /* runner */
    embed_push(L, "testing", NULL);     /* runner, testing */
    luaopen_sol_testing(L);             /* runner, testing, core */
    lua_call(L, 1, 2);                  /* runner, module, watch */
    push_tools(L);                      /* runner, module, watch, sol */
    lua_newtable(L);                    /* runner, module, watch, sol, words */
    for (int i = 1; i < argc; i++) {
        lua_pushstring(L, argv[i]); /* ..., words, word */
        lua_rawseti(L, -2, i);      /* ..., words */
    }
    lua_call(L, 4, 1); /* status */
    return 1;
}

int test_main(int argc, char **argv) {
    struct log log;
    log_init(&log, STDERR_FILENO, LOG_WARN, LOG_TEXT);
    struct vm *vm = vm_new(&log, 0, 0);
    lua_State *L = vm->L;
    lua_pushcfunction(L, run);            /* run */
    lua_pushinteger(L, argc);             /* run, argc */
    lua_pushlightuserdata(L, argv);       /* run, argc, argv */
    bool ok = vm_call(L, 2, 1) == LUA_OK; /* status or error */
    int status = ok ? (int)lua_tointeger(L, -1) : EXIT_FAILURE;
    if (!ok) fprintf(stderr, "sol test: %s\n", lua_tostring(L, -1));
    fflush(stdout);
    vm_close(vm);
    vm_unref(vm);
    return status;
}
