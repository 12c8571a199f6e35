/* message.h -- an application message: immutable, counted, shared by all its receivers.
 *
 * Topic, properties and payload lie behind the header in one allocation, the topic with
 * its length prefix as it goes out; but a large payload may lie elsewhere (landing.h).
 * Invariant: nothing changes after message_new but the count, and where a large payload
 * lies.  Belongs to one worker, which counts without locked instructions, until
 * message_share; from then on any thread may hold references, and the payload lies still. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_MESSAGE_H
#define SOL_CORE_MESSAGE_H

#include "base/slots.h"
#include "mqtt/packet.h"

#include <stdatomic.h>

#define MESSAGE_NEVER UINT64_MAX

struct message {
    _Atomic uint32_t refs;
    uint32_t payload_len;
    uint64_t expires_ms;     /* loop clock; MESSAGE_NEVER without an expiry */
    struct handle publisher; /* session it came from; HANDLE_NONE: the broker */
    uint32_t props_len;      /* forwarded properties, see below */
    uint16_t topic_len;
    uint8_t qos : 2;  /* as published; 3: a script's mistake, see message_invalid */
    uint8_t hops : 6; /* messages that caused messages, down to this one */
    bool retain : 1;  /* as published */
    bool is_shared : 1;
    bool in_batch : 1;        /* a copy in a batch (batch.h), soon gone: see message_ref */
    bool is_large : 1;        /* its payload has CHAIN_REF_MIN bytes at least; see message_place */
    _Atomic bool is_retained; /* is its topic's retained message; written by retain.c */
    uint8_t bytes[];          /* u16 topic length, topic, properties, payload */
};

/* What a message is made of; the slices are copied. */
struct message_parts {
    struct slice topic, payload;
    struct slice props; /* encoded: payload format, content type, response topic,
                           correlation data, user properties; no expiry, no alias */
    uint64_t expires_ms;
    struct handle publisher;
    uint8_t qos;
    uint8_t hops; /* of the message that caused it, plus one; 0: nobody's */
    bool retain;
};

/* Scripts may answer messages with messages so often before it looks like a circle. */
enum { MESSAGE_HOPS_MAX = 20 };

/* Gives a message with one reference. */
struct message *message_new(const struct message_parts *parts);

/* For a message that is most likely gone again at once: made in the memory at *draft, which
 * is taken, if it is there and large enough. */
struct message *message_draft(void **draft, const struct message_parts *parts);
/* Gives up the reference to a message made so, or a large one; its memory goes to *draft if it
 * came from there, nobody has kept the message and the place is empty.  free() what is there in
 * the end. */
void message_discard(void **draft, struct message *m);

/* Bytes of a copy for a batch, and making it there: the parts of `m`, whatever its size. */
size_t message_copy_size(const struct message *m);
void message_copy_to(void *at, const struct message *m);

/* For landing.c: the bytes a message of these parts takes, and making it there. */
size_t message_size(const struct message_parts *parts);
struct message *message_fill(void *at, const struct message_parts *parts);
/* Landing.c's: moves the payload of a large one if it is lent. */
void landing_settle(struct message *m);

/* For message_ref: another of the same parts. */
struct message *message_out_of_batch(const struct message *m);

/* Gives the message to refer to: `m`, but in place of one in a batch another with one reference. */
static inline struct message *message_ref(struct message *m) {
    if (m->in_batch) return message_out_of_batch(m);
    if (m->is_shared)
        atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    else
        atomic_store_explicit(&m->refs, atomic_load_explicit(&m->refs, memory_order_relaxed) + 1,
                              memory_order_relaxed);
    return m;
}
/* To be called by the one worker that holds `m`, before another thread gets a reference. */
static inline void message_share(struct message *m) {
    if (m->is_shared) return;
    if (m->is_large) landing_settle(m);
    m->is_shared = true;
}
/* Always NULL; NULL is fine. */
struct message *message_unref(struct message *m);
/* message_unref for chain_ref and AUTO(message_unrefp). */
void message_release(void *m);

/* Lends the parts, as long as the message lives; a large payload until the worker reads or its turn
 * ends. */
static inline struct slice message_topic(const struct message *m) {
    return slice_of(m->bytes + 2, m->topic_len);
}
static inline struct slice message_props(const struct message *m) {
    return slice_of(m->bytes + 2 + m->topic_len, m->props_len);
}
/* Of a large one: where its payload lies now, looked up each time; lent likewise. */
static inline const uint8_t *const *message_place(const struct message *m) {
    return (const uint8_t *const *)(const void *)m - 1;
}
static inline struct slice message_payload(const struct message *m) {
    if (m->is_large) return slice_of(*message_place(m), m->payload_len);
    return slice_of(m->bytes + 2 + m->topic_len + m->props_len, m->payload_len);
}
/* The parts of `m`, to change some and make another. */
struct message_parts message_parts(const struct message *m);
/* Bytes the message counts for in queue limits. */
static inline size_t message_weight(const struct message *m) {
    return (size_t)m->topic_len + m->props_len + m->payload_len;
}

/* Is its payload said to be UTF-8 (Payload Format Indicator), and is not? */
bool message_misnamed(const struct message *m);

/* What a script made of a message must still be one: NULL, or what is wrong (static). */
const char *message_invalid(const struct message *m, uint32_t max_levels, uint32_t max_bytes);

/* The forwarded properties of a decoded PUBLISH or will: appends to `out` what of `p`
 * travels with the message (expiry, alias, delay and identifiers do not). */
struct buf;
void message_props_from(const struct props *p, struct buf *out);

#endif
