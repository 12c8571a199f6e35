/* policy.c -- one generation from file to grave: load, attach, retire. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/policy.h"

#include "base/clock.h"
#include "base/mem.h"
#include "core/worker.h"
#include "script/conf.h"
#include "script/console.h"
#include "script/handlers.h"
#include "script/invoke.h"
#include "script/lib.h"
#include "script/lib_client.h"
#include "script/lib_publish.h"
#include "script/lib_shared.h"
#include "script/lib_subscribe.h"
#include "script/lib_time.h"
#include "script/live.h"
#include "script/net.h"
#include "script/obj_message.h"
#include "script/obj_request.h"
#include "script/sandbox.h"
#include "script/settings.h"
#include "script/script.h"
#include "script/shared.h"
#include "script/task.h"
#include "script/watch.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where `make install` puts the plugins. */
#ifndef SOL_PLUGIN_DIR
#define SOL_PLUGIN_DIR "plugins"
#endif

#define LOAD_BUDGET_MS 5000
#define DEFAULT_URL    "mqtt://localhost:1883"

/* ---- life ------------------------------------------------------------------------ */

static void script_free(struct script *s) {
    struct vm *vm = s->vm;
    hooks_settled(&s->port);
    if (vm->worker) loop_cancel(vm->worker->loop, &s->deadline);
    closure_deinit(&s->deadline.closure);
    closure_deinit(&s->end.closure);
    timers_retire(s);
    subscriptions_retire(s);
    publishing_retire(s, false);
    invocations_free(s);
    tasks_deinit(vm);
    vm_close(vm); /* its userdata may still look at handlers and clients */
    net_deinit(vm);
    clients_deinit(vm);
    handlers_free(s);
    vm->script = NULL;
    vm_unref(vm);
    shared_close(s);
    shared_unref(s->shared);
    free(s->path);
    free(s->folder);
    free(s->plugin_path);
    free(s->settings.admin_socket);
    free(s->settings.store);
    free(s);
}

static void on_deadline(struct closure *self, unsigned loop_events) {
    struct script *s = self->obj;
    (void)loop_events;
    invocations_give_up(s);
    console_end(s, "its policy was replaced, and it went on for reload_timeout");
}

static void on_end(struct closure *self, unsigned loop_events) {
    (void)loop_events;
    script_free(self->obj);
}

/* At the end of the turn: whoever told us may still have our frames below it. */
void script_settle(struct script *s) {
    if (!s->is_retired || s->calls_parked > 0 || s->evaluations) return;
    s->end.closure = (struct closure){ .fn = on_end, .obj = s, .name = "policy end" };
    loop_defer(s->vm->worker->loop, &s->end);
}

/* ---- the port ---------------------------------------------------------------------- */

static uint32_t port_wants(struct hooks *h, struct slice topic) {
    return handlers_want(script_of_hooks(h), topic);
}

static void port_attach(struct hooks *h, struct worker *w) {
    struct script *s = script_of_hooks(h);
    int r = vm_attach(s->vm, w, s->settings.hook_budget_ms);
    if (r < 0)
        log_error(s->vm->log, "policy", "no timer, so no budget for hooks: %s", strerror(-r));
    timers_attach(s);
    subscriptions_attach(s);
}

static void port_retire(struct hooks *h, bool at_once) {
    struct script *s = script_of_hooks(h);
    s->is_retired = true;
    watch_pass_on(s, s->vm->worker && !at_once ? s->vm->worker->hooks : NULL);
    if (!s->vm->worker) {
        script_free(s);
        return;
    }
    timers_retire(s);
    subscriptions_retire(s);
    if (at_once) {
        s->is_closing = true; /* <close> handlers run now: they start nothing new */
        invocations_cancel(s);
        console_end(s, "the broker is stopping");
        loop_cancel(s->vm->worker->loop, &s->deadline);
        publishing_retire(s, true);
        loop_undefer(&s->end);
        script_free(s);
        return;
    }
    s->deadline.closure =
        (struct closure){ .fn = on_deadline, .obj = s, .name = "policy deadline" };
    loop_arm(s->vm->worker->loop, &s->deadline,
             loop_now_ms(s->vm->worker->loop) + s->settings.reload_timeout_ms);
    script_settle(s);
}

static void port_forget(struct hooks *h, struct client *c) {
    clients_forget(script_of_hooks(h)->vm, c);
}

static void port_auth_over(struct hooks *h, struct client *c, struct auth_exchange *x) {
    struct vm *vm = script_of_hooks(h)->vm;
    bool was = vm_uncap(vm);
    exchange_forget(vm->L, x);
    clients_rename(vm, c);
    vm->is_capped = was;
}

/* The folder of the plugins that belong to this very binary: beside an installed one, or
 * in the tree it was built in (build/MODE/sol); free() it. */
