/* obj_message.h -- a message as scripts see it: lent for one invocation, with what they
 * changed beside it.
 *
 * The userdata is made once for a task and used again.  Changed strings stay with Lua, so
 * nothing is copied before the new message is built. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_OBJ_MESSAGE_H
#define SOL_SCRIPT_OBJ_MESSAGE_H

#include "base/buf.h"
#include "core/message.h"
#include "script/live.h"

#include <lua.h>

enum message_change {
    MESSAGE_TOPIC = 1,
    MESSAGE_PAYLOAD = 2,
    MESSAGE_PROPS = 4,
    MESSAGE_SCALARS = 8 /* qos, retain, expiry */
};

struct message_box {
    struct live live;        /* topic, qos and retain as they stand */
    struct message *message; /* lent; NULL: not within an invocation */
    const char *read_only;   /* why nothing may be assigned (static); NULL: all may */
    struct buf props;        /* owned: in place of the message's, with MESSAGE_PROPS */
    uint64_t expires_ms;     /* as it stands */
    uint8_t changed;         /* enum message_change, together */
    bool holds_payload;      /* in a user value */
};

/* Registers the types with a VM; once. [-0, +0, m] */
void message_register(lua_State *L);
/* Pushes a new one, not lent: as live_push. [-0, +LIVE_VALUES, m] */
struct message_box *message_box_push(lua_State *L);
/* Puts `m` (lent) into the box, whose values are at `at` (live.h). [-0, +0, m] */
void message_box_fill(lua_State *L, int at, struct message_box *box, struct message *m,
                      const char *read_only);
/* The message as it stands, lent until it changes again. [-0, +0, -] */
struct message_parts message_box_parts(lua_State *L, int at, const struct message_box *box);
/* Builds the message the scripts made of it, or NULL when they changed nothing. [-0, +0, m] */
struct message *message_box_build(lua_State *L, int at, struct message_box *box);
/* Takes it out, with what scripts changed. [-0, +0, -] */
void message_box_clear(lua_State *L, int at, struct message_box *box);

/* Pushes `m` as a plain table, as message:copy() gives it. [-0, +1, m] */
void message_push_table(lua_State *L, struct message *m, bool retain);

/* Encodes the properties given as a table at `index` (as message.properties takes them),
 * appended to `out`, which must be anchored: raises for what cannot be one.  An expiry in
 * it goes to *expiry (seconds), else -1. [-0, +0, e] */
void props_from_table(lua_State *L, int index, struct buf *out, int64_t *expiry);

/* A buffer that the collector frees when an error leaves it behind. [-0, +1, m] */
struct buf *push_buf(lua_State *L);

#endif
