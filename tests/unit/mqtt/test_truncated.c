/* test_truncated.c -- every packet cut at every byte: mqtt/decode.c.
 *
 * Cut on the wire it is "more"; cut with its length mended it is refused, save where the shorter
 * packet happens to be a packet of its own. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "mqtt/rows.h"

#include "base/buf.h"
#include "mqtt/generate.h"

/* Rows are read across. */
/* clang-format off */

/* A body length at which the cut packet gives something else than 0x81. */
struct exception {
    uint8_t body_len, rc;
};

static const struct whole {
    const char *name;
    uint8_t version;
    const char *wire;
    size_t len;
    size_t n_except;
    struct exception except[3];
} wholes[] = {
    { "CONNECT 3.1", 3,
      WIRE("\x10\x1b" "\0\6MQIsdp" "\x03" "\xC6" "\0\x3C" "\0\1c" "\0\1w" "\0\1p" "\0\1u"
           "\0\1s"), 2, { { 21, 0 }, { 24, 0 } } }, /* 3.1: flags set, strings left out */
    { "CONNECT 3.1.1", 4,
      WIRE("\x10\x19" "\0\4MQTT" "\x04" "\xC6" "\0\x3C" "\0\1c" "\0\1w" "\0\1p" "\0\1u" "\0\1s"), 0, { { 0 } } },
    { "CONNECT 5.0", 5,
      WIRE("\x10\x25" "\0\4MQTT" "\x05" "\xC6" "\0\x3C" "\5\x11\0\0\0\1" "\0\1c" "\5\x18\0\0\0\1" "\0\1w" "\0\1p"
           "\0\1u" "\0\1s"), 0, { { 0 } } },
    { "CONNACK 3.1.1", 4, WIRE("\x20\x02" "\0\0"), 0, { { 0 } } },
    { "CONNACK 5.0", 5, WIRE("\x20\x0a" "\0\0" "\7\x21\0\1\x1F\0\1r"), 0, { { 0 } } },
    { "PUBLISH 3.1.1", 4, WIRE("\x32\x0a" "\0\3a/b" "\0\1" "pay"), 3, { { 7, 0 }, { 8, 0 }, { 9, 0 } } },
    { "PUBLISH 5.0", 5, WIRE("\x30\x0c" "\0\3a/b" "\5\2\0\0\0\1" "p"), 1, { { 11, 0 } } },
    { "PUBACK 3.1.1", 4, WIRE("\x40\x02" "\0\1"), 0, { { 0 } } },
    { "PUBACK 5.0", 5, WIRE("\x40\x08" "\0\1" "\x87" "\4\x1F\0\1r"), 2, { { 2, 0 }, { 3, 0 } } },
    { "PUBREC 5.0", 5, WIRE("\x50\x08" "\0\1" "\x87" "\4\x1F\0\1r"), 2, { { 2, 0 }, { 3, 0 } } },
    { "PUBREL 5.0", 5, WIRE("\x62\x08" "\0\1" "\x92" "\4\x1F\0\1r"), 2, { { 2, 0 }, { 3, 0 } } },
    { "PUBCOMP 5.0", 5, WIRE("\x70\x08" "\0\1" "\x92" "\4\x1F\0\1r"), 2, { { 2, 0 }, { 3, 0 } } },
    { "SUBSCRIBE 3.1.1", 4, WIRE("\x82\x0a" "\0\1" "\0\1a\0" "\0\1b\1"), 2, { { 2, RC_PROTOCOL_ERROR }, { 6, 0 } } },
    { "SUBSCRIBE 5.0", 5,
      WIRE("\x82\x0d" "\0\1" "\2\x0B\1" "\0\1a\0" "\0\1b\1"), 2, { { 5, RC_PROTOCOL_ERROR }, { 9, 0 } } },
    { "SUBACK 3.1.1", 4, WIRE("\x90\x04" "\0\1" "\0\2"), 2, { { 2, RC_PROTOCOL_ERROR }, { 3, 0 } } },
    { "SUBACK 5.0", 5, WIRE("\x90\x05" "\0\1" "\0" "\0\2"), 2, { { 3, RC_PROTOCOL_ERROR }, { 4, 0 } } },
    { "UNSUBSCRIBE 3.1.1", 4, WIRE("\xA2\x08" "\0\1" "\0\1a" "\0\1b"), 2, { { 2, RC_PROTOCOL_ERROR }, { 5, 0 } } },
    { "UNSUBSCRIBE 5.0", 5, WIRE("\xA2\x06" "\0\1" "\0" "\0\1a"), 1, { { 3, RC_PROTOCOL_ERROR } } },
    { "UNSUBACK 3.1.1", 4, WIRE("\xB0\x02" "\0\1"), 0, { { 0 } } },
    { "UNSUBACK 5.0", 5, WIRE("\xB0\x04" "\0\1" "\0" "\x11"), 1, { { 3, RC_PROTOCOL_ERROR } } },
    { "DISCONNECT 5.0", 5, WIRE("\xE0\x07" "\x8E" "\5\x11\0\0\0\1"), 2, { { 0, 0 }, { 1, 0 } } },
    { "AUTH 5.0", 5, WIRE("\xF0\x06" "\x18" "\4\x15\0\1m"), 2, { { 0, 0 }, { 1, RC_PROTOCOL_ERROR } } },
};

