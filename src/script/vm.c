/* vm.c -- the allocator that counts, the clock that kills, the protected door.
 *
 * The clock.  A count hook that is always on would slow every instruction of every
 * script, so none is set until one is needed: a POSIX timer sends a signal to the thread
 * that runs the VM, four ticks a budget, and only while Lua is in use (the handler stops
 * the timer when nothing entered Lua for a whole tick, the next entry starts it again).
 * A handler that finds the same entry running for more than four ticks sets a count hook
 * on the running state, which lua_sethook allows from a signal.  The hook stays set until
 * the entry has unwound, so a pcall in a loop only catches the next kill.
 *
 * Where it can, the hook ends the coroutine by yielding from it: nothing catches a yield,
 * and hooks stay usable for the <close> variables that run afterwards.  Inside a C
 * function that calls back (table.sort) it raises.  Finalizers would escape, since Lua
 * runs them with hooks off: the sandbox forbids __gc. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/vm.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* ThreadSanitizer holds a signal back until the next system call, which a loop in Lua
 * never makes: there the handler is set behind its back, and is not instrumented. */
#ifdef __SANITIZE_THREAD__
int __sigaction(int sig, const struct sigaction *action, struct sigaction *old);
#define sigaction(sig, action, old) __sigaction(sig, action, old)
#define ON_SIGNAL                   __attribute__((no_sanitize_thread))
#else
#define ON_SIGNAL
#endif

/* ---- the budget ----------------------------------------------------------- */

/* The count hook of a state that is to die. */
static void kill_hook(lua_State *L, lua_Debug *ar) {
    struct vm *vm = vm_of(L);
    (void)ar;
    if (!vm->clock.killed) {
        lua_sethook(L, NULL, 0, 0); /* inherited by a coroutine that outlived the kill */
        return;
    }
    if (lua_isyieldable(L)) {
        lua_yield(L, 0);
        return;
    }
    /* A pcall catches it, and meets it again at once: the first place counts. */
    if (!vm->killed_at[0]) {
        luaL_where(L, 0); /* place */
        snprintf(vm->killed_at, sizeof vm->killed_at, "%s", lua_tostring(L, -1));
    }
    lua_pushfstring(L, "%sran past its budget of %d ms", vm->killed_at, (int)vm->clock.budget_ms);
    lua_error(L);
}

ON_SIGNAL static void clock_set(struct vm_clock *c, uint32_t period_ms) {
    struct timespec period = { period_ms / 1000, (long)(period_ms % 1000) * 1000000 };
    struct itimerspec it = { period, period };
    timer_settime(c->timer, 0, &it, NULL);
}

/* Runs on the VM's thread, between any two of its instructions. */
ON_SIGNAL static void on_tick(int sig, siginfo_t *info, void *context) {
    int saved = errno;
    struct vm *vm = info->si_value.sival_ptr;
    struct vm_clock *c = &vm->clock;
    lua_State *L = vm->running;
    (void)sig;
    (void)context;

    c->ticks++;
    if (L && c->ticks - c->started > VM_BUDGET_TICKS) {
        c->killed = 1;
        lua_sethook(L, kill_hook, LUA_MASKCOUNT, 1);
    } else if (!L && c->entries == c->entries_seen) {
        clock_set(c, 0);
        c->ticking = 0;
    }
    c->entries_seen = c->entries;
    errno = saved;
}

static void clock_start(struct vm_clock *c) {
    if (!c->is_made || c->ticking) return;
    uint32_t period_ms = c->budget_ms / VM_BUDGET_TICKS;
    c->ticking = 1;
    clock_set(c, period_ms ? period_ms : 1);
}

/* Makes the timer for the calling thread. */
static int clock_make(struct vm *vm, uint32_t budget_ms) {
    struct vm_clock *c = &vm->clock;
    struct sigaction action = { .sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART };
    struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN };
    sigset_t set;

    c->budget_ms = budget_ms;
    c->thread = pthread_self();
    if (budget_ms == 0) return 0;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGRTMIN, &action, NULL) < 0) return -errno;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    int r = pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    if (r != 0) return -r;
    event.sigev_value.sival_ptr = vm;
    event.sigev_notify_thread_id = gettid();
    if (timer_create(CLOCK_MONOTONIC, &event, &c->timer) < 0) return -errno;
    c->is_made = true;
    return 0;
}

