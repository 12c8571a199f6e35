/* lib_grant.c -- client:grant, client:revoke, client:grants, sol.reauthorize.
 *
 * The table of a grant is read and checked as a whole before anything is granted.  What
 * concerns a client of another worker travels there as a visit (core/mail.h). */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/lib_grant.h"

#include "base/mem.h"
#include "core/client.h"
#include "core/grants.h"
#include "core/mail.h"
#include "core/review.h"
#include "core/session.h"
#include "core/worker.h"
#include "script/lib.h"
#include "script/lib_client.h"
#include "script/options.h"
#include "script/script.h"
#include "script/suggest.h"
#include "script/task.h"

#include <stdlib.h>

#define TTL_MAX 1.0e9 /* seconds */

enum { NAME_MAX_BYTES = 255 };

/* ---- entries --------------------------------------------------------------------- */

/* Raises an error about entry `n` of the table at index 2. [-0, +0, v] */
static int bad(lua_State *L, lua_Integer n, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    luaL_where(L, 1);                                               /* where */
    lua_pushfstring(L, "client:grant: entry %I: ", (LUAI_UACINT)n); /* where, entry */
    lua_pushvfstring(L, fmt, ap);                                   /* where, entry, what */
    va_end(ap);
    lua_concat(L, 3); /* text */
    return lua_error(L);
}

/* Pushes a field of the table at `index` as it lies there, and gives its type.  No metamethod may
 * run: it could take away what has been lent already. [-0, +1, m] */
static int push_raw(lua_State *L, int index, const char *name) {
    index = lua_absindex(L, index);
    lua_pushstring(L, name);     /* name */
    return lua_rawget(L, index); /* value */
}

/* `value` of what is offered under a name. */
struct word {
    const char *name;
    uint8_t value;
};

enum { ALL_ACTIONS = GRANT_PUBLISH | GRANT_SUBSCRIBE | GRANT_READ, DENY_WORD = 0x80 };

static const struct word actions[] = {
    { "publish", GRANT_PUBLISH },
    { "subscribe", GRANT_SUBSCRIBE },
    { "read", GRANT_READ },
    { "all", GRANT_PUBLISH | GRANT_READ },
    { "deny", ALL_ACTIONS | DENY_WORD },
    { NULL, 0 },
};

/* What a deny may be narrowed to: who may not read may not subscribe. */
static const struct word denied[] = {
    { "publish", GRANT_PUBLISH },
    { "read", GRANT_FILTERS },
    { "all", ALL_ACTIONS },
    { NULL, 0 },
};

static const struct word fields[] = {
    { "action", 0 }, { "qos", 0 }, { "retain", 0 }, { "size", 0 }, { NULL, 0 },
};

/* The word on top among `words`; raises for another. [-0, +0, v] */
static uint8_t check_word(lua_State *L, lua_Integer n, const struct word *words, const char *what) {
    char buf[SUGGEST_MAX + 24];
    struct suggest near;
    if (lua_type(L, -1) != LUA_TSTRING)
        bad(L, n, "%s must be a string, not a %s", what, luaL_typename(L, -1));
    const char *given = lua_tostring(L, -1);
    suggest_init(&near, given);
    for (const struct word *w = words; w->name; w++) {
        if (strcmp(w->name, given) == 0) return w->value;
        suggest_offer(&near, w->name);
    }
    return (uint8_t)bad(L, n, "unknown %s \"%s\"%s", what, given, suggest_text(&near, buf));
}

/* The integer on top. [-0, +0, v] */
static uint32_t check_integer(lua_State *L, lua_Integer n, const char *name, lua_Integer max) {
    int is_integer = lua_type(L, -1) == LUA_TNUMBER;
    lua_Integer value = is_integer ? lua_tointegerx(L, -1, &is_integer) : 0;
    if (!is_integer || value < 0 || value > max)
        bad(L, n, "%s must be an integer from 0 to %I", name, (LUAI_UACINT)max);
    return (uint32_t)value;
}

