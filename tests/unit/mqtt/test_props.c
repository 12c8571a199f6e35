/* test_props.c -- MQTT 5.0 properties: mqtt/props.c.
 *
 * `samples` is table 2-4 of the standard, written out a second time and independently of the
 * one in props.c. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "mqtt/rows.h"

#include "base/buf.h"
#include "mqtt/props.h"

#include <stdio.h>

/* Rows are read across. */
/* clang-format off */

#define PLACES 16 /* 0 is the will, else the packet type */

static const char *const place_names[PLACES] = {
    "Will",    "CONNECT",  "CONNACK",    "PUBLISH", "PUBACK",      "PUBREC",
    "PUBREL",  "PUBCOMP",  "SUBSCRIBE",  "SUBACK",  "UNSUBSCRIBE", "UNSUBACK",
    "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
};

#define ALL_PLACES                                                                                 \
    "CONNECT CONNACK PUBLISH Will PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK "                  \
    "UNSUBSCRIBE UNSUBACK DISCONNECT AUTH"

static const struct sample {
    uint8_t id;
    const char *name;
    const char *wire; /* a valid value */
    size_t len;
    const char *places;
} samples[] = {
    { 0x01, "payload_format_indicator", WIRE("\1"), "PUBLISH Will" },
    { 0x02, "message_expiry_interval", WIRE("\1\2\3\4"), "PUBLISH Will" },
    { 0x03, "content_type", WIRE("\0\1c"), "PUBLISH Will" },
    { 0x08, "response_topic", WIRE("\0\1r"), "PUBLISH Will" },
    { 0x09, "correlation_data", WIRE("\0\2\0\xFF"), "PUBLISH Will" },
    { 0x0B, "subscription_identifier", WIRE("\x81\1"), "PUBLISH SUBSCRIBE" },
    { 0x11, "session_expiry_interval", WIRE("\xFF\xFF\xFF\xFF"), "CONNECT CONNACK DISCONNECT" },
    { 0x12, "assigned_client_identifier", WIRE("\0\2id"), "CONNACK" },
    { 0x13, "server_keep_alive", WIRE("\0\0"), "CONNACK" },
    { 0x15, "authentication_method", WIRE("\0\1m"), "CONNECT CONNACK AUTH" },
    { 0x16, "authentication_data", WIRE("\0\1\xFE"), "CONNECT CONNACK AUTH" },
    { 0x17, "request_problem_information", WIRE("\0"), "CONNECT" },
    { 0x18, "will_delay_interval", WIRE("\0\0\0\1"), "Will" },
    { 0x19, "request_response_information", WIRE("\1"), "CONNECT" },
    { 0x1A, "response_information", WIRE("\0\0"), "CONNACK" },
    { 0x1C, "server_reference", WIRE("\0\4host"), "CONNACK DISCONNECT" },
    { 0x1F, "reason_string", WIRE("\0\2no"), "CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT AUTH" },
    { 0x21, "receive_maximum", WIRE("\0\1"), "CONNECT CONNACK" },
    { 0x22, "topic_alias_maximum", WIRE("\0\0"), "CONNECT CONNACK" },
    { 0x23, "topic_alias", WIRE("\xFF\xFF"), "PUBLISH" },
    { 0x24, "maximum_qos", WIRE("\1"), "CONNACK" },
    { 0x25, "retain_available", WIRE("\1"), "CONNACK" },
    { 0x26, "user_property", WIRE("\0\1k\0\2vv"), ALL_PLACES },
    { 0x27, "maximum_packet_size", WIRE("\0\0\0\1"), "CONNECT CONNACK" },
    { 0x28, "wildcard_subscription_available", WIRE("\0"), "CONNACK" },
    { 0x29, "subscription_identifier_available", WIRE("\1"), "CONNACK" },
    { 0x2A, "shared_subscription_available", WIRE("\0"), "CONNACK" },
};

static const struct sample *sample_of(unsigned id) {
    for (size_t i = 0; i < ARRAY_LEN(samples); i++)
        if (samples[i].id == id) return &samples[i];
    return NULL;
}

