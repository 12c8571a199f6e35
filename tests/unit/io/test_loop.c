/* test_loop.c -- watches, interest, hang-ups and deferred closures on real descriptors. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/loop.h"

#include "io/rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/time.h>

/* ---- the kernel's door, counted ------------------------------------------ */

static int ctl_calls, ctl_last_op;

/* Stands before libc's. */
int epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *ev) {
    ctl_calls++;
    ctl_last_op = op;
    return (int)syscall(SYS_epoll_ctl, epoll_fd, op, fd, ev);
}

/* ---- a loop, two pairs, two probes --------------------------------------- */

struct rig {
    struct loop *loop;
    struct pair a, b;
    struct probe pa, pb; /* on the near ends */
};

static int rig_setup(void **state) {
    struct rig *r = xcalloc(1, sizeof *r);
    r->loop = loop_new(NULL);
    assert_non_null(r->loop);
    r->a = pair_new();
    r->b = pair_new();
    *state = r;
    return 0;
}

static int rig_teardown(void **state) {
    struct rig *r = *state;
    loop_free(r->loop);
    pair_close(&r->a);
    pair_close(&r->b);
    free(r);
    return 0;
}

/* ---- reading and writing ------------------------------------------------- */

static void what_is_left_unread_is_reported_again(void **state) {
    struct rig *r = *state;
    probe_watch(&r->pa, r->loop, r->a.near, LOOP_READ);
    turn(r->loop);
    assert_int_equal(r->pa.calls, 0);
    say(r->a.far, "xy");
    turn(r->loop);
    turn(r->loop);
    assert_int_equal(r->pa.calls, 2);
    assert_int_equal(r->pa.bits, LOOP_READ);
    char text[2];
    assert_int_equal(read(r->a.near, text, 2), 2);
    turn(r->loop);
    assert_int_equal(r->pa.calls, 2);
}

static void one_call_tells_all_bits(void **state) {
    struct rig *r = *state;
    probe_watch(&r->pa, r->loop, r->a.near, LOOP_READ | LOOP_WRITE);
    say(r->a.far, "x");
    turn(r->loop);
    assert_int_equal(r->pa.calls, 1);
    assert_int_equal(r->pa.bits, LOOP_READ | LOOP_WRITE);
    loop_want(r->loop, &r->pa.watch, LOOP_WRITE);
    turn(r->loop);
    assert_int_equal(r->pa.bits, LOOP_WRITE);
    loop_want(r->loop, &r->pa.watch, 0);
    turn(r->loop);
    assert_int_equal(r->pa.calls, 2);
}

static void interest_is_told_once_before_the_wait(void **state) {
    struct rig *r = *state;
    ctl_calls = 0;
    probe_watch(&r->pa, r->loop, r->a.near, LOOP_READ);
    for (int i = 0; i < 99; i++) loop_want(r->loop, &r->pa.watch, i % 2 ? LOOP_READ : LOOP_WRITE);
    assert_int_equal(ctl_calls, 0);
    turn(r->loop);
    assert_int_equal(ctl_calls, 1);
    assert_int_equal(r->pa.bits, LOOP_WRITE);
    /* There and back: the kernel need not know. */
    loop_want(r->loop, &r->pa.watch, LOOP_READ);
    loop_want(r->loop, &r->pa.watch, LOOP_WRITE);
    loop_want(r->loop, &r->pa.watch, LOOP_WRITE);
    turn(r->loop);
    assert_int_equal(ctl_calls, 1);
}

static void unwatching_leaves_epoll_at_once(void **state) {
    struct rig *r = *state;
    probe_watch(&r->pa, r->loop, r->a.near, LOOP_READ);
    probe_watch(&r->pb, r->loop, r->b.near, LOOP_READ);
    turn(r->loop);
    ctl_calls = 0;
    loop_unwatch(r->loop, &r->pa.watch);
    assert_int_equal(ctl_calls, 1);
    assert_int_equal(ctl_last_op, EPOLL_CTL_DEL);
    loop_unwatch(r->loop, &r->pa.watch); /* harmless */
    assert_int_equal(ctl_calls, 1);
    say(r->a.far, "x");
    say(r->b.far, "x");
    turn(r->loop);
    assert_int_equal(r->pa.calls, 0);
    assert_int_equal(r->pb.calls, 1);
}

static void a_watch_the_kernel_never_heard_of_costs_no_call(void **state) {
    struct rig *r = *state;
    ctl_calls = 0;
    /* The list of changes closes up in whichever order they leave. */
    struct probe p[5] = { 0 };
    for (int i = 0; i < 5; i++) probe_watch(&p[i], r->loop, r->a.near, LOOP_READ);
    static const int order[] = { 4, 0, 3, 1 };
    for (int i = 0; i < 4; i++) loop_unwatch(r->loop, &p[order[i]].watch);
    assert_int_equal(ctl_calls, 0);
    say(r->a.far, "x");
    turn(r->loop);
    assert_int_equal(ctl_calls, 1);
    assert_int_equal(p[2].calls, 1);
    loop_unwatch(r->loop, &p[2].watch);
}

