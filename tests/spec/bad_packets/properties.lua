-- SPDX-License-Identifier: BSD-2-Clause
--
-- properties.lua -- properties of 5.0: unknown, misplaced, doubled, out of range, of wrong lengths.

local bits = require "spec.bad_packets.bits"

local str, u16, u32, varint, packet, hex = bits.str, bits.u16, bits.u32, bits.varint, bits.packet, bits.hex
local ends, connack = bits.ends, bits.connack

-- A packet around a property section: `section` is its length and its content.
local PLACES = {
    CONNECT = { state = "first", wrap = function(section)
        return packet(0x10, str "MQTT" .. "\5\2" .. u16(0) .. section .. str "bad")
    end },
    will = { state = "first", wrap = function(section)
        return packet(0x10, str "MQTT" .. "\5\6" .. u16(0) .. "\0" .. str "bad" .. section .. str "w" .. str "x")
    end },
    PUBLISH = { wrap = function(section) return packet(0x30, str "t" .. section .. "x") end },
    PUBACK = { wrap = function(section) return packet(0x40, u16(1) .. "\0" .. section) end },
    PUBREC = { wrap = function(section) return packet(0x50, u16(1) .. "\0" .. section) end },
    PUBREL = { wrap = function(section) return packet(0x62, u16(1) .. "\0" .. section) end },
    PUBCOMP = { wrap = function(section) return packet(0x70, u16(1) .. "\0" .. section) end },
    SUBSCRIBE = { wrap = function(section) return packet(0x82, u16(1) .. section .. str "t" .. "\0") end },
    UNSUBSCRIBE = { wrap = function(section) return packet(0xA2, u16(1) .. section .. str "t") end },
    DISCONNECT = { wrap = function(section) return packet(0xE0, "\0" .. section) end },
    AUTH = { state = "authenticated", wrap = function(section) return packet(0xF0, "\x19" .. section) end },
}

local ORDER = { "CONNECT", "will", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "UNSUBSCRIBE",
    "DISCONNECT", "AUTH" }

-- Table 2-4: identifier, name, a good value, the packets of a client that may have it.
local PROPERTIES = {
    { 0x01, "payload format indicator", "\1", "PUBLISH will" },
    { 0x02, "message expiry interval", u32(10), "PUBLISH will" },
    { 0x03, "content type", str "text", "PUBLISH will" },
    { 0x08, "response topic", str "r", "PUBLISH will" },
    { 0x09, "correlation data", str "c", "PUBLISH will" },
    { 0x0B, "subscription identifier", "\1", "SUBSCRIBE" },
    { 0x11, "session expiry interval", u32(0), "CONNECT DISCONNECT" },
    { 0x12, "assigned client identifier", str "id", "" },
    { 0x13, "server keep alive", u16(10), "" },
    { 0x15, "authentication method", str "challenge", "CONNECT AUTH" },
    { 0x16, "authentication data", str "enough", "CONNECT AUTH" },
    { 0x17, "request problem information", "\1", "CONNECT" },
    { 0x18, "will delay interval", u32(10), "will" },
    { 0x19, "request response information", "\1", "CONNECT" },
    { 0x1A, "response information", str "i", "" },
    { 0x1C, "server reference", str "s", "DISCONNECT" },
    { 0x1F, "reason string", str "why", "PUBACK PUBREC PUBREL PUBCOMP DISCONNECT AUTH" },
    { 0x21, "receive maximum", u16(10), "CONNECT" },
    { 0x22, "topic alias maximum", u16(10), "CONNECT" },
    { 0x23, "topic alias", u16(1), "PUBLISH" },
    { 0x24, "maximum QoS", "\1", "" },
    { 0x25, "retain available", "\1", "" },
    { 0x27, "maximum packet size", u32(1000), "CONNECT" },
    { 0x28, "wildcard subscription available", "\1", "" },
    { 0x29, "subscription identifier available", "\1", "" },
    { 0x2A, "shared subscription available", "\1", "" },
}

local function is_allowed(row, place) return (" " .. row[4] .. " "):find(" " .. place .. " ", 1, true) ~= nil end

