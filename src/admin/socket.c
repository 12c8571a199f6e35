/* socket.c -- peers, the requests they make, and the parts of the answers.
 *
 *     peer ── phrase ──> request ── chore ──> worker: verb->start(call)
 *     peer <── parts in order <── mailbox <── door_say, door_end
 *
 * A request lives until three things are true: its last part has come, no chore of it is
 * under way, none of its parts waits to be written.  A peer that goes leaves its requests
 * behind; they are cancelled, and their parts dropped as they come. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/socket.h"

#include "admin/phrase.h"
#include "base/buf.h"
#include "base/mem.h"
#include "core/worker.h"
#include "io/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

enum {
    MAX_PEERS = 32,
    MAX_REQUESTS = 64,   /* of one peer, under way: one a worker */
    READ_BYTES = 16384,  /* a turn and peer */
    WRITE_PARTS = 16,    /* in one call */
    OUT_ENOUGH = 1 << 20 /* bytes of answers a peer may leave unread */
};

enum { ADMIN_PART, ADMIN_HOME };

struct admin {
    struct log *log;       /* lent */
    struct loop *loop;     /* lent */
    struct broker *broker; /* lent */
    const struct door_verb *const *verbs;
    struct listener *listener;
    struct mailbox inbox;
    struct peer *peers;
    unsigned peers_len, requests_len;
    uint64_t peers_seen;
    uint64_t started_ms;
};

/* A piece of an answer on its way: posted by the answerer, queued at the peer. */
struct part {
    struct mail mail;
    struct request *request; /* lent; NULL: the peer itself is told something */
    struct part *next;
    bool is_last;
    size_t len, at; /* bytes; those already written */
    char bytes[];
};

struct peer {
    struct admin *admin;
    uint64_t number;
    struct watch watch;
    struct stream stream;
    struct buf in;
    struct part *out, **out_end;
    size_t out_bytes; /* of parts not written yet */
    struct request *requests;
    unsigned requests_len;
    uint64_t workers;  /* bits of those it has asked */
    bool has_finished; /* sends no more */
    struct peer *next, **link;
};

struct request {
    struct door_call call;
    struct chore start, cancel;
    struct admin *admin;
    struct peer *peer;            /* NULL: gone */
    struct worker *worker;        /* NULL: asked of the main thread */
    struct request *next, **link; /* of the peer's; link NULL: not listed */
    uint32_t id;
    unsigned parts; /* queued at the peer */
    bool has_ended; /* its last part has come */
    bool is_cancelled;
    bool is_away; /* the chore `cancel` */
    char *text;   /* owned: words and body */
    /* the answering thread's */
    bool is_over;
    /* any thread */
    _Atomic size_t unread; /* bytes of parts made and not written */
};

/* ---- requests ----------------------------------------------------------------- */

static void request_unlist(struct request *r) {
    if (!r->link) return;
    *r->link = r->next;
    if (r->next) r->next->link = r->link;
    r->link = NULL;
    r->peer->requests_len--;
}

static void request_settle(struct request *r) {
    if (!r->has_ended || r->is_away || r->parts) return;
    r->admin->requests_len--;
    free(r->text);
    free(r);
}

static struct part *part_new(struct request *r, uint32_t id, const char *kind, struct slice bytes) {
    char head[PHRASE_HEAD_MAX];
    if (bytes.len > PHRASE_BODY_MAX) bytes.len = PHRASE_BODY_MAX;
    size_t n = phrase_head(head, id, kind, NULL, bytes.len);
    struct part *p = xmalloc(sizeof *p + n + bytes.len);
    *p = (struct part){ .mail.type = ADMIN_PART, .request = r, .len = n + bytes.len };
    memcpy(p->bytes, head, n);
    if (bytes.len) memcpy(p->bytes + n, bytes.at, bytes.len);
    return p;
}

static void post_part(struct request *r, struct part *p) {
    atomic_fetch_add(&r->unread, p->len);
    mailbox_post(&r->admin->inbox, &p->mail);
}

