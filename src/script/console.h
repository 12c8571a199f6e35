/* console.h -- an operator's questions to a VM: eval, parse, complete (lua/sol/console.lua).
 *
 * Each is a call of core/door.h answered by a task of its own, under the budgets of every
 * other: it may wait, disturbs nobody, and ends with its asker. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_CONSOLE_H
#define SOL_SCRIPT_CONSOLE_H

#include "core/door.h"

struct script;

#define CONSOLE_VERBS 3
/* For workers whose hooks are a script's. */
extern const struct door_verb console_verbs[CONSOLE_VERBS];

/* Ends what is under way, for this reason. */
void console_end(struct script *s, const char *why);

#endif
