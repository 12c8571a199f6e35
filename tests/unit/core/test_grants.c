/* test_grants.c -- what grants decide, and that it is never more than they say. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/grants.h"

#include "core/rig.h"

/* ---- making them -------------------------------------------------------------- */

enum { NOW = 1000 };

/* "publish a/#", "subscribe x", "read x", "all x", "deny x", "no-publish x", "no-read x" */
static struct grant_entry entry(const char *text) {
    static const struct {
        const char *word;
        uint8_t actions;
        bool is_deny;
    } words[] = {
        { "publish ", GRANT_PUBLISH, false },
        { "subscribe ", GRANT_SUBSCRIBE, false },
        { "read ", GRANT_READ, false },
        { "all ", GRANT_PUBLISH | GRANT_READ, false },
        { "deny ", GRANT_PUBLISH | GRANT_FILTERS, true },
        { "no-publish ", GRANT_PUBLISH, true },
        { "no-read ", GRANT_FILTERS, true },
    };
    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        size_t n = strlen(words[i].word);
        if (strncmp(text, words[i].word, n) != 0) continue;
        return (struct grant_entry){ .pattern = slice_str(text + n),
                                     .max_size = UINT32_MAX,
                                     .actions = words[i].actions,
                                     .max_qos = 2,
                                     .is_deny = words[i].is_deny };
    }
    fail_msg("no such entry: %s", text);
    return (struct grant_entry){ .max_qos = 0 };
}

static void give(struct grants *all, const struct client *c, const char *name,
                 const char *const *texts, unsigned len) {
    struct grant_entry entries[16];
    for (unsigned i = 0; i < len; i++) entries[i] = entry(texts[i]);
    struct grant *g = grant_new(name, entries, len);
    grant_bind(g, c);
    assert_true(grants_add(all, g));
}

static bool everything(const struct grant *g, const void *what) {
    (void)g, (void)what;
    return true;
}

static void forget(struct grants *all) {
    grants_remove(all, everything, NULL);
    assert_null(all->first);
    assert_int_equal(all->entries, 0);
    assert_int_equal(all->bytes, 0);
}

static const struct client ada = { .id = { (const uint8_t *)"dev-1", 5 },
                                   .username = { (const uint8_t *)"ada", 3 } };

static int may_publish(const struct grants *all, const char *topic) {
    return grants_publish(all, &(struct grant_publish){ .topic = slice_str(topic) }, NOW).verdict;
}

static int may_have(const struct grants *all, const char *topic) {
    return grants_deliver(all, slice_str(topic), NOW).verdict;
}

static struct grant_answer of_filter(const struct grants *all, const char *filter) {
    return grants_subscribe(all, slice_str(filter), NOW);
}

/* ---- decisions ------------------------------------------------------------------ */

