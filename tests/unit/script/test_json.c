/* test_json.c -- sol.json, asked from Lua. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "base/mem.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* A state with Lua's own libraries, `json`, and `raises(fn, ...)` giving the message. */
static int make_state(void **state) {
    static const char prelude[] =
        "function raises(f, ...) local ok, err = pcall(f, ...); return not ok and err end "
        "function encode(v) return json.encode(v) end";
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    luaopen_sol_json(L);
    lua_setglobal(L, "json");
    *state = L;
    return luaL_dostring(L, prelude) == LUA_OK ? 0 : -1;
}

static int close_state(void **state) {
    lua_close(*state);
    return 0;
}

/* Each row is a chunk that must give true. */
static void check(void **state, const char *const *rows, size_t len) {
    lua_State *L = *state;
    for (size_t i = 0; i < len; i++) {
        if (luaL_dostring(L, rows[i]) != LUA_OK) fail_msg("%s: %s", rows[i], lua_tostring(L, -1));
        if (!lua_isboolean(L, -1) || !lua_toboolean(L, -1))
            fail_msg("%s: gave %s", rows[i], luaL_tolstring(L, -1, NULL));
        lua_settop(L, 0);
    }
}

/* A row for check: the text of `value` is `text`. */
#define ENCODES(value, text)                                                                       \
    "local s, e = json.encode(" value ") assert(s, e) "                                            \
    "assert(s == [==[" text "]==], s) return true"
#define CHECK(...)                                                                                 \
    do {                                                                                           \
        static const char *const rows[] = { __VA_ARGS__ };                                         \
        check(state, rows, ARRAY_LEN(rows));                                                       \
    } while (0)

/* ---- numbers --------------------------------------------------------------- */

static void integers_stay_integers_of_64_bits(void **state) {
    CHECK("return math.type(json.decode '1') == 'integer'",
          "return json.decode '9223372036854775807' == math.maxinteger",
          "return json.decode '-9223372036854775808' == math.mininteger",
          "return json.decode '-0' == 0", ENCODES("math.maxinteger", "9223372036854775807"),
          ENCODES("math.mininteger", "-9223372036854775808"), ENCODES("0", "0"),
          /* one more than fits is no integer any more, and not silently another number */
          "local v, e = json.decode '9223372036854775808' return v == nil and #e > 0");
}

static void floats_stay_floats_at_their_shortest(void **state) {
    CHECK("return math.type(json.decode '20.0') == 'float'",
          "return math.type(json.decode '2e1') == 'float'",
          "return json.decode '0.1' == 0.1", /* strtod's nearest */
          ENCODES("20.0", "20.0"), ENCODES("{ value = (68 - 32) / 1.8 }", "{\"value\":20.0}"),
          ENCODES("-0.0", "-0.0"), ENCODES("0.1", "0.1"),
          ENCODES("0.1 + 0.2", "0.30000000000000004"), ENCODES("1/3", "0.3333333333333333"),
          ENCODES("1e300", "1e+300"), ENCODES("5e-324", "4.94065645841247e-324"),
          ENCODES("2^53", "9007199254740992.0"), ENCODES("1e15", "1e+15"),
          ENCODES("100.0", "100.0"), ENCODES("123456789012345.0", "123456789012345.0"),
          "for i = 1, 2000 do local x = (math.random() - 0.5) * 10.0 ^ math.random(-300, 300) "
          "local y = json.decode(json.encode(x)) "
          "if x ~= y or math.type(y) ~= 'float' then return x end end return true");
}

static void numbers_without_a_json_form_raise(void **state) {
    CHECK("return raises(encode, 0/0):find 'NaN' ~= nil",
          "return raises(encode, math.huge):find 'infinite' ~= nil",
          "return raises(encode, { a = { -math.huge } }):find('a[1]', 1, true) ~= nil",
          "local v, e = json.decode '1e999' return v == nil and #e > 0",
          "local v, e = json.decode 'NaN' return v == nil and #e > 0",
          "local v, e = json.decode '01' return v == nil and #e > 0");
}

/* ---- null and arrays ------------------------------------------------------- */

