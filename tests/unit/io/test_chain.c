/* test_chain.c -- chains into a stream that takes as little as it likes. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/chain.h"

#include "base/buf.h"
#include "io/rig.h"

#include <errno.h>

/* ---- a stream that keeps what it is given -------------------------------- */

struct sink {
    struct stream stream;
    struct buf got;
    size_t bite;     /* bytes taken by one write */
    int writes_left; /* then -EAGAIN; -1: endless */
    int error;       /* instead of everything else */
    int writes, most_entries;
};

static ssize_t sink_writev(struct stream *s, const struct iovec *iov, int n) {
    struct sink *k = CONTAINER_OF(s, struct sink, stream);
    if (n > k->most_entries) k->most_entries = n;
    assert_in_range(n, 1, 64);
    if (k->error) return k->error;
    if (k->writes_left == 0) return -EAGAIN;
    if (k->writes_left > 0) k->writes_left--;
    k->writes++;
    size_t left = k->bite;
    for (int i = 0; i < n && left; i++) {
        size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;
        assert_true(iov[i].iov_len > 0);
        buf_add(&k->got, iov[i].iov_base, part);
        left -= part;
    }
    return (ssize_t)(k->bite - left);
}

static const struct stream_type sink_type = { .name = "sink", .writev = sink_writev };

struct rig {
    struct chain_pool pool;
    struct chain chain;
    struct sink sink;
};

static int rig_setup(void **state) {
    struct rig *r = xcalloc(1, sizeof *r);
    chain_pool_init(&r->pool);
    r->sink = (struct sink){ .stream = { &sink_type, 0 }, .bite = SIZE_MAX / 4, .writes_left = -1 };
    *state = r;
    return 0;
}

static int rig_teardown(void **state) {
    struct rig *r = *state;
    chain_deinit(&r->chain, &r->pool);
    chain_pool_deinit(&r->pool);
    buf_deinit(&r->sink.got);
    free(r);
    return 0;
}

/* Bytes that are lent: they move whenever the chain has been written to. */
struct loan {
    uint8_t *at; /* owned */
    size_t len;
    int *released;
    struct loan *next;
};

static struct loan *loans;

static void count_release(void *obj) {
    struct loan *l = obj, **at = &loans;
    ++*l->released;
    while (*at != l) at = &(*at)->next;
    *at = l->next;
    free(l->at);
    free(l);
}

static void lend(struct rig *r, struct slice s, int *released) {
    struct loan *l = xmalloc(sizeof *l);
    *l = (struct loan){ xmalloc(s.len + 1), s.len, released, loans };
    loans = l;
    if (s.len) memcpy(l->at, s.at, s.len);
    chain_ref(&r->chain, &r->pool,
              &(struct chain_loan){ (const uint8_t *const *)&l->at, s.len, count_release, l });
}

static void move_loans(void) {
    for (struct loan *l = loans; l; l = l->next) {
        uint8_t *before = l->at;
        l->at = memcpy(xmalloc(l->len + 1), before, l->len);
        memset(before, '!', l->len);
        free(before);
    }
}

static int flush(struct rig *r) {
    int result = chain_flush(&r->chain, &r->pool, &r->sink.stream);
    move_loans();
    return result;
}

static void check_got(const struct rig *r, const char *text) {
    assert_int_equal(r->sink.got.len, strlen(text));
    assert_memory_equal(r->sink.got.at, text, strlen(text));
}

static void add(struct rig *r, const char *text) {
    chain_add(&r->chain, &r->pool, slice_str(text));
}

static void add_ref(struct rig *r, const char *text, int *released) {
    lend(r, slice_str(text), released);
}

/* ---- tests --------------------------------------------------------------- */

static void an_empty_chain_owns_nothing_and_writes_nothing(void **state) {
    struct rig *r = *state;
    assert_int_equal(flush(r), CHAIN_EMPTY);
    add(r, "");
    assert_null(r->chain.head);
    add(r, "x");
    assert_non_null(r->chain.head);
    assert_int_equal(flush(r), CHAIN_EMPTY);
    assert_null(r->chain.head);
    assert_null(r->chain.tail);
    assert_int_equal(r->sink.writes, 1);
}

static void copies_and_references_leave_in_one_write(void **state) {
    struct rig *r = *state;
    int released = 0;
    add(r, "one ");
    add_ref(r, "two ", &released);
    add(r, "three ");
    memcpy(chain_reserve(&r->chain, &r->pool, 100), "four ", 5);
    chain_commit(&r->chain, 5);
    add_ref(r, "five ", &released);
    add_ref(r, "six", &released);
    assert_int_equal(r->chain.len, strlen("one two three four five six"));
    assert_int_equal(released, 0);
    assert_int_equal(flush(r), CHAIN_EMPTY);
    check_got(r, "one two three four five six");
    assert_int_equal(r->sink.writes, 1);
    assert_int_equal(released, 3);
}