static void the_first_entry_that_matches_decides(void **state) {
    (void)state;
    struct grants all = { 0 };
    const char *const first[] = { "deny a/secret/#", "publish a/#", "publish b", "publish +/x/y" };
    const char *const second[] = { "no-publish b", "publish a/secret/open" };
    give(&all, &ada, "first", first, 4);
    static const struct {
        const char *topic;
        int before, after; /* the second grant */
    } rows[] = {
        { "a", VERDICT_ALLOW, VERDICT_ALLOW },
        { "a/b/c", VERDICT_ALLOW, VERDICT_ALLOW },
        { "a/secret", VERDICT_DENY, VERDICT_DENY },
        { "a/secret/open", VERDICT_DENY, VERDICT_ALLOW },
        { "b", VERDICT_ALLOW, VERDICT_DENY },
        { "b/x", VERDICT_NONE, VERDICT_NONE },
        { "ab", VERDICT_NONE, VERDICT_NONE },
        { "q/x/y", VERDICT_ALLOW, VERDICT_ALLOW },
        { "$SYS/x/y", VERDICT_NONE, VERDICT_NONE }, /* [MQTT-4.7.2-1] */
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(may_publish(&all, rows[i].topic), rows[i].before);
    give(&all, &ada, "second", second, 2);
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(may_publish(&all, rows[i].topic), rows[i].after);
    forget(&all);
}

static void what_is_for_publishing_is_not_for_reading(void **state) {
    (void)state;
    struct grants all = { 0 };
    const char *const texts[] = { "publish p", "subscribe s", "read r", "all b" };
    give(&all, &ada, "g", texts, 4);
    static const struct {
        const char *topic;
        int publish, filter, deliver;
    } rows[] = {
        { "p", VERDICT_ALLOW, VERDICT_NONE, VERDICT_NONE },
        { "s", VERDICT_NONE, VERDICT_ALLOW, VERDICT_ALLOW },
        { "r", VERDICT_NONE, VERDICT_ALLOW, VERDICT_ALLOW },
        { "b", VERDICT_ALLOW, VERDICT_ALLOW, VERDICT_ALLOW },
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(may_publish(&all, rows[i].topic), rows[i].publish);
        assert_int_equal(of_filter(&all, rows[i].topic).verdict, rows[i].filter);
        assert_int_equal(may_have(&all, rows[i].topic), rows[i].deliver);
    }
    forget(&all);
}

static void a_publish_must_meet_the_conditions(void **state) {
    (void)state;
    struct grants all = { 0 };
    struct grant_entry entries[] = { entry("publish a"), entry("publish b"), entry("publish c") };
    entries[0].max_qos = 1;
    entries[1].max_size = 10;
    entries[2].retain = RETAIN_NEVER;
    struct grant *g = grant_new("g", entries, 3);
    grant_bind(g, &ada);
    assert_true(grants_add(&all, g));
    static const struct {
        struct grant_publish what;
        int verdict;
    } rows[] = {
        { { .topic = { (const uint8_t *)"a", 1 }, .qos = 1 }, VERDICT_ALLOW },
        { { .topic = { (const uint8_t *)"a", 1 }, .qos = 2 }, VERDICT_NONE },
        { { .topic = { (const uint8_t *)"b", 1 }, .size = 10 }, VERDICT_ALLOW },
        { { .topic = { (const uint8_t *)"b", 1 }, .size = 11 }, VERDICT_NONE },
        { { .topic = { (const uint8_t *)"c", 1 } }, VERDICT_ALLOW },
        { { .topic = { (const uint8_t *)"c", 1 }, .retain = true }, VERDICT_NONE },
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(grants_publish(&all, &rows[i].what, NOW).verdict, rows[i].verdict);
    g->at[2].retain = RETAIN_ONLY;
    assert_int_equal(grants_publish(&all, &rows[4].what, NOW).verdict, VERDICT_NONE);
    assert_int_equal(grants_publish(&all, &rows[5].what, NOW).verdict, VERDICT_ALLOW);
    forget(&all);
}

static void a_filter_is_settled_or_checked_at_each_delivery(void **state) {
    (void)state;
    static const struct {
        const char *texts[3];
        const char *filter;
        int verdict, standing;
    } rows[] = {
        { { "read a/#" }, "a/#", VERDICT_ALLOW, STANDING_GRANTED },
        { { "read a/#" }, "a/+/x", VERDICT_ALLOW, STANDING_GRANTED },
        { { "read a/#" }, "#", VERDICT_ALLOW, STANDING_PARTLY },
        { { "read a/#" }, "+/x", VERDICT_ALLOW, STANDING_PARTLY },
        { { "read a/#" }, "b/#", VERDICT_NONE, STANDING_FREE },
        { { "read a/#" }, "$SYS/#", VERDICT_NONE, STANDING_FREE },
        { { "subscribe a/#" }, "a/b", VERDICT_ALLOW, STANDING_GRANTED },
        { { "subscribe a/#" }, "#", VERDICT_NONE, STANDING_FREE },
        { { "no-read a/x", "read a/#" }, "a/#", VERDICT_ALLOW, STANDING_PARTLY },
        { { "no-read a/x", "read a/#" }, "a/x", VERDICT_DENY, 0 },
        { { "no-read a/x", "read a/#" }, "a/y", VERDICT_ALLOW, STANDING_GRANTED },
        { { "no-read a/x", "read a/#" }, "a/x/y", VERDICT_ALLOW, STANDING_GRANTED },
        { { "read a/#", "no-read a/x" }, "a/#", VERDICT_ALLOW, STANDING_GRANTED },
        { { "no-read a/x" }, "a/#", VERDICT_NONE, STANDING_EXCEPT },
        { { "no-read a/x" }, "b", VERDICT_NONE, STANDING_FREE },
        { { "read a/x", "deny #" }, "a/+", VERDICT_ALLOW, STANDING_PARTLY },
        { { "read a/x", "deny #" }, "b/+", VERDICT_DENY, 0 },
        { { "read a/x", "read #" }, "a/+", VERDICT_ALLOW, STANDING_GRANTED },
        { { "no-publish #", "read a" }, "a", VERDICT_ALLOW, STANDING_GRANTED },
        { { "read +/#" }, "#", VERDICT_ALLOW, STANDING_GRANTED },
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct grants all = { 0 };
        unsigned len = 0;
        while (len < 3 && rows[i].texts[len]) len++;
        give(&all, &ada, "g", rows[i].texts, len);
        struct grant_answer a = of_filter(&all, rows[i].filter);
        if (a.verdict != (enum verdict)rows[i].verdict) fail_msg("row %u", i);
        if (a.verdict != VERDICT_DENY && a.standing != rows[i].standing) fail_msg("row %u", i);
        forget(&all);
    }
}

static void a_subscription_gets_the_most_that_its_entries_give(void **state) {
    (void)state;
    struct grants all = { 0 };
    struct grant_entry entries[] = { entry("read a/b"), entry("read a/#"), entry("read c/#") };
    entries[0].max_qos = 1;
    entries[1].max_qos = 0;
    struct grant *g = grant_new("g", entries, 3);
    grant_bind(g, &ada);
    assert_true(grants_add(&all, g));
    assert_int_equal(of_filter(&all, "a/b").qos, 1);
    assert_int_equal(of_filter(&all, "a/c").qos, 0);
    assert_int_equal(of_filter(&all, "a/+").qos, 1);
    assert_int_equal(of_filter(&all, "#").qos, 2);
    assert_int_equal(grants_deliver(&all, SLICE("a/b"), NOW).qos, 1);
    assert_int_equal(grants_deliver(&all, SLICE("a/c"), NOW).qos, 0);
    give(&all, &ada, "rest", (const char *[]){ "read #" }, 1);
    assert_int_equal(of_filter(&all, "#").standing, STANDING_GRANTED);
    give(&all, &ada, "less", (const char *[]){ "read a/d" }, 1);
    all.first->at[0].max_qos = 0;
    assert_int_equal(of_filter(&all, "#").qos, 2);
    assert_int_equal(of_filter(&all, "#").standing, STANDING_PARTLY);
    assert_int_equal(of_filter(&all, "a/d").standing, STANDING_GRANTED);
    forget(&all);
}

static void what_has_expired_counts_no_more(void **state) {
    (void)state;
    struct grants all = { 0 };
    const char *const texts[] = { "all a" };
    give(&all, &ada, "short", texts, 1);
    all.first->expires_ms = NOW + 1;
    give(&all, &ada, "long", (const char *[]){ "deny a" }, 1);
    all.first->expires_ms = NOW;
    assert_int_equal(grants_next_expiry(&all), NOW);
    assert_int_equal(may_publish(&all, "a"), VERDICT_ALLOW);
    assert_int_equal(of_filter(&all, "a").verdict, VERDICT_ALLOW);
    assert_int_equal(may_have(&all, "a"), VERDICT_ALLOW);
    all.first->next->expires_ms = NOW;
    assert_int_equal(may_publish(&all, "a"), VERDICT_NONE);
    assert_int_equal(of_filter(&all, "a").verdict, VERDICT_NONE);
    assert_int_equal(may_have(&all, "a"), VERDICT_NONE);
    forget(&all);
}

/* ---- adding up -------------------------------------------------------------------- */

static void one_of_the_same_name_takes_its_place(void **state) {
    (void)state;
    struct grants all = { 0 };
    give(&all, &ada, "g", (const char *[]){ "publish a" }, 1);
    give(&all, &ada, "h", (const char *[]){ "publish b" }, 1);
    give(&all, &ada, "g", (const char *[]){ "publish c", "publish d" }, 2);
    assert_int_equal(all.entries, 3);
    assert_int_equal(may_publish(&all, "a"), VERDICT_NONE);
    assert_int_equal(may_publish(&all, "b"), VERDICT_ALLOW);
    assert_int_equal(may_publish(&all, "d"), VERDICT_ALLOW);
    assert_string_equal(all.first->name, "g");
    forget(&all);
}

static void too_many_are_not_taken(void **state) {
    (void)state;
    struct grants all = { 0 };
    struct grant_entry *entries = xcalloc(GRANT_ENTRIES_MAX + 1, sizeof *entries);
    for (unsigned i = 0; i <= GRANT_ENTRIES_MAX; i++) entries[i] = entry("publish a");
    struct grant *g = grant_new("g", entries, GRANT_ENTRIES_MAX + 1);
    assert_false(grants_add(&all, g));
    grant_free(g);
    g = grant_new("g", entries, GRANT_ENTRIES_MAX);
    assert_true(grants_add(&all, g));
    struct grant *more = grant_new("more", entries, 1);
    assert_false(grants_add(&all, more));
    grant_free(more);
    assert_true(grants_add(&all, grant_new("g", entries, 2))); /* in place of the many */
    assert_int_equal(all.entries, 2);
    forget(&all);
    char *long_topic = xcalloc(1, 60001);
    memset(long_topic, 'x', 60000);
    for (unsigned i = 0; i < 20; i++) entries[i].pattern = slice_str(long_topic);
    g = grant_new("long", entries, 20);
    assert_false(grants_add(&all, g));
    grant_free(g);
    free(long_topic);
    free(entries);
}

/* ---- placeholders ------------------------------------------------------------------- */

static void patterns_are_checked(void **state) {
    (void)state;
    static const char *const good[] = { "a/%c/#",  "%u",         "%{tenant}/+", "x-%c-y",
                                        "100%%/#", "%{a_b-c.9}", "$SYS/#" };
    static const char *const wrong[] = { "",      "a/#/b", "a+",         "%x",     "%",
                                         "a/%",   "%{}",   "%{a",        "%{a/b}", "%{a b}",
                                         "%{a+}", "+%c",   "$share/g/a", "%C",     "a\xff" };
    for (unsigned i = 0; i < ARRAY_LEN(good); i++)
        assert_null(grant_pattern_invalid(slice_str(good[i])));
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++)
        if (!grant_pattern_invalid(slice_str(wrong[i]))) fail_msg("%s is taken", wrong[i]);
}

static void placeholders_stand_for_names_and_attributes(void **state) {
    (void)state;
    struct client c = ada;
    struct grants all = { 0 };
    attr_set(&c.attrs, "tenant", &(struct attr){ .type = ATTR_STRING, .string = SLICE("acme") });
    attr_set(&c.attrs, "n", &(struct attr){ .type = ATTR_INT, .integer = -42 });
    attr_set(&c.attrs, "x", &(struct attr){ .type = ATTR_REAL, .real = 1.5 });
    attr_set(&c.attrs, "b", &(struct attr){ .type = ATTR_BOOL, .boolean = true });
    const char *const texts[] = { "publish t/%{tenant}/%u/x-%c/#", "publish %{n}%{x}/%{b}",
                                  "publish 5%%", "publish %{none}/a" };
    give(&all, &c, "g", texts, 4);
    assert_int_equal(may_publish(&all, "t/acme/ada/x-dev-1/y"), VERDICT_ALLOW);
    assert_int_equal(may_publish(&all, "t/acme/ada/x-dev-2/y"), VERDICT_NONE);
    assert_int_equal(may_publish(&all, "-421.5/true"), VERDICT_ALLOW);
    assert_int_equal(may_publish(&all, "5%"), VERDICT_ALLOW);
    assert_int_equal(may_publish(&all, "/a"), VERDICT_NONE);
    assert_int_equal(may_publish(&all, "%{none}/a"), VERDICT_NONE);
    c.username = SLICE("bob"); /* as after another authentication */
    grant_bind(all.first, &c);
    assert_int_equal(may_publish(&all, "t/acme/ada/x-dev-1/y"), VERDICT_NONE);
    assert_int_equal(may_publish(&all, "t/acme/bob/x-dev-1/y"), VERDICT_ALLOW);
    forget(&all);
    attrs_deinit(&c.attrs);
}

/* CVE-2017-7650: what clients call themselves must not widen what they may. */
static void a_clever_name_reaches_no_further(void **state) {
    (void)state;
    static const char *const names[] = { "+", "#", "a/b", "a/+", "+a", "/", "a#", "a/", "#/x" };
    const char *const texts[] = { "all d/%c/#", "all %c/x", "all e/x%c" };
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        struct client c = { .id = slice_str(names[i]) };
        struct grants all = { 0 };
        char own[64];
        give(&all, &c, "g", texts, 3);
        snprintf(own, sizeof own, "d/%s", names[i]);
        static const char *const topics[] = { "d/a",   "d/victim/x", "victim/x", "x", "d/a/b/x",
                                              "a/b/x", "e/xa",       "e/x/x",    "d" };
        for (unsigned k = 0; k < ARRAY_LEN(topics); k++) {
            assert_int_equal(may_publish(&all, topics[k]), VERDICT_NONE);
            assert_int_equal(may_have(&all, topics[k]), VERDICT_NONE);
            assert_int_equal(of_filter(&all, topics[k]).verdict, VERDICT_NONE);
        }
        assert_int_equal(of_filter(&all, "#").verdict, VERDICT_NONE);
        if (topic_filter_valid(slice_str(own)))
            assert_int_equal(of_filter(&all, own).verdict, VERDICT_NONE);
        forget(&all);
    }
    struct client system = { .id = SLICE("$SYS") };
    struct grants all = { 0 };
    give(&all, &system, "g", texts, 3);
    assert_int_equal(may_have(&all, "$SYS/x"), VERDICT_NONE);
    assert_int_equal(may_have(&all, "d/$SYS/x"), VERDICT_ALLOW);
    forget(&all);
}

