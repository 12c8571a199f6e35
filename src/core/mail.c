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
    BATCH_BYTES = 8192 - 64, /* of letters in one mail */
    PARCEL_BYTES = 64,       /* a message costs, besides its weight */
    SPARES_MAX = 16,         /* batches kept for the next messages */
    /* Bytes of messages not yet taken out.  Well below max_output_bytes' default: all of it
     * may go to one reader. */
    INBOX_ENOUGH = 4 * 1024 * 1024
};

/* A parcel as it lies in a batch.  Behind it: where `to_len` is not 0 a struct subs_age and as many
 * entries, then a copy of the message if it has no reference to it. */
struct letter {
    struct message *message; /* reference, the receiver's; NULL: a copy lies behind */
    uint32_t size;           /* bytes, to the next letter */
    uint32_t to_len;
    struct offer offer;
};

struct mail_messages {
    struct mail mail;
    struct mail_messages *next; /* of those spare */
    size_t weight;              /* of the messages, in the receiver's inbox_bytes */
    uint32_t len;               /* bytes used */
    _Alignas(struct letter) uint8_t letters[BATCH_BYTES];
};

static void post(struct worker *to, enum mail_type type, struct mail *mail) {
    mail->type = type;
    mailbox_post(&to->inbox, mail);
}

/* ---- messages ------------------------------------------------------------- */

bool mail_congested(const struct worker *to) {
    return atomic_load_explicit(&to->inbox_bytes, memory_order_relaxed) > INBOX_ENOUGH;
}

static struct mail_messages *batch_new(struct worker *w) {
    struct mail_messages *batch = w->spare_batches;
    if (batch) {
        w->spare_batches = batch->next;
        w->spare_batches_len--;
    } else {
        batch = xmalloc(sizeof *batch);
    }
    batch->len = 0;
    batch->weight = 0;
    return batch;
}

static void batch_drop(struct worker *w, struct mail_messages *batch) {
    if (w->spare_batches_len == SPARES_MAX) {
        free(batch);
        return;
    }
    batch->next = w->spare_batches;
    w->spare_batches = batch;
    w->spare_batches_len++;
}

static void flush_one(struct worker *w, unsigned to) {
    struct mail_messages *batch = w->outbox[to];
    struct worker *receiver = &w->broker->workers[to];
    if (!batch) return;
    w->outbox[to] = NULL;
    atomic_fetch_add_explicit(&receiver->inbox_bytes, batch->weight, memory_order_relaxed);
    post(receiver, MAIL_MESSAGES, &batch->mail);
}

void mail_flush(struct worker *w) {
    for (unsigned i = 0; i < w->broker->workers_len; i++) flush_one(w, i);
}

/* The batch for `to`, with room for so much. */
static struct mail_messages *batch_for(struct worker *w, unsigned to, size_t size) {
    struct mail_messages *batch = w->outbox[to];
    if (batch && BATCH_BYTES - batch->len < size) flush_one(w, to);
    if (!w->outbox[to]) {
        w->outbox[to] = batch_new(w);
        loop_defer(w->loop, &w->post);
    }
    return w->outbox[to];
}

static size_t padded(size_t size) {
    size_t unit = _Alignof(struct letter);
    return (size + unit - 1) / unit * unit;
}

/* Bytes of the address behind a letter; a message may follow. */
static size_t address_size(unsigned to_len) {
    _Static_assert(_Alignof(struct message) <= _Alignof(struct letter),
                   "copies lie behind letters");
    return to_len ? padded(sizeof(struct subs_age) + to_len * sizeof(struct route_entry)) : 0;
}

bool mail_parcel(struct worker *w, unsigned to, const struct parcel *p) {
    if (w->stopping) return true; /* nobody takes it out any more */
    size_t copy = message_copy_size(p->message), address = address_size(p->to_len);
    size_t size = padded(sizeof(struct letter) + address + copy);
    struct mail_messages *batch = batch_for(w, to, size);
    struct letter *letter = (void *)(batch->letters + batch->len);
    uint8_t *behind = (uint8_t *)(letter + 1);
    *letter = (struct letter){ .size = (uint32_t)size, .to_len = p->to_len, .offer = p->offer };
    if (address) {
        memcpy(behind, p->age, sizeof *p->age);
        memcpy(behind + sizeof *p->age, p->to, p->to_len * sizeof *p->to);
    }
    if (copy) {
        memcpy(behind + address, p->message, copy);
    } else {
        letter->message = message_ref(p->message); /* first: counted with less effort */
        message_share(p->message);
    }
    batch->len += (uint32_t)size;
    batch->weight += message_weight(p->message) + PARCEL_BYTES;
    return !mail_congested(&w->broker->workers[to]);
}

/* Walks the letters: start with *at == 0; NULL ends the walk. */
static struct letter *next_letter(struct mail_messages *batch, uint32_t *at) {
    if (*at == batch->len) return NULL;
    struct letter *letter = (void *)(batch->letters + *at);
    *at += letter->size;
    return letter;
}

static void drop(struct worker *w, struct mail_messages *batch) {
    struct letter *letter;
    for (uint32_t at = 0; (letter = next_letter(batch, &at));) message_unref(letter->message);
    batch_drop(w, batch);
}

void mail_deinit(struct worker *w) {
    for (unsigned i = 0; i < w->broker->workers_len; i++) {
        if (w->outbox[i]) drop(w, w->outbox[i]);
        w->outbox[i] = NULL;
    }
    while (w->spare_batches) {
        struct mail_messages *batch = w->spare_batches;
        w->spare_batches = batch->next;
        free(batch);
    }
}

/* The copy becomes a message of this worker's own. */
static void copy_arrived(struct worker *w, struct parcel *p, const struct message *copy) {
    const struct message_parts parts = message_parts(copy);
    bool is_passing = !copy->qos && !copy->retain; /* nothing is left of it, as a rule */
    p->message = is_passing ? message_draft(&w->draft, &parts) : message_new(&parts);
    fanout_arrived(w, p);
    if (is_passing)
        message_discard(&w->draft, p->message);
    else
        message_unref(p->message);
}

static void letter_arrived(struct worker *w, struct letter *letter) {
    uint8_t *behind = (uint8_t *)(letter + 1);
    struct parcel p = { .message = letter->message,
                        .to_len = letter->to_len,
                        .offer = letter->offer };
    if (p.to_len) {
        p.age = (void *)behind;
        p.to = (void *)(behind + sizeof *p.age);
    }
    if (p.message)
        fanout_arrived(w, &p);
    else
        copy_arrived(w, &p, (void *)(behind + address_size(p.to_len)));
}

static void on_messages(struct worker *w, struct mail_messages *batch) {
    struct letter *letter;
    size_t weight = batch->weight;
    for (uint32_t at = 0; !w->stopping && (letter = next_letter(batch, &at));)
        letter_arrived(w, letter);
    drop(w, batch);
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
    case MAIL_MESSAGES: on_messages(w, CONTAINER_OF(mail, struct mail_messages, mail)); break;
    case MAIL_MOVE: connect_arrived(w, mail); break;
    case MAIL_SLOW: on_slow(w, CONTAINER_OF(mail, struct mail_slow, mail)); break;
    case MAIL_DRAINED: on_drained(w, CONTAINER_OF(mail, struct mail_slow, mail)); break;
    case MAIL_VISIT: on_visit(w, CONTAINER_OF(mail, struct visit, mail)); break;
    case MAIL_CHORE: on_chore(w, CONTAINER_OF(mail, struct chore, mail)); break;
    }
}
