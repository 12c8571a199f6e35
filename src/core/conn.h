/* conn.h -- one network connection: packets in, packets out.
 *
 * Reads into the worker's landing and parses in place; keeps only an unfinished packet.
 * Writes collect in a chain that leaves once a turn.  While a hook waits the connection is
 * parked: nothing more of it is read, so its order is kept.
 *
 * Life: conn_open -> (CONNECT accepted: session attached) -> conn_close -> freed at the
 * end of the turn.  After conn_close `state` is CONN_CLOSED and every call is harmless.
 * One worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_CONN_H
#define SOL_CORE_CONN_H

#include "base/buf.h"
#include "base/slots.h"
#include "core/alias.h"
#include "core/hooks.h"
#include "core/limits.h"
#include "io/chain.h"
#include "io/loop.h"
#include "io/stream.h"
#include "mqtt/decode.h"

struct auth;
struct client;
struct flow;
struct route;
struct session;
struct worker;

enum conn_state {
    CONN_NEW,            /* no CONNECT yet */
    CONN_OPENING,        /* CONNECT is with the hooks */
    CONN_AUTHENTICATING, /* the client is to go on with what CONNECT began (auth.h) */
    CONN_OPEN,
    CONN_ENDING, /* last packet queued; reads discarded until it is out */
    CONN_CLOSED
};

struct conn {
    struct stream stream;
    struct watch watch;
    struct timer timer;     /* CONNECT time-out, then keep-alive, then lingering */
    struct deferred flush;  /* the end-of-turn write */
    struct deferred resume; /* goes on with the input after a wait */
    struct chain out;
    struct buf tail; /* an unfinished packet, or what waits for its turn (conn_read.c) */
    struct aliases aliases;
    struct rate *rate;       /* owned: how fast it may publish; NULL: as it likes */
    struct worker *worker;   /* lent */
    struct client *client;   /* owned reference */
    struct session *session; /* lent; NULL until CONNECT is accepted */
    struct route *route;     /* owned reference: of the topic it published to last; or NULL */
    struct auth *auth;       /* owned; NULL: CONNECT named no authentication method */
    /* parked for a call that waits: who to tell when the connection goes; NULL: not parked */
    void (*parked_cancel)(void *obj);
    void *parked_obj;
    struct conn *next, **link; /* worker->conns, or worker->closed */
    struct flow *flow;         /* owned by flow.c; NULL: never waited, or was waited for */
    struct trial *trial;       /* lent: only its CONNECT is asked about; or NULL */
    uint64_t heard_ms;         /* loop clock, last bytes */
    uint32_t packet_len;       /* of the unfinished packet in tail; 0: not known, or none */
    uint32_t connect_len;      /* bytes of the CONNECT being decided */
    uint32_t connect_bytes;    /* our part of counters.connect_bytes */
    uint32_t max_topic_len;    /* bytes and levels of a topic it may name, its mount */
    uint32_t max_topic_levels; /* point included */
    uint32_t max_out;          /* the client's Maximum Packet Size, bytes; 0: none */
    uint16_t receive_max;      /* what we announced; QoS 1/2 publishes it may have open */
    uint16_t keep_alive;       /* seconds, 0: off */
    uint8_t version;           /* enum mqtt_version; 0 before CONNECT */
    uint8_t state;             /* enum conn_state */
    bool is_blocked;           /* the last write met a full socket */
    bool is_paused;            /* not reading, see flow.c */
    bool is_throttled;         /* it published faster than its rate */
    bool checks_publish;       /* its limits concern more of a PUBLISH than the topic */
    bool is_mounted;           /* it sees its topics without a prefix */
    bool is_stuck;             /* as a subscriber: not waited for until it drains */
    bool has_hung_up;          /* the peer will send no more */
    bool wants_problem_info;   /* reason strings welcome */
    bool refusal_logged;       /* one refused publish a connection is news */
    bool will_on_close;        /* until a DISCONNECT says otherwise */
};

/* Takes the descriptor; copies `peer` and `listener` (its URL). */
void conn_open(struct worker *w, const struct stream_type *type, int fd, const char *peer,
               const char *listener);

/* How a connection ends; all lent, or NULL. */
struct farewell {
    uint8_t reason_code;
    const char *reason;           /* for the client, when welcome */
    const char *server_reference; /* for the client: where to go instead */
    const char *why;              /* static: for the log */
};
/* End the connection.  With reason_code != 0 and MQTT 5 a DISCONNECT goes out first and the
 * socket lingers briefly so that it is read. The will follows the standard. */
