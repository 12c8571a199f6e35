/* test_utf8.c -- is this text?  mqtt/utf8.c. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "mqtt/rows.h"

#include "mqtt/utf8.h"

/* Rows are read across. */
/* clang-format off */

/* Unicode 15, table 3-7: well-formed UTF-8 byte sequences. */
static const struct form {
    uint8_t len, range[4][2];
} forms[] = {
    { 1, { { 0x01, 0x7F } } }, /* not U+0000: [MQTT-1.5.4-2] */
    { 2, { { 0xC2, 0xDF }, { 0x80, 0xBF } } },
    { 3, { { 0xE0, 0xE0 }, { 0xA0, 0xBF }, { 0x80, 0xBF } } },
    { 3, { { 0xE1, 0xEC }, { 0x80, 0xBF }, { 0x80, 0xBF } } },
    { 3, { { 0xED, 0xED }, { 0x80, 0x9F }, { 0x80, 0xBF } } }, /* no surrogates: [MQTT-1.5.4-1] */
    { 3, { { 0xEE, 0xEF }, { 0x80, 0xBF }, { 0x80, 0xBF } } },
    { 4, { { 0xF0, 0xF0 }, { 0x90, 0xBF }, { 0x80, 0xBF }, { 0x80, 0xBF } } },
    { 4, { { 0xF1, 0xF3 }, { 0x80, 0xBF }, { 0x80, 0xBF }, { 0x80, 0xBF } } },
    { 4, { { 0xF4, 0xF4 }, { 0x80, 0x8F }, { 0x80, 0xBF }, { 0x80, 0xBF } } },
};

static bool has_form(const struct form *f, const uint8_t *at, size_t len) {
    if (len < f->len) return false;
    for (size_t i = 0; i < f->len; i++)
        if (at[i] < f->range[i][0] || at[i] > f->range[i][1]) return false;
    return true;
}

static bool table_says(const uint8_t *at, size_t len) {
    size_t i = 0;
    while (i < len) {
        size_t step = 0;
        for (size_t f = 0; f < ARRAY_LEN(forms) && !step; f++)
            if (has_form(&forms[f], at + i, len - i)) step = forms[f].len;
        if (!step) return false;
        i += step;
    }
    return true;
}

static void check(const uint8_t *at, size_t len) {
    if (utf8_valid(slice_of(at, len)) != table_says(at, len))
        fail_msg("%zu bytes %02x %02x %02x %02x", len, at[0], at[1], at[2], at[3]);
}

static void all_sequences_of_up_to_three_bytes(void **state) {
    (void)state;
    uint8_t at[4] = { 0 };
    for (unsigned v = 0; v < 1u << 24; v++) {
        at[0] = (uint8_t)(v >> 16), at[1] = (uint8_t)(v >> 8), at[2] = (uint8_t)v;
        if (at[0] < 0x80 && at[1] < 0x80 && (v & 7)) continue; /* ASCII: one in eight will do */
        check(at, 3);
        if (at[2] == 0) check(at, 2);
        if (at[2] == 0 && at[1] == 0) check(at, 1);
    }
}

static void four_bytes_at_the_edges(void **state) {
    (void)state;
    static const uint8_t edges[] = { 0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90,
                                     0x9F, 0xA0, 0xBF, 0xC0, 0xFF };
    for (unsigned v = 0; v < 1u << 12; v++) {
        for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
            for (size_t j = 0; j < ARRAY_LEN(edges); j++) {
                uint8_t at[4] = { (uint8_t)(0xF0 | v >> 8), (uint8_t)v, edges[i], edges[j] };
                check(at, 4);
            }
        }
    }
}

