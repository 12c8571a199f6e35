/* obj_request.c -- rows of fields over core's requests. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/obj_request.h"

#include "core/hooks.h"
#include "core/mount.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"
#include "script/obj_limits.h"
#include "script/object.h"
#include "script/vm.h"

#include <math.h>

void *request_of_box(lua_State *L, const struct request_box *box) {
    if (!box->request)
        luaL_error(L, "a request is valid only inside its handler; keep its fields instead");
    return box->request;
}

static void *resolve(lua_State *L, void *block) {
    return request_of_box(L, block);
}

/* Lends the string at index 3 for field `name`. [-0, +0, v] */
static struct slice check_text(lua_State *L, const char *name) {
    struct slice s = vm_to_slice(L, 3);
    if (!s.at) luaL_error(L, "%s must be a string, not a %s", name, luaL_typename(L, 3));
    if (s.len > UINT16_MAX || !utf8_valid(s))
        luaL_error(L, "%s must be UTF-8 without U+0000 of at most 65535 bytes", name);
    return s;
}

/* Seconds or math.huge at index 3. [-0, +0, v] */
static uint32_t check_seconds(lua_State *L, const char *name) {
    lua_Number n = lua_type(L, 3) == LUA_TNUMBER ? lua_tonumber(L, 3) : -1;
    if (!(n >= 0))
        luaL_error(L, "%s must be seconds from 0 or math.huge, not %s", name,
                   luaL_tolstring(L, 3, NULL));
    return n >= UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

/* UINT32_MAX is for ever. [-0, +1, -] */
static void push_seconds(lua_State *L, uint32_t seconds) {
    if (seconds == UINT32_MAX)
        lua_pushnumber(L, (lua_Number)HUGE_VAL);
    else
        lua_pushinteger(L, seconds);
}

/* ---- will --------------------------------------------------------------------- */

/* The will view: a connect userdata in user value 1 keeps the request's box alive. */
struct will_view {
    struct request_box *box;
};

static void *resolve_will(lua_State *L, void *block) {
    struct will_view *view = block;
    struct connect_request *r = resolve(L, view->box);
    return r->packet.has_will ? r : NULL; /* dropped meanwhile */
}

static struct will *will_of(void *obj) {
    return &((struct connect_request *)obj)->packet.will;
}

static void get_will_topic(lua_State *L, void *obj) {
    vm_push_slice(L, will_of(obj)->topic);
}

static void set_will_topic(lua_State *L, void *obj) {
    struct slice topic = check_text(L, "will.topic");
    if (!topic_name_valid(topic))
        luaL_error(L, "will.topic: \"%s\" is not a topic name", lua_tostring(L, 3));
    will_of(obj)->topic = connect_keep(obj, topic);
}

static void get_will_payload(lua_State *L, void *obj) {
    vm_push_slice(L, will_of(obj)->payload);
}

static void set_will_payload(lua_State *L, void *obj) {
    struct slice payload = vm_to_slice(L, 3);
    if (!payload.at) luaL_error(L, "will.payload must be a string, not a %s", luaL_typename(L, 3));
    if (payload.len > UINT16_MAX) luaL_error(L, "will.payload is longer than 65535 bytes");
    will_of(obj)->payload = connect_keep(obj, payload);
}

static void get_will_qos(lua_State *L, void *obj) {
    lua_pushinteger(L, will_of(obj)->qos);
}

static void set_will_qos(lua_State *L, void *obj) {
    will_of(obj)->qos = (uint8_t)object_integer(L, "will.qos", 0, 2);
}

static void get_will_retain(lua_State *L, void *obj) {
    lua_pushboolean(L, will_of(obj)->retain);
}

static void set_will_retain(lua_State *L, void *obj) {
    will_of(obj)->retain = object_boolean(L, "will.retain");
}

static void get_will_delay(lua_State *L, void *obj) {
    const struct props *p = &will_of(obj)->props;
    lua_pushinteger(L, props_has(p, PROP_WILL_DELAY_INTERVAL) ? p->will_delay_interval : 0);
}

static void set_will_delay(lua_State *L, void *obj) {
    struct props *p = &will_of(obj)->props;
    p->will_delay_interval = (uint32_t)object_integer(L, "will.delay", 0, UINT32_MAX);
    p->present |= PROP_BIT(PROP_WILL_DELAY_INTERVAL);
}

static const struct field will_fields[] = {
    { "topic", get_will_topic, set_will_topic }, { "payload", get_will_payload, set_will_payload },
    { "qos", get_will_qos, set_will_qos },       { "retain", get_will_retain, set_will_retain },
    { "delay", get_will_delay, set_will_delay }, { NULL, NULL, NULL },
};

static const struct object_type will_type = {
    .name = "will",
    .fields = will_fields,
    .resolve = resolve_will,
};

/* ---- connect ------------------------------------------------------------------- */

static struct connect_request *connect_of(void *obj) {
    return obj;
}

static void get_client_id(lua_State *L, void *obj) {
    vm_push_slice(L, connect_of(obj)->packet.client_id);
}

static void set_client_id(lua_State *L, void *obj) {
    struct slice id = check_text(L, "connect.client_id");
    connect_of(obj)->packet.client_id = connect_keep(obj, id);
}

static void get_username(lua_State *L, void *obj) {
    struct pkt_connect *p = &connect_of(obj)->packet;
    vm_push_slice(L, p->has_username ? p->username : SLICE_NONE);
}

static void set_username(lua_State *L, void *obj) {
    struct pkt_connect *p = &connect_of(obj)->packet;
    if (!lua_isnil(L, 3)) {
        struct slice username = check_text(L, "username");
        p->username = connect_keep(obj, username);
    }
    p->has_username = !lua_isnil(L, 3);
}

static void get_password(lua_State *L, void *obj) {
    struct pkt_connect *p = &connect_of(obj)->packet;
    vm_push_slice(L, p->has_password ? p->password : SLICE_NONE);
}

static void get_version(lua_State *L, void *obj) {
    lua_pushinteger(L, connect_of(obj)->packet.version);
}

static void get_clean_start(lua_State *L, void *obj) {
    lua_pushboolean(L, connect_of(obj)->packet.clean_start);
}

static void set_clean_start(lua_State *L, void *obj) {
    connect_of(obj)->packet.clean_start = object_boolean(L, "connect.clean_start");
}

static void get_keep_alive(lua_State *L, void *obj) {
    lua_pushinteger(L, connect_of(obj)->packet.keep_alive);
}

static void set_keep_alive(lua_State *L, void *obj) {
    connect_of(obj)->packet.keep_alive =
        (uint16_t)object_integer(L, "connect.keep_alive", 0, UINT16_MAX);
}

static void get_session_expiry(lua_State *L, void *obj) {
    push_seconds(L, connect_of(obj)->session_expiry);
}

static void set_session_expiry(lua_State *L, void *obj) {
    connect_of(obj)->session_expiry = check_seconds(L, "connect.session_expiry");
}

static void get_will(lua_State *L, void *obj) {
    if (!connect_of(obj)->packet.has_will) {
        lua_pushnil(L); /* ..., nil */
        return;
    }
    struct will_view *view = object_new(L, &will_type, sizeof *view, 1); /* ..., will */
    view->box = lua_touserdata(L, 1);
    lua_pushvalue(L, 1);         /* ..., will, connect */
    lua_setiuservalue(L, -2, 1); /* ..., will */
}

/* Puts the fields of the table at index 4 into the will, through its rows: what they
 * refuse raises.  The stack is connect, name, ?, table. */
static void fill_will(lua_State *L, struct connect_request *r) {
    for (const struct field *f = will_fields; f->name; f++) {
        lua_getfield(L, 4, f->name); /* connect, name, ?, table, value */
        bool given = !lua_isnil(L, -1);
        lua_replace(L, 3); /* connect, name, value, table */
        if (given) f->set(L, r);
    }
}

static void set_will(lua_State *L, void *obj) {
    struct connect_request *r = obj;
    if (lua_isnil(L, 3)) {
        r->packet.has_will = false;
        return;
    }
    if (!lua_istable(L, 3))
        luaL_error(L, "connect.will must be a table or nil, not a %s", luaL_typename(L, 3));
    if (lua_getfield(L, 3, "topic") == LUA_TNIL) luaL_error(L, "connect.will needs a topic");
    lua_pop(L, 1); /* connect, name, table */
    struct will before = r->packet.will;
    if (!r->packet.has_will) before = (struct will){ .payload = SLICE("") };
    r->packet.will = before;
    r->packet.has_will = false; /* until all of it is good */
    lua_pushvalue(L, 3);        /* connect, name, table, table */
    fill_will(L, r);
    r->packet.has_will = true;
}

static void get_mount_point(lua_State *L, void *obj) {
    vm_push_slice(L, connect_of(obj)->mount);
}

static void set_mount_point(lua_State *L, void *obj) {
    struct connect_request *r = obj;
    if (lua_isnil(L, 3)) {
        r->mount = SLICE_NONE;
        return;
    }
    struct slice mount = check_text(L, "connect.mount_point");
    const char *why = mount_invalid(mount);
    if (why) luaL_error(L, "connect.mount_point: \"%s\": %s", lua_tostring(L, 3), why);
    r->mount = connect_keep(r, mount);
}

static void get_response_information(lua_State *L, void *obj) {
    vm_push_slice(L, connect_of(obj)->response_information);
}

static void set_response_information(lua_State *L, void *obj) {
    struct connect_request *r = obj;
    struct slice text =
        lua_isnil(L, 3) ? SLICE_NONE : check_text(L, "connect.response_information");
    r->response_information = text.at ? connect_keep(r, text) : SLICE_NONE;
}

static void get_limits(lua_State *L, void *obj) {
    (void)obj;
    limits_view_push(L, 1, lua_touserdata(L, 1)); /* ..., limits */
}

static void set_limits(lua_State *L, void *obj) {
    limits_take(L, obj);
}

static const struct field connect_fields[] = {
    { "client_id", get_client_id, set_client_id },
    { "username", get_username, set_username },
    { "password", get_password, NULL },
    { "version", get_version, NULL },
    { "clean_start", get_clean_start, set_clean_start },
    { "keep_alive", get_keep_alive, set_keep_alive },
    { "session_expiry", get_session_expiry, set_session_expiry },
    { "will", get_will, set_will },
    { "mount_point", get_mount_point, set_mount_point },
    { "response_information", get_response_information, set_response_information },
    { "limits", get_limits, set_limits },
    { NULL, NULL, NULL },
};

static const struct object_type connect_type = {
    .name = "connect",
    .fields = connect_fields,
    .resolve = resolve,
};

static const struct field credentials_fields[] = {
    { "client_id", get_client_id, NULL },
    { "username", get_username, set_username },
    { "password", get_password, NULL },
    { "version", get_version, NULL },
    { NULL, NULL, NULL },
};

static const struct object_type credentials_type = {
    .name = "credentials",
    .fields = credentials_fields,
    .resolve = resolve,
};

/* ---- subscription ---------------------------------------------------------------- */

static struct subscribe_request *subscription_of(void *obj) {
    return obj;
}

static void get_filter(lua_State *L, void *obj) {
    vm_push_slice(L, subscription_of(obj)->filter);
}

static void set_filter(lua_State *L, void *obj) {
    struct slice filter = check_text(L, "subscription.filter");
    if (!topic_filter_valid(filter))
        luaL_error(L, "subscription.filter: \"%s\" is not a topic filter", lua_tostring(L, 3));
    subscribe_keep(obj, filter);
}

static void get_sub_qos(lua_State *L, void *obj) {
    lua_pushinteger(L, subscription_of(obj)->options.qos);
}

static void set_sub_qos(lua_State *L, void *obj) {
    subscription_of(obj)->options.qos = (uint8_t)object_integer(L, "subscription.qos", 0, 2);
}

static void get_no_local(lua_State *L, void *obj) {
    lua_pushboolean(L, subscription_of(obj)->options.no_local);
}

static void set_no_local(lua_State *L, void *obj) {
    subscription_of(obj)->options.no_local = object_boolean(L, "subscription.no_local");
}

static void get_as_published(lua_State *L, void *obj) {
    lua_pushboolean(L, subscription_of(obj)->options.retain_as_published);
}

static void set_as_published(lua_State *L, void *obj) {
    subscription_of(obj)->options.retain_as_published =
        object_boolean(L, "subscription.retain_as_published");
}

static void get_retain_handling(lua_State *L, void *obj) {
    lua_pushinteger(L, subscription_of(obj)->options.retain_handling);
}

static void set_retain_handling(lua_State *L, void *obj) {
    subscription_of(obj)->options.retain_handling =
        (uint8_t)object_integer(L, "subscription.retain_handling", 0, 2);
}

static void get_identifier(lua_State *L, void *obj) {
    uint32_t identifier = subscription_of(obj)->subscription_identifier;
    if (identifier)
        lua_pushinteger(L, identifier);
    else
        lua_pushnil(L);
}

static const struct field subscription_fields[] = {
    { "filter", get_filter, set_filter },
    { "qos", get_sub_qos, set_sub_qos },
    { "no_local", get_no_local, set_no_local },
    { "retain_as_published", get_as_published, set_as_published },
    { "retain_handling", get_retain_handling, set_retain_handling },
    { "identifier", get_identifier, NULL },
    { NULL, NULL, NULL },
};

static const struct object_type subscription_type = {
    .name = "subscription",
    .fields = subscription_fields,
    .resolve = resolve,
};

static const struct field filter_fields[] = {
    { "filter", get_filter, set_filter },
    { NULL, NULL, NULL },
};

static const struct object_type filter_type = {
    .name = "subscription",
    .fields = filter_fields,
    .resolve = resolve,
};

/* ---- exchange ---------------------------------------------------------------------- */

/* registry[&exchange_states][address of an exchange] = its state */
static const char exchange_states;

static struct auth_exchange *exchange_of(void *obj) {
    return obj;
}

static void get_method(lua_State *L, void *obj) {
    vm_push_slice(L, exchange_of(obj)->method);
}

static void get_data(lua_State *L, void *obj) {
    vm_push_slice(L, exchange_of(obj)->data);
}

static void get_reauth(lua_State *L, void *obj) {
    lua_pushboolean(L, exchange_of(obj)->is_reauth);
}

static void get_exchange_username(lua_State *L, void *obj) {
    vm_push_slice(L, exchange_of(obj)->username);
}

static void set_exchange_username(lua_State *L, void *obj) {
    bool removes = lua_isnil(L, 3);
    struct slice username = removes ? SLICE_NONE : check_text(L, "exchange.username");
    auth_name(obj, username);
}

static void get_state(lua_State *L, void *obj) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &exchange_states); /* ..., states */
    if (lua_rawgetp(L, -1, obj) == LUA_TNIL) {           /* ..., states, state or nil */
        lua_pop(L, 1);                                   /* ..., states */
        lua_newtable(L);                                 /* ..., states, state */
        lua_pushvalue(L, -1);                            /* ..., states, state, state */
        lua_rawsetp(L, -3, obj);                         /* ..., states, state */
    }
    lua_remove(L, -2); /* ..., state */
}

