/* object.c -- userdata with fields in rows.
 *
 * The metatable of a type lies in the registry under the address of its row.
 * `__metatable` hides it from scripts, so the metamethods only ever meet userdata of
 * their own type and need not check. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/object.h"

#include "script/suggest.h"
#include "script/vm.h"

#include <string.h>

/* The rows of a type by the address of their names: Lua keeps one copy of a short string,
 * so an equal name has an equal address.  Upvalue 1 of the accessors; its user value 1 is
 * a table from name to method, whose strings also keep the names alive. */
struct rows {
    const struct object_type *type;
    unsigned mask;
    struct row {
        const char *name; /* address inside Lua; NULL: free */
        const struct field *field;
    } at[];
};

static struct row *row_cell(struct rows *rows, const char *name) {
    unsigned i = (unsigned)((uintptr_t)name >> 3) & rows->mask;
    while (rows->at[i].name && rows->at[i].name != name) i = (i + 1) & rows->mask;
    return &rows->at[i];
}

static int unknown_field(lua_State *L, const struct object_type *type) {
    char buf[SUGGEST_MAX + 24];
    struct suggest s;
    if (lua_type(L, 2) != LUA_TSTRING)
        return luaL_error(L, "%s has no field of type %s", type->name, luaL_typename(L, 2));
    suggest_init(&s, lua_tostring(L, 2));
    for (const struct field *f = type->fields; f->name; f++) suggest_offer(&s, f->name);
    for (const luaL_Reg *m = type->methods; m && m->name; m++) suggest_offer(&s, m->name);
    return luaL_error(L, "%s has no field \"%s\"%s", type->name, s.word, suggest_text(&s, buf));
}

/* A name that is no field's: a method, or an error. */
static int method(lua_State *L, const struct object_type *type) {
    lua_settop(L, 2);                                 /* ud, name */
    lua_getiuservalue(L, lua_upvalueindex(1), 1);     /* ud, name, methods */
    lua_pushvalue(L, 2);                              /* ud, name, methods, name */
    if (lua_rawget(L, -2) == LUA_TFUNCTION) return 1; /* ud, name, methods, method */
    return unknown_field(L, type);
}

static int object_index(lua_State *L) {
    struct rows *rows = lua_touserdata(L, lua_upvalueindex(1));
    const char *name = lua_tostring(L, 2);
    const struct row *row = name ? row_cell(rows, name) : NULL;
    if (!row || !row->field) return method(L, rows->type);
    void *obj = rows->type->resolve(L, lua_touserdata(L, 1));
    if (obj)
        row->field->get(L, obj); /* ud, name, value */
    else
        lua_pushnil(L); /* ud, name, nil */
    return 1;
}

static int object_newindex(lua_State *L) {
    struct rows *rows = lua_touserdata(L, lua_upvalueindex(1));
    const struct object_type *type = rows->type;
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
    const struct row *row = name ? row_cell(rows, name) : NULL;
    if (!row || !row->field) {
        method(L, type);
        return luaL_error(L, "%s.%s cannot be assigned", type->name, name);
    }
    if (!row->field->set) return luaL_error(L, "%s.%s cannot be assigned", type->name, name);
    void *obj = type->resolve(L, lua_touserdata(L, 1));
    if (!obj) return luaL_error(L, "%s is closed", type->name);
    row->field->set(L, obj);
    return 0;
}

/* Under this address a table of fields has its object. */
static const char object_key = 'o';

/* What the table of fields of an open object does not have: asked of the object. */
static int fields_index(lua_State *L) {
    lua_rawgetp(L, 1, &object_key); /* fields, name, ud */
    lua_replace(L, 1);              /* ud, name */
    return object_index(L);
}

/* Pushes the rows of a type. [-0, +1, m] */
static void push_rows(lua_State *L, const struct object_type *type) {
    unsigned len = 0, cells = 4;
    while (type->fields[len].name) len++;
    while (cells < 2 * len) cells *= 2;
    struct rows *rows =
        lua_newuserdatauv(L, sizeof *rows + cells * sizeof rows->at[0], 1); /* rows */
    memset(rows, 0, sizeof *rows + cells * sizeof rows->at[0]);
    rows->type = type;
    rows->mask = cells - 1;
    lua_newtable(L); /* rows, methods */
    if (type->methods) luaL_setfuncs(L, type->methods, 0);
    for (const struct field *f = type->fields; f->name; f++) {
        const char *name = lua_pushstring(L, f->name); /* rows, methods, name */
        *row_cell(rows, name) = (struct row){ name, f };
        lua_pushboolean(L, 1); /* rows, methods, name, true */
        lua_rawset(L, -3);     /* rows, methods */
    }
    lua_setiuservalue(L, -2, 1); /* rows */
}

/* Sets `meta[name] = fn`, with the rows as its upvalue.  meta, rows are on top. */
static void set_accessor(lua_State *L, const char *name, lua_CFunction fn) {
    lua_pushvalue(L, -1);       /* meta, rows, rows */
    lua_pushcclosure(L, fn, 1); /* meta, rows, fn */
    lua_setfield(L, -3, name);  /* meta, rows */
}

/* The metatable of a type, by its integer keys: */
enum {
    META_TYPE = 1,  /* the address of its object_type */
    META_FIELDS = 2 /* the metatable of the tables of fields */
};

