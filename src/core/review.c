/* review.c -- the queue of sessions to be judged again.
 *
 * A turn judges a bounded number of subscriptions, and a bounded number of reviews wait for
 * hooks at a time: judging everybody again must not eat up max_parked, which would refuse the
 * rest.  A review holds its session by handle and its subscriptions by name, so either may go
 * meanwhile. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/review.h"

#include "base/buf.h"
#include "base/mem.h"
#include "core/grants.h"
#include "core/session.h"
#include "core/subscribe.h"
#include "core/worker.h"
#include "mqtt/topic.h"

#include <stdlib.h>

enum {
    WAITING_MAX = 64,   /* reviews that wait for hooks, per worker */
    JUDGED_A_TURN = 256 /* subscriptions */
};

struct review {
    struct review *next, **link; /* link: of those that wait; NULL in the queue */
    struct worker *worker;
    struct handle session;
    bool all;            /* also what does not stand by a grant */
    bool is_begun;       /* `filters` is there */
    struct buf filters;  /* of the subscriptions to judge: each its length (uint16_t), then it */
    size_t at;           /* what follows is still to be judged */
    struct slice filter; /* being judged; in `filters` */
    struct hook_call call;
};

struct reviews {
    struct review *queue, **tail;
    struct review *waiting; /* for hooks */
    unsigned waiting_len;
    struct deferred next;
};

/* ---- standing ------------------------------------------------------------- */

static struct grant_answer ask_grants(const struct session *s, struct slice filter) {
    const struct grants *all = s->client->grants;
    struct slice group, inner;
    bool valid;
    if (!all) return (struct grant_answer){ .verdict = VERDICT_NONE };
    if (topic_shared(filter, &group, &inner, &valid)) filter = inner;
    return grants_subscribe(all, filter, loop_now_ms(s->worker->loop));
}

static bool stands_by_grant(const struct subscription *sub) {
    return sub->options.standing == STANDING_GRANTED || sub->options.standing == STANDING_PARTLY;
}

static void set_standing(struct session *s, struct subscription *sub, struct slice filter,
                         uint8_t standing) {
    if (sub->options.standing == standing) return;
    subs_set_standing(s->worker->broker->subs, sub, standing);
    session_replay_stands(s, filter, standing);
}

/* Its standing by a grant: what gives less than the subscription has is kept to at each
 * delivery, since the client has been told its QoS. */
static uint8_t standing_by_grant(const struct subscription *sub, const struct grant_answer *a) {
    return a->qos < sub->options.qos ? STANDING_PARTLY : a->standing;
}

/* Its standing by the present grants: none is ended here, and no hook asked.  What has lost
 * its grant is checked at each delivery. */
static uint8_t standing_now(const struct subscription *sub, const struct grant_answer *a) {
    if (!stands_by_grant(sub)) return standing_of(a, false);
    return a->verdict == VERDICT_ALLOW ? standing_by_grant(sub, a) : STANDING_PARTLY;
}

static void regrade(struct session *s) {
    for (struct subscription *sub = s->subs; sub; sub = sub->next) {
        if (!s->client->grants && sub->options.standing == STANDING_FREE) continue;
        AUTO(buf_deinit) struct buf filter = BUF_INIT;
        subs_filter(sub, &filter);
        struct grant_answer a = ask_grants(s, buf_slice(&filter));
        set_standing(s, sub, buf_slice(&filter), standing_now(sub, &a));
    }
}

/* The session a client's grants count for, or NULL. */
static struct session *session_of(const struct client *c) {
    return c->session && c->session->client == c ? c->session : NULL;
}

/* ---- the queue ------------------------------------------------------------ */

static void push_front(struct reviews *all, struct review *r) {
    r->next = all->queue;
    if (!r->next) all->tail = &r->next;
    all->queue = r;
}

static void push_back(struct reviews *all, struct review *r) {
    r->next = NULL;
    *all->tail = r;
    all->tail = &r->next;
}

static struct review *pop(struct reviews *all) {
    struct review *r = all->queue;
    all->queue = r->next;
    if (!all->queue) all->tail = &all->queue;
    return r;
}

static void wait_for_hooks(struct reviews *all, struct review *r) {
    r->next = all->waiting;
    r->link = &all->waiting;
    if (r->next) r->next->link = &r->next;
    all->waiting = r;
    all->waiting_len++;
}

static void wait_no_more(struct reviews *all, struct review *r) {
    if (r->next) r->next->link = r->link;
    *r->link = r->next;
    r->link = NULL;
    all->waiting_len--;
}

static void review_free(struct review *r) {
    hook_call_deinit(&r->call);
    buf_deinit(&r->filters);
    free(r);
}

/* ---- one review ----------------------------------------------------------- */

/* Not when it is asked for: everybody may be judged again at one go. */
static void list_filters(struct review *r, struct session *s) {
    r->is_begun = true;
    *(r->all ? &s->is_full_review_due : &s->is_review_due) = false;
    for (const struct subscription *sub = s->subs; sub; sub = sub->next) {
        AUTO(buf_deinit) struct buf filter = BUF_INIT;
        subs_filter(sub, &filter);
        uint16_t len = (uint16_t)filter.len;
        buf_add(&r->filters, &len, sizeof len);
        buf_add_slice(&r->filters, buf_slice(&filter));
    }
}

