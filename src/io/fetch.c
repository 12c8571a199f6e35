/* fetch.c -- libcurl's multi interface on the loop.
 *
 * curl tells which sockets to watch and when to call it; after each call finished requests
 * are collected.  A request's function runs outside of any call of curl's, and may begin and
 * cancel others.  Requests are given to curl one by one, as the loop has time: it would start
 * all it has in one call.  What a response may hold is bounded where it arrives.  Nothing of
 * curl's that blocks is used: addresses come from our resolver, environment proxies are ignored. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/fetch.h"

#include "base/mem.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST_CONNECTIONS 64 /* to one host; more requests queue */
#define IDLE_CONNECTIONS 64
#define HEADERS_MAX      (256u << 10) /* bytes of a response's headers */
#define TLS_STORE_S      60           /* how long curl keeps a CA file read */

struct fetch {
    struct fetcher *fetcher;
    fetch_fn *fn;
    void *obj;
    CURL *easy;                   /* owned */
    struct curl_slist *headers;   /* owned */
    struct curl_slist *addresses; /* owned */
    struct timer limit;           /* of the whole: curl's own does not count time in its queue */
    size_t body_max;
    bool is_too_large;
    struct fetch_reply reply;
    char why[CURL_ERROR_SIZE];
    struct fetch *next, **link;
};

/* One of curl's sockets. */
struct curl_watch {
    struct watch watch;
    struct fetcher *fetcher;
    struct curl_watch *next, **link;
};

struct fetcher {
    struct loop *loop;
    CURLM *multi;
    struct timer timer;
    struct fetch *fetches;                /* that curl has */
    struct fetch *waiting, **waiting_end; /* that it shall have; first come, first served */
    struct timer start;                   /* armed while some wait */
    struct curl_watch *watches;
    unsigned len;
};

/* ---- outcomes --------------------------------------------------------------------------- */

/* Takes it from the list it is on. */
static void fetch_unlink(struct fetch *t) {
    struct fetcher *f = t->fetcher;
    if (f->waiting_end == &t->next) f->waiting_end = t->link;
    *t->link = t->next;
    if (t->next) t->next->link = t->link;
}

static void fetch_free(struct fetch *t) {
    struct fetcher *f = t->fetcher;
    loop_cancel(f->loop, &t->limit);
    closure_deinit(&t->limit.closure);
    curl_multi_remove_handle(f->multi, t->easy);
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    curl_slist_free_all(t->addresses);
    buf_deinit(&t->reply.headers);
    buf_deinit(&t->reply.body);
    fetch_unlink(t);
    f->len--;
    free(t);
}

void fetch_cancel(struct fetch *t) {
    fetch_free(t);
}

static const char *connect_error(const struct fetch *t) {
    long error = 0;
    curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &error);
    if (error == 0 || error == ECONNREFUSED) return "connection refused";
    return strerror((int)error);
}

static const char *error_of(const struct fetch *t, CURLcode code) {
    if (t->is_too_large) return "response too large";
    switch (code) {
    case CURLE_OK: return NULL;
    case CURLE_OPERATION_TIMEDOUT: return "timeout";
    case CURLE_COULDNT_CONNECT: return connect_error(t);
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_PARTIAL_FILE: return "closed";
    default: return t->why[0] ? t->why : curl_easy_strerror(code);
    }
}

static void fetch_over(struct fetch *t, CURLcode code) {
    t->reply.error = error_of(t, code);
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->reply.status);
    fetch_fn *fn = t->fn;
    void *obj = t->obj;
    struct fetch_reply reply = t->reply;
    char why[CURL_ERROR_SIZE];
    memcpy(why, t->why, sizeof why);
    if (reply.error == t->why) reply.error = why;
    t->reply.headers = t->reply.body = BUF_INIT;
    fetch_free(t);
    fn(obj, &reply);
    buf_deinit(&reply.headers);
    buf_deinit(&reply.body);
}

static void on_limit(struct closure *self, unsigned events) {
    (void)events;
    fetch_over(self->obj, CURLE_OPERATION_TIMEDOUT);
}

static void collect(struct fetcher *f) {
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(f->multi, &left));) {
        struct fetch *t = NULL;
        CURLcode code = m->data.result; /* m goes with the handle */
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        fetch_over(t, code);
    }
}

/* ---- curl's sockets and time ---------------------------------------------------------------- */

static void act(struct fetcher *f, curl_socket_t fd, int what) {
    int running;
    curl_multi_socket_action(f->multi, fd, what, &running);
    collect(f);
}

static void on_time(struct closure *self, unsigned events) {
    (void)events;
    act(self->obj, CURL_SOCKET_TIMEOUT, 0);
}

static void on_socket(struct closure *self, unsigned events) {
    struct curl_watch *w = self->obj;
    int what = 0;
    if (events & LOOP_READ) what |= CURL_CSELECT_IN;
    if (events & LOOP_WRITE) what |= CURL_CSELECT_OUT;
    if (events & (LOOP_HANGUP | LOOP_ERROR)) what |= CURL_CSELECT_IN;
    if (events & LOOP_ERROR) what |= CURL_CSELECT_ERR;
    act(w->fetcher, w->watch.fd, what);
}

