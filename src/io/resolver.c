/* resolver.c -- c-ares on the loop, and what it said a moment ago.
 *
 * Everything asked for is an entry, by type and name.  It is pending until c-ares answers,
 * then known until it expires.  Queries are the askers of one entry; one that is forgotten
 * leaves, the entry goes on and is kept for the next.  Answers are handed out by a deferred
 * closure: c-ares may answer before its function returns, and askers may ask again.
 * Invariant: an entry with askers is pending, ready or
 * lent, and such a one is never evicted. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/resolver.h"

#include "base/map.h"
#include "base/mem.h"

#include <ares.h>
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define ENTRIES_MAX   1024 /* pending and known */
#define TRY_MS        2000 /* a server's time, the first time; doubles */
#define TRIES         3
#define TTL_MIN_S     1
#define TTL_MAX_S     3600
#define TTL_UNKNOWN_S 1 /* where c-ares does not tell, and of failures */

struct dns_query {
    struct entry *entry;
    dns_fn *fn;
    void *obj;
    struct dns_query *next, **link; /* entry->askers */
};

struct entry {
    struct resolver *resolver;
    char *key; /* owned: type and name */
    enum dns_type type;
    bool is_pending;
    bool is_ready; /* on the list of those to hand out */
    bool is_lent;  /* askers are being told */
    uint64_t expires_ms;
    struct dns_answer answer; /* owned records */
    struct dns_query *askers; /* in no order */
    struct entry *next_ready;
};

/* One of c-ares' sockets. */
struct ares_watch {
    struct watch watch;
    struct resolver *resolver;
    struct ares_watch *next, **link;
};

struct resolver {
    struct loop *loop;
    ares_channel channel;
    struct ares_watch *watches;
    struct timer timer; /* c-ares' next time-out */
    struct map entries;
    struct entry *ready;
    struct deferred hand_out;
    bool is_closing;
};

/* ---- answers --------------------------------------------------------------------- */

static void answer_deinit(struct dns_answer *a) {
    for (unsigned i = 0; i < a->len; i++) free(a->at[i].text);
    free(a->at);
    *a = (struct dns_answer){ NULL, NULL, 0 };
}

static struct dns_record *answer_add(struct dns_answer *a, const void *text, size_t len) {
    a->at = xrealloc(a->at, (a->len + 1) * sizeof *a->at);
    struct dns_record *r = &a->at[a->len++];
    memset(r, 0, sizeof *r);
    r->text = xslicedup(slice_of(text, len));
    r->text_len = len;
    return r;
}

static struct dns_record *answer_add_name(struct dns_answer *a, const char *name) {
    return answer_add(a, name, strlen(name));
}

static const char *error_of(int status) {
    switch (status) {
    case ARES_SUCCESS: return NULL;
    case ARES_ENODATA: return "no such record";
    case ARES_ENOTFOUND:
    case ARES_ENONAME: return "no such name";
    case ARES_EBADNAME: return "not a name";
    case ARES_ETIMEOUT: return "timeout";
    case ARES_ECONNREFUSED: return "no name server could answer";
    default: return ares_strerror(status);
    }
}

static void add_address(struct dns_answer *a, const struct ares_addrinfo_node *n) {
    char text[INET6_ADDRSTRLEN];
    union dns_sockaddr address;
    if (n->ai_addrlen > sizeof address) return;
    memset(&address, 0, sizeof address);
    memcpy(&address, n->ai_addr, n->ai_addrlen);
    const void *bytes = n->ai_family == AF_INET6 ? (const void *)&address.v6.sin6_addr
                                                 : (const void *)&address.v4.sin_addr;
    if (!inet_ntop(n->ai_family, bytes, text, sizeof text)) return;
    struct dns_record *r = answer_add_name(a, text);
    r->address = address;
    r->ttl_s = n->ai_ttl > 0 ? (uint32_t)n->ai_ttl : 0;
}

static int parse_mx(const unsigned char *reply, int len, struct dns_answer *a) {
    struct ares_mx_reply *list = NULL;
    int status = ares_parse_mx_reply(reply, len, &list);
    for (struct ares_mx_reply *m = list; m; m = m->next)
        answer_add_name(a, m->host)->priority = m->priority;
    ares_free_data(list);
    return status;
}

static int parse_srv(const unsigned char *reply, int len, struct dns_answer *a) {
    struct ares_srv_reply *list = NULL;
    int status = ares_parse_srv_reply(reply, len, &list);
    for (struct ares_srv_reply *s = list; s; s = s->next) {
        struct dns_record *r = answer_add_name(a, s->host);
        r->priority = s->priority;
        r->weight = s->weight;
        r->port = s->port;
    }
    ares_free_data(list);
    return status;
}

