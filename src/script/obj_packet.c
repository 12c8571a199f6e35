/* obj_packet.c -- packets to tables and back, by one table of members. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/obj_packet.h"

#include "base/mem.h"
#include "mqtt/encode.h"
#include "mqtt/props.h"
#include "script/obj_message.h"
#include "script/obj_props.h"
#include "script/vm.h"

#include <stddef.h>

static const char *const type_names[PKT_TYPES] = {
    [PKT_CONNECT] = "connect",         [PKT_CONNACK] = "connack",       [PKT_PUBLISH] = "publish",
    [PKT_PUBACK] = "puback",           [PKT_PUBREC] = "pubrec",         [PKT_PUBREL] = "pubrel",
    [PKT_PUBCOMP] = "pubcomp",         [PKT_SUBSCRIBE] = "subscribe",   [PKT_SUBACK] = "suback",
    [PKT_UNSUBSCRIBE] = "unsubscribe", [PKT_UNSUBACK] = "unsuback",     [PKT_PINGREQ] = "pingreq",
    [PKT_PINGRESP] = "pingresp",       [PKT_DISCONNECT] = "disconnect", [PKT_AUTH] = "auth",
};

/* ---- members ----------------------------------------------------------------- */

enum kind { FLAG, NUMBER8, NUMBER16, TEXT, PROPS, FILTERS, CODES, WILL };

#define IN(type) (1u << PKT_##type)
#define IN_ACK   (IN(PUBACK) | IN(PUBREC) | IN(PUBREL) | IN(PUBCOMP))
#define IN_CODES (IN(SUBACK) | IN(UNSUBACK))
#define IN_LIST  (IN(SUBSCRIBE) | IN(UNSUBSCRIBE))
#define IN_WORD  (IN(DISCONNECT) | IN(AUTH))
#define AT(m)    offsetof(struct packet, m)

struct member {
    const char *name;
    uint32_t types; /* of packets that have it, in bits */
    uint8_t kind;
    uint16_t at;
};

static const struct member members[] = {
    { "version", IN(CONNECT), NUMBER8, AT(connect.version) },
    { "clean_start", IN(CONNECT), FLAG, AT(connect.clean_start) },
    { "keep_alive", IN(CONNECT), NUMBER16, AT(connect.keep_alive) },
    { "client_id", IN(CONNECT), TEXT, AT(connect.client_id) },
    { "username", IN(CONNECT), TEXT, AT(connect.username) },
    { "password", IN(CONNECT), TEXT, AT(connect.password) },
    { "will", IN(CONNECT), WILL, AT(connect.will) },
    { "properties", IN(CONNECT), PROPS, AT(connect.props) },
    { "session_present", IN(CONNACK), FLAG, AT(connack.session_present) },
    { "reason_code", IN(CONNACK), NUMBER8, AT(connack.reason_code) },
    { "properties", IN(CONNACK), PROPS, AT(connack.props) },
    { "dup", IN(PUBLISH), FLAG, AT(publish.dup) },
    { "retain", IN(PUBLISH), FLAG, AT(publish.retain) },
    { "qos", IN(PUBLISH), NUMBER8, AT(publish.qos) },
    { "packet_id", IN(PUBLISH), NUMBER16, AT(publish.packet_id) },
    { "topic", IN(PUBLISH), TEXT, AT(publish.topic) },
    { "payload", IN(PUBLISH), TEXT, AT(publish.payload) },
    { "properties", IN(PUBLISH), PROPS, AT(publish.props) },
    { "packet_id", IN_ACK, NUMBER16, AT(ack.packet_id) },
    { "reason_code", IN_ACK, NUMBER8, AT(ack.reason_code) },
    { "properties", IN_ACK, PROPS, AT(ack.props) },
    { "packet_id", IN_LIST, NUMBER16, AT(filters.packet_id) },
    { "filters", IN_LIST, FILTERS, AT(filters) },
    { "properties", IN_LIST, PROPS, AT(filters.props) },
    { "packet_id", IN_CODES, NUMBER16, AT(codes.packet_id) },
    { "codes", IN_CODES, CODES, AT(codes.codes) },
    { "properties", IN_CODES, PROPS, AT(codes.props) },
    { "reason_code", IN_WORD, NUMBER8, AT(reason.reason_code) },
    { "properties", IN_WORD, PROPS, AT(reason.props) },
};

