/* index.h -- a subscription index and the lists of a few sessions, for tests. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_CORE_INDEX_H
#define TESTS_CORE_INDEX_H

#include "core/rig.h"
#include "core/subs.h"

enum { SESSIONS = 10 };

static inline struct handle handle_of(unsigned session) {
    return (struct handle){ session, 1 };
}

static const struct subscribe_options qos0 = { 0 }, qos1 = { .qos = 1 }, qos2 = { .qos = 2 };

struct index {
    struct subs *subs;
    struct subscription *lists[SESSIONS];
};

static inline int index_setup(void **state) {
    struct index *x = xcalloc(1, sizeof *x);
    x->subs = subs_new();
    *state = x;
    return 0;
}

/* What was not pruned leaks, and AddressSanitizer says so. */
static inline int index_teardown(void **state) {
    struct index *x = *state;
    for (unsigned i = 0; i < SESSIONS; i++) subs_del_all(x->subs, &x->lists[i]);
    assert_int_equal(subs_count(x->subs), 0);
    assert_int_equal(subs_filters(x->subs), 0);
    subs_free(x->subs);
    free(x);
    return 0;
}

static inline int add(struct index *x, unsigned session, const char *filter,
                      const struct subscribe_options *options, uint32_t identifier) {
    return subs_add(x->subs, &x->lists[session], handle_of(session), slice_str(filter), options,
                    identifier);
}

static inline bool del(struct index *x, unsigned session, const char *filter) {
    return subs_del(x->subs, handle_of(session), slice_str(filter));
}

/* The one entry of that session, or NULL. */
static inline const struct route_entry *entry_of(const struct route_entries *e, unsigned session) {
    const struct route_entry *found = NULL;
    for (uint32_t i = 0; i < e->len; i++) {
        const struct route_entry *one = &route_entries_at(e)[i];
        if (!handle_eq(one->session, handle_of(session))) continue;
        assert_null(found); /* once a session */
        found = one;
    }
    return found;
}

static inline uint32_t identifiers_len(const struct route_entries *e,
                                       const struct route_entry *one) {
    uint32_t len;
    route_identifiers(e, one, &len);
    return len;
}

/* Of an entry that has so many. */
static inline uint32_t identifier_of(const struct route_entries *e, const struct route_entry *one,
                                     uint32_t i) {
    uint32_t len;
    const uint32_t *at = route_identifiers(e, one, &len);
    assert_true(i < len);
    return at[i];
}

static inline uint32_t shares_len(const struct route_entries *e) {
    uint32_t len;
    route_shares(e, &len);
    return len;
}

#define INDEX(test) cmocka_unit_test_setup_teardown(test, index_setup, index_teardown)

#endif
