/* ahead.c -- routes found before they are asked for.
 *
 * What was found is used while the input lies where it lay, so a topic is known by its address,
 * and only if it still is what a look-up would give. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/ahead.h"

#include "base/mem.h"
#include "core/route.h"
#include "mqtt/decode.h"

#include <stdlib.h>

enum {
    ROUTES_MIN = 4096,  /* fewer are in the processor's cache: nothing is waited for */
    RECEIVERS_MAX = 64, /* of a topic whose successor is likely to be handled at once */
};

struct ahead {
    /* the first `at` of the `len` have had their turn */
    unsigned at, len;
    struct slice topic[SUBS_TOGETHER];  /* lent: in the input */
    struct route *route[SUBS_TOGETHER]; /* owned references */
};

void ahead_init(struct worker *w) {
    w->ahead = xcalloc(1, sizeof *w->ahead);
}

void ahead_deinit(struct worker *w) {
    ahead_clear(w);
    free(w->ahead);
    w->ahead = NULL;
}

static void drop_rest(struct worker *w, struct ahead *a) {
    while (a->at < a->len) route_unref(w, a->route[a->at++]);
}

void ahead_clear(struct worker *w) {
    drop_rest(w, w->ahead);
    w->behind = SLICE_NONE;
}

/* Collects this topic and those that follow. */
static void look_ahead(struct ahead *a, struct slice topic, struct slice rest) {
    struct frame f;
    a->at = a->len = 0;
    do {
        a->topic[a->len++] = topic;
        if (frame_read(rest.at, rest.len, 0, &f) != FRAME_OK || f.type != PKT_PUBLISH) return;
        topic = publish_topic(&f);
        rest = slice_of(rest.at + f.head_len + f.body_len, rest.len - f.head_len - f.body_len);
    } while (topic.len && a->len < SUBS_TOGETHER);
}

/* Many receivers or a hook can stop the client's input with every packet: what was looked up ahead
 * would be looked up in vain. */
static bool is_worth_it(const struct worker *w, const struct route *last) {
    if (!last || last->wants || w->route_len < ROUTES_MIN) return false;
    uint32_t shares;
    route_shares(&last->to, &shares);
    return last->to.len + shares <= RECEIVERS_MAX;
}

/* Those before it were asked for in other ways, or not at all. */
static bool is_next(struct worker *w, struct ahead *a, struct slice topic) {
    for (; a->at < a->len; route_unref(w, a->route[a->at++]))
        if (a->topic[a->at].at == topic.at && a->topic[a->at].len == topic.len) return true;
    return false;
}

struct route *ahead_route(struct worker *w, struct slice topic, const struct route *last) {
    struct ahead *a = w->ahead;
    if (!w->behind.at) return NULL;
    if (!is_next(w, a, topic)) {
        if (!is_worth_it(w, last)) return NULL;
        look_ahead(a, topic, w->behind);
        if (a->len > 1)
            route_prepare(w, a->topic, a->route, a->len);
        else
            a->len = 0;
    }
    if (a->at == a->len) return NULL;
    struct route *r = a->route[a->at++];
    if (route_use(w, r)) return r;
    route_unref(w, r);
    return NULL;
}
