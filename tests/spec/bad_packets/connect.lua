-- SPDX-License-Identifier: BSD-2-Clause
--
-- connect.lua -- CONNECT: protocol, flags, identifier, will, credentials.

local bits = require "spec.bad_packets.bits"

local str, said, closes, refused = bits.str, bits.said, bits.closes, bits.refused
local connect = bits.connect

local FIRST = { state = "first" }
local function protocol(add, version)
    local statement = said(version, "3.1", "MQTT-3.1.2-1", "MQTT-3.1.2-1")
    for _, name in ipairs { "", "M", "MQT", "MQTX", "mqtt", "MQTTT", "MQIsd", "MQIsdpx", "HTTP", "MQTT\0", "\xFF" } do
        add(("protocol name %q"):format(name), connect(version, { name = name }), closes, statement,
            { state = "first", why = "it is not MQTT: there is no CONNACK that its sender could read" })
    end
    local unknown = said(version, "3.1", "MQTT-3.1.2-2", "MQTT-3.1.2-2")
    local LEVELS = { [3] = { 0, 1, 2, 4, 5, 0x83 }, [4] = { 0, 1, 2, 3, 0x84 }, [5] = { 6, 7, 16, 127, 128, 255 } }
    for _, level in ipairs(LEVELS[version]) do
        local format = level >= 5 and 5 or 4
        add(("level %d of the name %s"):format(level, version == 3 and "MQIsdp" or "MQTT"),
            connect(version, { level = level }), bits.connack(format == 5 and 0x84 or 1, format), unknown,
            { state = "first", why = "in the form of the version that is nearest to the level asked for" })
    end
end

local function flags(add, version)
    local unread = refused(version, 0x81)
    if version > 3 then
        local reserved = said(version, nil, "MQTT-3.1.2-3", "MQTT-3.1.2-3")
        for _, f in ipairs { 0x01, 0x03, 0x07 } do
            local payload = f & 4 > 0 and bits.props(version) .. str "w" .. str "x" or ""
            add(("connect flags 0x%02X, reserved bit set"):format(f),
                connect(version, { flags = f, payload = payload }), unread, reserved, FIRST)
        end
        for _, row in ipairs {
            { "QoS 1", 0x0A, "MQTT-3.1.2-13", "MQTT-3.1.2-11" }, { "QoS 2", 0x12, "MQTT-3.1.2-13", "MQTT-3.1.2-11" },
            { "QoS 3", 0x1A, "MQTT-3.1.2-13", "MQTT-3.1.2-11" }, { "retain", 0x22, "MQTT-3.1.2-15", "MQTT-3.1.2-13" },
            { "QoS 1 and retain", 0x2A, "MQTT-3.1.2-11", "MQTT-3.1.2-11" },
        } do
            add("will " .. row[2] .. " (" .. row[1] .. ") without a will", connect(version, { flags = row[2] }), unread,
                said(version, nil, row[3], row[4]), FIRST)
        end
    end
    local will = bits.props(version) .. str "w" .. str "x"
    for _, f in ipairs { 0x1E, 0x3E, 0x1C } do
        add(("will of QoS 3, connect flags 0x%02X"):format(f), connect(version, { flags = f, payload = will }), unread,
            said(version, "3.1", "MQTT-3.1.2-14", "MQTT-3.1.2-12"), FIRST)
    end
    add("a will that does not come", connect(version, { flags = 0x06 }), unread,
        said(version, "3.1", "MQTT-3.1.2-9", "MQTT-3.1.2-9"), FIRST)
    add("a will topic without its message",
        connect(version, { flags = 0x06, payload = bits.props(version) .. str "w" }), unread,
        said(version, "3.1", "MQTT-3.1.2-9", "MQTT-3.1.2-9"), FIRST)
end

local function credentials(add, version)
    local unread = refused(version, 0x81)
    if version > 3 then -- 3.1 lets them be missing
        add("a user name that does not come", connect(version, { flags = 0x82 }), unread,
            said(version, nil, "MQTT-3.1.2-19", "MQTT-3.1.2-17"), FIRST)
        add("a password that does not come", connect(version, { flags = 0xC2, payload = str "u" }), unread,
            said(version, nil, "MQTT-3.1.2-21", "MQTT-3.1.2-19"), FIRST)
    end
    if version < 5 then
        local statement = said(version, "3.1", "MQTT-3.1.2-22")
        add("a password without a user name", connect(version, { flags = 0x42, payload = str "p" }), closes, statement,
            FIRST)
        add("an empty password without a user name", connect(version, { flags = 0x42, payload = str "" }), closes,
            statement, FIRST)
        add("a password without a user name, beside a will",
            connect(version, { flags = 0x46, payload = str "w" .. str "x" .. str "p" }), closes, statement, FIRST)
    end
end

local function identifier(add, version)
    local unread = refused(version, 0x81)
    local statement = said(version, "3.1", "MQTT-3.1.3-8")
    if version < 5 then
        add("an empty client identifier without clean session", connect(version, { flags = 0, client_id = "" }),
            bits.connack(2), statement, FIRST)
        add("the same with a will", connect(version, { flags = 0x04, client_id = "", payload = str "w" .. str "x" }),
            bits.connack(2), statement, FIRST)
    end
    if version == 3 then
        add("an empty client identifier", connect(3, { client_id = "" }), bits.connack(2), statement, FIRST)
    end
    add("no client identifier at all", bits.packet(0x10, connect(version, { client_id = "" }):sub(3, -3)), unread,
        said(version, "3.1", "MQTT-3.1.3-3", "MQTT-3.1.3-3"), FIRST)
end

local function will_topic(add, version)
    for _, topic in ipairs { "", "#", "+", "a/#", "a/+/b", "a#", "+a", "/+/" } do
        local statement = topic == "" and said(version, "appendix A", "MQTT-4.7.3-1", "MQTT-4.7.3-1")
            or said(version, "appendix A", "4.7.1", "MQTT-4.7.0-1")
        for _, row in ipairs { { "will", 0x06 }, { "retained will of QoS 1", 0x2E } } do
            add(("%s to %q"):format(row[1], topic),
                connect(version, { flags = row[2], payload = bits.props(version) .. str(topic) .. str "x" }),
                refused(version, 0x90), statement, FIRST)
        end
    end
end

return { protocol, flags, credentials, identifier, will_topic }
