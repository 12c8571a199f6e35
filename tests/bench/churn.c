/* churn.c -- connections rather than messages: how fast they come and go, how fast a
 * client id is taken over, and what an idle one costs. */
/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "client.h"
#include "filters.h"
#include "load.h"
#include "meter.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STALL_S = 10,
    SETTLE_MS = 500,  /* before memory is read */
    OPENING_MAX = 64, /* idle: handshakes at once */
};

/* One place among the `connections`.  Connect and idle use `now` alone; take-over keeps
 * the session's holder in `old` and its challenger in `now`. */
struct seat {
    struct client client[2];
    unsigned now;       /* which of the two is the newest */
    bool old_gone;      /* take-over: the broker closed the other one */
    bool leaving;       /* connect: DISCONNECT sent */
    struct adder adder; /* subscribe */
};

struct churn {
    const struct options *o;
    struct net net;
    struct seat *seats;
    bool failed;
    uint64_t done;       /* connections, take-overs, or idle clients ready */
    uint64_t pongs;      /* idle */
    struct meter *meter; /* NULL: not measuring */
    unsigned next_id;    /* connect: every connection has a client id of its own */
    bool (*on_ready)(struct churn *h, struct seat *s);
    void (*on_gone)(struct churn *h, struct seat *s, unsigned which);
};

/* -- common ----------------------------------------------------------------------- */

static struct seat *seat_of(const struct churn *h, const struct peer *p) {
    return &h->seats[p->index];
}

static bool open_seat(struct churn *h, struct seat *s, const char *id) {
    int r = client_open(&h->net, h->o, &s->client[s->now], id);
    if (r == 0) return true;
    fprintf(stderr, "client %s: %s\n", id, strerror(-r));
    h->failed = true;
    return false;
}

static bool on_suback(struct churn *h, struct seat *s, const struct frame *f) {
    if (!adder_on_suback(&s->client[0], &s->adder, f)) h->failed = true;
    h->done++;
    adder_send(&h->net, h->o, &s->client[0], &s->adder);
    return true;
}

static bool on_packet(void *arg, struct peer *p, const struct frame *f) {
    struct churn *h = arg;
    struct client *c = (struct client *)p;
    int r = client_on_packet(&h->net, h->o, c, f);
    if (r == CLIENT_OTHER) {
        /* MQTT 5 says why before it closes; the close is what counts. */
        if (f->type == PKT_DISCONNECT) return true;
        if (f->type == PKT_SUBACK) return on_suback(h, seat_of(h, p), f);
        h->pongs += f->type == PKT_PINGRESP;
        return true;
    }
    if (r == 0 && c->state == CLIENT_READY) return h->on_ready(h, seat_of(h, p));
    if (r == 0) return true;
    h->failed = true;
    net_close(&h->net, p);
    return false;
}

static void on_close(void *arg, struct peer *p) {
    struct churn *h = arg;
    h->on_gone(h, seat_of(h, p), p->role);
}

static int churn_init(struct churn *h, const struct options *o) {
    *h = (struct churn){ .o = o };
    h->seats = calloc(o->connections, sizeof *h->seats);
    if (!h->seats) abort();
    for (unsigned i = 0; i < o->connections; i++)
        for (unsigned k = 0; k < 2; k++)
            h->seats[i].client[k].peer = (struct peer){ .fd = -1, .index = i, .role = k };
    return net_init(&h->net, 1024);
}

static void churn_deinit(struct churn *h) {
    for (unsigned i = 0; i < h->o->connections; i++)
        for (unsigned k = 0; k < 2; k++) {
            net_close(&h->net, &h->seats[i].client[k].peer);
            net_peer_deinit(&h->seats[i].client[k].peer);
        }
    net_deinit(&h->net);
    free(h->seats);
}

/* Turns until `until_ns`, or until `*count` reaches `want`.  False after a failure or ten
 * seconds in which nothing was done. */
