/* traffic.c -- one run of a topology: set up, warm up, measure, drain, judge. */
/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "flow.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPENING_MAX = 64, /* handshakes at once: below every broker's backlog */
    STALL_S = 10,     /* without a delivery: what is owed is lost */
};

/* -- setting up ------------------------------------------------------------------- */

/* The topic publisher `i` publishes to, or the filter subscriber `i` subscribes to. */
static void name_topic(const struct options *o, enum role role, unsigned i,
                       char out[CLIENT_NAME_MAX]) {
    switch (o->topology) {
    case TOPO_PAIR:
    case TOPO_NOSUB: snprintf(out, CLIENT_NAME_MAX, "bench/pair/%u", i); break;
    case TOPO_FANOUT: snprintf(out, CLIENT_NAME_MAX, "bench/fanout"); break;
    case TOPO_FANIN:
        if (role == SUBSCRIBER)
            snprintf(out, CLIENT_NAME_MAX, "bench/fanin/+");
        else
            snprintf(out, CLIENT_NAME_MAX, "bench/fanin/%u", i);
        break;
    case TOPO_FILTERS:
        /* Subscribers add their many filters later, publishers write over this one. */
        out[0] = '\0';
        if (role == PUBLISHER) filter_text(0, out);
    }
}

static void publisher_init(const struct options *o, struct publisher *p, unsigned i) {
    char topic[CLIENT_NAME_MAX];
    name_topic(o, PUBLISHER, i, topic);
    p->client.peer = (struct peer){ .fd = -1, .index = i, .role = PUBLISHER };
    p->packet = calloc(1, 16 + strlen(topic) + o->payload);
    if (!p->packet) abort();
    p->packet_len = wire_put_publish(p->packet, topic, o->payload, o->qos, (int)o->version,
                                     &p->id_at, &p->payload_at);
    p->topic_at = (p->id_at ? p->id_at : p->payload_at - (o->version == 5)) - strlen(topic);
    p->random = 0x9e3779b97f4a7c15u * (i + 1);
    p->fence = calloc(o->window, sizeof *p->fence);
    p->published_to = calloc(o->subscribers + 1, sizeof *p->published_to);
    if (!p->fence || !p->published_to) abort();
    memset(p->packet + p->payload_at, FILL, o->payload);
}

static void subscriber_init(const struct options *o, struct subscriber *s, unsigned i) {
    s->client.peer = (struct peer){ .fd = -1, .index = i, .role = SUBSCRIBER };
    s->client.qos = o->qos;
    s->adder = (struct adder){ .next = i, .step = o->subscribers, .end = o->filters };
    name_topic(o, SUBSCRIBER, i, s->client.filter);
    s->tracks = calloc(o->topology == TOPO_PAIR ? 1 : o->publishers, sizeof *s->tracks);
    if (!s->tracks) abort();
}

static void idler_init(struct client *c, unsigned i) {
    c->peer = (struct peer){ .fd = -1, .index = i, .role = IDLER };
    snprintf(c->filter, CLIENT_NAME_MAX, "bench/idle/%u/set", i);
}

static int traffic_init(struct traffic *t, const struct options *o) {
    *t = (struct traffic){ .o = o, .window = o->window };
    bool alone = o->topology == TOPO_PAIR || o->topology == TOPO_FILTERS;
    t->fan = alone ? 1 : o->topology == TOPO_NOSUB ? 0 : o->subscribers;
    t->owing = flow_fenced(t) ? 1 : t->fan;
    t->clients = o->publishers + o->subscribers + o->idle;
    t->budget = o->messages ? o->messages : UINT64_MAX;
    t->pubs = calloc(o->publishers, sizeof *t->pubs);
    t->subs = calloc(o->subscribers + 1, sizeof *t->subs);
    t->idlers = calloc(o->idle + 1, sizeof *t->idlers);
    t->ready = calloc(o->publishers, sizeof(struct publisher *));
    t->latency = o->latency ? calloc(1, sizeof *t->latency) : NULL;
    if (!t->pubs || !t->subs || !t->idlers || !t->ready || (o->latency && !t->latency)) abort();
    for (unsigned i = 0; i < o->publishers; i++) publisher_init(o, &t->pubs[i], i);
    for (unsigned i = 0; i < o->subscribers; i++) subscriber_init(o, &t->subs[i], i);
    for (unsigned i = 0; i < o->idle; i++) idler_init(&t->idlers[i], i);
    return net_init(&t->net, o->payload + 256);
}

