/* lib_client.h -- clients as scripts see them. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_LIB_CLIENT_H
#define SOL_SCRIPT_LIB_CLIENT_H

#include <lua.h>
#include <stdbool.h>

struct client;
struct vm;

/* Pushes the client's one userdata, nil for NULL. [-0, +1, m] */
void client_push(lua_State *L, struct client *c);
/* Lends the client of an argument, NULL when it has gone; raises for another type.
 * [-0, +0, v] */
struct client *client_check(lua_State *L, int arg);

/* Is it a client, gone or not? [-0, +0, -] */
bool client_is(lua_State *L, int index);

/* The cache of userdata: made when the VM is, freed before it closes. */
void clients_init(struct vm *vm);
void clients_deinit(struct vm *vm);
/* The client's memory goes: forget its userdata. */
void clients_forget(struct vm *vm, const struct client *c);
/* The user name of a connected client has changed. */
void clients_rename(struct vm *vm, const struct client *c);

#endif
