/* test_conf.c -- sol.lua as configuration: what is taken, what is refused and how. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/rig.h"

#include "core/config.h"

static void a_wrong_file_is_refused_with_its_line_the_value_and_a_suggestion(void **state) {
    static const struct {
        const char *lua, *error; /* error: what follows "FILE:" */
    } rows[] = {
        { "alow_anonymous = true", "1: unknown setting \"alow_anonymous\" (= true); did you mean "
                                   "\"allow_anonymous\"?" },
        { "\n\nmy_limit = 5", "3: unknown setting \"my_limit\" (= 5); a variable of your own needs "
                              "\"local\"" },
        { "function helper() end", "1: unknown setting \"helper\" (= function); a function of your "
                                   "own needs \"local function\"" },
        { "allow_anonymous = 1", "1: allow_anonymous: expected true or false, got 1" },
        { "allow_anonymous = 'yes'", "1: allow_anonymous: expected true or false, got \"yes\"" },
        { "default_access = true", "1: default_access: expected \"deny\" or \"allow\", got true" },
        { "log_level = 'inf'", "1: log_level: expected \"debug\", \"info\", \"warn\", \"error\" or "
                               "\"off\", got \"inf\"; did you mean \"info\"?" },
        { "max_inflight = 0", "1: max_inflight: expected an integer from 1 to 65535, got 0" },
        { "max_inflight = 1.5", "1: max_inflight: expected an integer from 1 to 65535, got 1.5" },
        { "max_inflight = 'many'",
          "1: max_inflight: expected an integer from 1 to 65535, got \"many\"" },
        { "max_packet_size = 5",
          "1: max_packet_size: expected bytes from 128 to 268435460, got 5" },
        { "max_queued_bytes = 0/0", "1: max_queued_bytes: expected bytes from 1024 to "
                                    "1000000000000000, got " },
        { "hook_budget = 1e9", "1: hook_budget: expected seconds from 0.004 to 60, got " },
        { "max_session_expiry = -1",
          "1: max_session_expiry: expected seconds from 0 to 4294967295, "
          "math.huge or \"never\", got -1" },
        { "max_session_expiry = 'nevr'", "1: max_session_expiry: expected seconds from 0 to "
                                         "4294967295, math.huge or \"never\", got \"nevr\"" },
        { "print(max_inflght)", "1: unknown name \"max_inflght\"; did you mean \"max_inflight\"?" },
        { "lisen 'mqtt://:1'", "1: unknown name \"lisen\"; did you mean \"listen\"?" },
        { "print = 3", "1: \"print\" is not a setting and cannot be replaced" },
        { "sol = nil", "1: \"sol\" is not a setting and cannot be replaced" },
        { "listen 'mqt://x'", "1: listen: \"mqt://x\": " },
        { "listen 'mqtt://h:99999'", "1: listen: \"mqtt://h:99999\": " },
        { "listen 'mqtt://:1'\nlisten 'mqtt://:1'", "2: listen: \"mqtt://:1\" is there twice" },
        { "listen(5)", "1: listen: expected a URL, got 5" },
        { "listen()", "1: listen: expected a URL, got nil" },
        { "listen {}", "1: listen: expected a URL, got nil" },
        { "listen { 'mqtt://:1', backlogg = 1 }",
          "1: listen: unknown option \"backlogg\" (= 1); did "
          "you mean \"backlog\"?" },
        { "listen { 'mqtt://:1', backlog = 0 }",
          "1: listen: backlog must be an integer from 1 to 65535, "
          "got 0" },
        { "listen { 'mqtt://:1', mode = 'rw' }",
          "1: listen: mode must be an integer from 1 to 511, got "
          "\"rw\"" },
        { "x = ", "1: unexpected symbol near <eof>" },
        { "local x = 5\nif = 3", "2: unexpected symbol near '='" },
        { "error('boom')", "1: boom" },
        { "local t = nil\nt.x = 1", "2: attempt to index a nil value (local 't')" },
        { "plugin 'acll'", "1: plugin \"acll\" not found in plugins; did you mean \"acl\"?" },
        { "plugin(7)", "1: plugin: expected a name or path, got a number" },
        { "plugin('acl', 7)", "1: plugin \"acl\": options must be a table, not 7" },
        { "plugin('acl', { pth = 'x' })",
          "1: plugin \"acl\": unknown option \"pth\" (= \"x\"); did you "
          "mean \"path\"?" },
        { "plugin('acl', { path = 5 })", "1: plugin \"acl\": option path must be a string, not 5" },
        { "plugin './no_such.lua'",
          "1: plugin \"./no_such.lua\" not found: there is no /tmp/./no_such.lua" },
        { "require 'no_such'", "1: module \"no_such\" not found: there is no /tmp/no_such.lua, and "
                               "\"sol\" is the only library" },
        { "pcall(function()\n while true do end end)", "2: ran past its budget of 5000 ms" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rig r;
        struct policy policy;
        char want[400];
        rig_init(&r);
        char *error = rig_load(&r, rows[i].lua, &policy);
        if (!error) fail_msg("loaded: %s", rows[i].lua);
        snprintf(want, sizeof want, "%s:%s", r.path, rows[i].error);
        if (strncmp(error, want, strlen(want)) != 0)
            fail_msg("%s\nsays   %s\nwanted %s", rows[i].lua, error, want);
        assert_null(strchr(error, '\n'));
        free(error);
        close(r.log_fd);
    }
}

