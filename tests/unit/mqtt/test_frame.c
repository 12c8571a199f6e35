/* test_frame.c -- fixed headers: frame_read of mqtt/decode.c. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "mqtt/rows.h"

/* Rows are read across. */
/* clang-format off */

struct head_row {
    const char *why;
    int rc;
    uint32_t head_len, body_len;
    const char *wire;
    size_t len;
};

static int read_copy(const void *wire, size_t len, uint32_t max_packet, struct frame *f) {
    uint8_t *copy = xmalloc(len ? len : 1);
    if (len) memcpy(copy, wire, len);
    int rc = frame_read(copy, len, max_packet, f);
    if (f->head_len) assert_ptr_equal(f->body, copy + f->head_len);
    free(copy);
    return rc;
}

static void check_heads(const struct head_row *rows, size_t n) {
    for (size_t i = 0; i < n; i++) {
        struct frame f;
        int rc = read_copy(rows[i].wire, rows[i].len, 0, &f);
        if (rc != rows[i].rc) fail_msg("%s: %d instead of %d", rows[i].why, rc, rows[i].rc);
        if (rc > 0) continue;
        if (f.head_len != rows[i].head_len) fail_msg("%s: head_len %u", rows[i].why, f.head_len);
        if (f.head_len && f.body_len != rows[i].body_len)
            fail_msg("%s: body_len %u", rows[i].why, f.body_len);
    }
}

/* Table 2-4 of 3.1.1, 1.5.5 of 5.0: the smallest and largest value of each length. */
static void remaining_length_is_a_variable_byte_integer(void **state) {
    (void)state;
    static const struct head_row rows[] = {
        { "nothing", FRAME_MORE, 0, 0, WIRE("") },
        { "type alone", FRAME_MORE, 0, 0, WIRE("\xC0") },
        { "0", FRAME_OK, 2, 0, WIRE("\xC0\x00") },
        { "127", FRAME_MORE, 2, 127, WIRE("\x30\x7F") },
        { "first of two", FRAME_MORE, 0, 0, WIRE("\x30\x80") },
        { "128", FRAME_MORE, 3, 128, WIRE("\x30\x80\x01") },
        { "16,383", FRAME_MORE, 3, 16383, WIRE("\x30\xFF\x7F") },
        { "16,384", FRAME_MORE, 4, 16384, WIRE("\x30\x80\x80\x01") },
        { "2,097,151", FRAME_MORE, 4, 2097151, WIRE("\x30\xFF\xFF\x7F") },
        { "2,097,152", FRAME_MORE, 5, 2097152, WIRE("\x30\x80\x80\x80\x01") },
        { "first three of four", FRAME_MORE, 0, 0, WIRE("\x30\x80\x80\x80") },
        { "268,435,455", FRAME_MORE, 5, 268435455, WIRE("\x30\xFF\xFF\xFF\x7F") },
        { "whole, with another behind", FRAME_OK, 2, 3, WIRE("\x30\x03\x00\x01" "a" "\xC0") },
        { "last byte missing", FRAME_MORE, 2, 3, WIRE("\x30\x03\x00\x01") },
    };
    check_heads(rows, ARRAY_LEN(rows));
}

static void longer_lengths_than_needed_are_malformed(void **state) {
    (void)state;
    static const struct head_row rows[] = {
        { "[MQTT-1.5.5-1] 0 in two", RC_MALFORMED_PACKET, 0, 0, WIRE("\xC0\x80\x00") },
        { "[MQTT-1.5.5-1] 127 in two", RC_MALFORMED_PACKET, 0, 0, WIRE("\x30\xFF\x00") },
        { "[MQTT-1.5.5-1] 0 in three", RC_MALFORMED_PACKET, 0, 0, WIRE("\xC0\x80\x80\x00") },
        { "[MQTT-1.5.5-1] 1 in four", RC_MALFORMED_PACKET, 0, 0, WIRE("\x30\x81\x80\x80\x00") },
        { "1.5.5 a fifth byte announced", RC_MALFORMED_PACKET, 0, 0, WIRE("\x30\xFF\xFF\xFF\xFF") },
        { "1.5.5 a fifth byte", RC_MALFORMED_PACKET, 0, 0, WIRE("\x30\x80\x80\x80\x80\x01") },
    };
    check_heads(rows, ARRAY_LEN(rows));
}

/* Table 2-2 of the standard, written out: the allowed flags of each type as a set of bits.
 * PUBREL, SUBSCRIBE and UNSUBSCRIBE may bear DUP (0xA) in MQTT 3.1. */
