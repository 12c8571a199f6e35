/* test_retain.c -- the retained store: rows, then random changes against a list that is
 * searched with topic_match. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/retain.h"

#include "core/rig.h"

static int setup(void **state) {
    *state = retain_new();
    return 0;
}

/* Messages and nodes that were forgotten badly leak, and AddressSanitizer says so. */
static int teardown(void **state) {
    retain_free(*state);
    return 0;
}

static void keep(struct retain *r, const char *topic, const char *payload, uint64_t expires_ms) {
    struct message *m = message_new(&(struct message_parts){ .topic = slice_str(topic),
                                                             .payload = slice_str(payload),
                                                             .expires_ms = expires_ms,
                                                             .retain = true });
    retain_set(r, m);
    message_unref(m);
}

struct list {
    struct message **at;
    size_t len;
};

static struct list match(struct retain *r, const char *filter, uint64_t now_ms) {
    struct list l = { NULL, 0 };
    retain_match(r, &(struct retain_query){ slice_str(filter), now_ms, UINT64_MAX, 0 }, &l.at,
                 &l.len);
    return l;
}

static void list_free(struct list *l) {
    while (l->len) message_unref(l->at[--l->len]);
    free(l->at);
}

static size_t count(struct retain *r, const char *filter) {
    struct list l = match(r, filter, 0);
    size_t n = l.len;
    list_free(&l);
    return n;
}

/* ---- rows ------------------------------------------------------------------ */

/* Nobody asks for them, and still they go, with the levels that led to them. */
static void the_sweep_finds_what_has_expired(void **state) {
    struct retain *r = *state;
    char topic[32];
    for (unsigned n = 0; n < 5000; n++) {
        snprintf(topic, sizeof topic, "a/%u/b", n);
        keep(r, topic, "x", n % 3 ? MESSAGE_NEVER : 100 + n % 2);
        snprintf(topic, sizeof topic, "a/%u", n);
        if (n % 2) keep(r, topic, "x", 100);
    }
    assert_int_equal(retain_count(r), 7500);
    for (unsigned i = 0; i < 20; i++) retain_sweep(r, 99);
    assert_int_equal(retain_count(r), 7500);
    for (unsigned i = 0; i < 20; i++) retain_sweep(r, 100);
    assert_int_equal(retain_count(r), 7500 - 2500 - 834);
    for (unsigned i = 0; i < 20; i++) retain_sweep(r, 101);
    assert_int_equal(retain_count(r), 7500 - 2500 - 1667);
    assert_int_equal(count(r, "a/+"), 0);
    assert_int_equal(count(r, "a/+/b"), 3333);
}

/* Once nothing can expire the sweep has nothing to do; a new expiry is seen all the same. */
static void the_sweep_knows_what_can_expire(void **state) {
    struct retain *r = *state;
    keep(r, "a", "x", 100);
    keep(r, "a", "y", MESSAGE_NEVER);
    retain_sweep(r, 500);
    assert_int_equal(retain_count(r), 1);
    keep(r, "a", "z", 600);
    retain_sweep(r, 500);
    assert_int_equal(retain_count(r), 1);
    retain_sweep(r, 600);
    retain_sweep(r, 600); /* the first may have ended a round */
    assert_int_equal(retain_count(r), 0);
}

