/* test_batch.c -- letters written and read, what they leave out, and where batches go. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/batch.h"

#include "core/landing.h"
#include "core/message.h"
#include "core/rig.h"
#include "core/subs.h"

#include <pthread.h>

static struct message *made(const char *topic, size_t payload) {
    static const uint8_t zeros[20000];
    return message_new(&(struct message_parts){ .topic = slice_str(topic),
                                                .payload = slice_of(zeros, payload),
                                                .expires_ms = MESSAGE_NEVER });
}

static struct batch *add(struct batch *b, struct parcel p, struct message *m) {
    p.message = m;
    assert_true(batch_add(b, &p));
    message_unref(m);
    return b;
}

static void an_empty_batch_has_no_parcel(void **state) {
    (void)state;
    struct batch_pool pool = { 0 };
    struct batch *b = batch_new(&pool);
    struct parcel p;
    assert_false(batch_next(b, &(struct batch_walk){ 0 }, &p));
    batch_drop(b);
    batch_pool_deinit(&pool);
}

static void parcels_come_out_as_they_went_in(void **state) {
    (void)state;
    struct batch_pool pool = { 0 };
    struct batch *b = batch_new(&pool);
    struct route_entry to[2] = { { .session = { 1, 2 }, .qos = 1 }, { .session = { 3, 4 } } };
    struct subs_age age = { .part = { 1, 2, 3 }, .epochs = 7 };
    struct offer offer = { .share = 5, .best_fitness = 2, .best_worker = 1, .tried = 3 };
    add(b, (struct parcel){ .to = NULL }, made("none", 1));
    add(b, (struct parcel){ .to = to, .to_len = 2, .age = &age, .names = 1 }, made("two", 2));
    add(b, (struct parcel){ .offer = offer }, made("offer", 0));
    add(b, (struct parcel){ .to = to + 1, .to_len = 1, .age = &age, .names = 2 },
        made("one", 20000));
    struct batch_walk walk = { 0 };
    struct parcel p;
    assert_true(batch_next(b, &walk, &p));
    assert_slice(message_topic(p.message), "none");
    assert_true(p.message->in_batch);
    assert_int_equal(p.to_len, 0);
    assert_int_equal(p.offer.share, 0);
    assert_true(batch_next(b, &walk, &p));
    assert_slice(message_topic(p.message), "two");
    assert_int_equal(message_payload(p.message).len, 2);
    assert_int_equal(p.to_len, 2);
    assert_memory_equal(p.to, to, sizeof to);
    assert_memory_equal(p.age, &age, sizeof age);
    assert_true(batch_next(b, &walk, &p));
    assert_slice(message_topic(p.message), "offer");
    assert_memory_equal(&p.offer, &offer, sizeof offer);
    assert_int_equal(p.to_len, 0);
    assert_true(batch_next(b, &walk, &p));
    assert_slice(message_topic(p.message), "one");
    assert_false(p.message->in_batch);
    assert_true(p.message->is_shared);
    assert_int_equal(message_payload(p.message).len, 20000);
    assert_int_equal(p.to_len, 1);
    assert_true(handle_eq(p.to->session, to[1].session));
    assert_false(batch_next(b, &walk, &p));
    batch_drop(b);
    batch_pool_deinit(&pool);
}

/* A publisher's messages come in rows: who receives them is written once. */
static void receivers_are_named_once_for_a_row(void **state) {
    (void)state;
    struct batch_pool pool = { 0 };
    struct batch *b = batch_new(&pool);
    struct route_entry to[2] = { { .session = { 1, 1 } }, { .session = { 2, 2 } } };
    struct subs_age age[2] = { { .epochs = 1 }, { .epochs = 2 } };
    const struct parcel rows[] = { { .to = to, .to_len = 1, .age = age, .names = 1 },
                                   { .to = to, .to_len = 1, .age = age, .names = 1 },
                                   { .to = NULL },
                                   { .to = to, .to_len = 1, .age = age, .names = 1 },
                                   { .to = to, .to_len = 2, .age = age, .names = 2 },
                                   { .to = to + 1, .to_len = 1, .age = age, .names = 3 },
                                   { .to = to + 1, .to_len = 1, .age = age + 1, .names = 4 } };
    uint32_t size[ARRAY_LEN(rows)], had = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        add(b, rows[i], made("t", 10));
        size[i] = b->len - had;
        had = b->len;
    }
    assert_int_equal(size[1], size[2]); /* no word of them */
    assert_int_equal(size[1], size[3]);
    assert_true(size[0] > size[1]);
    assert_true(size[4] > size[0]); /* one more */
    assert_int_equal(size[5], size[0]);
    assert_int_equal(size[6], size[0]);
    struct batch_walk walk = { 0 };
    struct parcel p;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(batch_next(b, &walk, &p));
        assert_int_equal(p.to_len, rows[i].to_len);
        if (!p.to_len) continue;
        assert_memory_equal(p.to, rows[i].to, p.to_len * sizeof *p.to);
        assert_memory_equal(p.age, rows[i].age, sizeof *p.age);
    }
    batch_drop(b);
    batch_pool_deinit(&pool);
}

