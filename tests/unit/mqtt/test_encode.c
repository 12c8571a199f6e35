/* test_encode.c -- packets as literal bytes: mqtt/encode.c. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "mqtt/rows.h"

#include "base/buf.h"
#include "mqtt/encode.h"
#include "mqtt/props.h"

/* Rows are read across. */
/* clang-format off */

static void check_wire(const char *why, const struct packet *p, uint8_t version,
                       struct slice want) {
    struct buf b = BUF_INIT;
    if (packet_size(p, version) != want.len) fail_msg("%s: size %zu", why, packet_size(p, version));
    assert_true(packet_append(p, version, &b));
    if (!slice_eq(buf_slice(&b), want)) {
        for (size_t i = 0; i < b.len; i++) print_error("%02x ", b.at[i]);
        fail_msg("%s", why);
    }
    buf_deinit(&b);
}

#define CHECK(why, p, version, literal) check_wire(why, p, version, SLICE(literal))

/* Props as stack rubbish would leave them: only `present`, `raw` and `encoded` may be read. */
static struct props rubbish(void) {
    struct props p;
    memset(&p, 0xA5, sizeof p);
    props_init(&p);
    return p;
}

static void connect(void **state) {
    (void)state;
    struct packet p = { .type = PKT_CONNECT };
    p.connect = (struct pkt_connect){ .version = 3,
                                      .clean_start = true,
                                      .keep_alive = 60,
                                      .client_id = SLICE("c"),
                                      .props = rubbish() };
    CHECK("3.1", &p, 0, "\x10\x0F" "\0\6MQIsdp" "\x03" "\x02" "\0\x3C" "\0\1c");
    p.connect.version = 4;
    CHECK("its own version counts", &p, 5, "\x10\x0D" "\0\4MQTT" "\x04" "\x02" "\0\x3C" "\0\1c");
    p.connect.version = 5;
    CHECK("5.0", &p, 5, "\x10\x0E" "\0\4MQTT" "\x05" "\x02" "\0\x3C" "\0" "\0\1c");
    p.connect.clean_start = false;
    p.connect.has_username = p.connect.has_password = p.connect.has_will = true;
    p.connect.username = SLICE("u");
    p.connect.password = SLICE_NONE;
    p.connect.will = (struct will){ SLICE("w"), SLICE("bye"), 1, true, rubbish() };
    p.connect.will.props.present = PROP_BIT(PROP_WILL_DELAY_INTERVAL);
    p.connect.will.props.will_delay_interval = 5;
    p.connect.props.present = PROP_BIT(PROP_RECEIVE_MAXIMUM);
    p.connect.props.receive_maximum = 0x1234;
    CHECK("everything, 5.0", &p, 5,
          "\x10\x24" "\0\4MQTT" "\x05" "\xEC" "\0\x3C" "\3\x21\x12\x34" "\0\1c" "\5\x18\0\0\0\5" "\0\1w" "\0\3bye"
          "\0\1u" "\0\0");
    p.connect.version = 4;
    CHECK("everything, 3.1.1", &p, 4,
          "\x10\x1A" "\0\4MQTT" "\x04" "\xEC" "\0\x3C" "\0\1c" "\0\1w" "\0\3bye" "\0\1u" "\0\0");
    p.connect.has_will = p.connect.has_username = p.connect.has_password = false;
    CHECK("what is not there leaves no flag", &p, 4,
          "\x10\x0D" "\0\4MQTT" "\x04" "\0" "\0\x3C" "\0\1c");
}

static void connack(void **state) {
    (void)state;
    struct packet p = { .type = PKT_CONNACK, .connack = { true, 0, rubbish() } };
    CHECK("3.1 knows no session present", &p, 3, "\x20\x02\0\0");
    CHECK("3.1.1", &p, 4, "\x20\x02\1\0");
    CHECK("5.0", &p, 5, "\x20\x03\1\0\0");
    p.connack.session_present = false;
    p.connack.reason_code = RC_NOT_AUTHORIZED;
    p.connack.props.present = PROP_BIT(PROP_REASON_STRING) | PROP_BIT(PROP_MAXIMUM_QOS);
    p.connack.props.reason_string = SLICE("no");
    p.connack.props.maximum_qos = 1;
    p.connack.props.encoded = SLICE("\x26\0\1k\0\1v");
    CHECK("5.0 with properties", &p, 5,
          "\x20\x11\0\x87\x0E" "\x1F\0\2no" "\x24\1" "\x26\0\1k\0\1v");
}

