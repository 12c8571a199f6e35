/* mailbox.h -- how threads talk to a loop.
 *
 * Lock-free many-producers single-consumer queue (intrusive) with an eventfd that
 * wakes the loop; a burst of posts costs one write.  Order per producer is kept. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_IO_MAILBOX_H
#define SOL_IO_MAILBOX_H

#include "io/loop.h"

#include <stdatomic.h>

struct mail {
    _Atomic(struct mail *) next; /* private to mailbox.c */
    int type;                    /* the receiver's enum */
};

/* Called on the loop's thread; takes the mail.  Does not deinit the mailbox. */
typedef void mailbox_fn(void *obj, struct mail *mail);

struct mailbox {
    /* any thread */
    _Atomic(struct mail *) tail;
    _Atomic int signalled;
    /* the loop's thread */
    struct mail *head;
    struct mail stub;
    struct watch watch;
    struct loop *loop; /* borrowed */
    mailbox_fn *fn;
    void *obj; /* borrowed */
};

/* 0 or -errno (eventfd).  At most a bounded number of mails is taken a turn, the rest
 * in the next one. */
int mailbox_init(struct mailbox *mb, struct loop *loop, mailbox_fn *fn, void *obj);
/* Gives every mail still inside to fn, then detaches. No producer may post any more. */
void mailbox_deinit(struct mailbox *mb);
/* Any thread; takes the mail. */
void mailbox_post(struct mailbox *mb, struct mail *mail);

#endif
