/* utf8.c -- is this text?
 *
 * ASCII is taken eight bytes at a time: with L holding 0x01 and H 0x80 in every byte, a
 * word of bytes below 0x80 has a zero byte exactly when (word - L) & H is not 0, since a
 * borrow can only start at a zero.  The rest is decoded a character at a time. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "mqtt/utf8.h"

#include "base/text.h"

#define EVERY(byte) (UINT64_C(0x0101010101010101) * (byte))
#define L           EVERY(0x01)
#define H           EVERY(0x80)

static inline uint64_t word_at(const uint8_t *at) {
    uint64_t w;
    memcpy(&w, at, sizeof w);
    return w;
}

/* Eight ASCII characters, none of them U+0000. */
static inline bool word_is_ascii(uint64_t w) {
    return ((w | (w - L)) & H) == 0;
}

/* The same without `+` (0x2B) and `#` (0x23), which differ in one bit (0x08). */
static inline bool word_is_plain(uint64_t w) {
    uint64_t wild = (w | EVERY(0x08)) ^ EVERY('+');
    return ((w | (w - L) | (wild - L)) & H) == 0;
}

/* Bytes up to the first that is no character of UTF-8, or U+0000. */
static size_t valid_len(struct slice s) {
    size_t i = 0;
    while (i < s.len) {
        size_t left = s.len - i;
        size_t step = 1;
        uint32_t code;
        if (left >= 8 && word_is_ascii(word_at(s.at + i)))
            step = 8;
        else if (s.at[i] >= 0x80)
            step = text_char(s.at + i, left, &code);
        else if (s.at[i] == 0)
            step = 0;
        if (step == 0) break;
        i += step;
    }
    return i;
}

bool utf8_valid(struct slice s) {
    return valid_len(s) == s.len;
}

bool utf8_well_formed(struct slice s) {
    for (;;) {
        size_t n = valid_len(s);
        if (n == s.len) return true;
        if (s.at[n] != 0) return false;
        s = slice_of(s.at + n + 1, s.len - n - 1);
    }
}

static inline bool byte_is_plain(uint8_t c) {
    return c != 0 && c < 0x80 && c != '+' && c != '#';
}

bool utf8_plain(struct slice s) {
    size_t i = 0;
    if (s.len >= 8) {
        for (; i + 8 <= s.len; i += 8)
            if (!word_is_plain(word_at(s.at + i))) return false;
        /* the tail, together with bytes already seen */
        return word_is_plain(word_at(s.at + s.len - 8));
    }
    while (i < s.len && byte_is_plain(s.at[i])) i++;
    return i == s.len;
}