/* Is there a condition of this name?  Its value is on top then; raises where it means
 * nothing. [-0, +0|1, v] */
static bool has_condition(lua_State *L, lua_Integer n, const struct grant_entry *e,
                          const char *name, uint8_t concerns) {
    if (push_raw(L, -1, name) == LUA_TNIL) { /* entry, nil */
        lua_pop(L, 1);                       /* entry */
        return false;
    }
    if (e->is_deny) bad(L, n, "%s: what denies has no conditions", name);
    if (!(e->actions & concerns)) bad(L, n, "%s is for what may be published", name);
    return true; /* entry, value */
}

/* The conditions of the entry on top. [-0, +0, v] */
static void check_conditions(lua_State *L, lua_Integer n, struct grant_entry *e) {
    e->max_qos = 2;
    e->max_size = UINT32_MAX;
    if (has_condition(L, n, e, "qos", ALL_ACTIONS)) { /* entry, qos */
        e->max_qos = (uint8_t)check_integer(L, n, "qos", 2);
        lua_pop(L, 1); /* entry */
    }
    if (has_condition(L, n, e, "size", GRANT_PUBLISH)) { /* entry, size */
        e->max_size = check_integer(L, n, "size", UINT32_MAX);
        lua_pop(L, 1); /* entry */
    }
    if (!has_condition(L, n, e, "retain", GRANT_PUBLISH)) return; /* entry, retain */
    if (!lua_isboolean(L, -1)) bad(L, n, "retain must be true or false");
    e->retain = lua_toboolean(L, -1) ? RETAIN_ONLY : RETAIN_NEVER;
    lua_pop(L, 1); /* entry */
}

/* No field but those there are. [-0, +0, v] */
static void check_fields(lua_State *L, lua_Integer n) {
    for (lua_pushnil(L); lua_next(L, -2);) { /* entry, name, value */
        lua_pop(L, 1);                       /* entry, name */
        bool is_place =
            lua_isinteger(L, -1) && (lua_tointeger(L, -1) == 1 || lua_tointeger(L, -1) == 2);
        if (is_place) continue;
        if (lua_type(L, -1) != LUA_TSTRING)
            bad(L, n, "expected an action and a topic filter, and more named fields only");
        check_word(L, n, fields, "field");
    }
}

/* The action of the entry on top. [-0, +0, v] */
static void check_action(lua_State *L, lua_Integer n, struct grant_entry *e) {
    lua_rawgeti(L, -1, 1); /* entry, action */
    uint8_t word = check_word(L, n, actions, "action");
    lua_pop(L, 1); /* entry */
    e->is_deny = (word & DENY_WORD) != 0;
    e->actions = word & ALL_ACTIONS;
    if (push_raw(L, -1, "action") != LUA_TNIL) { /* entry, narrower */
        if (!e->is_deny) bad(L, n, "action: is for \"deny\"; the others say theirs first");
        e->actions = check_word(L, n, denied, "action");
    }
    lua_pop(L, 1); /* entry */
}

/* Reads the entry on top; its pattern is lent by the table. [-0, +0, v] */
static void check_entry(lua_State *L, lua_Integer n, struct grant_entry *e) {
    *e = (struct grant_entry){ .actions = 0 };
    if (!lua_istable(L, -1)) bad(L, n, "expected a table, got a %s", luaL_typename(L, -1));
    check_fields(L, n);
    check_action(L, n, e);
    check_conditions(L, n, e);
    lua_rawgeti(L, -1, 2); /* entry, pattern */
    e->pattern = vm_to_slice(L, -1);
    if (!e->pattern.at) bad(L, n, "expected a topic filter, got a %s", luaL_typename(L, -1));
    const char *why = grant_pattern_invalid(e->pattern);
    if (why) bad(L, n, "\"%s\" %s", lua_tostring(L, -1), why);
    lua_pop(L, 1); /* entry */
}

/* ---- client:grant -------------------------------------------------------------------- */

/* What stands beside the entries. */
struct terms {
    const char *name; /* lent, or NULL */
    uint64_t ttl_ms;  /* 0: none */
    bool until_reload;
};

