/* lib_json.c -- sol.json: text to tables and back.
 *
 * jansson parses; its tree is copied into Lua and dropped.  The way back walks the Lua
 * value and writes by itself, because jansson has one precision for all reals of a text
 * (we want each at its shortest) and a tree on that side would be a second copy.
 * What C holds meanwhile lies in a box, a userdata, so an error of Lua's leaks nothing.  One
 * box is kept for the next call; a call takes it away, since a finalizer may call us
 * again from inside, and puts it back when nothing went wrong.
 * Integers stay integers, null is sol.json.null, arrays carry a metatable that tells an
 * empty one from an empty object. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "base/buf.h"
#include "base/mem.h"
#include "mqtt/utf8.h"
#include "script/vm.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define DEPTH_MAX 128                /* arrays and objects inside each other */
#define TEXT_MAX  (4u * 1024 * 1024) /* bytes of a text, either way */
#define SPARE_MAX 65536              /* bytes of memory kept from one call to the next */

/* Upvalues of every function here. */
enum { UP_NULL = 1, UP_ARRAY_META, UP_BOX_META, UP_SPARE, UPVALUES = UP_SPARE };

/* ---- boxes ---------------------------------------------------------------- */

struct box {
    json_t *tree; /* owned */
    struct buf text;
    struct buf keys; /* struct key: of the objects being written */
};

static void box_deinit(struct box *box) {
    json_decref(box->tree); /* NULL is fine */
    box->tree = NULL;
    buf_deinit(&box->text);
    buf_deinit(&box->keys);
}

static int box_gc(lua_State *L) {
    box_deinit(lua_touserdata(L, 1));
    return 0;
}

/* Pushes an empty box: the spare one, which then is ours alone, or a new one.
 * [-0, +1, m] */
static struct box *take_box(lua_State *L) {
    if (lua_rawgeti(L, lua_upvalueindex(UP_SPARE), 1) == LUA_TUSERDATA) { /* box */
        lua_pushboolean(L, 0);                                            /* box, false */
        lua_rawseti(L, lua_upvalueindex(UP_SPARE), 1);                    /* box */
        return lua_touserdata(L, -1);
    }
    lua_pop(L, 1);                                          /* */
    struct box *box = lua_newuserdatauv(L, sizeof *box, 0); /* box */
    *box = (struct box){ NULL, BUF_INIT, BUF_INIT };
    lua_pushvalue(L, lua_upvalueindex(UP_BOX_META)); /* box, meta */
    lua_setmetatable(L, -2);                         /* box */
    return box;
}

/* Makes the box at `index` the spare one. [-0, +0, m] */
static void give_box(lua_State *L, int index, struct box *box) {
    json_decref(box->tree);
    box->tree = NULL;
    box->text.len = box->keys.len = 0;
    if (box->text.cap + box->keys.cap > SPARE_MAX) box_deinit(box);
    lua_pushvalue(L, index);                       /* box */
    lua_rawseti(L, lua_upvalueindex(UP_SPARE), 1); /* */
}

/* Marks the table on top as an array. [-0, +0, -] */
static void mark_array(lua_State *L) {
    lua_pushvalue(L, lua_upvalueindex(UP_ARRAY_META)); /* table, meta */
    lua_setmetatable(L, -2);                           /* table */
}

/* ---- decode --------------------------------------------------------------- */

static bool push_tree(lua_State *L, json_t *tree, int depth);

/* Pushes an array; false, with rubbish pushed, when it is too deep. [-0, +1.., m] */
static bool push_array(lua_State *L, json_t *tree, int depth) {
    size_t len = json_array_size(tree);
    lua_createtable(L, (int)len, 0); /* array */
    mark_array(L);
    for (size_t i = 0; i < len; i++) {
        if (!push_tree(L, json_array_get(tree, i), depth)) return false; /* array, value */
        lua_rawseti(L, -2, (lua_Integer)i + 1);                          /* array */
    }
    return true;
}

/* As push_array. [-0, +1.., m] */
static bool push_object(lua_State *L, json_t *tree, int depth) {
    lua_createtable(L, 0, (int)json_object_size(tree)); /* object */
    for (void *at = json_object_iter(tree); at; at = json_object_iter_next(tree, at)) {
        lua_pushlstring(L, json_object_iter_key(at), json_object_iter_key_len(at));
        if (!push_tree(L, json_object_iter_value(at), depth)) return false; /* object, key, value */
        lua_rawset(L, -3);                                                  /* object */
    }
    return true;
}

