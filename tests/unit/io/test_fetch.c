/* test_fetch.c -- requests that wait for their turn: their order, and all the ways in which
 * they may end before it. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/fetch.h"

#include "io/rig.h"

#include <stdio.h>
#include <sys/un.h>

enum { TICK_NS = 30000, FETCHES = 8, TURNS = 5000, PATH_AT = sizeof "GET /" - 1 };

struct asked {
    struct rig *rig;
    struct fetch *fetch;
    char name;   /* the path asked for */
    char next;   /* asked for when this one is over; 0: nothing */
    int cancels; /* of them the next, when this one is over */
    int outcomes;
};

struct rig {
    struct hand hand;
    struct loop *loop;
    struct fetcher *fetcher;
    struct asked asked[FETCHES + 1];
    char folder[32], path[64];
    int server;
    char came[FETCHES + 1]; /* at the server */
    char over[FETCHES + 1]; /* told; failures are capitals */
};

/* Each look takes longer than a slice, so a turn gives curl one request. */
static uint64_t tick(void *obj) {
    return ((struct hand *)obj)->ns += TICK_NS;
}

static int setup(void **state) {
    struct rig *r = xcalloc(1, sizeof *r);
    struct clock clock = { tick, tick, &r->hand };
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    r->loop = loop_new(&(struct loop_opts){ .clock = &clock });
    r->fetcher = fetcher_new(r->loop);
    strcpy(r->folder, "/tmp/test_fetch.XXXXXX");
    assert_non_null(mkdtemp(r->folder));
    snprintf(r->path, sizeof r->path, "%s/s", r->folder);
    strcpy(at.sun_path, r->path);
    r->server = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(r->server, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(r->server, FETCHES), 0);
    *state = r;
    return 0;
}

static int teardown(void **state) {
    struct rig *r = *state;
    fetcher_free(r->fetcher);
    loop_free(r->loop);
    close(r->server);
    unlink(r->path);
    rmdir(r->folder);
    free(r);
    return 0;
}

static struct asked *ask(struct rig *r, char name);

static void note(char *notes, char what) {
    size_t len = strlen(notes);
    assert_true(len < FETCHES);
    notes[len] = what;
}

static void on_reply(void *obj, const struct fetch_reply *reply) {
    struct asked *a = obj;
    a->fetch = NULL;
    note(a->rig->over, (char)(reply->error ? a->name - 'a' + 'A' : a->name));
    for (int i = 1; i <= a->cancels; i++) {
        fetch_cancel(a[i].fetch);
        a[i].fetch = NULL;
    }
    if (a->next) ask(a->rig, a->next);
    a->outcomes++;
}

static struct asked *ask_with(struct rig *r, char name, const char *path, uint64_t timeout_ms) {
    struct asked *a = &r->asked[name - 'a'];
    char url[] = "http://localhost/?";
    *strchr(url, '?') = name;
    a->rig = r;
    a->name = name;
    a->fetch = fetch_start(
        r->fetcher,
        &(struct fetch_request){
            .method = "GET", .url = url, .path = path, .timeout_ms = timeout_ms, .body_max = 10 },
        on_reply, a);
    return a;
}

static struct asked *ask(struct rig *r, char name) {
    return ask_with(r, name, r->path, 60000);
}

/* Takes one request, if there is one, and answers it. */
static void serve(struct rig *r) {
    static const char answer[] =
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    char request[1024]; /* curl writes it in one go */
    int fd = accept(r->server, NULL, NULL);
    if (fd < 0) return;
    ssize_t n = -1;
    for (int t = 0; t < TURNS && n < 0; t++) {
        turn(r->loop);
        n = recv(fd, request, sizeof request, MSG_DONTWAIT);
    }
    assert_true(n > PATH_AT);
    note(r->came, request[PATH_AT]);
    say(fd, answer);
    close(fd);
}

static void serve_all(struct rig *r) {
    for (int t = 0; t < TURNS && fetcher_len(r->fetcher); t++) {
        turn(r->loop);
        serve(r);
    }
    assert_int_equal(fetcher_len(r->fetcher), 0);
}

static void first_come_first_served(void **state) {
    struct rig *r = *state;
    for (char c = 'a'; c < 'a' + FETCHES; c++) ask(r, c);
    assert_int_equal(fetcher_len(r->fetcher), FETCHES);
    serve_all(r);
    assert_string_equal(r->came, "abcdefgh");
    for (int i = 0; i < FETCHES; i++) assert_int_equal(r->asked[i].outcomes, 1);
}

static void what_waits_can_be_cancelled(void **state) {
    struct rig *r = *state;
    for (char c = 'a'; c <= 'd'; c++) ask(r, c);
    fetch_cancel(r->asked[3].fetch); /* the last */
    fetch_cancel(r->asked[1].fetch);
    fetch_cancel(r->asked[0].fetch); /* the first */
    ask(r, 'e');
    fetch_cancel(r->asked[2].fetch);
    fetch_cancel(r->asked[4].fetch); /* the only one */
    assert_int_equal(fetcher_len(r->fetcher), 0);
    ask(r, 'f');
    ask(r, 'g');
    serve_all(r);
    assert_string_equal(r->came, "fg");
    assert_string_equal(r->over, "fg");
}

static void what_waits_can_time_out(void **state) {
    struct rig *r = *state;
    ask(r, 'a');
    ask(r, 'b');
    ask_with(r, 'c', r->path, 5);
    turn(r->loop); /* gives curl the first */
    clock_add_ms(&r->hand, 10);
    turn(r->loop);
    turn(r->loop);
    turn(r->loop);
    assert_string_equal(r->over, "C");
    ask(r, 'd'); /* finds its place behind what has gone */
    serve_all(r);
    assert_string_equal(r->came, "abd");
}

static void an_outcome_may_end_and_begin_others(void **state) {
    struct rig *r = *state;
    struct asked *a = ask_with(r, 'a', "/nowhere", 60000); /* fails as soon as curl has it */
    for (char c = 'b'; c <= 'd'; c++) ask(r, c);
    a->cancels = 2;
    a->next = 'e';
    r->asked[3].next = 'f';
    serve_all(r);
    assert_string_equal(r->came, "def");
    assert_string_equal(r->over, "Adef");
}

static void freed_with_some_that_wait(void **state) {
    struct rig *r = *state;
    for (char c = 'a'; c <= 'd'; c++) ask(r, c);
    turn(r->loop);
    turn(r->loop);
    fetcher_free(r->fetcher);
    r->fetcher = NULL;
    turn(r->loop);
    assert_string_equal(r->over, "");
    assert_true(loop_next_ms(r->loop) == UINT64_MAX); /* no timer is left */
}

#define RIG(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(first_come_first_served),   RIG(what_waits_can_be_cancelled),
        RIG(what_waits_can_time_out),   RIG(an_outcome_may_end_and_begin_others),
        RIG(freed_with_some_that_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
