/* inner.c -- sessions without a client. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/inner.h"

#include "core/worker.h"

struct handle inner_open(struct worker *w, inner_fn *fn, void *obj) {
    struct client *c = client_new(w, "inner", "");
    client_set_id(c, SLICE("(the policy)"));
    struct session *s = session_new_inner(w, c, fn, obj);
    client_unref(c); /* the session's now */
    return s->handle;
}

void inner_close(struct worker *w, struct handle h) {
    struct session *s = slots_find(&w->sessions, h);
    if (s) session_end(s);
}

void inner_subscribe(struct worker *w, struct handle h, struct slice filter, uint32_t identifier) {
    struct session *s = slots_find(&w->sessions, h);
    struct subscribe_options options = { .qos = 2, .retain_as_published = true };
    if (!s) return;
    if (subs_add(w->broker->subs, &s->subs, h, filter, &options, identifier) == SUBS_NEW)
        s->subs_len++;
}

void inner_unsubscribe(struct worker *w, struct handle h, struct slice filter) {
    struct session *s = slots_find(&w->sessions, h);
    if (s && subs_del(w->broker->subs, h, filter)) s->subs_len--;
}
