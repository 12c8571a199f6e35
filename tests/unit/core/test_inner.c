/* test_inner.c -- a session of the broker's own among those of clients. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/inner.h"

#include "core/rig.h"

struct heard {
    struct rig *rig;
    struct handle session;
    char topics[256]; /* "a b c ", what has been heard */
    uint32_t identifier;
    bool ends; /* at the first message */
};

static void hear(void *obj, const struct outgoing *o) {
    struct heard *h = obj;
    struct slice topic = message_topic(o->message);
    snprintf(h->topics + strlen(h->topics), sizeof h->topics - strlen(h->topics), "%.*s ",
             SLICE_FMT(topic));
    h->identifier = o->identifiers_len ? o->identifiers[0] : 0;
    if (h->ends) inner_close(h->rig->worker, h->session);
}

static void open_inner(struct heard *h, struct rig *r, const char *filter) {
    *h = (struct heard){ .rig = r };
    h->session = inner_open(r->worker, hear, h);
    inner_subscribe(r->worker, h->session, slice_str(filter), 7);
}

static void it_hears_what_it_subscribed_to(void **state) {
    struct rig *r = *state;
    struct heard h;
    struct peer p;
    open_inner(&h, r, "a/+");
    join(&p, r, MQTT_5, "p", true);
    publish(&p, "a/1", "x", 0, 0);
    publish(&p, "b/1", "x", 0, 0);
    publish(&p, "a/2", "x", 0, 0);
    assert_string_equal(h.topics, "a/1 a/2 ");
    assert_int_equal(h.identifier, 7);
    inner_unsubscribe(r->worker, h.session, SLICE("a/+"));
    publish(&p, "a/3", "x", 0, 0);
    assert_string_equal(h.topics, "a/1 a/2 ");
    inner_close(r->worker, h.session);
    peer_drop(&p);
}

static void it_is_no_client_and_no_session_of_one(void **state) {
    struct rig *r = *state;
    struct heard h;
    open_inner(&h, r, "a");
    assert_null(session_find(r->worker, SLICE("(the policy)")));
    assert_int_equal(r->worker->counters.sessions, 0);
    struct peer p; /* a client of that very name is another one */
    assert_false(join(&p, r, MQTT_5, "(the policy)", true));
    publish(&p, "a", "x", 0, 0);
    assert_string_equal(h.topics, "a ");
    inner_close(r->worker, h.session);
    assert_non_null(session_find(r->worker, SLICE("(the policy)")));
    peer_drop(&p);
}

static void it_may_end_itself_while_it_hears(void **state) {
    struct rig *r = *state;
    struct heard one, two;
    struct peer p;
    open_inner(&one, r, "a");
    open_inner(&two, r, "a");
    one.ends = two.ends = true;
    join(&p, r, MQTT_5, "p", true);
    publish(&p, "a", "x", 0, 0);
    publish(&p, "a", "x", 0, 0);
    assert_string_equal(one.topics, "a ");
    assert_string_equal(two.topics, "a ");
    inner_close(r->worker, one.session); /* harmless */
    inner_subscribe(r->worker, one.session, SLICE("b"), 1);
    publish(&p, "b", "x", 0, 0);
    assert_string_equal(one.topics, "a ");
    peer_drop(&p);
}

static void the_worker_ends_what_is_left(void **state) {
    struct heard *h = xcalloc(1, sizeof *h);
    open_inner(h, *state, "#");
    free(h); /* never called again */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG(it_hears_what_it_subscribed_to),
        RIG(it_is_no_client_and_no_session_of_one),
        RIG(it_may_end_itself_while_it_hears),
        RIG(the_worker_ends_what_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
