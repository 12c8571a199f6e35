/* topic_model.h -- topics the slow and obvious way, to hold topic.c against.
 *
 * Text is split into lists of levels first, and everything is said of those lists. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_MQTT_TOPIC_MODEL_H
#define TESTS_MQTT_TOPIC_MODEL_H

#include "base/slice.h"

#define MODEL_LEVELS 64

struct levels {
    struct slice at[MODEL_LEVELS];
    size_t n;
};

/* Longer lists are cut: keep inputs under MODEL_LEVELS slashes. */
static inline struct levels model_split(struct slice s) {
    struct levels out = { .n = 1 };
    out.at[0] = slice_of(s.at, 0);
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] != '/')
            out.at[out.n - 1].len++;
        else if (out.n < MODEL_LEVELS)
            out.at[out.n++] = slice_of(s.at + i + 1, 0);
    }
    return out;
}

static inline bool model_has(struct slice s, char c) {
    for (size_t i = 0; i < s.len; i++)
        if (s.at[i] == (uint8_t)c) return true;
    return false;
}

static inline bool model_name_valid(struct slice s) {
    return s.len > 0 && s.len <= 65535 && !model_has(s, '+') && !model_has(s, '#') &&
           !model_has(s, 0);
}

static inline bool model_filter_valid(struct slice s) {
    struct levels l = model_split(s);
    for (size_t i = 0; i < l.n; i++) {
        if (model_has(l.at[i], '#') && (l.at[i].len != 1 || i + 1 != l.n)) return false;
        if (model_has(l.at[i], '+') && l.at[i].len != 1) return false;
    }
    return s.len > 0 && s.len <= 65535 && !model_has(s, 0);
}

static inline bool model_match_from(const struct levels *f, size_t fi, const struct levels *t,
                                    size_t ti) {
    if (fi == f->n) return ti == t->n;
    if (slice_eq(f->at[fi], SLICE("#"))) return true;
    if (ti == t->n) return false;
    if (!slice_eq(f->at[fi], SLICE("+")) && !slice_eq(f->at[fi], t->at[ti])) return false;
    return model_match_from(f, fi + 1, t, ti + 1);
}

static inline bool model_match(struct slice filter, struct slice topic) {
    struct levels f = model_split(filter), t = model_split(topic);
    bool wild = slice_eq(f.at[0], SLICE("#")) || slice_eq(f.at[0], SLICE("+"));
    if (wild && topic.len && topic.at[0] == '$') return false;
    return model_match_from(&f, 0, &t, 0);
}

#endif
