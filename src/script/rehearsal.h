/* rehearsal.h -- a policy and a broker of its own, in one process (core/solo.h).
 *
 * What `sol test` and `sol explain` play with: the policy is loaded as the broker would load
 * it, for one worker, and lives by a clock that stands still until told. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_REHEARSAL_H
#define SOL_SCRIPT_REHEARSAL_H

#include "base/clock.h"
#include "base/log.h"
#include "script/policy.h"

struct kv;
struct script;
struct shared;
struct solo;

struct rehearsal {
    struct solo *solo;     /* owned: the broker, to be driven by solo.h */
    struct script *script; /* lent: the policy (script.h) */
    struct hand_clock clock;
    struct log log;
    struct shared *shared; /* owned reference */
    struct kv *kv;         /* owned */
};

struct rehearsal_opts {
    const char *path;              /* as policy_opts */
    struct slice text;             /* likewise */
    const char *plugin_path;       /* likewise */
    struct embed_cache *compiled;  /* likewise (embed.h); for many rehearsals */
    const struct offline *offline; /* likewise */
    log_sink *sink; /* takes the log, down to the policy's log_level; NULL: nobody does */
    void *sink_obj; /* lent */
};

/* Loads the policy and starts the broker; to be freed.  NULL and `error` (free() it): as
 * policy_load. */
struct rehearsal *rehearsal_new(const struct rehearsal_opts *opts, char **error);
/* Puts another generation in place, as SIGHUP does; the sink stays.  0; or as policy_load, and
 * the old one stays. */
int rehearsal_reload(struct rehearsal *r, const struct rehearsal_opts *opts, char **error);
/* NULL is fine. */
void rehearsal_free(struct rehearsal *r);

#endif