/* Pushes any value; `depth` containers lie around it.  [-0, +1.., m] */
static bool push_tree(lua_State *L, json_t *tree, int depth) {
    luaL_checkstack(L, 4, "JSON");
    switch (json_typeof(tree)) {
    case JSON_OBJECT: return depth < DEPTH_MAX && push_object(L, tree, depth + 1);
    case JSON_ARRAY: return depth < DEPTH_MAX && push_array(L, tree, depth + 1);
    case JSON_STRING: lua_pushlstring(L, json_string_value(tree), json_string_length(tree)); break;
    case JSON_INTEGER: lua_pushinteger(L, json_integer_value(tree)); break;
    case JSON_REAL: lua_pushnumber(L, json_real_value(tree)); break;
    case JSON_TRUE: lua_pushboolean(L, 1); break;
    case JSON_FALSE: lua_pushboolean(L, 0); break;
    case JSON_NULL: lua_pushvalue(L, lua_upvalueindex(UP_NULL)); break;
    }
    return true;
}

static int l_decode(lua_State *L) {
    struct slice text = vm_check_slice(L, 1);
    if (text.len > TEXT_MAX) return vm_fail(L, "longer than 4 MiB");

    lua_settop(L, 1);
    struct box *box = take_box(L); /* text, box */
    json_error_t error;
    box->tree =
        json_loadb((const char *)text.at, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    bool is_json = box->tree != NULL;
    bool ok = is_json && push_tree(L, box->tree, 0); /* text, box, [value] */
    give_box(L, 2, box);
    if (ok) return 1;
    lua_settop(L, 2);
    if (!is_json) return vm_fail(L, "line %d, column %d: %s", error.line, error.column, error.text);
    return vm_fail(L, "more than %d levels deep", DEPTH_MAX);
}

/* ---- encode --------------------------------------------------------------- */

/* Where in the value we are, from the inside out: for error messages. */
struct place {
    const struct place *outer; /* NULL: the value itself is next */
    struct slice key;          /* SLICE_NONE: an array's element */
    lua_Integer index;
};

struct encoder {
    lua_State *L;
    struct box *box;
    const char *error;  /* static; the first thing that went wrong, sticky */
    const char *detail; /* static; a type's name, or NULL */
    bool blames_caller; /* the error is raised, not returned */
    char where[128];    /* "rows[3].name" */
};

/* Writes `place` to e->where, cut at its end. */
static size_t write_place(struct encoder *e, const struct place *place) {
    if (!place) return 0;
    size_t at = write_place(e, place->outer), room = sizeof e->where - at;
    int len = place->key.at
                  ? snprintf(e->where + at, room, "%s%.*s", at ? "." : "", SLICE_FMT(place->key))
                  : snprintf(e->where + at, room, "[%lld]", (long long)place->index);
    return (size_t)len < room ? at + (size_t)len : sizeof e->where - 1;
}

static void encode_fail(struct encoder *e, const struct place *place, bool blames_caller,
                        const char *error, const char *detail) {
    if (e->error) return;
    e->error = error;
    e->detail = detail;
    e->blames_caller = blames_caller;
    write_place(e, place);
}

/* A few bytes too many are no matter; a table that holds itself twice, and so on for a
 * hundred levels, is. */
static bool is_full(struct encoder *e, size_t more) {
    if (e->box->text.len + more > TEXT_MAX)
        encode_fail(e, NULL, false, "more than 4 MiB of text", NULL);
    return e->error != NULL;
}

static void encode_string(struct encoder *e, const struct place *place, struct slice s) {
    static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* character, letter of its escape */
    struct buf *out = &e->box->text;
    if (is_full(e, s.len)) return;
    buf_add(out, "\"", 1);
    for (size_t at = 0; at < s.len;) {
        size_t from = at;
        while (at < s.len && s.at[at] >= 0x20 && s.at[at] != '"' && s.at[at] != '\\') at++;
        struct slice plain = slice_of(s.at + from, at - from);
        if (!utf8_valid(plain)) {
            encode_fail(e, place, false, "a string is not UTF-8", NULL);
            return;
        }
        buf_add_slice(out, plain);
        if (at == s.len) break;
        const char *name = s.at[at] ? strchr(named, s.at[at]) : NULL;
        if (name)
            buf_printf(out, "\\%c", name[1]);
        else
            buf_printf(out, "\\u%04x", s.at[at]);
        at++;
    }
    buf_add(out, "\"", 1);
}

/* The shortest of 15 to 17 digits that reads back as the same number; always with a
 * point or an exponent, so it reads back as a float. */
static void encode_real(struct encoder *e, const struct place *place, double number) {
    char text[40];
    if (!isfinite(number)) {
        encode_fail(e, place, true, isnan(number) ? "not a number (NaN)" : "an infinite number",
                    NULL);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number) break;
    }
    buf_printf(&e->box->text, "%s%s", text, strpbrk(text, ".e") ? "" : ".0");
}

