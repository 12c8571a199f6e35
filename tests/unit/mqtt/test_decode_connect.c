/* test_decode_connect.c -- CONNECT and CONNACK as bytes: mqtt/decode.c. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "mqtt/rows.h"

#include "mqtt/props.h"

/* Rows are read across. */
/* clang-format off */

static void a_small_connect_of_each_version(void **state) {
    (void)state;
    static const struct row rows[] = {
        { "3.1", 3, 0, WIRE("\x10\x0f" "\0\6MQIsdp" "\x03" "\x02" "\0\x3C" "\0\1c") },
        { "3.1.1", 4, 0, WIRE("\x10\x0d" "\0\4MQTT" "\x04" "\x02" "\0\x3C" "\0\1c") },
        { "5.0", 5, 0, WIRE("\x10\x0e" "\0\4MQTT" "\x05" "\x02" "\0\x3C" "\0" "\0\1c") },
    };
    check_rows(rows, ARRAY_LEN(rows));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct decoded d = decode_bytes(rows[i].wire, rows[i].len, 0); /* its own version counts */
        const struct pkt_connect *c = &d.p.connect;
        assert_int_equal(d.p.type, PKT_CONNECT);
        assert_int_equal(c->version, rows[i].version);
        assert_true(c->clean_start);
        assert_false(c->has_will || c->has_username || c->has_password);
        assert_int_equal(c->keep_alive, 60);
        check_slice(c->client_id, "c");
        assert_true(c->props.present == 0);
        assert_null(c->username.at);
        decoded_free(&d);
    }
}

/* The order of the payload: [MQTT-3.1.3-1]. */
static void every_field_of_a_full_connect(void **state) {
    (void)state;
    static const struct row row = { "all there is", 5, 0,
        WIRE("\x10\x36" "\0\4MQTT" "\x05" "\xF6" "\x12\x34" "\x0B" "\x11\0\0\0\x0A" "\x26\0\1k\0\0"
             "\0\2id" "\x0A" "\x18\0\0\0\x05" "\x26\0\0\0\0" "\0\3w/t" "\0\2\0\xFF" "\0\2us" "\0\2\xFF\0") };
    check_rows(&row, 1);
    struct decoded d = decode_bytes(row.wire, row.len, 0);
    const struct pkt_connect *c = &d.p.connect;
    assert_int_equal(c->version, 5);
    assert_true(c->clean_start && c->has_will && c->has_username && c->has_password);
    assert_int_equal(c->keep_alive, 0x1234);
    assert_true(c->props.present ==
                (PROP_BIT(PROP_SESSION_EXPIRY_INTERVAL) | PROP_BIT(PROP_USER_PROPERTY)));
    assert_int_equal(c->props.session_expiry_interval, 10);
    check_slice(c->client_id, "id");
    assert_true(props_has(&c->will.props, PROP_WILL_DELAY_INTERVAL));
    assert_int_equal(c->will.props.will_delay_interval, 5);
    check_slice(c->will.topic, "w/t");
    assert_true(slice_eq(c->will.payload, SLICE("\0\xFF")));
    assert_int_equal(c->will.qos, 2);
    assert_true(c->will.retain);
    check_slice(c->username, "us");
    assert_true(slice_eq(c->password, SLICE("\xFF\0")));
    decoded_free(&d);
}

