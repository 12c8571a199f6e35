/* watch.h -- who wants to know what the handlers do: sol explain, sol trace.
 *
 * A watcher names the calls it is interested in and gets the record of each (trace.h) when
 * it is over.  While a script has no watchers nothing is recorded, and the hooks' path pays
 * one test a call.  Watchers outlive a generation: they go over to the next one.  One
 * worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_WATCH_H
#define SOL_SCRIPT_WATCH_H

#include "base/slice.h"
#include "script/trace.h"

#include <lua.h>

struct handler;
struct invocation;
struct script;

struct watcher {
    /* set by its owner, fixed while it watches */
    struct slice client; /* lent: this client's calls; SLICE_NONE: anybody's */
    struct slice filter; /* lent: topics it matches, or filters it meets; SLICE_NONE: all */
    const void *trial;   /* this trial's calls (hook_call.trial); NULL: real ones */
    /* A call is over; `t` is lent.  May end the watcher, must not call hooks. */
    void (*record)(struct watcher *w, const struct trace *t);
    void *obj; /* the owner's */
    /* private */
    struct script *script;
    struct watcher *next, **link; /* script->watchers */
};

/* From now on `w` (lent) watches what these hooks run, which are a policy's. */
void watch_begin(struct hooks *h, struct watcher *w);
/* Harmless when it does not watch (any more: the policy has ended). */
void watch_end(struct watcher *w);

/* ---- for policy.c ------------------------------------------------------------- */

/* The script is replaced by these hooks (NULL: by none): its watchers go over. */
void watch_pass_on(struct script *s, struct hooks *next);

/* hooks->granted: a record of its own. */
void watch_granted(struct hooks *h, const struct hook_call *call, const struct grant_answer *a);

/* ---- for invoke.c -------------------------------------------------------------- */

/* Handler `h` is about to run, for somebody who watches the script. */
void watch_enter(struct invocation *inv, const struct handler *h);
/* It has returned, failed or parked.  Those below do nothing unless inv->trace is there. */
void watch_leave(struct invocation *inv);
/* It parks, in a coroutine of its task. */
void watch_park(struct invocation *inv);
/* It failed. */
void watch_fail(struct invocation *inv, const char *text);
/* The invocation is over: the watchers hear of it. */
void watch_over(struct invocation *inv);

/* ---- for the modules in Lua -------------------------------------------------------- */

/* Adds to the table on top `trace`, a table whose field `note` is there while somebody
 * watches: note(key, is_hit) tells them that a cache was asked. [-0, +0, m] */
void watch_add(lua_State *L);

#endif
