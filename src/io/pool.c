/* pool.c -- idle connections and queues for them.
 *
 * An idle connection is watched: input that nobody asked for, or its end, closes it.  The
 * latest to come is the first to go, so that those not needed grow old.  Queues are served
 * by a deferred closure, never from within the call that made room: that may be a
 * finalizer's.  Invariant: a pool has something in use, idle or queued. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/pool.h"

#include "base/map.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>

struct idle {
    struct pooled c; /* owned */
    struct pool *pool;
    struct watch watch;
    struct timer timer;
    struct idle *next, **link;
};

struct pool {
    struct pools *all;
    char *name; /* owned */
    struct pool_bounds bounds;
    struct idle *idle; /* the latest first */
    unsigned idle_len, used_len, queue_len;
    struct pool_turn *queue, **queue_end;
};

struct pools {
    struct loop *loop;
    struct map by_name;
    struct deferred serve;
};

static struct slice pool_key(const void *obj) {
    return slice_str(((const struct pool *)obj)->name);
}

/* ---- idle connections --------------------------------------------------------------- */

/* Takes it out of the pool. */
static struct pooled idle_take(struct idle *i) {
    struct pooled c = i->c;
    struct loop *loop = i->pool->all->loop;
    loop_unwatch(loop, &i->watch);
    loop_cancel(loop, &i->timer);
    closure_deinit(&i->timer.closure);
    *i->link = i->next;
    if (i->next) i->next->link = i->link;
    i->pool->idle_len--;
    free(i);
    return c;
}

static void idle_close(struct idle *i) {
    struct pooled c = idle_take(i);
    stream_close(&c.stream);
}

static void settle(struct pool *p);

static void idle_end(struct idle *i) {
    struct pool *p = i->pool;
    idle_close(i);
    settle(p);
}

static void on_input(struct closure *self, unsigned events) {
    struct idle *i = self->obj;
    uint8_t byte;
    (void)events;
    /* TLS may have something to say that is not input */
    if (stream_read(&i->c.stream, &byte, 1) != -EAGAIN) idle_end(i);
}

static void on_time(struct closure *self, unsigned events) {
    (void)events;
    idle_end(self->obj);
}

/* ---- pools ------------------------------------------------------------------------------ */

static bool has_room(const struct pool *p) {
    return p->idle || p->bounds.limit == 0 || p->used_len + p->idle_len < p->bounds.limit;
}

/* Something has changed: the queue may move, or the pool go. */
static void settle(struct pool *p) {
    if (p->queue && has_room(p)) loop_defer(p->all->loop, &p->all->serve);
    if (p->queue || p->idle || p->used_len) return;
    map_del(&p->all->by_name, slice_str(p->name));
    free(p->name);
    free(p);
}

static struct pooled take(struct pool *p) {
    struct pooled c = { { NULL, -1, NULL }, 0 };
    p->used_len++;
    if (!p->idle) return c;
    c = idle_take(p->idle);
    c.reused++;
    return c;
}

static void queue_leave(struct pool *p, struct pool_turn *t) {
    *t->link = t->next;
    if (t->next)
        t->next->link = t->link;
    else
        p->queue_end = t->link;
    t->link = NULL;
    p->queue_len--;
}

static void serve_one(struct pool *p) {
    struct pool_turn *t = p->queue;
    queue_leave(p, t);
    t->fn(t->obj, take(p));
}

static struct pool *next_to_serve(const struct pools *all) {
    size_t at = 0;
    struct pool *p;
    do p = map_next(&all->by_name, &at);
    while (p && !(p->queue && has_room(p)));
    return p;
}

/* A turn may change any pool, so the search begins afresh after each; who queues again
 * meanwhile comes next time. */
static void on_serve(struct closure *self, unsigned events) {
    struct pools *all = self->obj;
    struct pool *p;
    size_t at = 0, turns = 0;
    (void)events;
    while ((p = map_next(&all->by_name, &at))) turns += p->queue_len;
    while (turns-- > 0 && (p = next_to_serve(all))) serve_one(p);
    if (next_to_serve(all)) loop_defer(all->loop, &all->serve);
}

struct pools *pools_new(struct loop *loop) {
    struct pools *all = xcalloc(1, sizeof *all);
    all->loop = loop;
    all->serve.closure = (struct closure){ .fn = on_serve, .obj = all, .name = "pools" };
    map_init(&all->by_name, pool_key);
    return all;
}

void pools_free(struct pools *all) {
    if (!all) return;
    for (struct pool *p;;) {
        size_t at = 0;
        if (!(p = map_next(&all->by_name, &at))) break;
        must(p->used_len == 0 && !p->queue);
        while (p->idle_len > 1) idle_close(p->idle);
        idle_end(p->idle);
    }
    loop_undefer(&all->serve);
    closure_deinit(&all->serve.closure);
    map_deinit(&all->by_name);
    free(all);
}

struct pool *pool_get(struct pools *all, const char *name) {
    struct pool *p = map_find(&all->by_name, slice_str(name));
    if (p) return p;
    p = xcalloc(1, sizeof *p);
    p->all = all;
    p->name = xstrdup(name);
    p->queue_end = &p->queue;
    map_put(&all->by_name, p);
    return p;
}

enum pool_result pool_take(struct pool *p, const struct pool_bounds *bounds, struct pool_turn *turn,
                           struct pooled *out) {
    p->bounds = *bounds;
    if (!p->queue && has_room(p)) {
        *out = take(p);
        return POOL_TAKEN;
    }
    if (p->queue_len >= bounds->backlog) {
        settle(p);
        return POOL_FULL;
    }
    turn->next = NULL;
    turn->link = p->queue_end;
    *p->queue_end = turn;
    p->queue_end = &turn->next;
    p->queue_len++;
    settle(p);
    return POOL_QUEUED;
}

void pool_turn_cancel(struct pool *p, struct pool_turn *turn) {
    if (!turn->link) return;
    queue_leave(p, turn);
    settle(p);
}

void pool_give(struct pool *p, struct pooled c, uint64_t idle_ms, unsigned idle_max) {
    struct loop *loop = p->all->loop;
    p->used_len--;
    if (idle_max == 0) {
        stream_close(&c.stream);
        settle(p);
        return;
    }
    struct idle *i = xcalloc(1, sizeof *i);
    i->c = c;
    i->pool = p;
    i->watch.closure = (struct closure){ .fn = on_input, .obj = i, .name = "idle connection" };
    i->timer.closure = (struct closure){ .fn = on_time, .obj = i, .name = "idle connection" };
    i->next = p->idle;
    i->link = &p->idle;
    if (i->next) i->next->link = &i->next;
    p->idle = i;
    p->idle_len++;
    loop_watch(loop, &i->watch, c.stream.fd, LOOP_READ);
    if (idle_ms) loop_arm(loop, &i->timer, loop_now_ms(loop) + idle_ms);
    while (p->idle_len > idle_max) {
        struct idle *oldest = p->idle;
        while (oldest->next) oldest = oldest->next;
        idle_close(oldest);
    }
    settle(p);
}

void pool_leave(struct pool *p) {
    p->used_len--;
    settle(p);
}
