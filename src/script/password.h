/* password.h -- password hashes: made as argon2id, checked in the forms people have.
 *
 * Pure functions, any thread; each costs between microseconds and a second of CPU, so a
 * worker leaves them to a helper (lib_password.c). A hash names its own cost; one that
 * asks for more than PASSWORD_MEMORY_MAX and the like is refused before any work. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_PASSWORD_H
#define SOL_SCRIPT_PASSWORD_H

#include "base/slice.h"

#define PASSWORD_TEXT_MAX   512 /* bytes of a hash's text, NUL included */
#define PASSWORD_OPS_MAX    64
#define PASSWORD_MEMORY_MAX (UINT64_C(1) << 30) /* bytes */
#define PASSWORD_MEMORY_MIN (UINT64_C(8) << 10) /* bytes */
#define PASSWORD_ROUNDS_MAX 10000000            /* PBKDF2 and crypt */

/* What argon2id may spend on one password. */
struct password_cost {
    uint64_t ops;    /* passes over the memory, 1..PASSWORD_OPS_MAX */
    uint64_t memory; /* bytes, PASSWORD_MEMORY_MIN..PASSWORD_MEMORY_MAX */
};

/* libsodium's advice for logins: some 50 ms and 64 MiB. */
#define PASSWORD_COST_DEFAULT ((struct password_cost){ 2, UINT64_C(64) << 20 })

/* Positive outcomes; negative ones are -ENOMEM, or -EIO when no random bytes came. */
enum {
    PASSWORD_OK = 0,
    PASSWORD_WRONG = 1,     /* a good hash, of another password */
    PASSWORD_MALFORMED = 2, /* not a hash of any form we know */
    PASSWORD_COSTLY = 3     /* asks for more time or memory than we give */
};

/* Writes "$argon2id$..." to `out`.  `cost` must be in range. PASSWORD_OK or negative. */
int password_hash(struct slice password, const struct password_cost *cost,
                  char out[PASSWORD_TEXT_MAX]);

/* Compares in constant time.  `hash` may be
 *   $argon2id$v=19$m=,t=,p=$SALT$HASH  this program's, mosquitto 2.1's, PHC's
 *   $7$ROUNDS$SALT$HASH                mosquitto's PBKDF2-HMAC-SHA512
 *   PBKDF2$sha512$ROUNDS$SALT$HASH     mosquitto-go-auth's, of 64 bytes
 *   $6$SALT$HASH                       mosquitto's SHA-512 (base64, one round)
 *   $6$ $5$ $y$ $gy$ $2b$ $2a$ $2y$    crypt(3)
 * A password with a NUL inside never matches a crypt(3) hash, which would not see the
 * rest. */
int password_verify(struct slice password, struct slice hash);

/* The form of a hash without checking a password, at no cost: PASSWORD_OK and a static
 * word in *kind ("argon2id", "pbkdf2-sha512", "sha512", "crypt"), or PASSWORD_MALFORMED
 * or PASSWORD_COSTLY. */
int password_kind(struct slice hash, const char **kind);

#endif