static char *default_plugin_path(void) {
    char exe[PATH_MAX], installed[PATH_MAX + 32], built[PATH_MAX + 32];
    struct stat st;
    ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[len < 0 ? 0 : len] = '\0';
    char *slash = strrchr(exe, '/');
    if (slash) *slash = '\0';
    snprintf(installed, sizeof installed, "%s/../share/sol/plugins", exe);
    snprintf(built, sizeof built, "%s/../../plugins", exe);
    if (slash && stat(installed, &st) == 0) return xstrdup(installed);
    if (slash && stat(built, &st) == 0) return realpath(built, NULL);
    return xstrdup(SOL_PLUGIN_DIR);
}

void policy_files_deinit(struct policy_files *f) {
    for (unsigned i = 0; i < f->len; i++) free(f->at[i]);
    free(f->at);
    free(f->stats);
    *f = (struct policy_files){ NULL, NULL, 0 };
}

const char *policy_files_changed(const struct policy_files *f) {
    for (unsigned i = 0; i < f->len; i++) {
        struct stat now = { 0 }, was = f->stats[i];
        if (stat(f->at[i], &now) < 0) now = (struct stat){ 0 };
        if (now.st_dev != was.st_dev || now.st_ino != was.st_ino || now.st_size != was.st_size ||
            now.st_mtim.tv_sec != was.st_mtim.tv_sec || now.st_mtim.tv_nsec != was.st_mtim.tv_nsec)
            return f->at[i];
    }
    return NULL;
}

static struct script *script_new(const struct policy_opts *opts) {
    static const struct config defaults = CONFIG_DEFAULTS;
    struct script *s = xcalloc(1, sizeof *s);
    s->port = (struct hooks){ .wants = port_wants,
                              .run = invoke_run,
                              .cancel = invoke_cancel,
                              .attach = port_attach,
                              .retire = port_retire,
                              .granted = watch_granted,
                              .forget = port_forget,
                              .auth_over = port_auth_over };
    s->generation = opts->generation;
    s->is_first = opts->worker == 0;
    s->vm = vm_new(opts->log, defaults.vm_memory, LOAD_BUDGET_MS);
    s->vm->script = s;
    s->is_loading = true;
    s->clock = opts->clock ? opts->clock : &clock_system;
    s->shared = opts->shared ? shared_ref(opts->shared) : shared_new(s->clock);
    s->kv = opts->kv;
    s->files = opts->files;
    s->untimed = HANDLER_UNTIMED;
    s->path = opts->path ? xstrdup(opts->path) : NULL;
    s->text = opts->text;
    s->compiled = opts->compiled;
    s->offline = opts->offline;
    const char *slash = opts->path ? strrchr(opts->path, '/') : NULL;
    if (!slash)
        s->folder = xstrdup(".");
    else if (slash == opts->path)
        s->folder = xstrdup("/");
    else
        s->folder = xslicedup(slice_of(opts->path, (size_t)(slash - opts->path)));
    const char *plugins = opts->plugin_path ? opts->plugin_path : getenv("SOL_PLUGINS");
    s->plugin_path = plugins && *plugins ? xstrdup(plugins) : default_plugin_path();
    tasks_init(s->vm);
    return s;
}

/* ---- the prelude's primitives --------------------------------------------------------- */

static int native_kind(lua_State *L) {
    struct stat st;
    const char *path = luaL_checkstring(L, 1);
    if (stat(path, &st) < 0) return 0;
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) return 0;
    lua_pushstring(L, S_ISDIR(st.st_mode) ? "folder" : "file"); /* path, kind */
    return 1;
}

static int native_list(lua_State *L) {
    DIR *dir = opendir(luaL_checkstring(L, 1));
    bool was = vm_uncap(vm_of(L)); /* nothing may raise while it is open */
    lua_Integer n = 0;
    lua_newtable(L); /* folder, names */
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        lua_pushstring(L, e->d_name); /* folder, names, name */
        lua_rawseti(L, -2, ++n);      /* folder, names */
    }
    if (dir) closedir(dir);
    vm_of(L)->is_capped = was;
    return 1;
}

static int native_load_file(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    return sandbox_load_file(L, path); /* path, fn or nil, error */
}

static int native_is_loading(lua_State *L) {
    lua_pushboolean(L, script_of(L)->is_loading); /* answer */
    return 1;
}

static const luaL_Reg natives[] = {
    { "is_loading", native_is_loading }, { "kind", native_kind },           { "list", native_list },
    { "suggest", lib_suggest },          { "load_file", native_load_file }, { NULL, NULL },
};

/* Pushes the list of folders in a ':'-separated path. [-0, +1, m] */
static void push_path(lua_State *L, const char *path) {
    lua_Integer n = 0;
    lua_newtable(L); /* folders */
    while (*path) {
        size_t len = strcspn(path, ":");
        lua_pushlstring(L, path, len); /* folders, folder */
        if (len)
            lua_rawseti(L, -2, ++n); /* folders */
        else
            lua_pop(L, 1);
        path += len + (path[len] == ':');
    }
}

