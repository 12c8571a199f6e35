/* caller.h -- the other end of the admin socket: asks a running broker and waits.
 *
 * Blocking; for `sol reload`, `sol console` and their like, which are processes of their
 * own. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_ADMIN_CALLER_H
#define SOL_ADMIN_CALLER_H

#include "base/buf.h"

#include <signal.h>

struct caller {
    int fd;
    struct buf in;              /* read, not yet looked at */
    uint32_t first_id, last_id; /* of the question under way: one a worker that is asked */
    /* lent, or NULL: when it becomes 1 (a signal came) the question under way is given up */
    volatile sig_atomic_t *interrupt;
};

struct question {
    const char *verb;
    const char *words; /* NULL: none */
    struct slice body;
    unsigned workers; /* each of so many is asked, at once; 0: one, as the words have it */
    void (*out)(void *obj, struct slice part); /* for the parts before the last; or NULL */
    void *obj;
};

/* The broker at `path`; NULL: the one at a usual place (socket.h: admin_place).  False and a
 * line for the user in `why` (free() it). */
bool caller_open(struct caller *c, const char *path, char **why);
/* Harmless twice. */
void caller_close(struct caller *c);

enum { CALLER_OK = 0, CALLER_FAILED = 1 };
/* Asks and waits for the answer's last part (of several workers: for all of them), which it
 * appends to `answer`.  CALLER_OK or CALLER_FAILED as the broker says; -EPIPE when the broker
 * goes, -EINTR when it does not answer and a second signal came. */
int caller_ask(struct caller *c, const struct question *q, struct buf *answer);

#endif
