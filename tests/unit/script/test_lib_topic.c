/* test_lib_topic.c -- sol.topic, asked from Lua. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "base/mem.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static int make_state(void **state) {
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    luaopen_sol_topic(L);
    lua_setglobal(L, "topic");
    *state = L;
    return 0;
}

static int close_state(void **state) {
    lua_close(*state);
    return 0;
}

/* Gives what the expression is, as text. */
static const char *eval(void **state, const char *expression) {
    lua_State *L = *state;
    lua_settop(L, 0);
    lua_pushfstring(L,
                    "local function text(...) local t = { ... } "
                    "for i = 1, select('#', ...) do local v = t[i] "
                    "t[i] = type(v) == 'table' and '{' .. table.concat(v, '|') .. '}' "
                    "or tostring(v) end return table.concat(t, ' ') end return text(%s)",
                    expression);
    if (luaL_dostring(L, lua_tostring(L, 1)) != LUA_OK) return "error";
    return lua_tostring(L, -1);
}

static void each_function_answers(void **state) {
    static const struct {
        const char *expression, *answer;
    } rows[] = {
        { "topic.match('a/+', 'a/b')", "true" },
        { "topic.match('a/#', 'a')", "true" },
        { "topic.match('#', '$SYS/up')", "false" }, /* [MQTT-4.7.2-1] */
        { "topic.match('a/+', 'a/+')", "false" },   /* no name */
        { "topic.match('a/+', '')", "false" },
        { "topic.match('a+', 'a')", "error" },
        { "topic.match('', 'a')", "error" },
        { "topic.match('a')", "error" },

        { "topic.capture('sensors/+/raw', 'sensors/kitchen/raw')", "{kitchen}" },
        { "topic.capture('+/+/#', 'a/b/c/d')", "{a|b|c/d}" },
        { "topic.capture('a/#', 'a')", "{}" },
        { "#topic.capture('a/#', 'a')", "1" },
        { "topic.capture('a/#', 'a/')", "{}" },
        { "topic.capture('#', 'a/b')", "{a/b}" },
        { "topic.capture('a/+/c', 'a//c')", "{}" },
        { "topic.capture('a/b', 'a/b')", "{}" },
        { "#topic.capture('a/b', 'a/b')", "0" },
        { "topic.capture('a/+', 'b/c')", "nil" },
        { "topic.capture('+/a', '$x/a')", "nil" },

        { "topic.parse('a/b/c')", "{a|b|c}" },
        { "topic.parse('/')", "{|}" },
        { "topic.parse('a//+/#')", "{a||+|#}" },
        { "topic.parse('')", "{}" },

        { "topic.covers('a/#', 'a/b/+')", "true" },
        { "topic.covers('a/#', 'a')", "true" },
        { "topic.covers('a/+', 'a/#')", "false" },
        { "topic.covers('#', '$SYS/#')", "false" },
        { "topic.covers('a', 'a#')", "error" },

        { "topic.overlaps('a/b', 'a/b')", "true" },
        { "topic.overlaps('a/b', 'a/c')", "false" },
        { "topic.overlaps('a/+', '+/b')", "true" },
        { "topic.overlaps('a/+/x', 'a/b/+')", "true" },
        { "topic.overlaps('a/+/x', 'a/b/y')", "false" },
        { "topic.overlaps('a/+', 'a/b/c')", "false" },
        { "topic.overlaps('a/#', 'a')", "true" },
        { "topic.overlaps('a', 'a/#')", "true" },
        { "topic.overlaps('a', 'a/+')", "false" },
        { "topic.overlaps('a/#', 'b/#')", "false" },
        { "topic.overlaps('#', 'a/b')", "true" },
        { "topic.overlaps('+/b', '#')", "true" },
        { "topic.overlaps('#', '$SYS/#')", "false" },
        { "topic.overlaps('$SYS/#', '+/x')", "false" },
        { "topic.overlaps('$SYS/#', '$SYS/+/x')", "true" },
        { "topic.overlaps('a/$b', 'a/+')", "true" },
        { "topic.overlaps('/', '/+')", "true" },
        { "topic.overlaps('a/#', '#a')", "error" },

        { "topic.shared('$share/g/a/#')", "g a/#" },
        { "topic.shared('a/#')", "nil" },
        { "topic.shared('$share//a')", "nil" },

        { "topic.valid_name('a/b')", "true" },
        { "topic.valid_name('a/+')", "false" },
        { "topic.valid_name('')", "false" },
        { "topic.valid_name('a\\0')", "false" },
        { "topic.valid_name('\\xff')", "false" },
        { "topic.valid_filter('a/+/#')", "true" },
        { "topic.valid_filter('a/b#')", "false" },
        { "topic.valid_filter('\\xff')", "false" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *answer = eval(state, rows[i].expression);
        if (strcmp(answer, rows[i].answer) != 0)
            fail_msg("%s is %s, not %s", rows[i].expression, answer, rows[i].answer);
    }
}

/* overlaps is symmetric, follows from covers, and is what a common topic shows. */
static void the_answers_agree_with_each_other(void **state) {
    lua_State *L = *state;
    static const char chunk[] =
        "local levels = { 'a', 'b', '', '+', '$x' } "
        "local filters, names = { '#' }, {} "
        "local function add(prefix, depth) for _, l in ipairs(levels) do "
        "local f = prefix and prefix .. '/' .. l or l "
        "if f ~= '' then filters[#filters + 1] = f "
        "if not f:find('+', 1, true) then names[#names + 1] = f end end "
        "filters[#filters + 1] = f .. '/#' "
        "if depth < 3 then add(f, depth + 1) end end end add(nil, 1) "
        "local hits = {} for i, f in ipairs(filters) do hits[i] = {} "
        "for n, name in ipairs(names) do hits[i][n] = topic.match(f, name) end end "
        "for i = 1, #filters, 3 do for j = 1, #filters, 2 do "
        "local a, b, common = filters[i], filters[j], false "
        "for n = 1, #names do common = common or hits[i][n] and hits[j][n] end "
        "local o = topic.overlaps(a, b) "
        "assert(o == topic.overlaps(b, a), a .. ' ' .. b) "
        "assert(not common or o, a .. ' and ' .. b .. ' have a topic in common') "
        "assert(not o or common or a:find '/#$' or b:find '/#$', a .. ' and ' .. b .. ' have "
        "none') "
        "if topic.covers(a, b) then assert(o, a .. ' covers ' .. b) end end end";
    if (luaL_dostring(L, chunk) != LUA_OK) fail_msg("%s", lua_tostring(L, -1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_function_answers),
        cmocka_unit_test(the_answers_agree_with_each_other),
    };
    return cmocka_run_group_tests(tests, make_state, close_state);
}
