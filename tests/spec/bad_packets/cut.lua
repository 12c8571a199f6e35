-- SPDX-License-Identifier: BSD-2-Clause
--
-- cut.lua -- packets that end too early, too late, or whose lengths lie.
--
-- A packet is given in its fields, { name, content, outcome of a cut in it where that is special };
-- it is cut after each byte, and its remaining length says so: the packet is whole as far as its
-- frame goes, and its content is not.  A cut after which it is a good packet is no row.

local bits = require "spec.bad_packets.bits"

local str, u16, packet, said, ends, refused = bits.str, bits.u16, bits.packet, bits.said, bits.ends, bits.refused

-- Two fields of a string.
local function string_of(name, s, outcome)
    return { "the length of " .. name, u16(#s), outcome }, { name, s, outcome }
end

local function fields_of(...)
    local fields = {}
    for _, field in ipairs { ... } do fields[#fields + 1] = field end
    return fields
end

local function append(fields, ...)
    for _, field in ipairs { ... } do fields[#fields + 1] = field end
end

-- Properties (of a part of the packet), in 5.0: a field each for length, identifier and value.
local function append_props(fields, version, id, value, of)
    if version < 5 then return end
    of = of or ""
    append(fields, { "the property length" .. of, bits.varint(#id + #value) },
        { "a property's identifier" .. of, id }, { "a property's value" .. of, value })
end

local function connect_fields(version)
    local unknown = bits.closes -- as long as the level has not come
    local fields = fields_of(string_of("the protocol name", version == 3 and "MQIsdp" or "MQTT", unknown))
    append(fields, { "the protocol level", string.char(version), unknown }, { "the connect flags", "\xC6" },
        { "the keep-alive", u16(60) })
    append_props(fields, version, "\x11", bits.u32(10))
    append(fields, string_of("the client identifier", "bad"))
    append_props(fields, version, "\x18", bits.u32(10), " of the will")
    append(fields, string_of("the will topic", "w"))
    append(fields, string_of("the will message", "x"))
    append(fields, string_of("the user name", "u"))
    append(fields, string_of("the password", "p"))
    return fields
end

-- In 3.1 the remaining length takes precedence over the flags: user name and password may be left out.
local MAY_BE_LEFT_OUT = { [3] = { ["the length of the user name"] = true, ["the length of the password"] = true } }

local function publish_fields(version)
    local fields = fields_of(string_of("the topic", "cut"))
    append(fields, { "the packet identifier", u16(1) })
    append_props(fields, version, "\x02", bits.u32(10))
    return fields
end

local function ack_fields(version)
    local fields = { { "the packet identifier", u16(1) } }
    if version == 5 then append(fields, { "the reason code", "\0" }) end
    append_props(fields, version, "\x1F", str "why")
    return fields
end

local function filters_fields(version, option)
    local fields = { { "the packet identifier", u16(1) } }
    append_props(fields, version, "\x26", str "k" .. str "v")
    for i = 1, 2 do
        append(fields, string_of("filter " .. i, "cut" .. i))
        if option then append(fields, { "the options of filter " .. i, option }) end
    end
    return fields
end

local function disconnect_fields()
    local fields = { { "the reason code", "\4" } }
    append_props(fields, 5, "\x1F", str "why")
    return fields
end

local function auth_fields()
    local fields = { { "the reason code", "\x19" } }
    append_props(fields, 5, "\x15", str "challenge")
    return fields
end

-- `p`: name, first byte, fields; good: names of fields before which it may end; state, statement,
-- outcome of each cut (default 0x81), outcomes: those of cuts before a certain field.
local function cut(add, p)
    local before = ""
    for _, field in ipairs(p.fields) do
        local name, content = field[1], field[2]
        for got = 0, #content - 1 do
            if got > 0 or not p.good[name] then
                local outcome = got == 0 and p.outcomes and p.outcomes[name] or field[3] or p.outcome or ends(0x81)
                local where = got == 0 and "before " .. name
                    or ("after %d of %d bytes of %s"):format(got, #content, name)
                add(p.name .. " cut " .. where, packet(p.first, before .. content:sub(1, got)), outcome, p.statement,
                    { state = p.state, why = p.why })
            end
        end
        before = before .. content
    end
end

local ACKS = {
    { "PUBACK", 0x40, "3.4" }, { "PUBREC", 0x50, "3.5" }, { "PUBREL", 0x62, "3.6" }, { "PUBCOMP", 0x70, "3.7" },
}

local function truncated(add, version)
    cut(add, { name = "CONNECT", first = 0x10, fields = connect_fields(version), good = MAY_BE_LEFT_OUT[version] or {},
        outcome = refused(version, 0x81), state = "first",
        statement = said(version, "3.1", "MQTT-3.1.4-1", "MQTT-3.1.4-1") })
    cut(add, { name = "PUBLISH", first = 0x32, fields = publish_fields(version), good = {},
        statement = said(version, "3.3", "3.3.2", "3.3.2") })
    for _, ack in ipairs(ACKS) do
        cut(add, { name = ack[1], first = ack[2], fields = ack_fields(version),
            good = { ["the reason code"] = true, ["the property length"] = true }, statement = ack[3] })
    end
    local no_filter = { ["the length of filter 1"] = ends(0x82) }
    cut(add, { name = "SUBSCRIBE", first = 0x82, fields = filters_fields(version, "\0"),
        good = { ["the length of filter 2"] = true }, outcomes = no_filter,
        statement = said(version, "3.8", "3.8.3", "3.8.3") })
    cut(add, { name = "UNSUBSCRIBE", first = 0xA2, fields = filters_fields(version),
        good = { ["the length of filter 2"] = true }, outcomes = no_filter,
        statement = said(version, "3.10", "3.10.3", "3.10.3") })
    if version < 5 then return end
    cut(add, { name = "DISCONNECT", first = 0xE0, fields = disconnect_fields(), statement = "3.14.2",
        good = { ["the reason code"] = true, ["the property length"] = true } })
    cut(add, { name = "AUTH", first = 0xF0, fields = auth_fields(), statement = "3.15.2", state = "authenticated",
        good = { ["the reason code"] = true }, outcomes = { ["the property length"] = ends(0x82) } })
end

-- Packets with more in them than they have room for.
local function left_over(add, version)
    local p = bits.props(version)
    local statement = said(version, "2.1", "4.8", "4.13.1")
    for _, ack in ipairs(ACKS) do
        local body = version == 5 and "\0\1\0\0" or "\0\1"
        add(ack[1] .. " with a byte left over", packet(ack[2], body .. "\0"), ends(0x81), statement)
        add(ack[1] .. " with a second identifier left over", packet(ack[2], body .. "\0\2"), ends(0x81), statement)
    end
    add("PINGREQ with a byte", packet(0xC0, "\0"), ends(0x81), statement)
    add("PINGREQ with an identifier", packet(0xC0, "\0\1"), ends(0x81), statement)
    add("SUBSCRIBE with a byte left over", packet(0x82, u16(1) .. p .. str "t" .. "\0\0"), ends(0x81), statement)
    add("UNSUBSCRIBE with a byte left over", packet(0xA2, u16(1) .. p .. str "t" .. "\0"), ends(0x81), statement)
    local disconnect = version == 5 and "\0\0\0" or "\0"
    add("DISCONNECT with a byte left over", packet(0xE0, disconnect), ends(0x81), statement)
    add("DISCONNECT with an identifier", packet(0xE0, disconnect .. "\1"), ends(0x81), statement)
    for _, row in ipairs {
        { "a byte", "\0" }, { "a will that its flags do not name", p .. str "w" .. str "x" },
        { "a user name that its flags do not name", str "u" }, { "another CONNECT in it", bits.connect(version) },
    } do
        add("CONNECT with " .. row[1] .. " left over", bits.connect(version, { payload = row[2] }),
            refused(version, 0x81), said(version, "3.1", "MQTT-3.1.4-1", "MQTT-3.1.4-1"), { state = "first" })
    end
    add("CONNECT with a password that its flags do not name",
        bits.connect(version, { flags = 0x82, payload = str "u" .. str "p" }), refused(version, 0x81),
        said(version, "3.1", "MQTT-3.1.2-20", "MQTT-3.1.2-18"), { state = "first" })
end

-- Strings that are longer than their packet.
local function lying_lengths(add, version)
    local p = bits.props(version)
    for _, len in ipairs { 2, 0x7FFF, 0xFFFF } do
        local s = u16(len) .. "t"
        local function with(name) return ("%s of %d bytes, of which one comes"):format(name, len) end
        local filters = said(version, "2.5", "3.8.3", "3.8.3")
        add(with "a topic", packet(0x30, s), ends(0x81), said(version, "2.5", "3.3.2", "3.3.2"))
        add(with "a filter of SUBSCRIBE", packet(0x82, u16(1) .. p .. s), ends(0x81), filters)
        add(with "a second filter", packet(0x82, u16(1) .. p .. str "a" .. "\0" .. s), ends(0x81), filters)
        add(with "a filter of UNSUBSCRIBE", packet(0xA2, u16(1) .. p .. s), ends(0x81), filters)
        local connect = said(version, "3.1", "MQTT-3.1.4-1", "MQTT-3.1.4-1")
        local head = bits.connect(version, { client_id = "", payload = "" }):sub(3, -3)
        local unread = refused(version, 0x81)
        add(with "a client identifier", packet(0x10, head .. s), unread, connect, { state = "first" })
        add(with "a user name", bits.connect(version, { flags = 0x82, payload = s }), unread, connect,
            { state = "first" })
        add(with "a password", bits.connect(version, { flags = 0xC2, payload = str "u" .. s }), unread, connect,
            { state = "first" })
        add(with "a will message", bits.connect(version, { flags = 6, payload = p .. str "w" .. s }), unread, connect,
            { state = "first" })
        add(with "a protocol name", packet(0x10, s), bits.closes, connect, { state = "first" })
    end
end

return { truncated, left_over, lying_lengths }
