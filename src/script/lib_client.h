/* lib_client.h -- clients as scripts see them. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_LIB_CLIENT_H
#define SOL_SCRIPT_LIB_CLIENT_H

#include "base/slots.h"

#include <lua.h>

struct client;
struct vm;

/* Pushes the client's one userdata, nil for NULL. [-0, +1, m] */
void client_push(lua_State *L, struct client *c);
/* Pushes a userdata for a client of the worker `home`; takes a reference to the copy of it.
 * [-0, +1, m] */
void client_push_copy(lua_State *L, struct client *copy, struct handle handle, unsigned home);
/* Lends the client of an argument, NULL when it has gone; raises for another type, and for
 * another worker's client. [-0, +0, v] */
struct client *client_check(lua_State *L, int arg);

/* Where a client is to be found. */
struct client_place {
    struct handle handle;
    unsigned home; /* the worker */
};
/* The place of an argument, wherever the client lives or lived; raises for another type.
 * [-0, +0, v] */
struct client_place client_place(lua_State *L, int arg);

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
