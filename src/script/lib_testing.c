/* lib_testing.c -- brokers and clients as objects of a test's Lua state.
 *
 * Two Lua worlds meet here: the test's, and the policy's VM within the broker.  They share
 * nothing; what one asks of the other is copied.  The policy runs only while the test is
 * within one of the functions below, and may then ask the test's `ask` for what a server
 * would have said. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib_testing.h"

#include "base/buf.h"
#include "base/mem.h"
#include "core/solo.h"
#include "script/embed.h"
#include "script/handlers.h"
#include "script/obj_packet.h"
#include "script/object.h"
#include "script/rehearsal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 32 }; /* of tables that are copied */

/* A broker as the test sees it.  Its user value 1 is the cache, which must outlive it. */
struct stage {
    struct rehearsal *rehearsal;  /* owned; NULL: closed */
    struct offline offline;       /* the policy asks us */
    lua_State *present;           /* the test's coroutine that is within one of our functions */
    int ask_ref;                  /* registry reference of the test's `ask` */
    struct embed_cache *compiled; /* lent by the cache */
    struct buf log;               /* lines not taken yet: a byte (level), area, 0, text, 0 */
};

/* A client's end.  Its user value 1 is the stage. */
struct end {
    struct stage *stage;    /* lent by that */
    struct solo_peer *peer; /* owned by its broker; of no use once that is closed */
};

static const struct object_type stage_type, end_type;

/* ---- from one state to the other ------------------------------------------------ */

static bool copy(lua_State *from, int index, lua_State *to, int depth);

/* [-0, +1, m] on `to`; false: as copy. */
static bool copy_table(lua_State *from, int index, lua_State *to, int depth) {
    bool ok = true;
    index = lua_absindex(from, index);
    luaL_checkstack(from, 4, "a table");
    lua_newtable(to);                                       /* copy */
    for (lua_pushnil(from); ok && lua_next(from, index);) { /* from: name, value */
        /* to: copy, name, value; a null is no name: to set it would raise in the other state */
        ok = copy(from, -2, to, depth + 1) && !lua_isnil(to, -1) && copy(from, -1, to, depth + 1);
        if (ok) lua_rawset(to, -3); /* to: copy */
        lua_pop(from, 1);           /* from: name */
    }
    return ok;
}

/* Pushes a copy of the value on `to`; what is no plain value becomes nil (a JSON null) or is
 * refused: false, and `to` holds what there is so far. */
static bool copy(lua_State *from, int index, lua_State *to, int depth) {
    struct slice text;
    luaL_checkstack(to, 8, "a value");
    switch (lua_type(from, index)) {
    case LUA_TNIL:
    case LUA_TUSERDATA: lua_pushnil(to); return true;
    case LUA_TBOOLEAN: lua_pushboolean(to, lua_toboolean(from, index)); return true;
    case LUA_TNUMBER:
        if (lua_isinteger(from, index))
            lua_pushinteger(to, lua_tointeger(from, index));
        else
            lua_pushnumber(to, lua_tonumber(from, index));
        return true;
    case LUA_TSTRING:
        text = vm_to_slice(from, index);
        lua_pushlstring(to, (const char *)text.at, text.len);
        return true;
    case LUA_TTABLE: return depth < DEPTH_MAX && copy_table(from, index, to, depth);
    default: return false;
    }
}

/* All above `top` of `from`; false when one of them is no plain value. */
static bool copy_all(lua_State *from, int top, lua_State *to) {
    for (int i = top + 1, last = lua_gettop(from); i <= last; i++)
        if (!copy(from, i, to, 0)) return false;
    return true;
}

/* Raises in `from` the error on top of the test's state, whose traceback is of no interest. */
static int raise_in(lua_State *from, lua_State *L, int top) {
    const char *text = lua_tostring(L, -1), *end = strstr(text, "\nstack traceback:");
    lua_pushlstring(from, text, end ? (size_t)(end - text) : strlen(text));
    lua_settop(L, top);
    return lua_error(from);
}

