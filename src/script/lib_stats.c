/* lib_stats.c -- sol.hooks: what has become of every handler's calls. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "base/mem.h"
#include "script/handlers.h"

#include <lauxlib.h>
#include <math.h>

/* t[name] = n; t is on top. [-0, +0, m] */
static void set_count(lua_State *L, const char *name, uint64_t n) {
    lua_pushinteger(L, (lua_Integer)n); /* t, n */
    lua_setfield(L, -2, name);          /* t */
}

/* Pushes the histogram: a list of { below = seconds, count = n }. [-0, +1, m] */
static uint64_t push_times(lua_State *L, const struct handler_stats *stats) {
    uint64_t timed = 0;
    lua_createtable(L, HANDLER_TIMES, 0); /* times */
    for (int i = 0; i < HANDLER_TIMES; i++) {
        bool is_last = i == HANDLER_TIMES - 1;
        lua_createtable(L, 0, 2);                                            /* times, row */
        lua_pushnumber(L, is_last ? HUGE_VAL : (lua_Number)(1u << i) / 1e6); /* times, row, s */
        lua_setfield(L, -2, "below");                                        /* times, row */
        set_count(L, "count", stats->times[i]);
        lua_rawseti(L, -2, i + 1); /* times */
        timed += stats->times[i];
    }
    return timed;
}

/* Pushes one handler as a table. [-0, +1, m] */
static void push_handler(lua_State *L, const struct handler *h) {
    const struct handler_stats *stats = &h->stats;
    lua_createtable(L, 0, 12);                    /* hook */
    lua_pushstring(L, events[h->event].name);     /* hook, event */
    lua_setfield(L, -2, "event");                 /* hook */
    lua_pushstring(L, h->closure.name);           /* hook, name */
    lua_setfield(L, -2, "name");                  /* hook */
    lua_pushinteger(L, (lua_Integer)h->priority); /* hook, priority */
    lua_setfield(L, -2, "priority");              /* hook */
    set_count(L, "calls", stats->calls);
    set_count(L, "errors", stats->errors);
    set_count(L, "timeouts", stats->timeouts);
    set_count(L, "waits", stats->waits);
    uint64_t timed = push_times(L, stats); /* hook, times */
    lua_setfield(L, -2, "times");          /* hook */
    set_count(L, "timed", timed);
    set_count(L, "counted", stats->counted);
    set_count(L, "instructions", stats->counted ? stats->instructions / stats->counted : 0);
    lua_pushnumber(L, timed ? (lua_Number)stats->us / (lua_Number)timed / 1e6 : 0); /* hook, mean */
    lua_setfield(L, -2, "mean");                                                    /* hook */
}

static int l_hooks(lua_State *L) {
    const struct script *s = script_of(L);
    lua_Integer n = 0;
    lua_newtable(L); /* list */
    for (int e = 0; e < HOOK_EVENTS; e++) {
        for (unsigned i = 0; i < s->events[e].len; i++) {
            push_handler(L, s->events[e].at[i]); /* list, hook */
            lua_rawseti(L, -2, ++n);             /* list */
        }
    }
    return 1;
}

static const luaL_Reg functions[] = {
    { "hooks", l_hooks },
    { NULL, NULL },
};

int luaopen_sol_stats(lua_State *L) {
    luaL_newlib(L, functions); /* functions */
    return 1;
}
