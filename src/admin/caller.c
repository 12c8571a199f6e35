/* caller.c -- connect, ask, read until the last part. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/caller.h"

#include "admin/phrase.h"
#include "admin/socket.h"
#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define READ_BYTES 65536
#define LOOK_MS    100 /* between two looks at the flag that a signal sets */

/* A connected descriptor, or -errno. */
static int connect_to(const char *path) {
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof a.sun_path) return -ENAMETOOLONG;
    memcpy(a.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0) return fd;
    int r = -errno;
    (void)close(fd);
    return r;
}

static char *explain(const char *path, int error) {
    char *text;
    const char *why = error == -ECONNREFUSED ? "no broker is there any more" : strerror(-error);
    if (asprintf(&text, "%s: %s", path, why) < 0) abort();
    return text;
}

bool caller_open(struct caller *c, const char *path, char **why) {
    char place[ADMIN_PATH_MAX];
    *c = (struct caller){ .fd = -ENOENT };
    *why = NULL;
    if (path) {
        c->fd = connect_to(path);
        if (c->fd < 0) *why = explain(path, c->fd);
        return c->fd >= 0;
    }
    for (unsigned i = 0; i < ADMIN_PLACES && c->fd < 0; i++) {
        if (!admin_place(i, place)) continue;
        c->fd = connect_to(place);
        if (c->fd >= 0 || c->fd == -ENOENT) continue;
        free(*why);
        *why = explain(place, c->fd);
    }
    if (c->fd < 0) {
        if (!*why)
            *why = xstrdup("no running broker found; name its admin_socket, which its log tells");
        return false;
    }
    free(*why); /* of a place where none was */
    *why = NULL;
    return true;
}

void caller_close(struct caller *c) {
    if (c->fd >= 0) (void)close(c->fd);
    c->fd = -1;
    buf_deinit(&c->in);
}

static bool send_all(const struct caller *c, struct slice bytes) {
    while (bytes.len) {
        ssize_t n = send(c->fd, bytes.at, bytes.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        bytes = slice_of(bytes.at + n, bytes.len - (size_t)n);
    }
    return true;
}

static bool say(const struct caller *c, uint32_t id, const char *verb, const char *words,
                struct slice body) {
    char head[PHRASE_HEAD_MAX];
    size_t n = phrase_head(head, id, verb, words, body.len);
    return n && send_all(c, slice_of(head, n)) && send_all(c, body);
}

static bool give_up(const struct caller *c) {
    bool ok = true;
    for (uint32_t id = c->first_id; ok && id <= c->last_id; id++)
        ok = say(c, id, "cancel", NULL, SLICE(""));
    return ok;
}

/* A signal: the first one gives the question up, another one the broker. */
static int interrupted(const struct caller *c, bool *is_given_up) {
    if (!c->interrupt || !*c->interrupt) return 0;
    if (*is_given_up) return -EINTR;
    *c->interrupt = 0;
    *is_given_up = true;
    return give_up(c) ? 0 : -EPIPE;
}

/* Waits for more bytes, or for a signal, which may come just before the wait: so that is
 * short.  0 or -errno. */
static int read_more(struct caller *c, bool *is_given_up) {
    struct pollfd fd = { .fd = c->fd, .events = POLLIN };
    int r = interrupted(c, is_given_up);
    if (r < 0 || poll(&fd, 1, c->interrupt ? LOOK_MS : -1) <= 0) return r;
    ssize_t n = recv(c->fd, buf_reserve(&c->in, READ_BYTES), READ_BYTES, 0);
    if (n <= 0) return n < 0 && errno == EINTR ? 0 : -EPIPE;
    c->in.len += (size_t)n;
    return 0;
}

/* Handles a phrase; true when it was the last of an answer. */
static bool is_last(const struct caller *c, const struct question *q, const struct phrase *f) {
    bool is_out = slice_eq(f->verb, SLICE("out"));
    bool is_ours = f->id >= c->first_id && f->id <= c->last_id;
    if (!is_ours && f->id != 0) return false;
    if (is_out && q->out) q->out(q->obj, f->body);
    return !is_out;
}

static bool ask(struct caller *c, const struct question *q) {
    char words[32];
    c->first_id = c->last_id + 1;
    if (!q->workers) return say(c, ++c->last_id, q->verb, q->words, q->body);
    for (unsigned i = 0; i < q->workers; i++) {
        (void)snprintf(words, sizeof words, "worker=%u", i);
        if (!say(c, ++c->last_id, q->verb, words, q->body)) return false;
    }
    return true;
}

int caller_ask(struct caller *c, const struct question *q, struct buf *answer) {
    bool is_given_up = false;
    int outcome = CALLER_OK;
    if (!ask(c, q)) return -EPIPE;
    for (unsigned left = q->workers ? q->workers : 1; left;) {
        struct phrase f;
        size_t used;
        int r = phrase_read(buf_slice(&c->in), &f, &used);
        if (r < 0) return -EPIPE;
        if (r == PHRASE_PART) {
            r = read_more(c, &is_given_up);
            if (r < 0) return r;
            continue;
        }
        if (is_last(c, q, &f)) {
            if (!slice_eq(f.verb, SLICE("ok"))) outcome = CALLER_FAILED;
            buf_add_slice(answer, f.body);
            left = f.id ? left - 1 : 0;
        }
        buf_drop(&c->in, used);
    }
    return outcome;
}
