/* test_trial.c -- questions: the hooks are asked, and nothing comes of it. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/rig.h"

#include "core/grants.h"
#include "core/review.h"
#include "core/trial.h"

struct asker {
    struct trial trial;
    unsigned answers;
    uint8_t code, by;
    bool is_dropped;
};

static void on_done(struct trial *t) {
    struct asker *a = t->obj;
    a->answers++;
    a->code = t->reason_code;
    a->by = t->by;
    a->is_dropped = t->is_dropped;
}

static void asker_init(struct asker *a, struct rig *r, struct client *c) {
    *a = (struct asker){ .trial = { .done = on_done } };
    a->trial.obj = a;
    trial_init(&a->trial, r->worker, c);
}

static struct client *stranger(struct rig *r) {
    struct client *c = client_new(r->worker, "test", "unix:test");
    client_set_id(c, SLICE("s"));
    c->version = MQTT_5;
    return c;
}

static void allow(struct fake *f, struct hook_call *call) {
    (void)f;
    must(call->trial != NULL);
    call->verdict = VERDICT_ALLOW;
}

static void deny(struct fake *f, struct hook_call *call) {
    (void)f;
    call->verdict = VERDICT_DENY;
    call->reason_code = RC_QUOTA_EXCEEDED;
}

static void drop(struct fake *f, struct hook_call *call) {
    (void)f;
    call->verdict = VERDICT_DROP;
}

static const struct pkt_publish retained = { .topic = { (const uint8_t *)"a/b", 3 },
                                             .payload = { (const uint8_t *)"x", 1 },
                                             .retain = true };

static const struct pkt_connect hello = { .version = MQTT_5,
                                          .clean_start = true,
                                          .client_id = { (const uint8_t *)"s", 1 } };

/* ---- publish -------------------------------------------------------------------- */

static void a_publish_is_asked_about_and_goes_nowhere(void **state) {
    struct rig *r = *state;
    struct asker a;
    struct peer p;
    join(&p, r, MQTT_5, "reader", true);
    subscribe(&p, "a/#", 0);
    struct client *c = stranger(r);
    asker_init(&a, r, c);
    fake_on(&r->hooks, HOOK_PUBLISH, NULL);
    fake_on(&r->hooks, HOOK_AUTHORIZE, allow);
    fake_on(&r->hooks, HOOK_PUBLISHED, NULL);
    trial_publish(&a.trial, &retained);
    assert_int_equal(a.answers, 1);
    assert_int_equal(a.code, RC_SUCCESS);
    assert_int_equal(a.by, TRIAL_BY_HANDLER);
    assert_int_equal(a.trial.receivers, 1);
    assert_int_equal(r->hooks.calls[HOOK_PUBLISH], 1);
    assert_int_equal(r->hooks.calls[HOOK_PUBLISHED], 0);
    assert_int_equal(retain_count(r->broker->retained), 0);
    expect_nothing(&p);
    trial_deinit(&a.trial);
    client_unref(c);
    peer_drop(&p);
}

static void who_decided_is_told(void **state) {
    static const struct {
        fake_fn *publish, *authorize;
        bool access;
        uint8_t code, by;
        bool is_dropped;
    } rows[] = {
        { NULL, NULL, true, RC_NO_MATCHING_SUBSCRIBERS, TRIAL_BY_DEFAULT, false },
        { NULL, NULL, false, RC_NOT_AUTHORIZED, TRIAL_BY_DEFAULT, false },
        { NULL, allow, false, RC_NO_MATCHING_SUBSCRIBERS, TRIAL_BY_HANDLER, false },
        { NULL, deny, true, RC_QUOTA_EXCEEDED, TRIAL_BY_HANDLER, false },
        { deny, allow, true, RC_QUOTA_EXCEEDED, TRIAL_BY_HANDLER, false },
        { drop, allow, true, RC_SUCCESS, TRIAL_BY_HANDLER, true },
        { allow, NULL, true, RC_NO_MATCHING_SUBSCRIBERS, TRIAL_BY_DEFAULT, false },
    };
    struct rig *r = *state;
    struct client *c = stranger(r);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct asker a;
        asker_init(&a, r, c);
        r->config->default_access = rows[i].access;
        fake_on(&r->hooks, HOOK_PUBLISH, rows[i].publish);
        fake_on(&r->hooks, HOOK_AUTHORIZE, rows[i].authorize);
        trial_publish(&a.trial, &retained);
        if (a.code != rows[i].code || a.by != rows[i].by || a.is_dropped != rows[i].is_dropped)
            fail_msg("row %zu: 0x%02X by %d", i, a.code, a.by);
        trial_deinit(&a.trial);
    }
    assert_int_equal(r->worker->counters.dropped_by_hook, 0);
    client_unref(c);
}

