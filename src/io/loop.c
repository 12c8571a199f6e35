/* loop.c -- epoll, watches, deferred work and the clock; timers are in timer.c.
 *
 * Level-triggered: what a closure leaves unread is reported again next turn, so work
 * per connection and turn can be bounded without a list of the unfinished.  The kernel
 * looks at each ready descriptor once more for it, 15 to 50 ns with 1,000 ready ones;
 * edge-triggered would need a second read to see the end of input (150 to 220 ns),
 * one-shot a re-arming call (200 to 300 ns).
 *
 * An event carries slot and generation of its watch.  A watch that has gone, or whose
 * slot serves another one, is not found: events fetched for it are dropped.
 *
 * A watch holds the interest asked for (`want`) and the interest the kernel knows
 * (`have`).  A watch whose `want` was touched is on the list of changes, once; before
 * each wait the list is gone through and the difference told.  KNOWN says that the
 * descriptor is, or shall be, in epoll at all.
 *
 * A hang-up must not spin.  EPOLLRDHUP is asked for until it has been told once.
 * EPOLLHUP and EPOLLERR cannot be switched off, so a watch that gets one of them while
 * it wants neither to read nor to write leaves epoll until it wants something again.
 *
 * A message that comes while costly closures are ready must not wait for all of them, nor
 * they for ever.  So patient watches and timers come after the other events and what those
 * have deferred, and get a slice of the turn: as long as it has taken so far, or 25
 * microseconds; at least one runs.  The two begin it by turns, and what is left over has
 * its place in the next one. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "io/loop.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/uuid.h"
#include "io/timer.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_START 64
#define EVENTS_MAX   4096
#define SLICE_NS     25000u

/* Bits of want and have besides LOOP_READ, LOOP_WRITE and LOOP_HANGUP. */
#define ASKED (LOOP_READ | LOOP_WRITE)
#define KNOWN 0x80u

struct loop {
    int epoll_fd;
    bool in_turn, stopping;
    struct slots watches;
    /* watches whose want has changed, and those the kernel would not take */
    struct watch **changes; /* borrowed; w->dirty is the index + 1 */
    uint32_t changes_len, changes_cap;
    struct handle *refused;
    uint32_t refused_len, refused_cap;
    /* what one wait may fetch */
    struct epoll_event *events;
    unsigned events_cap, events_max;
    /* deferred closures, the last one first */
    struct deferred *deferred;
    struct inlet *inlets, *next_inlet; /* to be looked at in this turn */
    uint64_t next_patient; /* u64_of its handle: the first that got no turn; 0: all had theirs */
    /* time */
    struct wheel wheel;
    uint64_t now_ns; /* cached */
    uint64_t turn_from_ns, slice_from_ns, slice_ns;
    bool are_timers_next; /* to begin the slice */
    struct clock clock;
    uint64_t runs; /* closures run so far */
};

/* ---- closures ------------------------------------------------------------ */

const char *closure_uuid(struct closure *c) {
    if (!c->uuid) {
        c->uuid = xmalloc(UUID_TEXT);
        uuid_make(c->uuid);
    }
    return c->uuid;
}

void closure_deinit(struct closure *c) {
    xfree(c->uuid);
    c->uuid = NULL;
}

/* May free `c`. */
static void closure_run(struct loop *loop, struct closure *c, unsigned events) {
    loop->runs++;
    c->fn(c, events);
}

/* ---- clock --------------------------------------------------------------- */

static uint64_t ms_of(uint64_t ns) {
    return ns / 1000000u;
}

uint64_t loop_now_ns(const struct loop *loop) {
    return loop->now_ns;
}

uint64_t loop_now_ms(const struct loop *loop) {
    return ms_of(loop->now_ns);
}

uint64_t loop_clock_refresh(struct loop *loop) {
    loop->now_ns = clock_monotonic_ns(&loop->clock);
    return loop->now_ns;
}

uint64_t loop_wall_ms(const struct loop *loop) {
    return ms_of(clock_wall_ns(&loop->clock));
}

/* What took the turn so far may be followed by as much. */
static void slice_begin(struct loop *loop) {
    uint64_t now_ns = clock_monotonic_ns(&loop->clock), spent_ns = now_ns - loop->turn_from_ns;
    loop->slice_from_ns = now_ns;
    loop->slice_ns = spent_ns > SLICE_NS ? spent_ns : SLICE_NS;
}