/* A record may come in pieces, which belong together. */
static int parse_txt(const unsigned char *reply, int len, struct dns_answer *a) {
    struct ares_txt_ext *list = NULL;
    int status = ares_parse_txt_reply_ext(reply, len, &list);
    for (struct ares_txt_ext *t = list; t; t = t->next) {
        struct dns_record *r = t->record_start ? answer_add(a, "", 0) : &a->at[a->len - 1];
        r->text = xrealloc(r->text, r->text_len + t->length + 1);
        memcpy(r->text + r->text_len, t->txt, t->length);
        r->text_len += t->length;
        r->text[r->text_len] = '\0';
    }
    ares_free_data(list);
    return status;
}

static int parse_names(int status, struct hostent *host, struct dns_answer *a) {
    if (status != ARES_SUCCESS) return status;
    for (char **name = host->h_aliases; *name; name++) answer_add_name(a, *name);
    ares_free_hostent(host);
    return status;
}

static int parse_ns(const unsigned char *reply, int len, struct dns_answer *a) {
    struct hostent *host = NULL;
    int status = ares_parse_ns_reply(reply, len, &host);
    return parse_names(status, host, a);
}

static int parse_ptr(const unsigned char *reply, int len, struct dns_answer *a) {
    struct hostent *host = NULL;
    int status = ares_parse_ptr_reply(reply, len, NULL, 0, AF_INET, &host);
    return parse_names(status, host, a);
}

static const struct kind {
    int family; /* of addresses */
    int wire;   /* the type's number, of other records */
    int (*parse)(const unsigned char *reply, int len, struct dns_answer *a);
} kinds[DNS_TYPES] = {
    [DNS_ADDRESS] = { AF_UNSPEC, 0, NULL }, [DNS_A] = { AF_INET, 0, NULL },
    [DNS_AAAA] = { AF_INET6, 0, NULL },     [DNS_MX] = { 0, ns_t_mx, parse_mx },
    [DNS_NS] = { 0, ns_t_ns, parse_ns },    [DNS_PTR] = { 0, ns_t_ptr, parse_ptr },
    [DNS_SRV] = { 0, ns_t_srv, parse_srv }, [DNS_TXT] = { 0, ns_t_txt, parse_txt },
};

/* ---- entries ----------------------------------------------------------------------- */

static struct slice entry_key(const void *obj) {
    return slice_str(((const struct entry *)obj)->key);
}

static void entry_free(struct entry *e) {
    answer_deinit(&e->answer);
    free(e->key);
    free(e);
}

static bool entry_is_idle(const struct entry *e) {
    return !e->is_pending && !e->is_ready && !e->is_lent;
}

static uint64_t ttl_ms(const struct dns_answer *a) {
    uint32_t ttl_s = a->len ? TTL_MAX_S : TTL_UNKNOWN_S;
    for (unsigned i = 0; i < a->len; i++)
        if (a->at[i].ttl_s < ttl_s) ttl_s = a->at[i].ttl_s;
    return (uint64_t)(ttl_s > TTL_MIN_S ? ttl_s : TTL_MIN_S) * 1000;
}

/* To be handed out at the end of the turn. */
static void entry_ready(struct entry *e) {
    struct resolver *r = e->resolver;
    if (e->is_ready) return;
    e->is_ready = true;
    e->next_ready = r->ready;
    r->ready = e;
    loop_defer(r->loop, &r->hand_out);
}

static void entry_known(struct entry *e, int status) {
    e->is_pending = false;
    if (e->resolver->is_closing) return;
    e->answer.error = error_of(status);
    if (status == ARES_SUCCESS && e->answer.len == 0) e->answer.error = "no such record";
    if (e->answer.error && e->answer.len) {
        const char *error = e->answer.error;
        answer_deinit(&e->answer);
        e->answer.error = error;
    }
    e->expires_ms = loop_now_ms(e->resolver->loop) + ttl_ms(&e->answer);
    entry_ready(e);
}

static void on_addresses(void *obj, int status, int timeouts, struct ares_addrinfo *result) {
    struct entry *e = obj;
    (void)timeouts;
    for (struct ares_addrinfo_node *n = result ? result->nodes : NULL; n; n = n->ai_next)
        add_address(&e->answer, n);
    ares_freeaddrinfo(result);
    entry_known(e, status);
}

static void on_reply(void *obj, int status, int timeouts, unsigned char *reply, int len) {
    struct entry *e = obj;
    (void)timeouts;
    if (status == ARES_SUCCESS) status = kinds[e->type].parse(reply, len, &e->answer);
    entry_known(e, status);
}

