/* lib_password.c -- sol.password: hashing on a helper thread while the caller waits.
 *
 * A job holds copies of what it needs, touches nothing of the VM on the helper's thread
 * and is wiped before it is freed.  A wait that ends early (the client has gone, the hook
 * timed out) makes its job void, and a helper that comes to it does no work: a flood of
 * logins leaves no tail.  JOBS_MAX bounds what one VM may have under way. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "base/mem.h"
#include "core/helpers.h"
#include "core/worker.h"
#include "script/password.h"
#include "script/task.h"
#include "script/vm.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#define JOBS_MAX     1024  /* under way at once, per VM */
#define PASSWORD_MAX 65535 /* bytes, as MQTT has it */

/* Upvalue of every function here. */
enum { UP_LIB = 1 };

/* What the functions of one VM share: a userdata. */
struct lib {
    unsigned jobs_len;          /* under way */
    struct password_job *spare; /* owned; the next job to be used, or NULL */
};

struct password_job {
    struct job job;
    /* set before submission */
    struct vm *vm;   /* reference */
    struct lib *lib; /* lent while vm->L lives */
    struct wait wait;
    uint8_t *password; /* owned */
    size_t password_len;
    bool makes_hash; /* else it verifies */
    struct password_cost cost;
    _Atomic bool is_void; /* nobody waits any more */
    /* in: the hash to verify against; out: the hash made */
    char hash[PASSWORD_TEXT_MAX];
    size_t hash_len;
    int result; /* of password_hash or password_verify */
};

/* ---- on a helper thread --------------------------------------------------- */

static void run(struct job *base) {
    struct password_job *job = CONTAINER_OF(base, struct password_job, job);
    struct slice password = slice_of(job->password, job->password_len);
    if (atomic_load_explicit(&job->is_void, memory_order_relaxed)) return;
    job->result = job->makes_hash ? password_hash(password, &job->cost, job->hash)
                                  : password_verify(password, slice_of(job->hash, job->hash_len));
}

/* ---- on the worker's thread ------------------------------------------------ */

/* Pushes what there is to say of a hash that could not be used. [-0, +2, m] */
static int push_failure(lua_State *L, int result) {
    switch (result) {
    case PASSWORD_MALFORMED: return vm_fail(L, "not a password hash of a known form");
    case PASSWORD_COSTLY: return vm_fail(L, "the hash asks for too much time or memory");
    case -ENOMEM: return vm_fail(L, "not enough memory to hash a password");
    case -ECANCELED: return vm_fail(L, "the broker is stopping");
    default: return vm_fail(L, "no random numbers");
    }
}

static int push_result(lua_State *L, void *obj) {
    const struct password_job *job = obj;
    if (job->makes_hash && job->result == PASSWORD_OK)
        lua_pushstring(L, job->hash);
    else if (job->result == PASSWORD_OK || job->result == PASSWORD_WRONG)
        lua_pushboolean(L, job->result == PASSWORD_OK);
    else
        return push_failure(L, job->result);
    return 1;
}

static void job_free(struct password_job *job) {
    explicit_bzero(job->password, job->password_len);
    free(job->password);
    explicit_bzero(job, sizeof *job);
    free(job);
}

static void done(struct job *base) {
    struct password_job *job = CONTAINER_OF(base, struct password_job, job);
    if (job->vm->L) job->lib->jobs_len--;
    task_wake(job->vm, job->wait, push_result, job);
    vm_unref(job->vm);
    job_free(job);
}

static void on_cancel(void *obj) {
    struct password_job *job = obj;
    atomic_store_explicit(&job->is_void, true, memory_order_relaxed);
}

/* Sends the spare job off; raises where the caller cannot wait. `hash` is SLICE_NONE when
 * one is to be made. */
