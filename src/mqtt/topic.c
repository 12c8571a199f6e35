/* topic.c -- topic names and filters.
 *
 * Everything works on the bytes where they lie; nothing allocates.  A topic has at
 * least one level, and a level may be empty: "/a" has two. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "mqtt/topic.h"

#define TOPIC_MAX 65535u /* bytes */

static bool is_wild(uint8_t c) {
    return c == '+' || c == '#';
}

bool topic_has_wildcard(struct slice filter) {
    return filter.len && (memchr(filter.at, '+', filter.len) || memchr(filter.at, '#', filter.len));
}

bool topic_name_valid(struct slice topic) {
    if (topic.len == 0 || topic.len > TOPIC_MAX) return false;
    return !topic_has_wildcard(topic) && memchr(topic.at, 0, topic.len) == NULL;
}

/* May the zero or wildcard at `i` stand there? */
static bool may_stand(struct slice filter, size_t i) {
    bool first = i == 0 || filter.at[i - 1] == '/';
    bool last = i + 1 == filter.len;
    if (filter.at[i] == '#') return first && last;
    return filter.at[i] == '+' && first && (last || filter.at[i + 1] == '/');
}

bool topic_filter_valid(struct slice filter) {
    if (filter.len == 0 || filter.len > TOPIC_MAX) return false;
    for (size_t i = 0; i < filter.len; i++) {
        uint8_t c = filter.at[i];
        if (c > '+') continue; /* as nearly all are: neither zero nor a wildcard */
        if ((is_wild(c) || c == 0) && !may_stand(filter, i)) return false;
    }
    return true;
}

unsigned topic_levels(struct slice topic) {
    unsigned levels = 1;
    for (size_t i = 0; i < topic.len; i++) levels += topic.at[i] == '/';
    return levels;
}

bool topic_is_deeper(struct slice topic, uint32_t levels) {
    if (topic.len < levels) return false; /* it has one more than bytes at most */
    return topic_levels(topic) > levels;
}

bool topic_next_level(struct slice topic, size_t *at, struct slice *level) {
    if (*at > topic.len) return false; /* == len: a last, empty level */
    size_t left = topic.len - *at;
    const uint8_t *start = topic.len ? topic.at + *at : topic.at;
    const uint8_t *slash = left ? memchr(start, '/', left) : NULL;
    *level = slice_of(start, slash ? (size_t)(slash - start) : left);
    *at += level->len + 1;
    return true;
}

/* ---- matching ----------------------------------------------------------- */

/* What may follow in a filter when the topic has ended: nothing, or the `/#` whose parent
 * level is matched too. */
static bool ends_with_topic(const uint8_t *filter, size_t left) {
    return left == 0 || (left == 2 && filter[0] == '/' && filter[1] == '#');
}

/* [MQTT-4.7.2-1] */
static bool hidden_by_dollar(struct slice filter, struct slice topic) {
    return topic.len && topic.at[0] == '$' && filter.len && is_wild(filter.at[0]);
}

bool topic_match(struct slice filter, struct slice topic) {
    if (hidden_by_dollar(filter, topic)) return false;
    size_t f = 0, t = 0;
    while (f < filter.len) {
        uint8_t c = filter.at[f];
        if (c == '#') return true;
        if (c == '+') {
            while (t < topic.len && topic.at[t] != '/') t++;
        } else if (t < topic.len && topic.at[t] == c) {
            t++;
        } else {
            break;
        }
        f++;
    }
    return t == topic.len && ends_with_topic(filter.at + f, filter.len - f);
}

static bool level_is(struct slice level, char c) {
    return level.len == 1 && level.at[0] == (uint8_t)c;
}

/* Does wide[w..) match whatever the `#` at narrow[n] stands for?  That is any number of levels,
 * or none; but never none where `#` or `/#` is all of `narrow`, because no topic is
 * empty, and then `+/#` is as wide as `#`. */
static bool covers_hash(struct slice wide, size_t w, struct slice narrow) {
    if (w > wide.len) return false;
    struct slice rest = slice_of(wide.at + w, wide.len - w);
    bool at_least_one = narrow.len <= 2; /* it ends in `#`: nothing else is so short */
    return level_is(rest, '#') || (at_least_one && slice_eq(rest, SLICE("+/#")));
}

bool topic_filter_covers(struct slice wide, struct slice narrow) {
    if (hidden_by_dollar(wide, narrow)) return false;
    struct slice wide_level, narrow_level;
    size_t w = 0, n = 0;
    while (topic_next_level(narrow, &n, &narrow_level)) {
        if (level_is(narrow_level, '#')) return covers_hash(wide, w, narrow);
        if (!topic_next_level(wide, &w, &wide_level)) return false;
        if (level_is(wide_level, '#')) return true;
        if (!level_is(wide_level, '+') && !slice_eq(wide_level, narrow_level)) return false;
    }
    return !topic_next_level(wide, &w, &wide_level) || level_is(wide_level, '#');
}

bool topic_filters_overlap(struct slice a, struct slice b) {
    if (hidden_by_dollar(a, b) || hidden_by_dollar(b, a)) return false;
    struct slice level_a, level_b;
    size_t at_a = 0, at_b = 0;
    for (;;) {
        bool more_a = topic_next_level(a, &at_a, &level_a);
        bool more_b = topic_next_level(b, &at_b, &level_b);
        if (more_a && level_is(level_a, '#')) return true; /* "a/#" matches "a" as well */
        if (more_b && level_is(level_b, '#')) return true;
        if (!more_a || !more_b) return more_a == more_b;
        if (!level_is(level_a, '+') && !level_is(level_b, '+') && !slice_eq(level_a, level_b))
            return false;
    }
}

/* ---- shared subscriptions ----------------------------------------------- */

bool topic_shared(struct slice filter, struct slice *group, struct slice *inner, bool *valid) {
    const struct slice prefix = SLICE("$share/");
    *group = *inner = SLICE_NONE;
    *valid = false;
    if (!slice_starts(filter, prefix)) return false;
    size_t at = prefix.len;
    struct slice name;
    topic_next_level(filter, &at, &name);
    if (name.len == 0 || topic_has_wildcard(name) || at > filter.len) return true;
    struct slice rest = slice_of(filter.at + at, filter.len - at);
    if (!topic_filter_valid(rest)) return true;
    *group = name;
    *inner = rest;
    *valid = true;
    return true;
}
