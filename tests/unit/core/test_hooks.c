/* test_hooks.c -- what requests own, and the hooks nobody listens to. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/hooks.h"

#include "core/rig.h"

static void what_a_hook_puts_into_connect_lives_as_long_as_the_request(void **state) {
    (void)state;
    struct connect_request r = { .kept = NULL };
    char text[] = "one";
    struct slice one = connect_keep(&r, slice_str(text)), two = connect_keep(&r, one);
    text[0] = 'x';
    assert_slice(one, "one");
    assert_slice(two, "one");
    assert_ptr_not_equal(one.at, two.at);
    assert_int_equal(connect_keep(&r, SLICE("")).len, 0);
    assert_non_null(connect_keep(&r, SLICE("")).at); /* empty, not absent */
    connect_request_deinit(&r);
    connect_request_deinit(&r); /* harmless */
}

static void a_filter_is_replaced_also_by_a_part_of_itself(void **state) {
    (void)state;
    struct subscribe_request r = { .filter = SLICE("a/b") };
    subscribe_keep(&r, SLICE("c/d/e"));
    assert_slice(r.filter, "c/d/e");
    subscribe_keep(&r, slice_of(r.filter.at + 2, 3));
    assert_slice(r.filter, "d/e");
    free(r.kept);
}

static void a_call_owns_its_reason(void **state) {
    (void)state;
    struct hook_call call = { .reason = xstrdup("because") };
    hook_call_deinit(&call);
    assert_null(call.reason);
    hook_call_deinit(&call);
}

static const struct fact *told;

static void on_fact(struct fake *f, struct hook_call *call) {
    (void)f;
    told = call->fact;
    assert_null(call->done);
    call->reason = xstrdup("a fact needs none, but it is freed");
}

static void facts_reach_those_who_listen(void **state) {
    (void)state;
    struct fake f;
    struct fact fact = { .reason = "test" };
    fake_init(&f);
    hooks_tell(&f.port, HOOK_STOP, NULL, &fact);
    assert_int_equal(f.calls[HOOK_STOP], 0);
    fake_on(&f, HOOK_STOP, on_fact);
    hooks_tell(&f.port, HOOK_STOP, NULL, &fact);
    assert_int_equal(f.calls[HOOK_STOP], 1);
    assert_ptr_equal(told, &fact);
}

static void nobody_wants_nothing_and_decides_nothing(void **state) {
    (void)state;
    struct hook_call call = { .event = HOOK_PUBLISH, .verdict = VERDICT_DENY };
    for (enum hook_event e = 0; e < HOOK_EVENTS; e++) assert_false(hooks_want(&hooks_none, e));
    assert_int_equal(hooks_none.wants(&hooks_none, SLICE("a")), 0);
    hooks_none.run(&hooks_none, &call);
    assert_int_equal(call.verdict, VERDICT_NONE);
    hooks_none.cancel(&hooks_none, &call);
    hooks_none.attach(&hooks_none, NULL);
    hooks_none.forget(&hooks_none, NULL);
    hooks_none.retire(&hooks_none, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_hook_puts_into_connect_lives_as_long_as_the_request),
        cmocka_unit_test(a_filter_is_replaced_also_by_a_part_of_itself),
        cmocka_unit_test(a_call_owns_its_reason),
        cmocka_unit_test(facts_reach_those_who_listen),
        cmocka_unit_test(nobody_wants_nothing_and_decides_nothing),
    };
    return cmocka_run_group_tests_name("core/hooks", tests, NULL, NULL);
}
