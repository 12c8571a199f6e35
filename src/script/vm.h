/* vm.h -- one Lua state with a bounded appetite.
 *
 * Owns the lua_State, its memory account and its clock.  Lua is entered through vm_call
 * and vm_resume alone; both name the running lua_State in `running`, and only while it is
 * named do the memory cap and the time budget hold, so our own calls of the Lua API never
 * raise out of nowhere.  Invariant: running == NULL iff no Lua code is on the C stack.
 * Made on the main thread, attached to a worker's thread, used there ever after. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_VM_H
#define SOL_SCRIPT_VM_H

#include "base/slice.h"

#include <lauxlib.h>
#include <lua.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct clients;
struct log;
struct net;
struct script;
struct tasks;
struct worker;

/* Ticks of the clock that make a budget; the kill comes at most one tick after it. */
#define VM_BUDGET_TICKS 4

/* The clock that kills: a timer whose signal reaches the thread that runs the VM.  It
 * ticks only while Lua is in use. */
struct vm_clock {
    timer_t timer;
    bool is_made;
    pthread_t thread; /* whom the ticks reach */
    uint32_t budget_ms;
    /* shared with the signal handler, which runs on the same thread */
    volatile sig_atomic_t ticking;
    volatile sig_atomic_t killed;   /* the innermost entry is over its budget */
    volatile uint32_t ticks;        /* since the VM was made; wraps */
    volatile uint32_t started;      /* `ticks` when Lua was entered */
    volatile uint32_t entries;      /* how often Lua was entered; wraps */
    volatile uint32_t entries_seen; /* as the last tick saw it */
};

struct vm {
    lua_State *L;                /* owned; NULL once closed */
    lua_State *volatile running; /* innermost state executing; NULL: none */
    struct vm_clock clock;
    size_t used_bytes;  /* Lua heap */
    size_t cap_bytes;   /* 0: no cap */
    bool is_capped;     /* the cap holds now: Lua runs protected */
    char killed_at[80]; /* "file:line: " where the budget ended first; "" if it has not raised */
    /* What a hook's call that is over has left to do before Lua runs again; NULL: nothing. */
    void (*before_entry)(struct vm *vm);
    unsigned refs;           /* who keeps the struct, see vm_ref */
    unsigned close_depth;    /* coroutines being closed, nested */
    unsigned failures;       /* of handlers and tasks, as the log tells them */
    struct log *log;         /* lent */
    struct worker *worker;   /* lent; NULL while the policy is loaded */
    struct script *script;   /* lent: the policy this VM runs (script.h) */
    struct tasks *tasks;     /* owned by task.c */
    struct clients *clients; /* owned by lib_client.c */
    struct net *net;         /* owned by net.c; NULL until used */
    uint64_t *counter;       /* lent: of instructions, while they are counted (count.h); or NULL */
};

/* The VM a state or coroutine belongs to: every module starts here. */
static inline struct vm *vm_of(lua_State *L) {
    return *(struct vm **)lua_getextraspace(L);
}

/* ---- life --------------------------------------------------------------- */

/* A VM without any library, with one reference.  What it runs on this thread has
 * `budget_ms` a call (0: no limit). */
struct vm *vm_new(struct log *log, size_t cap_bytes, uint32_t budget_ms);

/* Who may come home after the VM has closed (a helper's job) holds a reference: the
 * struct stays, `L` is NULL. */
struct vm *vm_ref(struct vm *vm);
/* Always NULL; NULL is fine.  The last one frees the struct. */
struct vm *vm_unref(struct vm *vm);
/* Ends the Lua state; nothing of it may be running.  Harmless when closed. */
void vm_close(struct vm *vm);

/* From now on this thread runs the VM, `budget_ms` a resume (0: no limit).  0, or -errno
 * when the kernel gives no timer. */
int vm_attach(struct vm *vm, struct worker *w, uint32_t budget_ms);

/* ---- entering Lua -------------------------------------------------------- */

/* The one protected call: the function and arguments on top of `L`, under budget and cap.
 * LUA_OK and the results, or an error status and one string: the error and its traceback.
 * [-(nargs+1), +nresults|1, -] */
int vm_call(lua_State *L, int nargs, int nresults);

/* The one place that resumes, for task.c: runs `co` (function and arguments, or what it waited
 * for, on top) under budget and cap, from the running state.  Gives Lua's status; *killed: it
 * ran past its budget, whatever the status. */
int vm_resume(lua_State *co, int nargs, int *nresults, bool *killed);

/* lua_resetthread under a budget of its own: pending <close> variables run.  Gives its
 * status; on error the error value is on top of `co`. */
int vm_reset_thread(struct vm *vm, lua_State *co);

/* For C functions that may run long, since no hook reaches into C: raises when the budget
 * is used up. [-0, +0, e] */
void vm_check_budget(lua_State *L);

/* The longest string a script may make, in bytes: a quarter of its memory, so that what
 * walks over one within C ends soon. */
static inline size_t vm_longest_string(const struct vm *vm) {
    return vm->cap_bytes ? vm->cap_bytes / 4 : SIZE_MAX / 4;
}

/* Our own calls of the Lua API beneath a running script must not meet the cap: */
static inline bool vm_uncap(struct vm *vm) {
    bool was = vm->is_capped;
    vm->is_capped = false;
    return was;
}

/* ---- helpers of the modules ---------------------------------------------- */

/* Pushes on `L` the text of the error `status` of `co`, whose error value is on its top,
 * with the traceback of `co`.  [-0, +1, m] */
void vm_push_error(lua_State *L, lua_State *co, int status, bool was_killed);
/* Lends a string argument; raises when it is not a string. [-0, +0, v] */
struct slice vm_check_slice(lua_State *L, int arg);
/* Likewise, SLICE_NONE for nil or none. [-0, +0, v] */
struct slice vm_opt_slice(lua_State *L, int arg);
/* Lends the string at `index` (no number is converted), or SLICE_NONE. [-0, +0, -] */
struct slice vm_to_slice(lua_State *L, int index);
/* Pushes a slice as a string, SLICE_NONE as nil. [-0, +1, m] */
void vm_push_slice(lua_State *L, struct slice s);
/* nil and a message: what the world does; gives 2. [-0, +2, m] */
int vm_fail(lua_State *L, const char *fmt, ...);

#endif
