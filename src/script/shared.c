/* shared.c -- dictionaries under a lock.
 *
 * One mutex a dictionary, held for a few dozen instructions: values are plain, texts are
 * counted blobs that a reader takes a reference to and copies outside.  Entries lie in a
 * map by key and in a ring by use.  Invariant: used == the cost of all entries, lists and
 * their items included; an entry whose time is over is found by nobody but frees its
 * memory only when met. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/shared.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define CELL_COST 32 /* bytes of the map that an entry accounts for */
#define FOR_EVER  UINT64_MAX

const char DICT_NO_MEMORY[] = "no memory";

struct blob {
    _Atomic unsigned refs;
    size_t len;
    uint8_t bytes[];
};

/* A value that is kept. */
struct kept {
    enum shared_type type;
    union {
        bool boolean;
        int64_t integer;
        double real;
        struct blob *blob; /* owned reference */
    };
};

struct item {
    struct item *prev, *next; /* of its list's ring */
    struct kept value;
};

struct entry {
    struct entry *prev, *next; /* of the dictionary's ring: next is used less lately */
    uint64_t expires_ms;
    struct item *list; /* owned: the ring's first; value is then unused */
    size_t list_len;   /* 0: no list */
    struct kept value;
    size_t key_len;
    uint8_t key[];
};

struct shared {
    pthread_mutex_t lock;
    struct clock clock;
    _Atomic unsigned refs;
    struct dict *dicts; /* under the lock */
};

struct dict {
    struct shared *home; /* owned reference */
    struct dict *next;   /* home->dicts; under its lock, as refs */
    unsigned refs;
    char *name; /* owned */
    size_t name_len;
    pthread_mutex_t lock;
    /* under it */
    struct map entries;
    struct entry *newest, *oldest;
    size_t used, cap; /* bytes */
};

/* ---- values ------------------------------------------------------------------ */

static struct blob *blob_new(struct slice s) {
    struct blob *b = xmalloc(sizeof *b + s.len);
    atomic_init(&b->refs, 1);
    b->len = s.len;
    if (s.len) memcpy(b->bytes, s.at, s.len);
    return b;
}

static struct blob *blob_ref(struct blob *b) {
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

static void blob_unref(struct blob *b) {
    if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1) free(b);
}

void shared_value_deinit(struct shared_value *v) {
    blob_unref(v->blob);
    *v = (struct shared_value){ 0 };
}

static struct kept keep(const struct shared_value *v) {
    struct kept k = { .type = v->type };
    switch (v->type) {
    case SHARED_BOOLEAN: k.boolean = v->boolean; break;
    case SHARED_INTEGER: k.integer = v->integer; break;
    case SHARED_REAL: k.real = v->real; break;
    case SHARED_TEXT: k.blob = blob_new(v->text); break;
    case SHARED_NONE: break;
    }
    return k;
}

static void kept_deinit(struct kept *k) {
    if (k->type == SHARED_TEXT) blob_unref(k->blob);
    k->type = SHARED_NONE;
}

static struct shared_value show(const struct kept *k) {
    struct shared_value v = { .type = k->type };
    switch (k->type) {
    case SHARED_BOOLEAN: v.boolean = k->boolean; break;
    case SHARED_INTEGER: v.integer = k->integer; break;
    case SHARED_REAL: v.real = k->real; break;
    case SHARED_TEXT:
        v.blob = blob_ref(k->blob);
        v.text = slice_of(v.blob->bytes, v.blob->len);
        break;
    case SHARED_NONE: break;
    }
    return v;
}

static size_t value_cost(const struct shared_value *v) {
    return v->type == SHARED_TEXT ? sizeof(struct blob) + v->text.len : 0;
}

static size_t kept_cost(const struct kept *k) {
    return k->type == SHARED_TEXT ? sizeof(struct blob) + k->blob->len : 0;
}

/* ---- entries ------------------------------------------------------------------ */

static struct slice entry_key(const void *obj) {
    const struct entry *e = obj;
    return slice_of(e->key, e->key_len);
}

static size_t key_cost(struct slice key) {
    return sizeof(struct entry) + key.len + CELL_COST;
}

static void ring_unlink(struct dict *d, struct entry *e) {
    if (e->prev)
        e->prev->next = e->next;
    else
        d->newest = e->next;
    if (e->next)
        e->next->prev = e->prev;
    else
        d->oldest = e->prev;
}

static void ring_link(struct dict *d, struct entry *e) {
    e->prev = NULL;
    e->next = d->newest;
    if (e->next)
        e->next->prev = e;
    else
        d->oldest = e;
    d->newest = e;
}

