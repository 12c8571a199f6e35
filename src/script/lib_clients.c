/* lib_clients.c -- sol.client, sol.clients.
 *
 * A client is known to the worker where its session lives.  With one worker the answer is
 * there at once; with several the question goes round as visits (core/mail.h), the caller
 * waits, and what comes home are copies. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib.h"

#include "base/mem.h"
#include "core/client.h"
#include "core/mail.h"
#include "core/session.h"
#include "core/worker.h"
#include "script/lib_client.h"
#include "script/task.h"
#include "script/vm.h"

#include <stdlib.h>

/* ---- the filter ------------------------------------------------------------- */

/* The filter of sol.clients. */
struct wanted {
    struct slice id, username, listener; /* SLICE_NONE: any */
    int connected;                       /* -1: any */
};

static bool is_wanted(const struct client *c, const struct wanted *f) {
    if (f->id.at && !slice_eq(c->id, f->id)) return false;
    if (f->username.at && !(c->username.at && slice_eq(c->username, f->username))) return false;
    if (f->listener.at && !slice_eq(slice_str(c->listener), f->listener)) return false;
    return f->connected < 0 || (c->conn != NULL) == f->connected;
}

/* Only clients whose CONNECT was accepted are shown, the latest of each session. */
static bool is_shown(const struct client *c) {
    return c->session && c->session->client == c;
}

/* Reads the filter table at index 1; the slices stay valid while it is there. */
static struct wanted check_wanted(lua_State *L) {
    static const char *const names[] = { "id", "username", "listener" };
    struct wanted f = { .connected = -1 };
    struct slice *slices[] = { &f.id, &f.username, &f.listener };
    if (lua_isnoneornil(L, 1)) return f;
    luaL_checktype(L, 1, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) { /* filter, name, value */
        bool known = false;
        for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
            if (!slice_eq(vm_to_slice(L, -2), slice_str(names[i]))) continue;
            *slices[i] = vm_to_slice(L, -1);
            known = slices[i]->at != NULL;
        }
        if (slice_eq(vm_to_slice(L, -2), SLICE("connected")) && lua_isboolean(L, -1)) {
            f.connected = lua_toboolean(L, -1);
            known = true;
        }
        if (known) continue;
        const char *value = luaL_tolstring(L, -1, NULL); /* filter, name, value, text */
        const char *name = luaL_tolstring(L, -3, NULL);  /* filter, name, value, text, text */
        luaL_error(L,
                   "sol.clients: expected id, username, listener (strings) or "
                   "connected (boolean), got %s = %s",
                   name, value);
    }
    return f;
}

/* Pushes a list of those who live here; *n counts. [-0, +1, m] */
static void push_here(lua_State *L, const struct wanted *f, lua_Integer *n) {
    struct worker *w = vm_of(L)->worker;
    uint32_t at = 0;
    lua_newtable(L); /* list */
    for (struct client *c; (c = slots_next(&w->clients, &at));) {
        if (!is_shown(c) || !is_wanted(c, f)) continue;
        client_push(L, c);        /* list, client */
        lua_rawseti(L, -2, ++*n); /* list */
    }
}

/* ---- going round -------------------------------------------------------------- */

struct found {
    struct client *copy; /* owned reference */
    struct handle handle;
    unsigned home;
};

/* One question to several workers. */
struct round {
    struct vm *vm; /* reference */
    struct wait wait;
    struct wanted wanted; /* its words lie in `words` */
    char *words;          /* owned */
    bool is_single;       /* sol.client: one client, or nil */
    unsigned away;        /* visits under way */
    struct found *found;  /* owned; touched at home alone */
    size_t found_len;
};

/* The question at one worker. */
struct call {
    struct visit visit;
    struct round *round; /* read there, written at home */
    struct found *found; /* owned */
    size_t found_len, found_cap;
};

static void note(struct call *call, const struct worker *w, const struct client *c) {
    if (call->found_len == call->found_cap) {
        call->found_cap = call->found_cap ? call->found_cap * 2 : 8;
        call->found = xrealloc(call->found, call->found_cap * sizeof *call->found);
    }
    call->found[call->found_len++] =
        (struct found){ .copy = client_copy(c), .handle = c->handle, .home = w->id };
}

