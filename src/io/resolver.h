/* resolver.h -- names to addresses and other DNS records, without blocking.
 *
 * Speaks DNS through c-ares on the loop; /etc/hosts and /etc/resolv.conf count as usual.
 * Answers are kept for a while, and those who ask the same at once share one query.
 * Owned by the loop's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_IO_RESOLVER_H
#define SOL_IO_RESOLVER_H

#include "io/loop.h"

#include <netinet/in.h>
#include <stddef.h>

enum dns_type {
    DNS_ADDRESS, /* A and AAAA, in the order in which to try them */
    DNS_A,
    DNS_AAAA,
    DNS_MX,
    DNS_NS,
    DNS_PTR,
    DNS_SRV,
    DNS_TXT,
    DNS_TYPES
};

union dns_sockaddr {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct dns_record {
    union dns_sockaddr address; /* of DNS_ADDRESS, DNS_A, DNS_AAAA; port 0 */
    char *text;                 /* owned: address or name, or any bytes (TXT); NUL-terminated */
    size_t text_len;            /* bytes */
    uint32_t ttl_s;             /* of addresses; 0: not told */
    uint16_t priority, weight, port; /* MX: priority; SRV: all */
};

/* At least one record, or an error. */
struct dns_answer {
    const char *error; /* static; NULL: there are records */
    struct dns_record *at;
    unsigned len;
};

struct resolver;
struct dns_query;

/* The answer, lent during the call.  The query is over and must not be forgotten. */
typedef void dns_fn(void *obj, const struct dns_answer *answer);

/* `servers`: "10.0.0.1,10.0.0.2:5353" instead of the system's, or NULL.  NULL, with `why`
 * (static) saying so, when c-ares cannot start. */
struct resolver *resolver_new(struct loop *loop, const char *servers, const char **why);
/* Queries still open are forgotten, not answered.  NULL is fine. */
void resolver_free(struct resolver *r);
/* Could this list of servers be given to resolver_new? */
bool resolver_servers_valid(const char *servers);

/* Asks; fn is called once, in a later step of the loop.  NULL when too much is being asked
 * for already. */
struct dns_query *resolver_ask(struct resolver *r, const char *name, enum dns_type type, dns_fn *fn,
                               void *obj);
/* The asker has gone: fn is not called.  Takes the query. */
void resolver_forget(struct dns_query *q);

#endif
