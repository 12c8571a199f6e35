/* test_slice.c -- what is costly comes after what is cheap, and takes no more than its share
 * of a turn; on a clock driven by hand. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/loop.h"

#include "io/rig.h"

#include <string.h>

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patient_closures_let_others_pass),
        cmocka_unit_test(patient_closures_come_in_turn),
        cmocka_unit_test(one_patient_runs_beside_many_others),
        cmocka_unit_test(a_clock_read_afresh_does_not_shorten_the_slice),
        cmocka_unit_test(costly_timers_let_others_pass),
        cmocka_unit_test(patient_watches_and_timers_take_turns),
        cmocka_unit_test(what_is_cheap_comes_first_and_is_finished_first),
    };
    return cmocka_run_group_tests_name("io/slice", tests, NULL, NULL);
}
