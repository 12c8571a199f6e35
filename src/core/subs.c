/* subs.c -- the subscription index.
 *
 * A filter without wildcards is one entry of the map `exact`.  The others are paths in a
 * trie of levels:
 *
 *     a/+/c   a/#          root --a--> [ ] --+--> [ ] --c--> [subscribers]
 *                                       \---#--> [subscribers]
 *
 * The children of all trie nodes lie in one map under (parent's id, level); `+` and `#`
 * are ordinary children that the parent also points to, so a lookup follows at most three
 * branches a level.  A shared subscription, $share/GROUP/FILTER, is a node of its own in
 * the map `shares`, listed by the node of FILTER.  Invariant: a node without subscribers,
 * shares and children does not exist, but for the root.  Every change bumps the epoch of the part
 * its filter's first level falls in, or epoch_wide when that level is a wildcard. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/subs.h"

#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"
#include "mqtt/topic.h"

#include <pthread.h>
#include <stdlib.h>

struct filter_node {
    struct filter_node *parent;      /* NULL: an exact filter, or the root */
    struct filter_node *plus, *hash; /* the `+` and `#` children, or NULL */
    struct share *shares;            /* groups that share this filter */
    struct subscription **subs;      /* owned array of lent subscriptions */
    uint32_t subs_len, subs_cap;
    uint32_t children; /* `+` and `#` included */
    uint32_t key_len;  /* bytes of key: parent's id and level may exceed 65,535 */
    bool is_share;     /* the node of a struct share */
    uint64_t id;       /* of a trie node; 0: the root or an exact filter */
    uint8_t key[];     /* exact and share: the filter; trie: parent's id, level */
};

/* One group on one filter. */
struct share {
    struct filter_node *inner;  /* the filter shared */
    struct share *next, **link; /* inner->shares */
    uint32_t id;
    struct filter_node node; /* its members; last, for its key */
};

enum { ID = sizeof(uint64_t) };

struct subs {
    pthread_rwlock_t lock;
    struct map exact;   /* filter_node by filter */
    struct map levels;  /* filter_node by parent's id and level */
    struct map shares;  /* filter_node of a share, by its whole filter */
    struct map entries; /* subscription by subscription_key */
    struct filter_node *root;
    uint64_t last_id;
    uint32_t last_share_id;
    size_t filters;
    _Atomic uint64_t epoch_wide;
    _Atomic uint64_t epoch[SUBS_PARTS];
};

/* ---- parts and epochs --------------------------------------------------- */

/* FNV-1a of the first level: not keyed, a collision only costs a rebuilt route. */
static uint32_t part_of(struct slice topic) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < topic.len && topic.at[i] != '/'; i++) h = (h ^ topic.at[i]) * 16777619u;
    return h & (SUBS_PARTS - 1);
}

static void bump(struct subs *s, struct slice filter) {
    struct slice group, inner;
    bool valid;
    if (topic_shared(filter, &group, &inner, &valid)) filter = inner;
    bool wide = filter.at[0] == '#' || filter.at[0] == '+';
    atomic_fetch_add_explicit(wide ? &s->epoch_wide : &s->epoch[part_of(filter)], 1,
                              memory_order_release);
}

bool subs_current(const struct subs *s, uint32_t part, uint64_t epoch, uint64_t epoch_wide) {
    return atomic_load_explicit(&s->epoch[part], memory_order_acquire) == epoch &&
           atomic_load_explicit(&s->epoch_wide, memory_order_acquire) == epoch_wide;
}

/* ---- nodes -------------------------------------------------------------- */

static struct slice node_key(const void *obj) {
    const struct filter_node *n = obj;
    return slice_of(n->key, n->key_len);
}

static struct slice entry_key(const void *obj) {
    return slice_of(&((const struct subscription *)obj)->key, sizeof(struct subscription_key));
}

static struct filter_node *node_new(size_t key_len) {
    struct filter_node *n = xcalloc(1, sizeof *n + key_len);
    n->key_len = (uint32_t)key_len;
    return n;
}

static struct share *share_of(struct filter_node *n) {
    return CONTAINER_OF(n, struct share, node);
}