static void a_copy_is_the_whole_message_and_may_be_kept(void **state) {
    (void)state;
    struct batch_pool pool = { 0 };
    struct batch *b = batch_new(&pool);
    static const uint8_t payload[2000] = "large, and it lies elsewhere";
    struct message_parts in = { .topic = SLICE("a/b"),
                                .payload = slice_of(payload, sizeof payload),
                                .props = SLICE("\x01\x01"),
                                .expires_ms = 77,
                                .publisher = { 3, 4 },
                                .qos = 2,
                                .hops = 5,
                                .retain = true };
    add(b, (struct parcel){ .is_lone = true }, message_new(&in));
    struct parcel p;
    assert_true(batch_next(b, &(struct batch_walk){ 0 }, &p));
    struct message *kept = message_ref(p.message);
    assert_ptr_not_equal(kept, p.message);
    batch_drop(b);
    batch_pool_deinit(&pool);
    struct message_parts out = message_parts(kept);
    assert_true(slice_eq(out.topic, in.topic));
    assert_true(slice_eq(out.payload, in.payload));
    assert_true(slice_eq(out.props, in.props));
    assert_int_equal(out.expires_ms, 77);
    assert_true(handle_eq(out.publisher, in.publisher));
    assert_int_equal(out.qos, 2);
    assert_int_equal(out.hops, 5);
    assert_true(out.retain);
    assert_false(kept->in_batch);
    assert_ptr_equal(message_ref(kept), kept);
    message_unref(kept);
    message_unref(kept);
}

static void a_message_may_be_made_there(void **state) {
    (void)state;
    struct batch_pool pool = { 0 };
    struct batch *b = batch_new(&pool);
    const struct message_parts in = { .topic = SLICE("a/b"),
                                      .payload = SLICE("x"),
                                      .props = SLICE("\x01\x01"),
                                      .expires_ms = 77,
                                      .qos = 1 };
    struct parcel p = { .parts = &in };
    assert_true(batch_add(b, &p));
    assert_true(batch_next(b, &(struct batch_walk){ 0 }, &p));
    assert_null(p.parts);
    assert_true(p.message->in_batch);
    struct message_parts out = message_parts(p.message);
    assert_true(slice_eq(out.topic, in.topic));
    assert_true(slice_eq(out.payload, in.payload));
    assert_true(slice_eq(out.props, in.props));
    assert_int_equal(out.expires_ms, 77);
    assert_int_equal(out.qos, 1);
    batch_drop(b);
    batch_pool_deinit(&pool);
}

static void a_loan_is_given_once(void **state) {
    (void)state;
    struct batch_pool pool = { 0 };
    struct batch *b = batch_new(&pool);
    struct landing l, to;
    landing_init(&l);
    landing_init_borrowed(&to);
    uint8_t *room = landing_room(&l, 20000);
    memset(room, 'x', 20000);
    const struct message_parts head = { .topic = SLICE("a/b"), .expires_ms = 77 };
    struct parcel p = { .parts = &head };
    for (int i = 0; i < 2; i++) { /* one that is taken, one that is not */
        p.payload = slice_of(room + i * 10000, 10000);
        p.from = landing_lend_out(&l, p.payload);
        assert_true(batch_add(b, &p));
    }
    struct parcel got;
    assert_true(batch_next(b, &(struct batch_walk){ 0 }, &got));
    assert_slice(message_topic(got.message), "a/b");
    assert_ptr_equal(got.payload.at, room);
    assert_int_equal(got.payload.len, 10000);
    assert_non_null(got.from);
    struct message_parts parts = message_parts(got.message);
    parts.payload = got.payload;
    struct message *m = landing_borrow(&to, &parts, got.from);
    assert_true(batch_next(b, &(struct batch_walk){ 0 }, &got));
    assert_null(got.from);
    batch_drop(b);
    assert_int_equal(message_payload(m).at[9999], 'x');
    assert_int_equal(m->expires_ms, 77);
    message_unref(m);
    assert_ptr_equal(landing_room(&l, LANDING_BYTES), l.at); /* both have come back */
    landing_deinit(&to);
    landing_deinit(&l);
    batch_pool_deinit(&pool);
}

/* Several workers would each get one. */
static void a_large_one_is_copied_where_nobody_else_gets_it(void **state) {
    (void)state;
    struct batch_pool pool = { 0 };
    struct batch *b = batch_new(&pool);
    static const struct {
        size_t payload;
        bool is_lone, is_copied;
    } rows[] = { { 1000, false, true }, { 1000, true, true },  { 2000, false, false },
                 { 2000, true, true },  { 6000, true, false }, { 6000, false, false } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        add(b, (struct parcel){ .is_lone = rows[i].is_lone }, made("t", rows[i].payload));
    struct batch_walk walk = { 0 };
    struct parcel p;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(batch_next(b, &walk, &p));
        assert_int_equal(p.message->in_batch, rows[i].is_copied);
    }
    batch_drop(b);
    batch_pool_deinit(&pool);
}

