/* test_helpers.c -- jobs go out to the helpers and come home.  Run it under MODE=tsan, too. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/helpers.h"

#include "core/rig.h"

#include <pthread.h>

struct sum {
    struct job job;
    unsigned n;
    uint64_t result;
    bool has_run;
};

static unsigned home, home_undone;
static pthread_t home_thread;

static void run(struct job *job) {
    struct sum *s = CONTAINER_OF(job, struct sum, job);
    for (unsigned i = 1; i <= s->n; i++) s->result += i;
    s->has_run = true;
}

static void done(struct job *job) {
    struct sum *s = CONTAINER_OF(job, struct sum, job);
    assert_true(pthread_equal(pthread_self(), home_thread));
    if (s->has_run)
        assert_int_equal(s->result, (uint64_t)s->n * (s->n + 1) / 2);
    else
        home_undone++;
    home++;
    free(s);
}

static void submit(struct rig *r, unsigned n) {
    struct sum *s = xcalloc(1, sizeof *s);
    s->n = n;
    s->job.run = run;
    s->job.done = done;
    s->job.home = &r->worker->inbox;
    helpers_submit(r->broker->helpers, &s->job);
}

static int setup(void **state) {
    home = home_undone = 0;
    home_thread = pthread_self();
    return rig_setup(state);
}

static void await(struct rig *r, unsigned n) {
    for (int tries = 0; home < n && tries < 5000; tries++) {
        rig_turns(r, 1);
        usleep(1000);
    }
    assert_int_equal(home, n);
}

static void every_job_runs_and_comes_home(void **state) {
    for (unsigned n = 0; n < 1000; n++) submit(*state, n);
    await(*state, 1000);
    assert_int_equal(home_undone, 0);
}

static void they_sleep_and_are_woken_again(void **state) {
    for (unsigned n = 1; n <= 20; n++) {
        submit(*state, 1000);
        await(*state, n);
    }
}

static void the_end_brings_all_of_them_home(void **state) {
    struct rig *r = *state;
    for (unsigned n = 0; n < 200; n++) submit(r, 20000);
    rig_free(r); /* what nobody has begun comes home undone */
    *state = NULL;
    assert_int_equal(home, 200);
}

static void helpers_that_never_had_a_job_end_too(void **state) {
    (void)state;
    helpers_free(helpers_new(0));
    helpers_free(helpers_new(1000));
    helpers_free(NULL);
}

#define HELPERS(test) cmocka_unit_test_setup_teardown(test, setup, rig_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        HELPERS(every_job_runs_and_comes_home),
        HELPERS(they_sleep_and_are_woken_again),
        HELPERS(the_end_brings_all_of_them_home),
        HELPERS(helpers_that_never_had_a_job_end_too),
    };
    return cmocka_run_group_tests_name("core/helpers", tests, NULL, NULL);
}
