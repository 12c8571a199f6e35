/* invoke.c -- from a hook call to its verdict.
 *
 * An invocation takes the handlers of an event one after the other, in one task: each
 * sees what those before it changed.  The first that decides ends it.  A handler may wait;
 * then the call does too, and its answer comes through call->done.
 *
 * Core may cancel a call at any time it waits, also from within the very handler that was
 * woken (it disconnects its own client, say): the invocation then runs to its end with
 * `call` NULL and answers nobody.  So one that waits, or may be left alone, holds
 * references of its own to client and message; the others make do with the call's. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/invoke.h"

#include "base/mem.h"
#include "core/client.h"
#include "core/worker.h"
#include "script/count.h"
#include "script/handlers.h"
#include "script/invocation.h"
#include "script/loans.h"
#include "script/watch.h"

#include <stdlib.h>
#include <time.h>

/* ---- life ------------------------------------------------------------------------- */

static void on_woken(struct task *t, enum task_status status);
static void on_limit(struct closure *self, unsigned loop_events);

static struct invocation *invocation_new(struct script *s) {
    struct invocation *inv = xcalloc(1, sizeof *inv);
    inv->script = s;
    inv->task = task_get(s->vm);
    inv->task->woken = on_woken;
    inv->task->obj = inv;
    return inv;
}

static struct invocation *invocation_begin(struct script *s, struct hook_call *call) {
    struct invocation *inv = s->free_invocations;
    if (inv)
        s->free_invocations = inv->next;
    else
        inv = invocation_new(s);
    inv->call = call;
    inv->client = call->client;
    inv->id = call->event;
    inv->event = &events[call->event];
    inv->may_wait = call->done || (HOOK_IS_FACT(call->event) && call->event != HOOK_STOP);
    inv->is_used = true;
    inv->answer.verdict = VERDICT_NONE;
    inv->answer.reason_code = 0;
    loans_begin(inv);
    return inv;
}

static void uncount(struct invocation *inv) {
    if (!inv->is_counted) return;
    inv->is_counted = false;
    inv->script->events[inv->id].parked--;
    inv->script->calls_parked--;
}

/* Into the pool.  What was lent is still there for the <close> variables of a handler
 * that is cut off. */
static void invocation_end(struct invocation *inv) {
    struct script *s = inv->script;
    if (inv->has_waited) {
        uncount(inv);
        loop_cancel(s->vm->worker->loop, &inv->task->limit);
        inv->has_waited = false;
        inv->deadline_ms = 0;
    }
    if (inv->status != TASK_DONE) task_reset(inv->task);
    if (inv->trace) watch_over(inv);
    loans_end(inv);
    inv->is_used = false;
    inv->next = s->free_invocations;
    s->free_invocations = inv;
}

struct invocation *invoke_present(const struct vm *vm) {
    const struct task *t = task_running(vm);
    return t && t->woken == on_woken ? t->obj : NULL;
}

unsigned invoke_hops(const struct vm *vm) {
    const struct task *t = task_running(vm);
    const struct invocation *inv = invoke_present(vm);
    if (!inv) return t ? t->hops : 0;
    return inv->is_used && inv->message ? inv->message->hops + 1u : 0;
}

bool invocation_describe(lua_State *L, const struct task *t) {
    if (t->woken != on_woken) return false;
    const struct invocation *inv = t->obj;
    lua_pushfstring(L, "%s %s", inv->event->name, inv->handler->closure.name); /* row, what */
    lua_setfield(L, -2, "what");                                               /* row */
    if (!inv->client) return true;
    vm_push_slice(L, inv->client->id); /* row, id */
    lua_setfield(L, -2, "client");     /* row */
    return true;
}

static void cancel_task(struct task *t, void *obj) {
    (void)obj;
    if (t->woken == on_woken && ((struct invocation *)t->obj)->is_used) invocation_end(t->obj);
}

void invocations_cancel(struct script *s) {
    tasks_each(s->vm, cancel_task, NULL);
}

void invocations_free(struct script *s) {
    loans_close_latest(s->vm);
    while (s->free_invocations) {
        struct invocation *inv = s->free_invocations;
        s->free_invocations = inv->next;
        task_put(inv->task);
        free(inv);
    }
}

