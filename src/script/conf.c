/* conf.c -- every setting there is, as rows; and `listen`.
 *
 * Three tables make the environment: an empty one that scripts see, so that every
 * assignment comes here; behind it the builtins (plugin, listen, require ...) and the
 * sandbox's globals; behind those the settings, for reading.  Errors name file and line
 * of the assignment, the value, and the nearest known name. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/conf.h"

#include "base/mem.h"
#include "core/config.h"
#include "io/listen.h"
#include "script/script.h"
#include "script/suggest.h"

#include <math.h>
#include <stddef.h>

/* ---- the table ----------------------------------------------------------------- */

enum kind {
    BOOLEAN, /* int, enum tristate */
    FLAG,    /* bool */
    CHOICE,  /* int or bool: index into words */
    COUNT32, /* uint32_t */
    COUNT64, /* uint64_t */
    SECONDS, /* uint32_t milliseconds; a fraction in Lua */
    WORKERS, /* uint32_t; "auto" is 0 */
    EXPIRY,  /* uint32_t seconds; math.huge and "never" are UINT32_MAX */
    VERSIONS /* uint8_t, bit 1 << enum mqtt_version; a list of them in Lua */
};

struct setting {
    const char *name;
    uint8_t kind;
    uint16_t offset;          /* in struct config */
    double min, max;          /* of numbers, in Lua's unit */
    const char *const *words; /* CHOICE: NULL-ended */
    const char *unit;         /* for errors */
};

static const char *const access_words[] = { "deny", "allow", NULL };
static const char *const level_words[] = { "debug", "info", "warn", "error", "off", NULL };
static const char *const format_words[] = { "text", "json", NULL };
static const char *const drop_words[] = { "newest", "oldest", NULL };    /* enum drop_rule */
static const char *const overlapping_words[] = { "once", "each", NULL }; /* enum overlapping */

#define AT(m)       .name = #m, .offset = offsetof(struct config, m)
#define NAMED(n, m) .name = n, .offset = offsetof(struct config, m)

/* clang-format off */
static const struct setting settings[] = {
    { AT(workers),             .kind = WORKERS, .min = 1,   .max = WORKERS_MAX },
    { AT(allow_anonymous),     .kind = BOOLEAN },
    { AT(default_access),      .kind = CHOICE,  .words = access_words },
    { AT(max_connections),     .kind = COUNT32, .min = 0,   .max = UINT32_MAX },
    { AT(max_packet_size),     .kind = COUNT32, .min = 128, .max = 268435460, .unit = "bytes" },
    { AT(max_inflight),        .kind = COUNT32, .min = 1,   .max = 65535 },
    { AT(max_queued),          .kind = COUNT32, .min = 1,   .max = UINT32_MAX },
    { AT(max_queued_bytes),    .kind = COUNT64, .min = 1024, .max = 1e15, .unit = "bytes" },
    { AT(max_output_bytes),    .kind = COUNT64, .min = 4096, .max = 1e15, .unit = "bytes" },
    { AT(max_topic_levels),    .kind = COUNT32, .min = 1,   .max = 1000 },
    { AT(max_topic_alias),     .kind = COUNT32, .min = 0,   .max = 65535 },
    { AT(max_topic_length),    .kind = COUNT32, .min = 1,   .max = 65535, .unit = "bytes" },
    { AT(max_payload_size),    .kind = COUNT32, .min = 0,   .max = 268435455, .unit = "bytes" },
    { AT(max_qos),             .kind = COUNT32, .min = 0,   .max = 2 },
    { AT(max_keepalive),       .kind = COUNT32, .min = 0,   .max = 65535, .unit = "seconds" },
    { AT(max_subscriptions),   .kind = COUNT32, .min = 0,   .max = UINT32_MAX },
    { AT(max_inflight_bytes),  .kind = COUNT64, .min = 0,   .max = 1e15, .unit = "bytes" },
    { AT(message_rate),        .kind = COUNT32, .min = 0,   .max = UINT32_MAX },
    { AT(byte_rate),           .kind = COUNT32, .min = 0,   .max = UINT32_MAX, .unit = "bytes" },
    { AT(drop),                .kind = CHOICE,  .words = drop_words },
    { AT(queue_qos0),          .kind = FLAG },
    { AT(overlapping),         .kind = CHOICE,  .words = overlapping_words },
    { AT(protocol_versions),   .kind = VERSIONS },
    { AT(retain_available),    .kind = FLAG },
    { AT(wildcard_subscription), .kind = FLAG },
    { AT(shared_subscription), .kind = FLAG },
    { AT(subscription_identifiers), .kind = FLAG },
    { AT(allow_empty_client_id), .kind = FLAG },
    { AT(strict_3_1_ids),      .kind = FLAG },
    { NAMED("sys_interval", sys_interval_ms), .kind = SECONDS, .min = 0, .max = 86400, .unit = "seconds" },
    { AT(max_session_expiry),  .kind = EXPIRY,  .min = 0,   .max = UINT32_MAX, .unit = "seconds" },
    { AT(session_expiry_3x),   .kind = EXPIRY,  .min = 0,   .max = UINT32_MAX, .unit = "seconds" },
    { NAMED("connect_timeout", connect_timeout_ms), .kind = SECONDS, .min = 0.1, .max = 3600, .unit = "seconds" },
    { NAMED("hook_budget", hook_budget_ms),   .kind = SECONDS, .min = 0.004, .max = 60,   .unit = "seconds" },
    { NAMED("hook_timeout", hook_timeout_ms), .kind = SECONDS, .min = 0.001, .max = 3600, .unit = "seconds" },
    { AT(max_parked),          .kind = COUNT32, .min = 0,   .max = UINT32_MAX },
    { AT(vm_memory),           .kind = COUNT64, .min = 1048576, .max = 1e15, .unit = "bytes" },
    { AT(log_level),           .kind = CHOICE,  .words = level_words },
    { AT(log_format),          .kind = CHOICE,  .words = format_words },
};
/* clang-format on */

