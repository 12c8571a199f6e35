/* net.c -- the load generator's and the relay's sockets. */
/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 1024, READ_MIN = 256 * 1024, OUT_MIN = 512 };

static void *grow(void *at, size_t bytes) {
    at = realloc(at, bytes);
    if (!at) {
        fprintf(stderr, "out of memory (%zu bytes)\n", bytes);
        exit(1);
    }
    return at;
}

int net_init(struct net *n, size_t packet_max) {
    *n = (struct net){ .epfd = epoll_create1(EPOLL_CLOEXEC) };
    if (n->epfd < 0) return -errno;
    n->in_cap = READ_MIN + packet_max;
    n->in = grow(NULL, n->in_cap);
    return 0;
}

void net_deinit(struct net *n) {
    close(n->epfd);
    free(n->dirty);
    free(n->in);
}

unsigned long net_raise_nofile(void) {
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) < 0) return 0;
    lim.rlim_cur = lim.rlim_max;
    setrlimit(RLIMIT_NOFILE, &lim);
    return lim.rlim_cur;
}

static int set_nonblocking(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

/* connect() that finishes the job after a signal. */
static int connect_fd(int fd, const struct sockaddr *sa, socklen_t len) {
    while (connect(fd, sa, len) < 0)
        if (errno != EINTR && errno != EALREADY) return errno == EISCONN ? 0 : -errno;
    return 0;
}

int address_tcp(struct address *a, const char *host, unsigned port) {
    struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *found;
    if (getaddrinfo(host, NULL, &hints, &found) != 0) return -EHOSTUNREACH;
    memcpy(&a->at, found->ai_addr, found->ai_addrlen);
    a->len = found->ai_addrlen;
    ((struct sockaddr_in *)&a->at)->sin_port = htons((uint16_t)port);
    freeaddrinfo(found);
    return 0;
}

int address_unix(struct address *a, const char *path) {
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof sun.sun_path) return -ENAMETOOLONG;
    strcpy(sun.sun_path, path);
    memcpy(&a->at, &sun, sizeof sun);
    a->len = sizeof sun;
    return 0;
}

/* The port is chosen with the connection: one is free as long as the pair of ends is. */
static int bind_source(int fd, unsigned source) {
    struct sockaddr_in sin = { .sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK + source) };
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){ 1 }, sizeof(int));
    return bind(fd, (struct sockaddr *)&sin, sizeof sin) < 0 ? -errno : 0;
}

int net_connect(const struct address *a, unsigned source) {
    int fd = socket(a->at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), r = 0;
    if (fd < 0) return -errno;
    if (a->at.ss_family == AF_INET) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        if (source) r = bind_source(fd, source);
    }
    if (r == 0) r = connect_fd(fd, (const struct sockaddr *)&a->at, a->len);
    if (r == 0) r = set_nonblocking(fd);
    if (r < 0) close(fd);
    return r < 0 ? r : fd;
}