static void limits_answer_before_hooks_do(void **state) {
    static const struct {
        struct pkt_publish packet;
        uint8_t code;
    } rows[] = {
        { { .topic = { (const uint8_t *)"a/+", 3 }, .payload = { (const uint8_t *)"", 0 } },
          RC_TOPIC_NAME_INVALID },
        { { .topic = { (const uint8_t *)"", 0 }, .payload = { (const uint8_t *)"", 0 } },
          RC_TOPIC_NAME_INVALID },
        { { .topic = { (const uint8_t *)"$SYS/x", 6 }, .payload = { (const uint8_t *)"", 0 } },
          RC_NOT_AUTHORIZED },
        { { .topic = { (const uint8_t *)"a/b/c/d", 7 }, .payload = { (const uint8_t *)"", 0 } },
          RC_TOPIC_NAME_INVALID },
        { { .topic = { (const uint8_t *)"a", 1 }, .payload = { (const uint8_t *)"12345", 5 } },
          RC_QUOTA_EXCEEDED },
        { { .topic = { (const uint8_t *)"a", 1 }, .payload = { (const uint8_t *)"", 0 }, .qos = 2 },
          RC_QOS_NOT_SUPPORTED },
    };
    struct rig *r = *state;
    r->config->limits.max_topic_levels = 3;
    r->config->limits.max_payload_size = 4;
    r->config->limits.max_qos = 1;
    struct client *c = stranger(r);
    fake_on(&r->hooks, HOOK_PUBLISH, allow);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct asker a;
        asker_init(&a, r, c);
        trial_publish(&a.trial, &rows[i].packet);
        if (a.code != rows[i].code || a.by != TRIAL_BY_CHECK || !a.trial.reason)
            fail_msg("row %zu: 0x%02X by %d", i, a.code, a.by);
        trial_deinit(&a.trial);
    }
    assert_int_equal(r->hooks.calls[HOOK_PUBLISH], 0);
    client_unref(c);
}

/* ---- subscribe ------------------------------------------------------------------ */

static void a_subscription_is_asked_about_and_not_made(void **state) {
    struct rig *r = *state;
    struct asker a;
    struct client *c = stranger(r);
    asker_init(&a, r, c);
    fake_on(&r->hooks, HOOK_SUBSCRIBE, NULL);
    fake_on(&r->hooks, HOOK_SUBSCRIBED, NULL);
    fake_on(&r->hooks, HOOK_REFUSED, NULL);
    trial_subscribe(&a.trial, SLICE("a/#"), &(struct subscribe_options){ .qos = 1 });
    assert_int_equal(a.answers, 1);
    assert_int_equal(a.code, 1);
    assert_int_equal(a.by, TRIAL_BY_DEFAULT);
    fake_on(&r->hooks, HOOK_AUTHORIZE, deny);
    trial_subscribe(&a.trial, SLICE("a/#"), &(struct subscribe_options){ .qos = 1 });
    assert_int_equal(a.code, RC_QUOTA_EXCEEDED);
    assert_int_equal(a.by, TRIAL_BY_HANDLER);
    trial_subscribe(&a.trial, SLICE("a/#/b"), &(struct subscribe_options){ .qos = 1 });
    assert_int_equal(a.code, RC_TOPIC_FILTER_INVALID);
    assert_int_equal(a.by, TRIAL_BY_CHECK);
    assert_int_equal(subs_count(r->broker->subs), 0);
    assert_int_equal(r->hooks.calls[HOOK_SUBSCRIBED], 0);
    assert_int_equal(r->hooks.calls[HOOK_REFUSED], 0);
    trial_deinit(&a.trial);
    client_unref(c);
}