/* ---- closures that meddle ------------------------------------------------ */

/* Two watches on readable descriptors; the first to run does away with both, frees them,
 * and starts a third on the number and in the slot of the other. */
struct meddler {
    struct rig *rig;
    struct probe *self, *other;
    struct probe *third;
    struct pair *other_pair;
    int *runs;
};

static void on_meddle(struct closure *self, unsigned events) {
    (void)events;
    struct meddler m = *(struct meddler *)self->obj;
    struct loop *loop = m.rig->loop;
    ++*m.runs;
    int number = m.other_pair->near;
    struct handle before = m.other->watch.handle;
    loop_unwatch(loop, &m.self->watch);
    loop_unwatch(loop, &m.other->watch);
    free(m.self->watch.closure.obj);
    free(m.other->watch.closure.obj);
    free(m.self);
    free(m.other);
    assert_int_equal(close(number), 0);
    int silent[2];
    assert_int_equal(pipe(silent), 0);
    if (silent[0] != number) {
        assert_int_equal(dup2(silent[0], number), number);
        close(silent[0]);
    }
    m.other_pair->near = number;
    probe_watch(m.third, loop, number, LOOP_READ);
    assert_int_equal(m.third->watch.handle.slot, before.slot);
    /* Kept open, or the pipe would hang up; closed by the test. */
    m.rig->pa.calls = silent[1];
}

static void meddler_watch(struct meddler m, struct probe *self, struct probe *other,
                          struct pair *other_pair, int fd) {
    struct meddler *own = xmalloc(sizeof *own);
    *own = m;
    own->self = self;
    own->other = other;
    own->other_pair = other_pair;
    self->watch.closure = (struct closure){ .fn = on_meddle, .obj = own, .name = "meddler" };
    loop_watch(m.rig->loop, &self->watch, fd, LOOP_READ);
}

static void a_descriptor_closed_and_reused_within_a_batch_hears_nothing_old(void **state) {
    struct rig *r = *state;
    int runs = 0;
    struct probe *one = xcalloc(1, sizeof *one), *two = xcalloc(1, sizeof *two);
    struct probe third = { .calls = 0 };
    struct meddler m = { .rig = r, .third = &third, .runs = &runs };
    meddler_watch(m, one, two, &r->b, r->a.near);
    meddler_watch(m, two, one, &r->a, r->b.near);
    say(r->a.far, "x");
    say(r->b.far, "x");
    turn(r->loop); /* both events in one batch */
    assert_int_equal(runs, 1);
    assert_int_equal(third.calls, 0);
    turn(r->loop);
    turn(r->loop);
    assert_int_equal(third.calls, 0);
    say(r->pa.calls, "y"); /* its own event arrives */
    turn(r->loop);
    assert_int_equal(third.calls, 1);
    assert_int_equal(third.bits, LOOP_READ);
    loop_unwatch(r->loop, &third.watch);
    close(r->pa.calls);
}

static void on_silence(struct closure *self, unsigned events) {
    (void)events;
    struct rig *r = self->obj;
    r->pa.calls += self == &r->pa.watch.closure;
    r->pb.calls += self == &r->pb.watch.closure;
    loop_want(r->loop, &r->pa.watch, 0);
    loop_want(r->loop, &r->pb.watch, 0);
}

static void interest_withdrawn_within_a_batch_counts_at_once(void **state) {
    struct rig *r = *state;
    r->pa.watch.closure = (struct closure){ .fn = on_silence, .obj = r, .name = "silence" };
    r->pb.watch.closure = (struct closure){ .fn = on_silence, .obj = r, .name = "silence" };
    loop_watch(r->loop, &r->pa.watch, r->a.near, LOOP_READ);
    loop_watch(r->loop, &r->pb.watch, r->b.near, LOOP_READ);
    say(r->a.far, "x");
    say(r->b.far, "x");
    turn(r->loop);
    turn(r->loop);
    assert_int_equal(r->pa.calls + r->pb.calls, 1);
}

/* ---- hang-ups ------------------------------------------------------------ */

static void a_half_closed_peer_gets_its_last_bytes_and_an_answer(void **state) {
    struct rig *r = *state;
    char text[8];
    probe_watch(&r->pa, r->loop, r->a.near, LOOP_READ);
    turn(r->loop);
    say(r->a.far, "last");
    shutdown(r->a.far, SHUT_WR);
    turn(r->loop);
    assert_int_equal(r->pa.calls, 1);
    assert_int_equal(r->pa.bits, LOOP_READ | LOOP_HANGUP);
    assert_int_equal(read(r->a.near, text, sizeof text), 4);
    turn(r->loop);
    assert_int_equal(r->pa.bits, LOOP_READ); /* the end; the hang-up is known */
    assert_int_equal(read(r->a.near, text, sizeof text), 0);
    say(r->a.near, "answer");
    assert_int_equal(read(r->a.far, text, sizeof text), 6);
}