static bool turn_until(struct churn *h, int64_t until_ns, const uint64_t *count, uint64_t want) {
    const struct net_events on = { .on_packet = on_packet, .on_close = on_close, .arg = h };
    int64_t moved_ns = now_ns();
    uint64_t last = *count;
    for (;;) {
        int64_t now = now_ns();
        if (*count != last) moved_ns = now;
        last = *count;
        if (h->meter) meter_tick(h->meter, now, h->done);
        if (h->failed) return false;
        if (now >= until_ns || *count >= want) return true;
        if (now - moved_ns > (int64_t)STALL_S * 1000000000) {
            fprintf(stderr, "nothing happened for %d s\n", STALL_S);
            return false;
        }
        net_flush(&h->net, &on);
        int64_t wait = until_ns - now < 50000000 ? until_ns - now : 50000000;
        if (net_turn(&h->net, &on, wait) < 0) return false;
    }
}

/* Warms up, measures o->seconds and prints the rate of `unit`. */
static int measure_rate(struct churn *h, const char *mode, const char *unit) {
    const struct options *o = h->o;
    int64_t until_ns = now_ns() + (int64_t)(o->warmup_s * 1e9);
    if (!turn_until(h, until_ns, &h->done, UINT64_MAX)) return RUN_FAILED;
    static struct meter meter;
    h->meter = &meter;
    meter_begin(&meter, o->broker_pid, h->done);
    until_ns = o->messages ? INT64_MAX : now_ns() + (int64_t)(o->seconds * 1e9);
    if (!turn_until(h, until_ns, &h->done, o->messages ? o->messages : UINT64_MAX))
        return RUN_FAILED;
    meter_end(&meter, h->done);
    printf("mode=%s connections=%u version=%u", mode, o->connections, o->version);
    meter_print(&meter, unit);
    putchar('\n');
    return h->done > 0 ? RUN_OK : RUN_FAILED;
}

/* -- connect: CONNECT, CONNACK, DISCONNECT, wait for the end, again ----------------- */

static void connect_again(struct churn *h, struct seat *s) {
    char id[CLIENT_NAME_MAX];
    snprintf(id, sizeof id, "bench-c-%u", h->next_id++);
    s->leaving = false;
    open_seat(h, s, id);
}

/* The broker closes after DISCONNECT: so the ports that linger in TIME_WAIT are its own
 * one, and ours may be used again at once. */
static bool connect_ready(struct churn *h, struct seat *s) {
    struct peer *p = &s->client[s->now].peer;
    net_commit(&h->net, p, wire_put_empty(net_reserve(p, 2), PKT_DISCONNECT));
    s->leaving = true;
    return true;
}

static void connect_gone(struct churn *h, struct seat *s, unsigned which) {
    (void)which;
    if (!s->leaving) {
        fprintf(stderr, "the broker closed a connection before its DISCONNECT\n");
        h->failed = true;
        return;
    }
    h->done++;
    connect_again(h, s);
}

int connect_run(const struct options *o) {
    struct churn h;
    int r = churn_init(&h, o);
    h.on_ready = connect_ready;
    h.on_gone = connect_gone;
    for (unsigned i = 0; i < o->connections; i++) connect_again(&h, &h.seats[i]);
    if (r == 0) r = measure_rate(&h, "connect", "connect");
    churn_deinit(&h);
    return r < 0 ? RUN_FAILED : r;
}

/* -- take-over: the same id connects again, the older connection must end ------------ */

static void challenge(struct churn *h, struct seat *s) {
    char id[CLIENT_NAME_MAX];
    snprintf(id, sizeof id, "bench-t-%zu", (size_t)(s - h->seats));
    s->now ^= 1;
    s->old_gone = s->client[s->now ^ 1].peer.fd < 0;
    open_seat(h, s, id);
}

/* Over when the new one has its CONNACK and the old one is closed, whichever is first. */
static void settle_seat(struct churn *h, struct seat *s) {
    if (s->client[s->now].state != CLIENT_READY || !s->old_gone) return;
    h->done++;
    challenge(h, s);
}

static bool takeover_ready(struct churn *h, struct seat *s) {
    settle_seat(h, s);
    return true;
}

static void takeover_gone(struct churn *h, struct seat *s, unsigned which) {
    if (which == s->now) {
        fprintf(stderr, "the broker closed the new connection, not the old one\n");
        h->failed = true;
        return;
    }
    s->old_gone = true;
    settle_seat(h, s);
}

int takeover_run(const struct options *o) {
    struct churn h;
    int r = churn_init(&h, o);
    h.on_ready = takeover_ready;
    h.on_gone = takeover_gone;
    for (unsigned i = 0; i < o->connections; i++) challenge(&h, &h.seats[i]);
    if (r == 0) r = measure_rate(&h, "takeover", "takeover");
    churn_deinit(&h);
    return r < 0 ? RUN_FAILED : r;
}