/* Whoever shares it may be counting it at this moment. */
static void what_other_threads_refer_to_is_not_copied(void **state) {
    (void)state;
    struct batch_pool pool = { 0 };
    struct batch *b = batch_new(&pool);
    struct message *m = made("t", 1);
    message_share(m);
    assert_true(batch_add(b, &(struct parcel){ .message = m }));
    assert_int_equal(atomic_load(&m->refs), 2);
    batch_drop(b);
    assert_int_equal(atomic_load(&m->refs), 1);
    message_unref(m);
    batch_pool_deinit(&pool);
}

static void a_full_batch_takes_no_more_and_an_empty_one_takes_all(void **state) {
    (void)state;
    struct batch_pool pool = { 0 };
    struct batch *b = batch_new(&pool);
    struct message *m = made("t", 5000);
    struct route_entry to[8] = { { .qos = 1 } };
    struct subs_age age = { .part = { 1 } };
    struct parcel p = { .message = m, .to = to, .to_len = 8, .age = &age, .is_lone = true };
    unsigned n = 0, back = 0;
    while (batch_add(b, &p)) n++;
    assert_in_range(n, BATCH_BYTES / 5000 - 2, BATCH_BYTES / 5000);
    for (struct batch_walk walk = { 0 }; batch_next(b, &walk, &p);) back++;
    assert_int_equal(back, n);
    batch_drop(b);
    message_unref(m);
    batch_pool_deinit(&pool);
}

/* ---- the way home ----------------------------------------------------------------- */

static void batches_come_home_and_are_used_again(void **state) {
    (void)state;
    struct batch_pool pool = { 0 };
    struct batch *b = add(batch_new(&pool), (struct parcel){ .to = NULL }, made("t", 6000));
    batch_drop(b);
    assert_ptr_equal(batch_new(&pool), b);
    assert_int_equal(b->len, 0);
    assert_int_equal(b->weight, 0);
    assert_false(b->has_references);
    batch_drop(b);
    batch_pool_deinit(&pool);
}

static void a_burst_does_not_stay_in_memory(void **state) {
    (void)state;
    struct batch_pool pool = { 0 };
    struct batch *b[100];
    for (unsigned i = 0; i < 100; i++) b[i] = batch_new(&pool);
    for (unsigned i = 0; i < 100; i++) batch_drop(b[i]);
    unsigned kept = 0;
    for (const struct batch *at = atomic_load(&pool.returned); at; at = at->next) kept++;
    assert_in_range(kept, 1, 16);
    assert_int_equal(atomic_load(&pool.returned_len), kept);
    batch_pool_deinit(&pool);
    assert_int_equal(atomic_load(&pool.returned_len), 0);
}

enum { THREADS = 3, ROUNDS = 2000, AT_ONCE = 8 };

struct courier {
    _Atomic(struct batch *) given[AT_ONCE];
    pthread_t thread;
};

static void *drop_what_is_given(void *obj) {
    struct courier *c = obj;
    for (unsigned n = 0; n < ROUNDS; n++) {
        struct batch *b;
        while (!(b = atomic_exchange(&c->given[n % AT_ONCE], NULL))) sched_yield();
        struct parcel p;
        assert_true(batch_next(b, &(struct batch_walk){ 0 }, &p));
        assert_slice(message_topic(p.message), "t");
        batch_drop(b);
    }
    return NULL;
}

/* For MODE=tsan. */
static void several_threads_give_back_to_one(void **state) {
    (void)state;
    struct batch_pool pool = { 0 };
    struct courier couriers[THREADS] = { 0 };
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(
            pthread_create(&couriers[i].thread, NULL, drop_what_is_given, &couriers[i]), 0);
    for (unsigned n = 0; n < ROUNDS; n++)
        for (unsigned i = 0; i < THREADS; i++) {
            struct batch *b = add(batch_new(&pool), (struct parcel){ .to = NULL }, made("t", 1));
            while (atomic_load(&couriers[i].given[n % AT_ONCE])) sched_yield();
            atomic_store(&couriers[i].given[n % AT_ONCE], b);
        }
    for (unsigned i = 0; i < THREADS; i++) pthread_join(couriers[i].thread, NULL);
    batch_pool_deinit(&pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_batch_has_no_parcel),
        cmocka_unit_test(parcels_come_out_as_they_went_in),
        cmocka_unit_test(receivers_are_named_once_for_a_row),
        cmocka_unit_test(a_copy_is_the_whole_message_and_may_be_kept),
        cmocka_unit_test(a_message_may_be_made_there),
        cmocka_unit_test(a_loan_is_given_once),
        cmocka_unit_test(a_large_one_is_copied_where_nobody_else_gets_it),
        cmocka_unit_test(what_other_threads_refer_to_is_not_copied),
        cmocka_unit_test(a_full_batch_takes_no_more_and_an_empty_one_takes_all),
        cmocka_unit_test(batches_come_home_and_are_used_again),
        cmocka_unit_test(a_burst_does_not_stay_in_memory),
        cmocka_unit_test(several_threads_give_back_to_one),
    };
    return cmocka_run_group_tests_name("core/batch", tests, NULL, NULL);
}
