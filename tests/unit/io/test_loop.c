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
    void (*leave)(struct loop *loop, struct watch *w);
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
    m.leave(loop, &m.other->watch);
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

static void meddle(struct rig *r, void (*leave)(struct loop *loop, struct watch *w)) {
    int runs = 0;
    struct probe *one = xcalloc(1, sizeof *one), *two = xcalloc(1, sizeof *two);
    struct probe third = { .calls = 0 };
    struct meddler m = { .rig = r, .leave = leave, .third = &third, .runs = &runs };
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

static void a_descriptor_closed_and_reused_within_a_batch_hears_nothing_old(void **state) {
    meddle(*state, loop_unwatch);
}

static void so_does_one_that_was_abandoned_to_close(void **state) {
    meddle(*state, loop_abandon);
}

static void abandoning_costs_no_call_and_drops_what_was_not_told(void **state) {
    struct rig *r = *state;
    struct probe *p = xcalloc(1, sizeof *p);
    probe_watch(p, r->loop, r->a.near, LOOP_READ);
    turn(r->loop);
    ctl_calls = 0;
    loop_want(r->loop, &p->watch, LOOP_READ | LOOP_WRITE);
    loop_abandon(r->loop, &p->watch);
    loop_abandon(r->loop, &p->watch); /* harmless */
    loop_unwatch(r->loop, &p->watch);
    free(p);
    pair_close(&r->a);
    turn(r->loop);
    assert_int_equal(ctl_calls, 0);
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
        RIG(so_does_one_that_was_abandoned_to_close),
        RIG(abandoning_costs_no_call_and_drops_what_was_not_told),
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
        RIG(a_signal_during_the_wait_is_a_normal_turn),
        cmocka_unit_test(a_lost_epoll_descriptor_is_fatal),
        RIG(run_ends_after_the_turn_of_stop),
        RIG(deferred_closures_run_once_in_order),
        RIG(deferring_while_deferred_ones_run_is_for_the_next_turn),
        RIG(a_deferred_closure_frees_its_neighbour),
        RIG(a_deferred_closure_may_free_itself),
        RIG(a_closure_gets_its_uuid_when_asked),
        cmocka_unit_test(a_closure_that_is_set_again_keeps_its_uuid),
        RIG(all_that_is_attached_can_be_seen),
        RIG(a_freed_loop_detaches_all_and_leaks_nothing),
    };
    return cmocka_run_group_tests_name("io/loop", tests, NULL, NULL);
}