/* ---- answers ----------------------------------------------------------------------- */

static void log_failure(struct invocation *inv, const char *text) {
    inv->script->vm->failures++;
    struct slice id = inv->client ? inv->client->id : SLICE_NONE;
    log_error(inv->script->vm->log, "policy", "%s handler %s%s%.*s failed: %s", inv->event->name,
              inv->handler->closure.name, id.at ? ", client " : "", SLICE_FMT(id), text);
}

/* What the event does when a handler fails.  True: it is decided. */
static bool fail(struct invocation *inv, const char *text) {
    inv->handler->stats.errors++;
    watch_fail(inv, text);
    log_failure(inv, text);
    task_reset(inv->task);
    inv->status = TASK_DONE;
    inv->answer = (struct answer){ .verdict = inv->handler->on_failure };
    return inv->answer.verdict != VERDICT_NONE;
}

static bool fail_with_error(struct invocation *inv) {
    lua_State *L = inv->script->vm->L;
    task_push_error(L, inv->task); /* text */
    bool decided = fail(inv, lua_tostring(L, -1));
    lua_pop(L, 1); /* */
    return decided;
}

/* What the answer lends is the handler's, and about to go. */
static void keep_texts(const struct answer *a, struct hook_call *call) {
    if (a->reason.at) call->reason = xslicedup(a->reason);
    if (a->server_reference.at) call->server_reference = xslicedup(a->server_reference);
}

/* Reads the handler's result.  True: it decided. */
static bool read_answer(struct invocation *inv) {
    static const char *const words[] = { "nil", "sol.allow()", "sol.deny()", "sol.drop()",
                                         "sol.continue()" };
    lua_State *co = inv->task->co;
    struct answer *a = &inv->answer;
    char text[96];
    if (inv->event->verdicts == 0) return false;
    if (!verdict_read(co, TASK_FIRST, a)) {
        snprintf(text, sizeof text, "it returned a %s; expected nil, true, false or a verdict",
                 luaL_typename(co, TASK_FIRST));
        return fail(inv, text);
    }
    if (a->verdict == VERDICT_NONE) return false;
    if (inv->id == HOOK_DELIVER && a->verdict == VERDICT_DENY) a->verdict = VERDICT_DROP;
    if (!(inv->event->verdicts & VERDICT_BIT(a->verdict))) {
        snprintf(text, sizeof text, "it returned %s, which means nothing here", words[a->verdict]);
        return fail(inv, text);
    }
    if (a->data.at && inv->id != HOOK_AUTH)
        return fail(inv, "it returned sol.allow(data), but data is for auth");
    if (a->data.at && inv->call) auth_reply(inv->call->auth, a->data);
    if (a->server_reference.at && inv->id > HOOK_AUTH)
        return fail(inv,
                    "it returned a server_reference, which is for connect, authenticate, auth");
    if (inv->call) keep_texts(a, inv->call);
    inv->handler->stats.verdicts[a->verdict]++;
    return true;
}

/* ---- the way ------------------------------------------------------------------------ */

void handler_trampoline(struct closure *self, unsigned loop_events) {
    struct handler *h = CONTAINER_OF(self, struct handler, closure);
    struct invocation *inv = h->script->present;
    lua_State *co = inv->task->co;
    (void)loop_events;
    lua_rawgeti(co, LUA_REGISTRYINDEX, h->fn_ref); /* mark, pins, fn */
    inv->status = task_start(inv->task, loans_push(co, inv));
}

static uint64_t clock_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void run_timed(struct invocation *inv, struct handler *h) {
    if (inv->script->watchers) watch_enter(inv, h);
    if (inv->trace) loans_hold(inv); /* it is looked at once more when the call has moved on */
    uint64_t start = clock_us();
    h->closure.fn(&h->closure, 0);
    uint64_t us = clock_us() - start;
    watch_leave(inv);
    unsigned i = us ? 64u - (unsigned)__builtin_clzll(us) : 0;
    h->stats.us += us;
    h->stats.times[i < HANDLER_TIMES ? i : HANDLER_TIMES - 1]++;
}