/* On the thread that made it, or after its end: no tick comes any more. */
static void clock_end(struct vm *vm) {
    if (vm->clock.is_made) timer_delete(vm->clock.timer);
    vm->clock.is_made = false;
    vm->clock.ticking = 0;
}

/* The worker's thread has ended and another one cleans up: it keeps the budget too. */
static void clock_move(struct vm *vm) {
    clock_end(vm);
    clock_make(vm, vm->clock.budget_ms);
}

/* ---- the memory account ---------------------------------------------------- */

static void *count_alloc(void *obj, void *at, size_t old, size_t size) {
    struct vm *vm = obj;
    bool is_string = !at && old == LUA_TSTRING; /* `old` is then a kind of object */
    if (!at) old = 0;
    if (size == 0) {
        free(at);
        vm->used_bytes -= old;
        return NULL;
    }
    if (size > old && vm->is_capped && vm->cap_bytes && vm->used_bytes - old + size > vm->cap_bytes)
        return NULL; /* Lua collects garbage, tries again, then raises */
    if (is_string && vm->is_capped && size > vm_longest_string(vm) + 64) return NULL;
    void *new = realloc(at, size);
    if (new) vm->used_bytes += size - old;
    return new;
}

/* An error outside every protected call: the process is out of memory or we have a bug. */
static int on_panic(lua_State *L) {
    const char *text = lua_tostring(L, -1);
    log_error(vm_of(L)->log, "policy", "error outside a protected call: %s", text ? text : "?");
    return 0; /* Lua aborts */
}

/* ---- life --------------------------------------------------------------- */

struct vm *vm_new(struct log *log, size_t cap_bytes, uint32_t budget_ms) {
    struct vm *vm = xcalloc(1, sizeof *vm);
    vm->refs = 1;
    vm->log = log;
    vm->cap_bytes = cap_bytes;
    vm->L = lua_newstate(count_alloc, vm);
    must(vm->L != NULL);
    *(struct vm **)lua_getextraspace(vm->L) = vm; /* coroutines inherit it */
    lua_atpanic(vm->L, on_panic);
    clock_make(vm, budget_ms); /* without a timer: no budget while loading */
    return vm;
}

struct vm *vm_ref(struct vm *vm) {
    vm->refs++;
    return vm;
}

struct vm *vm_unref(struct vm *vm) {
    if (!vm || --vm->refs > 0) return NULL;
    vm_close(vm);
    free(vm);
    return NULL;
}

void vm_close(struct vm *vm) {
    if (!vm->L) return;
    must(vm->running == NULL);
    clock_end(vm);
    lua_State *L = vm->L;
    lua_close(L);
    vm->L = NULL;
}

int vm_attach(struct vm *vm, struct worker *w, uint32_t budget_ms) {
    vm->worker = w;
    clock_end(vm);
    return clock_make(vm, budget_ms);
}

/* ---- entering Lua -------------------------------------------------------- */

/* The brackets around every entry: vm_call, vm_resume, and the closing of a coroutine. */
struct entry {
    lua_State *outer; /* running before */
    bool was_capped;
};

static inline void enter(struct vm *vm, lua_State *L, struct entry *e) {
    struct vm_clock *c = &vm->clock;
    e->outer = vm->running;
    e->was_capped = vm->is_capped;
    vm->is_capped = true;
    if (!e->outer) {
        if (vm->before_entry) vm->before_entry(vm);
        if (!pthread_equal(c->thread, pthread_self())) clock_move(vm);
        vm->killed_at[0] = '\0';
        c->started = c->ticks;
        c->entries++;
        if (!c->ticking) clock_start(c);
    } else if (c->killed) {
        lua_sethook(L, kill_hook, LUA_MASKCOUNT, 1);
    }
    vm->running = L;
}

/* True when the budget ran out; the kill then goes on to the outer state, if any. */
static inline bool leave(struct vm *vm, lua_State *L, const struct entry *e) {
    vm->is_capped = e->was_capped;
    vm->running = e->outer; /* from here on a tick does not touch L */
    if (!vm->clock.killed) return false;
    lua_sethook(L, NULL, 0, 0);
    if (e->outer)
        lua_sethook(e->outer, kill_hook, LUA_MASKCOUNT, 1);
    else
        vm->clock.killed = 0;
    return true;
}

void vm_check_budget(lua_State *L) {
    struct vm *vm = vm_of(L);
    if (vm->clock.killed) luaL_error(L, "ran past its budget of %d ms", (int)vm->clock.budget_ms);
}

