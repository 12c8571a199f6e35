/* verdict.c -- verdicts as values.
 *
 * Without a reason or data a verdict is a light userdata, an address in a static array:
 * allow, drop, continue, and one per reason code of deny.  With one it is a userdata of
 * its own. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/verdict.h"

#include "mqtt/utf8.h"
#include "script/object.h"
#include "script/vm.h"

static const char allow_value, drop_value, continue_value, deny_values[256];

struct denial {
    uint8_t reason_code; /* user values: the reason, the server reference */
};

static void *resolve(lua_State *L, void *block) {
    (void)L;
    return block;
}

static void get_code(lua_State *L, void *obj) {
    lua_pushinteger(L, ((struct denial *)obj)->reason_code);
}

static void get_reason(lua_State *L, void *obj) {
    (void)obj;
    lua_getiuservalue(L, 1, 1);
}

static void get_reference(lua_State *L, void *obj) {
    (void)obj;
    lua_getiuservalue(L, 1, 2);
}

static const struct field fields[] = {
    { "code", get_code, NULL },
    { "reason", get_reason, NULL },
    { "server_reference", get_reference, NULL },
    { NULL, NULL, NULL },
};

static const struct object_type denial_type = { .name = "denial",
                                                .fields = fields,
                                                .resolve = resolve };

struct reply {
    enum verdict verdict; /* the data is user value 1 */
};

static void get_data(lua_State *L, void *obj) {
    (void)obj;
    lua_getiuservalue(L, 1, 1);
}

static const struct field reply_fields[] = {
    { "data", get_data, NULL },
    { NULL, NULL, NULL },
};

static const struct object_type reply_type = { .name = "reply",
                                               .fields = reply_fields,
                                               .resolve = resolve };

void verdict_register(lua_State *L) {
    object_register(L, &denial_type);
    object_register(L, &reply_type);
}

static void push_address(lua_State *L, const char *at) {
    lua_pushlightuserdata(L, (void *)(uintptr_t)at); /* ..., verdict */
}

void verdict_push(lua_State *L, enum verdict v) {
    if (v == VERDICT_CONTINUE)
        push_address(L, &continue_value);
    else
        push_address(L, v == VERDICT_DROP ? &drop_value : &allow_value);
}

struct slice verdict_check_reference(lua_State *L, int arg, lua_Integer reason_code) {
    if (lua_isnoneornil(L, arg)) return SLICE_NONE;
    luaL_checktype(L, arg, LUA_TTABLE);
    struct slice reference = SLICE_NONE;
    for (lua_pushnil(L); lua_next(L, arg); lua_pop(L, 1)) { /* ..., name, value */
        if (!slice_eq(vm_to_slice(L, -2), SLICE("server_reference")))
            luaL_argerror(L, arg, "the only option is server_reference");
        reference = vm_to_slice(L, -1);
        if (!reference.at || reference.len > 1024 || !utf8_valid(reference))
            luaL_argerror(L, arg, "server_reference: expected UTF-8 of at most 1024 bytes");
    }
    if (reference.at && reason_code != RC_USE_ANOTHER_SERVER && reason_code != RC_SERVER_MOVED)
        luaL_argerror(L, arg, "server_reference goes with 0x9C or 0x9D");
    return reference;
}

void verdict_push_deny(lua_State *L, uint8_t reason_code, struct slice reason,
                       struct slice server_reference) {
    if (!reason.at && !server_reference.at) {
        push_address(L, &deny_values[reason_code]);
        return;
    }
    struct denial *d = object_new(L, &denial_type, sizeof *d, 2); /* ..., denial */
    d->reason_code = reason_code;
    vm_push_slice(L, reason);           /* ..., denial, reason */
    lua_setiuservalue(L, -2, 1);        /* ..., denial */
    vm_push_slice(L, server_reference); /* ..., denial, reference */
    lua_setiuservalue(L, -2, 2);        /* ..., denial */
}

void verdict_push_reply(lua_State *L, enum verdict v, struct slice data) {
    if (!data.at) {
        verdict_push(L, v);
        return;
    }
    struct reply *r = object_new(L, &reply_type, sizeof *r, 1); /* ..., reply */
    r->verdict = v;
    vm_push_slice(L, data);      /* ..., reply, data */
    lua_setiuservalue(L, -2, 1); /* ..., reply */
}

static bool read_address(const char *at, struct answer *out) {
    if (at == &allow_value) {
        out->verdict = VERDICT_ALLOW;
    } else if (at == &drop_value) {
        out->verdict = VERDICT_DROP;
    } else if (at == &continue_value) {
        out->verdict = VERDICT_CONTINUE;
    } else if (at >= deny_values && at < deny_values + sizeof deny_values) {
        out->verdict = VERDICT_DENY;
        out->reason_code = (uint8_t)(at - deny_values);
    } else {
        return false;
    }
    return true;
}

static bool read_denial(lua_State *L, int index, struct answer *out) {
    struct denial *d = object_test(L, index, &denial_type);
    if (!d) return false;
    out->verdict = VERDICT_DENY;
    out->reason_code = d->reason_code;
    lua_getiuservalue(L, index, 1); /* ..., reason */
    lua_getiuservalue(L, index, 2); /* ..., reason, reference */
    out->reason = vm_to_slice(L, -2);
    out->server_reference = vm_to_slice(L, -1);
    lua_pop(L, 2); /* ... */
    return true;
}

static bool read_reply(lua_State *L, int index, struct answer *out) {
    struct reply *r = object_test(L, index, &reply_type);
    if (!r) return false;
    out->verdict = r->verdict;
    lua_getiuservalue(L, index, 1); /* ..., data */
    out->data = vm_to_slice(L, -1);
    lua_pop(L, 1); /* ... */
    return true;
}

bool verdict_read(lua_State *L, int index, struct answer *out) {
    *out = (struct answer){ .verdict = VERDICT_NONE };
    switch (lua_type(L, index)) {
    case LUA_TNONE:
    case LUA_TNIL: return true;
    case LUA_TBOOLEAN:
        out->verdict = lua_toboolean(L, index) ? VERDICT_ALLOW : VERDICT_DENY;
        return true;
    case LUA_TLIGHTUSERDATA: return read_address(lua_touserdata(L, index), out);
    case LUA_TUSERDATA: return read_denial(L, index, out) || read_reply(L, index, out);
    default: return false;
    }
}