static struct policy loaded(struct rig *r, const char *lua) {
    struct policy policy;
    rig_init(r);
    char *error = rig_load(r, lua, &policy);
    if (error) fail_msg("%s", error);
    return policy;
}

static void unload(struct rig *r, struct policy *p) {
    p->hooks->retire(p->hooks, true);
    config_free(p->config);
    close(r->log_fd);
    free(r->text);
}

static void settings_reach_the_configuration_in_its_units(void **state) {
    struct rig r;
    struct policy p =
        loaded(&r, "allow_anonymous = false  default_access = 'deny'\n"
                   "max_connections = 7  max_queued_bytes = 1 << 33\n"
                   "session_expiry_3x = 'never'  max_session_expiry = 3600\n"
                   "connect_timeout = 2.5  hook_budget = 0.05  hook_timeout = 1\n"
                   "vm_memory = 2 * 1024 * 1024  log_level = 'warn'  log_format = 'json'\n"
                   "listen 'mqtt://127.0.0.1:1883'\n"
                   "listen { 'unix:///tmp/s', backlog = 5, mode = tonumber('600', 8) }");
    (void)state;
    const struct config *c = p.config;
    assert_int_equal(c->limits.allow_anonymous, NO);
    assert_false(c->default_access);
    assert_int_equal(c->limits.max_connections, 7);
    assert_true(c->limits.max_queued_bytes == UINT64_C(1) << 33);
    assert_int_equal(c->limits.session_expiry_3x, UINT32_MAX);
    assert_int_equal(c->limits.max_session_expiry, 3600);
    assert_int_equal(c->limits.connect_timeout_ms, 2500);
    assert_int_equal(c->hook_budget_ms, 50);
    assert_int_equal(c->hook_timeout_ms, 1000);
    assert_int_equal(c->vm_memory, 2097152);
    assert_int_equal(c->log_level, LOG_WARN);
    assert_int_equal(c->log_format, LOG_JSON);
    assert_int_equal(c->listeners_len, 2);
    assert_string_equal(c->listeners[0].url, "mqtt://127.0.0.1:1883");
    assert_int_equal(c->listeners[1].backlog, 5);
    assert_int_equal(c->listeners[1].mode, 0600);
    unload(&r, &p);
}

static void what_is_not_set_has_its_default_and_can_be_read(void **state) {
    struct rig r;
    struct policy p = loaded(&r, "print(max_inflight, hook_timeout, log_level, allow_anonymous)\n"
                                 "max_inflight = max_inflight * 2\n"
                                 "print(max_inflight, max_session_expiry)");
    (void)state;
    assert_logged(&r, "1024\\t5.0\\tinfo\\tnil");
    assert_logged(&r, "2048\\tinf");
    assert_int_equal(p.config->limits.allow_anonymous, UNSET);
    assert_int_equal(p.config->listeners_len, 1);
    assert_string_equal(p.config->listeners[0].url, "mqtt://localhost:1883");
    unload(&r, &p);
}

static void without_a_file_anybody_on_this_host_may_come_in(void **state) {
    struct rig r;
    struct policy p;
    char *error = NULL;
    (void)state;
    rig_init(&r);
    assert_int_equal(
        policy_load(&(struct policy_opts){ .log = &r.log, .generation = 1 }, &p, &error), 0);
    assert_int_equal(p.config->limits.allow_anonymous, YES);
    assert_string_equal(p.config->listeners[0].url, "mqtt://localhost:1883");
    assert_int_equal(p.hooks->wanted, 0);
    unload(&r, &p);
}

