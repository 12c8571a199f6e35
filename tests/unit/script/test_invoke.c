/* test_invoke.c -- hook calls and their handlers: verdicts, changes, waiting, failing. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/rig.h"

/* ---- verdicts ------------------------------------------------------------ */

static void what_a_handler_returns_is_the_verdict(void **state) {
    static const struct {
        const char *body;
        enum verdict verdict;
        uint8_t reason_code;
        const char *reason, *log;
    } rows[] = {
        { "", VERDICT_NONE, 0, NULL, NULL },
        { "return nil", VERDICT_NONE, 0, NULL, NULL },
        { "return nil, 'x'", VERDICT_NONE, 0, NULL, NULL },
        { "return true", VERDICT_ALLOW, 0, NULL, NULL },
        { "return sol.allow()", VERDICT_ALLOW, 0, NULL, NULL },
        { "return false", VERDICT_DENY, 0, NULL, NULL },
        { "return sol.deny()", VERDICT_DENY, 0, NULL, NULL },
        { "return sol.deny(0x97)", VERDICT_DENY, 0x97, NULL, NULL },
        { "return sol.deny(0x99, 'not JSON')", VERDICT_DENY, 0x99, "not JSON", NULL },
        { "return sol.deny(nil, 'no')", VERDICT_DENY, 0, "no", NULL },
        { "return sol.drop()", VERDICT_DROP, 0, NULL, NULL },
        { "return 'yes'", VERDICT_DENY, 0, NULL,
          "it returned a string; expected nil, true, false" },
        { "return 0x87", VERDICT_DENY, 0, NULL, "it returned a number" },
        { "return sol.deny", VERDICT_DENY, 0, NULL, "it returned a function" },
        { "return {}", VERDICT_DENY, 0, NULL, "it returned a table" },
        { "return message", VERDICT_DENY, 0, NULL, "it returned a userdata" },
        { "error 'boom'", VERDICT_DENY, 0, NULL, ": boom" },
        { "error()", VERDICT_DENY, 0, NULL, "error object is a nil value" },
        { "error({})", VERDICT_DENY, 0, NULL, "error object is a table value" },
        { "error(setmetatable({}, { __tostring = error }))", VERDICT_DENY, 0, NULL,
          "error object is a table" },
        { "local x = nil; return x.y", VERDICT_DENY, 0, NULL,
          "attempt to index a nil value (local 'x')" },
        { "sol.deny(5)", VERDICT_DENY, 0, NULL, "expected a reason code from 0x80 to 0xff" },
        { "sol.deny(0x80, '\\xff')", VERDICT_DENY, 0, NULL, "expected UTF-8" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rig r;
        struct hook_call call;
        char lua[300];
        snprintf(lua, sizeof lua, "sol.on('publish', function(client, message)\n%s\nend)",
                 rows[i].body);
        rig_open(&r, lua);
        for (int n = 0; n < 2; n++) {
            rig_publish(&r, &call, "t", "x");
            if (call.verdict != rows[i].verdict || call.reason_code != rows[i].reason_code)
                fail_msg("%s: verdict %d 0x%02x", rows[i].body, call.verdict, call.reason_code);
            if (rows[i].reason)
                assert_string_equal(call.reason, rows[i].reason);
            else
                assert_null(call.reason);
            rig_over(&call);
        }
        if (rows[i].log)
            assert_logged(&r, rows[i].log);
        else
            assert_string_equal(rig_log(&r), "");
        rig_close(&r);
    }
}

static void a_failure_is_logged_once_with_event_place_client_and_traceback(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    rig_open(&r, "local function deep() error 'boom' end\n\nsol.on('publish', function() deep() "
                 "end, { name = 'mine' })");
    rig_publish(&r, &call, "t", "x");
    const char *log = rig_log(&r);
    assert_logged(&r, "error policy   publish handler mine (");
    assert_logged(&r, ".lua:3), client c1 failed: ");
    assert_logged(&r, ".lua:1: boom\\nstack traceback:");
    assert_logged(&r, "in upvalue 'deep'");
    log = rig_log(&r);
    assert_ptr_equal(strchr(log, '\n'), log + strlen(log) - 1);
    rig_over(&call);
    rig_close(&r);
}

static void what_a_failure_means_depends_on_the_event_and_on_error(void **state) {
    static const struct {
        const char *event, *option;
        enum hook_event id;
        enum verdict verdict;
    } rows[] = {
        { "publish", "nil", HOOK_PUBLISH, VERDICT_DENY },
        { "publish", "'deny'", HOOK_PUBLISH, VERDICT_DENY },
        { "publish", "'allow'", HOOK_PUBLISH, VERDICT_ALLOW },
        { "publish", "'drop'", HOOK_PUBLISH, VERDICT_DROP },
        { "publish", "'ignore'", HOOK_PUBLISH, VERDICT_NONE },
        { "deliver", "nil", HOOK_DELIVER, VERDICT_DROP },
        { "deliver", "'ignore'", HOOK_DELIVER, VERDICT_NONE },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rig r;
        char lua[200];
        snprintf(lua, sizeof lua, "sol.on('%s', function() error 'x' end, { on_error = %s })",
                 rows[i].event, rows[i].option);
        rig_open(&r, lua);
        struct hook_call call = { .event = rows[i].id,
                                  .client = r.client,
                                  .done = rig_on_done,
                                  .obj = &r,
                                  .message = rig_message("t", "x") };
        r.h->run(r.h, &call);
        assert_int_equal(call.verdict, rows[i].verdict);
        rig_over(&call);
        rig_close(&r);
    }
}

static void a_deliver_handler_that_refuses_drops(void **state) {
    struct rig r;
    (void)state;
    rig_open(&r, "sol.on('deliver', function() return false end)");
    struct hook_call call = { .event = HOOK_DELIVER,
                              .client = r.client,
                              .done = rig_on_done,
                              .obj = &r,
                              .message = rig_message("t", "x") };
    r.h->run(r.h, &call);
    assert_int_equal(call.verdict, VERDICT_DROP);
    rig_over(&call);
    rig_close(&r);
}

/* ---- which handlers ----------------------------------------------------------- */

static void handlers_run_by_priority_then_in_the_order_of_the_file(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    rig_open(&r, "local function add(c) return function(_, m) m.payload = m.payload .. c end end\n"
                 "sol.on('publish', add 'c')\n"
                 "sol.on('publish', add 'a', { priority = 10 })\n"
                 "sol.on('publish', add 'd')\n"
                 "sol.on('publish', add 'e', { priority = -1 })\n"
                 "sol.on('publish', add 'b', { priority = 10 })\n");
    rig_publish(&r, &call, "t", "");
    assert_int_equal(call.verdict, VERDICT_NONE);
    assert_true(slice_eq(message_payload(rig_left(&call)), SLICE("abcde")));
    rig_over(&call);
    rig_close(&r);
}

static void the_first_that_decides_ends_the_chain(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    rig_open(&r, "sol.on('publish', function(_, m) m.payload = 'one' end)\n"
                 "sol.on('publish', function() return sol.allow() end)\n"
                 "sol.on('publish', function(_, m) m.payload = 'three' end)\n");
    rig_publish(&r, &call, "t", "");
    assert_int_equal(call.verdict, VERDICT_ALLOW);
    assert_true(slice_eq(message_payload(rig_left(&call)), SLICE("one")));
    rig_over(&call);
    rig_close(&r);
}

static void filters_are_matched_against_the_topic_as_it_stands(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    rig_open(
        &r, "sol.on('publish', 'a/+', function(_, m) m.topic = 'b/' .. m.topic:sub(3) end)\n"
            "sol.on('publish', { 'x/#', 'b/#' }, function(_, m) m.payload = m.payload .. '!' end)\n"
            "sol.on('publish', 'a/+', function(_, m) error 'not any more' end)\n");
    static const struct {
        const char *topic, *after, *payload;
    } rows[] = { { "a/1", "b/1", "p!" }, { "b/1", "b/1", "p!" }, { "c/1", "c/1", "p" } };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        rig_publish(&r, &call, rows[i].topic, "p");
        assert_int_equal(call.verdict, VERDICT_NONE);
        assert_true(slice_eq(message_topic(rig_left(&call)), slice_str(rows[i].after)));
        assert_true(slice_eq(message_payload(rig_left(&call)), slice_str(rows[i].payload)));
        rig_over(&call);
    }
    rig_close(&r);
}