static void curl_unwatch(struct curl_watch *w) {
    loop_unwatch(w->fetcher->loop, &w->watch);
    *w->link = w->next;
    if (w->next) w->next->link = w->link;
    free(w);
}

static struct curl_watch *curl_watch_new(struct fetcher *f, curl_socket_t fd) {
    struct curl_watch *w = xcalloc(1, sizeof *w);
    w->fetcher = f;
    w->watch.closure = (struct closure){ .fn = on_socket, .obj = w, .name = "http" };
    w->next = f->watches;
    w->link = &f->watches;
    if (w->next) w->next->link = &w->next;
    f->watches = w;
    w->watch.is_patient = true;
    loop_watch(f->loop, &w->watch, fd, 0);
    curl_multi_assign(f->multi, fd, w);
    return w;
}

static int on_want(CURL *easy, curl_socket_t fd, int what, void *obj, void *socket_obj) {
    struct fetcher *f = obj;
    struct curl_watch *w = socket_obj;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (w) curl_unwatch(w);
        return 0;
    }
    if (!w) w = curl_watch_new(f, fd);
    loop_want(f->loop, &w->watch,
              (what & CURL_POLL_IN ? LOOP_READ : 0u) | (what & CURL_POLL_OUT ? LOOP_WRITE : 0u));
    return 0;
}

/* Never calls curl from here: a timer in the past fires in the loop's next step. */
static int on_want_time(CURLM *multi, long ms, void *obj) {
    struct fetcher *f = obj;
    (void)multi;
    if (ms < 0)
        loop_cancel(f->loop, &f->timer);
    else
        loop_arm(f->loop, &f->timer, loop_now_ms(f->loop) + (uint64_t)ms + (ms > 0));
    return 0;
}

static void start(struct fetcher *f, struct fetch *t) {
    fetch_unlink(t);
    t->next = f->fetches;
    t->link = &f->fetches;
    if (t->next) t->next->link = &t->next;
    f->fetches = t;
    if (curl_multi_add_handle(f->multi, t->easy) != CURLM_OK)
        fetch_over(t, CURLE_FAILED_INIT);
    else
        act(f, CURL_SOCKET_TIMEOUT, 0);
}

static void on_start(struct closure *self, unsigned events) {
    struct fetcher *f = self->obj;
    (void)events;
    while (f->waiting) {
        start(f, f->waiting);
        if (!loop_has_time(f->loop)) break;
    }
    if (f->waiting) loop_arm(f->loop, &f->start, loop_now_ms(f->loop));
}

/* ---- life ---------------------------------------------------------------------------------------
 */

struct fetcher *fetcher_new(struct loop *loop) {
    struct fetcher *f = xcalloc(1, sizeof *f);
    curl_global_init(CURL_GLOBAL_DEFAULT); /* counts its callers */
    f->loop = loop;
    f->timer.closure = (struct closure){ .fn = on_time, .obj = f, .name = "http" };
    f->start.closure = (struct closure){ .fn = on_start, .obj = f, .name = "http start" };
    f->waiting_end = &f->waiting;
    f->multi = curl_multi_init();
    must(f->multi != NULL);
    curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, on_want);
    curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, on_want_time);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
    curl_multi_setopt(f->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)HOST_CONNECTIONS);
    curl_multi_setopt(f->multi, CURLMOPT_MAXCONNECTS, (long)IDLE_CONNECTIONS);
    return f;
}

void fetcher_free(struct fetcher *f) {
    if (!f) return;
    while (f->fetches) fetch_free(f->fetches);
    while (f->waiting) fetch_free(f->waiting);
    curl_multi_cleanup(f->multi);
    while (f->watches) curl_unwatch(f->watches);
    loop_cancel(f->loop, &f->timer);
    closure_deinit(&f->timer.closure);
    loop_cancel(f->loop, &f->start);
    closure_deinit(&f->start.closure);
    free(f);
    curl_global_cleanup();
}

unsigned fetcher_len(const struct fetcher *f) {
    return f->len;
}

/* ---- requests
 * --------------------------------------------------------------------------------------- */

static size_t take(struct fetch *t, struct buf *into, const char *at, size_t len, size_t max) {
    if (into->len + len > max) {
        t->is_too_large = true;
        return 0; /* ends the transfer */
    }
    buf_add(into, at, len);
    return len;
}

static size_t on_body(char *at, size_t size, size_t n, void *obj) {
    struct fetch *t = obj;
    return take(t, &t->reply.body, at, size * n, t->body_max);
}

/* A new status line begins the headers anew: "100 Continue" may come first. */
static size_t on_header(char *at, size_t size, size_t n, void *obj) {
    struct fetch *t = obj;
    if (slice_starts(slice_of(at, size * n), SLICE("HTTP/"))) t->reply.headers.len = 0;
    return take(t, &t->reply.headers, at, size * n, HEADERS_MAX);
}

/* The system's trust: a folder is looked into as needed, its file would be read whole for
 * each connection. */
