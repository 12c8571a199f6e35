/* rehearsal.c -- one policy, one broker, one clock. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/rehearsal.h"

#include "base/mem.h"
#include "core/solo.h"
#include "core/worker.h"
#include "script/kv.h"
#include "script/script.h"
#include "script/shared.h"

#include <stdlib.h>

static int load(struct rehearsal *r, const struct rehearsal_opts *opts, unsigned generation,
                struct policy *out, char **error) {
    return policy_load(&(struct policy_opts){ .path = opts->path,
                                              .text = opts->text,
                                              .plugin_path = opts->plugin_path,
                                              .compiled = opts->compiled,
                                              .offline = opts->offline,
                                              .log = &r->log,
                                              .shared = r->shared,
                                              .kv = r->kv,
                                              .clock = &r->clock.clock,
                                              .generation = generation },
                       out, error);
}

struct rehearsal *rehearsal_new(const struct rehearsal_opts *opts, char **error) {
    struct rehearsal *r = xcalloc(1, sizeof *r);
    struct policy policy;
    hand_clock_init(&r->clock);
    log_init(&r->log, -1, opts->sink ? LOG_INFO : LOG_OFF, LOG_TEXT);
    r->log.sink = opts->sink;
    r->log.sink_obj = opts->sink_obj;
    r->shared = shared_new(&r->clock.clock);
    r->kv = kv_new(&r->clock.clock);
    if (load(r, opts, 1, &policy, error) < 0) {
        rehearsal_free(r);
        return NULL;
    }
    if (opts->sink) log_set(&r->log, (enum log_level)policy.config->log_level, LOG_TEXT);
    r->script = script_of_hooks(policy.hooks);
    r->solo = solo_new(&r->clock, &r->log, policy.config, policy.hooks);
    return r;
}

int rehearsal_reload(struct rehearsal *r, const struct rehearsal_opts *opts, char **error) {
    struct broker *b = solo_worker(r->solo)->broker;
    struct policy policy;
    int status = load(r, opts, b->generation + 1, &policy, error);
    if (status < 0) return status;
    b->generation++;
    broker_set_policy(b, 0, policy.config, policy.hooks);
    r->script = script_of_hooks(policy.hooks);
    (void)solo_settle(r->solo);
    return 0;
}

void rehearsal_free(struct rehearsal *r) {
    if (!r) return;
    solo_free(r->solo);
    shared_unref(r->shared);
    kv_free(r->kv);
    free(r);
}
