/* test_suggest.c -- which known name a wrong one was meant to be. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/rig.h"

#include "script/suggest.h"

static void the_nearest_name_is_suggested_or_none(void **state) {
    static const char *const known[] = {
        "allow_anonymous", "default_access", "log_level", "log_format",
        "max_inflight",    "max_queued",     "qos",       "priority"
    };
    static const struct {
        const char *word, *best; /* NULL: nothing is near */
    } rows[] = {
        { "alow_anonymous", "allow_anonymous" },
        { "allow_annonymous", "allow_anonymous" },
        { "Log_Level", "log_level" },
        { "loglevel", "log_level" },
        { "lgo_level", "log_level" },
        { "log_fromat", "log_format" },
        { "max_inflght", "max_inflight" },
        { "max_queue", "max_queued" },
        { "qso", "qos" },
        { "prio", "priority" },
        { "x", NULL },
        { "", NULL },
        { "helper", NULL },
        { "listener", NULL },
        { "a_name_that_is_much_too_long_to_be_compared_with_anything_at_all_here", NULL },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char buf[SUGGEST_MAX + 24], want[SUGGEST_MAX + 24] = "";
        struct suggest s;
        suggest_init(&s, rows[i].word);
        for (size_t k = 0; k < ARRAY_LEN(known); k++) suggest_offer(&s, known[k]);
        if (rows[i].best) snprintf(want, sizeof want, "; did you mean \"%s\"?", rows[i].best);
        assert_string_equal(suggest_text(&s, buf), want);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_nearest_name_is_suggested_or_none) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
