/* test_subs_match.c -- what a route says of subscribers: here, in shares, on other workers. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/subs.h"

#include "core/grants.h"
#include "core/index.h"

static void overlapping_subscriptions_are_one_receiver(void **state) { /* 3.3.4 */
    struct index *x = *state;
    struct route_entries e = { 0 };
    add(x, 1, "a/b", &qos0, 0);
    add(x, 1, "a/+", &qos2, 21);
    add(x, 1, "a/#", &qos1, 268435455);
    add(x, 2, "#", &qos1, 0);
    subs_match(x->subs, 0, SLICE("a/b"), OVERLAPPING_ONCE, &e);
    assert_int_equal(e.len, 2);
    const struct route_entry *one = entry_of(&e, 1), *two = entry_of(&e, 2);
    assert_int_equal(one->qos, 2);
    assert_int_equal(identifiers_len(&e, one), 2);
    assert_int_equal(identifier_of(&e, one, 0) ^ identifier_of(&e, one, 1), 21 ^ 268435455);
    assert_int_equal(two->qos, 1);
    assert_int_equal(identifiers_len(&e, two), 0);
    route_entries_deinit(&e);
}

static void overlapping_subscriptions_may_be_a_receiver_each(void **state) {
    struct index *x = *state;
    struct route_entries e = { 0 };
    unsigned seen = 0;
    add(x, 1, "a/b", &qos0, 30);
    add(x, 2, "#", &qos1, 0);
    add(x, 1, "a/+", &(struct subscribe_options){ .qos = 2, .no_local = true }, 32);
    add(x, 1, "$share/g/a/b", &qos1, 0);
    subs_match(x->subs, 0, SLICE("a/b"), OVERLAPPING_EACH, &e);
    assert_int_equal(e.len, 3);
    assert_int_equal(shares_len(&e), 1);
    for (uint32_t i = 0; i < e.len; i++) {
        const struct route_entry *one = &e.many[i];
        seen |= 1u << one->qos;
        assert_int_equal(one->no_local, one->qos == 2);
        assert_int_equal(identifiers_len(&e, one), one->qos != 1);
        if (one->qos != 1) assert_int_equal(identifier_of(&e, one, 0), 30u + one->qos);
    }
    assert_int_equal(seen, 7);
    route_entries_deinit(&e);
}

/* Of overlapping subscriptions the freest counts: what is not checked for one of them comes. */
static void the_lowest_standing_counts(void **state) {
    struct index *x = *state;
    struct route_entries e = { 0 };
    enum { LOCAL = 1, FOREIGN = 2 };
    add(x, LOCAL, "#", &(struct subscribe_options){ .standing = STANDING_PARTLY }, 0);
    add(x, LOCAL, "a/#",
        &(struct subscribe_options){ .standing = STANDING_EXCEPT, .no_local = true }, 0);
    add(x, FOREIGN, "#", &(struct subscribe_options){ .standing = STANDING_PARTLY }, 0);
    subs_match(x->subs, 0, SLICE("a/b"), OVERLAPPING_ONCE, &e);
    assert_int_equal(entry_of(&e, LOCAL)->standing, STANDING_EXCEPT);
    assert_int_equal(route_entry_own(entry_of(&e, LOCAL)).standing, STANDING_PARTLY);
    assert_int_equal(entry_of(&e, FOREIGN)->standing, STANDING_PARTLY);
    struct subs_age age = e.age;
    struct subscription *sub = subs_find(x->subs, handle_of(LOCAL), SLICE("a/#"));
    subs_set_standing(x->subs, sub, STANDING_GRANTED);
    assert_false(subs_current(x->subs, &age));
    subs_match(x->subs, 0, SLICE("a/b"), OVERLAPPING_ONCE, &e);
    assert_int_equal(entry_of(&e, LOCAL)->standing, STANDING_GRANTED);
    assert_null(subs_find(x->subs, handle_of(FOREIGN), SLICE("a/#")));
    route_entries_deinit(&e);
}

static void options_merge_as_wide_as_the_widest(void **state) {
    struct index *x = *state;
    struct route_entries e = { 0 };
    add(x, 1, "a", &(struct subscribe_options){ .no_local = true }, 0);
    add(x, 2, "a", &(struct subscribe_options){ .no_local = true }, 0);
    add(x, 2, "+", &(struct subscribe_options){ .retain_as_published = true }, 0);
    subs_match(x->subs, 0, SLICE("a"), OVERLAPPING_ONCE, &e);
    assert_true(entry_of(&e, 1)->no_local);
    assert_false(entry_of(&e, 1)->retain_as_published);
    assert_false(entry_of(&e, 2)->no_local);
    assert_true(entry_of(&e, 2)->retain_as_published);
    route_entries_deinit(&e);
}