static void encode_value(struct encoder *e, const struct place *place, int depth);

/* How many entries has the table on top?  All keys must be 1..rawlen. [-0, +0, -] */
static bool is_sequence(lua_State *L, lua_Integer len) {
    lua_Integer count = 0;
    lua_pushnil(L);           /* table, nil */
    while (lua_next(L, -2)) { /* table, key, value */
        lua_pop(L, 1);        /* table, key */
        if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 1 || lua_tointeger(L, -1) > len) {
            lua_pop(L, 1);
            return false;
        }
        count++;
    }
    return count == len;
}

/* The table on top. [-0, +0, m] */
static void encode_array(struct encoder *e, const struct place *place, int depth) {
    lua_Integer len = (lua_Integer)lua_rawlen(e->L, -1);
    if (!is_sequence(e->L, len)) {
        encode_fail(e, place, true, "an array with holes or with other keys than 1, 2, 3 ...",
                    NULL);
        return;
    }
    buf_add(&e->box->text, "[", 1);
    for (lua_Integer i = 1; i <= len && !e->error; i++) {
        if (i > 1) buf_add(&e->box->text, ",", 1);
        lua_rawgeti(e->L, -1, i); /* array, value */
        encode_value(e, &(struct place){ place, SLICE_NONE, i }, depth);
        lua_pop(e->L, 1); /* array */
    }
    buf_add(&e->box->text, "]", 1);
}

/* A key and where on the stack it is kept: the table might lose it to a finalizer. */
struct key {
    struct slice text;
    int index;
};

static int compare_keys(const void *a, const void *b) {
    const struct slice *x = &((const struct key *)a)->text, *y = &((const struct key *)b)->text;
    int r = memcmp(x->at, y->at, x->len < y->len ? x->len : y->len);
    return r ? r : (x->len > y->len) - (x->len < y->len);
}

/* Pushes the keys of the table on top and adds them to box->keys; gives their number.
 * [-0, +count, m] */
static size_t push_keys(struct encoder *e, const struct place *place) {
    lua_State *L = e->L;
    int table = lua_gettop(L), index = table;
    lua_pushnil(L);              /* table, keys..., nil */
    while (lua_next(L, table)) { /* table, keys..., key, value */
        lua_pop(L, 1);           /* table, keys..., key */
        if (lua_type(L, -1) != LUA_TSTRING) {
            encode_fail(e, place, true, "an object with a key that is no string", NULL);
            lua_settop(L, table);
            return 0;
        }
        struct key key = { .index = ++index };
        key.text.at = (const uint8_t *)lua_tolstring(L, -1, &key.text.len);
        buf_add(&e->box->keys, &key, sizeof key);
        luaL_checkstack(L, 4, "JSON");
        lua_pushvalue(L, -1); /* table, keys..., key, key */
    }
    return (size_t)(index - table);
}

/* The table on top.  Keys in the order of their bytes: Lua's own order changes from run
 * to run. [-0, +0, m] */
static void encode_object(struct encoder *e, const struct place *place, int depth) {
    struct buf *out = &e->box->text, *keys = &e->box->keys;
    int table = lua_gettop(e->L);
    size_t base = keys->len, count = push_keys(e, place); /* table, keys... */
    if (count > 1) qsort(keys->at + base, count, sizeof(struct key), compare_keys);
    buf_add(out, "{", 1);
    for (size_t i = 0; i < count && !e->error; i++) {
        struct key key; /* a copy: what is written inside may move the buffer */
        memcpy(&key, keys->at + base + i * sizeof key, sizeof key);
        const struct place inner = { place, key.text, 0 };
        if (i > 0) buf_add(out, ",", 1);
        encode_string(e, &inner, key.text);
        buf_add(out, ":", 1);
        lua_pushvalue(e->L, key.index); /* table, keys..., key */
        lua_rawget(e->L, table);        /* table, keys..., value */
        encode_value(e, &inner, depth);
        lua_pop(e->L, 1); /* table, keys... */
    }
    buf_add(out, "}", 1);
    lua_settop(e->L, table); /* table */
    keys->len = base;
}

/* Is the table on top an array?  Marked as one, or its first key is a number.
 * [-0, +0, -] */
