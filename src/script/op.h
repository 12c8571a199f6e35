/* op.h -- one coroutine's wait on an object of ours: a socket's receive, a query.
 *
 * A part of the object.  It ends by op_wake, by its time-out, by op_fail, or because the
 * task is cancelled: then the object is told to drop what it was doing. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_OP_H
#define SOL_SCRIPT_OP_H

#include "script/task.h"

struct op {
    /* set by the owner before op_begin */
    task_push_fn *push;           /* gives the results, also when `why` says that it failed */
    void (*cancelled)(void *obj); /* nobody waits any more */
    void *obj;                    /* lent */
    const char *why;              /* lent: it has failed; NULL: not yet */
    /* for the owner to use while it is on */
    bool is_on;
    unsigned wants; /* LOOP_READ or LOOP_WRITE */
    /* private */
    struct vm *vm; /* lent */
    struct wait wait;
    struct timer timer;
};

/* The running coroutine begins to wait, for `ms` at most: then why is "timeout".  Raises
 * where it cannot wait.  Afterwards `return task_park(L);` [-0, +0, e] */
void op_begin(lua_State *L, struct op *op, uint64_t ms);
/* It is over: push gives its results.  Last: Lua runs, and the object may go. */
void op_wake(struct op *op);
/* It has failed, for a reason that lives on; the coroutine is told in a later step. */
void op_fail(struct op *op, const char *why);
/* Raises when another coroutine is `doing` it ("receiving on this socket"). [-0, +0, e] */
void op_check_free(lua_State *L, const struct op *op, const char *doing);

#endif
