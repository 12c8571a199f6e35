/* text.h -- text a character at a time: which bytes are one, and which of them nobody may put
 * on somebody's screen.
 *
 * Pure functions; any thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_BASE_TEXT_H
#define SOL_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The length of the character of UTF-8 at at[0] (left > 0 bytes are there), its number in
 * *code; 0: there is none, but something overlong, a surrogate, above U+10FFFF or cut off,
 * and *code is at[0]. */
static inline size_t text_char(const uint8_t *at, size_t left, uint32_t *code) {
    static const uint32_t least[] = { [2] = 0x80, [3] = 0x800, [4] = 0x10000 };
    *code = at[0];
    if (at[0] < 0x80) return 1;
    if (at[0] < 0xC2 || at[0] > 0xF4) return 0;
    size_t len = at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : 4;
    if (left < len) return 0;
    uint32_t c = at[0] & (0xFFu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((at[i] & 0xC0) != 0x80) return 0;
        c = c << 6 | (at[i] & 0x3F);
    }
    bool is_surrogate = c >= 0xD800 && c <= 0xDFFF;
    if (c < least[len] || c > 0x10FFFF || is_surrogate) return 0;
    *code = c;
    return len;
}

/* Is this a character that does not show itself, but moves, hides or reorders what stands
 * around it?  Those below U+0020 and U+0080 to U+009F, which a terminal obeys; and what
 * turns the direction of writing, breaks lines or is invisible. */
bool text_is_control(uint32_t code);

#endif
