/* session.c -- sessions: life, absence, will.
 *
 * What is on its way to the client is in delivery.c. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/session.h"

#include "base/mem.h"
#include "core/conn.h"
#include "core/publish.h"
#include "core/review.h"
#include "core/worker.h"

#include <stdlib.h>

struct slice session_key(const void *obj) {
    return ((const struct session *)obj)->client->id;
}

struct session *session_find(struct worker *w, struct slice client_id) {
    return map_find(&w->by_id, client_id);
}

/* Filed under its handle only. */
static struct session *session_make(struct worker *w, struct client *c) {
    struct session *s = xcalloc(1, sizeof *s);
    s->worker = w;
    s->client = client_ref(c);
    s->first_id = 1;
    s->window = 1;
    s->replay_tail = &s->replay;
    s->handle = slots_add(&w->sessions, s);
    return s;
}

struct session *session_new(struct worker *w, struct client *c) {
    struct session *s = session_make(w, c);
    COUNT(w, sessions);
    c->session = s;
    must(map_put(&w->by_id, s) == NULL);
    return s;
}

struct session *session_new_inner(struct worker *w, struct client *c, inner_fn *fn, void *obj) {
    struct session *s = session_make(w, c);
    s->inner = fn;
    s->inner_obj = obj;
    return s;
}

/* ---- will --------------------------------------------------------------- */

static void will_free(struct pending_will *will) {
    if (!will) return;
    message_unref(will->message);
    client_unref(will->client);
    free(will);
}

void session_set_will(struct session *s, struct pending_will *will) {
    will_free(s->will);
    s->will = will;
}

/* Sends the will on its way; it passes the hooks like any other message.  A broker that
 * stops says no wills: its clients are not to blame. */
static void will_publish(struct session *s) {
    struct pending_will *will = s->will;
    if (s->worker->stopping) session_set_will(s, NULL);
    if (!s->will) return;
    s->will = NULL;
    struct publish *p = publish_new(s->worker);
    p->client = client_ref(will->client);
    struct message_parts parts = message_parts(will->message);
    if (will->expiry)
        parts.expires_ms = loop_now_ms(s->worker->loop) + (uint64_t)will->expiry * 1000;
    p->message = message_new(&parts);
    p->is_will = true;
    will_free(will);
    publish_start(p);
}

/* ---- absence ------------------------------------------------------------ */

static uint64_t seconds_from(uint64_t now_ms, uint32_t seconds) {
    return seconds == SESSION_FOREVER ? UINT64_MAX : now_ms + (uint64_t)seconds * 1000;
}

static void absence_arm(struct session *s) {
    uint64_t due = s->expires_ms;
    if (s->will && s->will_due_ms < due) due = s->will_due_ms;
    if (due != UINT64_MAX) loop_arm(s->worker->loop, s->absence, due);
}

static void on_absence(struct closure *self, unsigned events) {
    struct session *s = self->obj;
    struct worker *w = s->worker;
    struct handle handle = s->handle;
    uint64_t now = loop_now_ms(w->loop);
    (void)events;
    if (s->will && s->will_due_ms <= now) {
        will_publish(s); /* its hooks may do anything to this session */
        if (slots_find(&w->sessions, handle) != s || s->conn) return;
    }
    if (s->expires_ms > now) {
        absence_arm(s);
        return;
    }
    COUNT(w, sessions_expired);
    session_end(s);
}

static void absence_end(struct session *s) {
    if (!s->absence) return;
    loop_cancel(s->worker->loop, s->absence);
    closure_deinit(&s->absence->closure);
    free(s->absence);
    s->absence = NULL;
}

static void absence_begin(struct session *s) {
    uint64_t now = loop_now_ms(s->worker->loop);
    absence_end(s); /* hooks of the will may have brought the client back and lost it again */
    s->expires_ms = seconds_from(now, s->expiry);
    s->will_due_ms = s->will ? seconds_from(now, s->will->delay) : UINT64_MAX;
    if (s->expires_ms == UINT64_MAX && !s->will) return;
    s->absence = xcalloc(1, sizeof *s->absence);
    s->absence->closure = (struct closure){ .fn = on_absence, .obj = s, .name = "session absence" };
    absence_arm(s);
}

/* ---- life --------------------------------------------------------------- */

void session_end(struct session *s) {
    struct worker *w = s->worker;
    must(!s->conn);
    absence_end(s);
    s->client->session = NULL;
    if (!s->inner) {
        map_del(&w->by_id, s->client->id);
        COUNT_ADD(w, sessions, -1);
    }
    slots_del(&w->sessions, s->handle);
    subs_del_all(w->broker->subs, &s->subs);
    delivery_deinit(s);
    pidset_deinit(&s->received);
    pidset_deinit(&s->elder);
    will_publish(s); /* the session's end is the latest moment [MQTT-3.1.3-9] */
    s->next = w->ended;
    w->ended = s;
    loop_defer(w->loop, &w->reap);
}

void sessions_reap(struct worker *w) {
    while (w->ended) {
        struct session *s = w->ended;
        w->ended = s->next;
        client_unref(s->client);
        attrs_deinit(&s->attrs);
        xfree(s->holding);
        free(s);
    }
}

void session_attach(struct session *s, struct conn *c, struct client *client, uint16_t window) {
    absence_end(s);
    session_set_will(s, NULL); /* back before its will was due */
    if (client != s->client) {
        s->client->session = NULL;
        client_unref(s->client);
        s->client = client_ref(client);
    }
    client->session = s;
    s->conn = c;
    c->session = s;
    s->window = window;
    uint64_t bytes = client->limits->max_inflight_bytes;
    s->window_bytes = bytes ? (size_t)bytes : SIZE_MAX;
    review_resumed(s);
    delivery_rewind(s);
    pidset_copy(&s->elder, &s->received);
}

void session_detach(struct session *s, bool publish_will) {
    s->conn->session = NULL;
    s->conn = NULL;
    if (!publish_will) session_set_will(s, NULL);
    if (s->expiry == 0) {
        session_end(s);
        return;
    }
    if (s->will && s->will->delay == 0) {
        struct worker *w = s->worker;
        struct handle handle = s->handle;
        will_publish(s);
        if (slots_find(&w->sessions, handle) != s || s->conn) return;
    }
    absence_begin(s);
}