/* [-0, +0, m]; meta, rows are on top. */
static void set_fields_meta(lua_State *L) {
    lua_newtable(L);                      /* meta, rows, fields' meta */
    lua_pushvalue(L, -2);                 /* meta, rows, fields' meta, rows */
    lua_pushcclosure(L, fields_index, 1); /* meta, rows, fields' meta, fn */
    lua_setfield(L, -2, "__index");       /* meta, rows, fields' meta */
    lua_rawseti(L, -3, META_FIELDS);      /* meta, rows */
}

void object_register(lua_State *L, const struct object_type *type) {
    lua_newtable(L);                                   /* meta */
    lua_pushlightuserdata(L, (void *)(uintptr_t)type); /* meta, type */
    lua_rawseti(L, -2, META_TYPE);                     /* meta */
    lua_pushstring(L, type->name);                     /* meta, name */
    lua_pushvalue(L, -1);                              /* meta, name, name */
    lua_setfield(L, -3, "__name");                     /* meta, name */
    lua_setfield(L, -2, "__metatable");                /* meta */
    if (type->gc) {
        lua_pushcfunction(L, type->gc); /* meta, gc */
        lua_setfield(L, -2, "__gc");    /* meta */
    }
    if (type->meta) luaL_setfuncs(L, type->meta, 0);
    push_rows(L, type); /* meta, rows */
    set_accessor(L, "__index", type->index ? type->index : object_index);
    set_accessor(L, "__newindex", type->newindex ? type->newindex : object_newindex);
    set_fields_meta(L);
    lua_pop(L, 1);                           /* meta */
    lua_rawsetp(L, LUA_REGISTRYINDEX, type); /* */
}

void *object_new(lua_State *L, const struct object_type *type, size_t size, int values) {
    void *block = lua_newuserdatauv(L, size, values); /* ud */
    memset(block, 0, size);
    lua_rawgetp(L, LUA_REGISTRYINDEX, type); /* ud, meta */
    lua_setmetatable(L, -2);                 /* ud */
    return block;
}

/* Pushes a copy of the metatable on top, without what only the original needs. [-0, +1, m] */
static void push_meta_copy(lua_State *L) {
    lua_createtable(L, 1, 6);                /* meta, copy */
    for (lua_pushnil(L); lua_next(L, -3);) { /* meta, copy, name, value */
        lua_pushvalue(L, -2);                /* meta, copy, name, value, name */
        lua_insert(L, -2);                   /* meta, copy, name, name, value */
        if (lua_isinteger(L, -2) && lua_tointeger(L, -2) == META_FIELDS)
            lua_pop(L, 2);
        else
            lua_rawset(L, -4); /* meta, copy, name */
    }
}

void *object_new_open(lua_State *L, const struct object_type *type, size_t size, int values) {
    void *block = lua_newuserdatauv(L, size, values); /* ud */
    memset(block, 0, size);
    lua_createtable(L, 0, 3);                /* ud, fields */
    lua_pushvalue(L, -2);                    /* ud, fields, ud */
    lua_rawsetp(L, -2, &object_key);         /* ud, fields */
    lua_rawgetp(L, LUA_REGISTRYINDEX, type); /* ud, fields, meta */
    lua_rawgeti(L, -1, META_FIELDS);         /* ud, fields, meta, fields' meta */
    lua_setmetatable(L, -3);                 /* ud, fields, meta */
    push_meta_copy(L);                       /* ud, fields, meta, copy */
    lua_pushvalue(L, -3);                    /* ud, fields, meta, copy, fields */
    lua_setfield(L, -2, "__index");          /* ud, fields, meta, copy */
    lua_setmetatable(L, -4);                 /* ud, fields, meta */
    lua_pop(L, 1);                           /* ud, fields */
    lua_setiuservalue(L, -2, OBJECT_FIELDS); /* ud */
    return block;
}

void object_show(lua_State *L, int index, const char *name) {
    index = lua_absindex(L, index);
    lua_getiuservalue(L, index, OBJECT_FIELDS); /* value, fields */
    lua_insert(L, -2);                          /* fields, value */
    lua_pushstring(L, name);                    /* fields, value, name */
    lua_insert(L, -2);                          /* fields, name, value */
    lua_rawset(L, -3);                          /* fields */
    lua_pop(L, 1);                              /* */
}

bool object_describe(lua_State *L, int index) {
    if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index)) return false; /* meta */
    lua_rawgeti(L, -1, META_TYPE); /* meta, type */
    const struct object_type *type = lua_touserdata(L, -1);
    lua_pop(L, 2); /* */
    if (!type) return false;
    lua_Integer n = 0;
    lua_pushstring(L, type->name); /* name */
    lua_newtable(L);               /* name, fields */
    for (const struct field *f = type->fields; f->name; f++) {
        lua_pushstring(L, f->name); /* name, fields, field */
        lua_rawseti(L, -2, ++n);    /* name, fields */
    }
    n = 0;
    lua_newtable(L); /* name, fields, methods */
    for (const luaL_Reg *m = type->methods; m && m->name; m++) {
        lua_pushstring(L, m->name); /* name, fields, methods, method */
        lua_rawseti(L, -2, ++n);    /* name, fields, methods */
    }
    return true;
}

void *object_test(lua_State *L, int index, const struct object_type *type) {
    void *block = lua_touserdata(L, index);
    if (!block || !lua_getmetatable(L, index)) return NULL; /* meta */
    lua_rawgeti(L, -1, META_TYPE);                          /* meta, type */
    bool is = lua_touserdata(L, -1) == type;
    lua_pop(L, 2); /* */
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
