/* pattern.c -- a backtracking matcher for Lua patterns.
 *
 * One function per construct; each takes the place in the subject and in the pattern and
 * gives the end of the match or NULL, having put back the captures it changed.  What
 * follows a construct is matched by recursion (bounded by DEPTH) or, for the last thing
 * to do, by going round in matcher_run. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/pattern.h"

#include "script/vm.h"

#include <ctype.h>

#define ESCAPE     '%'
#define DEPTH      200
#define CLOCK_STEP 4096

/* ---- single characters --------------------------------------------------------- */

/* The end of the single-character item at `p`: a character, class or set. [-0, +0, e] */
static const char *item_end(struct matcher *m, const char *p) {
    char first = *p++;
    if (first == ESCAPE) {
        if (p == m->pat_end) luaL_error(m->L, "malformed pattern (ends with '%%')");
        return p + 1;
    }
    if (first != '[') return p;
    if (p < m->pat_end && *p == '^') p++;
    do { /* a ']' in first place is an ordinary one */
        if (p == m->pat_end) luaL_error(m->L, "malformed pattern (missing ']')");
        if (*p++ == ESCAPE) {
            if (p == m->pat_end) luaL_error(m->L, "malformed pattern (missing ']')");
            p++;
        }
    } while (p == m->pat_end || *p != ']');
    return p + 1;
}

static bool in_class(int c, int class) {
    bool in;
    switch (tolower(class)) {
    case 'a': in = isalpha(c); break;
    case 'c': in = iscntrl(c); break;
    case 'd': in = isdigit(c); break;
    case 'g': in = isgraph(c); break;
    case 'l': in = islower(c); break;
    case 'p': in = ispunct(c); break;
    case 's': in = isspace(c); break;
    case 'u': in = isupper(c); break;
    case 'w': in = isalnum(c); break;
    case 'x': in = isxdigit(c); break;
    case 'z': in = c == 0; break; /* of old, and still there */
    default: return class == c;
    }
    return isupper(class) ? !in : in;
}

/* Is `c` in the set from '[' at `p` to ']' at `end`? */
static bool in_set(int c, const char *p, const char *end) {
    bool sense = true;
    if (p[1] == '^') {
        sense = false;
        p++;
    }
    while (++p < end) {
        if (*p == ESCAPE) {
            p++;
            if (in_class(c, (unsigned char)*p)) return sense;
        } else if (p[1] == '-' && p + 2 < end) {
            if ((unsigned char)p[0] <= c && c <= (unsigned char)p[2]) return sense;
            p += 2;
        } else if ((unsigned char)*p == c) {
            return sense;
        }
    }
    return !sense;
}

/* Raises when the budget is used up. */
static void look_at_clock(struct matcher *m) {
    m->countdown = CLOCK_STEP;
    vm_check_budget(m->L);
}

/* Does the item [p, end) match the character at `s`? */
static bool matches_one(struct matcher *m, const char *s, const char *p, const char *end) {
    if (--m->countdown == 0) look_at_clock(m);
    if (s >= m->src_end) return false;
    int c = (unsigned char)*s;
    switch (*p) {
    case '.': return true;
    case ESCAPE: return in_class(c, (unsigned char)p[1]);
    case '[': return in_set(c, p, end - 1);
    default: return (unsigned char)*p == c;
    }
}

/* ---- repetition ------------------------------------------------------------------ */

/* As many as possible, then fewer. */
static const char *match_most(struct matcher *m, const char *s, const char *p, const char *end) {
    ptrdiff_t n = 0;
    while (matches_one(m, s + n, p, end)) n++;
    for (; n >= 0; n--) {
        const char *r = matcher_run(m, s + n, end + 1);
        if (r) return r;
    }
    return NULL;
}

/* As few as possible, then more. */
static const char *match_least(struct matcher *m, const char *s, const char *p, const char *end) {
    for (;; s++) {
        const char *r = matcher_run(m, s, end + 1);
        if (r) return r;
        if (!matches_one(m, s, p, end)) return NULL;
    }
}

/* ---- captures --------------------------------------------------------------------- */

static const char *open_capture(struct matcher *m, const char *s, const char *p, ptrdiff_t len) {
    if (m->captures_len >= PATTERN_CAPTURES) luaL_error(m->L, "too many captures");
    m->captures[m->captures_len++] = (struct capture){ s, len };
    const char *r = matcher_run(m, s, p);
    if (!r) m->captures_len--;
    return r;
}

static const char *close_capture(struct matcher *m, const char *s, const char *p) {
    int i = m->captures_len - 1;
    while (i >= 0 && m->captures[i].len != CAPTURE_OPEN) i--;
    if (i < 0) luaL_error(m->L, "invalid pattern capture");
    m->captures[i].len = s - m->captures[i].at;
    const char *r = matcher_run(m, s, p);
    if (!r) m->captures[i].len = CAPTURE_OPEN;
    return r;
}

/* The end of what capture `digit` held, found again at `s`; or NULL. */
static const char *match_back(struct matcher *m, const char *s, int digit) {
    int i = digit - '1';
    if (i < 0 || i >= m->captures_len || m->captures[i].len == CAPTURE_OPEN)
        luaL_error(m->L, "invalid capture index %%%d", i + 1);
    ptrdiff_t len = m->captures[i].len;
    if (len < 0) return NULL; /* a position is found nowhere */
    if (m->countdown <= (size_t)len / 16 + 1)
        look_at_clock(m);
    else
        m->countdown -= (unsigned)(len / 16 + 1);
    bool same = m->src_end - s >= len && memcmp(m->captures[i].at, s, (size_t)len) == 0;
    return same ? s + len : NULL;
}