/* Pushes what the prelude is given. [-0, +1, m] */
static void push_native(lua_State *L, struct script *s) {
    luaL_newlib(L, natives);                        /* native */
    sandbox_push(L);                                /* native, globals */
    lua_getfield(L, -1, "sol");                     /* native, globals, sol */
    lua_setfield(L, -3, "sol");                     /* native, globals */
    lua_setfield(L, -2, "globals");                 /* native */
    lua_getfield(L, LUA_REGISTRYINDEX, "sol.load"); /* native, load */
    lua_setfield(L, -2, "load");                    /* native */
    lua_pushstring(L, s->folder);                   /* native, folder */
    lua_setfield(L, -2, "folder");                  /* native */
    push_path(L, s->plugin_path);                   /* native, folders */
    lua_setfield(L, -2, "plugin_path");             /* native */
}

/* ---- loading ---------------------------------------------------------------------------- */

/* Pushes sol.lua's environment. [-0, +1, e] */
static void push_environment(lua_State *L, struct script *s) {
    push_native(L, s);                                  /* native */
    sandbox_run(L, "prelude", 1);                       /* prelude */
    lua_getfield(L, -1, "builtins");                    /* prelude, builtins */
    lua_pushvalue(L, -1);                               /* prelude, builtins, builtins */
    lua_setfield(L, LUA_REGISTRYINDEX, "sol.builtins"); /* prelude, builtins */
    conf_push_environment(L, s);                        /* prelude, env */
    lua_getfield(L, -2, "furnish");                     /* prelude, env, furnish */
    lua_getfield(L, -3, "builtins");                    /* prelude, env, furnish, builtins */
    lua_pushvalue(L, -3);                               /* prelude, env, furnish, builtins, env */
    lua_pushstring(L, s->folder); /* prelude, env, furnish, builtins, env, folder */
    lua_call(L, 3, 0);            /* prelude, env */
    lua_remove(L, -2);            /* env */
    lua_pushvalue(L, -1);         /* env, env */
    lua_setfield(L, LUA_REGISTRYINDEX, "sol.env"); /* env */
}

/* Everything that may raise, in one protected call.  Argument: the script. */
static int load(lua_State *L) {
    struct script *s = lua_touserdata(L, 1);
    lua_settop(L, 0);
    /* Nearly all that is made here stays: let the heap grow tenfold between collections. */
    lua_gc(L, LUA_GCINC, 1000, 0, 0);
    sandbox_open(L); /* globals */
    live_register(L);
    message_register(L);
    request_register(L);
    clients_init(s->vm);
    lua_settop(L, 0);
    push_environment(L, s);          /* env */
    lua_gc(L, LUA_GCINC, 200, 0, 0); /* as always, after the next one */
    if (!s->path) return 0;
    int results =
        s->text.at ? sandbox_load_text(L, s->path, s->text) : sandbox_load_file(L, s->path);
    if (results != 1) return lua_error(L); /* nil, error */
    lua_call(L, 0, 0);                     /* */
    return 0;
}

/* A configuration error reads best without its traceback. */
static char *error_text(const char *text) {
    const char *end = strstr(text, "\nstack traceback:");
    return end ? xslicedup(slice_of(text, (size_t)(end - text))) : xstrdup(text);
}

static void loaded(struct script *s, struct policy *out) {
    struct config *c = s->config;
    if (c->listeners_len == 0) config_add_listener(c, DEFAULT_URL, 0, 0);
    if (!s->path && c->limits.allow_anonymous == UNSET) c->limits.allow_anonymous = YES;
    settings_spread(c);
    s->settings = *c;
    s->settings.listeners = NULL;
    s->settings.listeners_len = 0;
    if (c->admin_socket) s->settings.admin_socket = xstrdup(c->admin_socket);
    if (c->store) s->settings.store = xstrdup(c->store);
    s->vm->cap_bytes = c->vm_memory;
    s->config = NULL;
    s->text = SLICE_NONE;
    s->compiled = NULL;
    s->is_loading = false;
    s->files = NULL;
    shared_settle(s);
    *out = (struct policy){ .config = c, .hooks = &s->port };
}

int policy_load(const struct policy_opts *opts, struct policy *out, char **error) {
    struct script *s = script_new(opts);
    lua_State *L = s->vm->L;
    s->config = config_new();
    lua_pushcfunction(L, load);  /* load */
    lua_pushlightuserdata(L, s); /* load, script */
    if (vm_call(L, 1, 0) == LUA_OK) {
        loaded(s, out);
        return 0;
    }
    *error = error_text(lua_tostring(L, -1)); /* text */
    config_free(s->config);
    script_free(s);
    return -EINVAL;
}
