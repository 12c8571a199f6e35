/* subs.c -- the subscription index: adding and removing.
 *
 * A filter without wildcards is one entry of the map `exact`.  The others are paths in a
 * forest of levels.  A root stands for what a filter begins with: its levels before the first
 * wildcard, two at most.
 *
 *     a/+/c   a/#          root "a/" --+--> [ ] --c--> [subscribers]
 *                                   \---#--> [subscribers]
 *     a/b/c/#              root "a/b/" --c--> [ ] --#--> [subscribers]
 *
 * So a topic a/b/c is looked for in three trees, those of "", "a/" and "a/b/", and no change
 * below other roots can concern it: each beginning belongs to one of SUBS_PARTS parts, by
 * hash, whose epoch every change bumps.  Parts share the locks and maps of SHARDS shards, so
 * threads that change different parts rarely meet.
 *
 * The children of all nodes of a shard lie in one map under (parent, level), but for `+` and
 * `#`, which the parent points to: a lookup follows at most three branches a level.  A shared
 * subscription, $share/GROUP/FILTER, is a node of its own in the map `shares`, listed by the node
 * of FILTER and in the same shard.  Invariant: a node without subscribers, shares and children
 * does not exist. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/subs.h"

#include "base/buf.h"
#include "base/mem.h"
#include "core/subs_index.h"
#include "mqtt/topic.h"

#include <stdlib.h>
#include <unistd.h>

enum { SPINS = 2000 }; /* some ten microseconds */

/* ---- parts and epochs --------------------------------------------------- */

static bool is_level(struct slice level, char wildcard) {
    return level.len == 1 && level.at[0] == wildcard;
}

static uint32_t step(uint32_t hash, uint8_t c) {
    return (hash ^ c) * 16777619u;
}

/* All but WIDE.  Folded: low bits of the hash come of low bits of the text alone. */
static uint16_t part_of(uint32_t hash) {
    return (uint16_t)((hash ^ hash >> 16) % (SUBS_PARTS - 1) + 1);
}

/* FNV-1a: not keyed, a collision only costs a rebuilt route or a wait.  All routes depend on what
 * begins with a wildcard, so that has a part of its own. */
struct prefixes subs_prefixes(struct slice text) {
    enum { LONGEST = SUBS_PREFIXES - 1, WIDE = 0 };
    uint32_t h = 2166136261u;
    struct prefixes p = { .part = { WIDE } };
    for (size_t i = 0; i < text.len && p.last < LONGEST; i++) {
        uint8_t c = text.at[i];
        bool begins = i == 0 || text.at[i - 1] == '/';
        if (begins && (c == '+' || c == '#')) return p;
        h = step(h, c);
        if (c != '/') continue;
        p.len[++p.last] = i + 1;
        p.part[p.last] = part_of(h);
    }
    if (p.last == LONGEST) return p;
    p.len[++p.last] = text.len + 1;
    p.part[p.last] = part_of(step(h, '/'));
    return p;
}

/* What a filter is about, and where it belongs. */
struct place {
    struct slice filter, inner; /* the same when it is not shared */
    size_t prefix;              /* bytes of `inner` that name the root */
    uint16_t part;
    bool is_shared, is_exact;
};

static struct place place_of(struct slice filter) {
    struct place place = { .filter = filter };
    struct slice group;
    bool valid;
    place.is_shared = topic_shared(filter, &group, &place.inner, &valid);
    if (!place.is_shared) place.inner = filter;
    struct prefixes p = subs_prefixes(place.inner);
    place.prefix = p.len[p.last];
    place.part = p.part[p.last];
    place.is_exact = !topic_has_wildcard(place.inner);
    return place;
}

static void bump(struct subs *s, const struct filter_node *n) {
    atomic_fetch_add_explicit(&s->epoch[n->part], 1, memory_order_release);
}

uint64_t subs_epochs(const struct subs *s, const uint16_t part[SUBS_PREFIXES]) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < SUBS_PREFIXES; i++)
        sum += atomic_load_explicit(&s->epoch[part[i]], memory_order_acquire);
    return sum;
}