/* Whole words only: UNSUBSCRIBE is not SUBSCRIBE. */
static bool may_stand_in(const struct sample *s, unsigned place) {
    const char *name = place_names[place];
    for (const char *at = s->places; (at = strstr(at, name)); at++) {
        char end = at[strlen(name)];
        if ((at == s->places || at[-1] == ' ') && (end == ' ' || end == 0)) return true;
    }
    return false;
}

/* The authentication method that data needs [3.1.2.11.10]. */
static void add_method(struct buf *b, unsigned id) {
    if (id == PROP_AUTHENTICATION_DATA) buf_add(b, "\x15\0\1m", 4);
}

static void add_sample(struct buf *b, const struct sample *s) {
    buf_add(b, &s->id, 1);
    buf_add(b, s->wire, s->len);
}

/* Decodes a block from an exact heap copy; the slices in `out` are gone afterwards. */
static int decode_block(struct slice block, unsigned place, struct props *out) {
    struct buf in = BUF_INIT;
    uint8_t length[4];
    buf_add(&in, length, (size_t)(varint_encode((uint32_t)block.len, length) - length));
    buf_add_slice(&in, block);
    uint8_t *exact = xmalloc(in.len);
    memcpy(exact, in.at, in.len);
    size_t at = 0;
    int rc = props_decode(slice_of(exact, in.len), &at, place, out);
    if (rc == 0) assert_int_equal(at, in.len);
    free(exact);
    buf_deinit(&in);
    return rc;
}

static void every_property_in_every_packet(void **state) {
    (void)state;
    for (unsigned place = 0; place < PLACES; place++) {
        for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
            const struct sample *s = &samples[i];
            struct props p;
            struct buf once = BUF_INIT;
            add_method(&once, s->id);
            add_sample(&once, s);
            int rc = decode_block(buf_slice(&once), place, &p);
            if (rc != (may_stand_in(s, place) ? 0 : RC_MALFORMED_PACKET))
                fail_msg("%s in %s: 0x%02x", s->name, place_names[place], (unsigned)rc);
            if (rc == 0) assert_true(props_has(&p, s->id));
            buf_deinit(&once);
        }
    }
}

static void nothing_may_stand_twice_but_two(void **state) {
    (void)state;
    for (unsigned place = 0; place < PLACES; place++) {
        for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
            const struct sample *s = &samples[i];
            if (!may_stand_in(s, place)) continue;
            bool repeats = s->id == PROP_USER_PROPERTY ||
                           (s->id == PROP_SUBSCRIPTION_IDENTIFIER && place == PKT_PUBLISH);
            struct props p;
            struct buf twice = BUF_INIT;
            add_method(&twice, s->id);
            add_sample(&twice, s);
            add_sample(&twice, s);
            int rc = decode_block(buf_slice(&twice), place, &p);
            if (rc != (repeats ? 0 : RC_PROTOCOL_ERROR))
                fail_msg("%s twice in %s: 0x%02x", s->name, place_names[place], (unsigned)rc);
            buf_deinit(&twice);
        }
    }
}

static void other_identifiers_are_malformed(void **state) { /* 2.2.2.2 */
    (void)state;
    for (uint32_t id = 0; id < 70000; id++) {
        const struct sample *s = sample_of(id);
        const struct prop_rule *rule = prop_rule(id);
        if (!!s != !!rule) fail_msg("identifier %u", id);
        if (rule) {
            assert_string_equal(rule->name, s->name);
            continue;
        }
        uint8_t block[16] = { 0 };
        size_t len = (size_t)(varint_encode(id, block) - block);
        struct props p;
        assert_int_equal(decode_block(slice_of(block, len + 8), PKT_PUBLISH, &p),
                         RC_MALFORMED_PACKET);
    }
    assert_null(prop_rule(UINT32_MAX));
}

static void every_property_cut_short_is_malformed(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        const struct sample *s = &samples[i];
        for (unsigned place = 0; place < PLACES; place++) {
            if (!may_stand_in(s, place)) continue;
            struct buf whole = BUF_INIT;
            struct props p;
            add_sample(&whole, s);
            for (size_t cut = 1; cut < whole.len; cut++)
                if (decode_block(slice_of(whole.at, cut), place, &p) != RC_MALFORMED_PACKET)
                    fail_msg("%s cut to %zu bytes", s->name, cut);
            buf_deinit(&whole);
        }
    }
}

