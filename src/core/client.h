/* client.h -- who is (or was) at the other end of a connection.
 *
 * Made when a connection arrives, filled in by CONNECT and its hooks; kept by the
 * connection, by the session it opened and by calls in progress, so a will or a hook
 * finds its author after the socket has gone.  One worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_CLIENT_H
#define SOL_CORE_CLIENT_H

#include "base/slots.h"
#include "base/slice.h"

struct conn;
struct gate;
struct grants;
struct limits;
struct session;
struct worker;

/* A plain value a policy hangs on a client or session (client.attributes, client.session). */
enum attr_type { ATTR_BOOL, ATTR_INT, ATTR_REAL, ATTR_STRING };
struct attr {
    struct attr *next;
    enum attr_type type;
    union {
        bool boolean;
        int64_t integer;
        double real;
    };
    char *name;          /* owned */
    struct slice string; /* owned bytes */
};

struct client {
    uint32_t refs;
    struct handle handle;        /* in worker->clients; HANDLE_NONE: a copy */
    struct worker *worker;       /* lent */
    struct conn *conn;           /* lent; NULL once the connection has closed */
    struct session *session;     /* lent; NULL before CONNECT is accepted and after its end */
    struct slice id;             /* owned */
    struct slice username;       /* owned; SLICE_NONE: none given */
    char *peer;                  /* owned: "127.0.0.1:4711", "unix" */
    const char *listener;        /* lent by the gate: its URL */
    struct gate *gate;           /* lent: of the listener it came by */
    const struct limits *limits; /* owned reference: the gate's until CONNECT is accepted */
    struct slice mount;          /* owned: what its topics lie below; SLICE_NONE: nothing */
    struct attr *attrs;          /* owned list */
    struct grants *grants;       /* owned; NULL: none */
    uint64_t connected_at_ms;    /* wall clock, since 1970 */
    uint16_t keep_alive;         /* seconds */
    uint16_t mount_levels;       /* of mount */
    uint8_t version;             /* enum mqtt_version; 0 before CONNECT */
    bool clean_start;
    bool is_counted; /* among broker->connected: CONNECT accepted, not yet closed */
};

/* Files a new client in worker->clients with one reference.  Copies `peer` and `listener`. */
struct client *client_new(struct worker *w, const char *peer, const char *listener);
/* A copy, attributes included, for another thread: with one reference, filed nowhere,
 * without connection, session, limits and grants. */
struct client *client_copy(const struct client *c);
/* The copy has arrived: files it in w->clients; its limits are those of its listener. */
void client_file(struct client *c, struct worker *w);
struct client *client_ref(struct client *c);
/* Always NULL; NULL is fine.  The last reference frees it. */
struct client *client_unref(struct client *c);
/* Copy the new value in. */
void client_set_id(struct client *c, struct slice id);
void client_set_username(struct client *c, struct slice username);
void client_set_mount(struct client *c, struct slice mount);
/* Copies them: they are this client's own from now on. */
void client_set_limits(struct client *c, const struct limits *limits);

/* Lends the attribute of a list, or NULL. */
const struct attr *attr_find(const struct attr *list, const char *name);
/* Copies `value` (its name and next are ignored) under `name`; NULL removes it.
 * False when the list holds ATTRS_MAX attributes already. */
#define ATTRS_MAX 64
bool attr_set(struct attr **list, const char *name, const struct attr *value);
/* Frees them all and leaves an empty list. */
void attrs_deinit(struct attr **list);

/* Those of a client. */
static inline const struct attr *client_attr_find(const struct client *c, const char *name) {
    return attr_find(c->attrs, name);
}
static inline bool client_attr_set(struct client *c, const char *name, const struct attr *value) {
    return attr_set(&c->attrs, name, value);
}

#endif
