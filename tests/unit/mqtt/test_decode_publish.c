/* test_decode_publish.c -- PUBLISH and its acknowledgements as bytes: mqtt/decode.c. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "mqtt/rows.h"

#include "mqtt/props.h"

/* Rows are read across. */
/* clang-format off */

static void fixed_header_flags(void **state) {
    (void)state;
    static const struct row rows[] = {
        { "QoS 0", 4, 0, WIRE("\x30\x04" "\0\1t" "x") },
        { "QoS 0, retain", 4, 0, WIRE("\x31\x04" "\0\1t" "x") },
        { "QoS 1", 4, 0, WIRE("\x32\x06" "\0\1t" "\0\7" "x") },
        { "QoS 1, DUP, retain", 4, 0, WIRE("\x3B\x06" "\0\1t" "\0\7" "x") },
        { "QoS 2", 4, 0, WIRE("\x34\x06" "\0\1t" "\0\7" "x") },
        { "[MQTT-3.3.1-4] QoS 3", 3, RC_MALFORMED_PACKET, WIRE("\x36\x06" "\0\1t" "\0\7" "x") },
        { "[MQTT-3.3.1-4] QoS 3", 4, RC_MALFORMED_PACKET, WIRE("\x36\x06" "\0\1t" "\0\7" "x") },
        { "[MQTT-3.3.1-4] QoS 3", 5, RC_MALFORMED_PACKET, WIRE("\x3E\x07" "\0\1t" "\0\7" "\0" "x") },
        { "[MQTT-3.3.1-2] DUP with QoS 0", 4, RC_MALFORMED_PACKET, WIRE("\x38\x04" "\0\1t" "x") },
        { "[MQTT-3.3.1-2] DUP with QoS 0", 5, RC_MALFORMED_PACKET, WIRE("\x39\x05" "\0\1t" "\0" "x") },
        { "3.1.1 [MQTT-2.3.1-1] packet id 0", 4, RC_PROTOCOL_ERROR, WIRE("\x32\x06" "\0\1t" "\0\0" "x") },
        { "[MQTT-2.2.1-3] packet id 0", 5, RC_PROTOCOL_ERROR, WIRE("\x34\x07" "\0\1t" "\0\0" "\0" "x") },
        { "half a packet id", 4, RC_MALFORMED_PACKET, WIRE("\x32\x04" "\0\1t" "\0") },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void topic_names(void **state) {
    (void)state;
    static const struct row rows[] = {
        { "no body", 4, RC_MALFORMED_PACKET, WIRE("\x30\x00") },
        { "half a length", 4, RC_MALFORMED_PACKET, WIRE("\x30\x01" "\0") },
        { "topic longer than the packet", 4, RC_MALFORMED_PACKET, WIRE("\x30\x04" "\0\3ab") },
        { "no payload", 4, 0, WIRE("\x30\x03" "\0\1t") },
        { "[MQTT-3.3.2-2] +", 4, RC_TOPIC_NAME_INVALID, WIRE("\x30\x04" "\0\1+" "x") },
        { "[MQTT-3.3.2-2] + inside a long name", 4, RC_TOPIC_NAME_INVALID,
          WIRE("\x30\x17" "\0\x14" "sensors/a+b/kitchen/" "x") },
        { "[MQTT-3.3.2-2] # in the last place", 5, RC_TOPIC_NAME_INVALID,
          WIRE("\x30\x16" "\0\x12" "sensors/kitchen/#" "#" "\0" "x") },
        { "[MQTT-3.3.2-2] wildcard behind UTF-8", 4, RC_TOPIC_NAME_INVALID, WIRE("\x30\x07" "\0\4\xC3\xA9/+" "x") },
        { "[MQTT-1.5.4-1] not UTF-8", 4, RC_MALFORMED_PACKET, WIRE("\x30\x05" "\0\2a\xC3" "x") },
        { "[MQTT-1.5.4-1] not UTF-8 and a wildcard", 5, RC_MALFORMED_PACKET, WIRE("\x30\x06" "\0\2+\xC3" "\0" "x") },
        { "[MQTT-1.5.4-1] surrogate", 5, RC_MALFORMED_PACKET, WIRE("\x30\x07" "\0\3\xED\xA0\x80" "\0" "x") },
        { "[MQTT-1.5.4-2] U+0000", 4, RC_MALFORMED_PACKET, WIRE("\x30\x06" "\0\3a\0b" "x") },
        { "[MQTT-1.5.4-2] U+0000 in a long name", 4, RC_MALFORMED_PACKET, WIRE("\x30\x0d" "\0\x0A" "sensors/\0/" "x") },
        { "UTF-8", 3, 0, WIRE("\x30\x09" "\0\6\xE2\x82\xAC/\xC3\xA9" "x") },
        { "[MQTT-4.7.3-1] empty", 3, RC_PROTOCOL_ERROR, WIRE("\x30\x03" "\0\0" "x") },
        { "[MQTT-4.7.3-1] empty", 4, RC_PROTOCOL_ERROR, WIRE("\x30\x03" "\0\0" "x") },
        { "3.3.2.1 empty without alias", 5, RC_PROTOCOL_ERROR, WIRE("\x30\x04" "\0\0" "\0" "x") },
        { "3.3.2.1 empty with alias", 5, 0, WIRE("\x30\x07" "\0\0" "\3\x23\0\1" "x") },
        { "[MQTT-3.3.2-8] alias 0", 5, RC_TOPIC_ALIAS_INVALID, WIRE("\x30\x08" "\0\1t" "\3\x23\0\0" "x") },
        { "3.3.2.3.4 alias twice", 5, RC_PROTOCOL_ERROR, WIRE("\x30\x0b" "\0\1t" "\6\x23\0\1\x23\0\1" "x") },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void publish_properties(void **state) {
    (void)state;
    static const struct row rows[] = {
        { "none", 5, 0, WIRE("\x30\x05" "\0\1t" "\0" "x") },
        { "no property length", 5, RC_MALFORMED_PACKET, WIRE("\x30\x03" "\0\1t") },
        { "[MQTT-1.5.5-1] property length 0 in two bytes", 5, RC_MALFORMED_PACKET,
          WIRE("\x30\x06" "\0\1t" "\x80\0" "x") },
        { "property length beyond the packet", 5, RC_MALFORMED_PACKET, WIRE("\x30\x06" "\0\1t" "\x05\1\1") },
        { "property length of five bytes", 5, RC_MALFORMED_PACKET, WIRE("\x30\x08" "\0\1t" "\x80\x80\x80\x80\1") },
        { "2.2.2.2 identifier 0", 5, RC_MALFORMED_PACKET, WIRE("\x30\x07" "\0\1t" "\2\0\0" "x") },
        { "2.2.2.2 identifier 0x7F", 5, RC_MALFORMED_PACKET, WIRE("\x30\x07" "\0\1t" "\2\x7F\0" "x") },
        { "2.2.2.2 identifier of two bytes", 5, RC_MALFORMED_PACKET, WIRE("\x30\x08" "\0\1t" "\3\x81\1\0" "x") },
        { "[MQTT-1.5.5-1] identifier 1 in two bytes", 5, RC_MALFORMED_PACKET,
          WIRE("\x30\x08" "\0\1t" "\3\x81\0\1" "x") },
        { "2.2.2.2 session expiry in PUBLISH", 5, RC_MALFORMED_PACKET, WIRE("\x30\x0a" "\0\1t" "\5\x11\0\0\0\1" "x") },
        { "3.3.2.3.2 payload format 1", 5, 0, WIRE("\x30\x07" "\0\1t" "\2\1\1" "x") },
        { "3.3.2.3.2 payload format 2", 5, RC_PROTOCOL_ERROR, WIRE("\x30\x07" "\0\1t" "\2\1\2" "x") },
        { "[MQTT-3.3.2-14] response topic with wildcard", 5, RC_PROTOCOL_ERROR,
          WIRE("\x30\x0b" "\0\1t" "\6\x08\0\3a/#" "x") },
        { "[MQTT-4.7.3-1] empty response topic", 5, RC_PROTOCOL_ERROR, WIRE("\x30\x08" "\0\1t" "\3\x08\0\0" "x") },
        { "[MQTT-3.3.2-13] response topic not UTF-8", 5, RC_MALFORMED_PACKET,
          WIRE("\x30\x09" "\0\1t" "\4\x08\0\1\xFF" "x") },
        { "3.3.2.3.8 subscription identifier 0", 5, RC_PROTOCOL_ERROR, WIRE("\x30\x07" "\0\1t" "\2\x0B\0" "x") },
        { "3.3.2.3.8 several subscription identifiers", 5, 0, WIRE("\x30\x0a" "\0\1t" "\5\x0B\x80\1\x0B\2" "x") },
        { "[MQTT-3.3.2-17] user properties repeat", 5, 0,
          WIRE("\x30\x13" "\0\1t" "\x0E\x26\0\1k\0\1v\x26\0\1k\0\1v" "x") },
        { "1.5.7 user property not UTF-8", 5, RC_MALFORMED_PACKET, WIRE("\x30\x0c" "\0\1t" "\7\x26\0\1k\0\1\xFF" "x") },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void every_field_of_a_publish(void **state) {
    (void)state;
    static const char wire[] = "\x3D\x30" "\0\3a/b" "\x12\x34" "\x25" "\1\1" "\2\0\0\0\x1E" "\3\0\2ct" "\x08\0\2r/"
        "\x09\0\2\0\xFF" "\x0B\x7F" "\x0B\x80\1" "\x23\1\0" "\x26\0\1k\0\1v" "pl\0";
    struct decoded d = decode_bytes(wire, sizeof wire - 1, 5);
    const struct pkt_publish *p = &d.p.publish;
    assert_int_equal(d.rc, 0);
    assert_int_equal(d.p.type, PKT_PUBLISH);
    assert_true(p->dup && p->retain && p->qos == 2);
    assert_int_equal(p->packet_id, 0x1234);
    check_slice(p->topic, "a/b");
    assert_ptr_equal(p->topic.at, d.bytes + 4); /* zero-copy */
    assert_true(slice_eq(p->payload, SLICE("pl\0")));
    assert_int_equal(p->props.payload_format_indicator, 1);
    assert_int_equal(p->props.message_expiry_interval, 30);
    check_slice(p->props.content_type, "ct");
    check_slice(p->props.response_topic, "r/");
    assert_true(slice_eq(p->props.correlation_data, SLICE("\0\xFF")));
    assert_int_equal(p->props.subscription_identifier, 127); /* the first */
    assert_int_equal(p->props.topic_alias, 256);
    assert_true(props_has(&p->props, PROP_USER_PROPERTY));
    assert_int_equal(p->props.raw.len, 0x25);
    assert_null(p->props.encoded.at);
    decoded_free(&d);
}

static void publish_decode_is_packet_decode(void **state) {
    (void)state;
    static const uint8_t wire[] = { 0x00, 0x01, 't', 'x', 'y' };
    struct frame f = { .type = PKT_PUBLISH, .head_len = 2, .body_len = sizeof wire, .body = wire };
    struct pkt_publish p;
    assert_int_equal(publish_decode(&f, MQTT_3_1_1, SLICE_NONE, &p), 0);
    assert_false(p.dup || p.retain || p.qos || p.packet_id || p.props.present);
    check_slice(p.topic, "t");
    check_slice(p.payload, "xy");
    f.body_len = 3;
    assert_int_equal(publish_decode(&f, MQTT_3_1_1, SLICE_NONE, &p), 0);
    assert_non_null(p.payload.at); /* empty, not absent */
    assert_int_equal(p.payload.len, 0);
}

static void acknowledgements(void **state) {
    (void)state;
    static const struct row rows[] = {
        { "PUBACK", 3, 0, WIRE("\x40\x02\0\1") },
        { "PUBREC", 4, 0, WIRE("\x50\x02\xFF\xFF") },
        { "PUBREL", 4, 0, WIRE("\x62\x02\0\1") },
        { "PUBCOMP", 4, 0, WIRE("\x70\x02\0\1") },
        { "3.x: two bytes and no less", 4, RC_MALFORMED_PACKET, WIRE("\x40\x01\0") },
        { "3.x: nothing", 4, RC_MALFORMED_PACKET, WIRE("\x40\x00") },
        { "3.x: two bytes and no more", 4, RC_MALFORMED_PACKET, WIRE("\x40\x03\0\1\0") },
        { "3.1: two bytes and no more", 3, RC_MALFORMED_PACKET, WIRE("\x62\x04\0\1\0\0") },
        { "[MQTT-2.2.1-3] packet id 0", 4, RC_PROTOCOL_ERROR, WIRE("\x40\x02\0\0") },
        { "[MQTT-2.2.1-3] packet id 0", 5, RC_PROTOCOL_ERROR, WIRE("\x62\x02\0\0") },
        { "3.4.2.1 length 2", 5, 0, WIRE("\x40\x02\0\1") },
        { "3.4.2.1 length 3", 5, 0, WIRE("\x40\x03\0\1\x10") },
        { "3.4.2.1 length 4", 5, 0, WIRE("\x40\x04\0\1\x10\0") },
        { "3.4.2.1 length 4, success", 5, 0, WIRE("\x70\x04\0\1\0\0") },
        { "reason string", 5, 0, WIRE("\x50\x08\0\1\x87\4\x1F\0\1r") },
        { "reason string twice", 5, RC_PROTOCOL_ERROR, WIRE("\x50\x0C\0\1\x87\x08\x1F\0\1r\x1F\0\1r") },
        { "bytes left over", 5, RC_MALFORMED_PACKET, WIRE("\x50\x05\0\1\x87\0\0") },
        { "property length beyond the packet", 5, RC_MALFORMED_PACKET, WIRE("\x50\x04\0\1\x87\1") },
        { "[MQTT-3.6.2-1] 0x10 is not for PUBREL", 5, RC_PROTOCOL_ERROR, WIRE("\x62\x03\0\1\x10") },
        { "3.6.2.1 0x92 is for PUBREL", 5, 0, WIRE("\x62\x03\0\1\x92") },
        { "[MQTT-3.4.2-1] 0x92 is not for PUBACK", 5, RC_PROTOCOL_ERROR, WIRE("\x40\x03\0\1\x92") },
    };
    check_rows(rows, ARRAY_LEN(rows));
    struct decoded d = decode_bytes("\x50\x08\0\x09\x87\4\x1F\0\1r", 10, 5);
    assert_int_equal(d.p.type, PKT_PUBREC);
    assert_int_equal(d.p.ack.packet_id, 9);
    assert_int_equal(d.p.ack.reason_code, RC_NOT_AUTHORIZED);
    check_slice(d.p.ack.props.reason_string, "r");
    decoded_free(&d);
    d = decode_bytes("\x40\x02\0\x09", 4, 5);
    assert_int_equal(d.p.ack.reason_code, RC_SUCCESS);
    assert_true(d.p.ack.props.present == 0);
    decoded_free(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_header_flags),
        cmocka_unit_test(topic_names),
        cmocka_unit_test(publish_properties),
        cmocka_unit_test(every_field_of_a_publish),
        cmocka_unit_test(publish_decode_is_packet_decode),
        cmocka_unit_test(acknowledgements),
    };
    return cmocka_run_group_tests_name("mqtt/decode publish", tests, NULL, NULL);
}
