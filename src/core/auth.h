/* auth.h -- enhanced authentication (MQTT 5.0, 4.12): the exchange of one connection.
 *
 * A CONNECT that names an authentication method begins an exchange: rounds of the
 * client's data to the `auth` hooks and their reply to the client, until the hooks allow
 * or deny.  The connection keeps the method, which never changes [MQTT-4.12.0-5], and
 * with AUTH the client may have itself authenticated anew at any time (4.12.1).
 *
 * While the hooks wait the connection is parked.  While it is the client's turn it is
 * read: before CONNACK it may only go on with the exchange (CONN_AUTHENTICATING), later
 * everything else goes its way under the old name.  One worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_AUTH_H
#define SOL_CORE_AUTH_H

#include "base/slice.h"

struct auth;
struct conn;
struct frame;
struct props;

/* How an exchange ended; all lent during the call. */
struct auth_outcome {
    uint8_t reason_code;          /* RC_SUCCESS, or why not */
    const char *reason;           /* for the client; or NULL */
    const char *server_reference; /* for the client; or NULL */
    const char *why;              /* for the log */
    struct slice username;        /* RC_SUCCESS: the client's; SLICE_NONE: it has none */
};
typedef void auth_settled_fn(void *obj, const struct auth_outcome *o);

/* Begins the exchange of a CONNECT with these properties, its method among them, for a
 * connection in CONN_OPENING.  `settled` is called once, perhaps before this returns: in
 * CONN_OPENING with the outcome; in any other state the connection has gone. */
void auth_begin(struct conn *c, const struct props *p, auth_settled_fn *settled, void *obj);
/* An AUTH of the client, in CONN_AUTHENTICATING or CONN_OPEN. */
void auth_packet(struct conn *c, const struct frame *f);
/* In CONN_AUTHENTICATING: the client has done what it may not. */
void auth_refuse(struct auth *a, uint8_t reason_code, const char *why);

/* Adds the method, and the reply of the last round if there is one. */
void auth_put_props(const struct auth *a, struct props *p);

/* The connection ends, and with it the exchange. */
void auth_leave(struct auth *a);
/* NULL is fine. */
void auth_free(struct auth *a);

#endif
