/* errand.c -- to a session, here or on another worker. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/errand.h"

#include "base/mem.h"
#include "core/client.h"
#include "core/fanout.h"
#include "core/mail.h"
#include "core/message.h"
#include "core/session.h"
#include "core/subscribe.h"
#include "core/worker.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"
#include "script/lib.h"
#include "script/options.h"
#include "script/vm.h"

#include <stdlib.h>

enum errand_kind { ERRAND_SUBSCRIBE, ERRAND_UNSUBSCRIBE, ERRAND_SEND };

struct errand {
    struct visit visit;
    enum errand_kind kind;
    struct handle client;
    struct slice filter; /* owned by one on its way */
    struct subscribe_options options;
    struct message *message; /* reference */
};

/* Has the client a name for what the errand is about? */
static bool is_below_mount(const struct client *c, const struct errand *e) {
    struct slice group, name = e->filter, inner;
    bool is_valid;
    if (e->message) name = message_topic(e->message);
    if (!e->message && topic_shared(name, &group, &inner, &is_valid)) name = inner;
    return slice_starts(name, c->mount);
}

/* NULL, or why it cannot be done (static). */
static const char *carry_out(struct worker *w, const struct errand *e, bool *had) {
    struct client *c = slots_find(&w->clients, e->client);
    struct session *s = c ? c->session : NULL;
    if (!s || s->client != c) return "closed";
    if (!is_below_mount(c, e)) return "outside the client's mount point";
    switch (e->kind) {
    case ERRAND_SUBSCRIBE: subscribe_add(s, e->filter, &e->options, 0); break;
    case ERRAND_UNSUBSCRIBE: *had = subscribe_remove(s, e->filter, NULL); break;
    case ERRAND_SEND: fanout_to(w, s, e->message); break;
    }
    return NULL;
}

static void there(struct worker *w, struct visit *v) {
    bool had;
    carry_out(w, CONTAINER_OF(v, struct errand, visit), &had);
}

static void home(struct visit *v) {
    struct errand *e = CONTAINER_OF(v, struct errand, visit);
    message_unref(e->message);
    free((void *)(uintptr_t)e->filter.at);
    free(e);
}

/* Sends a copy off. */
static void send_off(struct worker *w, unsigned to, const struct errand *e) {
    struct errand *far = xcalloc(1, sizeof *far);
    *far = *e;
    far->filter.at = (const uint8_t *)xslicedup(e->filter);
    far->visit.there = there;
    far->visit.home = home;
    if (e->message) {
        message_share(e->message);
        far->message = message_ref(e->message);
    }
    mail_visit(w, to, &far->visit);
}

/* true (of unsubscribe: was there such a one?), without knowing yet for one elsewhere; or nil
 * and why. [-0, +1|2, m] */
static int run(lua_State *L, struct errand *e, struct client_place to) {
    struct vm *vm = vm_of(L);
    struct worker *w = vm->worker;
    const char *why = w->stopping ? "closed" : NULL;
    bool had = true, was = vm_uncap(vm);
    e->client = to.handle;
    if (!why && to.home == w->id)
        why = carry_out(w, e, &had);
    else if (!why)
        send_off(w, to.home, e);
    vm->is_capped = was;
    if (why) return vm_fail(L, "%s", why);
    lua_pushboolean(L, had); /* ..., had */
    return 1;
}

static struct slice check_filter(lua_State *L) {
    struct slice filter = vm_check_slice(L, 2), group, inner;
    bool is_valid, is_shared = topic_shared(filter, &group, &inner, &is_valid);
    is_valid = topic_filter_valid(filter) && utf8_valid(filter) && (!is_shared || is_valid);
    luaL_argcheck(L, is_valid, 2, "not a topic filter");
    luaL_argcheck(L, !topic_is_deeper(filter, TOPIC_LEVELS_MAX), 2, "more than 1000 levels");
    return filter;
}

int client_subscribe(lua_State *L) {
    static const char *const names[] = { "qos", "no_local", "retain_as_published",
                                         "retain_handling", NULL };
    struct client_place to = client_place(L, 1);
    struct errand e = { .kind = ERRAND_SUBSCRIBE, .filter = check_filter(L) };
    lua_settop(L, 3); /* client, filter, options */
    options_check(L, 3, "client:subscribe", names);
    e.options.qos = (uint8_t)options_integer(L, 3, "qos", 0, 2, 0);
    e.options.no_local = options_boolean(L, 3, "no_local", false);
    e.options.retain_as_published = options_boolean(L, 3, "retain_as_published", false);
    e.options.retain_handling = (uint8_t)options_integer(L, 3, "retain_handling", 0, 2, 0);
    lib_worker(L, "client:subscribe");
    return run(L, &e, to);
}

int client_unsubscribe(lua_State *L) {
    struct client_place to = client_place(L, 1);
    struct errand e = { .kind = ERRAND_UNSUBSCRIBE, .filter = check_filter(L) };
    lib_worker(L, "client:unsubscribe");
    return run(L, &e, to);
}

int client_send(lua_State *L, struct client_place to, struct message *m) {
    struct errand e = { .kind = ERRAND_SEND, .message = m };
    int n = run(L, &e, to);
    message_unref(m);
    return n;
}