_Static_assert(sizeof(bool) == 1, "flags and default_access are stored as bytes");

static const struct setting *setting_find(struct slice name) {
    for (unsigned i = 0; i < ARRAY_LEN(settings); i++)
        if (slice_eq(name, slice_str(settings[i].name))) return &settings[i];
    return NULL;
}

/* ---- values -------------------------------------------------------------------- */

static void *place(const struct setting *s, const struct config *c) {
    return (char *)(uintptr_t)c + s->offset;
}

static bool is_byte(const struct setting *s) {
    return s->offset == offsetof(struct config, default_access);
}

/* Pushes the value at `index` as it should appear in an error. [-0, +1, m] */
static const char *push_shown(lua_State *L, int index) {
    if (lua_type(L, index) == LUA_TSTRING)
        return lua_pushfstring(L, "\"%s\"", lua_tostring(L, index)); /* ..., text */
    if (lua_istable(L, index) || lua_isfunction(L, index))
        return lua_pushstring(L, luaL_typename(L, index)); /* ..., text */
    return luaL_tolstring(L, index, NULL);                 /* ..., text */
}

/* [-0, +1, m] */
static const char *push_number(lua_State *L, double n) {
    if (n == floor(n) && fabs(n) <= 1e15) return lua_pushfstring(L, "%I", (LUAI_UACINT)n);
    return lua_pushfstring(L, "%f", n);
}

/* Raises: the value at index 3 is not what the setting takes. */
static int wrong_value(lua_State *L, const struct setting *s, const char *expected) {
    return luaL_error(L, "%s: expected %s, got %s", s->name, expected, push_shown(L, 3));
}

static int wrong_number(lua_State *L, const struct setting *s) {
    const char *what = s->unit ? s->unit : "an integer";
    const char *more = s->kind == EXPIRY    ? ", math.huge or \"never\""
                       : s->kind == WORKERS ? " or \"auto\""
                                            : "";
    const char *min = push_number(L, s->min); /* ..., min */
    const char *max = push_number(L, s->max); /* ..., min, max */
    return wrong_value(L, s, lua_pushfstring(L, "%s from %s to %s%s", what, min, max, more));
}

