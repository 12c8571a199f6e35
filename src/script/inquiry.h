/* inquiry.h -- what `sol explain` and `sol trace` are asked: about whom, and what they do.
 *
 * Filled from the command line, or from what another process wrote of its own.  Owns its
 * values. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_INQUIRY_H
#define SOL_SCRIPT_INQUIRY_H

#include "base/buf.h"

struct pkt_connect;

enum inquiry_action { INQUIRE_CONNECT, INQUIRE_PUBLISH, INQUIRE_SUBSCRIBE, INQUIRE_TRACE };

struct inquiry {
    enum inquiry_action action;
    /* each owned; SLICE_NONE: not given */
    struct slice client, username, password, listener;
    struct slice topic; /* of a trace: a filter */
    struct slice filter, payload;
    uint8_t qos;
    bool retain;
    bool as_connected; /* the client's CONNECT is not asked about */
    bool is_json;
};

/* Frees its texts; a zeroed one is fine. */
void inquiry_deinit(struct inquiry *q);

/* True for the word of an action. */
bool inquiry_set_action(struct inquiry *q, struct slice word);
/* The names of what can be given, in the order of the rows; NULL at the end. */
const char *inquiry_name(unsigned i);
/* Does this one stand alone, without a value? */
bool inquiry_is_flag(unsigned i);
/* May its value be any bytes, a file's say? */
bool inquiry_is_bytes(unsigned i);
/* Takes over a copy of the value; NULL, or what it should be (static). */
const char *inquiry_set(struct inquiry *q, unsigned i, struct slice value);
/* NULL, or what is missing or too much (static). */
const char *inquiry_invalid(const struct inquiry *q);

/* The client's CONNECT, of MQTT 5; its texts are lent. */
struct pkt_connect inquiry_connect(const struct inquiry *q);

/* Appends it for inquiry_read. */
void inquiry_write(const struct inquiry *q, struct buf *out);
/* Fills an empty one; NULL, or what is wrong (static). */
const char *inquiry_read(struct inquiry *q, struct slice in);

#endif