static void core_learns_which_topics_concern_anybody(void **state) {
    static const struct {
        const char *topic;
        uint32_t wants;
    } rows[] = {
        { "a/x", HOOK_BIT(HOOK_PUBLISH) | HOOK_BIT(HOOK_AUTHORIZE) | HOOK_BIT(HOOK_PUBLISHED) },
        { "b/x", HOOK_BIT(HOOK_AUTHORIZE) | HOOK_BIT(HOOK_DELIVER) | HOOK_BIT(HOOK_PUBLISHED) },
        { "c/x", HOOK_BIT(HOOK_AUTHORIZE) | HOOK_BIT_AUTHORIZE_DELIVER | HOOK_BIT(HOOK_PUBLISHED) },
        { "$SYS/x", HOOK_BIT(HOOK_AUTHORIZE) },
    };
    struct rig r;
    (void)state;
    rig_open(&r, "sol.on('publish', 'a/#', print)\n"
                 "sol.on('deliver', { 'b/#', 'bb/#' }, print)\n"
                 "sol.on('published', '#', print)\n"
                 "sol.on('authorize', print)\n"
                 "sol.on('authorize', 'c/#', print, { actions = { 'deliver' } })\n"
                 "sol.on('connected', print)\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(r.h->wants(r.h, slice_str(rows[i].topic)), rows[i].wants);
    assert_true(hooks_want(r.h, HOOK_CONNECTED));
    assert_false(hooks_want(r.h, HOOK_CONNECT));
    rig_close(&r);
}

static void subscriptions_that_reach_into_a_filter_concern_its_handler(void **state) {
    static const struct {
        const char *filter;
        bool called;
    } rows[] = {
        { "secret/key", true },
        { "secret/#", true },
        { "#", true },
        { "+/key", true },
        { "+", false },
        { "secret", true },
        { "public/#", false },
        { "+/+/x", true },
        { "$SYS/#", false },
        { "$share/g/secret/#", true },
        { "$share/g/public", false },
    };
    struct rig r;
    (void)state;
    rig_open(&r, "sol.on('subscribe', 'secret/#', function() return sol.deny(0x87) end)");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct subscribe_request q = { .filter = slice_str(rows[i].filter) };
        struct hook_call call = { .event = HOOK_SUBSCRIBE,
                                  .client = r.client,
                                  .subscribe = &q,
                                  .done = rig_on_done,
                                  .obj = &r };
        r.h->run(r.h, &call);
        /* "+" matches "secret", which "secret/#" matches too */
        bool want = rows[i].called || strcmp(rows[i].filter, "+") == 0;
        if ((call.verdict == VERDICT_DENY) != want)
            fail_msg("%s: %d", rows[i].filter, call.verdict);
        hook_call_deinit(&call);
    }
    rig_close(&r);
}

