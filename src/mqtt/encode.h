/* encode.h -- packets to bytes.
 *
 * The caller provides the room; sizes are asked first.  No state, any thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_MQTT_ENCODE_H
#define SOL_MQTT_ENCODE_H

#include "base/buf.h"
#include "mqtt/packet.h"

/* Bytes `p` takes for this version, fixed header included; 0 when it cannot be
 * expressed (over MQTT_MAX_REMAINING, or a string over 65,535 bytes). For SUBSCRIBE and
 * UNSUBSCRIBE, filters.filters holds the encoded list (filters_add).  A CONNECT is written
 * for its own version, whatever is asked. */
size_t packet_size(const struct packet *p, uint8_t version);
/* Writes packet_size bytes (not 0) to `out`; gives the end.  What 3.x does not have is left
 * out: properties, reason codes of acknowledgements and DISCONNECT, session present in 3.1.
 * Values are the caller's business: what is wrong goes out wrong. */
uint8_t *packet_encode(const struct packet *p, uint8_t version, uint8_t *out);
/* Both at once, appended to a buffer; false when it cannot be expressed. */
bool packet_append(const struct packet *p, uint8_t version, struct buf *b);

/* Appends one entry to the list of a SUBSCRIBE (or UNSUBSCRIBE, options NULL); of the options
 * 3.x knows only qos.  False, and nothing appended, when the filter is over 65,535 bytes. */
bool filters_add(struct buf *list, struct slice filter, const struct subscribe_options *options,
                 uint8_t version);

#define ACK_MAX_SIZE 5
/* A short acknowledgement without properties: PUBACK, PUBREC, PUBREL, PUBCOMP.  The reason
 * code is left out for 3.x and when it is 0.  Writes at most ACK_MAX_SIZE bytes; gives the end. */
uint8_t *ack_encode(uint8_t *out, enum packet_type type, uint16_t packet_id, uint8_t reason_code,
                    uint8_t version);

#endif
