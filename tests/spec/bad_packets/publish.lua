-- SPDX-License-Identifier: BSD-2-Clause
--
-- publish.lua -- PUBLISH: quality of service, identifiers, topics, aliases, flow control.

local bits = require "spec.bad_packets.bits"

local said, ends = bits.said, bits.ends
local publish = bits.publish

local function flags(add, version)
    for _, row in ipairs { { "", 0 }, { " and RETAIN", 1 }, { " and DUP", 8 }, { ", DUP and RETAIN", 9 } } do
        add("PUBLISH of QoS 3" .. row[1], publish(version, { first = 0x36 | row[2], id = 1 }), ends(0x81),
            said(version, "3.3", "MQTT-3.3.1-4", "MQTT-3.3.1-4"))
    end
    for _, row in ipairs { { "", 0 }, { " and RETAIN", 1 } } do
        add("PUBLISH of QoS 0 with DUP" .. row[1], publish(version, { first = 0x38 | row[2] }), ends(0x81),
            said(version, "2.1", "MQTT-3.3.1-2", "MQTT-3.3.1-2"),
            { why = "0x82 would do as well: flags that exclude each other are a matter of form" })
    end
    local WITH_ID = { { "QoS 1", 0x32 }, { "QoS 2", 0x34 }, { "QoS 1 and DUP", 0x3A }, { "QoS 2 and RETAIN", 0x35 } }
    for _, row in ipairs(WITH_ID) do
        add("PUBLISH of " .. row[1] .. " with packet identifier 0", publish(version, { first = row[2], id = 0 }),
            ends(0x82), said(version, "2.4", "MQTT-2.3.1-1", "MQTT-2.2.1-3"))
    end
end

local WILD = { "#", "+", "a/#", "a/+/b", "a#", "+a", "#/a", "/+", "a/b+", "$bad/#" }

local function topics(add, version)
    for _, topic in ipairs(WILD) do
        for qos = 0, 2 do
            add(("PUBLISH of QoS %d to %s"):format(qos, topic),
                publish(version, { first = 0x30 | qos << 1, topic = topic, id = qos > 0 and 1 }), ends(0x90),
                said(version, "appendix A", "MQTT-3.3.2-2", "MQTT-3.3.2-2"),
                { why = "0x90 names the fault; 3.3.5.2 would let 3.1.1 acknowledge and drop" })
        end
    end
    local empty = said(version, "appendix A", "MQTT-4.7.3-1", "3.3.2.1")
    for qos = 0, 2 do
        add("PUBLISH of an empty topic and QoS " .. qos,
            publish(version, { first = 0x30 | qos << 1, topic = "", id = qos > 0 and 1 }), ends(0x82), empty)
    end
    add("retained PUBLISH of an empty topic", publish(version, { first = 0x31, topic = "" }), ends(0x82), empty)
    -- max_topic_levels is 200, which leaves max_topic_length to max_packet_size
    add("PUBLISH to 201 levels", publish(version, { topic = ("/"):rep(200) }), ends(0x90),
        said(version, "appendix A", "4.7.3", "4.7.3"), { why = "a limit of ours, max_topic_levels" })
end

local function to_sys(add, version)
    local statement = said(version, "3.3", "MQTT-3.3.5-2", "3.4.2.1")
    local why = "topics below $SYS/ are the broker's own (4.7.2)"
    local rc = version == 5 and 0x87 or nil
    for _, retain in ipairs { 0, 1 } do
        local name = retain == 1 and "retained PUBLISH" or "PUBLISH"
        add(name .. " of QoS 0 below $SYS", publish(version, { first = 0x30 | retain, topic = "$SYS/broker/uptime" }),
            bits.ignored, statement, { why = why })
        add(name .. " of QoS 1 below $SYS",
            publish(version, { first = 0x32 | retain, topic = "$SYS/broker/uptime", id = 1 }),
            bits.answers { "PUBACK", { id = 1, rc = rc } }, statement, { why = why })
        add(name .. " of QoS 2 below $SYS",
            publish(version, { first = 0x34 | retain, topic = "$SYS/broker/uptime", id = 1 }),
            bits.answers { "PUBREC", { id = 1, rc = rc } }, statement, { why = why })
    end
end

local function again(add, version)
    local statement = said(version, "4.3", "MQTT-4.3.3-2", "MQTT-4.3.3-10")
    local taken = bits.answers { "PUBREC", { id = 7, rc = 0 } }
    add("PUBLISH of QoS 2 again, without DUP", publish(version, { first = 0x34, id = 7, topic = "again" }), taken,
        statement, { state = "owing PUBREL" })
    add("PUBLISH of QoS 2 again, to another topic", publish(version, { first = 0x3C, id = 7, topic = "again" }), taken,
        statement, { state = "owing PUBREL" })
    add("PUBLISH of QoS 2 three times", publish(version, { first = 0x3C, id = 7, topic = "again" }):rep(3),
        bits.answers({ "PUBREC", { id = 7 } }, { "PUBREC", { id = 7 } }, { "PUBREC", { id = 7 } }), statement,
        { state = "owing PUBREL" })
end

local function receive_maximum(add, version)
    if version < 5 then return end
    local state = "at the Receive Maximum"
    for _, dup in ipairs { 0, 8 } do
        add("PUBLISH of QoS 2 above the Receive Maximum" .. (dup > 0 and ", with DUP" or ""),
            publish(5, { first = 0x34 | dup, id = 100 }), ends(0x93), "3.3.4", { state = state })
        add("PUBLISH of QoS 1 above the Receive Maximum" .. (dup > 0 and ", with DUP" or ""),
            publish(5, { first = 0x32 | dup, id = 100 }), ends(0x93), "3.3.4", { state = state })
    end
    add("PUBLISH of QoS 2 above the Receive Maximum, by an alias",
        publish(5, { first = 0x34, id = 100, props = "\x23\0\1" }), ends(0x93), "3.3.4", { state = state })
end

-- max_topic_alias is 4 (run.lua)
local function aliases(add, version)
    if version < 5 then return end
    local function alias(n) return "\x23" .. bits.u16(n) end
    local named = publish(5, { topic = "$bad/alias", props = alias(1) })
    for _, n in ipairs { 0, 5, 6, 255, 256, 65535 } do
        local statement = n == 0 and "MQTT-3.3.2-8" or "MQTT-3.3.2-9"
        add("topic alias " .. n, publish(5, { props = alias(n) }), ends(0x94), statement)
        add(("topic alias %d without a topic"):format(n), publish(5, { topic = "", props = alias(n) }), ends(0x94),
            statement)
    end
    for n = 1, 4 do
        for qos = 0, 2 do
            add(("topic alias %d, which is nobody's, in QoS %d"):format(n, qos),
                publish(5, { first = 0x30 | qos << 1, id = qos > 0 and 1, topic = "", props = alias(n) }), ends(0x82),
                "3.3.2.3.4", { why = "the topic is missing, then; 0x94 would be about the number" })
        end
    end
    add("a topic alias known, another used", named .. publish(5, { topic = "", props = alias(2) }), ends(0x82),
        "3.3.2.3.4")
    add("a topic alias for a wildcard", publish(5, { topic = "a/#", props = alias(1) }), ends(0x90), "MQTT-3.3.2-2")
    add("a topic alias twice", publish(5, { props = alias(1) .. alias(1) }), ends(0x82), "3.3.2.3.4")
    add("an empty topic after one by alias", named .. publish(5, { topic = "" }), ends(0x82), "3.3.2.1")
end

return { flags, topics, to_sys, again, receive_maximum, aliases }
