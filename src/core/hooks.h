/* hooks.h -- where policy is asked (port: filled by the script layer).
 *
 * Core describes what is about to happen in a hook_call and runs it.  The answer is
 * there at once, or the verdict is VERDICT_WAIT and `done` is called later, on the same
 * thread, unless the call is cancelled first.  With no handlers for an event its bit in
 * `wanted` is clear and core does not call at all. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_HOOKS_H
#define SOL_CORE_HOOKS_H

#include "core/config.h"
#include "core/message.h"
#include "mqtt/packet.h"

struct client;
struct grant_answer;
struct worker;

enum hook_event {
    /* asked: the verdict counts */
    HOOK_CONNECT,
    HOOK_AUTHENTICATE,
    HOOK_AUTH,
    HOOK_SUBSCRIBE,
    HOOK_UNSUBSCRIBE,
    HOOK_PUBLISH,
    HOOK_AUTHORIZE,
    HOOK_DELIVER,
    /* told: facts, never waited for, verdict ignored */
    HOOK_CONNECTED,
    HOOK_DISCONNECTED,
    HOOK_SUBSCRIBED,
    HOOK_UNSUBSCRIBED,
    HOOK_PUBLISHED,
    HOOK_ACKED,
    HOOK_DROPPED,
    HOOK_EXPIRED,
    HOOK_WILL,
    HOOK_REFUSED,
    HOOK_START,
    HOOK_STOP,
    HOOK_RELOAD,
    HOOK_EVENTS
};
#define HOOK_BIT(event) (UINT32_C(1) << (event))
/* Handlers of AUTHORIZE that asked for ACCESS_DELIVER too: few do, and core asks for a
 * delivery only where this bit is set (in `wanted` and in what wants() gives). */
#define HOOK_BIT_AUTHORIZE_DELIVER HOOK_BIT(HOOK_EVENTS)
#define HOOK_ASKED_AT_DELIVERY     (HOOK_BIT(HOOK_DELIVER) | HOOK_BIT_AUTHORIZE_DELIVER)
#define HOOK_IS_FACT(event)        ((event) >= HOOK_CONNECTED)

enum verdict {
    VERDICT_NONE, /* nobody decided */
    VERDICT_ALLOW,
    VERDICT_DENY,     /* with reason_code */
    VERDICT_DROP,     /* publish: acknowledge, go no further; deliver: not to this one */
    VERDICT_CONTINUE, /* auth: another round, `reply` goes to the client */
    VERDICT_WAIT
};

enum access_action { ACCESS_PUBLISH, ACCESS_SUBSCRIBE, ACCESS_WILL, ACCESS_DELIVER };

/* connect, authenticate.  Slices of `packet` may be replaced by the hooks with bytes
 * kept by connect_keep. */
struct connect_request {
    struct pkt_connect packet;
    uint32_t session_expiry;           /* seconds, UINT32_MAX: never; for 3.x from clean_start */
    struct limits limits;              /* the listener's, which hooks may change for this client */
    bool has_own_limits;               /* they did */
    struct slice mount;                /* SLICE_NONE: none; at first the listener's */
    struct slice response_information; /* SLICE_NONE: none */
    struct kept *kept;                 /* private */
};
/* Copies `s` into memory that lives as long as the request; lends the copy. */
struct slice connect_keep(struct connect_request *r, struct slice s);
/* Frees what connect_keep kept. */
void connect_request_deinit(struct connect_request *r);

/* auth: what one round of an enhanced authentication is about (auth.h). */
struct auth_exchange {
    struct slice method;   /* lent; the same in every round */
    struct slice data;     /* lent: the client's; SLICE_NONE: it sent none */
    struct slice reply;    /* owned, by auth_reply: ours; SLICE_NONE at the start of a round */
    struct slice username; /* owned, by auth_name: whose it is, if it succeeds; or SLICE_NONE */
    bool is_reauth;
};
/* Both copy. */
void auth_reply(struct auth_exchange *x, struct slice data);
void auth_name(struct auth_exchange *x, struct slice username);
/* Frees what it owns. */
void auth_exchange_deinit(struct auth_exchange *x);

/* subscribe, unsubscribe: one filter at a time.  `filter` may be replaced with
 * subscribe_keep. */
struct subscribe_request {
    struct slice filter;
    struct subscribe_options options; /* subscribe only */
    uint32_t subscription_identifier; /* 0: none */
    char *kept;                       /* private: owned replacement of `filter` */
};
void subscribe_keep(struct subscribe_request *r, struct slice filter);

/* authorize */
struct access_request {
    enum access_action action;
    struct slice topic; /* effective topic name, or filter for ACCESS_SUBSCRIBE */
    uint8_t qos;
    bool retain;
    struct message *message; /* lent; NULL for ACCESS_SUBSCRIBE */
};

