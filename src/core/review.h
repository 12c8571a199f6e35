/* review.h -- grants of clients that live, and subscriptions judged once more.
 *
 * A grant that comes counts at once.  When one goes (revoked, expired, given under another
 * name) what the client may publish is decided anew with its next message; its subscriptions
 * are checked at each delivery from that moment, and before the turn is over a review has
 * judged them again, as if they were made now.  What is no longer allowed ends: MQTT has no
 * word to say so to the client, so HOOK_UNSUBSCRIBED and the log do.
 *
 * Grants belong to a connection.  They judge what its session gets until the client comes
 * back, with a struct client of its own and the grants that get there.  One worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_REVIEW_H
#define SOL_CORE_REVIEW_H

#include "base/slice.h"

#include <stdbool.h>

struct client;
struct grant;
struct session;
struct worker;

/* ---- asked for by the policy ------------------------------------------------ */

/* What grant->generation is to say of a grant made on this worker. */
unsigned review_generation(const struct worker *w);
/* Takes `g` (grants.h), in the place of the one of its name; false when it would be too much. */
bool review_grant(struct client *c, struct grant *g);
/* Ends the grants of this name, NULL: all; gives their number. */
unsigned review_revoke(struct client *c, const char *name);
/* All subscriptions of the session are judged again. */
void review_session(struct session *s);

/* ---- what happens to a client ------------------------------------------------- */

/* It may be called otherwise than before: placeholders stand for that.  CONNECT alone. */
void review_rebind(struct client *c);
/* A connected client begins to authenticate again ... */
void review_exchange(struct client *c);
/* ... and is called `username` from now on: grants from before are another's, unless it is
 * the name it had. */
void review_reauthenticated(struct client *c, struct slice username);
/* `copy` (client_copy) goes to another worker in its place ... */
void review_depart(struct client *c, struct client *copy);
/* ... and is there. */
void review_arrive(struct client *c);
/* The session has been resumed by a client with other grants, or none. */
void review_resumed(struct session *s);
/* Its memory goes. */
void review_forget(struct client *c);

/* ---- what happens to a worker --------------------------------------------------- */

/* The policy of this generation is in place: grants of those before that were to end with theirs
 * do. */
void review_policy(struct worker *w, unsigned generation);
/* Ends all that is under way; shutdown. */
void review_cancel_all(struct worker *w);

#endif
