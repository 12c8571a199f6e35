/* client.c -- the handshake of one MQTT client. */
/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "client.h"

#include "meter.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int client_open(struct net *n, const struct options *o, struct client *c, const char *id) {
    int fd = net_connect(&o->address, c->peer.index % o->sources);
    if (fd < 0) return fd;
    int r = net_open(n, &c->peer, fd);
    if (r < 0) return r;
    c->state = CLIENT_CONNECTING;
    uint8_t *at = net_reserve(&c->peer, 40 + strlen(id));
    net_commit(n, &c->peer, wire_put_connect(at, id, (int)o->version, c->session));
    return 0;
}

static int on_connack(struct net *n, const struct options *o, struct client *c,
                      const struct frame *f) {
    int code = f->type == PKT_CONNACK ? wire_connack(f, (int)o->version, &c->receive_max) : -EPROTO;
    if (code != 0) {
        fprintf(stderr, "client %u: CONNECT answered with packet %d, code %d\n", c->peer.index,
                f->type, code);
        return -EPROTO;
    }
    if (!c->filter[0]) {
        c->state = CLIENT_READY;
        return 0;
    }
    c->state = CLIENT_SUBSCRIBING;
    uint8_t *at = net_reserve(&c->peer, 16 + strlen(c->filter));
    net_commit(n, &c->peer, wire_put_subscribe(at, 1, c->filter, c->qos, (int)o->version));
    return 0;
}

static int on_suback(struct client *c, const struct frame *f) {
    /* The granted QoS is the packet's last byte: there was one filter. */
    if (f->type == PKT_SUBACK && f->body_len >= 3 && f->body[f->body_len - 1] == c->qos) {
        c->state = CLIENT_READY;
        return 0;
    }
    fprintf(stderr, "client %u: SUBSCRIBE %s answered with packet %d, not granted QoS %u\n",
            c->peer.index, c->filter, f->type, c->qos);
    return -EPROTO;
}

int client_on_packet(struct net *n, const struct options *o, struct client *c,
                     const struct frame *f) {
    switch (c->state) {
    case CLIENT_CONNECTING: return on_connack(n, o, c, f);
    case CLIENT_SUBSCRIBING: return on_suback(c, f);
    default: return CLIENT_OTHER;
    }
}

int client_await_broker(const struct options *o) {
    int64_t deadline_ns = now_ns() + (int64_t)(o->wait_s * 1e9);
    for (;;) {
        int fd = net_connect(&o->address, 0);
        if (fd >= 0) return close(fd);
        if (now_ns() > deadline_ns) return fd;
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    }
}
