/* lib_time.h -- the timers of a script. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_LIB_TIME_H
#define SOL_SCRIPT_LIB_TIME_H

#include <lua.h>

struct script;

/* The script has its worker: arms what was asked for while it was loaded. */
void timers_attach(struct script *s);
/* Ends all timers, and what they or sol.spawn have running. */
void timers_retire(struct script *s);

/* Pushes a list of the script's timers, a table each: name, busy, and in seconds when it is
 * due and its period, where it has them. [-0, +1, m] */
void timers_push(lua_State *L, const struct script *s);

struct task;
/* Runs the function and its `nargs` arguments on top of task->co; a failure is logged under
 * `name` (static, or of the timer), and the task goes back to its pool by itself. */
void task_launch(struct task *t, const char *name, int nargs);

#endif
