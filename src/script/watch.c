/* watch.c -- from a running invocation to its record.
 *
 * A handler's run is recorded from outside: what it may change is noted down before and
 * after it, a count hook counts its instructions, and its verdict is what the invocation has
 * by the time the next one begins. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/watch.h"

#include "base/mem.h"
#include "core/client.h"
#include "core/grants.h"
#include "core/session.h"
#include "core/worker.h"
#include "mqtt/props.h"
#include "mqtt/topic.h"
#include "script/count.h"
#include "script/handlers.h"
#include "script/invocation.h"
#include "script/invoke.h"
#include "script/obj_props.h"
#include "script/settings.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- what may change ---------------------------------------------------------------- */

/* Seconds, as scripts have them; no more a value than for ever. */
static void seconds(struct trace_fields *f, uint32_t value, const char *name) {
    if (value == UINT32_MAX)
        trace_field_plain(f, "\"never\"", "%s", name);
    else
        trace_field_number(f, value, name);
}

static void show_property(struct trace_fields *f, const struct prop_item *item) {
    const char *name = props_name(item->id);
    if (item->id == PROP_USER_PROPERTY) {
        trace_field_text(f, item->value, "properties.user_properties.%.*s", SLICE_FMT(item->key));
    } else if (item->id == PROP_PAYLOAD_FORMAT_INDICATOR) {
        trace_field_number(f, item->number, "properties.payload_format_indicator");
    } else if (name) {
        trace_field_text(f, item->value, "properties.%s", name);
    }
}

static void show_message(struct trace_fields *f, const struct invocation *inv) {
    const struct message_box *box = inv->task->pins[PIN_MESSAGE].block;
    struct message_parts parts = message_box_parts(inv->task->co, TASK_PIN(PIN_MESSAGE), box);
    struct prop_item item;
    trace_field_text(f, parts.topic, "topic");
    trace_field_text(f, parts.payload, "payload");
    trace_field_number(f, parts.qos, "qos");
    trace_field_bool(f, parts.retain, "retain");
    if (parts.expires_ms != MESSAGE_NEVER) { /* by one clock, or it would change by itself */
        uint64_t since = inv->trace->loop_ms;
        uint64_t left = parts.expires_ms > since ? parts.expires_ms - since : 0;
        trace_field_number(f, (left + 999) / 1000, "expiry");
    }
    for (size_t at = 0; props_next(parts.props, &at, &item);) show_property(f, &item);
}

struct limits_shown {
    lua_State *L; /* the VM's own */
    struct trace_fields *fields;
    const struct limits *limits;
};

static void show_limit(const struct setting *s, const char *name, void *obj) {
    struct limits_shown *show = obj;
    setting_get_limit(show->L, s, show->limits); /* value */
    trace_field_plain(show->fields, setting_push_shown(show->L, -1), "limits.%s", name);
    lua_pop(show->L, 2); /* */
}

static void show_will(struct trace_fields *f, const struct pkt_connect *p) {
    const struct will *will = &p->will;
    if (!p->has_will) return;
    trace_field_text(f, will->topic, "will.topic");
    trace_field_text(f, will->payload, "will.payload");
    trace_field_number(f, will->qos, "will.qos");
    trace_field_bool(f, will->retain, "will.retain");
    if (props_has(&will->props, PROP_WILL_DELAY_INTERVAL))
        seconds(f, will->props.will_delay_interval, "will.delay");
}

/* All but the password. */
static void show_connect(struct trace_fields *f, lua_State *L, const struct connect_request *q) {
    const struct pkt_connect *p = &q->packet;
    trace_field_text(f, p->client_id, "client_id");
    trace_field_text(f, p->has_username ? p->username : SLICE_NONE, "username");
    trace_field_bool(f, p->clean_start, "clean_start");
    trace_field_number(f, p->keep_alive, "keep_alive");
    seconds(f, q->session_expiry, "session_expiry");
    show_will(f, p);
    trace_field_text(f, q->mount, "mount_point");
    trace_field_text(f, q->response_information, "response_information");
    settings_each(SETTING_CLIENT, show_limit, &(struct limits_shown){ L, f, &q->limits });
}

