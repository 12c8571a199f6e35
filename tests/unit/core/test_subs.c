/* test_subs.c -- the subscription index: rows, then thousands of random changes against a
 * list that is searched with topic_match. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/subs.h"

#include "core/grants.h"
#include "core/index.h"
#include "core/subs_index.h"

#include <sched.h>
#include <time.h>

static bool matches(struct index *x, unsigned session, const char *topic) {
    struct route_entries e = { 0 };
    subs_match(x->subs, 0, slice_str(topic), OVERLAPPING_ONCE, &e);
    bool found = entry_of(&e, session) != NULL;
    route_entries_deinit(&e);
    return found;
}

/* ---- rows ------------------------------------------------------------------ */

static void filters_match_as_the_standard_says(void **state) {
    static const struct {
        const char *filter, *topic;
        bool match;
    } rows[] = {
        { "a/b", "a/b", true },
        { "a/b", "a/c", false },
        { "a/b", "a", false },
        { "a", "a/b", false },
        { "a/#", "a", true },
        { "a/#", "a/b/c", true }, /* 4.7.1.2 */
        { "a/#", "ab", false },
        { "#", "a/b", true },
        { "+", "a", true },
        { "+", "/a", false },
        { "+/+", "/a", true },
        { "/+", "/a", true }, /* 4.7.1.3 */
        { "a/+", "a", false },
        { "a/+", "a/", true },
        { "a/+/c", "a/b/c", true },
        { "a/+/#", "a/b", true },
        { "#", "$SYS/a", false },
        { "+/a", "$SYS/a", false }, /* [MQTT-4.7.2-1] */
        { "$SYS/#", "$SYS/a", true },
        { "$SYS/+", "$SYS/a", true },
        { "A", "a", false },
        { "/", "/", true },
        { "a//b", "a//b", true },
        { "a/+/b", "a//b", true },
        { "#", "", true },
        { "+", "$", false },
    };
    struct index *x = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(add(x, 3, rows[i].filter, &qos0, 0), SUBS_NEW);
        assert_int_equal(matches(x, 3, rows[i].topic), rows[i].match);
        assert_true(del(x, 3, rows[i].filter));
        assert_false(matches(x, 3, rows[i].topic));
        assert_int_equal(subs_filters(x->subs), 0);
    }
}

static void one_subscription_can_be_looked_for(void **state) {
    struct index *x = *state;
    add(x, 1, "a/+", &qos0, 0);
    add(x, 1, "$share/g/a", &qos0, 0);
    assert_true(subs_has(x->subs, handle_of(1), SLICE("a/+")));
    assert_true(subs_has(x->subs, handle_of(1), SLICE("$share/g/a")));
    assert_false(subs_has(x->subs, handle_of(2), SLICE("a/+")));
    assert_false(subs_has(x->subs, handle_of(1), SLICE("a")));
}

static void subscribing_again_replaces(void **state) { /* [MQTT-3.8.4-3] */
    struct index *x = *state;
    struct route_entries e = { 0 };
    assert_int_equal(add(x, 1, "a/+", &qos2, 5), SUBS_NEW);
    assert_int_equal(add(x, 1, "a/+", &qos1, 6), SUBS_REPLACED);
    assert_int_equal(subs_count(x->subs), 1);
    subs_match(x->subs, 0, SLICE("a/b"), OVERLAPPING_ONCE, &e);
    assert_int_equal(e.len, 1);
    assert_int_equal(e.one.qos, 1);
    assert_int_equal(identifiers_len(&e, &e.one), 1);
    assert_int_equal(identifier_of(&e, &e.one, 0), 6);
    route_entries_deinit(&e);
}

static void what_is_not_there_cannot_be_deleted(void **state) {
    struct index *x = *state;
    add(x, 1, "a/b/c/#", &qos0, 0);
    assert_false(del(x, 1, "a/b"));
    assert_false(del(x, 1, "a/b/c"));
    assert_false(del(x, 1, "a/b/+"));
    assert_false(del(x, 2, "a/b/c/#"));
    assert_false(del(x, 1, "$share/g/a/b/c/#"));
    assert_true(del(x, 1, "a/b/c/#"));
}

