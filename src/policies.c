/* policies.c -- loading for all workers, putting in place, telling who waits. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "policies.h"

#include "base/mem.h"
#include "core/worker.h"
#include "io/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LOAD_TRIES = 3 };

/* ---- a generation ------------------------------------------------------- */

void policies_drop(struct policies *p) {
    for (unsigned i = 0; i < p->len; i++) {
        p->at[i].hooks->retire(p->at[i].hooks, true);
        config_free(p->at[i].config);
    }
    p->len = 0;
}

/* How many workers a configuration asks for. */
static unsigned workers_of(const struct config *c) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (c->workers) return c->workers;
    return cores < 1 ? 1 : cores > WORKERS_MAX ? WORKERS_MAX : (unsigned)cores;
}

/* Once for each worker. */
static int load_all(const struct policy_source *source, unsigned generation, unsigned workers,
                    struct policies *out, char **error) {
    out->len = 0;
    out->files = (struct policy_files){ NULL, NULL, 0 };
    do {
        struct policy_opts opts = { .path = source->path,
                                    .log = source->log,
                                    .shared = source->shared,
                                    .kv = source->kv,
                                    .files = out->len == 0 ? &out->files : NULL,
                                    .generation = generation,
                                    .worker = out->len };
        int r = policy_load(&opts, &out->at[out->len], error);
        if (r < 0) {
            policies_drop(out);
            return r;
        }
        if (source->verbose) out->at[out->len].config->log_level = LOG_DEBUG;
        out->len++;
        if (!workers) workers = workers_of(out->at[0].config);
    } while (out->len < workers);
    return 0;
}

/* Every worker reads the files for itself: when one of them changes meanwhile, they would not
 * have the same policy. */
int policies_load(const struct policy_source *source, unsigned generation, unsigned workers,
                  struct policies *out, char **error) {
    for (int tries = 1;; tries++) {
        int r = load_all(source, generation, workers, out, error);
        const char *changed = r < 0 ? NULL : policy_files_changed(&out->files);
        if (!changed) return r;
        if (tries == LOAD_TRIES) {
            log_warn(source->log, "reload", "%s changes all the time", changed);
            return r;
        }
        policies_drop(out);
        policy_files_deinit(&out->files);
    }
}

/* ---- reloading ---------------------------------------------------------- */

/* What may come from another thread. */
enum { RELOAD_WANTED, RELOAD_IN_PLACE };

struct news {
    struct mail mail;
    struct door_call *call; /* RELOAD_WANTED: lent */
    unsigned generation;    /* RELOAD_IN_PLACE */
};

/* Who waits for a generation to be in place. */
struct waiting {
    struct door_call *call; /* lent */
    unsigned generation;
    struct waiting *next, **link;
};

struct reload {
    const struct policy_source *source; /* lent */
    struct broker *broker;              /* lent */
    struct loop *loop;                  /* lent */
    struct config *first;               /* owned: what is taken at start only, as it was then */
    struct mailbox inbox;
    struct broker_port port;
    struct door_verb verb;
    struct waiting *waiting;
    struct files *files; /* owned: --watch; or NULL */
    bool is_over;
};

static bool same_listeners(const struct config *a, const struct config *b) {
    if (a->listeners_len != b->listeners_len) return false;
    for (unsigned i = 0; i < a->listeners_len; i++)
        if (strcmp(a->listeners[i].url, b->listeners[i].url) != 0) return false;
    return true;
}

