/* packet.h -- the words of MQTT: packets, reason codes, properties.
 *
 * Types only.  One set of structs serves MQTT 3.1, 3.1.1 and 5.0; the version is data.
 * Decoded packets are zero-copy: every slice points into the bytes that were decoded. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_MQTT_PACKET_H
#define SOL_MQTT_PACKET_H

#include "base/slice.h"

/* The protocol level as it stands in CONNECT. */
enum mqtt_version { MQTT_3_1 = 3, MQTT_3_1_1 = 4, MQTT_5 = 5 };

/* clang-format off */
enum packet_type {
    PKT_CONNECT = 1, PKT_CONNACK, PKT_PUBLISH, PKT_PUBACK, PKT_PUBREC, PKT_PUBREL,
    PKT_PUBCOMP, PKT_SUBSCRIBE, PKT_SUBACK, PKT_UNSUBSCRIBE, PKT_UNSUBACK,
    PKT_PINGREQ, PKT_PINGRESP, PKT_DISCONNECT, PKT_AUTH, PKT_TYPES
};
/* clang-format on */

/* Reason codes, MQTT 5.0 table 2-6. */
enum reason_code {
    RC_SUCCESS = 0x00, /* also Normal disconnection, Granted QoS 0 */
    RC_GRANTED_QOS_1 = 0x01,
    RC_GRANTED_QOS_2 = 0x02,
    RC_DISCONNECT_WITH_WILL = 0x04,
    RC_NO_MATCHING_SUBSCRIBERS = 0x10,
    RC_NO_SUBSCRIPTION_EXISTED = 0x11,
    RC_CONTINUE_AUTHENTICATION = 0x18,
    RC_REAUTHENTICATE = 0x19,
    RC_UNSPECIFIED_ERROR = 0x80,
    RC_MALFORMED_PACKET = 0x81,
    RC_PROTOCOL_ERROR = 0x82,
    RC_IMPLEMENTATION_SPECIFIC_ERROR = 0x83,
    RC_UNSUPPORTED_PROTOCOL_VERSION = 0x84,
    RC_CLIENT_IDENTIFIER_NOT_VALID = 0x85,
    RC_BAD_USER_NAME_OR_PASSWORD = 0x86,
    RC_NOT_AUTHORIZED = 0x87,
    RC_SERVER_UNAVAILABLE = 0x88,
    RC_SERVER_BUSY = 0x89,
    RC_BANNED = 0x8A,
    RC_SERVER_SHUTTING_DOWN = 0x8B,
    RC_BAD_AUTHENTICATION_METHOD = 0x8C,
    RC_KEEP_ALIVE_TIMEOUT = 0x8D,
    RC_SESSION_TAKEN_OVER = 0x8E,
    RC_TOPIC_FILTER_INVALID = 0x8F,
    RC_TOPIC_NAME_INVALID = 0x90,
    RC_PACKET_IDENTIFIER_IN_USE = 0x91,
    RC_PACKET_IDENTIFIER_NOT_FOUND = 0x92,
    RC_RECEIVE_MAXIMUM_EXCEEDED = 0x93,
    RC_TOPIC_ALIAS_INVALID = 0x94,
    RC_PACKET_TOO_LARGE = 0x95,
    RC_MESSAGE_RATE_TOO_HIGH = 0x96,
    RC_QUOTA_EXCEEDED = 0x97,
    RC_ADMINISTRATIVE_ACTION = 0x98,
    RC_PAYLOAD_FORMAT_INVALID = 0x99,
    RC_RETAIN_NOT_SUPPORTED = 0x9A,
    RC_QOS_NOT_SUPPORTED = 0x9B,
    RC_USE_ANOTHER_SERVER = 0x9C,
    RC_SERVER_MOVED = 0x9D,
    RC_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E,
    RC_CONNECTION_RATE_EXCEEDED = 0x9F,
    RC_MAXIMUM_CONNECT_TIME = 0xA0,
    RC_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1,
    RC_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2
};