static void the_text_of_a_filter_comes_back(void **state) {
    static const char *const filters[] = { "a",      "/",         "#",
                                           "+/",     "a//+/#",    "$share/g/a/+",
                                           "$SYS/#", "$share/g/#" };
    struct index *x = *state;
    for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
        struct buf text = BUF_INIT;
        add(x, 1, filters[i], &qos0, 0);
        subs_filter(x->lists[1], &text);
        assert_slice(buf_slice(&text), filters[i]);
        buf_deinit(&text);
    }
}

/* Such a level is longer, with its key, than 16 bits can say. */
static void the_longest_levels_have_their_place(void **state) {
    struct index *x = *state;
    for (size_t len = 65520; len <= 65533; len++) {
        char *filter = xmalloc(len + 3), *topic = xmalloc(len + 3);
        memset(filter, 'x', len + 2);
        memcpy(filter, "+/", 2);
        memset(topic, 'x', len + 2);
        memcpy(topic, "t/", 2);
        filter[len + 2] = topic[len + 2] = 0;
        add(x, 1, filter, &qos0, 0);
        assert_true(matches(x, 1, topic));
        struct buf text = BUF_INIT;
        subs_filter(x->lists[1], &text);
        assert_slice(buf_slice(&text), filter);
        buf_deinit(&text);
        assert_true(del(x, 1, filter));
        free(filter);
        free(topic);
    }
}

static void epochs_change_with_what_matters_only(void **state) {
    static const struct {
        const char *filter, *topic;
        bool current;
    } rows[] = {
        { "a/b", "a/b", false },
        { "a/#", "a/b", false },
        { "+/b", "a/b", false },
        { "#", "a/b", false },
        { "a", "a", false },
        { "a/#", "a", false },
        { "$share/g/a/b", "a/b", false },
        { "$share/g/+/b", "a/b", false },
        { "b/b", "a/b", true },
        { "b/#", "a/b", true },
        { "$share/g/b", "a/b", true },
        { "/#", "a/b", true },
        { "$SYS/#", "a", true },
        { "c/+/d", "a", true },
        { "a/c", "a/b", true }, /* the second level counts, too */
        { "a/c/#", "a/b", true },
        { "$share/g/a/c/+", "a/b", true },
        { "a/+/c", "a/b", false }, /* the part of what begins with a/ only */
        { "a", "a/b", false },
        { "a/b/c/+", "a/b/d", false },
    };
    struct index *x = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct route_entries before = { 0 }, between = { 0 };
        subs_match(x->subs, 0, slice_str(rows[i].topic), OVERLAPPING_ONCE, &before);
        assert_true(subs_current(x->subs, &before.age));
        add(x, 1, rows[i].filter, &qos0, 0);
        assert_int_equal(subs_current(x->subs, &before.age), rows[i].current);
        subs_match(x->subs, 0, slice_str(rows[i].topic), OVERLAPPING_ONCE, &between);
        assert_false(del(x, 2, rows[i].filter)); /* nothing happens */
        assert_true(subs_current(x->subs, &between.age));
        del(x, 1, rows[i].filter);
        assert_int_equal(subs_current(x->subs, &between.age), rows[i].current);
        route_entries_deinit(&before);
        route_entries_deinit(&between);
    }
}

/* More beginnings than shards and parts: some topics find two of theirs in one. */
static void beginnings_that_fall_together_are_found_once(void **state) {
    static const char *const forms[] = { "%u/%u", "%u/+", "%u/%u/#", "%u/%u/x/+" };
    enum { MANY = 3000, MATCH = 3 };
    struct index *x = *state;
    char text[32];
    for (unsigned n = 0; n < MANY; n++) {
        for (unsigned i = 0; i < ARRAY_LEN(forms); i++) {
            snprintf(text, sizeof text, forms[i], n, n);
            assert_int_equal(add(x, i, text, &qos0, 0), SUBS_NEW);
        }
    }
    for (unsigned n = 0; n < MANY; n++) {
        struct route_entries e = { 0 };
        snprintf(text, sizeof text, "%u/%u", n, n);
        subs_match(x->subs, 0, slice_str(text), OVERLAPPING_EACH, &e);
        assert_int_equal(e.len, MATCH);
        for (unsigned i = 0; i < MATCH; i++) assert_non_null(entry_of(&e, i));
        route_entries_deinit(&e);
    }
    assert_int_equal(subs_filters(x->subs), MANY * ARRAY_LEN(forms));
}