static void set_trust(CURL *easy, const char *ca) {
    curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, (long)TLS_STORE_S);
    if (!ca && curl_version_info(CURLVERSION_NOW)->capath) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
        return;
    }
    curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    if (ca) curl_easy_setopt(easy, CURLOPT_CAINFO, ca);
}

static void set_tls(CURL *easy, const struct tls_client_opts *o) {
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    set_trust(easy, o->ca);
    if (o->cert) {
        curl_easy_setopt(easy, CURLOPT_SSLCERT, o->cert);
        curl_easy_setopt(easy, CURLOPT_SSLKEY, o->key);
    }
    if (!o->no_verify) return;
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
}

static void set_where(struct fetch *t, const struct fetch_request *q) {
    curl_easy_setopt(t->easy, CURLOPT_URL, q->url);
    curl_easy_setopt(t->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(t->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
    if (q->path) curl_easy_setopt(t->easy, CURLOPT_UNIX_SOCKET_PATH, q->path);
    if (!q->addresses) return;
    char *entry = NULL;
    must(asprintf(&entry, "+%s", q->addresses) >= 0); /* '+': not for ever */
    t->addresses = curl_slist_append(NULL, entry);
    free(entry);
    curl_easy_setopt(t->easy, CURLOPT_RESOLVE, t->addresses);
}

static void set_what(struct fetch *t, const struct fetch_request *q) {
    bool has_body = q->body.at != NULL;
    for (const char *const *h = q->headers; h && *h; h++)
        t->headers = curl_slist_append(t->headers, *h);
    /* not curl's own ideas of what a body is and when to send it */
    t->headers = curl_slist_append(t->headers, "Expect:");
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
    if (strcmp(q->method, "HEAD") == 0) curl_easy_setopt(t->easy, CURLOPT_NOBODY, 1L);
    if (has_body) {
        curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body.len);
        curl_easy_setopt(t->easy, CURLOPT_COPYPOSTFIELDS, (const char *)q->body.at);
    }
    curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, q->method);
}

static void set_callbacks(struct fetch *t) {
    curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->why);
    curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
}

struct fetch *fetch_start(struct fetcher *f, const struct fetch_request *q, fetch_fn *fn,
                          void *obj) {
    struct fetch *t = xcalloc(1, sizeof *t);
    t->fetcher = f;
    t->fn = fn;
    t->obj = obj;
    t->body_max = q->body_max;
    t->easy = curl_easy_init();
    must(t->easy != NULL);
    t->link = f->waiting_end;
    *t->link = t;
    f->waiting_end = &t->next;
    f->len++;
    if (!timer_armed(&f->start)) loop_arm(f->loop, &f->start, loop_now_ms(f->loop));
    t->limit.closure = (struct closure){ .fn = on_limit, .obj = t, .name = "http time-out" };
    loop_arm(f->loop, &t->limit, loop_now_ms(f->loop) + q->timeout_ms);
    set_callbacks(t);
    set_where(t, q);
    set_what(t, q);
    set_tls(t->easy, &q->tls);
    return t;
}

/* ---- URLs
 * ---------------------------------------------------------------------------------------------- */

/* The part as a string of our own, or NULL. */
static char *part(CURLU *u, CURLUPart which, unsigned flags) {
    char *text = NULL;
    if (curl_url_get(u, which, &text, flags) != CURLUE_OK) return NULL;
    char *copy = xstrdup(text);
    curl_free(text);
    return copy;
}

static bool take_parts(CURLU *u, struct fetch_url *out, const char **why) {
    curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
    out->url = part(u, CURLUPART_URL, 0);
    out->scheme = part(u, CURLUPART_SCHEME, 0);
    out->host = part(u, CURLUPART_HOST, 0);
    char *port = part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    out->port = port ? (unsigned)strtoul(port, NULL, 10) : 0;
    free(port);
    *why = "expected an http:// or https:// URL";
    if (!out->url || !out->scheme || !out->host || out->port == 0) return false;
    if (strcmp(out->scheme, "http") != 0 && strcmp(out->scheme, "https") != 0) return false;
    size_t len = strlen(out->host);
    if (out->host[0] == '[') {
        memmove(out->host, out->host + 1, len - 2);
        out->host[len - 2] = '\0';
    }
    return true;
}

bool fetch_url_parse(const char *url, const char *base, struct fetch_url *out, const char **why) {
    CURLU *u = curl_url();
    must(u != NULL);
    *out = (struct fetch_url){ 0 };
    CURLUcode code = base ? curl_url_set(u, CURLUPART_URL, base, 0) : CURLUE_OK;
    if (code == CURLUE_OK) code = curl_url_set(u, CURLUPART_URL, url, 0);
    bool ok = false;
    if (code != CURLUE_OK)
        *why = curl_url_strerror(code);
    else
        ok = take_parts(u, out, why);
    curl_url_cleanup(u);
    if (!ok) fetch_url_deinit(out);
    return ok;
}

void fetch_url_deinit(struct fetch_url *u) {
    free(u->url);
    free(u->scheme);
    free(u->host);
    *u = (struct fetch_url){ 0 };
}