static void a_half_close_is_told_once_to_a_watch_without_interest(void **state) {
    struct rig *r = *state;
    probe_watch(&r->pa, r->loop, r->a.near, 0);
    say(r->a.far, "x");
    turn(r->loop);
    assert_int_equal(r->pa.calls, 0);
    shutdown(r->a.far, SHUT_WR);
    for (int i = 0; i < 5; i++) turn(r->loop);
    assert_int_equal(r->pa.calls, 1);
    assert_int_equal(r->pa.bits, LOOP_HANGUP);
    /* What was left is there when it is wanted again. */
    loop_want(r->loop, &r->pa.watch, LOOP_READ);
    turn(r->loop);
    assert_int_equal(r->pa.calls, 2);
    assert_true(r->pa.bits & LOOP_READ);
}

static void a_full_close_does_not_spin_on_a_watch_without_interest(void **state) {
    struct rig *r = *state;
    probe_watch(&r->pa, r->loop, r->a.near, 0);
    turn(r->loop);
    close(r->a.far);
    r->a.far = -1;
    for (int i = 0; i < 5; i++) turn(r->loop);
    assert_int_equal(r->pa.calls, 1);
    assert_true(r->pa.bits & LOOP_HANGUP);
    loop_want(r->loop, &r->pa.watch, LOOP_WRITE);
    turn(r->loop);
    assert_int_equal(r->pa.calls, 2);
    assert_int_equal(r->pa.bits, LOOP_WRITE | LOOP_HANGUP); /* writing will tell */
    loop_want(r->loop, &r->pa.watch, 0);
    for (int i = 0; i < 5; i++) turn(r->loop);
    assert_true(r->pa.calls <= 3);
    loop_unwatch(r->loop, &r->pa.watch);
}

static void a_half_close_then_a_full_close_is_told_twice(void **state) {
    struct rig *r = *state;
    probe_watch(&r->pa, r->loop, r->a.near, 0);
    shutdown(r->a.far, SHUT_WR);
    for (int i = 0; i < 3; i++) turn(r->loop);
    assert_int_equal(r->pa.calls, 1);
    close(r->a.far);
    r->a.far = -1;
    for (int i = 0; i < 3; i++) turn(r->loop);
    assert_int_equal(r->pa.calls, 2);
}

static void the_end_of_a_pipe_is_readable(void **state) {
    struct rig *r = *state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    probe_watch(&r->pa, r->loop, fds[0], LOOP_READ);
    close(fds[1]);
    turn(r->loop);
    assert_int_equal(r->pa.bits, LOOP_READ | LOOP_HANGUP);
    loop_unwatch(r->loop, &r->pa.watch);
    close(fds[0]);
}

