/* test_route.c -- what a worker remembers of a topic, and for how long. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/route.h"

#include "core/rig.h"

static void say(struct rig *r, const char *topic) {
    publish_trusted(r->worker, &(struct message_parts){ .topic = slice_str(topic),
                                                        .payload = SLICE("x"),
                                                        .expires_ms = MESSAGE_NEVER });
}

static struct route *find(struct rig *r, const char *topic) {
    return route_find(r->worker, slice_str(topic));
}

static void a_route_is_remembered_until_something_changes(void **state) {
    struct rig *r = *state;
    struct peer s;
    join(&s, r, MQTT_5, "s", true);
    struct route *a = find(r, "a/b");
    assert_int_equal(a->to.len, 0);
    assert_ptr_equal(find(r, "a/b"), a);
    subscribe(&s, "b/#", 1); /* elsewhere */
    assert_ptr_equal(find(r, "a/b"), a);
    subscribe(&s, "a/#", 1);
    a = find(r, "a/b");
    assert_int_equal(a->to.len, 1);
    assert_ptr_equal(find(r, "a/b"), a);
    subscribe(&s, "a/+", 2);
    assert_int_equal(route_entries_at(&find(r, "a/b")->to)[0].qos, 2);
    peer_drop(&s); /* the session ends, and its subscriptions with it */
    assert_int_equal(find(r, "a/b")->to.len, 0);
}

static uint32_t wants_bits(struct hooks *h, struct slice topic) {
    return slice_starts(topic, SLICE("asked/")) ? h->wanted : 0;
}

static void what_hooks_want_is_remembered_until_others_come(void **state) {
    struct rig *r = *state;
    r->hooks.port.wants = wants_bits;
    fake_on(&r->hooks, HOOK_PUBLISH, NULL);
    assert_int_equal(find(r, "asked/a")->wants, HOOK_BIT(HOOK_PUBLISH));
    assert_int_equal(find(r, "a")->wants, 0);
    r->hooks.port.wanted = 0;
    assert_int_equal(find(r, "asked/a")->wants, HOOK_BIT(HOOK_PUBLISH));
    route_cache_clear(r->worker);
    assert_int_equal(find(r, "asked/a")->wants, 0);
}

static void a_hook_whose_filter_does_not_match_is_not_asked(void **state) {
    struct rig *r = *state;
    struct peer p;
    r->hooks.port.wants = wants_bits;
    fake_on(&r->hooks, HOOK_PUBLISH, NULL);
    fake_on(&r->hooks, HOOK_AUTHORIZE, NULL);
    join(&p, r, MQTT_5, "p", true);
    publish(&p, "a", "x", 0, 0);
    assert_int_equal(r->hooks.calls[HOOK_PUBLISH] + r->hooks.calls[HOOK_AUTHORIZE], 0);
    publish(&p, "asked/a", "x", 0, 0);
    assert_int_equal(r->hooks.calls[HOOK_PUBLISH] + r->hooks.calls[HOOK_AUTHORIZE], 2);
    peer_drop(&p);
}

/* More topics than are remembered; some of them come again and again. */
static void the_cache_is_bounded_and_keeps_what_is_used(void **state) {
    struct rig *r = *state;
    struct worker *w = r->worker;
    char topic[16];
    struct route *used = find(r, "used");
    for (unsigned n = 0; n < 300000; n++) {
        snprintf(topic, sizeof topic, "t/%u", n);
        const struct route *route = find(r, topic);
        assert_slice(route_topic(route), topic);
        if (n % 1000 == 0) assert_ptr_equal(find(r, "used"), used);
    }
    assert_int_equal(w->route_len, w->routes.len);
    assert_in_range(w->route_len, 1000, 131072);
    for (unsigned i = 0; i < w->route_len; i++) {
        assert_int_equal(w->route_hand[i]->place, i);
        assert_ptr_equal(map_find(&w->routes, route_topic(w->route_hand[i])), w->route_hand[i]);
    }
    route_cache_clear(w);
    assert_int_equal(w->routes.len, 0);
    assert_int_equal(w->route_receivers, 0);
}

/* Memory of routes with short topics is used again, for longer ones, too. */
static void a_longer_topic_has_room(void **state) {
    struct rig *r = *state;
    struct worker *w = r->worker;
    char topic[3001] = "";
    for (size_t len = 1; len < sizeof topic; len += 1 + len / 2) {
        memset(topic, 'x', len);
        for (unsigned i = 0; i < 4; i++) {
            topic[0] = (char)('a' + i);
            assert_slice(route_topic(find(r, topic)), topic);
        }
        assert_int_equal(w->route_len, 4);
        route_cache_clear(w);
        assert_true(w->route_spare_len > 0 || len > 1024);
    }
}

/* Many topics of many subscribers: it is the receivers that take the memory. */
static void the_receivers_remembered_are_bounded(void **state) {
    struct rig *r = *state;
    struct worker *w = r->worker;
    enum { MANY = 4000 };
    struct subscription *lists[MANY] = { NULL };
    char topic[16];
    for (unsigned i = 0; i < MANY; i++)
        subs_add(r->broker->subs, &lists[i], (struct handle){ i + 1000, 1 }, SLICE("t/#"),
                 &(struct subscribe_options){ .qos = 0 }, 0);
    for (unsigned n = 0; n < 1000; n++) {
        snprintf(topic, sizeof topic, "t/%u", n);
        assert_int_equal(find(r, topic)->to.len, MANY);
        assert_true(w->route_receivers <= 2000000 + 2 * MANY);
    }
    assert_in_range(w->route_len, 1, 502);
    for (unsigned i = 0; i < MANY; i++) subs_del_all(r->broker->subs, &lists[i]);
}

/* A receiver's hook changes the subscriptions, and with them the very route in use. */
static void unsubscribe_all(struct fake *f, struct hook_call *call) {
    (void)f, (void)call;
    struct worker *w = call->client->worker;
    uint32_t at = 0;
    for (struct session *s; (s = slots_next(&w->sessions, &at));)
        subs_del_all(w->broker->subs, &s->subs);
    route_find(w, SLICE("t"));
    route_cache_clear(w);
}

static void a_route_in_use_outlives_its_place_in_the_cache(void **state) {
    struct rig *r = *state;
    struct peer s[5];
    char name[16];
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "s%d", i);
        join(&s[i], r, MQTT_5, name, true);
        subscribe(&s[i], "t", 0);
    }
    fake_on(&r->hooks, HOOK_DELIVER, unsubscribe_all);
    say(r, "t"); /* it had been on its way to all of them */
    for (int i = 0; i < 5; i++) expect_publish(&s[i], "t", "x");
    say(r, "t");
    for (int i = 0; i < 5; i++) expect_nothing(&s[i]);
    for (int i = 0; i < 5; i++) peer_drop(&s[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(a_route_is_remembered_until_something_changes),
        RIG(what_hooks_want_is_remembered_until_others_come),
        RIG(a_hook_whose_filter_does_not_match_is_not_asked),
        RIG(the_cache_is_bounded_and_keeps_what_is_used),
        RIG(a_longer_topic_has_room),
        RIG(the_receivers_remembered_are_bounded),
        RIG(a_route_in_use_outlives_its_place_in_the_cache),
    };
    return cmocka_run_group_tests_name("core/route", tests, NULL, NULL);
}
