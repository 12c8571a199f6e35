/* lib.h -- the modules behind `sol`, one file each.
 *
 * A luaopen_ function pushes one value: the module's table or function.  It finds its VM
 * with vm_of(L).  At load time vm->worker is NULL: what needs the broker must say so with
 * lib_worker(). [-0, +1, e] each. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_LIB_H
#define SOL_SCRIPT_LIB_H

#include <lua.h>
#include <stdbool.h>

struct worker;

/* Fields of their own: sol.json, sol.topic ... */
int luaopen_sol_json(lua_State *L);     /* lib_json.c: a table */
int luaopen_sol_topic(lua_State *L);    /* lib_topic.c: a table */
int luaopen_sol_uuid(lua_State *L);     /* lib_uuid.c: a function */
int luaopen_sol_log(lua_State *L);      /* lib_log.c: a table */
int luaopen_sol_password(lua_State *L); /* lib_password.c: a table */
int luaopen_sol_base64(lua_State *L);   /* lib_encode.c: a table */
int luaopen_sol_hex(lua_State *L);      /* lib_encode.c: a table */
int luaopen_sol_shared(lua_State *L);   /* lib_shared.c: an object */
int luaopen_sol_kv(lua_State *L);       /* lib_kv.c: an object */
int luaopen_sol_socket(lua_State *L);   /* lib_socket.c: a table */
int luaopen_sol_dns(lua_State *L);      /* lib_dns.c: a table */
int luaopen_sol_sqlite(lua_State *L);   /* lib_sqlite.c: a table */

/* Tables whose functions become sol's own: sol.on, sol.sleep ... */
int luaopen_sol_hook(lua_State *L);    /* lib_hook.c: on allow continue deny drop */
int luaopen_sol_clients(lua_State *L); /* lib_clients.c: client clients */
int luaopen_sol_grant(lua_State *L);   /* lib_grant.c: reauthorize */
int luaopen_sol_publish(lua_State *L); /* lib_publish.c: publish */
int luaopen_sol_retain(lua_State *L);  /* lib_retain.c: retained */
int luaopen_sol_time(lua_State *L);    /* lib_time.c: now time sleep after every spawn */
int luaopen_sol_file(lua_State *L);    /* lib_file.c: read_file */
int luaopen_sol_append(lua_State *L);  /* lib_append.c: append_file */
int luaopen_sol_stats(lua_State *L);   /* lib_stats.c: hooks */
int luaopen_sol_crypto(lua_State *L);  /* lib_crypto.c: sha256 sha512 hmac random equal */
/* Moves the fields of the table on top into the one below. [-1, +0, m] */
void lib_merge(lua_State *L);

/* Is the value sol.json.null? [-0, +0, m] */
bool lib_is_null(lua_State *L, int index);

/* For Lua: suggest(word, names) gives "; did you mean ...?" or "". [-0, +1, e] */
int lib_suggest(lua_State *L);

/* The library `sol` as a whole (lib_sol.c): what require "sol" gives. */
int luaopen_sol(lua_State *L);

/* The sandbox's replacements: for Lua's coroutine library (lib_coroutine.c), and for some
 * functions of its string library (lib_string.c). */
int luaopen_sol_coroutine(lua_State *L);
int luaopen_sol_string(lua_State *L);

/* The worker, or an error naming `what` ("sol.publish") when the policy is only being
 * loaded. */
struct worker *lib_worker(lua_State *L, const char *what);

#endif
