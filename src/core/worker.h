/* worker.h -- a complete small broker in one thread; and the broker that owns them.
 *
 * A worker owns its loop, its connections, sessions and hooks.  Workers share what
 * struct broker holds: configuration, subscription index, retained store, counters.
 * Everything else crosses threads as mail. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_WORKER_H
#define SOL_CORE_WORKER_H

#include "base/log.h"
#include "base/map.h"
#include "base/slots.h"
#include "core/config.h"
#include "core/hooks.h"
#include "io/chain.h"
#include "io/listen.h"
#include "io/loop.h"
#include "io/mailbox.h"

#include <pthread.h>

struct retain;
struct route;
struct subs;
struct helpers;

/* What happened since start; written by one worker, read by anyone (relaxed). */
struct counters {
    _Atomic uint64_t connections, connects_refused, most_connected, sessions_expired;
    _Atomic uint64_t messages_in, messages_out, bytes_in, bytes_out;
    _Atomic uint64_t dropped_queue_full, dropped_slow_reader, dropped_too_large, dropped_expired,
        dropped_by_hook;
};
#define COUNT(w, member) COUNT_ADD(w, member, 1)
/* One writer: no locked instruction needed. */
#define COUNT_ADD(w, member, n)                                                                    \
    atomic_store_explicit(&(w)->counters.member,                                                   \
                          atomic_load_explicit(&(w)->counters.member, memory_order_relaxed) + (n), \
                          memory_order_relaxed)

struct broker {
    struct log *log; /* lent */
    struct subs *subs;
    struct retain *retained;
    struct helpers *helpers; /* threads for slow computations */
    struct worker *workers;  /* workers_len of them */
    unsigned workers_len;
    _Atomic unsigned generation; /* of the policy; 1 at start */
};

/* Everything a worker may be told. */
enum mail_type {
    MAIL_STOP,   /* struct mail */
    MAIL_POLICY, /* struct mail_policy */
    MAIL_HELPED  /* struct job (helpers.h) */
};

/* A new generation: configuration and hooks replace the present ones. */
struct mail_policy {
    struct mail mail;
    struct config *config; /* owned by the receiver from here on */
    struct hooks *hooks;   /* likewise */
};

struct worker {
    /* set before the thread starts, then read-only */
    unsigned id;
    struct broker *broker;
    struct log *log; /* lent */
    pthread_t thread;
    bool is_running;              /* the thread; main thread only */
    struct listener **listeners;  /* owned */
    struct door **listener_doors; /* owned; private to worker.c */
    unsigned listeners_len;
    /* touched only by this worker */
    struct config *config; /* owned; replaced by MAIL_POLICY */
    struct hooks *hooks;   /* owned; replaced by MAIL_POLICY */
    struct hooks *retired; /* older generations whose calls still wait; they own themselves */
    struct loop *loop;
    struct chain_pool chunks;
    uint8_t *input;        /* the one read buffer, WORKER_INPUT bytes */
    struct slots clients;  /* struct client */
    struct slots sessions; /* struct session */
    struct map by_id;      /* struct session by client id */
    struct conn *conns;    /* list of all connections */
    unsigned conns_len, connected;
    struct conn *closed;   /* to be freed at the end of the turn */
    struct session *ended; /* likewise */
    struct deferred reap;
    struct session *held_sessions; /* with more for the deliver hooks than one turn takes */
    struct deferred held_again;
    unsigned policies;         /* that have been in place, this one included */
    struct map routes;         /* struct route by topic: the route cache */
    struct route **route_hand; /* eviction ring; private to route.c */
    unsigned route_len, route_at;
    size_t route_receivers; /* of all routes remembered */
    struct publish *free_publishes;
    struct publish *waiting; /* those a hook waits for */
    bool anonymous;          /* what allow_anonymous amounts to */
    bool stopping;
    struct timer stop_timer;
    struct sys *sys; /* the $SYS topics; owned */
    /* any thread may post */
    struct mailbox inbox;
    /* written by this worker, read by anyone */
    struct counters counters;
};

#define WORKER_INPUT 65536 /* bytes */

/* One thread starts threads: everything that runs beside main goes through here.  The
 * thread has all signals blocked.  0 or -errno. */
int thread_start(pthread_t *out, const char *name, void *(*run)(void *), void *obj);

/* Builds a broker with one worker; opens nothing.  Takes `config` and `hooks`; lends
 * `log`. */
struct broker *broker_new(struct log *log, struct config *config, struct hooks *hooks);
/* Opens the listeners of the configuration; 0, or -errno with the reason logged. */
int broker_listen(struct broker *b);
/* Starts the threads; 0 or -errno. */
int broker_start(struct broker *b);
/* Puts a new generation in place (main thread). Takes both. */
void broker_set_policy(struct broker *b, struct config *config, struct hooks *hooks);
/* Says goodbye to the clients, runs the stop handlers, joins the threads. */
void broker_stop(struct broker *b);
void broker_free(struct broker *b);

/* Walks the connected clients: start with *at == 0; NULL ends the walk.  Clients may
 * come and go meanwhile. */
struct client *worker_next_client(struct worker *w, uint32_t *at);

#endif