static int submit(lua_State *L, const char *what, struct slice password, struct slice hash,
                  const struct password_cost *cost) {
    struct lib *lib = lua_touserdata(L, lua_upvalueindex(UP_LIB));
    struct worker *w = lib_worker(L, what);
    if (w->stopping) return vm_fail(L, "the broker is stopping"); /* its helpers may be gone */
    if (lib->jobs_len >= JOBS_MAX) return vm_fail(L, "too many passwords under way");

    /* kept by the library until nothing can raise any more */
    if (!lib->spare) lib->spare = xcalloc(1, sizeof *lib->spare);
    struct password_job *job = lib->spare;
    job->wait = task_wait(L, on_cancel, job);
    lib->spare = NULL;
    lib->jobs_len++;

    atomic_store_explicit(&job->is_void, false, memory_order_relaxed);
    job->job.run = run;
    job->job.done = done;
    job->job.home = &w->inbox;
    job->lib = lib;
    job->vm = vm_ref(vm_of(L));
    job->password = xmalloc(password.len);
    job->password_len = password.len;
    if (password.len) memcpy(job->password, password.at, password.len);
    job->makes_hash = hash.at == NULL;
    job->hash_len = hash.len;
    if (hash.len) memcpy(job->hash, hash.at, hash.len);
    job->cost = *cost;
    job->result = -ECANCELED;
    helpers_submit(w->broker->helpers, &job->job);
    return task_park(L);
}

/* ---- the functions --------------------------------------------------------- */

static struct slice check_password(lua_State *L, int arg) {
    struct slice password = vm_check_slice(L, arg);
    luaL_argcheck(L, password.len <= PASSWORD_MAX, arg, "longer than 65535 bytes");
    return password;
}

/* The integer option `name` of the table at `arg`, if it is there. [-0, +0, v] */
static void opt_cost(lua_State *L, int arg, const char *name, uint64_t *out, uint64_t min,
                     uint64_t max) {
    int is_integer = 0;
    if (lua_getfield(L, arg, name) != LUA_TNIL) {
        lua_Integer n = lua_tointegerx(L, -1, &is_integer);
        if (!is_integer || n < (lua_Integer)min || n > (lua_Integer)max)
            luaL_error(L, "sol.password.hash: %s must be between %I and %I", name, (lua_Integer)min,
                       (lua_Integer)max);
        *out = (uint64_t)n;
    }
    lua_pop(L, 1);
}

static int l_hash(lua_State *L) {
    struct slice password = check_password(L, 1);
    struct password_cost cost = PASSWORD_COST_DEFAULT;
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        opt_cost(L, 2, "ops", &cost.ops, 1, PASSWORD_OPS_MAX);
        opt_cost(L, 2, "memory", &cost.memory, PASSWORD_MEMORY_MIN, PASSWORD_MEMORY_MAX);
    }
    return submit(L, "sol.password.hash", password, SLICE_NONE, &cost);
}

static int l_verify(lua_State *L) {
    struct slice password = check_password(L, 1), hash = vm_check_slice(L, 2);
    const char *kind;
    int r = password_kind(hash, &kind);
    if (r != PASSWORD_OK) return push_failure(L, r);
    return submit(L, "sol.password.verify", password, hash, &PASSWORD_COST_DEFAULT);
}

static int l_kind(lua_State *L) {
    struct slice hash = vm_check_slice(L, 1);
    const char *kind = NULL;
    int r = password_kind(hash, &kind);
    if (r != PASSWORD_OK) return push_failure(L, r);
    lua_pushstring(L, kind);
    return 1;
}

static const luaL_Reg functions[] = {
    { "hash", l_hash },
    { "verify", l_verify },
    { "kind", l_kind },
    { NULL, NULL },
};

static int lib_gc(lua_State *L) {
    struct lib *lib = lua_touserdata(L, 1);
    free(lib->spare);
    lib->spare = NULL;
    return 0;
}

int luaopen_sol_password(lua_State *L) {
    luaL_newlibtable(L, functions);                         /* password */
    struct lib *lib = lua_newuserdatauv(L, sizeof *lib, 0); /* password, lib */
    *lib = (struct lib){ 0, NULL };
    lua_createtable(L, 0, 1); /* password, lib, meta */
    lua_pushcfunction(L, lib_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);        /* password, lib */
    luaL_setfuncs(L, functions, 1); /* password */
    return 1;
}