static void a_deny_nobody_can_fill_in_is_wider(void **state) {
    (void)state;
    struct client c = { .id = SLICE("c/x") }; /* and no user name */
    struct grants all = { 0 };
    const char *const texts[] = { "deny secret/%c/#", "deny by/x-%u", "all #", "all $SYS/#" };
    give(&all, &c, "g", texts, 4);
    assert_int_equal(may_publish(&all, "secret/c/x"), VERDICT_DENY);
    assert_int_equal(may_publish(&all, "secret/d"), VERDICT_DENY);
    assert_int_equal(may_publish(&all, "secrets"), VERDICT_ALLOW);
    assert_int_equal(may_publish(&all, "by/y"), VERDICT_DENY);
    assert_int_equal(of_filter(&all, "secret/+/y").verdict, VERDICT_DENY);
    assert_int_equal(of_filter(&all, "#").standing, STANDING_PARTLY);
    forget(&all);
    give(&all, &c, "g", (const char *[]){ "deny %u/x", "all #", "all $SYS/#" }, 3);
    assert_int_equal(may_publish(&all, "a"), VERDICT_DENY);
    assert_int_equal(may_have(&all, "$SYS/a"), VERDICT_DENY);
    assert_int_equal(of_filter(&all, "$SYS/#").verdict, VERDICT_DENY);
    forget(&all);
}

