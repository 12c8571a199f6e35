/* test_ahead.c -- looking up what stands in line, and what may happen before its turn comes. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/ahead.h"

#include "core/rig.h"

enum { MANY = 5000, LINE = 6 };

static struct {
    unsigned len;        /* look-ups of topics t/... */
    uint64_t at[64];     /* messages that had come by then */
    const char *asking;  /* the topic whose hooks are asked */
    struct rig *rig;     /* whose worker's */
    struct peer *reader; /* who subscribes to the topics */
} seen;

/* Asked of every new route. */
static uint32_t wants_one(struct hooks *h, struct slice topic) {
    struct worker *w = seen.rig->worker;
    if (slice_starts(topic, SLICE("t/")) && seen.len < ARRAY_LEN(seen.at))
        seen.at[seen.len++] = atomic_load(&w->counters.messages_in);
    return seen.asking && slice_eq(topic, slice_str(seen.asking)) ? h->wanted : 0;
}

/* So many routes that it is worth while, and a reader. */
static void begin(struct rig *r, struct peer *reader, struct peer *writer, unsigned routes) {
    char topic[16];
    memset(&seen, 0, sizeof seen);
    seen.rig = r;
    seen.reader = reader;
    r->hooks.port.wants = wants_one;
    fake_on(&r->hooks, HOOK_PUBLISH, NULL); /* forgets the routes there were */
    for (unsigned i = 0; i < routes; i++) {
        snprintf(topic, sizeof topic, "warm/%u", i);
        route_find(r->worker, slice_str(topic));
    }
    join(reader, r, MQTT_5, "reader", true);
    join(writer, r, MQTT_5, "writer", true);
    subscribe(reader, "t/+", 0);
    publish(writer, "t/first", "x", 0, 0);
    expect_publish(reader, "t/first", "x");
}

static void end(struct peer *reader, struct peer *writer) {
    peer_drop(reader);
    peer_drop(writer);
}

static void post(struct peer *p, const char *topic) {
    struct packet packet = publish_packet(topic, topic, 0, 0);
    peer_post(p, &packet);
}

/* PREFIX/0, PREFIX/1 ... in one write as far as the broker can tell. */
static void post_line(struct peer *p, const char *prefix) {
    char topic[16];
    for (int i = 0; i < LINE; i++) {
        snprintf(topic, sizeof topic, "%s/%d", prefix, i);
        post(p, topic);
    }
}

static void expect_line(struct peer *p, const char *prefix, int from, int to) {
    char topic[16];
    for (int i = from; i <= to; i++) {
        snprintf(topic, sizeof topic, "%s/%d", prefix, i);
        expect_publish(p, topic, topic);
    }
}

static void what_stands_in_line_is_looked_up_together(void **state) {
    struct rig *r = *state;
    struct peer reader, writer;
    begin(r, &reader, &writer, MANY);
    post_line(&writer, "t");
    post_line(&writer, "t"); /* known by then, or looked up twice: delivered once each */
    rig_settle(r);
    expect_line(&reader, "t", 0, LINE - 1);
    expect_line(&reader, "t", 0, LINE - 1);
    expect_nothing(&reader);
    for (unsigned i = 1; i <= LINE; i++) assert_int_equal(seen.at[i], 2);
    assert_ptr_equal(map_find(&r->worker->routes, SLICE("t/0")),
                     route_find(r->worker, SLICE("t/0")));
    assert_int_equal(r->worker->route_len, r->worker->routes.len);
    end(&reader, &writer);
}

static void with_few_routes_each_is_looked_up_in_its_turn(void **state) {
    struct rig *r = *state;
    struct peer reader, writer;
    begin(r, &reader, &writer, 10);
    post_line(&writer, "t");
    rig_settle(r);
    expect_line(&reader, "t", 0, LINE - 1);
    for (unsigned i = 0; i <= LINE; i++) assert_int_equal(seen.at[i], i + 1);
    end(&reader, &writer);
}

