/* subs.c -- the subscription index.
 *
 * A filter without wildcards is one entry of the map `exact`.  The others are paths in a
 * trie of levels:
 *
 *     a/+/c   a/#          root --a--> [ ] --+--> [ ] --c--> [subscribers]
 *                                       \---#--> [subscribers]
 *
 * The children of all trie nodes lie in one map under (parent, level), but for `+` and `#`,
 * which the parent points to: a lookup follows at most three branches a level.  A shared
 * subscription, $share/GROUP/FILTER, is a node of its own in the map `shares`, listed by the node
 * of FILTER.  Invariant: a node without subscribers, shares and children does not exist, but for
 * the root.  Every change bumps the epoch of the part its filter's first level falls in, or
 * epoch_wide when that level is a wildcard. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/subs.h"

#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"
#include "mqtt/topic.h"

#include <pthread.h>
#include <stdlib.h>

/* A filter without wildcards, one level of those with, or a shared filter.  There may be
 * millions: what few of them need lies elsewhere. */
struct filter_node {
    struct branch *below; /* owned; NULL: no children */
    struct share *shares; /* groups that share this filter */
    union {
        struct subscription *one;   /* lent; while subs_cap is 0 */
        struct subscription **many; /* owned array of lent ones */
    };
    uint32_t subs_len, subs_cap;
    uint16_t len;    /* bytes of the filter or level in key */
    uint16_t part;   /* of the tree that a change here concerns; PART_WIDE: all of it */
    uint8_t kind;    /* enum node_kind */
    bool is_crowded; /* its subscriptions are in the map `crowd` */
    uint8_t key[];   /* LEVEL: the parent's address, then the level; else the filter */
};

enum node_kind { EXACT, LEVEL, SHARE };

/* The children of a LEVEL that the map `levels` does not find. */
struct branch {
    struct filter_node *plus, *hash;
    uint32_t children; /* these and those in the map */
};

/* One group on one filter. */
struct share {
    struct filter_node *inner;  /* the filter shared */
    struct share *next, **link; /* inner->shares */
    uint32_t id;
    struct filter_node node; /* its members; last, for its key */
};

enum {
    PARENT = sizeof(struct filter_node *), /* bytes at the start of a LEVEL's key */
    PART_WIDE = SUBS_PARTS,
    CROWD = 32 /* subscriptions of one node that are still searched one by one */
};

