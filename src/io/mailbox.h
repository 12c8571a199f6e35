/* mailbox.h -- how threads talk to a loop.
 *
 * Lock-free many-producers single-consumer queue (intrusive), an inlet of the loop, with an
 * eventfd for those who find the loop waiting: a loop that has work is posted to without a
 * system call.  Order per producer is kept. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_IO_MAILBOX_H
#define SOL_IO_MAILBOX_H

#include "base/mem.h"
#include "io/loop.h"

#include <stdatomic.h>

struct mail {
    _Atomic(struct mail *) next; /* private to mailbox.c */
    int type;                    /* the receiver's enum */
};

enum { MAILS_A_TURN = 16 };

/* Called on the loop's thread; takes the mail.  Does not deinit the mailbox. */
typedef void mailbox_fn(void *obj, struct mail *mail);

struct mailbox {
    /* any thread */
    _Atomic(struct mail *) tail;
    _Atomic bool is_waiting; /* the loop: whoever posts first wakes it */
    uint8_t apart[CACHE_LINE];
    /* the loop's thread */
    struct mail *head;
    struct mail stub;
    struct inlet inlet;
    struct watch watch; /* on the eventfd, which is never read */
    struct loop *loop;  /* borrowed */
    mailbox_fn *fn;
    void *obj; /* borrowed */
};

/* 0 or -errno (eventfd).  At most MAILS_A_TURN are taken a turn, the rest in the next one. */
int mailbox_init(struct mailbox *mb, struct loop *loop, mailbox_fn *fn, void *obj);
/* Gives every mail still inside to fn, then detaches. No producer may post any more. */
void mailbox_deinit(struct mailbox *mb);
/* Any thread; takes the mail. */
void mailbox_post(struct mailbox *mb, struct mail *mail);

#endif