static void show_subscription(struct trace_fields *f, const struct subscribe_request *q) {
    const struct subscribe_options *o = &q->options;
    trace_field_text(f, q->filter, "filter");
    trace_field_number(f, o->qos, "qos");
    trace_field_bool(f, o->no_local, "no_local");
    trace_field_bool(f, o->retain_as_published, "retain_as_published");
    trace_field_number(f, o->retain_handling, "retain_handling");
}

static void show_exchange(struct trace_fields *f, const struct auth_exchange *x) {
    trace_field_text(f, x->username, "username");
    trace_field_text(f, x->reply, "reply");
}

static void show_attributes(struct trace_fields *f, const struct attr *list, const char *of) {
    char number[32];
    for (const struct attr *a = list; a; a = a->next) {
        switch (a->type) {
        case ATTR_BOOL:
            trace_field_plain(f, a->boolean ? "true" : "false", "%s.%s", of, a->name);
            continue;
        case ATTR_STRING: trace_field_text(f, a->string, "%s.%s", of, a->name); continue;
        case ATTR_INT: snprintf(number, sizeof number, "%lld", (long long)a->integer); break;
        case ATTR_REAL: /* JSON has no others */
            snprintf(number, sizeof number, isfinite(a->real) ? "%.14g" : "\"%g\"", a->real);
            break;
        }
        trace_field_plain(f, number, "%s.%s", of, a->name);
    }
}

/* What a handler of this call may change, as it stands. */
static void show(const struct invocation *inv, struct trace_fields *f) {
    const struct hook_call *call = inv->call;
    switch ((enum event_arg)inv->event->arg) {
    case ARG_MESSAGE: show_message(f, inv); break;
    case ARG_CONNECT:
    case ARG_CREDENTIALS: show_connect(f, inv->script->vm->L, call->connect); break;
    case ARG_EXCHANGE: show_exchange(f, call->auth); break;
    case ARG_SUBSCRIPTION:
    case ARG_FILTER: show_subscription(f, call->subscribe); break;
    default: break;
    }
    if (!inv->client) return;
    show_attributes(f, inv->client->attrs, "client.attributes");
    if (inv->client->session) show_attributes(f, inv->client->session->attrs, "client.session");
}

/* ---- instructions --------------------------------------------------------------------- */

static void start_counting(struct invocation *inv) {
    struct trace *t = inv->trace;
    t->outer_counter = count_begin(inv->script->vm, inv->task->co, &trace_current(t)->instructions);
    trace_work(t);
}

static void stop_counting(struct invocation *inv) {
    struct trace *t = inv->trace;
    trace_pause(t);
    count_end(inv->script->vm, inv->task->co, t->outer_counter);
}

/* ---- places ---------------------------------------------------------------------------- */

enum { PLACE_MAX = LUA_IDSIZE + 16 }; /* bytes of " (file:line)" */

/* Writes " (sol.lua:12)", where the policy itself is in what runs in `co`, and gives the level
 * of what it called there; "" and 0: it is not in there. */
static int find_policy(lua_State *co, char at[PLACE_MAX]) {
    lua_Debug ar;
    for (int level = 1; lua_getstack(co, level, &ar); level++) { /* level 0 is in C */
        lua_getinfo(co, "Sl", &ar);
        if (*ar.source != '@') continue; /* our own library's */
        snprintf(at, PLACE_MAX, " (%s:%d)", ar.short_src, ar.currentline);
        return level - 1;
    }
    *at = '\0';
    return 0;
}

/* ---- what modules tell --------------------------------------------------------------------- */

static const char trace_key = 't';

/* note(key, is_hit) */
static int l_note(lua_State *L) {
    struct invocation *inv = invoke_present(vm_of(L));
    bool is_hit = lua_toboolean(L, 2);
    char at[PLACE_MAX];
    if (!inv || !inv->trace) return 0;
    const char *key = luaL_tolstring(L, 1, NULL); /* key, is_hit, text */
    find_policy(L, at);
    trace_note(inv->trace, NOTE_CACHE, "%s %.100s%s", is_hit ? "hit" : "miss", key, at);
    return 0;
}

