/* lib_shared.c -- sol.shared.NAME: dictionaries for all workers and generations.
 *
 * The verbs and their answers are OpenResty's.  Values are copied in and out, with the
 * type they had: a boolean, an integer, a float or a string. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib_shared.h"

#include "base/buf.h"
#include "base/mem.h"
#include "script/lib.h"
#include "script/obj_message.h"
#include "script/object.h"
#include "script/plain.h"
#include "script/script.h"
#include "script/shared.h"
#include "script/suggest.h"

#include <math.h>
#include <stdlib.h>

#define SIZE_MAX_GB 1e12 /* bytes of a dictionary */

/* One that a script has declared. */
struct declared {
    struct declared *next;
    struct dict *dict; /* owned reference */
    size_t bytes;      /* as declared */
    char *name;        /* owned */
};

/* The block of a dictionary's userdata. */
struct dict_box {
    struct dict *dict; /* lent by the script, which outlives its VM */
    bool keeps;        /* others do not go to make room */
};

static const struct object_type dict_type, shared_type;

/* ---- the setting ----------------------------------------------------------------- */

static struct declared *declared_find(const struct script *s, struct slice name) {
    struct declared *d = s->shared_dicts;
    while (d && !slice_eq(slice_str(d->name), name)) d = d->next;
    return d;
}

/* "10 MB", "64k", 1048576: bytes, or 0. [-0, +0, -] */
static size_t to_bytes(lua_State *L, int index) {
    double n = -1;
    if (lua_type(L, index) == LUA_TNUMBER) {
        n = lua_tonumber(L, index);
    } else if (lua_type(L, index) == LUA_TSTRING) {
        static const char units[] = "KMG";
        char *end;
        n = strtod(lua_tostring(L, index), &end);
        while (*end == ' ') end++;
        const char *unit = *end ? strchr(units, *end & ~0x20) : NULL;
        if (unit) {
            for (const char *u = units; u <= unit; u++) n *= 1024;
            end++;
            if (*end == 'i') end++;
        }
        if (*end == 'B' || *end == 'b') end++;
        if (*end) n = -1;
    }
    return n >= DICT_MIN && n <= SIZE_MAX_GB ? (size_t)n : 0;
}

/* The script's dictionary of this name. */
static struct declared *open_dict(struct script *s, struct slice name, size_t bytes) {
    struct declared *d = declared_find(s, name);
    if (!d) {
        d = xcalloc(1, sizeof *d);
        d->name = xslicedup(name);
        d->dict = dict_open(s->shared, name, bytes);
        d->next = s->shared_dicts;
        s->shared_dicts = d;
    }
    d->bytes = bytes;
    return d;
}

/* The pair on top of the stack declares a dictionary. [-0, +0, e] */
static void declare(lua_State *L, struct script *s) {
    struct slice name = vm_to_slice(L, -2);
    bool is_name =
        name.at && name.len > 0 &&
        strspn((const char *)name.at, "abcdefghijklmnopqrstuvwxyz"
                                      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == name.len;
    if (!is_name)
        luaL_error(L,
                   "shared: expected { NAME = SIZE, ... }, where a name is letters, digits and _");
    size_t bytes = to_bytes(L, -1);
    if (!bytes)
        luaL_error(L, "shared: the size of %s must be like \"10 MB\", at least 16 KB, not %s",
                   (const char *)name.at, luaL_tolstring(L, -1, NULL));
    open_dict(s, name, bytes);
}

void shared_declare(lua_State *L, struct script *s, int index) {
    if (!lua_istable(L, index))
        luaL_error(L, "shared: expected a table like { sessions = \"10 MB\" }, got a %s",
                   luaL_typename(L, index));
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) declare(L, s); /* ..., name, size */
}

void shared_push_declared(lua_State *L, const struct script *s) {
    lua_newtable(L); /* table */
    for (const struct declared *d = s->shared_dicts; d; d = d->next) {
        if (strchr(d->name, '.')) continue;        /* our own */
        lua_pushinteger(L, (lua_Integer)d->bytes); /* table, bytes */
        lua_setfield(L, -2, d->name);              /* table */
    }
}

void shared_settle(struct script *s) {
    for (struct declared *d = s->shared_dicts; d; d = d->next) dict_resize(d->dict, d->bytes);
}

void shared_close(struct script *s) {
    while (s->shared_dicts) {
        struct declared *d = s->shared_dicts;
        s->shared_dicts = d->next;
        dict_unref(d->dict);
        free(d->name);
        free(d);
    }
}