static void level_key(uint8_t *out, const struct filter_node *parent, struct slice level) {
    memcpy(out, &parent->id, ID);
    if (level.len) memcpy(out + ID, level.at, level.len);
}

static struct slice node_level(const struct filter_node *n) {
    return slice_of(n->key + ID, n->key_len - ID);
}

static bool is_level(struct slice level, char wildcard) {
    return level.len == 1 && level.at[0] == wildcard;
}

static struct filter_node *child_find(const struct subs *s, const struct filter_node *parent,
                                      struct slice level) {
    if (is_level(level, '+')) return parent->plus;
    if (is_level(level, '#')) return parent->hash;
    uint8_t key[ID + level.len];
    level_key(key, parent, level);
    return map_find(&s->levels, slice_of(key, sizeof key));
}

static struct filter_node *child_add(struct subs *s, struct filter_node *parent,
                                     struct slice level) {
    struct filter_node *n = node_new(ID + level.len);
    level_key(n->key, parent, level);
    n->parent = parent;
    n->id = ++s->last_id;
    parent->children++;
    if (is_level(level, '+'))
        parent->plus = n;
    else if (is_level(level, '#'))
        parent->hash = n;
    else
        map_put(&s->levels, n);
    return n;
}

static void child_del(struct subs *s, struct filter_node *n) {
    struct filter_node *parent = n->parent;
    if (parent->plus == n)
        parent->plus = NULL;
    else if (parent->hash == n)
        parent->hash = NULL;
    else
        map_del(&s->levels, node_key(n));
    parent->children--;
    free(n);
}

static struct filter_node *plain_find(const struct subs *s, struct slice filter) {
    if (!topic_has_wildcard(filter)) return map_find(&s->exact, filter);
    struct filter_node *n = s->root;
    struct slice level;
    for (size_t at = 0; n && topic_next_level(filter, &at, &level);) n = child_find(s, n, level);
    return n;
}

static struct filter_node *node_find(const struct subs *s, struct slice filter) {
    struct slice group, inner;
    bool valid;
    if (topic_shared(filter, &group, &inner, &valid)) return map_find(&s->shares, filter);
    return plain_find(s, filter);
}

static struct filter_node *exact_get(struct subs *s, struct slice filter) {
    struct filter_node *n = map_find(&s->exact, filter);
    if (n) return n;
    n = node_new(filter.len);
    memcpy(n->key, filter.at, filter.len);
    map_put(&s->exact, n);
    return n;
}

static struct filter_node *plain_get(struct subs *s, struct slice filter) {
    if (!topic_has_wildcard(filter)) return exact_get(s, filter);
    struct filter_node *n = s->root;
    struct slice level;
    for (size_t at = 0; topic_next_level(filter, &at, &level);) {
        struct filter_node *child = child_find(s, n, level);
        n = child ? child : child_add(s, n, level);
    }
    return n;
}

static struct filter_node *share_get(struct subs *s, struct slice filter, struct slice inner) {
    struct filter_node *n = map_find(&s->shares, filter);
    if (n) return n;
    struct share *share = xcalloc(1, sizeof *share + filter.len);
    share->node.key_len = (uint32_t)filter.len;
    share->node.is_share = true;
    memcpy(share->node.key, filter.at, filter.len);
    share->id = ++s->last_share_id;
    share->inner = plain_get(s, inner);
    share->next = share->inner->shares;
    share->link = &share->inner->shares;
    if (share->next) share->next->link = &share->next;
    share->inner->shares = share;
    map_put(&s->shares, &share->node);
    return &share->node;
}

static struct filter_node *node_get(struct subs *s, struct slice filter) {
    struct slice group, inner;
    bool valid;
    if (topic_shared(filter, &group, &inner, &valid)) return share_get(s, filter, inner);
    return plain_get(s, filter);
}

static bool is_unused(const struct filter_node *n) {
    return !n->subs_len && !n->shares && !n->children;
}

/* Removes the node if the invariant says so, then its parents likewise. */
static void plain_prune(struct subs *s, struct filter_node *n) {
    if (!n->parent) {
        if (n == s->root || !is_unused(n)) return;
        map_del(&s->exact, node_key(n));
        free(n);
        return;
    }
    while (n->parent && is_unused(n)) {
        struct filter_node *parent = n->parent;
        child_del(s, n);
        n = parent;
    }
}