/* Property identifiers, MQTT 5.0 table 2-4. */
enum prop_id {
    PROP_PAYLOAD_FORMAT_INDICATOR = 0x01,
    PROP_MESSAGE_EXPIRY_INTERVAL = 0x02,
    PROP_CONTENT_TYPE = 0x03,
    PROP_RESPONSE_TOPIC = 0x08,
    PROP_CORRELATION_DATA = 0x09,
    PROP_SUBSCRIPTION_IDENTIFIER = 0x0B,
    PROP_SESSION_EXPIRY_INTERVAL = 0x11,
    PROP_ASSIGNED_CLIENT_IDENTIFIER = 0x12,
    PROP_SERVER_KEEP_ALIVE = 0x13,
    PROP_AUTHENTICATION_METHOD = 0x15,
    PROP_AUTHENTICATION_DATA = 0x16,
    PROP_REQUEST_PROBLEM_INFORMATION = 0x17,
    PROP_WILL_DELAY_INTERVAL = 0x18,
    PROP_REQUEST_RESPONSE_INFORMATION = 0x19,
    PROP_RESPONSE_INFORMATION = 0x1A,
    PROP_SERVER_REFERENCE = 0x1C,
    PROP_REASON_STRING = 0x1F,
    PROP_RECEIVE_MAXIMUM = 0x21,
    PROP_TOPIC_ALIAS_MAXIMUM = 0x22,
    PROP_TOPIC_ALIAS = 0x23,
    PROP_MAXIMUM_QOS = 0x24,
    PROP_RETAIN_AVAILABLE = 0x25,
    PROP_USER_PROPERTY = 0x26,
    PROP_MAXIMUM_PACKET_SIZE = 0x27,
    PROP_WILDCARD_SUBSCRIPTION_AVAILABLE = 0x28,
    PROP_SUBSCRIPTION_IDENTIFIER_AVAILABLE = 0x29,
    PROP_SHARED_SUBSCRIPTION_AVAILABLE = 0x2A
};

#define PROP_BIT(id) (UINT64_C(1) << (id))

/* One block of properties.  A member is valid iff its PROP_BIT is in `present`; the
 * others are left uninitialised, so an empty block costs next to nothing (props_init). */
struct props {
    uint64_t present;
    struct slice raw; /* the block without its length; for repeated properties, props_next */
    uint32_t message_expiry_interval; /* seconds */
    uint32_t session_expiry_interval; /* seconds, UINT32_MAX: never */
    uint32_t will_delay_interval;     /* seconds */
    uint32_t maximum_packet_size;     /* bytes */
    uint32_t subscription_identifier; /* the first; in PUBLISH it may repeat */
    uint16_t server_keep_alive;       /* seconds */
    uint16_t receive_maximum;
    uint16_t topic_alias_maximum;
    uint16_t topic_alias;
    uint8_t payload_format_indicator;
    uint8_t request_problem_information;
    uint8_t request_response_information;
    uint8_t maximum_qos;
    uint8_t retain_available;
    uint8_t wildcard_subscription_available;
    uint8_t subscription_identifier_available;
    uint8_t shared_subscription_available;
    struct slice content_type;
    struct slice response_topic;
    struct slice correlation_data;
    struct slice assigned_client_identifier;
    struct slice authentication_method;
    struct slice authentication_data;
    struct slice response_information;
    struct slice server_reference;
    struct slice reason_string;
    /* for encoding: user properties (and repeated subscription identifiers) as already
     * encoded bytes, appended as they are; SLICE_NONE: none.  Decoding leaves the bytes
     * in `raw` and sets this to SLICE_NONE. */
    struct slice encoded;
};

static inline bool props_has(const struct props *p, enum prop_id id) {
    return (p->present & PROP_BIT(id)) != 0;
}

/* ---- packets ------------------------------------------------------------ */

struct will {
    struct slice topic, payload;
    uint8_t qos;
    bool retain;
    struct props props;
};

struct pkt_connect {
    uint8_t version;  /* enum mqtt_version */
    bool clean_start; /* "clean session" in 3.x */
    bool has_will, has_username, has_password;
    uint16_t keep_alive; /* seconds, 0: off */
    struct slice client_id, username, password;
    struct will will;
    struct props props;
};

struct pkt_connack {
    bool session_present;
    uint8_t reason_code; /* as on the wire: a 3.x return code or a 5.0 reason code */
    struct props props;
};

struct pkt_publish {
    bool dup, retain;
    uint8_t qos;
    uint16_t packet_id; /* 0 when qos is 0 */
    struct slice topic, payload;
    struct props props;
};

/* PUBACK, PUBREC, PUBREL, PUBCOMP. */
struct pkt_ack {
    uint16_t packet_id;
    uint8_t reason_code;
    struct props props;
};

struct subscribe_options {
    uint8_t qos;
    bool no_local, retain_as_published;
    uint8_t retain_handling; /* 0 send, 1 send if new, 2 do not send */
    uint8_t standing;        /* not in the packet: enum standing of core/grants.h */
};

/* SUBSCRIBE and UNSUBSCRIBE: the list is walked with filters_next (decode.h). */
struct pkt_filters {
    uint16_t packet_id;
    unsigned count;       /* at least one */
    struct slice filters; /* the undecoded list, already validated */
    struct props props;
};

/* SUBACK and UNSUBACK. */
struct pkt_codes {
    uint16_t packet_id;
    struct slice codes; /* one byte a filter; empty for a 3.x UNSUBACK */
    struct props props;
};

/* DISCONNECT and AUTH. */
struct pkt_reason {
    uint8_t reason_code;
    struct props props;
};

struct packet {
    enum packet_type type;
    union {
        struct pkt_connect connect;
        struct pkt_connack connack;
        struct pkt_publish publish;
        struct pkt_ack ack;
        struct pkt_filters filters;
        struct pkt_codes codes;
        struct pkt_reason reason;
    };
};

#endif