static void ranges(void **state) {
    (void)state;
    static const struct {
        const char *why;
        unsigned place;
        int rc;
        const char *wire;
        size_t len;
    } rows[] = {
        { "3.3.2.3.2 payload format 0", PKT_PUBLISH, 0, WIRE("\1\0") },
        { "3.3.2.3.2 payload format 2", PKT_PUBLISH, RC_PROTOCOL_ERROR, WIRE("\1\2") },
        { "3.1.3.2.3 the will's", PROPS_WILL, RC_PROTOCOL_ERROR, WIRE("\1\xFF") },
        { "3.3.2.3.3 expiry 0", PKT_PUBLISH, 0, WIRE("\2\0\0\0\0") },
        { "3.3.2.3.8 subscription identifier 0", PKT_PUBLISH, RC_PROTOCOL_ERROR, WIRE("\x0B\0") },
        { "3.8.2.1.2 subscription identifier 0", PKT_SUBSCRIBE, RC_PROTOCOL_ERROR, WIRE("\x0B\0") },
        { "3.8.2.1.2 268,435,455", PKT_SUBSCRIBE, 0, WIRE("\x0B\xFF\xFF\xFF\x7F") },
        { "1.5.5 five bytes", PKT_SUBSCRIBE, RC_MALFORMED_PACKET, WIRE("\x0B\xFF\xFF\xFF\xFF\1") },
        { "[MQTT-1.5.5-1] 1 in two bytes", PKT_SUBSCRIBE, RC_MALFORMED_PACKET, WIRE("\x0B\x81\0") },
        { "3.1.2.11.7 request problem information 2", PKT_CONNECT, RC_PROTOCOL_ERROR, WIRE("\x17\2") },
        { "3.1.2.11.6 request response information 2", PKT_CONNECT, RC_PROTOCOL_ERROR, WIRE("\x19\2") },
        { "3.1.2.11.3 receive maximum 0", PKT_CONNECT, RC_PROTOCOL_ERROR, WIRE("\x21\0\0") },
        { "3.2.2.3.3 receive maximum 0", PKT_CONNACK, RC_PROTOCOL_ERROR, WIRE("\x21\0\0") },
        { "3.1.2.11.4 maximum packet size 0", PKT_CONNECT, RC_PROTOCOL_ERROR, WIRE("\x27\0\0\0\0") },
        { "[MQTT-3.3.2-8] alias 0", PKT_PUBLISH, RC_TOPIC_ALIAS_INVALID, WIRE("\x23\0\0") },
        { "3.2.2.3.4 maximum QoS 2", PKT_CONNACK, RC_PROTOCOL_ERROR, WIRE("\x24\2") },
        { "3.2.2.3.5 retain available 2", PKT_CONNACK, RC_PROTOCOL_ERROR, WIRE("\x25\2") },
        { "3.2.2.3.11 wildcards available 2", PKT_CONNACK, RC_PROTOCOL_ERROR, WIRE("\x28\2") },
        { "3.2.2.3.12 identifiers available 2", PKT_CONNACK, RC_PROTOCOL_ERROR, WIRE("\x29\2") },
        { "3.2.2.3.13 shared available 2", PKT_CONNACK, RC_PROTOCOL_ERROR, WIRE("\x2A\2") },
        { "[MQTT-3.3.2-14] response topic", PKT_PUBLISH, RC_PROTOCOL_ERROR, WIRE("\x08\0\1#") },
        { "[MQTT-3.3.2-14] the will's", PROPS_WILL, RC_PROTOCOL_ERROR, WIRE("\x08\0\3a/+") },
        { "3.1.2.11.10 data without method", PKT_CONNECT, RC_PROTOCOL_ERROR, WIRE("\x16\0\0") },
        { "3.2.2.3.18 data without method", PKT_CONNACK, RC_PROTOCOL_ERROR, WIRE("\x16\0\0") },
        { "data before its method", PKT_AUTH, 0, WIRE("\x16\0\0\x15\0\1m") },
        { "1.5.4 content type not UTF-8", PKT_PUBLISH, RC_MALFORMED_PACKET, WIRE("\3\0\2\xC3(") },
        { "[MQTT-1.5.4-2] U+0000 in a name", PKT_PUBLISH, RC_MALFORMED_PACKET, WIRE("\x26\0\1\0\0\1v") },
        { "1.5.6 binary is not text", PKT_PUBLISH, 0, WIRE("\x09\0\2\xC3(") },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct props p;
        int rc = decode_block(slice_of(rows[i].wire, rows[i].len), rows[i].place, &p);
        if (rc != rows[i].rc) fail_msg("%s: 0x%02x", rows[i].why, (unsigned)rc);
    }
}

