/* test_stream.c -- sockets as streams, with the system's calls and with injected ones. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/stream.h"

#include "io/chain.h"
#include "io/rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>

/* ---- pairs of either kind ------------------------------------------------ */

struct ends {
    struct stream near, far;
};

static struct ends unix_ends(void) {
    struct pair p = pair_new();
    return (struct ends){ { &stream_unix, p.near, NULL }, { &stream_unix, p.far, NULL } };
}

static struct ends tcp_ends(void) {
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    int door = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(door, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(door, 1), 0);
    assert_int_equal(getsockname(door, (struct sockaddr *)&at, &len), 0);
    int far = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(far, (struct sockaddr *)&at, len), 0);
    int near = accept4(door, NULL, NULL, SOCK_NONBLOCK);
    fcntl(far, F_SETFL, O_NONBLOCK);
    close(door);
    return (struct ends){ { &stream_tcp, near, NULL }, { &stream_tcp, far, NULL } };
}

static void ends_close(struct ends *e) {
    stream_close(&e->near);
    stream_close(&e->far);
}

/* The far end is on this machine, but a moment may pass: reads until something comes. */
static ssize_t read_soon(struct stream *s, void *at, size_t len) {
    for (int tries = 0;; tries++) {
        ssize_t n = stream_read(s, at, len);
        if (n != -EAGAIN || tries > 5000) return n;
        usleep(1000);
    }
}

static ssize_t write_text(struct stream *s, const char *text) {
    return stream_writev(s, &(struct iovec){ (void *)text, strlen(text) }, 1);
}

/* ---- tests --------------------------------------------------------------- */

static void bytes_come_out_as_they_went_in(struct ends e) {
    char text[16];
    struct iovec parts[] = { { "ab", 2 }, { "cde", 3 } };
    assert_int_equal(stream_read(&e.near, text, sizeof text), -EAGAIN);
    assert_int_equal(stream_writev(&e.far, parts, 2), 5);
    assert_int_equal(read_soon(&e.near, text, sizeof text), 5);
    assert_memory_equal(text, "abcde", 5);
    ends_close(&e);
}

static void a_read_fills_one_piece_after_the_other(struct ends e) {
    char a[3], b[1], c[4];
    struct iovec parts[] = { { a, sizeof a }, { b, sizeof b }, { c, sizeof c } };
    assert_int_equal(stream_readv(&e.near, parts, 3), -EAGAIN);
    assert_int_equal(write_text(&e.far, "abcdef"), 6);
    assert_int_equal(read_soon(&e.near, a, 1), 1);
    assert_int_equal(stream_readv(&e.near, parts, 3), 5);
    assert_memory_equal(a, "bcd", 3);
    assert_memory_equal(b, "e", 1);
    assert_memory_equal(c, "f", 1);
    assert_int_equal(write_text(&e.far, "gh"), 2);
    stream_close(&e.far);
    assert_int_equal(read_soon(&e.near, a, 1), 1);
    assert_int_equal(stream_readv(&e.near, parts, 1), 1);
    assert_int_equal(stream_readv(&e.near, parts, 3), 0);
    ends_close(&e);
}

static void a_finished_stream_still_reads(struct ends e) {
    char text[16];
    assert_int_equal(write_text(&e.near, "bye"), 3);
    e.near.type->finish(&e.near);
    assert_int_equal(read_soon(&e.far, text, sizeof text), 3);
    assert_int_equal(read_soon(&e.far, text, sizeof text), 0);
    assert_int_equal(write_text(&e.far, "answer"), 6);
    assert_int_equal(read_soon(&e.near, text, sizeof text), 6);
    assert_int_equal(write_text(&e.near, "x"), -EPIPE);
    ends_close(&e);
}

/* The test would end by SIGPIPE if it were raised. */
static void a_peer_that_has_gone_is_an_error_and_no_signal(struct ends e) {
    stream_close(&e.far);
    ssize_t n = 0;
    for (int i = 0; i < 100 && n >= 0; i++) {
        n = write_text(&e.near, "x");
        usleep(1000);
    }
    assert_true(n == -EPIPE || n == -ECONNRESET);
    ends_close(&e);
}

static void a_full_stream_says_again(struct ends e) {
    static char block[65536];
    ssize_t n = 1;
    while (n > 0) n = stream_writev(&e.near, &(struct iovec){ block, sizeof block }, 1);
    assert_int_equal(n, -EAGAIN);
    ends_close(&e);
}

static void closing_twice_is_harmless(struct ends e) {
    int fd = e.near.fd;
    stream_close(&e.near);
    assert_int_equal(e.near.fd, -1);
    assert_true(fcntl(fd, F_GETFD) < 0);
    stream_close(&e.near);
    ends_close(&e);
}

#define ON_BOTH(test)                                                                              \
    static void test##_on_both(void **state) {                                                     \
        (void)state;                                                                               \
        test(unix_ends());                                                                         \
        test(tcp_ends());                                                                          \
    }

