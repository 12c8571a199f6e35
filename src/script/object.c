/* object.c -- userdata with fields in rows.
 *
 * The metatable of a type lies in the registry under the address of its row.  __index and
 * __newindex find a field through a table from name to row: one lookup of an interned
 * string.  `__metatable` hides the metatable, so the metamethods only ever meet userdata
 * of their own type. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/object.h"

#include "script/suggest.h"
#include "script/vm.h"

#include <string.h>

static const struct object_type *type_of(lua_State *L) {
    return lua_touserdata(L, lua_upvalueindex(2));
}

static int unknown_field(lua_State *L) {
    const struct object_type *type = type_of(L);
    char buf[SUGGEST_MAX + 24];
    struct suggest s;
    if (lua_type(L, 2) != LUA_TSTRING)
        return luaL_error(L, "%s has no field of type %s", type->name, luaL_typename(L, 2));
    suggest_init(&s, lua_tostring(L, 2));
    for (const struct field *f = type->fields; f->name; f++) suggest_offer(&s, f->name);
    for (const luaL_Reg *m = type->methods; m && m->name; m++) suggest_offer(&s, m->name);
    return luaL_error(L, "%s has no field \"%s\"%s", type->name, s.word, suggest_text(&s, buf));
}

static int object_index(lua_State *L) {
    lua_settop(L, 2);                               /* ud, name */
    lua_pushvalue(L, 2);                            /* ud, name, name */
    switch (lua_rawget(L, lua_upvalueindex(1))) {   /* ud, name, row or method */
    case LUA_TLIGHTUSERDATA: break;
    case LUA_TFUNCTION: return 1;
    default: return unknown_field(L);
    }
    const struct field *field = lua_touserdata(L, 3);
    void *obj = type_of(L)->resolve(L, lua_touserdata(L, 1));
    if (obj) field->get(L, obj);                    /* ud, name, row, value */
    else lua_pushnil(L);                            /* ud, name, row, nil */
    return 1;
}

static int object_newindex(lua_State *L) {
    const struct object_type *type = type_of(L);
    lua_pushvalue(L, 2);                            /* ud, name, value, name */
    if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL) return unknown_field(L);
    const struct field *field = lua_touserdata(L, 4); /* ud, name, value, row */
    if (!field || !field->set)
        return luaL_error(L, "%s.%s cannot be assigned", type->name, lua_tostring(L, 2));
    void *obj = type->resolve(L, lua_touserdata(L, 1));
    if (!obj) return luaL_error(L, "%s is closed", type->name);
    lua_settop(L, 3);                               /* ud, name, value */
    field->set(L, obj);
    return 0;
}

/* Pushes the table from name to row or method. [-0, +1, m] */
static void push_rows(lua_State *L, const struct object_type *type) {
    lua_newtable(L);                                /* rows */
    for (const struct field *f = type->fields; f->name; f++) {
        lua_pushlightuserdata(L, (void *)(uintptr_t)f); /* rows, row */
        lua_setfield(L, -2, f->name);               /* rows */
    }
    if (type->methods) luaL_setfuncs(L, type->methods, 0);
}

/* Sets `meta[name] = fn`, with rows and type as upvalues. meta, rows are on top. */
static void set_accessor(lua_State *L, const struct object_type *type, const char *name,
                         lua_CFunction fn) {
    lua_pushvalue(L, -1);                           /* meta, rows, rows */
    lua_pushlightuserdata(L, (void *)(uintptr_t)type); /* meta, rows, rows, type */
    lua_pushcclosure(L, fn, 2);                     /* meta, rows, fn */
    lua_setfield(L, -3, name);                      /* meta, rows */
}

void object_register(lua_State *L, const struct object_type *type) {
    lua_newtable(L);                                /* meta */
    lua_pushstring(L, type->name);                  /* meta, name */
    lua_pushvalue(L, -1);                           /* meta, name, name */
    lua_setfield(L, -3, "__name");                  /* meta, name */
    lua_setfield(L, -2, "__metatable");             /* meta */
    if (type->gc) {
        lua_pushcfunction(L, type->gc);             /* meta, gc */
        lua_setfield(L, -2, "__gc");                /* meta */
    }
    if (type->meta) luaL_setfuncs(L, type->meta, 0);
    push_rows(L, type);                             /* meta, rows */
    set_accessor(L, type, "__index", type->index ? type->index : object_index);
    set_accessor(L, type, "__newindex", type->newindex ? type->newindex : object_newindex);
    lua_pop(L, 1);                                  /* meta */
    lua_rawsetp(L, LUA_REGISTRYINDEX, type);        /* */
}

void *object_new(lua_State *L, const struct object_type *type, size_t size, int values) {
    void *block = lua_newuserdatauv(L, size, values); /* ud */
    memset(block, 0, size);
    lua_rawgetp(L, LUA_REGISTRYINDEX, type);        /* ud, meta */
    lua_setmetatable(L, -2);                        /* ud */
    return block;
}

void *object_test(lua_State *L, int index, const struct object_type *type) {
    void *block = lua_touserdata(L, index);
    if (!block || !lua_getmetatable(L, index)) return NULL; /* meta */
    lua_rawgetp(L, LUA_REGISTRYINDEX, type);        /* meta, type's meta */
    bool is = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);                                  /* */
    return is ? block : NULL;
}

void *object_check(lua_State *L, int arg, const struct object_type *type) {
    void *block = object_test(L, arg, type);
    luaL_argexpected(L, block, arg, type->name);
    return block;
}

lua_Integer object_integer(lua_State *L, const char *name, lua_Integer min, lua_Integer max) {
    int is_integer;
    lua_Integer v = lua_tointegerx(L, 3, &is_integer);
    if (lua_type(L, 3) == LUA_TNUMBER && is_integer && v >= min && v <= max) return v;
    return luaL_error(L, "%s must be an integer from %I to %I, not %s", name, (LUAI_UACINT)min,
                      (LUAI_UACINT)max, luaL_tolstring(L, 3, NULL));
}

bool object_boolean(lua_State *L, const char *name) {
    if (!lua_isboolean(L, 3))
        luaL_error(L, "%s must be true or false, not a %s", name, luaL_typename(L, 3));
    return lua_toboolean(L, 3);
}
