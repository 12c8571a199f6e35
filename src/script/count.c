/* count.c -- the count hook that counts. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/count.h"

/* From so many on the hook comes for each COUNT_STEP of them, and in the end not at all. */
enum { COUNT_EXACT = 4096, COUNT_STEP = 256 };

static void on_count(lua_State *L, lua_Debug *ar);

/* Goes on counting in `co`, or does not any more. */
static void count_in(lua_State *co, uint64_t counted) {
    if (counted < COUNT_MAX)
        lua_sethook(co, on_count, LUA_MASKCOUNT, counted < COUNT_EXACT ? 1 : COUNT_STEP);
    else
        lua_sethook(co, NULL, 0, 0);
}

/* Coroutines made while it counts inherit the hook, and may outlive the counting. */
static void on_count(lua_State *L, lua_Debug *ar) {
    uint64_t *n = vm_of(L)->counter;
    uint64_t step = (uint64_t)lua_gethookcount(L);
    (void)ar;
    if (!n) {
        lua_sethook(L, NULL, 0, 0);
        return;
    }
    *n = *n + step < COUNT_MAX ? *n + step : COUNT_MAX;
    bool is_due = step == 1 ? *n >= COUNT_EXACT : *n == COUNT_MAX;
    if (is_due) count_in(L, *n);
}

uint64_t *count_begin(struct vm *vm, lua_State *co, uint64_t *n) {
    uint64_t *outer = vm->counter;
    vm->counter = n;
    count_in(co, *n);
    return outer;
}

void count_end(struct vm *vm, lua_State *co, uint64_t *outer) {
    vm->counter = outer;
    lua_sethook(co, NULL, 0, 0);
}
