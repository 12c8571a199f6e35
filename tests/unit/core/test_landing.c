/* test_landing.c -- large messages: lent, moved, shared, and the room they leave. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/landing.h"

#include "core/rig.h"

enum { SMALLEST = 1024, MESSAGES = 40 };

static int setup(void **state) {
    struct landing *l = xcalloc(1, sizeof *l);
    landing_init(l);
    *state = l;
    return 0;
}

static int teardown(void **state) {
    landing_deinit(*state);
    free(*state);
    return 0;
}

static struct message_parts parts_at(const uint8_t *payload, size_t len) {
    return (struct message_parts){ .topic = SLICE("a/b"),
                                   .payload = slice_of(payload, len),
                                   .props = SLICE("\x01\x01"),
                                   .expires_ms = 77,
                                   .publisher = { 3, 4 } };
}

/* As a read would: fills the room with `fill` and makes a message of it. */
static struct message *land(struct landing *l, size_t len, int fill) {
    uint8_t *room = landing_room(l, len);
    assert_non_null(room);
    memset(room, fill, len);
    struct message_parts parts = parts_at(room, len);
    return landing_lend(l, &parts);
}

static void assert_filled(const struct message *m, size_t len, int fill) {
    struct slice payload = message_payload(m);
    assert_int_equal(payload.len, len);
    for (size_t i = 0; i < len; i++) assert_int_equal(payload.at[i], fill);
    assert_slice(message_topic(m), "a/b");
    assert_slice(message_props(m), "\x01\x01");
}

static void what_is_lent_stays_where_it_landed(void **state) {
    struct landing *l = *state;
    struct message *m = land(l, SMALLEST, 'x');
    assert_ptr_equal(message_payload(m).at, l->at);
    assert_true(landing_holds(l, message_payload(m)));
    assert_false(landing_holds(l, message_topic(m)));
    assert_filled(m, SMALLEST, 'x');
    assert_int_equal(message_weight(m), 3 + 2 + SMALLEST);
    assert_int_equal(m->expires_ms, 77);
    message_unref(m);
}

static void reads_go_behind_what_is_lent(void **state) {
    struct landing *l = *state;
    assert_ptr_equal(landing_room(l, LANDING_BYTES), l->at);
    struct message *a = land(l, 2000, 'a'), *b = land(l, 3000, 'b');
    assert_ptr_equal(message_payload(b).at, l->at + 2000);
    assert_null(landing_room(l, LANDING_BYTES - 4999));
    assert_ptr_equal(landing_room(l, LANDING_BYTES - 5000), l->at + 5000);
    message_unref(a); /* not before both have gone */
    assert_null(landing_room(l, LANDING_BYTES));
    message_unref(b);
    assert_ptr_equal(landing_room(l, LANDING_BYTES), l->at);
}

static void the_eldest_moves_first(void **state) {
    struct landing *l = *state;
    struct message *a = land(l, 2000, 'a'), *b = land(l, 3000, 'b');
    landing_move(l);
    assert_false(landing_holds(l, message_payload(a)));
    assert_true(landing_holds(l, message_payload(b)));
    landing_move(l);
    landing_move(l); /* nobody is left */
    memset(landing_room(l, LANDING_BYTES), '!', LANDING_BYTES);
    assert_filled(a, 2000, 'a');
    assert_filled(b, 3000, 'b');
    message_unref(a);
    message_unref(b);
}

static void a_shared_one_is_not_lent(void **state) {
    struct landing *l = *state;
    struct message *m = land(l, SMALLEST, 's');
    message_share(message_ref(m));
    assert_ptr_equal(landing_room(l, LANDING_BYTES), l->at);
    memset(l->at, '!', LANDING_BYTES);
    const uint8_t *before = message_payload(m).at;
    message_share(m);
    assert_ptr_equal(message_payload(m).at, before);
    assert_filled(m, SMALLEST, 's');
    message_unref(m);
    message_unref(m);
}