/* ---- arguments and answers ---------------------------------------------------------- */

static bool may_evict(lua_State *L) {
    return !((struct dict_box *)lua_touserdata(L, 1))->keeps;
}

static struct dict *check_dict(lua_State *L) {
    return ((struct dict_box *)object_check(L, 1, &dict_type))->dict;
}

/* What OpenResty answers to a change: ok, err, evicted. [-0, +3, m] */
static int push_outcome(lua_State *L, const char *err, bool evicted) {
    lua_pushboolean(L, err == NULL); /* ok */
    lua_pushstring(L, err);          /* ok, err or nil */
    lua_pushboolean(L, evicted);     /* ok, err, evicted */
    return 3;
}

/* ---- values ------------------------------------------------------------------------- */

static int l_get(lua_State *L) {
    return plain_get(L, check_dict(L));
}

static int store(lua_State *L, enum dict_verb verb) {
    struct dict *d = check_dict(L);
    struct slice key = plain_check_key(L);
    struct shared_value v = plain_check_value(L, 3, verb == DICT_SET);
    struct dict_store how = { .verb = verb,
                              .ttl_ms = plain_opt_ttl(L, 4),
                              .may_evict = may_evict(L) };
    const char *err = dict_store(d, key, &v, &how);
    return push_outcome(L, err, how.evicted);
}

static int l_set(lua_State *L) {
    return store(L, DICT_SET);
}

static int l_add(lua_State *L) {
    return store(L, DICT_ADD);
}

static int l_replace(lua_State *L) {
    return store(L, DICT_REPLACE);
}

static int l_delete(lua_State *L) {
    struct dict *d = check_dict(L);
    lua_pushboolean(L, dict_delete(d, plain_check_key(L))); /* ..., was there */
    return 1;
}

static int l_incr(lua_State *L) {
    struct dict *d = check_dict(L);
    struct slice key = plain_check_key(L);
    struct dict_incr how = { .by = plain_check_number(L, 3), .may_evict = may_evict(L) };
    if (!lua_isnoneornil(L, 4)) how.init = plain_check_number(L, 4);
    how.init_ttl_ms = plain_opt_ttl(L, 5);
    const char *err = dict_incr(d, key, &how);
    if (err) return vm_fail(L, "%s", err);
    plain_push(L, &how.sum);         /* ..., sum */
    lua_pushnil(L);                  /* ..., sum, nil */
    lua_pushboolean(L, how.evicted); /* ..., sum, nil, evicted */
    return 3;
}

static int l_ttl(lua_State *L) {
    return plain_ttl(L, check_dict(L));
}

static int l_expire(lua_State *L) {
    struct dict *d = check_dict(L);
    struct slice key = plain_check_key(L);
    luaL_checknumber(L, 3);
    if (!dict_expire(d, key, plain_opt_ttl(L, 3))) return vm_fail(L, "not found");
    lua_pushboolean(L, 1); /* ..., true */
    return 1;
}

/* ---- lists ---------------------------------------------------------------------------- */

static int push_to(lua_State *L, bool left) {
    struct dict *d = check_dict(L);
    struct slice key = plain_check_key(L);
    struct shared_value v = plain_check_value(L, 3, false);
    size_t len;
    const char *err = dict_push(d, key, left, &v, &len);
    if (err) return vm_fail(L, "%s", err);
    lua_pushinteger(L, (lua_Integer)len); /* ..., length */
    return 1;
}

static int l_lpush(lua_State *L) {
    return push_to(L, true);
}

static int l_rpush(lua_State *L) {
    return push_to(L, false);
}

static int pop_from(lua_State *L, bool left) {
    struct dict *d = check_dict(L);
    struct shared_value v;
    const char *err = dict_pop(d, plain_check_key(L), left, &v);
    if (err) return vm_fail(L, "%s", err);
    return plain_push(L, &v);
}

static int l_lpop(lua_State *L) {
    return pop_from(L, true);
}

static int l_rpop(lua_State *L) {
    return pop_from(L, false);
}

static int l_llen(lua_State *L) {
    struct dict *d = check_dict(L);
    size_t len;
    const char *err = dict_len(d, plain_check_key(L), &len);
    if (err) return vm_fail(L, "%s", err);
    lua_pushinteger(L, (lua_Integer)len); /* ..., length */
    return 1;
}

