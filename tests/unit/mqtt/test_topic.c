/* test_topic.c -- topic names and filters by rows: mqtt/topic.c. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "mqtt/rows.h"

#include "mqtt/topic.h"

/* Rows are read across. */
/* clang-format off */

static void names(void **state) {
    (void)state;
    static const struct {
        const char *why;
        bool valid;
        const char *text;
        size_t len;
    } rows[] = {
        { "a name", true, WIRE("sport/tennis/player1") },
        { "4.7.3 a slash alone", true, WIRE("/") },
        { "4.7.3 spaces", true, WIRE("Accounts payable") },
        { "4.7.2 dollar", true, WIRE("$SYS/") },
        { "4.7.1.1 empty levels", true, WIRE("//") },
        { "[MQTT-4.7.3-1] empty", false, WIRE("") },
        { "[MQTT-4.7.3-2] U+0000", false, WIRE("a\0") },
        { "[MQTT-3.3.2-2] +", false, WIRE("a/+") },
        { "[MQTT-3.3.2-2] + in a level", false, WIRE("a+b") },
        { "[MQTT-3.3.2-2] #", false, WIRE("#") },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (topic_name_valid(slice_of(rows[i].text, rows[i].len)) != rows[i].valid)
            fail_msg("%s", rows[i].why);
}

static void filters(void **state) {
    (void)state;
    static const struct {
        const char *why;
        bool valid;
        const char *text;
        size_t len;
    } rows[] = {
        { "4.7.1.2", true, WIRE("sport/tennis/player1/#") },
        { "4.7.1.2 alone", true, WIRE("#") },
        { "4.7.1.2 in a level", false, WIRE("sport/tennis#") },
        { "[MQTT-4.7.1-1] not last", false, WIRE("sport/tennis/#/ranking") },
        { "[MQTT-4.7.1-1] first", false, WIRE("#/") },
        { "twice", false, WIRE("##") },
        { "4.7.1.3", true, WIRE("+") },
        { "4.7.1.3 with #", true, WIRE("+/tennis/#") },
        { "[MQTT-4.7.1-2] in a level", false, WIRE("sport+") },
        { "[MQTT-4.7.1-2] before text", false, WIRE("+sport") },
        { "4.7.1.3 in the middle", true, WIRE("sport/+/player1") },
        { "twice", false, WIRE("++") },
        { "beside #", false, WIRE("+#") },
        { "4.7.3 slashes", true, WIRE("/+/") },
        { "no wildcard", true, WIRE("a/b") },
        { "[MQTT-4.7.3-1] empty", false, WIRE("") },
        { "[MQTT-4.7.3-2] U+0000", false, WIRE("a/\0/#") },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (topic_filter_valid(slice_of(rows[i].text, rows[i].len)) != rows[i].valid)
            fail_msg("%s", rows[i].why);
}

static void the_longest_topic_has_65535_bytes(void **state) { /* [MQTT-4.7.3-3] */
    (void)state;
    char *text = xmalloc(65536);
    memset(text, 'a', 65536);
    assert_true(topic_name_valid(slice_of(text, 65535)));
    assert_true(topic_filter_valid(slice_of(text, 65535)));
    assert_false(topic_name_valid(slice_of(text, 65536)));
    assert_false(topic_filter_valid(slice_of(text, 65536)));
    free(text);
}

static void matching(void **state) {
    (void)state;
    static const struct {
        const char *filter, *topic;
        bool match;
    } rows[] = {
        /* 4.7.1.2 */
        { "sport/tennis/player1/#", "sport/tennis/player1", true },
        { "sport/tennis/player1/#", "sport/tennis/player1/ranking", true },
        { "sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true },
        { "sport/#", "sport", true },
        { "sport/#", "sports", false },
        { "sport/#", "sport/", true },
        { "sport/#", "spor", false },
        { "#", "a", true },
        { "#", "/", true },
        /* 4.7.1.3 */
        { "sport/tennis/+", "sport/tennis/player1", true },
        { "sport/tennis/+", "sport/tennis/player1/ranking", false },
        { "sport/+", "sport", false },
        { "sport/+", "sport/", true },
        { "+/+", "/finance", true },
        { "/+", "/finance", true },
        { "+", "/finance", false },
        { "+/+/+", "//", true },
        { "+", "a", true },
        { "a/+/c", "a//c", true },
        { "a/+/c", "a/c", false },
        { "+/#", "a", true },
        { "a/+/#", "a", false },
        { "a/+/#", "a/", true },
        { "a/+/#", "a/b", true },
        /* [MQTT-4.7.2-1] */
        { "#", "$SYS/up", false },
        { "+/up", "$SYS/up", false },
        { "+/monitor/Clients", "$SYS/monitor/Clients", false },
        { "$SYS/#", "$SYS/", true },
        { "$SYS/#", "$SYS", true },
        { "$SYS/monitor/+", "$SYS/monitor/Clients", true },
        { "a/+", "a/$b", true },
        { "/#", "/$b", true },
        /* [MQTT-4.7.3-4] compared byte by byte */
        { "ACCOUNTS", "Accounts", false },
        { "a", "a/", false },
        { "/a", "a", false },
        { "a/b", "a/b", true },
        { "a/b", "a/bc", false },
        { "a/bc", "a/b", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (topic_match(slice_str(rows[i].filter), slice_str(rows[i].topic)) != rows[i].match)
            fail_msg("%s against %s", rows[i].filter, rows[i].topic);
}

static void covering(void **state) {
    (void)state;
    static const struct {
        const char *wide, *narrow;
        bool covers;
    } rows[] = {
        { "#", "a/+/b", true },       { "#", "#", true },
        { "a/#", "a", true },         { "a/#", "a/+/#", true },
        { "a/+", "a/#", false },      { "a/+", "a/b", true },
        { "a/b", "a/+", false },      { "+/b", "a/b", true },
        { "a/+/c", "a/b/+", false },  { "+/#", "#", true },      /* every topic has a first level */
        { "+/+/#", "#", false },      { "a/+/#", "a/#", false }, /* a */
        { "/+/#", "/#", true }, /* what begins with / has a second level */
        { "+/+/#", "/#", true },      { "#", "$SYS/up", false }, /* [MQTT-4.7.2-1] */
        { "+/up", "$SYS/up", false }, { "$SYS/#", "$SYS/+", true },
        { "#", "+/up", true }, /* neither sees $SYS/up */
        { "a", "a", true },           { "a", "b", false },
        { "a/b", "a", false },        { "a", "a/b", false },
        { "a/#", "ab", false },       { "a/", "a", false },
        { "a/+", "a/", true },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (topic_filter_covers(slice_str(rows[i].wide), slice_str(rows[i].narrow)) !=
            rows[i].covers)
            fail_msg("%s over %s", rows[i].wide, rows[i].narrow);
}

static void shared_subscriptions(void **state) {
    (void)state;
    static const struct {
        const char *filter;
        bool shared, valid;
        const char *group, *inner;
    } rows[] = {
        { "$share/g/a", true, true, "g", "a" },
        { "$share/consumer1/sport/tennis/+", true, true, "consumer1", "sport/tennis/+" },
        { "$share/g//finance", true, true, "g", "/finance" },
        { "$share/g//", true, true, "g", "/" },
        { "$share/g/#", true, true, "g", "#" },
        { "$share/g/$SYS/#", true, true, "g", "$SYS/#" },
        { "$share/", true, false, NULL, NULL },   /* [MQTT-4.8.2-1] */
        { "$share//a", true, false, NULL, NULL }, /* [MQTT-4.8.2-1] */
        { "$share/g", true, false, NULL, NULL },  /* [MQTT-4.8.2-2] */
        { "$share/g/", true, false, NULL, NULL }, /* [MQTT-4.8.2-2] */
        { "$share/+/a", true, false, NULL, NULL },
        { "$share/#", true, false, NULL, NULL },
        { "$share/g+/a", true, false, NULL, NULL },
        { "$share/g/a#", true, false, NULL, NULL },
        { "$share", false, false, NULL, NULL },
        { "$shared/g/a", false, false, NULL, NULL },
        { "$SHARE/g/a", false, false, NULL, NULL },
        { "a/$share/g", false, false, NULL, NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct slice group, inner;
        bool valid, shared = topic_shared(slice_str(rows[i].filter), &group, &inner, &valid);
        if (shared != rows[i].shared || valid != rows[i].valid) fail_msg("%s", rows[i].filter);
        check_slice(group, rows[i].group);
        check_slice(inner, rows[i].inner);
    }
}

static void levels(void **state) {
    (void)state;
    static const struct {
        const char *topic;
        unsigned n;
        const char *levels[4];
    } rows[] = {
        { "a", 1, { "a" } },           { "/", 2, { "", "" } }, { "a/b/c", 3, { "a", "b", "c" } },
        { "/a/", 3, { "", "a", "" } }, { "", 1, { "" } },      { "+/#", 2, { "+", "#" } },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct slice topic = slice_str(rows[i].topic), level;
        size_t at = 0;
        unsigned n = 0;
        while (topic_next_level(topic, &at, &level)) check_slice(level, rows[i].levels[n++]);
        assert_int_equal(n, rows[i].n);
        assert_int_equal(topic_levels(topic), rows[i].n);
        assert_false(topic_is_deeper(topic, rows[i].n));
        assert_true(topic_is_deeper(topic, rows[i].n - 1));
        assert_false(topic_next_level(topic, &at, &level)); /* the end stays the end */
    }
    assert_true(topic_has_wildcard(SLICE("a/+")));
    assert_true(topic_has_wildcard(SLICE("#")));
    assert_false(topic_has_wildcard(SLICE("a/$b")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(filters),
        cmocka_unit_test(the_longest_topic_has_65535_bytes),
        cmocka_unit_test(matching),
        cmocka_unit_test(covering),
        cmocka_unit_test(shared_subscriptions),
        cmocka_unit_test(levels),
    };
    return cmocka_run_group_tests_name("mqtt/topic", tests, NULL, NULL);
}
