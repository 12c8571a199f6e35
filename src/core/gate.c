/* gate.c -- one entry a listener, kept up to date as connections come. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/gate.h"

#include "base/mem.h"
#include "core/config.h"
#include "core/limits.h"
#include "core/worker.h"

#include <stdlib.h>
#include <string.h>

/* Those who came before keep what they have. */
static void refresh(struct gate *g, const struct config *config) {
    const struct listen_config *l = config_listener(config, g->url);
    struct limits limits = l ? l->limits : config->limits;
    struct slice mount = slice_str(l ? l->mount_point : NULL);
    if (!l) limits.max_connections = 0; /* the global one is asked by itself */
    if (!g->limits || memcmp(g->limits, &limits, sizeof limits) != 0) {
        limits_unref(g->limits);
        g->limits = limits_share(&limits);
    }
    if (slice_eq(g->mount, mount)) return;
    free((void *)(uintptr_t)g->mount.at);
    g->mount = slice_of(xslicedup(mount), mount.len);
}

void gate_totals_init(struct broker *b, const struct config *config) {
    b->gate_totals = xcalloc(config->listeners_len, sizeof *b->gate_totals);
    for (unsigned i = 0; i < config->listeners_len; i++)
        b->gate_totals[b->gate_totals_len++].url = xstrdup(config->listeners[i].url);
}

void gate_totals_deinit(struct broker *b) {
    for (unsigned i = 0; i < b->gate_totals_len; i++) free(b->gate_totals[i].url);
    free(b->gate_totals);
    b->gate_totals = NULL;
    b->gate_totals_len = 0;
}

static _Atomic unsigned *find_total(const struct broker *b, const char *url) {
    for (unsigned i = 0; i < b->gate_totals_len; i++)
        if (strcmp(b->gate_totals[i].url, url) == 0) return &b->gate_totals[i].connected;
    return NULL;
}

struct gate *gate_get(struct worker *w, const char *url) {
    struct gate *g = w->gates;
    while (g && strcmp(g->url, url) != 0) g = g->next;
    if (!g) {
        g = xcalloc(1, sizeof *g);
        g->url = xstrdup(url);
        g->connected = find_total(w->broker, url);
        if (!g->connected) g->connected = &g->own;
        g->next = w->gates;
        w->gates = g;
    }
    refresh(g, w->config);
    return g;
}

void gates_free(struct worker *w) {
    while (w->gates) {
        struct gate *g = w->gates;
        w->gates = g->next;
        limits_unref(g->limits);
        free((void *)(uintptr_t)g->mount.at);
        free(g->url);
        free(g);
    }
}
