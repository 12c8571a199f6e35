/* policies.h -- a policy for every worker, one generation after another.
 *
 * Main's own: it stands above the layers and knows core, script and admin.  A generation is
 * loaded whole, beside the one that runs, and put in place on all workers or on none.  Who
 * asked for a reload is answered when the last worker has it.  The main thread's, but for
 * the port that the broker's workers call. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_POLICIES_H
#define SOL_POLICIES_H

#include "core/config.h"
#include "core/door.h"
#include "script/policy.h"

struct broker;
struct loop;
struct reload;

struct policy_source {
    const char *path;      /* sol.lua, or NULL; lent */
    struct log *log;       /* lent */
    bool verbose;          /* whatever it says, log_level is "debug" */
    struct shared *shared; /* lent: sol.shared, over all generations */
    struct kv *kv;         /* lent: sol.kv, likewise */
};

struct policies {
    struct policy at[WORKERS_MAX]; /* a VM and a configuration for each worker */
    unsigned len;
    struct policy_files files; /* owned: what the first one read */
};

/* `workers` of them, or all or none; 0: as many as the first one asks for.  0; or -EINVAL
 * and `error` (free() it).  In both cases `out->files` says what was read. */
int policies_load(const struct policy_source *source, unsigned generation, unsigned workers,
                  struct policies *out, char **error);
/* Frees the policies, but not the files. */
void policies_drop(struct policies *p);

/* Reloads for `broker`, whose workers are not started yet and whose port it becomes; the
 * first generation is given for comparison.  -errno. */
int reload_new(const struct policy_source *source, struct loop *loop, struct broker *broker,
               const struct config *first, struct reload **out);
/* When the threads have ended and the broker is not freed yet: who still waits hears that
 * it stops.  NULL is fine. */
void reload_free(struct reload *r);
/* A new generation, or the old one stays and the log says why. */
void reload_now(struct reload *r);
/* Reloads whenever a file changes that the policy has read; `files` are those so far.  0 or
 * -errno. */
int reload_watch(struct reload *r, const struct policy_files *files);
/* The operators' verb: does reload_now and answers what came of it.  Lent. */
const struct door_verb *reload_verb(struct reload *r);

#endif
