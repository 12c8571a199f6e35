/* obj_message.c -- message.topic, message.payload ... : read when asked for, changed
 * beside the original. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/obj_message.h"

#include "core/worker.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"
#include "script/obj_props.h"
#include "script/object.h"
#include "script/vm.h"

/* User values of a message userdata. */
enum { VALUE_PAYLOAD = OBJECT_FIELDS + 1, VALUE_PROPS, VALUES = VALUE_PROPS };

/* Strings up to this length are interned by Lua: reading them again makes no copy. */
#define SHORT_STRING 40

static const struct object_type message_type;

/* Only what is lent has the metatable that leads here. */
static void *resolve(lua_State *L, void *block) {
    (void)L;
    return block;
}

static struct message_box *writable(lua_State *L, void *obj) {
    struct message_box *box = obj;
    if (box->read_only) luaL_error(L, "message cannot be changed: %s", box->read_only);
    return box;
}

/* ---- strings ---------------------------------------------------------------- */

/* Then it lies in the table of fields: asked for once, and by message:copy(). */
static void get_topic(lua_State *L, void *obj) {
    live_push_topic(L, &((struct message_box *)obj)->live);
}

/* A long payload is made a string once; the next reader gets the same. */
static void get_payload(lua_State *L, void *obj) {
    struct message_box *box = obj;
    struct slice payload = message_payload(box->message);
    if (box->holds_payload) {
        lua_getiuservalue(L, 1, VALUE_PAYLOAD); /* ..., payload */
        return;
    }
    lua_pushlstring(L, (const char *)payload.at, payload.len); /* ..., payload */
    if (payload.len <= SHORT_STRING) return;
    lua_pushvalue(L, -1);                   /* ..., payload, payload */
    lua_setiuservalue(L, 1, VALUE_PAYLOAD); /* ..., payload */
    box->holds_payload = true;
}

static void check_string(lua_State *L, const char *name) {
    if (lua_type(L, 3) != LUA_TSTRING)
        luaL_error(L, "message.%s must be a string, not a %s", name, luaL_typename(L, 3));
}

static void set_topic(lua_State *L, void *obj) {
    struct message_box *box = writable(L, obj);
    check_string(L, "topic");
    struct slice topic = vm_to_slice(L, 3);
    if (!topic_name_valid(topic) || !utf8_valid(topic))
        luaL_error(L, "message.topic: \"%s\" is not a topic name", lua_tostring(L, 3));
    live_set_topic(L, &box->live);
    box->changed |= MESSAGE_TOPIC;
}

static void set_payload(lua_State *L, void *obj) {
    struct message_box *box = writable(L, obj);
    check_string(L, "payload");
    lua_pushvalue(L, 3);                    /* ..., payload */
    lua_setiuservalue(L, 1, VALUE_PAYLOAD); /* ... */
    box->holds_payload = true;
    box->changed |= MESSAGE_PAYLOAD;
}

/* ---- scalars ---------------------------------------------------------------- */

static void get_qos(lua_State *L, void *obj) {
    lua_pushinteger(L, ((struct message_box *)obj)->live.qos);
}

static void set_qos(lua_State *L, void *obj) {
    struct message_box *box = writable(L, obj);
    live_set_qos(L, &box->live, (uint8_t)object_integer(L, "message.qos", 0, 2));
    box->changed |= MESSAGE_SCALARS;
}

static void get_retain(lua_State *L, void *obj) {
    lua_pushboolean(L, ((struct message_box *)obj)->live.retain);
}

static void set_retain(lua_State *L, void *obj) {
    struct message_box *box = writable(L, obj);
    live_set_retain(L, &box->live, object_boolean(L, "message.retain"));
    box->changed |= MESSAGE_SCALARS;
}

/* Seconds left, rounded up: never 0 before its time. */
static void get_expiry(lua_State *L, void *obj) {
    struct message_box *box = obj;
    if (box->expires_ms == MESSAGE_NEVER) {
        lua_pushnil(L);
        return;
    }
    uint64_t now = loop_now_ms(vm_of(L)->worker->loop);
    uint64_t left = box->expires_ms > now ? box->expires_ms - now : 0;
    lua_pushinteger(L, (lua_Integer)((left + 999) / 1000));
}

static void set_expiry(lua_State *L, void *obj) {
    struct message_box *box = writable(L, obj);
    if (lua_isnil(L, 3)) {
        box->expires_ms = MESSAGE_NEVER;
    } else {
        lua_Integer s = object_integer(L, "message.expiry", 0, UINT32_MAX);
        box->expires_ms = loop_now_ms(vm_of(L)->worker->loop) + (uint64_t)s * 1000;
    }
    box->changed |= MESSAGE_SCALARS;
}

/* ---- properties -------------------------------------------------------------- */

static void get_properties(lua_State *L, void *obj) {
    (void)obj;
    if (lua_getiuservalue(L, 1, VALUE_PROPS) == LUA_TUSERDATA) return; /* ..., props */
    props_push_proxy(L, 1);                                            /* ..., props */
    lua_pushvalue(L, -1);                                              /* ..., props, props */
    lua_setiuservalue(L, 1, VALUE_PROPS);                              /* ..., props */
}

