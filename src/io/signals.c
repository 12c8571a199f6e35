/* signals.c -- a signalfd watched like any other descriptor. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void on_signal(struct closure *self, unsigned events) {
    struct signals *s = self->obj;
    struct signalfd_siginfo info;
    (void)events;
    while (read(s->watch.fd, &info, sizeof info) == sizeof info) s->fn(s->obj, (int)info.ssi_signo);
}

int signals_init(struct signals *s, struct loop *loop, const int *list, unsigned n,
                 void (*fn)(void *obj, int signal), void *obj) {
    sigset_t set;
    sigemptyset(&set);
    for (unsigned i = 0; i < n; i++) sigaddset(&set, list[i]);
    int r = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (r) return -r;
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0) return -errno;
    *s = (struct signals){ .watch.closure = { .fn = on_signal, .obj = s, .name = "signals" },
                           .loop = loop,
                           .fn = fn,
                           .obj = obj };
    loop_watch(loop, &s->watch, fd, LOOP_READ);
    return 0;
}

void signals_deinit(struct signals *s) {
    if (!s->loop) return;
    int fd = s->watch.fd;
    loop_unwatch(s->loop, &s->watch);
    close(fd);
    s->loop = NULL;
}
