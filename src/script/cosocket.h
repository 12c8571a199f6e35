/* cosocket.h -- the socket object of sol.socket: send and receive that wait.
 *
 * A cosocket is a userdata.  It is connecting (lib_socket.c), open, or closed; one
 * coroutine may receive on it while another sends.  Whoever waits on it keeps it alive;
 * a wait that is cancelled closes it. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_COSOCKET_H
#define SOL_SCRIPT_COSOCKET_H

#include "base/buf.h"
#include "io/listen.h"
#include "io/pool.h"
#include "script/object.h"
#include "script/op.h"

struct cosocket;
struct dial;
struct tls_context;

enum receive_what { RECEIVE_LINE, RECEIVE_COUNT, RECEIVE_ALL, RECEIVE_ANY };

/* Where a connecting one is going. */
struct destination {
    struct listen_url url;   /* owned */
    struct tls_context *tls; /* reference, or NULL */
    char *server_name;       /* owned, or NULL */
    uint64_t deadline_ms;
};

struct cosocket {
    struct vm *vm;        /* lent */
    bool is_live;         /* connecting or open: counted, and in a pool */
    struct stream stream; /* owned; fd -1: connecting or closed */
    struct watch watch;
    struct pool *pool; /* in use there, or queued; NULL: neither */
    struct pool_turn turn;
    unsigned pool_limit; /* of the pool; 0: none */
    unsigned reused;
    struct destination to; /* while connecting */
    struct dial *dial;     /* likewise */
    char *text;            /* owned: why connecting failed */
    struct op connect, receive, send;
    uint64_t send_ms, receive_ms; /* time-outs */
    /* input */
    struct buf in;
    size_t in_at, scanned;  /* read so far; without a line's end, from in_at on */
    size_t receive_max;     /* bytes of one result */
    enum receive_what what; /* of the receive under way */
    size_t count;           /* of RECEIVE_COUNT and RECEIVE_ANY */
    bool at_end;            /* the peer sends no more */
    const char *broken;     /* static or the stream's: no more use; NULL: it works */
    /* output of the send under way: the string lies on the sender's stack */
    const char *out;
    size_t out_len, out_at;
    /* sent when the socket is closed, if nothing else is half sent */
    uint8_t farewell[8], farewell_len;
};

extern const struct object_type cosocket_type;

/* Pushes a closed one. [-0, +1, m] */
struct cosocket *cosocket_new(lua_State *L);
/* It is about to connect; false: too many are. */
bool cosocket_begin(struct cosocket *s);
/* Puts a connection into it; takes the stream. */
void cosocket_adopt(struct cosocket *s, struct pooled c);
/* Closes, leaves its pool and gives up what was being done; others that wait on it are
 * told "closed".  Harmless when closed. */
void cosocket_drop(struct cosocket *s);

#endif
