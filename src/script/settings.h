/* settings.h -- the rows of all settings.
 *
 * Values are taken from index 3 of the stack and checked against the row; what is wrong
 * raises, with the setting's name, what it takes and what it got. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_SETTINGS_H
#define SOL_SCRIPT_SETTINGS_H

#include "base/slice.h"

#include <lua.h>

struct config;
struct limits;
struct listen_config;
struct setting; /* private: a row */
struct suggest;

/* Where a setting may stand: in the file for everyone, at a listener for its clients, in
 * the connect hook for one client. */
enum { SETTING_FILE = 1, SETTING_LISTEN = 2, SETTING_CLIENT = 4 };

/* NULL: there is none of this name. */
const struct setting *setting_find(struct slice name);
/* Everywhere `where` says? */
bool setting_may_stand(const struct setting *s, unsigned where);
/* Offers the names of those that may stand there. */
void settings_offer(struct suggest *near, unsigned where);

/* Calls fn for those that may stand there, in the order of their rows. */
void settings_each(unsigned where, void (*fn)(const struct setting *s, const char *name, void *obj),
                   void *obj);

/* Take the value at index 3. [-0, +0, v] */
void setting_set(lua_State *L, const struct setting *s, struct config *c);
void setting_set_listener(lua_State *L, const struct setting *s, struct listen_config *l);
void setting_set_limit(lua_State *L, const struct setting *s, struct limits *l);
/* Push the value in Lua's terms. [-0, +1, m] */
void setting_get(lua_State *L, const struct setting *s, const struct config *c);
void setting_get_limit(lua_State *L, const struct setting *s, const struct limits *l);
/* Pushes and lends the value at `index` as it should appear in an error. [-0, +1, m] */
const char *setting_push_shown(lua_State *L, int index);

/* The file has been read: what is not given at a listener is as it is for everyone. */
void settings_spread(struct config *c);

#endif