static const struct member will_members[] = {
    { "topic", 1, TEXT, offsetof(struct will, topic) },
    { "payload", 1, TEXT, offsetof(struct will, payload) },
    { "qos", 1, NUMBER8, offsetof(struct will, qos) },
    { "retain", 1, FLAG, offsetof(struct will, retain) },
    { "properties", 1, PROPS, offsetof(struct will, props) },
};

/* ---- to a table ----------------------------------------------------------------- */

static void push_number(lua_State *L, const struct prop_rule *rule, const void *at) {
    switch (rule->kind) {
    case PROP_U8: lua_pushinteger(L, *(const uint8_t *)at); break;
    case PROP_U16: lua_pushinteger(L, *(const uint16_t *)at); break;
    default: lua_pushinteger(L, *(const uint32_t *)at); break;
    }
}

/* Sets t.user_properties when there are any; t is on top. [-0, +0, m] */
static void set_user(lua_State *L, const struct props *p) {
    struct prop_item item;
    lua_Integer n = 0;
    if (!props_has(p, PROP_USER_PROPERTY)) return;
    lua_newtable(L); /* t, list */
    for (size_t at = 0; props_next(p->raw, &at, &item);) {
        if (item.id != PROP_USER_PROPERTY) continue;
        props_push_pair(L, &item); /* t, list, pair */
        lua_rawseti(L, -2, ++n);   /* t, list */
    }
    lua_setfield(L, -2, "user_properties"); /* t */
}

/* [-0, +1, m] */
static void push_props(lua_State *L, const struct props *p) {
    lua_newtable(L); /* t */
    set_user(L, p);
    for (uint64_t left = p->present & ~PROP_BIT(PROP_USER_PROPERTY); left; left &= left - 1) {
        const struct prop_rule *rule = prop_rule((uint32_t)__builtin_ctzll(left));
        const void *at = (const char *)p + rule->member;
        if (rule->kind == PROP_STRING || rule->kind == PROP_BINARY)
            vm_push_slice(L, *(const struct slice *)at); /* t, value */
        else
            push_number(L, rule, at);    /* t, value */
        lua_setfield(L, -2, rule->name); /* t */
    }
}

/* [-0, +1, m] */
static void push_codes(lua_State *L, struct slice codes) {
    lua_newtable(L); /* list */
    for (size_t i = 0; i < codes.len; i++) {
        lua_pushinteger(L, codes.at[i]);        /* list, code */
        lua_rawseti(L, -2, (lua_Integer)i + 1); /* list */
    }
}

/* Pushes a member that a broker's packet can have. [-0, +1, m] */
static void push_member(lua_State *L, const struct member *m, const void *at) {
    switch ((enum kind)m->kind) {
    case FLAG: lua_pushboolean(L, *(const bool *)at); break;
    case NUMBER8: lua_pushinteger(L, *(const uint8_t *)at); break;
    case NUMBER16: lua_pushinteger(L, *(const uint16_t *)at); break;
    case TEXT: vm_push_slice(L, *(const struct slice *)at); break;
    case PROPS: push_props(L, at); break;
    case CODES: push_codes(L, *(const struct slice *)at); break;
    case FILTERS:
    case WILL: lua_pushnil(L); break; /* brokers send none */
    }
}

void packet_push(lua_State *L, const struct packet *p) {
    lua_createtable(L, 0, 8);               /* t */
    lua_pushstring(L, type_names[p->type]); /* t, type */
    lua_setfield(L, -2, "type");            /* t */
    for (unsigned i = 0; i < ARRAY_LEN(members); i++) {
        if (!(members[i].types & (1u << p->type))) continue;
        push_member(L, &members[i], (const char *)p + members[i].at); /* t, value */
        lua_setfield(L, -2, members[i].name);                         /* t */
    }
}