/* ---- grants ----------------------------------------------------------------------- */

static void a_grant_that_decides_is_named(void **state) {
    static const struct grant_entry entries[] = {
        { .pattern = { (const uint8_t *)"a/%c", 4 },
          .actions = GRANT_PUBLISH,
          .max_qos = 2,
          .max_size = UINT32_MAX },
        { .pattern = { (const uint8_t *)"a/#", 3 }, .actions = GRANT_PUBLISH, .is_deny = true },
        { .pattern = { (const uint8_t *)"b/+", 3 }, .actions = GRANT_READ, .max_qos = 2 },
    };
    struct rig *r = *state;
    struct asker a;
    struct client *c = stranger(r);
    struct pkt_publish own = { .topic = SLICE("a/s"), .payload = SLICE("") };
    must(review_grant(c, grant_new("mine", entries, ARRAY_LEN(entries))));
    asker_init(&a, r, c);
    r->config->default_access = false;
    fake_on(&r->hooks, HOOK_AUTHORIZE, deny);
    trial_publish(&a.trial, &own);
    assert_int_equal(a.code, RC_NO_MATCHING_SUBSCRIBERS);
    assert_int_equal(a.by, TRIAL_BY_GRANT);
    assert_string_equal(a.trial.grant, "grant mine (a/%c)");
    trial_publish(&a.trial, &retained);
    assert_int_equal(a.code, RC_NOT_AUTHORIZED);
    assert_int_equal(a.by, TRIAL_BY_GRANT);
    assert_string_equal(a.trial.grant, "grant mine (deny a/#)");
    trial_subscribe(&a.trial, SLICE("b/#"), &(struct subscribe_options){ .qos = 1 });
    assert_int_equal(a.code, 1);
    assert_int_equal(a.by, TRIAL_BY_GRANT);
    assert_string_equal(a.trial.grant, "grant mine (b/+, in part)");
    assert_int_equal(r->hooks.calls[HOOK_AUTHORIZE], 0);
    trial_subscribe(&a.trial, SLICE("c"), &(struct subscribe_options){ .qos = 1 });
    assert_int_equal(a.by, TRIAL_BY_HANDLER);
    assert_null(a.trial.grant);
    trial_deinit(&a.trial);
    client_unref(c);
}

/* ---- connect -------------------------------------------------------------------- */

static void a_connect_is_asked_about_and_nobody_comes(void **state) {
    struct rig *r = *state;
    struct asker a;
    struct peer p;
    join(&p, r, MQTT_5, "s", true); /* of the same name */
    asker_init(&a, r, NULL);
    fake_on(&r->hooks, HOOK_CONNECT, NULL);
    fake_on(&r->hooks, HOOK_AUTHENTICATE, allow);
    fake_on(&r->hooks, HOOK_CONNECTED, NULL);
    assert_int_equal(trial_connect(&a.trial, "unix:test", &hello), 0);
    assert_int_equal(a.answers, 1);
    assert_int_equal(a.code, RC_SUCCESS);
    assert_int_equal(a.by, TRIAL_BY_HANDLER);
    assert_int_equal(r->hooks.calls[HOOK_CONNECTED], 0);
    rig_settle(r);
    assert_int_equal(r->worker->conns_len, 1);
    assert_int_equal(r->broker->connected, 1);
    assert_int_equal(r->worker->counters.connections, 1);
    expect_nothing(&p); /* no take-over */
    trial_deinit(&a.trial);
    peer_drop(&p);
}

static void a_refused_connect_says_why(void **state) {
    struct rig *r = *state;
    struct asker a;
    asker_init(&a, r, NULL);
    r->config->limits.allow_anonymous = NO;
    assert_int_equal(trial_connect(&a.trial, "unix:other", &hello), 0);
    assert_int_equal(a.code, RC_NOT_AUTHORIZED);
    assert_int_equal(a.by, TRIAL_BY_DEFAULT);
    assert_non_null(a.trial.reason);
    assert_int_equal(r->worker->counters.connects_refused, 0);
    trial_deinit(&a.trial);
    rig_settle(r);
    assert_int_equal(r->worker->conns_len, 0);
}