/* Takes `item` out of the entry's list and frees it, but for its value. */
static void item_remove(struct dict *d, struct entry *e, struct item *item) {
    if (item->next == item) {
        e->list = NULL;
    } else {
        item->prev->next = item->next;
        item->next->prev = item->prev;
        if (e->list == item) e->list = item->next;
    }
    e->list_len--;
    d->used -= sizeof *item + kept_cost(&item->value);
    free(item);
}

static void entry_clear(struct dict *d, struct entry *e) {
    while (e->list) {
        struct item *item = e->list;
        struct kept value = item->value;
        item_remove(d, e, item);
        kept_deinit(&value);
    }
    d->used -= kept_cost(&e->value);
    kept_deinit(&e->value);
}

static void entry_free(struct dict *d, struct entry *e) {
    map_del(&d->entries, entry_key(e));
    ring_unlink(d, e);
    entry_clear(d, e);
    d->used -= key_cost(entry_key(e));
    free(e);
}

/* Empty, and the newest; room has been made. */
static struct entry *entry_new(struct dict *d, struct slice key) {
    struct entry *e = xcalloc(1, sizeof *e + key.len);
    e->expires_ms = FOR_EVER;
    e->key_len = key.len;
    if (key.len) memcpy(e->key, key.at, key.len);
    map_put(&d->entries, e);
    ring_link(d, e);
    d->used += key_cost(key);
    return e;
}

static bool is_over(const struct entry *e, uint64_t now) {
    return e->expires_ms <= now;
}

static uint64_t expiry(uint64_t now, uint64_t ttl_ms) {
    return ttl_ms == 0 || ttl_ms > FOR_EVER - now ? FOR_EVER : now + ttl_ms;
}

/* The entry, which is thereby used; NULL when there is none or its time is over. */
static struct entry *find(struct dict *d, struct slice key, uint64_t now) {
    struct entry *e = map_find(&d->entries, key);
    if (!e) return NULL;
    if (is_over(e, now)) {
        entry_free(d, e);
        return NULL;
    }
    if (d->newest != e) {
        ring_unlink(d, e);
        ring_link(d, e);
    }
    return e;
}

/* Makes room for `need` bytes more beside `spared`, the newest or NULL: first what is over at
 * the end of the ring, then, with `may_evict`, the others. */
static bool make_room(struct dict *d, size_t need, const struct entry *spared, uint64_t now,
                      struct dict_store *how) {
    while (need > d->cap || d->used > d->cap - need) {
        struct entry *last = d->oldest;
        if (need > d->cap || !last || last == spared) return false;
        if (!is_over(last, now)) {
            if (!how->may_evict) return false;
            how->evicted = true;
        }
        entry_free(d, last);
    }
    return true;
}

/* ---- life ------------------------------------------------------------------- */

static uint64_t now_ms(const struct shared *s) {
    return clock_monotonic_ns(&s->clock) / 1000000;
}

struct shared *shared_new(const struct clock *clock) {
    struct shared *s = xcalloc(1, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    s->clock = clock ? *clock : clock_system;
    atomic_init(&s->refs, 1);
    return s;
}

struct shared *shared_ref(struct shared *s) {
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

struct shared *shared_unref(struct shared *s) {
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) > 1) return NULL;
    must(s->dicts == NULL);
    pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}

static struct dict *dict_new(struct shared *s, struct slice name, size_t bytes) {
    struct dict *d = xcalloc(1, sizeof *d);
    d->home = shared_ref(s);
    d->name = xslicedup(name);
    d->name_len = name.len;
    pthread_mutex_init(&d->lock, NULL);
    map_init(&d->entries, entry_key);
    d->cap = bytes < DICT_MIN ? DICT_MIN : bytes;
    d->next = s->dicts;
    s->dicts = d;
    return d;
}

struct dict *dict_open(struct shared *s, struct slice name, size_t bytes) {
    pthread_mutex_lock(&s->lock);
    struct dict *d = s->dicts;
    while (d && !slice_eq(slice_of(d->name, d->name_len), name)) d = d->next;
    if (!d) d = dict_new(s, name, bytes);
    d->refs++;
    pthread_mutex_unlock(&s->lock);
    return d;
}

static void dict_free(struct dict *d) {
    while (d->newest) entry_free(d, d->newest);
    must(d->used == 0);
    map_deinit(&d->entries);
    pthread_mutex_destroy(&d->lock);
    shared_unref(d->home);
    free(d->name);
    free(d);
}

