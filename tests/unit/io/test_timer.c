/* test_timer.c -- the wheel against a plain list, and timers of a loop on a false clock. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/timer.h"

#include "io/rig.h"

/* ---- the wheel against a model ------------------------------------------- */

#define MODEL_TIMERS 300

struct model {
    struct wheel wheel;
    uint64_t now;
    uint64_t seq; /* of arming */
    struct model_timer {
        struct timer timer;
        bool armed;
        uint64_t due, seq; /* a deadline in the past is due when armed */
    } timers[MODEL_TIMERS];
};

static uint64_t random_bits(void) {
    return (uint64_t)rand() << 40 ^ (uint64_t)rand() << 20 ^ (uint64_t)rand();
}

/* Any magnitude is as likely as any other: 0, a few ms, years, the end of time. */
static uint64_t random_span(void) {
    unsigned bits = (unsigned)rand() % 65;
    return bits == 64 ? random_bits() : random_bits() & (((uint64_t)1 << bits) - 1);
}

static uint64_t add_capped(uint64_t a, uint64_t b) {
    return a + b < a ? UINT64_MAX : a + b;
}

/* Every list is well linked, its timers belong there, and the bitmaps tell the truth. */
static size_t check_list(const struct timer_list *l, uint64_t from, uint64_t to) {
    size_t n = 0;
    struct timer *const *link = &l->head;
    for (const struct timer *t = l->head; t; t = t->next, n++) {
        assert_ptr_equal(t->link, link);
        assert_true(t->deadline_ms >= from && t->deadline_ms <= to);
        link = &t->next;
    }
    assert_ptr_equal(l->tail, link);
    return n;
}

static size_t check_wheel(const struct wheel *w) {
    size_t n = check_list(&w->due, 0, w->now_ms) + check_list(&w->running, 0, w->now_ms);
    for (unsigned l = 0; l < WHEEL_LEVELS; l++) {
        assert_true(!(w->levels >> l & 1) == !w->busy[l]);
        for (unsigned s = 0; s < WHEEL_SLOTS; s++) {
            size_t in_slot = check_list(&w->slots[l][s], w->now_ms + 1, UINT64_MAX);
            assert_true(!(w->busy[l] >> s & 1) == !in_slot);
            n += in_slot;
        }
    }
    return n;
}

static void model_arm(struct model *m, struct model_timer *t, uint64_t deadline) {
    wheel_arm(&m->wheel, &t->timer, deadline);
    t->armed = true;
    t->due = deadline > m->now ? deadline : m->now;
    t->seq = m->seq++;
}

/* The armed timer that is due first, NULL when none is due by now. */
static struct model_timer *model_first(struct model *m, uint64_t until, uint64_t before_seq) {
    struct model_timer *first = NULL;
    for (int i = 0; i < MODEL_TIMERS; i++) {
        struct model_timer *t = &m->timers[i];
        if (!t->armed || t->due > until || t->seq >= before_seq) continue;
        if (!first || t->due < first->due || (t->due == first->due && t->seq < first->seq))
            first = t;
    }
    return first;
}

/* Turns to `now`; what fires sometimes rearms itself or meddles with another. */
static void model_turn(struct model *m, uint64_t now, bool meddle) {
    if (now > m->now) m->now = now;
    wheel_turn(&m->wheel, now);
    wheel_take(&m->wheel);
    uint64_t armed_before = m->seq;
    for (;;) {
        struct model_timer *expected = model_first(m, m->now, armed_before);
        struct timer *t = wheel_pop(&m->wheel);
        assert_ptr_equal(t, expected ? &expected->timer : NULL);
        if (!t) return;
        assert_false(timer_armed(t));
        assert_true(t->deadline_ms <= m->now);
        expected->armed = false;
        struct model_timer *other = &m->timers[rand() % MODEL_TIMERS];
        if (!meddle) continue;
        if (rand() % 3 == 0) model_arm(m, expected, add_capped(m->now, random_span()));
        if (rand() % 3 == 0) model_arm(m, other, random_span());
        if (rand() % 3 == 0) {
            wheel_cancel(&m->wheel, &other->timer);
            other->armed = false;
        }
    }
}

