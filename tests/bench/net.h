/* net.h -- connections, buffers and the turn, shared by the load generator and the relay.
 *
 * One epoll set, one thread, level-triggered.  Everything a turn produced for a peer
 * leaves in one send() at its end (net_flush); EPOLLOUT is armed only while a peer is
 * blocked.  Invariant: a peer with unsent bytes is either on the dirty list or armed. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_NET_H
#define BENCH_NET_H

#include "wire.h"

#include <stdbool.h>
#include <sys/socket.h>

/* Bytes waiting to be sent: at[from..to). */
struct outbuf {
    uint8_t *at;
    size_t cap, from, to;
};

/* One connection.  Embedded first in the caller's own struct. */
struct peer {
    int fd; /* -1: closed */
    unsigned index;
    unsigned role; /* the caller's */
    bool dirty;    /* on net.dirty */
    bool armed;    /* EPOLLOUT requested */
    struct outbuf out;
    uint8_t *tail; /* an unfinished packet, NULL when there is none */
    size_t tail_len, tail_cap;
};

struct net {
    int epfd;
    struct peer **dirty; /* peers to flush this turn */
    size_t dirty_len, dirty_cap;
    uint8_t *in; /* the one read buffer */
    size_t in_cap;
};

/* Where to connect, resolved once. */
struct address {
    struct sockaddr_storage at;
    socklen_t len;
};

/* What a peer's owner does with a packet and with the end of a connection.  A packet
 * handler returns false when it closed the peer. */
struct net_events {
    bool (*on_packet)(void *arg, struct peer *p, const struct frame *f);
    void (*on_parsed)(void *arg, struct peer *p); /* every packet of a read; may be NULL */
    void (*on_close)(void *arg, struct peer *p);  /* peer is closed already */
    void (*on_accept)(void *arg);                 /* only with net_watch_listener */
    void *arg;
};

/* `packet_max` bounds the packets that may arrive (bytes).  0 or -errno. */
int net_init(struct net *n, size_t packet_max);
void net_deinit(struct net *n);

/* Raises the soft limit on descriptors to the hard one; returns it. */
unsigned long net_raise_nofile(void);

/* Both: 0 or -errno. */
int address_tcp(struct address *a, const char *host, unsigned port);
int address_unix(struct address *a, const char *path);

/* A connected, non-blocking socket (the connect itself blocks: on loopback it is over
 * when the call returns), or -errno.  It comes from 127.0.0.1 + `source`: each address
 * has ports of its own. */
int net_connect(const struct address *a, unsigned source);
/* A listening, non-blocking TCP socket on 127.0.0.1, or -errno. */
int net_listen(unsigned port);
/* Adds a listening socket: its events call on_accept.  0 or -errno. */
int net_watch_listener(struct net *n, int fd);

/* Takes `fd`.  0 or -errno. */
int net_open(struct net *n, struct peer *p, int fd);
/* Closes and forgets what was queued.  Closing twice is harmless. */
void net_close(struct net *n, struct peer *p);
/* Frees the memory a closed peer kept for reuse. */
void net_peer_deinit(struct peer *p);

/* Lends room for `len` bytes behind what is queued; net_commit says how many were used. */
uint8_t *net_reserve(struct peer *p, size_t len);
void net_commit(struct net *n, struct peer *p, size_t len);
void net_add(struct net *n, struct peer *p, const void *at, size_t len);

/* Sends what is queued.  Peers that fail are closed and reported. */
void net_flush(struct net *n, const struct net_events *on);
/* One turn: waits at most `timeout_ns`, reads once from everyone ready and hands over the
 * packets.  0 or -errno. */
int net_turn(struct net *n, const struct net_events *on, int64_t timeout_ns);

#endif
