/* lib_file.c -- sol.read_file.
 *
 * Reading blocks the worker, so it is meant for loading a policy; a device or a pipe,
 * which could block for ever, is refused.  A script's file goes first into a userdata and
 * then into a string: an error on the way leaks nothing. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib_file.h"

#include "base/buf.h"
#include "base/mem.h"
#include "script/lib.h"
#include "script/obj_message.h"
#include "script/policy.h"
#include "script/script.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (16u << 20) /* bytes */

/* Reads the whole of `fd` into `out`; NULL, or what went wrong (static). */
static const char *read_all(int fd, struct buf *out) {
    struct stat st;
    if (fstat(fd, &st) < 0) return strerror(errno);
    if (S_ISDIR(st.st_mode)) return "is a folder";
    if (!S_ISREG(st.st_mode)) return "is not a regular file";
    for (;;) {
        uint8_t *at = buf_reserve(out, 65536);
        ssize_t n = read(fd, at, 65536);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return strerror(errno);
        if (n == 0) return NULL;
        out->len += (size_t)n;
        if (out->len > FILE_MAX) return "is larger than 16 MiB";
    }
}

/* Notes what the policy is made of. */
static void note(const struct script *s, const char *path) {
    struct policy_files *f = s->files;
    if (!s->is_loading || !f) return;
    for (unsigned i = 0; i < f->len; i++)
        if (strcmp(f->at[i], path) == 0) return;
    f->at = xrealloc(f->at, (f->len + 1) * sizeof *f->at);
    f->stats = xrealloc(f->stats, (f->len + 1) * sizeof *f->stats);
    if (stat(path, &f->stats[f->len]) < 0) f->stats[f->len] = (struct stat){ 0 };
    f->at[f->len++] = xstrdup(path);
}

bool file_push(lua_State *L, const char *path, struct slice *text, const char **why) {
    struct buf *content = push_buf(L); /* buf */
    note(script_of(L), path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    *why = fd < 0 ? strerror(errno) : read_all(fd, content);
    if (fd >= 0) close(fd);
    if (*why) {
        lua_pop(L, 1); /* */
        return false;
    }
    lua_pushlstring(L, (const char *)content->at, content->len); /* buf, text */
    buf_deinit(content);
    lua_remove(L, -2); /* text */
    size_t len;
    const char *at = lua_tolstring(L, -1, &len);
    *text = slice_of(at, len);
    return true;
}

const char *file_push_path(lua_State *L, const char *path) {
    const char *folder = script_of(L)->folder;
    if (path[0] == '/' || strcmp(folder, ".") == 0) return lua_pushstring(L, path); /* path */
    return lua_pushfstring(L, "%s/%s", folder, path);                               /* path */
}

static int l_read_file(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    struct slice text;
    const char *why, *path = file_push_path(L, name); /* name, path */
    if (!file_push(L, path, &text, &why)) return vm_fail(L, "%s: %s", path, why);
    return 1; /* name, path, text */
}

static const luaL_Reg functions[] = {
    { "read_file", l_read_file },
    { NULL, NULL },
};

int luaopen_sol_file(lua_State *L) {
    luaL_newlib(L, functions); /* functions */
    return 1;
}
