/* utf8.h -- is this text?
 *
 * Pure functions over slices; any thread. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_MQTT_UTF8_H
#define SOL_MQTT_UTF8_H

#include "base/slice.h"

/* Validates UTF-8 as the standard demands: well-formed, shortest, no surrogates, no
 * U+0000 [MQTT-1.5.4-1] [MQTT-1.5.4-2]. */
bool utf8_valid(struct slice s);

/* The same with U+0000: what a payload that is text may have (3.3.2.3.2). */
bool utf8_well_formed(struct slice s);

/* True when `s` is ASCII without U+0000, `+` and `#`: what nearly every topic name is, told
 * in one pass.  False tells nothing: ask utf8_valid and topic_name_valid. */
bool utf8_plain(struct slice s);

#endif
