/* session.h -- what the broker remembers of a client id.
 *
 * Subscriptions, the messages on their way to the client, the QoS 2 packet ids it has
 * used, its will.  Lives from CONNECT to its expiry, with or without a connection.
 *
 * Outgoing QoS 1/2 messages (of QoS 0 those kept for an absent client) stand in one ring in
 * order: first those in flight, then those waiting.  Invariant: packet ids are handed out in ring
 * order, so the entry at index i in flight has packet id first_id + i (1..65535, wrapping) and an
 * acknowledgement finds its message without a search.  One worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_SESSION_H
#define SOL_CORE_SESSION_H

#include "core/client.h"
#include "core/hooks.h"
#include "core/message.h"
#include "core/pidset.h"
#include "core/subs.h"
#include "io/loop.h"

struct conn;
struct worker;

#define SESSION_FOREVER UINT32_MAX

enum delivery_state {
    DELIVERY_QUEUED,    /* not sent on this connection, no packet id yet */
    DELIVERY_RESEND,    /* in flight from an earlier connection, to be sent again with DUP */
    DELIVERY_SENT,      /* PUBLISH is out: awaits PUBACK or PUBREC */
    DELIVERY_RELEASED,  /* PUBREC came: PUBREL is out, awaits PUBCOMP */
    DELIVERY_REL_AGAIN, /* as released, PUBREL to be sent again on this connection */
    DELIVERY_DONE       /* acknowledged; waits for its elders to leave the ring */
};

/* One message on its way to one client. */
struct delivery {
    struct message *message; /* owned reference; NULL once released or done */
    uint32_t *identifiers;   /* owned: count, then that many; NULL: none */
    uint8_t qos;
    bool retain;
    uint8_t state;  /* enum delivery_state */
    uint32_t share; /* the shared subscription it came by, 0: none */
};

/* The will as CONNECT left it. */
struct pending_will {
    struct message *message; /* owned reference */
    struct client *client;   /* owned reference: its author */
    uint32_t delay;          /* seconds */
    uint32_t expiry;         /* seconds from its publication; 0: none */
};

/* A delivery that waits for its deliver hook, or for one before it; delivery.c. */
struct holding;
/* Retained messages still to be sent for a new subscription; delivery.c. */
struct replay;

/* A message for one session, as routing or the retained store has it. */
struct outgoing {
    struct message *message;     /* lent */
    const uint32_t *identifiers; /* lent: matching subscription identifiers */
    uint32_t identifiers_len;
    uint32_t share; /* the shared subscription it comes by, 0: none */
    uint8_t qos;    /* already the lower of the message's and the subscription's */
    bool retain;
    uint8_t standing; /* enum standing of what it comes by */
    uint32_t ask;     /* HOOK_BITs of HOOK_ASKED_AT_DELIVERY that want to see it */
};

/* What a session without a client does with a message (inner.h). */
typedef void inner_fn(void *obj, const struct outgoing *o);

struct session {
    struct handle handle;      /* in worker->sessions */
    struct worker *worker;     /* lent */
    struct client *client;     /* owned reference: the latest to connect */
    struct conn *conn;         /* lent; NULL while unconnected */
    struct subscription *subs; /* owned by the index */
    uint32_t subs_len;         /* of them */
    bool is_review_due;        /* private to review.c: one is queued, of what stands by grants, */
    bool is_full_review_due;   /* or of all subscriptions */
    struct attr *attrs;        /* owned list: client.session */
    inner_fn *inner;           /* takes its messages: it has no client; NULL: it has */
    void *inner_obj;           /* borrowed: inner's */
    uint32_t expiry;           /* seconds after the connection ends; 0: with it */
    struct session *next;      /* worker->ended */
    /* outgoing */
    struct delivery *ring; /* owned; ring_cap is 0 or a power of two */
    uint32_t ring_cap, ring_head, ring_len;
    uint32_t ring_sent;      /* entries with a packet id: the first of the ring */
    uint32_t ring_again;     /* of those, so many at the front are out on this connection;
                                the rest must be sent again first */
    uint32_t ring_open;      /* sent on this connection and not acknowledged: against window */
    uint16_t first_id;       /* packet id of the entry at the head */
    uint16_t window;         /* the client's Receive Maximum and max_inflight */
    uint32_t ring_releases;  /* PUBRELs to be sent again on this connection */
    uint32_t ring_gaps;      /* dropped entries at the front of those waiting */
    uint32_t waiting_qos0;   /* QoS 0 entries that wait */
    size_t queued_bytes;     /* weights of the messages in state DELIVERY_QUEUED */
    size_t open_bytes;       /* of those in state DELIVERY_SENT: against window_bytes */
    size_t window_bytes;     /* max_inflight_bytes; SIZE_MAX: no limit */
    struct holding *holding; /* owned, private to held.c; NULL: no deliver hook was ever asked */
    struct replay *replay, **replay_tail; /* owned */
    /* incoming */
    struct pidset received; /* QoS 2 packet ids between PUBLISH and PUBREL */
    struct pidset elder;    /* those of them from earlier connections: against no quota */
    /* while unconnected, or with a will */
    struct pending_will *will; /* owned */
    struct timer *absence;     /* owned; expiry or will delay, whichever is next */
    uint64_t expires_ms;       /* loop clock, while unconnected; UINT64_MAX: never */
    uint64_t will_due_ms;
};

