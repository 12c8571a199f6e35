/* script.h -- one generation of policy: its VM, its settings, its handlers.
 *
 * Made by policy_load on the main thread, attached to one worker, retired when a newer
 * generation takes over.  Core sees only `port`.  policy.c owns it; handlers.c and
 * lib_time.c keep their lists here. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_SCRIPT_H
#define SOL_SCRIPT_SCRIPT_H

#include "core/config.h"
#include "core/hooks.h"
#include "io/loop.h"
#include "script/vm.h"

struct clock;
struct embed_cache;
struct handler;
struct invocation;
struct publishing;
struct script_timer;
struct declared;
struct evaluation;
struct listening;
struct policy_files;
struct offline;
struct shared;
struct watcher;

/* The handlers of one event, in the order in which they run. */
struct handler_list {
    struct handler **at; /* owned */
    unsigned len;
    unsigned parked; /* invocations that wait */
};

struct script {
    struct hooks port;         /* what core calls */
    struct vm *vm;             /* owned reference */
    const struct clock *clock; /* lent */
    unsigned generation;
    bool is_first; /* the first worker's: runs what runs once per broker */
    /* while loading */
    bool is_loading;               /* settings and handlers may be given */
    struct config *config;         /* lent: being filled; NULL afterwards */
    const struct offline *offline; /* lent; NULL: the world itself (policy.h) */
    struct embed_cache *compiled;  /* lent; NULL: none */
    struct slice text;             /* lent: of sol.lua, when it is not read from `path` */
    struct policy_files *files;    /* lent: gets the paths of what is read; or NULL */
    char *path, *folder;           /* owned: of sol.lua; folder "." without one */
    char *plugin_path;             /* owned: folders, ':' between */
    struct shared *shared;         /* owned reference: where its dictionaries are (shared.h) */
    struct kv *kv;                 /* lent: sol.kv; NULL: nothing is run */
    struct listening *listening;   /* owned: what sol.subscribe listens to (lib_subscribe.c) */
    struct handle inbox;           /* the inner session that does; or HANDLE_NONE */
    struct declared *shared_dicts; /* owned: the setting `shared` (lib_shared.c) */
    /* afterwards fixed */
    struct config settings; /* a copy, without the listeners */
    struct handler_list events[HOOK_EVENTS];
    /* on the worker's thread */
    struct evaluation *evaluations; /* an operator's (console.c) */
    struct invocation *present;     /* being run, innermost */
    struct invocation *free_invocations;
    struct invocation *latest;     /* lent: whose objects are open still; or NULL (loans.c) */
    struct watcher *watchers;      /* who wants to know what is run (watch.h) */
    unsigned untimed;              /* mask: a call is timed when these bits of its count are 0 */
    unsigned calls_parked;         /* invocations that wait, over all events */
    struct script_timer *timers;   /* sol.after, sol.every (lib_time.c) */
    struct publishing *publishing; /* sol.publish{as} under way (lib_publish.c) */
    unsigned publish_depth;        /* sol.publish within sol.publish */
    bool is_retired;
    bool is_overdue;       /* retired for reload_timeout: nothing may wait any more */
    struct timer deadline; /* when that is */
    bool is_closing;       /* the end: no handler is started any more */
    struct deferred end;   /* frees a retired script at the end of a turn */
};

static inline struct script *script_of(lua_State *L) {
    return vm_of(L)->script;
}

static inline struct script *script_of_hooks(struct hooks *h) {
    return (struct script *)(void *)h; /* port comes first */
}

/* A waiting call ended: a retired script without any more goes. */
void script_settle(struct script *s);

#endif