/* The answering thread. */
static bool on_say(struct door_call *call, struct slice bytes) {
    struct request *r = CONTAINER_OF(call, struct request, call);
    if (atomic_load(&r->unread) > OUT_ENOUGH) return false;
    post_part(r, part_new(r, r->id, "out", bytes));
    return true;
}

/* Likewise. */
static void on_end(struct door_call *call, bool ok, struct slice bytes) {
    struct request *r = CONTAINER_OF(call, struct request, call);
    struct part *p = part_new(r, r->id, ok ? "ok" : "fail", bytes);
    p->is_last = true;
    r->is_over = true;
    post_part(r, p);
}

/* On the worker's thread, or in its place. */
static void run_start(struct worker *w, struct chore *e) {
    struct request *r = CONTAINER_OF(e, struct request, start);
    if (w->stopping)
        door_end(&r->call, false, SLICE("the broker is stopping"));
    else
        r->call.verb->start(w, &r->call);
}

static void run_cancel(struct worker *w, struct chore *e) {
    struct request *r = CONTAINER_OF(e, struct request, cancel);
    if (!r->is_over && r->call.verb->cancel) r->call.verb->cancel(w, &r->call);
    e->mail.type = ADMIN_HOME;
    mailbox_post(&r->admin->inbox, &e->mail);
}

static void request_cancel(struct request *r) {
    if (r->has_ended || r->is_cancelled || !r->call.verb->cancel) return;
    r->is_cancelled = true;
    if (!r->worker) {
        if (!r->is_over) r->call.verb->cancel(NULL, &r->call);
        return;
    }
    r->is_away = true;
    r->cancel.run = run_cancel;
    mail_chore(r->worker, &r->cancel);
}

/* ---- peers: what goes out ------------------------------------------------------ */

static void part_written(struct part *p) {
    struct request *r = p->request;
    if (r) {
        atomic_fetch_sub(&r->unread, p->len);
        r->parts--;
        request_settle(r);
    }
    free(p);
}

/* A connection that will not ask again: what is kept of it anywhere goes. */
struct farewell {
    struct chore chore;
    const struct door_verb *verb;
    uint64_t peer;
};

static void run_farewell(struct worker *w, struct chore *e) {
    struct farewell *f = CONTAINER_OF(e, struct farewell, chore);
    if (!w->stopping) f->verb->forget(w, f->peer);
    free(f);
}

static void say_farewell(struct peer *p, const struct door_verb *verb) {
    for (uint64_t left = p->workers; left && verb->forget; left &= left - 1) {
        struct farewell *f = xcalloc(1, sizeof *f);
        *f = (struct farewell){ .chore.run = run_farewell, .verb = verb, .peer = p->number };
        mail_chore(&p->admin->broker->workers[__builtin_ctzll(left)], &f->chore);
    }
}

static void peer_close(struct peer *p) {
    struct admin *a = p->admin;
    for (struct request *r; (r = p->requests);) {
        request_unlist(r);
        r->peer = NULL;
        request_cancel(r);
    }
    for (struct part *part; (part = p->out);) {
        p->out = part->next;
        part_written(part);
    }
    for (const struct door_verb *const *v = a->verbs; *v; v++) say_farewell(p, *v);
    loop_abandon(a->loop, &p->watch);
    stream_close(&p->stream);
    buf_deinit(&p->in);
    *p->link = p->next;
    if (p->next) p->next->link = p->link;
    a->peers_len--;
    free(p);
}

/* Removes `n` written bytes from the queue. */
static void wrote(struct peer *p, size_t n) {
    p->out_bytes -= n;
    for (struct part *part; (part = p->out);) {
        size_t left = part->len - part->at;
        if (n < left) {
            part->at += n;
            return;
        }
        n -= left;
        p->out = part->next;
        if (!p->out) p->out_end = &p->out;
        part_written(part);
    }
}

