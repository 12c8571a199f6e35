/* lib_append.c -- sol.append_file: files that a policy adds to.
 *
 * What is written is gathered on the worker and written by a helper, so a slow disk holds up
 * nobody; one job of a file is under way at a time, which keeps the order.  The file is opened
 * by its first write, for appending: several workers may write whole lines to the same one, and
 * a policy that is only checked makes none.  What does not fit is refused, what cannot be
 * written is lost and the log says so.
 *
 * A file outlives its VM until what was taken is written. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/helpers.h"
#include "core/worker.h"
#include "script/lib_file.h"
#include "script/object.h"
#include "script/script.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PENDING_DEFAULT (1 << 20) /* bytes */
#define PENDING_MAX     (64 << 20)
#define KEPT_MAX        65536 /* bytes of an empty buffer that are kept for the next lines */

struct append_file {
    struct job job;
    char *path;         /* owned */
    struct log *log;    /* lent */
    size_t max_pending; /* bytes */
    /* the helper's while a job is under way, then the worker's */
    int fd; /* -1: not opened yet */
    struct buf out;
    int error;    /* errno of the last job; 0: it went well */
    bool is_torn; /* the disk took a part of a line: the next one begins anew */
    /* the worker's */
    struct worker *worker; /* lent */
    struct buf pending;    /* what has come since */
    int reported;          /* the error that the log knows */
    bool is_writing;       /* a job is under way; without one nothing is pending */
    bool is_orphan;        /* nobody holds it: freed when all is written */
};

/* The block of a userdata. */
struct append_box {
    struct append_file *file; /* owned */
};

static const struct object_type append_type;

/* ---- on a helper thread ------------------------------------------------------------- */

static int open_file(const char *path) {
    struct stat st;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0640);
    if (fd < 0) return -errno;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) return fd;
    close(fd);
    return -EINVAL;
}

/* 0 or an errno; *done counts the bytes that were written. */
static int write_all(int fd, struct slice what, size_t *done) {
    for (*done = 0; *done < what.len;) {
        ssize_t n = write(fd, what.at + *done, what.len - *done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        *done += (size_t)n;
    }
    return 0;
}

static void run(struct job *job) {
    struct append_file *f = CONTAINER_OF(job, struct append_file, job);
    size_t done;
    if (f->fd < 0) f->fd = open_file(f->path);
    f->error = f->fd < 0 ? -f->fd : 0;
    if (!f->error && f->is_torn) f->error = write_all(f->fd, SLICE("\n"), &done);
    if (f->error) return;
    f->error = write_all(f->fd, buf_slice(&f->out), &done);
    f->is_torn = done > 0 && f->out.at[done - 1] != '\n';
}

/* ---- on the worker's thread ----------------------------------------------------------- */

static void file_free(struct append_file *f) {
    if (f->fd >= 0) close(f->fd);
    buf_deinit(&f->out);
    buf_deinit(&f->pending);
    free(f->path);
    free(f);
}

/* A job is done: says what there is to say, once. */
static void finish(struct append_file *f) {
    if (f->error && f->error != f->reported)
        log_error(f->log, "policy", "%s: %s; what is written there is lost", f->path,
                  strerror(f->error));
    if (!f->error && f->reported) log_info(f->log, "policy", "%s can be written again", f->path);
    f->reported = f->error;
    f->out.len = 0;
    if (f->out.cap > KEPT_MAX) buf_deinit(&f->out);
    f->is_writing = false;
}

/* Writes what is pending: by a helper, or here when they may be gone. */
static void begin(struct append_file *f) {
    struct buf empty = f->out;
    f->out = f->pending;
    f->pending = empty;
    f->is_writing = true;
    f->error = ECANCELED; /* until it has been run */
    if (!f->worker->stopping) {
        helpers_submit(f->worker->broker->helpers, &f->job);
        return;
    }
    run(&f->job);
    finish(f);
}

/* A job that the helpers did not come to any more is done here. */
static void done(struct job *job) {
    struct append_file *f = CONTAINER_OF(job, struct append_file, job);
    if (f->error == ECANCELED) run(job);
    finish(f);
    if (f->pending.len) begin(f);
    if (f->is_orphan && !f->is_writing) file_free(f);
}

/* ---- the functions ---------------------------------------------------------------------- */

/* What stands in the way of appending to `path`, found without making it: NULL, or a text
 * (static). */
static const char *obstacle(const char *path) {
    struct stat st;
    if (stat(path, &st) == 0) {
        if (!S_ISREG(st.st_mode)) return "is not a regular file";
        return access(path, W_OK) < 0 ? strerror(errno) : NULL;
    }
    if (errno != ENOENT) return strerror(errno);
    const char *slash = strrchr(path, '/');
    char *folder = slash ? xslicedup(slice_of(path, (size_t)(slash - path) + 1)) : xstrdup(".");
    const char *why = access(folder, W_OK | X_OK) < 0 ? strerror(errno) : NULL;
    free(folder);
    return why;
}

static size_t opt_max_pending(lua_State *L, int arg) {
    lua_Integer max = PENDING_DEFAULT;
    if (lua_isnoneornil(L, arg)) return (size_t)max;
    luaL_checktype(L, arg, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, arg); lua_pop(L, 1)) { /* ..., name, value */
        if (lua_type(L, -2) != LUA_TSTRING || strcmp(lua_tostring(L, -2), "max_pending") != 0)
            luaL_error(L, "sol.append_file: the only option is max_pending");
        max = luaL_checkinteger(L, -1);
    }
    luaL_argcheck(L, max >= 1 && max <= PENDING_MAX, arg, "max_pending must be 1 to 67108864");
    return (size_t)max;
}