/* The last subscriber of `n` has gone. */
static void node_prune(struct subs *s, struct filter_node *n) {
    free(n->subs);
    n->subs = NULL;
    n->subs_cap = 0;
    s->filters--;
    if (!n->is_share) {
        plain_prune(s, n);
        return;
    }
    struct share *share = share_of(n);
    struct filter_node *inner = share->inner;
    map_del(&s->shares, node_key(n));
    if (share->next) share->next->link = share->link;
    *share->link = share->next;
    free(share);
    plain_prune(s, inner);
}

/* ---- subscriptions ------------------------------------------------------ */

static void node_push(struct subs *s, struct filter_node *n, struct subscription *sub) {
    if (n->subs_len == 0) s->filters++;
    if (n->subs_len == n->subs_cap) {
        n->subs_cap = n->subs_cap ? n->subs_cap * 2 : 1;
        n->subs = xrealloc(n->subs, n->subs_cap * sizeof *n->subs);
    }
    sub->at = n->subs_len;
    n->subs[n->subs_len++] = sub;
}

static void remove_locked(struct subs *s, struct subscription *sub) {
    struct filter_node *n = sub->key.node;
    AUTO(buf_deinit) struct buf filter = BUF_INIT;
    subs_filter(sub, &filter);
    map_del(&s->entries, entry_key(sub));
    struct subscription *last = n->subs[--n->subs_len];
    n->subs[sub->at] = last;
    last->at = sub->at;
    if (!n->subs_len) node_prune(s, n);
    bump(s, buf_slice(&filter));
    if (sub->next) sub->next->link = sub->link;
    *sub->link = sub->next;
    free(sub);
}

int subs_add(struct subs *s, struct subscription **list, struct handle session, struct slice filter,
             const struct subscribe_options *options, uint32_t identifier) {
    pthread_rwlock_wrlock(&s->lock);
    struct filter_node *n = node_get(s, filter);
    struct subscription_key key = { n, session };
    struct subscription *sub = map_find(&s->entries, slice_of(&key, sizeof key));
    int r = sub ? SUBS_REPLACED : SUBS_NEW;
    if (!sub) {
        sub = xcalloc(1, sizeof *sub);
        sub->key = key;
        map_put(&s->entries, sub);
        node_push(s, n, sub);
        sub->next = *list;
        sub->link = list;
        if (sub->next) sub->next->link = &sub->next;
        *list = sub;
    }
    sub->options = *options;
    sub->identifier = identifier;
    bump(s, filter);
    pthread_rwlock_unlock(&s->lock);
    return r;
}

static struct subscription *find_locked(const struct subs *s, struct handle session,
                                        struct slice filter) {
    struct subscription_key key = { node_find(s, filter), session };
    return key.node ? map_find(&s->entries, slice_of(&key, sizeof key)) : NULL;
}

bool subs_has(struct subs *s, struct handle session, struct slice filter) {
    pthread_rwlock_rdlock(&s->lock);
    bool has = find_locked(s, session, filter) != NULL;
    pthread_rwlock_unlock(&s->lock);
    return has;
}

bool subs_del(struct subs *s, struct handle session, struct slice filter) {
    pthread_rwlock_wrlock(&s->lock);
    struct subscription *sub = find_locked(s, session, filter);
    if (sub) remove_locked(s, sub);
    pthread_rwlock_unlock(&s->lock);
    return sub != NULL;
}

void subs_del_all(struct subs *s, struct subscription **list) {
    if (!*list) return;
    pthread_rwlock_wrlock(&s->lock);
    while (*list) remove_locked(s, *list);
    pthread_rwlock_unlock(&s->lock);
}

static void add_levels(const struct filter_node *n, struct buf *out) {
    if (n->parent->parent) {
        add_levels(n->parent, out);
        buf_add(out, "/", 1);
    }
    buf_add_slice(out, node_level(n));
}

void subs_filter(const struct subscription *sub, struct buf *out) {
    const struct filter_node *n = sub->key.node;
    if (n->parent)
        add_levels(n, out);
    else
        buf_add_slice(out, node_key(n));
}

/* ---- matching ----------------------------------------------------------- */