static int write_some(struct peer *p) {
    struct iovec iov[WRITE_PARTS];
    int len = 0;
    for (struct part *part = p->out; part && len < WRITE_PARTS; part = part->next)
        iov[len++] = (struct iovec){ part->bytes + part->at, part->len - part->at };
    ssize_t n = stream_writev(&p->stream, iov, len);
    if (n < 0) return (int)n;
    wrote(p, (size_t)n);
    return 0;
}

/* Writes what it takes and says what is awaited of it; closes it when all is done. */
static void peer_flush(struct peer *p) {
    int r = 0;
    while (p->out && r == 0) r = write_some(p);
    if (r < 0 && r != -EAGAIN) {
        peer_close(p);
        return;
    }
    if (p->has_finished && !p->out && !p->requests) {
        peer_close(p);
        return;
    }
    unsigned interest = p->out ? LOOP_WRITE : 0;
    if (!p->has_finished && p->out_bytes < OUT_ENOUGH) interest |= LOOP_READ;
    loop_want(p->admin->loop, &p->watch, interest);
}

static void peer_queue(struct peer *p, struct part *part) {
    part->next = NULL;
    *p->out_end = part;
    p->out_end = &part->next;
    p->out_bytes += part->len;
    if (part->request) part->request->parts++;
}

/* A part has come from who answers. */
static void on_part(struct part *part) {
    struct request *r = part->request;
    struct peer *p = r->peer;
    if (part->is_last) {
        r->has_ended = true;
        if (p) request_unlist(r);
    }
    if (!p) {
        r->parts++;
        part_written(part);
        return;
    }
    peer_queue(p, part);
    peer_flush(p);
}

static void on_mail(void *obj, struct mail *mail) {
    (void)obj;
    if (mail->type == ADMIN_PART) {
        on_part(CONTAINER_OF(mail, struct part, mail));
        return;
    }
    struct chore *e = CONTAINER_OF(mail, struct chore, mail);
    struct request *r = CONTAINER_OF(e, struct request, cancel);
    r->is_away = false;
    request_settle(r);
}

/* ---- verbs of our own ------------------------------------------------------------- */

static void start_ping(struct worker *w, struct door_call *call) {
    (void)w;
    door_end(call, true, call->body);
}

static void start_status(struct worker *w, struct door_call *call) {
    const struct admin *a = CONTAINER_OF(call, struct request, call)->admin;
    char text[256];
    (void)w;
    int n = snprintf(text, sizeof text,
                     "{\"version\":\"" SOL_VERSION "\",\"pid\":%d,\"workers\":%u,"
                     "\"generation\":%u,\"connected\":%llu,\"seconds\":%llu}",
                     (int)getpid(), a->broker->workers_len, atomic_load(&a->broker->generation),
                     (unsigned long long)atomic_load(&a->broker->connected),
                     (unsigned long long)(loop_now_ms(a->loop) - a->started_ms) / 1000);
    door_end(call, true, slice_of(text, (size_t)n));
}

static const struct door_verb ping = { .name = "ping", .start = start_ping };
static const struct door_verb status = { .name = "status", .start = start_status };
static const struct door_verb *const own_verbs[] = { &ping, &status, NULL };

static const struct door_verb *verb_find(const struct admin *a, struct slice name) {
    for (const struct door_verb *const *v = own_verbs; *v; v++)
        if (slice_eq(name, slice_str((*v)->name))) return *v;
    for (const struct door_verb *const *v = a->verbs; *v; v++)
        if (slice_eq(name, slice_str((*v)->name))) return *v;
    return NULL;
}

/* ---- peers: what comes in ----------------------------------------------------------- */

/* Answers without a request. */
static void refuse(struct peer *p, uint32_t id, const char *why) {
    peer_queue(p, part_new(NULL, id, "fail", slice_str(why)));
}

/* The worker that worker=N among the words names; the first one without.  False: there is
 * none such. */
