/* test_mailbox.c -- order per producer, wake-ups, and the bound of a turn.  Run it under
 * MODE=tsan, too. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/mailbox.h"

#include "io/rig.h"

#include <pthread.h>

struct letter {
    struct mail mail;
    unsigned producer, number;
};

#define PRODUCERS 4

struct inbox {
    struct mailbox mailbox;
    struct loop *loop;
    unsigned got[PRODUCERS]; /* letters of each producer */
    unsigned total;
};

static void on_letter(void *obj, struct mail *mail) {
    struct inbox *in = obj;
    struct letter *l = CONTAINER_OF(mail, struct letter, mail);
    assert_int_equal(l->number, in->got[l->producer]); /* none lost, none overtaken */
    in->got[l->producer]++;
    in->total++;
    free(l);
}

static void post(struct inbox *in, unsigned producer, unsigned number) {
    struct letter *l = xmalloc(sizeof *l);
    l->producer = producer;
    l->number = number;
    l->mail.type = 1;
    mailbox_post(&in->mailbox, &l->mail);
}

static int inbox_setup(void **state) {
    struct inbox *in = xcalloc(1, sizeof *in);
    in->loop = loop_new(NULL);
    assert_int_equal(mailbox_init(&in->mailbox, in->loop, on_letter, in), 0);
    *state = in;
    return 0;
}

static int inbox_teardown(void **state) {
    struct inbox *in = *state;
    mailbox_deinit(&in->mailbox);
    mailbox_deinit(&in->mailbox); /* harmless */
    loop_free(in->loop);
    free(in);
    return 0;
}

static void mails_arrive_in_order(void **state) {
    struct inbox *in = *state;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 10; i++) post(in, 0, round * 10 + i);
        turn_wait(in->loop);
        assert_int_equal(in->total, (round + 1) * 10);
    }
    turn(in->loop);
    assert_int_equal(in->total, 30);
}

static uint64_t wakes(struct inbox *in) {
    uint64_t count = 0; /* an eventfd adds up what is written */
    return read(in->mailbox.watch.fd, &count, sizeof count) < 0 ? 0 : count;
}

static bool waits(struct inbox *in) {
    return in->mailbox.inlet.is_empty(&in->mailbox.inlet, true);
}

static void a_burst_costs_one_wake_up(void **state) {
    struct inbox *in = *state;
    assert_true(waits(in));
    for (unsigned i = 0; i < 10; i++) post(in, 0, i);
    assert_int_equal(wakes(in), 1);
    turn(in->loop);
    assert_int_equal(in->total, 10);
}

static void a_loop_that_does_not_wait_is_not_woken(void **state) {
    struct inbox *in = *state;
    post(in, 0, 0);
    assert_false(waits(in)); /* there is something */
    assert_true(loop_turn(in->loop, 5000) == 0);
    assert_int_equal(in->total, 1);
    post(in, 0, 1);
    assert_int_equal(wakes(in), 0);
    assert_true(loop_turn(in->loop, 5000) == 0);
    assert_int_equal(in->total, 2);
}

static void a_turn_takes_a_bounded_number(void **state) {
    struct inbox *in = *state;
    enum { MANY = 4 * MAILS_A_TURN - 10 };
    for (unsigned i = 0; i < MANY; i++) post(in, 0, i);
    unsigned turns = 0;
    for (; in->total < MANY; turns++) {
        unsigned before = in->total;
        assert_int_equal(loop_turn(in->loop, 5000), 0);
        assert_in_range(in->total - before, 1, MAILS_A_TURN);
    }
    assert_int_equal(turns, 4);
}

static void on_echo(void *obj, struct mail *mail) {
    struct inbox *in = obj;
    on_letter(obj, mail);
    if (in->total < 2000) post(in, 0, in->total);
}

static void posting_to_oneself_does_not_starve_the_loop(void **state) {
    struct inbox *in = *state;
    in->mailbox.fn = on_echo;
    post(in, 0, 0);
    turn_wait(in->loop);
    assert_in_range(in->total, 1, MAILS_A_TURN);
    while (in->total < 2000) turn_wait(in->loop);
}

