/* later.c -- a web service that answers every request after the same time.
 *
 *     later PORT MILLISECONDS
 *
 * What it stands for is a slow backend, so it must cost nothing itself: the answers that are
 * due lie in a ring in the order of their requests.  A request is what ends with an empty
 * line; a body would be taken for another.  One request at a time a connection. */
/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "net.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { FDS_MAX = 20000, RING = 32768, EVENTS = 512, READ_MAX = 4096 };

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                             "Content-Length: 2\r\n\r\nok";

struct due {
    int64_t at_ms;
    int fd;
    unsigned opening; /* of the descriptor: it may have been closed and used again since */
};

struct later {
    int epfd, listener;
    int64_t delay_ms;
    struct due ring[RING];
    unsigned first, len;
    unsigned openings[FDS_MAX];
};

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void watch(struct later *l, int fd) {
    struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };
    if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &e) < 0) perror("later: epoll_ctl");
}

static void on_accept(struct later *l) {
    for (int fd; (fd = accept4(l->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        if (fd >= FDS_MAX) {
            close(fd);
            continue;
        }
        l->openings[fd]++;
        watch(l, fd);
    }
}

static void on_request(struct later *l, int fd) {
    char in[READ_MAX];
    ssize_t n = recv(fd, in, sizeof in, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        l->openings[fd]++;
        close(fd);
    }
    if (n < 4 || memcmp(in + n - 4, "\r\n\r\n", 4) != 0 || l->len == RING) return;
    l->ring[(l->first + l->len++) % RING] =
        (struct due){ now_ms() + l->delay_ms, fd, l->openings[fd] };
}

/* Sends what is due; the milliseconds until more is, or -1. */
static int answer_due(struct later *l) {
    for (int64_t now = now_ms(); l->len; l->len--, l->first = (l->first + 1) % RING) {
        const struct due *d = &l->ring[l->first];
        if (d->at_ms > now) return (int)(d->at_ms - now);
        if (d->opening != l->openings[d->fd]) continue;
        if (send(d->fd, answer, sizeof answer - 1, MSG_NOSIGNAL) < 0) shutdown(d->fd, SHUT_RDWR);
    }
    return -1;
}

int main(int argc, char **argv) {
    static struct later l;
    struct epoll_event events[EVENTS];
    if (argc != 3) {
        fputs("usage: later PORT MILLISECONDS\n", stderr);
        return 2;
    }
    net_raise_nofile();
    l.delay_ms = atoi(argv[2]);
    l.epfd = epoll_create1(EPOLL_CLOEXEC);
    l.listener = net_listen((unsigned)atoi(argv[1]));
    if (l.epfd < 0 || l.listener < 0) {
        fprintf(stderr, "later: port %s: %s\n", argv[1], strerror(-l.listener));
        return 1;
    }
    watch(&l, l.listener);
    for (;;) {
        int n = epoll_wait(l.epfd, events, EVENTS, answer_due(&l));
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == l.listener)
                on_accept(&l);
            else
                on_request(&l, events[i].data.fd);
        }
    }
}