static void a_refused_connection_is_writable_with_an_error(void **state) {
    struct rig *r = *state;
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof to;
    int taken = socket(AF_INET, SOCK_STREAM, 0); /* bound, not listening: refused */
    assert_int_equal(bind(taken, (struct sockaddr *)&to, len), 0);
    assert_int_equal(getsockname(taken, (struct sockaddr *)&to, &len), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int e = connect(fd, (struct sockaddr *)&to, sizeof to);
    assert_true(e < 0 && (errno == EINPROGRESS || errno == ECONNREFUSED));
    probe_watch(&r->pa, r->loop, fd, LOOP_WRITE);
    while (!r->pa.calls) turn_wait(r->loop);
    assert_true(r->pa.bits & LOOP_WRITE);
    assert_true(r->pa.bits & (LOOP_ERROR | LOOP_HANGUP));
    assert_false(r->pa.bits & LOOP_READ); /* not asked for */
    loop_unwatch(r->loop, &r->pa.watch);
    close(fd);
    close(taken);
}

/* ---- descriptors that changed behind the loop's back --------------------- */

static void mod_of_an_absent_descriptor_becomes_add(void **state) {
    struct rig *r = *state;
    probe_watch(&r->pa, r->loop, r->a.near, LOOP_READ);
    turn(r->loop);
    assert_true(dup2(r->b.near, r->a.near) >= 0); /* closes the old: epoll forgets it */
    ctl_calls = 0;
    loop_want(r->loop, &r->pa.watch, LOOP_WRITE | LOOP_READ);
    say(r->b.far, "x");
    turn(r->loop);
    assert_int_equal(ctl_calls, 2);
    assert_int_equal(ctl_last_op, EPOLL_CTL_ADD);
    assert_int_equal(r->pa.bits, LOOP_READ | LOOP_WRITE);
    loop_want(r->loop, &r->pa.watch, LOOP_READ);
    turn(r->loop);
    assert_int_equal(ctl_last_op, EPOLL_CTL_MOD);
}

static void add_of_a_present_descriptor_becomes_mod(void **state) {
    struct rig *r = *state;
    probe_watch(&r->pa, r->loop, r->a.near, LOOP_READ);
    turn(r->loop);
    probe_watch(&r->pb, r->loop, r->a.near, LOOP_READ); /* the first was forgotten */
    ctl_calls = 0;
    say(r->a.far, "x");
    turn(r->loop);
    assert_int_equal(ctl_calls, 2);
    assert_int_equal(ctl_last_op, EPOLL_CTL_MOD);
    assert_int_equal(r->pa.calls, 0);
    assert_int_equal(r->pb.calls, 1);
}

static void a_descriptor_the_kernel_refuses_is_an_error_once(void **state) {
    struct rig *r = *state;
    int fd = open("/proc/self/exe", O_RDONLY); /* a regular file: EPERM */
    probe_watch(&r->pa, r->loop, fd, LOOP_READ);
    assert_int_equal(loop_turn(r->loop, -1), 0); /* must not wait */
    assert_int_equal(r->pa.calls, 1);
    assert_int_equal(r->pa.bits, LOOP_ERROR);
    turn(r->loop);
    loop_want(r->loop, &r->pa.watch, LOOP_READ);
    turn(r->loop);
    assert_int_equal(r->pa.calls, 1);
    loop_want(r->loop, &r->pa.watch, LOOP_WRITE); /* changed: tried again */
    turn(r->loop);
    assert_int_equal(r->pa.calls, 2);
    loop_unwatch(r->loop, &r->pa.watch);
    close(fd);
}

static void on_refused_free(struct closure *self, unsigned events) {
    assert_int_equal(events, LOOP_ERROR);
    struct rig *r = self->obj;
    loop_unwatch(r->loop, &r->pa.watch);
    loop_unwatch(r->loop, &r->pb.watch);
    r->pa.calls++;
}

static void a_refused_watch_may_take_the_next_one_with_it(void **state) {
    struct rig *r = *state;
    int fd = open("/proc/self/exe", O_RDONLY);
    r->pa.watch.closure = (struct closure){ .fn = on_refused_free, .obj = r, .name = "refused" };
    r->pb.watch.closure = r->pa.watch.closure;
    loop_watch(r->loop, &r->pa.watch, fd, LOOP_READ);
    loop_watch(r->loop, &r->pb.watch, fd, LOOP_READ);
    turn(r->loop);
    assert_int_equal(r->pa.calls, 1);
    close(fd);
}

/* ---- the wait ------------------------------------------------------------ */

static void the_event_array_grows_when_a_wait_fills_it(void **state) {
    (void)state;
    enum { N = 12 };
    struct loop *loop = loop_new(&(struct loop_opts){ .events_start = 1, .events_max = 5 });
    struct pair pairs[N];
    struct probe probes[N] = { 0 };
    for (int i = 0; i < N; i++) {
        pairs[i] = pair_new();
        probe_watch(&probes[i], loop, pairs[i].near, LOOP_READ);
        say(pairs[i].far, "x");
    }
    static const int per_turn[] = { 1, 2, 4, 5, 5, 5 };
    int before = 0;
    for (size_t i = 0; i < ARRAY_LEN(per_turn); i++) {
        turn(loop);
        int calls = 0;
        for (int k = 0; k < N; k++) calls += probes[k].calls;
        assert_int_equal(calls - before, per_turn[i]);
        before = calls;
    }
    /* All are still readable, yet nobody was passed over. */
    for (int i = 0; i < N; i++) assert_in_range(probes[i].calls, 1, 2);
    for (int i = 0; i < N; i++) {
        loop_unwatch(loop, &probes[i].watch);
        pair_close(&pairs[i]);
    }
    loop_free(loop);
}

static volatile sig_atomic_t alarms;

/* A watch and a timer whose closures take their time, on a clock driven by hand. */
struct costly {
    struct watch watch;
    struct timer timer;
    struct pair pair;
    struct hand *clock;
    uint64_t us;
    int calls;
};

static void on_costly(struct closure *self, unsigned events) {
    struct costly *c = self->obj;
    (void)events;
    c->calls++;
    c->clock->ns += c->us * 1000;
}

/* Readable for ever. */
static void costly_watch(struct costly *c, struct loop *loop, bool is_patient) {
    c->pair = pair_new();
    c->watch.is_patient = is_patient;
    c->watch.closure = (struct closure){ .fn = on_costly, .obj = c, .name = "costly" };
    loop_watch(loop, &c->watch, c->pair.near, LOOP_READ);
    say(c->pair.far, "x");
}

static void costly_close(struct costly *c, struct loop *loop) {
    loop_unwatch(loop, &c->watch);
    pair_close(&c->pair);
}

static int calls_of(const struct costly *all, int n) {
    int calls = 0;
    for (int i = 0; i < n; i++) calls += all[i].calls;
    return calls;
}

static void patient_closures_let_others_pass(void **state) {
    (void)state;
    enum { PATIENTS = 10 };
    struct hand clock = { 0 };
    struct loop *loop = loop_on(&clock);
    struct costly patients[PATIENTS] = { 0 }, other = { .clock = &clock };
    for (int i = 0; i < PATIENTS; i++) {
        patients[i].clock = &clock;
        patients[i].us = 15;
        costly_watch(&patients[i], loop, true);
    }
    costly_watch(&other, loop, false);
    turn(loop);
    assert_int_equal(other.calls, 1);
    assert_int_equal(calls_of(patients, PATIENTS), 2); /* for 25 us */
    for (int t = 0; t < PATIENTS; t++) turn(loop);
    for (int i = 0; i < PATIENTS; i++) /* nobody is passed over */
        assert_in_range(patients[i].calls, 1, 3);
    int before = calls_of(patients, PATIENTS);
    other.us = 70;
    turn(loop);
    assert_int_equal(calls_of(patients, PATIENTS), before + 5); /* for as long as the other took */
    other.us = 100000;
    turn(loop);
    assert_int_equal(calls_of(patients, PATIENTS), before + 15); /* each at most once */
    for (int i = 0; i < PATIENTS; i++) costly_close(&patients[i], loop);
    costly_close(&other, loop);
    loop_free(loop);
}

/* As on_costly, but reads what is there. */
static void on_costly_read(struct closure *self, unsigned events) {
    struct costly *c = self->obj;
    char byte;
    on_costly(self, events);
    assert_int_equal(read(c->pair.near, &byte, 1), 1);
}

static void patient_closures_come_in_turn(void **state) {
    (void)state;
    enum { PATIENTS = 4 };
    struct hand clock = { 0 };
    struct loop *loop = loop_on(&clock);
    struct costly patients[PATIENTS] = { 0 };
    for (int i = 0; i < PATIENTS; i++) {
        patients[i].clock = &clock;
        patients[i].us = 30;
        costly_watch(&patients[i], loop, true);
        patients[i].watch.closure.fn = on_costly_read;
    }
    for (int t = 0; t < PATIENTS; t++) {
        turn(loop);
        for (int i = 0; i < PATIENTS; i++) assert_int_equal(patients[i].calls, i <= t);
    }
    for (int i = 0; i < PATIENTS; i++) costly_close(&patients[i], loop);
    loop_free(loop);
}

/* Every look at this clock is too long for a slice, as when somebody else has the processor. */
static uint64_t slow_clock_read(void *obj) {
    return ((struct hand *)obj)->ns += 30000;
}

static void one_patient_runs_beside_many_others(void **state) {
    (void)state;
    enum { OTHERS = 20, LOOKS = 8 };
    struct hand hand = { 0 };
    struct clock clock = { slow_clock_read, slow_clock_read, &hand };
    struct loop *loop = loop_new(&(struct loop_opts){ .clock = &clock });
    struct costly others[OTHERS] = { 0 }, patient = { .clock = &hand };
    for (int i = 0; i < OTHERS; i++) {
        others[i].clock = &hand;
        costly_watch(&others[i], loop, false);
    }
    costly_watch(&patient, loop, true);
    uint64_t start_ns = hand.ns;
    turn(loop);
    assert_int_equal(calls_of(others, OTHERS), OTHERS);
    assert_int_equal(patient.calls, 1);
    assert_true(hand.ns - start_ns <= LOOKS * 30000); /* not one an event */
    for (int i = 0; i < OTHERS; i++) costly_close(&others[i], loop);
    costly_close(&patient, loop);
    loop_free(loop);
}

struct refresher {
    struct costly costly;
    struct loop *loop;
};

static void on_refresh(struct closure *self, unsigned events) {
    struct refresher *f = self->obj;
    on_costly(&(struct closure){ .obj = &f->costly }, events);
    loop_clock_refresh(f->loop);
}

static void a_clock_read_afresh_does_not_shorten_the_slice(void **state) {
    (void)state;
    enum { TIMERS = 10 };
    struct hand clock = { 0 };
    struct loop *loop = loop_on(&clock);
    struct costly timers[TIMERS];
    struct refresher other = { { .clock = &clock, .us = 70 }, loop };
    for (int i = 0; i < TIMERS; i++) {
        struct costly *c = &timers[i];
        *c = (struct costly){ .clock = &clock, .us = 15 };
        c->timer.closure = (struct closure){ .fn = on_costly, .obj = c, .name = "costly" };
        loop_arm(loop, &c->timer, 0);
    }
    costly_watch(&other.costly, loop, false);
    closure_set(&other.costly.watch.closure, on_refresh, &other, "refresher");
    turn(loop);
    assert_int_equal(calls_of(timers, TIMERS), 5); /* 70 us */
    costly_close(&other.costly, loop);
    loop_free(loop);
}

static void costly_timers_let_others_pass(void **state) {
    (void)state;
    enum { TIMERS = 10 };
    struct hand clock = { 0 };
    struct loop *loop = loop_on(&clock);
    struct costly timers[TIMERS] = { 0 }, other = { .clock = &clock };
    for (int i = 0; i < TIMERS; i++) {
        struct costly *c = &timers[i];
        *c = (struct costly){ .clock = &clock, .us = 15 };
        c->timer.closure = (struct closure){ .fn = on_costly, .obj = c, .name = "costly" };
        loop_arm(loop, &c->timer, 1);
    }
    costly_watch(&other, loop, false);
    clock_add_ms(&clock, 1);
    turn(loop);
    assert_int_equal(other.calls, 1);
    assert_int_equal(timers[0].calls + timers[1].calls, 2);
    assert_int_equal(calls_of(timers, TIMERS), 2);
    assert_int_equal(loop_next_ms(loop), 1);
    loop_cancel(loop, &timers[3].timer);
    loop_cancel(loop, &timers[TIMERS - 1].timer);
    loop_arm(loop, &timers[4].timer, 2);
    assert_int_equal(loop_turn(loop, -1), 0); /* does not wait */
    assert_int_equal(timers[2].calls + timers[5].calls, 2);
    for (int t = 0; t < 2; t++) turn(loop);
    assert_int_equal(calls_of(timers, TIMERS), 7);
    assert_int_equal(timers[4].calls, 0);
    clock_add_ms(&clock, 1);
    turn(loop);
    assert_int_equal(timers[4].calls, 1);
    assert_int_equal(timers[3].calls + timers[TIMERS - 1].calls, 0);
    costly_close(&other, loop);
    loop_free(loop);
}

static void patient_watches_and_timers_take_turns(void **state) {
    (void)state;
    struct hand clock = { 0 };
    struct loop *loop = loop_on(&clock);
    struct costly patient = { .clock = &clock, .us = 30 }, timers[3];
    for (int i = 0; i < 3; i++) {
        struct costly *c = &timers[i];
        *c = (struct costly){ .clock = &clock, .us = 30 };
        c->timer.closure = (struct closure){ .fn = on_costly, .obj = c, .name = "costly" };
        loop_arm(loop, &c->timer, 0);
    }
    costly_watch(&patient, loop, true);
    for (int t = 1; t <= 6; t++) {
        turn(loop);
        assert_int_equal(patient.calls, (t + 1) / 2);
        assert_int_equal(calls_of(timers, 3), t / 2);
    }
    costly_close(&patient, loop);
    loop_free(loop);
}

static void on_alarm(int number) {
    (void)number;
    alarms++;
}

static void a_signal_during_the_wait_is_a_normal_turn(void **state) {
    struct rig *r = *state;
    struct sigaction before, action = { .sa_handler = on_alarm };
    alarms = 0;
    sigaction(SIGALRM, &action, &before);
    setitimer(ITIMER_REAL, &(struct itimerval){ .it_value = { 0, 30000 } }, NULL);
    uint64_t start_ns = loop_clock_refresh(r->loop);
    assert_int_equal(loop_turn(r->loop, 20000), 0);
    assert_int_equal(alarms, 1);
    assert_true(loop_now_ns(r->loop) - start_ns < 10000000000u);
    sigaction(SIGALRM, &before, NULL);
    probe_watch(&r->pa, r->loop, r->a.near, LOOP_READ);
    say(r->a.far, "x");
    turn_wait(r->loop);
    assert_int_equal(r->pa.calls, 1);
}

static void a_lost_epoll_descriptor_is_fatal(void **state) {
    (void)state;
    int lowest = open("/dev/null", O_RDONLY);
    close(lowest);
    struct loop *loop = loop_new(NULL); /* its epoll descriptor has the lowest number */
    close(lowest);
    assert_int_equal(loop_turn(loop, 0), -EBADF);
    assert_int_equal(loop_run(loop), -EBADF);
    loop_free(loop);
}

static void on_stop(struct closure *self, unsigned events) {
    (void)events;
    struct rig *r = self->obj;
    r->pa.calls++;
    if (r->pa.calls == 3) loop_stop(r->loop);
}

static void run_ends_after_the_turn_of_stop(void **state) {
    struct rig *r = *state;
    r->pa.watch.closure = (struct closure){ .fn = on_stop, .obj = r, .name = "stop" };
    loop_watch(r->loop, &r->pa.watch, r->a.near, LOOP_WRITE);
    assert_int_equal(loop_run(r->loop), 0);
    assert_int_equal(r->pa.calls, 3);
    loop_stop(r->loop); /* before running: one turn */
    assert_int_equal(loop_run(r->loop), 0);
    assert_int_equal(r->pa.calls, 4);
}

/* ---- deferred closures --------------------------------------------------- */

struct later {
    struct deferred deferred;
    struct loop *loop;
    int *order, my_place, runs;
    bool again;
    struct later *victim; /* undeferred and freed */
};

static void on_later(struct closure *self, unsigned events) {
    struct later *l = self->obj;
    assert_int_equal(events, 0);
    l->runs++;
    if (l->order) l->my_place = ++*l->order;
    if (l->victim) {
        loop_undefer(&l->victim->deferred);
        free(l->victim);
        l->victim = NULL;
    }
    if (l->again) loop_defer(l->loop, &l->deferred);
}

static struct later *later_new(struct loop *loop) {
    struct later *l = xcalloc(1, sizeof *l);
    l->loop = loop;
    l->deferred.closure = (struct closure){ .fn = on_later, .obj = l, .name = "later" };
    return l;
}

static void deferred_closures_run_once_in_order(void **state) {
    struct rig *r = *state;
    struct later *l[5];
    int order = 0;
    for (int i = 0; i < 5; i++) {
        l[i] = later_new(r->loop);
        l[i]->order = &order;
        loop_defer(r->loop, &l[i]->deferred);
        loop_defer(r->loop, &l[0]->deferred); /* listed already: keeps its place */
    }
    assert_int_equal(loop_turn(r->loop, -1), 0); /* must not wait */
    turn(r->loop);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(l[i]->runs, 1);
        assert_int_equal(l[i]->my_place, i + 1);
        free(l[i]);
    }
}

