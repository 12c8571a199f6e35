/* test_route.c -- the route cache, and a message's way from publisher to receivers. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/route.h"

#include "core/rig.h"

static void say(struct rig *r, const char *topic) {
    route_publish_trusted(r->worker, &(struct message_parts){ .topic = slice_str(topic),
                                                              .payload = SLICE("x"),
                                                              .expires_ms = MESSAGE_NEVER });
}

static struct route *find(struct rig *r, const char *topic) {
    return route_find(r->worker, slice_str(topic));
}

/* ---- the cache ----------------------------------------------------------------------- */

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
    assert_int_equal(find(r, "a/b")->to.at[0].qos, 2);
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
        assert_slice(route->topic, topic);
        if (n % 1000 == 0) assert_ptr_equal(find(r, "used"), used);
    }
    assert_int_equal(w->route_len, w->routes.len);
    assert_in_range(w->route_len, 1000, 131072);
    for (unsigned i = 0; i < w->route_len; i++) {
        assert_int_equal(w->route_hand[i]->place, i);
        assert_ptr_equal(map_find(&w->routes, w->route_hand[i]->topic), w->route_hand[i]);
    }
    route_cache_clear(w);
    assert_int_equal(w->routes.len, 0);
    assert_int_equal(w->route_receivers, 0);
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

/* ---- receivers ------------------------------------------------------------------------- */

static void no_local_keeps_a_clients_own_messages_from_it(void **state) { /* [MQTT-3.8.3-3] */
    struct rig *r = *state;
    struct peer p, q;
    join(&p, r, MQTT_5, "p", false);
    join(&q, r, MQTT_5, "q", true);
    say_subscribe(&p, true, "t", (struct subscribe_options){ .no_local = true }, 0);
    expect(&p, PKT_SUBACK);
    publish(&p, "t", "mine", 0, 0);
    publish(&q, "t", "yours", 0, 0);
    say(r, "t");
    expect_publish(&p, "t", "yours");
    expect_publish(&p, "t", "x");
    peer_drop(&p);
    join(&p, r, MQTT_5, "p", false); /* the session knows its own after a reconnect, too */
    publish(&p, "t", "mine", 0, 0);
    expect_nothing(&p);
    subscribe(&p, "+", 0); /* another subscription that does not mind */
    publish(&p, "t", "mine", 0, 0);
    expect_publish(&p, "t", "mine");
    peer_drop(&p);
    peer_drop(&q);
}

static void retain_is_told_where_it_is_asked_for(void **state) { /* [MQTT-3.3.1-13] */
    struct rig *r = *state;
    struct peer p, s;
    join(&p, r, MQTT_5, "p", true);
    join(&s, r, MQTT_5, "s", true);
    subscribe(&p, "t", 0);
    say_subscribe(&s, true, "t", (struct subscribe_options){ .retain_as_published = true }, 0);
    expect(&s, PKT_SUBACK);
    publish_retained(&p, "t", "kept");
    assert_false(expect_publish(&p, "t", "kept")->retain);
    assert_true(expect_publish(&s, "t", "kept")->retain);
    publish(&p, "t", "not", 0, 0);
    assert_false(expect_publish(&s, "t", "not")->retain);
    peer_drop(&p);
    peer_drop(&s);
}

static void the_lower_qos_wins(void **state) { /* 3.8.4 */
    struct rig *r = *state;
    struct peer p, s;
    join(&p, r, MQTT_5, "p", true);
    for (uint8_t most = 0; most <= 2; most++) {
        join(&s, r, MQTT_5, "s", true);
        subscribe(&s, "t", most);
        for (uint8_t qos = 0; qos <= 2; qos++) {
            publish(&p, "t", "x", qos, (uint16_t)(qos ? 1 + most * 3 + qos : 0));
            assert_int_equal(expect_publish(&s, "t", "x")->qos, qos < most ? qos : most);
        }
        peer_drop(&s);
    }
    peer_drop(&p);
}

/* ---- the way ------------------------------------------------------------------------------ */

static const char *new_topic;
static bool allows;

