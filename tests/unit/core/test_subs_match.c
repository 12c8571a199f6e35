/* test_subs_match.c -- what a route says of subscribers on other workers. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/subs.h"

#include "core/index.h"

/* As `add` has it, of a session that lives on `worker`. */
static void add_at(struct index *x, unsigned worker, unsigned session, const char *filter,
                   const struct subscribe_options *options) {
    struct handle h = { worker * SLOTS_MAX + session, 1 };
    subs_add(x->subs, &x->lists[session], h, slice_str(filter), options, 0);
}

static void expect_far(const struct route_entries *e, unsigned i, unsigned worker,
                       unsigned session) {
    assert_in_range(i, 0, e->far_len - 1);
    struct handle h = e->at[e->far_at + i].session;
    assert_int_equal(handle_owner(h), worker);
    assert_int_equal(h.slot % SLOTS_MAX, session);
}

static void few_subscribers_elsewhere_are_named(void **state) {
    struct index *x = *state;
    struct route_entries e = { 0 };
    add(x, 1, "a/b", &qos0, 0);
    add(x, 2, "$share/g/a/b", &qos0, 0);
    add_at(x, 2, 3, "a/b", &qos1);
    add_at(x, 1, 4, "a/b", &qos2);
    add_at(x, 1, 5, "a/+", &(struct subscribe_options){ .qos = 1, .no_local = true });
    add_at(x, 1, 5, "a/#", &(struct subscribe_options){ .retain_as_published = true });
    subs_match(x->subs, 0, SLICE("a/b"), OVERLAPPING_ONCE, &e);
    assert_int_equal(e.len, 1);
    assert_int_equal(e.remote, 6);
    assert_int_equal(e.far_at, 2); /* behind the member of the share */
    assert_int_equal(e.far_len, 3);
    expect_far(&e, 0, 1, 4);
    expect_far(&e, 1, 1, 5);
    expect_far(&e, 2, 2, 3);
    const struct route_entry *merged = &e.at[e.far_at + 1];
    assert_int_equal(merged->qos, 1);
    assert_true(merged->retain_as_published);
    assert_false(merged->no_local);
    assert_int_equal(route_entry_own(merged).qos, 0);
    subs_match(x->subs, 1, SLICE("a/b"), OVERLAPPING_EACH, &e); /* the same from elsewhere */
    assert_int_equal(e.len, 3);
    assert_int_equal(e.far_len, 2);
    expect_far(&e, 0, 0, 1);
    expect_far(&e, 1, 2, 3);
    route_entries_deinit(&e);
}

static void many_or_identifiers_are_left_to_who_has_them(void **state) {
    struct index *x = *state;
    struct route_entries e = { 0 };
    static const char *const filters[] = { "a", "+", "#", "a/#", "+/#" };
    for (unsigned s = 0; s < 4; s++) {
        add_at(x, 1, s, filters[s], &qos0);
        add_at(x, 1, s, filters[s + 1], &qos0);
    }
    subs_match(x->subs, 0, SLICE("a"), OVERLAPPING_ONCE, &e);
    assert_int_equal(e.far_len, 4); /* of eight subscriptions */
    add_at(x, 1, 9, "a", &qos0);
    subs_match(x->subs, 0, SLICE("a"), OVERLAPPING_ONCE, &e);
    assert_int_equal(e.far_len, 0);
    assert_int_equal(e.remote, 2);
    subs_del(x->subs, (struct handle){ SLOTS_MAX + 9, 1 }, SLICE("a"));
    subs_del(x->subs, (struct handle){ SLOTS_MAX + 3, 1 }, SLICE("+/#"));
    subs_add(x->subs, &x->lists[9], (struct handle){ SLOTS_MAX + 9, 1 }, SLICE("a"), &qos0, 7);
    subs_match(x->subs, 0, SLICE("a"), OVERLAPPING_ONCE, &e);
    assert_int_equal(e.far_len, 0);
    assert_int_equal(e.remote, 2);
    route_entries_deinit(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        INDEX(few_subscribers_elsewhere_are_named),
        INDEX(many_or_identifiers_are_left_to_who_has_them),
    };
    return cmocka_run_group_tests_name("core/subs_match", tests, NULL, NULL);
}
