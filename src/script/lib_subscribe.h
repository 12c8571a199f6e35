/* lib_subscribe.h -- messages for the policy itself: the primitive under sol.subscribe. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_LIB_SUBSCRIBE_H
#define SOL_SCRIPT_LIB_SUBSCRIBE_H

#include <lua.h>

struct script;

/* Adds listen, unlisten, on_message and is_first to the table on top. [-0, +0, m] */
void lib_subscribe_add(lua_State *L);
/* The script has its worker: what was subscribed to while it loaded counts from now on. */
void subscriptions_attach(struct script *s);
/* No message comes any more; frees the list.  Harmless when done. */
void subscriptions_retire(struct script *s);

#endif