static void traffic_deinit(struct traffic *t) {
    for (unsigned i = 0; i < t->o->publishers; i++) {
        net_close(&t->net, &t->pubs[i].client.peer);
        net_peer_deinit(&t->pubs[i].client.peer);
        free(t->pubs[i].packet);
        free(t->pubs[i].fence);
        free(t->pubs[i].published_to);
    }
    for (unsigned i = 0; i < t->o->subscribers; i++) {
        net_close(&t->net, &t->subs[i].client.peer);
        net_peer_deinit(&t->subs[i].client.peer);
        free(t->subs[i].tracks);
    }
    for (unsigned i = 0; i < t->o->idle; i++) {
        net_close(&t->net, &t->idlers[i].peer);
        net_peer_deinit(&t->idlers[i].peer);
    }
    net_deinit(&t->net);
    free(t->idlers);
    free(t->pubs);
    free(t->subs);
    free(t->ready);
    free(t->latency);
}

/* The client that comes as number `i`: the idle, then subscribers, then publishers. */
static struct client *client_at(struct traffic *t, unsigned i) {
    if (i < t->o->idle) return &t->idlers[i];
    i -= t->o->idle;
    return i < t->o->subscribers ? &t->subs[i].client : &t->pubs[i - t->o->subscribers].client;
}

static const char *role_name(const struct peer *p) {
    static const char *const names[] = { "publisher", "subscriber", "idler" };
    return names[p->role];
}

/* Opens a bounded number at a time. */
static int open_some(struct traffic *t) {
    for (; t->opened < t->clients && t->opening < OPENING_MAX; t->opened++, t->opening++) {
        struct client *c = client_at(t, t->opened);
        char id[CLIENT_NAME_MAX];
        snprintf(id, sizeof id, "bench-%s-%u", role_name(&c->peer), c->peer.index);
        int r = client_open(&t->net, t->o, c, id);
        if (r < 0) {
            fprintf(stderr, "client %s: %s\n", id, strerror(-r));
            return r;
        }
    }
    return 0;
}

/* -- packets and ends ------------------------------------------------------------- */

static bool on_packet(void *arg, struct peer *peer, const struct frame *f) {
    struct traffic *t = arg;
    struct client *c = (struct client *)peer;
    int r = client_on_packet(&t->net, t->o, c, f);
    if (r == 0 && c->state == CLIENT_READY) t->opening--;
    if (r == 0) return true;
    if (r == CLIENT_OTHER && flow_on_packet(t, c, f)) return true;
    if (r == CLIENT_OTHER)
        fprintf(stderr, "%s %u: unexpected or altered packet, type %d, %zu bytes\n",
                role_name(peer), peer->index, f->type, f->total);
    t->failed = true;
    net_close(&t->net, peer);
    return false;
}

static void on_close(void *arg, struct peer *peer) {
    struct traffic *t = arg;
    fprintf(stderr, "%s %u: the broker closed the connection\n", role_name(peer), peer->index);
    t->failed = true;
}

/* -- the run ---------------------------------------------------------------------- */

/* No window beyond what the broker grants, nor so wide that a packet id in flight comes
 * round again. */
static void fit_window(struct traffic *t) {
    if (t->o->qos && t->window > 32767) t->window = 32767;
    for (unsigned i = 0; t->o->qos && i < t->o->publishers; i++)
        if (t->window > t->pubs[i].client.receive_max) t->window = t->pubs[i].client.receive_max;
    t->batch = t->o->burst || t->window == 1 ? t->window : t->window / 2;
}

static void begin_subscribing(struct traffic *t) {
    t->phase = SUBSCRIBING;
    t->rss_before_kib = process_rss_kib(t->o->broker_pid);
    for (unsigned i = 0; i < t->o->subscribers && t->o->topology == TOPO_FILTERS; i++)
        adder_send(&t->net, t->o, &t->subs[i].client, &t->subs[i].adder);
}

static bool subscribed(const struct traffic *t) {
    return t->o->topology != TOPO_FILTERS || t->subscribed == t->o->filters;
}

static void begin(struct traffic *t, int64_t now) {
    t->rss_subscribed_kib = process_rss_kib(t->o->broker_pid);
    fit_window(t);
    t->phase = WARMUP;
    t->until_ns = now + (int64_t)(t->o->warmup_s * 1e9);
    t->rate_start_ns = now;
    for (unsigned i = 0; i < t->o->publishers; i++) flow_ready(t, &t->pubs[i]);
}

static void begin_measure(struct traffic *t) {
    t->phase = MEASURE;
    meter_begin(&t->meter, t->o->broker_pid, t->done);
    t->until_ns = now_ns() + (int64_t)(t->o->seconds * 1e9);
}

/* Closes the interval; what is still under way is waited for, but not counted. */
static void begin_drain(struct traffic *t) {
    meter_end(&t->meter, t->done);
    t->budget = 0;
    t->phase = DRAIN;
}

static bool settled(const struct traffic *t) {
    return t->owed == 0 && t->unacked == 0;
}