/* Who asks meanwhile, even for the same, is told in the next turn. */
static void entry_hand_out(struct entry *e) {
    struct dns_query *askers = e->askers;
    e->askers = NULL;
    e->is_ready = false;
    e->is_lent = true;
    if (askers) askers->link = &askers;
    for (struct dns_query *q; (q = askers);) {
        struct dns_query asker = *q;
        resolver_forget(q);
        asker.fn(asker.obj, &e->answer);
    }
    e->is_lent = false;
}

static void on_hand_out(struct closure *self, unsigned events) {
    struct resolver *r = self->obj;
    struct entry *ready = r->ready;
    (void)events;
    r->ready = NULL;
    for (struct entry *e; (e = ready);) {
        ready = e->next_ready;
        entry_hand_out(e);
    }
}

/* ---- c-ares' sockets and time ---------------------------------------------------------- */

static void on_time(struct closure *self, unsigned events);

static void set_timer(struct resolver *r) {
    struct timeval tv, *next = ares_timeout(r->channel, NULL, &tv);
    loop_cancel(r->loop, &r->timer);
    if (!next) return;
    uint64_t ms = (uint64_t)next->tv_sec * 1000 + (uint64_t)next->tv_usec / 1000 + 1;
    loop_arm(r->loop, &r->timer, loop_now_ms(r->loop) + ms);
}

static void on_time(struct closure *self, unsigned events) {
    struct resolver *r = self->obj;
    (void)events;
    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    set_timer(r);
}

static void on_socket(struct closure *self, unsigned events) {
    struct ares_watch *w = self->obj;
    struct resolver *r = w->resolver;
    int fd = w->watch.fd; /* c-ares may close it */
    bool write = events & LOOP_WRITE;
    bool read = events & ~(unsigned)LOOP_WRITE;
    ares_process_fd(r->channel, read ? fd : ARES_SOCKET_BAD, write ? fd : ARES_SOCKET_BAD);
    set_timer(r);
}

static void ares_unwatch(struct ares_watch *w) {
    loop_unwatch(w->resolver->loop, &w->watch);
    *w->link = w->next;
    if (w->next) w->next->link = w->link;
    free(w);
}

static struct ares_watch *ares_watch_new(struct resolver *r, int fd) {
    struct ares_watch *w = xcalloc(1, sizeof *w);
    w->resolver = r;
    w->watch.closure = (struct closure){ .fn = on_socket, .obj = w, .name = "resolver" };
    w->next = r->watches;
    w->link = &r->watches;
    if (w->next) w->next->link = &w->next;
    r->watches = w;
    loop_watch(r->loop, &w->watch, fd, 0);
    return w;
}

/* c-ares opens a socket, waits for something else on it, or is about to close it. */
static void on_state(void *obj, ares_socket_t fd, int readable, int writable) {
    struct resolver *r = obj;
    struct ares_watch *w = r->watches;
    while (w && w->watch.fd != fd) w = w->next;
    if (!readable && !writable) {
        if (w) ares_unwatch(w);
        return;
    }
    if (!w) w = ares_watch_new(r, fd);
    loop_want(r->loop, &w->watch, (readable ? LOOP_READ : 0u) | (writable ? LOOP_WRITE : 0u));
}

/* ---- life -------------------------------------------------------------------------------- */

