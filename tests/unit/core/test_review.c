/* test_review.c -- grants of clients that live: given, expired, taken back, and what becomes
 * of subscriptions then. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/review.h"

#include "core/grants.h"
#include "core/rig.h"

/* ---- helpers ------------------------------------------------------------------ */

enum { ALL = GRANT_PUBLISH | GRANT_READ };

static struct grant *make(const char *name, const char *pattern) {
    struct grant_entry e = {
        .pattern = slice_str(pattern), .max_size = UINT32_MAX, .actions = ALL, .max_qos = 2
    };
    return grant_new(name, &e, 1);
}

static void give_until(struct client *c, const char *name, const char *pattern, uint64_t until_ms) {
    struct grant *g = make(name, pattern);
    g->expires_ms = until_ms;
    assert_true(review_grant(c, g));
}

static void give(struct client *c, const char *name, const char *pattern) {
    give_until(c, name, pattern, GRANT_NEVER);
}

/* As a policy of this generation gives it, here or on another worker. */
static void give_until_reload(struct client *c, const char *name, unsigned generation) {
    struct grant *g = make(name, "a/#");
    g->until_reload = true;
    g->generation = generation;
    assert_true(review_grant(c, g));
}

static bool has_grant(const struct client *c, const char *name) {
    const struct grant *g = c->grants ? c->grants->first : NULL;
    while (g && strcmp(g->name, name) != 0) g = g->next;
    return g != NULL;
}

/* Nobody may anything but by a grant. */
static struct rig *strict(void **state) {
    struct rig *r = *state;
    for (unsigned i = 0; i < r->broker->workers_len; i++)
        r->broker->workers[i].config->default_access = false;
    return r;
}

static void join_granted(struct peer *p, struct rig *r, const char *id, const char *pattern) {
    join(p, r, MQTT_5, id, true);
    give(p->client, "g", pattern);
}

static bool is_subscribed(const struct rig *r, const struct peer *p, const char *filter) {
    return subs_has(r->broker->subs, p->client->session->handle, slice_str(filter));
}

static uint8_t standing(const struct rig *r, const struct peer *p, const char *filter) {
    struct subscription *sub =
        subs_find(r->broker->subs, p->client->session->handle, slice_str(filter));
    assert_non_null(sub);
    return sub->options.standing;
}

/* ---- losing grants -------------------------------------------------------------- */

static void a_grant_expires_on_the_brokers_clock(void **state) {
    struct rig *r = strict(state);
    struct peer p, root;
    join_granted(&root, r, "root", "#");
    join_granted(&p, r, "p", "a/#");
    give_until(p.client, "short", "b/#", loop_now_ms(r->worker->loop) + 5000);
    fake_on(&r->hooks, HOOK_UNSUBSCRIBED, NULL);
    assert_int_equal(subscribe(&p, "a/#", 0), 0);
    assert_int_equal(subscribe(&p, "b/#", 0), 0);
    rig_pass_ms(r, 4999);
    publish(&root, "b/1", "x", 0, 0);
    expect_publish(&p, "b/1", "x");
    rig_pass_ms(r, 1);
    assert_false(is_subscribed(r, &p, "b/#"));
    assert_true(is_subscribed(r, &p, "a/#"));
    assert_int_equal(r->hooks.calls[HOOK_UNSUBSCRIBED], 1);
    assert_int_equal(p.client->session->subs_len, 1);
    assert_int_equal(subscribe(&p, "b/1", 0), RC_NOT_AUTHORIZED);
    publish(&root, "b/1", "x", 0, 0);
    publish(&root, "a/1", "y", 0, 0);
    expect_publish(&p, "a/1", "y");
    peer_drop(&p);
    peer_drop(&root);
}

static void all_that_was_granted_can_expire(void **state) {
    struct rig *r = strict(state);
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    for (unsigned i = 1; i <= 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "g%u", i);
        give_until(p.client, name, name, loop_now_ms(r->worker->loop) + i * 1000);
        assert_int_equal(subscribe(&p, name, 0), 0);
    }
    for (unsigned i = 3; i > 0; i--) {
        assert_int_equal(p.client->session->subs_len, i);
        rig_pass_ms(r, 1000);
    }
    assert_int_equal(p.client->session->subs_len, 0);
    assert_null(p.client->grants);
    peer_drop(&p);
}

static struct client *victim;

static void revoke_from_victim(struct fake *f, struct hook_call *call) {
    (void)f, (void)call;
    review_revoke(victim, NULL);
}

