/* test_exchange.c -- the exchange as `auth` handlers see it, and what they answer. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/rig.h"

static void ask(struct rig *r, struct hook_call *call, struct auth_exchange *x) {
    hook_call_deinit(call);
    *call = (struct hook_call){
        .event = HOOK_AUTH, .client = r->client, .auth = x, .done = rig_on_done, .obj = r
    };
    r->h->run(r->h, call);
}

static void the_answer_is_a_verdict_and_data(void **state) {
    static const struct {
        const char *body;
        enum verdict verdict;
        uint8_t reason_code;
        struct slice reply;
    } rows[] = {
        { "", VERDICT_NONE, 0, { NULL, 0 } },
        { "return true", VERDICT_ALLOW, 0, { NULL, 0 } },
        { "return false", VERDICT_DENY, 0, { NULL, 0 } },
        { "return sol.allow()", VERDICT_ALLOW, 0, { NULL, 0 } },
        { "return sol.allow 'bye'", VERDICT_ALLOW, 0, { (const uint8_t *)"bye", 3 } },
        { "return sol.allow(x.data)", VERDICT_ALLOW, 0, { (const uint8_t *)"a\0b", 3 } },
        { "return sol.continue()", VERDICT_CONTINUE, 0, { NULL, 0 } },
        { "return sol.continue ''", VERDICT_CONTINUE, 0, { (const uint8_t *)"", 0 } },
        { "return sol.continue(x.method)", VERDICT_CONTINUE, 0, { (const uint8_t *)"M", 1 } },
        { "return sol.deny(0x97)", VERDICT_DENY, 0x97, { NULL, 0 } },
        { "return sol.drop()", VERDICT_DENY, 0, { NULL, 0 } },
        { "return sol.continue {}", VERDICT_DENY, 0, { NULL, 0 } },
        { "return sol.continue(('x'):rep(65536))", VERDICT_DENY, 0, { NULL, 0 } },
        { "x.data = 'y'", VERDICT_DENY, 0, { NULL, 0 } },
        { "x.state = {}", VERDICT_DENY, 0, { NULL, 0 } },
        { "x.username = '\\xff'", VERDICT_DENY, 0, { NULL, 0 } },
        { "return x.nonsense", VERDICT_DENY, 0, { NULL, 0 } },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rig r;
        struct hook_call call = { .reason = NULL };
        struct auth_exchange x = { .method = SLICE("M"), .data = SLICE("a\0b") };
        char lua[200];
        snprintf(lua, sizeof lua, "sol.on('auth', function(client, x) %s end)", rows[i].body);
        rig_open(&r, lua);
        ask(&r, &call, &x);
        if (call.verdict != rows[i].verdict || call.reason_code != rows[i].reason_code)
            fail_msg("%s: verdict %d 0x%02x", rows[i].body, call.verdict, call.reason_code);
        assert_int_equal(x.reply.at == NULL, rows[i].reply.at == NULL);
        assert_true(slice_eq(x.reply, rows[i].reply));
        hook_call_deinit(&call);
        auth_exchange_deinit(&x);
        rig_close(&r);
    }
}

static void fields_tell_what_core_knows(void **state) {
    struct rig r;
    struct hook_call call = { .reason = NULL };
    struct auth_exchange x = { .method = SLICE("M"), .is_reauth = true };
    (void)state;
    rig_open(&r, "sol.on('auth', function(client, x)\n"
                 "  assert(x.method == 'M' and x.data == nil and x.reauth == true)\n"
                 "  assert(x.username == 'ann' and client.id == 'c1')\n"
                 "  x.username = 'bob'\n  assert(x.username == 'bob')\n"
                 "end)\n"
                 "sol.on('auth', function(_, x) x.username = nil return x.username == nil end)");
    auth_name(&x, SLICE("ann"));
    ask(&r, &call, &x);
    assert_string_equal(rig_log(&r), "");
    assert_int_equal(call.verdict, VERDICT_ALLOW);
    assert_null(x.username.at);
    rig_close(&r);
}

static void the_state_lives_as_long_as_its_exchange(void **state) {
    struct rig r;
    struct hook_call call = { .reason = NULL };
    struct auth_exchange x = { .method = SLICE("M") }, y = x;
    (void)state;
    rig_open(&r, "sol.on('auth', function(_, x)\n"
                 "  x.state.n = (x.state.n or 0) + 1\n"
                 "  return sol.continue(tostring(x.state.n))\nend)");
    for (int n = 1; n <= 3; n++) {
        char text[2] = { (char)('0' + n), 0 };
        ask(&r, &call, &x);
        assert_true(slice_eq(x.reply, slice_str(text)));
    }
    ask(&r, &call, &y);
    assert_true(slice_eq(y.reply, SLICE("1")));
    r.h->auth_over(r.h, r.client, &x);
    ask(&r, &call, &x);
    assert_true(slice_eq(x.reply, SLICE("1")));
    ask(&r, &call, &y);
    assert_true(slice_eq(y.reply, SLICE("2")));
    r.h->auth_over(r.h, r.client, &x);
    r.h->auth_over(r.h, r.client, &x); /* harmless */
    auth_exchange_deinit(&x);
    auth_exchange_deinit(&y);
    rig_close(&r);
}

static void an_exchange_is_lent(void **state) {
    struct rig r;
    struct hook_call call = { .reason = NULL };
    struct auth_exchange x = { .method = SLICE("M") };
    (void)state;
    rig_open(&r, "local kept\n"
                 "sol.on('auth', function(_, x)\n"
                 "  if kept then return x.method == 'M' and sol.allow() end\n"
                 "  kept = x\n  sol.sleep(0.001)\n  return sol.continue(x.method)\nend)\n"
                 "sol.on('publish', function() return kept.method end)");
    ask(&r, &call, &x);
    assert_int_equal(call.verdict, VERDICT_WAIT);
    rig_wait(&r, 1);
    assert_int_equal(call.verdict, VERDICT_CONTINUE);
    assert_true(slice_eq(x.reply, SLICE("M")));
    struct hook_call other;
    rig_publish(&r, &other, "t", "x");
    assert_logged(&r, "a request is valid only inside its handler");
    rig_over(&other);
    auth_exchange_deinit(&x);
    rig_close(&r);
}

static void a_call_that_is_cancelled_sets_nothing(void **state) {
    struct rig r;
    struct hook_call call = { .reason = NULL };
    struct auth_exchange x = { .method = SLICE("M") };
    (void)state;
    rig_open(&r,
             "sol.on('auth', function(_, x)\n"
             "  pcall(sol.sleep, 0.01)\n  x.username = 'late'\n  return sol.allow 'late'\nend)");
    ask(&r, &call, &x);
    assert_int_equal(call.verdict, VERDICT_WAIT);
    r.h->cancel(r.h, &call);
    rig_turn(&r, 50);
    assert_int_equal(r.answers, 0);
    assert_null(x.username.at);
    assert_null(x.reply.at);
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_answer_is_a_verdict_and_data),
        cmocka_unit_test(fields_tell_what_core_knows),
        cmocka_unit_test(the_state_lives_as_long_as_its_exchange),
        cmocka_unit_test(an_exchange_is_lent),
        cmocka_unit_test(a_call_that_is_cancelled_sets_nothing),
    };
    return cmocka_run_group_tests_name("script/exchange", tests, NULL, NULL);
}