static void copies_and_what_is_adopted_lie_still(void **state) {
    struct landing *l = *state;
    uint8_t *room = xmalloc(10 + SMALLEST);
    memset(room, 'r', 10 + SMALLEST);
    struct message_parts parts = parts_at(room + 10, SMALLEST);
    struct message *copy = message_new(&parts);
    struct message *adopted = landing_adopt(room, &parts);
    assert_ptr_equal(message_payload(adopted).at, room + 10);
    landing_note_reader(copy, (struct handle){ 1, 1 });
    landing_settle(copy);
    message_share(adopted);
    assert_ptr_equal(message_payload(adopted).at, room + 10);
    assert_int_equal(l->lent, 0);
    assert_filled(adopted, SMALLEST, 'r');
    message_unref(adopted);
    assert_filled(copy, SMALLEST, 'r');
    message_unref(copy);
}

static void only_payloads_worth_it_are_large(void **state) {
    (void)state;
    uint8_t bytes[SMALLEST] = { 0 };
    for (size_t len = SMALLEST - 1; len <= SMALLEST; len++) {
        struct message_parts parts = parts_at(bytes, len);
        struct message *m = message_new(&parts);
        assert_int_equal(m->is_large, len == SMALLEST);
        assert_memory_equal(message_payload(m).at, bytes, len);
        message_unref(m);
    }
}

static void whoever_reads_the_eldest_is_known(void **state) {
    struct landing *l = *state;
    const struct handle one = { 1, 1 }, two = { 2, 1 };
    assert_true(handle_eq(landing_reader(l), HANDLE_NONE));
    struct message *a = land(l, SMALLEST, 'a'), *b = land(l, SMALLEST, 'b');
    landing_note_reader(b, two);
    assert_true(handle_eq(landing_reader(l), HANDLE_NONE));
    landing_note_reader(a, one);
    assert_true(handle_eq(landing_reader(l), one));
    landing_move(l);
    assert_true(handle_eq(landing_reader(l), two));
    message_unref(a);
    message_unref(b);
}

static void the_end_of_the_landing_loses_nothing(void **state) {
    (void)state;
    struct landing l;
    landing_init(&l);
    struct message *m = land(&l, SMALLEST, 'm');
    landing_deinit(&l);
    assert_filled(m, SMALLEST, 'm');
    message_unref(m);
}

/* ---- between workers -------------------------------------------------------------- */

/* As a read would, of what goes to another worker alone: lent to `to`. */
static struct message *land_for(struct landing *l, struct landing *to, size_t len, int fill) {
    uint8_t *room = landing_room(l, len);
    assert_non_null(room);
    memset(room, fill, len);
    struct landing_block *from = landing_lend_out(l, slice_of(room, len));
    if (!from) return NULL;
    struct message_parts parts = parts_at(room, len);
    return landing_borrow(to, &parts, from);
}

static void what_is_borrowed_stays_where_it_landed(void **state) {
    struct landing *l = *state, to;
    landing_init_borrowed(&to);
    struct message *m = land_for(l, &to, SMALLEST, 'b');
    assert_ptr_equal(message_payload(m).at, l->at);
    assert_ptr_equal(landing_room(l, SMALLEST), l->at + SMALLEST);
    assert_filled(m, SMALLEST, 'b');
    message_unref(m);
    assert_int_equal(to.lent, 0);
    assert_ptr_equal(landing_room(l, LANDING_BYTES), l->at); /* nobody has borrowed anything */
    landing_deinit(&to);
}

static void reads_go_on_elsewhere(void **state) {
    struct landing *l = *state, to;
    landing_init_borrowed(&to);
    uint8_t *first = l->at;
    struct message *lent = land(l, 2000, 'l'), *m = land_for(l, &to, 2000, 'b');
    assert_null(landing_room(l, LANDING_BYTES)); /* until what is lent here has moved */
    landing_move(l);
    memset(landing_room(l, LANDING_BYTES), '!', LANDING_BYTES);
    assert_ptr_not_equal(l->at, first);
    assert_filled(m, 2000, 'b');
    assert_filled(lent, 2000, 'l');
    message_unref(m);
    struct message *n = land_for(l, &to, 2000, 'n');
    assert_ptr_equal(landing_room(l, LANDING_BYTES), first); /* which is whole again */
    assert_filled(n, 2000, 'n');
    message_unref(n);
    message_unref(lent);
    landing_deinit(&to);
}

