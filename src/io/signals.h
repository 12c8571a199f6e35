/* signals.h -- signals as events of a loop (signalfd). */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_IO_SIGNALS_H
#define SOL_IO_SIGNALS_H

#include "io/loop.h"

struct signals {
    struct watch watch;
    struct loop *loop;                 /* borrowed */
    void (*fn)(void *obj, int signal); /* on the loop's thread */
    void *obj;                         /* borrowed */
};

/* Blocks `list` (n signals) in this thread and those it starts, and reports them through
 * fn, which does not deinit.  0 or -errno. */
int signals_init(struct signals *s, struct loop *loop, const int *list, unsigned n,
                 void (*fn)(void *obj, int signal), void *obj);
/* Stops reporting; the signals stay blocked.  Harmless on zeroed memory and twice. */
void signals_deinit(struct signals *s);

#endif
