/* object.h -- what scripts see as objects: userdata whose fields are rows of a table.
 *
 * A type names its fields, each with a getter and perhaps a setter, and its methods.  An
 * unknown field, read or written, is an error with a suggestion. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_OBJECT_H
#define SOL_SCRIPT_OBJECT_H

#include "base/slice.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>

struct field {
    const char *name; /* NULL ends the rows */
    /* Pushes the value; the userdata is at index 1. [-0, +1, e] */
    void (*get)(lua_State *L, void *obj);
    /* Takes the value at index 3, or raises; NULL: read-only. [-0, +0, e] */
    void (*set)(lua_State *L, void *obj);
};

struct object_type {
    const char *name; /* in errors: "message" */
    const struct field *fields;
    const luaL_Reg *methods; /* NULL: none */
    /* The object behind the userdata's block, for the getters and setters.  May raise, or
     * give NULL: then every field is nil and none can be set. */
    void *(*resolve)(lua_State *L, void *block);
    lua_CFunction gc;              /* __gc, or NULL */
    lua_CFunction index, newindex; /* in place of the rows' (proxies), or NULL */
    const luaL_Reg *meta;          /* more metamethods, or NULL */
};

/* Registers the type with this VM; once. [-0, +0, m] */
void object_register(lua_State *L, const struct object_type *type);
/* Pushes a new userdata of the type, zeroed, with `values` user values. [-0, +1, m] */
void *object_new(lua_State *L, const struct object_type *type, size_t size, int values);
/* As object_new, but with a table of its own for fields: what lies there is read without
 * a call.  Its metatable is its own too.  The table is its user value 1; `values` counts
 * it. [-0, +1, m] */
void *object_new_open(lua_State *L, const struct object_type *type, size_t size, int values);
#define OBJECT_FIELDS 1 /* that user value */
/* The block of an argument of this type; raises otherwise. [-0, +0, v] */
void *object_check(lua_State *L, int arg, const struct object_type *type);
/* Likewise NULL when it is something else. [-0, +0, -] */
void *object_test(lua_State *L, int index, const struct object_type *type);

/* Pushes the type's name, and the names of its fields and of its methods as lists; or
 * nothing, and false, when it is no object. [-0, +0|3, m] */
bool object_describe(lua_State *L, int index);
/* Puts the value on top into the table of fields of the open object at `index`. [-1, +0, m] */
void object_show(lua_State *L, int index, const char *name);

/* Typed values for setters: the value at index 3 of `name`.  Raise with level 2. */
lua_Integer object_integer(lua_State *L, const char *name, lua_Integer min, lua_Integer max);
bool object_boolean(lua_State *L, const char *name);

#endif