static void a_block_is_walked_in_wire_order(void **state) {
    (void)state;
    static const char wire[] = "\x16" "\x0B\1" "\x26\0\1a\0\1b" "\x23\0\7" "\x0B\x80\1" "\x26\0\1c\0\1d" "rest";
    struct props p;
    size_t at = 0;
    assert_int_equal(props_decode(slice_of(wire, sizeof wire - 1), &at, PKT_PUBLISH, &p), 0);
    assert_int_equal(at, 0x17);
    assert_int_equal(p.raw.len, 0x16);
    assert_int_equal(p.subscription_identifier, 1);
    static const struct {
        uint8_t id;
        uint32_t number;
        const char *key, *value;
    } want[] = {
        { PROP_SUBSCRIPTION_IDENTIFIER, 1, NULL, NULL },
        { PROP_USER_PROPERTY, 0, "a", "b" },
        { PROP_TOPIC_ALIAS, 7, NULL, NULL },
        { PROP_SUBSCRIPTION_IDENTIFIER, 128, NULL, NULL },
        { PROP_USER_PROPERTY, 0, "c", "d" },
    };
    struct prop_item item;
    at = 0;
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_true(props_next(p.raw, &at, &item));
        assert_int_equal(item.id, want[i].id);
        assert_int_equal(item.number, want[i].number);
        if (want[i].key) check_slice(item.key, want[i].key);
        if (want[i].key) check_slice(item.value, want[i].value);
    }
    assert_false(props_next(p.raw, &at, &item));
    at = 0;
    assert_false(props_next(SLICE_NONE, &at, &item));
}

static void a_block_may_stand_anywhere(void **state) {
    (void)state;
    static const char wire[] = "ab" "\3\x23\0\7" "\0" "\2\1\1";
    struct slice in = slice_of(wire, sizeof wire - 1);
    struct props p;
    size_t at = 2;
    assert_int_equal(props_decode(in, &at, PKT_PUBLISH, &p), 0);
    assert_int_equal(at, 6);
    assert_int_equal(p.topic_alias, 7);
    assert_ptr_equal(p.raw.at, wire + 3);
    assert_int_equal(props_decode(in, &at, PKT_PUBLISH, &p), 0);
    assert_int_equal(at, 7);
    assert_true(p.present == 0 && p.raw.len == 0);
    assert_int_equal(props_decode(in, &at, PROPS_WILL, &p), 0);
    assert_int_equal(at, in.len);
    assert_int_equal(p.payload_format_indicator, 1);
    assert_int_equal(props_decode(in, &at, PROPS_WILL, &p), RC_MALFORMED_PACKET);
}

static void an_empty_block_is_one_byte(void **state) {
    (void)state;
    struct props p;
    uint8_t out[1];
    props_init(&p);
    assert_int_equal(props_size(&p), 1);
    assert_ptr_equal(props_encode(&p, out), out + 1);
    assert_int_equal(out[0], 0);
    p.present = PROP_BIT(PROP_USER_PROPERTY); /* their bytes would be in `encoded` */
    assert_int_equal(props_size(&p), 1);
}