static void null_is_a_value_of_its_own(void **state) {
    CHECK("return json.decode 'null' == json.null", "return json.decode '[null,1]'[1] == json.null",
          "return #json.decode '[1,null,null]' == 3",
          "return json.decode '{\"a\":null}'.a == json.null",
          "return tostring(json.null) == 'null'", ENCODES("json.null", "null"),
          ENCODES("{ json.null, a }", "[null]"),
          "return raises(function() return json.null.x end):find 'sol.json.null' ~= nil");
}

static void an_empty_array_stays_one(void **state) {
    CHECK(ENCODES("{}", "{}"), ENCODES("json.array {}", "[]"), ENCODES("json.array()", "[]"),
          ENCODES("json.decode '[]'", "[]"), ENCODES("json.decode '{}'", "{}"),
          ENCODES("json.decode '{\"a\":[],\"b\":{},\"c\":[[]]}'", "{\"a\":[],\"b\":{},\"c\":[[]]}"),
          "local t = json.decode '[1,2]' t[1], t[2] = nil, nil return json.encode(t) == '[]'",
          "local t = {} return json.array(t) == t",
          "return raises(json.array, setmetatable({}, {})) ~= false",
          "return raises(json.array, 1) ~= false");
}

static void tables_that_are_neither_array_nor_object_raise(void **state) {
    CHECK("return raises(encode, { 1, nil, 3 }) ~= false",
          "return raises(encode, { 1, 2, a = 3 }) ~= false",
          "return raises(encode, { [0] = 1 }) ~= false",
          "return raises(encode, { [2] = 1 }) ~= false",
          "return raises(encode, { [1.5] = 1 }) ~= false",
          "return raises(encode, { [true] = 1 }) ~= false",
          "return raises(encode, json.array { a = 1 }) ~= false",
          "return raises(encode, { rows = { { name = print } } })"
          ":find('type function at rows[1].name', 1, true) ~= nil",
          "return raises(encode, nil) ~= false", "return raises(json.encode) ~= false",
          "return raises(encode, io.stdout) ~= false",
          "return raises(encode, coroutine.create(print)) ~= false");
}

/* ---- strings --------------------------------------------------------------- */

static void strings_keep_every_byte_of_utf8(void **state) {
    CHECK(
        ENCODES("'a\"b\\\\c/d'", "\"a\\\"b\\\\c/d\""),
        ENCODES("'\\b\\f\\n\\r\\t\\0\\x1f\\x7f'", "\"\\b\\f\\n\\r\\t\\u0000\\u001f\x7f\""),
        ENCODES("'gr\xc3\xbc\xc3\x9f \xf0\x9f\x8c\x9e'", "\"gr\xc3\xbc\xc3\x9f \xf0\x9f\x8c\x9e\""),
        "return json.decode '\"a\\\\u0000b\"' == 'a\\0b'",
        "return json.decode '\"\\\\ud83c\\\\udf1e\"' == '\xf0\x9f\x8c\x9e'",
        "local all = {} for c = 0, 127 do all[#all + 1] = string.char(c) end "
        "all = table.concat(all) return json.decode(json.encode(all)) == all",
        ENCODES("{ ['k\\0\\n'] = 1 }", "{\"k\\u0000\\n\":1}"), ENCODES("''", "\"\""));
}

static void bytes_that_are_no_text_are_told_not_raised(void **state) {
    CHECK("local s, e = json.encode '\\xff' return s == nil and e:find 'UTF%-8' ~= nil",
          "local s, e = json.encode { a = { b = '\\xc3' } } "
          "return s == nil and e:find('a.b', 1, true) ~= nil",
          "local s, e = json.encode { ['\\xed\\xa0\\x80'] = 1 } return s == nil and e ~= nil",
          "local s, e = json.encode '\\xc0\\x80' return s == nil",
          "local v, e = json.decode '\"\\xff\"' return v == nil and #e > 0");
}

/* ---- objects --------------------------------------------------------------- */

