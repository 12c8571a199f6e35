/* test_signals.c -- signals arrive as events. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/signals.h"

#include "io/rig.h"

#include <signal.h>

struct heard {
    int count, last;
};

static void on_heard(void *obj, int number) {
    struct heard *h = obj;
    h->count++;
    h->last = number;
}

static void a_signal_is_an_event_and_not_an_interruption(void **state) {
    (void)state;
    static const int list[] = { SIGHUP, SIGUSR1 };
    struct loop *loop = loop_new(NULL);
    struct signals s;
    struct heard h = { 0, 0 };
    sigset_t before;
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    assert_int_equal(signals_init(&s, loop, list, 2, on_heard, &h), 0);
    turn(loop);
    assert_int_equal(h.count, 0);
    raise(SIGHUP);
    turn_wait(loop);
    assert_int_equal(h.count, 1);
    assert_int_equal(h.last, SIGHUP);
    raise(SIGHUP);
    raise(SIGUSR1);
    turn_wait(loop);
    turn(loop);
    assert_int_equal(h.count, 3);
    int open_before = open_descriptors();
    signals_deinit(&s);
    signals_deinit(&s); /* harmless */
    assert_int_equal(open_descriptors(), open_before - 1);
    loop_free(loop);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signal_is_an_event_and_not_an_interruption),
    };
    return cmocka_run_group_tests_name("io/signals", tests, NULL, NULL);
}
