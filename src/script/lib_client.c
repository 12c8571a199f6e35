/* lib_client.c -- the client object.
 *
 * One userdata a client and VM, found by the client's slot; it holds a handle, so one
 * that outlives its client answers nil.  `client.attributes` is a proxy for the values
 * core keeps, which is why they survive a reload.  Of a client of another worker
 * (lib_clients.c) it holds a copy, as that client was when it was asked for. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib_client.h"

#include "base/mem.h"
#include "core/client.h"
#include "core/conn.h"
#include "core/mail.h"
#include "core/session.h"
#include "core/worker.h"
#include "script/errand.h"
#include "script/lib.h"
#include "script/lib_grant.h"
#include "script/object.h"
#include "script/verdict.h"
#include "script/vm.h"

#include <stdlib.h>

/* By slot of worker->clients. */
struct clients {
    struct cached {
        uint32_t gen; /* 0: none */
        int ref;      /* registry reference of the userdata */
    } * at;           /* owned */
    uint32_t len;
};

struct client_box {
    struct handle handle;
    struct client *copy; /* owned reference; NULL: a client of this worker */
    unsigned home;       /* of a copy: the worker where `handle` is one */
};

#define SESSION_TEXT_MAX 65535 /* bytes of a name or value of client.session */

/* User values of a client. */
enum { VALUE_ATTRIBUTES = OBJECT_FIELDS + 1, VALUE_SESSION, VALUES = VALUE_SESSION };

static const struct object_type client_type, attributes_type, session_type;

static struct client *find(lua_State *L, const struct client_box *box) {
    struct worker *w = vm_of(L)->worker;
    if (box->copy) return box->copy;
    return w ? slots_find(&w->clients, box->handle) : NULL;
}

static void *resolve(lua_State *L, void *block) {
    return find(L, block);
}

struct client *client_check(lua_State *L, int arg) {
    const struct client_box *box = object_check(L, arg, &client_type);
    if (box->copy) luaL_error(L, "client \"%s\" lives on another worker", box->copy->id.at);
    return find(L, box);
}

static int box_gc(lua_State *L) {
    struct client_box *box = lua_touserdata(L, 1);
    box->copy = client_unref(box->copy);
    return 0;
}

struct client_place client_place(lua_State *L, int arg) {
    const struct client_box *box = object_check(L, arg, &client_type);
    struct worker *w = vm_of(L)->worker;
    return (struct client_place){ box->handle, box->copy || !w ? box->home : w->id };
}

bool client_is(lua_State *L, int index) {
    return object_test(L, index, &client_type) != NULL;
}

/* ---- the cache ------------------------------------------------------------- */

void clients_init(struct vm *vm) {
    vm->clients = xcalloc(1, sizeof *vm->clients);
    object_register(vm->L, &client_type);
    object_register(vm->L, &attributes_type);
    object_register(vm->L, &session_type);
}

void clients_deinit(struct vm *vm) {
    if (vm->clients) free(vm->clients->at);
    free(vm->clients);
    vm->clients = NULL;
}

/* The cell that is this client's, or NULL. */
static struct cached *find_cell(const struct clients *all, const struct client *c) {
    if (c->handle.slot >= all->len) return NULL;
    struct cached *k = &all->at[c->handle.slot];
    return k->gen == c->handle.gen ? k : NULL;
}

/* The cell of a slot, whosever it is. */
static struct cached *cell(struct clients *all, uint32_t slot) {
    if (slot >= all->len) {
        uint32_t len = slot + 1 > 2 * all->len ? slot + 1 : 2 * all->len;
        all->at = xrealloc(all->at, len * sizeof *all->at);
        memset(all->at + all->len, 0, (len - all->len) * sizeof *all->at);
        all->len = len;
    }
    return &all->at[slot];
}

/* Makes the client's userdata, in the place of an earlier one's. [-0, +1, m] */
static void client_box_new(lua_State *L, const struct client *c) {
    struct cached *k = cell(vm_of(L)->clients, c->handle.slot);
    struct client_box *box = object_new_open(L, &client_type, sizeof *box, VALUES); /* client */
    box->handle = c->handle;
    lua_pushvalue(L, -1);                     /* client, client */
    int ref = luaL_ref(L, LUA_REGISTRYINDEX); /* client */
    if (k->gen) luaL_unref(L, LUA_REGISTRYINDEX, k->ref);
    *k = (struct cached){ c->handle.gen, ref };
}

void client_push(lua_State *L, struct client *c) {
    if (!c) {
        lua_pushnil(L); /* nil */
        return;
    }
    const struct cached *k = find_cell(vm_of(L)->clients, c);
    if (k)
        lua_rawgeti(L, LUA_REGISTRYINDEX, k->ref); /* client */
    else
        client_box_new(L, c); /* client */
}