static void publish(void **state) {
    (void)state;
    struct packet p = { .type = PKT_PUBLISH };
    p.publish = (struct pkt_publish){
        .topic = SLICE("a/b"), .payload = SLICE("x"), .packet_id = 9, .props = rubbish()
    };
    CHECK("QoS 0 has no packet id", &p, 4, "\x30\x06\0\3a/bx");
    p.publish.qos = 1, p.publish.dup = true, p.publish.retain = true;
    CHECK("QoS 1", &p, 4, "\x3B\x08\0\3a/b\0\x09x");
    p.publish.qos = 2, p.publish.dup = false;
    CHECK("QoS 2", &p, 5, "\x35\x09\0\3a/b\0\x09\0x");
    p.publish.props.present = PROP_BIT(PROP_TOPIC_ALIAS) | PROP_BIT(PROP_SUBSCRIPTION_IDENTIFIER);
    p.publish.props.topic_alias = 1;
    p.publish.props.subscription_identifier = 300;
    p.publish.props.encoded = SLICE("\x0B\2");
    p.publish.topic = SLICE("");
    CHECK("alias", &p, 5, "\x35\x0E\0\0\0\x09\x08" "\x0B\xAC\2" "\x23\0\1" "\x0B\2" "x");
    p.publish.payload = SLICE_NONE;
    CHECK("no payload", &p, 3, "\x35\x04\0\0\0\x09");
}

static void acknowledgements(void **state) {
    (void)state;
    struct packet p = { .type = PKT_PUBACK, .ack = { 0x1234, 0, rubbish() } };
    CHECK("PUBACK", &p, 4, "\x40\x02\x12\x34");
    CHECK("3.4.2.1 success is left out", &p, 5, "\x40\x02\x12\x34");
    p.ack.reason_code = RC_NOT_AUTHORIZED;
    CHECK("3.x has no reason", &p, 3, "\x40\x02\x12\x34");
    CHECK("3.4.2.2.1 no properties, no length", &p, 5, "\x40\x03\x12\x34\x87");
    p.ack.props.present = PROP_BIT(PROP_REASON_STRING);
    p.ack.props.reason_string = SLICE("r");
    CHECK("reason string", &p, 5, "\x40\x08\x12\x34\x87\4\x1F\0\1r");
    p.ack.reason_code = 0;
    CHECK("success with a reason string", &p, 5, "\x40\x08\x12\x34\0\4\x1F\0\1r");
    CHECK("3.x has no properties", &p, 4, "\x40\x02\x12\x34");
    p.type = PKT_PUBREL, p.ack.props.present = 0;
    CHECK("[MQTT-3.6.1-1]", &p, 4, "\x62\x02\x12\x34");
}

static void ack_encode_is_the_short_way(void **state) {
    (void)state;
    for (unsigned type = PKT_PUBACK; type <= PKT_PUBCOMP; type++) {
        for (uint8_t version = 3; version <= 5; version++) {
            for (unsigned code = 0; code < 0x93; code += 0x92) {
                struct packet p = { .type = type, .ack = { 0xABCD, (uint8_t)code, rubbish() } };
                uint8_t out[ACK_MAX_SIZE];
                size_t len = (size_t)(ack_encode(out, type, 0xABCD, (uint8_t)code, version) - out);
                check_wire("ack", &p, version, slice_of(out, len));
            }
        }
    }
}

static void subscribe_and_unsubscribe(void **state) {
    (void)state;
    struct buf list = BUF_INIT;
    struct subscribe_options all = { .qos = 2, .no_local = true, .retain_as_published = true, .retain_handling = 2 };
    struct packet p = { .type = PKT_SUBSCRIBE, .filters = { 1, 2, SLICE_NONE, rubbish() } };
    assert_true(filters_add(&list, SLICE("a/#"), &all, 5));
    assert_true(filters_add(&list, SLICE("b"), &(struct subscribe_options){ .qos = 1 }, 5));
    p.filters.filters = buf_slice(&list);
    CHECK("5.0", &p, 5, "\x82\x0D\0\1\0" "\0\3a/#\x2E" "\0\1b\1");
    list.len = 0;
    assert_true(filters_add(&list, SLICE("a/#"), &all, 4));
    p.filters.filters = buf_slice(&list);
    CHECK("3.1.1 knows QoS only", &p, 4, "\x82\x08\0\1" "\0\3a/#\2");
    list.len = 0;
    p.type = PKT_UNSUBSCRIBE;
    assert_true(filters_add(&list, SLICE("a/#"), NULL, 5));
    p.filters.filters = buf_slice(&list);
    CHECK("UNSUBSCRIBE", &p, 5, "\xA2\x08\0\1\0" "\0\3a/#");
    CHECK("UNSUBSCRIBE 3.1", &p, 3, "\xA2\x07\0\1" "\0\3a/#");
    buf_deinit(&list);
}