/* As many filters as match a topic of 17 levels, each with an identifier. */
static void any_number_of_identifiers_is_kept(void **state) {
    enum { LEVELS = 17 };
    struct index *x = *state;
    struct route_entries e = { 0 };
    char filter[2 * LEVELS + 1], topic[2 * LEVELS + 1];
    for (uint32_t n = 0; n < 1u << LEVELS; n++) {
        for (unsigned i = 0; i < LEVELS; i++) {
            filter[2 * i] = n >> i & 1 ? '+' : 'a';
            topic[2 * i] = 'a';
            filter[2 * i + 1] = topic[2 * i + 1] = i + 1 < LEVELS ? '/' : 0;
        }
        add(x, 1, filter, &qos0, n + 1);
    }
    subs_match(x->subs, 0, slice_str(topic), OVERLAPPING_ONCE, &e);
    assert_int_equal(e.len, 1);
    assert_int_equal(identifiers_len(&e, &e.many[0]), 1u << LEVELS);
    route_entries_deinit(&e);
}

/* What a session publishes itself comes by those of its subscriptions without No Local. */
static void own_messages_have_the_identifiers_they_came_by(void **state) {
    struct index *x = *state;
    struct route_entries e = { 0 };
    add(x, 1, "a", &(struct subscribe_options){ .no_local = true }, 5);
    add(x, 1, "+", &qos0, 6);
    add(x, 2, "a", &(struct subscribe_options){ .no_local = true }, 7);
    subs_match(x->subs, 0, SLICE("a"), OVERLAPPING_ONCE, &e);
    const struct route_entry *one = entry_of(&e, 1), *two = entry_of(&e, 2);
    struct route_entry own = route_entry_own(one);
    assert_int_equal(identifiers_len(&e, one), 2);
    assert_int_equal(identifier_of(&e, one, 1), 5);
    assert_int_equal(identifiers_len(&e, &own), 1);
    assert_int_equal(identifier_of(&e, &own, 0), 6);
    own = route_entry_own(two);
    assert_int_equal(identifiers_len(&e, two), 1);
    assert_int_equal(identifiers_len(&e, &own), 0);
    route_entries_deinit(&e);
}

static void a_share_lists_its_members_apart(void **state) { /* 4.8.2 */
    struct index *x = *state;
    struct route_entries e = { 0 };
    add(x, 1, "$share/g/a/+", &qos1, 9);
    add(x, 2, "$share/g/a/+", &qos2, 0);
    add(x, 1, "a/b", &qos0, 4);
    add(x, 3, "$share/h/a/b", &qos0, 0);
    subs_match(x->subs, 0, SLICE("a/b"), OVERLAPPING_ONCE, &e);
    assert_int_equal(e.len, 1);
    assert_int_equal(shares_len(&e), 2);
    unsigned members = 0;
    for (unsigned i = 0; i < 2; i++) {
        const struct route_share *share = &e.more->shares[i];
        struct route_entries alone = { 0 };
        assert_true(share->first >= e.len);
        members += share->len;
        subs_share(x->subs, share->id, &alone);
        assert_int_equal(alone.len, 0);
        assert_int_equal(shares_len(&alone), 1);
        assert_int_equal(alone.more->shares[0].len, share->len);
        route_entries_deinit(&alone);
    }
    assert_int_equal(members, 3);
    uint32_t id = e.more->shares[0].id;
    route_entries_deinit(&e);
    for (unsigned i = 1; i <= 3; i++) subs_del_all(x->subs, &x->lists[i]);
    subs_share(x->subs, id, &e);
    assert_int_equal(shares_len(&e), 0);
    route_entries_deinit(&e);
}

/* ---- elsewhere ---------------------------------------------------------------- */

/* As `add` has it, of a session that lives on `worker`. */
static void add_at(struct index *x, unsigned worker, unsigned session, const char *filter,
                   const struct subscribe_options *options) {
    struct handle h = { worker * SLOTS_MAX + session, 1 };
    subs_add(x->subs, &x->lists[session], h, slice_str(filter), options, 0);
}

static void expect_far(const struct route_entries *e, unsigned i, unsigned worker,
                       unsigned session) {
    assert_in_range(i, 0, e->far_len - 1);
    struct handle h = route_entries_at(e)[e->far_at + i].session;
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
    const struct route_entry *merged = &e.many[e.far_at + 1];
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
        INDEX(overlapping_subscriptions_are_one_receiver),
        INDEX(overlapping_subscriptions_may_be_a_receiver_each),
        INDEX(the_lowest_standing_counts),
        INDEX(options_merge_as_wide_as_the_widest),
        INDEX(any_number_of_identifiers_is_kept),
        INDEX(own_messages_have_the_identifiers_they_came_by),
        INDEX(a_share_lists_its_members_apart),
        INDEX(few_subscribers_elsewhere_are_named),
        INDEX(many_or_identifiers_are_left_to_who_has_them),
    };
    return cmocka_run_group_tests_name("core/subs_match", tests, NULL, NULL);
}