void client_push_copy(lua_State *L, struct client *copy, struct handle handle, unsigned home) {
    struct client_box *box = object_new_open(L, &client_type, sizeof *box, VALUES); /* client */
    *box = (struct client_box){ .handle = handle, .copy = client_ref(copy), .home = home };
}

/* Shows no more what the client on top has shown. [-0, +0, m] */
static void hide(lua_State *L, const char *name) {
    lua_pushnil(L);           /* client, nil */
    object_show(L, -2, name); /* client */
}

void clients_rename(struct vm *vm, const struct client *c) {
    const struct cached *k = find_cell(vm->clients, c);
    if (!k) return;
    lua_rawgeti(vm->L, LUA_REGISTRYINDEX, k->ref); /* client */
    hide(vm->L, "username");
    lua_pop(vm->L, 1); /* */
}

void clients_forget(struct vm *vm, const struct client *c) {
    struct cached *k = vm->clients ? find_cell(vm->clients, c) : NULL;
    if (!k) return;
    bool was = vm_uncap(vm);
    lua_State *L = vm->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, k->ref); /* client */
    hide(L, "id");
    hide(L, "username");
    lua_pop(L, 1); /* */
    luaL_unref(L, LUA_REGISTRYINDEX, k->ref);
    k->gen = 0;
    vm->is_capped = was;
}

/* ---- attributes -------------------------------------------------------------- */

static void push_attr(lua_State *L, const struct attr *a) {
    switch (a->type) {
    case ATTR_BOOL: lua_pushboolean(L, a->boolean); break;
    case ATTR_INT: lua_pushinteger(L, a->integer); break;
    case ATTR_REAL: lua_pushnumber(L, a->real); break;
    case ATTR_STRING: vm_push_slice(L, a->string); break;
    }
}

/* Lends the value at `index` as an attribute; false when it is not a plain one. */
static bool to_attr(lua_State *L, int index, struct attr *out) {
    *out = (struct attr){ 0 };
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        out->type = ATTR_BOOL;
        out->boolean = lua_toboolean(L, index);
        return true;
    case LUA_TNUMBER:
        out->type = lua_isinteger(L, index) ? ATTR_INT : ATTR_REAL;
        if (out->type == ATTR_INT)
            out->integer = lua_tointeger(L, index);
        else
            out->real = lua_tonumber(L, index);
        return true;
    case LUA_TSTRING:
        out->type = ATTR_STRING;
        out->string = vm_to_slice(L, index);
        return true;
    default: return false;
    }
}

/* The block of a proxy. */
struct attrs_box {
    struct client_box client; /* whose: comes first, for box_gc */
    bool is_session;          /* client.session, not client.attributes */
};

/* Where the values lie; NULL when the client, or its session, is not there. */
static struct attr **attrs_of(lua_State *L) {
    const struct attrs_box *box = lua_touserdata(L, 1);
    struct client *c = find(L, &box->client);
    if (!c || !box->is_session) return c ? &c->attrs : NULL;
    return c->session ? &c->session->attrs : NULL;
}

static const char *attrs_name(lua_State *L) {
    const struct attrs_box *box = lua_touserdata(L, 1);
    return box->is_session ? "client.session" : "client.attributes";
}

/* Lends an attribute's name; raises when it cannot be one. [-0, +0, v] */
static const char *check_name(lua_State *L) {
    struct slice name = vm_to_slice(L, 2);
    if (!name.at || name.len == 0 || memchr(name.at, 0, name.len))
        luaL_error(L, "%s: a name must be a string, not empty, without zeros", attrs_name(L));
    return (const char *)name.at;
}

static int attributes_index(lua_State *L) {
    struct attr **list = attrs_of(L);
    const struct attr *a =
        list && lua_type(L, 2) == LUA_TSTRING ? attr_find(*list, lua_tostring(L, 2)) : NULL;
    if (a)
        push_attr(L, a); /* ..., value */
    else
        lua_pushnil(L); /* ..., nil */
    return 1;
}

/* What a session keeps may outlive its client by far: names and values are bounded. */
static bool is_too_long(lua_State *L, const struct attr *value) {
    const struct attrs_box *box = lua_touserdata(L, 1);
    if (!box->is_session) return false;
    return lua_rawlen(L, 2) > SESSION_TEXT_MAX ||
           (value->type == ATTR_STRING && value->string.len > SESSION_TEXT_MAX);
}