/* Not a call that is timed: counting takes its time. */
static void run_counted(struct invocation *inv, struct handler *h) {
    uint64_t n = 0;
    uint64_t *outer = count_begin(inv->script->vm, inv->task->co, &n);
    h->closure.fn(&h->closure, 0);
    count_end(inv->script->vm, inv->task->co, outer);
    h->stats.counted++;
    h->stats.instructions += n;
}

static void run_handler(struct invocation *inv, struct handler *h) {
    struct script *s = inv->script;
    struct invocation *outer = s->present;
    uint64_t call = h->stats.calls++;
    inv->handler = h;
    inv->task->may_wait = inv->may_wait && !h->never_waits;
    s->present = inv;
    if ((call & s->untimed) == 0)
        run_timed(inv, h);
    else if (call % HANDLER_COUNTED_EVERY == 1)
        run_counted(inv, h);
    else
        h->closure.fn(&h->closure, 0);
    s->present = outer;
}

/* Takes the latest run's outcome.  True: the event is decided. */
static bool take_outcome(struct invocation *inv) {
    bool decided = false;
    if (inv->status == TASK_FAILED) {
        decided = fail_with_error(inv);
    } else if (inv->task->top >= TASK_FIRST) {
        decided = read_answer(inv);
        lua_settop(inv->task->co, TASK_FIRST - 1); /* mark, pins */
    }
    return decided || !inv->call; /* cancelled meanwhile: nobody listens */
}

/* The handler waits.  False, and it has failed, when too many do. */
static bool park(struct invocation *inv) {
    struct script *s = inv->script;
    struct loop *loop = s->vm->worker->loop;
    struct handler_list *list = &s->events[inv->id];
    struct timer *limit = &inv->task->limit;
    if (s->is_overdue) return false;
    if (!inv->is_counted && list->parked >= s->settings.max_parked) return false;
    if (!inv->is_counted) {
        list->parked++;
        s->calls_parked++;
        inv->is_counted = true;
    }
    inv->has_waited = true;
    inv->handler->stats.waits++;
    loans_hold(inv);
    watch_park(inv);
    if (HOOK_IS_FACT(inv->id))
        inv->call = NULL; /* gone when we return */
    else
        inv->call->verdict = VERDICT_WAIT;
    if (inv->deadline_ms == 0) inv->deadline_ms = loop_now_ms(loop) + s->settings.hook_timeout_ms;
    if (timer_armed(limit)) return true; /* since this handler's first wait */
    closure_set(&limit->closure, on_limit, inv, "hook time-out");
    loop_arm(loop, limit,
             inv->handler->timeout_ms ? loop_now_ms(loop) + inv->handler->timeout_ms
                                      : inv->deadline_ms);
    return true;
}

/* The message the handlers made goes to the call. */
static void take_changes(struct invocation *inv) {
    struct message_box *box = inv->task->pins[PIN_MESSAGE].block;
    if (inv->event->arg != ARG_MESSAGE || !box->changed) return;
    inv->call->changed = message_box_build(inv->task->co, TASK_PIN(PIN_MESSAGE), box);
}

/* The verdict goes to the call, the invocation to its pool. */
static void finish(struct invocation *inv) {
    struct script *s = inv->script;
    struct hook_call *call = inv->call;
    bool has_waited = inv->has_waited;
    if (call) {
        if (inv->answer.verdict <= VERDICT_ALLOW) take_changes(inv);
        call->verdict = inv->answer.verdict;
        call->reason_code = inv->answer.reason_code;
        call->task = NULL;
    }
    invocation_end(inv);
    if (!has_waited) return;
    if (call && call->done) call->done(call);
    script_settle(s);
}

/* The next handler that the call, as the others have left it, concerns; or the list's
 * length. */
static unsigned next_handler(struct invocation *inv) {
    const struct handler_list *list = &inv->script->events[inv->id];
    if (inv->next_handler >= list->len || HOOK_IS_FACT(inv->id)) return list->len;
    const struct slice *topic =
        inv->event->arg == ARG_MESSAGE ? &loans_message_box(inv)->live.topic : NULL;
    return handlers_next(inv->script, inv->call, topic, inv->next_handler);
}

