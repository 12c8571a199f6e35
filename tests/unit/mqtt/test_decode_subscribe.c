/* test_decode_subscribe.c -- the other packets as bytes, and all reason codes:
 * mqtt/decode.c. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "mqtt/rows.h"

#include "mqtt/props.h"

/* Rows are read across. */
/* clang-format off */

static void subscribe(void **state) {
    (void)state;
    static const struct row rows[] = {
        { "3.1", 3, 0, WIRE("\x82\x06" "\0\1" "\0\1a\0") },
        { "two filters", 4, 0, WIRE("\x82\x0c" "\0\1" "\0\1a\0" "\0\3b/#\2") },
        { "5.0", 5, 0, WIRE("\x82\x07" "\0\1" "\0" "\0\1a\0") },
        { "[MQTT-2.2.1-3] packet id 0", 5, RC_PROTOCOL_ERROR, WIRE("\x82\x07" "\0\0" "\0" "\0\1a\0") },
        { "3.1.1 [MQTT-3.8.3-3] no filter", 4, RC_PROTOCOL_ERROR, WIRE("\x82\x02" "\0\1") },
        { "[MQTT-3.8.3-2] no filter", 5, RC_PROTOCOL_ERROR, WIRE("\x82\x03" "\0\1" "\0") },
        { "filter without options", 4, RC_MALFORMED_PACKET, WIRE("\x82\x05" "\0\1" "\0\1a") },
        { "second filter without options", 4, RC_MALFORMED_PACKET, WIRE("\x82\x09" "\0\1" "\0\1a\0" "\0\1b") },
        { "filter longer than the packet", 4, RC_MALFORMED_PACKET, WIRE("\x82\x06" "\0\1" "\0\4a\0") },
        { "[MQTT-3.8.3-1] not UTF-8", 4, RC_MALFORMED_PACKET, WIRE("\x82\x06" "\0\1" "\0\1\xFF\0") },
        { "[MQTT-1.5.4-2] U+0000", 5, RC_MALFORMED_PACKET, WIRE("\x82\x07" "\0\1" "\0" "\0\1\0\0") },
        { "[MQTT-4.7.3-1] empty filter", 4, RC_TOPIC_FILTER_INVALID, WIRE("\x82\x05" "\0\1" "\0\0\0") },
        { "[MQTT-4.7.1-1] a#", 4, RC_TOPIC_FILTER_INVALID, WIRE("\x82\x07" "\0\1" "\0\2a#\0") },
        { "[MQTT-4.7.1-1] #/a", 5, RC_TOPIC_FILTER_INVALID, WIRE("\x82\x09" "\0\1" "\0" "\0\3#/a\0") },
        { "[MQTT-4.7.1-2] a+", 5, RC_TOPIC_FILTER_INVALID, WIRE("\x82\x08" "\0\1" "\0" "\0\2a+\0") },
        { "a wrong filter among right ones", 4, RC_TOPIC_FILTER_INVALID,
          WIRE("\x82\x0f" "\0\1" "\0\1a\0" "\0\2b+\0" "\0\1c\0") },
        { "3.1.1 [MQTT-3-8.3-4] QoS 3", 4, RC_PROTOCOL_ERROR, WIRE("\x82\x06" "\0\1" "\0\1a\3") },
        { "3.8.3.1 QoS 3", 5, RC_PROTOCOL_ERROR, WIRE("\x82\x07" "\0\1" "\0" "\0\1a\3") },
        { "3.1.1 [MQTT-3-8.3-4] no local", 4, RC_MALFORMED_PACKET, WIRE("\x82\x06" "\0\1" "\0\1a\4") },
        { "3.1: reserved bits", 3, RC_MALFORMED_PACKET, WIRE("\x82\x06" "\0\1" "\0\1a\x10") },
        { "[MQTT-3.8.3-5] bit 6", 5, RC_MALFORMED_PACKET, WIRE("\x82\x07" "\0\1" "\0" "\0\1a\x40") },
        { "[MQTT-3.8.3-5] bit 7", 5, RC_MALFORMED_PACKET, WIRE("\x82\x07" "\0\1" "\0" "\0\1a\x81") },
        { "[MQTT-3.8.3-5] before QoS 3", 5, RC_MALFORMED_PACKET, WIRE("\x82\x07" "\0\1" "\0" "\0\1a\x83") },
        { "3.8.3.1 retain handling 2", 5, 0, WIRE("\x82\x07" "\0\1" "\0" "\0\1a\x20") },
        { "3.8.3.1 retain handling 3", 5, RC_PROTOCOL_ERROR, WIRE("\x82\x07" "\0\1" "\0" "\0\1a\x30") },
        { "all options", 5, 0, WIRE("\x82\x07" "\0\1" "\0" "\0\1a\x2E") },
        { "3.8.2.1.2 subscription identifier", 5, 0, WIRE("\x82\x0a" "\0\1" "\3\x0B\x80\1" "\0\1a\0") },
        { "3.8.2.1.2 twice", 5, RC_PROTOCOL_ERROR, WIRE("\x82\x0b" "\0\1" "\4\x0B\1\x0B\1" "\0\1a\0") },
        { "3.8.2.1.2 zero", 5, RC_PROTOCOL_ERROR, WIRE("\x82\x09" "\0\1" "\2\x0B\0" "\0\1a\0") },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void shared_filters(void **state) {
    (void)state;
    static const struct row rows[] = {
        { "shared", 5, 0, WIRE("\x82\x10" "\0\1" "\0" "\0\x0A$share/g/a\0") },
        { "[MQTT-3.8.3-4] no local", 5, RC_PROTOCOL_ERROR, WIRE("\x82\x10" "\0\1" "\0" "\0\x0A$share/g/a\4") },
        { "[MQTT-4.8.2-1] empty name", 5, RC_TOPIC_FILTER_INVALID, WIRE("\x82\x0f" "\0\1" "\0" "\0\x09$share//a\0") },
        { "[MQTT-4.8.2-2] wildcard in the name", 5, RC_TOPIC_FILTER_INVALID,
          WIRE("\x82\x10" "\0\1" "\0" "\0\x0A$share/+/a\0") },
        { "[MQTT-4.8.2-2] no filter", 5, RC_TOPIC_FILTER_INVALID, WIRE("\x82\x0e" "\0\1" "\0" "\0\x08$share/g\0") },
        { "[MQTT-4.8.2-2] empty filter", 5, RC_TOPIC_FILTER_INVALID, WIRE("\x82\x0f" "\0\1" "\0" "\0\x09$share/g/\0") },
        { "UNSUBSCRIBE, too", 5, RC_TOPIC_FILTER_INVALID, WIRE("\xA2\x0e" "\0\1" "\0" "\0\x09$share/g/") },
        { "nothing special before 5.0", 4, 0, WIRE("\x82\x0d" "\0\1" "\0\x08$share/g\0") },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void filters_are_walked_in_order(void **state) {
    (void)state;
    struct decoded d = decode_bytes("\x82\x10" "\0\5" "\2\x0B\7" "\0\1a\1" "\0\4b/+#\0",
                                    18, 5);
    assert_int_equal(d.rc, RC_TOPIC_FILTER_INVALID);
    decoded_free(&d);
    d = decode_bytes("\x82\x10" "\0\5" "\2\x0B\7" "\0\1a\1" "\0\4b/+/\x2E",
                     18, 5);
    assert_int_equal(d.rc, 0);
    assert_int_equal(d.p.filters.packet_id, 5);
    assert_int_equal(d.p.filters.count, 2);
    assert_int_equal(d.p.filters.props.subscription_identifier, 7);
    size_t at = 0;
    struct filter_item item;
    assert_true(filters_next(d.p.filters.filters, true, &at, &item));
    check_slice(item.filter, "a");
    assert_int_equal(item.options.qos, 1);
    assert_false(item.options.no_local || item.options.retain_as_published ||
                 item.options.retain_handling);
    assert_true(filters_next(d.p.filters.filters, true, &at, &item));
    check_slice(item.filter, "b/+/");
    assert_int_equal(item.options.qos, 2);
    assert_true(item.options.no_local && item.options.retain_as_published);
    assert_int_equal(item.options.retain_handling, 2);
    assert_false(filters_next(d.p.filters.filters, true, &at, &item));
    at = 0;
    assert_false(filters_next(SLICE_NONE, true, &at, &item));
    decoded_free(&d);
}

static void unsubscribe(void **state) {
    (void)state;
    static const struct row rows[] = {
        { "3.1", 3, 0, WIRE("\xA2\x05" "\0\1" "\0\1a") },
        { "two filters", 4, 0, WIRE("\xA2\x08" "\0\1" "\0\1a" "\0\1#") },
        { "5.0", 5, 0, WIRE("\xA2\x06" "\0\1" "\0" "\0\1a") },
        { "[MQTT-2.2.1-3] packet id 0", 4, RC_PROTOCOL_ERROR, WIRE("\xA2\x05" "\0\0" "\0\1a") },
        { "[MQTT-3.10.3-2] no filter", 4, RC_PROTOCOL_ERROR, WIRE("\xA2\x02" "\0\1") },
        { "[MQTT-3.10.3-2] no filter", 5, RC_PROTOCOL_ERROR, WIRE("\xA2\x03" "\0\1" "\0") },
        { "[MQTT-3.10.3-1] not UTF-8", 4, RC_MALFORMED_PACKET, WIRE("\xA2\x05" "\0\1" "\0\1\xFE") },
        { "[MQTT-4.7.1-1]", 4, RC_TOPIC_FILTER_INVALID, WIRE("\xA2\x06" "\0\1" "\0\2##") },
        { "half a length", 4, RC_MALFORMED_PACKET, WIRE("\xA2\x06" "\0\1" "\0\1a" "\0") },
        { "2.2.2.2 subscription identifier", 5, RC_MALFORMED_PACKET, WIRE("\xA2\x08" "\0\1" "\2\x0B\1" "\0\1a") },
    };
    check_rows(rows, ARRAY_LEN(rows));
    struct decoded d = decode_bytes("\xA2\x08" "\0\1" "\0\1a" "\0\1#",
                                    10, 4);
    assert_int_equal(d.p.filters.count, 2);
    struct filter_item item;
    size_t at = 0;
    assert_true(filters_next(d.p.filters.filters, false, &at, &item));
    assert_true(filters_next(d.p.filters.filters, false, &at, &item));
    check_slice(item.filter, "#");
    assert_int_equal(item.options.qos, 0);
    assert_false(filters_next(d.p.filters.filters, false, &at, &item));
    decoded_free(&d);
}

static void suback_and_unsuback(void **state) {
    (void)state;
    static const struct row rows[] = {
        { "SUBACK", 4, 0, WIRE("\x90\x06\0\1\0\1\2\x80") },
        { "3.1.1 [MQTT-3.9.3-2] reserved", 4, RC_PROTOCOL_ERROR, WIRE("\x90\x03\0\1\3") },
        { "3.1.1 [MQTT-3.9.3-2] 5.0's refusals", 4, RC_PROTOCOL_ERROR, WIRE("\x90\x04\0\1\0\x87") },
        { "no codes", 4, RC_PROTOCOL_ERROR, WIRE("\x90\x02\0\1") },
        { "5.0", 5, 0, WIRE("\x90\x06\0\1\0\0\x87\x9E") },
        { "5.0 no codes", 5, RC_PROTOCOL_ERROR, WIRE("\x90\x03\0\1\0") },
        { "5.0 UNSUBACK's code", 5, RC_PROTOCOL_ERROR, WIRE("\x90\x04\0\1\0\x11") },
        { "packet id 0", 5, RC_PROTOCOL_ERROR, WIRE("\x90\x04\0\0\0\0") },
        { "UNSUBACK", 3, 0, WIRE("\xB0\x02\0\1") },
        { "3.x UNSUBACK has no payload", 4, RC_MALFORMED_PACKET, WIRE("\xB0\x03\0\1\0") },
        { "5.0 UNSUBACK", 5, 0, WIRE("\xB0\x06\0\1\0\0\x11\x87") },
        { "5.0 UNSUBACK without codes", 5, RC_PROTOCOL_ERROR, WIRE("\xB0\x03\0\1\0") },
        { "5.0 UNSUBACK with SUBACK's code", 5, RC_PROTOCOL_ERROR, WIRE("\xB0\x04\0\1\0\1") },
    };
    check_rows(rows, ARRAY_LEN(rows));
    struct decoded d = decode_bytes("\x90\x05\0\x0A\0\2\x80", 7, 5);
    assert_int_equal(d.p.codes.packet_id, 10);
    assert_true(slice_eq(d.p.codes.codes, SLICE("\2\x80")));
    decoded_free(&d);
}

static void pings_disconnect_and_auth(void **state) {
    (void)state;
    static const struct row rows[] = {
        { "PINGREQ", 3, 0, WIRE("\xC0\0") },
        { "PINGREQ with a body", 4, RC_MALFORMED_PACKET, WIRE("\xC0\1\0") },
        { "PINGRESP", 5, 0, WIRE("\xD0\0") },
        { "PINGRESP with a body", 5, RC_MALFORMED_PACKET, WIRE("\xD0\1\0") },
        { "DISCONNECT", 3, 0, WIRE("\xE0\0") },
        { "3.x DISCONNECT with a body", 4, RC_MALFORMED_PACKET, WIRE("\xE0\1\0") },
        { "3.14.2.1 length 0", 5, 0, WIRE("\xE0\0") },
        { "3.14.2.1 length 1", 5, 0, WIRE("\xE0\1\4") },
        { "3.14.2.2.1 length 2", 5, 0, WIRE("\xE0\2\0\0") },
        { "3.14.2.2.2 session expiry", 5, 0, WIRE("\xE0\7\0\5\x11\0\0\0\1") },
        { "bytes left over", 5, RC_MALFORMED_PACKET, WIRE("\xE0\3\0\0\0") },
        { "[MQTT-3.14.2-1] 0x01", 5, RC_PROTOCOL_ERROR, WIRE("\xE0\1\1") },
        { "AUTH before 5.0", 4, RC_MALFORMED_PACKET, WIRE("\xF0\0") },
        { "AUTH before 5.0", 3, RC_MALFORMED_PACKET, WIRE("\xF0\0") },
        { "3.15.2.1 length 0", 5, 0, WIRE("\xF0\0") },
        { "3.15.2.2.2 no method", 5, RC_PROTOCOL_ERROR, WIRE("\xF0\2\x18\0") },
        { "3.15.2.2.2 code alone", 5, RC_PROTOCOL_ERROR, WIRE("\xF0\1\x18") },
        { "3.15.2.2.3 data without method", 5, RC_PROTOCOL_ERROR, WIRE("\xF0\6\x18\4\x16\0\1d") },
        { "3.15.2.2.2 method", 5, 0, WIRE("\xF0\6\x18\4\x15\0\1m") },
        { "3.15.2.2.2 method twice", 5, RC_PROTOCOL_ERROR, WIRE("\xF0\x0A\x18\x08\x15\0\1m\x15\0\1m") },
        { "[MQTT-3.15.2-1] 0x87", 5, RC_PROTOCOL_ERROR, WIRE("\xF0\6\x87\4\x15\0\1m") },
        { "[MQTT-3.1.0-1] nothing before CONNECT", 0, RC_MALFORMED_PACKET, WIRE("\xC0\0") },
        { "[MQTT-3.1.0-1] nothing before CONNECT", 0, RC_MALFORMED_PACKET, WIRE("\x30\4\0\1tx") },
    };
    check_rows(rows, ARRAY_LEN(rows));
    struct decoded d = decode_bytes("\xE0\1\4", 3, 5);
    assert_int_equal(d.p.reason.reason_code, RC_DISCONNECT_WITH_WILL);
    assert_true(d.p.reason.props.present == 0);
    decoded_free(&d);
    d = decode_bytes("\xE0\0", 2, 4);
    assert_int_equal(d.p.reason.reason_code, 0);
    decoded_free(&d);
}

/* ---- reason codes ------------------------------------------------------- */

/* The tables of the packets' own sections; `head` is what stands before the code, `tail` what
 * stands behind it. */
static const struct code_table {
    const char *section;
    uint8_t head[8], head_len, tail[8], tail_len;
    const char *codes;
} code_tables[] = {
    { "3.2.2.2 CONNACK", { 0x20, 3, 0 }, 3, { 0 }, 1,
      "00 80 81 82 83 84 85 86 87 88 89 8A 8C 90 95 97 99 9A 9B 9C 9D 9F" },
    { "3.4.2.1 PUBACK", { 0x40, 3, 0, 1 }, 4, { 0 }, 0, "00 10 80 83 87 90 91 97 99" },
    { "3.5.2.1 PUBREC", { 0x50, 3, 0, 1 }, 4, { 0 }, 0, "00 10 80 83 87 90 91 97 99" },
    { "3.6.2.1 PUBREL", { 0x62, 3, 0, 1 }, 4, { 0 }, 0, "00 92" },
    { "3.7.2.1 PUBCOMP", { 0x70, 3, 0, 1 }, 4, { 0 }, 0, "00 92" },
    { "3.9.3 SUBACK", { 0x90, 4, 0, 1, 0 }, 5, { 0 }, 0, "00 01 02 80 83 87 8F 91 97 9E A1 A2" },
    { "3.11.3 UNSUBACK", { 0xB0, 4, 0, 1, 0 }, 5, { 0 }, 0, "00 11 80 83 87 8F 91" },
    { "2.4, 3.14.2.1 DISCONNECT", { 0xE0, 1 }, 2, { 0 }, 0,
      "00 04 80 81 82 83 87 89 8B 8C 8D 8E 8F 90 93 94 95 96 97 98 99 9A 9B 9C 9D 9E 9F A0 A1 A2" },
    { "3.15.2.1 AUTH", { 0xF0, 6 }, 2, { 4, 0x15, 0, 1, 'm' }, 5, "00 18 19" },
};

static bool table_has(const struct code_table *t, unsigned code) {
    char text[3];
    snprintf(text, sizeof text, "%02X", code);
    return strstr(t->codes, text) != NULL;
}

static void all_256_reason_codes_in_each_packet(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(code_tables); i++) {
        const struct code_table *t = &code_tables[i];
        for (unsigned code = 0; code < 256; code++) {
            uint8_t wire[16];
            memcpy(wire, t->head, t->head_len);
            wire[t->head_len] = (uint8_t)code;
            memcpy(wire + t->head_len + 1, t->tail, t->tail_len);
            struct decoded d = decode_bytes(wire, t->head_len + 1u + t->tail_len, 5);
            if (d.rc != (table_has(t, code) ? 0 : RC_PROTOCOL_ERROR))
                fail_msg("%s: code 0x%02x gives 0x%02x", t->section, code, (unsigned)d.rc);
            decoded_free(&d);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subscribe),
        cmocka_unit_test(shared_filters),
        cmocka_unit_test(filters_are_walked_in_order),
        cmocka_unit_test(unsubscribe),
        cmocka_unit_test(suback_and_unsuback),
        cmocka_unit_test(pings_disconnect_and_auth),
        cmocka_unit_test(all_256_reason_codes_in_each_packet),
    };
    return cmocka_run_group_tests_name("mqtt/decode subscribe", tests, NULL, NULL);
}