/* Beginnings whose levels are alike, and no route of another topic goes stale with `+`. */
static void beginnings_are_spread(void **state) {
    static const char *const forms[] = { "%u/%u/#", "tenants/%u/#", "%x/%x/x", "site%u/%u/+" };
    enum { MANY = 6400, FAIR = MANY / SHARDS };
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(forms); i++) {
        unsigned of_shard[SHARDS] = { 0 };
        for (unsigned n = 0; n < MANY; n++) {
            char text[32];
            snprintf(text, sizeof text, forms[i], n, n);
            struct prefixes p = subs_prefixes(slice_str(text));
            assert_int_equal(p.last, 2);
            assert_int_not_equal(p.part[0], p.part[1]);
            assert_int_not_equal(p.part[0], p.part[2]);
            assert_in_range(p.part[2], 0, SUBS_PARTS - 1);
            of_shard[p.part[2] % SHARDS]++;
        }
        for (unsigned k = 0; k < SHARDS; k++) assert_in_range(of_shard[k], FAIR / 2, FAIR * 2);
    }
}

static void *change_one(void *obj) {
    struct index *x = obj;
    add(x, 1, "a/#", &qos0, 0);
    return NULL;
}

static void who_waits_to_change_goes_before_new_readers(void **state) {
    enum { WAIT_S = 20 };
    struct index *x = *state;
    struct prefixes p = subs_prefixes(SLICE("a/#"));
    pthread_rwlock_t *lock = &shard_of(x->subs, p.part[p.last])->lock;
    time_t end = time(NULL) + WAIT_S;
    pthread_t thread;
    bool gets_in = true;
    pthread_rwlock_rdlock(lock); /* somebody matches */
    assert_int_equal(pthread_create(&thread, NULL, change_one, x), 0);
    while (gets_in && time(NULL) < end) {
        gets_in = pthread_rwlock_tryrdlock(lock) == 0;
        if (gets_in) pthread_rwlock_unlock(lock);
        sched_yield();
    }
    pthread_rwlock_unlock(lock);
    pthread_join(thread, NULL);
    assert_false(gets_in);
    assert_true(matches(x, 1, "a/b"));
}

/* ---- model ------------------------------------------------------------------- */

enum { MODEL_MAX = 2000, TEXT = 40 };

struct model_sub {
    unsigned session;
    char text[TEXT];   /* as subscribed to */
    const char *inner; /* behind $share/GROUP/ */
    bool is_shared;
    struct subscribe_options options;
    uint32_t identifier;
};

struct model {
    struct model_sub at[MODEL_MAX];
    unsigned len;
    uint64_t seed;
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
    if (!*out) strcpy(out, "a"); /* no name is empty */
}

static void random_filter(struct model *m, struct model_sub *s) {
    char name[TEXT / 2];
    random_name(m, name, true);
    s->is_shared = rnd(&m->seed, 4) == 0;
    if (s->is_shared)
        snprintf(s->text, TEXT, "$share/%c/%s", 'g' + (char)rnd(&m->seed, 2), name);
    else
        snprintf(s->text, TEXT, "%s", name);
    s->inner = s->is_shared ? s->text + strlen("$share/g/") : s->text;
}

static unsigned model_find(const struct model *m, unsigned session, const char *text) {
    unsigned i = 0;
    while (i < m->len && (m->at[i].session != session || strcmp(m->at[i].text, text) != 0)) i++;
    return i;
}

static void model_del(struct model *m, unsigned i) {
    m->at[i] = m->at[--m->len];
    m->at[i].inner = m->at[i].is_shared ? m->at[i].text + strlen("$share/g/") : m->at[i].text;
}

