/* policy.h -- the script layer's front door: sol.lua in, configuration and hooks out. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_POLICY_H
#define SOL_SCRIPT_POLICY_H

#include "base/log.h"
#include "core/config.h"
#include "core/hooks.h"

#include <lua.h>

struct clock;
struct embed_cache;
struct kv;
struct shared;
struct stat;

/* What a policy read while it was loaded: itself, modules, plugins, sol.read_file. */
struct policy_files {
    char **at;          /* owned: paths */
    struct stat *stats; /* owned: of each, before it was read; zeros: it was not there */
    unsigned len;
};
/* Lends the path of one that is no longer as it was when it was read, or NULL. */
const char *policy_files_changed(const struct policy_files *f);
/* Leaves an empty list. */
void policy_files_deinit(struct policy_files *f);

/* Who answers in the world's place: what a policy asks of servers comes here (offline.lua). */
struct offline {
    /* ask(kind, ...): the arguments are on the stack of `from`, the coroutine that asks.
     * Pushes the results and gives their number, or raises in `from`. */
    int (*ask)(void *obj, lua_State *from);
    void *obj; /* lent */
};

struct policy_opts {
    const char *path;          /* sol.lua; NULL: built-in defaults (localhost:1883, anonymous) */
    struct slice text;         /* what stands there, `path` being its name; SLICE_NONE: read it */
    const char *plugin_path;   /* folders searched for plugin("name"), ':' between; NULL: default */
    struct log *log;           /* lent for the policy's life */
    struct shared *shared;     /* lent: dictionaries that outlive it; NULL: its own (shared.h) */
    struct kv *kv;             /* lent: sol.kv; NULL where no handler is to run */
    const struct clock *clock; /* lent for the policy's life; NULL: the system's */
    struct policy_files *files;    /* lent: gets what is read, also by one that fails; or NULL */
    const struct offline *offline; /* lent for the policy's life; NULL: the world itself */
    struct embed_cache *compiled;  /* lent while it is loaded; NULL: none */
    unsigned generation;
    unsigned worker; /* whose it will be; what runs once per broker runs on worker 0 */
};

struct policy {
    struct config *config; /* owned until handed to broker_new / broker_set_policy */
    struct hooks *hooks;   /* likewise; hooks->retire(hooks, true) frees it unattached */
};

/* Runs the file in a fresh VM and checks everything it says.  0; or -EINVAL and `error`
 * (free() it): "FILE:LINE: what is wrong, the offending value, a suggestion".  Main
 * thread; the VM may be attached to a worker's thread afterwards. */
int policy_load(const struct policy_opts *opts, struct policy *out, char **error);

/* `sol passwd [-c] [-D] FILE USER`: argv from "passwd" on; gives the exit status. */
int passwd_main(int argc, char **argv);

#endif
