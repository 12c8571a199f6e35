/* connect.h -- CONNECT: from its bytes to an open session, through the hooks. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_CONNECT_H
#define SOL_CORE_CONNECT_H

struct conn;
struct frame;

/* The first packet of a connection (any type: what is not CONNECT ends it).  Parks the
 * connection when a hook waits.  Answers CONNACK and opens the session, or refuses. */
void connect_start(struct conn *c, const struct frame *f);

/* MAIL_MOVE: a CONNECT whose session lives on this worker arrives, with its connection. */
struct mail;
struct worker;
void connect_arrived(struct worker *w, struct mail *mail);

#endif
