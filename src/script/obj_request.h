/* obj_request.h -- what clients ask for, as scripts see it: CONNECT, credentials,
 * subscription, access.
 *
 * Each is lent for one invocation; afterwards every access raises.  Assignments go
 * straight into core's request. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_OBJ_REQUEST_H
#define SOL_SCRIPT_OBJ_REQUEST_H

#include <lua.h>

/* The block of each such userdata. */
struct request_box {
    void *request; /* lent: core's; NULL: not within an invocation */
};

enum request_kind {
    REQUEST_CONNECT,      /* struct connect_request */
    REQUEST_CREDENTIALS,  /* struct connect_request */
    REQUEST_SUBSCRIPTION, /* struct subscribe_request */
    REQUEST_FILTER,       /* struct subscribe_request, of an UNSUBSCRIBE */
    REQUEST_ACCESS        /* struct access_request; user value 1: its message's userdata */
};

/* Registers the types with a VM; once. [-0, +0, m] */
void request_register(lua_State *L);
/* Pushes a new one, with nothing lent. [-0, +1, m] */
struct request_box *request_box_push(lua_State *L, enum request_kind kind);

#endif
