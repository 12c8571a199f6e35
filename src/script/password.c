/* password.c -- one row a form: its name, how to recognise it, how to check it.
 *
 * libsodium does argon2id, SHA-512 and HMAC, libcrypt the rest; what is written here is
 * the frame of mosquitto's two formats and the limits.  Nothing is kept between calls.
 * Not here: files of users (passwd.c, plugins/password_file), threads (lib_password.c). */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/password.h"

#include "base/mem.h"

#include <crypt.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

_Static_assert(PASSWORD_TEXT_MAX >= crypto_pwhash_STRBYTES, "argon2id's text must fit");

#define SALT_MAX 128 /* bytes */

/* A hash taken apart; only what its form uses is set. */
struct parsed {
    char text[PASSWORD_TEXT_MAX]; /* the whole, NUL-terminated */
    uint32_t rounds;
    uint8_t salt[SALT_MAX];
    size_t salt_len;
    uint8_t digest[crypto_hash_sha512_BYTES];
};

/* ---- reading fields ------------------------------------------------------- */

/* What is left of a hash's text; sticky. */
struct reader {
    const char *at;
    bool bad;
};

static void read_literal(struct reader *r, const char *literal) {
    size_t len = strlen(literal);
    if (!r->bad && strncmp(r->at, literal, len) == 0)
        r->at += len;
    else
        r->bad = true;
}

