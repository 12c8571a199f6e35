/* settings.c -- every setting there is, as rows: what it is called, what it takes, where it
 * lies and where it may stand.
 *
 * The same rows serve the assignments of sol.lua, the options of a listener and what the
 * connect hook sets for one client. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/settings.h"

#include "base/mem.h"
#include "core/config.h"
#include "mqtt/topic.h"
#include "script/lib_file.h"
#include "script/lib_shared.h"
#include "script/script.h"
#include "script/suggest.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/un.h>

/* ---- the table ----------------------------------------------------------------- */

enum kind {
    BOOLEAN,  /* int, enum tristate */
    FLAG,     /* bool */
    CHOICE,   /* int or bool: index into words */
    COUNT32,  /* uint32_t */
    COUNT64,  /* uint64_t */
    SECONDS,  /* uint32_t milliseconds; a fraction in Lua */
    WORKERS,  /* uint32_t; "auto" is 0 */
    EXPIRY,   /* uint32_t seconds; math.huge and "never" are UINT32_MAX */
    VERSIONS, /* uint8_t, bit 1 << enum mqtt_version; a list of them in Lua */
    STORE,    /* char *, owned: a path, NULL for false */
    SOCKET,   /* char *, owned: a path, "" for false, NULL for "auto" */
    SHARED    /* the script's, not the config's: lib_shared.c */
};

struct setting {
    const char *name;
    uint8_t kind;
    uint8_t where;            /* SETTING_ bits */
    uint16_t offset;          /* in struct limits, with SETTING_LISTEN; else in struct config */
    double min, max;          /* of numbers, in Lua's unit */
    const char *const *words; /* CHOICE: NULL-ended */
    const char *unit;         /* for errors */
};

static const char *const access_words[] = { "deny", "allow", NULL };
static const char *const level_words[] = { "debug", "info", "warn", "error", "off", NULL };
static const char *const format_words[] = { "text", "json", NULL };
static const char *const durability_words[] = { "async", "sync", NULL }; /* enum durability */
static const char *const drop_words[] = { "newest", "oldest", NULL };    /* enum drop_rule */
static const char *const overlapping_words[] = { "once", "each", NULL }; /* enum overlapping */

/* What stands in the file alone, at a listener too, or may even be one client's. */
#define GLOBAL_NAMED(n, m) .name = n, .offset = offsetof(struct config, m), .where = SETTING_FILE
#define LIMIT_NAMED(n, m)  .name = n, .offset = offsetof(struct limits, m)
#define LISTEN_NAMED(n, m) LIMIT_NAMED(n, m), .where = SETTING_FILE | SETTING_LISTEN
#define GLOBAL(m)          GLOBAL_NAMED(#m, m)
#define LISTEN(m)          LISTEN_NAMED(#m, m)
#define CLIENT(m)          LIMIT_NAMED(#m, m), .where = SETTING_FILE | SETTING_LISTEN | SETTING_CLIENT

