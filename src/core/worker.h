/* worker.h -- a complete small broker in one thread; and the broker that owns them.
 *
 * A worker owns its loop, its connections, sessions and hooks.  Workers share what
 * struct broker holds: configuration, subscription index, retained store, counters.
 * Everything else crosses threads as mail. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_WORKER_H
#define SOL_CORE_WORKER_H

#include "base/buf.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/slots.h"
#include "core/config.h"
#include "core/hooks.h"
#include "core/landing.h"
#include "core/mail.h"
#include "io/chain.h"
#include "io/listen.h"
#include "io/loop.h"
#include "io/mailbox.h"

#include <pthread.h>

struct clock;
struct door_call;
struct gate;
struct gate_total;
struct retain;
struct reviews;
struct route;
struct subs;
struct helpers;

/* What happened since start; written by one worker, read by anyone (relaxed). */
struct counters {
    _Atomic uint64_t sessions;      /* now */
    _Atomic uint64_t connect_bytes; /* held by CONNECTs that are not decided */
    _Atomic uint64_t connections, connects_refused, sessions_expired;
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

/* What the workers need of the main thread (port: filled in by main).  Any worker's thread. */
struct broker_port {
    void *obj;
    /* This generation's policy is in place everywhere. */
    void (*in_place)(void *obj, unsigned generation);
    /* A reload is wanted: the call is answered on the main thread. */
    void (*reload)(void *obj, struct door_call *call);
};

struct broker {
    /* set before the threads start, then read-only */
    struct log *log;                /* lent */
    const struct clock *clock;      /* lent */
    const struct broker_port *port; /* lent; NULL: nobody reloads, nobody asks */
    struct subs *subs;
    struct retain *retained;
    struct helpers *helpers; /* threads for slow computations */
    struct worker *workers;  /* owned; room for WORKERS_MAX */
    unsigned workers_len;
    struct gate_total *gate_totals; /* owned: one a listener (gate.h) */
    unsigned gate_totals_len;
    uint64_t seed[2]; /* of the hash that says where a session lives */
    /* any thread */
    _Alignas(CACHE_LINE) _Atomic unsigned met; /* arrivals where the workers wait for one another
                                                  (worker.c) */
    _Atomic unsigned generation;               /* of the policy; 1 at start */
    _Atomic unsigned in_place;                 /* the last one said to be in place everywhere */
    _Atomic uint64_t connected;      /* clients, now: one count, so that max_connections is one */
    _Atomic uint64_t most_connected; /* at one time */
    /* main thread */
    bool is_over; /* the threads have ended */
};

enum { ROUTES_SPARE = 16 };

struct worker {
    /* set before the thread starts, then read-only */
    unsigned id;
    struct broker *broker;
    struct log *log; /* lent */
    pthread_t thread;
    bool is_running;              /* the thread; main thread only */
    struct listener **listeners;  /* owned; all workers accept on the same sockets */
    struct door **listener_doors; /* owned; private to worker.c; they live as long as the broker */
    unsigned listeners_len;
    /* touched only by this worker */
    struct config *config; /* owned; replaced by MAIL_POLICY */
    struct hooks *hooks;   /* owned; replaced by MAIL_POLICY */
    struct hooks *retired; /* older generations whose calls still wait; they own themselves */
    struct loop *loop;
    struct chain_pool chunks;
    struct landing landing;  /* where connections read */
    struct landing borrowed; /* what has come from other workers' */
    struct deferred return_loans;
    struct buf *whole;     /* lent: the packet at hand lies in it alone; or NULL.  Whoever wants
                              the memory takes it */
    struct slots clients;  /* struct client */
    struct slots sessions; /* struct session */
    struct map by_id;      /* struct session by client id */
    struct conn *conns;    /* list of all connections */
    unsigned conns_len;
    struct gate *gates;    /* owned: the listeners as connections know them */
    struct buf full_name;  /* of a topic that came from below a mount point */
    struct buf short_name; /* of one that goes there, and its properties */
    struct buf props;      /* of a message on its way in, those that travel */
    struct conn *slow_far; /* publishers that wait for another worker's reader; flow.c's */
    struct conn *closed;   /* to be freed at the end of the turn */
    struct session *ended; /* likewise */
    struct deferred reap;
    struct session *held_sessions; /* with more for the deliver hooks than one turn takes */
    struct deferred held_again;
    unsigned policies; /* that have been in place, this one included */
    struct map routes; /* struct route by topic: the route cache */
    /* private to route.c: */
    struct route **route_hand;               /* owned: eviction ring */
    struct route *route_passing;             /* owned reference: lent, but not remembered */
    struct route *route_arrived;             /* owned reference: of what another worker sent last */
    struct route *route_spare[ROUTES_SPARE]; /* owned: without a reference, for the next ones */
    unsigned route_spare_len;
    uint16_t *route_seen; /* owned: marks of topics met lately */
    unsigned route_len, route_at;
    uint32_t route_serial;  /* of the youngest */
    size_t route_receivers; /* of all routes remembered */
    struct ahead *ahead;    /* owned; private to ahead.c */
    struct slice behind;    /* lent: input that has come with the packet being handled; SLICE_NONE
                               where topics stand for some below a mount point */
    void *draft;            /* owned: memory for the next QoS 0 message, or NULL (message_draft) */
    struct fan *fan;        /* owned; private to conn_send.c */
    struct publish *free_publishes;
    struct publish *waiting; /* those a hook waits for */
    struct reviews *reviews; /* owned; private to review.c; NULL: none so far */
    uint64_t grants_made;    /* without a name, since the start */
    bool anonymous;          /* what allow_anonymous amounts to */
    bool has_started;        /* the start handlers have been told */
    bool stopping;
    struct timer stop_timer;
    struct timer sweep;                /* retained messages that have expired go */
    struct sys *sys;                   /* the $SYS topics; owned; the first worker's alone */
    struct batch *outbox[WORKERS_MAX]; /* owned: this turn's messages for each */
    struct deferred post;
    struct batch_pool batches; /* private to mail.c */
    /* any thread may post */
    _Alignas(CACHE_LINE) struct mailbox inbox;
    _Atomic size_t inbox_bytes; /* of messages in it */
    /* written by this worker, read by anyone */
    _Alignas(CACHE_LINE) _Atomic unsigned generation; /* of the policy in place here; 0: that of the
                                                         start */
    struct counters counters;
};

/* One thread starts threads: everything that runs beside main goes through here.  The
 * thread has all signals blocked.  0 or -errno. */
int thread_start(pthread_t *out, const char *name, void *(*run)(void *), void *obj);

/* Builds a broker with one worker; opens nothing.  Takes `config` and `hooks`; lends
 * `log`. */
struct broker *broker_new(struct log *log, struct config *config, struct hooks *hooks);
/* Likewise; lends `clock`, by which all its workers live. */
struct broker *broker_new_at(const struct clock *clock, struct log *log, struct config *config,
                             struct hooks *hooks);
/* One more, up to WORKERS_MAX; takes both.  Before broker_listen. */
void broker_add_worker(struct broker *b, struct config *config, struct hooks *hooks);
/* Opens the listeners of the configuration; 0, or -errno with the reason logged. */
int broker_listen(struct broker *b);
/* What a worker does before its first turn, on its own thread; for broker_start and for
 * solo.c, which has none. */
void worker_begin(struct worker *w);
/* Starts the threads; 0 or -errno. */
int broker_start(struct broker *b);
/* Puts a new generation in place on one worker (main thread).  Takes both.  To be called
 * for each of them, after broker->generation was set. */
void broker_set_policy(struct broker *b, unsigned worker, struct config *config,
                       struct hooks *hooks);
/* Says goodbye to the clients, runs the stop handlers, joins the threads. */
void broker_stop(struct broker *b);
void broker_free(struct broker *b);

/* The sum of a counter over all workers: any thread.  `offset` is offsetof(struct
 * counters, MEMBER). */
uint64_t broker_sum(const struct broker *b, size_t offset);
#define BROKER_SUM(b, member) broker_sum(b, offsetof(struct counters, member))
/* The worker that owns the sessions of this client id. */
unsigned broker_home(const struct broker *b, struct slice client_id);

/* For mail.c: MAIL_OPEN, MAIL_STOP and MAIL_POLICY, whose mail it takes. */
void worker_open(struct worker *w);
void worker_stop(struct worker *w);
void worker_set_policy(struct worker *w, struct mail_policy *mail);

#endif
