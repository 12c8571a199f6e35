/* load.h -- what was asked for on the command line, and the ways to answer.
 *
 * load.c parses and dispatches; client.c brings MQTT clients up; traffic.c measures
 * messages, kept.c those the broker keeps for later, churn.c connections. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "net.h"

enum topology { TOPO_PAIR, TOPO_FANOUT, TOPO_FANIN, TOPO_NOSUB, TOPO_FILTERS };

struct options {
    struct address address;
    unsigned sources; /* local addresses to come from: each has 28,000 ports */
    unsigned version; /* 4 or 5 */
    int broker_pid;   /* 0: CPU and memory are not measured */
    double wait_s;    /* for the broker to accept the first connection */
    double seconds;   /* of the measured interval */
    double warmup_s;
    /* traffic */
    enum topology topology;
    unsigned publishers, subscribers;
    unsigned qos;
    unsigned payload;  /* bytes */
    unsigned window;   /* messages in flight per publisher */
    uint64_t messages; /* to publish in all, instead of `seconds`; 0: unset */
    double rate;       /* messages published per second in all; 0: as fast as it goes */
    bool latency;
    bool burst;       /* a window at a time, when all of the one before is done */
    unsigned filters; /* subscribed to in all; filters only */
    unsigned idle;    /* connections held beside */
    /* connections */
    unsigned connections; /* idle: held; connect, takeover and subscribe: at once */
    /* messages the broker keeps */
    unsigned kept; /* how many */
};

/* How a run ends; load exits with it. */
enum { RUN_OK = 0, RUN_FAILED = 1, RUN_UNTRUE = 2 }; /* untrue: lost, doubled, out of order */

int traffic_run(const struct options *o);
int connect_run(const struct options *o);
int takeover_run(const struct options *o);
int subscribe_run(const struct options *o);
int idle_run(const struct options *o);
int retained_run(const struct options *o);
int drain_run(const struct options *o);

#endif