/* Rows of the standard's own examples and of the usual attacks. */
static void literal_rows(void **state) {
    (void)state;
    static const struct {
        const char *why;
        bool valid;
        const char *wire;
        size_t len;
    } rows[] = {
        { "empty", true, WIRE("") },
        { "1.5.4: A and U+2A6D4", true, WIRE("A\xF0\xAA\x9B\x94") },
        { "[MQTT-1.5.4-3] a byte order mark is a character", true, WIRE("\xEF\xBB\xBF" "a") },
        { "1.5.4 control characters are not refused", true, WIRE("a\x01\x1F\x7F\xC2\x80") },
        { "1.5.4 non-characters are not refused", true, WIRE("\xEF\xBF\xBE\xF4\x8F\xBF\xBF") },
        { "[MQTT-1.5.4-2] U+0000", false, WIRE("a\0") },
        { "[MQTT-1.5.4-2] U+0000 among eight", false, WIRE("abcdefg\0") },
        { "[MQTT-1.5.4-2] U+0000 first among nine", false, WIRE("\0bcdefghi") },
        { "U+0000 in two bytes", false, WIRE("\xC0\x80") },
        { "/ in two bytes", false, WIRE("\xC0\xAF") },
        { "/ in three bytes", false, WIRE("\xE0\x80\xAF") },
        { "/ in four bytes", false, WIRE("\xF0\x80\x80\xAF") },
        { "[MQTT-1.5.4-1] U+D800", false, WIRE("\xED\xA0\x80") },
        { "[MQTT-1.5.4-1] U+DFFF", false, WIRE("\xED\xBF\xBF") },
        { "U+D7FF and U+E000", true, WIRE("\xED\x9F\xBF\xEE\x80\x80") },
        { "U+110000", false, WIRE("\xF4\x90\x80\x80") },
        { "five bytes", false, WIRE("\xF8\x88\x80\x80\x80") },
        { "a continuation alone", false, WIRE("\x80") },
        { "cut after one of four", false, WIRE("abc\xF0") },
        { "cut after three of four", false, WIRE("\xF0\x9F\x98") },
        { "ASCII where a continuation is due", false, WIRE("\xC3" "abcdefghijk") },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (utf8_valid(slice_of(rows[i].wire, rows[i].len)) != rows[i].valid)
            fail_msg("%s", rows[i].why);
}

/* One byte that matters, at each place of strings of each length up to three words. */
static void every_place_in_a_word_is_looked_at(void **state) {
    (void)state;
    for (size_t len = 1; len <= 25; len++) {
        for (size_t at = 0; at < len; at++) {
            for (unsigned c = 0; c < 256; c++) {
                uint8_t *text = xmalloc(len);
                memset(text, 'x', len);
                text[at] = (uint8_t)c;
                bool plain = c != 0 && c < 0x80 && c != '+' && c != '#';
                if (utf8_valid(slice_of(text, len)) != (c != 0 && c < 0x80))
                    fail_msg("0x%02x at %zu of %zu", c, at, len);
                if (utf8_plain(slice_of(text, len)) != plain)
                    fail_msg("plain: 0x%02x at %zu of %zu", c, at, len);
                free(text);
            }
        }
    }
    assert_true(utf8_plain(SLICE("")));
}

static void characters_at_every_offset(void **state) {
    (void)state;
    static const char *const chars[] = { "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80" };
    for (size_t i = 0; i < ARRAY_LEN(chars); i++) {
        for (size_t before = 0; before < 18; before++) {
            size_t n = strlen(chars[i]), len = before + n + 11;
            uint8_t *text = xmalloc(len);
            memset(text, 'x', len);
            memcpy(text + before, chars[i], n);
            assert_true(utf8_valid(slice_of(text, len)));
            assert_false(utf8_plain(slice_of(text, len)));
            for (size_t cut = 1; cut < n; cut++)
                assert_false(utf8_valid(slice_of(text, before + cut)));
            free(text);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_sequences_of_up_to_three_bytes),
        cmocka_unit_test(four_bytes_at_the_edges),
        cmocka_unit_test(literal_rows),
        cmocka_unit_test(every_place_in_a_word_is_looked_at),
        cmocka_unit_test(characters_at_every_offset),
    };
    return cmocka_run_group_tests_name("mqtt/utf8", tests, NULL, NULL);
}