int vm_reset_thread(struct vm *vm, lua_State *co) {
    struct vm_clock *c = &vm->clock;
    struct entry e;
    sig_atomic_t was_killed = c->killed;
    uint32_t started = c->started;

    c->killed = 0;
    enter(vm, co, &e);
    c->started = c->ticks; /* also when nested: clean-up has its own time */
    int status = lua_resetthread(co);
    vm->is_capped = e.was_capped;
    vm->running = e.outer;
    lua_sethook(co, NULL, 0, 0);
    c->started = started;
    c->killed = was_killed;
    /* Clean-up has its own time, but closing one coroutine after the other is not a way to
     * have time without end. */
    if (e.outer && c->ticks - started > VM_BUDGET_TICKS) c->killed = 1;
    if (e.outer && c->killed) lua_sethook(e.outer, kill_hook, LUA_MASKCOUNT, 1);
    return status;
}

/* The message handler of vm_call: the error as text, with a traceback. */
static int on_error(lua_State *L) {
    if (!lua_tostring(L, 1)) {                                                 /* error */
        lua_pushfstring(L, "error object is a %s value", luaL_typename(L, 1)); /* error, text */
        lua_replace(L, 1);                                                     /* text */
    }
    luaL_traceback(L, L, lua_tostring(L, 1), 1); /* text, traceback */
    return 1;
}

int vm_call(lua_State *L, int nargs, int nresults) {
    struct vm *vm = vm_of(L);
    struct entry e;
    int at = lua_gettop(L) - nargs;

    lua_pushcfunction(L, on_error); /* ..., fn, args, handler */
    lua_insert(L, at);              /* ..., handler, fn, args */
    enter(vm, L, &e);
    int status = lua_pcall(L, nargs, nresults, at);
    bool killed = leave(vm, L, &e);
    lua_remove(L, at); /* ..., results or text */
    if (killed && status == LUA_OK) {
        lua_settop(L, at - 1); /* ... */
        lua_pushfstring(L, "%sran past its budget of %d ms", vm->killed_at,
                        (int)vm->clock.budget_ms);
        status = LUA_ERRRUN;
    }
    return status;
}

int vm_resume(lua_State *co, int nargs, int *nresults, bool *killed) {
    struct vm *vm = vm_of(co);
    struct entry e;
    enter(vm, co, &e);
    int status = lua_resume(co, e.outer, nargs, nresults);
    *killed = leave(vm, co, &e);
    return status;
}

/* ---- helpers of the modules ---------------------------------------------- */

void vm_push_error(lua_State *L, lua_State *co, int status, bool was_killed) {
    const char *text;
    if (was_killed) {
        text = lua_pushfstring(L, "ran past its budget of %d ms", (int)vm_of(L)->clock.budget_ms);
    } else if (status == LUA_ERRMEM) {
        text = lua_pushfstring(L, "not enough memory (vm_memory = %I bytes)",
                               (LUAI_UACINT)vm_of(L)->cap_bytes);
    } else if (lua_type(co, -1) == LUA_TSTRING) {
        text = lua_pushstring(L, lua_tostring(co, -1));
    } else {
        text = lua_pushfstring(L, "error object is a %s value", luaL_typename(co, -1));
    }                               /* ..., text */
    luaL_traceback(L, co, text, 0); /* ..., text, traceback */
    lua_remove(L, -2);              /* ..., traceback */
}

struct slice vm_to_slice(lua_State *L, int index) {
    size_t len;
    if (lua_type(L, index) != LUA_TSTRING) return SLICE_NONE;
    const char *at = lua_tolstring(L, index, &len);
    return slice_of(at, len);
}

struct slice vm_check_slice(lua_State *L, int arg) {
    size_t len;
    const char *at = luaL_checklstring(L, arg, &len);
    return slice_of(at, len);
}

struct slice vm_opt_slice(lua_State *L, int arg) {
    return lua_isnoneornil(L, arg) ? SLICE_NONE : vm_check_slice(L, arg);
}

void vm_push_slice(lua_State *L, struct slice s) {
    if (s.at)
        lua_pushlstring(L, (const char *)s.at, s.len);
    else
        lua_pushnil(L);
}

int vm_fail(lua_State *L, const char *fmt, ...) {
    va_list args;
    lua_pushnil(L); /* nil */
    va_start(args, fmt);
    lua_pushvfstring(L, fmt, args); /* nil, message */
    va_end(args);
    return 2;
}
