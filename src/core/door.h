/* door.h -- what an operator asks of the running broker (port: asked by admin/, answered by
 * script/ and main; main connects them).
 *
 * A call is one question. Whoever answers says as many parts as it likes, then ends the
 * call, once and on the thread it was started on; after that the call is gone. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_DOOR_H
#define SOL_CORE_DOOR_H

#include "base/slice.h"

struct door_call;
struct worker;

/* A kind of question.  `w` is the worker asked, on its thread; NULL on the main thread. */
struct door_verb {
    const char *name;
    bool on_worker; /* else on the main thread */
    /* Answers: door_say, door_end, at once or later. */
    void (*start)(struct worker *w, struct door_call *call);
    /* Nobody listens any more: the call has to end soon.  NULL: it soon does anyhow. */
    void (*cancel)(struct worker *w, struct door_call *call);
    /* This connection (call->peer) will not ask again; NULL: nothing is kept of it. */
    void (*forget)(struct worker *w, uint64_t peer);
    void *obj; /* lent: the answerer's */
};

struct door_call {
    /* the asker's; fixed */
    const struct door_verb *verb;
    struct slice words; /* lent: what stood behind the verb, blanks between */
    struct slice body;  /* lent: the question itself */
    uint64_t peer;      /* which connection: never the same number twice */
    bool (*say)(struct door_call *c, struct slice bytes);
    void (*end)(struct door_call *c, bool ok, struct slice bytes);
    /* the answerer's */
    void *state;
};

/* A part of the answer.  False, and it was dropped: the peer has yet to read more than
 * enough. */
static inline bool door_say(struct door_call *c, struct slice bytes) {
    return c->say(c, bytes);
}
/* The last part: the result, or when not `ok` what went wrong. */
static inline void door_end(struct door_call *c, bool ok, struct slice bytes) {
    c->end(c, ok, bytes);
}

#endif
