/* retain.c -- the retained store.
 *
 * A trie of levels like the one in subs.c, but its nodes also list their children, since
 * here the wildcards are in the question.  Invariant: a node without a message and
 * without children does not exist, but for the root. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/retain.h"

#include "base/map.h"
#include "base/mem.h"
#include "mqtt/topic.h"

#include <pthread.h>
#include <stdlib.h>

struct node {
    struct node *parent;
    struct node *first;        /* child */
    struct node *next, **link; /* among the parent's children */
    struct message *message;   /* owned reference, or NULL */
    uint64_t kept;             /* the message's number among all that were kept */
    uint64_t id;
    uint32_t key_len;
    uint8_t key[]; /* parent's id, level */
};

enum { ID = sizeof(uint64_t) };

struct retain {
    pthread_mutex_t lock;
    struct map levels; /* node by key */
    struct node *root;
    uint64_t last_id;
    _Atomic uint64_t last_kept;
    _Atomic size_t count;
    _Atomic size_t plain; /* of them, those whose topic does not begin with `$` */
    size_t mortal;        /* of them with an expiry */
    size_t sweep_at;      /* where the sweep goes on in `levels` */
};

static struct slice node_key(const void *obj) {
    const struct node *n = obj;
    return slice_of(n->key, n->key_len);
}

static struct slice node_level(const struct node *n) {
    return slice_of(n->key + ID, n->key_len - ID);
}

static struct node *child_find(const struct retain *r, const struct node *parent,
                               struct slice level) {
    uint8_t key[ID + level.len];
    memcpy(key, &parent->id, ID);
    if (level.len) memcpy(key + ID, level.at, level.len);
    return map_find(&r->levels, slice_of(key, sizeof key));
}

static struct node *child_add(struct retain *r, struct node *parent, struct slice level) {
    struct node *n = xcalloc(1, sizeof *n + ID + level.len);
    n->key_len = (uint32_t)(ID + level.len);
    memcpy(n->key, &parent->id, ID);
    if (level.len) memcpy(n->key + ID, level.at, level.len);
    n->id = ++r->last_id;
    n->parent = parent;
    n->next = parent->first;
    n->link = &parent->first;
    if (n->next) n->next->link = &n->next;
    parent->first = n;
    map_put(&r->levels, n);
    return n;
}

static void prune(struct retain *r, struct node *n) {
    while (n->parent && !n->first && !n->message) {
        struct node *parent = n->parent;
        map_del(&r->levels, node_key(n));
        if (n->next) n->next->link = n->link;
        *n->link = n->next;
        free(n);
        n = parent;
    }
}

static struct node *find(const struct retain *r, struct slice topic) {
    struct node *n = r->root;
    struct slice level;
    for (size_t at = 0; n && topic_next_level(topic, &at, &level);) n = child_find(r, n, level);
    return n;
}

static struct node *get(struct retain *r, struct slice topic) {
    struct node *n = r->root;
    struct slice level;
    for (size_t at = 0; topic_next_level(topic, &at, &level);) {
        struct node *child = child_find(r, n, level);
        n = child ? child : child_add(r, n, level);
    }
    return n;
}

static bool is_mortal(const struct message *m) {
    return m->expires_ms != MESSAGE_NEVER;
}

static bool is_plain(const struct message *m) {
    return !slice_starts(message_topic(m), SLICE("$"));
}

static void let_go(struct node *n) {
    atomic_store_explicit(&n->message->is_retained, false, memory_order_relaxed);
    n->message = message_unref(n->message);
}

static void forget(struct retain *r, struct node *n) {
    if (!n || !n->message) return;
    r->mortal -= is_mortal(n->message);
    r->plain -= is_plain(n->message);
    r->count--;
    let_go(n);
    prune(r, n);
}

static void keep(struct retain *r, struct node *n, struct message *m) {
    must(!m->in_batch);
    message_ref(m);
    r->mortal += is_mortal(m);
    if (n->message) {
        r->mortal -= is_mortal(n->message);
        let_go(n);
    } else {
        r->count++;
        r->plain += is_plain(m);
    }
    n->message = m;
    atomic_store_explicit(&m->is_retained, true, memory_order_relaxed);
    n->kept = ++r->last_kept;
}

void retain_set(struct retain *r, struct message *m) {
    pthread_mutex_lock(&r->lock);
    struct slice topic = message_topic(m);
    if (m->payload_len == 0)
        forget(r, find(r, topic));
    else
        keep(r, get(r, topic), m);
    pthread_mutex_unlock(&r->lock);
}

