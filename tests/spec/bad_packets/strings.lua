-- SPDX-License-Identifier: BSD-2-Clause
--
-- strings.lua -- bad UTF-8 of each kind in each string of a packet that a client may send.

local bits = require "spec.bad_packets.bits"

local str, u16, packet, said = bits.str, bits.u16, bits.packet, bits.said

local KINDS = {
    { "U+0000", "a\0b" }, { "U+0000 alone", "\0" }, { "a lone continuation byte", "a\x80" },
    { "a lone last continuation byte", "\xBF" }, { "an overlong U+0000", "\xC0\x80" },
    { "an overlong slash in two bytes", "\xC0\xAF" }, { "an overlong U+007F", "\xC1\xBF" },
    { "an overlong slash in three bytes", "\xE0\x80\xAF" }, { "an overlong U+07FF", "\xE0\x9F\xBF" },
    { "an overlong slash in four bytes", "\xF0\x80\x80\xAF" }, { "an overlong U+FFFF", "\xF0\x8F\xBF\xBF" },
    { "the first surrogate", "\xED\xA0\x80" }, { "the last surrogate", "\xED\xBF\xBF" },
    { "a pair of surrogates", "\xED\xA0\xBD\xED\xB8\x80" }, { "U+110000", "\xF4\x90\x80\x80" },
    { "a byte F5", "\xF5\x80\x80\x80" }, { "a form of five bytes", "\xF8\x88\x80\x80\x80" },
    { "a form of six bytes", "\xFC\x84\x80\x80\x80\x80" }, { "a byte FE", "\xFE" }, { "a byte FF", "a\xFF" },
    { "the first of two bytes", "a\xC3" }, { "two of three bytes", "a\xE2\x82" },
    { "three of four bytes", "a\xF0\x9F\x98" }, { "no continuation after C3", "\xC3(" },
    { "no second continuation after E2", "\xE2\x82(" },
}

local PAIR, WILL = "\x26", 0x06

-- The place of a string, and the packet around it.
local FIELDS = {
    { "the client identifier", function(v, s) return bits.connect(v, { client_id = s }) end, first = true },
    { "the will topic", function(v, s)
        return bits.connect(v, { flags = WILL, payload = bits.props(v) .. str(s) .. str "x" })
    end, first = true },
    { "the user name", function(v, s) return bits.connect(v, { flags = 0x82, payload = str(s) }) end, first = true },
    { "the topic of PUBLISH", function(v, s) return bits.publish(v, { topic = s }) end },
    { "the topic of PUBLISH of QoS 2", function(v, s) return bits.publish(v, { topic = s, first = 0x34, id = 1 }) end },
    { "a filter of SUBSCRIBE", function(v, s) return bits.subscribe(v, { filter = s }) end },
    { "a filter of UNSUBSCRIBE", function(v, s) return bits.unsubscribe(v, { filter = s }) end },
}

local function in_connect(props) return function(_, s) return bits.connect(5, { props = props(s) }) end end

local function in_will(props)
    return function(_, s)
        local raw = props(s)
        return bits.connect(5, { flags = WILL, payload = bits.varint(#raw) .. raw .. str "t" .. str "x" })
    end
end

local function in_publish(props) return function(_, s) return bits.publish(5, { props = props(s) }) end end

-- a packet of an identifier (unless `id` is ""), code and properties
local function in_ack(first, id, code)
    return function(props)
        return function(_, s)
            local raw = props(s)
            return packet(first, id .. code .. bits.varint(#raw) .. raw)
        end
    end
end

local function one(id) return function(s) return id .. str(s) end end
local function user_name(s) return PAIR .. str(s) .. str "value" end
local function user_value(s) return PAIR .. str "name" .. str(s) end

-- The same in properties of 5.0.
local PROPERTIES = {
    { "the authentication method", in_connect(one "\x15"), first = true },
    { "a user property's name in CONNECT", in_connect(user_name), first = true },
    { "a user property's value in CONNECT", in_connect(user_value), first = true },
    { "the will's content type", in_will(one "\x03"), first = true },
    { "the will's response topic", in_will(one "\x08"), first = true },
    { "a user property's name in a will", in_will(user_name), first = true },
    { "a user property's value in a will", in_will(user_value), first = true },
    { "the content type", in_publish(one "\x03") }, { "the response topic", in_publish(one "\x08") },
    { "a user property's name in PUBLISH", in_publish(user_name) },
    { "a user property's value in PUBLISH", in_publish(user_value) },
    { "a user property's name in SUBSCRIBE", function(v, s)
        return bits.subscribe(v, { props = user_name(s) })
    end },
    { "a user property's value in UNSUBSCRIBE", function(v, s)
        return bits.unsubscribe(v, { props = user_value(s) })
    end },
    { "the reason in PUBACK", in_ack(0x40, u16(1), "\0")(one "\x1F") },
    { "the reason in PUBREC", in_ack(0x50, u16(1), "\0")(one "\x1F") },
    { "the reason in PUBREL", in_ack(0x62, u16(1), "\0")(one "\x1F") },
    { "a user property's name in PUBREL", in_ack(0x62, u16(1), "\0")(user_name) },
    { "the reason in PUBCOMP", in_ack(0x70, u16(1), "\0")(one "\x1F") },
    { "the reason in DISCONNECT", in_ack(0xE0, "", "\0")(one "\x1F") },
    { "the server reference in DISCONNECT", in_ack(0xE0, "", "\0")(one "\x1C") },
    { "the method in AUTH", in_ack(0xF0, "", "\x18")(one "\x15"), state = "authenticated" },
    { "the reason in AUTH", in_ack(0xF0, "", "\x18")(one "\x1F"), state = "authenticated" },
}

local function bad_utf8(add, version)
    local malformed = said(version, "2.5", "MQTT-1.5.3-1", "MQTT-1.5.4-1")
    local null = said(version, "2.5", "MQTT-1.5.3-2", "MQTT-1.5.4-2")
    local why = version == 3 and "3.1 names the encoding and no errors of it; ours is the later rule" or nil

    local function fill(fields)
        for _, field in ipairs(fields) do
            local state = field.state or (field.first and "first" or "open")
            local outcome = field.first and bits.refused(version, 0x81) or bits.ends(0x81)
            for _, kind in ipairs(KINDS) do
                add(("%s in %s"):format(kind[1], field[1]), field[2](version, kind[2]), outcome,
                    kind[1]:find "^U%+0000" and null or malformed, { state = state, why = why })
            end
        end
    end

    fill(FIELDS)
    if version == 5 then fill(PROPERTIES) end
end

return { bad_utf8 }
