/* mailbox.c -- Vyukov's intrusive queue and the eventfd that wakes the loop.
 *
 *     head -> mail -> mail -> ... -> mail <- tail        (the stub is one of them)
 *
 * Producers swap themselves in as the tail, then link the one before to themselves;
 * between the two steps the chain is cut, and the consumer takes the cut for the end.
 * Nothing is lost by that: `signalled` is set only after the link is made, so whoever
 * made the cut finds `signalled` clear after the consumer has cleared it and wakes the
 * loop again.  Invariant: mails inside, and all links made, implies signalled or a
 * consumer that has yet to look. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/mailbox.h"

#include "base/mem.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAILS_A_TURN 256

static void push(struct mailbox *mb, struct mail *mail) {
    atomic_store_explicit(&mail->next, NULL, memory_order_relaxed);
    struct mail *before = atomic_exchange_explicit(&mb->tail, mail, memory_order_acq_rel);
    atomic_store_explicit(&before->next, mail, memory_order_release);
}

static struct mail *next_of(struct mail *mail) {
    return atomic_load_explicit(&mail->next, memory_order_acquire);
}

/* NULL: empty, or cut by a producer that will signal. */
static struct mail *pop(struct mailbox *mb) {
    struct mail *mail = mb->head, *next = next_of(mail);
    if (mail == &mb->stub) {
        if (!next) return NULL;
        mail = mb->head = next;
        next = next_of(mail);
    }
    if (!next) {
        /* Perhaps the last one: it may leave only when another stands behind it. */
        if (mail != atomic_load_explicit(&mb->tail, memory_order_acquire)) return NULL;
        push(mb, &mb->stub);
        next = next_of(mail);
        if (!next) return NULL;
    }
    mb->head = next;
    return mail;
}

static void signal_loop(struct mailbox *mb) {
    if (atomic_exchange(&mb->signalled, 1)) return;
    /* Fails only when the counter is full, and then the loop is awake. */
    ssize_t n = write(mb->watch.fd, &(uint64_t){ 1 }, sizeof(uint64_t));
    (void)n;
}

static void on_signal(struct closure *self, unsigned events) {
    (void)events;
    struct mailbox *mb = self->obj;
    uint64_t count;
    ssize_t n = read(mb->watch.fd, &count, sizeof count);
    (void)n;
    /* Before the first pop: what is posted from here on signals again. */
    atomic_exchange(&mb->signalled, 0);
    for (int i = 0; i < MAILS_A_TURN; i++) {
        struct mail *mail = pop(mb);
        if (!mail) return;
        mb->fn(mb->obj, mail);
    }
    signal_loop(mb); /* the rest in the next turn */
}

int mailbox_init(struct mailbox *mb, struct loop *loop, mailbox_fn *fn, void *obj) {
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0) return -errno;
    *mb = (struct mailbox){ .loop = loop, .fn = fn, .obj = obj, .head = &mb->stub };
    atomic_init(&mb->stub.next, NULL);
    atomic_init(&mb->tail, &mb->stub);
    atomic_init(&mb->signalled, 0);
    mb->watch.closure = (struct closure){ .fn = on_signal, .obj = mb, .name = "mailbox" };
    loop_watch(loop, &mb->watch, fd, LOOP_READ);
    return 0;
}

void mailbox_deinit(struct mailbox *mb) {
    if (!mb->loop) return;
    for (struct mail *mail; (mail = pop(mb));) mb->fn(mb->obj, mail);
    must(mb->head == &mb->stub);
    loop_unwatch(mb->loop, &mb->watch);
    (void)close(mb->watch.fd);
    mb->loop = NULL;
}

void mailbox_post(struct mailbox *mb, struct mail *mail) {
    push(mb, mail);
    signal_loop(mb);
}