ON_BOTH(bytes_come_out_as_they_went_in)
ON_BOTH(a_read_fills_one_piece_after_the_other)
ON_BOTH(a_finished_stream_still_reads)
ON_BOTH(a_peer_that_has_gone_is_an_error_and_no_signal)
ON_BOTH(a_full_stream_says_again)
ON_BOTH(closing_twice_is_harmless)

/* ---- injected calls ------------------------------------------------------ */

static size_t bite;       /* bytes taken or given by one call */
static int interruptions; /* so many calls fail with EINTR first */

static bool interrupted(void) {
    if (interruptions == 0) return false;
    interruptions--;
    errno = EINTR;
    return true;
}

static ssize_t short_recv(int fd, void *at, size_t len, int flags) {
    if (interrupted()) return -1;
    return recv(fd, at, len < bite ? len : bite, flags);
}

static ssize_t short_sendmsg(int fd, const struct iovec *iov, int n) {
    if (interrupted()) return -1;
    size_t left = bite, sent = 0;
    for (int i = 0; i < n && left; i++) {
        size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;
        ssize_t r = send(fd, iov[i].iov_base, part, MSG_NOSIGNAL);
        if (r < 0) return sent ? (ssize_t)sent : -1;
        sent += (size_t)r;
        left -= (size_t)r;
    }
    return (ssize_t)sent;
}

static const struct stream_sys short_sys = { .recv = short_recv, .sendmsg_iov = short_sendmsg };
static const struct stream_sys *real_sys;

static int inject(void **state) {
    (void)state;
    real_sys = stream_sys;
    stream_sys = &short_sys;
    return 0;
}

static int restore(void **state) {
    (void)state;
    stream_sys = real_sys;
    return 0;
}

static void nothing(void *obj) {
    (void)obj;
}

static void short_reads_and_writes_of_every_size_carry_everything(void **state) {
    (void)state;
    struct slice lent = SLICE("a payload, referred to");
    struct chain_pool pool;
    chain_pool_init(&pool);
    for (bite = 1; bite <= 40; bite++) {
        struct ends e = unix_ends();
        struct chain c = { 0 };
        char text[64];
        size_t len = 0;
        chain_add(&c, &pool, SLICE("header of 15 b."));
        chain_ref(&c, &pool, &(struct chain_loan){ &lent.at, lent.len, nothing, NULL });
        assert_int_equal(chain_flush(&c, &pool, &e.near), CHAIN_EMPTY);
        stream_close(&e.near);
        for (ssize_t n; (n = stream_read(&e.far, text + len, sizeof text - len)) > 0;) {
            assert_true((size_t)n <= bite);
            len += (size_t)n;
        }
        assert_int_equal(len, 37);
        assert_memory_equal(text, "header of 15 b.a payload, referred to", 37);
        stream_close(&e.far);
    }
    chain_pool_deinit(&pool);
}

static void an_interrupted_call_means_again(void **state) {
    (void)state;
    struct ends e = unix_ends();
    char text[4];
    bite = 64;
    interruptions = 1;
    assert_int_equal(write_text(&e.near, "abcd"), -EAGAIN);
    assert_int_equal(write_text(&e.near, "abcd"), 4);
    interruptions = 1;
    assert_int_equal(stream_read(&e.far, text, 4), -EAGAIN);
    assert_int_equal(stream_read(&e.far, text, 4), 4);
    ends_close(&e);
}

static void a_stream_that_cannot_scatter_fills_the_first_piece(void **state) {
    (void)state;
    struct stream_type plain = stream_unix;
    struct ends e = unix_ends();
    char a[3] = "", b[3] = "";
    struct iovec parts[] = { { a, sizeof a }, { b, sizeof b } };
    plain.readv = NULL;
    e.near.type = &plain;
    assert_int_equal(write_text(&e.far, "abcd"), 4);
    assert_int_equal(stream_readv(&e.near, parts, 2), 3);
    assert_memory_equal(a, "abc", 3);
    assert_int_equal(b[0], 0);
    ends_close(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_out_as_they_went_in_on_both),
        cmocka_unit_test(a_read_fills_one_piece_after_the_other_on_both),
        cmocka_unit_test(a_finished_stream_still_reads_on_both),
        cmocka_unit_test(a_stream_that_cannot_scatter_fills_the_first_piece),
        cmocka_unit_test(a_peer_that_has_gone_is_an_error_and_no_signal_on_both),
        cmocka_unit_test(a_full_stream_says_again_on_both),
        cmocka_unit_test(closing_twice_is_harmless_on_both),
        cmocka_unit_test_setup_teardown(short_reads_and_writes_of_every_size_carry_everything,
                                        inject, restore),
        cmocka_unit_test_setup_teardown(an_interrupted_call_means_again, inject, restore),
    };
    return cmocka_run_group_tests_name("io/stream", tests, NULL, NULL);
}