/* A decimal number without sign or leading zero; UINT32_MAX when it is larger. */
static uint32_t read_number(struct reader *r) {
    uint64_t n = 0;
    const char *from = r->at;
    if (r->bad) return 0;
    for (; *r->at >= '0' && *r->at <= '9'; r->at++)
        if (n <= UINT32_MAX) n = n * 10 + (uint64_t)(*r->at - '0');
    if (r->at == from || *from == '0') r->bad = true;
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

/* Base64 up to `end`; gives the number of bytes. */
static size_t read_base64(struct reader *r, char end, int variant, uint8_t *out, size_t cap) {
    if (r->bad) return 0;
    const char *stop = strchr(r->at, end); /* finds the closing NUL as well */
    size_t len = 0;
    if (!stop || sodium_base642bin(out, cap, r->at, (size_t)(stop - r->at), NULL, &len, NULL,
                                   variant) != 0) {
        r->bad = true;
        return 0;
    }
    r->at = stop;
    return len;
}

/* SALT '$' HASH and nothing behind it, as mosquitto writes them. */
static void read_salt_and_digest(struct reader *r, struct parsed *p) {
    const int variant = sodium_base64_VARIANT_ORIGINAL;
    p->salt_len = read_base64(r, '$', variant, p->salt, sizeof p->salt);
    read_literal(r, "$");
    size_t digest_len = read_base64(r, '\0', variant, p->digest, sizeof p->digest);
    if (p->salt_len == 0 || digest_len != sizeof p->digest) r->bad = true;
}

/* ---- $argon2id$ ----------------------------------------------------------- */

/* libsodium reads the text again; this is for the limits and the early word. */
static int argon2_parse(struct parsed *p) {
    const int variant = sodium_base64_VARIANT_ORIGINAL_NO_PADDING;
    struct reader r = { p->text, false };
    uint8_t ignored[PASSWORD_TEXT_MAX];
    read_literal(&r, "$argon2id$v=19$m=");
    uint32_t memory_kib = read_number(&r);
    read_literal(&r, ",t=");
    uint32_t ops = read_number(&r);
    read_literal(&r, ",p=");
    uint32_t lanes = read_number(&r);
    read_literal(&r, "$");
    size_t salt_len = read_base64(&r, '$', variant, ignored, sizeof ignored);
    read_literal(&r, "$");
    size_t digest_len = read_base64(&r, '\0', variant, ignored, sizeof ignored);
    if (r.bad || salt_len < 8 || digest_len < 16) return PASSWORD_MALFORMED;
    if (memory_kib > PASSWORD_MEMORY_MAX / 1024 || ops > PASSWORD_OPS_MAX || lanes > 64)
        return PASSWORD_COSTLY;
    return memory_kib < 8 * lanes ? PASSWORD_MALFORMED : PASSWORD_OK;
}

static int argon2_verify(const struct parsed *p, struct slice password) {
    errno = 0;
    if (crypto_pwhash_str_verify(p->text, (const char *)password.at, password.len) == 0)
        return PASSWORD_OK;
    /* libsodium marks a mismatch with EINVAL; anything else was want of memory */
    return errno == EINVAL ? PASSWORD_WRONG : -ENOMEM;
}

/* ---- mosquitto's and mosquitto-go-auth's PBKDF2-HMAC-SHA512 ----------------- */

static int pbkdf2_parse(struct parsed *p) {
    struct reader r = { p->text, false };
    read_literal(&r, *r.at == '$' ? "$7$" : "PBKDF2$sha512$");
    p->rounds = read_number(&r);
    read_literal(&r, "$");
    read_salt_and_digest(&r, p);
    if (r.bad) return PASSWORD_MALFORMED;
    return p->rounds > PASSWORD_ROUNDS_MAX ? PASSWORD_COSTLY : PASSWORD_OK;
}

static int digest_compare(const struct parsed *p, const uint8_t *digest) {
    return sodium_memcmp(digest, p->digest, sizeof p->digest) == 0 ? PASSWORD_OK : PASSWORD_WRONG;
}

/* One block is the whole digest, so PBKDF2's outer loop runs once. */
static int pbkdf2_verify(const struct parsed *p, struct slice password) {
    static const uint8_t block[4] = { 0, 0, 0, 1 };
    crypto_auth_hmacsha512_state keyed, state;
    uint8_t u[crypto_auth_hmacsha512_BYTES], digest[sizeof u];

    crypto_auth_hmacsha512_init(&keyed, password.at, password.len);
    state = keyed;
    crypto_auth_hmacsha512_update(&state, p->salt, p->salt_len);
    crypto_auth_hmacsha512_update(&state, block, sizeof block);
    crypto_auth_hmacsha512_final(&state, u);
    memcpy(digest, u, sizeof u);
    for (uint32_t i = 1; i < p->rounds; i++) {
        state = keyed;
        crypto_auth_hmacsha512_update(&state, u, sizeof u);
        crypto_auth_hmacsha512_final(&state, u);
        for (size_t k = 0; k < sizeof u; k++) digest[k] ^= u[k];
    }
    int r = digest_compare(p, digest);
    sodium_memzero(&keyed, sizeof keyed);
    sodium_memzero(&state, sizeof state);
    sodium_memzero(u, sizeof u);
    sodium_memzero(digest, sizeof digest);
    return r;
}

/* ---- mosquitto's $6$: SHA-512 of password and salt ------------------------- */

static int sha512_parse(struct parsed *p) {
    struct reader r = { p->text, false };
    read_literal(&r, "$6$");
    read_salt_and_digest(&r, p);
    return r.bad ? PASSWORD_MALFORMED : PASSWORD_OK;
}

static int sha512_verify(const struct parsed *p, struct slice password) {
    crypto_hash_sha512_state state;
    uint8_t digest[crypto_hash_sha512_BYTES];
    crypto_hash_sha512_init(&state);
    crypto_hash_sha512_update(&state, password.at, password.len);
    crypto_hash_sha512_update(&state, p->salt, p->salt_len);
    crypto_hash_sha512_final(&state, digest);
    int r = digest_compare(p, digest);
    sodium_memzero(&state, sizeof state);
    sodium_memzero(digest, sizeof digest);
    return r;
}

/* ---- crypt(3) ------------------------------------------------------------- */

/* Is `text` made of crypt's base64 characters alone, at least `min` of them? */
static bool is_crypt64(const char *text, size_t min) {
    size_t len = strspn(text, "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                              "abcdefghijklmnopqrstuvwxyz");
    return text[len] == '\0' && len >= min;
}

/* The digest at the end of the text must be `len` characters. */
static bool has_digest(const char *text, size_t len) {
    const char *last = strrchr(text, '$');
    return strlen(last + 1) == len && is_crypt64(last + 1, len);
}

/* $5$ and $6$: an optional "rounds=N$", a salt, a digest. */
static int sha_crypt_parse(struct parsed *p) {
    struct reader r = { p->text + 3, false };
    uint32_t rounds = 0;
    if (strncmp(r.at, "rounds=", 7) == 0) {
        r.at += 7;
        rounds = read_number(&r);
        read_literal(&r, "$");
    }
    const char *end = strchr(r.at, '$');
    if (r.bad || !end || end != strrchr(r.at, '$')) return PASSWORD_MALFORMED;
    if (!has_digest(p->text, p->text[1] == '5' ? 43 : 86)) return PASSWORD_MALFORMED;
    return rounds > PASSWORD_ROUNDS_MAX ? PASSWORD_COSTLY : PASSWORD_OK;
}

/* $2b$COST$, then 22 characters of salt and 31 of digest.  2^16 rounds take some 4 s. */
static int bcrypt_parse(struct parsed *p) {
    const char *cost = p->text + 4;
    if (strspn(cost, "0123456789") != 2 || cost[2] != '$' || !has_digest(p->text, 53))
        return PASSWORD_MALFORMED;
    return strncmp(cost, "16", 2) > 0 ? PASSWORD_COSTLY : PASSWORD_OK;
}

/* $y$ and $gy$: flavour, log2 of N and r as one character each ("j9T"), salt, digest.
 * "jFT" is crypt_gensalt's largest: 1 GiB. */
static int yescrypt_parse(struct parsed *p) {
    const char *params = strchr(p->text + 1, '$') + 1, *salt = strchr(params, '$');
    if (!salt || salt == strrchr(p->text, '$') || !has_digest(p->text, 43))
        return PASSWORD_MALFORMED;
    if (salt - params != 3 || params[0] != 'j' || params[1] > 'F' || params[2] > 'T')
        return PASSWORD_COSTLY;
    return PASSWORD_OK;
}

static int crypt_verify(const struct parsed *p, struct slice password) {
    /* crypt would not see what follows a NUL, and refuses longer ones */
    if (password.len > CRYPT_MAX_PASSPHRASE_SIZE - 1) return PASSWORD_WRONG;
    if (password.len && memchr(password.at, '\0', password.len)) return PASSWORD_WRONG;

    char phrase[CRYPT_MAX_PASSPHRASE_SIZE] = "";
    if (password.len) memcpy(phrase, password.at, password.len);
    struct crypt_data *data = xcalloc(1, sizeof *data); /* 32 KiB: too much for a stack */
    errno = 0;
    const char *made = crypt_r(phrase, p->text, data);
    int r = PASSWORD_WRONG;
    if (!made || made[0] == '*')
        r = errno == ENOMEM ? -ENOMEM : PASSWORD_MALFORMED;
    else if (strlen(made) == strlen(p->text) && sodium_memcmp(made, p->text, strlen(made)) == 0)
        r = PASSWORD_OK;
    sodium_memzero(data, sizeof *data);
    sodium_memzero(phrase, sizeof phrase);
    free(data);
    return r;
}

/* ---- the forms ------------------------------------------------------------ */

static const struct form {
    const char *prefix, *kind;
    int (*parse)(struct parsed *p); /* PASSWORD_OK, _MALFORMED or _COSTLY */
    int (*verify)(const struct parsed *p, struct slice password);
} forms[] = {
    /* mosquitto's $6$ stands before crypt's: the next row is tried when one is malformed */
    { "$argon2id$", "argon2id", argon2_parse, argon2_verify },
    { "$7$", "pbkdf2-sha512", pbkdf2_parse, pbkdf2_verify },
    { "PBKDF2$sha512$", "pbkdf2-sha512", pbkdf2_parse, pbkdf2_verify },
    { "$6$", "sha512", sha512_parse, sha512_verify },
    { "$6$", "crypt", sha_crypt_parse, crypt_verify },
    { "$5$", "crypt", sha_crypt_parse, crypt_verify },
    { "$y$", "crypt", yescrypt_parse, crypt_verify },
    { "$gy$", "crypt", yescrypt_parse, crypt_verify },
    { "$2a$", "crypt", bcrypt_parse, crypt_verify },
    { "$2b$", "crypt", bcrypt_parse, crypt_verify },
    { "$2y$", "crypt", bcrypt_parse, crypt_verify },
};

/* Finds the form of `hash` and takes it apart. */
static int parse(struct slice hash, struct parsed *p, const struct form **out) {
    int r = PASSWORD_MALFORMED;
    memset(p, 0, sizeof *p);
    if (hash.len == 0 || hash.len >= sizeof p->text || memchr(hash.at, '\0', hash.len)) return r;
    memcpy(p->text, hash.at, hash.len);
    for (size_t i = 0; i < ARRAY_LEN(forms) && r == PASSWORD_MALFORMED; i++) {
        if (strncmp(p->text, forms[i].prefix, strlen(forms[i].prefix)) != 0) continue;
        r = forms[i].parse(p);
        *out = &forms[i];
    }
    return r;
}

int password_kind(struct slice hash, const char **kind) {
    struct parsed p;
    const struct form *form = NULL;
    int r = parse(hash, &p, &form);
    if (r == PASSWORD_OK) *kind = form->kind;
    return r;
}

int password_verify(struct slice password, struct slice hash) {
    struct parsed p;
    const struct form *form = NULL;
    if (sodium_init() < 0) return -EIO;
    int r = parse(hash, &p, &form);
    if (r != PASSWORD_OK) return r;
    if (!password.at) password = SLICE("");
    return form->verify(&p, password);
}

int password_hash(struct slice password, const struct password_cost *cost,
                  char out[PASSWORD_TEXT_MAX]) {
    if (sodium_init() < 0) return -EIO;
    if (!password.at) password = SLICE("");
    memset(out, 0, PASSWORD_TEXT_MAX);
    /* argon2id by name: what "the default" is changes with the library */
    if (crypto_pwhash_argon2id_str(out, (const char *)password.at, password.len, cost->ops,
                                   (size_t)cost->memory) != 0)
        return -ENOMEM;
    return PASSWORD_OK;
}
