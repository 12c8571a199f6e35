/* relay.c -- the least a broker could do, as the measure of what the machine allows.
 *
 * One thread, one epoll set.  It finds the packets in the stream, looks a topic up once a
 * connection, and copies bytes to subscribers; it acknowledges QoS 1 and 2 by reflex,
 * keeps nothing, checks nothing and speaks 3.1.1 and 5 alike.  A filter is a topic or
 * ends in one `+` or `#`, which match any rest.  Never use it for anything but this. */
/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "net.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONNS_MAX = 20000, TOPIC_MAX = 64, PACKET_MAX = 2 << 20 };

struct conn {
    struct peer peer;
    uint8_t version;
    char filter[TOPIC_MAX]; /* its one subscription; empty: none */
    size_t filter_len;      /* without the wildcard */
    bool wildcard;
    /* the last topic it published to, and who hears it */
    char topic[TOPIC_MAX];
    size_t topic_len;
    struct conn **to;
    size_t to_len;
    unsigned epoch; /* relay.epoch when `to` was made */
    /* a run of packets of one read, sent on in one piece */
    const uint8_t *run_at;
    size_t run_len;
};

struct relay {
    struct net net;
    int listener;
    struct conn *conns[CONNS_MAX]; /* by slot; kept when closed */
    unsigned conns_len;
    unsigned epoch; /* grows whenever a subscription comes or goes */
    unsigned free[CONNS_MAX], free_len;
};

static bool matches(const struct conn *sub, const char *topic, size_t len) {
    if (sub->peer.fd < 0 || !sub->filter[0]) return false;
    if (sub->wildcard ? len < sub->filter_len : len != sub->filter_len) return false;
    return memcmp(sub->filter, topic, sub->filter_len) == 0;
}

static void find_route(struct relay *r, struct conn *c, const struct publish *m) {
    memcpy(c->topic, m->topic, m->topic_len);
    c->topic_len = m->topic_len;
    c->epoch = r->epoch;
    c->to_len = 0;
    for (unsigned i = 0; i < r->conns_len; i++) {
        if (!matches(r->conns[i], c->topic, c->topic_len)) continue;
        c->to = realloc(c->to, (c->to_len + 1) * sizeof(struct conn *));
        if (!c->to) abort();
        c->to[c->to_len++] = r->conns[i];
    }
}

static void send_run(struct relay *r, struct conn *c) {
    if (!c->run_len) return;
    for (size_t i = 0; i < c->to_len; i++) net_add(&r->net, &c->to[i]->peer, c->run_at, c->run_len);
    c->run_len = 0;
}

static void ack(struct relay *r, struct conn *c, enum packet_type type, uint16_t id) {
    uint8_t *at = net_reserve(&c->peer, WIRE_ACK_LEN);
    net_commit(&r->net, &c->peer, wire_put_ack(at, type, id));
}

static bool on_publish(struct relay *r, struct conn *c, const struct frame *f) {
    struct publish m;
    if (wire_publish(&m, f, c->version) < 0 || m.topic_len >= TOPIC_MAX) return false;
    if (c->epoch != r->epoch || m.topic_len != c->topic_len ||
        memcmp(m.topic, c->topic, m.topic_len) != 0) {
        send_run(r, c);
        find_route(r, c, &m);
    }
    if (!c->run_len) c->run_at = f->at;
    c->run_len += f->total;
    if (m.qos) ack(r, c, m.qos == 1 ? PKT_PUBACK : PKT_PUBREC, m.packet_id);
    return true;
}

static bool on_connect(struct relay *r, struct conn *c, const struct frame *f) {
    if (f->body_len < 7) return false;
    c->version = f->body[6];
    static const uint8_t v4[] = { PKT_CONNACK << 4, 2, 0, 0 };
    static const uint8_t v5[] = { PKT_CONNACK << 4, 3, 0, 0, 0 };
    if (c->version == 5)
        net_add(&r->net, &c->peer, v5, sizeof v5);
    else
        net_add(&r->net, &c->peer, v4, sizeof v4);
    return true;
}

