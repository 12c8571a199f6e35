/* obj_props.c -- properties by name, read from their encoding and edited in it.
 *
 * A message carries its properties encoded; reading walks them (they are few), assigning
 * rewrites them into the message box's own buffer.  User properties keep their order:
 * `p[1]` is { name, value }, `p.name` the first value of that name. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/obj_props.h"

#include "base/mem.h"
#include "core/worker.h"
#include "mqtt/props.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"
#include "script/obj_message.h"
#include "script/object.h"
#include "script/suggest.h"
#include "script/vm.h"

/* The names a message's properties have here. */
struct prop_name {
    const char *name;
    uint8_t id; /* enum prop_id */
};

static const struct prop_name names[] = {
    { "payload_format_indicator", PROP_PAYLOAD_FORMAT_INDICATOR },
    { "message_expiry_interval", PROP_MESSAGE_EXPIRY_INTERVAL },
    { "content_type", PROP_CONTENT_TYPE },
    { "response_topic", PROP_RESPONSE_TOPIC },
    { "correlation_data", PROP_CORRELATION_DATA },
    { "user_properties", PROP_USER_PROPERTY },
};

/* The view's block: whose message it shows.  Its user value 1 keeps that alive, 2 is the
 * view of the user properties. */
struct view {
    struct message_box *box;
};

static const struct object_type props_type, user_type;

/* ---- buffers of the collector's ---------------------------------------------- */

static int buf_gc(lua_State *L) {
    buf_deinit(lua_touserdata(L, 1));
    return 0;
}

struct buf *push_buf(lua_State *L) {
    struct buf *b = lua_newuserdatauv(L, sizeof *b, 0); /* buf */
    *b = BUF_INIT;
    if (luaL_newmetatable(L, "sol.buf")) { /* buf, meta */
        lua_pushcfunction(L, buf_gc);      /* buf, meta, gc */
        lua_setfield(L, -2, "__gc");       /* buf, meta */
    }
    lua_setmetatable(L, -2); /* buf */
    return b;
}

/* ---- reading ------------------------------------------------------------------ */

/* The present encoding; lent until the box changes. */
static struct slice present(const struct message_box *box) {
    return box->changed & MESSAGE_PROPS ? buf_slice(&box->props) : message_props(box->message);
}

static bool find_prop(const struct message_box *box, uint8_t id, struct prop_item *out) {
    size_t at = 0;
    while (props_next(present(box), &at, out))
        if (out->id == id) return true;
    return false;
}

static void push_expiry(lua_State *L, const struct message_box *box) {
    uint64_t now = loop_now_ms(vm_of(L)->worker->loop);
    uint64_t left = box->expires_ms > now ? box->expires_ms - now : 0;
    if (box->expires_ms == MESSAGE_NEVER)
        lua_pushnil(L);
    else
        lua_pushinteger(L, (lua_Integer)((left + 999) / 1000));
}

/* Pushes one property other than the user's. [-0, +1, m] */
static void push_prop(lua_State *L, const struct message_box *box, uint8_t id) {
    struct prop_item item;
    if (id == PROP_MESSAGE_EXPIRY_INTERVAL)
        push_expiry(L, box);
    else if (!find_prop(box, id, &item))
        lua_pushnil(L);
    else if (id == PROP_PAYLOAD_FORMAT_INDICATOR)
        lua_pushinteger(L, item.number);
    else
        vm_push_slice(L, item.value);
}

void props_push_pair(lua_State *L, const struct prop_item *item) {
    lua_createtable(L, 2, 0);      /* pair */
    vm_push_slice(L, item->key);   /* pair, name */
    lua_rawseti(L, -2, 1);         /* pair */
    vm_push_slice(L, item->value); /* pair, value */
    lua_rawseti(L, -2, 2);         /* pair */
}

void props_push_table(lua_State *L, const struct message_box *box) {
    struct prop_item item;
    size_t at = 0;
    lua_Integer n = 0;
    lua_newtable(L); /* props */
    lua_newtable(L); /* props, user */
    while (props_next(present(box), &at, &item)) {
        if (item.id != PROP_USER_PROPERTY) continue;
        props_push_pair(L, &item); /* props, user, pair */
        lua_rawseti(L, -2, ++n);   /* props, user */
    }
    if (n)
        lua_setfield(L, -2, "user_properties"); /* props */
    else
        lua_pop(L, 1);
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (names[i].id == PROP_USER_PROPERTY) continue;
        push_prop(L, box, names[i].id);     /* props, value */
        lua_setfield(L, -2, names[i].name); /* props */
    }
}