static void check_next(struct model *m) {
    struct model_timer *first = model_first(m, UINT64_MAX, UINT64_MAX);
    uint64_t next = wheel_next(&m->wheel);
    assert_true(next <= (first ? first->due : UINT64_MAX));
    assert_true(first || next == UINT64_MAX);
    /* Turning there gets somewhere: a wait is never for nothing. */
    assert_true(next > m->now || (first && first->due <= m->now));
}

static void random_timers_fire_as_a_sorted_list_would(void **state) {
    (void)state;
    for (unsigned seed = 0; seed < 60; seed++) {
        struct model *m = xcalloc(1, sizeof *m);
        srand(seed);
        m->now = seed % 3 ? random_span() : 0;
        wheel_init(&m->wheel, m->now);
        for (int step = 0; step < 3000; step++) {
            struct model_timer *t = &m->timers[rand() % MODEL_TIMERS];
            switch (rand() % 8) {
            case 0: model_turn(m, add_capped(m->now, random_span() & 0xffff), true); break;
            case 1:
                /* Jumps of any size, rarer: most seeds end at the end of time. */
                if (rand() % 100 == 0) model_turn(m, add_capped(m->now, random_span()), true);
                break;
            case 2:
                wheel_cancel(&m->wheel, &t->timer);
                t->armed = false;
                break;
            default:
                model_arm(m, t, rand() % 10 ? add_capped(m->now, random_span()) : random_span());
            }
            check_next(m);
            if (step % 50 == 0) check_wheel(&m->wheel);
        }
        model_turn(m, UINT64_MAX, false);
        model_turn(m, UINT64_MAX, false);
        assert_int_equal(check_wheel(&m->wheel), 0);
        assert_true(wheel_next(&m->wheel) == UINT64_MAX);
        free(m);
    }
}

/* Asleep but for the times the wheel names, a timer fires at its very millisecond. */
static void waking_when_the_wheel_says_is_enough(void **state) {
    (void)state;
    static struct wheel w;
    srand(7);
    for (int i = 0; i < 2000; i++) {
        struct timer t = { .link = NULL };
        uint64_t start = random_bits() >> 8, span = random_span() >> 8;
        wheel_init(&w, start);
        wheel_arm(&w, &t, start + span);
        int wakes = 0;
        for (struct timer *fired = NULL; !fired; wakes++) {
            uint64_t next = wheel_next(&w);
            assert_true(next <= start + span);
            wheel_turn(&w, next);
            wheel_take(&w);
            fired = wheel_pop(&w);
        }
        assert_true(w.now_ms == start + span);
        assert_true(wakes <= WHEEL_LEVELS);
    }
}

static void the_clock_does_not_turn_the_wheel_back(void **state) {
    (void)state;
    static struct wheel w;
    struct timer t = { .link = NULL };
    wheel_init(&w, 1000);
    wheel_arm(&w, &t, 1500);
    wheel_turn(&w, 10);
    assert_true(w.now_ms == 1000);
    wheel_turn(&w, 1499);
    assert_null(w.due.head);
    wheel_turn(&w, 1500);
    assert_ptr_equal(w.due.head, &t);
    wheel_deinit(&w);
    assert_false(timer_armed(&t));
}

/* ---- timers of a loop ---------------------------------------------------- */

struct shot {
    struct timer timer;
    struct loop *loop;
    struct hand *clock;
    int fired;
    uint64_t at_ms;       /* of the last firing */
    uint64_t again_ms;    /* rearm this much later; UINT64_MAX: do not */
    struct shot *victim;  /* cancelled and freed when this one fires */
    int *order, my_place; /* where to note the order of firing */
};