static void check_entry(const struct model *m, const struct route_entries *e, unsigned session,
                        const char *topic) {
    const struct route_entry *got = entry_of(e, session);
    unsigned n = 0, ids = 0, qos = 0;
    bool no_local = true, as_published = false;
    uint64_t sum = 0, got_sum = 0;
    for (unsigned i = 0; i < m->len; i++) {
        const struct model_sub *s = &m->at[i];
        if (s->session != session || s->is_shared) continue;
        if (!topic_match(slice_str(s->text), slice_str(topic))) continue;
        n++;
        if (s->options.qos > qos) qos = s->options.qos;
        no_local = no_local && s->options.no_local;
        as_published = as_published || s->options.retain_as_published;
        ids += s->identifier != 0;
        sum += (uint64_t)s->identifier * s->identifier;
    }
    assert_int_equal(got != NULL, n > 0);
    if (!got) return;
    assert_int_equal(got->qos, qos);
    assert_int_equal(got->no_local, no_local);
    assert_int_equal(got->retain_as_published, as_published);
    assert_int_equal(identifiers_len(e, got), ids);
    for (unsigned i = 0; i < ids; i++) {
        uint64_t id = identifier_of(e, got, i);
        got_sum += id * id;
    }
    assert_int_equal(got_sum, sum);
}

/* The members of all shares, compared as sums over what identifies them. */
static void check_shares(const struct model *m, const struct route_entries *e, const char *topic) {
    uint64_t sum = 0, got = 0;
    for (unsigned i = 0; i < m->len; i++) {
        const struct model_sub *s = &m->at[i];
        if (!s->is_shared || !topic_match(slice_str(s->inner), slice_str(topic))) continue;
        sum += (s->session + 1) * (s->options.qos + 1u) * (s->identifier + 1000u);
    }
    for (uint32_t i = 0; i < shares_len(e); i++) {
        const struct route_share *share = &e->more->shares[i];
        for (uint32_t k = 0; k < share->len; k++) {
            const struct route_entry *r = &route_entries_at(e)[share->first + k];
            uint32_t id = identifiers_len(e, r) ? identifier_of(e, r, 0) : 0;
            assert_false(r->no_local);
            got += (r->session.slot + 1) * (r->qos + 1u) * (id + 1000u);
        }
    }
    assert_int_equal(got, sum);
}

/* Some topics at once: each gets what it would get alone. */
static void check_topics(struct index *x, struct model *m) {
    char topic[SUBS_TOGETHER][TEXT];
    struct route_entries e[SUBS_TOGETHER] = { 0 };
    struct subs_query queries[SUBS_TOGETHER];
    unsigned len = 1 + rnd(&m->seed, SUBS_TOGETHER);
    for (unsigned i = 0; i < len; i++) {
        random_name(m, topic[i], false);
        struct slice name = slice_str(topic[i]);
        queries[i] = (struct subs_query){ name, subs_hash(x->subs, name), &e[i] };
    }
    subs_match_all(x->subs, 0, OVERLAPPING_ONCE, queries, len);
    for (unsigned i = 0; i < len; i++) {
        for (unsigned s = 0; s < SESSIONS; s++) check_entry(m, &e[i], s, topic[i]);
        check_shares(m, &e[i], topic[i]);
        assert_true(subs_current(x->subs, &e[i].age));
        route_entries_deinit(&e[i]);
    }
}

static void random_change(struct index *x, struct model *m) {
    struct model_sub s = { .session = rnd(&m->seed, SESSIONS) };
    unsigned what = rnd(&m->seed, 100);
    random_filter(m, &s);
    unsigned i = model_find(m, s.session, s.text);
    if (what < 1) { /* the session ends */
        subs_del_all(x->subs, &x->lists[s.session]);
        for (i = m->len; i--;)
            if (m->at[i].session == s.session) model_del(m, i);
    } else if (what < 50) {
        bool had = del(x, s.session, s.text);
        assert_int_equal(had, i < m->len);
        if (had) model_del(m, i);
    } else {
        s.options = (struct subscribe_options){ .qos = (uint8_t)rnd(&m->seed, 3),
                                                .no_local = rnd(&m->seed, 2),
                                                .retain_as_published = rnd(&m->seed, 2) };
        s.identifier = rnd(&m->seed, 3);
        int r = add(x, s.session, s.text, &s.options, s.identifier);
        assert_int_equal(r, i < m->len ? SUBS_REPLACED : SUBS_NEW);
        m->len += i == m->len;
        m->at[i] = s;
        m->at[i].inner = s.is_shared ? m->at[i].text + strlen("$share/g/") : m->at[i].text;
    }
    assert_int_equal(subs_count(x->subs), m->len);
}

