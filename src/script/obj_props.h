/* obj_props.h -- message.properties: a view of encoded MQTT 5 properties. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_OBJ_PROPS_H
#define SOL_SCRIPT_OBJ_PROPS_H

#include <lua.h>
#include <stdint.h>

struct buf;
struct message_box;
struct prop_item;

/* Registers the types with a VM; once. [-0, +0, m] */
void props_register(lua_State *L);
/* Pushes the view of the message userdata at `index`. [-0, +1, m] */
void props_push_proxy(lua_State *L, int index);
/* What a property (enum prop_id) is called here; NULL: a message has none such. */
const char *props_name(uint8_t id);
/* Pushes the properties as a plain table. [-0, +1, m] */
void props_push_table(lua_State *L, const struct message_box *box);
/* Pushes a user property as { name, value }. [-0, +1, m] */
void props_push_pair(lua_State *L, const struct prop_item *item);
/* Appends the user properties of the table at `index`, { {name, value}, ..., name = value,
 * ... }: the list in its order, then the names in theirs, so that equal tables give equal
 * messages. [-0, +0, v] */
void props_add_user_table(lua_State *L, int index, struct buf *out);

#endif
