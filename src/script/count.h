/* count.h -- how many instructions of Lua's machine a run takes.
 *
 * Counted by a hook on the coroutine: exact for a small run, in steps for a long one, and up
 * to a bound, since every call of the hook costs as much as some ten instructions.  A budget
 * that ends goes before.  One worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_COUNT_H
#define SOL_SCRIPT_COUNT_H

#include "script/vm.h"

#define COUNT_MAX 200000 /* of one run: that many, or more */

/* From now on what runs in `co`, and in coroutines that it makes, adds to *n (lent), until
 * count_end.  Gives what was counted for before, which count_end wants back. */
uint64_t *count_begin(struct vm *vm, lua_State *co, uint64_t *n);
void count_end(struct vm *vm, lua_State *co, uint64_t *outer);

#endif
