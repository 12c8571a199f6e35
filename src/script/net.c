/* net.c -- the parts a VM reaches the world with, each made when first used. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "script/net.h"

#include "base/mem.h"
#include "core/worker.h"
#include "io/fetch.h"
#include "io/pool.h"
#include "io/resolver.h"
#include "io/tls.h"
#include "script/vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONTEXTS_MAX 64 /* different sets of TLS options kept */

struct trust {
    char *key; /* owned: the options as one text */
    struct tls_context *context;
};

struct net {
    char *servers; /* owned; NULL: the system's */
    struct resolver *resolver;
    struct pools *pools;
    struct fetcher *fetcher;
    struct trust trusts[CONTEXTS_MAX];
    unsigned trusts_len;
    unsigned sockets;
};

static struct net *net_of(struct vm *vm) {
    if (!vm->net) vm->net = xcalloc(1, sizeof *vm->net);
    return vm->net;
}

static void trust_drop(struct trust *t) {
    free(t->key);
    tls_context_unref(t->context);
}

void net_deinit(struct vm *vm) {
    struct net *n = vm->net;
    if (!n) return;
    fetcher_free(n->fetcher);
    pools_free(n->pools);
    resolver_free(n->resolver);
    for (unsigned i = 0; i < n->trusts_len; i++) trust_drop(&n->trusts[i]);
    free(n->servers);
    free(n);
    vm->net = NULL;
}

void net_set_servers(struct vm *vm, const char *servers) {
    struct net *n = net_of(vm);
    free(n->servers);
    n->servers = xstrdup(servers);
}

struct resolver *net_resolver(struct vm *vm, const char **why) {
    struct net *n = net_of(vm);
    if (!n->resolver) n->resolver = resolver_new(vm->worker->loop, n->servers, why);
    return n->resolver;
}

struct pools *net_pools(struct vm *vm) {
    struct net *n = net_of(vm);
    if (!n->pools) n->pools = pools_new(vm->worker->loop);
    return n->pools;
}

struct fetcher *net_fetcher(struct vm *vm) {
    struct net *n = net_of(vm);
    if (!n->fetcher) n->fetcher = fetcher_new(vm->worker->loop);
    return n->fetcher;
}

static const char *or_none(const char *text) {
    return text ? text : "";
}

struct tls_context *net_tls(struct vm *vm, const struct tls_client_opts *o, char **why) {
    struct net *n = net_of(vm);
    char *key = NULL;
    must(asprintf(&key, "%s\n%s\n%s\n%d", or_none(o->ca), or_none(o->cert), or_none(o->key),
                  o->no_verify) >= 0);
    for (unsigned i = 0; i < n->trusts_len; i++) {
        if (strcmp(n->trusts[i].key, key) != 0) continue;
        free(key);
        return n->trusts[i].context;
    }
    struct tls_context *c = tls_client_new(o, why);
    if (!c) {
        free(key);
        return NULL;
    }
    if (n->trusts_len == CONTEXTS_MAX) trust_drop(&n->trusts[--n->trusts_len]);
    n->trusts[n->trusts_len++] = (struct trust){ key, c };
    return c;
}

bool net_socket_enter(struct vm *vm) {
    struct net *n = net_of(vm);
    if (n->sockets >= NET_SOCKETS_MAX) return false;
    n->sockets++;
    return true;
}

void net_socket_leave(struct vm *vm) {
    vm->net->sockets--;
}