static void what_is_revoked_counts_at_once(void **state) {
    struct rig *r = strict(state);
    struct peer p, root;
    join_granted(&root, r, "root", "#");
    join_granted(&p, r, "p", "a/#");
    assert_int_equal(subscribe(&p, "a/#", 0), 0);
    assert_int_equal(standing(r, &p, "a/#"), STANDING_GRANTED);
    victim = p.client;
    fake_on(&r->hooks, HOOK_PUBLISH, revoke_from_victim); /* on the way of this very message */
    publish(&root, "a/1", "x", 0, 0);
    expect_nothing(&p);
    assert_int_equal(p.client->session->subs_len, 0);
    peer_drop(&p);
    peer_drop(&root);
}

/* Workers take a new policy one after the other. */
static void a_grant_until_reload_ends_with_its_own_policy(void **state) {
    struct rig *r = strict(state);
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    give_until_reload(p.client, "mine", 1);
    give_until_reload(p.client, "ahead", 2); /* of a worker that has the next one already */
    assert_true(has_grant(p.client, "mine") && has_grant(p.client, "ahead"));
    review_policy(r->worker, 2);
    atomic_store(&r->worker->generation, 2);
    assert_false(has_grant(p.client, "mine"));
    assert_true(has_grant(p.client, "ahead"));
    give_until_reload(p.client, "late", 1); /* of a worker that has the old one still */
    assert_false(has_grant(p.client, "late"));
    review_policy(r->worker, 3);
    assert_false(has_grant(p.client, "ahead"));
    peer_drop(&p);
}

static void deny(struct fake *f, struct hook_call *call) {
    (void)f;
    call->verdict = VERDICT_DENY;
}

static void retained_messages_under_way_are_not_sent_any_more(void **state) {
    struct rig *r = *state;
    struct peer p, root;
    join(&root, r, MQTT_5, "root", true);
    for (char topic[] = "a/1"; topic[2] < '5'; topic[2]++) publish_retained(&root, topic, "x");
    struct packet connect = connect_packet(MQTT_5, "p", true);
    connect.connect.props.present |= PROP_BIT(PROP_RECEIVE_MAXIMUM);
    connect.connect.props.receive_maximum = 1;
    join_with(&p, r, &connect);
    assert_int_equal(subscribe(&p, "b", 1), 1);
    publish(&root, "b", "y", 1, 5);
    uint16_t id = expect(&p, PKT_PUBLISH)->publish.packet_id;
    assert_int_equal(subscribe(&p, "a/#", 1), 1); /* whose window is closed */
    fake_on(&r->hooks, HOOK_AUTHORIZE, deny);
    review_session(p.client->session);
    rig_settle(r);
    ack(&p, PKT_PUBACK, id, RC_SUCCESS);
    expect_nothing(&p);
    assert_int_equal(p.client->session->subs_len, 0);
    peer_drop(&p);
    peer_drop(&root);
}

static void a_deny_that_comes_later_counts_for_what_is_subscribed(void **state) {
    struct rig *r = *state;
    struct peer p, root;
    join(&root, r, MQTT_5, "root", true);
    join(&p, r, MQTT_5, "p", true);
    assert_int_equal(subscribe(&p, "a/#", 0), 0); /* because nobody objects */
    assert_int_equal(standing(r, &p, "a/#"), STANDING_FREE);
    struct grant_entry e = { .pattern = SLICE("a/secret"),
                             .actions = GRANT_FILTERS,
                             .is_deny = true };
    assert_true(review_grant(p.client, grant_new("lock", &e, 1)));
    assert_int_equal(standing(r, &p, "a/#"), STANDING_EXCEPT);
    publish(&root, "a/secret", "no", 0, 0);
    publish(&root, "a/x", "yes", 0, 0);
    expect_publish(&p, "a/x", "yes");
    assert_int_equal(review_revoke(p.client, "lock"), 1);
    rig_settle(r);
    assert_int_equal(standing(r, &p, "a/#"), STANDING_FREE);
    publish(&root, "a/secret", "now", 0, 0);
    expect_publish(&p, "a/secret", "now");
    peer_drop(&p);
    peer_drop(&root);
}

/* ---- hooks that are asked ----------------------------------------------------------- */

static void wait_for_reviews(struct fake *f, struct hook_call *call) {
    (void)f;
    if (call->access.action == ACCESS_SUBSCRIBE) call->verdict = VERDICT_WAIT;
}