static void deferring_while_deferred_ones_run_is_for_the_next_turn(void **state) {
    struct rig *r = *state;
    struct later *l = later_new(r->loop);
    l->again = true;
    loop_defer(r->loop, &l->deferred);
    for (int i = 1; i < 5; i++) {
        assert_int_equal(loop_turn(r->loop, -1), 0);
        assert_int_equal(l->runs, i);
    }
    loop_undefer(&l->deferred);
    loop_undefer(&l->deferred); /* harmless */
    turn(r->loop);
    assert_int_equal(l->runs, 4);
    free(l);
}

static void a_deferred_closure_frees_its_neighbour(void **state) {
    struct rig *r = *state;
    for (int victim = 1; victim <= 2; victim++) {
        struct later *l[3];
        for (int i = 0; i < 3; i++) {
            l[i] = later_new(r->loop);
            loop_defer(r->loop, &l[i]->deferred);
        }
        l[0]->victim = l[victim]; /* the next, the last */
        turn(r->loop);
        assert_int_equal(l[0]->runs, 1);
        assert_int_equal(l[3 - victim]->runs, 1);
        free(l[0]);
        free(l[3 - victim]);
    }
}

static void free_self(struct closure *self, unsigned events) {
    (void)events;
    free(self->obj);
}

static void a_deferred_closure_may_free_itself(void **state) {
    struct rig *r = *state;
    for (int i = 0; i < 3; i++) {
        struct later *l = later_new(r->loop);
        l->deferred.closure.fn = free_self;
        loop_defer(r->loop, &l->deferred);
    }
    turn(r->loop);
}