static int wrong_choice(lua_State *L, const struct setting *s) {
    char buf[SUGGEST_MAX + 24];
    struct suggest near;
    luaL_Buffer list;
    bool is_text = lua_type(L, 3) == LUA_TSTRING;
    suggest_init(&near, is_text ? lua_tostring(L, 3) : "");
    luaL_buffinit(L, &list);
    for (const char *const *w = s->words; *w; w++) {
        if (w != s->words) luaL_addstring(&list, w[1] ? ", " : " or ");
        luaL_addchar(&list, '"');
        luaL_addstring(&list, *w);
        luaL_addchar(&list, '"');
        if (is_text) suggest_offer(&near, *w);
    }
    luaL_pushresult(&list);                                             /* ..., list */
    const char *words = lua_tostring(L, -1), *value = push_shown(L, 3); /* ..., list, value */
    return luaL_error(L, "%s: expected %s, got %s%s", s->name, words, value,
                      suggest_text(&near, buf));
}

static double check_number(lua_State *L, const struct setting *s) {
    if (s->kind == EXPIRY && slice_eq(vm_to_slice(L, 3), SLICE("never"))) return UINT32_MAX;
    if (s->kind == WORKERS && slice_eq(vm_to_slice(L, 3), SLICE("auto"))) return 0;
    if (lua_type(L, 3) != LUA_TNUMBER) wrong_number(L, s);
    double n = lua_tonumber(L, 3);
    if (s->kind == EXPIRY && n == HUGE_VAL) return UINT32_MAX;
    bool is_whole = s->kind == SECONDS || n == floor(n);
    if (!(n >= s->min && n <= s->max) || !is_whole) wrong_number(L, s);
    return n;
}

static int check_choice(lua_State *L, const struct setting *s) {
    struct slice word = vm_to_slice(L, 3);
    for (int i = 0; s->words[i]; i++)
        if (word.at && slice_eq(word, slice_str(s->words[i]))) return i;
    return wrong_choice(L, s);
}

/* The boolean at index 3. */
static bool check_boolean(lua_State *L, const struct setting *s) {
    if (!lua_isboolean(L, 3)) wrong_value(L, s, "true or false");
    return lua_toboolean(L, 3);
}

/* The bits of a list like { 4, 5 } at index 3. */
static uint8_t check_versions(lua_State *L, const struct setting *s) {
    static const char *const expected = "a list of protocol levels (3, 4, 5)";
    unsigned bits = 0;
    if (!lua_istable(L, 3) || lua_rawlen(L, 3) == 0) wrong_value(L, s, expected);
    for (lua_pushnil(L); lua_next(L, 3); lua_pop(L, 1)) { /* ..., index, level */
        lua_Integer level = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
        if (!lua_isinteger(L, -2) || level < 3 || level > 5) {
            lua_replace(L, 3); /* env, name, level, index */
            wrong_value(L, s, expected);
        }
        bits |= 1u << level;
    }
    return (uint8_t)bits;
}

/* [-0, +1, m] */
static void push_versions(lua_State *L, uint8_t bits) {
    lua_Integer n = 0;
    lua_newtable(L); /* list */
    for (lua_Integer level = 3; level <= 5; level++) {
        if (!(bits & 1u << level)) continue;
        lua_pushinteger(L, level); /* list, level */
        lua_seti(L, -2, ++n);      /* list */
    }
}

/* Takes the value at index 3, or raises. */
static void set(lua_State *L, const struct setting *s, struct config *c) {
    void *at = place(s, c);
    switch ((enum kind)s->kind) {
    case BOOLEAN: *(int *)at = check_boolean(L, s) ? YES : NO; break;
    case FLAG: *(bool *)at = check_boolean(L, s); break;
    case CHOICE: {
        int i = check_choice(L, s);
        if (is_byte(s))
            *(bool *)at = i != 0;
        else
            *(int *)at = i;
        break;
    }
    case COUNT32:
    case WORKERS:
    case EXPIRY: *(uint32_t *)at = (uint32_t)check_number(L, s); break;
    case COUNT64: *(uint64_t *)at = (uint64_t)check_number(L, s); break;
    case SECONDS: *(uint32_t *)at = (uint32_t)(check_number(L, s) * 1000 + 0.5); break;
    case VERSIONS: *(uint8_t *)at = check_versions(L, s); break;
    }
}