/* A handler that disconnects the very client. */
static void hang_up(struct fake *f, struct hook_call *call) {
    (void)f;
    client_disconnect(call->client, &(struct farewell){ RC_BANNED, "go away", NULL, NULL });
}

static void a_hook_may_end_the_connection_in_question(void **state) {
    struct rig *r = *state;
    struct asker a;
    asker_init(&a, r, NULL);
    fake_on(&r->hooks, HOOK_CONNECT, hang_up);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(trial_connect(&a.trial, "unix:test", &hello), 0);
        assert_int_equal(a.answers, i); /* not while the hook may still run */
        rig_settle(r);
        assert_int_equal(a.answers, i + 1);
        assert_int_equal(a.code, RC_BANNED);
        assert_string_equal(a.trial.reason, "go away");
    }
    assert_int_equal(trial_connect(&a.trial, "unix:test", &hello), 0);
    trial_deinit(&a.trial); /* before it could be told */
    rig_settle(r);
    assert_int_equal(a.answers, 2);
}

/* ---- waiting -------------------------------------------------------------------- */

static void ask_publish(struct asker *a) {
    trial_publish(&a->trial, &retained);
}

static void ask_subscribe(struct asker *a) {
    trial_subscribe(&a->trial, SLICE("a"), &(struct subscribe_options){ .qos = 0 });
}

static void ask_connect(struct asker *a) {
    assert_int_equal(trial_connect(&a->trial, "unix:test", &hello), 0);
}

static const struct {
    void (*ask)(struct asker *a);
    enum hook_event event;
} waits[] = {
    { ask_publish, HOOK_PUBLISH },     { ask_publish, HOOK_AUTHORIZE },
    { ask_subscribe, HOOK_SUBSCRIBE }, { ask_subscribe, HOOK_AUTHORIZE },
    { ask_connect, HOOK_CONNECT },     { ask_connect, HOOK_AUTHENTICATE },
};

static void what_waits_is_waited_for(void **state) {
    struct rig *r = *state;
    struct client *c = stranger(r);
    for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
        struct asker a;
        asker_init(&a, r, waits[i].ask == ask_connect ? NULL : c);
        fake_want(&r->hooks, 0);
        fake_on(&r->hooks, waits[i].event, fake_wait);
        waits[i].ask(&a);
        assert_int_equal(a.answers, 0);
        fake_answer(&r->hooks, VERDICT_DENY, RC_QUOTA_EXCEEDED);
        assert_int_equal(a.answers, 1);
        assert_int_equal(a.code, RC_QUOTA_EXCEEDED);
        trial_deinit(&a.trial);
        rig_settle(r);
    }
    client_unref(c);
}

static void what_waits_can_be_given_up(void **state) {
    struct rig *r = *state;
    struct client *c = stranger(r);
    for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
        struct asker a;
        asker_init(&a, r, waits[i].ask == ask_connect ? NULL : c);
        fake_want(&r->hooks, 0);
        fake_on(&r->hooks, waits[i].event, fake_wait);
        waits[i].ask(&a);
        trial_deinit(&a.trial);
        assert_int_equal(a.answers, 0);
        assert_int_equal(r->hooks.cancelled, i + 1);
        rig_settle(r);
        assert_int_equal(r->worker->conns_len, 0);
    }
    client_unref(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(a_publish_is_asked_about_and_goes_nowhere),
        RIG(who_decided_is_told),
        RIG(limits_answer_before_hooks_do),
        RIG(a_subscription_is_asked_about_and_not_made),
        RIG(a_grant_that_decides_is_named),
        RIG(a_connect_is_asked_about_and_nobody_comes),
        RIG(a_refused_connect_says_why),
        RIG(a_hook_may_end_the_connection_in_question),
        RIG(what_waits_is_waited_for),
        RIG(what_waits_can_be_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