int net_listen(unsigned port) {
    struct sockaddr_in sin = { .sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
    if (bind(fd, (struct sockaddr *)&sin, sizeof sin) == 0 && listen(fd, 4096) == 0) return fd;
    int r = -errno;
    close(fd);
    return r;
}

int net_watch_listener(struct net *n, int fd) {
    /* NULL marks the listener; its descriptor is remembered by whoever accepts. */
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };
    return epoll_ctl(n->epfd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

int net_open(struct net *n, struct peer *p, int fd) {
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = p };
    if (epoll_ctl(n->epfd, EPOLL_CTL_ADD, fd, &ev) < 0) {
        int r = -errno;
        close(fd);
        return r;
    }
    p->fd = fd;
    p->armed = false;
    p->out.from = p->out.to = 0;
    p->tail_len = 0;
    return 0;
}

void net_close(struct net *n, struct peer *p) {
    (void)n; /* closing the only descriptor takes it out of epoll */
    if (p->fd < 0) return;
    close(p->fd);
    p->fd = -1;
    p->armed = false;
    p->out.from = p->out.to = 0;
    p->tail_len = 0;
}

void net_peer_deinit(struct peer *p) {
    free(p->out.at);
    free(p->tail);
    p->out = (struct outbuf){ 0 };
    p->tail = NULL;
    p->tail_cap = 0;
}

uint8_t *net_reserve(struct peer *p, size_t len) {
    struct outbuf *o = &p->out;
    if (o->cap - o->to >= len) return o->at + o->to;
    if (o->from) {
        memmove(o->at, o->at + o->from, o->to - o->from);
        o->to -= o->from;
        o->from = 0;
    }
    if (o->cap - o->to < len) {
        size_t cap = o->cap ? o->cap : OUT_MIN;
        while (cap - o->to < len) cap *= 2;
        o->at = grow(o->at, cap);
        o->cap = cap;
    }
    return o->at + o->to;
}

void net_commit(struct net *n, struct peer *p, size_t len) {
    p->out.to += len;
    if (p->dirty || p->armed) return;
    if (n->dirty_len == n->dirty_cap) {
        n->dirty_cap = n->dirty_cap ? 2 * n->dirty_cap : 256;
        n->dirty = grow(n->dirty, n->dirty_cap * sizeof *n->dirty);
    }
    n->dirty[n->dirty_len++] = p;
    p->dirty = true;
}

void net_add(struct net *n, struct peer *p, const void *at, size_t len) {
    memcpy(net_reserve(p, len), at, len);
    net_commit(n, p, len);
}

static void fail(struct net *n, struct peer *p, const struct net_events *on) {
    net_close(n, p);
    on->on_close(on->arg, p);
}

static void set_armed(struct net *n, struct peer *p, bool armed) {
    if (p->armed == armed) return;
    struct epoll_event ev = { .events = EPOLLIN | (armed ? EPOLLOUT : 0), .data.ptr = p };
    epoll_ctl(n->epfd, EPOLL_CTL_MOD, p->fd, &ev);
    p->armed = armed;
}

/* Sends what it can.  False when the connection is gone. */
static bool send_out(struct net *n, struct peer *p) {
    struct outbuf *o = &p->out;
    while (o->from < o->to) {
        ssize_t sent = send(p->fd, o->at + o->from, o->to - o->from, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno != EAGAIN) return false;
        if (sent > 0) o->from += (size_t)sent;
        if (sent < 0) break;
    }
    if (o->from == o->to) o->from = o->to = 0;
    set_armed(n, p, o->to > 0);
    return true;
}

void net_flush(struct net *n, const struct net_events *on) {
    for (size_t i = 0; i < n->dirty_len; i++) {
        struct peer *p = n->dirty[i];
        p->dirty = false;
        if (p->fd >= 0 && !send_out(n, p)) fail(n, p, on);
    }
    n->dirty_len = 0;
}

static void keep_tail(struct peer *p, const uint8_t *at, size_t len) {
    if (len > p->tail_cap) {
        p->tail = grow(p->tail, len);
        p->tail_cap = len;
    }
    if (len) memcpy(p->tail, at, len);
    p->tail_len = len;
}

/* Reads once and hands over every whole packet. */
static void read_in(struct net *n, struct peer *p, const struct net_events *on) {
    size_t have = p->tail_len;
    if (have) memcpy(n->in, p->tail, have);
    ssize_t got = recv(p->fd, n->in + have, n->in_cap - have, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        fail(n, p, on);
        return;
    }
    const uint8_t *at = n->in, *end = at + have + (size_t)got;
    struct frame f;
    int r;
    while ((r = wire_frame(&f, at, (size_t)(end - at))) == 0) {
        at += f.total;
        if (!on->on_packet(on->arg, p, &f)) return;
    }
    if (on->on_parsed) on->on_parsed(on->arg, p);
    if (r < 0 || (size_t)(end - at) == n->in_cap) {
        fprintf(stderr, "connection %u: malformed or oversized packet\n", p->index);
        fail(n, p, on);
        return;
    }
    keep_tail(p, at, (size_t)(end - at));
}

/* Waits with the plain call when whole milliseconds will do: valgrind does not know the
 * finer one. */
static int wait_events(int epfd, struct epoll_event evs[EVENTS], int64_t timeout_ns) {
    if (timeout_ns < 0) timeout_ns = 0;
    if (timeout_ns % 1000000 == 0)
        return epoll_wait(epfd, evs, EVENTS, (int)(timeout_ns / 1000000));
    struct timespec ts = { .tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000 };
    return epoll_pwait2(epfd, evs, EVENTS, &ts, NULL);
}

int net_turn(struct net *n, const struct net_events *on, int64_t timeout_ns) {
    struct epoll_event evs[EVENTS];
    int len = wait_events(n->epfd, evs, timeout_ns);
    if (len < 0) return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < len; i++) {
        struct peer *p = evs[i].data.ptr;
        if (!p) {
            on->on_accept(on->arg);
            continue;
        }
        /* A peer closed or reopened earlier in this batch: the read finds nothing. */
        if (p->fd >= 0 && evs[i].events & EPOLLOUT && !send_out(n, p)) fail(n, p, on);
        if (p->fd >= 0 && evs[i].events & ~(unsigned)EPOLLOUT) read_in(n, p, on);
    }
    return 0;
}