void exchange_forget(lua_State *L, const struct auth_exchange *x) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &exchange_states); /* ..., states */
    lua_pushnil(L);                                      /* ..., states, nil */
    lua_rawsetp(L, -2, x);                               /* ..., states */
    lua_pop(L, 1);                                       /* ... */
}

static const struct field exchange_fields[] = {
    { "method", get_method, NULL }, { "data", get_data, NULL },
    { "reauth", get_reauth, NULL }, { "username", get_exchange_username, set_exchange_username },
    { "state", get_state, NULL },   { NULL, NULL, NULL },
};

static const struct object_type exchange_type = {
    .name = "exchange",
    .fields = exchange_fields,
    .resolve = resolve,
};

/* ---- access ------------------------------------------------------------------------ */

static void *resolve_access(lua_State *L, void *block) {
    (void)L;
    return block;
}

static void get_message(lua_State *L, void *obj) {
    if (((struct access_box *)obj)->has_message)
        lua_getiuservalue(L, 1, ACCESS_MESSAGE);
    else
        lua_pushnil(L); /* ..., message or nil */
}

static void get_access_topic(lua_State *L, void *obj) {
    live_push_topic(L, &((struct access_box *)obj)->live);
}

/* Always in the table of fields; here so that assigning is refused and names are known. */
static void get_shown(lua_State *L, void *obj) {
    (void)obj;
    lua_pushnil(L);
}

