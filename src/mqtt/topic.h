/* topic.h -- topic names and filters.
 *
 * Pure functions over slices; any thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_MQTT_TOPIC_H
#define SOL_MQTT_TOPIC_H

#include "base/slice.h"

/* At least one character, no wildcard, no U+0000 [MQTT-4.7.3-1] [MQTT-4.7.3-2]
 * [MQTT-3.3.2-2]; at most 65,535 bytes.  UTF-8 is the decoder's business. */
bool topic_name_valid(struct slice topic);
/* `+` and `#` each alone in a level, `#` last [MQTT-4.7.1-1] [MQTT-4.7.1-2]. */
bool topic_filter_valid(struct slice filter);
/* Does a valid filter match a valid name?  A filter that starts with a wildcard does not
 * match a name that starts with `$` [MQTT-4.7.2-1]. */
bool topic_match(struct slice filter, struct slice topic);
/* Is every topic that `narrow` matches also matched by `wide`?  Both valid filters. */
bool topic_filter_covers(struct slice wide, struct slice narrow);
/* Is there a topic that both match?  Both valid filters. */
bool topic_filters_overlap(struct slice a, struct slice b);
bool topic_has_wildcard(struct slice filter);
/* Number of levels: slashes + 1. */
unsigned topic_levels(struct slice topic);
/* What nobody may ask for more of: matching recurses, a level at a time. */
enum { TOPIC_LEVELS_MAX = 1000 };
/* Are there more levels than that? */
bool topic_is_deeper(struct slice topic, uint32_t levels);

/* "$share/GROUP/FILTER" taken apart.  False when the filter is not shared; *valid is
 * false for a malformed one (empty group, wildcard in it, no filter)
 * [MQTT-4.8.2-1] [MQTT-4.8.2-2]. */
bool topic_shared(struct slice filter, struct slice *group, struct slice *inner, bool *valid);

/* Walk the levels: start with *at == 0; false at the end.  An empty level counts. */
bool topic_next_level(struct slice topic, size_t *at, struct slice *level);

#endif
