/* meter.h -- the measured interval: how much was done, and what the broker paid for it.
 *
 * The interval is cut into slices of a tenth of a second.  Rates are medians of slices:
 * on a shared machine a neighbour takes the processor away for a moment now and then,
 * and a mean would measure the neighbour.  Short intervals fall back to the mean.  Work
 * that comes in rounds is metered round by round instead: pause, prepare, resume. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_METER_H
#define BENCH_METER_H

#include <stdint.h>

enum { METER_SLICES_MAX = 10000 };

/* The state of affairs at one moment. */
struct mark {
    int64_t at_ns, cpu_ns; /* cpu: the broker's, all threads, user and system */
    uint64_t done;
};

struct meter {
    int pid; /* 0: no broker to measure */
    unsigned len;
    int64_t own_cpu_ns;   /* ours: when it began, then how much it took */
    struct mark left_out; /* what pauses have taken so far, and */
    struct mark paused;   /* when the present one began */
    int64_t own_paused_ns;
    long rss_kib; /* the broker's, at the end */
    struct mark mark[METER_SLICES_MAX];
};

int64_t now_ns(void); /* monotonic */
/* CPU time of a process, user and system; 0 when it is not there. */
int64_t process_cpu_ns(int pid);
long process_rss_kib(int pid);

void meter_begin(struct meter *m, int pid, uint64_t done);
/* Closes a slice when one is due; call it every turn. */
void meter_tick(struct meter *m, int64_t at_ns, uint64_t done);
void meter_end(struct meter *m, uint64_t done);

/* What happens between the two does not count; each stretch between pauses is a slice. */
void meter_pause(struct meter *m, uint64_t done);
void meter_resume(struct meter *m);

/* Prints ` <unit>s= seconds= <unit>s_per_s= ...`, without a newline. */
void meter_print(const struct meter *m, const char *unit);

#endif
