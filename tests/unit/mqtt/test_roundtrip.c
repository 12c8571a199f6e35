/* test_roundtrip.c -- what was encoded is decoded as it was: encode.c against decode.c. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "mqtt/rows.h"

#include "mqtt/generate.h"

#define ROUNDS 3000 /* packets of each type and version */

static struct decoded decode_again(const struct buf *wire, uint8_t version, struct buf keep[2]) {
    struct decoded d = decode_bytes(wire->at, wire->len, version);
    keep[0].len = keep[1].len = 0;
    if (d.rc == 0) packet_keep_repeated(&d.p, keep);
    return d;
}

static void check_round(struct packet *p, uint8_t version, struct buf *wire, struct buf keep[2]) {
    size_t size = packet_size(p, version);
    wire->len = 0;
    assert_true(packet_append(p, version, wire));
    assert_int_equal(wire->len, size);
    struct decoded d = decode_again(wire, version, keep);
    if (d.rc) fail_msg("type %u version %u: 0x%02x", p->type, version, (unsigned)d.rc);
    if (!packet_eq(p, &d.p)) fail_msg("type %u version %u differs", p->type, version);
    decoded_free(&d);
}

static void decode_of_encode_is_the_packet(void **state) {
    (void)state;
    struct gen g = { .seed = 20260131 };
    struct buf wire = BUF_INIT, keep[2] = { BUF_INIT, BUF_INIT };
    for (uint8_t version = MQTT_3_1; version <= MQTT_5; version++) {
        for (unsigned type = PKT_CONNECT; type < PKT_TYPES; type++) {
            if (type == PKT_AUTH && version != MQTT_5) continue;
            for (unsigned i = 0; i < ROUNDS; i++) {
                struct packet p;
                gen_packet(&g, type, version, &p);
                check_round(&p, version, &wire, keep);
            }
        }
    }
    buf_deinit(&wire);
    buf_deinit(&keep[0]);
    buf_deinit(&keep[1]);
    gen_deinit(&g);
}

static void packet_encode_writes_packet_size_bytes(void **state) {
    (void)state;
    struct gen g = { .seed = 7 };
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct packet p;
        gen_packet(&g, 1 + i % (PKT_TYPES - 1), MQTT_5, &p);
        size_t size = packet_size(&p, MQTT_5);
        uint8_t *out = xmalloc(size); /* exact: a byte more is an error */
        assert_ptr_equal(packet_encode(&p, MQTT_5, out), out + size);
        free(out);
    }
    gen_deinit(&g);
}

/* Whatever single byte goes wrong on the wire, decoding neither runs away nor accepts what
 * could not be sent on. */
static void a_changed_byte_is_refused_or_understood(void **state) {
    (void)state;
    struct gen g = { .seed = 99 };
    struct buf wire = BUF_INIT, keep[2] = { BUF_INIT, BUF_INIT };
    for (unsigned i = 0; i < 20000; i++) {
        struct packet p;
        uint8_t version = (uint8_t)(MQTT_3_1 + gen_below(&g, 3));
        unsigned type = 1 + gen_below(&g, version == MQTT_5 ? 15 : 14);
        gen_packet(&g, type, version, &p);
        wire.len = 0;
        packet_append(&p, version, &wire);
        size_t head = wire.at[1] < 0x80 ? 2 : 3;
        if (wire.len == head) continue;
        wire.at[head + gen_below(&g, (uint32_t)(wire.len - head))] ^=
            (uint8_t)(1u << gen_below(&g, 8));
        struct decoded d = decode_again(&wire, version, keep);
        if (d.rc == 0)
            assert_true(packet_size(&d.p, version) > 0);
        else
            assert_true(d.rc >= RC_MALFORMED_PACKET);
        decoded_free(&d);
    }
    buf_deinit(&wire);
    buf_deinit(&keep[0]);
    buf_deinit(&keep[1]);
    gen_deinit(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decode_of_encode_is_the_packet),
        cmocka_unit_test(packet_encode_writes_packet_size_bytes),
        cmocka_unit_test(a_changed_byte_is_refused_or_understood),
    };
    return cmocka_run_group_tests_name("mqtt/roundtrip", tests, NULL, NULL);
}