static void hooks_may_keep_what_has_lost_its_grant(void **state) {
    struct rig *r = strict(state);
    struct peer p;
    join_granted(&p, r, "p", "a/#");
    assert_int_equal(subscribe(&p, "a/1", 0), 0);
    assert_int_equal(subscribe(&p, "$share/g/a/2", 0), 0);
    assert_int_equal(subscribe(&p, "a/3", 0), 0);
    fake_on(&r->hooks, HOOK_AUTHORIZE, wait_for_reviews);
    review_revoke(p.client, NULL);
    rig_settle(r);
    for (unsigned i = 0; i < 3; i++) { /* one after the other */
        assert_int_equal(r->hooks.waiting_len, 1);
        assert_int_equal(p.client->session->subs_len, 3);
        struct slice topic = r->hooks.waiting[0]->access.topic;
        if (slice_eq(topic, SLICE("a/3"))) break;
        assert_true(slice_eq(topic, SLICE("a/1")) || slice_eq(topic, SLICE("a/2")));
        fake_answer(&r->hooks, VERDICT_ALLOW, 0);
        rig_settle(r);
    }
    while (r->hooks.waiting_len) {
        bool last = slice_eq(r->hooks.waiting[0]->access.topic, SLICE("a/3"));
        fake_answer(&r->hooks, last ? VERDICT_DENY : VERDICT_ALLOW, 0);
        rig_settle(r);
    }
    assert_int_equal(standing(r, &p, "a/1"), STANDING_FREE);
    assert_int_equal(standing(r, &p, "$share/g/a/2"), STANDING_FREE);
    assert_false(is_subscribed(r, &p, "a/3"));
    peer_drop(&p);
}

static void a_session_may_end_while_it_is_judged(void **state) {
    struct rig *r = strict(state);
    struct peer p, q;
    join_granted(&p, r, "p", "a/#");
    join_granted(&q, r, "q", "a/#");
    assert_int_equal(subscribe(&p, "a/1", 0), 0);
    assert_int_equal(subscribe(&p, "a/2", 0), 0);
    assert_int_equal(subscribe(&q, "a/1", 0), 0);
    fake_on(&r->hooks, HOOK_AUTHORIZE, wait_for_reviews);
    review_revoke(p.client, NULL);
    review_revoke(q.client, NULL);
    rig_settle(r);
    assert_int_equal(r->hooks.waiting_len, 2);
    say_subscribe(&q, false, "a/1", (struct subscribe_options){ .qos = 0 }, 0);
    expect(&q, PKT_UNSUBACK);
    peer_drop(&p);
    fake_answer(&r->hooks, VERDICT_DENY, 0);
    fake_answer(&r->hooks, VERDICT_ALLOW, 0);
    rig_settle(r);
    assert_int_equal(r->hooks.waiting_len, 0);
    assert_int_equal(q.client->session->subs_len, 0);
    peer_drop(&q);
}

static void few_reviews_wait_at_a_time_and_all_have_their_turn(void **state) {
    enum { SESSIONS = 100 };
    struct rig *r = *state;
    struct client *all[SESSIONS];
    for (unsigned i = 0; i < SESSIONS; i++) {
        struct peer p;
        char id[16];
        snprintf(id, sizeof id, "c%u", i);
        join(&p, r, MQTT_5, id, false);
        assert_int_equal(subscribe(&p, "a", 0), 0);
        all[i] = client_ref(p.client);
        peer_drop(&p);
    }
    fake_on(&r->hooks, HOOK_AUTHORIZE, wait_for_reviews);
    for (unsigned i = 0; i < SESSIONS; i++) review_session(all[i]->session);
    rig_settle(r);
    assert_int_equal(r->hooks.waiting_len, 64);
    unsigned judged = 0;
    while (r->hooks.waiting_len) {
        fake_answer(&r->hooks, judged++ % 2 ? VERDICT_ALLOW : VERDICT_DENY, 0);
        rig_settle(r);
    }
    assert_int_equal(judged, SESSIONS);
    assert_int_equal(subs_count(r->broker->subs), SESSIONS / 2);
    for (unsigned i = 0; i < SESSIONS; i++) client_unref(all[i]);
}

