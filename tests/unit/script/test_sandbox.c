/* test_sandbox.c -- what scripts cannot do, and how they are told. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/rig.h"

/* Runs `lua` as the body of a publish handler with a budget: what it logs as its error. */
static void fails_within(double seconds, const char *body, const char *error) {
    struct rig r;
    struct hook_call call;
    char lua[1000];
    snprintf(lua, sizeof lua,
             "hook_budget = %g\nsol.on('publish', function(client, message) %s end)", seconds,
             body);
    rig_open(&r, lua);
    rig_publish(&r, &call, "t", "x");
    if (call.verdict != VERDICT_DENY || !strstr(rig_log(&r), error))
        fail_msg("%s\nlogged %s\nwanted %s", body, rig_log(&r), error);
    rig_over(&call);
    rig_publish(&r, &call, "t", "x"); /* and again: the VM is in order */
    assert_int_equal(call.verdict, VERDICT_DENY);
    rig_over(&call);
    rig_close(&r);
}

static void fails_with(const char *body, const char *error) {
    fails_within(0.04, body, error);
}

static void what_is_too_long_is_refused(void **state) {
    (void)state;
    fails_within(10, "utf8.len(('x'):rep(20 << 20))", "longer than 16 MiB");
    fails_within(10, "utf8.offset(('x'):rep(20 << 20), 1 << 20)", "longer than 16 MiB");
    fails_within(10, "return ('x'):rep(40 << 20) .. ('x'):rep(40 << 20)", "not enough memory");
}

