/* loans.c -- objects lent to handlers, and their arguments. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/loans.h"

#include "base/mem.h"
#include "core/client.h"
#include "script/handlers.h"
#include "script/lib_client.h"

enum { OPEN_MESSAGE = 1, OPEN_ACCESS = 2 };

static void open_live(struct invocation *inv, unsigned which, int pin) {
    if (!(inv->open & which)) live_begin(inv->task->co, TASK_PIN(pin));
    inv->open |= (uint8_t)which;
}

/* Ends the loans of `which` as far as they are open. */
static void close_live(struct invocation *inv, unsigned which) {
    which &= inv->open;
    if (which & OPEN_MESSAGE) live_end(inv->task->co, TASK_PIN(PIN_MESSAGE));
    if (which & OPEN_ACCESS) live_end(inv->task->co, TASK_PIN(PIN_ACCESS));
    inv->open &= (uint8_t)~which;
}

/* vm->before_entry: what the latest call has left open. */
void loans_close_latest(struct vm *vm) {
    struct script *s = vm->script;
    if (s->latest) close_live(s->latest, s->latest->open);
    s->latest = NULL;
    vm->before_entry = NULL;
}

/* The call is over.  Below other Lua nothing may stay open. */
static void leave_open(struct invocation *inv) {
    struct vm *vm = inv->script->vm;
    if (!inv->open) return;
    if (vm->running) {
        close_live(inv, inv->open);
        return;
    }
    if (vm->before_entry) loans_close_latest(vm);
    inv->script->latest = inv;
    vm->before_entry = loans_close_latest;
}

/* A call begins: what is still open of the latest one is its, if both are this
 * invocation's. */
static void take_open(struct invocation *inv) {
    struct script *s = inv->script;
    if (!s->latest) return;
    if (s->latest != inv) close_live(s->latest, s->latest->open);
    s->latest = NULL;
    s->vm->before_entry = NULL;
}

/* ---- arguments ------------------------------------------------------------------- */

/* Pins the values of a live object, which are on top of the VM's stack. */
static void pin_live(struct invocation *inv, int first) {
    for (int i = LIVE_VALUES - 1; i >= 0; i--) task_pin(inv->script->vm->L, inv->task, first + i);
}

struct message_box *loans_message_box(struct invocation *inv) {
    if (!inv->task->pins[PIN_MESSAGE].ref) {
        message_box_push(inv->script->vm->L); /* message and its values */
        pin_live(inv, PIN_MESSAGE);           /* */
    }
    return inv->task->pins[PIN_MESSAGE].block;
}

static struct access_box *access_box(struct invocation *inv) {
    lua_State *L = inv->script->vm->L;
    if (!inv->task->pins[PIN_ACCESS].ref) {
        loans_message_box(inv);
        access_box_push(L); /* request and its values */
        lua_rawgeti(L, LUA_REGISTRYINDEX, inv->task->pins[PIN_MESSAGE].ref); /* ..., message */
        lua_setiuservalue(L, -LIVE_VALUES - 1, ACCESS_MESSAGE); /* request and its values */
        pin_live(inv, PIN_ACCESS);                              /* */
    }
    return inv->task->pins[PIN_ACCESS].block;
}

static enum request_kind request_of(const struct event *event) {
    switch (event->arg) {
    case ARG_CONNECT: return REQUEST_CONNECT;
    case ARG_CREDENTIALS: return REQUEST_CREDENTIALS;
    case ARG_EXCHANGE: return REQUEST_EXCHANGE;
    case ARG_SUBSCRIPTION: return REQUEST_SUBSCRIPTION;
    default: return REQUEST_FILTER;
    }
}

static void lend_request(struct invocation *inv, void *request) {
    enum request_kind kind = request_of(inv->event);
    struct pin *p = &inv->task->pins[PIN_REQUEST + kind];
    if (!p->ref) {
        request_box_push(inv->script->vm->L, kind);                       /* request */
        task_pin(inv->script->vm->L, inv->task, PIN_REQUEST + (int)kind); /* */
    }
    ((struct request_box *)p->block)->request = request;
    inv->has_request = true;
}

static unsigned lend_message(struct invocation *inv, struct message *m, const char *read_only) {
    if (!m) return 0;
    inv->message = m;
    struct message_box *box = loans_message_box(inv);
    message_box_fill(inv->task->co, TASK_PIN(PIN_MESSAGE), box, m, read_only);
    open_live(inv, OPEN_MESSAGE, PIN_MESSAGE);
    return OPEN_MESSAGE;
}

static unsigned lend_access(struct invocation *inv, const struct access_request *q) {
    struct access_box *box = access_box(inv);
    access_box_fill(inv->task->co, TASK_PIN(PIN_ACCESS), box, q);
    open_live(inv, OPEN_ACCESS, PIN_ACCESS);
    return OPEN_ACCESS;
}