static const struct field access_fields[] = {
    { "action", get_shown, NULL }, { "topic", get_access_topic, NULL }, { "qos", get_shown, NULL },
    { "retain", get_shown, NULL }, { "message", get_message, NULL },    { NULL, NULL, NULL },
};

static const struct object_type access_type = {
    .name = "request",
    .fields = access_fields,
    .resolve = resolve_access,
};

struct access_box *access_box_push(lua_State *L) {
    struct access_box *box = live_push(L, &access_type, sizeof *box, ACCESS_MESSAGE);
    box->action = -1;
    return box;
}

void access_box_fill(lua_State *L, int at, struct access_box *box, const struct access_request *q) {
    static const char *const names[] = {
        [ACCESS_PUBLISH] = "publish",
        [ACCESS_SUBSCRIBE] = "subscribe",
        [ACCESS_WILL] = "will",
        [ACCESS_DELIVER] = "deliver",
    };
    if (box->action != (int)q->action) {
        lua_pushstring(L, names[q->action]); /* ..., action */
        object_show(L, at, "action");
        box->action = (int)q->action;
    }
    box->has_message = q->message != NULL;
    live_fill(L, at, &box->live, q->topic, q->qos, q->retain);
}

/* ---- life ---------------------------------------------------------------------------- */

static const struct object_type *const types[] = {
    [REQUEST_CONNECT] = &connect_type,   [REQUEST_CREDENTIALS] = &credentials_type,
    [REQUEST_EXCHANGE] = &exchange_type, [REQUEST_SUBSCRIPTION] = &subscription_type,
    [REQUEST_FILTER] = &filter_type,
};

void request_register(lua_State *L) {
    for (unsigned i = 0; i < REQUEST_KINDS; i++) object_register(L, types[i]);
    object_register(L, &will_type);
    limits_register(L);
    lua_newtable(L);                                     /* states */
    lua_rawsetp(L, LUA_REGISTRYINDEX, &exchange_states); /* */
    object_register(L, &access_type);
}

struct request_box *request_box_push(lua_State *L, enum request_kind kind) {
    return object_new(L, types[kind], sizeof(struct request_box), 0);
}