/* clang-format off */
static const struct setting settings[] = {
    { GLOBAL(workers),           .kind = WORKERS, .min = 1,   .max = WORKERS_MAX },
    { LISTEN(allow_anonymous),     .kind = BOOLEAN },
    { GLOBAL(default_access),      .kind = CHOICE,  .words = access_words },
    { LISTEN(max_connections),     .kind = COUNT32, .min = 0,   .max = UINT32_MAX },
    { CLIENT(max_packet_size),     .kind = COUNT32, .min = 128, .max = 268435460, .unit = "bytes" },
    { CLIENT(max_inflight),        .kind = COUNT32, .min = 1,   .max = 65535 },
    { CLIENT(max_queued),          .kind = COUNT32, .min = 1,   .max = UINT32_MAX },
    { CLIENT(max_queued_bytes),    .kind = COUNT64, .min = 1024, .max = 1e15, .unit = "bytes" },
    { GLOBAL(max_output_bytes),    .kind = COUNT64, .min = 4096, .max = 1e15, .unit = "bytes" },
    { GLOBAL(max_connect_bytes),   .kind = COUNT64, .min = 65536, .max = 1e15, .unit = "bytes" },
    { CLIENT(max_topic_levels),    .kind = COUNT32, .min = 1,   .max = TOPIC_LEVELS_MAX },
    { CLIENT(max_topic_alias),     .kind = COUNT32, .min = 0,   .max = 65535 },
    { CLIENT(max_topic_length),    .kind = COUNT32, .min = 1,   .max = 65535, .unit = "bytes" },
    { CLIENT(max_payload_size),    .kind = COUNT32, .min = 0,   .max = 268435455, .unit = "bytes" },
    { CLIENT(max_qos),             .kind = COUNT32, .min = 0,   .max = 2 },
    { CLIENT(max_keepalive),       .kind = COUNT32, .min = 0,   .max = 65535, .unit = "seconds" },
    { CLIENT(max_subscriptions),   .kind = COUNT32, .min = 0,   .max = UINT32_MAX },
    { CLIENT(max_inflight_bytes),  .kind = COUNT64, .min = 0,   .max = 1e15, .unit = "bytes" },
    { CLIENT(message_rate),        .kind = COUNT32, .min = 0,   .max = UINT32_MAX },
    { CLIENT(byte_rate),           .kind = COUNT32, .min = 0,   .max = UINT32_MAX, .unit = "bytes" },
    { GLOBAL(drop),                .kind = CHOICE,  .words = drop_words },
    { GLOBAL(queue_qos0),          .kind = FLAG },
    { GLOBAL(overlapping),         .kind = CHOICE,  .words = overlapping_words },
    { LISTEN(protocol_versions),   .kind = VERSIONS },
    { CLIENT(retain_available),    .kind = FLAG },
    { CLIENT(wildcard_subscription), .kind = FLAG },
    { CLIENT(shared_subscription), .kind = FLAG },
    { CLIENT(subscription_identifiers), .kind = FLAG },
    { CLIENT(validate_payload_format), .kind = FLAG },
    { LISTEN(allow_empty_client_id), .kind = FLAG },
    { LISTEN(strict_3_1_ids),      .kind = FLAG },
    { GLOBAL_NAMED("sys_interval", sys_interval_ms), .kind = SECONDS, .min = 0, .max = 86400, .unit = "seconds" },
    { CLIENT(max_session_expiry),  .kind = EXPIRY,  .min = 0,   .max = UINT32_MAX, .unit = "seconds" },
    { LISTEN(session_expiry_3x),   .kind = EXPIRY,  .min = 0,   .max = UINT32_MAX, .unit = "seconds" },
    { LISTEN_NAMED("connect_timeout", connect_timeout_ms), .kind = SECONDS, .min = 0.1, .max = 3600, .unit = "seconds" },
    { GLOBAL_NAMED("hook_budget", hook_budget_ms),   .kind = SECONDS, .min = 0.004, .max = 60,   .unit = "seconds" },
    { GLOBAL_NAMED("hook_timeout", hook_timeout_ms), .kind = SECONDS, .min = 0.001, .max = 3600, .unit = "seconds" },
    { GLOBAL_NAMED("reload_timeout", reload_timeout_ms), .kind = SECONDS, .min = 0, .max = 3600, .unit = "seconds" },
    { GLOBAL(max_parked),          .kind = COUNT32, .min = 0,   .max = UINT32_MAX },
    { GLOBAL(vm_memory),           .kind = COUNT64, .min = 1048576, .max = 1e15, .unit = "bytes" },
    { GLOBAL_NAMED("shared", listeners), .kind = SHARED },
    { GLOBAL(admin_socket),        .kind = SOCKET },
    { GLOBAL(store),               .kind = STORE },
    { GLOBAL(durability),          .kind = CHOICE,  .words = durability_words },
    { GLOBAL(kv_size),             .kind = COUNT64, .min = 16384, .max = 1e9, .unit = "bytes" }, /* the most SQLite has in a row */
    { GLOBAL(log_level),           .kind = CHOICE,  .words = level_words },
    { GLOBAL(log_format),          .kind = CHOICE,  .words = format_words },
};
/* clang-format on */

_Static_assert(sizeof(bool) == 1, "flags and default_access are stored as bytes");

const struct setting *setting_find(struct slice name) {
    for (unsigned i = 0; i < ARRAY_LEN(settings); i++)
        if (slice_eq(name, slice_str(settings[i].name))) return &settings[i];
    return NULL;
}

void settings_each(unsigned where, void (*fn)(const struct setting *s, const char *name, void *obj),
                   void *obj) {
    for (unsigned i = 0; i < ARRAY_LEN(settings); i++)
        if (setting_may_stand(&settings[i], where)) fn(&settings[i], settings[i].name, obj);
}

/* ---- values -------------------------------------------------------------------- */

static void *place(const struct setting *s, const void *home) {
    return (char *)(uintptr_t)home + s->offset;
}

static bool is_limit(const struct setting *s) {
    return (s->where & SETTING_LISTEN) != 0;
}

static bool is_byte(const struct setting *s) {
    return !is_limit(s) && s->offset == offsetof(struct config, default_access);
}

