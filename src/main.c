/* main.c -- the command line: builds the layers and connects them.
 *
 * The main thread loads policies and waits for signals; the broker runs in threads of its
 * own (core/worker.c). */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/commands.h"
#include "admin/socket.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/worker.h"
#include "explain.h"
#include "io/signals.h"
#include "policies.h"
#include "script/asked.h"
#include "script/console.h"
#include "script/kv.h"
#include "script/policy.h"
#include "script/shared.h"
#include "script/test_main.h"
#include "store/store.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static const char usage[] =
    "usage: sol [run] [-c FILE] [-v] [-w]\n"
    "                                   run the broker\n"
    "       sol check [-c FILE]         check a policy file and exit\n"
    "       sol test FILE...            run tests of policies (sol test --help)\n"
    "       sol passwd [-c] [-D] [-b] FILE USER [PASSWORD]\n"
    "                                   create, change or (-D) delete a password entry\n"
    "       sol console [-w N] [-e CODE] [SOCKET]\n"
    "                                   a Lua prompt inside the running broker\n"
    "       sol reload [SOCKET]         make the running broker read its file again\n"
    "       sol explain connect|publish|subscribe --client ID ...\n"
    "                                   say what the policy makes of it (sol explain --help)\n"
    "       sol trace [--client ID] [--topic FILTER] [SOCKET]\n"
    "                                   show what the running broker's policy does\n"
    "\n"
    "  -c, --config FILE    configuration and policy (sol.lua); without it Sol listens on\n"
    "                       localhost:1883 and lets anyone in\n"
    "  -v, --verbose        log more (log_level = \"debug\")\n"
    "  -w, --watch          read the file again whenever it, or what it loads, changes\n"
    "  -h, --help           this text\n"
    "      --version        the version\n"
    "\n"
    "SIGHUP loads the file again and keeps the old policy if the new one has a fault.\n"
    "SOCKET is the broker's admin_socket; without it, where brokers usually have it.\n"
    "SIGINT and SIGTERM stop the broker.\n";

struct options {
    const char *config; /* NULL: none */
    bool verbose;
    bool watch; /* reload when a file of the policy changes */
};

struct sol {
    struct options options;
    struct log log;
    struct loop *loop;
    struct broker *broker;
    struct policy_source source;                      /* its `shared` is an owned reference */
    struct policies policies;                         /* of the start, until the broker has them */
    struct reload *reload;                            /* owned */
    const struct door_verb *verbs[CONSOLE_VERBS + 4]; /* what operators may ask; NULL at the end */
    struct admin *admin;                              /* owned: the operators' door, or NULL */
    struct store *store;                              /* owned; NULL: nothing outlives us */
};

/* ---- command line ------------------------------------------------------- */

enum { GO_ON = -1 };