static void an_empty_reference_is_released_at_once(void **state) {
    struct rig *r = *state;
    int released = 0;
    add_ref(r, "", &released);
    assert_int_equal(released, 1);
    assert_null(r->chain.head);
}

/* Every pattern of bites: each write takes `bite` bytes, after it the stream blocks. */
static void a_partial_write_at_every_byte_goes_on_where_it_stopped(void **state) {
    struct rig *r = *state;
    static const char text[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    size_t len = strlen(text);
    for (size_t bite = 1; bite <= len; bite++) {
        int released = 0;
        r->sink.got.len = 0;
        r->sink.bite = bite;
        add(r, "abcdefg");
        add_ref(r, "hijklmno", &released);
        add_ref(r, "pqr", &released);
        add(r, "stuvwxyz");
        add_ref(r, "0123456789", &released);
        size_t written = 0;
        while (r->chain.len) {
            r->sink.writes_left = 1;
            int result = flush(r);
            written = written + bite < len ? written + bite : len;
            assert_int_equal(result, written < len ? CHAIN_BLOCKED : CHAIN_EMPTY);
            assert_int_equal(r->chain.len, len - written);
            /* A reference goes with its last byte, not before, not later. */
            assert_int_equal(released, (written >= 15) + (written >= 18) + (written >= 36));
        }
        check_got(r, text);
        assert_null(r->chain.head);
    }
}

static void a_first_bite_of_every_size_then_the_rest(void **state) {
    struct rig *r = *state;
    for (size_t first = 0; first <= 12; first++) {
        int released = 0;
        r->sink.got.len = 0;
        add(r, "abcd");
        add_ref(r, "efgh", &released);
        add(r, "ijkl");
        r->sink.bite = first ? first : 1;
        r->sink.writes_left = first ? 1 : 0;
        flush(r);
        add(r, "-more"); /* behind what is left */
        r->sink.bite = SIZE_MAX / 4;
        r->sink.writes_left = -1;
        assert_int_equal(flush(r), CHAIN_EMPTY);
        check_got(r, "abcdefghijkl-more");
        assert_int_equal(released, 1);
    }
}

static void short_writes_that_do_not_block_are_followed_up(void **state) {
    struct rig *r = *state;
    r->sink.bite = 3;
    add(r, "0123456789");
    assert_int_equal(flush(r), CHAIN_EMPTY);
    check_got(r, "0123456789");
    assert_int_equal(r->sink.writes, 4);
}

static void a_stream_error_is_passed_on_and_nothing_is_lost_of_the_books(void **state) {
    struct rig *r = *state;
    int released = 0;
    add(r, "abc");
    add_ref(r, "def", &released);
    r->sink.error = -ECONNRESET;
    assert_int_equal(flush(r), -ECONNRESET);
    assert_int_equal(r->chain.len, 6);
    chain_deinit(&r->chain, &r->pool);
    assert_int_equal(released, 1);
    assert_null(r->chain.head);
    assert_int_equal(r->chain.len, 0);
    chain_deinit(&r->chain, &r->pool); /* harmless */
    assert_int_equal(released, 1);
}

static void a_reference_written_in_part_is_released_once_when_dropped(void **state) {
    struct rig *r = *state;
    int released = 0;
    add_ref(r, "abcdef", &released);
    r->sink.bite = 3;
    r->sink.writes_left = 1;
    assert_int_equal(flush(r), CHAIN_BLOCKED);
    assert_int_equal(released, 0);
    chain_deinit(&r->chain, &r->pool);
    assert_int_equal(released, 1);
}

static void many_pieces_are_gathered_up_to_a_bound(void **state) {
    struct rig *r = *state;
    int released = 0;
    for (int i = 0; i < 100; i++) {
        add(r, "h");
        add_ref(r, "p", &released);
    }
    assert_int_equal(flush(r), CHAIN_EMPTY);
    assert_int_equal(r->sink.got.len, 200);
    assert_int_equal(r->sink.most_entries, 64);
    assert_int_equal(r->sink.writes, 4); /* 64 + 64 + 64 + 8 */
    assert_int_equal(released, 100);
}

static void room_of_any_size_is_contiguous(void **state) {
    struct rig *r = *state;
    static const size_t sizes[] = { 1, 100, 255, 256, 1024, 5000, 16384, 16385, 1000000, 1, 300 };
    size_t total = 0;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        memset(chain_reserve(&r->chain, &r->pool, sizes[i]), 'a' + (int)i, sizes[i]);
        chain_commit(&r->chain, sizes[i]);
        total += sizes[i];
    }
    assert_int_equal(r->chain.len, total);
    assert_int_equal(flush(r), CHAIN_EMPTY);
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(r->sink.got.at[at++], 'a' + (int)i);
}

