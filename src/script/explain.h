/* explain.h -- a question about one client, answered with what the hooks do.
 *
 * What is asked is put to the worker as a trial (core/trial.h), so the hooks run and nothing
 * comes of it.  A client that is connected here is asked about as it is; of another one the
 * CONNECT is asked about first, unless it is to be taken for connected.  What the hooks do
 * is told as it happens, then the verdict.  One worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_EXPLAIN_H
#define SOL_SCRIPT_EXPLAIN_H

#include "base/slice.h"

struct explain;
struct hook_call;
struct inquiry;
struct worker;

enum explain_end {
    EXPLAIN_ALLOWED,
    EXPLAIN_REFUSED,
    EXPLAIN_IMPOSSIBLE /* it could not be asked; what was put says why */
};

struct explain_opts {
    const struct inquiry *inquiry; /* lent until the end */
    /* A part of the answer: lines. */
    void (*put)(void *obj, struct slice text);
    /* There is no more; the explanation frees itself after this.  Perhaps before
     * explain_start returns. */
    void (*done)(void *obj, enum explain_end end);
    void *obj;
};

/* NULL: it is done already. */
struct explain *explain_start(struct worker *w, const struct explain_opts *opts);
/* Gives it up: done is not called. */
void explain_cancel(struct explain *e);

#endif
