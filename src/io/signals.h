/* signals.h -- signals as events of a loop (signalfd). */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_IO_SIGNALS_H
#define SOL_IO_SIGNALS_H

#include "io/loop.h"

struct signals {
    struct watch watch;
    struct loop *loop;                 /* lent */
    void (*fn)(void *obj, int signal); /* on the loop's thread */
    void *obj;                         /* lent */
};

/* Blocks `list` (n signals) in this thread and those it starts, and reports them through
 * fn.  0 or -errno. */
int signals_init(struct signals *s, struct loop *loop, const int *list, unsigned n,
                 void (*fn)(void *obj, int signal), void *obj);
void signals_deinit(struct signals *s);

#endif
