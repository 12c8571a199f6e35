/* mail.c -- batches out, one switch in. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/mail.h"

#include "base/mem.h"
#include "core/connect.h"
#include "core/flow.h"
#include "core/helpers.h"
#include "core/message.h"
#include "core/fanout.h"
#include "core/session.h"
#include "core/worker.h"

#include <stdlib.h>

enum {
    BATCH = 32,        /* parcels in one mail */
    PARCEL_BYTES = 64, /* a message costs, besides its weight */
    /* Bytes of messages not yet taken out.  Well below max_output_bytes' default: all of it
     * may go to one reader. */
    INBOX_ENOUGH = 4 * 1024 * 1024
};

struct mail_messages {
    struct mail mail;
    size_t bytes;
    unsigned len;
    struct parcel at[BATCH];
};

static void post(struct worker *to, enum mail_type type, struct mail *mail) {
    mail->type = type;
    mailbox_post(&to->inbox, mail);
}

/* ---- messages ------------------------------------------------------------- */

bool mail_congested(const struct worker *to) {
    return atomic_load_explicit(&to->inbox_bytes, memory_order_relaxed) > INBOX_ENOUGH;
}

static void flush_one(struct worker *w, unsigned to) {
    struct mail_messages *batch = w->outbox[to];
    struct worker *receiver = &w->broker->workers[to];
    if (!batch) return;
    w->outbox[to] = NULL;
    atomic_fetch_add_explicit(&receiver->inbox_bytes, batch->bytes, memory_order_relaxed);
    post(receiver, MAIL_MESSAGES, &batch->mail);
}

void mail_flush(struct worker *w) {
    for (unsigned i = 0; i < w->broker->workers_len; i++) flush_one(w, i);
}

bool mail_parcel(struct worker *w, unsigned to, const struct parcel *p) {
    struct mail_messages *batch = w->outbox[to];
    if (w->stopping) { /* nobody takes it out any more */
        message_unref(p->message);
        return true;
    }
    if (!batch) {
        batch = w->outbox[to] = xmalloc(sizeof *batch);
        batch->len = 0;
        batch->bytes = 0;
        loop_defer(w->loop, &w->post);
    }
    batch->at[batch->len++] = *p;
    batch->bytes += message_weight(p->message) + PARCEL_BYTES;
    if (batch->len == BATCH) flush_one(w, to);
    return !mail_congested(&w->broker->workers[to]);
}

static void drop(struct mail_messages *batch) {
    for (unsigned i = 0; i < batch->len; i++) message_unref(batch->at[i].message);
    free(batch);
}

void mail_deinit(struct worker *w) {
    for (unsigned i = 0; i < w->broker->workers_len; i++) {
        if (w->outbox[i]) drop(w->outbox[i]);
        w->outbox[i] = NULL;
    }
}

static void on_messages(struct worker *w, struct mail_messages *batch) {
    size_t bytes = batch->bytes;
    for (unsigned i = 0; i < batch->len && !w->stopping; i++) fanout_arrived(w, &batch->at[i]);
    drop(batch);
    atomic_fetch_sub_explicit(&w->inbox_bytes, bytes, memory_order_relaxed);
}

/* ---- the other way: slower, please ----------------------------------------- */

static void tell(struct worker *w, unsigned to, enum mail_type type, const struct mail_slow *what) {
    struct mail_slow *mail = xmalloc(sizeof *mail);
    *mail = *what;
    post(&w->broker->workers[to], type, &mail->mail);
}

void mail_slow(struct worker *w, struct handle publisher, struct handle reader) {
    if (w->stopping) return;
    tell(w, handle_owner(publisher), MAIL_SLOW,
         &(struct mail_slow){ .publisher = publisher, .reader = reader });
}

void mail_drained(struct worker *w, uint64_t workers, struct handle reader) {
    for (; workers && !w->stopping; workers &= workers - 1)
        tell(w, (unsigned)__builtin_ctzll(workers), MAIL_DRAINED,
             &(struct mail_slow){ .reader = reader });
}

static void on_slow(struct worker *w, struct mail_slow *mail) {
    struct session *s = slots_find(&w->sessions, mail->publisher);
    if (s && s->conn) flow_slow_down_far(s->conn, mail->reader);
    free(mail);
}

static void on_drained(struct worker *w, struct mail_slow *mail) {
    flow_drained_far(w, mail->reader);
    free(mail);
}

/* ---- visits ----------------------------------------------------------------- */

void mail_visit(struct worker *from, unsigned to, struct visit *v) {
    must(!from->stopping);
    v->from = from;
    v->is_back = false;
    post(&from->broker->workers[to], MAIL_VISIT, &v->mail);
}

static void on_visit(struct worker *w, struct visit *v) {
    if (v->is_back || w->broker->is_over) {
        v->home(v);
        return;
    }
    if (!w->stopping) v->there(w, v);
    v->is_back = true;
    post(v->from, MAIL_VISIT, &v->mail);
}

/* ---- chores ---------------------------------------------------------------- */

void mail_chore(struct worker *to, struct chore *e) {
    post(to, MAIL_CHORE, &e->mail);
}

static void on_chore(struct worker *w, struct chore *e) {
    e->run(w, e);
}

/* ---- the inbox ---------------------------------------------------------------- */

void mail_handle(void *obj, struct mail *mail) {
    struct worker *w = obj;
    switch ((enum mail_type)mail->type) {
    case MAIL_OPEN:
        free(mail);
        worker_open(w);
        break;
    case MAIL_STOP:
        free(mail);
        worker_stop(w);
        break;
    case MAIL_POLICY: worker_set_policy(w, CONTAINER_OF(mail, struct mail_policy, mail)); break;
    case MAIL_HELPED: helpers_done(w->broker->helpers, CONTAINER_OF(mail, struct job, mail)); break;
    case MAIL_MESSAGES: on_messages(w, CONTAINER_OF(mail, struct mail_messages, mail)); break;
    case MAIL_MOVE: connect_arrived(w, mail); break;
    case MAIL_SLOW: on_slow(w, CONTAINER_OF(mail, struct mail_slow, mail)); break;
    case MAIL_DRAINED: on_drained(w, CONTAINER_OF(mail, struct mail_slow, mail)); break;
    case MAIL_VISIT: on_visit(w, CONTAINER_OF(mail, struct visit, mail)); break;
    case MAIL_CHORE: on_chore(w, CONTAINER_OF(mail, struct chore, mail)); break;
    }
}
