/* fuzz_topic.c -- libFuzzer target: topics, filters and text.
 *
 * The input is three lines: a filter, a filter and a topic; each is held against the model
 * in tests/unit/mqtt/topic_model.h, and the three against each other. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/mem.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"

#include "../unit/mqtt/topic_model.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Takes the next line off `rest`, as a heap copy of exactly its length. */
static struct slice next_line(struct slice *rest) {
    const uint8_t *end = rest->len ? memchr(rest->at, '\n', rest->len) : NULL;
    size_t len = end ? (size_t)(end - rest->at) : rest->len;
    uint8_t *copy = xmalloc(len ? len : 1);
    if (len) memcpy(copy, rest->at, len);
    size_t taken = end ? len + 1 : len;
    *rest = slice_of(taken ? rest->at + taken : rest->at, rest->len - taken);
    return slice_of(copy, len);
}

static void check_text(struct slice s) {
    must(topic_name_valid(s) == model_name_valid(s));
    must(topic_has_wildcard(s) == (model_has(s, '+') || model_has(s, '#')));
    bool plain = utf8_plain(s);
    must(!plain || (utf8_valid(s) && !topic_has_wildcard(s)));
    must(!utf8_valid(s) || !model_has(s, 0));
    struct slice level;
    unsigned levels = 0;
    for (size_t at = 0; topic_next_level(s, &at, &level); levels++) must(!model_has(level, '/'));
    must(levels == topic_levels(s));
}

static void check_shared(struct slice filter) {
    struct slice group, inner;
    bool valid;
    bool shared = topic_shared(filter, &group, &inner, &valid);
    must(shared == slice_starts(filter, SLICE("$share/")));
    must(shared || !valid);
    if (!valid) return;
    must(group.len > 0 && !topic_has_wildcard(group) && !model_has(group, '/'));
    must(topic_filter_valid(inner));
    must(filter.len == strlen("$share/") + group.len + 1 + inner.len);
}

static void check_filters(struct slice wide, struct slice narrow, struct slice topic) {
    must(topic_filter_covers(wide, wide) && topic_filter_covers(narrow, narrow));
    if (!model_name_valid(topic)) return;
    bool in_wide = topic_match(wide, topic), in_narrow = topic_match(narrow, topic);
    must(in_wide == model_match(wide, topic) && in_narrow == model_match(narrow, topic));
    must(!topic_filter_covers(wide, narrow) || !in_narrow || in_wide);
    must(in_wide == topic_filter_covers(wide, topic)); /* a name is a filter, too */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice rest = slice_of(data, size), line[3];
    for (size_t i = 0; i < ARRAY_LEN(line); i++) line[i] = next_line(&rest);
    bool small = true;
    for (size_t i = 0; i < ARRAY_LEN(line); i++) {
        check_text(line[i]);
        check_shared(line[i]);
        small = small && topic_levels(line[i]) < MODEL_LEVELS;
    }
    for (size_t i = 0; small && i < 2; i++)
        must(topic_filter_valid(line[i]) == model_filter_valid(line[i]));
    if (small && topic_filter_valid(line[0]) && topic_filter_valid(line[1]))
        check_filters(line[0], line[1], line[2]);
    for (size_t i = 0; i < ARRAY_LEN(line); i++) free((void *)(uintptr_t)line[i].at);
    return 0;
}