/* ---- the order of a turn ------------------------------------------------- */

struct noted {
    char *at;
    char mark;
};

static void on_note(struct closure *self, unsigned events) {
    (void)events;
    struct noted *n = self->obj;
    size_t len = strlen(n->at);
    n->at[len] = n->mark;
}

/* As on_note; leaves deferred work behind. */
struct leaver {
    struct noted noted;
    struct loop *loop;
    struct deferred deferred;
};

static void on_leave(struct closure *self, unsigned events) {
    struct leaver *l = self->obj;
    struct closure note = { .obj = &l->noted };
    on_note(&note, events);
    loop_defer(l->loop, &l->deferred);
}

static void what_is_cheap_comes_first_and_is_finished_first(void **state) {
    (void)state;
    struct hand clock = { 0 };
    struct loop *loop = loop_on(&clock);
    struct pair a = pair_new(), b = pair_new();
    char notes[16] = "";
    struct noted p = { notes, 'p' }, d = { notes, 'd' };
    struct deferred deferred = { .closure = { .fn = on_note, .obj = &d, .name = "deferred" } };
    struct leaver e = { { notes, 'e' }, loop, deferred }, t = { { notes, 't' }, loop, deferred };
    struct watch patient = { .closure = { .fn = on_note, .obj = &p, .name = "patient" },
                             .is_patient = true };
    struct watch w = { .closure = { .fn = on_leave, .obj = &e, .name = "event" } };
    struct timer timer = { .closure = { .fn = on_leave, .obj = &t, .name = "timer" } };
    loop_arm(loop, &timer, 0);
    loop_watch(loop, &patient, b.near, LOOP_WRITE);
    loop_watch(loop, &w, a.near, LOOP_WRITE);
    turn(loop);
    assert_string_equal(notes, "edptd");
    turn(loop);
    assert_string_equal(notes, "edptdedp");
    loop_unwatch(loop, &w);
    loop_unwatch(loop, &patient);
    pair_close(&a);
    pair_close(&b);
    loop_free(loop);
}