static void a_bounded_number_of_blocks_is_lent_out(void **state) {
    struct landing *l = *state, to;
    struct message *all[LANDING_BLOCKS];
    unsigned n = 0;
    landing_init_borrowed(&to);
    while (n < LANDING_BLOCKS && (all[n] = land_for(l, &to, LANDING_BYTES, 'a' + (int)n))) n++;
    assert_int_equal(n, LANDING_BLOCKS - 1);
    memset(landing_room(l, LANDING_BYTES), '!', LANDING_BYTES); /* there is room for reads */
    for (unsigned i = 0; i < n; i++) assert_filled(all[i], LANDING_BYTES, 'a' + (int)i);
    message_unref(all[1]);
    all[1] = land_for(l, &to, LANDING_BYTES, 'b');
    assert_non_null(all[1]);
    for (unsigned i = 0; i < n; i++) message_unref(all[i]);
    landing_deinit(&to);
}

static void what_is_still_there_in_the_next_round_moves(void **state) {
    struct landing *l = *state, to;
    landing_init_borrowed(&to);
    struct message *a = land_for(l, &to, 2000, 'a');
    assert_true(landing_age(&to));
    assert_true(landing_holds(l, message_payload(a)));
    struct message *b = land_for(l, &to, 3000, 'b');
    assert_true(landing_age(&to));
    assert_false(landing_holds(l, message_payload(a)));
    assert_true(landing_holds(l, message_payload(b)));
    assert_false(landing_age(&to));
    memset(landing_room(l, LANDING_BYTES), '!', LANDING_BYTES);
    assert_filled(a, 2000, 'a');
    assert_filled(b, 3000, 'b');
    message_unref(a);
    message_unref(b);
    landing_deinit(&to);
}

static void what_is_borrowed_outlives_the_lender(void **state) {
    (void)state;
    struct landing l, to;
    landing_init(&l);
    landing_init_borrowed(&to);
    struct message *a = land_for(&l, &to, SMALLEST, 'a'), *b = land_for(&l, &to, SMALLEST, 'b');
    landing_deinit(&l);
    assert_filled(a, SMALLEST, 'a');
    message_share(a);
    message_unref(a);
    landing_deinit(&to);
    assert_filled(b, SMALLEST, 'b');
    message_unref(b);
}

/* Whatever comes and goes, in any order, reads as it was made. */
static void random_comings_and_goings(void **state) {
    struct landing *l = *state, to;
    struct message *at[MESSAGES] = { NULL };
    size_t len[MESSAGES];
    uint64_t seed = 20260101;
    landing_init_borrowed(&to);
    for (int step = 0; step < 20000; step++) {
        if (rnd(&seed, 50) == 0) (void)landing_age(&to);
        uint32_t i = rnd(&seed, MESSAGES);
        if (at[i]) {
            assert_int_equal(message_payload(at[i]).len, len[i]);
            assert_int_equal(message_payload(at[i]).at[0], (int)i);
            assert_int_equal(message_payload(at[i]).at[len[i] - 1], (int)i);
            if (rnd(&seed, 8) == 0) message_share(at[i]);
            at[i] = message_unref(at[i]);
            continue;
        }
        len[i] = SMALLEST + rnd(&seed, 30000);
        while (!landing_room(l, len[i])) landing_move(l);
        if (rnd(&seed, 2)) at[i] = land_for(l, &to, len[i], (int)i);
        if (!at[i]) at[i] = land(l, len[i], (int)i);
    }
    for (int i = 0; i < MESSAGES; i++) message_unref(at[i]);
    assert_ptr_equal(landing_room(l, LANDING_BYTES), l->at);
    landing_deinit(&to);
}

#define LANDING(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        LANDING(what_is_lent_stays_where_it_landed),
        LANDING(reads_go_behind_what_is_lent),
        LANDING(the_eldest_moves_first),
        LANDING(a_shared_one_is_not_lent),
        LANDING(copies_and_what_is_adopted_lie_still),
        LANDING(only_payloads_worth_it_are_large),
        LANDING(whoever_reads_the_eldest_is_known),
        LANDING(the_end_of_the_landing_loses_nothing),
        LANDING(what_is_borrowed_stays_where_it_landed),
        LANDING(reads_go_on_elsewhere),
        LANDING(a_bounded_number_of_blocks_is_lent_out),
        LANDING(what_is_still_there_in_the_next_round_moves),
        LANDING(what_is_borrowed_outlives_the_lender),
        LANDING(random_comings_and_goings),
    };
    return cmocka_run_group_tests_name("core/landing", tests, NULL, NULL);
}