static const char *const term_names[] = { "name", "ttl", "until_reload", NULL };

/* Raises when the table at index 2 has other keys than 1 to `len` and the terms. [-0, +0, v] */
static void check_keys(lua_State *L, lua_Integer len) {
    char buf[SUGGEST_MAX + 24];
    for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) { /* ..., key, value */
        if (lua_isinteger(L, -2) && lua_tointeger(L, -2) >= 1 && lua_tointeger(L, -2) <= len)
            continue;
        struct suggest near;
        const char *name = luaL_tolstring(L, -2, NULL); /* ..., key, value, text */
        unsigned i = 0;
        suggest_init(&near, name);
        for (; term_names[i] && strcmp(term_names[i], name) != 0; i++)
            suggest_offer(&near, term_names[i]);
        if (!term_names[i])
            luaL_error(L, "client:grant: unknown field \"%s\"%s", name, suggest_text(&near, buf));
        lua_pop(L, 1); /* ..., key, value */
    }
}

/* Reads the terms of the table at index 2; the name stays on the stack. [-0, +1, v] */
static struct terms check_terms(lua_State *L) {
    struct terms t = { 0 };
    if (push_raw(L, 2, "ttl") != LUA_TNIL) { /* ttl */
        lua_Number ttl = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
        if (!(ttl > 0 && ttl <= TTL_MAX))
            luaL_error(L, "client:grant: ttl must be seconds, above 0 and up to 1e9");
        t.ttl_ms = (uint64_t)(ttl * 1000 + 0.999);
    }
    lua_pop(L, 1);                                    /* */
    if (push_raw(L, 2, "until_reload") != LUA_TNIL) { /* until_reload */
        if (!lua_isboolean(L, -1))
            luaL_error(L, "client:grant: until_reload must be true or false");
        t.until_reload = lua_toboolean(L, -1);
    }
    lua_pop(L, 1);                                    /* */
    if (push_raw(L, 2, "name") == LUA_TNIL) return t; /* nil */
    struct slice name = vm_to_slice(L, -1);           /* name */
    if (!name.len || name.len > NAME_MAX_BYTES || name.at[0] == '#' || memchr(name.at, 0, name.len))
        luaL_error(L,
                   "client:grant: name must be a string of 1 to %d bytes, without zeros, that "
                   "does not begin with #",
                   NAME_MAX_BYTES);
    t.name = (const char *)name.at;
    return t;
}

/* Reads the entries of the table at index 2 into memory that is left on top. [-0, +1, v] */
static struct grant_entry *check_entries(lua_State *L, lua_Integer len) {
    if (len == 0) luaL_error(L, "client:grant: it has no entries");
    if (len > GRANT_ENTRIES_MAX)
        luaL_error(L, "client:grant: more than %d entries", GRANT_ENTRIES_MAX);
    struct grant_entry *entries = lua_newuserdatauv(L, (size_t)len * sizeof *entries, 0);
    for (lua_Integer n = 1; n <= len; n++) {
        lua_rawgeti(L, 2, n); /* entries, entry */
        check_entry(L, n, &entries[n - 1]);
        lua_pop(L, 1); /* entries */
    }
    return entries;
}

/* A grant on its way to another worker's client. */
struct trip {
    struct visit visit;
    struct handle handle;
    struct grant *grant; /* owned; NULL: revoke */
    uint64_t ttl_ms;
    char *name; /* owned: to revoke; NULL: all */
};

static void trip_there(struct worker *w, struct visit *v) {
    struct trip *e = CONTAINER_OF(v, struct trip, visit);
    struct client *c = slots_find(&w->clients, e->handle);
    struct grant *g = e->grant;
    if (!c) return;
    if (!g) {
        review_revoke(c, e->name);
        return;
    }
    e->grant = NULL;
    if (e->ttl_ms) g->expires_ms = loop_now_ms(w->loop) + e->ttl_ms;
    if (!review_grant(c, g))
        log_error(w->log, "policy", "client %.*s has too many grants: another is not given",
                  SLICE_FMT(c->id));
}