static void rewrite(struct fake *f, struct hook_call *call) {
    struct message_parts parts = message_parts(call->message);
    (void)f;
    parts.topic = slice_str(new_topic);
    parts.qos = 0;
    message_unref(call->message);
    call->message = message_new(&parts);
}

static void check_topic(struct fake *f, struct hook_call *call) {
    (void)f;
    assert_int_equal(call->access.action, ACCESS_PUBLISH);
    assert_slice(call->access.topic, new_topic);
    call->verdict = allows ? VERDICT_ALLOW : VERDICT_DENY;
}

static void authorize_sees_the_effective_topic(void **state) {
    struct rig *r = *state;
    struct peer p, s;
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "#", 2);
    join(&p, r, MQTT_5, "p", true);
    fake_on(&r->hooks, HOOK_PUBLISH, rewrite);
    fake_on(&r->hooks, HOOK_AUTHORIZE, check_topic);
    new_topic = "other";
    allows = true;
    publish(&p, "t", "x", 2, 7);
    assert_int_equal(expect_publish(&s, "other", "x")->qos, 0);
    const struct packet *ack_of = expect(&p, PKT_PUBREC); /* as it was sent, not as it became */
    assert_int_equal(ack_of->ack.packet_id, 7);
    allows = false;
    publish(&p, "t", "x", 1, 8);
    assert_int_equal(expect(&p, PKT_PUBACK)->ack.reason_code, RC_NOT_AUTHORIZED);
    expect_nothing(&s);
    peer_drop(&p);
    peer_drop(&s);
}

static void what_a_hook_makes_of_a_message_must_be_one(void **state) {
    static const char *const names[] = { "", "a/#", "+", "\xFF", "\xC0\x80" };
    struct rig *r = *state;
    struct peer p, s;
    join(&s, r, MQTT_5, "s", true);
    subscribe(&s, "#", 2);
    join(&p, r, MQTT_5, "p", true);
    fake_on(&r->hooks, HOOK_PUBLISH, rewrite);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        new_topic = names[i];
        publish(&p, "t", "x", 1, 8);
        assert_int_equal(expect(&p, PKT_PUBACK)->ack.reason_code, RC_IMPLEMENTATION_SPECIFIC_ERROR);
    }
    expect_nothing(&s);
    peer_drop(&p);
    peer_drop(&s);
}

static uint8_t outcome;

static void note_outcome(struct publish *p, uint8_t reason_code, const char *reason) {
    (void)p, (void)reason;
    outcome = reason_code;
}

static void a_script_says_nothing_invalid_either(void **state) {
    struct rig *r = *state;
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    for (int trusted = 0; trusted < 2; trusted++) {
        struct publish *q = publish_new(r->worker);
        q->client = client_ref(p.client);
        q->message = message_new(&(struct message_parts){ .topic = SLICE("a/+") });
        q->trusted = trusted;
        q->done = note_outcome;
        assert_false(publish_start(q));
        assert_int_equal(outcome, RC_IMPLEMENTATION_SPECIFIC_ERROR);
    }
    say(r, "");
    peer_drop(&p);
}

static void drop(struct fake *f, struct hook_call *call) {
    (void)f;
    call->verdict = VERDICT_DROP;
}

static void a_dropped_message_is_acknowledged(void **state) {
    struct rig *r = *state;
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    subscribe(&p, "#", 0);
    fake_on(&r->hooks, HOOK_PUBLISH, drop);
    publish(&p, "t", "x", 1, 8);
    assert_int_equal(expect(&p, PKT_PUBACK)->ack.reason_code, RC_SUCCESS);
    expect_nothing(&p);
    peer_drop(&p);
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
        RIG(the_receivers_remembered_are_bounded),
        RIG(no_local_keeps_a_clients_own_messages_from_it),
        RIG(retain_is_told_where_it_is_asked_for),
        RIG(the_lower_qos_wins),
        RIG(authorize_sees_the_effective_topic),
        RIG(what_a_hook_makes_of_a_message_must_be_one),
        RIG(a_script_says_nothing_invalid_either),
        RIG(a_dropped_message_is_acknowledged),
        RIG(a_route_in_use_outlives_its_place_in_the_cache),
    };
    return cmocka_run_group_tests_name("core/route", tests, NULL, NULL);
}