/* ---- names and ends ------------------------------------------------------ */

static void a_closure_gets_its_uuid_when_asked(void **state) {
    struct rig *r = *state;
    probe_watch(&r->pa, r->loop, r->a.near, LOOP_READ);
    assert_null(r->pa.watch.closure.uuid);
    const char *id = closure_uuid(&r->pa.watch.closure);
    assert_int_equal(strlen(id), 36);
    assert_ptr_equal(closure_uuid(&r->pa.watch.closure), id);
    loop_unwatch(r->loop, &r->pa.watch);
    assert_null(r->pa.watch.closure.uuid);
}

struct seen {
    unsigned kinds[3], left;
    const struct closure *last;
};

static bool on_item(void *obj, const struct loop_item *item) {
    struct seen *s = obj;
    s->kinds[item->kind]++;
    s->last = item->closure;
    assert_int_equal(item->fd >= 0, item->kind == LOOP_ITEM_WATCH);
    return --s->left > 0;
}

static void all_that_is_attached_can_be_seen(void **state) {
    struct rig *r = *state;
    struct timer timers[4] = { 0 };
    struct deferred d = { .closure = { .fn = on_probe, .obj = &r->pb, .name = "deferred" } };
    static const uint64_t deadlines[] = { 0, 1, 5000, UINT64_MAX - 1 };
    struct seen s = { .left = 100 }, some = { .left = 2 };
    loop_each(r->loop, on_item, &s);
    assert_null(s.last);
    probe_watch(&r->pa, r->loop, r->a.near, LOOP_READ);
    loop_defer(r->loop, &d);
    for (unsigned i = 0; i < ARRAY_LEN(timers); i++) {
        timers[i].closure = (struct closure){ .fn = on_probe, .obj = &r->pa, .name = "timer" };
        loop_arm(r->loop, &timers[i], deadlines[i]);
    }
    loop_each(r->loop, on_item, &s);
    assert_int_equal(s.kinds[LOOP_ITEM_WATCH], 1);
    assert_int_equal(s.kinds[LOOP_ITEM_TIMER], 4);
    assert_int_equal(s.kinds[LOOP_ITEM_DEFERRED], 1);
    assert_ptr_equal(s.last, &d.closure);
    loop_each(r->loop, on_item, &some);
    assert_int_equal(some.kinds[LOOP_ITEM_WATCH] + some.kinds[LOOP_ITEM_TIMER], 2);
    for (unsigned i = 0; i < ARRAY_LEN(timers); i++) loop_cancel(r->loop, &timers[i]);
    loop_undefer(&d);
}

