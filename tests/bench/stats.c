/* stats.c -- the histogram and the ledger of sequence numbers. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "stats.h"

/* Below HIST_SUB a bucket is one value; above, the top six bits name it. */
static unsigned bucket_of(uint64_t v) {
    if (v < HIST_SUB) return (unsigned)v;
    unsigned shift = 63 - (unsigned)__builtin_clzll(v) - 5;
    unsigned bucket = (shift + 1) * HIST_SUB + (unsigned)(v >> shift) - HIST_SUB;
    return bucket < HIST_BUCKETS ? bucket : HIST_BUCKETS - 1;
}

static int64_t bucket_top(unsigned bucket) {
    if (bucket < HIST_SUB) return bucket;
    unsigned shift = bucket / HIST_SUB - 1;
    return ((int64_t)(bucket % HIST_SUB + HIST_SUB + 1) << shift) - 1;
}

void histogram_add(struct histogram *h, int64_t ns) {
    if (ns < 0) ns = 0;
    h->count[bucket_of((uint64_t)ns)]++;
    h->total++;
    if (ns > h->max_ns) h->max_ns = ns;
}

int64_t histogram_at(const struct histogram *h, double share) {
    uint64_t want = (uint64_t)(share * (double)h->total), sum = 0;
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        sum += h->count[i];
        if (sum > want) return bucket_top(i) < h->max_ns ? bucket_top(i) : h->max_ns;
    }
    return h->max_ns;
}

void track_add(struct track *t, uint32_t seq, struct verdict *v) {
    if (seq >= t->next) {
        uint32_t step = seq - t->next + 1;
        v->lost += step - 1;
        t->seen = step < 64 ? t->seen << step | 1 : 1;
        t->next = seq + 1;
        return;
    }
    uint32_t age = t->next - 1 - seq;
    if (age < 64 && !(t->seen >> age & 1)) {
        t->seen |= (uint64_t)1 << age;
        v->lost--;
        v->reordered++;
        return;
    }
    v->dup++;
}

void track_end(const struct track *t, uint32_t published, struct verdict *v) {
    if (published > t->next) v->lost += published - t->next;
}
