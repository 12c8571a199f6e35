/* lib_hook.c -- sol.on, sol.allow, sol.continue, sol.deny, sol.drop. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "base/mem.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"
#include "script/handlers.h"
#include "script/invoke.h"
#include "script/object.h"
#include "script/suggest.h"
#include "script/verdict.h"

#include <stdio.h>
#include <stdlib.h>

/* What sol.on returns. */
struct registration {
    struct handler *handler; /* lent: lives as long as the script */
};

static const struct object_type registration_type;

/* ---- the event and its filter ---------------------------------------------------- */

static enum hook_event check_event(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    char buf[SUGGEST_MAX + 24];
    struct suggest near;
    suggest_init(&near, name);
    for (int e = 0; e < HOOK_EVENTS; e++) {
        if (!events[e].name) continue;
        if (strcmp(events[e].name, name) == 0) return (enum hook_event)e;
        suggest_offer(&near, events[e].name);
    }
    luaL_error(L, "sol.on: unknown event \"%s\"%s", name, suggest_text(&near, buf));
    return HOOK_EVENTS;
}

/* A handler owned by the collector until handler_add. */
struct draft {
    struct handler *handler;
};

static int draft_gc(lua_State *L) {
    struct draft *d = lua_touserdata(L, 1);
    if (d->handler) handler_free(d->handler);
    d->handler = NULL;
    return 0;
}

static const struct field no_fields[] = { { NULL, NULL, NULL } };
static const struct object_type draft_type = { .name = "draft",
                                               .fields = no_fields,
                                               .gc = draft_gc };

/* Appends the filter at `index`, or raises. [-0, +0, v] */
static void add_filter(lua_State *L, int index, struct handler *h) {
    struct slice filter = vm_to_slice(L, index);
    if (!filter.at)
        luaL_error(L, "sol.on: a filter must be a string, not a %s", luaL_typename(L, index));
    if (!topic_filter_valid(filter) || !utf8_valid(filter))
        luaL_error(L, "sol.on: \"%s\" is not a topic filter", lua_tostring(L, index));
    if (slice_starts(filter, SLICE("$share/")))
        luaL_error(L, "sol.on: \"%s\" would never match: give the filter behind $share/GROUP/",
                   lua_tostring(L, index));
    h->filters = xrealloc(h->filters, (h->filters_len + 1) * sizeof *h->filters);
    h->filters[h->filters_len++] = slice_of(xslicedup(filter), filter.len);
}

/* The filter or list of filters at index 2. [-0, +0, v] */
static void take_filters(lua_State *L, struct handler *h) {
    if (!events[h->event].has_topic)
        luaL_error(L, "sol.on: \"%s\" has no topic, so it takes no filter", events[h->event].name);
    if (!lua_istable(L, 2)) {
        add_filter(L, 2, h);
        return;
    }
    for (lua_Integer i = 1; lua_rawgeti(L, 2, i) != LUA_TNIL; i++) { /* ..., filter */
        add_filter(L, -1, h);
        lua_pop(L, 1); /* ... */
    }
    lua_pop(L, 1); /* ... */
    if (h->filters_len == 0) luaL_error(L, "sol.on: the list of filters is empty");
}

/* ---- options ---------------------------------------------------------------------- */

/* Each takes the value on top of the stack for `h`, or raises. [-0, +0, v] */

static void opt_priority(lua_State *L, struct handler *h) {
    int is_integer;
    h->priority = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer) luaL_error(L, "sol.on: priority must be an integer");
}

static void opt_name(lua_State *L, struct handler *h) {
    struct slice name = vm_to_slice(L, -1);
    if (!name.at) luaL_error(L, "sol.on: name must be a string");
    char *place = h->name;
    struct slice old = slice_str(place);
    h->name = xmalloc(name.len + old.len + 4);
    sprintf(h->name, "%.*s (%s)", SLICE_FMT(name), place);
    free(place);
    h->closure.name = h->name;
}

static void opt_timeout(lua_State *L, struct handler *h) {
    lua_Number s = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
    if (!(s >= 0.001 && s <= 3600)) luaL_error(L, "sol.on: timeout must be 0.001 to 3600 seconds");
    h->timeout_ms = (uint32_t)(s * 1000 + 0.5);
}

