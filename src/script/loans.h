/* loans.h -- what a hook call lends to its handlers.
 *
 * Handlers get userdata that stand for the call's message, request and client; when the call
 * is over those must not reach what may be gone.
 *
 * Lending an object to scripts and ending the loan costs more than a small handler.  So
 * the latest call that is over leaves its objects open, until other Lua is about to run
 * (vm->before_entry): the next call of its kind finds them open.
 *
 * A call that waits, or may be left alone, holds references of its own to client and
 * message; the others make do with the call's.  One VM's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_LOANS_H
#define SOL_SCRIPT_LOANS_H

#include "script/invocation.h"

/* Lends what inv->call is about; nothing else is open then. */
void loans_begin(struct invocation *inv);
/* The handlers have had their say: takes all back and gives up the references. */
void loans_end(struct invocation *inv);
/* Only what core has asked about is no longer there. */
void loans_end_request(struct invocation *inv);
/* The invocation may outlive its call: takes references, once. */
void loans_hold(struct invocation *inv);
/* vm->before_entry: what the latest call has left open. */
void loans_close_latest(struct vm *vm);

/* Pushes a handler's arguments on the task's coroutine and gives their number. [-0, +n, m] */
int loans_push(lua_State *co, struct invocation *inv);
/* Lent: the message as handlers see it, made when first asked for. */
struct message_box *loans_message_box(struct invocation *inv);

#endif
