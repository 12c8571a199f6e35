/* helpers.h -- a few threads for what would hold up a loop (password hashing).
 *
 * A job runs on a helper, then comes home as MAIL_HELPED to the worker that sent it. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_HELPERS_H
#define SOL_CORE_HELPERS_H

#include "io/mailbox.h"

struct helpers;

struct job {
    struct mail mail;              /* type is set by helpers_submit */
    void (*run)(struct job *job);  /* on a helper thread; touches only the job */
    void (*done)(struct job *job); /* on the sender's thread; takes the job */
    struct mailbox *home;          /* lent: the sender's inbox */
    struct job *next;              /* private */
};

/* `threads` helpers (0: one), started at the first job. */
struct helpers *helpers_new(unsigned threads);
/* Any thread: are the helpers about to end?  Then a job that may run for long gives up. */
bool helpers_stopping(struct helpers *h);
/* Finishes the running jobs, hands the rest home undone (job->run not called), joins. */
void helpers_free(struct helpers *h);
/* Any thread; takes the job until done. */
void helpers_submit(struct helpers *h, struct job *job);
/* For mail.c: the job is home; calls its `done`.  NULL: the helpers have gone. */
void helpers_done(struct helpers *h, struct job *job);
/* Jobs that are not home yet. */
unsigned helpers_busy(const struct helpers *h);

#endif