static void opt_on_error(lua_State *L, struct handler *h) {
    static const struct {
        const char *word;
        enum verdict verdict;
    } words[] = {
        { "ignore", VERDICT_NONE },
        { "allow", VERDICT_ALLOW },
        { "deny", VERDICT_DENY },
        { "drop", VERDICT_DROP },
    };
    struct slice word = vm_to_slice(L, -1);
    unsigned may = events[h->event].verdicts | VERDICT_BIT(VERDICT_NONE);
    char list[64] = "";
    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        if (!(may & VERDICT_BIT(words[i].verdict))) continue;
        if (word.at && slice_eq(word, slice_str(words[i].word))) {
            h->on_failure = words[i].verdict;
            return;
        }
        sprintf(list + strlen(list), "%s\"%s\"", *list ? ", " : "", words[i].word);
    }
    luaL_error(L, "sol.on: on_error for \"%s\" must be one of %s, not %s", events[h->event].name,
               list, luaL_tolstring(L, -1, NULL));
}

static unsigned action_bit(lua_State *L) {
    static const char *const words[] = { "publish", "subscribe", "will", "deliver" };
    struct slice word = vm_to_slice(L, -1);
    for (unsigned i = 0; i < ARRAY_LEN(words); i++)
        if (word.at && slice_eq(word, slice_str(words[i]))) return 1u << i;
    luaL_error(L,
               "sol.on: an action is \"publish\", \"subscribe\", \"will\" or \"deliver\", not %s",
               luaL_tolstring(L, -1, NULL));
    return 0;
}

static void opt_actions(lua_State *L, struct handler *h) {
    if (h->event != HOOK_AUTHORIZE) luaL_error(L, "sol.on: actions are for \"authorize\" only");
    if (!lua_istable(L, -1)) luaL_error(L, "sol.on: actions must be a list");
    h->actions = 0;
    for (lua_Integer i = 1; lua_rawgeti(L, -1, i) != LUA_TNIL; i++) { /* ..., list, action */
        h->actions |= action_bit(L);
        lua_pop(L, 1); /* ..., list */
    }
    lua_pop(L, 1); /* ..., list */
}

static void opt_each_worker(lua_State *L, struct handler *h) {
    if (h->event < HOOK_START)
        luaL_error(L, "sol.on: each_worker is for \"start\", \"stop\" and \"reload\"; "
                      "others run where their client lives");
    if (!lua_isboolean(L, -1)) luaL_error(L, "sol.on: each_worker must be true or false");
    h->each_worker = lua_toboolean(L, -1);
}

static void opt_waits(lua_State *L, struct handler *h) {
    if (!lua_isboolean(L, -1)) luaL_error(L, "sol.on: waits must be true or false");
    h->never_waits = !lua_toboolean(L, -1);
}

static const struct option {
    const char *name;
    void (*take)(lua_State *L, struct handler *h);
} options[] = {
    { "priority", opt_priority }, { "name", opt_name },       { "timeout", opt_timeout },
    { "on_error", opt_on_error }, { "actions", opt_actions }, { "each_worker", opt_each_worker },
    { "waits", opt_waits },
};

/* The option named at index -2 takes the value on top. [-0, +0, v] */
static void take_option(lua_State *L, struct handler *h) {
    char buf[SUGGEST_MAX + 24];
    struct suggest near;
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
    suggest_init(&near, name);
    for (unsigned i = 0; i < ARRAY_LEN(options); i++) {
        if (strcmp(options[i].name, name) == 0) {
            options[i].take(L, h);
            return;
        }
        suggest_offer(&near, options[i].name);
    }
    luaL_error(L, "sol.on: unknown option \"%s\"%s", name, suggest_text(&near, buf));
}

static void take_options(lua_State *L, int index, struct handler *h) {
    if (lua_isnoneornil(L, index)) return;
    if (!lua_istable(L, index))
        luaL_error(L, "sol.on: options must be a table, not a %s", luaL_typename(L, index));
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) /* ..., name, value */
        take_option(L, h);
}

/* ---- sol.on ------------------------------------------------------------------------ */

/* "file:line" of the function at `index`; of one that a function of ours has made, where the
 * policy asked for it.  free() it. */
static char *place_of(lua_State *L, int index) {
    lua_Debug ar;
    char text[LUA_IDSIZE + 16];
    lua_pushvalue(L, index);   /* ..., fn */
    lua_getinfo(L, ">S", &ar); /* ... */
    int line = ar.linedefined;
    for (int level = 1; *ar.source != '@' && lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        line = ar.currentline;
    }
    snprintf(text, sizeof text, "%s:%d", ar.short_src, line);
    return xstrdup(text);
}

