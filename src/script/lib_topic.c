/* lib_topic.c -- sol.topic: topic names and filters, as the broker itself reads them.
 *
 * A malformed filter is the script's mistake and raises; a malformed name comes from the
 * world and simply matches nothing. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "mqtt/topic.h"
#include "mqtt/utf8.h"
#include "script/vm.h"

/* A valid filter, or an error. [-0, +0, v] */
static struct slice check_filter(lua_State *L, int arg) {
    struct slice filter = vm_check_slice(L, arg);
    luaL_argcheck(L, topic_filter_valid(filter), arg, "not a topic filter");
    return filter;
}

/* ---- questions ------------------------------------------------------------ */

static int l_match(lua_State *L) {
    struct slice filter = check_filter(L, 1), topic = vm_check_slice(L, 2);
    lua_pushboolean(L, topic_name_valid(topic) && topic_match(filter, topic));
    return 1;
}

static int l_covers(lua_State *L) {
    struct slice wide = check_filter(L, 1), narrow = check_filter(L, 2);
    lua_pushboolean(L, topic_filter_covers(wide, narrow));
    return 1;
}

static int l_overlaps(lua_State *L) {
    struct slice a = check_filter(L, 1), b = check_filter(L, 2);
    lua_pushboolean(L, topic_filters_overlap(a, b));
    return 1;
}

static int l_valid_name(lua_State *L) {
    struct slice s = vm_check_slice(L, 1);
    lua_pushboolean(L, topic_name_valid(s) && utf8_valid(s));
    return 1;
}

static int l_valid_filter(lua_State *L) {
    struct slice s = vm_check_slice(L, 1);
    lua_pushboolean(L, topic_filter_valid(s) && utf8_valid(s));
    return 1;
}

/* ---- taking apart --------------------------------------------------------- */

static int l_parse(lua_State *L) {
    struct slice topic = vm_check_slice(L, 1), level;
    lua_createtable(L, (int)topic_levels(topic), 0); /* levels */
    lua_Integer n = 0;
    for (size_t at = 0; topic_next_level(topic, &at, &level);) {
        vm_push_slice(L, level); /* levels, level */
        lua_rawseti(L, -2, ++n); /* levels */
    }
    return 1;
}

static bool level_is(struct slice level, char c) {
    return level.len == 1 && level.at[0] == (uint8_t)c;
}

/* What `#` stands for: the rest of the topic from `at`, "" when it has ended. */
static struct slice rest_of(struct slice topic, size_t at) {
    return at > topic.len ? SLICE("") : slice_of(topic.at + at, topic.len - at);
}

static int l_capture(lua_State *L) {
    struct slice filter = check_filter(L, 1), topic = vm_check_slice(L, 2), want, got;
    if (!topic_name_valid(topic) || !topic_match(filter, topic)) {
        lua_pushnil(L);
        return 1;
    }
    lua_newtable(L); /* captures */
    lua_Integer n = 0;
    size_t f = 0, t = 0;
    while (topic_next_level(filter, &f, &want)) {
        if (level_is(want, '#'))
            got = rest_of(topic, t);
        else if (!topic_next_level(topic, &t, &got) || !level_is(want, '+'))
            continue;
        vm_push_slice(L, got);   /* captures, level */
        lua_rawseti(L, -2, ++n); /* captures */
    }
    return 1;
}

static int l_shared(lua_State *L) {
    struct slice filter = vm_check_slice(L, 1), group, inner;
    bool valid;
    if (!topic_shared(filter, &group, &inner, &valid) || !valid) {
        lua_pushnil(L);
        return 1;
    }
    vm_push_slice(L, group); /* group */
    vm_push_slice(L, inner); /* group, filter */
    return 2;
}

static const luaL_Reg functions[] = {
    { "match", l_match },           { "capture", l_capture },           { "parse", l_parse },
    { "covers", l_covers },         { "overlaps", l_overlaps },         { "shared", l_shared },
    { "valid_name", l_valid_name }, { "valid_filter", l_valid_filter }, { NULL, NULL },
};

int luaopen_sol_topic(lua_State *L) {
    luaL_newlib(L, functions);
    return 1;
}