static bool on_subscribe(struct relay *r, struct conn *c, const struct frame *f) {
    size_t at = c->version == 5 ? 3 : 2; /* the load generator sends no properties */
    if (f->body_len < at + 3) return false;
    size_t len = wire_u16(f->body + at);
    if (len == 0 || len >= TOPIC_MAX || f->body_len != at + 2 + len + 1) return false;
    memcpy(c->filter, f->body + at + 2, len);
    c->wildcard = c->filter[len - 1] == '+' || c->filter[len - 1] == '#';
    c->filter_len = len - c->wildcard;
    r->epoch++;
    uint8_t suback[6] = { PKT_SUBACK << 4, (uint8_t)(at + 1), f->body[0], f->body[1] };
    suback[at + 2] = f->body[f->body_len - 1];
    net_add(&r->net, &c->peer, suback, at + 3);
    return true;
}

static bool on_other(struct relay *r, struct conn *c, const struct frame *f) {
    switch (f->type) {
    case PKT_CONNECT: return on_connect(r, c, f);
    case PKT_SUBSCRIBE: return on_subscribe(r, c, f);
    case PKT_PUBREC: ack(r, c, PKT_PUBREL, wire_ack_id(f)); return true;
    case PKT_PUBREL: ack(r, c, PKT_PUBCOMP, wire_ack_id(f)); return true;
    case PKT_PUBACK:
    case PKT_PUBCOMP: return true;
    case PKT_PINGREQ:
        net_commit(&r->net, &c->peer, wire_put_empty(net_reserve(&c->peer, 2), PKT_PINGRESP));
        return true;
    default: return false; /* DISCONNECT among them */
    }
}

static void on_close(void *arg, struct peer *p) {
    struct relay *r = arg;
    struct conn *c = (struct conn *)p;
    if (c->filter[0]) r->epoch++;
    c->filter[0] = '\0';
    c->topic_len = 0;
    c->run_len = 0;
    net_peer_deinit(p);
    r->free[r->free_len++] = p->index;
}

static bool on_packet(void *arg, struct peer *p, const struct frame *f) {
    struct relay *r = arg;
    struct conn *c = (struct conn *)p;
    if (f->type == PKT_PUBLISH ? on_publish(r, c, f) : on_other(r, c, f)) return true;
    net_close(&r->net, p);
    on_close(r, p);
    return false;
}

/* Runs point into the read buffer: they leave when the read is parsed. */
static void on_parsed(void *arg, struct peer *p) {
    send_run(arg, (struct conn *)p);
}

static struct conn *take_slot(struct relay *r) {
    if (r->free_len) return r->conns[r->free[--r->free_len]];
    if (r->conns_len == CONNS_MAX) return NULL;
    struct conn *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->peer = (struct peer){ .fd = -1, .index = r->conns_len };
    return r->conns[r->conns_len++] = c;
}

static void on_accept(void *arg) {
    struct relay *r = arg;
    int fd;
    while ((fd = accept4(r->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        struct conn *c = take_slot(r);
        if (!c)
            close(fd);
        else if (net_open(&r->net, &c->peer, fd) < 0)
            r->free[r->free_len++] = c->peer.index;
    }
}

static volatile sig_atomic_t stop;

static void on_signal(int sig) {
    (void)sig;
    stop = 1;
}

static void relay_deinit(struct relay *r) {
    for (unsigned i = 0; i < r->conns_len; i++) {
        net_close(&r->net, &r->conns[i]->peer);
        net_peer_deinit(&r->conns[i]->peer);
        free(r->conns[i]->to);
        free(r->conns[i]);
    }
    net_deinit(&r->net);
    close(r->listener);
}

int main(int argc, char **argv) {
    static struct relay r;
    if (argc != 2) {
        fprintf(stderr, "usage: relay PORT\n");
        return 1;
    }
    net_raise_nofile();
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    int e = net_init(&r.net, PACKET_MAX);
    if (e == 0) e = r.listener = net_listen((unsigned)atoi(argv[1]));
    if (e >= 0) e = net_watch_listener(&r.net, r.listener);
    if (e < 0) {
        fprintf(stderr, "relay: port %s: %s\n", argv[1], strerror(-e));
        return 1;
    }
    const struct net_events on = { .on_packet = on_packet,
                                   .on_parsed = on_parsed,
                                   .on_close = on_close,
                                   .on_accept = on_accept,
                                   .arg = &r };
    while (!stop && net_turn(&r.net, &on, 1000000000) == 0) net_flush(&r.net, &on);
    relay_deinit(&r);
    return 0;
}