static void room_reserved_and_not_used_costs_nothing(void **state) {
    struct rig *r = *state;
    chain_reserve(&r->chain, &r->pool, 10);
    chain_commit(&r->chain, 0);
    assert_int_equal(flush(r), CHAIN_EMPTY);
    assert_int_equal(r->sink.writes, 0);
    assert_null(r->chain.head);
    add(r, "a");
    chain_reserve(&r->chain, &r->pool, 100000); /* a chunk of its own, left empty */
    chain_commit(&r->chain, 0);
    add(r, "b");
    assert_int_equal(flush(r), CHAIN_EMPTY);
    check_got(r, "ab");
    assert_null(r->chain.head);
}

static void chunks_come_back_from_the_pool(void **state) {
    struct rig *r = *state;
    add(r, "first");
    const struct chunk *chunk = r->chain.head;
    assert_int_equal(r->pool.free_bytes, 0);
    flush(r);
    size_t kept = r->pool.free_bytes;
    assert_true(kept > 0);
    add(r, "second");
    assert_ptr_equal(r->chain.head, chunk);
    assert_int_equal(r->pool.free_bytes, 0);
    flush(r);
    assert_int_equal(r->pool.free_bytes, kept);
}

static void the_pool_keeps_a_bounded_amount(void **state) {
    struct rig *r = *state;
    uint8_t block[10000] = { 0 };
    for (int i = 0; i < 2000; i++) chain_add(&r->chain, &r->pool, slice_of(block, sizeof block));
    assert_int_equal(flush(r), CHAIN_EMPTY);
    assert_true(r->pool.free_bytes <= 4 << 20);
    assert_true(r->pool.free_bytes > 3 << 20);
}

static void random_work_agrees_with_a_flat_buffer(void **state) {
    struct rig *r = *state;
    static uint8_t bytes[70000];
    struct buf model = BUF_INIT;
    int released = 0, refs = 0;
    srand(5);
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)rand();
    for (int step = 0; step < 20000; step++) {
        size_t n = (size_t)rand() % (rand() % 50 ? 600 : sizeof bytes / 2);
        struct slice s = slice_of(bytes + rand() % 30000, n);
        switch (rand() % 4) {
        case 0: chain_add(&r->chain, &r->pool, s); break;
        case 1:
            lend(r, s, &released);
            refs++;
            break;
        case 2:
            if (n) memcpy(chain_reserve(&r->chain, &r->pool, n + 10), s.at, n);
            if (n) chain_commit(&r->chain, n);
            break;
        default:
            s.len = 0;
            r->sink.bite = 1 + (size_t)rand() % 3000;
            r->sink.writes_left = rand() % 3;
            assert_true(flush(r) >= 0);
        }
        buf_add_slice(&model, s);
        assert_int_equal(r->chain.len, model.len - r->sink.got.len);
    }
    r->sink.writes_left = -1;
    assert_int_equal(flush(r), CHAIN_EMPTY);
    assert_int_equal(released, refs);
    assert_int_equal(r->sink.got.len, model.len);
    assert_memory_equal(r->sink.got.at, model.at, model.len);
    buf_deinit(&model);
}

#define RIG(test) cmocka_unit_test_setup_teardown(test, rig_setup, rig_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(an_empty_chain_owns_nothing_and_writes_nothing),
        RIG(copies_and_references_leave_in_one_write),
        RIG(an_empty_reference_is_released_at_once),
        RIG(a_partial_write_at_every_byte_goes_on_where_it_stopped),
        RIG(a_first_bite_of_every_size_then_the_rest),
        RIG(short_writes_that_do_not_block_are_followed_up),
        RIG(a_stream_error_is_passed_on_and_nothing_is_lost_of_the_books),
        RIG(a_reference_written_in_part_is_released_once_when_dropped),
        RIG(many_pieces_are_gathered_up_to_a_bound),
        RIG(room_of_any_size_is_contiguous),
        RIG(room_reserved_and_not_used_costs_nothing),
        RIG(chunks_come_back_from_the_pool),
        RIG(the_pool_keeps_a_bounded_amount),
        RIG(random_work_agrees_with_a_flat_buffer),
    };
    return cmocka_run_group_tests_name("io/chain", tests, NULL, NULL);
}
