/* test_pattern.c -- our string functions against Lua's own, and against the clock. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/rig.h"

#include "script/lib.h"
#include "script/vm.h"

#include <lualib.h>

/* A VM with Lua's own libraries, ours beside them as `ours`. */
static struct vm *vm_with_both(struct log *log) {
    struct vm *vm = vm_new(log, 0, 0);
    luaL_openlibs(vm->L);
    luaopen_sol_string(vm->L);
    lua_setglobal(vm->L, "ours");
    return vm;
}

static void check(const char *lua) {
    struct log log;
    log_init(&log, 2, LOG_DEBUG, LOG_TEXT);
    struct vm *vm = vm_with_both(&log);
    must(luaL_loadstring(vm->L, lua) == LUA_OK);
    if (vm_call(vm->L, 0, 0) != LUA_OK) fail_msg("%s", lua_tostring(vm->L, -1));
    vm_unref(vm);
}

/* Calls both and compares all results, errors included. */
#define COMPARE                                                                                    \
    "local function show(...)\n"                                                                   \
    "    local t = table.pack(...)\n"                                                              \
    "    for i = 1, t.n do t[i] = math.type(t[i]) and tostring(t[i]) or ('%q'):format(t[i]) end\n" \
    "    return table.concat(t, ', ')\n"                                                           \
    "end\n"                                                                                        \
    "local function compare(name, ...)\n"                                                          \
    "    local want, got = show(pcall(string[name], ...)), show(pcall(ours[name], ...))\n"         \
    "    want, got = want:gsub(\"to '.-'\", ''), got:gsub(\"to '.-'\", '')\n"                      \
    "    got = got:gsub('in pattern', ''):gsub(' in replacement string', '')\n"                    \
    "    want = want:gsub('in pattern', ''):gsub(' in replacement string', '')\n"                  \
    "        :gsub('(invalid capture index %%%d+).-\"', '%1\"')\n"                                 \
    "    got = got:gsub('(invalid capture index %%%d+).-\"', '%1\"')\n"                            \
    "    if want ~= got then\n"                                                                    \
    "        error(name .. '(' .. show(...) .. ')\\nwant ' .. want .. '\\ngot  ' .. got, 0)\n"     \
    "    end\n"                                                                                    \
    "end\n"                                                                                        \
    "local function gmatches(f, ...)\n"                                                            \
    "    local out = {}\n"                                                                         \
    "    for a, b in f(...) do out[#out + 1] = tostring(a) .. '/' .. tostring(b) end\n"            \
    "    return table.concat(out, ' ')\n"                                                          \
    "end\n"                                                                                        \
    "function string.all(...) return gmatches(string.gmatch, ...) end\n"                           \
    "function ours.all(...) return gmatches(ours.gmatch, ...) end\n"

static void they_mean_what_luas_mean(void **state) {
    (void)state;
    check(
        COMPARE
        "local subjects = { '', 'a', 'hello world', 'key = value', '  trim me  ', '[[x]]', "
        "'(a(b)c)d)', 'THE (quick) fox',\n"
        "    'a.b.c', 'x\\0y\\0z', '2026-11-22T03:17:08', 'aaa', 'abab', '$^%', 'sensors/+/raw', "
        "'\"q\" \\'r\\'', '-1.5e10' }\n"
        "local patterns = { '', '.', 'l+', '^a', 'a$', '^$', '(%w+) = (%w+)', '^%s*(.-)%s*$', "
        "'%b()', '%b[]', '%f[%w]%w+',\n"
        "    '%f[%a]%u+', '()l()', '(.)%1', '[^%s]+', '[a-c]+', '[]]', '[^]]', '[%]]', '[a-]', "
        "'[-a]', '%d+%-%d+', '.-o', 'x%z?',\n"
        "    '\\0', '%.', '%%', '(a*(.)%w(%s*))', '((a))', '[%a_][%w_]*', '%g+', '%x+', '%p', "
        "'%c', '%l%u?', '.*', '.+b', 'a?b?', '$', 'a$b', '^',\n"
        "    'a-$', '[%', '[', '[a', '[^', '%', '(', ')', '()', '%1', '(%1)', '%b', '%bx', '%f', "
        "'%fa', '(()', '%9', '[a%', '*', '+a', '?', '%d', '%D+', '(%a+)/', '[%d%.]+' }\n"
        "for _, s in ipairs(subjects) do for _, p in ipairs(patterns) do\n"
        "    compare('find', s, p) compare('match', s, p)\n"
        "    compare('find', s, p, 2) compare('match', s, p, -2) compare('find', s, p, 1, true) "
        "compare('find', s, p, 100)\n"
        "    compare('all', s, p) compare('all', s, p, 3)\n"
        "    compare('gsub', s, p, '<%0>') compare('gsub', s, p, '%1%%', 1) compare('gsub', s, p, "
        "'%2') compare('gsub', s, p, 'x', 0)\n"
        "    compare('gsub', s, p, function(a, b) return b or a and #tostring(a) > 1 and '!' end)\n"
        "    compare('gsub', s, p, { a = 'A', l = 1, hello = false, [''] = '_' }) compare('gsub', "
        "s, p, 7)\n"
        "end end\n"
        "compare('gsub', 'x', 'x', '%') compare('gsub', 'x', 'x', '%y') compare('gsub', 'x', 'x', "
        "function() return {} end)\n"
        "compare('gsub', 'x', 'x') compare('find', {}, 'x') compare('find', 'x') compare('match', "
        "5, '5') compare('find', 'x', 'x', 'y')\n"
        "compare('gsub', 'abc', '%w', '%0%0', 2) compare('gsub', 'hello', '', '-')\n"
        "compare('match', ('a'):rep(300), ('(a)'):rep(32)) compare('match', ('a'):rep(300), "
        "('(a)'):rep(33))\n"
        "compare('match', ('x'):rep(300), ('.-'):rep(250) .. 'y')\n");
}

