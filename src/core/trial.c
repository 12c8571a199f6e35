/* trial.c -- questions put where packets would be. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/trial.h"

#include "base/buf.h"
#include "base/mem.h"
#include "core/client.h"
#include "core/conn.h"
#include "core/connect.h"
#include "core/connecting.h"
#include "core/grants.h"
#include "core/limits.h"
#include "core/mount.h"
#include "core/publish.h"
#include "core/route.h"
#include "core/session.h"
#include "core/subscribe.h"
#include "core/worker.h"
#include "mqtt/decode.h"
#include "mqtt/encode.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- life ------------------------------------------------------------------------ */

void trial_init(struct trial *t, struct worker *w, struct client *client) {
    t->worker = w;
    t->client = client ? client_ref(client) : NULL;
    t->far_end = -1;
}

static void clear(struct trial *t) {
    free(t->reason);
    free(t->grant);
    t->reason = t->grant = NULL;
    t->reason_code = t->by = 0;
    t->receivers = 0;
    t->is_dropped = t->is_over = false;
}

/* The connection of a CONNECT has done its duty. */
static void hang_up(struct trial *t) {
    struct conn *c = t->conn;
    t->conn = NULL;
    if (c) {
        c->trial = NULL;
        conn_close(c, NULL);
    }
    if (t->far_end >= 0) close(t->far_end);
    t->far_end = -1;
}

void trial_deinit(struct trial *t) {
    void (*cancel)(void *) = t->cancel;
    loop_undefer(&t->late);
    closure_deinit(&t->late.closure);
    t->is_over = true;
    t->cancel = NULL;
    if (cancel) cancel(t->cancel_obj);
    hang_up(t);
    t->client = client_unref(t->client);
    clear(t);
    t->is_over = true;
}

void trial_over(struct trial *t, const struct trial_outcome *o) {
    if (t->is_over) return;
    t->is_over = true;
    t->cancel = NULL;
    t->reason_code = o->reason_code;
    t->by = t->grant ? TRIAL_BY_GRANT : o->by;
    t->reason = o->reason ? xstrdup(o->reason) : NULL;
    hang_up(t);
    t->done(t);
}

static void on_late(struct closure *self, unsigned events) {
    struct trial *t = self->obj;
    char *reason = t->reason;
    (void)events;
    t->reason = NULL;
    trial_over(t, &(struct trial_outcome){ t->reason_code, TRIAL_BY_HANDLER, reason });
    free(reason);
}

void trial_lost(struct trial *t, uint8_t reason_code, const char *why) {
    t->conn->trial = NULL;
    t->conn = NULL; /* it is on its way out */
    t->reason_code = reason_code ? reason_code : RC_UNSPECIFIED_ERROR;
    t->reason = why ? xstrdup(why) : NULL;
    t->late.closure = (struct closure){ .fn = on_late, .obj = t, .name = "trial" };
    loop_defer(t->worker->loop, &t->late);
}

void trial_wait(struct trial *t, void (*cancel)(void *obj), void *obj) {
    t->cancel = cancel;
    t->cancel_obj = obj;
}

void trial_granted(struct trial *t, const struct grant_answer *a) {
    free(t->grant);
    t->grant = grant_text(a);
}

static void refuse(struct trial *t, uint8_t reason_code, const char *why) {
    trial_over(t, &(struct trial_outcome){ reason_code, TRIAL_BY_CHECK, why });
}

/* ---- CONNECT ----------------------------------------------------------------------- */

void trial_refused(struct trial *t, const struct connecting *q, uint8_t reason_code,
                   const char *reason) {
    enum verdict v = q->call.verdict;
    struct trial_outcome o = { reason_code, TRIAL_BY_CHECK, reason };
    if (v == VERDICT_DENY || v == VERDICT_DROP)
        o.by = TRIAL_BY_HANDLER;
    else if (reason_code == RC_NOT_AUTHORIZED)
        o.by = TRIAL_BY_DEFAULT; /* nobody vouches for it */
    trial_over(t, &o);
}

