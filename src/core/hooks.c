/* hooks.c -- what requests own, and the hooks nobody listens to. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/hooks.h"

#include "base/mem.h"

#include <stdlib.h>

/* Bytes a hook put in place of a slice of CONNECT. */
struct kept {
    struct kept *next;
    uint8_t bytes[];
};

struct slice connect_keep(struct connect_request *r, struct slice s) {
    struct kept *k = xmalloc(sizeof *k + s.len + 1);
    if (s.len) memcpy(k->bytes, s.at, s.len);
    k->bytes[s.len] = 0;
    k->next = r->kept;
    r->kept = k;
    return slice_of(k->bytes, s.len);
}

void connect_request_deinit(struct connect_request *r) {
    while (r->kept) {
        struct kept *k = r->kept;
        r->kept = k->next;
        free(k);
    }
}

/* Puts a copy of `s` in the place of an owned slice. */
static void replace(struct slice *owned, struct slice s) {
    char *copy = xslicedup(s); /* first: it may be a part of the old */
    free((void *)(uintptr_t)owned->at);
    *owned = slice_of(copy, s.len);
}

void auth_reply(struct auth_exchange *x, struct slice data) {
    replace(&x->reply, data);
}

void auth_name(struct auth_exchange *x, struct slice username) {
    replace(&x->username, username);
}

void auth_exchange_deinit(struct auth_exchange *x) {
    replace(&x->reply, SLICE_NONE);
    replace(&x->username, SLICE_NONE);
}

void subscribe_keep(struct subscribe_request *r, struct slice filter) {
    char *copy = xslicedup(filter);
    free(r->kept);
    r->kept = copy;
    r->filter = slice_of(copy, filter.len);
}

void hooks_settled(struct hooks *h) {
    if (!h->link) return;
    if (h->next) h->next->link = h->link;
    *h->link = h->next;
    h->link = NULL;
}

void hook_call_clear(struct hook_call *call) {
    free(call->reason);
    free(call->server_reference);
    call->reason = call->server_reference = NULL;
}

uint32_t hooks_for_delivery(struct hooks *h, const struct message *m) {
    if (!(h->wanted & HOOK_ASKED_AT_DELIVERY)) return 0;
    return h->wants(h, message_topic(m)) & HOOK_ASKED_AT_DELIVERY;
}

void hooks_tell(struct hooks *h, enum hook_event e, struct client *c, const struct fact *f) {
    if (!hooks_want(h, e)) return;
    struct hook_call call = { .event = e, .client = c, .fact = f };
    h->run(h, &call);
    hook_call_deinit(&call);
}

/* ---- nobody ------------------------------------------------------------- */

static uint32_t none_wants(struct hooks *h, struct slice topic) {
    (void)h;
    (void)topic;
    return 0;
}

static void none_run(struct hooks *h, struct hook_call *call) {
    (void)h;
    call->verdict = VERDICT_NONE;
}

static void none_cancel(struct hooks *h, struct hook_call *call) {
    (void)h;
    (void)call;
}

static void none_attach(struct hooks *h, struct worker *w) {
    (void)h;
    (void)w;
}

static void none_retire(struct hooks *h, bool at_once) {
    (void)at_once;
    hooks_settled(h); /* nothing of theirs ever waits */
}

static void none_forget(struct hooks *h, struct client *c) {
    (void)h;
    (void)c;
}

static void none_auth_over(struct hooks *h, struct client *c, struct auth_exchange *x) {
    (void)h;
    (void)c;
    (void)x;
}

struct hooks hooks_none = { .wants = none_wants,
                            .run = none_run,
                            .cancel = none_cancel,
                            .attach = none_attach,
                            .retire = none_retire,
                            .forget = none_forget,
                            .auth_over = none_auth_over };