static void end_subscriptions(struct fake *f, struct hook_call *call) {
    (void)f, (void)call;
    subs_del_all(seen.rig->broker->subs, &seen.reader->client->conn->session->subs);
}

static void a_subscription_that_ends_meanwhile_has_ended(void **state) {
    struct rig *r = *state;
    struct peer reader, writer;
    begin(r, &reader, &writer, MANY);
    seen.asking = "t/2";
    r->hooks.on[HOOK_PUBLISH] = end_subscriptions;
    post_line(&writer, "t");
    rig_settle(r);
    assert_int_equal(seen.at[LINE], 2); /* t/5, before the end */
    expect_line(&reader, "t", 0, 1);
    expect_nothing(&reader);
    end(&reader, &writer);
}

static void change_policy(struct fake *f, struct hook_call *call) {
    (void)f, (void)call;
    seen.asking = "t/4";
    seen.rig->worker->policies++;
    route_cache_clear(seen.rig->worker);
}

static void what_hooks_want_is_asked_again_of_others(void **state) {
    struct rig *r = *state;
    struct peer reader, writer;
    begin(r, &reader, &writer, MANY);
    seen.asking = "t/2";
    r->hooks.on[HOOK_PUBLISH] = change_policy;
    post_line(&writer, "t");
    rig_settle(r);
    expect_line(&reader, "t", 0, LINE - 1);
    assert_int_equal(r->hooks.calls[HOOK_PUBLISH], 2); /* t/2, t/4 */
    end(&reader, &writer);
}

/* Another client's packets lie where those of one that waits have lain. */
static void what_was_looked_up_serves_that_input_alone(void **state) {
    struct rig *r = *state;
    struct peer reader, writer, other;
    begin(r, &reader, &writer, MANY);
    join(&other, r, MQTT_5, "other", true);
    publish(&other, "u/0", "x", 0, 0); /* so that it has no need to look that up again */
    subscribe(&reader, "u/1", 0);
    seen.asking = "t/1";
    r->hooks.on[HOOK_PUBLISH] = fake_wait;
    post_line(&writer, "t");
    rig_settle(r);
    expect_line(&reader, "t", 0, 0);
    post(&other, "u/0");
    post(&other, "u/0");
    post(&other, "u/1"); /* where t/2 was */
    rig_settle(r);
    expect_line(&reader, "u", 1, 1);
    fake_answer(&r->hooks, VERDICT_NONE, 0);
    rig_settle(r);
    expect_line(&reader, "t", 1, LINE - 1);
    expect_nothing(&reader);
    peer_drop(&other);
    end(&reader, &writer);
}

static void a_topic_that_is_none_is_refused_in_its_turn(void **state) {
    struct rig *r = *state;
    struct peer reader, writer;
    static const uint8_t wildcard[] = { 0x30, 6, 0, 3, 't', '/', '#', 0 };
    static const uint8_t too_long[] = { 0x30, 4, 0, 9, 't', 0 };
    begin(r, &reader, &writer, MANY);
    post_line(&writer, "t");
    peer_bytes(&writer, wildcard, sizeof wildcard);
    peer_bytes(&writer, too_long, sizeof too_long);
    rig_settle(r);
    expect_line(&reader, "t", 0, LINE - 1);
    expect_nothing(&reader);
    expect_disconnect(&writer, RC_TOPIC_NAME_INVALID);
    end(&reader, &writer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(what_stands_in_line_is_looked_up_together),
        RIG(with_few_routes_each_is_looked_up_in_its_turn),
        RIG(a_subscription_that_ends_meanwhile_has_ended),
        RIG(what_hooks_want_is_asked_again_of_others),
        RIG(what_was_looked_up_serves_that_input_alone),
        RIG(a_topic_that_is_none_is_refused_in_its_turn),
    };
    return cmocka_run_group_tests_name("core/ahead", tests, NULL, NULL);
}
