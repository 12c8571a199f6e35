/* grants.h -- what a client has been granted, decided without entering Lua.
 *
 * A grant is a list of entries that a policy gave a client in one call.  Grants add up: the
 * newest is asked first, each from its first entry to its last, and the first entry that
 * matches decides; when none does the authorize hooks are asked.  Topics and filters are full
 * names, as hooks see them (mount.h).
 *
 * An entry's pattern is a topic filter in which %c stands for the client id, %u for the user
 * name, %{NAME} for an attribute and %% for a percent sign.  grant_bind fills them in.  A value
 * that would be more than a part of one level ('+', '#', '/' in it, '$' at the very start), or
 * that is not there, leaves an entry that grants with nothing to match; one that denies then
 * denies everything at and below that level.
 *
 * Pure data; one worker's thread.  What grants do to a living client is review.c's. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_GRANTS_H
#define SOL_CORE_GRANTS_H

#include "core/hooks.h"
#include "io/loop.h"

struct client;

enum {
    GRANT_PUBLISH = 1,
    GRANT_SUBSCRIBE = 2, /* filters that lie wholly inside */
    GRANT_READ = 4       /* filters that reach inside; what they bring is checked */
};
#define GRANT_FILTERS (GRANT_SUBSCRIBE | GRANT_READ)

enum { RETAIN_EITHER, RETAIN_ONLY, RETAIN_NEVER };

#define GRANT_NEVER UINT64_MAX /* does not expire */
/* Of one client, over all its grants. */
enum { GRANT_ENTRIES_MAX = 4096, GRANT_BYTES_MAX = 1 << 20 };

struct grant_entry {
    struct slice pattern; /* as given; grant_new copies it */
    uint32_t max_size;    /* bytes of a published payload */
    uint8_t actions;      /* GRANT_ bits */
    uint8_t max_qos;      /* of a publish; the most a subscription gets */
    uint8_t retain;       /* of a publish: RETAIN_ */
    bool is_deny;         /* without conditions */
    /* private to grants.c */
    bool is_bound;       /* filter is not the pattern */
    uint8_t shape;       /* of the filter */
    struct slice filter; /* owned when is_bound; SLICE_NONE: matches nothing */
};

struct grant {
    struct grant *next;
    const char *name;    /* behind the entries */
    uint64_t expires_ms; /* loop clock; GRANT_NEVER */
    unsigned generation; /* of the policy it ends with, when until_reload */
    bool until_reload;
    bool is_elder; /* older than the re-authentication under way */
    size_t bytes;  /* of memory, roughly */
    unsigned len;
    struct grant_entry at[];
};

/* Those of one client. */
struct grants {
    struct grant *first; /* owned; the newest */
    unsigned entries;
    size_t bytes;
    struct timer expiry; /* private to review.c */
};

/* How a subscription came to be authorized.  Of several that bring the same message the
 * lowest counts. */
enum standing {
    STANDING_FREE,    /* by hooks, or because nobody objects */
    STANDING_GRANTED, /* it lies wholly inside what is granted */
    STANDING_EXCEPT,  /* as FREE, but grants deny a part of it */
    STANDING_PARTLY   /* grants reach into it: what it brings is checked */
};

/* ---- life ---------------------------------------------------------------- */

/* NULL, or what is wrong with a pattern (static). */
const char *grant_pattern_invalid(struct slice pattern);
/* A grant of these entries, with private members zero; copies all of it. */
struct grant *grant_new(const char *name, const struct grant_entry *entries, unsigned len);
void grant_free(struct grant *g);
/* Fills the placeholders in with what the client is called now; again when that changes. */
void grant_bind(struct grant *g, const struct client *c);

/* Takes `g`, before all others and in the place of the one of its name; false, and it is not
 * taken, when it would be too much. */
bool grants_add(struct grants *all, struct grant *g);
/* Removes and frees those that `goes` names; gives their number. */
unsigned grants_remove(struct grants *all, bool (*goes)(const struct grant *g, const void *what),
                       const void *what);
/* When the next one expires; GRANT_NEVER. */
uint64_t grants_next_expiry(const struct grants *all);

/* ---- decisions ------------------------------------------------------------- */

struct grant_answer {
    enum verdict verdict;            /* ALLOW, DENY; NONE: no entry decides */
    uint8_t qos;                     /* ALLOW of a filter or delivery: no more than this */
    uint8_t standing;                /* of a filter, if it is authorized after all */
    const struct grant *grant;       /* lent: what decided, or NULL */
    const struct grant_entry *entry; /* lent: likewise */
};

/* What decided, for people: "grant own (t/%c/#)"; free() it. */
char *grant_text(const struct grant_answer *a);

/* The standing of a subscription that is authorized by its grants, or else by others. */
static inline uint8_t standing_of(const struct grant_answer *a, bool by_grant) {
    if (by_grant) return a->standing;
    bool is_free = a->verdict != VERDICT_DENY && a->standing <= STANDING_GRANTED;
    return is_free ? STANDING_FREE : STANDING_EXCEPT;
}

struct grant_publish {
    struct slice topic;
    size_t size; /* of the payload */
    uint8_t qos;
    bool retain;
};

/* What they say of a message.  `now_ms` is the loop's clock, here and below: some are over. */
struct grant_answer grants_publish(const struct grants *all, const struct grant_publish *what,
                                   uint64_t now_ms);
/* A filter to subscribe to, without $share/. */
struct grant_answer grants_subscribe(const struct grants *all, struct slice filter,
                                     uint64_t now_ms);
struct grant_answer grants_deliver(const struct grants *all, struct slice topic, uint64_t now_ms);

#endif
