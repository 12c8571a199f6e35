/* subs_match.c -- from a topic to the entries of its route. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/mem.h"
#include "core/grants.h"
#include "core/subs_index.h"
#include "mqtt/topic.h"

#include <stdlib.h>

enum { FEW = 32 };

struct found {
    struct subscription **at; /* of plain filters */
    size_t len, cap;
    unsigned nodes; /* that contributed */
    size_t identifiers;
    struct share **shares;
    size_t shares_len, members;
    unsigned worker;  /* whose plain subscribers are collected */
    uint64_t remote;  /* bit per worker: others that have some */
    unsigned far_len; /* of them; more than SUBS_FAR_MAX: they are not collected */
    enum overlapping overlapping;
    struct subscription *few[FEW]; /* `at`, until they are more */
    struct subscription *far[SUBS_FAR_MAX];
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

/* Identifiers do not travel: whoever has some is looked up where it lives. */
static void collect_far(struct found *f, struct subscription *sub) {
    if (sub->identifier) f->far_len = SUBS_FAR_MAX + 1;
    if (f->far_len < SUBS_FAR_MAX) f->far[f->far_len] = sub;
    if (f->far_len <= SUBS_FAR_MAX) f->far_len++;
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
            collect_far(f, sub);
        }
    }
    f->nodes++;
}

/* Of one session those without No Local first, see struct route_entry. */
static int by_session(const void *a, const void *b) {
    const struct subscription *x = *(struct subscription *const *)a;
    const struct subscription *y = *(struct subscription *const *)b;
    if (x->key.session.slot != y->key.session.slot)
        return x->key.session.slot > y->key.session.slot ? 1 : -1;
    return x->options.no_local - y->options.no_local;
}

/* What is made of what was found. */
struct builder {
    struct route_entries *out;
    struct route_entry *at;
    uint32_t len, ids_len; /* so far */
    uint32_t *ids;         /* for route_identifiers */
    bool is_each;          /* subscription one entry, not each session */
};

static struct route_entry *entry_add(struct builder *b, struct handle session) {
    struct route_entry *e = &b->at[b->len++];
    *e = (struct route_entry){ .session = session,
                               .no_local = true,
                               .standing = STANDING_PARTLY }; /* the highest */
    return e;
}

enum { IDS_MAX = IDENTIFIERS_AT + 1 }; /* room for one identifier */

static void add_identifier(struct builder *b, struct route_entry *e, uint32_t identifier) {
    if (!e->identifiers_at) {
        e->identifiers_at = b->ids_len;
        memset(b->ids + b->ids_len, 0, IDENTIFIERS_AT * sizeof *b->ids);
        b->ids_len += IDENTIFIERS_AT;
    }
    b->ids[b->ids_len++] = identifier;
    b->ids[e->identifiers_at + IDENTIFIERS_LEN]++;
}

/* Adds one subscription to the entry of its session, the last one. */
static void merge(struct builder *b, struct route_entry *e, const struct subscription *sub) {
    if (sub->options.qos > e->qos) e->qos = sub->options.qos;
    e->no_local = e->no_local && sub->options.no_local;
    e->retain_as_published = e->retain_as_published || sub->options.retain_as_published;
    if (sub->options.standing < e->standing) e->standing = sub->options.standing & 3;
    if (sub->identifier) add_identifier(b, e, sub->identifier);
    if (sub->options.no_local) return;
    e->own_qos = e->qos;
    e->own_retain_as_published = e->retain_as_published;
    e->own_standing = e->standing;
    uint32_t *ids = e->identifiers_at ? b->ids + e->identifiers_at : NULL;
    if (ids) ids[IDENTIFIERS_OWN_LEN] = ids[IDENTIFIERS_LEN];
}

struct route_entry route_entry_own(const struct route_entry *e) {
    struct route_entry own = *e;
    own.qos = e->own_qos;
    own.retain_as_published = e->own_retain_as_published;
    own.standing = e->own_standing;
    own.is_own = true;
    return own;
}

/* Plain subscribers, those of one session side by side. */
static uint32_t build_plain(struct builder *b, struct subscription *const *subs, size_t len) {
    uint32_t first = b->len;
    for (size_t i = 0; i < len; i++) {
        struct handle session = subs[i]->key.session;
        struct route_entry *e = b->len > first ? &b->at[b->len - 1] : NULL;
        if (!e || b->is_each || !handle_eq(e->session, session)) e = entry_add(b, session);
        merge(b, e, subs[i]);
    }
    return b->len - first;
}

/* The members of each share. */
static void build_shares(struct builder *b, const struct found *f) {
    for (size_t i = 0; i < f->shares_len; i++) {
        const struct filter_node *n = &f->shares[i]->node;
        b->out->more->shares[b->out->more->shares_len++] =
            (struct route_share){ .first = b->len, .len = n->subs_len, .id = f->shares[i]->id };
        for (uint32_t k = 0; k < n->subs_len; k++) {
            struct route_entry *e = entry_add(b, subs_of(n)[k]->key.session);
            merge(b, e, subs_of(n)[k]);
            e->no_local = false; /* has no meaning here [MQTT-3.8.3-4] */
        }
    }
}

static void sort(struct subscription **subs, size_t len) {
    if (len > 1) qsort(subs, len, sizeof *subs, by_session);
}

