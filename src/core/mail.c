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
#include "core/subs.h"
#include "core/worker.h"

#include <stdlib.h>

enum {
    PARCEL_BYTES = 64, /* a message costs, besides its weight */
    MAIL_BYTES = 4096, /* and a batch, however little is in it */
    /* Bytes of messages not yet taken out.  Well below max_output_bytes' default: all of it
     * may go to one reader. */
    INBOX_ENOUGH = 4 * 1024 * 1024
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
    struct batch *batch = w->outbox[to];
    struct worker *receiver = &w->broker->workers[to];
    if (!batch) return;
    w->outbox[to] = NULL;
    atomic_fetch_add_explicit(&receiver->inbox_bytes, batch->weight, memory_order_relaxed);
    post(receiver, MAIL_MESSAGES, &batch->mail);
}

void mail_flush(struct worker *w) {
    for (unsigned i = 0; i < w->broker->workers_len; i++) flush_one(w, i);
}

static size_t weight_of(const struct parcel *p) {
    const struct message_parts *parts = p->parts;
    return parts ? parts->topic.len + parts->props.len + parts->payload.len + p->payload.len
                 : message_weight(p->message);
}

bool mail_parcel(struct worker *w, unsigned to, const struct parcel *p) {
    if (w->stopping) { /* nobody takes it out any more */
        if (p->from) landing_return(p->from);
        return true;
    }
    if (!w->outbox[to] || !batch_add(w->outbox[to], p)) {
        flush_one(w, to);
        w->outbox[to] = batch_new(&w->batches);
        w->outbox[to]->weight = MAIL_BYTES;
        loop_defer(w->loop, &w->post);
        must(batch_add(w->outbox[to], p));
    }
    w->outbox[to]->weight += weight_of(p) + PARCEL_BYTES;
    return !mail_congested(&w->broker->workers[to]);
}

void mail_deinit(struct worker *w) {
    for (unsigned i = 0; i < w->broker->workers_len; i++) {
        if (w->outbox[i]) batch_drop(w->outbox[i]);
        w->outbox[i] = NULL;
    }
    batch_pool_deinit(&w->batches);
}

/* A copy that several may want to keep becomes a message of this worker's own. */
static void copy_arrived(struct worker *w, struct parcel *p) {
    const struct message_parts parts = message_parts(p->message);
    bool is_passing = !parts.qos && !parts.retain; /* nothing is left of it, as a rule */
    p->message = is_passing ? message_draft(&w->draft, &parts) : message_new(&parts);
    fanout_arrived(w, p);
    if (is_passing)
        message_discard(&w->draft, p->message);
    else
        message_unref(p->message);
}

/* Its message is made around the payload where that lies. */
static void loan_arrived(struct worker *w, struct parcel *p) {
    struct message_parts parts = message_parts(p->message);
    parts.payload = p->payload;
    p->message = landing_borrow(&w->borrowed, &parts, p->from);
    loop_defer(w->loop, &w->return_loans);
    fanout_arrived(w, p);
    message_unref(p->message);
}

/* Used where it lies: one receiver will write it out, and that was all. */
static bool passes_here(const struct worker *w, const struct parcel *p) {
    return p->to_len == 1 && !p->message->qos && !p->message->retain &&
           !(w->hooks->wanted & HOOK_ASKED_AT_DELIVERY);
}

static void on_messages(struct worker *w, struct batch *batch) {
    struct batch_walk walk = { 0 };
    struct parcel p;
    size_t weight = batch->weight;
    while (!w->stopping && batch_next(batch, &walk, &p)) {
        if (p.from)
            loan_arrived(w, &p);
        else if (p.message->in_batch && !passes_here(w, &p))
            copy_arrived(w, &p);
        else
            fanout_arrived(w, &p);
    }
    batch_drop(batch);
    atomic_fetch_sub_explicit(&w->inbox_bytes, weight, memory_order_relaxed);
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
    case MAIL_MESSAGES: on_messages(w, CONTAINER_OF(mail, struct batch, mail)); break;
    case MAIL_MOVE: connect_arrived(w, mail); break;
    case MAIL_SLOW: on_slow(w, CONTAINER_OF(mail, struct mail_slow, mail)); break;
    case MAIL_DRAINED: on_drained(w, CONTAINER_OF(mail, struct mail_slow, mail)); break;
    case MAIL_VISIT: on_visit(w, CONTAINER_OF(mail, struct visit, mail)); break;
    case MAIL_CHORE: on_chore(w, CONTAINER_OF(mail, struct chore, mail)); break;
    }
}