uint64_t retain_stamp(struct retain *r) {
    return r->last_kept;
}

/* ---- matching ----------------------------------------------------------- */

struct matching {
    struct retain *r;
    const struct retain_query *q;
    struct message ***list; /* of the caller */
    size_t *len;
    size_t cap;
    struct node **expired; /* owned: to be forgotten after the walk */
    size_t expired_len;
};

static bool is_full(const struct matching *m) {
    return m->q->max && *m->len >= m->q->max;
}

static void visit(struct matching *m, struct node *n) {
    if (!n->message || is_full(m)) return;
    if (n->message->expires_ms <= m->q->now_ms) {
        m->expired = xrealloc(m->expired, (m->expired_len + 1) * sizeof(struct node *));
        m->expired[m->expired_len++] = n;
        return;
    }
    if (n->kept > m->q->up_to) return;
    if (*m->len == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 16;
        *m->list = xrealloc(*m->list, m->cap * sizeof **m->list);
    }
    (*m->list)[(*m->len)++] = message_ref(n->message);
}

static void visit_below(struct matching *m, struct node *n) {
    visit(m, n);
    for (struct node *c = n->first; c && !is_full(m); c = c->next) visit_below(m, c);
}

static bool is_system(const struct matching *m, const struct node *child) {
    struct slice level = node_level(child);
    return child->parent == m->r->root && level.len && level.at[0] == '$';
}

static bool is_level(struct slice level, char wildcard) {
    return level.len == 1 && level.at[0] == wildcard;
}

static void walk(struct matching *m, struct node *n, size_t at) {
    struct slice level;
    if (!topic_next_level(m->q->filter, &at, &level)) {
        visit(m, n);
        return;
    }
    if (is_level(level, '#')) {
        visit(m, n); /* the parent level counts; the root holds no message */
        for (struct node *c = n->first; c && !is_full(m); c = c->next)
            if (!is_system(m, c)) visit_below(m, c); /* [MQTT-4.7.2-1] */
    } else if (is_level(level, '+')) {
        for (struct node *c = n->first; c && !is_full(m); c = c->next)
            if (!is_system(m, c)) walk(m, c, at);
    } else {
        struct node *c = child_find(m->r, n, level);
        if (c) walk(m, c, at);
    }
}

bool retain_may_match(const struct retain *r, struct slice filter) {
    return (slice_starts(filter, SLICE("$")) ? r->count : r->plain) != 0;
}

void retain_match(struct retain *r, const struct retain_query *q, struct message ***list,
                  size_t *len) {
    struct matching m = { .r = r, .q = q, .list = list, .len = len, .cap = *len };
    if (!retain_may_match(r, q->filter)) return;
    pthread_mutex_lock(&r->lock);
    walk(&m, r->root, 0);
    for (size_t i = 0; i < m.expired_len; i++) forget(r, m.expired[i]);
    pthread_mutex_unlock(&r->lock);
    free(m.expired);
}

/* ---- sweeping ----------------------------------------------------------- */

enum { SWEEP_NODES = 2048 }; /* looked at in one go */

void retain_sweep(struct retain *r, uint64_t now_ms) {
    struct node *expired[SWEEP_NODES];
    size_t len = 0;
    pthread_mutex_lock(&r->lock);
    for (unsigned i = 0; r->mortal && i < SWEEP_NODES; i++) {
        struct node *n = map_next(&r->levels, &r->sweep_at);
        if (!n) {
            r->sweep_at = 0;
            break;
        }
        if (n->message && n->message->expires_ms <= now_ms) expired[len++] = n;
    }
    for (size_t i = 0; i < len; i++) forget(r, expired[i]);
    pthread_mutex_unlock(&r->lock);
}

/* ---- life --------------------------------------------------------------- */

struct retain *retain_new(void) {
    struct retain *r = xcalloc(1, sizeof *r);
    pthread_mutex_init(&r->lock, NULL);
    map_init(&r->levels, node_key);
    r->root = xcalloc(1, sizeof *r->root);
    return r;
}

static void node_free(struct node *n) {
    for (struct node *c = n->first, *next; c; c = next) {
        next = c->next;
        node_free(c);
    }
    if (n->message) let_go(n);
    free(n);
}

void retain_free(struct retain *r) {
    if (!r) return;
    node_free(r->root);
    map_deinit(&r->levels);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

size_t retain_count(const struct retain *r) {
    return r->count;
}
