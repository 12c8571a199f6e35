/* live.h -- an object lent for one invocation, whose plain fields are there to read at no
 * cost.
 *
 * Topic, QoS and retain lie in the object's table of fields (object_new_open), written
 * only when they differ from the last time; the topic only once a script has asked for
 * one, since making it a string of Lua's costs most.  Between invocations the object has
 * another metatable, and every access raises.  A task pins its values, see LIVE_VALUES. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_LIVE_H
#define SOL_SCRIPT_LIVE_H

#include "base/slice.h"
#include "script/object.h"

/* First member of the block. */
struct live {
    struct slice topic; /* lent: the string in the table of fields, or the message's bytes */
    bool shows_topic;   /* it is in the table */
    uint8_t qos;        /* as the table has them */
    bool retain;
};

/* The values of a live object on a stack, from index `at` on: itself, its table of fields,
 * the metatable it has while lent, the one it has otherwise. */
enum { LIVE_OBJECT, LIVE_FIELDS, LIVE_META, LIVE_DEAD, LIVE_VALUES };

/* Makes the metatable of what is not lent; once a VM. [-0, +0, m] */
void live_register(lua_State *L);
/* Pushes a new object, not lent, and its other values. [-0, +LIVE_VALUES, m] */
void *live_push(lua_State *L, const struct object_type *type, size_t size, int values);

/* Gives it these fields, the topic being lent to it. [-0, +0, m] */
void live_fill(lua_State *L, int at, struct live *live, struct slice topic, uint8_t qos,
               bool retain);
/* Lent from now on. [-0, +0, -] */
void live_begin(lua_State *L, int at);
/* Not lent any more. [-0, +0, -] */
void live_end(lua_State *L, int at);

/* For getters: pushes the topic of the object at index 1, which from now on is in its table
 * of fields. [-0, +1, m] */
void live_push_topic(lua_State *L, struct live *live);
/* What a script assigned: the value at index 3 replaces the field of the object at index 1.
 * [-0, +0, m] */
void live_set_topic(lua_State *L, struct live *live);
void live_set_qos(lua_State *L, struct live *live, uint8_t qos);
void live_set_retain(lua_State *L, struct live *live, bool retain);

#endif