bool loop_has_time(const struct loop *loop) {
    return clock_monotonic_ns(&loop->clock) - loop->slice_from_ns < loop->slice_ns;
}

/* ---- life ---------------------------------------------------------------- */

struct loop *loop_new(const struct loop_opts *opts) {
    static const struct loop_opts defaults;
    if (!opts) opts = &defaults;
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) return NULL;
    struct loop *loop = xcalloc(1, sizeof *loop);
    loop->epoll_fd = fd;
    loop->clock = opts->clock ? *opts->clock : clock_system;
    loop->events_cap = opts->events_start ? opts->events_start : EVENTS_START;
    loop->events_max = opts->events_max ? opts->events_max : EVENTS_MAX;
    loop->events = xcalloc(loop->events_cap, sizeof *loop->events);
    slots_init(&loop->watches);
    loop_clock_refresh(loop);
    wheel_init(&loop->wheel, loop_now_ms(loop));
    return loop;
}

void loop_free(struct loop *loop) {
    if (!loop) return;
    must(!loop->in_turn);
    uint32_t at = 0;
    for (struct watch *w; (w = slots_next(&loop->watches, &at));) loop_unwatch(loop, w);
    slots_deinit(&loop->watches);
    while (loop->deferred) loop_undefer(loop->deferred);
    while (loop->inlets) loop_inlet_del(loop, loop->inlets);
    wheel_deinit(&loop->wheel);
    free(loop->changes);
    free(loop->refused);
    free(loop->events);
    (void)close(loop->epoll_fd);
    free(loop);
}

/* ---- watches ------------------------------------------------------------- */

static void change_add(struct loop *loop, struct watch *w) {
    if (w->dirty) return;
    if (loop->changes_len == loop->changes_cap) {
        loop->changes_cap = loop->changes_cap ? loop->changes_cap * 2 : 16;
        loop->changes = xrealloc(loop->changes, loop->changes_cap * sizeof *loop->changes);
    }
    loop->changes[loop->changes_len++] = w;
    w->dirty = loop->changes_len;
}

static void change_del(struct loop *loop, struct watch *w) {
    if (!w->dirty) return;
    struct watch *last = loop->changes[--loop->changes_len];
    loop->changes[w->dirty - 1] = last;
    last->dirty = w->dirty;
    w->dirty = 0;
}

static void set_want(struct loop *loop, struct watch *w, unsigned want) {
    w->want = (uint8_t)want;
    if (w->want != w->have) change_add(loop, w);
}

void loop_watch(struct loop *loop, struct watch *w, int fd, unsigned interest) {
    must(handle_is_none(w->handle));
    w->fd = fd;
    w->have = 0;
    w->dirty = 0;
    w->handle = slots_add(&loop->watches, w);
    set_want(loop, w, KNOWN | LOOP_HANGUP | (interest & ASKED));
}

void loop_want(struct loop *loop, struct watch *w, unsigned interest) {
    must(!handle_is_none(w->handle));
    interest &= ASKED;
    if ((w->want & ASKED) == interest) return;
    set_want(loop, w, KNOWN | (w->want & LOOP_HANGUP) | interest);
}