static void what_is_inside_at_the_end_is_handed_out(void **state) {
    struct inbox *in = *state;
    for (unsigned i = 0; i < 700; i++) post(in, 0, i);
    mailbox_deinit(&in->mailbox);
    assert_int_equal(in->total, 700);
}

/* ---- threads ------------------------------------------------------------- */

#define LETTERS 20000

struct producer {
    struct inbox *inbox;
    unsigned id;
    pthread_t thread;
};

static void *produce(void *obj) {
    struct producer *p = obj;
    for (unsigned i = 0; i < LETTERS; i++) {
        post(p->inbox, p->id, i);
        if (i % 1000 == 999) usleep(100); /* lets the loop fall asleep now and then */
    }
    return NULL;
}

static void four_threads_keep_their_order_and_lose_nothing(void **state) {
    struct inbox *in = *state;
    struct producer producers[PRODUCERS];
    for (unsigned i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){ .inbox = in, .id = i };
        assert_int_equal(pthread_create(&producers[i].thread, NULL, produce, &producers[i]), 0);
    }
    while (in->total < PRODUCERS * LETTERS) {
        uint64_t start_ns = loop_clock_refresh(in->loop);
        turn_wait(in->loop);
        /* A lost wake-up would show as a turn that waited its five seconds. */
        assert_true(loop_now_ns(in->loop) - start_ns < 4000000000u);
    }
    for (unsigned i = 0; i < PRODUCERS; i++) {
        pthread_join(producers[i].thread, NULL);
        assert_int_equal(in->got[i], LETTERS);
    }
}

static void *ping(void *obj) {
    struct inbox *in = obj;
    for (unsigned i = 0; i < 500; i++) {
        post(in, 0, i);
        usleep(20);
    }
    return NULL;
}

static void a_sleeping_loop_is_woken_every_time(void **state) {
    struct inbox *in = *state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, ping, in), 0);
    while (in->total < 500) {
        uint64_t start_ns = loop_clock_refresh(in->loop);
        turn_wait(in->loop);
        assert_true(loop_now_ns(in->loop) - start_ns < 4000000000u);
    }
    pthread_join(thread, NULL);
}

/* The two sides of one turn, brought together without any ordering of memory, so that
 * TSan sees whether the mailbox alone orders what is in a mail. */
static _Atomic int stage;

static void stage_set(int to) {
    atomic_store_explicit(&stage, to, memory_order_relaxed);
}

static void stage_await(int at) {
    while (atomic_load_explicit(&stage, memory_order_relaxed) != at) usleep(100);
}

static void *post_into_the_turn(void *obj) {
    stage_await(1);
    for (unsigned i = 0; i < 3; i++) post(obj, 1, i);
    stage_set(2);
    return NULL;
}

static void on_first(void *obj, struct mail *mail) {
    struct inbox *in = obj;
    in->mailbox.fn = on_letter;
    on_letter(obj, mail);
    stage_set(1);
    stage_await(2);
}

static void mails_posted_while_others_are_taken_come_whole(void **state) {
    struct inbox *in = *state;
    pthread_t thread;
    in->mailbox.fn = on_first;
    assert_int_equal(pthread_create(&thread, NULL, post_into_the_turn, in), 0);
    post(in, 0, 0);
    post(in, 0, 1);
    turn_wait(in->loop);
    assert_int_equal(in->got[0], 2);
    assert_int_equal(in->got[1], 3);
    pthread_join(thread, NULL);
}

#define INBOX(test) cmocka_unit_test_setup_teardown(test, inbox_setup, inbox_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        INBOX(mails_arrive_in_order),
        INBOX(a_burst_costs_one_wake_up),
        INBOX(a_loop_that_does_not_wait_is_not_woken),
        INBOX(a_turn_takes_a_bounded_number),
        INBOX(posting_to_oneself_does_not_starve_the_loop),
        INBOX(what_is_inside_at_the_end_is_handed_out),
        INBOX(four_threads_keep_their_order_and_lose_nothing),
        INBOX(a_sleeping_loop_is_woken_every_time),
        INBOX(mails_posted_while_others_are_taken_come_whole),
    };
    return cmocka_run_group_tests_name("io/mailbox", tests, NULL, NULL);
}