static void authorize_asks_for_deliveries_only_where_wanted(void **state) {
    struct rig r;
    (void)state;
    rig_open(&r, "default_access = 'deny'\n"
                 "sol.on('authorize', function(c, q) print(q.action, q.topic, q.qos, q.retain, "
                 "q.message) return false end)\n"
                 "sol.on('authorize', 'd/#', function(c, q) return q.message.payload == 'x' end, { "
                 "actions = { 'deliver' } })");
    static const struct {
        enum access_action action;
        const char *topic;
        enum verdict verdict;
    } rows[] = {
        { ACCESS_PUBLISH, "a", VERDICT_DENY },    { ACCESS_SUBSCRIBE, "a/#", VERDICT_DENY },
        { ACCESS_WILL, "a", VERDICT_DENY },       { ACCESS_DELIVER, "a", VERDICT_ALLOW },
        { ACCESS_DELIVER, "d/1", VERDICT_ALLOW },
    };
    struct message *m = rig_message("d/1", "x");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct hook_call call = { .event = HOOK_AUTHORIZE,
                                  .client = r.client,
                                  .done = rig_on_done,
                                  .obj = &r,
                                  .access = { .action = rows[i].action,
                                              .topic = slice_str(rows[i].topic),
                                              .message =
                                                  rows[i].action == ACCESS_SUBSCRIBE ? NULL : m } };
        r.h->run(r.h, &call);
        assert_int_equal(call.verdict, rows[i].verdict);
        hook_call_deinit(&call);
    }
    assert_logged(&r, "subscribe\\ta/#\\t0\\tfalse\\tnil");
    assert_logged(&r, "publish\\ta\\t0\\tfalse\\tmessage: 0x");
    message_unref(m);
    rig_close(&r);
}