void watch_add(lua_State *L) {
    lua_newtable(L);                               /* native, trace */
    lua_pushvalue(L, -1);                          /* native, trace, trace */
    lua_rawsetp(L, LUA_REGISTRYINDEX, &trace_key); /* native, trace */
    lua_setfield(L, -2, "trace");                  /* native */
}

/* Somebody watches, or nobody does any more. */
static void set_watched(struct script *s, bool is_watched) {
    lua_State *L = s->vm->L;
    bool was = vm_uncap(s->vm);
    s->untimed = is_watched ? 0 : HANDLER_UNTIMED;
    s->port.is_watched = is_watched;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &trace_key); /* trace */
    if (is_watched)
        lua_pushcfunction(L, l_note); /* trace, note */
    else
        lua_pushnil(L);          /* trace, nil */
    lua_setfield(L, -2, "note"); /* trace */
    lua_pop(L, 1);               /* */
    s->vm->is_capped = was;
}

/* ---- watchers --------------------------------------------------------------------------- */

static void join(struct script *s, struct watcher *w) {
    w->script = s;
    w->next = s->watchers;
    w->link = &s->watchers;
    if (w->next) w->next->link = &w->next;
    s->watchers = w;
    if (!w->next) set_watched(s, true);
}

static void part(struct watcher *w) {
    if (w->next) w->next->link = w->link;
    *w->link = w->next;
    if (!w->script->watchers) set_watched(w->script, false);
    w->script = NULL;
}

void watch_begin(struct hooks *h, struct watcher *w) {
    join(script_of_hooks(h), w);
}

void watch_end(struct watcher *w) {
    if (w->script) part(w);
}

void watch_pass_on(struct script *s, struct hooks *next) {
    while (s->watchers) {
        struct watcher *w = s->watchers;
        part(w);
        if (next && next->run == s->port.run) watch_begin(next, w);
    }
}

static bool about_topic(const struct watcher *w, struct slice topic, bool is_filter) {
    if (!w->filter.at || !topic.at) return !w->filter.at;
    return is_filter ? topic_filters_overlap(w->filter, topic) : topic_match(w->filter, topic);
}

static bool about_client(const struct watcher *w, struct slice client) {
    return !w->client.at || (client.at && slice_eq(w->client, client));
}

static bool is_of_interest(const struct script *s, const struct hook_call *call) {
    struct slice client = call->client ? call->client->id : SLICE_NONE;
    for (const struct watcher *w = s->watchers; w; w = w->next)
        if (w->trial == call->trial && about_client(w, client) &&
            about_topic(w, call_topic(call), call_is_about_filter(call)))
            return true;
    return false;
}

/* Those it is for hear of it; frees `t`. */
static void tell(struct script *s, struct trace *t) {
    struct slice client = slice_str(t->client), topic = slice_str(t->topic);
    for (struct watcher *w = s->watchers, *next; w; w = next) {
        next = w->next;
        if (w->trial == t->trial && about_client(w, client) && about_topic(w, topic, t->is_filter))
            w->record(w, t);
    }
    trace_free(t);
}

void watch_granted(struct hooks *h, const struct hook_call *call, const struct grant_answer *a) {
    struct script *s = script_of_hooks(h);
    if (!is_of_interest(s, call)) return;
    struct trace *t = trace_new(call, call_topic(call));
    char *text = grant_text(a);
    trace_note(t, NOTE_GRANT, "%s", text);
    free(text);
    t->verdict = a->verdict;
    t->reason_code = a->verdict == VERDICT_DENY ? RC_NOT_AUTHORIZED : 0;
    tell(s, t);
}

/* ---- an invocation -------------------------------------------------------------------------- */

/* The handler that ran last, or waited, is over. */
static void end_run(struct invocation *inv) {
    struct trace_fields after = { NULL, 0 };
    struct trace *t = inv->trace;
    bool is_known = inv->call || HOOK_IS_FACT(inv->id);
    if (!trace_current(t)) return;
    if (is_known) show(inv, &after);
    trace_end(t, inv->answer.verdict, inv->answer.reason_code, is_known ? &after : NULL);
}

