/* connecting.h -- a CONNECT on its way, between connect.c (questions) and accept.c (yes).
 *
 * One worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_CONNECTING_H
#define SOL_CORE_CONNECTING_H

#include "core/hooks.h"
#include "core/mail.h"
#include "io/loop.h"

struct connecting {
    struct conn *conn;     /* lent: cancel comes before it goes */
    struct client *client; /* owned reference */
    uint8_t *bytes;        /* owned: the packet's body */
    struct connect_request request;
    struct hook_call call;
    const char *server_reference; /* lent while it is refused; or NULL */
    uint32_t expiry;              /* what the session gets */
    uint16_t asked_keep_alive;
    uint32_t asked_expiry;
    bool is_assigned; /* the client gave no id */
    bool is_leaving;  /* for another worker, at the end of the turn */
    uint8_t stage;
    struct deferred departure;
    struct mail mail;
};

/* Everybody agreed: takes the session over or makes it, and answers CONNACK; or refuses. */
void connect_accept(struct connecting *q);
/* Answers CONNACK with `reason_code` and ends the connection.  `reason` (lent) is told to the
 * client where it may be, or NULL; `why` (lent) goes to the log in its place. */
void connect_refuse(struct connecting *q, uint8_t reason_code, const char *reason, const char *why);

/* Would the client (of this worker) be more than max_connections?  One that takes the place
 * of another is not one more. */
bool connect_is_one_too_many(const struct connecting *q, struct slice client_id);
extern const char connect_too_many[]; /* says so */

#endif
