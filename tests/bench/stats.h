/* stats.h -- how long messages took, and whether each came once and in order. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include <stdint.h>

/* A histogram of nanoseconds: 32 buckets an octave, so a value is known to 3 %. */
enum { HIST_SUB = 32, HIST_BUCKETS = 60 * HIST_SUB };
struct histogram {
    uint64_t count[HIST_BUCKETS];
    uint64_t total;
    int64_t max_ns;
};

void histogram_add(struct histogram *h, int64_t ns);
/* The value below which `share` (0..1) of what was added lies. */
int64_t histogram_at(const struct histogram *h, double share);

/* One publisher's messages as one subscriber sees them.  `seen` remembers the last 64
 * sequence numbers, so that a late message is told from a repeated one; one that is
 * later still counts as lost and as a duplicate. */
struct track {
    uint32_t next; /* the sequence number expected */
    uint64_t seen; /* bit i: next - 1 - i has come */
};

struct verdict {
    uint64_t lost, dup, reordered;
};

void track_add(struct track *t, uint32_t seq, struct verdict *v);
/* Counts what never came of `published` messages. */
void track_end(const struct track *t, uint32_t published, struct verdict *v);

#endif
