/* test_message.c -- what a message is made of, and what is none. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/message.h"

#include "core/rig.h"

#include <pthread.h>

static struct message *made(const char *topic, const char *payload) {
    return message_new(&(struct message_parts){
        .topic = slice_str(topic), .payload = slice_str(payload), .expires_ms = MESSAGE_NEVER });
}

static void the_parts_come_back_as_they_were(void **state) {
    (void)state;
    struct message_parts in = { .topic = SLICE("a/b"),
                                .payload = SLICE("\0x"),
                                .props = SLICE("\x01\x01"),
                                .expires_ms = 77,
                                .publisher = { 3, 4 },
                                .qos = 2,
                                .retain = true };
    struct message *m = message_new(&in);
    struct message_parts out = message_parts(m);
    assert_true(slice_eq(out.topic, in.topic));
    assert_true(slice_eq(out.payload, in.payload));
    assert_true(slice_eq(out.props, in.props));
    assert_int_equal(out.expires_ms, 77);
    assert_true(handle_eq(out.publisher, in.publisher));
    assert_int_equal(out.qos, 2);
    assert_true(out.retain);
    assert_int_equal(message_weight(m), 3 + 2 + 2);
    assert_memory_equal(m->bytes, "\0\3a/b", 5); /* as it goes out */
    message_unref(m);
}

static void a_message_may_be_empty_but_for_its_topic(void **state) {
    (void)state;
    struct message *m = made("t", "");
    assert_int_equal(message_payload(m).len, 0);
    assert_null(message_invalid(m, 10, 10));
    message_unref(m);
}

static void references_are_counted(void **state) {
    (void)state;
    struct message *m = made("t", "x");
    assert_ptr_equal(message_ref(m), m);
    assert_null(message_unref(m));
    message_release(message_ref(m));
    assert_slice(message_payload(m), "x");
    assert_null(message_unref(m));
    assert_null(message_unref(NULL));
}

enum { THREADS = 4, TIMES = 100000 };

static void *hold_and_let_go(void *obj) {
    struct message *m = obj;
    for (int i = 0; i < TIMES; i++) message_unref(message_ref(m));
    message_unref(m);
    return NULL;
}

static void a_shared_one_is_counted_by_any_thread(void **state) {
    (void)state;
    struct message *m = made("t", "x");
    pthread_t threads[THREADS];
    message_ref(m);
    message_share(m); /* keeps the count it has */
    message_share(m);
    assert_int_equal(atomic_load(&m->refs), 2);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hold_and_let_go, message_ref(m)), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&m->refs), 2);
    message_unref(m);
    assert_slice(message_payload(m), "x");
    message_unref(m); /* the last: leak checkers see it go */
}

static void what_is_no_message_is_named(void **state) {
    (void)state;
    static const struct {
        const char *topic;
        unsigned qos;
        bool valid;
    } rows[] = {
        { "a", 0, true },
        { "a/b/c", 2, true },
        { "", 0, false },
        { "a/+", 0, false },
        { "#", 0, false },
        { "a/b/c/d", 0, false }, /* levels */
        { "\xFF", 0, false },
        { "a", 3, false },
        { "\xC3\xA4", 1, true },
        { "0123456789abcdef", 0, false }, /* over 16 bytes with its payload */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct message *m = message_new(&(struct message_parts){ .topic = slice_str(rows[i].topic),
                                                                 .payload = SLICE("x"),
                                                                 .qos = (uint8_t)rows[i].qos });
        assert_int_equal(message_invalid(m, 3, 16) == NULL, rows[i].valid);
        message_unref(m);
    }
}

static void a_topic_over_its_length_is_no_message(void **state) {
    (void)state;
    char *topic = xmalloc(65537);
    memset(topic, 'x', 65536);
    topic[65536] = 0;
    struct message *m = made(topic, "");
    assert_non_null(message_invalid(m, 10, UINT32_MAX));
    message_unref(m);
    m = made(topic + 1, "");
    assert_null(message_invalid(m, 10, UINT32_MAX));
    message_unref(m);
    free(topic);
}

/* A PUBLISH with every property it may have, through the decoder. */
static void what_travels_is_kept_in_its_order(void **state) {
    (void)state;
    static const uint8_t wire[] = { 0x30, 49, 0,   1,   't', 44,  0x26,
                                    0,    1,  'k', 0,   1,   'v',      /* user property */
                                    0x02, 0,  0,   0,   9,             /* message expiry */
                                    0x01, 1,                           /* payload format */
                                    0x23, 0,  5,                       /* topic alias */
                                    0x03, 0,  1,   'c',                /* content type */
                                    0x0B, 7,                           /* subscription identifier */
                                    0x08, 0,  1,   'r',                /* response topic */
                                    0x26, 0,  1,   'k', 0,   1,   'w', /* user property again */
                                    0x09, 0,  1,   'd',                /* correlation data */
                                    0x26, 0,  0,   0,   1,   'e', /* and again, without a name */
                                    'P' };
    static const uint8_t kept[] = {
        0x26, 0, 1, 'k', 0, 1, 'v', 0x01, 1, 0x03, 0,   1,    'c', 0x08, 0, 1, 'r',
        0x26, 0, 1, 'k', 0, 1, 'w', 0x09, 0, 1,    'd', 0x26, 0,   0,    0, 1, 'e',
    };
    struct frame f;
    struct pkt_publish p;
    struct buf out = BUF_INIT;
    assert_int_equal(frame_read(wire, sizeof wire, 0, &f), FRAME_OK);
    assert_int_equal(publish_decode(&f, MQTT_5, SLICE_NONE, &p), 0);
    message_props_from(&p.props, &out);
    assert_int_equal(out.len, sizeof kept);
    assert_memory_equal(out.at, kept, sizeof kept); /* [MQTT-3.3.2-17] .. [MQTT-3.3.2-20] */
    buf_deinit(&out);
}

static void no_properties_are_no_bytes(void **state) {
    (void)state;
    struct props p;
    struct buf out = BUF_INIT;
    props_init(&p);
    message_props_from(&p, &out);
    assert_null(out.at);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_parts_come_back_as_they_were),
        cmocka_unit_test(a_message_may_be_empty_but_for_its_topic),
        cmocka_unit_test(references_are_counted),
        cmocka_unit_test(a_shared_one_is_counted_by_any_thread),
        cmocka_unit_test(what_is_no_message_is_named),
        cmocka_unit_test(a_topic_over_its_length_is_no_message),
        cmocka_unit_test(what_travels_is_kept_in_its_order),
        cmocka_unit_test(no_properties_are_no_bytes),
    };
    return cmocka_run_group_tests_name("core/message", tests, NULL, NULL);
}