static void on_shot(struct closure *self, unsigned events) {
    struct shot *s = self->obj;
    assert_int_equal(events, 0);
    assert_false(timer_armed(&s->timer));
    s->fired++;
    s->at_ms = loop_now_ms(s->loop);
    if (s->order) s->my_place = ++*s->order;
    if (s->victim) {
        loop_cancel(s->loop, &s->victim->timer);
        free(s->victim);
        s->victim = NULL;
    }
    if (s->again_ms != UINT64_MAX) loop_arm(s->loop, &s->timer, s->at_ms + s->again_ms);
}

static struct shot *shot_new(struct loop *loop) {
    struct shot *s = xcalloc(1, sizeof *s);
    s->timer.closure = (struct closure){ .fn = on_shot, .obj = s, .name = "shot" };
    s->loop = loop;
    s->again_ms = UINT64_MAX;
    return s;
}

static void a_timer_is_never_early_and_fires_once(void **state) {
    (void)state;
    struct hand clock = { 5900000 }; /* 5.9 ms */
    struct loop *loop = loop_on(&clock);
    struct shot *s = shot_new(loop);
    loop_arm(loop, &s->timer, 100);
    assert_true(timer_armed(&s->timer));
    for (uint64_t ns = 6000000; ns < 100000000; ns += 999999) {
        clock.ns = ns;
        turn(loop);
        assert_int_equal(s->fired, 0);
    }
    clock.ns = 99999999;
    turn(loop);
    assert_int_equal(s->fired, 0);
    clock.ns = 100000000;
    turn(loop);
    assert_int_equal(s->fired, 1);
    clock_add_ms(&clock, 1000000);
    turn(loop);
    assert_int_equal(s->fired, 1);
    loop_free(loop);
    free(s);
}

static void equal_deadlines_fire_in_the_order_of_arming(void **state) {
    (void)state;
    enum { N = 50 };
    struct hand clock = { 0 };
    struct loop *loop = loop_on(&clock);
    struct shot *shots[N];
    int order = 0;
    /* The first half from afar, so that it is filed anew on its way. */
    for (int i = 0; i < N; i++) {
        if (i == N / 2) {
            clock_add_ms(&clock, 99990);
            turn(loop);
        }
        shots[i] = shot_new(loop);
        shots[i]->order = &order;
        loop_arm(loop, &shots[i]->timer, 100000);
    }
    clock_add_ms(&clock, 10);
    turn(loop);
    for (int i = 0; i < N; i++) {
        assert_int_equal(shots[i]->my_place, i + 1);
        free(shots[i]);
    }
    loop_free(loop);
}

static void ten_thousand_timers_are_armed_and_cancelled(void **state) {
    (void)state;
    enum { N = 10000 };
    struct hand clock = { 123456789 };
    struct loop *loop = loop_on(&clock);
    struct shot **shots = xcalloc(N, sizeof *shots);
    srand(4);
    for (int i = 0; i < N; i++) {
        shots[i] = shot_new(loop);
        loop_arm(loop, &shots[i]->timer, loop_now_ms(loop) + 1 + (uint64_t)rand() % 3600000);
    }
    for (int i = 0; i < N; i += 2) loop_cancel(loop, &shots[i]->timer);
    for (int i = 0; i < N; i += 4) /* and some of those again */
        loop_arm(loop, &shots[i]->timer, loop_now_ms(loop) + 1 + (uint64_t)rand() % 3600000);
    for (int step = 0; step < 3600; step++) {
        clock_add_ms(&clock, 1000);
        turn(loop);
    }
    for (int i = 0; i < N; i++) {
        struct shot *s = shots[i];
        assert_int_equal(s->fired, i % 2 == 1 || i % 4 == 0);
        /* In the first turn after its time: a second late at most. */
        if (s->fired)
            assert_true(s->at_ms >= s->timer.deadline_ms && s->at_ms < s->timer.deadline_ms + 1000);
        free(s);
    }
    free(shots);
    loop_free(loop);
}