/* struct offline's ask. */
static int ask(void *obj, lua_State *from) {
    struct stage *t = obj;
    lua_State *L = t->present;
    int top = lua_gettop(L), asked = lua_gettop(from);
    luaL_checkstack(L, asked + 4, "arguments");
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->ask_ref); /* ..., ask */
    if (!copy_all(from, 0, L)) {                   /* ..., ask, args */
        lua_settop(L, top);
        return luaL_error(from, "only plain values can be asked of a test");
    }
    if (vm_call(L, lua_gettop(L) - top - 1, LUA_MULTRET) != LUA_OK) return raise_in(from, L, top);
    if (!copy_all(L, top, from)) { /* from: args, results */
        lua_settop(L, top);
        return luaL_error(from, "a stub may give plain values only");
    }
    lua_settop(L, top);
    return lua_gettop(from) - asked;
}

/* ---- the log ----------------------------------------------------------------------- */

static void on_line(void *obj, enum log_level level, const char *area, const char *text) {
    struct stage *t = obj;
    buf_add(&t->log, &(uint8_t){ (uint8_t)level }, 1);
    buf_add(&t->log, area, strlen(area) + 1);
    buf_add(&t->log, text, strlen(text) + 1);
}

/* t[name] = text; t is on top. [-0, +0, m] */
static void set_text(lua_State *L, const char *name, const char *text) {
    lua_pushstring(L, text);   /* t, text */
    lua_setfield(L, -2, name); /* t */
}

static void set_count(lua_State *L, const char *name, uint64_t n) {
    lua_pushinteger(L, (lua_Integer)n); /* t, n */
    lua_setfield(L, -2, name);          /* t */
}

/* ---- a broker ------------------------------------------------------------------------ */

/* For all that the test may ask only while no policy runs. */
static struct stage *check_stage(lua_State *L) {
    struct stage *t = object_check(L, 1, &stage_type);
    if (!t->rehearsal) luaL_error(L, "this broker is closed");
    if (!t->rehearsal->solo || solo_is_busy(t->rehearsal->solo))
        luaL_error(L, "a stub cannot use the broker that asks it");
    t->present = L;
    return t;
}

static void stage_close(lua_State *L, struct stage *t) {
    struct rehearsal *r = t->rehearsal;
    t->present = L;
    t->rehearsal = NULL;
    rehearsal_free(r);
    luaL_unref(L, LUA_REGISTRYINDEX, t->ask_ref);
    t->ask_ref = LUA_NOREF;
}

static int stage_gc(lua_State *L) {
    struct stage *t = lua_touserdata(L, 1);
    stage_close(L, t);
    buf_deinit(&t->log);
    return 0;
}

static int stage_free(lua_State *L) {
    stage_close(L, check_stage(L));
    return 0;
}

static int restless(lua_State *L) {
    return luaL_error(L, "the broker finds no rest: does a handler cause what it handles?");
}

static int stage_settle(lua_State *L) {
    struct stage *t = check_stage(L);
    bool rests = solo_settle(t->rehearsal->solo);
    lua_settop(L, 1); /* stage: whatever an error in a policy has left */
    return rests ? 0 : restless(L);
}

static int stage_pass(lua_State *L) {
    struct stage *t = check_stage(L);
    lua_Integer ms = luaL_checkinteger(L, 2);
    luaL_argcheck(L, ms >= 0, 2, "time passes forward");
    bool rests = solo_pass_ms(t->rehearsal->solo, (uint64_t)ms);
    lua_settop(L, 1); /* stage */
    return rests ? 0 : restless(L);
}

/* A string option of the table at index 2, lent by it; NULL: not given. */
static const char *option(lua_State *L, const char *name) {
    lua_getfield(L, 2, name); /* value */
    const char *text = luaL_optstring(L, -1, NULL);
    lua_pop(L, 1); /* */
    return text;
}

/* From the table at index 2, which lends them. [-0, +0, v] */
static struct rehearsal_opts check_options(lua_State *L, struct stage *t) {
    return (struct rehearsal_opts){ .path = option(L, "path"),
                                    .text = slice_str(option(L, "text")),
                                    .plugin_path = option(L, "plugins"),
                                    .compiled = t->compiled,
                                    .offline = &t->offline,
                                    .sink = on_line,
                                    .sink_obj = t };
}

/* reload{ as for new }: true; or nil and what is wrong with the policy */
static int stage_reload(lua_State *L) {
    char *error = NULL;
    struct stage *t = check_stage(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2); /* stage, options */
    struct rehearsal_opts opts = check_options(L, t);
    int r = rehearsal_reload(t->rehearsal, &opts, &error);
    lua_settop(L, 2); /* stage, options */
    lua_pushboolean(L, 1);
    if (r == 0) return 1;
    vm_fail(L, "%s", error); /* ..., nil, why */
    free(error);
    return 2;
}