/* ---- beside brute force --------------------------------------------------------------- */

static const char *const levels[] = { "a", "b", "", "$s" };

/* A filter or topic of up to three levels out of few. */
static void random_name(uint64_t *seed, bool is_filter, char out[32]) {
    unsigned n = 1 + rnd(seed, 3);
    out[0] = 0;
    for (unsigned i = 0; i < n; i++) {
        unsigned kind = is_filter ? rnd(seed, 6) : rnd(seed, 4);
        if (i) strcat(out, "/");
        if (kind == 4) strcat(out, "+");
        if (kind == 5) {
            strcat(out, "#");
            break;
        }
        if (kind < 4) strcat(out, levels[kind]);
    }
    if (!out[0]) strcpy(out, "a");
}

/* All topics of up to four of those levels. */
static unsigned all_topics(char out[512][32]) {
    unsigned n = 0;
    for (unsigned len = 1; len <= 4; len++) {
        for (unsigned i = 0; i < 1u << 2 * len; i++) {
            char *to = out[n];
            *to = 0;
            for (unsigned k = 0; k < len; k++) {
                if (k) strcat(to, "/");
                strcat(to, levels[i >> 2 * k & 3]);
            }
            n += *to != 0;
        }
    }
    return n;
}

static int simply(const char *const *texts, unsigned len, uint8_t action, const char *topic) {
    for (unsigned i = 0; i < len; i++) {
        struct grant_entry e = entry(texts[i]);
        if ((e.actions & action) && topic_match(e.pattern, slice_str(topic)))
            return e.is_deny ? VERDICT_DENY : VERDICT_ALLOW;
    }
    return VERDICT_NONE;
}

