/* timer.h -- the timer wheel, private to src/io (loop.h has the public face).
 *
 * The wheel is a clockless object: its owner says what time it is. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_IO_TIMER_H
#define SOL_IO_TIMER_H

#include "io/loop.h"

#define WHEEL_BITS   6
#define WHEEL_SLOTS  (1 << WHEEL_BITS)
#define WHEEL_LEVELS 11 /* 11 * 6 bits: any 64-bit deadline has its slot */

struct timer_list {
    struct timer *head, **tail;
};

struct wheel {
    uint64_t now_ms;             /* how far the wheel has turned */
    unsigned levels;             /* bit l: busy[l] is not 0 */
    uint64_t busy[WHEEL_LEVELS]; /* bit s: slot s of the level is not empty */
    struct timer_list slots[WHEEL_LEVELS][WHEEL_SLOTS];
    struct timer_list due;     /* deadline passed, not yet taken for running */
    struct timer_list running; /* taken, in order */
};

/* Empty, standing at `now_ms`. */
void wheel_init(struct wheel *w, uint64_t now_ms);
/* Detaches every timer. */
void wheel_deinit(struct wheel *w);

/* As loop_arm and loop_cancel. */
void wheel_arm(struct wheel *w, struct timer *t, uint64_t deadline_ms);
void wheel_cancel(struct wheel *w, struct timer *t);

/* When the wheel wants to be turned next: never later than the earliest deadline,
 * sometimes earlier.  UINT64_MAX: no timers. */
uint64_t wheel_next(const struct wheel *w);
/* Turns to `now_ms`; what is due by then waits to be taken.  The cost depends on the
 * number of timers passed, not on the time passed.  Never turns back.  False: nothing is
 * due, nor left of what was. */
bool wheel_turn(struct wheel *w, uint64_t now_ms);
/* Takes what is due for running, behind what is left, then lends it one by one, earliest deadline
 * first and of equal ones the first armed, no longer armed; NULL: no more.  What is armed or
 * cancelled meanwhile is respected: the former waits for the next wheel_take. */
void wheel_take(struct wheel *w);
struct timer *wheel_pop(struct wheel *w);

/* Shows `fn` the armed timers, in no order, until it says false, which is given on. */
bool wheel_each(const struct wheel *w, bool (*fn)(void *obj, struct timer *t), void *obj);

#endif
