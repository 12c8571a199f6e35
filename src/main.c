/* main.c -- the command line: builds the layers and connects them.
 *
 * The main thread loads policies and waits for signals; the broker runs in threads of its
 * own (core/worker.c). */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/socket.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/worker.h"
#include "io/signals.h"
#include "script/policy.h"
#include "script/shared.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static const char usage[] =
    "usage: sol [-c FILE] [-v]          run the broker\n"
    "       sol check [-c FILE]         check a policy file and exit\n"
    "       sol passwd [-c] [-D] [-b] FILE USER [PASSWORD]\n"
    "                                   create, change or (-D) delete a password entry\n"
    "\n"
    "  -c, --config FILE    configuration and policy (sol.lua); without it Sol listens on\n"
    "                       localhost:1883 and lets anyone in\n"
    "  -v, --verbose        log more (log_level = \"debug\")\n"
    "  -h, --help           this text\n"
    "      --version        the version\n"
    "\n"
    "SIGHUP loads the file again and keeps the old policy if the new one has a fault.\n"
    "SIGINT and SIGTERM stop the broker.\n";

struct options {
    const char *config; /* NULL: none */
    bool verbose;
};

struct sol {
    struct options options;
    struct log log;
    struct loop *loop;
    struct broker *broker;
    struct shared *shared;    /* owned reference: sol.shared, over all generations */
    struct config *listening; /* owned: the listeners as they were opened */
    struct admin *admin;      /* owned: the operators' door, or NULL */
};

/* ---- command line ------------------------------------------------------- */

enum { GO_ON = -1 };

/* Reads the options of `run` and `check`; GO_ON, or the exit status. */
static int read_options(int argc, char **argv, struct options *o) {
    enum { VERSION = 256 };
    static const struct option rows[] = { { "config", required_argument, NULL, 'c' },
                                          { "verbose", no_argument, NULL, 'v' },
                                          { "help", no_argument, NULL, 'h' },
                                          { "version", no_argument, NULL, VERSION },
                                          { NULL, 0, NULL, 0 } };
    for (int c; (c = getopt_long(argc, argv, "c:vh", rows, NULL)) != -1;) {
        switch (c) {
        case 'c': o->config = optarg; break;
        case 'v': o->verbose = true; break;
        case 'h': fputs(usage, stdout); return EXIT_SUCCESS;
        case VERSION: puts("sol " SOL_VERSION); return EXIT_SUCCESS;
        default: fputs("try: sol --help\n", stderr); return 2;
        }
    }
    if (optind == argc) return GO_ON;
    fprintf(stderr, "sol: unexpected argument \"%s\"%s\ntry: sol --help\n", argv[optind],
            access(argv[optind], R_OK) == 0 ? "; a policy file is given as -c FILE" : "");
    return 2;
}

/* ---- policy ------------------------------------------------------------- */

/* A generation: each worker has a VM and a configuration of its own. */
struct policies {
    struct policy at[WORKERS_MAX];
    unsigned len;
};

