/* test_pool.c -- connections kept, limits, queues. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/pool.h"

#include "io/rig.h"

#include <stdio.h>

struct fixture {
    struct hand clock;
    struct loop *loop;
    struct pools *all;
    char served[16]; /* names of the turns that came, in order */
    struct pooled got;
};

struct asker {
    struct fixture *f;
    char name;
    struct pool_turn turn;
};

static int setup(void **state) {
    struct fixture *f = xcalloc(1, sizeof *f);
    f->loop = loop_on(&f->clock);
    f->all = pools_new(f->loop);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    pools_free(f->all);
    loop_free(f->loop);
    free(f);
    return 0;
}

static void on_turn(void *obj, struct pooled c) {
    struct asker *a = obj;
    a->f->served[strlen(a->f->served)] = a->name;
    a->f->got = c;
}

static const struct pool_bounds any = { 0, 0 }, two = { 2, 2 };

static enum pool_result take(struct fixture *f, const struct pool_bounds *b, struct asker *a,
                             struct pooled *out) {
    if (a) *a = (struct asker){ f, a->name, { .fn = on_turn, .obj = a } };
    return pool_take(pool_get(f->all, "p"), b, a ? &a->turn : NULL, out);
}

/* A new connection given to the pool to keep. */
static void keep(struct fixture *f, struct pair *p, uint64_t idle_ms) {
    struct pooled c;
    *p = pair_new();
    assert_int_equal(take(f, &any, NULL, &c), POOL_TAKEN);
    stream_close(&c.stream);
    c = (struct pooled){ { &stream_unix, p->near, NULL }, 0 };
    pool_give(pool_get(f->all, "p"), c, idle_ms, 5);
}

static bool is_closed(int far) {
    char byte;
    return read(far, &byte, 1) == 0;
}

/* ---- tests ------------------------------------------------------------------------------ */

static void the_latest_kept_is_the_first_taken(void **state) {
    struct fixture *f = *state;
    struct pair p[2];
    struct pooled c[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(take(f, &any, NULL, &c[i]), POOL_TAKEN);
        assert_int_equal(c[i].stream.fd, -1);
    }
    for (int i = 0; i < 2; i++) {
        p[i] = pair_new();
        c[i].stream = (struct stream){ &stream_unix, p[i].near, NULL };
        pool_give(pool_get(f->all, "p"), c[i], 0, 5);
    }
    for (int i = 1; i >= 0; i--) {
        assert_int_equal(take(f, &any, NULL, &c[i]), POOL_TAKEN);
        assert_int_equal(c[i].stream.fd, p[i].near);
        assert_int_equal(c[i].reused, 1);
        pair_close(&p[i]);
    }
    for (int i = 0; i < 2; i++) pool_leave(pool_get(f->all, "p"));
}

static void what_is_idle_too_long_or_ends_or_speaks_is_closed(void **state) {
    struct fixture *f = *state;
    struct pair old, ended, spoke;
    struct pooled c;
    keep(f, &old, 1000);
    turn(f->loop);
    assert_false(is_closed(old.far));
    clock_add_ms(&f->clock, 1001);
    turn(f->loop);
    assert_true(is_closed(old.far));
    keep(f, &ended, 0);
    shutdown(ended.far, SHUT_WR);
    turn(f->loop);
    assert_true(is_closed(ended.far));
    keep(f, &spoke, 0);
    say(spoke.far, "unasked");
    turn(f->loop);
    assert_int_equal(take(f, &any, NULL, &c), POOL_TAKEN);
    assert_int_equal(c.stream.fd, -1);
    pool_leave(pool_get(f->all, "p"));
    close(old.far);
    close(ended.far);
    close(spoke.far);
}

static void a_full_pool_queues_and_refuses(void **state) {
    struct fixture *f = *state;
    struct asker askers[] = { { .name = 'a' }, { .name = 'b' }, { .name = 'c' } };
    struct pooled c;
    assert_int_equal(take(f, &two, NULL, &c), POOL_TAKEN);
    assert_int_equal(take(f, &two, NULL, &c), POOL_TAKEN);
    assert_int_equal(take(f, &two, &askers[0], &c), POOL_QUEUED);
    assert_int_equal(take(f, &two, &askers[1], &c), POOL_QUEUED);
    assert_int_equal(take(f, &two, &askers[2], &c), POOL_FULL);
    pool_leave(pool_get(f->all, "p"));
    assert_string_equal(f->served, ""); /* never from within the call */
    turn(f->loop);
    assert_string_equal(f->served, "a");
    pool_turn_cancel(pool_get(f->all, "p"), &askers[1].turn);
    for (int i = 0; i < 2; i++) pool_leave(pool_get(f->all, "p"));
    turn(f->loop);
    assert_string_equal(f->served, "a");
}

static void who_waits_gets_what_another_gives_back(void **state) {
    struct fixture *f = *state;
    static const struct pool_bounds one = { 1, 5 };
    struct asker a = { .name = 'a' }, b = { .name = 'b' };
    struct pair p = pair_new();
    struct pooled c;
    assert_int_equal(take(f, &one, NULL, &c), POOL_TAKEN);
    assert_int_equal(take(f, &one, &a, &c), POOL_QUEUED);
    c = (struct pooled){ { &stream_unix, p.near, NULL }, 3 };
    pool_give(pool_get(f->all, "p"), c, 0, 1);
    /* nobody jumps the queue */
    assert_int_equal(take(f, &one, &b, &c), POOL_QUEUED);
    turn(f->loop);
    assert_string_equal(f->served, "a");
    assert_int_equal(f->got.stream.fd, p.near);
    assert_int_equal(f->got.reused, 4);
    pool_turn_cancel(pool_get(f->all, "p"), &b.turn);
    pool_leave(pool_get(f->all, "p"));
    pair_close(&p);
}

static void the_oldest_beyond_the_size_is_closed(void **state) {
    struct fixture *f = *state;
    struct pair p[3];
    struct pooled c[3];
    for (int i = 0; i < 3; i++) {
        p[i] = pair_new();
        assert_int_equal(take(f, &any, NULL, &c[i]), POOL_TAKEN);
    }
    for (int i = 0; i < 3; i++) {
        c[i].stream = (struct stream){ &stream_unix, p[i].near, NULL };
        pool_give(pool_get(f->all, "p"), c[i], 0, 2);
    }
    assert_true(is_closed(p[0].far));
    assert_false(is_closed(p[1].far));
    assert_false(is_closed(p[2].far));
    for (int i = 0; i < 3; i++) close(p[i].far);
}

int main(void) {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_latest_kept_is_the_first_taken),
        TEST(what_is_idle_too_long_or_ends_or_speaks_is_closed),
        TEST(a_full_pool_queues_and_refuses),
        TEST(who_waits_gets_what_another_gives_back),
        TEST(the_oldest_beyond_the_size_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