static int stage_stop(lua_State *L) {
    struct stage *t = check_stage(L);
    solo_stop(t->rehearsal->solo);
    lua_settop(L, 1); /* stage */
    return 0;
}

/* open([listener [, address]]): an end; or nil and why */
static int stage_open(lua_State *L) {
    struct stage *t = check_stage(L);
    struct solo_origin from = { .listener = luaL_optstring(L, 2, NULL),
                                .address = luaL_optstring(L, 3, NULL) };
    struct end *end = object_new(L, &end_type, sizeof *end, 1); /* ..., end */
    lua_pushvalue(L, 1);                                        /* ..., end, stage */
    lua_setiuservalue(L, -2, 1);                                /* ..., end */
    end->stage = t;
    end->peer = solo_open(t->rehearsal->solo, &from);
    if (!end->peer) return vm_fail(L, "%s", strerror(errno));
    return 1;
}

/* failures(): how many handlers and tasks have failed so far */
static int stage_failures(lua_State *L) {
    lua_pushinteger(L, check_stage(L)->rehearsal->script->vm->failures);
    return 1;
}

/* The lines since the last call: a list of { level =, area =, text = }. */
static int stage_log(lua_State *L) {
    static const char *const levels[] = { "debug", "info", "warn", "error" };
    struct stage *t = object_check(L, 1, &stage_type);
    lua_Integer n = 0;
    lua_newtable(L); /* stage, lines */
    for (size_t at = 0; at < t->log.len;) {
        const char *area = (const char *)t->log.at + at + 1, *text = area + strlen(area) + 1;
        lua_createtable(L, 0, 3); /* stage, lines, line */
        set_text(L, "level", levels[t->log.at[at]]);
        set_text(L, "area", area);
        set_text(L, "text", text);
        lua_rawseti(L, -2, ++n); /* stage, lines */
        at = (size_t)(text + strlen(text) + 1 - (const char *)t->log.at);
    }
    t->log.len = 0;
    return 1;
}

/* Pushes one handler as a table. [-0, +1, m] */
static void push_handler(lua_State *L, const struct handler *h) {
    lua_createtable(L, 0, 8);                 /* hook */
    lua_pushstring(L, events[h->event].name); /* hook, event */
    lua_setfield(L, -2, "event");             /* hook */
    lua_pushstring(L, h->closure.name);       /* hook, name */
    lua_setfield(L, -2, "name");              /* hook */
    set_count(L, "calls", h->stats.calls);
    set_count(L, "errors", h->stats.errors);
    set_count(L, "timeouts", h->stats.timeouts);
    set_count(L, "allow", h->stats.verdicts[VERDICT_ALLOW]);
    set_count(L, "deny", h->stats.verdicts[VERDICT_DENY]);
    set_count(L, "drop", h->stats.verdicts[VERDICT_DROP]);
    set_count(L, "continue", h->stats.verdicts[VERDICT_CONTINUE]);
}

static int stage_hooks(lua_State *L) {
    const struct script *s = check_stage(L)->rehearsal->script;
    lua_Integer n = 0;
    lua_newtable(L); /* stage, list */
    for (int e = 0; e < HOOK_EVENTS; e++) {
        for (unsigned i = 0; i < s->events[e].len; i++) {
            push_handler(L, s->events[e].at[i]); /* stage, list, hook */
            lua_rawseti(L, -2, ++n);             /* stage, list */
        }
    }
    return 1;
}

static void *resolve(lua_State *L, void *block) {
    (void)L;
    return block;
}

static const struct field no_fields[] = { { NULL, NULL, NULL } };

static const luaL_Reg stage_methods[] = {
    { "open", stage_open }, { "settle", stage_settle },     { "pass", stage_pass },
    { "stop", stage_stop }, { "failures", stage_failures }, { "log", stage_log },
    { "free", stage_free }, { "hooks", stage_hooks },       { "reload", stage_reload },
    { NULL, NULL },
};

static const struct object_type stage_type = {
    .name = "broker",
    .fields = no_fields,
    .methods = stage_methods,
    .resolve = resolve,
    .gc = stage_gc,
};

