/* solo.h -- a broker in one process: one worker, no thread, no network, a clock driven by
 * hand.
 *
 * For those who want to see what the broker would do: tests of a policy, explanations.  It is
 * the real core; only its listeners stay closed.  Clients are the far ends of socket pairs;
 * they send what they are told, close when the broker does, and answer nothing.  Nothing happens
 * but in solo_settle and solo_pass_ms.  One thread, which must not be one of the loop's closures.
 */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_SOLO_H
#define SOL_CORE_SOLO_H

#include "base/clock.h"
#include "mqtt/packet.h"

#include <stdbool.h>

struct broker;
struct client;
struct config;
struct hooks;
struct log;
struct worker;

struct solo;
struct solo_peer; /* a client's end of a connection */

/* ---- the broker --------------------------------------------------------------- */

/* Begins as a broker does that has just started, the `start` handlers included, but for
 * `workers` (one) and `listen` (its listeners are known by their URLs, not open).  Takes
 * `config` and `hooks`; lends `clock` and `log`. */
struct solo *solo_new(struct hand_clock *clock, struct log *log, struct config *config,
                      struct hooks *hooks);
/* Its peers go with it.  NULL is fine. */
void solo_free(struct solo *s);

/* Turns until all that follows from what was sent, and from the time that has passed, is
 * done, jobs of the helpers included.  False: it found no rest after very many turns. */
bool solo_settle(struct solo *s);
/* Time passes, from one timer to the next, each at its own time; settles.  As solo_settle. */
bool solo_pass_ms(struct solo *s, uint64_t ms);
/* The `stop` handlers run, the clients hear of it and are cut off.  Only peers' ends of
 * connections, and solo_free, are of use then. */
void solo_stop(struct solo *s);
/* True while a closure of its loop runs, from which none of the above may be called. */
bool solo_is_busy(const struct solo *s);

/* Lent: the worker, for whoever looks inside. */
struct worker *solo_worker(const struct solo *s);

/* ---- clients ------------------------------------------------------------------- */

struct solo_origin {
    const char *listener; /* URL; NULL: the first of the configuration */
    const char *address;  /* the client's, as the broker knows it; NULL: "127.0.0.1:1" */
};

/* A connection comes in.  Lends the peer until solo_close.  NULL with errno: no descriptors. */
struct solo_peer *solo_open(struct solo *s, const struct solo_origin *from);
/* As solo_drop, and frees the peer. */
void solo_close(struct solo_peer *p);
/* Gone without a word, but what has come can still be taken. */
void solo_drop(struct solo_peer *p);

/* To be sent when the broker turns next; false: it cannot be expressed.  What follows a
 * CONNECT is written for the CONNECT's version. */
bool solo_post(struct solo_peer *p, const struct packet *packet);
void solo_post_bytes(struct solo_peer *p, struct slice bytes);

/* Of its CONNECT; 0: none was sent. */
uint8_t solo_version(const struct solo_peer *p);

/* The next packet that has come: lent until the next call; NULL: none. */
const struct packet *solo_take(struct solo_peer *p);
/* One of the two has closed the connection. */
bool solo_is_over(const struct solo_peer *p);
/* Lent: the broker's idea of the client; NULL once it has no such connection. */
struct client *solo_client(const struct solo_peer *p);

#endif
