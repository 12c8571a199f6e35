/* files.c -- folders watched, names compared. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/files.h"

#include "base/mem.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

/* A file written in place counts once it is closed. */
#define CHANGES (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF)

struct watched {
    int folder; /* inotify's watch */
    char *name; /* owned: within it */
};

struct files {
    struct loop *loop; /* lent */
    struct watch watch;
    struct timer rest;
    void (*changed)(void *obj);
    void *obj; /* borrowed */
    struct watched *at;
    unsigned len, cap;
};

static bool concerns(const struct files *f, const struct inotify_event *e) {
    if (e->mask & (IN_Q_OVERFLOW | IN_DELETE_SELF)) return true;
    for (unsigned i = 0; i < f->len && e->len; i++)
        if (f->at[i].folder == e->wd && strcmp(f->at[i].name, e->name) == 0) return true;
    return false;
}

static void on_events(struct closure *self, unsigned events) {
    struct files *f = self->obj;
    _Alignas(struct inotify_event) char buf[4096];
    bool is_ours = false;
    ssize_t n;
    (void)events;
    while ((n = read(f->watch.fd, buf, sizeof buf)) > 0) {
        const struct inotify_event *e;
        for (const char *at = buf; at < buf + n; at += sizeof *e + e->len) {
            e = (const void *)at;
            is_ours |= concerns(f, e);
        }
    }
    if (is_ours) loop_arm(f->loop, &f->rest, loop_now_ms(f->loop) + FILES_REST_MS);
}

static void on_rest(struct closure *self, unsigned events) {
    struct files *f = self->obj;
    (void)events;
    f->changed(f->obj);
}

struct files *files_new(struct loop *loop, void (*changed)(void *obj), void *obj) {
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0) return NULL;
    struct files *f = xcalloc(1, sizeof *f);
    f->loop = loop;
    f->changed = changed;
    f->obj = obj;
    f->watch.closure = (struct closure){ .fn = on_events, .obj = f, .name = "files" };
    f->rest.closure = (struct closure){ .fn = on_rest, .obj = f, .name = "files at rest" };
    loop_watch(loop, &f->watch, fd, LOOP_READ);
    return f;
}

static void forget(struct files *f) {
    for (unsigned i = 0; i < f->len; i++) free(f->at[i].name);
    f->len = 0;
}

void files_free(struct files *f) {
    if (!f) return;
    int fd = f->watch.fd;
    loop_cancel(f->loop, &f->rest);
    closure_deinit(&f->rest.closure);
    loop_unwatch(f->loop, &f->watch);
    close(fd);
    forget(f);
    free(f->at);
    free(f);
}

/* Watches the folder `path` is in, for what its last part names. */
static void add(struct files *f, const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = !slash ? xstrdup(".") : xslicedup(slice_of(path, (size_t)(slash - path) + 1));
    int wd = inotify_add_watch(f->watch.fd, folder, CHANGES | IN_ONLYDIR);
    free(folder);
    if (wd < 0) return;
    if (f->len == f->cap) {
        f->cap = f->cap ? f->cap * 2 : 8;
        f->at = xrealloc(f->at, f->cap * sizeof *f->at);
    }
    f->at[f->len++] = (struct watched){ .folder = wd, .name = xstrdup(slash ? slash + 1 : path) };
}

/* The same folder gives the same number again.  One no longer needed is watched on, but what
 * happens there concerns no name of ours. */
void files_watch(struct files *f, char *const *paths, unsigned len) {
    forget(f);
    for (unsigned i = 0; i < len; i++) {
        char real[PATH_MAX];
        add(f, paths[i]);
        /* A link's target may be written where it is. */
        if (realpath(paths[i], real) && strcmp(real, paths[i]) != 0) add(f, real);
    }
}