static void filters_find_what_the_standard_says(void **state) {
    static const char *const topics[] = { "a", "a/b",    "a/b/c",    "/a",   "a/",
                                          "b", "$SYS/a", "$SYS/a/b", "a//b", "/" };
    static const struct {
        const char *filter;
        size_t found;
    } rows[] = {
        { "a", 1 },      { "a/b", 1 },     { "a/+", 2 },     { "a/#", 5 },   { "#", 8 },
        { "+", 2 },      { "+/+", 4 },     { "+/b", 1 },     { "+/#", 8 },   { "$SYS/#", 2 },
        { "$SYS/+", 1 }, { "+/a", 1 },     { "/+", 2 },      { "a/+/b", 1 }, { "a/b/#", 2 },
        { "c/#", 0 },    { "a/b/c/#", 1 }, { "a/b/c/d", 0 }, { "+/+/+", 2 }, { "$SYS", 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(topics); i++) keep(*state, topics[i], "x", MESSAGE_NEVER);
    assert_int_equal(retain_count(*state), ARRAY_LEN(topics));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(count(*state, rows[i].filter), rows[i].found);
}

static void the_latest_message_of_a_topic_is_kept(void **state) { /* [MQTT-3.3.1-5] */
    keep(*state, "t", "old", MESSAGE_NEVER);
    keep(*state, "t", "new", MESSAGE_NEVER);
    struct list l = match(*state, "t", 0);
    assert_int_equal(l.len, 1);
    assert_slice(message_payload(l.at[0]), "new");
    list_free(&l);
    assert_int_equal(retain_count(*state), 1);
}

static void an_empty_message_removes(void **state) { /* [MQTT-3.3.1-6] [MQTT-3.3.1-7] */
    keep(*state, "a/b", "x", MESSAGE_NEVER);
    keep(*state, "a/b", "", MESSAGE_NEVER);
    keep(*state, "a", "", MESSAGE_NEVER);
    keep(*state, "c/d", "", MESSAGE_NEVER);
    assert_int_equal(retain_count(*state), 0);
    assert_int_equal(count(*state, "#"), 0);
}

static void found_messages_are_appended(void **state) {
    keep(*state, "a", "x", MESSAGE_NEVER);
    keep(*state, "b", "x", MESSAGE_NEVER);
    struct list l = match(*state, "a", 0);
    retain_match(*state, &(struct retain_query){ SLICE("b"), 0, UINT64_MAX, 0 }, &l.at, &l.len);
    assert_int_equal(l.len, 2);
    assert_slice(message_topic(l.at[0]), "a");
    assert_slice(message_topic(l.at[1]), "b");
    list_free(&l);
}

static void what_is_kept_later_is_left_out(void **state) {
    keep(*state, "a", "x", MESSAGE_NEVER);
    keep(*state, "b", "x", MESSAGE_NEVER);
    struct retain_query q = { SLICE("#"), 0, retain_stamp(*state), 0 };
    keep(*state, "b", "again", MESSAGE_NEVER);
    keep(*state, "c", "x", MESSAGE_NEVER);
    struct list l = { NULL, 0 };
    retain_match(*state, &q, &l.at, &l.len);
    assert_int_equal(l.len, 1);
    assert_slice(message_topic(l.at[0]), "a");
    list_free(&l);
}

static void no_more_are_found_than_asked_for(void **state) {
    static const char *const filters[] = { "#", "+/+", "a/#" };
    keep(*state, "a/1", "x", MESSAGE_NEVER);
    keep(*state, "a/2", "x", MESSAGE_NEVER);
    keep(*state, "a/3", "x", MESSAGE_NEVER);
    for (unsigned i = 0; i < 3; i++) {
        struct list l = { NULL, 0 };
        retain_match(*state, &(struct retain_query){ slice_str(filters[i]), 0, UINT64_MAX, 2 },
                     &l.at, &l.len);
        assert_int_equal(l.len, 2);
        list_free(&l);
    }
}

static void what_was_found_outlives_its_place(void **state) {
    keep(*state, "a", "x", MESSAGE_NEVER);
    struct list l = match(*state, "#", 0);
    assert_true(retain_holds(l.at[0]));
    keep(*state, "a", "", MESSAGE_NEVER);
    assert_slice(message_payload(l.at[0]), "x");
    assert_false(retain_holds(l.at[0]));
    keep(*state, "a", "x", MESSAGE_NEVER); /* equal, but another one */
    assert_false(retain_holds(l.at[0]));
    list_free(&l);
}

static void the_expired_are_not_found_and_go(void **state) { /* [MQTT-3.3.2-5] */
    keep(*state, "a", "x", 1000);
    keep(*state, "a/b", "x", 1000);
    keep(*state, "a/b/c", "x", 2000);
    keep(*state, "a/b/c/d", "x", 1000);
    struct list l = match(*state, "a/#", 999);
    assert_int_equal(l.len, 4);
    list_free(&l);
    l = match(*state, "a/#", 1000);
    assert_int_equal(l.len, 1);
    assert_slice(message_topic(l.at[0]), "a/b/c");
    list_free(&l);
    assert_int_equal(retain_count(*state), 1);
    l = match(*state, "+/b/c", 3000);
    assert_int_equal(l.len, 0);
    list_free(&l);
    assert_int_equal(retain_count(*state), 0);
}

static void the_deepest_and_longest_topics_have_their_place(void **state) {
    char *topic = xmalloc(65536);
    memset(topic, '/', 999); /* max_topic_levels is 1000 at most */
    topic[999] = 0;
    keep(*state, topic, "deep", MESSAGE_NEVER);
    assert_int_equal(count(*state, topic), 1);
    assert_int_equal(count(*state, "/#"), 1);
    keep(*state, topic, "", MESSAGE_NEVER);
    memset(topic, 'x', 65535);
    topic[65535] = 0;
    keep(*state, topic, "long", MESSAGE_NEVER);
    assert_int_equal(count(*state, "+"), 1);
    keep(*state, topic, "", MESSAGE_NEVER);
    assert_int_equal(retain_count(*state), 0);
    free(topic);
}

/* ---- model ------------------------------------------------------------------- */

enum { TOPICS = 400, TEXT = 24 };

struct kept {
    char topic[TEXT];
    char payload[8]; /* "": none */
    uint64_t expires_ms;
};

struct model {
    struct kept at[TOPICS];
    unsigned len;
    uint64_t seed, now_ms;
};

static void random_name(struct model *m, char *out, bool is_filter) {
    static const char *const words[] = { "a", "b", "", "$x", "+", "#" };
    unsigned levels = 1 + rnd(&m->seed, 4);
    *out = 0;
    for (unsigned i = 0; i < levels; i++) {
        unsigned w = rnd(&m->seed, is_filter ? 6 : 4);
        if (i) strcat(out, "/");
        strcat(out, words[w]);
        if (w == 5) return;
    }
    if (!*out) strcpy(out, "a");
}

static void random_set(struct retain *r, struct model *m) {
    struct kept k = { .expires_ms = MESSAGE_NEVER };
    random_name(m, k.topic, false);
    if (rnd(&m->seed, 3)) snprintf(k.payload, sizeof k.payload, "%u", rnd(&m->seed, 10000));
    if (rnd(&m->seed, 3) == 0) k.expires_ms = m->now_ms + 1 + rnd(&m->seed, 50);
    unsigned i = 0;
    while (i < m->len && strcmp(m->at[i].topic, k.topic) != 0) i++;
    must(i < TOPICS);
    m->len += i == m->len;
    m->at[i] = k;
    keep(r, k.topic, k.payload, k.expires_ms);
}

static void check(struct retain *r, struct model *m) {
    char filter[TEXT];
    random_name(m, filter, true);
    struct list l = match(r, filter, m->now_ms);
    size_t expected = 0;
    for (unsigned i = 0; i < m->len; i++) {
        const struct kept *k = &m->at[i];
        if (!*k->payload || k->expires_ms <= m->now_ms) continue;
        if (!topic_match(slice_str(filter), slice_str(k->topic))) continue;
        size_t n = 0;
        for (size_t j = 0; j < l.len; j++)
            n += slice_eq(message_topic(l.at[j]), slice_str(k->topic)) &&
                 slice_eq(message_payload(l.at[j]), slice_str(k->payload));
        assert_int_equal(n, 1);
        expected++;
    }
    assert_int_equal(l.len, expected);
    list_free(&l);
}

static void it_agrees_with_naive_matching(void **state) {
    struct model *m = xcalloc(1, sizeof *m);
    m->seed = 88172645463325252u;
    for (int i = 0; i < 6000; i++) {
        random_set(*state, m);
        m->now_ms += rnd(&m->seed, 3);
        check(*state, m);
    }
    for (unsigned i = 0; i < m->len; i++) keep(*state, m->at[i].topic, "", MESSAGE_NEVER);
    assert_int_equal(retain_count(*state), 0);
    free(m);
}

#define STORE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE(filters_find_what_the_standard_says),
        STORE(the_latest_message_of_a_topic_is_kept),
        STORE(an_empty_message_removes),
        STORE(found_messages_are_appended),
        STORE(what_is_kept_later_is_left_out),
        STORE(no_more_are_found_than_asked_for),
        STORE(what_was_found_outlives_its_place),
        STORE(the_expired_are_not_found_and_go),
        STORE(the_deepest_and_longest_topics_have_their_place),
        STORE(the_sweep_finds_what_has_expired),
        STORE(the_sweep_knows_what_can_expire),
        STORE(it_agrees_with_naive_matching),
    };
    return cmocka_run_group_tests_name("core/retain", tests, NULL, NULL);
}
