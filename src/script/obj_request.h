/* obj_request.h -- what clients ask for, as scripts see it: CONNECT, credentials,
 * exchange, subscription, access.
 *
 * Each is lent for one invocation; afterwards every access raises.  Assignments go
 * straight into core's request.  Access is asked for with every message, so its fields are
 * shown as a message's are (live.h). */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_OBJ_REQUEST_H
#define SOL_SCRIPT_OBJ_REQUEST_H

#include "script/live.h"

#include <lua.h>

struct access_request;

/* The block of each such userdata. */
struct request_box {
    void *request; /* lent: core's; NULL: not within an invocation */
};

enum request_kind {
    REQUEST_CONNECT,      /* struct connect_request */
    REQUEST_CREDENTIALS,  /* struct connect_request */
    REQUEST_EXCHANGE,     /* struct auth_exchange */
    REQUEST_SUBSCRIPTION, /* struct subscribe_request */
    REQUEST_FILTER,       /* struct subscribe_request, of an UNSUBSCRIBE */
    REQUEST_KINDS
};

/* The request it shows; raises when there is none any more. [-0, +0, v] */
void *request_of_box(lua_State *L, const struct request_box *box);

/* Registers the types with a VM; once. [-0, +0, m] */
void request_register(lua_State *L);
/* Pushes a new one, with nothing lent. [-0, +1, m] */
struct request_box *request_box_push(lua_State *L, enum request_kind kind);
/* Drops what scripts have kept in the state of an exchange. [-0, +0, -] */
struct auth_exchange;
void exchange_forget(lua_State *L, const struct auth_exchange *x);

/* An access request, with its plain fields at hand. */
struct access_box {
    struct live live;
    int action;       /* enum access_action as its table of fields has it; -1: not yet */
    bool has_message; /* user value ACCESS_MESSAGE: the userdata of a lent message */
};
#define ACCESS_MESSAGE (OBJECT_FIELDS + 1)

/* Pushes a new one, not lent: as live_push. [-0, +LIVE_VALUES, m] */
struct access_box *access_box_push(lua_State *L);
/* Puts `q` (lent) into the box, whose values are at `at` (live.h). [-0, +0, m] */
void access_box_fill(lua_State *L, int at, struct access_box *box, const struct access_request *q);

#endif
