/* sys.h -- the $SYS topics: what the broker says of itself.
 *
 * The names are those that users of mosquitto know.  One worker's thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_SYS_H
#define SOL_CORE_SYS_H

struct sys;
struct worker;

/* Publishes every `sys_interval` seconds of the worker's configuration from now on; gives
 * what sys_free takes. */
struct sys *sys_new(struct worker *w);
/* The interval may have changed. */
void sys_reconfigure(struct sys *s);
/* NULL is fine. */
void sys_free(struct sys *s);

#endif