static void wrong_registrations_are_refused(void **state) {
    static const struct {
        const char *lua, *error;
    } rows[] = {
        { "sol.on('publsh', print)",
          "1: sol.on: unknown event \"publsh\"; did you mean \"publish\"?" },
        { "sol.on('publish')", "1: sol.on(\"publish\"): expected a function, got no value" },
        { "sol.on('publish', 'a', 5)", "1: sol.on(\"publish\"): expected a function, got number" },
        { "sol.on('publish', 'a/#/b', print)", "1: sol.on: \"a/#/b\" is not a topic filter" },
        { "sol.on('publish', {}, print)", "1: sol.on: the list of filters is empty" },
        { "sol.on('publish', { 5 }, print)", "1: sol.on: a filter must be a string, not a number" },
        { "sol.on('connect', 'a', print)",
          "1: sol.on: \"connect\" has no topic, so it takes no filter" },
        { "sol.on('publish', print, { prio = 1 })",
          "1: sol.on: unknown option \"prio\"; did you mean \"priority\"?" },
        { "sol.on('publish', print, { priority = 'x' })",
          "1: sol.on: priority must be an integer" },
        { "sol.on('publish', print, { timeout = -1 })",
          "1: sol.on: timeout must be 0.001 to 3600 seconds" },
        { "sol.on('publish', print, { on_error = 'dny' })",
          "1: sol.on: on_error for \"publish\" must be one of \"ignore\", \"allow\", \"deny\", "
          "\"drop\", not dny" },
        { "sol.on('deliver', print, { on_error = 'deny' })",
          "1: sol.on: on_error for \"deliver\" must be one of \"ignore\", \"allow\", \"drop\", not "
          "deny" },
        { "sol.on('connected', print, { on_error = 'deny' })",
          "1: sol.on: on_error for \"connected\" must be one of \"ignore\", not deny" },
        { "sol.on('publish', print, { actions = { 'will' } })",
          "1: sol.on: actions are for \"authorize\" only" },
        { "sol.on('authorize', print, { actions = { 'read' } })",
          "1: sol.on: an action is \"publish\", \"subscribe\", \"will\" or \"deliver\", not read" },
        { "sol.on('publish', print, 5)", "1: sol.on: options must be a table, not a number" },
        { "sol.publish('a', 'b')", "1: sol.publish cannot be used while the policy is loaded" },
        { "sol.sleep(1)", "1: sol.sleep cannot be used while the policy is loaded" },
        { "sol.spawn(print)", "1: sol.spawn cannot be used while the policy is loaded" },
        { "sol.clients()", "1: sol.clients cannot be used while the policy is loaded" },
        { "sol.every(0, print)",
          "1: bad argument #1 to 'every' (expected at least 0.001 seconds)" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rig r;
        struct policy p;
        char want[300];
        rig_init(&r);
        char *error = rig_load(&r, rows[i].lua, &p);
        if (!error) fail_msg("loaded: %s", rows[i].lua);
        snprintf(want, sizeof want, "%s:%s", r.path, rows[i].error);
        assert_string_equal(error, want);
        free(error);
        close(r.log_fd);
    }
}

static void a_registration_knows_its_name_and_uuid(void **state) {
    struct rig r;
    (void)state;
    rig_open(&r, "local a = sol.on('publish', print)\n"
                 "local b = sol.on('publish', function() end, { name = 'mine' })\n"
                 "print(#a:uuid(), a:uuid() == a:uuid(), a:uuid() ~= b:uuid(), b.event, b.name)");
    assert_logged(&r, "36\\ttrue\\ttrue\\tpublish\\tmine (");
    rig_close(&r);
}

/* ---- waiting ------------------------------------------------------------------- */

static void a_handler_that_waits_answers_later(void **state) {
    struct rig r;
    struct hook_call slow, fast;
    (void)state;
    rig_open(
        &r,
        "sol.on('publish', 'slow', function(_, m) sol.sleep(0.02) m.payload = m.payload .. '1' "
        "end)\n"
        "sol.on('publish', 'slow', function(_, m) sol.sleep(0.02) m.payload = m.payload .. '2'\n"
        "    return sol.deny(0x99, 'why') end)\n"
        "sol.on('publish', 'fast', function(_, m) m.payload = 'f' end)");
    rig_publish(&r, &slow, "slow", "0");
    assert_int_equal(slow.verdict, VERDICT_WAIT);
    rig_publish(&r, &fast, "fast", "0");
    assert_int_equal(fast.verdict, VERDICT_NONE);
    assert_int_equal(r.answers, 0);
    rig_wait(&r, 1);
    assert_int_equal(slow.verdict, VERDICT_DENY);
    assert_int_equal(slow.reason_code, 0x99);
    assert_string_equal(slow.reason, "why");
    assert_true(slice_eq(message_payload(slow.message), SLICE("0"))); /* refused: no changes */
    rig_over(&slow);
    rig_over(&fast);
    rig_close(&r);
}

static void changes_survive_a_wait(void **state) {
    struct rig r;
    struct hook_call calls[20];
    (void)state;
    rig_open(&r, "sol.on('publish', function(c, m)\n"
                 "    local before = m.payload\n"
                 "    m.payload = before .. '-' m.topic = 'new/' .. before\n"
                 "    sol.sleep(0.001 * (tonumber(before) % 7))\n"
                 "    m.payload = m.payload .. before\n"
                 "end)");
    for (int i = 0; i < 20; i++) {
        char n[16];
        snprintf(n, sizeof n, "%d", i);
        rig_publish(&r, &calls[i], "t", n);
    }
    rig_wait(&r, 20);
    for (int i = 0; i < 20; i++) {
        char payload[32], topic[32];
        snprintf(payload, sizeof payload, "%d-%d", i, i);
        snprintf(topic, sizeof topic, "new/%d", i);
        assert_true(slice_eq(message_payload(rig_left(&calls[i])), slice_str(payload)));
        assert_true(slice_eq(message_topic(rig_left(&calls[i])), slice_str(topic)));
        rig_over(&calls[i]);
    }
    rig_close(&r);
}

static void too_long_a_wait_is_a_failure_and_runs_close_variables(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    rig_open(&r, "hook_timeout = 0.03\n"
                 "sol.on('publish', 'a', function(_, m)\n"
                 "    local x <close> = setmetatable({}, { __close = function() print('closed', "
                 "m.topic) end })\n"
                 "    sol.sleep(60)\n"
                 "end)\n"
                 "sol.on('publish', 'b', function() while true do sol.sleep(0.005) end end)\n"
                 "sol.on('publish', 'c', function() sol.sleep(60) end, { timeout = 0.01, on_error "
                 "= 'drop' })");
    rig_publish(&r, &call, "a", "x");
    rig_wait(&r, 1);
    assert_int_equal(call.verdict, VERDICT_DENY);
    assert_logged(&r, "it waited longer than 30 ms");
    assert_logged(&r, "closed\\ta");
    rig_over(&call);
    rig_publish(&r, &call, "b", "x");
    rig_wait(&r, 2);
    assert_int_equal(call.verdict, VERDICT_DENY);
    rig_over(&call);
    rig_publish(&r, &call, "c", "x");
    rig_wait(&r, 3);
    assert_int_equal(call.verdict, VERDICT_DROP);
    assert_logged(&r, "it waited longer than 10 ms");
    rig_over(&call);
    rig_close(&r);
}

static void a_cancelled_call_is_never_answered_and_is_closed(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    rig_open(&r, "sol.on('publish', function(_, m)\n"
                 "    local x <close> = setmetatable({}, { __close = function() print('closed', "
                 "m.topic) end })\n"
                 "    sol.sleep(0.02) print 'never'\n"
                 "end)");
    rig_publish(&r, &call, "t", "x");
    assert_int_equal(call.verdict, VERDICT_WAIT);
    call.hooks->cancel(call.hooks, &call);
    assert_logged(&r, "closed\\tt");
    rig_over(&call);
    rig_turn(&r, 50);
    assert_int_equal(r.answers, 0);
    assert_not_logged(&r, "never");
    rig_close(&r);
}

/* Stands in for core, which in the middle of a handler cancels the handler's own call. */
static struct hook_call *victim;

static uint32_t cancel_victim(struct hooks *h, struct slice topic) {
    (void)h;
    (void)topic;
    victim->hooks->cancel(victim->hooks, victim);
    return 0;
}

static void a_call_may_be_cancelled_by_its_own_handler(void **state) {
    static const char *const payloads[] = { "done", "again" };
    struct hooks meddler = hooks_none;
    struct rig r;
    (void)state;
    rig_open(&r, "sol.on('publish', function(c, m)\n"
                 "    sol.sleep(0.005)\n"
                 "    sol.publish('topic/of/' .. m.payload, 'y')\n"
                 "    print('still', m.payload)\n"
                 "    if m.payload == 'again' then sol.sleep(0.005) print 'never' end\n"
                 "end)");
    meddler.wanted = 1;
    meddler.wants = cancel_victim;
    r.w->hooks = &meddler;
    for (int i = 0; i < 2; i++) {
        struct hook_call call;
        rig_publish(&r, &call, "t", payloads[i]);
        assert_int_equal(call.verdict, VERDICT_WAIT);
        victim = &call;
        rig_turn(&r, 30);
        rig_over(&call);
    }
    r.w->hooks = r.h;
    assert_int_equal(r.answers, 0);
    assert_logged(&r, "still\\tdone");
    assert_logged(&r, "still\\tagain");
    assert_not_logged(&r, "never");
    rig_close(&r);
}

static void no_more_than_max_parked_wait(void **state) {
    struct rig r;
    struct hook_call calls[4];
    (void)state;
    rig_open(&r, "max_parked = 2\nsol.on('publish', function() sol.sleep(0.03) end)");
    for (int i = 0; i < 4; i++) rig_publish(&r, &calls[i], "t", "x");
    assert_int_equal(calls[1].verdict, VERDICT_WAIT);
    assert_int_equal(calls[2].verdict, VERDICT_DENY);
    assert_int_equal(calls[3].verdict, VERDICT_DENY);
    assert_logged(&r, "too many of its kind wait (max_parked)");
    rig_wait(&r, 2);
    for (int i = 0; i < 4; i++) rig_over(&calls[i]);
    rig_publish(&r, &calls[0], "t", "x");
    assert_int_equal(calls[0].verdict, VERDICT_WAIT);
    rig_wait(&r, 3);
    rig_over(&calls[0]);
    rig_close(&r);
}

static void waiting_works_inside_coroutines_of_the_script(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    rig_open(&r, "sol.on('publish', function(_, m)\n"
                 "    local log = {}\n"
                 "    local function add(x) log[#log + 1] = tostring(x) end\n"
                 "    local inner = coroutine.wrap(function(a)\n"
                 "        add('i' .. a) sol.sleep(0.005)\n"
                 "        local b = coroutine.yield('y1')\n"
                 "        sol.sleep(0.005) add('i' .. b)\n"
                 "        return 'r1'\n"
                 "    end)\n"
                 "    local outer = coroutine.create(function()\n"
                 "        add(inner('A')) sol.sleep(0.005)\n"
                 "        local ok, x = pcall(function() sol.sleep(0.005) return inner('B') end)\n"
                 "        add(ok) add(x)\n"
                 "        coroutine.yield('y2')\n"
                 "        sol.sleep(0.001) error 'end'\n"
                 "    end)\n"
                 "    add(select(2, coroutine.resume(outer)))\n"
                 "    add(select(2, coroutine.resume(outer)):match('end'))\n"
                 "    add(coroutine.status(outer))\n"
                 "    m.payload = table.concat(log, ' ')\n"
                 "end)");
    rig_publish(&r, &call, "t", "x");
    assert_int_equal(call.verdict, VERDICT_WAIT);
    rig_wait(&r, 1);
    assert_int_equal(call.verdict, VERDICT_NONE);
    if (!slice_eq(message_payload(rig_left(&call)), SLICE("iA y1 iB true r1 y2 end dead")))
        fail_msg("%.*s", SLICE_FMT(message_payload(rig_left(&call))));
    rig_over(&call);
    rig_close(&r);
}

static void where_c_calls_back_waiting_is_refused(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    rig_open(&r, "sol.on('publish', function(_, m)\n"
                 "    print(pcall(table.sort, { 2, 1 }, function() sol.sleep(0) end))\n"
                 "    print(pcall(string.gsub, 'x', 'x', function() coroutine.wrap(function() "
                 "sol.sleep(0) end)() end))\n"
                 "    sol.sleep(0.001)\n"
                 "end)");
    rig_publish(&r, &call, "t", "x");
    assert_logged(&r, ":2: cannot wait inside a function that C calls");
    assert_logged(&r, ":3: cannot wait inside a function that C calls");
    rig_wait(&r, 1);
    assert_int_equal(call.verdict, VERDICT_NONE);
    rig_over(&call);
    rig_close(&r);
}

/* ---- facts ----------------------------------------------------------------------- */

static void facts_are_told_and_change_nothing(void **state) {
    struct rig r;
    (void)state;
    rig_open(
        &r,
        "sol.on('connected', function(c, i) print('connected', c.id, i.session_present) end)\n"
        "sol.on('disconnected', function(c, i) print('disconnected', c.id, i.reason, "
        "i.reason_code) end)\n"
        "sol.on('subscribed', function(c, i) print('subscribed', i.filter, i.qos) end)\n"
        "sol.on('published', function(c, m) print('published', m.topic, pcall(function() m.topic = "
        "'x' end)) end)\n"
        "sol.on('dropped', function(c, m, why) print('dropped', m.payload, why) return sol.deny() "
        "end)\n"
        "sol.on('published', function() error 'bad' end)\n"
        "sol.on('published', function(c, m) sol.sleep(0.005) print('late', c.id, m.payload) end)\n"
        "sol.on('reload', function(i) print('reload', i.generation, i.old_generation) end)\n"
        "sol.on('start', function() print 'start' end)\n"
        "sol.on('stop', function() print('stop', pcall(sol.sleep, 1)) end)");
    struct message *m = rig_message("a/b", "p");
    rig_tell(&r, HOOK_CONNECTED, &(struct fact){ .session_present = true });
    rig_tell(&r, HOOK_DISCONNECTED, &(struct fact){ .reason = "gone", .reason_code = 0x8d });
    rig_tell(&r, HOOK_SUBSCRIBED, &(struct fact){ .topic = SLICE("a/#"), .qos = 1 });
    rig_tell(&r, HOOK_PUBLISHED, &(struct fact){ .topic = message_topic(m), .message = m });
    rig_tell(&r, HOOK_DROPPED,
             &(struct fact){ .topic = message_topic(m), .message = m, .reason = "full" });
    m = message_unref(m);
    hooks_tell(r.h, HOOK_RELOAD, NULL, &(struct fact){ .generation = 2, .old_generation = 1 });
    hooks_tell(r.h, HOOK_START, NULL, NULL);
    hooks_tell(r.h, HOOK_STOP, NULL, &(struct fact){ .reason = "stop" });
    rig_turn(&r, 20);
    static const char *const lines[] = {
        "connected\\tc1\\ttrue",
        "disconnected\\tc1\\tgone\\t141",
        "subscribed\\ta/#\\t1",
        "published\\ta/b\\tfalse\\t",
        "message cannot be changed: what is told has happened",
        "dropped\\tp\\tfull",
        ": bad",
        "late\\tc1\\tp",
        "reload\\t2\\t1",
        "policy   start",
        "stop\\tfalse\\tcannot wait here",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) assert_logged(&r, lines[i]);
    rig_close(&r);
}

/* ---- connect and subscribe ---------------------------------------------------------- */

static void connect_can_be_rewritten(void **state) {
    struct rig r;
    (void)state;
    rig_open(
        &r, "local keep\n"
            "sol.on('connect', function(c, q)\n"
            "    print(q.client_id, q.username, q.password, q.version, q.clean_start, "
            "q.keep_alive, q.session_expiry)\n"
            "    q.client_id = 'dev-' .. q.client_id  q.username = nil  q.keep_alive = 30\n"
            "    q.session_expiry = math.huge  q.clean_start = false\n"
            "    print(q.will.topic, q.will.payload, q.will.qos, q.will.retain)\n"
            "    q.will.topic = 'w/' .. q.client_id keep = q\n"
            "end)\n"
            "sol.on('connect', function(c, q) local will = q.will\n"
            "    print(will.topic) q.will = nil print(q.will, will.topic)\n"
            "    print(pcall(function() q.will = { topic = 'a/#' } end)) print(q.will)\n"
            "    print(pcall(function() q.keep_alive = 1 << 20 end))\n"
            "    print(pcall(function() q.usrname = 'x' end))\n"
            "    print(pcall(function() q.password = 'x' end))\n"
            "    q.will = { topic = 'new', payload = 'p', qos = 2, retain = true, delay = 7 }\n"
            "end)\n"
            "sol.on('publish', function() print(pcall(function() return keep.client_id end)) end)");
    struct connect_request q = {
        .packet = { .version = 5,
                    .clean_start = true,
                    .has_will = true,
                    .has_username = true,
                    .has_password = true,
                    .keep_alive = 60,
                    .client_id = SLICE("c1"),
                    .username = SLICE("ann"),
                    .password = SLICE("pw"),
                    .will = { .topic = SLICE("t"), .payload = SLICE("bye"), .qos = 1 } }
    };
    struct hook_call call = {
        .event = HOOK_CONNECT, .client = r.client, .connect = &q, .done = rig_on_done, .obj = &r
    };
    r.h->run(r.h, &call);
    assert_int_equal(call.verdict, VERDICT_NONE);
    assert_true(slice_eq(q.packet.client_id, SLICE("dev-c1")));
    assert_false(q.packet.has_username);
    assert_int_equal(q.packet.keep_alive, 30);
    assert_false(q.packet.clean_start);
    assert_int_equal(q.session_expiry, UINT32_MAX);
    assert_true(q.packet.has_will);
    assert_true(slice_eq(q.packet.will.topic, SLICE("new")));
    assert_true(slice_eq(q.packet.will.payload, SLICE("p")));
    assert_int_equal(q.packet.will.qos, 2);
    assert_true(q.packet.will.retain);
    assert_int_equal(q.packet.will.props.will_delay_interval, 7);
    connect_request_deinit(&q);
    struct hook_call publish;
    rig_publish(&r, &publish, "t", "x");
    static const char *const lines[] = {
        "c1\\tann\\tpw\\t5\\ttrue\\t60\\t0",
        "t\\tbye\\t1\\tfalse",
        "policy   w/dev-c1",
        "nil\\tnil",
        "will.topic: \"a/#\" is not a topic name",
        "policy   nil",
        "connect.keep_alive must be an integer from 0 to 65535, not 1048576",
        "connect has no field \"usrname\"; did you mean \"username\"?",
        "connect.password cannot be assigned",
        "a request is valid only inside its handler",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) assert_logged(&r, lines[i]);
    rig_over(&publish);
    rig_close(&r);
}

static void subscriptions_can_be_rewritten(void **state) {
    struct rig r;
    (void)state;
    rig_open(
        &r,
        "sol.on('subscribe', function(c, s)\n"
        "    print(s.filter, s.qos, s.no_local, s.retain_as_published, s.retain_handling, "
        "s.identifier)\n"
        "    s.filter = 'users/' .. c.username .. '/' .. s.filter  s.qos = 0  s.no_local = true\n"
        "    s.retain_handling = 2\n"
        "    print(pcall(function() s.filter = 'a#' end))\n"
        "end)");
    struct subscribe_request q = { .filter = SLICE("a/#"),
                                   .options = { .qos = 2 },
                                   .subscription_identifier = 9 };
    struct hook_call call = {
        .event = HOOK_SUBSCRIBE, .client = r.client, .subscribe = &q, .done = rig_on_done, .obj = &r
    };
    r.h->run(r.h, &call);
    assert_int_equal(call.verdict, VERDICT_NONE);
    assert_true(slice_eq(q.filter, SLICE("users/ann/a/#")));
    assert_int_equal(q.options.qos, 0);
    assert_true(q.options.no_local);
    assert_int_equal(q.options.retain_handling, 2);
    assert_logged(&r, "a/#\\t2\\tfalse\\tfalse\\t0\\t9");
    assert_logged(&r, "subscription.filter: \"a#\" is not a topic filter");
    free(q.kept);
    rig_close(&r);
}

/* ---- reload ---------------------------------------------------------------------------- */

static void a_retired_policy_finishes_what_waits(void **state) {
    struct rig r;
    struct policy next;
    struct hook_call call;
    (void)state;
    rig_open(&r, "sol.on('publish', function(_, m) sol.sleep(0.03) m.payload = 'old' end)\n"
                 "sol.every(0.005, function() print 'beat' end)\n"
                 "sol.on('start', function() sol.spawn(function()\n"
                 "    local x <close> = setmetatable({}, { __close = function() print 'spawned "
                 "closed' end })\n"
                 "    sol.sleep(60) end) end)");
    hooks_tell(r.h, HOOK_START, NULL, NULL);
    rig_publish(&r, &call, "t", "x");
    assert_null(rig_load(&r, "sol.on('publish', function(_, m) m.payload = 'new' end)", &next));
    struct hooks *old = r.h;
    r.h = r.w->hooks = next.hooks;
    r.h->attach(r.h, r.w);
    old->retire(old, false);
    assert_logged(&r, "spawned closed");
    struct hook_call now;
    rig_publish(&r, &now, "t", "x");
    assert_true(slice_eq(message_payload(rig_left(&now)), SLICE("new")));
    rig_over(&now);
    rig_wait(&r, 1);
    assert_true(slice_eq(message_payload(rig_left(&call)), SLICE("old")));
    rig_over(&call);
    rig_turn(&r, 20);
    assert_not_logged(&r, "beat");
    config_free(next.config);
    rig_close(&r);
}

static void a_policy_can_go_at_once(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    rig_open(&r, "sol.on('publish', function() sol.sleep(60) end)\n"
                 "sol.on('connected', function() sol.sleep(60) end)\n"
                 "sol.every(1, print) sol.after(1, print)");
    rig_publish(&r, &call, "t", "x");
    rig_tell(&r, HOOK_CONNECTED, &(struct fact){ 0 });
    call.hooks->cancel(call.hooks, &call);
    rig_over(&call);
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_handler_returns_is_the_verdict),
        cmocka_unit_test(a_failure_is_logged_once_with_event_place_client_and_traceback),
        cmocka_unit_test(what_a_failure_means_depends_on_the_event_and_on_error),
        cmocka_unit_test(a_deliver_handler_that_refuses_drops),
        cmocka_unit_test(handlers_run_by_priority_then_in_the_order_of_the_file),
        cmocka_unit_test(the_first_that_decides_ends_the_chain),
        cmocka_unit_test(filters_are_matched_against_the_topic_as_it_stands),
        cmocka_unit_test(core_learns_which_topics_concern_anybody),
        cmocka_unit_test(subscriptions_that_reach_into_a_filter_concern_its_handler),
        cmocka_unit_test(authorize_asks_for_deliveries_only_where_wanted),
        cmocka_unit_test(wrong_registrations_are_refused),
        cmocka_unit_test(a_registration_knows_its_name_and_uuid),
        cmocka_unit_test(a_handler_that_waits_answers_later),
        cmocka_unit_test(changes_survive_a_wait),
        cmocka_unit_test(too_long_a_wait_is_a_failure_and_runs_close_variables),
        cmocka_unit_test(a_cancelled_call_is_never_answered_and_is_closed),
        cmocka_unit_test(a_call_may_be_cancelled_by_its_own_handler),
        cmocka_unit_test(no_more_than_max_parked_wait),
        cmocka_unit_test(waiting_works_inside_coroutines_of_the_script),
        cmocka_unit_test(where_c_calls_back_waiting_is_refused),
        cmocka_unit_test(facts_are_told_and_change_nothing),
        cmocka_unit_test(connect_can_be_rewritten),
        cmocka_unit_test(subscriptions_can_be_rewritten),
        cmocka_unit_test(a_retired_policy_finishes_what_waits),
        cmocka_unit_test(a_policy_can_go_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