const char *props_name(uint8_t id) {
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (names[i].id == id) return names[i].name;
    return NULL;
}

/* ---- checking ------------------------------------------------------------------ */

static const struct prop_name *check_prop(lua_State *L, int index) {
    char buf[SUGGEST_MAX + 24];
    struct suggest s;
    const char *name = lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "?";
    suggest_init(&s, name);
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(name, names[i].name) == 0) return &names[i];
        suggest_offer(&s, names[i].name);
    }
    luaL_error(L, "a message has no property \"%s\"%s", name, suggest_text(&s, buf));
    return NULL;
}

/* Lends the string at `index`; raises unless MQTT can carry it. [-0, +0, v] */
static struct slice check_text(lua_State *L, int index, const char *what, bool is_binary) {
    struct slice s = vm_to_slice(L, index);
    if (!s.at) luaL_error(L, "%s must be a string, not a %s", what, luaL_typename(L, index));
    if (s.len > UINT16_MAX) luaL_error(L, "%s is longer than 65535 bytes", what);
    if (!is_binary && !utf8_valid(s)) luaL_error(L, "%s is not UTF-8", what);
    return s;
}

static lua_Integer check_number(lua_State *L, int index, const char *what, lua_Integer max) {
    int is_integer;
    lua_Integer v = lua_tointegerx(L, index, &is_integer);
    if (!is_integer || v < 0 || v > max)
        luaL_error(L, "%s must be an integer from 0 to %I", what, (LUAI_UACINT)max);
    return v;
}

/* Appends the value at `index` as property `p`. [-0, +0, v] */
static void add_prop(lua_State *L, int index, const struct prop_name *p, struct buf *out) {
    if (p->id == PROP_PAYLOAD_FORMAT_INDICATOR) {
        props_add_number(out, p->id, (uint32_t)check_number(L, index, p->name, 1));
        return;
    }
    struct slice s = check_text(L, index, p->name, p->id == PROP_CORRELATION_DATA);
    if (p->id == PROP_RESPONSE_TOPIC && !topic_name_valid(s))
        luaL_error(L, "response_topic: \"%s\" is not a topic name", lua_tostring(L, index));
    props_add_slice(out, p->id, s);
}

/* ---- user properties in a table -------------------------------------------------- */

/* Lends name and value of the pair at `index`; they live as long as the pair. [-0, +0, v] */
static void check_pair(lua_State *L, int index, struct slice *name, struct slice *value) {
    index = lua_absindex(L, index);
    if (!lua_istable(L, index))
        luaL_error(L, "user_properties: expected { name, value }, got a %s",
                   luaL_typename(L, index));
    lua_rawgeti(L, index, 1); /* ..., name */
    lua_rawgeti(L, index, 2); /* ..., name, value */
    *name = check_text(L, -2, "the name of a user property", false);
    *value = check_text(L, -1, "the value of a user property", false);
    lua_pop(L, 2); /* ... */
}

/* Appends the list part of the table at `index`. [-0, +0, v] */
static lua_Integer add_list(lua_State *L, int index, struct buf *out) {
    struct slice name, value;
    lua_Integer n = 0;
    while (lua_rawgeti(L, index, n + 1) != LUA_TNIL) { /* ..., pair */
        check_pair(L, -1, &name, &value);
        props_add_user(out, name, value);
        lua_pop(L, 1); /* ... */
        n++;
    }
    lua_pop(L, 1); /* ... */
    return n;
}

/* The smallest string key of the table at `index` above `after`, as a copy on the stack;
 * false, with nothing pushed, when there is none. [-0, +0|1, v] */
static bool next_name(lua_State *L, int index, const char *after, lua_Integer list_len) {
    lua_pushnil(L);                                           /* best */
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) { /* best, name, value */
        if (lua_isinteger(L, -2) && lua_tointeger(L, -2) >= 1 && lua_tointeger(L, -2) <= list_len)
            continue;
        check_text(L, -2, "the name of a user property", false);
        const char *name = lua_tostring(L, -2), *best = lua_tostring(L, -3);
        if ((after && strcmp(name, after) <= 0) || (best && strcmp(name, best) >= 0)) continue;
        lua_pushvalue(L, -2); /* best, name, value, name */
        lua_replace(L, -4);   /* name, name, value */
    }
    if (!lua_isnil(L, -1)) return true;
    lua_pop(L, 1);
    return false;
}

