/* core.c -- the broker's core for Lua: no network, a clock driven by hand.
 *
 * A program of its own, `core [SCRIPT ARGUMENTS]`, so that sanitizers need no preloading;
 * without arguments it runs run.lua.
 * It offers the module "core", which is all that a script knows of a broker:
 *
 *     broker = core.new { max_queued = 3, drop = "oldest", workers = 4, ... }
 *     n = broker:open()           a connection, by number
 *     broker:send(n, bytes)
 *     broker:close(n)             without a word
 *     broker:advance(ms)          time passes, at once
 *     out = broker:settle()       all that follows is done: { [n] = { bytes, is_over } }
 *     broker:free()
 *
 * and, for what ends a program,
 *
 *     core.note(n)                     a number that survives
 *     n = core.noted()
 *     code = core.survive(function)    calls it in a process of its own; gives what it
 *                                      returns, or nil when it died
 *
 * Whatever offers the same can be tested in its place.
 *
 * One worker is turned by the script's own thread.  Of several each has a thread, and all
 * turn at once, but only within settle(): between two barriers.  Outside of it they are
 * parked, and the script's thread may touch what is theirs, the clock included. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/rig.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum {
    CONNS_MAX = 512,
    ROUNDS_MAX = 1000,
    ROUND_TURNS = 2, /* of each worker between two barriers; fewer or more by chance */
    QUIET_ROUNDS = 3 /* in a row: all that follows is done */
};

static const char BROKER[] = "model.broker";

struct model;

/* The thread of a worker. */
struct turner {
    struct model *model;
    struct worker *worker;
    pthread_t thread;
    uint64_t seed; /* not 0 */
};

struct model {
    struct rig *rig;    /* owned; NULL once freed */
    int fds[CONNS_MAX]; /* of connections by number; -1: closed */
    int len;
    unsigned placement; /* says where sessions live and who accepts a connection */
    /* several workers: */
    unsigned turners_len; /* 0: one worker, and no thread */
    struct turner turners[RIG_WORKERS_MAX];
    pthread_barrier_t begin, end; /* of a round; the script's thread takes part */
    /* written while they are parked */
    bool is_even; /* this round is as long for everybody */
    bool is_over;
};

/* ---- settings -------------------------------------------------------------- */

static const struct setting {
    const char *name;
    size_t offset;
} settings[] = {
    { "max_inflight", offsetof(struct config, limits.max_inflight) },
    { "max_queued", offsetof(struct config, limits.max_queued) },
    { "max_topic_alias", offsetof(struct config, limits.max_topic_alias) },
};

static bool is_given(lua_State *L, const char *name, const char *value) {
    lua_getfield(L, 1, name); /* value */
    bool is = lua_isstring(L, -1) && strcmp(lua_tostring(L, -1), value) == 0;
    lua_pop(L, 1);
    return is;
}

/* From the table at the bottom of the stack. [-0, +0, e] */
static void configure(lua_State *L, struct config *config) {
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        lua_getfield(L, 1, settings[i].name); /* value */
        if (!lua_isnil(L, -1))
            *(uint32_t *)((char *)config + settings[i].offset) = (uint32_t)luaL_checkinteger(L, -1);
        lua_pop(L, 1);
    }
    if (is_given(L, "drop", "oldest")) config->drop = DROP_OLDEST;
    if (is_given(L, "overlapping", "each")) config->overlapping = OVERLAPPING_EACH;
    lua_getfield(L, 1, "queue_qos0"); /* value */
    config->queue_qos0 = lua_toboolean(L, -1);
    lua_pop(L, 1);
}

/* ---- threads ------------------------------------------------------------------ */

static void pass_barrier(pthread_barrier_t *barrier) {
    int r = pthread_barrier_wait(barrier);
    must(r == 0 || r == PTHREAD_BARRIER_SERIAL_THREAD);
}

/* By chance some sit a round out, so that others are ahead of them. */
static int turns_of(struct turner *t) {
    return t->model->is_even ? ROUND_TURNS : (int)rnd(&t->seed, 2 * ROUND_TURNS);
}

static void *turner_run(void *obj) {
    struct turner *t = obj;
    struct model *m = t->model;
    for (;;) {
        pass_barrier(&m->begin);
        if (m->is_over) return NULL;
        for (int n = turns_of(t); n > 0; n--) must(loop_turn(t->worker->loop, 0) == 0);
        pass_barrier(&m->end);
    }
}

static void turners_start(struct model *m) {
    unsigned n = m->rig->broker->workers_len;
    must(pthread_barrier_init(&m->begin, NULL, n + 1) == 0);
    must(pthread_barrier_init(&m->end, NULL, n + 1) == 0);
    for (unsigned i = 0; i < n; i++) {
        struct turner *t = &m->turners[i];
        *t = (struct turner){ .model = m, .worker = &m->rig->broker->workers[i] };
        t->seed = ((uint64_t)m->placement << 8 | i) + 1;
        must(thread_start(&t->thread, "model-worker", turner_run, t) == 0);
    }
    m->turners_len = n;
}

