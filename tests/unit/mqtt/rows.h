/* rows.h -- tables of literal packets and what becomes of them.
 *
 * A row is the packet as it stands on the wire.  It is decoded from a heap copy of exactly
 * its length, so that reading past the end is an error under AddressSanitizer. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_MQTT_ROWS_H
#define TESTS_MQTT_ROWS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "mqtt/decode.h"

struct row {
    const char *why; /* statement or section, and the case in words */
    uint8_t version;
    int rc; /* what packet_decode must give */
    const char *wire;
    size_t len;
};

#define WIRE(literal) (literal), sizeof(literal) - 1

/* A packet and the bytes it points into. */
struct decoded {
    struct packet p;
    uint8_t *bytes;
    int rc; /* of packet_decode; < 0 when the frame is not whole */
};

static inline struct decoded decode_bytes(const void *wire, size_t len, uint8_t version) {
    struct decoded d = { .bytes = xmalloc(len ? len : 1) };
    struct frame f;
    if (len) memcpy(d.bytes, wire, len);
    d.rc = frame_read(d.bytes, len, 0, &f);
    if (d.rc) return d;
    assert_int_equal(f.head_len + f.body_len, len);
    d.rc = packet_decode(&f, version, &d.p);
    return d;
}

static inline void decoded_free(struct decoded *d) {
    free(d->bytes);
}

static inline void check_rows(const struct row *rows, size_t n) {
    for (size_t i = 0; i < n; i++) {
        struct decoded d = decode_bytes(rows[i].wire, rows[i].len, rows[i].version);
        if (d.rc != rows[i].rc)
            fail_msg("row %zu (version %u) %s: 0x%02x instead of 0x%02x", i, rows[i].version,
                     rows[i].why, (unsigned)d.rc, (unsigned)rows[i].rc);
        decoded_free(&d);
    }
}

static inline void check_slice(struct slice got, const char *want) {
    if (!slice_eq(got, slice_str(want)))
        fail_msg("\"%.*s\" instead of \"%s\"", SLICE_FMT(got), want);
}

#endif