static const uint16_t flags_of_type[16] = {
    [1] = 1 << 0,  [2] = 1 << 0,
    [3] = 0xFFFF,  [4] = 1 << 0,
    [5] = 1 << 0,  [6] = 1 << 0x2 | 1 << 0xA,
    [7] = 1 << 0,  [8] = 1 << 0x2 | 1 << 0xA,
    [9] = 1 << 0,  [10] = 1 << 0x2 | 1 << 0xA,
    [11] = 1 << 0, [12] = 1 << 0,
    [13] = 1 << 0, [14] = 1 << 0,
    [15] = 1 << 0,
};

static void wrong_flags_and_type_0_are_malformed(void **state) { /* [MQTT-2.1.3-1] */
    (void)state;
    for (unsigned first = 0; first < 256; first++) {
        uint8_t wire[2] = { (uint8_t)first, 5 };
        bool allowed = flags_of_type[first >> 4] >> (first & 15) & 1;
        struct frame f;
        for (size_t len = 1; len <= 2; len++) /* said with the first byte */
            assert_int_equal(read_copy(wire, len, 0, &f),
                             allowed ? FRAME_MORE : RC_MALFORMED_PACKET);
        if (!allowed) continue;
        assert_int_equal(f.type, first >> 4);
        assert_int_equal(f.flags, first & 15);
    }
}

/* 3.1 repeats PUBREL, SUBSCRIBE and UNSUBSCRIBE with DUP; later versions forbid it
 * ([MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]). */
static void dup_on_requests_is_for_3_1_alone(void **state) {
    (void)state;
    static const struct row rows[] = {
        { "PUBREL 3.1", 3, 0, WIRE("\x6A\x02\x00\x01") },
        { "PUBREL 3.1.1", 4, RC_MALFORMED_PACKET, WIRE("\x6A\x02\x00\x01") },
        { "PUBREL 5.0", 5, RC_MALFORMED_PACKET, WIRE("\x6A\x02\x00\x01") },
        { "SUBSCRIBE 3.1", 3, 0, WIRE("\x8A\x06\x00\x01" "\x00\x01" "a" "\x00") },
        { "SUBSCRIBE 3.1.1", 4, RC_MALFORMED_PACKET, WIRE("\x8A\x06\x00\x01" "\x00\x01" "a" "\x00") },
        { "SUBSCRIBE 5.0", 5, RC_MALFORMED_PACKET, WIRE("\x8A\x07\x00\x01\x00" "\x00\x01" "a" "\x00") },
        { "UNSUBSCRIBE 3.1", 3, 0, WIRE("\xAA\x05\x00\x01" "\x00\x01" "a") },
        { "UNSUBSCRIBE 3.1.1", 4, RC_MALFORMED_PACKET, WIRE("\xAA\x05\x00\x01" "\x00\x01" "a") },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void too_large_is_said_with_the_header(void **state) {
    (void)state;
    static const struct {
        const char *wire;
        size_t len;
        uint32_t max;
        int rc;
    } rows[] = {
        { WIRE("\x30\x08"), 10, FRAME_MORE },
        { WIRE("\x30\x08"), 9, RC_PACKET_TOO_LARGE }, /* the header counts: 2.1.4, 3.1.2.11.4 */
        { WIRE("\x30\x08"), 0, FRAME_MORE },
        { WIRE("\x30\x80"), 10, FRAME_MORE },
        { WIRE("\x30\x80\x01"), 131, FRAME_MORE },
        { WIRE("\x30\x80\x01"), 130, RC_PACKET_TOO_LARGE },
        { WIRE("\x30\xFF\xFF\xFF\x7F"), 268435460, FRAME_MORE },
        { WIRE("\x30\xFF\xFF\xFF\x7F"), 268435459, RC_PACKET_TOO_LARGE },
        { WIRE("\xC0\x00"), 2, FRAME_OK },
        { WIRE("\xC0\x00"), 1, RC_PACKET_TOO_LARGE },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct frame f;
        assert_int_equal(read_copy(rows[i].wire, rows[i].len, rows[i].max, &f), rows[i].rc);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(remaining_length_is_a_variable_byte_integer),
        cmocka_unit_test(longer_lengths_than_needed_are_malformed),
        cmocka_unit_test(wrong_flags_and_type_0_are_malformed),
        cmocka_unit_test(dup_on_requests_is_for_3_1_alone),
        cmocka_unit_test(too_large_is_said_with_the_header),
    };
    return cmocka_run_group_tests_name("mqtt/frame", tests, NULL, NULL);
}