static void check_texts(struct index *x, const struct model *m) {
    for (unsigned s = 0; s < SESSIONS; s++) {
        for (const struct subscription *sub = x->lists[s]; sub; sub = sub->next) {
            struct buf text = BUF_INIT;
            subs_filter(sub, &text);
            buf_add(&text, "", 1);
            assert_true(model_find(m, s, (char *)text.at) < m->len);
            buf_deinit(&text);
        }
    }
}

static void it_agrees_with_naive_matching(void **state) {
    struct index *x = *state;
    struct model *m = xcalloc(1, sizeof *m);
    m->seed = 88172645463325252u;
    for (int i = 0; i < 12000; i++) {
        random_change(x, m);
        if (i % 4 == 0) check_topics(x, m);
        if (i % 500 == 0) check_texts(x, m);
    }
    free(m);
}

/* Every way through eight levels, exact or `+`. */
static void any_number_of_branches_is_followed(void **state) {
    struct index *x = *state;
    enum { LEVELS = 8, WAYS = 1 << LEVELS };
    struct route_entries e = { 0 };
    char text[2 * LEVELS];
    for (unsigned way = 0; way < WAYS; way++) {
        for (unsigned i = 0; i < LEVELS; i++) memcpy(&text[2 * i], way >> i & 1 ? "+/" : "a/", 2);
        text[2 * LEVELS - 1] = '\0';
        add(x, way % SESSIONS, text, &(struct subscribe_options){ 0 }, way + 1);
    }
    subs_match(x->subs, 0, SLICE("a/a/a/a/a/a/a/a"), OVERLAPPING_EACH, &e);
    assert_int_equal(e.len, WAYS);
    uint64_t sum = 0;
    for (unsigned i = 0; i < WAYS; i++) sum += identifier_of(&e, &e.many[i], 0);
    assert_int_equal(sum, WAYS * (WAYS + 1) / 2);
    route_entries_deinit(&e);
}

static bool same_answer(const struct route_entries *a, const struct route_entries *b) {
    if (a->len != b->len || shares_len(a) != shares_len(b)) return false;
    for (uint32_t i = 0; i < a->len; i++) {
        const struct route_entry *x = &route_entries_at(a)[i];
        const struct route_entry *y = &route_entries_at(b)[i];
        if (!handle_eq(x->session, y->session) || x->qos != y->qos || x->no_local != y->no_local ||
            x->retain_as_published != y->retain_as_published ||
            identifiers_len(a, x) != identifiers_len(b, y))
            return false;
    }
    return true;
}

/* A cached answer that differs from a fresh one must be known to be old. */
static void a_stale_answer_is_never_called_current(void **state) {
    struct index *x = *state;
    struct model *m = xcalloc(1, sizeof *m);
    m->seed = 4101842887655102017u;
    for (int i = 0; i < 4000; i++) {
        char topic[TEXT];
        struct route_entries old = { 0 }, new = { 0 };
        random_name(m, topic, false);
        subs_match(x->subs, 0, slice_str(topic), OVERLAPPING_ONCE, &old);
        random_change(x, m);
        subs_match(x->subs, 0, slice_str(topic), OVERLAPPING_ONCE, &new);
        if (!same_answer(&old, &new)) assert_false(subs_current(x->subs, &old.age));
        route_entries_deinit(&old);
        route_entries_deinit(&new);
    }
    free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        INDEX(filters_match_as_the_standard_says),
        INDEX(one_subscription_can_be_looked_for),
        INDEX(subscribing_again_replaces),
        INDEX(what_is_not_there_cannot_be_deleted),
        INDEX(the_text_of_a_filter_comes_back),
        INDEX(the_longest_levels_have_their_place),
        INDEX(epochs_change_with_what_matters_only),
        INDEX(beginnings_that_fall_together_are_found_once),
        INDEX(beginnings_are_spread),
        INDEX(who_waits_to_change_goes_before_new_readers),
        INDEX(any_number_of_branches_is_followed),
        INDEX(it_agrees_with_naive_matching),
        INDEX(a_stale_answer_is_never_called_current),
    };
    return cmocka_run_group_tests_name("core/subs", tests, NULL, NULL);
}