struct found {
    struct subscription **at; /* of plain filters */
    size_t len, cap;
    unsigned nodes; /* that contributed */
    struct share **shares;
    size_t shares_len, members;
    unsigned worker; /* whose plain subscribers are collected */
    uint64_t remote; /* bit per worker: others that have some */
    enum overlapping overlapping;
};

static void collect_shares(struct found *f, struct share *share) {
    for (; share; share = share->next) {
        f->shares = xrealloc(f->shares, (f->shares_len + 1) * sizeof *f->shares);
        f->shares[f->shares_len++] = share;
        f->members += share->node.subs_len;
    }
}

static void collect(struct found *f, const struct filter_node *n) {
    if (!n) return;
    if (n->shares) collect_shares(f, n->shares);
    if (!n->subs_len) return;
    if (f->len + n->subs_len > f->cap) {
        f->cap = (f->len + n->subs_len) * 2;
        f->at = xrealloc(f->at, f->cap * sizeof(struct subscription *));
    }
    for (uint32_t i = 0; i < n->subs_len; i++) {
        unsigned owner = handle_owner(n->subs[i]->key.session);
        if (owner == f->worker)
            f->at[f->len++] = n->subs[i];
        else
            f->remote |= UINT64_C(1) << owner;
    }
    f->nodes++;
}

/* Recursion is as deep as the trie, which max_topic_levels bounds. */
static void walk(const struct subs *s, const struct filter_node *n, struct slice topic, size_t at,
                 struct found *f) {
    struct slice level;
    bool is_system = n == s->root && topic.len && topic.at[0] == '$'; /* [MQTT-4.7.2-1] */
    if (!is_system) collect(f, n->hash); /* also the parent level itself */
    if (!topic_next_level(topic, &at, &level)) {
        collect(f, n);
        return;
    }
    struct filter_node *child = n->children ? child_find(s, n, level) : NULL;
    if (child) walk(s, child, topic, at, f);
    if (n->plus && !is_system) walk(s, n->plus, topic, at, f);
}

/* Of one session those without No Local first, see struct route_entry. */
static int by_session(const void *a, const void *b) {
    const struct subscription *x = *(struct subscription *const *)a;
    const struct subscription *y = *(struct subscription *const *)b;
    if (x->key.session.slot != y->key.session.slot)
        return x->key.session.slot > y->key.session.slot ? 1 : -1;
    return x->options.no_local - y->options.no_local;
}

/* Adds one subscription to the entry of its session. */
static void merge(struct route_entries *out, struct route_entry *e,
                  const struct subscription *sub) {
    if (sub->options.qos > e->qos) e->qos = sub->options.qos;
    e->no_local = e->no_local && sub->options.no_local;
    e->retain_as_published = e->retain_as_published || sub->options.retain_as_published;
    if (sub->identifier)
        out->identifiers[e->identifiers_at + e->identifiers_len++] = sub->identifier;
    if (sub->options.no_local) return;
    e->own_qos = e->qos;
    e->own_retain_as_published = e->retain_as_published;
    e->own_identifiers_len = e->identifiers_len;
}

struct route_entry route_entry_own(const struct route_entry *e) {
    struct route_entry own = *e;
    own.qos = e->own_qos;
    own.retain_as_published = e->own_retain_as_published;
    own.identifiers_len = e->own_identifiers_len;
    return own;
}

static struct route_entry *entry_add(struct route_entries *out, uint32_t at, struct handle session,
                                     uint32_t identifiers_at) {
    out->at[at] = (struct route_entry){ .session = session,
                                        .no_local = true,
                                        .identifiers_at = identifiers_at };
    return &out->at[at];
}

/* The plain subscribers, one entry a session or subscription; gives the identifiers used. */
static uint32_t build_plain(const struct found *f, struct route_entries *out) {
    uint32_t ids = 0;
    for (size_t i = 0; i < f->len; i++) {
        const struct subscription *sub = f->at[i];
        struct route_entry *e = out->len ? &out->at[out->len - 1] : NULL;
        if (!e || f->overlapping == OVERLAPPING_EACH || !handle_eq(e->session, sub->key.session))
            e = entry_add(out, out->len++, sub->key.session, ids);
        merge(out, e, sub);
        ids = e->identifiers_at + e->identifiers_len;
    }
    return ids;
}

