/* client.h -- an MQTT client until it is ready: CONNECT, CONNACK, SUBSCRIBE, SUBACK. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include "load.h"

enum client_state { CLIENT_CLOSED, CLIENT_CONNECTING, CLIENT_SUBSCRIBING, CLIENT_READY };

enum { CLIENT_NAME_MAX = 48 };

/* Embedded first in the caller's own struct; `peer` comes first here. */
struct client {
    struct peer peer;
    enum client_state state;
    unsigned receive_max;         /* granted by the broker */
    char filter[CLIENT_NAME_MAX]; /* to subscribe to; empty: none */
    unsigned qos;                 /* of the subscription */
    enum session_kind session;    /* what CONNECT asks for */
};

/* Connects and sends CONNECT.  0 or -errno. */
int client_open(struct net *n, const struct options *o, struct client *c, const char *id);

enum { CLIENT_OTHER = 1 };
/* Takes the packets of the handshake.  0 (taken), CLIENT_OTHER (a packet of a ready
 * client), or -EPROTO after saying what the broker refused. */
int client_on_packet(struct net *n, const struct options *o, struct client *c,
                     const struct frame *f);

/* Waits until the broker accepts connections, at most o->wait_s.  0 or -errno. */
int client_await_broker(const struct options *o);

#endif
