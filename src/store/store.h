/* store.h -- the file that outlives the process: SQLite, one connection, one thread.
 *
 * The thread writes what has gathered in one transaction (group commit), with an fsync, and
 * then brings the notices that were waiting for it.  When the disk is full or fails nothing
 * is lost while the process lives: it says so, and tries again until it can. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_STORE_STORE_H
#define SOL_STORE_STORE_H

#include "core/persist.h"

struct log;
struct store;

struct store_opts {
    const char *path; /* of the file; made, readable by its owner alone, when it is not there */
    struct log *log;  /* lent */
    bool waits;       /* persist->waits; else it writes once a second */
    unsigned sweep_s; /* seconds between two looks for what is over, 0: 600 */
};

/* Opens the file and starts the thread; for this process alone.  First shows `row` to `fn` for all
 * that is kept and not over.  0, or -errno with `error` (free() it), which names the file. */
typedef void store_row_fn(void *obj, const struct persist_row *row);
int store_open(const struct store_opts *opts, store_row_fn *fn, void *obj, struct store **out,
               char **error);
/* The port, lent.  NULL gives NULL. */
struct persist *store_port(struct store *s);
/* Writes what is filed, once more if the disk fails, and brings all notices; nobody files any
 * more.  While the broker lives.  NULL is fine. */
void store_close(struct store *s);

#endif