/* What a subscription of this filter may bring, topic by topic. */
static void compare(const struct grants *all, const char *const *texts, unsigned len,
                    const char *filter) {
    static char topics[512][32];
    static unsigned topics_len;
    if (!topics_len) topics_len = all_topics(topics);
    struct grant_answer a = of_filter(all, filter);
    unsigned matched = 0, allowed = 0, denied = 0;
    for (unsigned i = 0; i < topics_len; i++) {
        if (!topic_match(slice_str(filter), slice_str(topics[i]))) continue;
        int v = simply(texts, len, GRANT_FILTERS, topics[i]);
        assert_int_equal(may_have(all, topics[i]), v);
        matched++;
        allowed += v == VERDICT_ALLOW;
        denied += v == VERDICT_DENY;
    }
    if (!matched) return; /* longer than our topics */
    if (a.verdict == VERDICT_DENY) assert_int_equal(denied, matched);
    if (a.verdict == VERDICT_ALLOW && a.standing == STANDING_GRANTED)
        assert_int_equal(allowed, matched);
    if (a.verdict == VERDICT_NONE) assert_int_equal(allowed, 0);
    if (a.verdict == VERDICT_NONE && a.standing == STANDING_FREE) assert_int_equal(denied, 0);
    if (a.verdict == VERDICT_NONE) assert_true(a.standing != STANDING_GRANTED);
}

