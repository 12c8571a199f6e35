/* rig.h -- what the tests of src/io share: a hand-driven clock, pairs, probes. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_TESTS_IO_RIG_H
#define SOL_TESTS_IO_RIG_H

#include "io/loop.h"

#include "base/clock.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- a clock that stands still until told -------------------------------- */

struct hand {
    uint64_t ns;
};

static inline uint64_t clock_read(void *obj) {
    return ((struct hand *)obj)->ns;
}

static inline void clock_add_ms(struct hand *c, uint64_t ms) {
    c->ns += ms * 1000000u;
}

static inline struct loop *loop_on(struct hand *c) {
    struct clock clock = { clock_read, clock_read, c };
    struct loop *loop = loop_new(&(struct loop_opts){ .clock = &clock });
    assert_non_null(loop);
    return loop;
}

/* ---- turns --------------------------------------------------------------- */

/* A turn that does not wait. */
static inline void turn(struct loop *loop) {
    assert_int_equal(loop_turn(loop, 0), 0);
}

/* A turn that waits for what is sure to come. */
static inline void turn_wait(struct loop *loop) {
    assert_int_equal(loop_turn(loop, 5000), 0);
}

/* ---- descriptors --------------------------------------------------------- */

struct pair {
    int near, far;
};

static inline struct pair pair_new(void) {
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    return (struct pair){ fds[0], fds[1] };
}

static inline void pair_close(struct pair *p) {
    if (p->near >= 0) close(p->near);
    if (p->far >= 0) close(p->far);
    p->near = p->far = -1;
}

static inline void say(int fd, const char *text) {
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static inline int open_descriptors(void) {
    int n = 0;
    for (int fd = 0; fd < 1024; fd++) n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* ---- a watch that counts what it is told --------------------------------- */

struct probe {
    struct watch watch;
    int calls;
    unsigned bits; /* of the last call */
};

static inline void on_probe(struct closure *self, unsigned events) {
    struct probe *p = self->obj;
    p->calls++;
    p->bits = events;
}

static inline void probe_watch(struct probe *p, struct loop *loop, int fd, unsigned interest) {
    p->watch.closure = (struct closure){ .fn = on_probe, .obj = p, .name = "probe" };
    loop_watch(loop, &p->watch, fd, interest);
}

#endif
