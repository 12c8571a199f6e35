/* kv.c -- the dictionary and the store in step. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/kv.h"

#include "base/clock.h"
#include "base/mem.h"
#include "core/persist.h"

#include <pthread.h>
#include <stdlib.h>

const char KV_NOT_FOUND[] = "not found";

#define BYTES_DEFAULT (16u << 20)

struct kv {
    struct clock clock;
    struct shared *home;     /* owned reference; the dictionary's only one */
    struct dict *dict;       /* owned reference */
    pthread_mutex_t lock;    /* held from a change in memory until it is filed */
    struct persist *persist; /* lent; NULL: memory is all there is */
};

/* ---- life ------------------------------------------------------------------------- */

struct kv *kv_new(const struct clock *clock) {
    struct kv *kv = xcalloc(1, sizeof *kv);
    kv->clock = clock ? *clock : clock_system;
    kv->home = shared_new(&kv->clock);
    kv->dict = dict_open(kv->home, SLICE("kv"), BYTES_DEFAULT);
    pthread_mutex_init(&kv->lock, NULL);
    return kv;
}

void kv_free(struct kv *kv) {
    if (!kv) return;
    dict_unref(kv->dict);
    shared_unref(kv->home);
    pthread_mutex_destroy(&kv->lock);
    free(kv);
}

static uint64_t wall_ms(const struct kv *kv) {
    return clock_wall_ns(&kv->clock) / 1000000;
}

void kv_resize(struct kv *kv, size_t bytes) {
    size_t used = dict_used(kv->dict);
    dict_resize(kv->dict, bytes > used ? bytes : used); /* which would evict */
}

struct dict *kv_dict(struct kv *kv) {
    return kv->dict;
}

void kv_attach(struct kv *kv, struct persist *persist) {
    pthread_mutex_lock(&kv->lock);
    kv->persist = persist;
    pthread_mutex_unlock(&kv->lock);
}

struct persist *kv_waits_for(struct kv *kv) {
    pthread_mutex_lock(&kv->lock);
    struct persist *p = kv->persist && kv->persist->waits ? kv->persist : NULL;
    pthread_mutex_unlock(&kv->lock);
    return p;
}

/* ---- between the two ----------------------------------------------------------------- */

static struct shared_value value_of(const struct persist_row *row) {
    switch (row->kind) {
    case PERSIST_BOOLEAN:
        return (struct shared_value){ .type = SHARED_BOOLEAN, .boolean = row->integer != 0 };
    case PERSIST_INTEGER:
        return (struct shared_value){ .type = SHARED_INTEGER, .integer = row->integer };
    case PERSIST_REAL: return (struct shared_value){ .type = SHARED_REAL, .real = row->real };
    case PERSIST_TEXT: return (struct shared_value){ .type = SHARED_TEXT, .text = row->text };
    case PERSIST_NONE: break;
    }
    return (struct shared_value){ 0 };
}

static void set_value(struct persist_row *row, const struct shared_value *v) {
    switch (v->type) {
    case SHARED_BOOLEAN:
        row->kind = PERSIST_BOOLEAN;
        row->integer = v->boolean;
        break;
    case SHARED_INTEGER:
        row->kind = PERSIST_INTEGER;
        row->integer = v->integer;
        break;
    case SHARED_REAL:
        row->kind = PERSIST_REAL;
        row->real = v->real;
        break;
    case SHARED_TEXT:
        row->kind = PERSIST_TEXT;
        row->text = v->text;
        break;
    case SHARED_NONE: row->kind = PERSIST_NONE; break;
    }
}

void kv_load(void *obj, const struct persist_row *row) {
    struct kv *kv = obj;
    uint64_t now_ms = wall_ms(kv);
    struct shared_value v = value_of(row);
    struct dict_store how = { .verb = DICT_SET };
    if (row->expires_ms && row->expires_ms <= now_ms) return;
    if (row->expires_ms) how.ttl_ms = row->expires_ms - now_ms;
    while (dict_store(kv->dict, row->key, &v, &how)) /* more than it may have: all the same */
        dict_resize(kv->dict, 2 * dict_capacity(kv->dict));
}

/* Files what there is under the key by now; under the lock. */
static void file(struct kv *kv, struct slice key) {
    struct shared_value v;
    struct persist_row row = { .key = key };
    if (!kv->persist) return;
    dict_get(kv->dict, key, &v);
    int64_t left_ms = dict_ttl(kv->dict, key);
    set_value(&row, &v);
    if (left_ms > 0) row.expires_ms = wall_ms(kv) + (uint64_t)left_ms;
    kv->persist->put(kv->persist, &row);
    shared_value_deinit(&v);
}

/* Every change is between these two.  An error, or NULL and the lock is held. */
static const char *enter(struct kv *kv) {
    pthread_mutex_lock(&kv->lock);
    if (!kv->persist || !kv->persist->is_full(kv->persist)) return NULL;
    pthread_mutex_unlock(&kv->lock);
    return "too much waits to be written";
}

/* Gives `err` on. */
static const char *leave(struct kv *kv, struct slice key, const char *err) {
    if (!err) file(kv, key);
    pthread_mutex_unlock(&kv->lock);
    return err;
}

/* ---- operations ------------------------------------------------------------------------ */

/* Is it for want of room, and is there some now?  What is over keeps its room until it is met. */
static bool makes_room(struct kv *kv, const char *err) {
    return err == DICT_NO_MEMORY && dict_flush_expired(kv->dict, 0) > 0;
}

const char *kv_store(struct kv *kv, struct slice key, const struct shared_value *v,
                     struct dict_store *how) {
    const char *err = enter(kv);
    if (err) return err;
    how->may_evict = false;
    err = dict_store(kv->dict, key, v, how);
    if (makes_room(kv, err)) err = dict_store(kv->dict, key, v, how);
    return leave(kv, key, err);
}

const char *kv_delete(struct kv *kv, struct slice key) {
    const char *err = enter(kv);
    if (err) return err;
    return leave(kv, key, dict_delete(kv->dict, key) ? NULL : KV_NOT_FOUND);
}

const char *kv_incr(struct kv *kv, struct slice key, struct dict_incr *how) {
    const char *err = enter(kv);
    if (err) return err;
    how->may_evict = false;
    err = dict_incr(kv->dict, key, how);
    if (makes_room(kv, err)) err = dict_incr(kv->dict, key, how);
    return leave(kv, key, err);
}

const char *kv_expire(struct kv *kv, struct slice key, uint64_t ttl_ms) {
    const char *err = enter(kv);
    if (err) return err;
    return leave(kv, key, dict_expire(kv->dict, key, ttl_ms) ? NULL : KV_NOT_FOUND);
}