/* Facts: what there is to tell; unused members are zero. */
struct fact {
    struct slice topic;      /* or filter, or SLICE_NONE; lent during the call */
    struct message *message; /* lent during the call */
    const char *reason;      /* lent, static or NULL */
    const char *action;      /* refused: which request (static) */
    uint8_t reason_code, qos;
    bool session_present;
    bool is_normal; /* disconnected: the client has said goodbye, and wants no will */
    unsigned generation, old_generation; /* reload */
};

struct hooks;

struct hook_call;
typedef void hook_done_fn(struct hook_call *call);

struct hook_call {
    /* filled by core; lent until the verdict is there */
    enum hook_event event;
    struct client *client; /* NULL: the broker itself */
    union {
        struct connect_request *connect;     /* HOOK_CONNECT, HOOK_AUTHENTICATE */
        struct auth_exchange *auth;          /* HOOK_AUTH */
        struct subscribe_request *subscribe; /* HOOK_SUBSCRIBE, HOOK_UNSUBSCRIBE */
        struct access_request access;        /* HOOK_AUTHORIZE */
        struct {                             /* HOOK_PUBLISH, HOOK_DELIVER */
            struct message *message;         /* lent */
            struct message *changed;         /* comes with the verdict: what the hooks put in its
                                                place, a reference for core to take; or NULL */
            bool is_will;
        };
        const struct fact *fact; /* facts */
    };
    hook_done_fn *done; /* NULL for facts */
    void *obj;          /* core's own */
    const void *trial;  /* nothing comes of it, somebody only asks what would; NULL: it is real */
    /* filled by the hooks */
    enum verdict verdict;
    uint8_t reason_code;    /* VERDICT_DENY; 0: the event's default */
    char *reason;           /* owned by the call: text for the peer; or NULL */
    char *server_reference; /* likewise: where it should go; connect, authenticate, auth */
    /* while VERDICT_WAIT */
    struct hooks *hooks; /* who runs it (a reload may have put others in place) */
    void *task;          /* theirs */
};

struct hooks {
    uint32_t wanted;            /* HOOK_BITs that have handlers */
    struct hooks *next, **link; /* worker->retired; core's own */
    /* HOOK_BITs of PUBLISH, AUTHORIZE (and AUTHORIZE_DELIVER), DELIVER, PUBLISHED whose
     * handlers' filters match this topic name; may be remembered by core until the hooks are
     * replaced. */
    uint32_t (*wants)(struct hooks *h, struct slice topic);
    /* Ask or tell.  Sets verdict (VERDICT_WAIT only when call->done is set). */
    void (*run)(struct hooks *h, struct hook_call *call);
    /* A waiting call is void: its task is cancelled, done will not be called. */
    void (*cancel)(struct hooks *h, struct hook_call *call);
    /* On the worker's thread: from now on calls come; timers may be armed. */
    void (*attach)(struct hooks *h, struct worker *w);
    /* No new calls will come.  With `at_once` waiting calls are cancelled by core first
     * and the hooks free themselves before returning; otherwise they free themselves when
     * the waiting calls are over or their deadline has passed. */
    void (*retire)(struct hooks *h, bool at_once);
    bool is_watched; /* somebody wants to hear of what is decided without them, too */
    /* A grant (grants.h) has decided about call->access; only while is_watched. */
    void (*granted)(struct hooks *h, const struct hook_call *call, const struct grant_answer *a);
    /* The client's memory is about to go. */
    void (*forget)(struct hooks *h, struct client *c);
    /* The client's exchange has ended, one way or the other, and what it is called may have
     * changed. */
    void (*auth_over)(struct hooks *h, struct client *c, struct auth_exchange *x);
};

/* For the hooks: they are about to free themselves. */
void hooks_settled(struct hooks *h);

/* Frees call->reason and call->server_reference, which few calls have. */
void hook_call_clear(struct hook_call *call);
static inline void hook_call_deinit(struct hook_call *call) {
    if (call->reason || call->server_reference) hook_call_clear(call);
}
/* The code of a denial; one that means success denies, too. */
static inline uint8_t hook_denial(const struct hook_call *call, uint8_t otherwise) {
    return call->reason_code >= RC_UNSPECIFIED_ERROR ? call->reason_code : otherwise;
}

static inline bool hooks_want(const struct hooks *h, enum hook_event e) {
    return (h->wanted & HOOK_BIT(e)) != 0;
}
/* The bits of HOOK_ASKED_AT_DELIVERY that want to see this message. */
uint32_t hooks_for_delivery(struct hooks *h, const struct message *m);
/* Tells a fact when anyone listens. */
void hooks_tell(struct hooks *h, enum hook_event e, struct client *c, const struct fact *f);

/* Hooks nobody listens to; stateless, so any number of workers may share them. */
extern struct hooks hooks_none;

#endif