/* Why a value cannot be set, or NULL. */
static const char *why_not(lua_State *L) {
    const struct attrs_box *box = lua_touserdata(L, 1);
    if (box->client.copy)
        return "the client lives on another worker; set it in a handler of the client's";
    if (!find(L, &box->client)) return "client is closed";
    return attrs_of(L) ? NULL : "there is none before the client is connected, or after its end";
}

static int attributes_newindex(lua_State *L) {
    struct attr **list = attrs_of(L);
    const char *name = check_name(L);
    struct attr value = { 0 };
    bool remove = lua_isnil(L, 3);
    if (!remove && !to_attr(L, 3, &value))
        return luaL_error(L, "%s.%s must be a string, number or boolean, not a %s", attrs_name(L),
                          name, luaL_typename(L, 3));
    if (is_too_long(L, &value))
        return luaL_error(L, "%s: longer than %d bytes", attrs_name(L), SESSION_TEXT_MAX);
    if (why_not(L)) return luaL_error(L, "%s.%s: %s", attrs_name(L), name, why_not(L));
    if (!attr_set(list, name, remove ? NULL : &value))
        return luaL_error(L, "%s: more than %d", attrs_name(L), ATTRS_MAX);
    return 0;
}

/* pairs: the attribute after the one named, by position in the list. */
static int attributes_next(lua_State *L) {
    struct attr **list = attrs_of(L);
    const struct attr *a = list ? *list : NULL;
    if (!lua_isnil(L, 2)) {
        const char *name = luaL_checkstring(L, 2);
        while (a && strcmp(a->name, name) != 0) a = a->next;
        if (a) a = a->next;
    }
    if (!a) return 0;
    lua_pushstring(L, a->name); /* ..., name */
    push_attr(L, a);            /* ..., name, value */
    return 2;
}

static int attributes_pairs(lua_State *L) {
    lua_pushcfunction(L, attributes_next); /* attributes, next */
    lua_insert(L, 1);                      /* next, attributes */
    lua_settop(L, 2);
    return 2;
}

static const struct field no_fields[] = { { NULL, NULL, NULL } };

static const luaL_Reg attributes_meta[] = {
    { "__pairs", attributes_pairs },
    { NULL, NULL },
};

static const struct object_type attributes_type = {
    .name = "client.attributes",
    .fields = no_fields,
    .resolve = resolve,
    .gc = box_gc,
    .index = attributes_index,
    .newindex = attributes_newindex,
    .meta = attributes_meta,
};

static const struct object_type session_type = {
    .name = "client.session",
    .fields = no_fields,
    .resolve = resolve,
    .gc = box_gc,
    .index = attributes_index,
    .newindex = attributes_newindex,
    .meta = attributes_meta,
};

/* ---- fields ----------------------------------------------------------------- */

/* Once CONNECT is accepted, id and username stay as they are, until clients_rename. */
static void show_name(lua_State *L, const struct client *c, const char *name) {
    if (!c->session || lua_isnil(L, -1)) return;
    lua_pushvalue(L, -1);    /* ..., value, value */
    object_show(L, 1, name); /* ..., value */
}

static void get_id(lua_State *L, void *obj) {
    struct client *c = obj;
    vm_push_slice(L, c->id); /* ..., id */
    show_name(L, c, "id");
}

static void get_username(lua_State *L, void *obj) {
    struct client *c = obj;
    vm_push_slice(L, c->username); /* ..., username */
    show_name(L, c, "username");
}

static void get_address(lua_State *L, void *obj) {
    lua_pushstring(L, ((struct client *)obj)->peer);
}

static void get_listener(lua_State *L, void *obj) {
    lua_pushstring(L, ((struct client *)obj)->listener);
}

static void get_version(lua_State *L, void *obj) {
    uint8_t version = ((struct client *)obj)->version;
    if (version)
        lua_pushinteger(L, version);
    else
        lua_pushnil(L);
}

static void get_clean_start(lua_State *L, void *obj) {
    lua_pushboolean(L, ((struct client *)obj)->clean_start);
}

static void get_keep_alive(lua_State *L, void *obj) {
    lua_pushinteger(L, ((struct client *)obj)->keep_alive);
}

static void get_connected_at(lua_State *L, void *obj) {
    lua_pushnumber(L, (lua_Number)((struct client *)obj)->connected_at_ms / 1000.0);
}

static void get_connected(lua_State *L, void *obj) {
    const struct client *c = obj;
    lua_pushboolean(L, handle_is_none(c->handle) ? c->is_counted : c->conn != NULL);
}

static void get_mount_point(lua_State *L, void *obj) {
    vm_push_slice(L, ((struct client *)obj)->mount);
}

