/* phrase.c -- a line of words, and as many bytes as its last one says. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/phrase.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* Takes the word at the front; false when there is none. */
static bool take_first(struct slice *line, struct slice *word) {
    const uint8_t *blank = memchr(line->at, ' ', line->len);
    *word = slice_of(line->at, blank ? (size_t)(blank - line->at) : line->len);
    size_t used = word->len + (blank != NULL);
    *line = slice_of(line->at + used, line->len - used);
    return word->len > 0;
}

/* Takes the word at the back. */
static bool take_last(struct slice *line, struct slice *word) {
    size_t start = line->len;
    while (start > 0 && line->at[start - 1] != ' ') start--;
    *word = slice_of(line->at + start, line->len - start);
    *line = slice_of(line->at, start ? start - 1 : 0);
    return word->len > 0;
}

static bool read_number(struct slice word, uint64_t most, uint64_t *out) {
    *out = 0;
    if (word.len > 10) return false;
    for (size_t i = 0; i < word.len; i++) {
        if (word.at[i] < '0' || word.at[i] > '9') return false;
        *out = *out * 10 + (uint64_t)(word.at[i] - '0');
    }
    return *out <= most;
}

static bool is_text(struct slice line) {
    for (size_t i = 0; i < line.len; i++)
        if (line.at[i] < ' ' || line.at[i] == 0x7f) return false;
    return true;
}

/* The head, without its '\n'; gives the length of the body. */
static bool read_head(struct slice line, struct phrase *out, uint64_t *body_len) {
    struct slice id, len;
    uint64_t number;
    if (!is_text(line) || !take_first(&line, &id) || !take_last(&line, &len)) return false;
    if (!read_number(id, UINT32_MAX, &number)) return false;
    if (!read_number(len, PHRASE_BODY_MAX, body_len)) return false;
    out->id = (uint32_t)number;
    out->words = line;
    return take_first(&out->words, &out->verb);
}

int phrase_read(struct slice in, struct phrase *out, size_t *used) {
    size_t look = in.len < PHRASE_HEAD_MAX ? in.len : PHRASE_HEAD_MAX;
    const uint8_t *end = look ? memchr(in.at, '\n', look) : NULL;
    uint64_t body_len;
    if (!end) return look < PHRASE_HEAD_MAX ? PHRASE_PART : -EPROTO;
    size_t head = (size_t)(end - in.at);
    if (!read_head(slice_of(in.at, head), out, &body_len)) return -EPROTO;
    head++;
    if (in.len - head < body_len) return PHRASE_PART;
    out->body = slice_of(in.at + head, (size_t)body_len);
    *used = head + (size_t)body_len;
    return PHRASE_WHOLE;
}

size_t phrase_head(char head[PHRASE_HEAD_MAX], uint32_t id, const char *verb, const char *words,
                   size_t len) {
    bool has_words = words && *words;
    int n = snprintf(head, PHRASE_HEAD_MAX, "%" PRIu32 " %s%s%s %zu\n", id, verb,
                     has_words ? " " : "", has_words ? words : "", len);
    return n > 0 && n < PHRASE_HEAD_MAX ? (size_t)n : 0;
}

struct slice phrase_word(struct slice words, struct slice name) {
    struct slice word;
    while (words.len && take_first(&words, &word)) {
        if (word.len <= name.len || word.at[name.len] != '=' || !slice_starts(word, name)) continue;
        return slice_of(word.at + name.len + 1, word.len - name.len - 1);
    }
    return SLICE_NONE;
}
