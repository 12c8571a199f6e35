/* mail.h -- everything workers say to each other.
 *
 * A closed list: whoever wants something from another thread adds a row here.  Messages
 * for another worker's sessions collect in a batch per receiver, which leaves at the end
 * of the turn; everything else is posted at once.  Order from one worker to another is
 * kept within each kind. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_MAIL_H
#define SOL_CORE_MAIL_H

#include "base/slots.h"
#include "core/batch.h"
#include "io/mailbox.h"

struct config;
struct hooks;
struct worker;

enum mail_type {
    MAIL_OPEN,     /* struct mail: all workers have got as far as this one (worker_open) */
    MAIL_STOP,     /* struct mail */
    MAIL_POLICY,   /* struct mail_policy */
    MAIL_HELPED,   /* struct job (helpers.h) */
    MAIL_MESSAGES, /* struct batch */
    MAIL_MOVE,     /* struct move (connect.c): a connection comes to its session's worker */
    MAIL_SLOW,     /* struct mail_slow */
    MAIL_DRAINED,  /* struct mail_slow: that reader is waited for no more */
    MAIL_VISIT,    /* struct visit */
    MAIL_CHORE     /* struct chore */
};

/* A new generation: configuration and hooks replace the present ones. */
struct mail_policy {
    struct mail mail;
    struct config *config; /* owned by the receiver from here on */
    struct hooks *hooks;   /* likewise */
    unsigned generation;
};

/* A publisher of the receiver's has readers that lag. */
struct mail_slow {
    struct mail mail;
    struct handle publisher; /* its session */
    struct handle reader;    /* the session that lags, the sender's */
};

/* Something to be done on another worker's thread, and then at home again.  Both ways it
 * may find a worker that stops: `there` is then not called. */
struct visit {
    struct mail mail;
    void (*there)(struct worker *w, struct visit *v);
    void (*home)(struct visit *v); /* takes it */
    struct worker *from;           /* set by mail_visit */
    bool is_back;                  /* private to mail.c */
};

/* Something that another thread wants done on a worker's. */
struct chore {
    struct mail mail;
    /* Takes it.  Called in any case, also where the worker stops (w->stopping) and, with the
     * main thread in its place, once it has ended. */
    void (*run)(struct worker *w, struct chore *e);
};

/* Sends a copy of the parcel to `to`, not itself, and takes p->from in any case.  False: it was
 * sent, but the receiver has more than enough to do, and who causes this should rest. */
bool mail_parcel(struct worker *w, unsigned to, const struct parcel *p);
/* The batches of this turn leave. */
void mail_flush(struct worker *w);
/* Drops what has not left; shutdown. */
void mail_deinit(struct worker *w);
/* Has `to` more than enough to do? */
bool mail_congested(const struct worker *to);

/* Takes the visit.  Not once `from` stops: nobody might be there to bring it home. */
void mail_visit(struct worker *from, unsigned to, struct visit *v);
/* Any thread, while the broker lives; takes the chore. */
void mail_chore(struct worker *to, struct chore *e);
/* Tells the publisher's worker, another one, that `reader` lags.  While `w` stops it says
 * nothing, and those who wait help themselves (flow.c). */
void mail_slow(struct worker *w, struct handle publisher, struct handle reader);
/* Tells `workers`, a bit each, that it does so no more; likewise. */
void mail_drained(struct worker *w, uint64_t workers, struct handle reader);

/* Handles one mail of the worker's inbox: its mailbox_fn. */
void mail_handle(void *worker, struct mail *mail);

#endif