void props_add_user_table(lua_State *L, int index, struct buf *out) {
    index = lua_absindex(L, index);
    if (!lua_istable(L, index))
        luaL_error(L, "user_properties must be a table, not a %s", luaL_typename(L, index));
    lua_Integer n = add_list(L, index, out);
    lua_pushnil(L);                                       /* ..., before */
    while (next_name(L, index, lua_tostring(L, -1), n)) { /* ..., before, name */
        lua_remove(L, -2);                                /* ..., name */
        lua_pushvalue(L, -1);                             /* ..., name, name */
        lua_rawget(L, index);                             /* ..., name, value */
        props_add_user(out, vm_to_slice(L, -2),
                       check_text(L, -1, "the value of a user property", false));
        lua_pop(L, 1); /* ..., name */
    }
    lua_pop(L, 1); /* ... */
}

void props_from_table(lua_State *L, int index, struct buf *out, int64_t *expiry) {
    index = lua_absindex(L, index);
    *expiry = -1;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) /* ..., name, value */
        check_prop(L, -2);
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        const struct prop_name *p = &names[i];
        lua_getfield(L, index, p->name); /* ..., value */
        if (lua_isnil(L, -1))
            (void)0;
        else if (p->id == PROP_USER_PROPERTY)
            props_add_user_table(L, -1, out);
        else if (p->id == PROP_MESSAGE_EXPIRY_INTERVAL)
            *expiry = check_number(L, -1, p->name, UINT32_MAX);
        else
            add_prop(L, -1, p, out);
        lua_pop(L, 1); /* ... */
    }
}

/* ---- editing ------------------------------------------------------------------- */

static void replace_props(struct message_box *box, struct buf *fresh) {
    buf_deinit(&box->props);
    box->props = *fresh;
    *fresh = BUF_INIT;
    box->changed |= MESSAGE_PROPS;
}

/* Appends the present properties but those of `id`. */
static void copy_others(const struct message_box *box, uint8_t id, struct buf *out) {
    struct slice raw = present(box);
    struct prop_item item;
    for (size_t at = 0, from = 0; props_next(raw, &at, &item); from = at)
        if (item.id != id) buf_add(out, raw.at + from, at - from);
}

/* What becomes of the user properties: the one at a place, or those of a name. */
struct user_edit {
    lua_Integer place;       /* from 1; 0: by name */
    struct slice name;       /* of those to be replaced */
    bool keeps;              /* there is a new pair */
    struct slice key, value; /* it */
};

static bool is_edited(const struct user_edit *e, const struct prop_item *item, lua_Integer n) {
    return e->place ? n == e->place : slice_eq(item->key, e->name);
}

static void edit_user(struct message_box *box, const struct user_edit *e) {
    struct slice raw = present(box);
    struct buf out = BUF_INIT;
    struct prop_item item;
    lua_Integer n = 0;
    bool done = !e->keeps;
    for (size_t at = 0, from = 0; props_next(raw, &at, &item); from = at) {
        bool edited = item.id == PROP_USER_PROPERTY && is_edited(e, &item, ++n);
        if (!edited)
            buf_add(&out, raw.at + from, at - from);
        else if (!done)
            props_add_user(&out, e->key, e->value);
        done |= edited;
    }
    if (!done) props_add_user(&out, e->key, e->value);
    replace_props(box, &out);
}

static lua_Integer user_count(const struct message_box *box) {
    struct prop_item item;
    lua_Integer n = 0;
    for (size_t at = 0; props_next(present(box), &at, &item);) n += item.id == PROP_USER_PROPERTY;
    return n;
}

/* ---- the view of all properties -------------------------------------------------- */

static struct message_box *box_of(lua_State *L) {
    struct view *view = lua_touserdata(L, 1);
    if (!view->box->message)
        luaL_error(L, "a message is valid only inside its handler; keep its fields or "
                      "message:copy() instead");
    return view->box;
}

static struct message_box *writable_box(lua_State *L) {
    struct message_box *box = box_of(L);
    if (box->read_only) luaL_error(L, "message cannot be changed: %s", box->read_only);
    return box;
}

static int props_index(lua_State *L) {
    struct message_box *box = box_of(L);
    const struct prop_name *p = check_prop(L, 2);
    if (p->id != PROP_USER_PROPERTY) {
        push_prop(L, box, p->id); /* ..., value */
        return 1;
    }
    if (lua_getiuservalue(L, 1, 2) == LUA_TUSERDATA) return 1;      /* ..., user */
    struct view *view = object_new(L, &user_type, sizeof *view, 1); /* ..., user */
    view->box = box;
    lua_getiuservalue(L, 1, 1);  /* ..., user, message */
    lua_setiuservalue(L, -2, 1); /* ..., user */
    lua_pushvalue(L, -1);        /* ..., user, user */
    lua_setiuservalue(L, 1, 2);  /* ..., user */
    return 1;
}

