/* timer.c -- the hierarchical timer wheel.
 *
 * Cut the 64 bits of a time into eleven digits of six bits.  A timer is filed by the
 * highest digit in which its deadline differs from the wheel's present time: that
 * digit's place is the level, its value the slot.
 *
 *     level 0    64 slots of  1 ms    deadline in the present  64 ms
 *     level 1    64 slots of 64 ms    ... in the present 4096 ms, but not 64 ms
 *     level 2    64 slots of  4 s     and so on
 *
 * Invariant: the place of an armed timer can be computed from its deadline and now_ms
 * alone.  As all digits above are equal and this one is greater, every slot in use lies
 * in the future, every slot of a level before every slot of the level above, so the
 * lowest bit of the lowest busy level is what comes next.  Turning the wheel jumps from
 * one such slot to the next and files its timers anew: at least a level lower, or, when
 * their time has come, into the due list.  A timer moves ten times at most, and a jump
 * of the clock by years costs no more than the timers it passes.
 *
 * Lists keep the order of arming.  Two timers of equal deadline are always filed in the
 * same list, so they fire in that order, too. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/timer.h"

#include "base/mem.h"

/* ---- lists --------------------------------------------------------------- */

static void list_init(struct timer_list *l) {
    l->head = NULL;
    l->tail = &l->head;
}

static void list_append(struct timer_list *l, struct timer *t) {
    t->next = NULL;
    t->link = l->tail;
    *l->tail = t;
    l->tail = &t->next;
}

static void list_remove(struct timer_list *l, struct timer *t) {
    *t->link = t->next;
    if (t->next)
        t->next->link = t->link;
    else
        l->tail = t->link;
    t->link = NULL;
}

/* Moves all of `from` to the end of `to`. */
static void list_splice(struct timer_list *to, struct timer_list *from) {
    if (!from->head) return;
    *to->tail = from->head;
    from->head->link = to->tail;
    to->tail = from->tail;
    list_init(from);
}

static void list_detach(struct timer_list *l) {
    while (l->head) list_remove(l, l->head);
}

/* ---- places -------------------------------------------------------------- */

struct place {
    unsigned level, slot;
};

/* For a deadline after now_ms. */
static struct place place_of(const struct wheel *w, uint64_t deadline_ms) {
    unsigned top_bit = 63 - (unsigned)__builtin_clzll(deadline_ms ^ w->now_ms);
    unsigned level = top_bit / WHEEL_BITS;
    return (struct place){ level, (deadline_ms >> level * WHEEL_BITS) % WHEEL_SLOTS };
}

/* The busy place that comes next; there must be one. */
static struct place place_next(const struct wheel *w) {
    unsigned level = (unsigned)__builtin_ctz(w->levels);
    return (struct place){ level, (unsigned)__builtin_ctzll(w->busy[level]) };
}

/* The time at which the place's slot begins. */
static uint64_t place_start(const struct wheel *w, struct place p) {
    unsigned shift = p.level * WHEEL_BITS;
    uint64_t period = p.level + 1 < WHEEL_LEVELS ? (uint64_t)1 << (shift + WHEEL_BITS) : 0;
    uint64_t above = w->now_ms & ~(period - 1); /* period 0: no digits above */
    return above | (uint64_t)p.slot << shift;
}

static void mark_busy(struct wheel *w, struct place p) {
    w->busy[p.level] |= (uint64_t)1 << p.slot;
    w->levels |= 1u << p.level;
}

static void mark_empty(struct wheel *w, struct place p) {
    w->busy[p.level] &= ~((uint64_t)1 << p.slot);
    if (!w->busy[p.level]) w->levels &= ~(1u << p.level);
}

/* ---- life ---------------------------------------------------------------- */

void wheel_init(struct wheel *w, uint64_t now_ms) {
    *w = (struct wheel){ .now_ms = now_ms };
    for (unsigned l = 0; l < WHEEL_LEVELS; l++)
        for (unsigned s = 0; s < WHEEL_SLOTS; s++) list_init(&w->slots[l][s]);
    list_init(&w->due);
    list_init(&w->running);
}

void wheel_deinit(struct wheel *w) {
    for (unsigned l = 0; l < WHEEL_LEVELS; l++)
        for (unsigned s = 0; s < WHEEL_SLOTS; s++) list_detach(&w->slots[l][s]);
    list_detach(&w->due);
    list_detach(&w->running);
    wheel_init(w, w->now_ms);
}

/* ---- operations ---------------------------------------------------------- */

static void file(struct wheel *w, struct timer *t) {
    if (t->deadline_ms <= w->now_ms) {
        list_append(&w->due, t);
        return;
    }
    struct place p = place_of(w, t->deadline_ms);
    list_append(&w->slots[p.level][p.slot], t);
    mark_busy(w, p);
}

void wheel_arm(struct wheel *w, struct timer *t, uint64_t deadline_ms) {
    wheel_cancel(w, t);
    t->deadline_ms = deadline_ms;
    file(w, t);
}

void wheel_cancel(struct wheel *w, struct timer *t) {
    if (!t->link) return;
    if (t->deadline_ms <= w->now_ms) {
        /* Due or running; only the last of a list matters to the list itself. */
        list_remove(w->due.tail == &t->next ? &w->due : &w->running, t);
        return;
    }
    struct place p = place_of(w, t->deadline_ms);
    struct timer_list *l = &w->slots[p.level][p.slot];
    list_remove(l, t);
    if (!l->head) mark_empty(w, p);
}

uint64_t wheel_next(const struct wheel *w) {
    if (w->due.head || w->running.head) return w->now_ms;
    return w->levels ? place_start(w, place_next(w)) : UINT64_MAX;
}

/* Empties the place the wheel has just reached. */
static void spill(struct wheel *w, struct place p) {
    struct timer_list *l = &w->slots[p.level][p.slot];
    struct timer *t = l->head;
    list_init(l);
    mark_empty(w, p);
    for (struct timer *next; t; t = next) {
        next = t->next;
        file(w, t);
    }
}

bool wheel_turn(struct wheel *w, uint64_t now_ms) {
    while (w->levels) {
        struct place p = place_next(w);
        uint64_t start = place_start(w, p);
        if (start > now_ms) break;
        w->now_ms = start;
        spill(w, p);
    }
    if (now_ms > w->now_ms) w->now_ms = now_ms;
    return w->due.head || w->running.head;
}

void wheel_take(struct wheel *w) {
    list_splice(&w->running, &w->due);
}

struct timer *wheel_pop(struct wheel *w) {
    struct timer *t = w->running.head;
    if (t) list_remove(&w->running, t);
    return t;
}

static bool list_each(const struct timer_list *l, bool (*fn)(void *obj, struct timer *t),
                      void *obj) {
    for (struct timer *t = l->head; t; t = t->next)
        if (!fn(obj, t)) return false;
    return true;
}

bool wheel_each(const struct wheel *w, bool (*fn)(void *obj, struct timer *t), void *obj) {
    for (unsigned l = 0; l < WHEEL_LEVELS; l++)
        for (uint64_t busy = w->busy[l]; busy; busy &= busy - 1)
            if (!list_each(&w->slots[l][__builtin_ctzll(busy)], fn, obj)) return false;
    return list_each(&w->due, fn, obj) && list_each(&w->running, fn, obj);
}