static void names_and_levels(void **state) {
    (void)state;
    static const struct {
        const char *why;
        uint8_t version;
        struct row row;
    } rows[] = {
        { "[MQTT-3.1.2-2] 3.1's name, 3.1.1's level", 4, { "", 0, RC_UNSUPPORTED_PROTOCOL_VERSION,
          WIRE("\x10\x0f" "\0\6MQIsdp" "\x04" "\x02" "\0\x3C" "\0\1c") } },
        { "[MQTT-3.1.2-2] 3.1.1's name, 3.1's level", 3, { "", 0, RC_UNSUPPORTED_PROTOCOL_VERSION,
          WIRE("\x10\x0d" "\0\4MQTT" "\x03" "\x02" "\0\x3C" "\0\1c") } },
        { "[MQTT-3.1.2-2] level 6", 6, { "", 0, RC_UNSUPPORTED_PROTOCOL_VERSION,
          WIRE("\x10\x0e" "\0\4MQTT" "\x06" "\x02" "\0\x3C" "\0" "\0\1c") } },
        { "[MQTT-3.1.2-2] level 0", 0, { "", 0, RC_UNSUPPORTED_PROTOCOL_VERSION,
          WIRE("\x10\x0d" "\0\4MQTT" "\0" "\x02" "\0\x3C" "\0\1c") } },
        { "a bridge's mark in the level", 0x84, { "", 0, RC_UNSUPPORTED_PROTOCOL_VERSION,
          WIRE("\x10\x0d" "\0\4MQTT" "\x84" "\x02" "\0\x3C" "\0\1c") } },
        { "an unknown level ends the reading", 9, { "", 0, RC_UNSUPPORTED_PROTOCOL_VERSION,
          WIRE("\x10\x07" "\0\4MQTT" "\x09") } },
        { "[MQTT-3.1.2-1] another name", 0, { "", 0, RC_UNSUPPORTED_PROTOCOL_VERSION,
          WIRE("\x10\x0d" "\0\4MQTP" "\x04" "\x02" "\0\x3C" "\0\1c") } },
        { "[MQTT-3.1.2-1] names are case sensitive", 0, { "", 0, RC_UNSUPPORTED_PROTOCOL_VERSION,
          WIRE("\x10\x0d" "\0\4mqtt" "\x04" "\x02" "\0\x3C" "\0\1c") } },
        { "[MQTT-3.1.2-1] empty name", 0, { "", 0, RC_UNSUPPORTED_PROTOCOL_VERSION,
          WIRE("\x10\x09" "\0\0" "\x04" "\x02" "\0\x3C" "\0\1c") } },
        { "name without a level", 0, { "", 0, RC_MALFORMED_PACKET, WIRE("\x10\x06" "\0\4MQTT") } },
        { "half a name", 0, { "", 0, RC_MALFORMED_PACKET, WIRE("\x10\x04" "\0\4MQ") } },
        { "nothing", 0, { "", 0, RC_MALFORMED_PACKET, WIRE("\x10\x00") } },
        { "malformed behind a known version", 5, { "", 0, RC_MALFORMED_PACKET, WIRE("\x10\x07" "\0\4MQTT" "\x05") } },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct decoded d = decode_bytes(rows[i].row.wire, rows[i].row.len, 0);
        if (d.rc != rows[i].row.rc || d.p.connect.version != rows[i].version)
            fail_msg("%s: 0x%02x, version %u", rows[i].why, (unsigned)d.rc, d.p.connect.version);
        decoded_free(&d);
    }
}

/* Which flag bytes the standard allows, statement by statement. */
static bool flags_are_allowed(unsigned flags, unsigned version) {
    unsigned will = flags >> 2 & 1, qos = flags >> 3 & 3, retain = flags >> 5 & 1;
    unsigned password = flags >> 6 & 1, username = flags >> 7;
    if (will && qos == 3) return false;                     /* [MQTT-3.1.2-12] */
    if (version < 5 && password && !username) return false; /* 3.1.1 [MQTT-3.1.2-22] */
    if (version == 3) return true;                          /* bit 0 not used, others disregarded */
    if (flags & 1) return false;                            /* [MQTT-3.1.2-3] */
    if (!will && (qos || retain)) return false;             /* [MQTT-3.1.2-11] [MQTT-3.1.2-13] */
    return true;
}

