/* subs.c -- the subscription index: adding and removing.
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
#include "base/mem.h"
#include "core/subs_index.h"
#include "mqtt/topic.h"

#include <stdlib.h>

/* ---- parts and epochs --------------------------------------------------- */

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

struct filter_node *subs_child(const struct subs *s, const struct filter_node *parent,
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
        n->part = level.len && is_wide(level) ? PART_WIDE : (uint16_t)subs_part(level);
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
    for (size_t at = 0; n && topic_next_level(filter, &at, &level);) n = subs_child(s, n, level);
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
    n->part = (uint16_t)subs_part(filter);
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

struct subscription *subs_find(struct subs *s, struct handle session, struct slice filter) {
    pthread_rwlock_rdlock(&s->lock);
    struct subscription *sub = find_locked(s, session, filter);
    pthread_rwlock_unlock(&s->lock);
    return sub;
}

bool subs_has(struct subs *s, struct handle session, struct slice filter) {
    return subs_find(s, session, filter) != NULL;
}

void subs_set_standing(struct subs *s, struct subscription *sub, uint8_t standing) {
    if (sub->options.standing == standing) return;
    pthread_rwlock_wrlock(&s->lock);
    sub->options.standing = standing;
    bump(s, sub->key.node);
    pthread_rwlock_unlock(&s->lock);
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