struct subs {
    pthread_rwlock_t lock;
    struct map exact;     /* filter_node by filter */
    struct map levels;    /* filter_node by parent and level */
    struct map shares;    /* filter_node of a share, by its whole filter */
    struct map share_ids; /* share by its id */
    struct map crowd;     /* subscription by subscription_key, those of crowded nodes */
    struct filter_node *root;
    uint32_t last_share_id;
    size_t subscriptions, filters;
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

static bool is_level(struct slice level, char wildcard) {
    return level.len == 1 && level.at[0] == wildcard;
}

static bool is_wide(struct slice filter) {
    return filter.at[0] == '#' || filter.at[0] == '+';
}

static void bump(struct subs *s, const struct filter_node *n) {
    atomic_fetch_add_explicit(n->part == PART_WIDE ? &s->epoch_wide : &s->epoch[n->part], 1,
                              memory_order_release);
}

bool subs_current(const struct subs *s, uint32_t part, uint64_t epoch, uint64_t epoch_wide) {
    return atomic_load_explicit(&s->epoch[part], memory_order_acquire) == epoch &&
           atomic_load_explicit(&s->epoch_wide, memory_order_acquire) == epoch_wide;
}

/* ---- nodes -------------------------------------------------------------- */

static struct slice node_key(const void *obj) {
    const struct filter_node *n = obj;
    return slice_of(n->key, n->len + (n->kind == LEVEL ? PARENT : 0u));
}

static struct slice share_key(const void *obj) {
    return slice_of(&((const struct share *)obj)->id, sizeof(uint32_t));
}

static struct slice crowd_key(const void *obj) {
    return slice_of(&((const struct subscription *)obj)->key, sizeof(struct subscription_key));
}

/* NULL: the root, or no LEVEL. */
static struct filter_node *parent_of(const struct filter_node *n) {
    struct filter_node *parent = NULL;
    if (n->kind == LEVEL) memcpy(&parent, n->key, PARENT);
    return parent;
}

static struct slice node_level(const struct filter_node *n) {
    return slice_of(n->key + PARENT, n->len);
}

static struct share *share_of(struct filter_node *n) {
    return CONTAINER_OF(n, struct share, node);
}

static struct subscription *const *subs_of(const struct filter_node *n) {
    return n->subs_cap ? n->many : &n->one;
}

static struct filter_node *node_new(enum node_kind kind, struct slice key) {
    struct filter_node *n = xcalloc(1, sizeof *n + key.len);
    n->kind = (uint8_t)kind;
    n->len = (uint16_t)(kind == LEVEL ? key.len - PARENT : key.len);
    memcpy(n->key, key.at, key.len);
    return n;
}

static void level_key(uint8_t *out, const struct filter_node *parent, struct slice level) {
    memcpy(out, &parent, PARENT);
    if (level.len) memcpy(out + PARENT, level.at, level.len);
}

/* The place of a `+` or `#` child, or NULL for one that the map has. */
static struct filter_node **wildcard_of(struct branch *b, struct slice level) {
    if (is_level(level, '+')) return &b->plus;
    if (is_level(level, '#')) return &b->hash;
    return NULL;
}

static struct filter_node *child_find(const struct subs *s, const struct filter_node *parent,
                                      struct slice level) {
    if (!parent->below) return NULL;
    struct filter_node **wildcard = wildcard_of(parent->below, level);
    if (wildcard) return *wildcard;
    uint8_t key[PARENT + level.len];
    level_key(key, parent, level);
    return map_find(&s->levels, slice_of(key, sizeof key));
}

static struct filter_node *child_new(struct subs *s, struct filter_node *parent, struct slice key) {
    struct filter_node *n = node_new(LEVEL, key);
    struct slice level = node_level(n);
    n->part = parent->part;
    if (parent == s->root)
        n->part = level.len && is_wide(level) ? PART_WIDE : (uint16_t)part_of(level);
    parent->below->children++;
    return n;
}

static struct filter_node *child_get(struct subs *s, struct filter_node *parent,
                                     struct slice level) {
    uint8_t bytes[PARENT + level.len];
    struct slice key = slice_of(bytes, sizeof bytes);
    level_key(bytes, parent, level);
    if (!parent->below) parent->below = xcalloc(1, sizeof *parent->below);
    struct filter_node **wildcard = wildcard_of(parent->below, level);
    if (wildcard) return *wildcard ? *wildcard : (*wildcard = child_new(s, parent, key));
    uint64_t hash = map_hash(&s->levels, key);
    struct filter_node *n = map_find_hashed(&s->levels, key, hash);
    if (n) return n;
    n = child_new(s, parent, key);
    map_put_hashed(&s->levels, n, hash);
    return n;
}

static void child_del(struct subs *s, struct filter_node *n) {
    struct filter_node *parent = parent_of(n);
    struct filter_node **wildcard = wildcard_of(parent->below, node_level(n));
    if (wildcard)
        *wildcard = NULL;
    else
        map_del(&s->levels, node_key(n));
    if (--parent->below->children == 0) {
        free(parent->below);
        parent->below = NULL;
    }
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
    uint64_t hash = map_hash(&s->exact, filter);
    struct filter_node *n = map_find_hashed(&s->exact, filter, hash);
    if (n) return n;
    n = node_new(EXACT, filter);
    n->part = (uint16_t)part_of(filter);
    map_put_hashed(&s->exact, n, hash);
    return n;
}

static struct filter_node *plain_get(struct subs *s, struct slice filter) {
    if (!topic_has_wildcard(filter)) return exact_get(s, filter);
    struct filter_node *n = s->root;
    struct slice level;
    for (size_t at = 0; topic_next_level(filter, &at, &level);) n = child_get(s, n, level);
    return n;
}

static struct filter_node *share_get(struct subs *s, struct slice filter, struct slice inner) {
    struct filter_node *n = map_find(&s->shares, filter);
    if (n) return n;
    struct share *share = xcalloc(1, sizeof *share + filter.len);
    share->node.kind = SHARE;
    share->node.len = (uint16_t)filter.len;
    memcpy(share->node.key, filter.at, filter.len);
    share->id = ++s->last_share_id;
    share->inner = plain_get(s, inner);
    share->node.part = share->inner->part;
    share->next = share->inner->shares;
    share->link = &share->inner->shares;
    if (share->next) share->next->link = &share->next;
    share->inner->shares = share;
    map_put(&s->shares, &share->node);
    map_put(&s->share_ids, share);
    return &share->node;
}

static struct filter_node *node_get(struct subs *s, struct slice filter) {
    struct slice group, inner;
    bool valid;
    if (topic_shared(filter, &group, &inner, &valid)) return share_get(s, filter, inner);
    return plain_get(s, filter);
}

static bool is_unused(const struct filter_node *n) {
    return !n->subs_len && !n->shares && !n->below;
}

/* Removes the node if the invariant says so, then its parents likewise. */
static void plain_prune(struct subs *s, struct filter_node *n) {
    if (n->kind == EXACT && is_unused(n)) {
        map_del(&s->exact, node_key(n));
        free(n);
        return;
    }
    for (struct filter_node *parent; (parent = parent_of(n)) && is_unused(n); n = parent)
        child_del(s, n);
}

/* The last subscriber of `n` has gone. */
static void node_prune(struct subs *s, struct filter_node *n) {
    if (n->subs_cap) free(n->many);
    n->many = NULL;
    n->subs_cap = 0;
    n->is_crowded = false;
    s->filters--;
    if (n->kind != SHARE) {
        plain_prune(s, n);
        return;
    }
    struct share *share = share_of(n);
    struct filter_node *inner = share->inner;
    map_del(&s->shares, node_key(n));
    map_del(&s->share_ids, share_key(share));
    if (share->next) share->next->link = share->link;
    *share->link = share->next;
    free(share);
    plain_prune(s, inner);
}

/* ---- subscriptions ------------------------------------------------------ */

static void make_room(struct filter_node *n) {
    if (n->subs_len == 0 || n->subs_len < n->subs_cap) return; /* the first has its place */
    uint32_t cap = n->subs_cap ? n->subs_cap * 2 : 4;
    struct subscription *one = n->subs_cap ? NULL : n->one;
    n->many = xrealloc(n->subs_cap ? n->many : NULL, cap * sizeof(struct subscription *));
    n->subs_cap = cap;
    if (one) n->many[0] = one;
}

static void node_push(struct subs *s, struct filter_node *n, struct subscription *sub) {
    make_room(n);
    sub->at = n->subs_len++;
    if (n->subs_cap)
        n->many[sub->at] = sub;
    else
        n->one = sub;
    s->filters += sub->at == 0;
    s->subscriptions++;
    if (!n->is_crowded && n->subs_len > CROWD) {
        n->is_crowded = true;
        for (uint32_t i = 0; i < sub->at; i++) map_put(&s->crowd, n->many[i]);
    }
    if (n->is_crowded) map_put(&s->crowd, sub);
}

/* The subscription of `session` to this node, or NULL. */
static struct subscription *node_sub(const struct subs *s, const struct filter_node *n,
                                     struct handle session) {
    if (n->is_crowded) {
        struct subscription_key key = { (struct filter_node *)(uintptr_t)n, session };
        return map_find(&s->crowd, slice_of(&key, sizeof key));
    }
    for (uint32_t i = 0; i < n->subs_len; i++)
        if (handle_eq(subs_of(n)[i]->key.session, session)) return subs_of(n)[i];
    return NULL;
}

static void remove_locked(struct subs *s, struct subscription *sub) {
    struct filter_node *n = sub->key.node;
    bump(s, n);
    if (n->is_crowded) map_del(&s->crowd, crowd_key(sub));
    struct subscription *last = subs_of(n)[--n->subs_len];
    last->at = sub->at;
    if (n->subs_cap) n->many[sub->at] = last;
    s->subscriptions--;
    if (!n->subs_len) node_prune(s, n);
    if (sub->next) sub->next->link = sub->link;
    *sub->link = sub->next;
    free(sub);
}

int subs_add(struct subs *s, struct subscription **list, struct handle session, struct slice filter,
             const struct subscribe_options *options, uint32_t identifier) {
    pthread_rwlock_wrlock(&s->lock);
    struct filter_node *n = node_get(s, filter);
    struct subscription *sub = node_sub(s, n, session);
    int r = sub ? SUBS_REPLACED : SUBS_NEW;
    if (!sub) {
        sub = xcalloc(1, sizeof *sub);
        sub->key = (struct subscription_key){ n, session };
        node_push(s, n, sub);
        sub->next = *list;
        sub->link = list;
        if (sub->next) sub->next->link = &sub->next;
        *list = sub;
    }
    sub->options = *options;
    sub->identifier = identifier;
    bump(s, n);
    pthread_rwlock_unlock(&s->lock);
    return r;
}

static struct subscription *find_locked(const struct subs *s, struct handle session,
                                        struct slice filter) {
    const struct filter_node *n = node_find(s, filter);
    return n ? node_sub(s, n, session) : NULL;
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
    const struct filter_node *parent = parent_of(n);
    if (parent_of(parent)) {
        add_levels(parent, out);
        buf_add(out, "/", 1);
    }
    buf_add_slice(out, node_level(n));
}

void subs_filter(const struct subscription *sub, struct buf *out) {
    const struct filter_node *n = sub->key.node;
    if (n->kind == LEVEL)
        add_levels(n, out);
    else
        buf_add_slice(out, node_key(n));
}

/* ---- matching ----------------------------------------------------------- */

enum { FEW = 32 };

struct found {
    struct subscription **at; /* of plain filters */
    size_t len, cap;
    unsigned nodes; /* that contributed */
    size_t identifiers;
    struct share **shares;
    size_t shares_len, members;
    unsigned worker; /* whose plain subscribers are collected */
    uint64_t remote; /* bit per worker: others that have some */
    enum overlapping overlapping;
    struct subscription *few[FEW]; /* `at`, until they are more */
};

static void collect_share(struct found *f, struct share *share) {
    const struct filter_node *n = &share->node;
    f->shares = xrealloc(f->shares, (f->shares_len + 1) * sizeof *f->shares);
    f->shares[f->shares_len++] = share;
    f->members += n->subs_len;
    for (uint32_t i = 0; i < n->subs_len; i++) f->identifiers += subs_of(n)[i]->identifier != 0;
}

static void found_init(struct found *f, unsigned worker, enum overlapping overlapping) {
    memset(f, 0, offsetof(struct found, few));
    f->at = f->few;
    f->cap = FEW;
    f->worker = worker;
    f->overlapping = overlapping;
}

static void found_grow(struct found *f, size_t more) {
    if (f->len + more <= f->cap) return;
    f->cap = (f->len + more) * 2;
    struct subscription **at = f->at == f->few ? NULL : f->at;
    f->at = xrealloc(at, f->cap * sizeof(struct subscription *));
    if (!at) memcpy(f->at, f->few, f->len * sizeof(struct subscription *));
}

static void collect(struct found *f, const struct filter_node *n) {
    if (!n) return;
    for (struct share *share = n->shares; share; share = share->next) collect_share(f, share);
    if (!n->subs_len) return;
    found_grow(f, n->subs_len);
    for (uint32_t i = 0; i < n->subs_len; i++) {
        struct subscription *sub = subs_of(n)[i];
        unsigned owner = handle_owner(sub->key.session);
        if (owner == f->worker) {
            f->at[f->len++] = sub;
            f->identifiers += sub->identifier != 0;
        } else {
            f->remote |= UINT64_C(1) << owner;
        }
    }
    f->nodes++;
}

/* Recursion is as deep as the trie, which max_topic_levels bounds. */
static void walk(const struct subs *s, const struct filter_node *n, struct slice topic, size_t at,
                 struct found *f) {
    struct slice level;
    bool is_system = n == s->root && topic.len && topic.at[0] == '$'; /* [MQTT-4.7.2-1] */
    const struct branch *below = n->below;
    if (below && !is_system) collect(f, below->hash); /* also the parent level itself */
    if (!topic_next_level(topic, &at, &level)) {
        collect(f, n);
        return;
    }
    if (!below) return;
    struct filter_node *child = child_find(s, n, level);
    if (child) walk(s, child, topic, at, f);
    if (below->plus && !is_system) walk(s, below->plus, topic, at, f);
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
            struct route_entry *e = entry_add(out, at++, subs_of(n)[k]->key.session, ids);
            merge(out, e, subs_of(n)[k]);
            e->no_local = false; /* has no meaning here [MQTT-3.8.3-4] */
            ids += e->identifiers_len;
        }
    }
    return ids;
}