/* The key function of worker->by_id. */
struct slice session_key(const void *obj);
/* Frees the sessions that ended this turn. */
void sessions_reap(struct worker *w);

/* The session of a client id, or NULL. */
struct session *session_find(struct worker *w, struct slice client_id);
/* A new session for the client, filed under its id; takes over nothing. */
struct session *session_new(struct worker *w, struct client *c);
/* One that `fn` takes the messages of; the client stands for nobody (inner.h). */
struct session *session_new_inner(struct worker *w, struct client *c, inner_fn *fn, void *obj);
/* End it: subscriptions, queue and (when due) will go with it; its handle finds nothing
 * any more, its memory stays to the end of the turn.  An attached connection must have
 * been detached. */
void session_end(struct session *s);

/* A connection enters: cancels expiry and a delayed will, and marks what was in flight
 * for sending again.  `client` becomes the session's. */
void session_attach(struct session *s, struct conn *c, struct client *client, uint16_t window);
/* The connection leaves.  `publish_will`: the standard demands the will (at once or after
 * its delay); otherwise it is forgotten.  Ends the session when its expiry is 0. */
void session_detach(struct session *s, bool publish_will);
/* The will of the present connection; takes it, NULL removes. */
void session_set_will(struct session *s, struct pending_will *will);

/* ---- delivery.c --------------------------------------------------------- */

/* Queue or send one message to this session; runs the deliver hooks first. */
void session_deliver(struct session *s, const struct outgoing *o);
/* Does a filter of the client match a topic that its mount point gives no name? */
bool session_hides(const struct session *s, const struct message *m);
/* Do the client's grants keep this message from a subscription of this standing? */
bool session_denies(const struct session *s, struct message *m, uint8_t standing);
/* May it be sent a message right now?  (Fairness among the members of a share.) */
bool session_is_ready(const struct session *s);
/* Send what may be sent: retransmissions first, then the queue while the window is
 * open, then retained messages being replayed. */
void session_pump(struct session *s);

/* Retained messages for a new subscription: looked up and sent as the connection has room
 * for them.  Copies the filter. */
void session_replay(struct session *s, struct slice filter, const struct subscribe_options *options,
                    uint32_t identifier);
/* The subscription they are sent for stands otherwise from now on. */
void session_replay_stands(struct session *s, struct slice filter, uint8_t standing);
/* The subscription has ended without a word of the client: so do they. */
void session_replay_end(struct session *s, struct slice filter);

enum { ACK_OK = 0, ACK_UNKNOWN = 1, ACK_OUT_OF_TURN = 2 };
/* An acknowledgement from the client: ACK_UNKNOWN when the packet id is not in flight,
 * ACK_OUT_OF_TURN when its message awaits another kind of packet. */
int session_puback(struct session *s, uint16_t packet_id);
int session_pubrec(struct session *s, uint16_t packet_id, uint8_t reason_code);
int session_pubcomp(struct session *s, uint16_t packet_id);

/* For session_attach: what was in flight is to be sent again. */
void delivery_rewind(struct session *s);
/* For session_end: drops everything on its way. */
void delivery_deinit(struct session *s);

#endif