static void a_closure_that_is_set_again_keeps_its_uuid(void **state) {
    struct closure c = { 0 };
    (void)state;
    closure_set(&c, on_probe, NULL, "one");
    const char *uuid = closure_uuid(&c);
    closure_set(&c, on_probe, NULL, "two");
    assert_string_equal(c.name, "two");
    assert_ptr_equal(closure_uuid(&c), uuid);
    closure_deinit(&c);
}

static void a_freed_loop_detaches_all_and_leaks_nothing(void **state) {
    struct rig *r = *state;
    int before = open_descriptors();
    struct loop *loop = loop_new(NULL);
    struct later *l = later_new(loop);
    probe_watch(&r->pa, loop, r->a.near, LOOP_READ);
    turn(loop);
    probe_watch(&r->pb, loop, r->b.near, LOOP_READ);
    loop_defer(loop, &l->deferred);
    (void)closure_uuid(&r->pa.watch.closure);
    loop_free(loop);
    loop_free(NULL);
    assert_true(handle_is_none(r->pa.watch.handle) && handle_is_none(r->pb.watch.handle));
    assert_null(l->deferred.link);
    assert_int_equal(l->runs, 0);
    assert_int_equal(open_descriptors(), before);
    free(l);
}

#define RIG(test) cmocka_unit_test_setup_teardown(test, rig_setup, rig_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(what_is_left_unread_is_reported_again),
        RIG(one_call_tells_all_bits),
        RIG(interest_is_told_once_before_the_wait),
        RIG(unwatching_leaves_epoll_at_once),
        RIG(a_watch_the_kernel_never_heard_of_costs_no_call),
        RIG(a_descriptor_closed_and_reused_within_a_batch_hears_nothing_old),
        RIG(interest_withdrawn_within_a_batch_counts_at_once),
        RIG(a_half_closed_peer_gets_its_last_bytes_and_an_answer),
        RIG(a_half_close_is_told_once_to_a_watch_without_interest),
        RIG(a_full_close_does_not_spin_on_a_watch_without_interest),
        RIG(a_half_close_then_a_full_close_is_told_twice),
        RIG(the_end_of_a_pipe_is_readable),
        RIG(a_refused_connection_is_writable_with_an_error),
        RIG(mod_of_an_absent_descriptor_becomes_add),
        RIG(add_of_a_present_descriptor_becomes_mod),
        RIG(a_descriptor_the_kernel_refuses_is_an_error_once),
        RIG(a_refused_watch_may_take_the_next_one_with_it),
        cmocka_unit_test(the_event_array_grows_when_a_wait_fills_it),
        RIG(patient_closures_let_others_pass),
        cmocka_unit_test(patient_closures_come_in_turn),
        cmocka_unit_test(one_patient_runs_beside_many_others),
        cmocka_unit_test(a_clock_read_afresh_does_not_shorten_the_slice),
        RIG(costly_timers_let_others_pass),
        RIG(patient_watches_and_timers_take_turns),
        RIG(a_signal_during_the_wait_is_a_normal_turn),
        cmocka_unit_test(a_lost_epoll_descriptor_is_fatal),
        RIG(run_ends_after_the_turn_of_stop),
        RIG(deferred_closures_run_once_in_order),
        RIG(deferring_while_deferred_ones_run_is_for_the_next_turn),
        RIG(a_deferred_closure_frees_its_neighbour),
        RIG(a_deferred_closure_may_free_itself),
        RIG(what_is_cheap_comes_first_and_is_finished_first),
        RIG(a_closure_gets_its_uuid_when_asked),
        cmocka_unit_test(a_closure_that_is_set_again_keeps_its_uuid),
        RIG(all_that_is_attached_can_be_seen),
        RIG(a_freed_loop_detaches_all_and_leaks_nothing),
    };
    return cmocka_run_group_tests_name("io/loop", tests, NULL, NULL);
}