/* Moves to the next phase when this one is over. */
static void step(struct traffic *t, int64_t now, bool stalled) {
    if (t->phase == CONNECTING && t->opened == t->clients && !t->opening) begin_subscribing(t);
    if (t->phase == SUBSCRIBING && subscribed(t)) begin(t, now);
    if (t->phase == WARMUP && now >= t->until_ns) begin_measure(t);
    if (t->phase == MEASURE) {
        meter_tick(&t->meter, now, t->done);
        bool over = t->o->messages ? t->budget == 0 && settled(t) : now >= t->until_ns;
        if (over || stalled) begin_drain(t);
    }
    if (t->phase == DRAIN && (settled(t) || stalled)) t->phase = DONE;
    if (t->phase == SUBSCRIBING && stalled) {
        fprintf(stderr, "no SUBACK for %d s\n", STALL_S);
        t->failed = true;
    }
}

/* How long a turn may wait, when the next message is due at `due_ns`. */
static int64_t wait_ns(const struct traffic *t, int64_t due_ns) {
    int64_t wait = 50000000, now = now_ns();
    bool timed = t->phase == WARMUP || (t->phase == MEASURE && !t->o->messages);
    if (timed && t->until_ns - now < wait) wait = t->until_ns - now;
    return due_ns < now + wait ? due_ns - now : wait;
}

static int run(struct traffic *t) {
    const struct net_events on = { .on_packet = on_packet, .on_close = on_close, .arg = t };
    uint64_t last = 0;
    int64_t moved_ns = now_ns();
    while (t->phase != DONE && !t->failed) {
        int64_t now = now_ns();
        if (t->done + t->subscribed != last || t->phase == CONNECTING) moved_ns = now;
        last = t->done + t->subscribed;
        step(t, now, now - moved_ns > (int64_t)STALL_S * 1000000000);
        if (t->phase == CONNECTING && open_some(t) < 0) return -1;
        int64_t due_ns = INT64_MAX;
        if (t->phase >= WARMUP && t->o->rate > 0)
            due_ns = flow_publish_due(t, now);
        else if (t->phase >= WARMUP)
            flow_publish(t);
        net_flush(&t->net, &on);
        int r = net_turn(&t->net, &on, wait_ns(t, due_ns));
        if (r < 0) return r;
    }
    return t->failed ? -1 : 0;
}

/* Messages of a publisher that were meant for a subscriber. */
static uint32_t published_for(const struct traffic *t, unsigned pub, unsigned sub) {
    const struct publisher *p = &t->pubs[pub];
    return t->o->topology == TOPO_FILTERS ? p->published_to[sub] : p->published;
}

static void judge(struct traffic *t) {
    for (unsigned i = 0; i < t->o->subscribers; i++) {
        if (t->o->topology == TOPO_PAIR) {
            track_end(t->subs[i].tracks, t->pubs[i].published, &t->verdict);
            continue;
        }
        for (unsigned k = 0; k < t->o->publishers; k++)
            track_end(&t->subs[i].tracks[k], published_for(t, k, i), &t->verdict);
    }
    if (!t->fan) t->verdict.lost += t->unacked + t->owed;
}

static void report(const struct traffic *t) {
    static const char *const names[] = { "pair", "fanout", "fanin", "nosub", "filters" };
    printf("mode=traffic topology=%s publishers=%u subscribers=%u qos=%u payload=%u "
           "version=%u window=%u",
           names[t->o->topology], t->o->publishers, t->o->subscribers, t->o->qos, t->o->payload,
           t->o->version, t->window);
    meter_print(&t->meter, "msg");
    if (t->o->topology == TOPO_FILTERS)
        printf(" filters=%u bytes_per_filter=%.0f", t->o->filters,
               (double)(t->rss_subscribed_kib - t->rss_before_kib) * 1024 / t->o->filters);
    if (t->latency)
        printf(" p50_us=%.1f p99_us=%.1f p999_us=%.1f max_us=%.1f",
               (double)histogram_at(t->latency, 0.5) / 1e3,
               (double)histogram_at(t->latency, 0.99) / 1e3,
               (double)histogram_at(t->latency, 0.999) / 1e3, (double)t->latency->max_ns / 1e3);
    printf(" lost=%" PRIu64 " dup=%" PRIu64 " reordered=%" PRIu64 " refused=%" PRIu64
           " bad_acks=%" PRIu64 "\n",
           t->verdict.lost, t->verdict.dup, t->verdict.reordered, t->refused, t->bad_acks);
}

static bool untrue(const struct traffic *t) {
    const struct verdict *v = &t->verdict;
    return v->lost || v->dup || v->reordered || t->refused || t->bad_acks;
}

int traffic_run(const struct options *o) {
    static struct traffic t;
    int r = traffic_init(&t, o);
    if (r == 0) r = run(&t);
    if (r == 0) {
        judge(&t);
        report(&t);
        if (untrue(&t)) fprintf(stderr, "NOT TRUE: messages lost, doubled, reordered or refused\n");
    }
    int end = r < 0 ? RUN_FAILED : untrue(&t) ? RUN_UNTRUE : RUN_OK;
    traffic_deinit(&t);
    return end;
}
