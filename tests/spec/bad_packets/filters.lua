-- SPDX-License-Identifier: BSD-2-Clause
--
-- filters.lua -- SUBSCRIBE and UNSUBSCRIBE: identifiers, options, filters, shared subscriptions.

local bits = require "spec.bad_packets.bits"

local str, u16, packet, said, ends = bits.str, bits.u16, bits.packet, bits.said, bits.ends
local subscribe, unsubscribe = bits.subscribe, bits.unsubscribe

local function form(add, version)
    local p = bits.props(version)
    local id = said(version, "2.4", "MQTT-2.3.1-1", "MQTT-2.2.1-3")
    for _, state in ipairs { "open", "subscribed" } do
        add("SUBSCRIBE with packet identifier 0, " .. state, subscribe(version, { id = 0 }), ends(0x82), id,
            { state = state })
        add("UNSUBSCRIBE with packet identifier 0, " .. state, unsubscribe(version, { id = 0 }), ends(0x82), id,
            { state = state })
        add("SUBSCRIBE without a filter, " .. state, packet(0x82, u16(1) .. p), ends(0x82),
            said(version, "3.8", "MQTT-3.8.3-3", "MQTT-3.8.3-2"), { state = state })
        add("UNSUBSCRIBE without a filter, " .. state, packet(0xA2, u16(1) .. p), ends(0x82),
            said(version, "3.10", "MQTT-3.10.3-2", "MQTT-3.10.3-2"), { state = state })
    end
end

-- Bits of the options byte that mean nothing (0x04 to 0x20 got a meaning in 5.0).
local function options(add, version)
    local statement = said(version, "3.8", "MQTT-3.8.3-4", "MQTT-3.8.3-5")
    local why = version == 3 and "3.1 calls them reserved and says no more" or nil
    for bit = version == 5 and 6 or 2, 7 do
        for qos = 0, 2 do
            local byte = 1 << bit | qos
            add(("subscription options 0x%02X"):format(byte), subscribe(version, { options = byte }), ends(0x81),
                statement, { why = why })
        end
    end
    add("subscription options 0xFC", subscribe(version, { options = 0xFC }), ends(0x81), statement, { why = why })
    local qos3 = said(version, "3.8", "MQTT-3.8.3-4", "3.8.3.1")
    add("subscription of QoS 3", subscribe(version, { options = 3 }), ends(0x82), qos3)
    add("a second subscription of QoS 3",
        packet(0x82, u16(1) .. bits.props(version) .. str "a" .. "\0" .. str "b" .. "\3"), ends(0x82), qos3)
    if version < 5 then return end
    for qos = 0, 2 do
        add("subscription with retain handling 3, QoS " .. qos, subscribe(5, { options = 0x30 | qos }), ends(0x82),
            "3.8.3.1")
    end
    add("subscription of QoS 3 with the other options", subscribe(5, { options = 0x1F }), ends(0x82), "3.8.3.1")
end

local BAD = { "", "a#", "a/b#", "#/a", "a/#/b", "##", "#+", "+#", "++", "+a", "a+", "a/+b", "a/b+/c", "a/+b/c", "/#/",
    "#/" }

local function filters(add, version)
    local p = bits.props(version)
    for _, filter in ipairs(BAD) do
        local statement = filter == "" and said(version, "appendix A", "MQTT-4.7.3-1", "MQTT-4.7.3-1")
            or filter:find "#" and said(version, "appendix A", "MQTT-4.7.1-2", "MQTT-4.7.1-1")
            or said(version, "appendix A", "MQTT-4.7.1-3", "MQTT-4.7.1-2")
        local extra = { why = "SUBACK is for filters that are right and not allowed; these are not filters" }
        add(("SUBSCRIBE to %q"):format(filter), subscribe(version, { filter = filter }), ends(0x8F), statement, extra)
        add(("UNSUBSCRIBE from %q"):format(filter), unsubscribe(version, { filter = filter }), ends(0x8F), statement,
            extra)
        add(("SUBSCRIBE to a good filter and to %q"):format(filter),
            packet(0x82, u16(1) .. p .. str "good" .. "\0" .. str(filter) .. "\0"), ends(0x8F), statement, extra)
    end
end

-- max_topic_levels is 200.
local function too_deep(add, version)
    local deep = ("a/"):rep(200) .. "a"
    local code = version == 5 and 0x8F or 0x80
    local why = { why = "a limit of ours, max_topic_levels: the filter is right and not allowed" }
    add("SUBSCRIBE to 201 levels", subscribe(version, { id = 9, filter = deep }),
        bits.answers { "SUBACK", { id = 9, rc = code } }, said(version, "3.9", "MQTT-3.8.4-5", "MQTT-3.8.4-6"), why)
    add("UNSUBSCRIBE from 201 levels", unsubscribe(version, { id = 9, filter = deep }),
        bits.answers { "UNSUBACK", { id = 9, rc = version == 5 and 0x8F or nil } },
        said(version, "3.11", "MQTT-3.10.4-4", "MQTT-3.10.4-5"), why)
end

local SHARED = {
    { "$share/", "MQTT-4.8.2-1" }, { "$share//", "MQTT-4.8.2-1" }, { "$share//t", "MQTT-4.8.2-1" },
    { "$share/g", "MQTT-4.8.2-2" }, { "$share/g/", "MQTT-4.8.2-2" }, { "$share/g+/t", "MQTT-4.8.2-2" },
    { "$share/+g/t", "MQTT-4.8.2-2" }, { "$share/g#/t", "MQTT-4.8.2-2" }, { "$share/+/t", "MQTT-4.8.2-2" },
    { "$share/#", "MQTT-4.8.2-2" }, { "$share/+", "MQTT-4.8.2-2" }, { "$share/#/t", "MQTT-4.8.2-2" },
    { "$share/g/a#", "MQTT-4.7.1-1" }, { "$share/g/#/a", "MQTT-4.7.1-1" }, { "$share/g/a+", "MQTT-4.7.1-2" },
    { "$share/g/+a/b", "MQTT-4.7.1-2" },
}

local function well_formed(filter)
    for level in filter:gmatch "[^/]+" do
        if #level > 1 and level:find "[+#]" then return false end
    end
    return not filter:find "#/"
end

-- In 3.x they are ours to offer: right filters whose group is not one are refused by SUBACK.
local function shared(add, version)
    for _, row in ipairs(SHARED) do
        local filter, statement = row[1], row[2]
        local refused = version < 5 and well_formed(filter)
        local outcome = refused and bits.answers { "SUBACK", { id = 9, rc = 0x80 } } or ends(0x8F)
        local extra = { why = "3.x knows no shared subscriptions, but where $share is served its rules hold" }
        add(("SUBSCRIBE to %q"):format(filter), subscribe(version, { id = 9, filter = filter }), outcome,
            said(version, "5.0 " .. statement, "5.0 " .. statement, statement), version < 5 and extra or nil)
        if not refused then
            add(("UNSUBSCRIBE from %q"):format(filter), unsubscribe(version, { id = 9, filter = filter }), ends(0x8F),
                said(version, "5.0 " .. statement, "5.0 " .. statement, statement), version < 5 and extra or nil)
        end
    end
    if version < 5 then return end
    for qos = 0, 2 do
        add("shared subscription with No Local, QoS " .. qos,
            subscribe(5, { filter = "$share/g/t", options = 4 | qos }), ends(0x82), "MQTT-3.8.3-4")
    end
end

return { form, options, filters, too_deep, shared }
