/* live.c -- lending by metatable. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/live.h"

#include "script/vm.h"

static const char dead_key = 'd';

/* [-0, +0, e] */
static int dead_access(lua_State *L) {
    return luaL_error(L, "a message or request is valid only inside its handler; keep its "
                         "fields, or message:copy(), instead");
}

void live_register(lua_State *L) {
    static const luaL_Reg meta[] = {
        { "__index", dead_access },
        { "__newindex", dead_access },
        { NULL, NULL },
    };
    luaL_newlib(L, meta);                            /* meta */
    lua_pushliteral(L, "message or request, ended"); /* meta, name */
    lua_pushvalue(L, -1);                            /* meta, name, name */
    lua_setfield(L, -3, "__name");                   /* meta, name */
    lua_setfield(L, -2, "__metatable");              /* meta */
    lua_rawsetp(L, LUA_REGISTRYINDEX, &dead_key);    /* */
}

/* Puts the value on top into the table of fields at `fields`. [-1, +0, m] */
static void show(lua_State *L, int fields, const char *name) {
    lua_pushstring(L, name); /* value, name */
    lua_insert(L, -2);       /* name, value */
    lua_rawset(L, fields);   /* */
}

void *live_push(lua_State *L, const struct object_type *type, size_t size, int values) {
    struct live *live = object_new_open(L, type, size, values); /* object */
    lua_getiuservalue(L, -1, OBJECT_FIELDS);                    /* object, fields */
    lua_getmetatable(L, -2);                                    /* object, fields, meta */
    lua_rawgetp(L, LUA_REGISTRYINDEX, &dead_key);               /* object, fields, meta, dead */
    lua_pushvalue(L, -1);    /* object, fields, meta, dead, dead */
    lua_setmetatable(L, -5); /* object, fields, meta, dead */
    int fields = lua_gettop(L) - LIVE_VALUES + 1 + LIVE_FIELDS;
    lua_pushinteger(L, 0); /* ..., 0 */
    show(L, fields, "qos");
    lua_pushboolean(L, 0); /* ..., false */
    show(L, fields, "retain");
    return live;
}

/* [-0, +0, m] */
static void fill_topic(lua_State *L, int fields, struct live *live, struct slice topic) {
    if (!live->shows_topic) {
        live->topic = topic;
    } else if (!slice_eq(live->topic, topic)) {
        vm_push_slice(L, topic); /* topic */
        live->topic = vm_to_slice(L, -1);
        show(L, fields, "topic"); /* */
    }
}

void live_fill(lua_State *L, int at, struct live *live, struct slice topic, uint8_t qos,
               bool retain) {
    int fields = at + LIVE_FIELDS;
    fill_topic(L, fields, live, topic);
    if (live->qos != qos) {
        lua_pushinteger(L, qos); /* qos */
        show(L, fields, "qos");
        live->qos = qos;
    }
    if (live->retain != retain) {
        lua_pushboolean(L, retain); /* retain */
        show(L, fields, "retain");
        live->retain = retain;
    }
}

void live_begin(lua_State *L, int at) {
    lua_pushvalue(L, at + LIVE_META);      /* meta */
    lua_setmetatable(L, at + LIVE_OBJECT); /* */
}

void live_end(lua_State *L, int at) {
    lua_pushvalue(L, at + LIVE_DEAD);      /* dead */
    lua_setmetatable(L, at + LIVE_OBJECT); /* */
}

/* The string at the top is the topic. [-1, +0, m] */
static void keep_topic(lua_State *L, struct live *live) {
    struct slice topic = vm_to_slice(L, -1);
    object_show(L, 1, "topic"); /* ...; that may raise: only now something holds the string */
    live->topic = topic;
    live->shows_topic = true;
}

void live_push_topic(lua_State *L, struct live *live) {
    vm_push_slice(L, live->topic); /* ..., topic */
    lua_pushvalue(L, -1);          /* ..., topic, topic */
    keep_topic(L, live);           /* ..., topic */
}

void live_set_topic(lua_State *L, struct live *live) {
    lua_pushvalue(L, 3); /* ..., topic */
    keep_topic(L, live); /* ... */
}

void live_set_qos(lua_State *L, struct live *live, uint8_t qos) {
    lua_pushinteger(L, qos); /* ..., qos */
    object_show(L, 1, "qos");
    live->qos = qos;
}

void live_set_retain(lua_State *L, struct live *live, bool retain) {
    lua_pushboolean(L, retain); /* ..., retain */
    object_show(L, 1, "retain");
    live->retain = retain;
}
