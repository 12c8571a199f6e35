/* client.c -- identities and their attributes. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/client.h"

#include "base/mem.h"
#include "core/gate.h"
#include "core/limits.h"
#include "core/mount.h"
#include "core/review.h"
#include "core/worker.h"

#include <stdlib.h>

/* CONNECT says who a client is several times over, as a rule the same. */
static void replace(struct slice *old, struct slice s) {
    bool is_same = slice_eq(*old, s) && !old->at == !s.at;
    if (is_same) return;
    struct slice copy = slice_of(xslicedup(s), s.len);
    xfree((void *)old->at);
    *old = copy;
}

void client_set_mount(struct client *c, struct slice mount) {
    replace(&c->mount, mount);
    c->mount_levels = (uint16_t)mount_levels(mount);
}

void client_set_limits(struct client *c, const struct limits *limits) {
    const struct limits *old = c->limits;
    c->limits = limits_share(limits);
    limits_unref(old);
}

struct client *client_new(struct worker *w, const char *peer, const char *listener) {
    struct client *c = xcalloc(1, sizeof *c);
    c->refs = 1;
    c->worker = w;
    c->peer = xstrdup(peer);
    c->gate = gate_get(w, listener);
    c->listener = c->gate->url;
    c->limits = limits_ref(c->gate->limits);
    client_set_mount(c, c->gate->mount);
    c->connected_at_ms = loop_wall_ms(w->loop);
    c->handle = slots_add(&w->clients, c);
    return c;
}

void client_file(struct client *c, struct worker *w) {
    c->worker = w;
    c->handle = slots_add(&w->clients, c);
    c->gate = gate_get(w, c->listener);
    c->listener = c->gate->url;
    c->limits = limits_ref(c->gate->limits);
}

struct client *client_ref(struct client *c) {
    c->refs++;
    return c;
}

static void attr_free(struct attr *a) {
    if (a->type == ATTR_STRING) free((void *)a->string.at);
    free(a->name);
    free(a);
}

void attrs_deinit(struct attr **list) {
    while (*list) {
        struct attr *a = *list;
        *list = a->next;
        attr_free(a);
    }
}

static void client_free(struct client *c) {
    if (!handle_is_none(c->handle)) {
        c->worker->hooks->forget(c->worker->hooks, c);
        slots_del(&c->worker->clients, c->handle);
    }
    attrs_deinit(&c->attrs);
    review_forget(c);
    free((void *)c->id.at);
    xfree((void *)c->username.at);
    xfree((void *)c->mount.at);
    limits_unref(c->limits);
    free(c->peer);
    free(c);
}

struct client *client_unref(struct client *c) {
    if (c && --c->refs == 0) client_free(c);
    return NULL;
}

void client_set_id(struct client *c, struct slice id) {
    replace(&c->id, id);
}

void client_set_username(struct client *c, struct slice username) {
    replace(&c->username, username);
}

const struct attr *attr_find(const struct attr *list, const char *name) {
    for (const struct attr *a = list; a; a = a->next)
        if (strcmp(a->name, name) == 0) return a;
    return NULL;
}

static void attr_remove(struct attr **list, const char *name) {
    for (struct attr **link = list; *link;) {
        struct attr *a = *link;
        if (strcmp(a->name, name) != 0) {
            link = &a->next;
            continue;
        }
        *link = a->next;
        attr_free(a);
    }
}

bool attr_set(struct attr **list, const char *name, const struct attr *value) {
    unsigned others = 0;
    for (const struct attr *a = *list; a; a = a->next) others += strcmp(a->name, name) != 0;
    if (value && others >= ATTRS_MAX) return false;
    struct attr *fresh = NULL;
    if (value) {
        fresh = xmalloc(sizeof *fresh);
        *fresh = *value;
        fresh->name = xstrdup(name);
        if (value->type == ATTR_STRING)
            fresh->string = slice_of(xslicedup(value->string), value->string.len);
    }
    attr_remove(list, name);
    if (fresh) {
        fresh->next = *list;
        *list = fresh;
    }
    return true;
}

struct client *client_copy(const struct client *c) {
    struct client *copy = xcalloc(1, sizeof *copy);
    *copy = *c;
    copy->refs = 1;
    copy->handle = HANDLE_NONE;
    copy->conn = NULL;
    copy->session = NULL;
    copy->gate = NULL;
    copy->limits = NULL;
    copy->grants = NULL;
    copy->mount = SLICE_NONE;
    client_set_mount(copy, c->mount);
    copy->id = slice_of(xslicedup(c->id), c->id.len);
    copy->username = SLICE_NONE;
    client_set_username(copy, c->username);
    copy->peer = xstrdup(c->peer);
    copy->attrs = NULL;
    for (const struct attr *a = c->attrs; a; a = a->next) client_attr_set(copy, a->name, a);
    return copy;
}