/* ---- from a table ------------------------------------------------------------------ */

static lua_Integer check_number(lua_State *L, const char *name, lua_Integer max) {
    int is_integer;
    lua_Integer n = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer || n < 0 || n > max)
        luaL_error(L, "%s must be an integer from 0 to %I, not %s", name, (LUAI_UACINT)max,
                   luaL_tolstring(L, -1, NULL));
    return n;
}

static struct slice check_text(lua_State *L, const char *name) {
    struct slice s = vm_to_slice(L, -1);
    if (!s.at) luaL_error(L, "%s must be a string, not a %s", name, luaL_typename(L, -1));
    return s;
}

/* The value on top as property `rule`, whose id it is. [-0, +0, v] */
static void check_prop(lua_State *L, const struct prop_rule *rule, struct props *out) {
    void *at = (char *)out + rule->member;
    switch ((enum prop_kind)rule->kind) {
    case PROP_U8: *(uint8_t *)at = (uint8_t)check_number(L, rule->name, UINT8_MAX); break;
    case PROP_U16: *(uint16_t *)at = (uint16_t)check_number(L, rule->name, UINT16_MAX); break;
    case PROP_U32:
    case PROP_VARINT: *(uint32_t *)at = (uint32_t)check_number(L, rule->name, UINT32_MAX); break;
    case PROP_STRING:
    case PROP_BINARY: *(struct slice *)at = check_text(L, rule->name); break;
    case PROP_PAIR: break;
    }
}

static uint32_t find_prop(lua_State *L, const char *name) {
    for (uint32_t id = 1; id <= PROP_SHARED_SUBSCRIPTION_AVAILABLE; id++) {
        const struct prop_rule *rule = prop_rule(id);
        if (rule && rule->kind != PROP_PAIR && strcmp(rule->name, name) == 0) return id;
    }
    luaL_error(L, "there is no property \"%s\"", name);
    return 0;
}

/* The properties on top; their buffer goes beneath. [-0, +0|1, v] */
static void check_props(lua_State *L, struct props *out) {
    int index = lua_gettop(L);
    luaL_checktype(L, index, LUA_TTABLE);
    struct buf *user = push_buf(L);                           /* props, buf */
    lua_insert(L, index++);                                   /* buf, props */
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) { /* buf, props, name, value */
        if (lua_type(L, -2) != LUA_TSTRING) luaL_error(L, "properties have names");
        const char *name = lua_tostring(L, -2);
        if (strcmp(name, "user_properties") == 0) {
            props_add_user_table(L, -1, user);
            continue;
        }
        uint32_t id = find_prop(L, name);
        check_prop(L, prop_rule(id), out);
        out->present |= PROP_BIT(id);
    }
    out->encoded = user->len ? buf_slice(user) : SLICE_NONE;
    if (user->len) out->present |= PROP_BIT(PROP_USER_PROPERTY);
}

/* A field of the table on top, or 0. [-0, +0, v] */
static uint8_t option(lua_State *L, const char *name) {
    uint8_t n = 0;
    if (lua_getfield(L, -1, name) == LUA_TBOOLEAN) /* t, value */
        n = (uint8_t)lua_toboolean(L, -1);
    else if (!lua_isnil(L, -1))
        n = (uint8_t)check_number(L, name, 3);
    lua_pop(L, 1); /* t */
    return n;
}