struct dict *dict_unref(struct dict *d) {
    if (!d) return NULL;
    pthread_mutex_lock(&d->home->lock);
    bool is_last = --d->refs == 0;
    if (is_last) {
        struct dict **link = &d->home->dicts;
        while (*link != d) link = &(*link)->next;
        *link = d->next;
    }
    pthread_mutex_unlock(&d->home->lock);
    if (is_last) dict_free(d);
    return NULL;
}

/* Every operation is between these two; enter gives the time. */
static uint64_t enter(struct dict *d) {
    uint64_t now = now_ms(d->home);
    pthread_mutex_lock(&d->lock);
    return now;
}

static void leave(struct dict *d) {
    pthread_mutex_unlock(&d->lock);
}

void dict_resize(struct dict *d, size_t bytes) {
    uint64_t now = enter(d);
    d->cap = bytes < DICT_MIN ? DICT_MIN : bytes;
    make_room(d, 0, NULL, now, &(struct dict_store){ .may_evict = true });
    leave(d);
}

size_t dict_capacity(struct dict *d) {
    enter(d);
    size_t cap = d->cap;
    leave(d);
    return cap;
}

size_t dict_used(struct dict *d) {
    enter(d);
    size_t used = d->used;
    leave(d);
    return used;
}

/* ---- operations on values ------------------------------------------------------- */

const char *dict_get(struct dict *d, struct slice key, struct shared_value *out) {
    uint64_t now = enter(d);
    const struct entry *e = find(d, key, now);
    bool is_list = e && e->list_len > 0;
    *out = e ? show(&e->value) : (struct shared_value){ 0 };
    leave(d);
    return is_list ? "value is a list" : NULL;
}

/* What entry_clear would give back. */
static size_t entry_cost(const struct entry *e) {
    size_t cost = kept_cost(&e->value);
    const struct item *item = e->list;
    for (size_t i = 0; i < e->list_len; i++, item = item->next)
        cost += sizeof *item + kept_cost(&item->value);
    return cost;
}

/* The value of `key`, new or not, is `v` from now on; without room for it all stays as it is. */
static const char *put(struct dict *d, struct slice key, const struct shared_value *v, uint64_t now,
                       struct dict_store *how) {
    struct entry *e = find(d, key, now);
    size_t cost = value_cost(v), had = e ? entry_cost(e) : 0;
    if (key_cost(key) + cost > d->cap) return DICT_NO_MEMORY;
    size_t more = e ? (cost > had ? cost - had : 0) : key_cost(key) + cost;
    if (!make_room(d, more, e, now, how)) return DICT_NO_MEMORY;
    struct kept value = keep(v); /* it may be what the entry has */
    if (e)
        entry_clear(d, e);
    else
        e = entry_new(d, key);
    e->value = value;
    d->used += value_cost(v);
    e->expires_ms = expiry(now, how->ttl_ms);
    return NULL;
}

const char *dict_store(struct dict *d, struct slice key, const struct shared_value *v,
                       struct dict_store *how) {
    const char *err = NULL;
    uint64_t now = enter(d);
    struct entry *e = find(d, key, now);
    how->evicted = false;
    if (how->verb == DICT_ADD && e)
        err = "exists";
    else if (how->verb == DICT_REPLACE && !e)
        err = "not found";
    else if (v->type != SHARED_NONE)
        err = put(d, key, v, now, how);
    else if (e)
        entry_free(d, e);
    leave(d);
    return err;
}

bool dict_delete(struct dict *d, struct slice key) {
    uint64_t now = enter(d);
    struct entry *e = find(d, key, now);
    if (e) entry_free(d, e);
    leave(d);
    return e != NULL;
}

static double as_real(const struct shared_value *v) {
    return v->type == SHARED_INTEGER ? (double)v->integer : v->real;
}

/* a += b */
static const char *add_up(struct shared_value *a, const struct shared_value *b) {
    if (a->type == SHARED_INTEGER && b->type == SHARED_INTEGER)
        return __builtin_add_overflow(a->integer, b->integer, &a->integer) ? "integer overflow"
                                                                           : NULL;
    *a = (struct shared_value){ .type = SHARED_REAL, .real = as_real(a) + as_real(b) };
    return NULL;
}

