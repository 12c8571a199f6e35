/* test_topic_model.c -- topic.c against a naive model, exhaustively over small alphabets. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "mqtt/rows.h"

#include "mqtt/topic.h"
#include "mqtt/topic_model.h"

/* All texts of up to `len` characters. */
static void for_each_text(const char *alphabet, size_t len, void (*fn)(struct slice)) {
    size_t base = strlen(alphabet), total = 1;
    for (size_t n = 0; n <= len; n++, total *= base) {
        for (size_t v = 0; v < total; v++) {
            char text[16];
            for (size_t i = 0, rest = v; i < n; i++, rest /= base) text[i] = alphabet[rest % base];
            fn(slice_of(text, n));
        }
    }
}

static void check_validity(struct slice s) {
    if (topic_name_valid(s) != model_name_valid(s)) fail_msg("name \"%.*s\"", SLICE_FMT(s));
    if (topic_filter_valid(s) != model_filter_valid(s)) fail_msg("filter \"%.*s\"", SLICE_FMT(s));
}

static void every_text_is_judged_as_the_model_does(void **state) {
    (void)state;
    for_each_text("a+#/$", 7, check_validity);
}

/* ---- worlds of filters and topics --------------------------------------- */

#define TEXTS_MAX 6000

struct texts {
    char at[TEXTS_MAX][16];
    size_t n;
};

static void add_text(struct texts *t, const char *prefix, const char *level, bool first) {
    must(t->n < TEXTS_MAX);
    snprintf(t->at[t->n++], sizeof t->at[0], "%s%s%s", prefix, first ? "" : "/", level);
}

/* All lists of one to `depth` of these levels, as text. */
static void fill(struct texts *t, const char *const *words, size_t n_words, unsigned depth) {
    size_t from = 0, to;
    for (size_t w = 0; w < n_words; w++) add_text(t, "", words[w], true);
    for (unsigned d = 1; d < depth; d++, from = to) {
        to = t->n;
        for (size_t i = from; i < to; i++)
            for (size_t w = 0; w < n_words; w++) add_text(t, t->at[i], words[w], false);
    }
}

static void keep(struct texts *t, bool (*valid)(struct slice)) {
    size_t kept = 0;
    for (size_t i = 0; i < t->n; i++)
        if (valid(slice_str(t->at[i]))) memmove(t->at[kept++], t->at[i], sizeof t->at[0]);
    t->n = kept;
}

static struct texts all_filters, all_topics;
static bool matches[400][TEXTS_MAX]; /* what the model says of filter and topic */

/* One level more in topics than in filters, and one word ("z") no filter names: what a
 * wildcard could stand for is all there. */
static int make_worlds(void **state) {
    (void)state;
    static const char *const filter_words[] = { "", "a", "b", "$s", "+", "#" };
    static const char *const topic_words[] = { "", "a", "b", "$s", "z" };
    fill(&all_filters, filter_words, ARRAY_LEN(filter_words), 3);
    keep(&all_filters, model_filter_valid);
    fill(&all_topics, topic_words, ARRAY_LEN(topic_words), 5);
    keep(&all_topics, model_name_valid);
    must(all_filters.n <= ARRAY_LEN(matches));
    for (size_t f = 0; f < all_filters.n; f++)
        for (size_t t = 0; t < all_topics.n; t++)
            matches[f][t] = model_match(slice_str(all_filters.at[f]), slice_str(all_topics.at[t]));
    return 0;
}

static void every_filter_matches_as_the_model_does(void **state) {
    (void)state;
    for (size_t f = 0; f < all_filters.n; f++)
        for (size_t t = 0; t < all_topics.n; t++)
            if (topic_match(slice_str(all_filters.at[f]), slice_str(all_topics.at[t])) !=
                matches[f][t])
                fail_msg("%s against %s", all_filters.at[f], all_topics.at[t]);
}

static bool is_subset(const bool *narrow, const bool *wide) {
    for (size_t t = 0; t < all_topics.n; t++)
        if (narrow[t] && !wide[t]) return false;
    return true;
}

static void covers_means_subset(void **state) {
    (void)state;
    for (size_t w = 0; w < all_filters.n; w++) {
        for (size_t n = 0; n < all_filters.n; n++) {
            bool covers =
                topic_filter_covers(slice_str(all_filters.at[w]), slice_str(all_filters.at[n]));
            if (covers != is_subset(matches[n], matches[w]))
                fail_msg("%s over %s", all_filters.at[w], all_filters.at[n]);
        }
    }
}

static void levels_are_the_models(void **state) {
    (void)state;
    for (size_t i = 0; i < all_topics.n; i++) {
        struct slice topic = slice_str(all_topics.at[i]), level;
        struct levels want = model_split(topic);
        size_t at = 0, n = 0;
        while (topic_next_level(topic, &at, &level)) assert_true(slice_eq(level, want.at[n++]));
        assert_int_equal(n, want.n);
        assert_int_equal(topic_levels(topic), want.n);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_text_is_judged_as_the_model_does),
        cmocka_unit_test(every_filter_matches_as_the_model_does),
        cmocka_unit_test(covers_means_subset),
        cmocka_unit_test(levels_are_the_models),
    };
    return cmocka_run_group_tests_name("mqtt/topic model", tests, make_worlds, NULL);
}