static void a_missing_file_is_named(void **state) {
    struct rig r;
    struct policy p;
    char *error = NULL;
    (void)state;
    rig_init(&r);
    int got =
        policy_load(&(struct policy_opts){ .path = "/no/such.lua", .log = &r.log }, &p, &error);
    assert_true(got < 0);
    assert_string_equal(error, "/no/such.lua: No such file or directory");
    free(error);
    close(r.log_fd);
}

static void settings_cannot_change_later(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    rig_open(&r, "sol.on('publish', function() max_inflight = 3 end)");
    rig_publish(&r, &call, "t", "x");
    assert_int_equal(call.verdict, VERDICT_DENY);
    assert_logged(&r, "max_inflight: settings are fixed once the policy is loaded");
    rig_over(&call);
    rig_close(&r);
}

/* ---- plugins ------------------------------------------------------------ */

static void write_file(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void a_plugin_gets_its_options_and_keeps_its_globals(void **state) {
    struct rig r;
    char path[64], lua[300];
    (void)state;
    snprintf(path, sizeof path, "/tmp/sol_plugin_%d.lua", getpid());
    write_file(path, "local sol = require 'sol'\n"
                     "shared = 'mine'\n"
                     "local M = { defaults = { limit = 5, word = 'a', list = {} } }\n"
                     "function M.setup(o)\n"
                     "    print(o.limit, o.word, #o.list, shared, _G.shared)\n"
                     "end\n"
                     "return M\n");
    snprintf(lua, sizeof lua,
             "plugin('.%s', { word = 'b', list = { 1 } })\n"
             "print(rawget(_G, 'shared'))",
             path + 4);
    struct policy p = loaded(&r, lua);
    assert_logged(&r, "5\\tb\\t1\\tmine\\tmine");
    assert_logged(&r, "policy   nil");
    unload(&r, &p);
    unlink(path);
}

static void a_faulty_plugin_is_told_with_both_places(void **state) {
    static const struct {
        const char *plugin, *error;
    } rows[] = {
        { "return 5", "must return a table with a function `setup`" },
        { "return { setup = function() error('path: no', 0) end }", ": path: no" },
        { "local x = nil\nx()", "lua:2: attempt to call a nil value (local 'x')" },
        { "x =", "lua:1: unexpected symbol near <eof>" },
        { "return { defaults = { a = 1 }, setup = function(o) o.b.c = 1 end }",
          "lua:1: attempt to index a nil value (field 'b')" },
    };
    char path[64], lua[100];
    (void)state;
    snprintf(path, sizeof path, "/tmp/sol_plugin_%d.lua", getpid());
    snprintf(lua, sizeof lua, "\nplugin '%s'", path);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rig r;
        struct policy p;
        char want[200];
        write_file(path, rows[i].plugin);
        rig_init(&r);
        char *error = rig_load(&r, lua, &p);
        assert_non_null(error);
        snprintf(want, sizeof want, "%s:2: plugin \"%s\": ", r.path, path);
        if (strncmp(error, want, strlen(want)) != 0 || !strstr(error, rows[i].error))
            fail_msg("says   %s\nwanted %s...%s", error, want, rows[i].error);
        free(error);
        close(r.log_fd);
    }
    unlink(path);
}

static void modules_lie_beside_the_file_that_requires_them(void **state) {
    struct rig r;
    char path[64], lua[200];
    (void)state;
    snprintf(path, sizeof path, "/tmp/sol_module_%d.lua", getpid());
    write_file(path, "count = (count or 0) + 1\nreturn { n = count, name = ... }");
    snprintf(lua, sizeof lua,
             "local m = require 'sol_module_%d'\n"
             "print(m.n, m.name, m == require 'sol_module_%d', require 'sol' == sol)",
             getpid(), getpid());
    struct policy p = loaded(&r, lua);
    snprintf(lua, sizeof lua, "1\\tsol_module_%d\\ttrue\\ttrue", getpid());
    assert_logged(&r, lua);
    unload(&r, &p);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_file_is_refused_with_its_line_the_value_and_a_suggestion),
        cmocka_unit_test(settings_reach_the_configuration_in_its_units),
        cmocka_unit_test(what_is_not_set_has_its_default_and_can_be_read),
        cmocka_unit_test(without_a_file_anybody_on_this_host_may_come_in),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(settings_cannot_change_later),
        cmocka_unit_test(a_plugin_gets_its_options_and_keeps_its_globals),
        cmocka_unit_test(a_faulty_plugin_is_told_with_both_places),
        cmocka_unit_test(modules_lie_beside_the_file_that_requires_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
