/* numbered.h -- what test_delivery.c and test_delivery_model.c share: numbered messages for
 * a client with a window. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_TESTS_CORE_NUMBERED_H
#define SOL_TESTS_CORE_NUMBERED_H

#include "core/rig.h"

/* The broker publishes. */
static inline void say(struct rig *r, const char *topic, unsigned n, uint8_t qos,
                       uint64_t expires_ms) {
    char payload[16];
    snprintf(payload, sizeof payload, "%u", n);
    publish_trusted(r->worker, &(struct message_parts){ .topic = slice_str(topic),
                                                        .payload = slice_str(payload),
                                                        .expires_ms = expires_ms,
                                                        .qos = qos });
}

static inline unsigned number_of(struct slice payload) {
    char text[16] = { 0 };
    assert_in_range(payload.len, 1, sizeof text - 1);
    memcpy(text, payload.at, payload.len);
    return (unsigned)atoi(text);
}

static inline bool join_window(struct peer *p, struct rig *r, const char *id, uint16_t window) {
    struct packet c = connect_packet(MQTT_5, id, false);
    c.connect.props.present |= PROP_BIT(PROP_RECEIVE_MAXIMUM);
    c.connect.props.receive_maximum = window;
    return join_with(p, r, &c);
}

static inline struct session *session_of(struct rig *r, const char *id) {
    return session_find(r->worker, slice_str(id));
}

#endif
