/* lib_encode.c -- sol.base64 and sol.hex: bytes as text and back.
 *
 * Decoding is strict: what no encoder writes is refused, so a text has one meaning.  The
 * one liberty is padding, which base64 may leave out. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "script/vm.h"

#include <sodium.h>

#define INPUT_MAX (16u << 20) /* bytes taken at once: no hook reaches into C */

static struct slice check_input(lua_State *L) {
    struct slice s = vm_check_slice(L, 1);
    luaL_argcheck(L, s.len <= INPUT_MAX, 1, "longer than 16 MiB");
    return s;
}

/* ---- base64 ---------------------------------------------------------------------- */

static int encode64(lua_State *L, int variant) {
    struct slice s = check_input(L);
    size_t len = sodium_base64_encoded_len(s.len, variant); /* its NUL included */
    luaL_Buffer out;
    char *at = luaL_buffinitsize(L, &out, len); /* data, buffer */
    sodium_bin2base64(at, len, s.at, s.len, variant);
    luaL_pushresultsize(&out, len - 1); /* data, text */
    return 1;
}

/* `padded` and `bare` are the same variant with padding and without. */
static int decode64(lua_State *L, int padded, int bare) {
    struct slice s = check_input(L);
    bool has_padding = s.len > 0 && s.at[s.len - 1] == '=';
    size_t len = 0;
    luaL_Buffer out;
    uint8_t *at = (uint8_t *)luaL_buffinitsize(L, &out, s.len + 1); /* text, buffer */
    const char *end = NULL;
    int r = sodium_base642bin(at, s.len + 1, (const char *)s.at, s.len, NULL, &len, &end,
                              has_padding ? padded : bare);
    if (r != 0 || end != (const char *)s.at + s.len) {
        luaL_pushresultsize(&out, 0); /* text, "" */
        return vm_fail(L, "not base64 at byte %d", (int)(end - (const char *)s.at) + 1);
    }
    luaL_pushresultsize(&out, len); /* text, data */
    return 1;
}

static int l_encode64(lua_State *L) {
    return encode64(L, sodium_base64_VARIANT_ORIGINAL);
}

static int l_decode64(lua_State *L) {
    return decode64(L, sodium_base64_VARIANT_ORIGINAL, sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
}

static int l_encode64url(lua_State *L) {
    return encode64(L, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

static int l_decode64url(lua_State *L) {
    return decode64(L, sodium_base64_VARIANT_URLSAFE, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

static const luaL_Reg base64_functions[] = {
    { "encode", l_encode64 },        { "decode", l_decode64 }, { "encode_url", l_encode64url },
    { "decode_url", l_decode64url }, { NULL, NULL },
};

int luaopen_sol_base64(lua_State *L) {
    luaL_newlib(L, base64_functions); /* base64 */
    return 1;
}

/* ---- hex --------------------------------------------------------------------------- */

static int l_hex_encode(lua_State *L) {
    struct slice s = check_input(L);
    luaL_Buffer out;
    char *at = luaL_buffinitsize(L, &out, s.len * 2 + 1); /* data, buffer */
    sodium_bin2hex(at, s.len * 2 + 1, s.at, s.len);
    luaL_pushresultsize(&out, s.len * 2); /* data, text */
    return 1;
}

static int l_hex_decode(lua_State *L) {
    struct slice s = check_input(L);
    size_t len = 0;
    luaL_Buffer out;
    const char *end = NULL;
    uint8_t *at = (uint8_t *)luaL_buffinitsize(L, &out, s.len / 2 + 1); /* text, buffer */
    int r = sodium_hex2bin(at, s.len / 2 + 1, (const char *)s.at, s.len, NULL, &len, &end);
    if (r != 0 || end != (const char *)s.at + s.len) {
        luaL_pushresultsize(&out, 0); /* text, "" */
        return vm_fail(L, "not hexadecimal digits in pairs");
    }
    luaL_pushresultsize(&out, len); /* text, data */
    return 1;
}

static const luaL_Reg hex_functions[] = {
    { "encode", l_hex_encode },
    { "decode", l_hex_decode },
    { NULL, NULL },
};

int luaopen_sol_hex(lua_State *L) {
    luaL_newlib(L, hex_functions); /* hex */
    return 1;
}