/* The next subscription there still is that this is about; or NULL. */
static struct subscription *next_subscription(struct review *r, struct session *s) {
    if (!r->is_begun) list_filters(r, s);
    while (r->at < r->filters.len) {
        uint16_t len;
        memcpy(&len, r->filters.at + r->at, sizeof len);
        r->filter = slice_of(r->filters.at + r->at + sizeof len, len);
        r->at += sizeof len + len;
        struct subscription *sub = subs_find(r->worker->broker->subs, s->handle, r->filter);
        if (sub && (r->all || stands_by_grant(sub))) return sub;
    }
    return NULL;
}

static void end_subscription(struct review *r, struct session *s) {
    session_replay_end(s, r->filter);
    log_info(r->worker->log, "policy",
             "subscription of client %.*s to %.*s has ended: not authorized",
             SLICE_FMT(s->client->id), SLICE_FMT(r->filter));
    subscribe_remove(s, r->filter, "not authorized");
}

/* The hooks have had their say, or nobody was asked.  They may have granted what they were
 * asked about. */
static void settle(struct review *r, struct session *s) {
    enum verdict v = r->call.verdict;
    struct subscription *sub = subs_find(r->worker->broker->subs, s->handle, r->filter);
    if (!sub) return;
    struct grant_answer a = ask_grants(s, r->filter);
    bool by_grant = v == VERDICT_NONE && a.verdict == VERDICT_ALLOW;
    if (v == VERDICT_NONE) v = a.verdict;
    if (v == VERDICT_NONE && r->worker->config->default_access) v = VERDICT_ALLOW;
    if (v != VERDICT_ALLOW) {
        end_subscription(r, s);
        return;
    }
    set_standing(s, sub, r->filter, by_grant ? standing_by_grant(sub, &a) : standing_of(&a, false));
}

static void on_verdict(struct hook_call *call);

/* True when hooks wait. */
static bool judge(struct review *r, struct session *s, const struct subscription *sub) {
    struct worker *w = r->worker;
    struct slice group, inner;
    bool valid;
    hook_call_deinit(&r->call);
    r->call = (struct hook_call){ .event = HOOK_AUTHORIZE, .client = s->client, .obj = r };
    if (ask_grants(s, r->filter).verdict == VERDICT_NONE && hooks_want(w->hooks, HOOK_AUTHORIZE)) {
        bool is_shared = topic_shared(r->filter, &group, &inner, &valid);
        r->call.access = (struct access_request){ .action = ACCESS_SUBSCRIBE,
                                                  .topic = is_shared ? inner : r->filter,
                                                  .qos = sub->options.qos };
        r->call.done = on_verdict;
        w->hooks->run(w->hooks, &r->call);
    }
    if (r->call.verdict == VERDICT_WAIT) return true;
    if (slots_find(&w->sessions, r->session) == s) settle(r, s);
    return false;
}

/* ---- the turn's share ----------------------------------------------------- */

/* Judges `n` subscriptions at most, and gives how many of `n` are left.  The review is in no
 * list while hooks run: they may begin others. */
static unsigned go_on(struct reviews *all, struct review *r, unsigned n) {
    for (; n; n--) {
        struct session *s = slots_find(&r->worker->sessions, r->session);
        const struct subscription *sub = s ? next_subscription(r, s) : NULL;
        if (!sub) {
            review_free(r);
            return n - 1; /* looking for one is work, too */
        }
        if (!judge(r, s, sub)) continue;
        wait_for_hooks(all, r);
        return n - 1;
    }
    push_front(all, r);
    return 0;
}

static void on_next(struct closure *self, unsigned events) {
    struct worker *w = self->obj;
    struct reviews *all = w->reviews;
    unsigned left = JUDGED_A_TURN;
    (void)events;
    while (left && all->queue && all->waiting_len < WAITING_MAX) left = go_on(all, pop(all), left);
    if (all->queue && all->waiting_len < WAITING_MAX) loop_defer(w->loop, &all->next);
}

static void on_verdict(struct hook_call *call) {
    struct review *r = call->obj;
    struct worker *w = r->worker;
    struct session *s = slots_find(&w->sessions, r->session);
    wait_no_more(w->reviews, r);
    if (s) settle(r, s);
    push_front(w->reviews, r);
    loop_defer(w->loop, &w->reviews->next);
}

static struct reviews *reviews_of(struct worker *w) {
    if (w->reviews) return w->reviews;
    struct reviews *all = w->reviews = xcalloc(1, sizeof *all);
    all->tail = &all->queue;
    all->next.closure = (struct closure){ .fn = on_next, .obj = w, .name = "reviews" };
    return all;
}

/* One that has not begun yet sees what has changed meanwhile, too. */
static void begin(struct session *s, bool all) {
    struct worker *w = s->worker;
    if (w->stopping || !s->subs) return;
    if (s->is_full_review_due || (!all && s->is_review_due)) return;
    *(all ? &s->is_full_review_due : &s->is_review_due) = true;
    struct review *r = xcalloc(1, sizeof *r);
    r->worker = w;
    r->session = s->handle;
    r->all = all;
    push_back(reviews_of(w), r);
    loop_defer(w->loop, &w->reviews->next);
}