static void build(struct found *f, struct route_entries *out) {
    size_t total = f->len + f->members;
    out->remote = f->remote;
    if (total > out->cap) {
        free(out->at);
        out->at = xmalloc(total * sizeof *out->at);
        out->cap = (uint32_t)total;
    }
    if (f->identifiers) out->identifiers = xmalloc(f->identifiers * sizeof *out->identifiers);
    if (f->nodes > 1) qsort(f->at, f->len, sizeof *f->at, by_session);
    uint32_t ids = build_plain(f, out);
    if (f->shares_len) build_shares(f, out, ids);
    if (f->at != f->few) free(f->at);
    free(f->shares);
}

/* Empties `out` but for its room. */
static void entries_reset(struct route_entries *out) {
    struct route_entries old = *out;
    free(old.shares);
    free(old.identifiers);
    *out = (struct route_entries){ .at = old.at, .cap = old.cap };
}

void route_entries_deinit(struct route_entries *e) {
    free(e->at);
    free(e->shares);
    free(e->identifiers);
    *e = (struct route_entries){ 0 };
}

void subs_share(struct subs *s, uint32_t id, struct route_entries *out) {
    struct found f;
    found_init(&f, 0, OVERLAPPING_ONCE);
    entries_reset(out);
    pthread_rwlock_rdlock(&s->lock);
    struct share *share = map_find(&s->share_ids, slice_of(&id, sizeof id));
    if (share) collect_share(&f, share);
    build(&f, out);
    pthread_rwlock_unlock(&s->lock);
}

void subs_match(struct subs *s, unsigned worker, struct slice topic, enum overlapping overlapping,
                struct route_entries *out) {
    struct found f;
    found_init(&f, worker, overlapping);
    entries_reset(out);
    out->part = part_of(topic);
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
    map_init(&s->share_ids, share_key);
    map_init(&s->crowd, crowd_key);
    s->root = node_new(LEVEL, slice_of("\0\0\0\0\0\0\0\0", PARENT));
    return s;
}

void subs_free(struct subs *s) {
    if (!s) return;
    must(s->subscriptions == 0);
    map_deinit(&s->exact);
    map_deinit(&s->levels);
    map_deinit(&s->shares);
    map_deinit(&s->share_ids);
    map_deinit(&s->crowd);
    free(s->root);
    pthread_rwlock_destroy(&s->lock);
    free(s);
}

size_t subs_count(struct subs *s) {
    pthread_rwlock_rdlock(&s->lock);
    size_t n = s->subscriptions;
    pthread_rwlock_unlock(&s->lock);
    return n;
}

size_t subs_filters(struct subs *s) {
    pthread_rwlock_rdlock(&s->lock);
    size_t n = s->filters;
    pthread_rwlock_unlock(&s->lock);
    return n;
}
