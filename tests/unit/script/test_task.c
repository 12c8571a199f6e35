/* test_task.c -- waits: single-shot, cancelled, late. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/rig.h"

#include "script/sandbox.h"
#include "script/script.h"
#include "script/task.h"

/* What a module keeps of a wait, and what became of it. */
static struct waiter {
    struct vm *vm;
    struct wait wait;
    int cancels, pushes;
} waiter;

static void on_cancel(void *obj) {
    ((struct waiter *)obj)->cancels++;
}

static int push_two(lua_State *L, void *obj) {
    ((struct waiter *)obj)->pushes++;
    lua_pushliteral(L, "one"); /* "one" */
    lua_pushinteger(L, 2);     /* "one", 2 */
    return 2;
}

/* sol.wait(): parks until the test wakes it. */
static int l_wait(lua_State *L) {
    waiter.wait = task_wait(L, on_cancel, &waiter);
    waiter.vm = vm_of(L);
    return task_park(L);
}

/* sol.blunder(): announces a wait and raises instead. */
static int l_blunder(lua_State *L) {
    waiter.wait = task_wait(L, on_cancel, &waiter);
    return luaL_error(L, "blunder");
}

static void set_up(struct rig *r, const char *lua) {
    rig_open(r, lua);
    lua_State *L = script_of_hooks(r->h)->vm->L;
    memset(&waiter, 0, sizeof waiter);
    sandbox_push(L);                     /* globals */
    lua_getfield(L, -1, "sol");          /* globals, view */
    luaL_getmetafield(L, -1, "__index"); /* globals, view, sol */
    lua_remove(L, -2);                   /* globals, sol */
    lua_pushcfunction(L, l_wait);        /* globals, sol, fn */
    lua_setfield(L, -2, "wait");         /* globals, sol */
    lua_pushcfunction(L, l_blunder);     /* globals, sol, fn */
    lua_setfield(L, -2, "blunder");      /* globals, sol */
    lua_pop(L, 2);                       /* */
}

static bool wake(void) {
    return task_wake(waiter.vm, waiter.wait, push_two, &waiter);
}

static const char publish[] = "hook_timeout = 0.02\n"
                              "sol.on('publish', function(_, m)\n"
                              "    local a, b = sol.wait() m.payload = a .. b\n"
                              "end)";

static void a_wait_ends_once_with_what_it_waited_for(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    set_up(&r, publish);
    rig_publish(&r, &call, "t", "");
    assert_int_equal(call.verdict, VERDICT_WAIT);
    assert_true(wake());
    assert_int_equal(r.answers, 1);
    assert_true(slice_eq(message_payload(rig_left(&call)), SLICE("one2")));
    assert_false(wake());
    assert_int_equal(waiter.pushes, 1);
    assert_int_equal(waiter.cancels, 0);
    rig_over(&call);
    rig_close(&r);
}

static void a_late_completion_finds_nothing(void **state) {
    struct rig r;
    struct hook_call first, second;
    (void)state;
    set_up(&r, publish);
    rig_publish(&r, &first, "t", "");
    struct wait old = waiter.wait;
    rig_wait(&r, 1); /* the time-out */
    assert_int_equal(first.verdict, VERDICT_DENY);
    assert_int_equal(waiter.cancels, 1);
    rig_publish(&r, &second, "t", ""); /* in the same task */
    assert_int_equal(waiter.wait.slot, old.slot);
    assert_false(task_wake(waiter.vm, old, push_two, &waiter));
    assert_int_equal(second.verdict, VERDICT_WAIT);
    assert_true(wake());
    rig_over(&first);
    rig_over(&second);
    rig_close(&r);
}

static void a_completion_may_outlive_its_vm(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    set_up(&r, publish);
    rig_publish(&r, &call, "t", "");
    vm_ref(waiter.vm);
    call.hooks->cancel(call.hooks, &call);
    assert_int_equal(waiter.cancels, 1);
    rig_over(&call);
    rig_close(&r);
    assert_null(waiter.vm->L);
    assert_false(wake());
    waiter.vm = vm_unref(waiter.vm);
}

static void an_error_between_announcing_and_parking_cancels(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    set_up(&r, "sol.on('publish', function() sol.blunder() end)\n"
               "sol.on('subscribe', function() pcall(sol.blunder) end)");
    waiter.vm = script_of_hooks(r.h)->vm;
    rig_publish(&r, &call, "t", "");
    assert_int_equal(call.verdict, VERDICT_DENY);
    assert_int_equal(waiter.cancels, 1);
    assert_false(wake());
    rig_over(&call);
    struct subscribe_request q = { .filter = SLICE("t") };
    struct hook_call subscribe = {
        .event = HOOK_SUBSCRIBE, .client = r.client, .subscribe = &q, .done = rig_on_done, .obj = &r
    };
    r.h->run(r.h, &subscribe);
    assert_int_equal(subscribe.verdict, VERDICT_NONE);
    assert_int_equal(waiter.cancels, 2);
    rig_close(&r);
}

static void who_cannot_be_asked_later_cannot_wait(void **state) {
    struct rig r;
    (void)state;
    set_up(&r, publish);
    struct hook_call call = { .event = HOOK_PUBLISH,
                              .client = r.client,
                              .message = rig_message("t", "") };
    r.h->run(r.h, &call); /* done is NULL */
    assert_int_equal(call.verdict, VERDICT_DENY);
    assert_logged(&r, "cannot wait here");
    rig_over(&call);
    rig_close(&r);
}

static void a_close_variable_cannot_wait_for_ever(void **state) {
    struct rig r;
    struct hook_call call;
    (void)state;
    set_up(&r, "sol.on('publish', function()\n"
               "    local x <close> = setmetatable({}, { __close = function() "
               "print(pcall(sol.wait)) end })\n"
               "    error 'boom'\n"
               "end)");
    rig_publish(&r, &call, "t", "");
    assert_int_equal(call.verdict, VERDICT_DENY);
    assert_logged(&r, "false\\tcannot wait here");
    rig_over(&call);
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wait_ends_once_with_what_it_waited_for),
        cmocka_unit_test(a_late_completion_finds_nothing),
        cmocka_unit_test(a_completion_may_outlive_its_vm),
        cmocka_unit_test(an_error_between_announcing_and_parking_cancels),
        cmocka_unit_test(who_cannot_be_asked_later_cannot_wait),
        cmocka_unit_test(a_close_variable_cannot_wait_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
