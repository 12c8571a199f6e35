/* subs.h -- who wants which topic.
 *
 * Exact filters lie in a hash, wildcard filters in trees of levels, and each of them knows
 * the groups that share it ($share/GROUP/FILTER).  Each worker reads them through its route
 * cache (route.h): a route stays valid while the epochs of the parts it came from are
 * unchanged.  Any thread; the locks live in subs.c. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_SUBS_H
#define SOL_CORE_SUBS_H

#include "base/slots.h"
#include "mqtt/packet.h"

#include <stdatomic.h>

struct subs;
struct filter_node; /* private: one filter that has subscribers */

/* One session's subscription to one filter; owned by the index, listed by the session. */
struct subscription {
    struct subscription *next, **link; /* the session's list */
    struct subscription_key {
        struct filter_node *node;
        struct handle session;
    } key;               /* no padding: hashed as bytes */
    uint32_t identifier; /* subscription identifier, 0: none */
    struct subscribe_options options;
    uint32_t at; /* place among the node's subscribers */
};

/* A subscriber as a route remembers it: overlapping subscriptions of one session are
 * already merged (highest QoS, all identifiers), unless each was asked for.  What it
 * publishes itself comes by those without No Local alone: the `own_` members. */
struct route_entry {
    struct handle session;
    uint32_t identifiers_at; /* for route_identifiers; 0: it has none */
    uint8_t qos, own_qos;
    bool no_local : 1;            /* every merged subscription says so */
    bool retain_as_published : 1; /* any merged subscription says so */
    bool own_retain_as_published : 1;
    bool is_own : 1;                        /* it came from route_entry_own */
    uint8_t standing : 2, own_standing : 2; /* enum standing: the lowest of the merged */
};

/* A shared subscription's members on a route: at[first .. first + len). */
struct route_share {
    uint32_t first, len;
    /* whose turn it is; the route's user counts them up */
    uint32_t next;      /* for what is published here */
    uint32_t next_here; /* for what another worker sends: to those of this worker alone */
    uint32_t id;        /* of the share, for subs_share */
};

/* A filter belongs to one of SUBS_PARTS parts, by the levels it begins with; a topic looks for
 * its subscribers in SUBS_PREFIXES of them. */
enum { SUBS_PARTS = 1024, SUBS_PREFIXES = 3 };

/* Subscribers on other workers that an answer names; with more it names none. */
enum { SUBS_FAR_MAX = 8 };

/* The parts of the index that an answer came from, and how often they had changed by then: all
 * together, which tells as much, because each only counts up. */
struct subs_age {
    uint16_t part[SUBS_PREFIXES];
    uint64_t epochs;
};

/* An empty index, for all workers; to be freed after their threads, without subscriptions. */
struct subs *subs_new(void);
void subs_free(struct subs *s);

enum { SUBS_NEW = 0, SUBS_REPLACED = 1 };
/* Subscribe `session`; copies the filter (valid, plain or shared).  `list` is the head of the
 * session's list.  Replaces options and identifier when it has this filter already [MQTT-3.8.4-3].
 */
int subs_add(struct subs *s, struct subscription **list, struct handle session, struct slice filter,
             const struct subscribe_options *options, uint32_t identifier);
bool subs_has(struct subs *s, struct handle session, struct slice filter);
/* Lends it to the worker where the session lives, or NULL. */
struct subscription *subs_find(struct subs *s, struct handle session, struct slice filter);
/* How it is authorized has changed. */
void subs_set_standing(struct subs *s, struct subscription *sub, uint8_t standing);
/* False when the session has no such subscription. */
bool subs_del(struct subs *s, struct handle session, struct slice filter);
/* Ends all subscriptions on the list. */
void subs_del_all(struct subs *s, struct subscription **list);

/* Appends the text of the filter subscribed to. */
struct buf;
void subs_filter(const struct subscription *sub, struct buf *out);

/* What becomes of several subscriptions of one session that match: one entry for all, or
 * one for each. */
enum overlapping { OVERLAPPING_ONCE, OVERLAPPING_EACH };

/* What few answers have. */
struct route_more {
    uint32_t *identifiers; /* owned; of all entries, see route_identifiers */
    uint32_t shares_len;
    struct route_share shares[];
};

/* There are as many as topics are remembered: those with one receiver are in one piece. */
struct route_entries {
    union {                       /* see route_entries_at */
        struct route_entry one;   /* while cap is 0 */
        struct route_entry *many; /* owned */
    };
    uint32_t cap;            /* entries there is room for in `many` */
    uint32_t len;            /* plain subscribers; members of shares lie behind them, */
    uint32_t far_at;         /* and from here on the plain subscribers on other workers, sorted */
    uint8_t far_len;         /* by worker, while all of them are few; else 0 */
    struct route_more *more; /* owned; NULL: neither shares nor identifiers */
    uint64_t remote;         /* bit per worker: others with plain subscribers */
    struct subs_age age;
};

/* Lends the entries. */
static inline const struct route_entry *route_entries_at(const struct route_entries *e) {
    return e->cap ? e->many : &e->one;
}
/* Lends the shares; any may be counted up. */
static inline struct route_share *route_shares(const struct route_entries *e, uint32_t *len) {
    *len = e->more ? e->more->shares_len : 0;
    return e->more ? e->more->shares : NULL;
}
/* How an entry's identifiers lie: their number, that of the own ones, then they, the own first. */
enum { IDENTIFIERS_LEN, IDENTIFIERS_OWN_LEN, IDENTIFIERS_AT };
/* Lends the subscription identifiers of one of the entries, or NULL. */
static inline const uint32_t *route_identifiers(const struct route_entries *e,
                                                const struct route_entry *one, uint32_t *len) {
    const uint32_t *at = one->identifiers_at ? e->more->identifiers + one->identifiers_at : NULL;
    *len = at ? at[one->is_own ? IDENTIFIERS_OWN_LEN : IDENTIFIERS_LEN] : 0;
    return at ? at + IDENTIFIERS_AT : NULL;
}
/* Collects the subscribers of a topic name that live on `worker`, which others have some (and who
 * these are, if few), and the members of shares wherever they live.  `out` is zeroed, or from an
 * earlier match, which is freed. */
void subs_match(struct subs *s, unsigned worker, struct slice topic, enum overlapping overlapping,
                struct route_entries *out);

enum { SUBS_TOGETHER = 8 };
/* A topic among others for which the same is to be done. */
struct subs_query {
    struct slice topic;
    uint64_t hash; /* subs_hash of it */
    struct route_entries *out;
};
/* As subs_match for each, SUBS_TOGETHER at most: they wait for memory together. */
void subs_match_all(struct subs *s, unsigned worker, enum overlapping overlapping,
                    const struct subs_query *queries, unsigned len);
/* The index's hash of a topic; under `seed`, for a map that is to be asked by it, too. */
uint64_t subs_hash(const struct subs *s, struct slice topic);
const uint64_t *subs_seed(const struct subs *s);
/* The entry for what its session publishes itself. */
struct route_entry route_entry_own(const struct route_entry *e);
/* The members of one share alone, or none when it has gone. */
void subs_share(struct subs *s, uint32_t id, struct route_entries *out);
/* Frees what `e` owns and leaves it empty. */
void route_entries_deinit(struct route_entries *e);
/* Is what subs_match gave still the whole truth?  No lock. */
bool subs_current(const struct subs *s, const struct subs_age *age);

/* Subscriptions and distinct filters in the index. */
size_t subs_count(struct subs *s);
size_t subs_filters(struct subs *s);

#endif
