/* fuzz_decode.c -- libFuzzer target: any bytes into the codec.
 *
 * The first byte picks the version and how to read the rest: as a stream of packets with
 * their headers, or (so that lengths need no guessing) as one first byte and one body.
 * What is accepted must be encoded, decoded again to the same packet, and encoded again to the
 * same bytes.  What is refused must give one of the codec's reason codes. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/mem.h"
#include "mqtt/topic.h"

#include "../unit/mqtt/packets.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool outcome_is_known(int rc) {
    static const uint8_t known[] = {
        RC_SUCCESS,
        RC_MALFORMED_PACKET,
        RC_PROTOCOL_ERROR,
        RC_UNSUPPORTED_PROTOCOL_VERSION,
        RC_TOPIC_FILTER_INVALID,
        RC_TOPIC_NAME_INVALID,
        RC_TOPIC_ALIAS_INVALID,
    };
    return rc >= 0 && memchr(known, rc, sizeof known) != NULL;
}

static void walk_filters(const struct packet *p) {
    struct filter_item item;
    unsigned count = 0;
    size_t at = 0;
    while (filters_next(p->filters.filters, p->type == PKT_SUBSCRIBE, &at, &item)) {
        must(topic_filter_valid(item.filter) && utf8_valid(item.filter));
        must(item.options.qos <= 2 && item.options.retain_handling <= 2);
        count++;
    }
    must(count == p->filters.count && at == p->filters.filters.len);
}

static void check_publish(const struct pkt_publish *p) {
    bool named = topic_name_valid(p->topic) && utf8_valid(p->topic);
    must(named || (p->topic.len == 0 && props_has(&p->props, PROP_TOPIC_ALIAS)));
    must(p->qos <= 2 && (p->qos > 0) == (p->packet_id > 0));
}

/* Decodes from a heap copy of exactly the body, which the caller frees. */
static uint8_t *decode_exact(struct frame f, uint8_t version, struct packet *out, int *rc) {
    uint8_t *body = xmalloc(f.body_len ? f.body_len : 1);
    if (f.body_len) memcpy(body, f.body, f.body_len);
    f.body = body;
    *rc = packet_decode(&f, version, out);
    return body;
}

static void check_round_trip(struct packet *p, uint8_t version) {
    struct buf first = BUF_INIT, second = BUF_INIT, keep[4] = { BUF_INIT };
    struct packet again;
    struct frame f;
    int rc;
    packet_keep_repeated(p, keep);
    must(packet_append(p, version, &first));
    must(frame_read(first.at, first.len, 0, &f) == FRAME_OK);
    must(f.head_len + f.body_len == first.len);
    uint8_t *body = decode_exact(f, version, &again, &rc);
    must(rc == 0);
    packet_keep_repeated(&again, keep + 2);
    must(packet_eq(p, &again));
    must(packet_append(&again, version, &second));
    must(slice_eq(buf_slice(&first), buf_slice(&second)));
    free(body);
    buf_deinit(&first);
    buf_deinit(&second);
    for (size_t i = 0; i < ARRAY_LEN(keep); i++) buf_deinit(&keep[i]);
}

/* Gives the version that holds from here on; 0: the peer was refused. */
static uint8_t one_packet(const struct frame *f, uint8_t version) {
    struct packet p;
    int rc;
    uint8_t *body = decode_exact(*f, version, &p, &rc);
    must(outcome_is_known(rc));
    if (rc == 0) {
        if (p.type == PKT_CONNECT) version = p.connect.version;
        if (p.type == PKT_SUBSCRIBE || p.type == PKT_UNSUBSCRIBE) walk_filters(&p);
        if (p.type == PKT_PUBLISH) check_publish(&p.publish);
        check_round_trip(&p, version);
    }
    free(body);
    return rc ? 0 : version;
}

static void stream(const uint8_t *at, size_t len, uint8_t version) {
    struct frame f;
    int rc = FRAME_OK;
    while (len && version && (rc = frame_read(at, len, 1 << 20, &f)) == FRAME_OK) {
        version = one_packet(&f, version);
        at += f.head_len + f.body_len;
        len -= f.head_len + f.body_len;
    }
    must(rc == FRAME_OK || rc == FRAME_MORE || rc == RC_MALFORMED_PACKET ||
         rc == RC_PACKET_TOO_LARGE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    uint8_t version = MQTT_3_1 + (data[0] >> 1) % 3;
    struct frame f = { data[1] >> 4, data[1] & 15, 2, (uint32_t)size - 2, data + 2 };
    if (data[0] & 1)
        one_packet(&f, version);
    else
        stream(data + 1, size - 1, version);
    return 0;
}
