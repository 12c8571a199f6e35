/* pattern.h -- Lua's patterns, matched under the VM's budget.
 *
 * The matcher of Lua's own string library may backtrack for hours inside C, where no hook
 * reaches.  This one means the same and looks at the clock now and then.  Malformed
 * patterns raise Lua's errors. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_PATTERN_H
#define SOL_SCRIPT_PATTERN_H

#include "base/slice.h"

#include <lua.h>

#define PATTERN_CAPTURES 32

struct capture {
    const char *at;
    ptrdiff_t len; /* bytes, or one of: */
};
#define CAPTURE_OPEN     (-1) /* its ')' has not come yet */
#define CAPTURE_POSITION (-2) /* "()" */

struct matcher {
    lua_State *L;
    const char *src, *src_end, *pat_end; /* lent */
    unsigned depth;                      /* recursions left */
    unsigned countdown;                  /* steps until the next look at the clock */
    int captures_len;
    struct capture captures[PATTERN_CAPTURES];
};

/* Lends `src` and `pat` until the last call; raises on `L` what the others raise. */
void matcher_init(struct matcher *m, lua_State *L, struct slice src, struct slice pat);
/* Matches the pattern from `p` on at `s`: the end of the match, or NULL. [-0, +0, e] */
const char *matcher_run(struct matcher *m, const char *s, const char *p);
/* Pushes capture `i`, the whole match [s, e) when i == 0 and there is none. [-0, +1, e] */
void matcher_push(struct matcher *m, int i, const char *s, const char *e);
/* Pushes all captures, or the whole match when there are none (and s is not NULL); gives
 * their number. [-0, +n, e] */
int matcher_push_all(struct matcher *m, const char *s, const char *e);

#endif