/* ---- a client's end -------------------------------------------------------------------- */

static struct solo_peer *check_peer(lua_State *L) {
    struct end *end = object_check(L, 1, &end_type);
    if (!end->stage->rehearsal) luaL_error(L, "this broker is closed");
    end->stage->present = L;
    return end->peer;
}

static int end_post(lua_State *L) {
    struct solo_peer *p = check_peer(L);
    struct packet packet;
    packet_check(L, 2, solo_version(p), &packet); /* end, packet, ... */
    if (!solo_post(p, &packet)) return luaL_error(L, "no MQTT packet can hold this");
    return 0;
}

static int end_bytes(lua_State *L) {
    solo_post_bytes(check_peer(L), vm_check_slice(L, 2));
    return 0;
}

static int end_take(lua_State *L) {
    const struct packet *packet = solo_take(check_peer(L));
    if (!packet) return 0;
    packet_push(L, packet); /* end, packet */
    return 1;
}

static int end_is_over(lua_State *L) {
    lua_pushboolean(L, solo_is_over(check_peer(L)));
    return 1;
}

static int end_drop(lua_State *L) {
    solo_drop(check_peer(L));
    return 0;
}

static const luaL_Reg end_methods[] = {
    { "post", end_post },       { "bytes", end_bytes }, { "take", end_take },
    { "is_over", end_is_over }, { "drop", end_drop },   { NULL, NULL },
};

static const struct object_type end_type = {
    .name = "connection",
    .fields = no_fields,
    .methods = end_methods,
    .resolve = resolve,
};

/* ---- functions ----------------------------------------------------------------------------- */

/* new(ask, { path, text, plugins }): a broker, or nil and what is wrong with the policy.
 * Upvalue: the cache of compiled chunks, in a userdata. */
static int l_new(lua_State *L) {
    char *error = NULL;
    luaL_checktype(L, 1, LUA_TFUNCTION);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2); /* ask, options */
    struct embed_cache **cache = lua_touserdata(L, lua_upvalueindex(1));
    struct stage *t = object_new(L, &stage_type, sizeof *t, 1); /* ask, options, stage */
    lua_pushvalue(L, lua_upvalueindex(1));                      /* ask, options, stage, cache */
    lua_setiuservalue(L, -2, 1);                                /* ask, options, stage */
    t->ask_ref = LUA_NOREF;
    lua_pushvalue(L, 1); /* ask, options, stage, ask */
    t->ask_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    t->offline = (struct offline){ ask, t };
    t->compiled = *cache;
    t->present = L;
    struct rehearsal_opts opts = check_options(L, t);
    t->rehearsal = rehearsal_new(&opts, &error);
    lua_settop(L, 3); /* ask, options, stage */
    if (t->rehearsal) return 1;
    vm_fail(L, "%s", error); /* ..., nil, why */
    free(error);
    return 2;
}

/* folder(): a new folder for the files of a policy */
static int l_folder(lua_State *L) {
    char path[PATH_MAX];
    const char *where = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/sol-test-XXXXXX", where && *where ? where : "/tmp");
    if (!mkdtemp(path)) return luaL_error(L, "%s: %s", path, strerror(errno));
    lua_pushstring(L, path); /* path */
    return 1;
}

static int cache_gc(lua_State *L) {
    embed_cache_free(*(struct embed_cache **)lua_touserdata(L, 1));
    return 0;
}

/* [-0, +1, m] */
static void push_cache(lua_State *L) {
    struct embed_cache **cache = lua_newuserdatauv(L, sizeof *cache, 0); /* cache */
    *cache = NULL;
    lua_newtable(L);                /* cache, meta */
    lua_pushcfunction(L, cache_gc); /* cache, meta, gc */
    lua_setfield(L, -2, "__gc");    /* cache, meta */
    lua_setmetatable(L, -2);        /* cache */
    *cache = embed_cache_new();
}

int luaopen_sol_testing(lua_State *L) {
    object_register(L, &stage_type);
    object_register(L, &end_type);
    lua_newtable(L);                /* module */
    push_cache(L);                  /* module, cache */
    lua_pushcclosure(L, l_new, 1);  /* module, new */
    lua_setfield(L, -2, "new");     /* module */
    lua_pushcfunction(L, l_folder); /* module, folder */
    lua_setfield(L, -2, "folder");  /* module */
    return 1;
}