static void suback_and_unsuback(void **state) {
    (void)state;
    struct packet p = { .type = PKT_SUBACK, .codes = { 7, SLICE("\1\x80"), rubbish() } };
    CHECK("SUBACK", &p, 4, "\x90\x04\0\7\1\x80");
    CHECK("SUBACK 5.0", &p, 5, "\x90\x05\0\7\0\1\x80");
    p.type = PKT_UNSUBACK;
    CHECK("UNSUBACK 5.0", &p, 5, "\xB0\x05\0\7\0\1\x80");
    CHECK("3.x UNSUBACK has no codes", &p, 4, "\xB0\x02\0\7");
}

static void pings_disconnect_and_auth(void **state) {
    (void)state;
    struct packet p = { .type = PKT_PINGREQ };
    CHECK("PINGREQ", &p, 3, "\xC0\0");
    p.type = PKT_PINGRESP;
    CHECK("PINGRESP", &p, 5, "\xD0\0");
    p = (struct packet){ .type = PKT_DISCONNECT, .reason = { 0, rubbish() } };
    CHECK("DISCONNECT", &p, 4, "\xE0\0");
    CHECK("3.14.2.1 normal", &p, 5, "\xE0\0");
    p.reason.reason_code = RC_SESSION_TAKEN_OVER;
    CHECK("DISCONNECT with a reason", &p, 5, "\xE0\1\x8E");
    CHECK("3.x has no reason", &p, 4, "\xE0\0");
    p.reason.props.present = PROP_BIT(PROP_SERVER_REFERENCE);
    p.reason.props.server_reference = SLICE("h");
    CHECK("DISCONNECT with properties", &p, 5, "\xE0\6\x8E\4\x1C\0\1h");
    p = (struct packet){ .type = PKT_AUTH, .reason = { 0x18, rubbish() } };
    p.reason.props.present = PROP_BIT(PROP_AUTHENTICATION_METHOD);
    p.reason.props.authentication_method = SLICE("m");
    CHECK("AUTH", &p, 5, "\xF0\6\x18\4\x15\0\1m");
}

/* A payload of exactly the length that makes the body `body_len` bytes long is only measured,
 * never touched. */
static size_t size_of_publish(size_t body_len) {
    struct packet p = { .type = PKT_PUBLISH };
    p.publish = (struct pkt_publish){ .topic = SLICE("t"), .payload = slice_of("", body_len - 3) };
    return packet_size(&p, 4);
}

static void sizes_at_the_edges(void **state) {
    (void)state;
    assert_int_equal(size_of_publish(127), 2 + 127);
    assert_int_equal(size_of_publish(128), 3 + 128);
    assert_int_equal(size_of_publish(16383), 3 + 16383);
    assert_int_equal(size_of_publish(16384), 4 + 16384);
    assert_int_equal(size_of_publish(2097151), 4 + 2097151);
    assert_int_equal(size_of_publish(2097152), 5 + 2097152);
    assert_int_equal(size_of_publish(MQTT_MAX_REMAINING), 5 + MQTT_MAX_REMAINING);
    assert_int_equal(size_of_publish(MQTT_MAX_REMAINING + 1u), 0);
}

static void what_cannot_be_expressed(void **state) {
    (void)state;
    struct slice text = slice_of(xcalloc(1, 65536), 65536);
    struct buf b = BUF_INIT;
    struct packet p = { .type = PKT_PUBLISH };
    p.publish = (struct pkt_publish){ .topic = text, .props = rubbish() };
    assert_int_equal(packet_size(&p, 4), 0);
    assert_false(packet_append(&p, 4, &b));
    assert_int_equal(b.len, 0);
    p.publish.topic.len = 65535;
    assert_int_equal(packet_size(&p, 4), 4 + 2 + 65535);
    p.publish.props.present = PROP_BIT(PROP_CORRELATION_DATA);
    p.publish.props.correlation_data = text;
    assert_int_equal(packet_size(&p, 5), 0);
    assert_int_equal(packet_size(&p, 4), 4 + 2 + 65535); /* properties are left out */
    p = (struct packet){ .type = PKT_PUBACK, .ack = { 1, 0, p.publish.props } };
    assert_int_equal(packet_size(&p, 5), 0);
    p = (struct packet){ .type = PKT_CONNECT, .connect = { .version = 4, .client_id = text } };
    assert_int_equal(packet_size(&p, 4), 0);
    assert_false(filters_add(&b, text, NULL, 4));
    assert_int_equal(b.len, 0);
    free((void *)(uintptr_t)text.at);
    buf_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connect),
        cmocka_unit_test(connack),
        cmocka_unit_test(publish),
        cmocka_unit_test(acknowledgements),
        cmocka_unit_test(ack_encode_is_the_short_way),
        cmocka_unit_test(subscribe_and_unsubscribe),
        cmocka_unit_test(suback_and_unsuback),
        cmocka_unit_test(pings_disconnect_and_auth),
        cmocka_unit_test(sizes_at_the_edges),
        cmocka_unit_test(what_cannot_be_expressed),
    };
    return cmocka_run_group_tests_name("mqtt/encode", tests, NULL, NULL);
}
