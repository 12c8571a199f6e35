/* shared.h -- dictionaries that all policies of the process share: sol.shared.
 *
 * A dictionary belongs to whoever holds a reference: every generation of policy that
 * declares it.  So it survives a reload, is seen by all workers, and goes with the last
 * policy that names it.  Bounded in bytes: what was not used for longest goes first.
 * Any thread; the locks are in shared.c alone, and nothing of a caller's runs under one. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_SHARED_H
#define SOL_SCRIPT_SHARED_H

#include "base/slice.h"

/* ---- types ------------------------------------------------------------------ */

struct clock;
struct shared; /* all dictionaries of the process */
struct dict;   /* one of them */
struct blob;   /* private: bytes that are counted */

enum shared_type {
    SHARED_NONE, /* nothing there */
    SHARED_BOOLEAN,
    SHARED_INTEGER,
    SHARED_REAL,
    SHARED_TEXT
};

/* A value on its way in (text lent) or out (dict_value_deinit it). */
struct shared_value {
    enum shared_type type;
    union {
        bool boolean;
        int64_t integer;
        double real;
    };
    struct slice text; /* way out: lent by `blob` */
    struct blob *blob; /* way out: owned reference, or NULL */
};
void shared_value_deinit(struct shared_value *v);

/* ---- life ------------------------------------------------------------------- */

/* With one reference.  `clock` is copied; NULL: the system's. */
struct shared *shared_new(const struct clock *clock);
struct shared *shared_ref(struct shared *s);
/* Always NULL; NULL is fine. */
struct shared *shared_unref(struct shared *s);

#define DICT_MIN 16384 /* bytes a dictionary may at least have */

/* A reference to the dictionary of this name, made with `bytes` when there is none; the
 * size of one that is there stays.  Dictionaries must go before `s`. */
struct dict *dict_open(struct shared *s, struct slice name, size_t bytes);
/* Always NULL; NULL is fine. */
struct dict *dict_unref(struct dict *d);
/* What is too much now goes. */
void dict_resize(struct dict *d, size_t bytes);
size_t dict_capacity(struct dict *d);
size_t dict_used(struct dict *d);

/* ---- values ------------------------------------------------------------------ */

extern const char DICT_NO_MEMORY[];

/* Errors are static texts, NULL is success.  `ttl_ms` 0: for ever. */

/* *out is owned (shared_value_deinit): nil when there is none, or an error. */
const char *dict_get(struct dict *d, struct slice key, struct shared_value *out);

enum dict_verb { DICT_SET, DICT_ADD, DICT_REPLACE };
struct dict_store {
    enum dict_verb verb;
    uint64_t ttl_ms;
    bool may_evict; /* others that are still good, to make room */
    bool evicted;   /* out: it did */
};
/* "exists", "not found" or "no memory".  SHARED_NONE deletes. */
const char *dict_store(struct dict *d, struct slice key, const struct shared_value *v,
                       struct dict_store *how);
/* False: there was nothing. */
bool dict_delete(struct dict *d, struct slice key);

struct dict_incr {
    struct shared_value by;   /* an integer or a real */
    struct shared_value init; /* likewise, or SHARED_NONE: there must be a value */
    uint64_t init_ttl_ms;
    bool may_evict;
    bool evicted;            /* out */
    struct shared_value sum; /* out */
};
/* "not found", "not a number", "integer overflow" or "no memory". */
const char *dict_incr(struct dict *d, struct slice key, struct dict_incr *how);

/* Milliseconds left, 0: for ever; -1: not found. */
int64_t dict_ttl(struct dict *d, struct slice key);
/* False: not found. */
bool dict_expire(struct dict *d, struct slice key, uint64_t ttl_ms);

/* ---- lists -------------------------------------------------------------------- */

/* "value not a list" or "no memory"; *len is the list's new length. */
const char *dict_push(struct dict *d, struct slice key, bool left, const struct shared_value *v,
                      size_t *len);
/* "value not a list"; SHARED_NONE when there is nothing. */
const char *dict_pop(struct dict *d, struct slice key, bool left, struct shared_value *out);
/* "value not a list"; 0 when there is none. */
const char *dict_len(struct dict *d, struct slice key, size_t *len);

/* ---- all of it ------------------------------------------------------------------ */

/* Forgets every key. */
void dict_flush_all(struct dict *d);
/* Frees at most `max` (0: all) whose time is over; gives their number. */
size_t dict_flush_expired(struct dict *d, size_t max);
/* Appends at most `max` (0: all) keys, each with its length (size_t) before it, the latest
 * used first; gives their number. */
struct buf;
size_t dict_keys(struct dict *d, size_t max, struct buf *out);

#endif