static void look(struct worker *w, struct visit *v) {
    struct call *call = CONTAINER_OF(v, struct call, visit);
    const struct wanted *wanted = &call->round->wanted;
    uint32_t at = 0;
    for (struct client *c; (c = slots_next(&w->clients, &at));)
        if (is_shown(c) && is_wanted(c, wanted)) note(call, w, c);
}

static void round_free(struct round *r) {
    for (size_t i = 0; i < r->found_len; i++) client_unref(r->found[i].copy);
    vm_unref(r->vm);
    free(r->found);
    free(r->words);
    free(r);
}

static void push_found(lua_State *L, const struct found *f) {
    client_push_copy(L, f->copy, f->handle, f->home); /* client */
}

/* Pushes what came home, and what is here. [-0, +1, m] */
static int push_round(lua_State *L, void *obj) {
    const struct round *r = obj;
    lua_Integer n = 0;
    if (r->is_single) {
        if (r->found_len)
            push_found(L, &r->found[0]); /* client */
        else
            lua_pushnil(L); /* nil */
        return 1;
    }
    push_here(L, &r->wanted, &n); /* list */
    for (size_t i = 0; i < r->found_len; i++) {
        push_found(L, &r->found[i]); /* list, client */
        lua_rawseti(L, -2, ++n);     /* list */
    }
    return 1;
}

static void came_home(struct visit *v) {
    struct call *call = CONTAINER_OF(v, struct call, visit);
    struct round *r = call->round;
    if (call->found_len) {
        r->found = xrealloc(r->found, (r->found_len + call->found_len) * sizeof *r->found);
        memcpy(r->found + r->found_len, call->found, call->found_len * sizeof *r->found);
        r->found_len += call->found_len;
    }
    free(call->found);
    free(call);
    if (--r->away) return;
    task_wake(r->vm, r->wait, push_round, r);
    round_free(r);
}

/* Copies the words, which the asking task may lose while it waits. */
static void keep_words(struct round *r, const struct wanted *wanted) {
    struct slice *const words[] = { &r->wanted.id, &r->wanted.username, &r->wanted.listener };
    r->wanted = *wanted;
    size_t len = wanted->id.len + wanted->username.len + wanted->listener.len;
    char *at = r->words = xmalloc(len + 1);
    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        if (!words[i]->at) continue;
        memcpy(at, words[i]->at, words[i]->len);
        *words[i] = slice_of(at, words[i]->len);
        at += words[i]->len;
    }
}

/* Are there others, and will they answer? */
static bool may_ask(const struct worker *w) {
    return w->broker->workers_len > 1 && !w->stopping;
}

/* Asks one other worker, or all of them (`to` is this one's own number). */
static int go_round(lua_State *L, struct worker *w, const struct wanted *wanted, unsigned to) {
    struct wait wait = task_wait(L, NULL, NULL);
    struct round *r = xcalloc(1, sizeof *r);
    r->vm = vm_ref(vm_of(L));
    r->wait = wait;
    r->is_single = to != w->id;
    r->away = r->is_single ? 1 : w->broker->workers_len - 1;
    keep_words(r, wanted);
    for (unsigned i = 0; i < w->broker->workers_len; i++) {
        if (i == w->id || (r->is_single && i != to)) continue;
        struct call *call = xcalloc(1, sizeof *call);
        call->visit.there = look;
        call->visit.home = came_home;
        call->round = r;
        mail_visit(w, i, &call->visit);
    }
    return task_park(L);
}

/* ---- the functions -------------------------------------------------------------- */

static int l_client(lua_State *L) {
    struct slice id = vm_check_slice(L, 1);
    struct worker *w = lib_worker(L, "sol.client");
    unsigned home = broker_home(w->broker, id);
    if (may_ask(w) && home != w->id)
        return go_round(L, w, &(struct wanted){ .id = id, .connected = -1 }, home);
    struct session *s = session_find(w, id);
    client_push(L, s ? s->client : NULL); /* id, client or nil */
    return 1;
}

static int l_clients(lua_State *L) {
    struct wanted f = check_wanted(L);
    struct worker *w = lib_worker(L, "sol.clients");
    lua_Integer n = 0;
    if (may_ask(w)) return go_round(L, w, &f, w->id);
    push_here(L, &f, &n); /* ..., list */
    return 1;
}

static const luaL_Reg functions[] = {
    { "client", l_client },
    { "clients", l_clients },
    { NULL, NULL },
};

int luaopen_sol_clients(lua_State *L) {
    luaL_newlib(L, functions); /* functions */
    return 1;
}
