/* packets.h -- what each packet of a client means. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_PACKETS_H
#define SOL_CORE_PACKETS_H

struct conn;
struct frame;

/* One whole packet of a connection in state CONN_NEW or CONN_OPEN. */
void packets_handle(struct conn *c, const struct frame *f);

#endif