/* Reads the options of `run` and `check`; GO_ON, or the exit status. */
static int read_options(int argc, char **argv, struct options *o) {
    enum { VERSION = 256 };
    static const struct option rows[] = {
        { "config", required_argument, NULL, 'c' }, { "verbose", no_argument, NULL, 'v' },
        { "watch", no_argument, NULL, 'w' },        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, VERSION },  { NULL, 0, NULL, 0 }
    };
    for (int c; (c = getopt_long(argc, argv, "c:vwh", rows, NULL)) != -1;) {
        switch (c) {
        case 'c': o->config = optarg; break;
        case 'v': o->verbose = true; break;
        case 'w': o->watch = true; break;
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

/* ---- operators ---------------------------------------------------------- */

/* 0, also when there is to be no door; or -errno, logged. */
static int open_admin(struct sol *sol, const char *path) {
    if (path && !*path) return 0;
    for (unsigned i = 0; i < CONSOLE_VERBS; i++) sol->verbs[i] = &console_verbs[i];
    sol->verbs[CONSOLE_VERBS] = reload_verb(sol->reload);
    sol->verbs[CONSOLE_VERBS + 1] = &asked_explain;
    sol->verbs[CONSOLE_VERBS + 2] = &asked_trace;
    struct admin_opts opts = { .path = path,
                               .log = &sol->log,
                               .loop = sol->loop,
                               .broker = sol->broker,
                               .verbs = sol->verbs };
    return admin_open(&opts, &sol->admin);
}

/* ---- what outlives the process --------------------------------------------- */

/* 0, also when nothing is to; or -errno, logged. */
static int open_store(struct sol *sol, const struct config *c) {
    struct store_opts opts = { .path = c->store,
                               .log = &sol->log,
                               .waits = c->durability == DURABILITY_SYNC };
    char *error;
    int r = c->store ? store_open(&opts, kv_load, sol->source.kv, &sol->store, &error) : 0;
    kv_resize(sol->source.kv, c->kv_size);
    if (!c->store) return 0;
    if (r == 0) {
        kv_attach(sol->source.kv, store_port(sol->store));
        log_info(&sol->log, "store", "%s is open", c->store);
        return 0;
    }
    log_error(&sol->log, "store", "%s", error);
    free(error);
    return r;
}

static void close_store(struct sol *sol) {
    kv_attach(sol->source.kv, NULL);
    store_close(sol->store);
}

/* ---- running ------------------------------------------------------------ */

static void on_signal(void *obj, int signal) {
    struct sol *sol = obj;
    if (signal == SIGHUP) {
        reload_now(sol->reload);
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

/* The broker, with everything that stands around it, not yet started: 0 or -errno. */
static int build(struct sol *sol) {
    struct policies *p = &sol->policies;
    sol->broker = broker_new(&sol->log, p->at[0].config, p->at[0].hooks);
    for (unsigned i = 1; i < p->len; i++)
        broker_add_worker(sol->broker, p->at[i].config, p->at[i].hooks);
    int r = reload_new(&sol->source, sol->loop, sol->broker, p->at[0].config, &sol->reload);
    if (r == 0) r = open_store(sol, p->at[0].config);
    if (r == 0 && sol->options.watch) r = reload_watch(sol->reload, &p->files);
    if (r == 0) r = open_admin(sol, p->at[0].config->admin_socket);
    if (r == 0) r = broker_listen(sol->broker);
    return r;
}

static void tear_down(struct sol *sol) {
    admin_close(sol->admin);
    broker_stop(sol->broker);
    close_store(sol); /* brings its notices before the mailboxes go */
    reload_free(sol->reload);
    broker_free(sol->broker);
    admin_free(sol->admin);
}

static int serve(struct sol *sol) {
    static const int watched[] = { SIGHUP, SIGINT, SIGTERM };
    AUTO(signals_deinit) struct signals signals = { 0 };
    int r = signals_init(&signals, sol->loop, watched, ARRAY_LEN(watched), on_signal, sol);
    int built = build(sol);
    if (r == 0) r = built;
    if (r == 0) r = broker_start(sol->broker);
    if (r == 0) {
        log_info(&sol->log, "start", "sol " SOL_VERSION " is running (pid %d)%s", (int)getpid(),
                 sol->broker->workers_len > 1 ? " with several workers" : "");
        r = loop_run(sol->loop);
    }
    tear_down(sol);
    return r;
}

static int run(struct sol *sol) {
    char *error = NULL;
    raise_descriptors();
    int r = policies_load(&sol->source, 1, 0, &sol->policies, &error);
    if (r < 0) {
        log_error(&sol->log, "config", "%s", error);
        free(error);
        return EXIT_FAILURE;
    }
    const struct config *config = sol->policies.at[0].config;
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
    r = serve(sol);
    loop_free(sol->loop);
    return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int check(struct sol *sol) {
    char *error = NULL;
    const char *name = sol->options.config ? sol->options.config : "defaults";
    if (policies_load(&sol->source, 1, 1, &sol->policies, &error) != 0) {
        fprintf(stderr, "%s\n", error);
        free(error);
        return EXIT_FAILURE;
    }
    policies_drop(&sol->policies);
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
    if (strcmp(command, "explain") == 0 || strcmp(command, "trace") == 0)
        return explain_main(argc - 1, argv + 1);
    if (strcmp(command, "reload") == 0) return reload_main(argc - 1, argv + 1);
    if (strcmp(command, "console") == 0) return console_main(argc - 1, argv + 1);
    if (strcmp(command, "test") == 0) return test_main(argc - 1, argv + 1);
    bool checking = strcmp(command, "check") == 0;
    bool named = checking || strcmp(command, "run") == 0;
    int r = read_options(argc - named, argv + named, &sol.options);
    if (r != GO_ON) return r;
    sol.source = (struct policy_source){ .path = sol.options.config,
                                         .log = &sol.log,
                                         .verbose = sol.options.verbose,
                                         .shared = shared_new(NULL),
                                         .kv = kv_new(NULL) };
    int status = checking ? check(&sol) : run(&sol);
    policy_files_deinit(&sol.policies.files);
    shared_unref(sol.source.shared);
    kv_free(sol.source.kv);
    return status;
}
