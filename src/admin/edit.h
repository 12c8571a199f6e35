/* edit.h -- lines from a terminal, with history and completion.
 *
 * Owns the terminal while it reads; libedit is known here alone. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_ADMIN_EDIT_H
#define SOL_ADMIN_EDIT_H

#include "base/buf.h"

#include <signal.h>

struct editor;

/* How may this go on?  Appends to `out` the length of the word that is to be replaced, in
 * decimal, and the words that may stand there, each behind a '\n'. */
typedef void editor_complete_fn(void *obj, struct slice before_cursor, struct buf *out);

/* `history` is the file it is kept in, NULL: nowhere.  `interrupt` (borrowed) is what the
 * handler of SIGINT sets to 1.  Never NULL. */
struct editor *editor_new(const char *history, volatile sig_atomic_t *interrupt,
                          editor_complete_fn *complete, void *obj);
/* Writes the history. */
void editor_free(struct editor *e);

enum { EDITOR_LINE = 0, EDITOR_END = 1, EDITOR_INTERRUPTED = 2 };
/* Reads a line, lent until the next, with its '\n'.  EDITOR_INTERRUPTED: *interrupt was 1,
 * and is 0 again. */
int editor_read(struct editor *e, const char *prompt, struct slice *line);
/* Adds to the history. */
void editor_remember(struct editor *e, const char *text);

#endif
