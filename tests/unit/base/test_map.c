/* test_map.c -- SipHash against another implementation, the map against a plain array. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/map.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

struct item {
    char name[32];
    bool filed;
};

static struct slice item_key(const void *obj) {
    return slice_str(((const struct item *)obj)->name);
}

static struct item *items_new(size_t n) {
    struct item *items = xcalloc(n, sizeof *items);
    for (size_t i = 0; i < n; i++) snprintf(items[i].name, sizeof items[i].name, "client-%zu", i);
    return items;
}

/* No free cell between an object and its home; `len` counts what is there. */
static void check_cells(const struct map *m) {
    size_t found = 0;
    for (size_t i = 0; m->cells && i <= m->mask; i++) {
        if (!m->cells[i].obj) continue;
        found++;
        assert_true(m->cells[i].hash == map_hash(m, m->key(m->cells[i].obj)));
        for (size_t at = m->cells[i].hash & m->mask; at != i; at = (at + 1) & m->mask)
            assert_non_null(m->cells[at].obj);
    }
    assert_int_equal(found, m->len);
}

/* Expected values: CPython 3.11's hash of bytes, whose keys PYTHONHASHSEED determines. */
static void siphash_agrees_with_cpython(void **state) {
    (void)state;
    static const uint64_t zero[2] = { 0, 0 };
    static const uint64_t seed42[2] = { 0xdc504fd368cd90af, 0xb920bb9ffe99e9c1 };
    static const struct {
        const uint64_t *seed;
        const char *key;
        uint64_t hash;
    } rows[] = {
        { zero, "a", 0x407448d2b89b1813 },
        { zero, "ab", 0x555508cbc6add439 },
        { zero, "abc", 0xc03bc3a0042630f2 },
        { zero, "abcd", 0xe3d1d5fdd52aae89 },
        { zero, "abcde", 0x251f3c725bd784a2 },
        { zero, "abcdef", 0x62207e654289df28 },
        { zero, "1234567", 0xa33d651594fdae81 },
        { zero, "12345678", 0x3489982430560a87 },
        { zero, "123456789", 0x0fbc0f0007965fcf },
        { zero, "client-1\xff", 0x1a8e7764e5e898d7 },
        { zero, "sensors/kitchen/temperature", 0x35d4e15f60cc9c02 },
        { seed42, "a", 0xfe4a47335692551e },
        { seed42, "client-1", 0x4806baa3ed5ab6bc },
        { seed42, "12345678", 0x84eb586ab30cc7f5 },
        { seed42, "sensors/kitchen/temperature", 0xd146b5b4a9ee4eb7 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_true(siphash13(rows[i].seed, slice_str(rows[i].key)) == rows[i].hash);
}

static void two_maps_hash_differently(void **state) {
    (void)state;
    struct map a, b;
    map_init(&a, item_key);
    map_init(&b, item_key);
    assert_true(map_hash(&a, SLICE("x")) != map_hash(&b, SLICE("x")));
    map_deinit(&a);
    map_deinit(&b);
}

static void an_empty_map_finds_nothing_and_owns_nothing(void **state) {
    (void)state;
    struct map m;
    size_t at = 0;
    map_init(&m, item_key);
    assert_null(map_find(&m, SLICE("x")));
    assert_null(map_find_hashed(&m, SLICE("x"), 7));
    assert_null(map_del(&m, SLICE("x")));
    assert_null(map_next(&m, &at));
    assert_null(m.cells);
    map_deinit(&m);
}

static void putting_again_replaces_and_gives_back(void **state) {
    (void)state;
    struct item a = { .name = "same" }, b = { .name = "same" };
    struct map m;
    map_init(&m, item_key);
    assert_null(map_put(&m, &a));
    assert_ptr_equal(map_put(&m, &b), &a);
    assert_int_equal(m.len, 1);
    assert_ptr_equal(map_find(&m, SLICE("same")), &b);
    assert_ptr_equal(map_find_hashed(&m, SLICE("same"), map_hash(&m, SLICE("same"))), &b);
    assert_ptr_equal(map_del(&m, SLICE("same")), &b);
    assert_null(map_find(&m, SLICE("same")));
    map_deinit(&m);
}

static void random_puts_and_dels_agree_with_an_array(void **state) {
    (void)state;
    enum { N = 3000 };
    struct item *items = items_new(N);
    size_t filed = 0;
    struct map m;
    map_init(&m, item_key);
    srand(2);
    for (int step = 0; step < 200000; step++) {
        /* Tides: the map fills and empties, so that it grows and shrinks on the way. */
        bool flood = step / 20000 % 2 == 0;
        struct item *it = &items[rand() % N];
        if (rand() % 8 < (flood ? 7 : 1)) {
            assert_ptr_equal(map_put(&m, it), it->filed ? it : NULL);
            filed += !it->filed;
            it->filed = true;
        } else {
            assert_ptr_equal(map_del(&m, item_key(it)), it->filed ? it : NULL);
            filed -= it->filed;
            it->filed = false;
        }
        const struct item *other = &items[rand() % N];
        assert_ptr_equal(map_find(&m, item_key(other)), other->filed ? other : NULL);
        assert_int_equal(m.len, filed);
        if (step % 1000 == 0) check_cells(&m);
    }
    map_deinit(&m);
    free(items);
}

/* Homes in the last cells of a table of eight: the cluster wraps round to the front. */
static void a_cluster_across_the_end_survives_every_deletion(void **state) {
    (void)state;
    enum { N = 6 };
    struct item *pool = items_new(1000);
    for (unsigned first = 0; first < N; first++) {
        struct item *in[N];
        struct map m;
        map_init(&m, item_key);
        for (unsigned found = 0, i = 0; found < N; i++) {
            must(i < 1000);
            if ((map_hash(&m, item_key(&pool[i])) & 7) >= 6) in[found++] = &pool[i];
        }
        for (unsigned i = 0; i < N; i++) map_put(&m, in[i]);
        assert_int_equal(m.mask, 7);
        check_cells(&m);
        for (unsigned i = 0; i < N; i++) {
            struct item *it = in[(first + i) % N];
            assert_ptr_equal(map_del(&m, item_key(it)), it);
            check_cells(&m);
            for (unsigned k = i + 1; k < N; k++)
                assert_ptr_equal(map_find(&m, item_key(in[(first + k) % N])), in[(first + k) % N]);
        }
        map_deinit(&m);
    }
    free(pool);
}

static void one_hash_serves_maps_of_one_seed(void **state) {
    (void)state;
    static const uint64_t seed[2] = { 1, 2 };
    struct item a = { .name = "x" }, b = { .name = "x" };
    struct map m, n;
    map_init_seeded(&m, item_key, seed);
    map_init_seeded(&n, item_key, seed);
    uint64_t hash = map_hash(&m, SLICE("x"));
    map_prefetch(&m, hash);
    assert_null(map_peek(&m, hash));
    map_put(&m, &a);
    map_put_hashed(&n, &b, hash);
    map_prefetch(&m, hash);
    assert_ptr_equal(map_peek(&m, hash), &a);
    assert_ptr_equal(map_find_hashed(&n, SLICE("x"), hash), &b);
    assert_null(map_peek(&m, hash + 1));
    assert_null(map_peek(&m, hash + 8)); /* the same home */
    map_deinit(&m);
    map_deinit(&n);
}

/* Nobody can make two keys with one hash; should there be two, each is found. */
static void keys_of_one_hash_are_told_apart(void **state) {
    (void)state;
    enum { HASH = 42 };
    struct item a = { .name = "a" }, b = { .name = "b" };
    struct map m;
    map_init(&m, item_key);
    map_put_hashed(&m, &a, HASH);
    map_put_hashed(&m, &b, HASH);
    void *likely = map_peek(&m, HASH);
    assert_ptr_equal(map_confirm(&m, likely, SLICE("a"), HASH), &a);
    assert_ptr_equal(map_confirm(&m, likely, SLICE("b"), HASH), &b);
    assert_null(map_confirm(&m, likely, SLICE("c"), HASH));
    assert_null(map_confirm(&m, NULL, SLICE("c"), HASH + 1));
    map_deinit(&m);
}

static void a_sparse_map_gives_its_cells_back(void **state) {
    (void)state;
    enum { N = 10000 };
    struct item *items = items_new(N);
    struct map m;
    map_init(&m, item_key);
    for (int i = 0; i < N; i++) map_put(&m, &items[i]);
    assert_true((m.mask + 1) * 3 >= m.len * 4);
    for (int i = 0; i < N - 1; i++) map_del(&m, item_key(&items[i]));
    assert_int_equal(m.mask + 1, 8);
    assert_ptr_equal(map_find(&m, item_key(&items[N - 1])), &items[N - 1]);
    map_deinit(&m);
    free(items);
}

static void a_walk_meets_each_object_once(void **state) {
    (void)state;
    enum { N = 500 };
    struct item *items = items_new(N);
    struct map m;
    map_init(&m, item_key);
    for (int i = 0; i < N; i++) map_put(&m, &items[i]);
    size_t at = 0;
    int seen = 0;
    for (struct item *it; (it = map_next(&m, &at)); seen++) {
        assert_false(it->filed);
        it->filed = true;
    }
    assert_int_equal(seen, N);
    map_deinit(&m);
    free(items);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_agrees_with_cpython),
        cmocka_unit_test(two_maps_hash_differently),
        cmocka_unit_test(an_empty_map_finds_nothing_and_owns_nothing),
        cmocka_unit_test(putting_again_replaces_and_gives_back),
        cmocka_unit_test(random_puts_and_dels_agree_with_an_array),
        cmocka_unit_test(a_cluster_across_the_end_survives_every_deletion),
        cmocka_unit_test(one_hash_serves_maps_of_one_seed),
        cmocka_unit_test(keys_of_one_hash_are_told_apart),
        cmocka_unit_test(a_sparse_map_gives_its_cells_back),
        cmocka_unit_test(a_walk_meets_each_object_once),
    };
    return cmocka_run_group_tests_name("base/map", tests, NULL, NULL);
}