-- `raw` in the properties of this packet; AUTH has its method as well.
local function in_place(place, raw)
    if place == "AUTH" and not raw:find "^\x15" then raw = "\x15" .. str "challenge" .. raw end
    return PLACES[place].wrap(varint(#raw) .. raw)
end

local function outcome_at(place, rc) return (PLACES[place].state == "first" and connack or ends)(rc) end

local function extra_at(place, why) return { state = PLACES[place].state, why = why } end

local function misplaced(add)
    for _, place in ipairs(ORDER) do
        for _, row in ipairs(PROPERTIES) do
            local is_refused_otherwise = place == "PUBLISH" and row[0x1] == 0x0B
            if not is_allowed(row, place) and not is_refused_otherwise then
                add(("%s in %s"):format(row[2], place), in_place(place, string.char(row[1]) .. row[3]),
                    outcome_at(place, 0x81), "2.2.2.2", extra_at(place))
            end
        end
    end
    add("subscription identifier in PUBLISH", in_place("PUBLISH", "\x0B\1"), ends(0x82), "MQTT-3.3.4-6")
    add("two subscription identifiers in PUBLISH", in_place("PUBLISH", "\x0B\1\x0B\2"), ends(0x82), "MQTT-3.3.4-6")
end

local function doubled(add)
    for _, place in ipairs(ORDER) do
        for _, row in ipairs(PROPERTIES) do
            if is_allowed(row, place) then
                local one = string.char(row[1]) .. row[3]
                local raw = one .. one
                if row[1] == 0x16 and place == "CONNECT" then raw = "\x15" .. str "challenge" .. raw end
                add(("%s twice in %s"):format(row[2], place), in_place(place, raw), outcome_at(place, 0x82), "2.2.2.2",
                    extra_at(place))
            end
        end
    end
end

-- Each property in a packet that may have it, without its value, and with a byte of it missing.
local function without_value(add)
    for _, row in ipairs(PROPERTIES) do
        local place = row[4]:match "%S+"
        if place then
            local id, value = string.char(row[1]), row[3]
            add(("%s without a value in %s"):format(row[2], place), in_place(place, id), outcome_at(place, 0x81),
                "2.2.2", extra_at(place))
            if #value > 1 then
                add(("%s with half a value in %s"):format(row[2], place), in_place(place, id .. value:sub(1, -2)),
                    outcome_at(place, 0x81), "2.2.2", extra_at(place))
            end
        end
    end
    for _, place in ipairs(ORDER) do
        for _, half in ipairs { "\x26", "\x26\0", "\x26\0\1k", "\x26\0\1k\0", "\x26\0\1k\0\2v" } do
            add(("user property cut after %d bytes in %s"):format(#half, place), in_place(place, half),
                outcome_at(place, 0x81), "2.2.2", extra_at(place))
        end
    end
end

local function out_of_range(add)
    local RANGES = {
        { "payload format indicator 2", "PUBLISH", "\x01\2", 0x82, "3.3.2.3.2" },
        { "payload format indicator 255", "PUBLISH", "\x01\xFF", 0x82, "3.3.2.3.2" },
        { "payload format indicator 2", "will", "\x01\2", 0x82, "3.1.3.2.3" },
        { "request problem information 2", "CONNECT", "\x17\2", 0x82, "3.1.2.11.7" },
        { "request problem information 255", "CONNECT", "\x17\xFF", 0x82, "3.1.2.11.7" },
        { "request response information 2", "CONNECT", "\x19\2", 0x82, "3.1.2.11.6" },
        { "request response information 128", "CONNECT", "\x19\x80", 0x82, "3.1.2.11.6" },
        { "receive maximum 0", "CONNECT", "\x21\0\0", 0x82, "3.1.2.11.3" },
        { "maximum packet size 0", "CONNECT", "\x27\0\0\0\0", 0x82, "3.1.2.11.4" },
        { "topic alias 0", "PUBLISH", "\x23\0\0", 0x94, "MQTT-3.3.2-8" },
        { "subscription identifier 0", "SUBSCRIBE", "\x0B\0", 0x82, "3.8.2.1.2" },
        { "authentication data without a method", "CONNECT", "\x16" .. str "x", 0x82, "3.1.2.11.10" },
        { "session expiry above 0 where it was 0", "DISCONNECT", "\x11" .. u32(1), 0x82, "3.14.2.2.2" },
        { "session expiry for ever where it was 0", "DISCONNECT", "\x11" .. u32(0xFFFFFFFF), 0x82, "3.14.2.2.2" },
        { "an empty response topic", "PUBLISH", "\x08" .. str "", 0x82, "4.7.3" },
        { "an empty response topic", "will", "\x08" .. str "", 0x82, "4.7.3" },
    }
    for _, topic in ipairs { "#", "+", "a/#", "a/+/b", "a#" } do
        for _, place in ipairs { "PUBLISH", "will" } do
            RANGES[#RANGES + 1] = { "response topic " .. topic, place, "\x08" .. str(topic), 0x82, "MQTT-3.3.2-14" }
        end
    end
    for _, row in ipairs(RANGES) do
        add(row[1] .. " in " .. row[2], in_place(row[2], row[3]), outcome_at(row[2], row[4]), row[5], extra_at(row[2]))
    end
    for _, row in ipairs {
        { "of five bytes", "80 80 80 80 01" }, { "of four bytes that are one", "81 80 80 00" },
        { "of two bytes that are one", "81 00" }, { "that does not end", "FF" },
    } do
        add("subscription identifier " .. row[1], in_place("SUBSCRIBE", "\x0B" .. hex(row[2])), ends(0x81),
            "MQTT-1.5.5-1")
    end
end

local UNKNOWN = { 0x00, 0x04, 0x05, 0x06, 0x07, 0x0A, 0x0C, 0x10, 0x14, 0x1B, 0x1D, 0x1E, 0x20, 0x2B, 0x3F, 0x40, 0x7F }

local function unknown(add)
    for _, id in ipairs(UNKNOWN) do
        for _, place in ipairs { "CONNECT", "PUBLISH" } do
            add(("property 0x%02X, which does not exist, in %s"):format(id, place),
                in_place(place, string.char(id) .. "\1"), outcome_at(place, 0x81), "2.2.2.2", extra_at(place))
        end
    end
    for _, place in ipairs(ORDER) do
        add("a property behind a good one that does not exist, in " .. place,
            in_place(place, "\x26" .. str "k" .. str "v" .. "\x7F\1"), outcome_at(place, 0x81), "2.2.2.2",
            extra_at(place))
        for _, row in ipairs {
            { "128", "80 01 01" }, { "16384", "80 80 01 01" }, { "of five bytes", "80 80 80 80 01 01" },
            { "38 in two bytes", "A6 00 00 00 00 00" },
        } do
            add(("property identifier %s in %s"):format(row[1], place), in_place(place, hex(row[2])),
                outcome_at(place, 0x81), "2.2.2.2", extra_at(place))
        end
    end
end

-- The length of the section.
local function lengths(add)
    local pair = "\x26" .. str "k" .. str "v" -- 7 bytes
    local LENGTHS = {
        { "of 0 in two bytes", "\x80\0", "1.5.5-1" }, { "of 0 in four bytes", "\x80\x80\x80\0", "1.5.5-1" },
        { "of five bytes", "\x80\x80\x80\x80\1", "1.5.5-1" },
        { "of 7 in two bytes", "\x87\0" .. pair, "1.5.5-1" },
        { "that ends in the middle of a property", "\3" .. pair, "2.2.2.1" },
        { "one byte short", "\6" .. pair, "2.2.2.1" }, { "far beyond the packet", varint(2000) .. pair, "2.2.2.1" },
        { "of 256 MB", "\xFF\xFF\xFF\x7F" .. pair, "2.2.2.1" },
    }
    for _, place in ipairs(ORDER) do
        for _, row in ipairs(LENGTHS) do
            add(("property length %s in %s"):format(row[1], place), PLACES[place].wrap(row[2]),
                outcome_at(place, place == "AUTH" and row[2]:byte() == 0 and 0x82 or 0x81),
                row[3] == "1.5.5-1" and "MQTT-1.5.5-1" or row[3], extra_at(place))
        end
    end
end

return { misplaced, doubled, without_value, out_of_range, unknown, lengths }