static int l_on(lua_State *L) {
    struct script *s = script_of(L);
    enum hook_event event = check_event(L);
    int fn = lua_isfunction(L, 2) ? 2 : 3;
    if (!s->is_loading)
        return luaL_error(L, "sol.on: handlers are registered while the policy is loaded");
    if (!lua_isfunction(L, fn))
        return luaL_error(L, "sol.on(\"%s\"): expected a function, got %s", events[event].name,
                          luaL_typename(L, fn));
    lua_settop(L, fn + 1); /* event, [filter,] fn, options */
    struct draft *draft = object_new(L, &draft_type, sizeof *draft, 0); /* ..., draft */
    struct handler *h = draft->handler = xcalloc(1, sizeof *h);
    h->script = s;
    h->event = event;
    h->on_failure = events[event].on_failure;
    h->actions = 1u << ACCESS_PUBLISH | 1u << ACCESS_SUBSCRIBE | 1u << ACCESS_WILL;
    h->name = place_of(L, fn);
    h->closure = (struct closure){ .fn = handler_trampoline, .obj = h, .name = h->name };
    if (fn == 3 && !lua_isnil(L, 2)) take_filters(L, h);
    take_options(L, fn + 1, h);

    struct registration *r =
        object_new(L, &registration_type, sizeof *r, 0); /* ..., registration */
    lua_pushvalue(L, fn);                                /* ..., registration, fn */
    h->fn_ref = luaL_ref(L, LUA_REGISTRYINDEX);          /* ..., registration */
    draft->handler = NULL;
    r->handler = h;
    handler_add(s, h);
    return 1;
}

/* ---- the registration ---------------------------------------------------------------- */

static void *resolve(lua_State *L, void *block) {
    (void)L;
    return ((struct registration *)block)->handler;
}

static void get_event(lua_State *L, void *obj) {
    lua_pushstring(L, events[((struct handler *)obj)->event].name);
}

static void get_name(lua_State *L, void *obj) {
    lua_pushstring(L, ((struct handler *)obj)->closure.name);
}

static const struct field registration_fields[] = {
    { "event", get_event, NULL },
    { "name", get_name, NULL },
    { NULL, NULL, NULL },
};

static int registration_uuid(lua_State *L) {
    struct registration *r = object_check(L, 1, &registration_type);
    lua_pushstring(L, closure_uuid(&r->handler->closure)); /* ..., uuid */
    return 1;
}

static const luaL_Reg registration_methods[] = {
    { "uuid", registration_uuid },
    { NULL, NULL },
};

static const struct object_type registration_type = {
    .name = "registration",
    .fields = registration_fields,
    .methods = registration_methods,
    .resolve = resolve,
};

/* ---- verdicts -------------------------------------------------------------------------- */

/* A verdict with data for the client of an exchange, at index 1. [-0, +1, v] */
static int push_reply(lua_State *L, enum verdict v) {
    struct slice data = vm_opt_slice(L, 1);
    luaL_argcheck(L, data.len <= UINT16_MAX, 1, "expected at most 65535 bytes");
    verdict_push_reply(L, v, data); /* ..., verdict */
    return 1;
}

static int l_allow(lua_State *L) {
    return push_reply(L, VERDICT_ALLOW);
}

static int l_continue(lua_State *L) {
    return push_reply(L, VERDICT_CONTINUE);
}

static int l_drop(lua_State *L) {
    verdict_push(L, VERDICT_DROP); /* verdict */
    return 1;
}

static int l_deny(lua_State *L) {
    lua_Integer code = luaL_optinteger(L, 1, 0);
    struct slice reason = vm_opt_slice(L, 2);
    luaL_argcheck(L, code == 0 || (code >= 0x80 && code <= 0xff), 1,
                  "expected a reason code from 0x80 to 0xff");
    luaL_argcheck(L, !reason.at || (reason.len <= 1024 && utf8_valid(reason)), 2,
                  "expected UTF-8 of at most 1024 bytes");
    struct slice reference = verdict_check_reference(L, 3, code);
    verdict_push_deny(L, (uint8_t)code, reason, reference); /* ..., verdict */
    return 1;
}

static const luaL_Reg functions[] = {
    { "on", l_on },     { "allow", l_allow }, { "continue", l_continue },
    { "deny", l_deny }, { "drop", l_drop },   { NULL, NULL },
};

int luaopen_sol_hook(lua_State *L) {
    object_register(L, &draft_type);
    object_register(L, &registration_type);
    verdict_register(L);
    luaL_newlib(L, functions); /* functions */
    return 1;
}