static void filters_bring_what_their_topics_would(void **state) {
    (void)state;
    static const char *const words[] = { "read", "no-read", "deny", "all" };
    uint64_t seed = 4711;
    for (unsigned round = 0; round < 3000; round++) {
        char texts[4][48], name[32];
        const char *list[4];
        unsigned len = 1 + rnd(&seed, 4);
        struct grants all = { 0 };
        for (unsigned i = 0; i < len; i++) {
            random_name(&seed, true, name);
            snprintf(texts[i], sizeof texts[i], "%s %s", words[rnd(&seed, 4)], name);
            list[i] = texts[i];
        }
        give(&all, &ada, "g", list, len);
        for (unsigned i = 0; i < 4; i++) {
            random_name(&seed, true, name);
            compare(&all, list, len, name);
            random_name(&seed, false, name);
            assert_int_equal(may_publish(&all, name), simply(list, len, GRANT_PUBLISH, name));
        }
        forget(&all);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_entry_that_matches_decides),
        cmocka_unit_test(what_is_for_publishing_is_not_for_reading),
        cmocka_unit_test(a_publish_must_meet_the_conditions),
        cmocka_unit_test(a_filter_is_settled_or_checked_at_each_delivery),
        cmocka_unit_test(a_subscription_gets_the_most_that_its_entries_give),
        cmocka_unit_test(what_has_expired_counts_no_more),
        cmocka_unit_test(one_of_the_same_name_takes_its_place),
        cmocka_unit_test(too_many_are_not_taken),
        cmocka_unit_test(patterns_are_checked),
        cmocka_unit_test(placeholders_stand_for_names_and_attributes),
        cmocka_unit_test(a_clever_name_reaches_no_further),
        cmocka_unit_test(a_deny_nobody_can_fill_in_is_wider),
        cmocka_unit_test(filters_bring_what_their_topics_would),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
