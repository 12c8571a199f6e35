/* lib_crypto.c -- sol.sha256, sha512, hmac, random, equal.
 *
 * libsodium does the work.  Long data is taken in pieces, with a look at the clock between
 * them: no hook reaches into C. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "base/mem.h"
#include "script/vm.h"

#include <sodium.h>
#include <string.h>

#define PIECE      65536 /* bytes between two looks at the clock */
#define RANDOM_MAX 65536 /* bytes asked for at once */

/* ---- digests ----------------------------------------------------------------------- */

union state {
    crypto_hash_sha256_state sha256;
    crypto_hash_sha512_state sha512;
    crypto_auth_hmacsha256_state hmac256;
    crypto_auth_hmacsha512_state hmac512;
};

/* One way to turn bytes into a digest; `key` is empty where none is used. */
struct digest {
    const char *name; /* in sol.hmac */
    size_t len;       /* bytes of the digest */
    void (*init)(union state *s, struct slice key);
    void (*update)(union state *s, const uint8_t *at, size_t len);
    void (*final)(union state *s, uint8_t *out);
};

static void sha256_init(union state *s, struct slice key) {
    (void)key;
    crypto_hash_sha256_init(&s->sha256);
}
static void sha256_update(union state *s, const uint8_t *at, size_t len) {
    crypto_hash_sha256_update(&s->sha256, at, len);
}
static void sha256_final(union state *s, uint8_t *out) {
    crypto_hash_sha256_final(&s->sha256, out);
}
static void sha512_init(union state *s, struct slice key) {
    (void)key;
    crypto_hash_sha512_init(&s->sha512);
}
static void sha512_update(union state *s, const uint8_t *at, size_t len) {
    crypto_hash_sha512_update(&s->sha512, at, len);
}
static void sha512_final(union state *s, uint8_t *out) {
    crypto_hash_sha512_final(&s->sha512, out);
}
static void hmac256_init(union state *s, struct slice key) {
    crypto_auth_hmacsha256_init(&s->hmac256, key.at, key.len);
}
static void hmac256_update(union state *s, const uint8_t *at, size_t len) {
    crypto_auth_hmacsha256_update(&s->hmac256, at, len);
}
static void hmac256_final(union state *s, uint8_t *out) {
    crypto_auth_hmacsha256_final(&s->hmac256, out);
}
static void hmac512_init(union state *s, struct slice key) {
    crypto_auth_hmacsha512_init(&s->hmac512, key.at, key.len);
}
static void hmac512_update(union state *s, const uint8_t *at, size_t len) {
    crypto_auth_hmacsha512_update(&s->hmac512, at, len);
}
static void hmac512_final(union state *s, uint8_t *out) {
    crypto_auth_hmacsha512_final(&s->hmac512, out);
}

static const struct digest sha256 = { "sha256", 32, sha256_init, sha256_update, sha256_final };
static const struct digest sha512 = { "sha512", 64, sha512_init, sha512_update, sha512_final };
static const struct digest hmacs[] = {
    { "sha256", 32, hmac256_init, hmac256_update, hmac256_final },
    { "sha512", 64, hmac512_init, hmac512_update, hmac512_final },
};

/* Pushes the digest of `data`. [-0, +1, e] */
static int push_digest(lua_State *L, const struct digest *d, struct slice key, struct slice data) {
    union state s;
    uint8_t out[64];
    d->init(&s, key);
    for (size_t at = 0; at < data.len; at += PIECE) {
        d->update(&s, data.at + at, data.len - at < PIECE ? data.len - at : PIECE);
        vm_check_budget(L);
    }
    d->final(&s, out);
    sodium_memzero(&s, sizeof s);
    lua_pushlstring(L, (const char *)out, d->len); /* ..., digest */
    return 1;
}

static int l_sha256(lua_State *L) {
    return push_digest(L, &sha256, SLICE(""), vm_check_slice(L, 1));
}

static int l_sha512(lua_State *L) {
    return push_digest(L, &sha512, SLICE(""), vm_check_slice(L, 1));
}

static int l_hmac(lua_State *L) {
    struct slice name = vm_check_slice(L, 1), key = vm_check_slice(L, 2);
    struct slice data = vm_check_slice(L, 3);
    luaL_argcheck(L, key.len <= PIECE, 2, "longer than 65536 bytes");
    for (unsigned i = 0; i < ARRAY_LEN(hmacs); i++)
        if (slice_eq(name, slice_str(hmacs[i].name))) return push_digest(L, &hmacs[i], key, data);
    return luaL_argerror(L, 1, "expected \"sha256\" or \"sha512\"");
}

/* ---- the rest ------------------------------------------------------------------------- */

static int l_random(lua_State *L) {
    lua_Integer n = luaL_checkinteger(L, 1);
    luaL_Buffer out;
    luaL_argcheck(L, n >= 0 && n <= RANDOM_MAX, 1, "expected 0 to 65536 bytes");
    char *at = luaL_buffinitsize(L, &out, (size_t)n); /* n, buffer */
    randombytes_buf(at, (size_t)n);
    luaL_pushresultsize(&out, (size_t)n); /* n, bytes */
    return 1;
}

/* In a time that depends on the lengths alone. */
static int l_equal(lua_State *L) {
    struct slice a = vm_check_slice(L, 1), b = vm_check_slice(L, 2);
    bool same = a.len == b.len && sodium_memcmp(a.at, b.at, a.len) == 0;
    lua_pushboolean(L, same); /* a, b, same */
    return 1;
}

static const luaL_Reg functions[] = {
    { "sha256", l_sha256 }, { "sha512", l_sha512 }, { "hmac", l_hmac },
    { "random", l_random }, { "equal", l_equal },   { NULL, NULL },
};

int luaopen_sol_crypto(lua_State *L) {
    if (sodium_init() < 0) return luaL_error(L, "libsodium does not work here");
    luaL_newlib(L, functions); /* functions */
    return 1;
}