static bool same_text(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* What is taken at start only. */
static struct config *copy_first(const struct config *c) {
    struct config *copy = config_new();
    copy->workers = c->workers;
    copy->durability = c->durability;
    copy->kv_size = c->kv_size;
    if (c->admin_socket) copy->admin_socket = xstrdup(c->admin_socket);
    if (c->store) copy->store = xstrdup(c->store);
    for (unsigned i = 0; i < c->listeners_len; i++)
        config_add_listener(copy, c->listeners[i].url, c->listeners[i].backlog,
                            c->listeners[i].mode);
    return copy;
}

static void warn_of_changes(const struct reload *r, const struct config *now) {
    const struct {
        bool is_same;
        const char *name;
    } rows[] = {
        { same_listeners(r->first, now), "listen" },
        { r->first->workers == now->workers, "workers" },
        { same_text(r->first->admin_socket, now->admin_socket), "admin_socket" },
        { same_text(r->first->store, now->store), "store" },
        { r->first->durability == now->durability, "durability" },
        { r->first->kv_size == now->kv_size, "kv_size" },
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        if (!rows[i].is_same)
            log_warn(r->source->log, "reload", "a change of `%s` takes effect at the next start",
                     rows[i].name);
}

/* The next generation's number, or 0 and why there is none (free() it). */
static unsigned reload_try(struct reload *r, char **error) {
    struct policies policies;
    unsigned generation = atomic_load(&r->broker->generation) + 1;
    int failed = policies_load(r->source, generation, r->broker->workers_len, &policies, error);
    if (r->files) files_watch(r->files, policies.files.at, policies.files.len);
    policy_files_deinit(&policies.files);
    if (failed) {
        log_error(r->source->log, "reload", "the old policy stays: %s", *error);
        return 0;
    }
    warn_of_changes(r, policies.at[0].config);
    atomic_store(&r->broker->generation, generation);
    for (unsigned i = 0; i < policies.len; i++)
        broker_set_policy(r->broker, i, policies.at[i].config, policies.at[i].hooks);
    return generation;
}

void reload_now(struct reload *r) {
    char *error = NULL;
    (void)reload_try(r, &error);
    free(error);
}

static void on_changed(void *obj) {
    struct reload *r = obj;
    log_info(r->source->log, "reload", "a file of the policy has changed");
    reload_now(r);
}

int reload_watch(struct reload *r, const struct policy_files *files) {
    r->files = files_new(r->loop, on_changed, r);
    if (!r->files) return -errno;
    files_watch(r->files, files->at, files->len);
    return 0;
}

/* ---- answering ---------------------------------------------------------- */

static void waiting_end(struct waiting *w, bool ok, struct slice text) {
    struct door_call *call = w->call;
    *w->link = w->next;
    if (w->next) w->next->link = w->link;
    free(w);
    door_end(call, ok, text);
}

static void answer_in_place(struct reload *r, unsigned generation) {
    struct waiting *next;
    char text[64];
    for (struct waiting *w = r->waiting; w; w = next) {
        next = w->next;
        if (w->generation > generation) continue;
        snprintf(text, sizeof text, "policy generation %u is in place", w->generation);
        waiting_end(w, true, slice_str(text));
    }
}

static void answer(struct reload *r, struct door_call *call) {
    char *error = NULL;
    unsigned generation = r->is_over ? 0 : reload_try(r, &error);
    if (!generation) {
        door_end(call, false, slice_str(error ? error : "the broker is stopping"));
        free(error);
        return;
    }
    struct waiting *w = xcalloc(1, sizeof *w);
    *w = (struct waiting){ .call = call, .generation = generation };
    w->next = r->waiting;
    w->link = &r->waiting;
    if (w->next) w->next->link = &w->next;
    r->waiting = w;
    call->state = w;
}

static void start_reload(struct worker *w, struct door_call *call) {
    (void)w;
    answer(call->verb->obj, call);
}

static void cancel_reload(struct worker *w, struct door_call *call) {
    (void)w;
    if (call->state) waiting_end(call->state, false, SLICE("cancelled"));
}

const struct door_verb *reload_verb(struct reload *r) {
    return &r->verb;
}

static void on_news(void *obj, struct mail *mail) {
    struct reload *r = obj;
    struct news *n = CONTAINER_OF(mail, struct news, mail);
    if (mail->type == RELOAD_WANTED)
        answer(r, n->call);
    else
        answer_in_place(r, n->generation);
    free(n);
}

/* ---- the broker's port -------------------------------------------------- */

static void post(struct reload *r, const struct news *what) {
    struct news *n = xmalloc(sizeof *n);
    *n = *what;
    mailbox_post(&r->inbox, &n->mail);
}

static void port_in_place(void *obj, unsigned generation) {
    post(obj, &(struct news){ .mail.type = RELOAD_IN_PLACE, .generation = generation });
}

static void port_reload(void *obj, struct door_call *call) {
    post(obj, &(struct news){ .mail.type = RELOAD_WANTED, .call = call });
}

/* ---- life --------------------------------------------------------------- */

int reload_new(const struct policy_source *source, struct loop *loop, struct broker *broker,
               const struct config *first, struct reload **out) {
    struct reload *r = xcalloc(1, sizeof *r);
    int failed = mailbox_init(&r->inbox, loop, on_news, r);
    *out = NULL;
    if (failed) {
        free(r);
        return failed;
    }
    r->source = source;
    r->loop = loop;
    r->broker = broker;
    r->first = copy_first(first);
    r->port = (struct broker_port){ .obj = r, .in_place = port_in_place, .reload = port_reload };
    r->verb = (struct door_verb){
        .name = "reload", .start = start_reload, .cancel = cancel_reload, .obj = r
    };
    broker->port = &r->port;
    *out = r;
    return 0;
}

void reload_free(struct reload *r) {
    if (!r) return;
    r->is_over = true;
    mailbox_deinit(&r->inbox);
    while (r->waiting) waiting_end(r->waiting, false, SLICE("the broker is stopping"));
    r->broker->port = NULL;
    files_free(r->files);
    config_free(r->first);
    free(r);
}