static void trip_home(struct visit *v) {
    struct trip *e = CONTAINER_OF(v, struct trip, visit);
    grant_free(e->grant);
    free(e->name);
    free(e);
}

/* Takes `g`, which ends `ttl_ms` after its arrival unless that is 0; without one, revokes `name`.
 */
static void send(struct worker *w, struct client_place to, struct grant *g, uint64_t ttl_ms,
                 const char *name) {
    struct trip *e = xcalloc(1, sizeof *e);
    e->visit.there = trip_there;
    e->visit.home = trip_home;
    e->handle = to.handle;
    e->grant = g;
    e->ttl_ms = ttl_ms;
    e->name = name ? xstrdup(name) : NULL;
    mail_visit(w, to.home, &e->visit);
}

/* The client of an argument if it lives here, and has not gone. */
static struct client *client_here(const struct worker *w, struct client_place at) {
    return at.home == w->id ? slots_find(&w->clients, at.handle) : NULL;
}

/* Is there nobody to give anything to, or to take it from? */
static bool is_closed(const struct worker *w, struct client_place at) {
    return at.home == w->id ? !client_here(w, at) : w->stopping;
}

/* Takes the grant; false when it would be too much. */
static bool give(struct worker *w, struct client_place to, struct grant *g, const struct terms *t) {
    struct client *c = client_here(w, to);
    g->until_reload = t->until_reload;
    g->generation = review_generation(w);
    if (!c) {
        send(w, to, g, t->ttl_ms, NULL);
        return true;
    }
    if (t->ttl_ms) g->expires_ms = loop_now_ms(w->loop) + t->ttl_ms;
    return review_grant(c, g);
}