const char *setting_push_shown(lua_State *L, int index) {
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
    return luaL_error(L, "%s: expected %s, got %s", s->name, expected, setting_push_shown(L, 3));
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
    luaL_pushresult(&list); /* ..., list */
    const char *words = lua_tostring(L, -1),
               *value = setting_push_shown(L, 3); /* ..., list, value */
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

/* The path of a socket at index 3, or how there is none. */
static void set_socket(lua_State *L, const struct setting *s, char **at) {
    static const size_t longest = sizeof((struct sockaddr_un *)0)->sun_path - 1;
    struct slice path = vm_to_slice(L, 3);
    bool is_auto = slice_eq(path, SLICE("auto"));
    bool is_off = lua_isboolean(L, 3) && !lua_toboolean(L, 3);
    bool is_path =
        path.len > 0 && path.at[0] == '/' && path.len <= longest && !memchr(path.at, 0, path.len);
    if (!is_auto && !is_off && !is_path)
        wrong_value(L, s, "an absolute path of at most 107 bytes, \"auto\" or false");
    free(*at);
    *at = is_auto ? NULL : is_off ? xstrdup("") : xslicedup(path);
}

/* [-0, +1, m] */
static void push_socket(lua_State *L, const char *path) {
    if (path && !*path)
        lua_pushboolean(L, 0);
    else
        lua_pushstring(L, path ? path : "auto");
}

/* The path at index 3, from sol.lua's folder, or false. */
static void set_store(lua_State *L, const struct setting *s, char **at) {
    struct slice path = vm_to_slice(L, 3);
    bool is_off = lua_isboolean(L, 3) && !lua_toboolean(L, 3);
    bool is_path = path.len > 0 && path.len < PATH_MAX && !memchr(path.at, 0, path.len);
    if (!is_off && !is_path) wrong_value(L, s, "the path of a file or false");
    const char *full = is_off ? NULL : file_push_path(L, lua_tostring(L, 3)); /* ..., path */
    free(*at);
    *at = full ? xstrdup(full) : NULL;
}

static void set(lua_State *L, const struct setting *s, void *home) {
    void *at = place(s, home);
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
    case SOCKET: set_socket(L, s, at); break;
    case STORE: set_store(L, s, at); break;
    case SHARED: shared_declare(L, script_of(L), 3); break;
    }
}

static void get(lua_State *L, const struct setting *s, const void *home) {
    const void *at = place(s, home);
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
    case VERSIONS: push_versions(L, *(const uint8_t *)at); break;
    case SOCKET: push_socket(L, *(char *const *)at); break;
    case STORE:
        if (*(char *const *)at)
            lua_pushstring(L, *(char *const *)at);
        else
            lua_pushboolean(L, 0);
        break;
    case SHARED: shared_push_declared(L, script_of(L)); break;
    }
}

void setting_set(lua_State *L, const struct setting *s, struct config *c) {
    set(L, s, is_limit(s) ? (void *)&c->limits : c);
}

void setting_get(lua_State *L, const struct setting *s, const struct config *c) {
    get(L, s, is_limit(s) ? (const void *)&c->limits : c);
}

bool setting_may_stand(const struct setting *s, unsigned where) {
    return (s->where & where) == where;
}

void setting_set_limit(lua_State *L, const struct setting *s, struct limits *l) {
    set(L, s, l);
}

void setting_get_limit(lua_State *L, const struct setting *s, const struct limits *l) {
    get(L, s, l);
}

void settings_offer(struct suggest *near, unsigned where) {
    for (unsigned i = 0; i < ARRAY_LEN(settings); i++)
        if (setting_may_stand(&settings[i], where)) suggest_offer(near, settings[i].name);
}

/* ---- listeners ------------------------------------------------------------------ */

_Static_assert(ARRAY_LEN(settings) <= 64, "a bit for each in listen_config.given");

void setting_set_listener(lua_State *L, const struct setting *s, struct listen_config *l) {
    set(L, s, &l->limits);
    l->given |= UINT64_C(1) << (s - settings);
}

static size_t value_size(const struct setting *s) {
    static const uint8_t sizes[] = {
        [BOOLEAN] = sizeof(int),      [FLAG] = sizeof(bool),        [CHOICE] = sizeof(int),
        [COUNT32] = sizeof(uint32_t), [COUNT64] = sizeof(uint64_t), [SECONDS] = sizeof(uint32_t),
        [EXPIRY] = sizeof(uint32_t),  [VERSIONS] = sizeof(uint8_t)
    };
    return sizes[s->kind];
}

void settings_spread(struct config *c) {
    for (unsigned n = 0; n < c->listeners_len; n++) {
        struct listen_config *l = &c->listeners[n];
        for (unsigned i = 0; i < ARRAY_LEN(settings); i++) {
            const struct setting *s = &settings[i];
            bool is_own = (l->given & UINT64_C(1) << i) != 0;
            bool is_total = s->offset == offsetof(struct limits, max_connections);
            if (is_limit(s) && !is_own && !is_total)
                memcpy(place(s, &l->limits), place(s, &c->limits), value_size(s));
        }
    }
}
