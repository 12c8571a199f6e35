/* mount.c -- names with and without their prefix. */
/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/mount.h"

#include "base/mem.h"
#include "mqtt/props.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"

const char *mount_invalid(struct slice mount) {
    if (!mount.len || mount.at[mount.len - 1] != '/') return "it must end with '/'";
    if (!topic_name_valid(mount) || !utf8_valid(mount))
        return "it must be a topic name, without wildcards";
    if (slice_starts(mount, SLICE("$share/"))) return "$share/ is for subscriptions";
    if (mount_levels(mount) > MOUNT_LEVELS_MAX) return "it has more than 100 levels";
    return NULL;
}

unsigned mount_levels(struct slice mount) {
    return mount.len ? (unsigned)topic_levels(mount) - 1 : 0;
}

static bool join(struct slice before, struct slice mount, struct slice after, struct buf *out) {
    if (before.len + mount.len + after.len > UINT16_MAX) return false;
    buf_add_slice(out, before);
    buf_add_slice(out, mount);
    buf_add_slice(out, after);
    return true;
}

bool mount_topic(struct slice mount, struct slice topic, struct buf *out) {
    return join(SLICE_NONE, mount, topic, out);
}

bool mount_filter(struct slice mount, struct slice filter, struct buf *out) {
    struct slice group, inner;
    bool valid;
    if (!topic_shared(filter, &group, &inner, &valid)) return join(SLICE_NONE, mount, filter, out);
    if (!valid) return join(SLICE_NONE, SLICE_NONE, filter, out); /* and stays so */
    return join(slice_of(filter.at, filter.len - inner.len), mount, inner, out);
}

struct slice mount_strip(struct slice mount, struct slice topic) {
    if (topic.len <= mount.len || !slice_starts(topic, mount)) return topic;
    return slice_of(topic.at + mount.len, topic.len - mount.len);
}

bool mount_hides(struct slice mount, struct slice topic) {
    if (topic.len == mount.len) return slice_eq(topic, mount);
    return topic.len + 1 == mount.len && memcmp(topic.at, mount.at, topic.len) == 0;
}

void mount_props(struct slice mount, struct slice props, enum mount_way way, struct buf *out) {
    struct prop_item item;
    for (size_t at = 0, from = 0; props_next(props, &at, &item); from = at) {
        if (item.id != PROP_RESPONSE_TOPIC) {
            buf_add(out, props.at + from, at - from);
            continue;
        }
        AUTO(buf_deinit) struct buf name = BUF_INIT;
        if (way == MOUNT_OUT)
            props_add_slice(out, PROP_RESPONSE_TOPIC, mount_strip(mount, item.value));
        else if (mount_topic(mount, item.value, &name))
            props_add_slice(out, PROP_RESPONSE_TOPIC, buf_slice(&name));
    }
}
