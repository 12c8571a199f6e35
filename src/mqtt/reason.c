/* reason.c -- reason codes in words (MQTT 5.0, 2.4). */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "mqtt/reason.h"

#include "mqtt/packet.h"

#include <stddef.h>

static const char *const texts[256] = {
    [RC_SUCCESS] = "success",
    [RC_GRANTED_QOS_1] = "granted QoS 1",
    [RC_GRANTED_QOS_2] = "granted QoS 2",
    [RC_DISCONNECT_WITH_WILL] = "disconnect with will",
    [RC_NO_MATCHING_SUBSCRIBERS] = "no matching subscribers",
    [RC_NO_SUBSCRIPTION_EXISTED] = "no subscription existed",
    [RC_CONTINUE_AUTHENTICATION] = "continue authentication",
    [RC_REAUTHENTICATE] = "re-authenticate",
    [RC_UNSPECIFIED_ERROR] = "unspecified error",
    [RC_MALFORMED_PACKET] = "malformed packet",
    [RC_PROTOCOL_ERROR] = "protocol error",
    [RC_IMPLEMENTATION_SPECIFIC_ERROR] = "implementation specific error",
    [RC_UNSUPPORTED_PROTOCOL_VERSION] = "unsupported protocol version",
    [RC_CLIENT_IDENTIFIER_NOT_VALID] = "client identifier not valid",
    [RC_BAD_USER_NAME_OR_PASSWORD] = "bad user name or password",
    [RC_NOT_AUTHORIZED] = "not authorized",
    [RC_SERVER_UNAVAILABLE] = "server unavailable",
    [RC_SERVER_BUSY] = "server busy",
    [RC_BANNED] = "banned",
    [RC_SERVER_SHUTTING_DOWN] = "server shutting down",
    [RC_BAD_AUTHENTICATION_METHOD] = "bad authentication method",
    [RC_KEEP_ALIVE_TIMEOUT] = "keep-alive timeout",
    [RC_SESSION_TAKEN_OVER] = "session taken over",
    [RC_TOPIC_FILTER_INVALID] = "topic filter invalid",
    [RC_TOPIC_NAME_INVALID] = "topic name invalid",
    [RC_PACKET_IDENTIFIER_IN_USE] = "packet identifier in use",
    [RC_PACKET_IDENTIFIER_NOT_FOUND] = "packet identifier not found",
    [RC_RECEIVE_MAXIMUM_EXCEEDED] = "receive maximum exceeded",
    [RC_TOPIC_ALIAS_INVALID] = "topic alias invalid",
    [RC_PACKET_TOO_LARGE] = "packet too large",
    [RC_MESSAGE_RATE_TOO_HIGH] = "message rate too high",
    [RC_QUOTA_EXCEEDED] = "quota exceeded",
    [RC_ADMINISTRATIVE_ACTION] = "administrative action",
    [RC_PAYLOAD_FORMAT_INVALID] = "payload format invalid",
    [RC_RETAIN_NOT_SUPPORTED] = "retain not supported",
    [RC_QOS_NOT_SUPPORTED] = "QoS not supported",
    [RC_USE_ANOTHER_SERVER] = "use another server",
    [RC_SERVER_MOVED] = "server moved",
    [RC_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED] = "shared subscriptions not supported",
    [RC_CONNECTION_RATE_EXCEEDED] = "connection rate exceeded",
    [RC_MAXIMUM_CONNECT_TIME] = "maximum connect time",
    [RC_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED] = "subscription identifiers not supported",
    [RC_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED] = "wildcard subscriptions not supported",
};

const char *reason_text(uint8_t reason_code) {
    return texts[reason_code] ? texts[reason_code] : "unknown";
}
