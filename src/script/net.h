/* net.h -- what one VM has open to the world: names asked for, pools, trust.
 *
 * Made when first used, so a policy that stays at home pays nothing.  Owned by the VM's
 * thread; freed after the Lua state, whose userdata give back what they took. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_NET_H
#define SOL_SCRIPT_NET_H

#include <stdbool.h>

struct fetcher;
struct pools;
struct resolver;
struct tls_client_opts;
struct tls_context;
struct vm;

#define NET_SOCKETS_MAX 4096 /* sockets open or being opened, per VM */
#define NET_FETCHES_MAX 4096 /* HTTP requests under way, per VM */

/* Frees it all; harmless when there is nothing. */
void net_deinit(struct vm *vm);

/* Asks these name servers instead of the system's ("1.2.3.4,..."); before the first use. */
void net_set_servers(struct vm *vm, const char *servers);
/* Each lends its part, made if need be.  The VM has its worker.  A resolver that cannot
 * start is NULL, with *why (static). */
struct resolver *net_resolver(struct vm *vm, const char **why);
struct pools *net_pools(struct vm *vm);
struct fetcher *net_fetcher(struct vm *vm);
/* Lends a context for these options; contexts are kept.  NULL, with *why (free() it). */
struct tls_context *net_tls(struct vm *vm, const struct tls_client_opts *opts, char **why);
/* Counts sockets open or being opened; false: too many. */
bool net_socket_enter(struct vm *vm);
void net_socket_leave(struct vm *vm);

#endif
