/* files.h -- tells when any of some files has changed.
 *
 * Watches the folders they are in (inotify), so that a file which is replaced by another
 * (as editors do), removed or made is noticed as well as one that is written.  Waits until
 * nothing has happened for FILES_REST_MS before it speaks: a save is one change, whatever it
 * consists of.  One loop's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_IO_FILES_H
#define SOL_IO_FILES_H

#include "io/loop.h"

#define FILES_REST_MS 100

struct files;

/* Gives a watcher of nothing, or NULL with errno. */
struct files *files_new(struct loop *loop, void (*changed)(void *obj), void *obj);
/* NULL is fine. */
void files_free(struct files *f);
/* From now on these `len` paths, which it copies, and no others.  A folder that is not there
 * is not watched. */
void files_watch(struct files *f, char *const *paths, unsigned len);

#endif