static void policies_drop(struct policies *p) {
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

/* `workers` of them, or all or none; 0: as many as the first one asks for. */
static int load(struct sol *sol, unsigned generation, unsigned workers, struct policies *out,
                char **error) {
    out->len = 0;
    do {
        struct policy_opts opts = { .path = sol->options.config,
                                    .log = &sol->log,
                                    .shared = sol->shared,
                                    .generation = generation,
                                    .worker = out->len };
        int r = policy_load(&opts, &out->at[out->len], error);
        if (r < 0) {
            policies_drop(out);
            return r;
        }
        if (sol->options.verbose) out->at[out->len].config->log_level = LOG_DEBUG;
        out->len++;
        if (!workers) workers = workers_of(out->at[0].config);
    } while (out->len < workers);
    return 0;
}

static bool same_listeners(const struct config *a, const struct config *b) {
    if (a->listeners_len != b->listeners_len) return false;
    for (unsigned i = 0; i < a->listeners_len; i++)
        if (strcmp(a->listeners[i].url, b->listeners[i].url) != 0) return false;
    return true;
}

static struct config *listeners_copy(const struct config *c) {
    struct config *copy = config_new();
    copy->workers = c->workers;
    for (unsigned i = 0; i < c->listeners_len; i++)
        config_add_listener(copy, c->listeners[i].url, c->listeners[i].backlog,
                            c->listeners[i].mode);
    return copy;
}

/* A new generation, or the old one stays and the log says why. */
static void reload(struct sol *sol) {
    struct policies policies;
    char *error = NULL;
    unsigned generation = atomic_load(&sol->broker->generation) + 1;
    if (load(sol, generation, sol->broker->workers_len, &policies, &error) != 0) {
        log_error(&sol->log, "reload", "the old policy stays: %s", error);
        free(error);
        return;
    }
    if (!same_listeners(sol->listening, policies.at[0].config))
        log_warn(&sol->log, "reload", "changes of `listen` take effect at the next start");
    if (policies.at[0].config->workers != sol->listening->workers)
        log_warn(&sol->log, "reload", "a change of `workers` takes effect at the next start");
    atomic_store(&sol->broker->generation, generation);
    for (unsigned i = 0; i < policies.len; i++)
        broker_set_policy(sol->broker, i, policies.at[i].config, policies.at[i].hooks);
}

/* ---- operators ---------------------------------------------------------- */

static const struct door_verb *const verbs[] = { NULL };

/* 0, also when there is to be no door; or -errno, logged. */
static int open_admin(struct sol *sol, const char *path) {
    if (path && !*path) return 0;
    struct admin_opts opts = {
        .path = path, .log = &sol->log, .loop = sol->loop, .broker = sol->broker, .verbs = verbs
    };
    return admin_open(&opts, &sol->admin);
}

/* ---- running ------------------------------------------------------------ */

static void on_signal(void *obj, int signal) {
    struct sol *sol = obj;
    if (signal == SIGHUP) {
        reload(sol);
        return;
    }
    log_info(&sol->log, "stop", "%s: stopping", strsignal(signal));
    loop_stop(sol->loop);
}

/* As many descriptors as the system allows: each client needs one. */
static void raise_descriptors(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int serve(struct sol *sol, struct policies *policies) {
    static const int watched[] = { SIGHUP, SIGINT, SIGTERM };
    AUTO(signals_deinit) struct signals signals = { 0 };
    int r = signals_init(&signals, sol->loop, watched, ARRAY_LEN(watched), on_signal, sol);
    sol->broker = broker_new(&sol->log, policies->at[0].config, policies->at[0].hooks);
    for (unsigned i = 1; i < policies->len; i++)
        broker_add_worker(sol->broker, policies->at[i].config, policies->at[i].hooks);
    sol->listening = listeners_copy(policies->at[0].config);
    if (r == 0) r = open_admin(sol, policies->at[0].config->admin_socket);
    if (r == 0) r = broker_listen(sol->broker);
    if (r == 0) r = broker_start(sol->broker);
    if (r == 0) {
        log_info(&sol->log, "start", "sol " SOL_VERSION " is running (pid %d)%s", (int)getpid(),
                 sol->broker->workers_len > 1 ? " with several workers" : "");
        r = loop_run(sol->loop);
    }
    admin_close(sol->admin);
    broker_stop(sol->broker);
    broker_free(sol->broker);
    admin_free(sol->admin);
    config_free(sol->listening);
    return r;
}

static int run(struct sol *sol) {
    struct policies policies;
    char *error = NULL;
    raise_descriptors();
    if (load(sol, 1, 0, &policies, &error) != 0) {
        log_error(&sol->log, "config", "%s", error);
        free(error);
        return EXIT_FAILURE;
    }
    const struct config *config = policies.at[0].config;
    log_set(&sol->log, (enum log_level)config->log_level, (enum log_format)config->log_format);
    if (!sol->options.config)
        log_info(&sol->log, "config",
                 "no policy file (-c FILE): localhost:1883 only, "
                 "anonymous clients allowed");
    sol->loop = loop_new(NULL);
    if (!sol->loop) {
        log_error(&sol->log, "start", "epoll: %s", strerror(errno));
        return EXIT_FAILURE;
    }
    int r = serve(sol, &policies);
    loop_free(sol->loop);
    return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int check(struct sol *sol) {
    struct policies policies;
    char *error = NULL;
    const char *name = sol->options.config ? sol->options.config : "defaults";
    if (load(sol, 1, 1, &policies, &error) != 0) {
        fprintf(stderr, "%s\n", error);
        free(error);
        return EXIT_FAILURE;
    }
    policies_drop(&policies);
    printf("%s: ok\n", name);
    if (!sol->options.config && access("sol.lua", R_OK) == 0)
        puts("there is a sol.lua here; to check it: sol check -c sol.lua");
    return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    struct sol sol = { 0 };
    signal(SIGPIPE, SIG_IGN);
    log_init(&sol.log, STDERR_FILENO, LOG_INFO, LOG_TEXT);
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "passwd") == 0) return passwd_main(argc - 1, argv + 1);
    bool checking = strcmp(command, "check") == 0;
    bool named = checking || strcmp(command, "run") == 0;
    int r = read_options(argc - named, argv + named, &sol.options);
    if (r != GO_ON) return r;
    sol.shared = shared_new(NULL);
    int status = checking ? check(&sol) : run(&sol);
    shared_unref(sol.shared);
    return status;
}