static const char *incr(struct dict *d, struct slice key, struct dict_incr *how, uint64_t now) {
    struct entry *e = find(d, key, now);
    struct dict_store store = { .ttl_ms = how->init_ttl_ms, .may_evict = how->may_evict };
    if (!e && how->init.type == SHARED_NONE) return "not found";
    if (e && (e->list_len || (e->value.type != SHARED_INTEGER && e->value.type != SHARED_REAL)))
        return "not a number";
    how->sum = e ? show(&e->value) : how->init;
    const char *err = add_up(&how->sum, &how->by);
    if (err) return err;
    if (e)
        e->value = keep(&how->sum); /* as large as before, and its time stays */
    else
        err = put(d, key, &how->sum, now, &store);
    how->evicted = store.evicted;
    return err;
}

const char *dict_incr(struct dict *d, struct slice key, struct dict_incr *how) {
    uint64_t now = enter(d);
    how->evicted = false;
    const char *err = incr(d, key, how, now);
    leave(d);
    return err;
}

int64_t dict_ttl(struct dict *d, struct slice key) {
    uint64_t now = enter(d);
    const struct entry *e = find(d, key, now);
    int64_t left = -1;
    if (e) left = e->expires_ms == FOR_EVER ? 0 : (int64_t)(e->expires_ms - now);
    leave(d);
    return left;
}

bool dict_expire(struct dict *d, struct slice key, uint64_t ttl_ms) {
    uint64_t now = enter(d);
    struct entry *e = find(d, key, now);
    if (e) e->expires_ms = expiry(now, ttl_ms);
    leave(d);
    return e != NULL;
}

/* ---- lists -------------------------------------------------------------------- */

static const char *push(struct dict *d, struct slice key, bool left, const struct shared_value *v,
                        uint64_t now) {
    struct entry *e = find(d, key, now);
    struct dict_store how = { .may_evict = false };
    size_t cost = sizeof(struct item) + value_cost(v);
    if (e && e->list_len == 0) return "value not a list";
    if (!make_room(d, cost + (e ? 0 : key_cost(key)), e, now, &how)) return DICT_NO_MEMORY;
    if (!e) e = entry_new(d, key);
    struct item *item = xmalloc(sizeof *item), *first = e->list;
    *item = (struct item){ item, item, keep(v) };
    if (first) {
        item->next = first;
        item->prev = first->prev;
        item->prev->next = first->prev = item;
    }
    if (left || !first) e->list = item;
    e->list_len++;
    d->used += cost;
    return NULL;
}

const char *dict_push(struct dict *d, struct slice key, bool left, const struct shared_value *v,
                      size_t *len) {
    uint64_t now = enter(d);
    const char *err = push(d, key, left, v, now);
    const struct entry *e = err ? NULL : map_find(&d->entries, key);
    *len = e ? e->list_len : 0;
    leave(d);
    return err;
}

/* Takes the value at one end. */
static void take(struct dict *d, struct entry *e, bool left, struct shared_value *out) {
    struct item *item = left ? e->list : e->list->prev;
    struct kept value = item->value;
    *out = show(&value);
    item_remove(d, e, item);
    kept_deinit(&value);
    if (e->list_len == 0) entry_free(d, e);
}

const char *dict_pop(struct dict *d, struct slice key, bool left, struct shared_value *out) {
    uint64_t now = enter(d);
    struct entry *e = find(d, key, now);
    const char *err = e && e->list_len == 0 ? "value not a list" : NULL;
    *out = (struct shared_value){ 0 };
    if (e && !err) take(d, e, left, out);
    leave(d);
    return err;
}

const char *dict_len(struct dict *d, struct slice key, size_t *len) {
    uint64_t now = enter(d);
    const struct entry *e = find(d, key, now);
    const char *err = e && e->list_len == 0 ? "value not a list" : NULL;
    *len = e ? e->list_len : 0;
    leave(d);
    return err;
}

/* ---- all of it ------------------------------------------------------------------ */

void dict_flush_all(struct dict *d) {
    enter(d);
    while (d->newest) entry_free(d, d->newest);
    leave(d);
}

size_t dict_flush_expired(struct dict *d, size_t max) {
    uint64_t now = enter(d);
    size_t n = 0;
    for (struct entry *e = d->oldest, *prev; e && (max == 0 || n < max); e = prev) {
        prev = e->prev;
        if (!is_over(e, now)) continue;
        entry_free(d, e);
        n++;
    }
    leave(d);
    return n;
}

size_t dict_keys(struct dict *d, size_t max, struct buf *out) {
    uint64_t now = enter(d);
    size_t n = 0;
    for (const struct entry *e = d->newest; e && (max == 0 || n < max); e = e->next) {
        if (is_over(e, now)) continue;
        buf_add(out, &e->key_len, sizeof e->key_len);
        buf_add(out, e->key, e->key_len);
        n++;
    }
    leave(d);
    return n;
}
