/* trial.h -- what would become of it: CONNECT, PUBLISH or SUBSCRIBE as a question.
 *
 * A trial takes the way of the real thing through hooks and checks, and ends where something
 * would come of it.  The hooks do run, and what they do by themselves (an attribute set, a
 * message sent, a request made) is done.  What the broker would do is not: no session is
 * opened or taken over, no place among max_connections is taken, nothing is delivered,
 * retained, subscribed or acknowledged, no fact is told, nothing counted or logged; rates and
 * quotas in packets are not looked at.  deliver hooks, and the exchanges of enhanced
 * authentication, are not asked.  One worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_TRIAL_H
#define SOL_CORE_TRIAL_H

#include "io/loop.h"
#include "mqtt/packet.h"

struct client;
struct conn;
struct connecting;
struct grant_answer;
struct publish;
struct worker;

enum trial_decider {
    TRIAL_BY_HANDLER,
    TRIAL_BY_GRANT,
    TRIAL_BY_DEFAULT, /* nobody decided: default_access, allow_anonymous */
    TRIAL_BY_CHECK    /* a limit, or a rule of MQTT */
};

struct trial {
    /* the asker's, set before the start */
    void (*done)(struct trial *t); /* called once, perhaps before the start returns */
    void *obj;
    /* the outcome, there when done is called */
    uint8_t reason_code;   /* of a SUBSCRIBE that is granted: its QoS */
    bool is_dropped;       /* a PUBLISH that is acknowledged and goes no further */
    uint8_t by;            /* enum trial_decider */
    char *reason;          /* owned: why; or NULL */
    char *grant;           /* owned: TRIAL_BY_GRANT: which */
    unsigned receivers;    /* of a PUBLISH: sessions here, shares, and workers that have more */
    struct client *client; /* owned reference: whose trial; that of a CONNECT as it is by then */
    /* private */
    struct worker *worker; /* lent */
    struct conn *conn;     /* a CONNECT's own, while it is asked */
    int far_end;           /* of its socket */
    void (*cancel)(void *obj);
    void *cancel_obj;
    struct deferred late; /* the answer of one that was lost */
    bool is_over;
};

/* The client of the next one; takes a reference. */
void trial_init(struct trial *t, struct worker *w, struct client *client);
/* Ends it: hooks that wait are cancelled, done is not called any more.  What is in it is
 * freed.  Also from within done. */
void trial_deinit(struct trial *t);

/* Each asks one question; a trial may be asked several, one after the other.  Lent during
 * the call: the packet and `listener` (URL).  trial_connect makes the client, and
 * needs none; 0, or -errno. */
int trial_connect(struct trial *t, const char *listener, const struct pkt_connect *p);
void trial_publish(struct trial *t, const struct pkt_publish *p);
void trial_subscribe(struct trial *t, struct slice filter, const struct subscribe_options *options);

/* ---- for those who are asked ------------------------------------------------------ */

struct trial_outcome {
    uint8_t reason_code;
    uint8_t by;         /* enum trial_decider */
    const char *reason; /* lent; or NULL */
};
/* The answer; harmless when there is one already. */
void trial_over(struct trial *t, const struct trial_outcome *o);
/* The hooks have to be waited for; `cancel` gives it up. */
void trial_wait(struct trial *t, void (*cancel)(void *obj), void *obj);
/* A CONNECT would be refused for this reason, or accepted. */
void trial_refused(struct trial *t, const struct connecting *q, uint8_t reason_code,
                   const char *reason);
void trial_accepted(struct trial *t, const struct connecting *q);
/* The connection of a CONNECT has ended by itself: a hook, most likely, has closed it, and may
 * still run.  So this is told at the end of the turn. */
void trial_lost(struct trial *t, uint8_t reason_code, const char *why);
/* A grant has decided. */
void trial_granted(struct trial *t, const struct grant_answer *a);

#endif