int client_grant(lua_State *L) {
    struct client_place to = client_place(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    struct worker *w = lib_worker(L, "client:grant");
    lua_settop(L, 2); /* client, table */
    lua_Integer len = (lua_Integer)lua_rawlen(L, 2);
    check_keys(L, len);
    struct terms t = check_terms(L);                     /* client, table, name */
    struct grant_entry *entries = check_entries(L, len); /* client, table, name, entries */
    if (is_closed(w, to)) return vm_fail(L, "closed");
    if (t.until_reload && script_of(L)->is_retired) return vm_fail(L, "reloaded");
    if (!t.name) {
        w->grants_made++;
        lua_pushfstring(L, "#%d.%I", (int)w->id, (LUAI_UACINT)w->grants_made);
        lua_replace(L, 3); /* client, table, name, entries */
    }
    lua_pushvalue(L, 3); /* client, table, name, entries, name */
    if (!give(w, to, grant_new(lua_tostring(L, 3), entries, (unsigned)len), &t))
        return luaL_error(L, "client:grant: a client can be granted %d entries of %d bytes in all",
                          GRANT_ENTRIES_MAX, GRANT_BYTES_MAX);
    return 1;
}

/* ---- client:revoke, client:grants ------------------------------------------------------ */

int client_revoke(lua_State *L) {
    struct client_place from = client_place(L, 1);
    const char *name = luaL_optstring(L, 2, NULL);
    struct worker *w = lib_worker(L, "client:revoke");
    struct client *c = client_here(w, from);
    if (is_closed(w, from)) return vm_fail(L, "closed");
    if (c) {
        lua_pushinteger(L, review_revoke(c, name)); /* ..., number */
        return 1;
    }
    send(w, from, NULL, 0, name);
    lua_pushboolean(L, true); /* ..., true */
    return 1;
}

/* The first word of `words` with this value. */
static const char *word_of(const struct word *words, uint8_t value) {
    while (words->name && words->value != value) words++;
    return words->name;
}

/* Pushes an entry as client:grant takes it. [-0, +1, m] */
static void push_entry(lua_State *L, const struct grant_entry *e) {
    const char *action = word_of(e->is_deny ? denied : actions, e->actions);
    lua_createtable(L, 2, 0);                        /* entry */
    lua_pushstring(L, e->is_deny ? "deny" : action); /* entry, word */
    lua_rawseti(L, -2, 1);                           /* entry */
    vm_push_slice(L, e->pattern);                    /* entry, pattern */
    lua_rawseti(L, -2, 2);                           /* entry */
    if (e->is_deny && e->actions != ALL_ACTIONS) {
        lua_pushstring(L, action);     /* entry, action */
        lua_setfield(L, -2, "action"); /* entry */
    }
    if (e->max_qos < 2) {
        lua_pushinteger(L, e->max_qos); /* entry, qos */
        lua_setfield(L, -2, "qos");     /* entry */
    }
    if (e->max_size != UINT32_MAX) {
        lua_pushinteger(L, e->max_size); /* entry, size */
        lua_setfield(L, -2, "size");     /* entry */
    }
    if (e->retain != RETAIN_EITHER) {
        lua_pushboolean(L, e->retain == RETAIN_ONLY); /* entry, retain */
        lua_setfield(L, -2, "retain");                /* entry */
    }
}

/* Pushes a grant as client:grant takes it. [-0, +1, m] */
static void push_grant(lua_State *L, const struct grant *g, uint64_t now_ms) {
    lua_createtable(L, (int)g->len, 3); /* grant */
    lua_pushstring(L, g->name);         /* grant, name */
    lua_setfield(L, -2, "name");        /* grant */
    if (g->expires_ms != GRANT_NEVER) {
        lua_pushnumber(L, (lua_Number)(g->expires_ms - now_ms) / 1000); /* grant, ttl */
        lua_setfield(L, -2, "ttl");                                     /* grant */
    }
    if (g->until_reload) {
        lua_pushboolean(L, 1);               /* grant, true */
        lua_setfield(L, -2, "until_reload"); /* grant */
    }
    for (unsigned i = 0; i < g->len; i++) {
        push_entry(L, &g->at[i]);  /* grant, entry */
        lua_rawseti(L, -2, i + 1); /* grant */
    }
}

int client_grants(lua_State *L) {
    const struct client *c = client_check(L, 1);
    lua_Integer n = 0;
    struct worker *w = lib_worker(L, "client:grants");
    if (!c) return vm_fail(L, "closed");
    uint64_t now_ms = loop_now_ms(w->loop);
    lua_newtable(L); /* ..., list */
    for (const struct grant *g = c->grants ? c->grants->first : NULL; g; g = g->next) {
        if (g->expires_ms <= now_ms) continue;
        push_grant(L, g, now_ms); /* ..., list, grant */
        lua_rawseti(L, -2, ++n);  /* ..., list */
    }
    return 1;
}

/* ---- sol.reauthorize -------------------------------------------------------------------- */

/* Whom it concerns, and what is to be revoked first. */
struct order {
    struct slice username, client_id; /* SLICE_NONE: any */
    const char *grant;                /* to revoke; NULL: all of them */
    bool revokes;
};

static bool concerns(const struct order *o, const struct client *c) {
    if (!c->session || c->session->client != c) return false;
    if (o->client_id.at && !slice_eq(o->client_id, c->id)) return false;
    return !o->username.at || (c->username.at && slice_eq(o->username, c->username));
}

/* Carries it out for the clients of this worker, and gives their number. */
static lua_Integer carry_out(struct worker *w, const struct order *o) {
    lua_Integer n = 0;
    uint32_t at = 0;
    for (struct client *c; (c = slots_next(&w->clients, &at));) {
        if (!concerns(o, c)) continue;
        if (o->revokes) review_revoke(c, o->grant);
        review_session(c->session);
        n++;
    }
    return n;
}

/* One order on its way to all other workers. */
struct round {
    struct vm *vm; /* reference */
    struct wait wait;
    struct order order; /* its words lie in `words` */
    char *words[3];     /* owned */
    unsigned away;
    lua_Integer n;
};

struct call {
    struct visit visit;
    struct round *round; /* read there, written at home */
    lua_Integer n;
};

static void call_there(struct worker *w, struct visit *v) {
    struct call *call = CONTAINER_OF(v, struct call, visit);
    call->n = carry_out(w, &call->round->order);
}

static int push_number(lua_State *L, void *obj) {
    lua_pushinteger(L, ((const struct round *)obj)->n); /* number */
    return 1;
}

static void call_home(struct visit *v) {
    struct call *call = CONTAINER_OF(v, struct call, visit);
    struct round *r = call->round;
    r->n += call->n;
    free(call);
    if (--r->away) return;
    task_wake(r->vm, r->wait, push_number, r);
    vm_unref(r->vm);
    for (unsigned i = 0; i < ARRAY_LEN(r->words); i++) free(r->words[i]);
    free(r);
}

static void keep_words(struct round *r, const struct order *o) {
    r->order = *o;
    r->words[0] = xslicedup(o->username);
    r->words[1] = xslicedup(o->client_id);
    r->words[2] = o->grant ? xstrdup(o->grant) : NULL;
    r->order.username.at = (const uint8_t *)r->words[0];
    r->order.client_id.at = (const uint8_t *)r->words[1];
    r->order.grant = r->words[2];
}

static int go_round(lua_State *L, struct worker *w, const struct order *o) {
    struct wait wait = task_wait(L, NULL, NULL);
    struct round *r = xcalloc(1, sizeof *r);
    r->vm = vm_ref(vm_of(L));
    r->wait = wait;
    r->away = w->broker->workers_len - 1;
    keep_words(r, o);
    r->n = carry_out(w, o);
    for (unsigned i = 0; i < w->broker->workers_len; i++) {
        if (i == w->id) continue;
        struct call *call = xcalloc(1, sizeof *call);
        call->visit.there = call_there;
        call->visit.home = call_home;
        call->round = r;
        mail_visit(w, i, &call->visit);
    }
    return task_park(L);
}

/* Reads the table at index 1; its words stay on the stack. [-0, +4, v] */
static struct order check_order(lua_State *L) {
    static const char *const names[] = { "username", "client_id", "all", "revoke", NULL };
    luaL_checktype(L, 1, LUA_TTABLE);
    options_check(L, 1, "sol.reauthorize", names);
    struct order o = { .username = SLICE_NONE };
    bool all = options_boolean(L, 1, "all", false);
    lua_getfield(L, 1, "username");  /* username */
    lua_getfield(L, 1, "client_id"); /* username, client_id */
    lua_getfield(L, 1, "revoke");    /* username, client_id, revoke */
    o.username = vm_to_slice(L, -3);
    o.client_id = vm_to_slice(L, -2);
    if ((!o.username.at && !lua_isnil(L, -3)) || (!o.client_id.at && !lua_isnil(L, -2)))
        luaL_error(L, "sol.reauthorize: username and client_id must be strings");
    if (!o.username.at && !o.client_id.at && !all)
        luaL_error(L, "sol.reauthorize: whom? Give username, client_id or all = true");
    if (all && (o.username.at || o.client_id.at))
        luaL_error(L, "sol.reauthorize: all = true goes with neither username nor client_id");
    if (!lua_isnil(L, -1) && !lua_isboolean(L, -1) && lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "sol.reauthorize: revoke must be a grant's name, or true for all of them");
    o.revokes = lua_toboolean(L, -1);
    if (lua_type(L, -1) == LUA_TSTRING) o.grant = lua_tostring(L, -1);
    return o;
}

static int l_reauthorize(lua_State *L) {
    struct order o = check_order(L); /* ..., its words */
    struct worker *w = lib_worker(L, "sol.reauthorize");
    if (w->broker->workers_len > 1 && !w->stopping) return go_round(L, w, &o);
    lua_pushinteger(L, carry_out(w, &o)); /* ..., number */
    return 1;
}

static const luaL_Reg functions[] = {
    { "reauthorize", l_reauthorize },
    { NULL, NULL },
};

int luaopen_sol_grant(lua_State *L) {
    luaL_newlib(L, functions); /* functions */
    return 1;
}