static void a_jump_of_years_costs_what_the_timers_cost(void **state) {
    (void)state;
    enum { N = 1000 };
    struct hand clock = { 0 };
    struct loop *loop = loop_on(&clock);
    struct shot *shots[N];
    for (int i = 0; i < N; i++) {
        shots[i] = shot_new(loop);
        loop_arm(loop, &shots[i]->timer, (uint64_t)(i + 1) * 86400000);
    }
    clock.ns = UINT64_MAX; /* 584 years */
    turn(loop);
    for (int i = 0; i < N; i++) {
        assert_int_equal(shots[i]->fired, 1);
        free(shots[i]);
    }
    loop_free(loop);
}

static void a_deadline_in_the_past_fires_once_a_turn(void **state) {
    (void)state;
    struct hand clock = { 5000000000 };
    struct loop *loop = loop_on(&clock);
    struct shot *s = shot_new(loop);
    s->again_ms = 0; /* due again at once: must not keep the turn from ending */
    loop_arm(loop, &s->timer, 1);
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(loop_turn(loop, -1), 0); /* and must not wait */
        assert_int_equal(s->fired, i);
    }
    loop_cancel(loop, &s->timer);
    loop_cancel(loop, &s->timer); /* harmless */
    turn(loop);
    assert_int_equal(s->fired, 5);
    loop_free(loop);
    free(s);
}

static void a_timer_frees_its_neighbours_that_are_due_too(void **state) {
    (void)state;
    struct hand clock = { 0 };
    struct loop *loop = loop_on(&clock);
    struct shot *a = shot_new(loop), *b = shot_new(loop), *c = shot_new(loop);
    a->victim = b; /* the next to run */
    loop_arm(loop, &a->timer, 10);
    loop_arm(loop, &b->timer, 10);
    loop_arm(loop, &c->timer, 10);
    clock_add_ms(&clock, 20);
    turn(loop);
    assert_int_equal(a->fired, 1);
    assert_int_equal(c->fired, 1);

    struct shot *later = shot_new(loop);
    a->victim = later; /* not due yet, the last of its list */
    loop_arm(loop, &a->timer, 30);
    loop_arm(loop, &c->timer, 40);
    loop_arm(loop, &later->timer, 40);
    clock_add_ms(&clock, 10);
    turn(loop);
    clock_add_ms(&clock, 10);
    turn(loop);
    assert_int_equal(a->fired, 2);
    assert_int_equal(c->fired, 2);

    struct shot *last = shot_new(loop);
    a->victim = last; /* due, the last of the running */
    loop_arm(loop, &a->timer, 45);
    loop_arm(loop, &last->timer, 45);
    clock_add_ms(&clock, 10);
    turn(loop);
    assert_int_equal(a->fired, 3);
    free(a), free(c);
    loop_free(loop);
}

static void free_self(struct closure *self, unsigned events) {
    (void)events;
    free(self->obj);
}

static void a_timer_may_free_itself(void **state) {
    (void)state;
    struct hand clock = { 0 };
    struct loop *loop = loop_on(&clock);
    for (int i = 0; i < 3; i++) {
        struct shot *s = shot_new(loop);
        s->timer.closure.fn = free_self;
        loop_arm(loop, &s->timer, 10);
    }
    clock_add_ms(&clock, 10);
    turn(loop);
    loop_free(loop);
}

static void rearming_moves_a_timer(void **state) {
    (void)state;
    struct hand clock = { 0 };
    struct loop *loop = loop_on(&clock);
    struct shot *s = shot_new(loop);
    loop_arm(loop, &s->timer, 10);
    loop_arm(loop, &s->timer, 100000);
    clock_add_ms(&clock, 50);
    turn(loop);
    assert_int_equal(s->fired, 0);
    loop_arm(loop, &s->timer, 60);
    clock_add_ms(&clock, 10);
    turn(loop);
    assert_int_equal(s->fired, 1);
    loop_free(loop);
    free(s);
}

static void a_freed_loop_detaches_its_timers(void **state) {
    (void)state;
    struct hand clock = { 0 };
    struct loop *loop = loop_on(&clock);
    struct shot *near = shot_new(loop), *far = shot_new(loop), *past = shot_new(loop);
    loop_arm(loop, &near->timer, 10);
    loop_arm(loop, &far->timer, UINT64_MAX);
    loop_arm(loop, &past->timer, 0);
    loop_free(loop);
    assert_false(timer_armed(&near->timer) || timer_armed(&far->timer) ||
                 timer_armed(&past->timer));
    assert_int_equal(near->fired + far->fired + past->fired, 0);
    free(near), free(far), free(past);
}