void watch_enter(struct invocation *inv, const struct handler *h) {
    struct trace_fields before = { NULL, 0 };
    if (inv->trace) {
        end_run(inv);
    } else {
        if (!is_of_interest(inv->script, inv->call)) return;
        inv->trace = trace_new(inv->call, call_topic(inv->call));
        inv->trace->loop_ms = loop_now_ms(inv->script->vm->worker->loop);
    }
    show(inv, &before);
    trace_begin(inv->trace, h, &before);
    start_counting(inv);
}

void watch_leave(struct invocation *inv) {
    if (inv->trace) stop_counting(inv);
}

/* "sol.sleep (sol.lua:12)": what the policy called, and where; free() it.  A function of ours
 * that has called another one in its place has no name any more: then it is the file's. */
static char *waiting_for(lua_State *L, lua_State *co) {
    char *text, at[PLACE_MAX];
    int level = find_policy(co, at);
    lua_Debug ar = { .short_src = "?" };
    if (lua_getstack(co, level, &ar)) lua_getinfo(co, "S", &ar);
    luaL_traceback(L, co, NULL, level); /* trace */
    const char *line = strchr(lua_tostring(L, -1), '\t'),
               *name = line ? line + strcspn(line, "'\n") : "",
               *end = *name == '\'' ? strchr(name + 1, '\'') : NULL;
    struct slice shown =
        end ? slice_of(name + 1, (size_t)(end - name - 1)) : slice_str(ar.short_src);
    must(asprintf(&text, "%.*s%s", SLICE_FMT(shown), at) >= 0);
    lua_pop(L, 1); /* */
    return text;
}

static void on_wake(struct task *t) {
    struct invocation *inv = t->obj;
    t->waking = NULL;
    if (!inv->trace) return;
    trace_waited(inv->trace);
    start_counting(inv);
}

void watch_park(struct invocation *inv) {
    if (!inv->trace) return;
    inv->task->waking = on_wake;
    trace_wait(inv->trace, waiting_for(inv->script->vm->L, inv->task->waiter));
}

void watch_fail(struct invocation *inv, const char *text) {
    if (inv->trace) trace_fail(inv->trace, text);
}

/* Who it was when no handler did: a setting. */
static const char *by_default(const struct invocation *inv) {
    const struct worker *w = inv->script->vm->worker;
    if (inv->answer.verdict != VERDICT_NONE || !inv->call) return NULL;
    if (inv->id == HOOK_AUTHORIZE && inv->client && inv->client->grants)
        return NULL; /* what the handlers have granted is asked next */
    if (inv->id == HOOK_AUTHORIZE)
        return inv->script->settings.default_access ? "default_access = \"allow\""
                                                    : "default_access = \"deny\"";
    if (inv->id != HOOK_AUTHENTICATE) return NULL;
    int anonymous = inv->client->limits ? inv->client->limits->allow_anonymous : UNSET;
    if (anonymous == UNSET)
        return w->anonymous ? "anonymous clients are allowed" : "anonymous clients are not allowed";
    return anonymous == YES ? "allow_anonymous = true" : "allow_anonymous = false";
}

/* The code the client gets, unless the handler named one. */
static uint8_t denial_code(const struct invocation *inv) {
    uint8_t code = inv->answer.reason_code;
    if (inv->answer.verdict != VERDICT_DENY || code >= RC_UNSPECIFIED_ERROR) return code;
    return inv->id == HOOK_AUTHENTICATE ? RC_BAD_USER_NAME_OR_PASSWORD : RC_NOT_AUTHORIZED;
}

void watch_over(struct invocation *inv) {
    struct trace *t = inv->trace;
    end_run(inv);
    t->verdict = inv->answer.verdict;
    t->reason_code = denial_code(inv);
    t->by_default = by_default(inv);
    t->is_cancelled = !inv->call && !HOOK_IS_FACT(inv->id);
    if (inv->call && inv->call->reason) t->reason = xstrdup(inv->call->reason);
    inv->trace = NULL;
    tell(inv->script, t);
}