/* ---- %b and %f --------------------------------------------------------------------- */

/* The end of the balanced run at `s`, `p` pointing at its two delimiters. */
static const char *match_balance(struct matcher *m, const char *s, const char *p) {
    if (m->pat_end - p < 2) luaL_error(m->L, "malformed pattern (missing arguments to '%%b')");
    if (s >= m->src_end || *s != p[0]) return NULL;
    for (ptrdiff_t depth = 1; ++s < m->src_end;) {
        if (--m->countdown == 0) look_at_clock(m);
        if (*s == p[1]) {
            if (--depth == 0) return s + 1;
        } else if (*s == p[0]) {
            depth++;
        }
    }
    return NULL;
}

/* The pattern behind the frontier set at `p` when `s` is at such a frontier, or NULL. */
static const char *match_frontier(struct matcher *m, const char *s, const char *p) {
    if (p == m->pat_end || *p != '[') luaL_error(m->L, "missing '[' after '%%f' in pattern");
    const char *end = item_end(m, p);
    int before = s == m->src ? 0 : (unsigned char)s[-1];
    int here = s < m->src_end ? (unsigned char)*s : 0;
    return !in_set(before, p, end - 1) && in_set(here, p, end - 1) ? end : NULL;
}

/* ---- the whole ---------------------------------------------------------------------- */

/* What is left to do after one construct: *s and *p have moved on; or all is said. */
enum step { GO_ON, MATCHED, FAILED };

/* A single-character item with its quantifier. */
static enum step match_item(struct matcher *m, const char **s, const char **p,
                            const char **result) {
    const char *end = item_end(m, *p), *at = *p;
    char quantifier = end < m->pat_end ? *end : '\0';
    switch (quantifier) {
    case '*': *result = match_most(m, *s, at, end); return MATCHED;
    case '-': *result = match_least(m, *s, at, end); return MATCHED;
    case '+':
        *result = matches_one(m, *s, at, end) ? match_most(m, *s + 1, at, end) : NULL;
        return MATCHED;
    case '?':
        *p = end + 1;
        if (!matches_one(m, *s, at, end)) return GO_ON;
        *result = matcher_run(m, *s + 1, end + 1);
        return *result ? MATCHED : GO_ON;
    default: *p = end; return matches_one(m, (*s)++, at, end) ? GO_ON : FAILED;
    }
}

/* '%' with a letter that is no class: %b, %f, %1. */
static enum step match_special(struct matcher *m, const char **s, const char **p,
                               const char **result) {
    char letter = *p + 1 < m->pat_end ? (*p)[1] : '\0';
    if (letter == 'f') {
        *p = match_frontier(m, *s, *p + 2);
        return *p ? GO_ON : FAILED;
    }
    if (letter == 'b')
        *s = match_balance(m, *s, *p + 2);
    else if (isdigit((unsigned char)letter))
        *s = match_back(m, *s, letter);
    else
        return match_item(m, s, p, result);
    *p += letter == 'b' ? 4 : 2;
    return *s ? GO_ON : FAILED;
}

static enum step match_construct(struct matcher *m, const char **s, const char **p,
                                 const char **result) {
    switch (**p) {
    case '(':
        *result = *p + 1 < m->pat_end && (*p)[1] == ')'
                      ? open_capture(m, *s, *p + 2, CAPTURE_POSITION)
                      : open_capture(m, *s, *p + 1, CAPTURE_OPEN);
        return MATCHED;
    case ')': *result = close_capture(m, *s, *p + 1); return MATCHED;
    case '$':
        if (*p + 1 != m->pat_end) return match_item(m, s, p, result);
        *result = *s == m->src_end ? *s : NULL;
        return MATCHED;
    case ESCAPE: return match_special(m, s, p, result);
    default: return match_item(m, s, p, result);
    }
}

const char *matcher_run(struct matcher *m, const char *s, const char *p) {
    const char *result = NULL;
    enum step step = GO_ON;
    if (m->depth-- == 0) luaL_error(m->L, "pattern too complex");
    while (step == GO_ON && p < m->pat_end) step = match_construct(m, &s, &p, &result);
    m->depth++;
    return step == GO_ON ? s : step == MATCHED ? result : NULL;
}

void matcher_init(struct matcher *m, lua_State *L, struct slice src, struct slice pat) {
    m->L = L;
    m->src = (const char *)src.at;
    m->src_end = m->src + src.len;
    m->pat_end = (const char *)pat.at + pat.len;
    m->depth = DEPTH;
    m->countdown = CLOCK_STEP;
    m->captures_len = 0;
}

void matcher_push(struct matcher *m, int i, const char *s, const char *e) {
    if (i >= m->captures_len) {
        if (i != 0) luaL_error(m->L, "invalid capture index %%%d", i + 1);
        lua_pushlstring(m->L, s, (size_t)(e - s)); /* ..., match */
        return;
    }
    struct capture *c = &m->captures[i];
    if (c->len == CAPTURE_OPEN) luaL_error(m->L, "unfinished capture");
    if (c->len == CAPTURE_POSITION)
        lua_pushinteger(m->L, c->at - m->src + 1);
    else
        lua_pushlstring(m->L, c->at, (size_t)c->len); /* ..., capture */
}

int matcher_push_all(struct matcher *m, const char *s, const char *e) {
    int n = m->captures_len == 0 && s ? 1 : m->captures_len;
    luaL_checkstack(m->L, n, "too many captures");
    for (int i = 0; i < n; i++) matcher_push(m, i, s, e);
    return n;
}