static void turners_stop(struct model *m) {
    if (!m->turners_len) return;
    m->is_over = true;
    pass_barrier(&m->begin);
    for (unsigned i = 0; i < m->turners_len; i++)
        must(pthread_join(m->turners[i].thread, NULL) == 0);
    pthread_barrier_destroy(&m->begin);
    pthread_barrier_destroy(&m->end);
    m->turners_len = 0;
}

/* All workers, at once if there are several. */
static void round_of_turns(struct model *m) {
    if (!m->turners_len) {
        rig_turns(m->rig, 1);
        return;
    }
    pass_barrier(&m->begin);
    pass_barrier(&m->end);
}

static bool is_empty(struct mailbox *mb) {
    return mb->head == &mb->stub && atomic_load(&mb->tail) == &mb->stub;
}

/* A number that changes with whatever workers do for their clients. */
static uint64_t activity(const struct broker *b) {
    uint64_t sum = BROKER_SUM(b, bytes_in) + BROKER_SUM(b, bytes_out) + BROKER_SUM(b, connections);
    for (unsigned i = 0; i < b->workers_len; i++) sum += b->workers[i].conns_len;
    return sum;
}

/* Is there something on its way from one worker to another? */
static bool has_mail(struct broker *b) {
    for (unsigned i = 0; i < b->workers_len; i++) {
        struct worker *w = &b->workers[i];
        if (!is_empty(&w->inbox) || atomic_load(&w->inbox_bytes)) return true;
        for (unsigned to = 0; to < b->workers_len; to++)
            if (w->outbox[to]) return true;
    }
    return false;
}

/* Until rounds have changed nothing. */
static void turn(struct model *m) {
    struct broker *b = m->rig->broker;
    int quiet = 0;
    for (int i = 0; i < ROUNDS_MAX && quiet < QUIET_ROUNDS; i++) {
        uint64_t before = activity(b);
        m->is_even = quiet > 0;
        round_of_turns(m);
        quiet = activity(b) == before && !has_mail(b) ? quiet + 1 : 0;
    }
    must(quiet == QUIET_ROUNDS); /* else it never rests */
}

/* ---- the broker -------------------------------------------------------------- */

static struct model *check_model(lua_State *L) {
    struct model *m = luaL_checkudata(L, 1, BROKER);
    luaL_argcheck(L, m->rig, 1, "freed");
    return m;
}

static int check_conn(lua_State *L, const struct model *m) {
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_argcheck(L, n >= 1 && n <= m->len, 2, "no such connection");
    return (int)n - 1;
}

/* From the table at the bottom of the stack; 1 when it is not there. [-0, +0, e] */
static unsigned number_of(lua_State *L, const char *name) {
    lua_getfield(L, 1, name); /* value */
    lua_Integer n = luaL_optinteger(L, -1, 1);
    lua_pop(L, 1);
    return (unsigned)n;
}

static int l_new(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    unsigned workers = number_of(L, "workers");
    luaL_argcheck(L, workers >= 1 && workers <= RIG_WORKERS_MAX, 1, "so many workers");
    struct model *m = lua_newuserdatauv(L, sizeof *m, 0); /* model */
    *m = (struct model){ 0 };
    luaL_setmetatable(L, BROKER);
    m->rig = rig_new();
    struct broker *b = m->rig->broker;
    rig_workers(m->rig, workers);
    for (unsigned i = 0; i < b->workers_len; i++) configure(L, b->workers[i].config);
    m->placement = number_of(L, "placement");
    b->seed[0] = b->seed[1] = m->placement; /* every time the same */
    if (workers > 1) turners_start(m);
    return 1;
}

static int l_open(lua_State *L) {
    struct model *m = check_model(L);
    int fds[2];
    if (m->len == CONNS_MAX) return luaL_error(L, "too many connections");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        return luaL_error(L, "socketpair: %s", strerror(errno));
    struct broker *b = m->rig->broker;
    struct worker *w = &b->workers[(m->placement + (unsigned)m->len) % b->workers_len];
    m->fds[m->len++] = fds[1];
    conn_open(w, &stream_unix, fds[0], "model", "unix:model");
    lua_pushinteger(L, m->len);
    return 1;
}

static int l_send(lua_State *L) {
    struct model *m = check_model(L);
    int at = check_conn(L, m);
    size_t len;
    const char *bytes = luaL_checklstring(L, 3, &len);
    if (m->fds[at] >= 0 && send(m->fds[at], bytes, len, MSG_NOSIGNAL) < 0 && errno != EPIPE)
        return luaL_error(L, "send: %s", strerror(errno));
    return 0;
}

static void close_one(struct model *m, int at) {
    if (m->fds[at] >= 0) close(m->fds[at]);
    m->fds[at] = -1;
}