/* Room for what was found; the first of the identifiers stands for none. */
static struct builder builder_of(const struct found *f, size_t entries, struct route_entries *out) {
    struct builder b = {
        .out = out, .at = &out->one, .ids_len = 1, .is_each = f->overlapping == OVERLAPPING_EACH
    };
    if (entries > 1) {
        b.at = out->many = xmalloc(entries * sizeof *out->many);
        out->cap = (uint32_t)entries;
    }
    if (f->identifiers || f->shares_len)
        out->more = xcalloc(1, sizeof *out->more + f->shares_len * sizeof *out->more->shares);
    if (f->identifiers)
        b.ids = out->more->identifiers = xmalloc((1 + f->identifiers * IDS_MAX) * sizeof *b.ids);
    return b;
}

static void build(struct found *f, struct route_entries *out) {
    size_t far = f->far_len <= SUBS_FAR_MAX ? f->far_len : 0;
    struct builder b = builder_of(f, f->len + f->members + far, out);
    out->remote = f->remote;
    if (f->nodes > 1) sort(f->at, f->len); /* one node has each session once */
    out->len = build_plain(&b, f->at, f->len);
    build_shares(&b, f);
    sort(f->far, far); /* by worker, above all */
    out->far_at = b.len;
    out->far_len = (uint8_t)build_plain(&b, f->far, far);
    if (f->at != f->few) free(f->at);
    free(f->shares);
}

void route_entries_deinit(struct route_entries *e) {
    if (e->cap) free(e->many);
    if (e->more) free(e->more->identifiers);
    free(e->more);
    *e = (struct route_entries){ 0 };
}

void subs_share(struct subs *s, uint32_t id, struct route_entries *out) {
    struct shard *shard = &s->shards[id % SHARDS];
    struct found f;
    found_init(&f, 0, OVERLAPPING_ONCE);
    route_entries_deinit(out);
    pthread_rwlock_rdlock(&shard->lock);
    struct share *share = map_find(&shard->share_ids, slice_of(&id, sizeof id));
    if (share) collect_share(&f, share);
    build(&f, out);
    pthread_rwlock_unlock(&shard->lock);
}

/* ---- the shards of a topic ---------------------------------------------------- */

/* Those that its prefixes belong to, each once (whoever waits to change it would come between a
 * thread and its second lock), in the order in which they are locked. */
struct shards {
    struct shard *at[SUBS_PREFIXES * SUBS_TOGETHER];
    unsigned len;
};

static void shards_add(struct shards *all, struct shard *shard) {
    unsigned i = all->len;
    for (; i && all->at[i - 1] >= shard; i--)
        if (all->at[i - 1] == shard) return;
    for (unsigned k = all->len++; k > i; k--) all->at[k] = all->at[k - 1];
    all->at[i] = shard;
}

static void shards_lock(struct subs *s, const struct prefixes *p, unsigned len,
                        struct shards *all) {
    all->len = 0;
    for (; len; len--, p++)
        for (unsigned i = 0; i <= p->last; i++) shards_add(all, shard_of(s, p->part[i]));
    for (unsigned i = 0; i < all->len; i++) pthread_rwlock_rdlock(&all->at[i]->lock);
}

static void shards_unlock(const struct shards *all) {
    for (unsigned i = 0; i < all->len; i++) pthread_rwlock_unlock(&all->at[i]->lock);
}

/* How old an answer is that is found now. */
static struct subs_age age_of(const struct subs *s, const struct prefixes *p) {
    struct subs_age age = { .epochs = 0 };
    for (unsigned i = 0; i < SUBS_PREFIXES; i++) age.part[i] = p->part[i < p->last ? i : p->last];
    age.epochs = subs_epochs(s, age.part);
    return age;
}

static void collect_hits(const struct search *x, struct found *found) {
    for (size_t i = 0; i < x->hits_len; i++) __builtin_prefetch(subs_of(x->hits[i].node)[0]);
    for (size_t i = 0; i < x->hits_len; i++) collect(&found[x->hits[i].query], x->hits[i].node);
}

void subs_match_all(struct subs *s, unsigned worker, enum overlapping overlapping,
                    const struct subs_query *queries, unsigned len) {
    struct prefixes p[SUBS_TOGETHER];
    struct found found[SUBS_TOGETHER];
    struct shards locked;
    struct search x;
    x.subs = s;
    x.queries = queries;
    x.prefixes = p;
    x.len = len;
    for (unsigned i = 0; i < len; i++) {
        p[i] = subs_prefixes(queries[i].topic);
        found_init(&found[i], worker, overlapping);
        route_entries_deinit(queries[i].out);
    }
    shards_lock(s, p, len, &locked);
    for (unsigned i = 0; i < len; i++) queries[i].out->age = age_of(s, &p[i]);
    subs_search(&x);
    collect_hits(&x, found);
    for (unsigned i = 0; i < len; i++) build(&found[i], queries[i].out);
    shards_unlock(&locked);
    subs_search_deinit(&x);
}

void subs_match(struct subs *s, unsigned worker, struct slice topic, enum overlapping overlapping,
                struct route_entries *out) {
    subs_match_all(s, worker, overlapping, &(struct subs_query){ topic, subs_hash(s, topic), out },
                   1);
}
