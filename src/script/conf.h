/* conf.h -- sol.lua's environment: assignments to globals are settings. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_CONF_H
#define SOL_SCRIPT_CONF_H

#include <lua.h>

struct config;
struct script;

/* The table of functions and globals on top becomes sol.lua's environment: its settings
 * go to script->config while the script loads. [-1, +1, m] */
void conf_push_environment(lua_State *L, struct script *s);

#endif