void conn_end_with(struct conn *c, const struct farewell *f);
void conn_end(struct conn *c, uint8_t reason_code, const char *reason, const char *why);
/* Close now, without a word. */
void conn_close(struct conn *c, const char *why);

/* CONNECT is accepted: the timer watches over the keep-alive from now on. */
void conn_start_keep_alive(struct conn *c);

/* Leaves its worker for another, before it has a session and before anything was sent;
 * not while parked.  Nobody may touch it until conn_arrive. */
void conn_depart(struct conn *c);
/* On the other worker: goes on with what was read. */
void conn_arrive(struct conn *c, struct worker *w);

/* Frees the connections closed this turn. */
void conns_reap(struct worker *w);

/* Disconnect by policy: conn_end_with of the client's connection, `why` filled in; false
 * when it has none. */
bool client_disconnect(struct client *c, const struct farewell *f);

/* The per-receiver part of a PUBLISH. */
struct publish_out {
    const uint32_t *identifiers; /* lent; identifiers_len of them */
    unsigned identifiers_len;
    uint16_t packet_id; /* 0 for QoS 0 */
    uint8_t qos;
    bool retain, dup;
};

enum { SEND_OK = 0, SEND_DROPPED = 1 };
/* Write a PUBLISH.  Borrows `m`.  SEND_DROPPED: larger than the client takes, or QoS 0 to
 * a reader whose buffers are full (counted). */
int conn_send_publish(struct conn *c, struct message *m, const struct publish_out *o);
/* `m` (lent) goes to many receivers: what is the same for several of them is laid out once.
 * NULL: that is over. */
void conn_fan_out(struct worker *w, const struct message *m);
/* Without its reason where that is too long for the client; what is too long even so ends
 * the connection. */
void conn_send_ack(struct conn *c, enum packet_type type, uint16_t packet_id, uint8_t reason_code,
                   const char *reason);
/* For conn_send.c: the chain has grown; it leaves at the end of the turn, or now when much
 * has collected. */
void conn_out_dirty(struct conn *c);
/* Writes what waits before the turn ends: others need its memory.  Harmless when there is
 * nothing, or nobody takes it. */
void conn_write_now(struct conn *c);
/* There is more for this connection than one turn should send: session_pump is called
 * again at the end of the next. */
void conn_pump_again(struct conn *c);
/* Room for more at once?  (replays, queues) */
bool conn_has_room(const struct conn *c);

/* Stop reading until conn_unpark; `cancel` is called with `obj` if the connection goes
 * first. */
void conn_park(struct conn *c, void (*cancel)(void *obj), void *obj);
/* The call has its verdict: go on with what was read, then read on. Harmless when closed. */
void conn_unpark(struct conn *c);

/* For conn.c.  One read, and what is to be done about the packets in it; after an error of
 * the socket (`has_failed`) nothing to read is an end, too. */
void conn_read(struct conn *c, bool has_failed);
/* Takes up what was read before a wait. */
void conn_read_on(struct conn *c);
/* For conn_read.c: it is not waiting for anything, nor are there too many answers. */
bool conn_is_reading(const struct conn *c);
/* What it holds before its CONNECT is decided has changed. */
void conn_note_held(struct conn *c);

/* For flow.c.  Whether it reads or not may have changed. */
void conn_update_interest(struct conn *c);
/* A pause is over: the rest of the input is taken up at the end of the turn.  Harmless when
 * closed. */
void conn_resume(struct conn *c);
/* When the keep-alive runs out, loop clock. */
uint64_t conn_keep_alive_due(const struct conn *c);

/* Send a packet other than PUBLISH and the plain acknowledgements.  False when it is
 * larger than the client takes: nothing is sent. */
struct packet;
bool conn_send(struct conn *c, const struct packet *p);
/* Likewise, but leaves out of its properties `props` what is for comfort only, as far as
 * that makes it fit [MQTT-3.2.2-19] [MQTT-3.4.2-2] [MQTT-3.14.2-3]. */
bool conn_send_fitting(struct conn *c, struct packet *p, struct props *props);
/* Would conn_send_fitting send it?  Leaves out what has to be. */
bool conn_make_fit(const struct conn *c, struct packet *p, struct props *props);

#endif
