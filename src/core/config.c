/* config.c -- defaults and ownership of the settings. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/config.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct config *config_new(void) {
    static const struct config defaults = CONFIG_DEFAULTS;
    struct config *c = xmalloc(sizeof *c);
    *c = defaults;
    return c;
}

void config_free(struct config *c) {
    if (!c) return;
    for (unsigned i = 0; i < c->listeners_len; i++) {
        free(c->listeners[i].url);
        free(c->listeners[i].mount_point);
    }
    free(c->listeners);
    free(c->admin_socket);
    free(c->store);
    free(c);
}

struct listen_config *config_add_listener(struct config *c, const char *url, int backlog,
                                          int mode) {
    c->listeners = xrealloc(c->listeners, (c->listeners_len + 1) * sizeof *c->listeners);
    struct listen_config *l = &c->listeners[c->listeners_len++];
    *l = (struct listen_config){
        .url = xstrdup(url), .backlog = backlog, .mode = mode, .limits = c->limits
    };
    l->limits.max_connections = 0; /* the global one counts all together */
    return l;
}

const struct listen_config *config_listener(const struct config *c, const char *url) {
    for (unsigned i = 0; i < c->listeners_len; i++)
        if (strcmp(c->listeners[i].url, url) == 0) return &c->listeners[i];
    return NULL;
}

uint32_t config_most_bytes(const struct config *c) {
    uint32_t most = c->limits.max_packet_size;
    for (unsigned i = 0; i < c->listeners_len; i++) {
        uint32_t one = c->listeners[i].limits.max_packet_size;
        if (one > most) most = one;
    }
    return most;
}