/* Pushes the setting's value in Lua's terms. [-0, +1, m] */
static void get(lua_State *L, const struct setting *s, const struct config *c) {
    const void *at = place(s, c);
    switch ((enum kind)s->kind) {
    case BOOLEAN:
        if (*(const int *)at == UNSET)
            lua_pushnil(L);
        else
            lua_pushboolean(L, *(const int *)at);
        break;
    case FLAG: lua_pushboolean(L, *(const bool *)at); break;
    case CHOICE:
        lua_pushstring(L, s->words[is_byte(s) ? *(const bool *)at : *(const int *)at]);
        break;
    case COUNT32: lua_pushinteger(L, *(const uint32_t *)at); break;
    case WORKERS:
        if (*(const uint32_t *)at == 0)
            lua_pushliteral(L, "auto");
        else
            lua_pushinteger(L, *(const uint32_t *)at);
        break;
    case COUNT64: lua_pushinteger(L, (lua_Integer) * (const uint64_t *)at); break;
    case SECONDS: lua_pushnumber(L, *(const uint32_t *)at / 1000.0); break;
    case EXPIRY:
        if (*(const uint32_t *)at == UINT32_MAX)
            lua_pushnumber(L, HUGE_VAL);
        else
            lua_pushinteger(L, *(const uint32_t *)at);
        break;
    case VERSIONS: push_versions(L, *(const uint8_t *)at);
    }
}

/* ---- listen --------------------------------------------------------------------- */

static bool has_listener(const struct config *c, const char *url) {
    for (unsigned i = 0; i < c->listeners_len; i++)
        if (strcmp(c->listeners[i].url, url) == 0) return true;
    return false;
}

/* The integer option `name` of the table at index 1, or `unset`. */
static int listen_option(lua_State *L, const char *name, int max, int unset) {
    int is_integer;
    if (lua_getfield(L, 1, name) == LUA_TNIL) { /* options, value */
        lua_pop(L, 1);                          /* options */
        return unset;
    }
    lua_Integer v = lua_tointegerx(L, -1, &is_integer);
    if (lua_type(L, -1) != LUA_TNUMBER || !is_integer || v < 1 || v > max)
        luaL_error(L, "listen: %s must be an integer from 1 to %d, got %s", name, max,
                   push_shown(L, lua_gettop(L)));
    lua_pop(L, 1); /* options */
    return (int)v;
}

/* Every field of the table at index 1 is known, or an error. */
static void check_listen_options(lua_State *L) {
    static const char *const known[] = { "url", "backlog", "mode" };
    char buf[SUGGEST_MAX + 24];
    struct suggest near;
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) { /* options, name, value */
        if (lua_isinteger(L, -2) && lua_tointeger(L, -2) == 1) continue;
        bool found = false;
        struct slice name = vm_to_slice(L, -2);
        suggest_init(&near, name.at ? (const char *)name.at : "");
        for (unsigned i = 0; i < ARRAY_LEN(known); i++) {
            found |= slice_eq(name, slice_str(known[i]));
            suggest_offer(&near, known[i]);
        }
        if (found) continue;
        const char *value = push_shown(L, lua_gettop(L)); /* options, name, value, text */
        luaL_error(L, "listen: unknown option \"%s\" (= %s)%s",
                   name.at ? (const char *)name.at : "?", value, suggest_text(&near, buf));
    }
}

/* listen "url" and listen { "url", backlog =, mode = }. */
static int l_listen(lua_State *L) {
    struct script *s = lua_touserdata(L, lua_upvalueindex(1));
    struct listen_url parsed;
    const char *why = NULL;
    bool is_table = lua_istable(L, 1);
    lua_settop(L, 1); /* URL or options */
    if (!s->is_loading)
        return luaL_error(L, "listen: listeners are fixed once the policy is loaded");
    if (is_table && lua_geti(L, 1, 1) == LUA_TNIL) lua_getfield(L, 1, "url"); /* options, url */
    struct slice url = vm_to_slice(L, -1);
    if (!url.at || memchr(url.at, 0, url.len))
        return luaL_error(L, "listen: expected a URL, got %s", push_shown(L, lua_gettop(L)));
    lua_replace(L, is_table ? 2 : 1);
    int backlog = is_table ? listen_option(L, "backlog", 65535, 0) : 0;
    int mode = is_table ? listen_option(L, "mode", 0777, 0) : 0;
    if (is_table) check_listen_options(L);
    const char *text = (const char *)url.at;
    if (has_listener(s->config, text)) return luaL_error(L, "listen: \"%s\" is there twice", text);
    if (listen_url_parse(url, &parsed, &why) != 0)
        return luaL_error(L, "listen: \"%s\": %s", text, why);
    listen_url_deinit(&parsed);
    config_add_listener(s->config, text, backlog, mode);
    return 0;
}

