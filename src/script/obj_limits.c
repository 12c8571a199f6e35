/* obj_limits.c -- a view of the limits in a CONNECT request. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/obj_limits.h"

#include "core/hooks.h"
#include "script/obj_request.h"
#include "script/object.h"
#include "script/settings.h"
#include "script/suggest.h"
#include "script/vm.h"

/* The view's block; its user value 1 keeps the connect object alive. */
struct limits_view {
    struct request_box *box;
};

static void *resolve(lua_State *L, void *block) {
    return request_of_box(L, ((struct limits_view *)block)->box);
}

static const struct field no_fields[] = { { NULL, NULL, NULL } };

/* The row named at index 2 of the stack; raises unless one client may have it. [-0, +0, v] */
static const struct setting *check_row(lua_State *L) {
    char buf[SUGGEST_MAX + 24];
    struct suggest near;
    struct slice name = lua_type(L, 2) == LUA_TSTRING ? vm_to_slice(L, 2) : SLICE("?");
    const struct setting *row = setting_find(name);
    if (row && setting_may_stand(row, SETTING_CLIENT)) return row;
    const char *text = (const char *)name.at;
    if (row)
        luaL_error(L, "connect.limits: %s cannot be set for one client, only %s", text,
                   setting_may_stand(row, SETTING_LISTEN) ? "for a listener or for all"
                                                          : "for all");
    suggest_init(&near, text);
    settings_offer(&near, SETTING_CLIENT);
    luaL_error(L, "connect.limits: there is no limit \"%s\"%s", text, suggest_text(&near, buf));
    return NULL;
}

static int limits_index(lua_State *L) {
    const struct connect_request *r = resolve(L, lua_touserdata(L, 1));
    setting_get_limit(L, check_row(L), &r->limits); /* limits, name, value */
    return 1;
}

static void set_limit(lua_State *L, struct connect_request *r) {
    setting_set_limit(L, check_row(L), &r->limits);
    r->has_own_limits = true;
}

static int limits_newindex(lua_State *L) {
    set_limit(L, resolve(L, lua_touserdata(L, 1)));
    return 0;
}

static const struct object_type limits_type = {
    .name = "connect.limits",
    .fields = no_fields,
    .resolve = resolve,
    .index = limits_index,
    .newindex = limits_newindex,
};

void limits_register(lua_State *L) {
    object_register(L, &limits_type);
}

void limits_view_push(lua_State *L, int index, struct request_box *box) {
    struct limits_view *view = object_new(L, &limits_type, sizeof *view, 1); /* ..., limits */
    view->box = box;
    lua_pushvalue(L, index);     /* ..., limits, connect */
    lua_setiuservalue(L, -2, 1); /* ..., limits */
}

/* Each name and value goes where an assignment would have them. */
void limits_take(lua_State *L, struct connect_request *r) {
    if (!lua_istable(L, 3))
        luaL_error(L, "connect.limits must be a table, not a %s", luaL_typename(L, 3));
    lua_pushvalue(L, 3);                                  /* connect, name, ?, table */
    for (lua_pushnil(L); lua_next(L, 4); lua_pop(L, 1)) { /* ..., name, value */
        lua_pushvalue(L, -2);                             /* ..., name, value, name */
        lua_replace(L, 2);                                /* ..., name, value */
        lua_pushvalue(L, -1);                             /* ..., name, value, value */
        lua_replace(L, 3);                                /* ..., name, value */
        set_limit(L, r);
    }
}
