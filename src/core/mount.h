/* mount.h -- a prefix some clients never see.
 *
 * The topics of a client with a mount point lie below it: it is put in front of what the
 * client names and taken off what it is sent.  Everything between knows full names only.
 * Pure functions over slices; any thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_CORE_MOUNT_H
#define SOL_CORE_MOUNT_H

#include "base/buf.h"
#include "base/slice.h"

enum { MOUNT_LEVELS_MAX = 100 };

/* NULL, or what is wrong with this mount point (static). */
const char *mount_invalid(struct slice mount);
/* The levels it adds to a topic. */
unsigned mount_levels(struct slice mount);

/* Appends the full name of a client's topic, or of its filter: what is shared stays
 * shared.  False, and nothing appended, when MQTT cannot say it: over 65,535 bytes. */
bool mount_topic(struct slice mount, struct slice topic, struct buf *out);
bool mount_filter(struct slice mount, struct slice filter, struct buf *out);

/* What the client is shown of a full name: a part of `topic`; all of it when it is not
 * below the mount point. */
struct slice mount_strip(struct slice mount, struct slice topic);
/* The mount point itself, without its slash: the client's `#` matches it, but it has no
 * name for the client. */
bool mount_hides(struct slice mount, struct slice topic);

enum mount_way { MOUNT_IN, MOUNT_OUT };
/* Appends a message's encoded properties, Response Topic put below the mount point or
 * taken from there. */
void mount_props(struct slice mount, struct slice props, enum mount_way way, struct buf *out);

#endif
