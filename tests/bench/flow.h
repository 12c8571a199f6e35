/* flow.h -- publishers and subscribers at work, and the truth about what arrived.
 *
 * Every payload begins with its publisher's index, a sequence number and (with --latency)
 * the moment it was meant to be sent.  A publisher's window bounds both what the broker
 * has not acknowledged and what subscribers have not received, so no broker is asked to
 * buffer without bound and none is measured while it drops.  It sends again when half its
 * window is free, as a client does whose socket is never empty.  Without subscribers QoS 0
 * gives no sign of life; there a PINGREQ after every batch serves as a fence.
 *
 * Invariant: traffic.owed is the sum of the publishers' owed, traffic.unacked likewise. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_FLOW_H
#define BENCH_FLOW_H

#include "client.h"
#include "filters.h"
#include "load.h"
#include "meter.h"
#include "stats.h"

enum role { PUBLISHER, SUBSCRIBER, IDLER };
enum phase { CONNECTING, SUBSCRIBING, WARMUP, MEASURE, DRAIN, DONE };

enum {
    FILL = 0xa5, /* payload bytes behind the stamp */
};

/* What stands in a payload, in the order of the machine: both ends are this process. */
struct stamp {
    uint32_t publisher, seq;
    int64_t sent_ns; /* 0 without --latency */
};

struct publisher {
    struct client client;
    uint8_t *packet; /* encoded once; copied and stamped for every message */
    size_t packet_len, topic_at, id_at, payload_at;
    uint32_t published;
    uint32_t unacked;          /* QoS 1 and 2 */
    uint64_t owed;             /* deliveries (or fenced messages) still to come */
    uint16_t last_id;          /* packet ids are given out in order, */
    uint16_t acked_id;         /* and must be acknowledged (PUBACK, PUBREC) in order */
    uint32_t *fence;           /* messages before each PINGREQ under way: a ring of */
    unsigned fences, fence_at; /* `window` places; how many; the oldest */
    bool queued;               /* in traffic.ready */
    /* filters: every message goes to another subscriber */
    uint64_t random;
    uint32_t *published_to; /* one a subscriber */
};

struct subscriber {
    struct client client;
    struct track *tracks; /* one a publisher it hears */
    struct adder adder;   /* filters: those it subscribes to */
};

struct traffic {
    const struct options *o;
    struct net net;
    struct publisher *pubs;
    struct subscriber *subs;
    struct client *idlers;
    unsigned fan;    /* deliveries a message causes */
    unsigned owing;  /* signs of life expected a message: fan, or 1 behind a fence */
    unsigned window; /* messages in flight per publisher, as the broker allows */
    unsigned batch;  /* messages a publisher sends at once, at least */
    /* setting up */
    unsigned opened, opening, clients;
    uint32_t subscribed; /* filters: how many have been granted */
    long rss_before_kib, rss_subscribed_kib;
    /* running */
    enum phase phase;
    bool failed;
    struct publisher **ready; /* may have room; a ring of one place a publisher */
    unsigned ready_at, ready_len;
    uint64_t budget; /* messages still to publish */
    uint64_t owed, unacked;
    uint64_t done; /* messages counted since the start */
    uint64_t refused, bad_acks;
    struct verdict verdict;
    struct histogram *latency;
    /* --rate */
    int64_t rate_start_ns;
    uint64_t rate_sent;
    int64_t until_ns; /* when this phase is over */
    struct meter meter;
};

/* Puts a publisher that may have room on the ready list (once). */
void flow_ready(struct traffic *t, struct publisher *p);
/* Queues what windows and budget allow. */
void flow_publish(struct traffic *t);
/* With --rate: queues what is due.  When the next message is; INT64_MAX when only a
 * packet can help, since a window is full, or when all is sent. */
int64_t flow_publish_due(struct traffic *t, int64_t now_ns);
/* Takes a ready client's packet.  False when it should not have come. */
bool flow_on_packet(struct traffic *t, struct client *c, const struct frame *f);
/* QoS 0 without subscribers: counted by PINGRESP. */
bool flow_fenced(const struct traffic *t);

#endif