/* Runs handlers from `at` on until one decides or waits, or all had their say. */
static void go_on(struct invocation *inv, unsigned at) {
    const struct handler_list *list = &inv->script->events[inv->id];
    for (; at < list->len; at = next_handler(inv)) {
        inv->next_handler = at + 1;
        run_handler(inv, list->at[at]);
        if (inv->status != TASK_PARKED) {
            if (take_outcome(inv)) break;
        } else {
            if (!inv->call) break; /* cancelled meanwhile */
            if (park(inv)) return;
            if (fail(inv, inv->script->is_overdue ? "its policy was replaced"
                                                  : "too many of its kind wait (max_parked)"))
                break;
        }
    }
    finish(inv);
}

/* A handler that had waited is over, one way or the other. */
static void resume_chain(struct invocation *inv, bool decided) {
    loop_cancel(inv->script->vm->worker->loop, &inv->task->limit);
    uncount(inv);
    if (decided || !inv->call)
        finish(inv);
    else
        go_on(inv, next_handler(inv));
}

static void on_woken(struct task *t, enum task_status status) {
    struct invocation *inv = t->obj;
    struct vm *vm = t->vm;
    bool was = vm_uncap(vm);
    inv->status = status;
    watch_leave(inv);
    if (status != TASK_PARKED)
        resume_chain(inv, take_outcome(inv));
    else if (!inv->call && !HOOK_IS_FACT(inv->id))
        resume_chain(inv, true); /* cancelled */
    else
        watch_park(inv);
    vm->is_capped = was;
}

static void on_limit(struct closure *self, unsigned loop_events) {
    struct invocation *inv = self->obj;
    char text[64];
    (void)loop_events;
    uint32_t own_ms = inv->handler->timeout_ms;
    snprintf(text, sizeof text, "it waited longer than %u ms",
             own_ms ? own_ms : inv->script->settings.hook_timeout_ms);
    inv->handler->stats.timeouts++;
    resume_chain(inv, fail(inv, text));
}

static void give_up_task(struct task *t, void *obj) {
    struct invocation *inv = t->obj;
    (void)obj;
    if (t->woken != on_woken || !inv->is_used || !t->is_parked) return;
    inv->handler->stats.timeouts++;
    resume_chain(inv, fail(inv, "its policy was replaced, and it waited on for reload_timeout"));
}

void invocations_give_up(struct script *s) {
    s->is_overdue = true;
    tasks_each(s->vm, give_up_task, NULL);
}

/* ---- core's calls --------------------------------------------------------------------- */

/* A fact: every handler hears of it in an invocation of its own. */
static void tell(struct script *s, struct hook_call *call) {
    const struct handler_list *list = &s->events[call->event];
    unsigned at = handlers_next(s, call, NULL, 0);
    for (; at < list->len; at = handlers_next(s, call, NULL, at + 1)) {
        struct invocation *inv = invocation_begin(s, call);
        loans_hold(inv); /* a handler may end what a fact is about */
        go_on(inv, at);
    }
}

static void ask(struct script *s, struct hook_call *call) {
    unsigned at = handlers_next(s, call, NULL, 0);
    if (at == s->events[call->event].len) {
        /* A delivery nobody asked to authorize was authorized when it was published. */
        if (call->event == HOOK_AUTHORIZE && call->access.action == ACCESS_DELIVER)
            call->verdict = VERDICT_ALLOW;
        return;
    }
    struct invocation *inv = invocation_begin(s, call);
    call->hooks = &s->port;
    call->task = inv;
    go_on(inv, at);
}

void invoke_run(struct hooks *h, struct hook_call *call) {
    static const struct fact nothing;
    struct script *s = script_of_hooks(h);
    bool was = vm_uncap(s->vm);
    call->verdict = VERDICT_NONE;
    call->reason_code = 0;
    if (s->is_closing) {
        s->vm->is_capped = was;
        return;
    }
    if (!HOOK_IS_FACT(call->event)) {
        ask(s, call);
    } else {
        if (!call->fact) call->fact = &nothing;
        tell(s, call);
    }
    s->vm->is_capped = was;
}

void invoke_cancel(struct hooks *h, struct hook_call *call) {
    struct invocation *inv = call->task;
    (void)h;
    if (!inv) return;
    call->task = NULL;
    inv->call = NULL;
    loans_hold(inv);
    loans_end_request(inv);
    if (inv->task->is_running) return; /* it will find that nobody listens */
    struct script *s = inv->script;
    invocation_end(inv);
    script_settle(s);
}
