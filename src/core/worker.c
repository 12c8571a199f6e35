/* worker.c -- starting, feeding and stopping workers. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/worker.h"

#include "base/clock.h"
#include "base/mem.h"
#include "core/ahead.h"
#include "core/client.h"
#include "core/conn.h"
#include "core/delivery.h"
#include "core/gate.h"
#include "core/helpers.h"
#include "core/mail.h"
#include "core/retain.h"
#include "core/publish.h"
#include "core/review.h"
#include "core/route.h"
#include "core/session.h"
#include "core/subs.h"
#include "core/sys.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

enum {
    STOP_MS = 1500, /* for clients to hear that we go */
    SWEEP_MS = 1000 /* between looks at retained messages that may have expired */
};

/* ---- threads ------------------------------------------------------------ */

int thread_start(pthread_t *out, const char *name, void *(*run)(void *), void *obj) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int r = pthread_create(out, NULL, run, obj);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r == 0) pthread_setname_np(*out, name);
    return -r;
}

/* ---- policy ------------------------------------------------------------- */

static bool is_loopback(const char *host) {
    struct in_addr v4;
    if (inet_pton(AF_INET, host, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
    return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0;
}

static bool is_local(const char *url) {
    struct listen_url u = { 0 };
    const char *why;
    bool local = listen_url_parse(slice_str(url), &u, &why) == 0 &&
                 (u.path || (u.host && is_loopback(u.host)));
    listen_url_deinit(&u);
    return local;
}

static bool authenticates(const struct hooks *h) {
    return hooks_want(h, HOOK_AUTHENTICATE) || hooks_want(h, HOOK_AUTH);
}

/* What a new connection needs to know of the door it came through. */
struct door {
    struct worker *worker;
    char url[];
};

/* Unless told, strangers are let in only while nobody checks anyone and nobody can come
 * from outside: not by the listeners asked for, nor by those that are open, which a reload
 * does not change. */
static bool anonymous_allowed(const struct worker *w) {
    const struct config *config = w->config;
    if (config->limits.allow_anonymous != UNSET) return config->limits.allow_anonymous == YES;
    if (authenticates(w->hooks)) return false;
    for (unsigned i = 0; i < config->listeners_len; i++)
        if (!is_local(config->listeners[i].url)) return false;
    for (unsigned i = 0; i < w->listeners_len; i++)
        if (!is_local(w->listener_doors[i]->url)) return false;
    return true;
}

static void use_policy(struct worker *w, struct config *config, struct hooks *hooks) {
    w->config = config;
    w->hooks = hooks;
    w->policies++;
    w->anonymous = anonymous_allowed(w);
    if (w->sys) sys_reconfigure(w->sys);
    hooks->attach(hooks, w);
}

/* What the broker says once, not each worker. */
static bool speaks(const struct worker *w) {
    return w->id == 0;
}

/* The last worker to get there says it for all. */
static void say_in_place(struct worker *w, unsigned generation) {
    struct broker *b = w->broker;
    atomic_store(&w->generation, generation);
    for (unsigned i = 0; i < b->workers_len; i++)
        if (atomic_load(&b->workers[i].generation) < generation) return;
    unsigned said = atomic_load(&b->in_place);
    while (said < generation && !atomic_compare_exchange_weak(&b->in_place, &said, generation)) {
    }
    if (said >= generation) return;
    log_info(w->log, "reload", "policy generation %u is in place", generation);
    if (b->port && !b->is_over) b->port->in_place(b->port->obj, generation);
}

void worker_set_policy(struct worker *w, struct mail_policy *mail) {
    struct hooks *old = w->hooks;
    struct config *old_config = w->config;
    unsigned generation = mail->generation;
    use_policy(w, mail->config, mail->hooks);
    route_cache_clear(w);
    review_policy(w, generation);
    if (speaks(w))
        log_set(w->log, (enum log_level)w->config->log_level,
                (enum log_format)w->config->log_format);
    say_in_place(w, generation);
    hooks_tell(w->hooks, HOOK_RELOAD, NULL,
               &(struct fact){ .generation = generation, .old_generation = generation - 1 });
    old->next = w->retired;
    old->link = &w->retired;
    if (old->next) old->next->link = &old->next;
    w->retired = old;
    old->retire(old, false);
    config_free(old_config);
    free(mail);
}

/* ---- stopping ----------------------------------------------------------- */

static void on_stop_timer(struct closure *self, unsigned events) {
    struct worker *w = self->obj;
    (void)events;
    while (w->conns) conn_close(w->conns, NULL);
    loop_stop(w->loop);
}

static void listeners_close(struct worker *w) {
    for (unsigned i = 0; i < w->listeners_len; i++) {
        listener_close(w->listeners[i]);
        w->listeners[i] = NULL;
    }
}

void worker_stop(struct worker *w) {
    hooks_tell(w->hooks, HOOK_STOP, NULL, &(struct fact){ .reason = "stop" });
    mail_flush(w);
    w->stopping = true;
    listeners_close(w);
    /* Not along w->conns: a hook may close the connection that would be next. */
    uint32_t at = 0;
    for (struct client *c; (c = slots_next(&w->clients, &at));)
        if (c->conn) conn_end(c->conn, RC_SERVER_SHUTTING_DOWN, NULL, NULL);
    publish_cancel_all(w);
    review_cancel_all(w);
    w->stop_timer.closure = (struct closure){ .fn = on_stop_timer, .obj = w, .name = "stop" };
    loop_arm(w->loop, &w->stop_timer, loop_now_ms(w->loop) + (w->conns ? STOP_MS : 0));
}

/* ---- one worker --------------------------------------------------------- */

static void on_reap(struct closure *self, unsigned events) {
    struct worker *w = self->obj;
    (void)events;
    conns_reap(w);
    sessions_reap(w);
    /* With the last connection gone there is nobody to wait for. */
    if (w->stopping && !w->conns) loop_arm(w->loop, &w->stop_timer, 0);
}

static void on_post(struct closure *self, unsigned events) {
    (void)events;
    mail_flush(self->obj);
}

/* Those who have not been sent it by the next turn keep it. */
static void on_return_loans(struct closure *self, unsigned events) {
    struct worker *w = self->obj;
    (void)events;
    if (landing_age(&w->borrowed)) loop_defer(w->loop, &w->return_loans);
}

static void on_held_again(struct closure *self, unsigned events) {
    (void)events;
    held_again(self->obj);
}

static void on_sweep(struct closure *self, unsigned events) {
    struct worker *w = self->obj;
    (void)events;
    retain_sweep(w->broker->retained, loop_now_ms(w->loop));
    loop_arm(w->loop, &w->sweep, loop_now_ms(w->loop) + SWEEP_MS);
}

static int worker_init(struct worker *w, struct broker *b, unsigned id) {
    w->id = id;
    w->broker = b;
    w->log = b->log;
    w->loop = loop_new(&(struct loop_opts){ .clock = b->clock });
    if (!w->loop) return -errno;
    chain_pool_init(&w->chunks);
    landing_init(&w->landing);
    landing_init_borrowed(&w->borrowed);
    slots_init(&w->clients);
    slots_init_at(&w->sessions, id * SLOTS_MAX);
    map_init(&w->by_id, session_key);
    route_cache_init(w);
    ahead_init(w);
    w->held_again.closure =
        (struct closure){ .fn = on_held_again, .obj = w, .name = "deliver hooks" };
    w->sweep.closure = (struct closure){ .fn = on_sweep, .obj = w, .name = "retained sweep" };
    w->reap.closure = (struct closure){ .fn = on_reap, .obj = w, .name = "reap" };
    w->post.closure = (struct closure){ .fn = on_post, .obj = w, .name = "post" };
    w->return_loans.closure =
        (struct closure){ .fn = on_return_loans, .obj = w, .name = "return loans" };
    return mailbox_init(&w->inbox, w->loop, mail_handle, w);
}

/* After its thread has ended and all mail was taken out; still speaks to the hooks. */
static void worker_deinit(struct worker *w) {
    sys_free(w->sys);
    while (w->conns) conn_close(w->conns, NULL);
    publish_cancel_all(w);
    review_cancel_all(w);
    uint32_t at = 0;
    for (struct session *s; (s = slots_next(&w->sessions, &at));) session_end(s);
    on_reap(&w->reap.closure, 0);
    loop_undefer(&w->reap);
    loop_undefer(&w->held_again);
    loop_undefer(&w->post);
    loop_undefer(&w->return_loans);
    while (w->retired) {
        struct hooks *old = w->retired;
        hooks_settled(old);
        old->retire(old, true);
    }
    w->hooks->retire(w->hooks, true);
    w->hooks = &hooks_none;
    config_free(w->config);
    ahead_deinit(w);
    route_cache_deinit(w);
    publish_pool_deinit(w);
    map_deinit(&w->by_id);
    gates_free(w);
    buf_deinit(&w->full_name);
    buf_deinit(&w->short_name);
    buf_deinit(&w->props);
    slots_deinit(&w->clients);
    slots_deinit(&w->sessions);
    mail_deinit(w);
    chain_pool_deinit(&w->chunks);
    loop_cancel(w->loop, &w->stop_timer);
    loop_cancel(w->loop, &w->sweep);
    struct closure *const own[] = { &w->stop_timer.closure, &w->sweep.closure,
                                    &w->reap.closure,       &w->held_again.closure,
                                    &w->post.closure,       &w->return_loans.closure };
    for (unsigned i = 0; i < ARRAY_LEN(own); i++) closure_deinit(own[i]);
    loop_free(w->loop);
    landing_deinit(&w->borrowed);
    landing_deinit(&w->landing);
    free(w->draft);
    free(w->fan);
}

/* ---- listeners ---------------------------------------------------------- */

static void on_accept(void *obj, const struct stream_type *type, int fd, const char *peer) {
    struct door *door = obj;
    conn_open(door->worker, type, fd, peer, door->url);
}

static void add_door(struct worker *w, const char *url) {
    size_t len = strlen(url) + 1;
    struct door *door = xmalloc(sizeof *door + len);
    door->worker = w;
    memcpy(door->url, url, len);
    w->listener_doors[w->listeners_len++] = door;
}

static void doors_free(struct worker *w) {
    listeners_close(w);
    for (unsigned i = 0; i < w->listeners_len; i++) free(w->listener_doors[i]);
    free(w->listeners);
    free(w->listener_doors);
}

static int listen_one(struct worker *w, const struct listen_config *config) {
    struct listen_opts opts = { .backlog = config->backlog, .unix_mode = config->mode };
    const char *why = NULL;
    char *error = NULL;
    int r = listen_url_parse(slice_str(config->url), &opts.url, &why);
    if (r == 0) r = listener_open(&opts, &w->listeners[w->listeners_len], &error);
    listen_url_deinit(&opts.url);
    if (r < 0) {
        log_error(w->log, "listen", "%s", error ? error : why);
        free(error);
        return r;
    }
    add_door(w, config->url);
    log_info(w->log, "listen", "listening on %s", config->url);
    return 0;
}

/* Another worker's hold on what the first one has opened. */
static int share_all(struct worker *w, const struct worker *first) {
    for (unsigned i = 0; i < first->listeners_len; i++) {
        int r = listener_share(first->listeners[i], &w->listeners[i]);
        if (r < 0) return r;
        add_door(w, first->listener_doors[i]->url);
    }
    return 0;
}

int broker_listen(struct broker *b) {
    struct worker *first = &b->workers[0];
    unsigned n = first->config->listeners_len;
    int r = 0;
    gate_totals_init(b, first->config);
    for (unsigned i = 0; i < b->workers_len; i++) {
        b->workers[i].listeners = xcalloc(n, sizeof(struct listener *));
        b->workers[i].listener_doors = xcalloc(n, sizeof(struct door *));
    }
    for (unsigned i = 0; i < n && r == 0; i++) r = listen_one(first, &first->config->listeners[i]);
    for (unsigned i = 1; i < b->workers_len && r == 0; i++) r = share_all(&b->workers[i], first);
    return r;
}

/* ---- the broker --------------------------------------------------------- */

static bool has_open_listener(const struct worker *w) {
    for (unsigned i = 0; i < w->config->listeners_len; i++)
        if (w->config->listeners[i].limits.allow_anonymous == YES) return true;
    return w->anonymous;
}

static void warn_if_closed(const struct worker *w) {
    if (w->anonymous && w->config->limits.allow_anonymous == UNSET)
        log_info(w->log, "start",
                 "anonymous clients are allowed: every listener is local and "
                 "nothing authenticates (set allow_anonymous to decide)");
    else if (!has_open_listener(w) && !authenticates(w->hooks))
        log_warn(w->log, "start",
                 "nobody can connect: nothing authenticates and anonymous "
                 "clients are not allowed (set allow_anonymous = true?)");
}

static void post(struct worker *w, enum mail_type type, struct mail *mail) {
    mail->type = type;
    mailbox_post(&w->inbox, mail);
}

/* The last worker to get here lets all go on, with MAIL_OPEN. */
static void meet(struct worker *w) {
    struct broker *b = w->broker;
    if ((atomic_fetch_add(&b->met, 1) + 1) % b->workers_len) return;
    for (unsigned i = 0; i < b->workers_len; i++)
        post(&b->workers[i], MAIL_OPEN, xcalloc(1, sizeof(struct mail)));
}

/* The workers meet twice.  When the policy is in place on all of them the start handlers run,
 * so what those publish reaches every worker's subscriptions.  When these have run, the doors
 * open: no client comes in before what they set up. */
void worker_open(struct worker *w) {
    if (w->stopping) return;
    if (!w->has_started) {
        w->has_started = true;
        hooks_tell(w->hooks, HOOK_START, NULL, &(struct fact){ .generation = 1 });
        meet(w);
        return;
    }
    for (unsigned i = 0; i < w->listeners_len; i++)
        listener_start(w->listeners[i], w->loop, w->log, on_accept, w->listener_doors[i]);
}

void worker_begin(struct worker *w) {
    loop_clock_refresh(w->loop);
    use_policy(w, w->config, w->hooks);
    if (speaks(w)) {
        warn_if_closed(w);
        w->sys = sys_new(w);
    }
    if (w->id == 0) on_sweep(&w->sweep.closure, 0);
    meet(w);
}

static void *worker_run(void *obj) {
    struct worker *w = obj;
    worker_begin(w);
    int r = loop_run(w->loop);
    if (r < 0) {
        log_error(w->log, "loop", "worker %u: %s", w->id, strerror(-r));
        kill(getpid(), SIGTERM); /* a broker whose worker is dead must not look alive */
    }
    return NULL;
}

void broker_add_worker(struct broker *b, struct config *config, struct hooks *hooks) {
    must(b->workers_len < WORKERS_MAX);
    struct worker *w = &b->workers[b->workers_len];
    w->config = config;
    w->hooks = hooks;
    must(worker_init(w, b, b->workers_len) == 0);
    b->workers_len++;
}

struct broker *broker_new_at(const struct clock *clock, struct log *log, struct config *config,
                             struct hooks *hooks) {
    struct broker *b = xcalloc_lines(1, sizeof *b);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    b->log = log;
    b->clock = clock;
    b->subs = subs_new();
    b->retained = retain_new();
    b->helpers = helpers_new(cores > 1 ? (unsigned)cores : 1);
    b->generation = 1;
    b->workers = xcalloc_lines(WORKERS_MAX, sizeof *b->workers);
    must(getrandom(b->seed, sizeof b->seed, 0) == sizeof b->seed);
    broker_add_worker(b, config, hooks);
    return b;
}

struct broker *broker_new(struct log *log, struct config *config, struct hooks *hooks) {
    return broker_new_at(&clock_system, log, config, hooks);
}

int broker_start(struct broker *b) {
    for (unsigned i = 0; i < b->workers_len; i++) {
        struct worker *w = &b->workers[i];
        int r = thread_start(&w->thread, "sol-worker", worker_run, w);
        w->is_running = r == 0;
        if (r < 0) return r;
    }
    return 0;
}

void broker_set_policy(struct broker *b, unsigned worker, struct config *config,
                       struct hooks *hooks) {
    struct mail_policy *mail = xcalloc(1, sizeof *mail);
    mail->config = config;
    mail->hooks = hooks;
    mail->generation = atomic_load(&b->generation);
    post(&b->workers[worker], MAIL_POLICY, &mail->mail);
}

void broker_stop(struct broker *b) {
    for (unsigned i = 0; i < b->workers_len; i++)
        if (b->workers[i].is_running)
            post(&b->workers[i], MAIL_STOP, xcalloc(1, sizeof(struct mail)));
    for (unsigned i = 0; i < b->workers_len; i++) {
        if (b->workers[i].is_running) pthread_join(b->workers[i].thread, NULL);
        b->workers[i].is_running = false;
    }
}

void broker_free(struct broker *b) {
    if (!b) return;
    helpers_free(b->helpers); /* brings its jobs home before the mailboxes go */
    b->helpers = NULL;
    b->is_over = true;
    for (unsigned i = 0; i < b->workers_len; i++) b->workers[i].stopping = true;
    /* First of all: a job or visit that comes home may begin something. */
    for (unsigned i = 0; i < b->workers_len; i++) mailbox_deinit(&b->workers[i].inbox);
    for (unsigned i = 0; i < b->workers_len; i++) worker_deinit(&b->workers[i]);
    for (unsigned i = 0; i < b->workers_len; i++) doors_free(&b->workers[i]);
    gate_totals_deinit(b);
    subs_free(b->subs);
    retain_free(b->retained);
    free(b->workers);
    free(b);
}

/* ---- all of them ---------------------------------------------------------- */

uint64_t broker_sum(const struct broker *b, size_t offset) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < b->workers_len; i++) {
        const void *counter = (const char *)&b->workers[i].counters + offset;
        sum += atomic_load_explicit((const _Atomic uint64_t *)counter, memory_order_relaxed);
    }
    return sum;
}

unsigned broker_home(const struct broker *b, struct slice client_id) {
    if (b->workers_len == 1) return 0;
    return (unsigned)(siphash13(b->seed, client_id) % b->workers_len);
}
