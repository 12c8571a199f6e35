/* lib_mqtt.c -- what lua/sol/mqtt.lua stands on: packets as tables, in the client's role.
 *
 * The codec is the broker's own (mqtt/).  Packets without properties are a few bytes, which
 * Lua writes itself. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib_mqtt.h"

#include "core/worker.h"
#include "mqtt/decode.h"
#include "mqtt/encode.h"
#include "mqtt/props.h"
#include "script/cosocket.h"
#include "script/lib.h"
#include "script/obj_message.h"
#include "script/options.h"
#include "script/script.h"

#define SECONDS_MAX UINT32_MAX

/* ---- options of a packet ------------------------------------------------------------- */

/* Pushes the string `name` of the table at `arg`, and lends it. [-0, +1, v] */
static struct slice push_field(lua_State *L, int arg, const char *name) {
    lua_getfield(L, arg, name); /* ..., value */
    return vm_to_slice(L, -1);
}

static uint32_t get_number(lua_State *L, int arg, const char *name) {
    return (uint32_t)options_integer(L, arg, name, 0, SECONDS_MAX, 0);
}

static void set_present(struct props *p, enum prop_id id, bool is) {
    if (is) p->present |= PROP_BIT(id);
}

/* The packet as a string; raises when it cannot be one. [-0, +1, e] */
static int push_packet(lua_State *L, const struct packet *p, uint8_t version) {
    struct buf *bytes = push_buf(L); /* ..., buf */
    if (!packet_append(p, version, bytes)) return luaL_error(L, "more than MQTT can carry");
    lua_pushlstring(L, (const char *)bytes->at, bytes->len); /* ..., buf, packet */
    buf_deinit(bytes);
    return 1;
}

static uint8_t check_version(lua_State *L) {
    return (uint8_t)luaL_checkinteger(L, 1);
}

/* mqtt_properties(table): encoded, and the expiry in them or nil.  Raises, without a place,
 * for what cannot be properties of a message. */
static int l_properties(lua_State *L) {
    int64_t expiry;
    luaL_checktype(L, 1, LUA_TTABLE);
    struct buf *encoded = push_buf(L); /* table, buf */
    props_from_table(L, 1, encoded, &expiry);
    lua_pushlstring(L, encoded->len ? (const char *)encoded->at : "", encoded->len);
    if (expiry < 0) return 1;
    lua_pushinteger(L, expiry); /* ..., properties, expiry */
    return 2;
}

/* Fills in the will, a table { topic, payload, qos, retain, properties, delay } on top, whose
 * properties are encoded.  Lends its strings. [-0, +3, v] */
static void take_will(lua_State *L, struct will *will) {
    int at = lua_gettop(L);
    props_init(&will->props);
    will->topic = push_field(L, at, "topic");
    will->payload = push_field(L, at, "payload");
    will->props.encoded = push_field(L, at, "properties");
    will->qos = (uint8_t)get_number(L, at, "qos");
    will->retain = options_boolean(L, at, "retain", false);
    will->props.will_delay_interval = get_number(L, at, "delay");
    set_present(&will->props, PROP_WILL_DELAY_INTERVAL, will->props.will_delay_interval > 0);
}

/* mqtt_connect(version, { client_id, username, password, keepalive, clean, session_expiry,
 * receive_max, max_packet, will }): mqtt.lua has checked what scripts may get wrong. */
static int l_connect(lua_State *L) {
    struct packet p = { .type = PKT_CONNECT };
    struct pkt_connect *c = &p.connect;
    luaL_checktype(L, 2, LUA_TTABLE);
    props_init(&c->props);
    c->version = check_version(L);
    c->client_id = push_field(L, 2, "client_id");
    c->username = push_field(L, 2, "username");
    c->password = push_field(L, 2, "password");
    c->has_username = c->username.at != NULL;
    c->has_password = c->password.at != NULL;
    c->keep_alive = (uint16_t)get_number(L, 2, "keepalive");
    c->clean_start = options_boolean(L, 2, "clean", true);
    c->props.session_expiry_interval = get_number(L, 2, "session_expiry");
    c->props.receive_maximum = (uint16_t)get_number(L, 2, "receive_max");
    c->props.maximum_packet_size = get_number(L, 2, "max_packet");
    c->props.present = PROP_BIT(PROP_SESSION_EXPIRY_INTERVAL) | PROP_BIT(PROP_RECEIVE_MAXIMUM) |
                       PROP_BIT(PROP_MAXIMUM_PACKET_SIZE);
    lua_getfield(L, 2, "will"); /* ..., will */
    c->has_will = lua_istable(L, -1);
    if (c->has_will) take_will(L, &c->will); /* ..., will, its strings */
    return push_packet(L, &p, c->version);
}