static bool worker_asked(const struct broker *b, struct slice words, struct worker **out) {
    struct slice word = phrase_word(words, SLICE("worker"));
    unsigned n = 0;
    if (word.at && word.len == 0) return false;
    for (size_t i = 0; i < word.len; i++) {
        if (word.at[i] < '0' || word.at[i] > '9' || n > WORKERS_MAX) return false;
        n = n * 10 + (unsigned)(word.at[i] - '0');
    }
    if (n >= b->workers_len) return false;
    *out = &b->workers[n];
    return true;
}

static struct request *request_new(struct peer *p, const struct phrase *f,
                                   const struct door_verb *verb) {
    struct request *r = xcalloc(1, sizeof *r);
    r->text = xmalloc(f->words.len + f->body.len + 1);
    memcpy(r->text, f->words.at, f->words.len);
    if (f->body.len) memcpy(r->text + f->words.len, f->body.at, f->body.len);
    r->call = (struct door_call){ .verb = verb,
                                  .words = slice_of(r->text, f->words.len),
                                  .body = slice_of(r->text + f->words.len, f->body.len),
                                  .peer = p->number,
                                  .say = on_say,
                                  .end = on_end };
    r->admin = p->admin;
    r->peer = p;
    r->id = f->id;
    r->next = p->requests;
    r->link = &p->requests;
    if (r->next) r->next->link = &r->next;
    p->requests = r;
    p->requests_len++;
    p->admin->requests_len++;
    return r;
}

static void cancel_by_id(struct peer *p, uint32_t id) {
    for (struct request *r = p->requests; r; r = r->next)
        if (r->id == id) {
            request_cancel(r);
            return;
        }
}

static void on_phrase(struct peer *p, const struct phrase *f) {
    struct admin *a = p->admin;
    struct worker *w = NULL;
    if (slice_eq(f->verb, SLICE("cancel"))) {
        cancel_by_id(p, f->id);
        return;
    }
    const struct door_verb *verb = verb_find(a, f->verb);
    if (!verb) {
        refuse(p, f->id, "unknown verb");
        return;
    }
    if (p->requests_len == MAX_REQUESTS) {
        refuse(p, f->id, "too many questions at once");
        return;
    }
    if (verb->on_worker && !worker_asked(a->broker, f->words, &w)) {
        refuse(p, f->id, "there is no such worker");
        return;
    }
    struct request *r = request_new(p, f, verb);
    r->worker = w;
    if (!w) {
        verb->start(NULL, &r->call);
        return;
    }
    p->workers |= UINT64_C(1) << w->id;
    r->start.run = run_start;
    mail_chore(w, &r->start);
}

/* All phrases that are whole. */
static void take_phrases(struct peer *p) {
    struct phrase f;
    size_t used;
    int r;
    while ((r = phrase_read(buf_slice(&p->in), &f, &used)) == PHRASE_WHOLE) {
        on_phrase(p, &f);
        buf_drop(&p->in, used);
    }
    if (r == PHRASE_PART) return;
    refuse(p, 0, "expected: ID VERB [WORD ...] LENGTH, a line feed, and LENGTH bytes");
    p->has_finished = true;
}

/* Nobody is left at the other end, who may have sent its last and still read. */
static bool has_gone(const struct peer *p) {
    struct pollfd fd = { .fd = p->stream.fd };
    return poll(&fd, 1, 0) > 0 && (fd.revents & (POLLHUP | POLLERR)) != 0;
}

static void on_ready(struct closure *self, unsigned events) {
    struct peer *p = self->obj;
    if (events & (LOOP_HANGUP | LOOP_ERROR) && has_gone(p)) {
        peer_close(p);
        return;
    }
    if (events & LOOP_READ && !p->has_finished) {
        ssize_t n = stream_read(&p->stream, buf_reserve(&p->in, READ_BYTES), READ_BYTES);
        if (n < 0 && n != -EAGAIN) {
            peer_close(p);
            return;
        }
        p->in.len += n > 0 ? (size_t)n : 0;
        take_phrases(p);
        if (n == 0) p->has_finished = true;
    }
    peer_flush(p);
}