static void keys_stand_in_the_order_of_their_bytes(void **state) {
    CHECK(ENCODES("{ b = 1, a = 2, ab = 3, [''] = 4, B = 5 }",
                  "{\"\":4,\"B\":5,\"a\":2,\"ab\":3,\"b\":1}"),
          ENCODES("{ z = { y = { x = 1, w = 2 }, a = {} }, b = { 1, 2 } }",
                  "{\"b\":[1,2],\"z\":{\"a\":{},\"y\":{\"w\":2,\"x\":1}}}"),
          "local t = {} for i = 1, 5000 do t['key' .. i] = i end "
          "local back = json.decode(json.encode(t)) "
          "for k, v in pairs(t) do if back[k] ~= v then return k end end return true",
          "return json.decode('{\"a\":1,\"a\":2}').a == 2");
}

/* ---- what the world sends --------------------------------------------------- */

static void bad_text_gives_nil_and_a_position(void **state) {
    CHECK("local v, e = json.decode '{\"a\":}' return v == nil and e:find '^line 1, column 6: ' ~= "
          "nil",
          "local v, e = json.decode '[1,\\n2,]' return v == nil and e:find '^line 2' ~= nil",
          "for _, text in ipairs { '', ' ', '{', '[1', '[1,]', '{\"a\" 1}', '{1:2}', 'nul', '\"a', "
          "\"'a'\", '[1] x', '\\0', '1 2', '\"\\n\"', '{\"a\\\\u0000\":1}', '\"\\\\ud800\"' } do "
          "local v, e = json.decode(text) "
          "if v ~= nil or type(e) ~= 'string' then return text end end return true",
          "return raises(json.decode) ~= false", "return raises(json.decode, {}) ~= false");
}

static void what_is_too_deep_or_too_long_is_refused(void **state) {
    CHECK("local deep = ('['):rep(128) .. (']'):rep(128) "
          "return json.encode(json.decode(deep)) == deep",
          "local v, e = json.decode(('['):rep(129) .. (']'):rep(129)) "
          "return v == nil and e:find 'deep' ~= nil",
          "local v, e = json.decode(('{\"a\":'):rep(129) .. '1' .. ('}'):rep(129)) "
          "return v == nil and e:find 'deep' ~= nil",
          "local v, e = json.decode(('['):rep(100000)) return v == nil",
          "local t = {} t.t = t return raises(encode, t):find 'inside itself' ~= nil",
          "local t = {} t[1] = t return raises(encode, t) ~= false",
          "local v, e = json.decode('\"' .. ('x'):rep(5 << 20) .. '\"') return v == nil",
          "local v, e = json.encode(('x'):rep(5 << 20)) return v == nil and #e > 0",
          /* two to the power of a hundred elements */
          "local t = {} for _ = 1, 100 do t = { t, t } end "
          "local v, e = json.encode(t) return v == nil and e:find '4 MiB' ~= nil");
}

static void a_finalizer_may_use_json_in_the_middle(void **state) {
    CHECK("local big = {} for i = 1, 2000 do big['key' .. i] = { i, tostring(i) } end "
          "local n = 0 "
          "local function litter() setmetatable({}, { __gc = function() "
          "n = n + 1 assert(json.decode(json.encode { a = { n } }).a[1] == n) "
          "big['key' .. n] = nil if n < 1000 then litter() end end }) end "
          "collectgarbage('setpause', 1) collectgarbage('setstepmul', 1000) "
          "for _ = 1, 50 do litter() pcall(json.encode, big) "
          "json.decode(('[\"abc\"'):rep(1) .. (',\"def\"'):rep(5000) .. ']') end "
          "return n > 0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_stay_integers_of_64_bits),
        cmocka_unit_test(floats_stay_floats_at_their_shortest),
        cmocka_unit_test(numbers_without_a_json_form_raise),
        cmocka_unit_test(null_is_a_value_of_its_own),
        cmocka_unit_test(an_empty_array_stays_one),
        cmocka_unit_test(tables_that_are_neither_array_nor_object_raise),
        cmocka_unit_test(strings_keep_every_byte_of_utf8),
        cmocka_unit_test(bytes_that_are_no_text_are_told_not_raised),
        cmocka_unit_test(keys_stand_in_the_order_of_their_bytes),
        cmocka_unit_test(bad_text_gives_nil_and_a_position),
        cmocka_unit_test(what_is_too_deep_or_too_long_is_refused),
        cmocka_unit_test(a_finalizer_may_use_json_in_the_middle),
    };
    return cmocka_run_group_tests(tests, make_state, close_state);
}