/* The list of { filter, qos =, ... } on top; its buffer goes beneath. [-0, +1, v] */
static void check_filters(lua_State *L, uint8_t version, struct packet *p) {
    int index = lua_gettop(L);
    luaL_checktype(L, index, LUA_TTABLE);
    struct buf *list = push_buf(L);                                        /* filters, buf */
    lua_insert(L, index++);                                                /* buf, filters */
    for (lua_Integer i = 1; lua_rawgeti(L, index, i) == LUA_TTABLE; i++) { /* ..., item */
        struct subscribe_options o = { .qos = option(L, "qos"),
                                       .no_local = option(L, "no_local"),
                                       .retain_as_published = option(L, "retain_as_published"),
                                       .retain_handling = option(L, "retain_handling") };
        lua_rawgeti(L, -1, 1); /* ..., item, filter */
        bool is_subscribe = p->type == PKT_SUBSCRIBE;
        if (!filters_add(list, check_text(L, "filter"), is_subscribe ? &o : NULL, version))
            luaL_error(L, "a filter longer than 65535 bytes");
        p->filters.count++;
        lua_pop(L, 2); /* ... */
    }
    lua_pop(L, 1); /* buf, filters */
    p->filters.filters = buf_slice(list);
}

static void check_will(lua_State *L, struct pkt_connect *c);

/* The value on top. [-0, +n, v] */
static void check_member(lua_State *L, const struct member *m, uint8_t version, void *base,
                         struct packet *p) {
    void *at = (char *)base + m->at;
    switch ((enum kind)m->kind) {
    case FLAG: *(bool *)at = lua_toboolean(L, -1); break;
    case NUMBER8: *(uint8_t *)at = (uint8_t)check_number(L, m->name, UINT8_MAX); break;
    case NUMBER16: *(uint16_t *)at = (uint16_t)check_number(L, m->name, UINT16_MAX); break;
    case TEXT: *(struct slice *)at = check_text(L, m->name); break;
    case PROPS: check_props(L, at); break;
    case FILTERS: check_filters(L, version, p); break;
    case WILL: check_will(L, &p->connect); break;
    case CODES: luaL_error(L, "clients send no codes"); break;
    }
}

/* What may stay on the stack: a buffer and the value of a member, of the will's too. */
enum { SLOTS = 32 };

static void check_will(lua_State *L, struct pkt_connect *c) {
    int index = lua_gettop(L);
    luaL_checktype(L, index, LUA_TTABLE);
    c->has_will = true;
    c->will.payload = c->will.topic = SLICE("");
    for (unsigned i = 0; i < ARRAY_LEN(will_members); i++) {
        lua_getfield(L, index, will_members[i].name); /* ..., value */
        if (lua_isnil(L, -1))
            lua_pop(L, 1);
        else
            check_member(L, &will_members[i], MQTT_5, &c->will, NULL); /* ..., buf, value */
    }
}

static enum packet_type check_type(lua_State *L, int index) {
    unsigned type = PKT_CONNECT;
    lua_getfield(L, index, "type"); /* ..., type */
    const char *name = luaL_checkstring(L, -1);
    while (type < PKT_TYPES && strcmp(type_names[type], name) != 0) type++;
    if (type == PKT_TYPES) luaL_error(L, "no type of packet: \"%s\"", name);
    lua_pop(L, 1); /* ... */
    return (enum packet_type)type;
}

void packet_check(lua_State *L, int index, uint8_t version, struct packet *out) {
    index = lua_absindex(L, index);
    luaL_checktype(L, index, LUA_TTABLE);
    luaL_checkstack(L, SLOTS, "a packet");
    memset(out, 0, sizeof *out);
    out->type = check_type(L, index);
    for (unsigned i = 0; i < ARRAY_LEN(members); i++) {
        if (!(members[i].types & (1u << out->type))) continue;
        lua_getfield(L, index, members[i].name); /* ..., value */
        if (lua_isnil(L, -1))
            lua_pop(L, 1);
        else
            check_member(L, &members[i], version, out, out); /* ..., buf, value */
    }
    if (out->type != PKT_CONNECT) return;
    out->connect.has_username = out->connect.username.at != NULL;
    out->connect.has_password = out->connect.password.at != NULL;
    if (!out->connect.client_id.at) out->connect.client_id = SLICE("");
}