void trial_accepted(struct trial *t, const struct connecting *q) {
    bool has_word = q->call.event == HOOK_AUTHENTICATE && q->call.verdict == VERDICT_ALLOW;
    if (q->request.has_own_limits) client_set_limits(q->client, &q->request.limits);
    trial_over(t, &(struct trial_outcome){ RC_SUCCESS,
                                           has_word ? TRIAL_BY_HANDLER : TRIAL_BY_DEFAULT, NULL });
}

int trial_connect(struct trial *t, const char *listener, const struct pkt_connect *p) {
    struct packet packet = { .type = PKT_CONNECT, .connect = *p };
    AUTO(buf_deinit) struct buf bytes = BUF_INIT;
    struct worker *w = t->worker;
    struct frame f;
    int fds[2];
    clear(t);
    if (!packet_append(&packet, p->version, &bytes)) return -EMSGSIZE;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0) return -errno;
    t->far_end = fds[1];
    conn_open(w, &stream_unix, fds[0], "trial", listener);
    COUNT_ADD(w, connections, -1);
    struct conn *c = t->conn = w->conns;
    c->trial = t;
    client_unref(t->client);
    t->client = client_ref(c->client);
    must(frame_read(bytes.at, bytes.len, 0, &f) == FRAME_OK);
    connect_start(c, &f);
    return 0;
}

/* ---- PUBLISH ------------------------------------------------------------------------ */

static void on_published(struct publish *p, uint8_t reason_code, const char *reason) {
    struct trial *t = p->obj;
    enum verdict v = p->call.verdict;
    bool refuses = v == VERDICT_DENY || v == VERDICT_DROP;
    struct trial_outcome o = { reason_code, TRIAL_BY_DEFAULT, reason };
    t->is_dropped = v == VERDICT_DROP;
    if (refuses || (v == VERDICT_ALLOW && p->call.event == HOOK_AUTHORIZE))
        o.by = TRIAL_BY_HANDLER;
    else if (reason_code >= RC_UNSPECIFIED_ERROR && reason)
        o.by = TRIAL_BY_CHECK;
    trial_over(t, &o);
}

/* What would be said before any hook is asked: 0, or the code of a refusal. */
static uint8_t check_publish(const struct trial *t, const struct pkt_publish *p,
                             struct slice full_name, const char **why) {
    const struct client *c = t->client;
    const struct limits *l = c->limits;
    uint8_t rc = limits_publish(l, p, why);
    if (!rc) rc = limits_payload(l, p, why);
    if (rc) return rc;
    *why = "not a topic name";
    if (!topic_name_valid(p->topic) || !utf8_valid(p->topic)) return RC_TOPIC_NAME_INVALID;
    *why = "topic with too many levels or bytes";
    if (full_name.len > l->max_topic_length + c->mount.len ||
        topic_is_deeper(full_name, l->max_topic_levels + c->mount_levels))
        return RC_TOPIC_NAME_INVALID;
    *why = "$SYS is the broker's own";
    return slice_starts(full_name, SLICE("$SYS/")) ? RC_NOT_AUTHORIZED : 0;
}

static void cancel_publish(void *obj) {
    publish_cancel(obj);
}

void trial_publish(struct trial *t, const struct pkt_publish *pkt) {
    AUTO(buf_deinit) struct buf name = BUF_INIT;
    const char *why = "topic too long";
    clear(t);
    bool fits = mount_topic(t->client->mount, pkt->topic, &name);
    uint8_t rc = fits ? check_publish(t, pkt, buf_slice(&name), &why) : RC_TOPIC_NAME_INVALID;
    if (rc) {
        refuse(t, rc, why);
        return;
    }
    struct publish *p = publish_new(t->worker);
    p->client = client_ref(t->client);
    p->message = message_new(&(struct message_parts){
        .topic = buf_slice(&name),
        .payload = pkt->payload,
        .expires_ms = MESSAGE_NEVER,
        .publisher = t->client->session ? t->client->session->handle : HANDLE_NONE,
        .qos = pkt->qos,
        .retain = pkt->retain });
    p->trial = t;
    p->done = on_published;
    p->obj = t;
    if (publish_start(p)) trial_wait(t, cancel_publish, p);
}

/* ---- SUBSCRIBE ------------------------------------------------------------------------ */

void trial_subscribe(struct trial *t, struct slice filter,
                     const struct subscribe_options *options) {
    clear(t);
    subscribe_try(t, filter, options);
}
