/* socket.h -- the operators' door: a unix socket that only its owner may open.
 *
 * Lives on the main thread's loop.  Owns the listening socket, the connections (peers) and
 * the questions under way (requests); what a question means is known to the verbs it is
 * given (core/door.h).  Everything a peer can make it hold is bounded: MAX_PEERS,
 * MAX_REQUESTS of each, one phrase that comes in, OUT_ENOUGH of an answer that is not read. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_ADMIN_SOCKET_H
#define SOL_ADMIN_SOCKET_H

#include "base/log.h"
#include "core/door.h"
#include "io/loop.h"

struct admin;
struct broker;

struct admin_opts {
    const char *path; /* NULL: the first place of admin_place() that can be used */
    struct log *log;  /* lent */
    struct loop *loop;
    struct broker *broker;
    const struct door_verb *const *verbs; /* lent, and NULL at the end; besides ping, status */
};

/* Opens the socket, mode 0600; a dead broker's is replaced.  0 and the admin; 0 and NULL when
 * no path was given and none of the places can be had (the log says why); or -errno,
 * logged. */
int admin_open(const struct admin_opts *opts, struct admin **out);
/* Takes no more questions and gives up those under way.  NULL is fine. */
void admin_close(struct admin *a);
/* After admin_close and broker_free, when every call has ended.  NULL is fine. */
void admin_free(struct admin *a);

#define ADMIN_PLACES   2
#define ADMIN_PATH_MAX 108 /* bytes, NUL included: what the kernel takes */
/* Where a broker without `admin_socket` puts its socket and where one is looked for: place 0
 * is $XDG_RUNTIME_DIR/sol.sock, 1 is /run/sol.sock.  False: there is no such place here. */
bool admin_place(unsigned i, char path[ADMIN_PATH_MAX]);

#endif
