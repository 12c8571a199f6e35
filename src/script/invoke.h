/* invoke.h -- one hook call on its way through its handlers. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_INVOKE_H
#define SOL_SCRIPT_INVOKE_H

#include "script/script.h"

struct task;

/* hooks->run and hooks->cancel. */
void invoke_run(struct hooks *h, struct hook_call *call);
void invoke_cancel(struct hooks *h, struct hook_call *call);

/* closure_fn of every handler: runs it for the present invocation of its script. */
void handler_trampoline(struct closure *self, unsigned events);

/* Ends those under way (told facts that wait): <close> variables run. */
void invocations_cancel(struct script *s);
/* Those that wait fail, and whoever asked hears so; from now on none may wait. */
void invocations_give_up(struct script *s);
/* Frees the pool; no invocation may be under way. */
void invocations_free(struct script *s);

/* Sets `what` and `client` in the table on top if the task runs handlers; else false.
 * [-0, +0, m] */
bool invocation_describe(lua_State *L, const struct task *t);

/* The invocation whose handler runs innermost, or NULL. */
struct invocation *invoke_present(const struct vm *vm);
/* How many messages caused one another down to the one the running handler is shown, that
 * included; 0 outside. */
unsigned invoke_hops(const struct vm *vm);

#endif