static bool is_array(lua_State *L) {
    if (lua_getmetatable(L, -1)) { /* table, meta */
        bool marked = lua_rawequal(L, -1, lua_upvalueindex(UP_ARRAY_META));
        lua_pop(L, 1);
        if (marked) return true;
    }
    lua_pushnil(L); /* table, nil */
    if (!lua_next(L, -2)) return false;
    bool number = lua_isinteger(L, -2); /* table, key, value */
    lua_pop(L, 2);
    return number;
}

/* The value on top; `depth` containers lie around it. [-0, +0, m] */
static void encode_value(struct encoder *e, const struct place *place, int depth) {
    lua_State *L = e->L;
    struct buf *out = &e->box->text;
    size_t len;
    if (is_full(e, 0)) return;
    luaL_checkstack(L, 6, "JSON");
    switch (lua_type(L, -1)) {
    case LUA_TSTRING: {
        const char *at = lua_tolstring(L, -1, &len);
        encode_string(e, place, slice_of(at, len));
        return;
    }
    case LUA_TNUMBER:
        if (lua_isinteger(L, -1))
            buf_printf(out, "%lld", (long long)lua_tointeger(L, -1));
        else
            encode_real(e, place, lua_tonumber(L, -1));
        return;
    case LUA_TBOOLEAN: buf_printf(out, "%s", lua_toboolean(L, -1) ? "true" : "false"); return;
    case LUA_TTABLE:
        if (depth == DEPTH_MAX)
            encode_fail(e, NULL, true, "a table inside itself, or more than 128 levels", NULL);
        else if (is_array(L))
            encode_array(e, place, depth + 1);
        else
            encode_object(e, place, depth + 1);
        return;
    default:
        if (lua_rawequal(L, -1, lua_upvalueindex(UP_NULL)))
            buf_add(out, "null", 4);
        else
            encode_fail(e, place, true, "a value of type ", luaL_typename(L, -1));
    }
}

static int l_encode(lua_State *L) {
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    struct encoder e = { .L = L, .box = take_box(L) }; /* value, box */
    lua_pushvalue(L, 1);                               /* value, box, value */
    encode_value(&e, NULL, 0);
    if (!e.error) {
        lua_pushlstring(L, (const char *)e.box->text.at, e.box->text.len); /* value, box, text */
        give_box(L, 2, e.box);
        return 1;
    }
    give_box(L, 2, e.box);
    const char *at = e.where[0] ? " at " : "", *detail = e.detail ? e.detail : "";
    if (!e.blames_caller) return vm_fail(L, "%s%s%s%s", e.error, detail, at, e.where);
    return luaL_error(L, "sol.json.encode: cannot encode %s%s%s%s", e.error, detail, at, e.where);
}

/* ---- null and arrays ------------------------------------------------------ */

static int l_array(lua_State *L) {
    if (lua_isnoneornil(L, 1)) {
        lua_newtable(L);
    } else {
        luaL_checktype(L, 1, LUA_TTABLE);
        lua_settop(L, 1);
    }
    if (lua_getmetatable(L, -1)) { /* table, meta */
        luaL_argcheck(L, lua_rawequal(L, -1, lua_upvalueindex(UP_ARRAY_META)), 1,
                      "a table with a metatable of its own");
        lua_pop(L, 1); /* table */
    }
    mark_array(L);
    return 1;
}

static int null_tostring(lua_State *L) {
    lua_pushliteral(L, "null");
    return 1;
}

static const luaL_Reg functions[] = {
    { "decode", l_decode },
    { "encode", l_encode },
    { "array", l_array },
    { NULL, NULL },
};

bool lib_is_null(lua_State *L, int index) {
    if (luaL_getmetafield(L, index, "__name") == LUA_TNIL) return false; /* ..., name */
    bool is = slice_eq(vm_to_slice(L, -1), SLICE("sol.json.null"));
    lua_pop(L, 1); /* ... */
    return is;
}

int luaopen_sol_json(lua_State *L) {
    luaL_newlibtable(L, functions); /* json */

    lua_newuserdatauv(L, 0, 0); /* json, null */
    lua_createtable(L, 0, 3);   /* json, null, meta */
    lua_pushliteral(L, "sol.json.null");
    lua_setfield(L, -2, "__name");
    lua_pushcfunction(L, null_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2); /* json, null */
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "null");

    lua_createtable(L, 0, 2); /* json, null, array meta: every environment's */
    lua_pushliteral(L, "sol.json.array");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");

    lua_createtable(L, 0, 1); /* json, null, array meta, box meta */
    lua_pushcfunction(L, box_gc);
    lua_setfield(L, -2, "__gc");

    lua_createtable(L, 1, 0); /* json, null, array meta, box meta, spare */

    luaL_setfuncs(L, functions, UPVALUES); /* json */
    return 1;
}
