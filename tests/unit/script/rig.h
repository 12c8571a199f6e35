/* rig.h -- a policy under test: real hooks on a worker that is never started.
 *
 * Everything runs on the test's thread; the log goes to a memory file. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TEST_SCRIPT_RIG_H
#define TEST_SCRIPT_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "core/client.h"
#include "core/worker.h"
#include "script/policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct rig {
    struct log log;
    int log_fd;
    char *text;    /* of the log, as rig_log last read it; owned */
    char path[64]; /* of sol.lua */
    struct broker *broker;
    struct worker *w;
    struct hooks *h;
    struct client *client; /* "c1", user "ann" */
    int answers;           /* calls of done */
};

/* Loads `lua`; NULL, or the error (free() it). */
static inline char *rig_load(struct rig *r, const char *lua, struct policy *out) {
    char *error = NULL;
    FILE *f = fopen(r->path, "w");
    must(f != NULL);
    fputs(lua, f);
    fclose(f);
    policy_load(
        &(struct policy_opts){
            .path = r->path, .plugin_path = "plugins", .log = &r->log, .generation = 1 },
        out, &error);
    unlink(r->path);
    return error;
}

static inline void rig_init(struct rig *r) {
    memset(r, 0, sizeof *r);
    r->log_fd = memfd_create("log", 0);
    log_init(&r->log, r->log_fd, LOG_DEBUG, LOG_TEXT);
    snprintf(r->path, sizeof r->path, "/tmp/test_script.%d.lua", getpid());
}

/* A policy in place, a client connected. */
static inline void rig_open(struct rig *r, const char *lua) {
    struct policy policy;
    rig_init(r);
    char *error = rig_load(r, lua, &policy);
    if (error) fail_msg("%s", error);
    r->broker = broker_new(&r->log, policy.config, policy.hooks);
    r->w = &r->broker->workers[0];
    r->h = policy.hooks;
    r->h->attach(r->h, r->w);
    r->client = client_new(r->w, "127.0.0.1:4711", "mqtt://localhost:1883");
    client_set_id(r->client, SLICE("c1"));
    client_set_username(r->client, SLICE("ann"));
    r->client->version = 5;
}

static inline void rig_close(struct rig *r) {
    client_unref(r->client);
    broker_free(r->broker);
    close(r->log_fd);
    free(r->text);
}

static inline const char *rig_log(struct rig *r) {
    off_t len = lseek(r->log_fd, 0, SEEK_END);
    free(r->text);
    r->text = xcalloc(1, (size_t)len + 1);
    must(pread(r->log_fd, r->text, (size_t)len, 0) == len);
    return r->text;
}

static inline void assert_logged(struct rig *r, const char *part) {
    if (!strstr(rig_log(r), part)) fail_msg("\"%s\" is not in:\n%s", part, r->text);
}

static inline void assert_not_logged(struct rig *r, const char *part) {
    if (strstr(rig_log(r), part)) fail_msg("\"%s\" is in:\n%s", part, r->text);
}

static inline void rig_on_done(struct hook_call *call) {
    ((struct rig *)call->obj)->answers++;
}

static inline struct message *rig_message(const char *topic, const char *payload) {
    return message_new(&(struct message_parts){
        .topic = slice_str(topic), .payload = slice_str(payload), .expires_ms = MESSAGE_NEVER });
}

/* Asks about a publish; the call's messages are to be freed with rig_over. */
static inline void rig_publish(struct rig *r, struct hook_call *call, const char *topic,
                               const char *payload) {
    *call = (struct hook_call){ .event = HOOK_PUBLISH,
                                .client = r->client,
                                .message = rig_message(topic, payload),
                                .done = rig_on_done,
                                .obj = r };
    r->h->run(r->h, call);
}

/* The message as the hooks have left it. */
static inline struct message *rig_left(const struct hook_call *call) {
    return call->changed ? call->changed : call->message;
}

static inline void rig_over(struct hook_call *call) {
    message_unref(call->message);
    message_unref(call->changed);
    hook_call_deinit(call);
}

static inline void rig_tell(struct rig *r, enum hook_event event, const struct fact *fact) {
    hooks_tell(r->h, event, r->client, fact);
}

/* Turns the loop for `ms`. */
static inline void rig_turn(struct rig *r, uint64_t ms) {
    uint64_t end = loop_clock_refresh(r->w->loop) / 1000000 + ms;
    do loop_turn(r->w->loop, 1);
    while (loop_now_ms(r->w->loop) < end);
}

/* Turns the loop until a call has been answered `n` times, or too long. */
static inline void rig_wait(struct rig *r, int n) {
    for (int i = 0; i < 5000 && r->answers < n; i++) loop_turn(r->w->loop, 1);
    assert_int_equal(r->answers, n);
}

#endif
