/* config.c -- defaults and ownership of the settings. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/config.h"

#include "base/mem.h"

#include <stdlib.h>

struct config *config_new(void) {
    static const struct config defaults = CONFIG_DEFAULTS;
    struct config *c = xmalloc(sizeof *c);
    *c = defaults;
    return c;
}

void config_free(struct config *c) {
    if (!c) return;
    for (unsigned i = 0; i < c->listeners_len; i++) free(c->listeners[i].url);
    free(c->listeners);
    free(c);
}

void config_add_listener(struct config *c, const char *url, int backlog, int mode) {
    c->listeners = xrealloc(c->listeners, (c->listeners_len + 1) * sizeof *c->listeners);
    c->listeners[c->listeners_len++] =
        (struct listen_config){ .url = xstrdup(url), .backlog = backlog, .mode = mode };
}