static size_t build_connect(uint8_t *out, unsigned version, unsigned flags) {
    size_t n = 2;
    const char *name = version == 3 ? "MQIsdp" : "MQTT";
    out[n++] = 0, out[n++] = (uint8_t)strlen(name);
    memcpy(out + n, name, strlen(name)), n += strlen(name);
    out[n++] = (uint8_t)version, out[n++] = (uint8_t)flags, out[n++] = 0, out[n++] = 1;
    if (version == 5) out[n++] = 0;
    memcpy(out + n, "\0\1c", 3), n += 3;
    if (flags & 4 && version == 5) out[n++] = 0;
    if (flags & 4)
        memcpy(out + n,
               "\0\1t" "\0\1p",
               6),
            n += 6;
    if (flags & 0x80) memcpy(out + n, "\0\1u", 3), n += 3;
    if (flags & 0x40) memcpy(out + n, "\0\1s", 3), n += 3;
    out[0] = 0x10, out[1] = (uint8_t)(n - 2);
    return n;
}

static void all_256_flag_bytes_in_each_version(void **state) {
    (void)state;
    for (unsigned version = 3; version <= 5; version++) {
        for (unsigned flags = 0; flags < 256; flags++) {
            uint8_t wire[64];
            struct decoded d = decode_bytes(wire, build_connect(wire, version, flags), 0);
            int want = flags_are_allowed(flags, version) ? 0 : RC_MALFORMED_PACKET;
            if (d.rc != want) fail_msg("version %u flags 0x%02x: %d", version, flags, d.rc);
            if (want == 0) {
                assert_int_equal(d.p.connect.clean_start, flags >> 1 & 1);
                assert_int_equal(d.p.connect.has_will, flags >> 2 & 1);
                assert_int_equal(d.p.connect.has_username, flags >> 7);
                assert_int_equal(d.p.connect.has_password, flags >> 6 & 1);
                if (d.p.connect.has_will) assert_int_equal(d.p.connect.will.qos, flags >> 3 & 3);
                if (d.p.connect.has_will) assert_int_equal(d.p.connect.will.retain, flags >> 5 & 1);
            }
            decoded_free(&d);
        }
    }
}