static int l_close(lua_State *L) {
    struct model *m = check_model(L);
    close_one(m, check_conn(L, m));
    return 0;
}

static int l_advance(lua_State *L) {
    check_model(L);
    rig_clock_ms += (uint64_t)luaL_checkinteger(L, 2);
    return 0;
}

/* Pushes { bytes, is_over } of one connection. [-0, +1, m] */
static void push_input(lua_State *L, struct model *m, int at) {
    luaL_Buffer b;
    ssize_t n;
    lua_createtable(L, 2, 0); /* input */
    luaL_buffinit(L, &b);     /* input, buffer */
    while ((n = recv(m->fds[at], luaL_prepbuffsize(&b, 4096), 4096, 0)) > 0)
        luaL_addsize(&b, (size_t)n);
    bool is_over = n == 0 || errno != EAGAIN;
    luaL_pushresult(&b); /* input, bytes */
    lua_rawseti(L, -2, 1);
    lua_pushboolean(L, is_over); /* input, is_over */
    lua_rawseti(L, -2, 2);
    if (is_over) close_one(m, at);
}

static int l_settle(lua_State *L) {
    struct model *m = check_model(L);
    struct pollfd polls[CONNS_MAX];
    int places[CONNS_MAX];
    nfds_t len = 0;
    turn(m);
    lua_newtable(L); /* out */
    for (int i = 0; i < m->len; i++) {
        if (m->fds[i] < 0) continue;
        places[len] = i;
        polls[len++] = (struct pollfd){ .fd = m->fds[i], .events = POLLIN };
    }
    if (poll(polls, len, 0) <= 0) return 1;
    for (nfds_t i = 0; i < len; i++) {
        if (!polls[i].revents) continue;
        push_input(L, m, places[i]); /* out, input */
        lua_rawseti(L, -2, places[i] + 1);
    }
    return 1;
}

static int l_free(lua_State *L) {
    struct model *m = luaL_checkudata(L, 1, BROKER);
    for (int i = 0; i < m->len; i++) close_one(m, i);
    turners_stop(m);
    rig_free(m->rig);
    m->rig = NULL;
    return 0;
}

static const luaL_Reg methods[] = {
    { "open", l_open },     { "send", l_send }, { "close", l_close }, { "advance", l_advance },
    { "settle", l_settle }, { "free", l_free }, { "__gc", l_free },   { NULL, NULL },
};

/* ---- crashes ------------------------------------------------------------------ */

static lua_Integer *noted; /* shared with the processes that come of this one */

static int l_note(lua_State *L) {
    *noted = luaL_checkinteger(L, 1);
    return 0;
}

static int l_noted(lua_State *L) {
    lua_pushinteger(L, *noted);
    return 1;
}

static int l_survive(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child < 0) return luaL_error(L, "fork: %s", strerror(errno));
    if (child == 0) {
        lua_settop(L, 1);
        lua_call(L, 0, 1); /* code */
        exit((int)lua_tointeger(L, -1));
    }
    while (waitpid(child, &status, 0) < 0) must(errno == EINTR);
    if (WIFEXITED(status) && WEXITSTATUS(status) <= 1)
        lua_pushinteger(L, WEXITSTATUS(status));
    else
        lua_pushnil(L);
    return 1;
}

static const luaL_Reg functions[] = {
    { "new", l_new },         { "note", l_note }, { "noted", l_noted },
    { "survive", l_survive }, { NULL, NULL },
};

static int open_core(lua_State *L) {
    luaL_newmetatable(L, BROKER); /* metatable */
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1); /* metatable, metatable */
    lua_setfield(L, -2, "__index");
    luaL_newlib(L, functions); /* metatable, module */
    return 1;
}

/* ---- the program --------------------------------------------------------------- */

static int traceback(lua_State *L) {
    luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

int main(int argc, char **argv) {
    lua_State *L = luaL_newstate();
    noted = mmap(NULL, sizeof *noted, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(L && noted != MAP_FAILED);
    luaL_openlibs(L);
    luaL_requiref(L, "core", open_core, 0); /* module */
    lua_settop(L, 0);
    lua_newtable(L); /* arg */
    for (int i = 1; i < argc; i++) {
        lua_pushstring(L, argv[i]); /* arg, word */
        lua_rawseti(L, -2, i - 1);
    }
    lua_setglobal(L, "arg");
    lua_pushcfunction(L, traceback); /* traceback */
    bool ok = luaL_loadfile(L, argc > 1 ? argv[1] : "tests/model/run.lua") == 0 &&
              lua_pcall(L, 0, 1, 1) == 0;
    if (!ok) fprintf(stderr, "%s\n", lua_tostring(L, -1)); /* traceback, result */
    int status = ok ? (int)lua_tointeger(L, -1) : 2;
    lua_close(L);
    return status;
}
