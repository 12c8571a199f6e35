/* errand.h -- what a policy does to one client's session by its own word: no hook is asked.
 *
 * Where the session lives on another worker an errand goes there, and nobody waits for it. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_ERRAND_H
#define SOL_SCRIPT_ERRAND_H

#include "script/lib_client.h"

struct message;

/* client:subscribe(filter [, options]), client:unsubscribe(filter) */
int client_subscribe(lua_State *L);
int client_unsubscribe(lua_State *L);

/* Hands the message (taken) to that client's session alone.  Gives 1, with true pushed; or 2,
 * nil and why. [-0, +1|2, m] */
int client_send(lua_State *L, struct client_place to, struct message *m);

#endif
