/* kv.h -- what sol.kv keeps: a dictionary that the store knows, too.
 *
 * One a broker, for all workers and generations.  A change is made in memory and filed with
 * the store under one lock, so both see the changes in the same order.  Nothing is evicted.
 * Any thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_KV_H
#define SOL_SCRIPT_KV_H

#include "script/shared.h"

struct kv;
struct persist;
struct persist_row;

/* Empty, in memory alone.  `clock` is copied; NULL: the system's. */
struct kv *kv_new(const struct clock *clock);
/* NULL is fine. */
void kv_free(struct kv *kv);

/* The bytes it may have; less than it has loses nothing, but then nothing is added. */
void kv_resize(struct kv *kv, size_t bytes);
/* A row that the store had; a store_row_fn. */
void kv_load(void *kv, const struct persist_row *row);
/* Changes are filed there (lent) from now on; NULL: no more. */
void kv_attach(struct kv *kv, struct persist *persist);
/* The store, when those who made a change wait for it; or NULL. */
struct persist *kv_waits_for(struct kv *kv);

extern const char KV_NOT_FOUND[];

/* Lent, to be looked into; changes are made below. */
struct dict *kv_dict(struct kv *kv);
/* As those of a dictionary (shared.h); changes may also fail with "too much waits to be
 * written", and have then not been made. */
const char *kv_store(struct kv *kv, struct slice key, const struct shared_value *v,
                     struct dict_store *how);
/* KV_NOT_FOUND */
const char *kv_delete(struct kv *kv, struct slice key);
const char *kv_incr(struct kv *kv, struct slice key, struct dict_incr *how);
/* KV_NOT_FOUND */
const char *kv_expire(struct kv *kv, struct slice key, uint64_t ttl_ms);

#endif
