/* map.c -- open addressing, linear probing, backward-shift deletion.
 *
 * An object's home is `hash & mask`; it sits there or in the first free cell after it.
 * Invariant: between an object's home and its cell no cell is free, so a search may
 * stop at the first free one.  Deletion keeps that by moving later objects back into
 * the gap, hence no tombstones and no search that decays with churn.
 *
 * Filled to three quarters at most: linear probing then looks at 8.5 cells for an
 * absent key on average (at seven eighths it would be 32), and as the hash is kept in
 * the cell, it looks at the key only of an equal hash.  Emptied below one eighth it
 * halves, so that a burst of clients does not leave its table behind. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/map.h"

#include "base/mem.h"

#include <endian.h>
#include <stdlib.h>
#include <unistd.h>

#define CELLS_MIN 8

/* ---- SipHash-1-3 (Aumasson, Bernstein) ----------------------------------- */

struct sip {
    uint64_t a, b, c, d;
};

static inline uint64_t rotl(uint64_t x, unsigned n) {
    return x << n | x >> (64 - n);
}

static inline void sip_round(struct sip *s) {
    s->a += s->b;
    s->c += s->d;
    s->b = rotl(s->b, 13) ^ s->a;
    s->d = rotl(s->d, 16) ^ s->c;
    s->a = rotl(s->a, 32);
    s->c += s->b;
    s->a += s->d;
    s->b = rotl(s->b, 17) ^ s->c;
    s->d = rotl(s->d, 21) ^ s->a;
    s->c = rotl(s->c, 32);
}

static inline void sip_word(struct sip *s, uint64_t word) {
    s->d ^= word;
    sip_round(s);
    s->a ^= word;
}

/* The last bytes of a key, less than eight, as a word: by loads that overlap, since a memcpy of
 * any length would cost a third of the rest. */
static inline uint64_t last_word(const uint8_t *at, size_t n) {
    uint32_t low, high;
    if (n == 0) return 0;
    if (n < 4)
        return at[0] | (uint64_t)at[n / 2] << (n / 2 * 8) | (uint64_t)at[n - 1] << (n - 1) * 8;
    memcpy(&low, at, 4);
    memcpy(&high, at + n - 4, 4);
    return le32toh(low) | (uint64_t)le32toh(high) << (n - 4) * 8;
}

uint64_t siphash13(const uint64_t seed[2], struct slice key) {
    struct sip s = {
        seed[0] ^ 0x736f6d6570736575u,
        seed[1] ^ 0x646f72616e646f6du,
        seed[0] ^ 0x6c7967656e657261u,
        seed[1] ^ 0x7465646279746573u,
    };
    size_t left = key.len;
    const uint8_t *at = key.at;
    uint64_t word;
    for (; left >= 8; left -= 8, at += 8) {
        memcpy(&word, at, 8);
        sip_word(&s, le64toh(word));
    }
    sip_word(&s, last_word(at, left) | (uint64_t)key.len << 56);
    s.c ^= 0xff;
    for (int i = 0; i < 3; i++) sip_round(&s);
    return s.a ^ s.b ^ s.c ^ s.d;
}

/* ---- life ---------------------------------------------------------------- */

void map_init(struct map *m, map_key_fn *key) {
    uint64_t seed[2];
    must(getentropy(seed, sizeof seed) == 0);
    map_init_seeded(m, key, seed);
}

void map_init_seeded(struct map *m, map_key_fn *key, const uint64_t seed[2]) {
    *m = (struct map){ .key = key, .seed = { seed[0], seed[1] } };
}

void map_deinit(struct map *m) {
    free(m->cells);
    m->cells = NULL;
    m->len = m->mask = 0;
}

/* ---- cells --------------------------------------------------------------- */

static size_t cell_count(const struct map *m) {
    return m->cells ? m->mask + 1 : 0;
}

/* The cell that holds `key`, or the free one where it would go. */
static struct map_cell *cell_of(const struct map *m, struct slice key, uint64_t hash) {
    size_t i = hash & m->mask;
    for (; m->cells[i].obj; i = (i + 1) & m->mask)
        if (m->cells[i].hash == hash && slice_eq(m->key(m->cells[i].obj), key)) break;
    return &m->cells[i];
}

static void resize(struct map *m, size_t count) {
    struct map_cell *old = m->cells;
    size_t old_count = cell_count(m);
    m->cells = xcalloc(count, sizeof *m->cells);
    m->mask = count - 1;
    for (size_t i = 0; i < old_count; i++) {
        if (!old[i].obj) continue;
        size_t to = old[i].hash & m->mask;
        while (m->cells[to].obj) to = (to + 1) & m->mask;
        m->cells[to] = old[i];
    }
    free(old);
}

/* Frees cell `gap`, moving back what would be cut off from its home. */
static void close_gap(struct map *m, size_t gap) {
    for (size_t i = (gap + 1) & m->mask; m->cells[i].obj; i = (i + 1) & m->mask) {
        size_t from_home = (i - m->cells[i].hash) & m->mask;
        size_t from_gap = (i - gap) & m->mask;
        if (from_home < from_gap) continue; /* its home lies behind the gap */
        m->cells[gap] = m->cells[i];
        gap = i;
    }
    m->cells[gap] = (struct map_cell){ NULL, 0 };
}

/* ---- operations ---------------------------------------------------------- */

uint64_t map_hash(const struct map *m, struct slice key) {
    return siphash13(m->seed, key);
}

void *map_find_hashed(const struct map *m, struct slice key, uint64_t hash) {
    return m->len ? cell_of(m, key, hash)->obj : NULL;
}

void *map_find(const struct map *m, struct slice key) {
    return m->len ? map_find_hashed(m, key, map_hash(m, key)) : NULL;
}

void *map_peek(const struct map *m, uint64_t hash) {
    if (!m->len) return NULL;
    size_t i = hash & m->mask;
    while (m->cells[i].obj && m->cells[i].hash != hash) i = (i + 1) & m->mask;
    return m->cells[i].obj;
}

void *map_put_hashed(struct map *m, void *obj, uint64_t hash) {
    must(obj);
    if (!m->cells)
        resize(m, CELLS_MIN);
    else if ((m->len + 1) * 4 > cell_count(m) * 3)
        resize(m, cell_count(m) * 2);
    struct map_cell *cell = cell_of(m, m->key(obj), hash);
    void *before = cell->obj;
    *cell = (struct map_cell){ obj, hash };
    if (!before) m->len++;
    return before;
}

void *map_put(struct map *m, void *obj) {
    return map_put_hashed(m, obj, map_hash(m, m->key(obj)));
}

void *map_del(struct map *m, struct slice key) {
    return m->len ? map_del_hashed(m, key, map_hash(m, key)) : NULL;
}

void *map_del_hashed(struct map *m, struct slice key, uint64_t hash) {
    if (m->len == 0) return NULL;
    struct map_cell *cell = cell_of(m, key, hash);
    void *obj = cell->obj;
    if (!obj) return NULL;
    close_gap(m, (size_t)(cell - m->cells));
    m->len--;
    if (cell_count(m) > CELLS_MIN && m->len * 8 < cell_count(m)) resize(m, cell_count(m) / 2);
    return obj;
}

void *map_next(const struct map *m, size_t *at) {
    while (*at < cell_count(m)) {
        void *obj = m->cells[(*at)++].obj;
        if (obj) return obj;
    }
    return NULL;
}
