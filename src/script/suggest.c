/* suggest.c -- edit distance, with a swap of two neighbours as one edit. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/suggest.h"

#include <ctype.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static unsigned min3(unsigned a, unsigned b, unsigned c) {
    unsigned m = a < b ? a : b;
    return m < c ? m : c;
}

static bool same(char a, char b) {
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Both shorter than SUGGEST_MAX. */
static unsigned distance(const char *a, const char *b) {
    unsigned rows[3][SUGGEST_MAX], *before = rows[0], *above = rows[1], *row = rows[2];
    size_t a_len = strlen(a), b_len = strlen(b);
    for (size_t j = 0; j <= b_len; j++) above[j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned replace = above[j - 1] + !same(a[i - 1], b[j - 1]);
            row[j] = min3(above[j] + 1, row[j - 1] + 1, replace);
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]) &&
                before[j - 2] + 1 < row[j])
                row[j] = before[j - 2] + 1;
        }
        unsigned *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[b_len];
}

void suggest_init(struct suggest *s, const char *word) {
    s->word = word;
    s->distance = UINT_MAX;
    s->best[0] = '\0';
}

void suggest_offer(struct suggest *s, const char *name) {
    size_t len = strlen(s->word);
    if (len >= SUGGEST_MAX || strlen(name) >= SUGGEST_MAX) return;
    bool is_start = len >= 3 && strncmp(s->word, name, len) == 0;
    unsigned d = is_start ? 1 : distance(s->word, name);
    unsigned near = len < 4 ? 1 : len < 8 ? 2 : (unsigned)len / 3;
    if (d > near || d >= s->distance) return;
    s->distance = d;
    strcpy(s->best, name);
}

const char *suggest_text(const struct suggest *s, char buf[SUGGEST_MAX + 24]) {
    if (s->distance == UINT_MAX) return "";
    snprintf(buf, SUGGEST_MAX + 24, "; did you mean \"%s\"?", s->best);
    return buf;
}