static void what_is_not_there_says_what_to_use_instead(void **state) {
    static const struct {
        const char *body, *error;
    } rows[] = {
        { "os.exit(1)", "os.exit is not available in a policy: send the broker SIGTERM" },
        { "os.execute('ls')", "os.execute is not available in a policy" },
        { "os.remove('x')", "os.remove is not available in a policy" },
        { "io.open('x')", "io.open is not available in a policy: use sol.read_file" },
        { "io.popen('ls')", "io.popen is not available in a policy: a policy cannot start" },
        { "io.write('x')", "io.write is not available in a policy: use sol.log" },
        { "io.write = print", "io cannot be changed" },
        { "debug.setmetatable('', {})", "debug.setmetatable is not available in a policy" },
        { "sol.onn()", "sol has no member \"onn\"; did you mean \"on\"?" },
        { "sol.topic.mach()", "sol.topic has no member \"mach\"; did you mean \"match\"?" },
        { "sol.deny = print", "sol.deny cannot be replaced" },
        { "sol.log_level = 'info'", "it is a setting, written \"log_level = ...\"" },
        { "sol.mine = 1", "sol cannot be changed" },
        { "rawset(sol.json, 'x', 1)", "this table belongs to everybody" },
        { "table.insert(sol, 1)", "sol cannot be changed" },
        { "getmetatable(sol.json.null).x = 1", "attempt to index a boolean value" },
        { "string.rep('x', 250 << 20)", "string.rep: not enough memory" },
        { "string.rep('x', 1 << 62, 'yz')", "string.rep: not enough memory" },
        { "os.date(('%c'):rep(1000))", "format too long" },
        { "dofile('x')", "dofile is not available in a policy: use require" },
        { "loadfile('x')", "loadfile is not available in a policy: use require" },
        { "string.dump(print)", "string.dump is not available in a policy" },
        { "debug.sethook()", "debug.sethook is not available in a policy" },
        { "collectgarbage()", "collectgarbage: only \\\"count\\\" is available" },
        { "setmetatable({}, { __gc = print })",
          "__gc is not available in a policy: use a <close> variable" },
        { "load('\\27Lua')()", "attempt to call a nil value" },
        { "load(load, 'x', 'b')", "load: only text can be loaded" },
        { "table.move({}, 1, math.maxinteger - 1, 2)", "too many elements to move" },
        { "table.insert(setmetatable({}, { __len = function() return 1 << 60 end }), 1, 1)",
          "a table with a __len is not taken here" },
        { "coroutine.yield(1)", "attempt to yield from outside a coroutine" },
        { "getmetatable('').__index = {}", "attempt to index a boolean value" },
        { "getmetatable(client).__index = print", "attempt to index a string value" },
        { "require 'socket'", "module \"socket\" not found" },
        { "sol.on('publish', print)", "handlers are registered while the policy is loaded" },
        { "listen 'mqtt://:1'", "listeners are fixed once the policy is loaded" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char error[200];
        size_t n = 0;
        for (const char *c = rows[i].error; *c; c++)
            if (*c != '\\') error[n++] = *c;
        error[n] = '\0';
        fails_with(rows[i].body, error);
    }
}

static void endless_work_is_cut_off_whatever_catches_errors(void **state) {
    static const char *const bodies[] = {
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do pcall(error) end",
        "local function f() pcall(f) f() end f()",
        "while true do xpcall(function() while true do end end, function() while true do end end) "
        "end",
        "repeat local ok = pcall(string.rep) until false",
        "coroutine.wrap(function() while true do end end)()",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "while true do pcall(coroutine.wrap(function() while true do end end)) end",
        "local x <close> = setmetatable({}, { __close = function() while true do end end }) while "
        "true do end",
        "table.sort({ 3, 2, 1 }, function() while true do end end)",
        "while true do pcall(table.sort, { 3, 2, 1 }, function() while true do end end) end",
        "('x'):gsub('x', function() while true do end end)",
        "tostring(setmetatable({}, { __tostring = function() while true do end end }))",
        "local x <close> = setmetatable({}, { __close = function() while true do end end })\n"
        "table.sort({ 3, 2, 1 }, function() while true do end end)",
        "local co = coroutine.create(function()\n"
        "    local x <close> = setmetatable({}, { __close = function() while true do end end })\n"
        "    coroutine.yield() end)\n"
        "coroutine.resume(co) coroutine.close(co) while true do end",
        "sol.spawn(function() while true do end end) while true do end",
        "goto l ::l:: goto l",
        "string.rep('', 1 << 62) while true do end",
        "table.concat(setmetatable({}, { __index = function() return '' end }), '', 1, 1 << 50)",
        "local t = {} for i = 1, 1 << 16 do t[i] = '' end\n"
        "while true do pcall(table.concat, t, '', 1, 1 << 50) end",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        fails_with(bodies[i], "ran past its budget of 40 ms");
    fails_with("local x <close> = setmetatable({}, { __close = function() while true do end end }) "
               "error 'x'",
               ": x");
}

static void greed_is_cut_off_and_the_vm_lives_on(void **state) {
    static const char *const bodies[] = {
        "local t = {} for i = 1, 1e9 do t[i] = i end",
        "local s = 'x' while true do s = s .. s end",
        "return ('x'):rep(1 << 20) .. ('x'):rep(1 << 20)",
        "return table.concat { ('x'):rep(1 << 20), ('x'):rep(1 << 20) }",
        "local t = {} while true do t = { t } end",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct rig r;
        struct hook_call call;
        char lua[300];
        snprintf(lua, sizeof lua,
                 "vm_memory = 4 << 20  hook_budget = 10\n"
                 "sol.on('publish', 'greedy', function() %s end)\n"
                 "sol.on('publish', 'good', function(c, m) m.payload = ('y'):rep(1 << 20) end)",
                 bodies[i]);
        rig_open(&r, lua);
        for (int n = 0; n < 3; n++) {
            rig_publish(&r, &call, "greedy", "x");
            assert_int_equal(call.verdict, VERDICT_DENY);
            rig_over(&call);
            rig_publish(&r, &call, "good", "x");
            assert_int_equal(call.verdict, VERDICT_NONE);
            assert_int_equal(rig_left(&call)->payload_len, 1 << 20);
            rig_over(&call);
        }
        assert_logged(&r, "not enough memory");
        rig_close(&r);
    }
}

static void a_task_coroutine_cannot_be_taken_over(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    struct hook_call other;
    rig_open(&r,
             "local co\n"
             "sol.on('publish', 'keep', function() co = coroutine.running() end)\n"
             "sol.on('publish', 'wait', function() co = coroutine.running() sol.sleep(0.05) end)\n"
             "sol.on('publish', 'use', function()\n"
             "    print(coroutine.status(co), coroutine.resume(co))\n"
             "    print(pcall(coroutine.close, co))\n"
             "end)\n");
    rig_publish(&r, &call, "wait", "x");
    rig_publish(&r, &other, "use", "x");
    assert_int_equal(other.verdict, VERDICT_NONE);
    assert_logged(&r, "cannot resume a coroutine that waits");
    assert_logged(&r, "cannot close a coroutine that waits");
    rig_over(&other);
    rig_publish(&r, &other, "keep", "x"); /* in a task of its own, which then rests */
    rig_over(&other);
    rig_wait(&r, 1);
    assert_int_equal(call.verdict, VERDICT_NONE);
    rig_over(&call);
    rig_publish(&r, &other, "use", "x");
    assert_logged(&r, "dead\\tfalse\\tcannot resume dead coroutine");
    rig_over(&other);
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_there_says_what_to_use_instead),
        cmocka_unit_test(what_is_too_long_is_refused),
        cmocka_unit_test(endless_work_is_cut_off_whatever_catches_errors),
        cmocka_unit_test(greed_is_cut_off_and_the_vm_lives_on),
        cmocka_unit_test(a_task_coroutine_cannot_be_taken_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
