/* test_text.c -- characters, and those that are not shown. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"

#include <string.h>

static void a_character_has_a_length_and_a_number(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t len;
        uint32_t code;
    } rows[] = {
        { "a", 1, 'a' },
        { "\u00e9x", 2, 0xE9 },
        { "\u20ac", 3, 0x20AC },
        { "\U0001f600", 4, 0x1F600 },
        { "\xf4\x8f\xbf\xbf", 4, 0x10FFFF },
        { "\x80", 0, 0x80 },
        { "\xc1\x81", 0, 0xC1 },         /* overlong */
        { "\xe0\x9f\xbf", 0, 0xE0 },     /* overlong */
        { "\xed\xa0\x80", 0, 0xED },     /* surrogate */
        { "\xf4\x90\x80\x80", 0, 0xF4 }, /* above U+10FFFF */
        { "\xe2\x82", 0, 0xE2 },         /* cut off */
        { "\xe2\x82x", 0, 0xE2 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint32_t code;
        const uint8_t *at = (const uint8_t *)rows[i].text;
        assert_int_equal(text_char(at, strlen(rows[i].text), &code), rows[i].len);
        assert_int_equal(code, rows[i].code);
    }
}

static void what_is_not_shown_is_a_control(void **state) {
    (void)state;
    static const uint32_t controls[] = { 0,      '\n',   0x1F,   0x7F,   0x9F,   0xAD,   0x61C,
                                         0x200B, 0x200F, 0x2028, 0x202E, 0x2066, 0xFEFF, 0xFFFB };
    static const uint32_t others[] = { ' ',    'a',    0x7E,   0xA0,   0xE9,    0x61B,   0x200A,
                                       0x2010, 0x202F, 0x20AC, 0xFFFD, 0x1F600, 0x10FFFF };
    for (size_t i = 0; i < ARRAY_LEN(controls); i++) assert_true(text_is_control(controls[i]));
    for (size_t i = 0; i < ARRAY_LEN(others); i++) assert_false(text_is_control(others[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_character_has_a_length_and_a_number),
        cmocka_unit_test(what_is_not_shown_is_a_control),
    };
    return cmocka_run_group_tests_name("base/text", tests, NULL, NULL);
}
