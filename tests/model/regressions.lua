-- SPDX-License-Identifier: BSD-2-Clause
--
-- regressions.lua -- sequences that once failed, shrunk, and what was wrong then.
--
-- They are played before the random ones and mean the same whatever becomes of the generator.

local PLAIN = { drop = "newest", max_inflight = 100, max_queued = 1000, max_topic_alias = 3, overlapping = "once" }

return {
    {
        name = "a message retained after SUBSCRIBE came twice, once as published and once as retained",
        sequence = { config = { drop = "newest", max_inflight = 2, max_queued = 1000, max_topic_alias = 3,
            overlapping = "once" },
            { "connect", c = "B", version = 4, will = { qos = 1, topic = "a/c" } },
            { "connect", c = "C", version = 4 },
            { "subscribe", c = "C", filters = { { filter = "a/+", qos = 2 } } },
            { "connect", c = "B", version = 5 },
            { "publish", c = "B", qos = 1, topic = "a/b" },
            { "subscribe", c = "C", filters = { { filter = "+", qos = 1 } } },
            { "publish", c = "C", qos = 0, retain = true, topic = "a" },
            { "ack_all", c = "C" } },
    },
    {
        name = "a No Local subscription lent its identifier to what the client published itself",
        sequence = { config = PLAIN,
            { "connect", c = "B", version = 5 },
            { "subscribe", c = "B", filters = { { filter = "+/b", no_local = true, qos = 2 } }, identifier = 20 },
            { "subscribe", c = "B", filters = { { filter = "a/+", qos = 0 } } },
            { "publish", c = "B", qos = 2, topic = "a/b" } },
    },
    {
        name = "a PUBREL of a resumed session waited for the window",
        sequence = { config = PLAIN,
            { "connect", c = "B", version = 5 },
            { "connect", c = "C", expiry = 30, version = 5 },
            { "subscribe", c = "C", filters = { { filter = "#", qos = 2 } } },
            { "publish", c = "B", qos = 1, topic = "b" },
            { "publish", c = "B", qos = 2, topic = "b" },
            { "ack", c = "C", nth = 2 },
            { "connect", c = "C", receive_maximum = 1, version = 5 } },
    },
    {
        name = "a message that had expired went to another member when its share's session ended",
        sequence = { config = PLAIN,
            { "connect", c = "A", version = 5 },
            { "connect", c = "B", clean = true, version = 4 },
            { "subscribe", c = "B", filters = { { filter = "$share/g/a/#", qos = 1 } } },
            { "connect", c = "D", version = 5 },
            { "publish", c = "D", expiry = 3, qos = 1, topic = "a/b" },
            { "subscribe", c = "A", filters = { { filter = "$share/g/a/#", qos = 0 } } },
            { "pass", ms = 3000 },
            { "connect", c = "B", version = 5 } },
    },
    {
        name = "QoS 2 not released on the last connection counted against the quota of this one",
        sequence = { config = { drop = "newest", max_inflight = 2, max_queued = 1000, max_topic_alias = 3,
            overlapping = "once" },
            { "connect", c = "C", expiry = 1000, version = 5 },
            { "publish", c = "C", qos = 2, topic = "b" },
            { "publish", c = "C", qos = 2, topic = "a/b" },
            { "connect", c = "C", version = 5 },
            { "publish", c = "C", qos = 1, topic = "a/c" },
            { "publish", c = "C", qos = 2, topic = "a/c" },
            { "pubrel", c = "C", nth = 1 },
            { "publish", c = "C", qos = 2, topic = "a/c" },
            { "illegal", c = "C", what = "receive_maximum" } },
    },
}
