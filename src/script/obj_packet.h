/* obj_packet.h -- MQTT packets as plain Lua tables, for test clients.
 *
 * { type = "publish", topic = "t", payload = "x", qos = 1, packet_id = 7, properties = {...} };
 * properties have the names of the standard in snake case, and user_properties.  What is
 * absent is zero or empty.  What is wrong can be said wrong. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_OBJ_PACKET_H
#define SOL_SCRIPT_OBJ_PACKET_H

#include "mqtt/packet.h"

#include <lua.h>

/* Pushes the packet as a table. [-0, +1, m] */
void packet_push(lua_State *L, const struct packet *p);
/* Reads the table at `index` into a packet that lends its strings from there; buffers that
 * it needs stay on the stack.  `version`: of the connection. [-0, +n, v] */
void packet_check(lua_State *L, int index, uint8_t version, struct packet *out);

#endif