/* -- subscribe: one filter a packet, without end ------------------------------------- */

static bool subscribe_ready(struct churn *h, struct seat *s) {
    adder_send(&h->net, h->o, &s->client[0], &s->adder);
    return true;
}

static void subscribe_gone(struct churn *h, struct seat *s, unsigned which) {
    (void)which;
    fprintf(stderr, "the broker closed subscriber %zu\n", (size_t)(s - h->seats));
    h->failed = true;
}

int subscribe_run(const struct options *o) {
    struct churn h;
    int r = churn_init(&h, o);
    h.on_ready = subscribe_ready;
    h.on_gone = subscribe_gone;
    for (unsigned i = 0; i < o->connections; i++) {
        h.seats[i].adder = (struct adder){ .next = i, .step = o->connections, .end = FILTERS_MAX };
        char id[CLIENT_NAME_MAX];
        snprintf(id, sizeof id, "bench-s-%u", i);
        open_seat(&h, &h.seats[i], id);
    }
    if (r == 0) r = measure_rate(&h, "subscribe", "subscribe");
    churn_deinit(&h);
    return r < 0 ? RUN_FAILED : r;
}

/* -- idle: hold many clients, each with one subscription ------------------------------ */

static bool idle_ready(struct churn *h, struct seat *s) {
    (void)s;
    h->done++;
    return true;
}

static void idle_gone(struct churn *h, struct seat *s, unsigned which) {
    (void)which;
    fprintf(stderr, "the broker closed idle connection %zu\n", (size_t)(s - h->seats));
    h->failed = true;
}

static bool open_all(struct churn *h) {
    for (unsigned i = 0; i < h->o->connections; i++) {
        struct seat *s = &h->seats[i];
        char id[CLIENT_NAME_MAX];
        snprintf(id, sizeof id, "bench-i-%u", i);
        snprintf(s->client[0].filter, CLIENT_NAME_MAX, "bench/idle/%u/set", i);
        uint64_t want = i + 1 > OPENING_MAX ? i + 1 - OPENING_MAX : 0;
        if (!open_seat(h, s, id) || !turn_until(h, INT64_MAX, &h->done, want)) return false;
    }
    return turn_until(h, INT64_MAX, &h->done, h->o->connections);
}

static bool ping_all(struct churn *h) {
    for (unsigned i = 0; i < h->o->connections; i++) {
        struct peer *p = &h->seats[i].client[0].peer;
        net_commit(&h->net, p, wire_put_empty(net_reserve(p, 2), PKT_PINGREQ));
    }
    return turn_until(h, INT64_MAX, &h->pongs, h->o->connections);
}

static bool settle_ms(struct churn *h, int ms) {
    uint64_t never = 0;
    return turn_until(h, now_ns() + (int64_t)ms * 1000000, &never, 1);
}

int idle_run(const struct options *o) {
    struct churn h;
    int r = churn_init(&h, o);
    h.on_ready = idle_ready;
    h.on_gone = idle_gone;
    long before = process_rss_kib(o->broker_pid);
    bool fine = r == 0 && open_all(&h) && settle_ms(&h, SETTLE_MS);
    long held = process_rss_kib(o->broker_pid);
    fine = fine && ping_all(&h) && settle_ms(&h, SETTLE_MS);
    long served = process_rss_kib(o->broker_pid);
    int64_t quiet_ns = now_ns(), cpu_ns = process_cpu_ns(o->broker_pid);
    fine = fine && settle_ms(&h, (int)(o->seconds * 1e3));
    double quiet_s = (double)(now_ns() - quiet_ns) / 1e9, n = o->connections;
    cpu_ns = process_cpu_ns(o->broker_pid) - cpu_ns;
    if (fine)
        printf("mode=idle connections=%u version=%u rss_before_kib=%ld rss_held_kib=%ld "
               "rss_served_kib=%ld kib_per_connection=%.3f kib_per_served=%.3f "
               "idle_cpu_us_per_s=%.0f\n",
               o->connections, o->version, before, held, served, (double)(held - before) / n,
               (double)(served - before) / n, (double)cpu_ns / 1e3 / quiet_s);
    churn_deinit(&h);
    return fine ? RUN_OK : RUN_FAILED;
}
