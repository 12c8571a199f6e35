/* mailbox.c -- Vyukov's intrusive queue and the eventfd that wakes the loop.
 *
 *     head -> mail -> mail -> ... -> mail <- tail        (the stub is one of them)
 *
 * Producers swap themselves in as the tail, then link the one before to themselves;
 * between the two steps the chain is cut, and the consumer takes the cut for the end.
 * Nothing is lost by that: producers look at is_waiting after the link is made, the loop looks
 * for mail after it has set it, and all four steps have one order (seq_cst).  So either the loop
 * sees the link and does not wait, or the producer sees that it waits and wakes it. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/mailbox.h"

#include "base/mem.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void push(struct mailbox *mb, struct mail *mail) {
    atomic_store_explicit(&mail->next, NULL, memory_order_relaxed);
    struct mail *before = atomic_exchange_explicit(&mb->tail, mail, memory_order_acq_rel);
    atomic_store(&before->next, mail);
}

static struct mail *next_of(struct mail *mail) {
    return atomic_load_explicit(&mail->next, memory_order_acquire);
}

/* NULL: empty, or cut by a producer that will look whether the loop waits. */
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

/* Says first whether the loop waits.  Would pop give nothing?  The loads are the last of the four
 * steps (see the top). */
static bool is_empty(struct inlet *in, bool waits) {
    struct mailbox *mb = CONTAINER_OF(in, struct mailbox, inlet);
    if (waits || atomic_load_explicit(&mb->is_waiting, memory_order_relaxed))
        atomic_store(&mb->is_waiting, waits);
    if (atomic_load(&mb->head->next)) return false;
    return mb->head == &mb->stub || mb->head != atomic_load(&mb->tail);
}

static void take(struct closure *self, unsigned events) {
    (void)events;
    struct mailbox *mb = self->obj;
    struct mail *mail;
    for (int i = 0; i < MAILS_A_TURN && (mail = pop(mb)); i++) mb->fn(mb->obj, mail);
}

/* The loop has been woken, and looks by itself. */
static void on_wake(struct closure *self, unsigned events) {
    (void)self;
    (void)events;
}

int mailbox_init(struct mailbox *mb, struct loop *loop, mailbox_fn *fn, void *obj) {
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0) return -errno;
    *mb = (struct mailbox){ .loop = loop, .fn = fn, .obj = obj, .head = &mb->stub };
    atomic_init(&mb->stub.next, NULL);
    atomic_init(&mb->tail, &mb->stub);
    atomic_init(&mb->is_waiting, false);
    mb->inlet.closure = (struct closure){ .fn = take, .obj = mb, .name = "mailbox" };
    mb->inlet.is_empty = is_empty;
    loop_inlet_add(loop, &mb->inlet);
    mb->watch.closure = (struct closure){ .fn = on_wake, .obj = mb, .name = "mailbox" };
    mb->watch.is_edge = true;
    loop_watch(loop, &mb->watch, fd, LOOP_READ);
    return 0;
}

void mailbox_deinit(struct mailbox *mb) {
    if (!mb->loop) return;
    for (struct mail *mail; (mail = pop(mb));) mb->fn(mb->obj, mail);
    must(mb->head == &mb->stub);
    loop_inlet_del(mb->loop, &mb->inlet);
    loop_unwatch(mb->loop, &mb->watch);
    (void)close(mb->watch.fd);
    mb->loop = NULL;
}

void mailbox_post(struct mailbox *mb, struct mail *mail) {
    push(mb, mail);
    if (!atomic_load(&mb->is_waiting) || !atomic_exchange(&mb->is_waiting, false)) return;
    /* Fails only when the counter is full, and then the loop is awake. */
    ssize_t n = write(mb->watch.fd, &(uint64_t){ 1 }, sizeof(uint64_t));
    (void)n;
}
