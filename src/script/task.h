/* task.h -- one coroutine that may wait: a hook's invocation, a timer's, a spawned one's.
 *
 * A task owns a coroutine, taken from a pool and given back, so a call makes no garbage.
 * While it waits it is parked: nothing of it is on the C stack.  A wait is single-shot
 * and named by slot and generation: whoever comes late finds nothing.
 *
 * How a module waits:
 *
 *     static int l_lookup(lua_State *L) {
 *         const char *name = luaL_checkstring(L, 1);    // all arguments first
 *         struct lookup *job = ...;
 *         job->wait = task_wait(L, NULL, NULL);         // raises when L cannot wait
 *         job->vm = vm_ref(vm_of(L));                   // the VM may close before us
 *         helpers_submit(...);                          // no call that may raise
 *         return task_park(L);                          // last: its results come from
 *     }                                                 // the pusher given to task_wake
 *     static int push_found(lua_State *L, void *obj) {...; return 1; }
 *     static void lookup_done(struct job *j) {          // on the worker's thread
 *         task_wake(job->vm, job->wait, push_found, job);
 *         vm_unref(job->vm);
 *     }
 *
 * One worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_TASK_H
#define SOL_SCRIPT_TASK_H

#include "io/loop.h"
#include "script/vm.h"

struct task;

/* One wait of one task. */
struct wait {
    uint32_t slot, gen; /* gen 0: none */
};

/* Pushes a wait's results on `L` and gives their number (at most 16). */
typedef int task_push_fn(lua_State *L, void *obj);
/* The wait is void (cancelled, timed out, the VM closes): forget it. */
typedef void task_cancel_fn(void *obj);

/* ---- waiting (for the modules) ------------------------------------------- */

/* Announces that the running task is about to wait.  Raises where it cannot: while the
 * policy is loaded, inside a C function that calls back (table.sort, string.gsub), in a
 * `stop` handler, when too many wait.  `cancel(obj)` is called if the wait ends without
 * task_wake; NULL: nobody cares, a late task_wake does nothing. */
struct wait task_wait(lua_State *L, task_cancel_fn *cancel, void *obj);
/* Would task_wait raise? */
bool task_can_wait(lua_State *L);
/* Ends the C function that waits: `return task_park(L);`. */
int task_park(lua_State *L);
/* Goes on with the parked task: push(L, obj) gives what the waiting function returns.
 * False, without a call of `push`, when that wait is over or the VM has closed. */
bool task_wake(struct vm *vm, struct wait w, task_push_fn *push, void *obj);

/* ---- running (for handlers.c, lib_time.c) -------------------------------- */

enum task_status {
    TASK_DONE,   /* results are on task->co, from TASK_FIRST on */
    TASK_PARKED, /* task->woken is called later */
    TASK_FAILED  /* task_push_error tells why; then task_reset or task_put */
};

/* Values an owner keeps with a task, so that an invocation makes none.  They lie on its
 * coroutine, below the functions it runs. */
#define TASK_PINS 13

struct pin {
    void *block; /* when it is a userdata */
    int ref;     /* registry reference; 0: none yet */
};

/* The stack of a task's coroutine between runs: its mark, the pins, then the results. */
#define TASK_PIN(which) (2 + (which))
#define TASK_FIRST      TASK_PIN(TASK_PINS)

struct task {
    struct vm *vm; /* lent */
    lua_State *co; /* owned: anchored in the registry */
    int co_ref;    /* its registry reference */
    struct pin pins[TASK_PINS];
    uint32_t slot, gen; /* gen changes with every wait, and is never 0 */
    bool is_used;
    bool is_running; /* on the C stack */
    bool is_waiting; /* between task_wait and task_park */
    bool is_parked;
    bool may_wait;          /* the owner allows it */
    bool is_killed;         /* why it failed: over its budget */
    int status;             /* Lua's, when it failed */
    int top;                /* when it is done: where its results end, TASK_FIRST - 1 without any */
    lua_State *waiter;      /* the coroutine that parked: co, or one inside */
    int wake_results;       /* on waiter, for its resume */
    task_cancel_fn *cancel; /* of the present wait */
    void *cancel_obj;
    struct timer sleep; /* sol.sleep */
    struct timer limit; /* the owner's time-out */
    /* the owner's */
    void (*woken)(struct task *t, enum task_status status); /* it had waited, went on, and is
                                                               now done, parked again or failed */
    void (*waking)(struct task *t); /* it is about to go on after a wait; or NULL */
    void *obj;
    const char *name;   /* lent, static: of what it runs, in logs; or NULL */
    uint64_t parked_ms; /* of the loop's clock, since when it is parked */
    uint8_t hops;       /* messages that caused one another down to what started it */
    struct task *next;  /* free list */
};

/* A task from the pool, its coroutine empty. */
struct task *task_get(struct vm *vm);
/* Keeps the value on top of `L` with the task. [-1, +0, m] */
void task_pin(lua_State *L, struct task *t, int which);
/* Runs what is on top of task->co: the function and its `nargs` arguments, or the results of
 * its wait. */
enum task_status task_start(struct task *t, int nargs);
/* Pushes the text of a failure, with traceback, on `L`. [-0, +1, m] */
void task_push_error(lua_State *L, const struct task *t);
/* Ends a wait, if there is one, and whatever the coroutine was doing: pending <close>
 * variables run, `woken` is not called.  The task can be started afresh. */
void task_reset(struct task *t);
/* Takes the task back, task_reset included. */
void task_put(struct task *t);

/* The task that runs innermost, or NULL (while loading). */
struct task *task_running(const struct vm *vm);
/* Calls fn for every task in use; it may put the task back. */
void tasks_each(struct vm *vm, void (*fn)(struct task *t, void *obj), void *obj);

/* No task yet.  Right after vm_new. */
void tasks_init(struct vm *vm);
/* Frees pool and bookkeeping; no task may be in use.  Before vm_close. */
void tasks_deinit(struct vm *vm);

/* ---- coroutines inside a task (for lib_coroutine.c) ----------------------- */

/* Runs a coroutine of a script's own from within `L`; as vm_resume, and *waits tells that
 * it (or one inside) parks the whole task: then `return task_park_outer(L, ctx, k)`, and
 * `k` calls task_run_inner again with nargs == TASK_WOKEN. */
#define TASK_WOKEN (-1)
int task_run_inner(lua_State *L, lua_State *co, int nargs, int *nresults, bool *killed,
                   bool *waits);
int task_park_outer(lua_State *L, lua_KContext ctx, lua_KFunction k);

/* Is `co` parked in a wait, or a task's own coroutine?  Then no script may resume or
 * close it. */
bool task_holds(lua_State *co);
/* Did the budget end this coroutine where hooks are off in it now?  Then it must not be
 * closed: nothing could stop its <close> handlers. */
bool task_killed(lua_State *co);

#endif
