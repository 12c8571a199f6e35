/* sys.c -- figures, published retained when they have changed.
 *
 * A load is the mosquitto kind: a moving average per minute over 1, 5 and 15 minutes. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/sys.h"

#include "base/mem.h"
#include "core/retain.h"
#include "core/publish.h"
#include "core/subs.h"
#include "core/worker.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef uint64_t figure_fn(struct worker *w);

#define COUNTER(name, member)                                                                      \
    static uint64_t name(struct worker *w) {                                                       \
        return BROKER_SUM(w->broker, member);                                                      \
    }
COUNTER(messages_in, messages_in)
COUNTER(messages_out, messages_out)
COUNTER(bytes_in, bytes_in)
COUNTER(bytes_out, bytes_out)
COUNTER(connections, connections)
COUNTER(expired, dropped_expired)
COUNTER(sessions_expired, sessions_expired)

COUNTER(total, sessions)

static uint64_t connected(struct worker *w) {
    return atomic_load(&w->broker->connected);
}

static uint64_t most_connected(struct worker *w) {
    return w->broker->most_connected;
}
static uint64_t dropped(struct worker *w) {
    const struct broker *b = w->broker;
    return BROKER_SUM(b, dropped_queue_full) + BROKER_SUM(b, dropped_slow_reader) +
           BROKER_SUM(b, dropped_too_large) + BROKER_SUM(b, dropped_expired) +
           BROKER_SUM(b, dropped_by_hook);
}
static uint64_t disconnected(struct worker *w) {
    uint64_t all = total(w), present = connected(w); /* workers count on meanwhile */
    return all > present ? all - present : 0;
}
static uint64_t retained(struct worker *w) {
    return retain_count(w->broker->retained);
}
static uint64_t subscriptions(struct worker *w) {
    return subs_count(w->broker->subs);
}

static const struct {
    const char *topic; /* below $SYS/broker/ */
    figure_fn *figure;
} figures[] = {
    { "clients/connected", connected },
    { "clients/active", connected },
    { "clients/disconnected", disconnected },
    { "clients/inactive", disconnected },
    { "clients/total", total },
    { "clients/maximum", most_connected },
    { "clients/expired", sessions_expired },
    { "messages/received", messages_in },
    { "messages/sent", messages_out },
    { "publish/messages/received", messages_in },
    { "publish/messages/sent", messages_out },
    { "publish/messages/dropped", dropped },
    { "publish/messages/expired", expired },
    { "bytes/received", bytes_in },
    { "bytes/sent", bytes_out },
    { "retained messages/count", retained },
    { "subscriptions/count", subscriptions },
};

static const struct {
    const char *topic; /* below $SYS/broker/load/ */
    figure_fn *figure;
} loads[] = {
    { "messages/received", messages_in }, { "messages/sent", messages_out },
    { "publish/received", messages_in },  { "publish/sent", messages_out },
    { "publish/dropped", dropped },       { "bytes/received", bytes_in },
    { "bytes/sent", bytes_out },          { "connections", connections },
};

static const unsigned minutes[] = { 1, 5, 15 };

struct sys {
    struct worker *worker; /* lent */
    struct timer timer;
    uint64_t started_ms, last_ms;
    uint64_t told[ARRAY_LEN(figures)];
    bool is_told; /* told[] says what was published */
    uint64_t seen[ARRAY_LEN(loads)];
    double average[ARRAY_LEN(loads)][ARRAY_LEN(minutes)]; /* per minute */
};

static void say(struct sys *s, const char *topic, const char *text) {
    char name[96];
    snprintf(name, sizeof name, "$SYS/broker/%s", topic);
    publish_trusted(s->worker, &(struct message_parts){ .topic = slice_str(name),
                                                        .payload = slice_str(text),
                                                        .expires_ms = MESSAGE_NEVER,
                                                        .qos = 1,
                                                        .retain = true });
}

static void say_figures(struct sys *s) {
    char text[32];
    for (size_t i = 0; i < ARRAY_LEN(figures); i++) {
        uint64_t now = figures[i].figure(s->worker);
        if (s->is_told && now == s->told[i]) continue;
        s->told[i] = now;
        snprintf(text, sizeof text, "%" PRIu64, now);
        say(s, figures[i].topic, text);
    }
    s->is_told = true;
}

static void say_load(struct sys *s, size_t i, double elapsed_minutes) {
    uint64_t now = loads[i].figure(s->worker);
    double rate = (double)(now - s->seen[i]) / elapsed_minutes;
    s->seen[i] = now;
    for (size_t k = 0; k < ARRAY_LEN(minutes); k++) {
        char topic[64], text[32];
        double weight = exp(-elapsed_minutes / minutes[k]), *average = &s->average[i][k];
        double next = rate + weight * (*average - rate);
        if (fabs(next - *average) < 0.005) continue;
        *average = next;
        snprintf(topic, sizeof topic, "load/%s/%umin", loads[i].topic, minutes[k]);
        snprintf(text, sizeof text, "%.2f", next);
        say(s, topic, text);
    }
}

static void on_time(struct closure *self, unsigned events) {
    struct sys *s = self->obj;
    uint64_t now = loop_now_ms(s->worker->loop);
    char text[48];
    (void)events;
    snprintf(text, sizeof text, "%" PRIu64 " seconds", (now - s->started_ms) / 1000);
    say(s, "uptime", text);
    say_figures(s);
    for (size_t i = 0; now > s->last_ms && i < ARRAY_LEN(loads); i++)
        say_load(s, i, (double)(now - s->last_ms) / 60000.0);
    s->last_ms = now;
    sys_reconfigure(s);
}

void sys_reconfigure(struct sys *s) {
    uint32_t interval_ms = s->worker->config->sys_interval_ms;
    if (interval_ms)
        loop_arm(s->worker->loop, &s->timer, loop_now_ms(s->worker->loop) + interval_ms);
    else
        loop_cancel(s->worker->loop, &s->timer);
}

struct sys *sys_new(struct worker *w) {
    struct sys *s = xcalloc(1, sizeof *s);
    s->worker = w;
    s->timer.closure = (struct closure){ .fn = on_time, .obj = s, .name = "$SYS" };
    s->started_ms = s->last_ms = loop_now_ms(w->loop);
    if (w->config->sys_interval_ms) {
        say(s, "version", "sol " SOL_VERSION);
        on_time(&s->timer.closure, 0);
    }
    return s;
}

void sys_free(struct sys *s) {
    if (!s) return;
    loop_cancel(s->worker->loop, &s->timer);
    closure_deinit(&s->timer.closure);
    free(s);
}