/* append_file(path [, options]): an object; or nil and what stands in the way. */
static int l_append_file(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    size_t max = opt_max_pending(L, 2);
    struct script *s = script_of(L);
    if (!s->is_loading)
        return luaL_error(L, "sol.append_file can be used while the policy is loaded only");
    const char *path = file_push_path(L, name), *why = obstacle(path); /* ..., path */
    if (why) return vm_fail(L, "%s: %s", path, why);
    struct append_box *box = object_new(L, &append_type, sizeof *box, 0); /* ..., path, box */
    struct append_file *f = xcalloc(1, sizeof *f);
    box->file = f;
    f->job.run = run;
    f->job.done = done;
    f->path = xstrdup(path);
    f->log = vm_of(L)->log;
    f->max_pending = max;
    f->fd = -1;
    return 1;
}

/* write(text): true; or nil and "full". */
static int append_write(lua_State *L) {
    struct append_box *box = object_check(L, 1, &append_type);
    struct slice text = vm_check_slice(L, 2);
    struct worker *w = lib_worker(L, "a file's write");
    struct append_file *f = box->file;
    if (f->pending.len + text.len > f->max_pending) return vm_fail(L, "full");
    buf_add_slice(&f->pending, text);
    if (!f->is_writing && f->pending.len) { /* a helper reads the job meanwhile */
        f->worker = w;
        f->job.home = &w->inbox;
        begin(f);
    }
    lua_pushboolean(L, 1); /* file, text, true */
    return 1;
}

static int append_gc(lua_State *L) {
    struct append_box *box = object_check(L, 1, &append_type);
    struct append_file *f = box->file;
    box->file = NULL;
    if (!f) return 0;
    if (f->is_writing)
        f->is_orphan = true;
    else
        file_free(f);
    return 0;
}

static void *resolve(lua_State *L, void *block) {
    (void)L;
    return ((struct append_box *)block)->file;
}

static const struct field append_fields[] = { { NULL, NULL, NULL } };

static const luaL_Reg append_methods[] = {
    { "write", append_write },
    { NULL, NULL },
};

static const struct object_type append_type = {
    .name = "file",
    .fields = append_fields,
    .methods = append_methods,
    .resolve = resolve,
    .gc = append_gc,
};

static const luaL_Reg functions[] = {
    { "append_file", l_append_file },
    { NULL, NULL },
};

int luaopen_sol_append(lua_State *L) {
    object_register(L, &append_type);
    luaL_newlib(L, functions); /* functions */
    return 1;
}