static void they_agree_on_random_patterns(void **state) {
    (void)state;
    check(COMPARE "math.randomseed(42)\n"
                  "local atoms = { 'a', 'b', '.', '%a', '%d', '[ab]', '[^a]', '(', ')', '()', "
                  "'%1', '%b()', '%f[a]', '$', '^', '[a-b]', '%', ']', '-', 'c' }\n"
                  "local marks = { '', '', '', '*', '+', '-', '?' }\n"
                  "local letters = { 'a', 'b', 'c', '(', ')', '1', ' ', 'ab', '' }\n"
                  "local function some(list, n)\n"
                  "    local t = {} for i = 1, math.random(0, n) do t[i] = "
                  "list[math.random(#list)] end return t\n"
                  "end\n"
                  "for _ = 1, 20000 do\n"
                  "    local p = some(atoms, 6) for i = 1, #p do p[i] = p[i] .. "
                  "marks[math.random(#marks)] end\n"
                  "    local pattern, subject = table.concat(p), table.concat(some(letters, 10))\n"
                  "    compare('find', subject, pattern) compare('all', subject, pattern)\n"
                  "    compare('gsub', subject, pattern, '<%1>') compare('match', subject, "
                  "pattern, math.random(-5, 5))\n"
                  "end\n");
}

static void patterns_that_never_end_are_cut_off(void **state) {
    static const char *const bodies[] = {
        "return ('a'):rep(60):find(('a*'):rep(30) .. 'b')",
        "return ('a'):rep(60):match(('a?'):rep(60) .. ('a'):rep(60) .. 'b')",
        "return ('a'):rep(200):gsub(('.-'):rep(20) .. 'b', '')",
        "for _ in ('a'):rep(200):gmatch(('.-'):rep(20) .. 'b') do end",
        "while true do pcall(string.find, ('a'):rep(60), ('a*'):rep(30) .. 'b') end",
        "return ('a'):rep(1 << 20):find(('(a*)'):rep(3) .. '%1%2%3b')",
        "return ('('):rep(1 << 22):find('%b()')",
        "local t = {} for i = 1, 200000 do t[i] = math.random() end while true do table.sort(t) "
        "t[1] = 2 end",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct rig r;
        struct hook_call call;
        char lua[300];
        snprintf(lua, sizeof lua, "hook_budget = 0.04\nsol.on('publish', function() %s end)",
                 bodies[i]);
        rig_open(&r, lua);
        rig_publish(&r, &call, "t", "x");
        if (call.verdict != VERDICT_DENY) fail_msg("%s", bodies[i]);
        assert_logged(&r, "ran past its budget of 40 ms");
        rig_over(&call);
        rig_close(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_mean_what_luas_mean),
        cmocka_unit_test(they_agree_on_random_patterns),
        cmocka_unit_test(patterns_that_never_end_are_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