void loop_unwatch(struct loop *loop, struct watch *w) {
    /* Errors mean that the kernel has forgotten the descriptor already. */
    if (w->have & KNOWN) (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
    loop_abandon(loop, w);
}

void loop_abandon(struct loop *loop, struct watch *w) {
    if (handle_is_none(w->handle)) return;
    change_del(loop, w);
    slots_del(&loop->watches, w->handle);
    w->handle = HANDLE_NONE;
    w->want = w->have = 0;
    closure_deinit(&w->closure);
}

/* ---- interest: telling the kernel ---------------------------------------- */

static uint64_t u64_of(struct handle h) {
    return (uint64_t)h.gen << 32 | h.slot;
}

static struct handle handle_of(uint64_t u64) {
    return (struct handle){ (uint32_t)u64, (uint32_t)(u64 >> 32) };
}

/* Makes the kernel's interest equal to w->want: 0 or -errno. */
static int tell_kernel(const struct loop *loop, const struct watch *w) {
    struct epoll_event ev = { .data.u64 = u64_of(w->handle) };
    if (w->want & LOOP_READ) ev.events |= EPOLLIN;
    if (w->want & LOOP_WRITE) ev.events |= EPOLLOUT;
    if (w->want & LOOP_HANGUP && !w->is_exclusive) ev.events |= EPOLLRDHUP;
    if (w->is_exclusive) ev.events |= EPOLLEXCLUSIVE;
    if (w->is_edge) ev.events |= EPOLLET;
    int op = w->have & KNOWN ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (w->is_exclusive && op == EPOLL_CTL_MOD) { /* which the kernel does not do for these */
        (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
        op = EPOLL_CTL_ADD;
    }
    if (!(w->want & KNOWN)) op = EPOLL_CTL_DEL;
    if (epoll_ctl(loop->epoll_fd, op, w->fd, &ev) == 0 || op == EPOLL_CTL_DEL) return 0;
    /* Somebody closed and reopened the descriptor, or watched it before. */
    if (errno == ENOENT && op == EPOLL_CTL_MOD)
        op = EPOLL_CTL_ADD;
    else if (errno == EEXIST && op == EPOLL_CTL_ADD)
        op = EPOLL_CTL_MOD;
    else
        return -errno;
    return epoll_ctl(loop->epoll_fd, op, w->fd, &ev) < 0 ? -errno : 0;
}

static void refused_add(struct loop *loop, struct handle h) {
    if (loop->refused_len == loop->refused_cap) {
        loop->refused_cap = loop->refused_cap ? loop->refused_cap * 2 : 16;
        loop->refused = xrealloc(loop->refused, loop->refused_cap * sizeof *loop->refused);
    }
    loop->refused[loop->refused_len++] = h;
}

static void apply_changes(struct loop *loop) {
    for (uint32_t i = 0; i < loop->changes_len; i++) {
        struct watch *w = loop->changes[i];
        w->dirty = 0;
        if (w->want == w->have) continue; /* flipped and back */
        if (tell_kernel(loop, w) == 0) {
            w->have = w->want;
        } else {
            w->have = 0;
            refused_add(loop, w->handle);
        }
    }
    loop->changes_len = 0;
}

/* ---- events -------------------------------------------------------------- */

static unsigned bits_of(const struct watch *w, uint32_t events) {
    unsigned bits = 0;
    if (events & EPOLLIN) bits |= LOOP_READ;
    if (events & EPOLLOUT) bits |= LOOP_WRITE;
    if (events & (EPOLLRDHUP | EPOLLHUP)) bits |= LOOP_HANGUP;
    if (events & EPOLLERR) bits |= LOOP_ERROR;
    /* The next read or write will tell what has happened. */
    if (events & (EPOLLHUP | EPOLLERR)) bits |= ASKED;
    /* Interest may have changed earlier in this batch. */
    return bits & ((w->want & ASKED) | LOOP_HANGUP | LOOP_ERROR);
}

/* What has been told once and would be told again and again (see the top). */
static void hush(struct loop *loop, struct watch *w, uint32_t events) {
    unsigned want = w->want;
    if (events & (EPOLLRDHUP | EPOLLHUP)) want &= ~(unsigned)LOOP_HANGUP;
    if ((events & (EPOLLHUP | EPOLLERR)) && !(want & ASKED)) want = 0;
    if (want != w->want) set_want(loop, w, want);
}

/* NULL: it has gone. */
static struct watch *watch_of(const struct loop *loop, const struct epoll_event *ev) {
    return slots_find(&loop->watches, handle_of(ev->data.u64));
}

static void dispatch(struct loop *loop, struct watch *w, uint32_t events) {
    unsigned bits = bits_of(w, events);
    if (!bits) return;
    hush(loop, w, events);
    closure_run(loop, &w->closure, bits);
}

/* Gives the number of patient ones, whose events are now the first of the list. */
static unsigned dispatch_impatient(struct loop *loop, unsigned n) {
    unsigned patient = 0;
    for (unsigned i = 0; i < n; i++) {
        struct epoll_event ev = loop->events[i];
        struct watch *w = watch_of(loop, &ev);
        if (w && w->is_patient)
            loop->events[patient++] = ev;
        else if (w)
            dispatch(loop, w, ev.events);
    }
    return patient;
}

/* Those that get no turn are reported again; the kernel gives what stays ready in the same order
 * each time, so the first of them is looked for, and begins. */
static void dispatch_patient(struct loop *loop, unsigned n) {
    unsigned first = 0, i = 0;
    while (first < n && loop->events[first].data.u64 != loop->next_patient) first++;
    do {
        const struct epoll_event *ev = &loop->events[(first + i) % n];
        struct watch *w = watch_of(loop, ev);
        if (w) dispatch(loop, w, ev->events);
    } while (++i < n && loop_has_time(loop));
    loop->next_patient = i < n ? loop->events[(first + i) % n].data.u64 : 0;
}

static void dispatch_refused(struct loop *loop) {
    for (uint32_t i = 0; i < loop->refused_len; i++) {
        struct watch *w = slots_find(&loop->watches, loop->refused[i]);
        if (w) closure_run(loop, &w->closure, LOOP_ERROR);
    }
    loop->refused_len = 0;
}

/* The wait has filled the array: more may have been ready. */
static void events_grow(struct loop *loop) {
    if (loop->events_cap >= loop->events_max) return;
    unsigned cap = loop->events_cap * 2;
    loop->events_cap = cap < loop->events_max ? cap : loop->events_max;
    free(loop->events);
    loop->events = xcalloc(loop->events_cap, sizeof *loop->events);
}

/* ---- timers and deferred closures ---------------------------------------- */

void loop_arm(struct loop *loop, struct timer *t, uint64_t deadline_ms) {
    wheel_arm(&loop->wheel, t, deadline_ms);
}

void loop_cancel(struct loop *loop, struct timer *t) {
    wheel_cancel(&loop->wheel, t);
}

static void run_timers(struct loop *loop) {
    wheel_take(&loop->wheel);
    struct timer *t = wheel_pop(&loop->wheel);
    if (!t) return;
    do closure_run(loop, &t->closure, 0);
    while (loop_has_time(loop) && (t = wheel_pop(&loop->wheel)));
}

static void deferred_push(struct deferred **head, struct deferred *d) {
    d->next = *head;
    d->link = head;
    if (d->next) d->next->link = &d->next;
    *head = d;
}

void loop_defer(struct loop *loop, struct deferred *d) {
    if (!d->link) deferred_push(&loop->deferred, d);
}

void loop_undefer(struct deferred *d) {
    if (!d->link) return;
    *d->link = d->next;
    if (d->next) d->next->link = d->link;
    d->link = NULL;
}

/* The list is turned round first, to run in the order of deferring.  It hangs from a
 * local head while it runs: what is deferred meanwhile waits until the list is run again, what
 * is undeferred meanwhile leaves it. */
static void run_deferred(struct loop *loop) {
    struct deferred *now = NULL;
    for (struct deferred *d; (d = loop->deferred);) {
        loop_undefer(d);
        deferred_push(&now, d);
    }
    for (struct deferred *d; (d = now);) {
        loop_undefer(d);
        closure_run(loop, &d->closure, 0);
    }
}

/* ---- inlets -------------------------------------------------------------- */

void loop_inlet_add(struct loop *loop, struct inlet *in) {
    in->next = loop->inlets;
    in->link = &loop->inlets;
    if (in->next) in->next->link = &in->next;
    loop->inlets = in;
}

void loop_inlet_del(struct loop *loop, struct inlet *in) {
    if (!in->link) return;
    if (loop->next_inlet == in) loop->next_inlet = in->next;
    *in->link = in->next;
    if (in->next) in->next->link = in->link;
    in->link = NULL;
    closure_deinit(&in->closure);
}

static bool inlets_empty(const struct loop *loop) {
    for (struct inlet *in = loop->inlets; in; in = in->next)
        if (!in->is_empty(in, true)) return false;
    return true;
}

static void take_inlets(struct loop *loop) {
    loop->next_inlet = loop->inlets;
    for (struct inlet *in; (in = loop->next_inlet);) {
        loop->next_inlet = in->next;
        if (!in->is_empty(in, false)) closure_run(loop, &in->closure, 0);
    }
}

/* ---- the slice ----------------------------------------------------------- */

/* `patient` events, see dispatch_impatient; timers are due if has_due. */
static void run_costly(struct loop *loop, unsigned patient, bool has_due) {
    bool timers_first = has_due && (!patient || loop->are_timers_next);
    slice_begin(loop);
    if (timers_first) run_timers(loop);
    if (patient && (!timers_first || loop_has_time(loop))) dispatch_patient(loop, patient);
    if (has_due && !timers_first && loop_has_time(loop)) run_timers(loop);
    loop->are_timers_next = !timers_first;
}

/* ---- looking ------------------------------------------------------------- */

struct look {
    bool (*fn)(void *obj, const struct loop_item *item);
    void *obj;
};

static bool look_at_timer(void *obj, struct timer *t) {
    const struct look *look = obj;
    return look->fn(look->obj, &(struct loop_item){ .closure = &t->closure,
                                                    .kind = LOOP_ITEM_TIMER,
                                                    .fd = -1,
                                                    .deadline_ms = t->deadline_ms });
}

void loop_each(struct loop *loop, bool (*fn)(void *obj, const struct loop_item *item), void *obj) {
    uint32_t at = 0;
    for (struct watch *w; (w = slots_next(&loop->watches, &at));)
        if (!fn(obj, &(struct loop_item){
                         .closure = &w->closure, .kind = LOOP_ITEM_WATCH, .fd = w->fd }))
            return;
    if (!wheel_each(&loop->wheel, look_at_timer, &(struct look){ fn, obj })) return;
    for (struct deferred *d = loop->deferred; d; d = d->next)
        if (!fn(obj, &(struct loop_item){
                         .closure = &d->closure, .kind = LOOP_ITEM_DEFERRED, .fd = -1 }))
            return;
}

/* ---- the turn ------------------------------------------------------------ */

/* How long timers and deferred work allow to wait.  The cached clock is as old as the turn; the
 * time-out is computed from a fresh reading and rounded up, a timer is late rather than early. */
static int wait_ms(const struct loop *loop, int max_wait_ms) {
    if (max_wait_ms == 0 || loop->deferred || loop->refused_len) return 0;
    uint64_t next_ms = wheel_next(&loop->wheel);
    if (next_ms == UINT64_MAX) return max_wait_ms;
    uint64_t now_ms = ms_of(clock_monotonic_ns(&loop->clock));
    if (next_ms <= now_ms) return 0;
    uint64_t limit_ms = max_wait_ms < 0 ? INT_MAX : (uint64_t)max_wait_ms;
    return (int)(next_ms - now_ms < limit_ms ? next_ms - now_ms : limit_ms);
}

int loop_turn(struct loop *loop, int max_wait_ms) {
    must(!loop->in_turn);
    apply_changes(loop);
    int wait = wait_ms(loop, max_wait_ms);
    if (wait && !inlets_empty(loop)) wait = 0;
    int n = epoll_wait(loop->epoll_fd, loop->events, (int)loop->events_cap, wait);
    if (n < 0 && errno != EINTR) return -errno;
    loop->turn_from_ns = loop_clock_refresh(loop);
    loop->in_turn = true;
    dispatch_refused(loop);
    unsigned patient = n > 0 ? dispatch_impatient(loop, (unsigned)n) : 0;
    take_inlets(loop); /* now: a peer that has closed before somebody mailed is gone by then */
    bool has_due = wheel_turn(&loop->wheel, loop_now_ms(loop));
    run_deferred(loop);
    if (patient || has_due) {
        run_costly(loop, patient, has_due);
        run_deferred(loop);
    }
    if (n == (int)loop->events_cap) events_grow(loop);
    loop->in_turn = false;
    return 0;
}

int loop_run(struct loop *loop) {
    int r;
    do r = loop_turn(loop, -1);
    while (r == 0 && !loop->stopping);
    loop->stopping = false;
    return r;
}

uint64_t loop_runs(const struct loop *loop) {
    return loop->runs;
}

uint64_t loop_next_ms(const struct loop *loop) {
    return wheel_next(&loop->wheel);
}

void loop_stop(struct loop *loop) {
    loop->stopping = true;
}