bool subs_current(const struct subs *s, const struct subs_age *age) {
    return subs_epochs(s, age->part) == age->epochs;
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

/* NULL: a root, or no LEVEL. */
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

static struct filter_node *node_new(enum node_kind kind, struct slice key, uint16_t part) {
    size_t size = offsetof(struct filter_node, key) + key.len;
    struct filter_node *n = xcalloc(1, size < sizeof *n ? sizeof *n : size);
    n->kind = (uint8_t)kind;
    n->part = part;
    n->len = (uint16_t)(kind == LEVEL ? key.len - PARENT : key.len);
    memcpy(n->key, key.at, key.len);
    return n;
}

/* The place of a `+` or `#` child, or NULL for one that the map has. */
static struct filter_node **wildcard_of(struct branch *b, struct slice level) {
    if (is_level(level, '+')) return &b->plus;
    if (is_level(level, '#')) return &b->hash;
    return NULL;
}

static void set_below(struct filter_node *n, struct branch b) {
    struct branch *own = n->below & BELOW_TAG ? NULL : (struct branch *)n->below;
    unsigned kinds = (b.plus != NULL) + (b.hash != NULL) + (b.others != 0);
    if (kinds > 1) {
        if (!own) own = xmalloc(sizeof *own);
        *own = b;
        n->below = (uintptr_t)own;
        return;
    }
    xfree(own);
    n->below = 0;
    if (b.plus) n->below = (uintptr_t)b.plus | BELOW_PLUS;
    if (b.hash) n->below = (uintptr_t)b.hash | BELOW_HASH;
    if (b.others) n->below = (uintptr_t)b.others << BELOW_SHIFT | BELOW_OTHERS;
}

static struct filter_node *root_find(const struct shard *shard, struct slice prefix) {
    if (!prefix.len) return shard->wide;
    uint8_t key[PARENT + prefix.len];
    return map_find(&shard->levels, subs_level_key(key, NULL, prefix, 0, prefix.len));
}

static struct filter_node *child_find(const struct shard *shard, const struct filter_node *parent,
                                      struct slice level) {
    struct branch below = subs_below(parent);
    struct filter_node **wildcard = wildcard_of(&below, level);
    if (wildcard) return *wildcard;
    if (!below.others) return NULL;
    uint8_t key[PARENT + level.len];
    return map_find(&shard->levels, subs_level_key(key, parent, level, 0, level.len));
}

/* A LEVEL that the map has, by its key; made when it is not there. */
static struct filter_node *level_get(struct shard *shard, struct slice key, uint16_t part) {
    uint64_t hash = map_hash(&shard->levels, key);
    struct filter_node *n = map_find_hashed(&shard->levels, key, hash);
    if (n) return n;
    n = node_new(LEVEL, key, part);
    map_put_hashed(&shard->levels, n, hash);
    struct filter_node *parent = parent_of(n);
    if (!parent) return n;
    struct branch below = subs_below(parent);
    below.others++;
    set_below(parent, below);
    return n;
}

static struct filter_node *child_get(struct shard *shard, struct filter_node *parent,
                                     struct slice level) {
    uint8_t bytes[PARENT + level.len];
    struct slice key = subs_level_key(bytes, parent, level, 0, level.len);
    if (!is_level(level, '+') && !is_level(level, '#')) return level_get(shard, key, parent->part);
    struct branch below = subs_below(parent);
    struct filter_node **wildcard = wildcard_of(&below, level);
    if (*wildcard) return *wildcard;
    *wildcard = node_new(LEVEL, key, parent->part);
    set_below(parent, below);
    return *wildcard;
}

static struct filter_node *root_get(struct shard *shard, struct slice prefix, uint16_t part) {
    uint8_t bytes[PARENT + prefix.len];
    struct slice key = subs_level_key(bytes, NULL, prefix, 0, prefix.len);
    if (prefix.len) return level_get(shard, key, part);
    if (!shard->wide) shard->wide = node_new(LEVEL, key, part);
    return shard->wide;
}

/* Takes it from where it is found. */
static void level_unlink(struct shard *shard, struct filter_node *parent,
                         const struct filter_node *n) {
    struct branch below = parent ? subs_below(parent) : (struct branch){ .others = 1 };
    struct filter_node **place = parent ? wildcard_of(&below, node_level(n)) : NULL;
    if (n == shard->wide) place = &shard->wide;
    if (place) {
        *place = NULL;
    } else {
        map_del(&shard->levels, node_key(n));
        below.others--;
    }
    if (parent) set_below(parent, below);
}

/* Gives the parent, or NULL. */
static struct filter_node *level_del(struct shard *shard, struct filter_node *n) {
    struct filter_node *parent = parent_of(n);
    level_unlink(shard, parent, n);
    free(n);
    return parent;
}

static struct filter_node *plain_find(const struct shard *shard, const struct place *place) {
    if (place->is_exact) return map_find(&shard->exact, place->inner);
    struct filter_node *n = root_find(shard, slice_of(place->inner.at, place->prefix));
    struct slice level;
    for (size_t at = place->prefix; n && topic_next_level(place->inner, &at, &level);)
        n = child_find(shard, n, level);
    return n;
}

static struct filter_node *node_find(const struct shard *shard, const struct place *place) {
    if (place->is_shared) return map_find(&shard->shares, place->filter);
    return plain_find(shard, place);
}

static struct filter_node *exact_get(struct shard *shard, struct slice filter, uint16_t part) {
    uint64_t hash = map_hash(&shard->exact, filter);
    struct filter_node *n = map_find_hashed(&shard->exact, filter, hash);
    if (n) return n;
    n = node_new(EXACT, filter, part);
    map_put_hashed(&shard->exact, n, hash);
    return n;
}

static struct filter_node *plain_get(struct shard *shard, const struct place *place) {
    if (place->is_exact) return exact_get(shard, place->inner, place->part);
    struct slice prefix = slice_of(place->inner.at, place->prefix), level;
    struct filter_node *n = root_get(shard, prefix, place->part);
    for (size_t at = place->prefix; topic_next_level(place->inner, &at, &level);)
        n = child_get(shard, n, level);
    return n;
}

/* Says which shard it is in; never 0.  After some sixty million the numbers come round. */
static uint32_t share_id_new(struct shard *shard, uint16_t part) {
    uint32_t id;
    do id = ++shard->last_share_id * SHARDS + part % SHARDS;
    while (id < SHARDS || map_find(&shard->share_ids, slice_of(&id, sizeof id)));
    return id;
}

static struct filter_node *share_get(struct shard *shard, const struct place *place) {
    struct filter_node *n = map_find(&shard->shares, place->filter);
    if (n) return n;
    struct share *share = xcalloc(1, sizeof *share + place->filter.len);
    share->node.kind = SHARE;
    share->node.part = place->part;
    share->node.len = (uint16_t)place->filter.len;
    memcpy(share->node.key, place->filter.at, place->filter.len);
    share->id = share_id_new(shard, place->part);
    share->inner = plain_get(shard, place);
    share->next = share->inner->shares;
    share->link = &share->inner->shares;
    if (share->next) share->next->link = &share->next;
    share->inner->shares = share;
    map_put(&shard->shares, &share->node);
    map_put(&shard->share_ids, share);
    return &share->node;
}

static struct filter_node *node_get(struct shard *shard, const struct place *place) {
    if (place->is_shared) return share_get(shard, place);
    return plain_get(shard, place);
}

static bool is_unused(const struct filter_node *n) {
    return !n->subs_len && !n->shares && !n->below;
}

/* Removes the node if the invariant says so, then its parents likewise. */
static void plain_prune(struct shard *shard, struct filter_node *n) {
    if (n->kind == LEVEL) {
        while (n && is_unused(n)) n = level_del(shard, n);
    } else if (is_unused(n)) {
        map_del(&shard->exact, node_key(n));
        free(n);
    }
}

/* The last subscriber of `n` has gone. */
static void node_prune(struct shard *shard, struct filter_node *n) {
    if (n->subs_cap) free(n->many);
    n->many = NULL;
    n->subs_cap = 0;
    n->is_crowded = false;
    shard->filters--;
    if (n->kind != SHARE) {
        plain_prune(shard, n);
        return;
    }
    struct share *share = share_of(n);
    struct filter_node *inner = share->inner;
    map_del(&shard->shares, node_key(n));
    map_del(&shard->share_ids, share_key(share));
    if (share->next) share->next->link = share->link;
    *share->link = share->next;
    free(share);
    plain_prune(shard, inner);
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

static void node_push(struct shard *shard, struct filter_node *n, struct subscription *sub) {
    make_room(n);
    sub->at = n->subs_len++;
    if (n->subs_cap)
        n->many[sub->at] = sub;
    else
        n->one = sub;
    shard->filters += sub->at == 0;
    shard->subscriptions++;
    if (!n->is_crowded && n->subs_len > CROWD) {
        n->is_crowded = true;
        for (uint32_t i = 0; i < sub->at; i++) map_put(&shard->crowd, n->many[i]);
    }
    if (n->is_crowded) map_put(&shard->crowd, sub);
}

/* The subscription of `session` to this node, or NULL. */
static struct subscription *node_sub(const struct shard *shard, const struct filter_node *n,
                                     struct handle session) {
    if (n->is_crowded) {
        struct subscription_key key = { (struct filter_node *)(uintptr_t)n, session };
        return map_find(&shard->crowd, slice_of(&key, sizeof key));
    }
    for (uint32_t i = 0; i < n->subs_len; i++)
        if (handle_eq(subs_of(n)[i]->key.session, session)) return subs_of(n)[i];
    return NULL;
}

/* Whoever holds the lock is done in less time than falling asleep takes. */
static void lock_to_change(struct shard *shard) {
    for (int i = 0; i < SPINS; i++)
        if (pthread_rwlock_trywrlock(&shard->lock) == 0) return;
    pthread_rwlock_wrlock(&shard->lock);
}

static void remove_locked(struct subs *s, struct shard *shard, struct subscription *sub) {
    struct filter_node *n = sub->key.node;
    bump(s, n);
    if (n->is_crowded) map_del(&shard->crowd, crowd_key(sub));
    struct subscription *last = subs_of(n)[--n->subs_len];
    last->at = sub->at;
    if (n->subs_cap) n->many[sub->at] = last;
    shard->subscriptions--;
    if (!n->subs_len) node_prune(shard, n);
    if (sub->next) sub->next->link = sub->link;
    *sub->link = sub->next;
    free(sub);
}

int subs_add(struct subs *s, struct subscription **list, struct handle session, struct slice filter,
             const struct subscribe_options *options, uint32_t identifier) {
    struct place place = place_of(filter);
    struct shard *shard = shard_of(s, place.part);
    struct subscription *spare = xcalloc(1, sizeof *spare); /* outside of the lock: it takes long */
    lock_to_change(shard);
    struct filter_node *n = node_get(shard, &place);
    struct subscription *sub = node_sub(shard, n, session);
    if (!sub) {
        sub = spare;
        sub->key = (struct subscription_key){ n, session };
        node_push(shard, n, sub);
    }
    sub->options = *options;
    sub->identifier = identifier;
    bump(s, n);
    pthread_rwlock_unlock(&shard->lock);
    if (sub != spare) {
        free(spare);
        return SUBS_REPLACED;
    }
    sub->next = *list;
    sub->link = list;
    if (sub->next) sub->next->link = &sub->next;
    *list = sub;
    return SUBS_NEW;
}

static struct subscription *find_locked(const struct shard *shard, struct handle session,
                                        const struct place *place) {
    const struct filter_node *n = node_find(shard, place);
    return n ? node_sub(shard, n, session) : NULL;
}

struct subscription *subs_find(struct subs *s, struct handle session, struct slice filter) {
    struct place place = place_of(filter);
    struct shard *shard = shard_of(s, place.part);
    pthread_rwlock_rdlock(&shard->lock);
    struct subscription *sub = find_locked(shard, session, &place);
    pthread_rwlock_unlock(&shard->lock);
    return sub;
}

bool subs_has(struct subs *s, struct handle session, struct slice filter) {
    return subs_find(s, session, filter) != NULL;
}

/* Where a subscription of this thread's is; its node stays as long as it does. */
static struct shard *shard_of_sub(struct subs *s, const struct subscription *sub) {
    return shard_of(s, sub->key.node->part);
}

void subs_set_standing(struct subs *s, struct subscription *sub, uint8_t standing) {
    if (sub->options.standing == standing) return;
    struct shard *shard = shard_of_sub(s, sub);
    lock_to_change(shard);
    sub->options.standing = standing;
    bump(s, sub->key.node);
    pthread_rwlock_unlock(&shard->lock);
}

bool subs_del(struct subs *s, struct handle session, struct slice filter) {
    struct place place = place_of(filter);
    struct shard *shard = shard_of(s, place.part);
    lock_to_change(shard);
    struct subscription *sub = find_locked(shard, session, &place);
    if (sub) remove_locked(s, shard, sub);
    pthread_rwlock_unlock(&shard->lock);
    return sub != NULL;
}

void subs_del_all(struct subs *s, struct subscription **list) {
    while (*list) {
        struct shard *shard = shard_of_sub(s, *list);
        lock_to_change(shard);
        remove_locked(s, shard, *list);
        pthread_rwlock_unlock(&shard->lock);
    }
}

static void add_levels(const struct filter_node *n, struct buf *out) {
    const struct filter_node *parent = parent_of(n);
    if (parent) add_levels(parent, out);
    if (parent && parent_of(parent)) buf_add(out, "/", 1);
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

/* Who waits to change something goes before who comes to read: else the others' matching could
 * keep it out for seconds, and with it its worker. */
static void lock_init(pthread_rwlock_t *lock) {
    pthread_rwlockattr_t attr;
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(lock, &attr);
    pthread_rwlockattr_destroy(&attr);
}

static void shard_init(struct shard *shard, const uint64_t seed[2]) {
    lock_init(&shard->lock);
    map_init_seeded(&shard->exact, node_key, seed);
    map_init(&shard->levels, node_key);
    map_init(&shard->shares, node_key);
    map_init(&shard->share_ids, share_key);
    map_init(&shard->crowd, crowd_key);
}

static void shard_deinit(struct shard *shard) {
    must(shard->subscriptions == 0);
    map_deinit(&shard->exact);
    map_deinit(&shard->levels);
    map_deinit(&shard->shares);
    map_deinit(&shard->share_ids);
    map_deinit(&shard->crowd);
    pthread_rwlock_destroy(&shard->lock);
}

struct subs *subs_new(void) {
    struct subs *s = xcalloc_lines(1, sizeof *s);
    must(getentropy(s->seed, sizeof s->seed) == 0);
    for (unsigned i = 0; i < SHARDS; i++) shard_init(&s->shards[i], s->seed);
    return s;
}

uint64_t subs_hash(const struct subs *s, struct slice topic) {
    return siphash13(s->seed, topic);
}

const uint64_t *subs_seed(const struct subs *s) {
    return s->seed;
}

void subs_free(struct subs *s) {
    for (unsigned i = 0; s && i < SHARDS; i++) shard_deinit(&s->shards[i]);
    free(s);
}

/* Adds up what each shard counts there. */
static size_t sum_of(struct subs *s, size_t member) {
    size_t sum = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *shard = &s->shards[i];
        pthread_rwlock_rdlock(&shard->lock);
        sum += *(size_t *)(void *)((char *)shard + member);
        pthread_rwlock_unlock(&shard->lock);
    }
    return sum;
}

size_t subs_count(struct subs *s) {
    return sum_of(s, offsetof(struct shard, subscriptions));
}

size_t subs_filters(struct subs *s) {
    return sum_of(s, offsetof(struct shard, filters));
}