/* ---- all of it -------------------------------------------------------------------------- */

static int l_flush_all(lua_State *L) {
    dict_flush_all(check_dict(L));
    return 0;
}

static int l_flush_expired(lua_State *L) {
    struct dict *d = check_dict(L);
    lua_pushinteger(L, (lua_Integer)dict_flush_expired(d, plain_opt_max(L, 0))); /* ..., n */
    return 1;
}

static int l_get_keys(lua_State *L) {
    return plain_keys(L, check_dict(L));
}

static int l_capacity(lua_State *L) {
    return plain_capacity(L, check_dict(L));
}

static int l_free_space(lua_State *L) {
    return plain_free_space(L, check_dict(L));
}

/* ---- objects ------------------------------------------------------------------------------ */

static const struct field no_fields[] = { { NULL, NULL, NULL } };

static const luaL_Reg dict_methods[] = {
    { "get", l_get },
    { "set", l_set },
    { "add", l_add },
    { "replace", l_replace },
    { "delete", l_delete },
    { "incr", l_incr },
    { "ttl", l_ttl },
    { "expire", l_expire },
    { "lpush", l_lpush },
    { "rpush", l_rpush },
    { "lpop", l_lpop },
    { "rpop", l_rpop },
    { "llen", l_llen },
    { "flush_all", l_flush_all },
    { "flush_expired", l_flush_expired },
    { "get_keys", l_get_keys },
    { "capacity", l_capacity },
    { "free_space", l_free_space },
    { NULL, NULL },
};

static const struct object_type dict_type = {
    .name = "shared dictionary",
    .fields = no_fields,
    .methods = dict_methods,
};

/* sol.shared.NAME: its userdata, made at the first use and kept in user value 1. */
static int shared_index(lua_State *L) {
    struct script *s = script_of(L);
    char buf[SUGGEST_MAX + 24];
    struct suggest near;
    const char *name = luaL_checkstring(L, 2);
    lua_settop(L, 2);
    lua_getiuservalue(L, 1, 1);                      /* shared, name, made */
    lua_pushvalue(L, 2);                             /* shared, name, made, name */
    if (lua_rawget(L, 3) == LUA_TUSERDATA) return 1; /* shared, name, made, dictionary */
    const struct declared *d = declared_find(s, slice_str(name));
    if (!d) {
        suggest_init(&near, name);
        for (d = s->shared_dicts; d; d = d->next) suggest_offer(&near, d->name);
        return luaL_error(
            L, "sol.shared.%s is not declared%s (in sol.lua: shared = { %s = \"1 MB\" })", name,
            suggest_text(&near, buf), name);
    }
    struct dict_box *box = object_new(L, &dict_type, sizeof *box, 0); /* ..., dictionary */
    box->dict = d->dict;
    lua_pushvalue(L, 2);  /* shared, name, made, nil, dictionary, name */
    lua_pushvalue(L, -2); /* shared, name, made, nil, dictionary, name, dictionary */
    lua_rawset(L, 3);     /* shared, name, made, nil, dictionary */
    return 1;
}

static int shared_newindex(lua_State *L) {
    return luaL_error(L, "sol.shared cannot be changed: declare dictionaries in sol.lua, "
                         "shared = { name = \"1 MB\" }");
}

static const struct object_type shared_type = {
    .name = "sol.shared",
    .fields = no_fields,
    .index = shared_index,
    .newindex = shared_newindex,
};

/* dict(name, bytes): a dictionary of our own, which evicts nothing. */
static int l_dict(lua_State *L) {
    struct slice name = vm_check_slice(L, 1);
    lua_Integer bytes = luaL_checkinteger(L, 2);
    struct dict_box *box = object_new(L, &dict_type, sizeof *box, 0); /* ..., dictionary */
    box->dict = open_dict(script_of(L), name, (size_t)bytes)->dict;
    box->keeps = true;
    return 1;
}

void lib_shared_add(lua_State *L) {
    lua_pushcfunction(L, l_dict); /* native, fn */
    lua_setfield(L, -2, "dict");  /* native */
}

int luaopen_sol_shared(lua_State *L) {
    object_register(L, &dict_type);
    object_register(L, &shared_type);
    object_new(L, &shared_type, 1, 1); /* shared */
    lua_newtable(L);                   /* shared, made */
    lua_setiuservalue(L, -2, 1);       /* shared */
    return 1;
}
