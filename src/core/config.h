/* config.h -- the settings core works by (port: filled by script/conf.c).
 *
 * Immutable once a worker has seen it; a reload puts a new one in its place.
 * Defaults stand in CONFIG_DEFAULTS alone. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_CONFIG_H
#define SOL_CORE_CONFIG_H

#include "base/log.h"

enum tristate { UNSET = -1, NO = 0, YES = 1 };

/* Which message a full queue loses: the one that comes, or the eldest that waits. */
enum drop_rule { DROP_NEWEST, DROP_OLDEST };

/* A worker is a bit of a 64-bit set. */
enum { WORKERS_MAX = 64 };

/* What clients may do: the global settings, those of a listener, those the connect hook
 * gives one client.  Rows in script/settings.c say which of them may stand where. */
struct limits {
    uint64_t max_queued_bytes;   /* topics, properties and payloads of those waiting */
    uint64_t max_inflight_bytes; /* of those unacknowledged by one client, 0: no limit */
    uint32_t max_connections;    /* together, or by this listener; 0: no limit */
    uint32_t max_packet_size;    /* bytes, whole packet, incoming */
    uint32_t max_inflight;       /* QoS 1/2 messages on their way to one client, 1..65535 */
    uint32_t max_queued;         /* QoS 1/2 messages waiting for one client */
    uint32_t max_topic_levels;   /* of a topic name or filter, 1..1000 */
    uint32_t max_topic_length;   /* bytes of a topic name or filter, 1..65535 */
    uint32_t max_topic_alias;    /* per connection and direction, 0..65535 */
    uint32_t max_payload_size;   /* bytes, incoming; 0: only max_packet_size bounds it */
    uint32_t max_qos;            /* of what clients publish, and of their subscriptions */
    uint32_t max_keepalive;      /* seconds, 0: no limit */
    uint32_t max_subscriptions;  /* per session, 0: no limit */
    uint32_t max_session_expiry; /* seconds, UINT32_MAX: for ever */
    uint32_t session_expiry_3x;  /* seconds a kept 3.x session lives unconnected */
    uint32_t message_rate;       /* publishes a second and client, 0: no limit */
    uint32_t byte_rate;          /* bytes of them, 0: no limit */
    uint32_t connect_timeout_ms;
    int allow_anonymous;       /* enum tristate; UNSET: see worker->anonymous */
    uint8_t protocol_versions; /* bit 1 << enum mqtt_version */
    bool retain_available;
    bool wildcard_subscription;
    bool shared_subscription;
    bool subscription_identifiers;
    bool allow_empty_client_id;
    bool strict_3_1_ids;          /* at most 23 characters, as MQTT 3.1 has it */
    bool validate_payload_format; /* what is said to be UTF-8 must be */
};

struct listen_config {
    char *url;            /* owned */
    char *mount_point;    /* owned, or NULL: what its clients' topics lie below */
    int backlog;          /* 0: the system's maximum */
    int mode;             /* permissions of a unix socket */
    struct limits limits; /* all of them, once the file has been read to its end */
    uint64_t given;       /* private to script/settings.c: which stand at the listener */
};

/* Who makes a change that is kept waits until it is on the disk; or does not, and it is written
 * within a second or so. */
enum durability { DURABILITY_ASYNC, DURABILITY_SYNC };

struct config {
    uint32_t workers;           /* threads that serve clients, 0: one a core; at start only */
    struct limits limits;       /* of everyone; 0 means "no limit" only where said */
    bool default_access;        /* authorize, when nobody decided: true allows */
    uint64_t max_output_bytes;  /* unsent bytes of one connection before QoS 0 is dropped */
    uint64_t max_connect_bytes; /* of all CONNECTs that are not decided */
    int drop;                   /* enum drop_rule */
    bool queue_qos0;            /* for sessions that are not connected, too */
    int overlapping;            /* enum overlapping (subs.h) */
    uint32_t sys_interval_ms;   /* between $SYS publications, 0: none */
    /* hooks */
    uint32_t hook_budget_ms;    /* running, per resume */
    uint32_t hook_timeout_ms;   /* from call to verdict, waits included */
    uint32_t reload_timeout_ms; /* what the hooks of an old policy may go on waiting */
    uint32_t max_parked;        /* hook calls waiting at once, per event */
    uint64_t vm_memory;         /* bytes of Lua heap per VM */
    /* log */
    int log_level;  /* enum log_level */
    int log_format; /* enum log_format */
    /* doors */
    struct listen_config *listeners; /* owned */
    unsigned listeners_len;
    char *admin_socket; /* owned: its path; "": none; NULL: where there is a place */
    /* what outlives the process; at start only */
    char *store;      /* owned: the file's path; NULL: none */
    int durability;   /* enum durability */
    uint64_t kv_size; /* bytes that sol.kv may have */
};

#define LIMITS_DEFAULTS                                                                            \
    {                                                                                              \
        .max_connections = 0, .max_packet_size = 1048576, .max_inflight = 1024,                    \
        .max_queued = 10000, .max_queued_bytes = UINT64_C(64) << 20, .max_inflight_bytes = 0,      \
        .max_topic_levels = 200, .max_topic_length = 65535, .max_topic_alias = 32,                 \
        .max_payload_size = 0, .max_qos = 2, .max_keepalive = 0, .max_subscriptions = 0,           \
        .max_session_expiry = UINT32_MAX, .session_expiry_3x = UINT32_MAX, .message_rate = 0,      \
        .byte_rate = 0, .connect_timeout_ms = 10000, .allow_anonymous = UNSET,                     \
        .protocol_versions = 0x38, .retain_available = true, .wildcard_subscription = true,        \
        .shared_subscription = true, .subscription_identifiers = true,                             \
        .allow_empty_client_id = true, .strict_3_1_ids = false, .validate_payload_format = false   \
    }

#define CONFIG_DEFAULTS                                                                            \
    {                                                                                              \
        .workers = 1, .limits = LIMITS_DEFAULTS, .default_access = true,                           \
        .max_output_bytes = UINT64_C(8) << 20, .max_connect_bytes = UINT64_C(64) << 20,            \
        .drop = DROP_NEWEST, .queue_qos0 = false, .overlapping = 0, .sys_interval_ms = 10000,      \
        .hook_budget_ms = 100, .hook_timeout_ms = 5000, .reload_timeout_ms = 5000,                 \
        .max_parked = 10000, .vm_memory = UINT64_C(256) << 20, .log_level = LOG_INFO,              \
        .log_format = LOG_TEXT, .listeners = NULL, .listeners_len = 0, .admin_socket = NULL,       \
        .store = NULL, .durability = DURABILITY_SYNC, .kv_size = UINT64_C(16) << 20                \
    }

/* Gives a configuration with the defaults; config_free it. */
struct config *config_new(void);
/* NULL is fine. */
void config_free(struct config *c);
/* Appends a listener with the present global limits; copies the URL.  Lends it until the
 * next is added. */
struct listen_config *config_add_listener(struct config *c, const char *url, int backlog, int mode);
/* Lends the listener with this URL, or NULL. */
const struct listen_config *config_listener(const struct config *c, const char *url);
/* The largest max_packet_size of all listeners. */
uint32_t config_most_bytes(const struct config *c);

#endif
