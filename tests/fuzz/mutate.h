/* mutate.h -- libFuzzer's mutations for programs of steps of one size: one that comes or goes
 * leaves the others as they are.
 *
 * What a step is, the program decides: its first byte says what, its second who. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_TESTS_FUZZ_MUTATE_H
#define SOL_TESTS_FUZZ_MUTATE_H

#include "core/rig.h"

enum { STEP = 8 }; /* bytes; the first step of a program is its settings */

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
                                 uint8_t *out, size_t out_max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/* Makes room for `n` steps before step `at`; false when there is none. */
static bool make_room(uint8_t *data, size_t *size, size_t max_size, size_t at, size_t n) {
    if (*size + n * STEP > max_size) return false;
    memmove(data + (at + n) * STEP, data + at * STEP, *size - at * STEP);
    *size += n * STEP;
    return true;
}

static void random_step(uint8_t *step, uint64_t *seed) {
    for (int i = 0; i < STEP; i++) step[i] = (uint8_t)rnd(seed, 256);
    step[1] &= rnd(seed, 4) ? 3 : 0x87; /* few clients meet more often */
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    uint64_t s = seed | UINT64_C(1) << 32;
    size -= size % STEP;
    if (size < 2 * STEP || rnd(&s, 8) == 0) return LLVMFuzzerMutate(data, size, max_size);
    size_t steps = size / STEP, at = 1 + rnd(&s, (uint32_t)steps - 1);
    size_t from = 1 + rnd(&s, (uint32_t)steps - 1), n = 1 + rnd(&s, 4);
    uint8_t some[4 * STEP];
    if (n > steps - from) n = steps - from;
    memcpy(some, data + from * STEP, n * STEP);
    switch (rnd(&s, 6)) {
    case 0: /* a new one */
        if (make_room(data, &size, max_size, at, 1)) random_step(data + at * STEP, &s);
        break;
    case 1: /* some again, elsewhere */
        if (make_room(data, &size, max_size, at, n)) memcpy(data + at * STEP, some, n * STEP);
        break;
    case 2: /* some fewer */
        memmove(data + from * STEP, data + (from + n) * STEP, size - (from + n) * STEP);
        size -= n * STEP;
        break;
    case 3: /* another client does it */
        data[at * STEP + 1] = (uint8_t)(data[at * STEP + 1] ^ (1u << rnd(&s, 3)));
        break;
    case 4: random_step(data + at * STEP, &s); break;
    default: LLVMFuzzerMutate(data + at * STEP + 2, STEP - 2, STEP - 2); break;
    }
    return size;
}

/* The beginning of one program, the end of another. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
                                 uint8_t *out, size_t out_max, unsigned seed) {
    uint64_t s = seed | UINT64_C(1) << 32;
    size_t a_len = rnd(&s, (uint32_t)(a_size / STEP) + 1) * STEP;
    size_t b_from = b_size / STEP ? rnd(&s, (uint32_t)(b_size / STEP)) * STEP : 0;
    size_t b_len = b_size - b_size % STEP - b_from;
    if (a_len > out_max) a_len = out_max / STEP * STEP;
    if (a_len + b_len > out_max) b_len = (out_max - a_len) / STEP * STEP;
    if (a_len) memcpy(out, a, a_len);
    if (b_len) memcpy(out + a_len, b + b_from, b_len);
    return a_len + b_len;
}

#endif