/* mqtt_publish(version, { topic, payload, qos, retain, dup, id, properties, expiry }); the
 * properties are encoded. */
static int l_publish(lua_State *L) {
    struct packet p = { .type = PKT_PUBLISH };
    struct pkt_publish *m = &p.publish;
    uint8_t version = check_version(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    props_init(&m->props);
    m->topic = push_field(L, 2, "topic");
    m->payload = push_field(L, 2, "payload");
    m->props.encoded = push_field(L, 2, "properties");
    m->qos = (uint8_t)get_number(L, 2, "qos");
    m->packet_id = (uint16_t)get_number(L, 2, "id");
    m->retain = options_boolean(L, 2, "retain", false);
    m->dup = options_boolean(L, 2, "dup", false);
    m->props.message_expiry_interval = get_number(L, 2, "expiry");
    lua_getfield(L, 2, "expiry"); /* ..., expiry */
    set_present(&m->props, PROP_MESSAGE_EXPIRY_INTERVAL, !lua_isnil(L, -1));
    return push_packet(L, &p, version);
}

/* ---- what a server sends ------------------------------------------------------------- */

static void set_integer(lua_State *L, const char *name, lua_Integer n) {
    lua_pushinteger(L, n);     /* table, n */
    lua_setfield(L, -2, name); /* table */
}

static void set_boolean(lua_State *L, const char *name, bool is) {
    lua_pushboolean(L, is);    /* table, is */
    lua_setfield(L, -2, name); /* table */
}

static void set_slice(lua_State *L, const char *name, struct slice text) {
    vm_push_slice(L, text);    /* table, text */
    lua_setfield(L, -2, name); /* table */
}

static void set_reason(lua_State *L, const struct props *p) {
    if (props_has(p, PROP_REASON_STRING)) set_slice(L, "reason", p->reason_string);
}

static void take_connack(lua_State *L, const struct packet *p) {
    const struct pkt_connack *c = &p->connack;
    const struct props *props = &c->props;
    set_integer(L, "code", c->reason_code);
    set_boolean(L, "session_present", c->session_present);
    set_reason(L, props);
    if (props_has(props, PROP_RECEIVE_MAXIMUM))
        set_integer(L, "receive_max", props->receive_maximum);
    if (props_has(props, PROP_MAXIMUM_QOS)) set_integer(L, "max_qos", props->maximum_qos);
    if (props_has(props, PROP_RETAIN_AVAILABLE))
        set_boolean(L, "has_retain", props->retain_available);
    if (props_has(props, PROP_SUBSCRIPTION_IDENTIFIER_AVAILABLE))
        set_boolean(L, "has_identifiers", props->subscription_identifier_available);
    if (props_has(props, PROP_MAXIMUM_PACKET_SIZE))
        set_integer(L, "max_packet", props->maximum_packet_size);
    if (props_has(props, PROP_SERVER_KEEP_ALIVE))
        set_integer(L, "keepalive", props->server_keep_alive);
    if (props_has(props, PROP_ASSIGNED_CLIENT_IDENTIFIER))
        set_slice(L, "client_id", props->assigned_client_identifier);
}

/* Sets the list of the subscriptions it comes for, as far as the server names them. */
static void set_identifiers(lua_State *L, const struct props *props) {
    struct prop_item item;
    lua_Integer n = 0;
    if (!props_has(props, PROP_SUBSCRIPTION_IDENTIFIER)) return;
    lua_newtable(L); /* table, list */
    for (size_t at = 0; props_next(props->raw, &at, &item);) {
        if (item.id != PROP_SUBSCRIPTION_IDENTIFIER) continue;
        lua_pushinteger(L, item.number); /* table, list, number */
        lua_rawseti(L, -2, ++n);         /* table, list */
    }
    lua_setfield(L, -2, "identifiers"); /* table */
}

static void take_publish(lua_State *L, const struct packet *p) {
    const struct pkt_publish *in = &p->publish;
    struct vm *vm = vm_of(L);
    struct message_parts parts = { .topic = in->topic,
                                   .payload = in->payload,
                                   .expires_ms = MESSAGE_NEVER,
                                   .publisher = HANDLE_NONE,
                                   .qos = in->qos,
                                   .retain = in->retain };
    struct buf props = BUF_INIT;
    if (props_has(&in->props, PROP_MESSAGE_EXPIRY_INTERVAL))
        parts.expires_ms =
            loop_now_ms(vm->worker->loop) + (uint64_t)in->props.message_expiry_interval * 1000;
    set_integer(L, "id", in->packet_id);
    set_integer(L, "qos", in->qos);
    set_identifiers(L, &in->props);
    bool was = vm_uncap(vm); /* nothing may raise while the message is ours */
    message_props_from(&in->props, &props);
    parts.props = buf_slice(&props);
    struct message *m = message_new(&parts);
    buf_deinit(&props);
    message_push_table(L, m, m->retain); /* table, message */
    message_unref(m);
    lua_setfield(L, -2, "message"); /* table */
    vm->is_capped = was;
}

static void take_ack(lua_State *L, const struct packet *p) {
    set_integer(L, "id", p->ack.packet_id);
    set_integer(L, "code", p->ack.reason_code);
    set_reason(L, &p->ack.props);
}

static void take_codes(lua_State *L, const struct packet *p) {
    set_integer(L, "id", p->codes.packet_id);
    set_integer(L, "code", p->codes.codes.len ? p->codes.codes.at[0] : 0);
    set_reason(L, &p->codes.props);
}

static void take_reason(lua_State *L, const struct packet *p) {
    set_integer(L, "code", p->reason.reason_code);
    set_reason(L, &p->reason.props);
}

static void take_nothing(lua_State *L, const struct packet *p) {
    (void)L;
    (void)p;
}

/* What a server may send; the rest is refused. */
static const struct arrival {
    const char *name;
    void (*take)(lua_State *L, const struct packet *p);
} arrivals[PKT_TYPES] = {
    [PKT_CONNACK] = { "connack", take_connack },   [PKT_PUBLISH] = { "publish", take_publish },
    [PKT_PUBACK] = { "puback", take_ack },         [PKT_PUBREC] = { "pubrec", take_ack },
    [PKT_PUBREL] = { "pubrel", take_ack },         [PKT_PUBCOMP] = { "pubcomp", take_ack },
    [PKT_SUBACK] = { "suback", take_codes },       [PKT_UNSUBACK] = { "unsuback", take_codes },
    [PKT_PINGRESP] = { "pingresp", take_nothing }, [PKT_DISCONNECT] = { "disconnect", take_reason },
};

/* mqtt_decode(version, header, body): a table with the packet's type and what is in it; or
 * nil and why. */
static int l_decode(lua_State *L) {
    struct frame f;
    struct packet p;
    uint8_t version = check_version(L);
    struct slice header = vm_check_slice(L, 2), body = vm_check_slice(L, 3);
    lib_worker(L, "sol.mqtt");
    int r = frame_read(header.at, header.len, 0, &f);
    if (r > 0 || !f.head_len || f.body_len != body.len) return vm_fail(L, "malformed packet");
    f.body = body.at;
    r = arrivals[f.type].name ? packet_decode(&f, version, &p) : RC_PROTOCOL_ERROR;
    if (r != 0) return vm_fail(L, "malformed packet");
    lua_createtable(L, 0, 6);                 /* ..., table */
    lua_pushstring(L, arrivals[f.type].name); /* ..., table, type */
    lua_setfield(L, -2, "type");              /* ..., table */
    arrivals[f.type].take(L, &p);
    return 1;
}

/* ---- others -------------------------------------------------------------------------- */

/* farewell(socket, bytes): to be sent if it can when the socket is closed, however. */
static int l_farewell(lua_State *L) {
    struct cosocket *s = object_check(L, 1, &cosocket_type);
    struct slice bytes = vm_check_slice(L, 2);
    luaL_argcheck(L, bytes.len <= sizeof s->farewell, 2, "too long");
    if (bytes.len) memcpy(s->farewell, bytes.at, bytes.len);
    s->farewell_len = (uint8_t)bytes.len;
    return 0;
}

/* worker_number(): from 0 */
static int l_worker_number(lua_State *L) {
    lua_pushinteger(L, lib_worker(L, "sol.mqtt")->id); /* number */
    return 1;
}

/* is_retired(): another generation of policy has taken over, or the broker ends */
static int l_is_retired(lua_State *L) {
    lua_pushboolean(L, script_of(L)->is_retired); /* answer */
    return 1;
}

static const luaL_Reg functions[] = {
    { "mqtt_properties", l_properties }, { "mqtt_connect", l_connect },
    { "mqtt_publish", l_publish },       { "mqtt_decode", l_decode },
    { "farewell", l_farewell },          { "worker_number", l_worker_number },
    { "is_retired", l_is_retired },      { NULL, NULL },
};

void lib_mqtt_add(lua_State *L) {
    luaL_setfuncs(L, functions, 0); /* native */
}