static int expected(const struct whole *w, size_t body_len) {
    for (size_t i = 0; i < w->n_except; i++)
        if (w->except[i].body_len == body_len) return w->except[i].rc;
    return RC_MALFORMED_PACKET;
}

static void packets_cut_with_their_length_mended(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wholes); i++) {
        const struct whole *w = &wholes[i];
        uint8_t wire[128];
        memcpy(wire, w->wire, w->len);
        struct decoded whole = decode_bytes(wire, w->len, w->version);
        if (whole.rc) fail_msg("%s: 0x%02x", w->name, (unsigned)whole.rc);
        decoded_free(&whole);
        for (size_t body_len = 0; body_len < w->len - 2; body_len++) {
            wire[1] = (uint8_t)body_len;
            struct decoded d = decode_bytes(wire, 2 + body_len, w->version);
            if (d.rc != expected(w, body_len))
                fail_msg("%s cut to %zu: 0x%02x", w->name, body_len, (unsigned)d.rc);
            decoded_free(&d);
        }
    }
}

/* The same for generated packets of every kind, however long their properties are. */
static void generated_packets_cut(void **state) {
    (void)state;
    struct gen g = { .seed = 1883 };
    struct buf wire = BUF_INIT;
    for (unsigned i = 0; i < 500; i++) {
        struct packet p;
        uint8_t version = (uint8_t)(MQTT_3_1 + i % 3);
        gen_packet(&g, 1 + gen_below(&g, version == MQTT_5 ? 15 : 14), version, &p);
        wire.len = 0;
        packet_append(&p, version, &wire);
        struct frame f;
        assert_int_equal(frame_read(wire.at, wire.len, 0, &f), FRAME_OK);
        for (uint32_t body_len = 0; body_len < f.body_len; body_len++) {
            struct frame cut = f;
            uint8_t *exact = xmalloc(body_len ? body_len : 1);
            memcpy(exact, f.body, body_len);
            cut.body = exact, cut.body_len = body_len;
            int rc = packet_decode(&cut, version, &p);
            assert_true(rc == 0 || rc == RC_MALFORMED_PACKET || rc == RC_PROTOCOL_ERROR);
            free(exact);
        }
    }
    buf_deinit(&wire);
    gen_deinit(&g);
}

static void packets_cut_on_the_wire_are_awaited(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wholes); i++) {
        const struct whole *w = &wholes[i];
        for (size_t len = 0; len < w->len; len++) {
            uint8_t *exact = xmalloc(len ? len : 1);
            memcpy(exact, w->wire, len);
            struct frame f;
            assert_int_equal(frame_read(exact, len, 0, &f), FRAME_MORE);
            assert_int_equal(f.head_len, len < 2 ? 0 : 2);
            if (len >= 2) assert_int_equal(f.head_len + f.body_len, w->len);
            free(exact);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packets_cut_with_their_length_mended),
        cmocka_unit_test(generated_packets_cut),
        cmocka_unit_test(packets_cut_on_the_wire_are_awaited),
    };
    return cmocka_run_group_tests_name("mqtt/truncated", tests, NULL, NULL);
}
