/* props.h -- MQTT 5.0 properties as a table.
 *
 * One row a property: its wire type, the packets it may stand in, whether it may
 * repeat, its range.  Any thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_MQTT_PROPS_H
#define SOL_MQTT_PROPS_H

#include "base/buf.h"
#include "mqtt/packet.h"

/* Where a block stands; the packet types, plus the will inside CONNECT. */
#define PROPS_WILL 0

/* One property of a block, in wire order. */
struct prop_item {
    uint8_t id;         /* enum prop_id */
    uint32_t number;    /* integer types */
    struct slice key;   /* user property name */
    struct slice value; /* string, binary, user property value */
};

/* Makes an empty block; as always, members not in `present` stay uninitialised. */
static inline void props_init(struct props *p) {
    p->present = 0;
    p->raw = SLICE_NONE;
    p->encoded = SLICE_NONE;
}

/* Walks a validated raw block: start with *at == 0; false at the end. */
bool props_next(struct slice raw, size_t *at, struct prop_item *out);

/* Decodes the property length and block that start at in[*at] and advances *at.
 * `place` is a packet type or PROPS_WILL.  0 or a reason code (RC_MALFORMED_PACKET,
 * RC_PROTOCOL_ERROR, RC_TOPIC_ALIAS_INVALID). */
int props_decode(struct slice in, size_t *at, unsigned place, struct props *out);

/* Bytes of the block's length field plus the block; 0 when it cannot be expressed (a string
 * over 65,535 bytes, a number over its range).  `present` names the members to write, each
 * once; user properties and repetitions come from `encoded`, never from `raw`. */
size_t props_size(const struct props *p);
/* Writes length and block to `out` (props_size bytes, not 0); gives the end. */
uint8_t *props_encode(const struct props *p, uint8_t *out);

/* Append one encoded property to a buffer, for struct props.encoded and the
 * properties of messages.  False, and nothing appended, when a string is over 65,535
 * bytes or a number over its type.  `id` must be a property of that kind. */
bool props_add_user(struct buf *b, struct slice name, struct slice value);
bool props_add_number(struct buf *b, enum prop_id id, uint32_t value);
bool props_add_slice(struct buf *b, enum prop_id id, struct slice value);

/* The table's view of one property, for tools that build packets by name. */
enum prop_kind { PROP_U8, PROP_U16, PROP_U32, PROP_VARINT, PROP_STRING, PROP_BINARY, PROP_PAIR };
struct prop_rule {
    const char *name;     /* snake case of the OASIS name: "content_type" */
    uint16_t member;      /* its offset in struct props; none for PROP_PAIR */
    uint8_t kind;         /* enum prop_kind */
    uint32_t places;      /* bit per packet type; bit PROPS_WILL for the will */
    uint32_t repeats;     /* the places where it may stand more than once */
    uint32_t least, most; /* range of a number; most == 0: whatever the type holds */
    bool is_topic;        /* the value must be a topic name */
    uint8_t refusal;      /* reason code when out of range; 0: RC_PROTOCOL_ERROR */
};
/* Lends the row of `id`, or NULL when there is no such property. */
const struct prop_rule *prop_rule(uint32_t id);

/* Variable byte integers [MQTT-1.5.5-1]. */
static inline unsigned varint_size(uint32_t v) {
    return v < 128 ? 1 : v < 16384 ? 2 : v < 2097152 ? 3 : 4;
}
/* Writes 1 to 4 bytes; gives the end. */
uint8_t *varint_encode(uint32_t v, uint8_t *out);

#endif