static int props_newindex(lua_State *L) {
    struct message_box *box = writable_box(L);
    const struct prop_name *p = check_prop(L, 2);
    struct buf *fresh = push_buf(L); /* view, name, value, buf */
    if (p->id == PROP_MESSAGE_EXPIRY_INTERVAL) {
        uint64_t s = lua_isnil(L, 3) ? 0 : (uint64_t)check_number(L, 3, p->name, UINT32_MAX);
        box->expires_ms =
            lua_isnil(L, 3) ? MESSAGE_NEVER : loop_now_ms(vm_of(L)->worker->loop) + s * 1000;
        box->changed |= MESSAGE_SCALARS;
        return 0;
    }
    copy_others(box, p->id, fresh);
    if (p->id == PROP_USER_PROPERTY && !lua_isnil(L, 3))
        props_add_user_table(L, 3, fresh);
    else if (!lua_isnil(L, 3))
        add_prop(L, 3, p, fresh);
    replace_props(box, fresh);
    return 0;
}

/* ---- the view of the user properties ---------------------------------------------- */

static int user_index(lua_State *L) {
    struct message_box *box = box_of(L);
    struct prop_item item;
    lua_Integer n = 0;
    bool by_place = lua_isinteger(L, 2);
    struct slice name = vm_to_slice(L, 2);
    for (size_t at = 0; props_next(present(box), &at, &item);) {
        if (item.id != PROP_USER_PROPERTY) continue;
        if (by_place && ++n == lua_tointeger(L, 2)) {
            props_push_pair(L, &item); /* ..., pair */
            return 1;
        }
        if (name.at && slice_eq(item.key, name)) {
            vm_push_slice(L, item.value); /* ..., value */
            return 1;
        }
    }
    lua_pushnil(L); /* ..., nil */
    return 1;
}

static int user_newindex(lua_State *L) {
    struct message_box *box = writable_box(L);
    struct user_edit e = { .keeps = !lua_isnil(L, 3) };
    if (lua_isinteger(L, 2)) {
        e.place = lua_tointeger(L, 2);
        if (e.place < 1 || e.place > user_count(box) + 1)
            return luaL_error(L, "user_properties: no place %I", (LUAI_UACINT)e.place);
        if (e.keeps) check_pair(L, 3, &e.key, &e.value);
    } else {
        e.key = e.name = check_text(L, 2, "the name of a user property", false);
        if (e.keeps) e.value = check_text(L, 3, "the value of a user property", false);
    }
    edit_user(box, &e);
    return 0;
}

static int user_len(lua_State *L) {
    lua_pushinteger(L, user_count(box_of(L))); /* ..., n */
    return 1;
}

/* pairs(user_properties): name, value in order.  Upvalues: view, place. */
static int user_next(lua_State *L) {
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1)); /* view */
    struct message_box *box = box_of(L);
    lua_Integer place = lua_tointeger(L, lua_upvalueindex(2)) + 1, n = 0;
    struct prop_item item;
    lua_pushinteger(L, place);           /* view, place */
    lua_replace(L, lua_upvalueindex(2)); /* view */
    for (size_t at = 0; props_next(present(box), &at, &item);) {
        if (item.id != PROP_USER_PROPERTY || ++n != place) continue;
        vm_push_slice(L, item.key);   /* view, name */
        vm_push_slice(L, item.value); /* view, name, value */
        return 2;
    }
    return 0;
}

static int user_pairs(lua_State *L) {
    lua_pushvalue(L, 1);               /* view, view */
    lua_pushinteger(L, 0);             /* view, view, place */
    lua_pushcclosure(L, user_next, 2); /* view, next */
    return 1;
}

static const luaL_Reg user_meta[] = {
    { "__len", user_len },
    { "__pairs", user_pairs },
    { NULL, NULL },
};

static const struct field no_fields[] = { { NULL, NULL, NULL } };

static const struct object_type props_type = {
    .name = "message.properties",
    .fields = no_fields,
    .index = props_index,
    .newindex = props_newindex,
};

static const struct object_type user_type = {
    .name = "message.properties.user_properties",
    .fields = no_fields,
    .index = user_index,
    .newindex = user_newindex,
    .meta = user_meta,
};

void props_register(lua_State *L) {
    object_register(L, &props_type);
    object_register(L, &user_type);
}

void props_push_proxy(lua_State *L, int index) {
    struct view *view = object_new(L, &props_type, sizeof *view, 2); /* props */
    view->box = lua_touserdata(L, index);
    lua_pushvalue(L, index);     /* props, message */
    lua_setiuservalue(L, -2, 1); /* props */
}