static void on_accept(void *obj, const struct stream_type *type, int fd, const char *name) {
    struct admin *a = obj;
    struct peer *p = xcalloc(1, sizeof *p);
    (void)name;
    p->admin = a;
    p->number = ++a->peers_seen;
    p->stream = (struct stream){ .type = type, .fd = fd };
    p->out_end = &p->out;
    p->watch.closure = (struct closure){ .fn = on_ready, .obj = p, .name = "admin peer" };
    p->next = a->peers;
    p->link = &a->peers;
    if (p->next) p->next->link = &p->next;
    a->peers = p;
    loop_watch(a->loop, &p->watch, fd, LOOP_READ);
    if (++a->peers_len <= MAX_PEERS) return;
    refuse(p, 0, "too many connections");
    p->has_finished = true;
    peer_flush(p);
}

/* ---- life ----------------------------------------------------------------------------- */

bool admin_place(unsigned i, char path[ADMIN_PATH_MAX]) {
    const char *folder = i == 0 ? getenv("XDG_RUNTIME_DIR") : "/run";
    if (!folder || folder[0] != '/') return false;
    int n = snprintf(path, ADMIN_PATH_MAX, "%s/sol.sock", folder);
    return n > 0 && n < ADMIN_PATH_MAX;
}

/* Holds others off who would replace a stale socket in this folder at the same time: a
 * descriptor to close, or -1. */
static int lock_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = xslicedup(slice_of(path, slash == path ? 1 : (size_t)(slash - path)));
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    if (fd >= 0) (void)flock(fd, LOCK_EX);
    return fd;
}

static int listen_at(struct admin *a, const char *path, char **why) {
    struct listen_opts opts = { .unix_mode = 0600 };
    int lock = lock_folder(path);
    opts.url.type = &stream_unix;
    opts.url.path = xstrdup(path);
    int r = listener_open(&opts, &a->listener, why);
    free(opts.url.path);
    if (lock >= 0) (void)close(lock);
    if (r == 0) log_info(a->log, "admin", "operators' door is %s", path);
    return r;
}

/* Without a path given, a broker can do without a door. */
static int listen_anywhere(struct admin *a) {
    char path[ADMIN_PATH_MAX];
    char *why = NULL;
    for (unsigned i = 0; i < ADMIN_PLACES; i++) {
        if (!admin_place(i, path)) continue;
        int r = listen_at(a, path, &why);
        if (r == 0) return 0;
        if (r == -EADDRINUSE)
            log_warn(a->log, "admin",
                     "%s is another broker's; this one has no operators' door until admin_socket "
                     "names one of its own",
                     path);
        else
            log_debug(a->log, "admin", "%s", why);
        free(why);
        if (r == -EADDRINUSE) return r;
    }
    log_info(a->log, "admin", "no place for an operators' door; set admin_socket to have one");
    return -ENOENT;
}

int admin_open(const struct admin_opts *opts, struct admin **out) {
    struct admin *a = xcalloc(1, sizeof *a);
    char *why = NULL;
    a->log = opts->log;
    a->loop = opts->loop;
    a->broker = opts->broker;
    a->verbs = opts->verbs;
    a->started_ms = loop_now_ms(a->loop);
    *out = NULL;
    int r = opts->path ? listen_at(a, opts->path, &why) : listen_anywhere(a);
    if (r == 0) r = mailbox_init(&a->inbox, a->loop, on_mail, a);
    if (r == 0) {
        listener_start(a->listener, a->loop, a->log, on_accept, a);
        *out = a;
        return 0;
    }
    if (opts->path) log_error(a->log, "admin", "%s", why ? why : strerror(-r));
    free(why);
    listener_close(a->listener);
    free(a);
    return opts->path ? r : 0;
}

void admin_close(struct admin *a) {
    if (!a) return;
    listener_close(a->listener);
    a->listener = NULL;
    while (a->peers) peer_close(a->peers);
}

void admin_free(struct admin *a) {
    if (!a) return;
    mailbox_deinit(&a->inbox);
    must(a->requests_len == 0);
    free(a);
}