static void what_is_added_reads_back(void **state) {
    (void)state;
    struct buf b = BUF_INIT;
    assert_true(props_add_number(&b, PROP_MAXIMUM_QOS, 1));
    assert_true(props_add_number(&b, PROP_RECEIVE_MAXIMUM, 0x1234));
    assert_true(props_add_number(&b, PROP_SESSION_EXPIRY_INTERVAL, UINT32_MAX));
    assert_true(props_add_slice(&b, PROP_REASON_STRING, SLICE("r")));
    assert_true(props_add_user(&b, SLICE("k"), SLICE_NONE));
    static const char want[] = "\x24\1" "\x21\x12\x34" "\x11\xFF\xFF\xFF\xFF" "\x1F\0\1r" "\x26\0\1k\0\0";
    assert_true(slice_eq(buf_slice(&b), slice_of(want, sizeof want - 1)));
    struct props p;
    assert_int_equal(decode_block(buf_slice(&b), PKT_CONNACK, &p), 0);
    assert_int_equal(p.receive_maximum, 0x1234);
    assert_int_equal(p.maximum_qos, 1);
    buf_deinit(&b);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    struct buf b = BUF_INIT;
    struct slice long_text = slice_of(xcalloc(1, 65536), 65536);
    assert_false(props_add_number(&b, PROP_MAXIMUM_QOS, 256));
    assert_false(props_add_number(&b, PROP_TOPIC_ALIAS, 65536));
    assert_false(props_add_number(&b, PROP_SUBSCRIPTION_IDENTIFIER, MQTT_MAX_REMAINING + 1));
    assert_false(props_add_slice(&b, PROP_CORRELATION_DATA, long_text));
    assert_false(props_add_user(&b, long_text, SLICE("v")));
    assert_false(props_add_user(&b, SLICE("k"), long_text));
    assert_int_equal(b.len, 0);
    long_text.len = 65535;
    assert_true(props_add_user(&b, long_text, long_text));
    assert_int_equal(b.len, 1 + 2 * 65537);

    struct props p;
    props_init(&p);
    p.present = PROP_BIT(PROP_CONTENT_TYPE);
    p.content_type = long_text;
    assert_int_equal(props_size(&p), 3 + 3 + 65535);
    p.content_type.len = 65536;
    assert_int_equal(props_size(&p), 0);
    p.present = PROP_BIT(PROP_SUBSCRIPTION_IDENTIFIER);
    p.subscription_identifier = MQTT_MAX_REMAINING + 1;
    assert_int_equal(props_size(&p), 0);
    p.present = 0;
    p.encoded = slice_of(b.at, MQTT_MAX_REMAINING + 1u); /* never read */
    assert_int_equal(props_size(&p), 0);
    free((void *)(uintptr_t)long_text.at);
    buf_deinit(&b);
}

static void variable_byte_integers_are_shortest(void **state) { /* [MQTT-1.5.5-1], table 1-1 */
    (void)state;
    static const struct {
        uint32_t value;
        const char *wire;
        size_t len;
    } rows[] = {
        { 0, WIRE("\0") },
        { 127, WIRE("\x7F") },
        { 128, WIRE("\x80\1") },
        { 16383, WIRE("\xFF\x7F") },
        { 16384, WIRE("\x80\x80\1") },
        { 2097151, WIRE("\xFF\xFF\x7F") },
        { 2097152, WIRE("\x80\x80\x80\1") },
        { 268435455, WIRE("\xFF\xFF\xFF\x7F") },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t out[4];
        assert_int_equal(varint_encode(rows[i].value, out) - out, rows[i].len);
        assert_int_equal(varint_size(rows[i].value), rows[i].len);
        assert_memory_equal(out, rows[i].wire, rows[i].len);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_property_in_every_packet),
        cmocka_unit_test(nothing_may_stand_twice_but_two),
        cmocka_unit_test(other_identifiers_are_malformed),
        cmocka_unit_test(every_property_cut_short_is_malformed),
        cmocka_unit_test(ranges),
        cmocka_unit_test(a_block_is_walked_in_wire_order),
        cmocka_unit_test(a_block_may_stand_anywhere),
        cmocka_unit_test(an_empty_block_is_one_byte),
        cmocka_unit_test(what_is_added_reads_back),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(variable_byte_integers_are_shortest),
    };
    return cmocka_run_group_tests_name("mqtt/props", tests, NULL, NULL);
}