void review_session(struct session *s) {
    begin(s, true);
}

void review_cancel_all(struct worker *w) {
    struct reviews *all = w->reviews;
    if (!all) return;
    while (all->queue) review_free(pop(all));
    while (all->waiting) {
        struct review *r = all->waiting;
        wait_no_more(all, r);
        r->call.hooks->cancel(r->call.hooks, &r->call);
        review_free(r);
    }
    loop_undefer(&all->next);
    closure_deinit(&all->next.closure);
    free(all);
    w->reviews = NULL;
}

/* ---- grants come and go ----------------------------------------------------- */

static void on_expiry(struct closure *self, unsigned events);

static void arm(struct client *c) {
    struct loop *loop = c->worker->loop;
    struct timer *t = &c->grants->expiry;
    uint64_t next = grants_next_expiry(c->grants);
    if (next == GRANT_NEVER) {
        loop_cancel(loop, t);
        return;
    }
    t->closure.fn = on_expiry; /* one by one: its UUID stays */
    t->closure.obj = c;
    t->closure.name = "grants expire";
    loop_arm(loop, t, next);
}

void review_forget(struct client *c) {
    struct grants *all = c->grants;
    if (!all) return;
    loop_cancel(c->worker->loop, &all->expiry);
    closure_deinit(&all->expiry.closure);
    while (all->first) {
        struct grant *g = all->first;
        all->first = g->next;
        grant_free(g);
    }
    free(all);
    c->grants = NULL;
}

/* Those that `goes` names go, and what stood by them is judged again. */
static unsigned take_away(struct client *c, bool (*goes)(const struct grant *g, const void *what),
                          const void *what) {
    if (!c->grants) return 0;
    struct session *s = session_of(c);
    unsigned n = grants_remove(c->grants, goes, what);
    if (!c->grants->first)
        review_forget(c);
    else
        arm(c);
    if (!n || !s) return n;
    regrade(s);
    begin(s, false);
    return n;
}

static bool is_over(const struct grant *g, const void *now_ms) {
    return g->expires_ms <= *(const uint64_t *)now_ms;
}

static void on_expiry(struct closure *self, unsigned events) {
    struct client *c = self->obj;
    uint64_t now_ms = loop_now_ms(c->worker->loop);
    (void)events;
    take_away(c, is_over, &now_ms);
}

static bool is_named(const struct grant *g, const void *name) {
    return !name || strcmp(g->name, name) == 0;
}

unsigned review_revoke(struct client *c, const char *name) {
    return take_away(c, is_named, name);
}

unsigned review_generation(const struct worker *w) {
    unsigned generation = atomic_load(&w->generation);
    return generation ? generation : 1;
}

/* One that comes from a worker further ahead is not: its policy is on the way here. */
static bool is_outdated(const struct grant *g, const void *generation) {
    return g->until_reload && g->generation < *(const unsigned *)generation;
}

bool review_grant(struct client *c, struct grant *g) {
    unsigned generation = review_generation(c->worker);
    if (is_outdated(g, &generation)) { /* it comes from a worker that was not so far */
        grant_free(g);
        return true;
    }
    if (!c->grants) c->grants = xcalloc(1, sizeof *c->grants);
    grant_bind(g, c);
    if (!grants_add(c->grants, g)) {
        grant_free(g);
        if (!c->grants->first) review_forget(c);
        return false;
    }
    arm(c);
    if (session_of(c)) regrade(c->session);
    return true;
}

/* ---- what happens to a client ----------------------------------------------- */

void review_rebind(struct client *c) {
    if (!c->grants) return;
    for (struct grant *g = c->grants->first; g; g = g->next) grant_bind(g, c);
}

void review_exchange(struct client *c) {
    if (!c->grants) return;
    for (struct grant *g = c->grants->first; g; g = g->next) g->is_elder = true;
}

static bool is_elder(const struct grant *g, const void *what) {
    (void)what;
    return g->is_elder;
}

void review_reauthenticated(struct client *c, struct slice username) {
    bool same = !username.at == !c->username.at && slice_eq(username, c->username);
    client_set_username(c, username);
    if (!same) take_away(c, is_elder, NULL);
    review_rebind(c); /* what was granted meanwhile, under the old name */
}

void review_depart(struct client *c, struct client *copy) {
    if (!c->grants) return;
    loop_cancel(c->worker->loop, &c->grants->expiry);
    copy->grants = c->grants;
    c->grants = NULL;
}

void review_arrive(struct client *c) {
    unsigned generation = review_generation(c->worker);
    if (!c->grants) return;
    take_away(c, is_outdated, &generation);
    if (c->grants) arm(c);
}

void review_resumed(struct session *s) {
    if (s->subs) regrade(s);
}

void review_policy(struct worker *w, unsigned generation) {
    uint32_t at = 0;
    for (struct client *c; (c = slots_next(&w->clients, &at));)
        take_away(c, is_outdated, &generation);
}