static void connect_payloads(void **state) {
    (void)state;
    static const struct row rows[] = {
        { "[MQTT-3.1.3-6] empty client id is decoded", 4, 0, WIRE("\x10\x0c" "\0\4MQTT" "\x04" "\x02" "\0\0" "\0\0") },
        { "[MQTT-3.1.3-4] client id not UTF-8", 4, RC_MALFORMED_PACKET,
          WIRE("\x10\x0d" "\0\4MQTT" "\x04" "\x02" "\0\0" "\0\1\xFF") },
        { "[MQTT-1.5.4-2] U+0000 in the client id", 4, RC_MALFORMED_PACKET,
          WIRE("\x10\x0d" "\0\4MQTT" "\x04" "\x02" "\0\0" "\0\1\0") },
        { "3.1 is text, too", 3, RC_MALFORMED_PACKET, WIRE("\x10\x0f" "\0\6MQIsdp" "\x03" "\x02" "\0\0" "\0\1\xFF") },
        { "[MQTT-3.1.3-3] no client id", 4, RC_MALFORMED_PACKET, WIRE("\x10\x0a" "\0\4MQTT" "\x04" "\x02" "\0\0") },
        { "bytes left over", 4, RC_MALFORMED_PACKET, WIRE("\x10\x0e" "\0\4MQTT" "\x04" "\x02" "\0\0" "\0\1c" "x") },
        { "bytes left over", 3, RC_MALFORMED_PACKET, WIRE("\x10\x10" "\0\6MQIsdp" "\x03" "\x02" "\0\0" "\0\1c" "x") },
        { "[MQTT-3.1.3-11] will topic not UTF-8", 4, RC_MALFORMED_PACKET,
          WIRE("\x10\x12" "\0\4MQTT" "\x04" "\x06" "\0\0" "\0\1c" "\0\1\xC0" "\0\0") },
        { "[MQTT-3.3.2-2] will topic +", 4, RC_TOPIC_NAME_INVALID,
          WIRE("\x10\x12" "\0\4MQTT" "\x04" "\x06" "\0\0" "\0\1c" "\0\1+" "\0\0") },
        { "[MQTT-3.3.2-2] will topic a/#", 5, RC_TOPIC_NAME_INVALID,
          WIRE("\x10\x16" "\0\4MQTT" "\x05" "\x06" "\0\0" "\0" "\0\1c" "\0" "\0\3a/#" "\0\0") },
        { "[MQTT-4.7.3-1] empty will topic", 4, RC_TOPIC_NAME_INVALID,
          WIRE("\x10\x11" "\0\4MQTT" "\x04" "\x06" "\0\0" "\0\1c" "\0\0" "\0\0") },
        { "[MQTT-3.1.2-9] will without payload field", 4, RC_MALFORMED_PACKET,
          WIRE("\x10\x10" "\0\4MQTT" "\x04" "\x06" "\0\0" "\0\1c" "\0\1w") },
        { "[MQTT-3.1.3-12] user name not UTF-8", 4, RC_MALFORMED_PACKET,
          WIRE("\x10\x10" "\0\4MQTT" "\x04" "\x82" "\0\0" "\0\1c" "\0\1\x80") },
        { "[MQTT-3.1.2-17] user name missing", 4, RC_MALFORMED_PACKET,
          WIRE("\x10\x0d" "\0\4MQTT" "\x04" "\x82" "\0\0" "\0\1c") },
        { "3.1 3.1: user name flag without the string", 3, 0,
          WIRE("\x10\x0f" "\0\6MQIsdp" "\x03" "\x82" "\0\0" "\0\1c") },
        { "3.1 3.1: both flags, user name only", 3, 0,
          WIRE("\x10\x12" "\0\6MQIsdp" "\x03" "\xC2" "\0\0" "\0\1c" "\0\1u") },
        { "3.1: half a user name is half a packet", 3, RC_MALFORMED_PACKET,
          WIRE("\x10\x12" "\0\6MQIsdp" "\x03" "\x82" "\0\0" "\0\1c" "\0\2u") },
        { "[MQTT-3.1.2-19] password missing", 4, RC_MALFORMED_PACKET,
          WIRE("\x10\x10" "\0\4MQTT" "\x04" "\xC2" "\0\0" "\0\1c" "\0\1u") },
        { "3.1.2.9 password alone in 5.0", 5, 0,
          WIRE("\x10\x11" "\0\4MQTT" "\x05" "\x42" "\0\0" "\0" "\0\1c" "\0\1s") },
        { "3.1.2.11.1 no property length", 5, RC_MALFORMED_PACKET, WIRE("\x10\x0a" "\0\4MQTT" "\x05" "\x02" "\0\0") },
        { "properties run out of the packet", 5, RC_MALFORMED_PACKET,
          WIRE("\x10\x0f" "\0\4MQTT" "\x05" "\x02" "\0\0" "\x05\x11\0\0\0") },
        { "a property runs out of its block", 5, RC_MALFORMED_PACKET,
          WIRE("\x10\x13" "\0\4MQTT" "\x05" "\x02" "\0\0" "\x02\x11\0\0\0\0" "\0\1c") },
        { "2.2.2.2 topic alias in CONNECT", 5, RC_MALFORMED_PACKET,
          WIRE("\x10\x11" "\0\4MQTT" "\x05" "\x02" "\0\0" "\x03\x23\0\1" "\0\1c") },
        { "2.2.2.2 will delay outside the will", 5, RC_MALFORMED_PACKET,
          WIRE("\x10\x13" "\0\4MQTT" "\x05" "\x02" "\0\0" "\x05\x18\0\0\0\1" "\0\1c") },
        { "2.2.2.2 session expiry inside the will", 5, RC_MALFORMED_PACKET,
          WIRE("\x10\x19" "\0\4MQTT" "\x05" "\x06" "\0\0" "\0" "\0\1c" "\x05\x11\0\0\0\1" "\0\1w" "\0\0") },
        { "3.1.2.11.3 receive maximum 0", 5, RC_PROTOCOL_ERROR,
          WIRE("\x10\x11" "\0\4MQTT" "\x05" "\x02" "\0\0" "\x03\x21\0\0" "\0\1c") },
        { "3.1.2.11.2 session expiry twice", 5, RC_PROTOCOL_ERROR,
          WIRE("\x10\x18" "\0\4MQTT" "\x05" "\x02" "\0\0" "\x0A\x11\0\0\0\1\x11\0\0\0\1" "\0\1c") },
        { "3.1.2.11.10 data without method", 5, RC_PROTOCOL_ERROR,
          WIRE("\x10\x12" "\0\4MQTT" "\x05" "\x02" "\0\0" "\x04\x16\0\1x" "\0\1c") },
        { "3.1.2.11.9 method and data", 5, 0,
          WIRE("\x10\x16" "\0\4MQTT" "\x05" "\x02" "\0\0" "\x08\x16\0\1x\x15\0\1m" "\0\1c") },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void connack(void **state) {
    (void)state;
    static const struct row rows[] = {
        { "accepted", 3, 0, WIRE("\x20\x02\0\0") },
        { "3.1 3.2: the first byte is not used", 3, 0, WIRE("\x20\x02\1\5") },
        { "accepted, session present", 4, 0, WIRE("\x20\x02\1\0") },
        { "not authorized", 4, 0, WIRE("\x20\x02\0\5") },
        { "3.1.1 table 3.1: 6 is reserved", 4, RC_PROTOCOL_ERROR, WIRE("\x20\x02\0\6") },
        { "[MQTT-3.2.2-1] reserved flags", 4, RC_MALFORMED_PACKET, WIRE("\x20\x02\2\0") },
        { "3.1.1 [MQTT-3.2.2-4] refused but present", 4, RC_PROTOCOL_ERROR, WIRE("\x20\x02\1\5") },
        { "short", 4, RC_MALFORMED_PACKET, WIRE("\x20\x01\0") },
        { "long", 4, RC_MALFORMED_PACKET, WIRE("\x20\x03\0\0\0") },
        { "5.0", 5, 0, WIRE("\x20\x03\0\0\0") },
        { "5.0 without property length", 5, RC_MALFORMED_PACKET, WIRE("\x20\x02\0\0") },
        { "5.0 refused", 5, 0, WIRE("\x20\x03\0\x87\0") },
        { "[MQTT-3.2.2-6] refused but present", 5, RC_PROTOCOL_ERROR, WIRE("\x20\x03\1\x87\0") },
        { "[MQTT-3.2.2-8] 0x8E is not for CONNACK", 5, RC_PROTOCOL_ERROR, WIRE("\x20\x03\0\x8E\0") },
        { "3.x return code in 5.0", 5, RC_PROTOCOL_ERROR, WIRE("\x20\x03\0\5\0") },
        { "3.2.2.3.4 maximum QoS 2", 5, RC_PROTOCOL_ERROR, WIRE("\x20\x05\0\0\2\x24\2") },
        { "3.2.2.3.4 maximum QoS 1", 5, 0, WIRE("\x20\x05\0\0\2\x24\1") },
    };
    check_rows(rows, ARRAY_LEN(rows));
    struct decoded d = decode_bytes("\x20\x0A\1\0\7\x13\0\x3C\x22\0\x10\x25\0", 12, 5);
    assert_int_equal(d.rc, RC_MALFORMED_PACKET); /* the block is one byte short */
    decoded_free(&d);
    d = decode_bytes("\x20\x0B\1\0\x08\x13\0\x3C\x22\0\x10\x25\0", 13, 5);
    assert_int_equal(d.rc, 0);
    assert_true(d.p.connack.session_present);
    assert_int_equal(d.p.connack.props.server_keep_alive, 60);
    assert_int_equal(d.p.connack.props.topic_alias_maximum, 16);
    assert_int_equal(d.p.connack.props.retain_available, 0);
    decoded_free(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_connect_of_each_version),
        cmocka_unit_test(every_field_of_a_full_connect),
        cmocka_unit_test(names_and_levels),
        cmocka_unit_test(all_256_flag_bytes_in_each_version),
        cmocka_unit_test(connect_payloads),
        cmocka_unit_test(connack),
    };
    return cmocka_run_group_tests_name("mqtt/decode connect", tests, NULL, NULL);
}
