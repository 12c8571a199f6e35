/* ask.h -- the command lines of `sol explain` and `sol trace`, and asking a running broker.
 *
 * Main's own: it stands above the layers and knows script and admin. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_ASK_H
#define SOL_ASK_H

#include "script/inquiry.h"

struct ask {
    struct inquiry inquiry; /* owned */
    const char *config;     /* sol.lua; NULL: defaults */
    const char *socket;     /* of a running broker; NULL: where one usually is */
    bool is_live;           /* --live */
};

enum { ASK_GO_ON = -1, ASK_ALLOWED = 0, ASK_REFUSED = 1, ASK_IMPOSSIBLE = 2 };

/* Reads the options behind argv[0], "explain" with its action or "trace"; ASK_GO_ON, or the
 * exit status when all has been said.  inquiry_deinit in any case. */
int ask_read(int argc, char **argv, struct ask *a);
/* Puts it to a running broker and prints the answer; gives the exit status. */
int ask_broker(const struct ask *a);

#endif