/* ---- the wait ------------------------------------------------------------ */

static void the_wait_ends_with_the_timer(void **state) {
    (void)state;
    struct loop *loop = loop_new(NULL);
    struct shot *s = shot_new(loop);
    uint64_t start_ns = loop_clock_refresh(loop);
    loop_arm(loop, &s->timer, loop_now_ms(loop) + 70);
    int turns = 0;
    for (; !s->fired; turns++) assert_int_equal(loop_turn(loop, -1), 0);
    uint64_t took_ns = loop_now_ns(loop) - start_ns;
    assert_true(took_ns >= 69000000);   /* 70 ms of a clock rounded down */
    assert_true(took_ns < 1000000000u); /* generous: the machine may be busy */
    assert_true(turns <= 3);            /* two levels of the wheel */
    loop_free(loop);
    free(s);
}

static void time_spent_in_a_turn_does_not_lengthen_the_wait(void **state) {
    (void)state;
    struct hand clock = { 0 };
    struct loop *loop = loop_on(&clock), *stopwatch = loop_new(NULL);
    struct shot *s = shot_new(loop);
    loop_arm(loop, &s->timer, 10000);
    clock_add_ms(&clock, 10000); /* long work: the cached clock does not know */
    assert_int_equal(loop_now_ms(loop), 0);
    assert_int_equal(loop_turn(loop, -1), 0); /* would wait ten seconds */
    assert_int_equal(s->fired, 1);
    uint64_t start_ns = loop_now_ns(stopwatch);
    assert_true(loop_clock_refresh(stopwatch) - start_ns < 4000000000u);
    loop_free(stopwatch);
    loop_free(loop);
    free(s);
}

/* ---- a loop turned by hand -------------------------------------------------- */

static void a_turn_without_work_runs_nothing(void **state) {
    (void)state;
    struct hand clock = { 5000000 };
    struct loop *loop = loop_on(&clock);
    struct shot *s = shot_new(loop);
    assert_true(loop_next_ms(loop) == UINT64_MAX);
    loop_arm(loop, &s->timer, 20);
    assert_true(loop_next_ms(loop) > 5 && loop_next_ms(loop) <= 20);
    turn(loop);
    assert_int_equal(loop_runs(loop), 0);
    clock_add_ms(&clock, 15);
    turn(loop);
    assert_int_equal(loop_runs(loop), 1);
    turn(loop);
    assert_int_equal(loop_runs(loop), 1);
    assert_int_equal(loop_wall_ms(loop), 20);
    loop_free(loop);
    free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_timers_fire_as_a_sorted_list_would),
        cmocka_unit_test(waking_when_the_wheel_says_is_enough),
        cmocka_unit_test(the_clock_does_not_turn_the_wheel_back),
        cmocka_unit_test(a_timer_is_never_early_and_fires_once),
        cmocka_unit_test(equal_deadlines_fire_in_the_order_of_arming),
        cmocka_unit_test(ten_thousand_timers_are_armed_and_cancelled),
        cmocka_unit_test(a_jump_of_years_costs_what_the_timers_cost),
        cmocka_unit_test(a_deadline_in_the_past_fires_once_a_turn),
        cmocka_unit_test(a_timer_frees_its_neighbours_that_are_due_too),
        cmocka_unit_test(a_timer_may_free_itself),
        cmocka_unit_test(rearming_moves_a_timer),
        cmocka_unit_test(a_freed_loop_detaches_its_timers),
        cmocka_unit_test(the_wait_ends_with_the_timer),
        cmocka_unit_test(time_spent_in_a_turn_does_not_lengthen_the_wait),
        cmocka_unit_test(a_turn_without_work_runs_nothing),
    };
    return cmocka_run_group_tests_name("io/timer", tests, NULL, NULL);
}