/* ---- the environment -------------------------------------------------------------- */

/* Pushes "; did you mean ...?" or "". `builtins` is an upvalue. [-0, +1, m] */
static const char *push_suggestion(lua_State *L, const char *name, int builtins,
                                   bool settings_only) {
    char buf[SUGGEST_MAX + 24];
    struct suggest near;
    suggest_init(&near, name);
    for (unsigned i = 0; i < ARRAY_LEN(settings); i++) suggest_offer(&near, settings[i].name);
    if (!settings_only) {
        lua_pushvalue(L, builtins);                          /* builtins */
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) /* builtins, name, value */
            if (lua_type(L, -2) == LUA_TSTRING) suggest_offer(&near, lua_tostring(L, -2));
        lua_pop(L, 1); /* */
    }
    return lua_pushstring(L, suggest_text(&near, buf)); /* text */
}

/* Upvalues: script, builtins. */
static int env_newindex(lua_State *L) {
    struct script *s = lua_touserdata(L, lua_upvalueindex(1));
    const char *name =
        lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_tolstring(L, 2, NULL);
    const struct setting *row = setting_find(slice_str(name));
    lua_settop(L, 3); /* env, name, value */
    if (row && s->is_loading) {
        set(L, row, s->config);
        return 0;
    }
    if (row) return luaL_error(L, "%s: settings are fixed once the policy is loaded", name);
    lua_pushvalue(L, 2); /* env, name, value, name */
    if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL)
        return luaL_error(L, "\"%s\" is not a setting and cannot be replaced", name);
    const char *near = push_suggestion(L, name, 0, true); /* env, name, value, ?, near */
    if (lua_isfunction(L, 3))
        return luaL_error(L, "unknown setting \"%s\" (= function)%s%s", name, near,
                          *near ? "" : "; a function of your own needs \"local function\"");
    return luaL_error(L, "unknown setting \"%s\" (= %s)%s%s", name, push_shown(L, 3), near,
                      *near ? "" : "; a variable of your own needs \"local\"");
}

/* What neither the environment nor the builtins have. */
static int env_index(lua_State *L) {
    struct script *s = lua_touserdata(L, lua_upvalueindex(1));
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
    const struct setting *row = setting_find(slice_str(name));
    if (row) {
        get(L, row, s->config ? s->config : &s->settings); /* env, name, value */
        return 1;
    }
    return luaL_error(L, "unknown name \"%s\"%s", name,
                      push_suggestion(L, name, lua_upvalueindex(2), false));
}

/* Pushes a function with script and builtins (at `builtins`) as upvalues. [-0, +1, m] */
static void push_accessor(lua_State *L, lua_CFunction fn, struct script *s, int builtins) {
    lua_pushlightuserdata(L, s); /* script */
    lua_pushvalue(L, builtins);  /* script, builtins */
    lua_pushcclosure(L, fn, 2);  /* fn */
}

void conf_push_environment(lua_State *L, struct script *s) {
    int builtins = lua_gettop(L);             /* builtins */
    lua_pushlightuserdata(L, s);              /* builtins, script */
    lua_pushcclosure(L, l_listen, 1);         /* builtins, listen */
    lua_setfield(L, builtins, "listen");      /* builtins */
    lua_newtable(L);                          /* builtins, meta */
    push_accessor(L, env_index, s, builtins); /* builtins, meta, fn */
    lua_setfield(L, -2, "__index");           /* builtins, meta */
    lua_setmetatable(L, builtins);            /* builtins */

    lua_newtable(L);                             /* builtins, env */
    lua_newtable(L);                             /* builtins, env, meta */
    lua_pushvalue(L, builtins);                  /* builtins, env, meta, builtins */
    lua_setfield(L, -2, "__index");              /* builtins, env, meta */
    push_accessor(L, env_newindex, s, builtins); /* builtins, env, meta, fn */
    lua_setfield(L, -2, "__newindex");           /* builtins, env, meta */
    lua_pushboolean(L, 0);                       /* builtins, env, meta, false */
    lua_setfield(L, -2, "__metatable");          /* builtins, env, meta */
    lua_setmetatable(L, -2);                     /* builtins, env */
    lua_remove(L, builtins);                     /* env */
}