static void set_properties(lua_State *L, void *obj) {
    struct message_box *box = writable(L, obj);
    int64_t expiry = -1;
    if (!lua_istable(L, 3) && !lua_isnil(L, 3))
        luaL_error(L, "message.properties must be a table or nil, not a %s", luaL_typename(L, 3));
    struct buf *fresh = push_buf(L); /* ..., buf */
    if (lua_istable(L, 3)) props_from_table(L, 3, fresh, &expiry);
    box->props.len = 0;
    buf_add(&box->props, fresh->at, fresh->len);
    buf_deinit(fresh);
    box->expires_ms =
        expiry < 0 ? MESSAGE_NEVER : loop_now_ms(vm_of(L)->worker->loop) + (uint64_t)expiry * 1000;
    box->changed |= MESSAGE_PROPS | MESSAGE_SCALARS;
}

static const struct field fields[] = {
    { "topic", get_topic, set_topic },
    { "payload", get_payload, set_payload },
    { "qos", get_qos, set_qos },
    { "retain", get_retain, set_retain },
    { "expiry", get_expiry, set_expiry },
    { "properties", get_properties, set_properties },
    { NULL, NULL, NULL },
};

/* ---- methods ------------------------------------------------------------------ */

/* A plain table of everything, free of the invocation. */
static int message_copy(lua_State *L) {
    struct message_box *box = object_check(L, 1, &message_type);
    lua_settop(L, 1);         /* message */
    lua_createtable(L, 0, 6); /* message, copy */
    for (const struct field *f = fields; f->name; f++) {
        if (f->get == get_properties)
            props_push_table(L, box);
        else
            f->get(L, box);          /* message, copy, value */
        lua_setfield(L, 2, f->name); /* message, copy */
    }
    return 1;
}

void message_push_table(lua_State *L, struct message *m, bool retain) {
    struct message_box box = { .message = m, .expires_ms = m->expires_ms };
    lua_createtable(L, 0, 6);             /* table */
    vm_push_slice(L, message_topic(m));   /* table, topic */
    lua_setfield(L, -2, "topic");         /* table */
    vm_push_slice(L, message_payload(m)); /* table, payload */
    lua_setfield(L, -2, "payload");       /* table */
    lua_pushinteger(L, m->qos);           /* table, qos */
    lua_setfield(L, -2, "qos");           /* table */
    lua_pushboolean(L, retain);           /* table, retain */
    lua_setfield(L, -2, "retain");        /* table */
    get_expiry(L, &box);                  /* table, expiry */
    lua_setfield(L, -2, "expiry");        /* table */
    props_push_table(L, &box);            /* table, properties */
    lua_setfield(L, -2, "properties");    /* table */
}

static const luaL_Reg methods[] = {
    { "copy", message_copy },
    { NULL, NULL },
};

static const struct object_type message_type = {
    .name = "message",
    .fields = fields,
    .methods = methods,
    .resolve = resolve,
};

/* ---- life --------------------------------------------------------------------- */

void message_register(lua_State *L) {
    object_register(L, &message_type);
    props_register(L);
}

struct message_box *message_box_push(lua_State *L) {
    return live_push(L, &message_type, sizeof(struct message_box), VALUES);
}

void message_box_fill(lua_State *L, int at, struct message_box *box, struct message *m,
                      const char *read_only) {
    box->message = m;
    box->read_only = read_only;
    box->expires_ms = m->expires_ms;
    live_fill(L, at, &box->live, message_topic(m), m->qos, m->retain);
}

/* The new payload, lent while it is in its user value. [-0, +0, -] */
static struct slice payload_of(lua_State *L, int at) {
    lua_getiuservalue(L, at, VALUE_PAYLOAD); /* ..., payload */
    struct slice s = vm_to_slice(L, -1);
    lua_pop(L, 1); /* ... */
    return s;
}

struct message_parts message_box_parts(lua_State *L, int at, const struct message_box *box) {
    struct message_parts parts = message_parts(box->message);
    parts.topic = box->live.topic;
    parts.qos = box->live.qos;
    parts.retain = box->live.retain;
    parts.expires_ms = box->expires_ms;
    if (box->changed & MESSAGE_PAYLOAD) parts.payload = payload_of(L, at);
    if (box->changed & MESSAGE_PROPS) parts.props = buf_slice(&box->props);
    return parts;
}

struct message *message_box_build(lua_State *L, int at, struct message_box *box) {
    if (!box->changed) return NULL;
    struct message_parts parts = message_box_parts(L, at, box);
    return message_new(&parts);
}

void message_box_clear(lua_State *L, int at, struct message_box *box) {
    if (box->holds_payload) {
        lua_pushnil(L);                          /* ..., nil */
        lua_setiuservalue(L, at, VALUE_PAYLOAD); /* ... */
    }
    if (box->changed & MESSAGE_PROPS) buf_deinit(&box->props);
    box->holds_payload = false;
    box->changed = 0;
    box->message = NULL;
}