/* A policy may take a grant away with every message. */
static void a_review_that_is_due_is_not_queued_again(void **state) {
    struct rig *r = *state;
    struct peer p;
    join(&p, r, MQTT_5, "p", true);
    assert_int_equal(subscribe(&p, "a", 0), 0);
    fake_on(&r->hooks, HOOK_AUTHORIZE, wait_for_reviews);
    for (unsigned i = 0; i < 10; i++) review_session(p.client->session);
    rig_settle(r);
    assert_int_equal(r->hooks.waiting_len, 1);
    for (unsigned i = 0; i < 10; i++) review_session(p.client->session); /* it has begun */
    rig_settle(r);
    assert_int_equal(r->hooks.waiting_len, 2);
    fake_answer(&r->hooks, VERDICT_ALLOW, 0);
    fake_answer(&r->hooks, VERDICT_DENY, 0);
    rig_settle(r);
    assert_int_equal(p.client->session->subs_len, 0);
    peer_drop(&p);
}

/* The rig sees to it that nothing waits when the broker has gone. */
static void reviews_end_with_the_broker(void **state) {
    struct rig *r = strict(state);
    struct peer p, q;
    join_granted(&p, r, "p", "a/#");
    join_granted(&q, r, "q", "a/#");
    assert_int_equal(subscribe(&p, "a/1", 0), 0);
    assert_int_equal(subscribe(&q, "a/1", 0), 0);
    fake_on(&r->hooks, HOOK_AUTHORIZE, wait_for_reviews);
    review_revoke(p.client, NULL);
    rig_settle(r);
    assert_int_equal(r->hooks.waiting_len, 1);
    review_revoke(q.client, NULL); /* still in the queue */
    buf_deinit(&p.in);
    buf_deinit(&q.in);
}

/* ---- connections and workers ---------------------------------------------------------- */

static void a_session_is_resumed_without_its_grants(void **state) {
    struct rig *r = strict(state);
    struct peer p, root;
    join_granted(&root, r, "root", "#");
    join(&p, r, MQTT_5, "p", false);
    give(p.client, "g", "a/#");
    assert_int_equal(subscribe(&p, "a/#", 1), 1);
    peer_drop(&p);
    publish(&root, "a/1", "kept", 1, 9); /* the old grant still counts */
    assert_true(join(&p, r, MQTT_5, "p", false));
    expect_publish(&p, "a/1", "kept");
    assert_int_equal(standing(r, &p, "a/#"), STANDING_PARTLY);
    publish(&root, "a/2", "no", 0, 0);
    expect_nothing(&p);
    give(p.client, "g", "a/#");
    assert_int_equal(standing(r, &p, "a/#"), STANDING_GRANTED);
    publish(&root, "a/3", "yes", 0, 0);
    expect_publish(&p, "a/3", "yes");
    peer_drop(&p);
    peer_drop(&root);
}

static const char *connect_pattern;

static void grant_at_connect(struct fake *f, struct hook_call *call) {
    (void)f;
    give_until(call->client, "g", connect_pattern, loop_now_ms(call->client->worker->loop) + 10000);
}

static void grants_move_with_their_client(void **state) {
    struct rig *r = *state;
    rig_workers(r, 2);
    strict(state);
    char id[16];
    rig_name(r, 1, "p", id);
    connect_pattern = "a/%c";
    fake_on(&r->hooks, HOOK_CONNECT, grant_at_connect);
    struct peer p;
    join(&p, r, MQTT_5, id, true); /* accepted by the first worker */
    assert_int_equal(p.client->worker->id, 1);
    char topic[32];
    snprintf(topic, sizeof topic, "a/%s", id);
    assert_int_equal(subscribe(&p, topic, 0), 0);
    assert_int_equal(subscribe(&p, "a/x", 0), RC_NOT_AUTHORIZED);
    rig_pass_ms(r, 10000);
    assert_int_equal(p.client->session->subs_len, 0);
    peer_drop(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(a_grant_expires_on_the_brokers_clock),
        RIG(all_that_was_granted_can_expire),
        RIG(what_is_revoked_counts_at_once),
        RIG(a_grant_until_reload_ends_with_its_own_policy),
        RIG(retained_messages_under_way_are_not_sent_any_more),
        RIG(a_deny_that_comes_later_counts_for_what_is_subscribed),
        RIG(hooks_may_keep_what_has_lost_its_grant),
        RIG(a_session_may_end_while_it_is_judged),
        RIG(few_reviews_wait_at_a_time_and_all_have_their_turn),
        RIG(a_review_that_is_due_is_not_queued_again),
        RIG(reviews_end_with_the_broker),
        RIG(a_session_is_resumed_without_its_grants),
        RIG(grants_move_with_their_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
