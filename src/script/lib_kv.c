/* lib_kv.c -- sol.kv: what a policy keeps beyond the broker's end.
 *
 * A change is seen by everybody at once; whoever made it waits until the store has it on the
 * disk, where there is a store and it is to be waited for.  What cannot wait makes no change;
 * but for a stop handler, whose changes are written before the broker ends. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "base/mem.h"
#include "core/persist.h"
#include "core/worker.h"
#include "script/invocation.h"
#include "script/invoke.h"
#include "script/kv.h"
#include "script/object.h"
#include "script/plain.h"
#include "script/script.h"
#include "script/task.h"

#include <stdlib.h>

static const struct object_type kv_type;

/* One that waits for its change to be safe. */
struct kv_wait {
    struct persist_notice notice;
    struct vm *vm; /* reference */
    struct wait wait;
    struct shared_value answer; /* plain: no text */
};

/* ---- waiting ---------------------------------------------------------------------- */

static int push_answer(lua_State *L, void *obj) {
    struct kv_wait *k = obj;
    if (!k->notice.is_safe) return vm_fail(L, "it could not be written");
    return plain_push(L, &k->answer);
}

/* The notice has come, also to a VM whose coroutine waits no more. */
static void on_notice(struct worker *w, struct chore *chore) {
    struct kv_wait *k = CONTAINER_OF(chore, struct kv_wait, notice.chore);
    (void)w;
    task_wake(k->vm, k->wait, push_answer, k);
    vm_unref(k->vm);
    free(k);
}

static struct kv *check_kv(lua_State *L) {
    object_check(L, 1, &kv_type);
    lib_worker(L, "sol.kv");
    return script_of(L)->kv;
}

/* The store that this caller waits for, or NULL. */
static struct persist *waits_for(lua_State *L, struct kv *kv) {
    const struct invocation *inv = invoke_present(vm_of(L));
    return inv && inv->id == HOOK_STOP ? NULL : kv_waits_for(kv);
}

/* For a change: raises where it would have to wait and cannot. */
static struct kv *check_kv_changes(lua_State *L) {
    struct kv *kv = check_kv(L);
    if (waits_for(L, kv) && !task_can_wait(L)) task_wait(L, NULL, NULL); /* raises */
    return kv;
}

/* A change has been made, or has not: answers when it is safe. [-0, +1|2, e] */
static int answer(lua_State *L, struct kv *kv, const char *err, struct shared_value with) {
    struct vm *vm = vm_of(L);
    struct persist *persist = waits_for(L, kv);
    if (err) return vm_fail(L, "%s", err);
    if (!persist) return plain_push(L, &with);
    struct kv_wait *k = xcalloc(1, sizeof *k);
    k->notice.chore.run = on_notice;
    k->vm = vm_ref(vm);
    k->answer = with;
    k->wait = task_wait(L, NULL, NULL);
    persist->notify(persist, vm->worker, &k->notice);
    return task_park(L);
}

static struct shared_value boolean(bool b) {
    return (struct shared_value){ .type = SHARED_BOOLEAN, .boolean = b };
}

/* ---- changes ------------------------------------------------------------------------ */

static int store(lua_State *L, enum dict_verb verb) {
    struct kv *kv = check_kv_changes(L);
    struct slice key = plain_check_key(L);
    struct shared_value v = plain_check_value(L, 3, verb == DICT_SET);
    struct dict_store how = { .verb = verb, .ttl_ms = plain_opt_ttl(L, 4) };
    return answer(L, kv, kv_store(kv, key, &v, &how), boolean(true));
}

static int l_set(lua_State *L) {
    return store(L, DICT_SET);
}

static int l_add(lua_State *L) {
    return store(L, DICT_ADD);
}

static int l_replace(lua_State *L) {
    return store(L, DICT_REPLACE);
}

static int l_delete(lua_State *L) {
    struct kv *kv = check_kv_changes(L);
    const char *err = kv_delete(kv, plain_check_key(L));
    if (err != KV_NOT_FOUND) return answer(L, kv, err, boolean(true));
    lua_pushboolean(L, 0); /* ..., false */
    return 1;
}

static int l_incr(lua_State *L) {
    struct kv *kv = check_kv_changes(L);
    struct slice key = plain_check_key(L);
    struct dict_incr how = { .by = plain_check_number(L, 3) };
    if (!lua_isnoneornil(L, 4)) how.init = plain_check_number(L, 4);
    how.init_ttl_ms = plain_opt_ttl(L, 5);
    const char *err = kv_incr(kv, key, &how);
    return answer(L, kv, err, how.sum);
}

static int l_expire(lua_State *L) {
    struct kv *kv = check_kv_changes(L);
    struct slice key = plain_check_key(L);
    luaL_checknumber(L, 3);
    return answer(L, kv, kv_expire(kv, key, plain_opt_ttl(L, 3)), boolean(true));
}

/* ---- looking ------------------------------------------------------------------------- */

static int l_get(lua_State *L) {
    return plain_get(L, kv_dict(check_kv(L)));
}

static int l_ttl(lua_State *L) {
    return plain_ttl(L, kv_dict(check_kv(L)));
}

static int l_get_keys(lua_State *L) {
    return plain_keys(L, kv_dict(check_kv(L)));
}

static int l_capacity(lua_State *L) {
    return plain_capacity(L, kv_dict(check_kv(L)));
}

static int l_free_space(lua_State *L) {
    return plain_free_space(L, kv_dict(check_kv(L)));
}

/* ---- the object ------------------------------------------------------------------------ */

static const struct field no_fields[] = { { NULL, NULL, NULL } };

static const luaL_Reg methods[] = {
    { "get", l_get },
    { "set", l_set },
    { "add", l_add },
    { "replace", l_replace },
    { "delete", l_delete },
    { "incr", l_incr },
    { "ttl", l_ttl },
    { "expire", l_expire },
    { "get_keys", l_get_keys },
    { "capacity", l_capacity },
    { "free_space", l_free_space },
    { NULL, NULL },
};

static const struct object_type kv_type = {
    .name = "sol.kv",
    .fields = no_fields,
    .methods = methods,
};

int luaopen_sol_kv(lua_State *L) {
    object_register(L, &kv_type);
    object_new(L, &kv_type, 1, 0); /* kv */
    return 1;
}