/* The members of each share behind them. */
static uint32_t build_shares(const struct found *f, struct route_entries *out, uint32_t ids) {
    uint32_t at = out->len;
    out->shares = xcalloc(f->shares_len, sizeof *out->shares);
    for (size_t i = 0; i < f->shares_len; i++) {
        const struct filter_node *n = &f->shares[i]->node;
        out->shares[out->shares_len++] =
            (struct route_share){ .first = at, .len = n->subs_len, .id = f->shares[i]->id };
        for (uint32_t k = 0; k < n->subs_len; k++) {
            struct route_entry *e = entry_add(out, at++, n->subs[k]->key.session, ids);
            merge(out, e, n->subs[k]);
            e->no_local = false; /* has no meaning here [MQTT-3.8.3-4] */
            ids += e->identifiers_len;
        }
    }
    return ids;
}

static void build(struct found *f, struct route_entries *out) {
    size_t total = f->len + f->members;
    out->remote = f->remote;
    if (total) {
        if (f->nodes > 1) qsort(f->at, f->len, sizeof *f->at, by_session);
        out->at = xmalloc(total * sizeof *out->at);
        out->identifiers = xmalloc(total * sizeof *out->identifiers);
        uint32_t ids = build_plain(f, out);
        if (f->shares_len) ids = build_shares(f, out, ids);
        if (!ids) {
            free(out->identifiers);
            out->identifiers = NULL;
        }
    }
    free(f->at);
    free(f->shares);
}

void route_entries_deinit(struct route_entries *e) {
    free(e->at);
    free(e->shares);
    free(e->identifiers);
    *e = (struct route_entries){ 0 };
}

void subs_share(struct subs *s, uint32_t id, struct route_entries *out) {
    struct found f = { 0 };
    size_t at = 0;
    *out = (struct route_entries){ 0 };
    pthread_rwlock_rdlock(&s->lock);
    for (struct filter_node *n; !f.shares && (n = map_next(&s->shares, &at));) {
        struct share *share = share_of(n);
        if (share->id != id) continue;
        f.shares = xmalloc(sizeof *f.shares);
        f.shares[f.shares_len++] = share;
        f.members = n->subs_len;
    }
    build(&f, out);
    pthread_rwlock_unlock(&s->lock);
}

void subs_match(struct subs *s, unsigned worker, struct slice topic, enum overlapping overlapping,
                struct route_entries *out) {
    struct found f = { .worker = worker, .overlapping = overlapping };
    *out = (struct route_entries){ .part = part_of(topic) };
    pthread_rwlock_rdlock(&s->lock);
    out->epoch = atomic_load_explicit(&s->epoch[out->part], memory_order_acquire);
    out->epoch_wide = atomic_load_explicit(&s->epoch_wide, memory_order_acquire);
    collect(&f, map_find(&s->exact, topic));
    walk(s, s->root, topic, 0, &f);
    build(&f, out);
    pthread_rwlock_unlock(&s->lock);
}

/* ---- life --------------------------------------------------------------- */

struct subs *subs_new(void) {
    struct subs *s = xcalloc(1, sizeof *s);
    pthread_rwlock_init(&s->lock, NULL);
    map_init(&s->exact, node_key);
    map_init(&s->levels, node_key);
    map_init(&s->shares, node_key);
    map_init(&s->entries, entry_key);
    s->root = node_new(0);
    return s;
}

void subs_free(struct subs *s) {
    if (!s) return;
    must(s->entries.len == 0);
    map_deinit(&s->exact);
    map_deinit(&s->levels);
    map_deinit(&s->shares);
    map_deinit(&s->entries);
    free(s->root);
    pthread_rwlock_destroy(&s->lock);
    free(s);
}

size_t subs_count(struct subs *s) {
    pthread_rwlock_rdlock(&s->lock);
    size_t n = s->entries.len;
    pthread_rwlock_unlock(&s->lock);
    return n;
}

size_t subs_filters(struct subs *s) {
    pthread_rwlock_rdlock(&s->lock);
    size_t n = s->filters;
    pthread_rwlock_unlock(&s->lock);
    return n;
}