static int channel_open(ares_channel *out, struct resolver *r, const char *servers) {
    struct ares_options options = {
        .timeout = TRY_MS, .tries = TRIES, .sock_state_cb = on_state, .sock_state_cb_data = r
    };
    int status = ares_init_options(out, &options,
                                   ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
    if (status != ARES_SUCCESS || !servers) return status;
    status = ares_set_servers_ports_csv(*out, servers);
    if (status != ARES_SUCCESS) ares_destroy(*out);
    return status;
}

struct resolver *resolver_new(struct loop *loop, const char *servers, const char **why) {
    struct resolver *r = xcalloc(1, sizeof *r);
    int status = channel_open(&r->channel, r, servers);
    if (status != ARES_SUCCESS) {
        *why = ares_strerror(status);
        free(r);
        return NULL;
    }
    r->loop = loop;
    r->timer.closure = (struct closure){ .fn = on_time, .obj = r, .name = "resolver" };
    r->hand_out.closure = (struct closure){ .fn = on_hand_out, .obj = r, .name = "resolver" };
    map_init(&r->entries, entry_key);
    return r;
}

void resolver_free(struct resolver *r) {
    size_t at = 0;
    if (!r) return;
    r->is_closing = true;
    ares_destroy(r->channel); /* answers what is pending, closes its sockets */
    while (r->watches) ares_unwatch(r->watches);
    loop_cancel(r->loop, &r->timer);
    loop_undefer(&r->hand_out);
    closure_deinit(&r->timer.closure);
    closure_deinit(&r->hand_out.closure);
    for (struct entry *e; (e = map_next(&r->entries, &at));) {
        while (e->askers) resolver_forget(e->askers);
        entry_free(e);
    }
    map_deinit(&r->entries);
    free(r);
}

bool resolver_servers_valid(const char *servers) {
    struct resolver none = { .loop = NULL };
    if (channel_open(&none.channel, &none, servers) != ARES_SUCCESS) return false;
    ares_destroy(none.channel);
    return true;
}

/* ---- asking ------------------------------------------------------------------------------ */

static struct entry *entry_new(struct resolver *r, char *key, enum dns_type type) {
    struct entry *e = xcalloc(1, sizeof *e);
    e->resolver = r;
    e->key = key;
    e->type = type;
    map_put(&r->entries, e);
    return e;
}

/* Makes room: everything idle that has expired goes, or else one that is idle. */
static bool make_room(struct resolver *r) {
    uint64_t now_ms = loop_now_ms(r->loop);
    if (r->entries.len < ENTRIES_MAX) return true;
    struct entry *gone[ENTRIES_MAX], *spare = NULL;
    size_t len = 0, at = 0;
    for (struct entry *e; (e = map_next(&r->entries, &at));) {
        if (!entry_is_idle(e)) continue;
        spare = e;
        if (e->expires_ms <= now_ms) gone[len++] = e;
    }
    if (len == 0 && spare) gone[len++] = spare;
    for (size_t i = 0; i < len; i++) {
        map_del(&r->entries, slice_str(gone[i]->key));
        entry_free(gone[i]);
    }
    return len > 0;
}

/* Is the name an address?  c-ares would ask name servers for it all the same. */
static bool is_literal(const char *name, union dns_sockaddr *out) {
    memset(out, 0, sizeof *out);
    out->any.sa_family = AF_INET;
    if (inet_pton(AF_INET, name, &out->v4.sin_addr) == 1) return true;
    out->any.sa_family = AF_INET6;
    return inet_pton(AF_INET6, name, &out->v6.sin6_addr) == 1;
}

static void literal_known(struct entry *e, const char *name, const union dns_sockaddr *address) {
    int family = kinds[e->type].family;
    if (family == AF_UNSPEC || family == address->any.sa_family)
        answer_add_name(&e->answer, name)->address = *address;
    entry_known(e, ARES_SUCCESS);
}

static void entry_look_up(struct entry *e, const char *name) {
    struct resolver *r = e->resolver;
    const struct kind *kind = &kinds[e->type];
    union dns_sockaddr address;
    answer_deinit(&e->answer);
    e->is_pending = true;
    if (!kind->parse && is_literal(name, &address)) {
        literal_known(e, name, &address);
    } else if (kind->parse) {
        ares_search(r->channel, name, ns_c_in, kind->wire, on_reply, e);
    } else {
        struct ares_addrinfo_hints hints = { .ai_family = kind->family,
                                             .ai_socktype = SOCK_STREAM };
        ares_getaddrinfo(r->channel, name, NULL, &hints, on_addresses, e);
    }
    set_timer(r);
}

static char *key_of(const char *name, enum dns_type type) {
    size_t len = strlen(name);
    char *key = xmalloc(len + 2);
    key[0] = (char)('0' + type);
    memcpy(key + 1, name, len + 1);
    return key;
}

struct dns_query *resolver_ask(struct resolver *r, const char *name, enum dns_type type, dns_fn *fn,
                               void *obj) {
    char *key = key_of(name, type);
    struct entry *e = map_find(&r->entries, slice_str(key));
    if (e) free(key);
    if (!e && !make_room(r)) {
        free(key);
        return NULL;
    }
    if (!e) e = entry_new(r, key, type);

    struct dns_query *q = xcalloc(1, sizeof *q);
    bool is_new = entry_is_idle(e) && e->expires_ms <= loop_now_ms(r->loop);
    *q = (struct dns_query){ e, fn, obj, e->askers, &e->askers };
    if (q->next) q->next->link = &q->next;
    e->askers = q;
    if (is_new)
        entry_look_up(e, name);
    else if (!e->is_pending)
        entry_ready(e);
    return q;
}

void resolver_forget(struct dns_query *q) {
    *q->link = q->next;
    if (q->next) q->next->link = q->link;
    free(q);
}