/* Pushes a proxy, made at the first use and kept with the client. [-0, +1, m] */
static void push_proxy(lua_State *L, int value, bool is_session) {
    if (lua_getiuservalue(L, 1, value) == LUA_TUSERDATA) return; /* ..., proxy */
    struct attrs_box *box =
        object_new(L, is_session ? &session_type : &attributes_type, sizeof *box, 0);
    box->client = *(const struct client_box *)lua_touserdata(L, 1);
    if (box->client.copy) client_ref(box->client.copy);
    box->is_session = is_session;
    lua_pushvalue(L, -1);           /* ..., proxy, proxy */
    lua_setiuservalue(L, 1, value); /* ..., proxy */
}

static void get_attributes(lua_State *L, void *obj) {
    (void)obj;
    push_proxy(L, VALUE_ATTRIBUTES, false);
}

static void get_session(lua_State *L, void *obj) {
    (void)obj;
    push_proxy(L, VALUE_SESSION, true);
}

static const struct field client_fields[] = {
    { "id", get_id, NULL },
    { "username", get_username, NULL },
    { "address", get_address, NULL },
    { "listener", get_listener, NULL },
    { "version", get_version, NULL },
    { "clean_start", get_clean_start, NULL },
    { "keep_alive", get_keep_alive, NULL },
    { "connected_at", get_connected_at, NULL },
    { "connected", get_connected, NULL },
    { "mount_point", get_mount_point, NULL },
    { "attributes", get_attributes, NULL },
    { "session", get_session, NULL },
    { NULL, NULL, NULL },
};

/* ---- methods and functions ---------------------------------------------------- */

/* To another worker's client: what there is to say, and to whom. */
struct parting {
    struct visit visit;
    struct handle handle;
    struct farewell words; /* its strings are owned */
};

static void parting_there(struct worker *w, struct visit *v) {
    struct parting *p = CONTAINER_OF(v, struct parting, visit);
    struct client *c = slots_find(&w->clients, p->handle);
    if (c) client_disconnect(c, &p->words);
}

static void parting_home(struct visit *v) {
    struct parting *p = CONTAINER_OF(v, struct parting, visit);
    free((void *)(uintptr_t)p->words.reason);
    free((void *)(uintptr_t)p->words.server_reference);
    free(p);
}

static void disconnect_far(struct worker *w, const struct client_box *box,
                           const struct farewell *f) {
    struct parting *p = xcalloc(1, sizeof *p);
    p->visit.there = parting_there;
    p->visit.home = parting_home;
    p->handle = box->handle;
    p->words.reason_code = f->reason_code;
    p->words.reason = f->reason ? xstrdup(f->reason) : NULL;
    p->words.server_reference = f->server_reference ? xstrdup(f->server_reference) : NULL;
    mail_visit(w, box->home, &p->visit);
}

static int l_disconnect(lua_State *L) {
    const struct client_box *box = object_check(L, 1, &client_type);
    struct client *c = find(L, box);
    lua_Integer rc = luaL_optinteger(L, 2, RC_ADMINISTRATIVE_ACTION);
    const char *reason = luaL_optstring(L, 3, NULL);
    luaL_argcheck(L, rc == 0 || (rc >= 0x80 && rc <= 0xff), 2, "expected 0 or 0x80 to 0xff");
    const char *reference = (const char *)verdict_check_reference(L, 4, rc).at;
    struct farewell f = { .reason_code = (uint8_t)rc,
                          .reason = reason,
                          .server_reference = reference };
    if (box->copy) {
        struct worker *w = lib_worker(L, "client:disconnect");
        if (w->stopping) return vm_fail(L, "closed");
        disconnect_far(w, box, &f);
        lua_pushboolean(L, true); /* ..., true */
        return 1;
    }
    if (!c || !c->conn || !client_disconnect(c, &f)) return vm_fail(L, "closed");
    lua_pushboolean(L, true); /* ..., true */
    return 1;
}

static int client_tostring(lua_State *L) {
    struct client *c = find(L, lua_touserdata(L, 1));
    if (!c)
        lua_pushliteral(L, "client (closed)"); /* client, text */
    else
        lua_pushfstring(L, "client \"%s\"", c->id.at ? (const char *)c->id.at : "");
    return 1;
}

static const luaL_Reg client_methods[] = {
    { "disconnect", l_disconnect },
    { "subscribe", client_subscribe },
    { "unsubscribe", client_unsubscribe },
    { "grant", client_grant },
    { "revoke", client_revoke },
    { "grants", client_grants },
    { NULL, NULL },
};

static const luaL_Reg client_meta[] = {
    { "__tostring", client_tostring },
    { NULL, NULL },
};

static const struct object_type client_type = {
    .name = "client",
    .fields = client_fields,
    .methods = client_methods,
    .resolve = resolve,
    .gc = box_gc,
    .meta = client_meta,
};
