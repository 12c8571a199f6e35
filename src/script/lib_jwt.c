/* lib_jwt.c -- the signatures under sol.jwt; everything else about tokens is jwt.lua's.
 *
 * RSA, ECDSA and HMAC with SHA-384 by libjwt, Ed25519 by libsodium.  libjwt reads the
 * token's own header: what it took the algorithm to be must be what the caller pinned. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib_jwt.h"

#include "base/mem.h"
#include "script/lib.h"
#include "script/vm.h"

#include <jwt.h>
#include <limits.h>
#include <sodium.h>

#define TOKEN_MAX 65536 /* bytes */
#define KEY_MAX   65536

static const struct {
    const char *name;
    jwt_alg_t alg;
} algorithms[] = {
    { "HS384", JWT_ALG_HS384 }, { "RS256", JWT_ALG_RS256 }, { "RS384", JWT_ALG_RS384 },
    { "RS512", JWT_ALG_RS512 }, { "ES256", JWT_ALG_ES256 }, { "ES384", JWT_ALG_ES384 },
    { "ES512", JWT_ALG_ES512 },
};

static jwt_alg_t check_algorithm(lua_State *L, int arg) {
    struct slice name = vm_check_slice(L, arg);
    for (unsigned i = 0; i < ARRAY_LEN(algorithms); i++)
        if (slice_eq(name, slice_str(algorithms[i].name))) return algorithms[i].alg;
    luaL_argerror(L, arg, "not an algorithm of libjwt");
    return JWT_ALG_NONE;
}

static struct slice check_text(lua_State *L, int arg, size_t max) {
    struct slice s = vm_check_slice(L, arg);
    luaL_argcheck(L, s.len <= max, arg, "too long");
    return s;
}

/* jwt_verify(algorithm, key, token): does the signature fit? */
static int l_jwt_verify(lua_State *L) {
    jwt_alg_t alg = check_algorithm(L, 1);
    struct slice key = check_text(L, 2, KEY_MAX), token = check_text(L, 3, TOKEN_MAX);
    jwt_t *jwt = NULL;
    int r = jwt_decode(&jwt, (const char *)token.at, key.at, (int)key.len);
    bool fits = r == 0 && jwt && jwt_get_alg(jwt) == alg;
    jwt_free(jwt);
    lua_pushboolean(L, fits); /* ..., fits */
    return 1;
}

/* Encodes and signs; NULL, or a token: free() it. */
static char *encode(jwt_alg_t alg, struct slice key, const char *claims, const char *kid) {
    jwt_t *jwt = NULL;
    char *token = NULL;
    if (jwt_new(&jwt) != 0) return NULL;
    if (jwt_add_grants_json(jwt, claims) == 0 && jwt_set_alg(jwt, alg, key.at, (int)key.len) == 0 &&
        (!kid || jwt_add_header(jwt, "kid", kid) == 0))
        token = jwt_encode_str(jwt);
    jwt_free(jwt);
    return token;
}

/* jwt_sign(algorithm, key, claims as JSON, kid or nil): the token, or nil. */
static int l_jwt_sign(lua_State *L) {
    struct vm *vm = vm_of(L);
    jwt_alg_t alg = check_algorithm(L, 1);
    struct slice key = check_text(L, 2, KEY_MAX), claims = check_text(L, 3, TOKEN_MAX);
    const char *kid = luaL_optstring(L, 4, NULL);
    char *token = encode(alg, key, (const char *)claims.at, kid);
    bool was = vm_uncap(vm);  /* nothing may raise while we hold it */
    lua_pushstring(L, token); /* ..., token or nil */
    vm->is_capped = was;
    free(token);
    return 1;
}

/* ed25519_verify(public key, signature, data) */
static int l_ed25519_verify(lua_State *L) {
    struct slice key = vm_check_slice(L, 1), sig = vm_check_slice(L, 2);
    struct slice data = check_text(L, 3, TOKEN_MAX);
    bool fits = key.len == crypto_sign_PUBLICKEYBYTES && sig.len == crypto_sign_BYTES &&
                crypto_sign_verify_detached(sig.at, data.at, data.len, key.at) == 0;
    lua_pushboolean(L, fits); /* ..., fits */
    return 1;
}

/* ed25519_sign(seed, data): the signature. */
static int l_ed25519_sign(lua_State *L) {
    struct slice seed = vm_check_slice(L, 1), data = check_text(L, 2, TOKEN_MAX);
    uint8_t public[crypto_sign_PUBLICKEYBYTES], secret[crypto_sign_SECRETKEYBYTES];
    uint8_t sig[crypto_sign_BYTES];
    luaL_argcheck(L, seed.len == crypto_sign_SEEDBYTES, 1, "expected 32 bytes");
    crypto_sign_seed_keypair(public, secret, seed.at);
    crypto_sign_detached(sig, NULL, data.at, data.len, secret);
    sodium_memzero(secret, sizeof secret);
    lua_pushlstring(L, (const char *)sig, sizeof sig); /* ..., signature */
    return 1;
}

static const luaL_Reg functions[] = {
    { "jwt_verify", l_jwt_verify },
    { "jwt_sign", l_jwt_sign },
    { "ed25519_verify", l_ed25519_verify },
    { "ed25519_sign", l_ed25519_sign },
    { NULL, NULL },
};

void lib_jwt_add(lua_State *L) {
    luaL_setfuncs(L, functions, 0); /* native */
}
