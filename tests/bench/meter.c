/* meter.c -- clocks, /proc and medians. */
/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "meter.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SLICE_NS = 100000000, SLICES_MIN = 5 };

static int64_t clock_ns(clockid_t id) {
    struct timespec ts;
    return clock_gettime(id, &ts) < 0 ? 0 : (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t now_ns(void) {
    return clock_ns(CLOCK_MONOTONIC);
}

int64_t process_cpu_ns(int pid) {
    clockid_t id;
    return pid && clock_getcpuclockid(pid, &id) == 0 ? clock_ns(id) : 0;
}

/* smaps_rollup counts pages; VmRSS in status may lag by some dozen of them. */
long process_rss_kib(int pid) {
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    FILE *f = pid ? fopen(path, "r") : NULL;
    if (!f) return 0;
    long kib = 0;
    while (fgets(line, sizeof line, f) && sscanf(line, "Rss: %ld kB", &kib) != 1) {
    }
    fclose(f);
    return kib;
}

static void add_mark(struct meter *m, int64_t at_ns, uint64_t done) {
    if (m->len == METER_SLICES_MAX) m->len--; /* the last slice grows */
    m->mark[m->len++] = (struct mark){ at_ns - m->left_out.at_ns,
                                       process_cpu_ns(m->pid) - m->left_out.cpu_ns, done };
}

void meter_begin(struct meter *m, int pid, uint64_t done) {
    m->pid = pid;
    m->len = 0;
    m->left_out = (struct mark){ 0 };
    m->own_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    add_mark(m, now_ns(), done);
}

void meter_tick(struct meter *m, int64_t at_ns, uint64_t done) {
    if (at_ns - m->mark[m->len - 1].at_ns >= SLICE_NS) add_mark(m, at_ns, done);
}

void meter_pause(struct meter *m, uint64_t done) {
    m->paused = (struct mark){ now_ns(), process_cpu_ns(m->pid), done };
    m->own_paused_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    if (done != m->mark[m->len - 1].done) add_mark(m, m->paused.at_ns, done);
}

void meter_resume(struct meter *m) {
    m->left_out.at_ns += now_ns() - m->paused.at_ns;
    m->left_out.cpu_ns += process_cpu_ns(m->pid) - m->paused.cpu_ns;
    m->own_cpu_ns += clock_ns(CLOCK_PROCESS_CPUTIME_ID) - m->own_paused_ns;
}

void meter_end(struct meter *m, uint64_t done) {
    add_mark(m, now_ns(), done);
    m->own_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - m->own_cpu_ns;
    m->rss_kib = process_rss_kib(m->pid);
}

/* What happened between two marks. */
static struct mark between(const struct mark *from, const struct mark *until) {
    return (struct mark){ until->at_ns - from->at_ns, until->cpu_ns - from->cpu_ns,
                          until->done - from->done };
}

static double per_second(struct mark d) {
    return (double)d.done * 1e9 / (double)(d.at_ns ? d.at_ns : 1);
}

static double cpu_us_each(struct mark d) {
    return (double)d.cpu_ns / 1e3 / (double)(d.done ? d.done : 1);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median over slices; the last one is cut short and left out. */
static double median(const struct meter *m, double (*of)(struct mark d)) {
    static double values[METER_SLICES_MAX];
    if (m->len < SLICES_MIN + 2) return of(between(&m->mark[0], &m->mark[m->len - 1]));
    size_t len = m->len - 2;
    for (size_t i = 0; i < len; i++) values[i] = of(between(&m->mark[i], &m->mark[i + 1]));
    qsort(values, len, sizeof *values, by_value);
    return (values[(len - 1) / 2] + values[len / 2]) / 2;
}

void meter_print(const struct meter *m, const char *unit) {
    struct mark all = between(&m->mark[0], &m->mark[m->len - 1]);
    printf(" %ss=%" PRIu64 " seconds=%.3f %ss_per_s=%.0f mean_per_s=%.0f", unit, all.done,
           (double)all.at_ns / 1e9, unit, median(m, per_second), per_second(all));
    if (m->pid)
        printf(" broker_cpu_us_per_%s=%.4f mean_cpu_us=%.4f broker_busy=%.3f rss_kib=%ld", unit,
               median(m, cpu_us_each), cpu_us_each(all), (double)all.cpu_ns / (double)all.at_ns,
               m->rss_kib);
    printf(" load_busy=%.3f", (double)m->own_cpu_ns / (double)all.at_ns);
}
