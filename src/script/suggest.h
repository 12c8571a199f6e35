/* suggest.h -- "did you mean ...?": the nearest of some known names.  Any thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_SUGGEST_H
#define SOL_SCRIPT_SUGGEST_H

#define SUGGEST_MAX 64 /* bytes of a name that is considered */

struct suggest {
    const char *word;  /* lent: what was written */
    unsigned distance; /* edits to the best so far; UINT_MAX: none is near */
    char best[SUGGEST_MAX];
};

/* Nothing is near `word` (lent) yet. */
void suggest_init(struct suggest *s, const char *word);
/* Considers one known name. */
void suggest_offer(struct suggest *s, const char *name);
/* Lends "; did you mean \"NAME\"?" from `buf`, or "" when nothing is near. */
const char *suggest_text(const struct suggest *s, char buf[SUGGEST_MAX + 24]);

#endif
