/* test_dial.c -- connections we make, and the names they need. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/dial.h"

#include "io/resolver.h"
#include "io/rig.h"
#include "io/tls.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

struct fixture {
    struct loop *loop;
    struct resolver *resolver;
    int door; /* listens on 127.0.0.1 */
    uint16_t port;
    /* the outcome */
    unsigned calls;
    struct stream stream;
    char why[128];
};

static int setup(void **state) {
    struct fixture *f = xcalloc(1, sizeof *f);
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    const char *why;
    f->loop = loop_new(NULL);
    f->resolver = resolver_new(f->loop, NULL, &why);
    assert_non_null(f->resolver);
    f->stream.fd = -1;
    f->door = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(f->door, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(f->door, 4), 0);
    assert_int_equal(getsockname(f->door, (struct sockaddr *)&at, &len), 0);
    f->port = ntohs(at.sin_port);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    stream_close(&f->stream);
    if (f->door >= 0) close(f->door);
    resolver_free(f->resolver);
    loop_free(f->loop);
    free(f);
    return 0;
}

static void on_dialed(void *obj, struct stream s, const char *why) {
    struct fixture *f = obj;
    f->calls++;
    f->stream = s;
    snprintf(f->why, sizeof f->why, "%s", why ? why : "");
}

static struct dial *dial(struct fixture *f, struct dial_opts o) {
    o.loop = f->loop;
    o.resolver = f->resolver;
    if (!o.timeout_ms) o.timeout_ms = 5000;
    struct dial *d = dial_start(&o, on_dialed, f);
    assert_int_equal(f->calls, 0); /* never at once */
    return d;
}

static void await(struct fixture *f) {
    while (!f->calls) turn_wait(f->loop);
    assert_int_equal(f->calls, 1);
}

/* ---- tests ---------------------------------------------------------------------------- */

static void it_connects_to_names_and_addresses(void **state) {
    struct fixture *f = *state;
    static const char *const hosts[] = { "127.0.0.1", "localhost" };
    for (unsigned i = 0; i < ARRAY_LEN(hosts); i++) {
        f->calls = 0;
        dial(f, (struct dial_opts){ .host = hosts[i], .port = f->port });
        await(f);
        assert_string_equal(f->why, "");
        assert_ptr_equal(f->stream.type, &stream_tcp);
        stream_close(&f->stream);
    }
}

static void it_says_that_nobody_listens(void **state) {
    struct fixture *f = *state;
    close(f->door);
    f->door = -1;
    dial(f, (struct dial_opts){ .host = "127.0.0.1", .port = f->port });
    await(f);
    assert_string_equal(f->why, "connection refused");
    assert_int_equal(f->stream.fd, -1);
}

static void a_path_may_be_wrong_at_once(void **state) {
    struct fixture *f = *state;
    char path[200];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    dial(f, (struct dial_opts){ .path = "/no/such/socket" });
    await(f);
    assert_string_equal(f->why, "No such file or directory");
    f->calls = 0;
    dial(f, (struct dial_opts){ .path = path });
    await(f);
    assert_string_equal(f->why, "File name too long");
}

static void a_handshake_that_is_not_answered_times_out(void **state) {
    struct fixture *f = *state;
    char *why;
    struct tls_context *tls = tls_client_new(&(struct tls_client_opts){ .no_verify = true }, &why);
    assert_non_null(tls);
    dial(f,
         (struct dial_opts){ .host = "127.0.0.1", .port = f->port, .tls = tls, .timeout_ms = 20 });
    tls_context_unref(tls); /* the dial has its own */
    await(f);
    assert_string_equal(f->why, "timeout");
}

static void what_is_cancelled_is_not_told(void **state) {
    struct fixture *f = *state;
    int before = open_descriptors();
    struct dial *d = dial(f, (struct dial_opts){ .host = "127.0.0.1", .port = f->port });
    dial_cancel(d); /* while the name is looked up */
    d = dial(f, (struct dial_opts){ .path = "/no/such/socket" });
    dial_cancel(d); /* when it has failed */
    for (int i = 0; i < 3; i++) turn(f->loop);
    assert_int_equal(f->calls, 0);
    assert_int_equal(open_descriptors(), before);
}

static void a_file_that_is_no_certificate_is_named(void **state) {
    char *why = NULL;
    (void)state;
    assert_null(tls_client_new(&(struct tls_client_opts){ .ca = "/no/such.pem" }, &why));
    assert_string_equal(why, "ca /no/such.pem: No such file or directory");
    free(why);
    assert_null(tls_client_new(&(struct tls_client_opts){ .ca = "/dev/null" }, &why));
    assert_non_null(strstr(why, "ca /dev/null: "));
    free(why);
}

/* ---- the resolver, where no name server is needed --------------------------------------- */

struct asked {
    unsigned calls;
    char first[64];
};

static void on_answer(void *obj, const struct dns_answer *answer) {
    struct asked *a = obj;
    a->calls++;
    snprintf(a->first, sizeof a->first, "%s", answer->error ? answer->error : answer->at[0].text);
}

static void answers_come_later_and_only_to_who_still_asks(void **state) {
    struct fixture *f = *state;
    struct asked a = { 0, "" }, b = { 0, "" };
    struct dns_query *q = resolver_ask(f->resolver, "192.0.2.1", DNS_A, on_answer, &a);
    resolver_ask(f->resolver, "192.0.2.1", DNS_A, on_answer, &b);
    assert_int_equal(a.calls + b.calls, 0);
    resolver_forget(q);
    while (!b.calls) turn_wait(f->loop);
    assert_int_equal(a.calls, 0);
    assert_string_equal(b.first, "192.0.2.1");
}

int main(void) {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(it_connects_to_names_and_addresses),
        TEST(it_says_that_nobody_listens),
        TEST(a_path_may_be_wrong_at_once),
        TEST(a_handshake_that_is_not_answered_times_out),
        TEST(what_is_cancelled_is_not_told),
        TEST(a_file_that_is_no_certificate_is_named),
        TEST(answers_come_later_and_only_to_who_still_asks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
