/* verdict.h -- what a handler's return value means: sol.allow(), sol.deny(), sol.drop(),
 * sol.continue(). */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_VERDICT_H
#define SOL_SCRIPT_VERDICT_H

#include "base/slice.h"
#include "core/hooks.h"

#include <lua.h>

/* Lends the server reference of the table of options at `arg`, or gives SLICE_NONE; raises
 * unless it goes with `reason_code`. [-0, +0, v] */
struct slice verdict_check_reference(lua_State *L, int arg, lua_Integer reason_code);

/* Registers the type with a VM; once. [-0, +0, m] */
void verdict_register(lua_State *L);
/* Each pushes a verdict; only a reason or data take memory. [-0, +1, m] */
void verdict_push(lua_State *L, enum verdict v);
void verdict_push_deny(lua_State *L, uint8_t reason_code, struct slice reason,
                       struct slice server_reference);
/* VERDICT_ALLOW or VERDICT_CONTINUE, with `data` for the client of an exchange. */
void verdict_push_reply(lua_State *L, enum verdict v, struct slice data);

struct answer {
    enum verdict verdict;
    uint8_t reason_code;
    struct slice reason, data, server_reference; /* lent while the value is on the stack */
};
/* Reads a handler's result; false when it is no verdict. [-0, +0, -] */
bool verdict_read(lua_State *L, int index, struct answer *out);

#endif