/* Lends the call's objects to the task's userdata; gives those that are to be open. */
static unsigned lend(struct invocation *inv) {
    struct hook_call *call = inv->call;
    switch ((enum event_arg)inv->event->arg) {
    case ARG_NOTHING:
    case ARG_INFO: break;
    case ARG_MESSAGE: return lend_message(inv, call->message, NULL);
    case ARG_TOLD: return lend_message(inv, call->fact->message, "what is told has happened");
    case ARG_ACCESS:
        return lend_message(inv, call->access.message, "authorize decides, publish changes") |
               lend_access(inv, &call->access);
    case ARG_CONNECT:
    case ARG_CREDENTIALS: lend_request(inv, call->connect); break;
    case ARG_EXCHANGE: lend_request(inv, call->auth); break;
    case ARG_SUBSCRIPTION:
    case ARG_FILTER: lend_request(inv, call->subscribe); break;
    }
    return 0;
}

/* Core's request is no longer there. */
void loans_end_request(struct invocation *inv) {
    if (!inv->has_request) return;
    struct pin *p = &inv->task->pins[PIN_REQUEST + request_of(inv->event)];
    ((struct request_box *)p->block)->request = NULL;
    inv->has_request = false;
}

static void let_go(struct invocation *inv) {
    if (inv->holds_refs) {
        client_unref(inv->client);
        message_unref(inv->message);
    }
    inv->holds_refs = false;
    inv->client = NULL;
    inv->message = NULL;
}

/* The scripts have had their say. */
void loans_end(struct invocation *inv) {
    struct task *t = inv->task;
    loans_end_request(inv);
    if (inv->message) message_box_clear(t->co, TASK_PIN(PIN_MESSAGE), t->pins[PIN_MESSAGE].block);
    leave_open(inv);
    let_go(inv);
}

/* It may outlive what its call lends it. */
void loans_hold(struct invocation *inv) {
    if (inv->holds_refs) return;
    inv->holds_refs = true;
    if (inv->client) client_ref(inv->client);
    if (inv->message) {
        must(!inv->message->in_batch); /* else scripts would have to be shown another */
        message_ref(inv->message);
    }
}

/* Lends what the call is about, and nothing else is open. */
void loans_begin(struct invocation *inv) {
    take_open(inv);
    unsigned lent = lend(inv);
    if (inv->open != lent) close_live(inv, ~lent);
}

/* ---- as Lua sees it --------------------------------------------------------------- */

static void set_info(lua_State *L, const char *name, const char *text) {
    if (!text) return;
    lua_pushstring(L, text);   /* info, text */
    lua_setfield(L, -2, name); /* info */
}

static void set_number(lua_State *L, const char *name, lua_Integer value) {
    lua_pushinteger(L, value); /* info, value */
    lua_setfield(L, -2, name); /* info */
}

/* Pushes a fact as a table. [-0, +1, m] */
static void push_info(lua_State *L, enum hook_event event, const struct fact *f) {
    lua_createtable(L, 0, 4); /* info */
    switch (event) {
    case HOOK_SUBSCRIBED:
        set_number(L, "qos", f->qos);
        /* fall through */
    case HOOK_UNSUBSCRIBED:
        set_info(L, "reason", f->reason);
        vm_push_slice(L, f->topic);    /* info, filter */
        lua_setfield(L, -2, "filter"); /* info */
        break;
    case HOOK_CONNECTED:
        lua_pushboolean(L, f->session_present); /* info, present */
        lua_setfield(L, -2, "session_present"); /* info */
        break;
    case HOOK_REFUSED:
        set_info(L, "action", f->action);
        if (f->topic.at) {
            vm_push_slice(L, f->topic);   /* info, topic */
            lua_setfield(L, -2, "topic"); /* info */
        }
        set_info(L, "reason", f->reason);
        set_number(L, "reason_code", f->reason_code);
        break;
    default:
        set_info(L, "reason", f->reason);
        set_number(L, "reason_code", f->reason_code);
        lua_pushboolean(L, f->is_normal); /* info, normal */
        lua_setfield(L, -2, "normal");    /* info */
    }
}

static void push_generations(lua_State *L, const struct fact *f) {
    lua_createtable(L, 0, 2); /* info */
    set_number(L, "generation", f->generation);
    set_number(L, "old_generation", f->old_generation);
}

/* Pushes a handler's arguments on the task's coroutine and gives their number. [-0, +n, m] */
int loans_push(lua_State *co, struct invocation *inv) {
    if (inv->event->arg == ARG_NOTHING) {
        if (inv->id != HOOK_RELOAD) return 0;
        push_generations(co, inv->call->fact); /* ..., info */
        return 1;
    }
    client_push(co, inv->client); /* ..., client */
    switch ((enum event_arg)inv->event->arg) {
    case ARG_MESSAGE: lua_pushvalue(co, TASK_PIN(PIN_MESSAGE)); return 2;
    case ARG_INFO: push_info(co, inv->id, inv->call->fact); return 2;
    case ARG_TOLD:
        if (inv->message)
            lua_pushvalue(co, TASK_PIN(PIN_MESSAGE)); /* ..., client, message */
        else
            lua_pushnil(co);
        lua_pushstring(co, inv->call->fact->reason); /* ..., client, message, reason */
        return 3;
    case ARG_ACCESS: lua_pushvalue(co, TASK_PIN(PIN_ACCESS)); return 2;
    default: lua_pushvalue(co, TASK_PIN(PIN_REQUEST + (int)request_of(inv->event))); return 2;
    }
}
