-- SPDX-License-Identifier: BSD-2-Clause
--
-- acks.lua -- acknowledgements: identifiers, order, lengths, reason codes; DISCONNECT's codes with them.

local bits = require "spec.bad_packets.bits"

local u16, packet, said, ends, answers = bits.u16, bits.packet, bits.said, bits.ends, bits.answers

local ACKS = {
    { "PUBACK", 0x40, "3.4" }, { "PUBREC", 0x50, "3.5" }, { "PUBREL", 0x62, "3.6" }, { "PUBCOMP", 0x70, "3.7" },
}

local FIRST = {}
for _, ack in ipairs(ACKS) do FIRST[ack[1]] = ack[2] end

-- An acknowledgement of the message that the state is about.
local function of_it(name)
    return function(id) return packet(FIRST[name], u16(id)) end
end

local function identifiers(add, version)
    for _, ack in ipairs(ACKS) do
        add(ack[1] .. " of packet identifier 0", packet(ack[2], u16(0)), ends(0x82),
            said(version, "2.4", "2.3.1", "2.2.1"), { why = "no packet that is acknowledged may have it" })
        if version == 5 then
            add(ack[1] .. " of packet identifier 0 with a code", packet(ack[2], u16(0) .. "\0"), ends(0x82), "2.2.1")
        end
    end
end

-- Acknowledgements of what is not under way.
local function unknown(add, version)
    local not_found = version == 5 and 0x92 or nil
    local why = "one side may remember what the other forgot in a restart; 3.x goes on as usual, 5.0 has 0x92"
    local statement = said(version, "4.1", "4.3.3", "4.3.3")
    local STATES = { "open", "subscribed", "owing PUBACK", "owing PUBREC", "owing PUBREL" }
    for _, state in ipairs(STATES) do
        local function to(name) return ("%s of an unknown identifier, %s"):format(name, state) end
        add(to "PUBACK", packet(0x40, u16(5000)), bits.ignored, statement, { state = state, why = why })
        add(to "PUBREC", packet(0x50, u16(5000)), answers { "PUBREL", { id = 5000, rc = not_found } }, statement,
            { state = state, why = why })
        add(to "PUBREL", packet(0x62, u16(5000)), answers { "PUBCOMP", { id = 5000, rc = not_found } }, statement,
            { state = state, why = why })
        add(to "PUBCOMP", packet(0x70, u16(5000)), bits.ignored, statement, { state = state, why = why })
    end
    add("PUBACK of the client's own QoS 2", packet(0x40, u16(7)), bits.ignored, statement,
        { state = "owing PUBREL", why = "identifiers of the two directions are apart" })
    add("PUBCOMP of the client's own QoS 2", packet(0x70, u16(7)), bits.ignored, statement,
        { state = "owing PUBREL", why = "identifiers of the two directions are apart" })
    add("PUBREL twice", packet(0x62, u16(7)):rep(2),
        answers({ "PUBCOMP", { id = 7, rc = 0 } }, { "PUBCOMP", { id = 7, rc = not_found } }), statement,
        { state = "owing PUBREL" })
    add("PUBACK twice", function(id) return packet(0x40, u16(id)):rep(2) end, bits.ignored, statement,
        { state = "owing PUBACK" })
    add("PUBCOMP twice", function(id) return packet(0x70, u16(id)):rep(2) end, bits.ignored, statement,
        { state = "owing PUBCOMP" })
end

-- The wrong acknowledgement for the right message.
local function out_of_turn(add, version)
    local statement = said(version, "4.1", "4.3.2", "4.3.2")
    local why = "nobody can mean it: to take it for the right one would lose the message, to ignore it would keep it"
    for _, name in ipairs { "PUBREC", "PUBCOMP" } do
        add(name .. " for QoS 1", of_it(name), ends(0x82), statement, { state = "owing PUBACK", why = why })
    end
    statement = said(version, "4.1", "4.3.3", "4.3.3")
    add("PUBACK for QoS 2", of_it "PUBACK", ends(0x82), statement, { state = "owing PUBREC", why = why })
    add("PUBCOMP before PUBREC", of_it "PUBCOMP", ends(0x82), statement, { state = "owing PUBREC", why = why })
    add("PUBACK after PUBREC", of_it "PUBACK", ends(0x82), statement, { state = "owing PUBCOMP", why = why })
    add("PUBREC again", of_it "PUBREC", answers { "PUBREL", { rc = 0 } }, statement, { state = "owing PUBCOMP" })
    add("PUBREL of the broker's own message", of_it "PUBREL",
        answers { "PUBCOMP", { rc = version == 5 and 0x92 or nil } }, statement, { state = "owing PUBREC" })
end

local function lengths(add, version)
    for _, ack in ipairs(ACKS) do
        if version < 5 then
            for _, body in ipairs { "\0", "\0\0", "\0\0\0", "\x80" } do
                add(("%s with %d bytes of 5.0, the first 0x%02X"):format(ack[1], #body, body:byte()),
                    packet(ack[2], u16(1) .. body), ends(0x81), said(version, ack[3], ack[3] .. ".1"))
            end
        end
    end
    if version == 5 then return end
    local bare = said(version, "3.14", "3.14.1")
    for _, body in ipairs { "\0", "\4", "\0\0", "\x81" } do
        add(("DISCONNECT with %d bytes of 5.0, the first 0x%02X"):format(#body, body:byte()), packet(0xE0, body),
            ends(0x81), bare)
    end
end

-- Table 2-6 of 5.0: the codes of each packet that a client may send.
local CODES = {
    PUBACK = { 0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99 },
    PUBREL = { 0x00, 0x92 },
    DISCONNECT = { 0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95,
        0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2 },
    AUTH = { 0x00, 0x18, 0x19 },
}
CODES.PUBREC, CODES.PUBCOMP = CODES.PUBACK, CODES.PUBREL

-- The codes that some packet has, and a few that none has.
local ALL = { 0x00, 0x01, 0x02, 0x04, 0x10, 0x11, 0x18, 0x19 }
for code = 0x80, 0xA2 do ALL[#ALL + 1] = code end
for _, code in ipairs { 0x03, 0x05, 0x0F, 0x12, 0x1A, 0x7F, 0xA3, 0xFE, 0xFF } do ALL[#ALL + 1] = code end

local function has(list, code)
    for _, one in ipairs(list) do
        if one == code then return true end
    end
    return false
end

local function reason_codes(add, version)
    if version < 5 then return end
    local PACKETS = {
        { "PUBACK", 0x40, u16(1), "MQTT-3.4.2-1" }, { "PUBREC", 0x50, u16(1), "MQTT-3.5.2-1" },
        { "PUBREL", 0x62, u16(1), "MQTT-3.6.2-1" }, { "PUBCOMP", 0x70, u16(1), "MQTT-3.7.2-1" },
        { "DISCONNECT", 0xE0, "", "MQTT-3.14.2-1" },
        { "AUTH", 0xF0, "", "MQTT-3.15.2-1", "authenticated", bits.props(5, "\x15" .. bits.str "challenge") },
    }
    for _, row in ipairs(PACKETS) do
        local name, first, id, statement, state, props = table.unpack(row, 1, 6)
        for _, code in ipairs(ALL) do
            if not has(CODES[name], code) then
                add(("%s with reason code 0x%02X"):format(name, code),
                    packet(first, id .. string.char(code) .. (props or "")), ends(0x82), statement,
                    { state = state, why = "0x81 would do as well: the byte is well formed, its use is not" })
            end
        end
    end
end

return { identifiers, unknown, out_of_turn, lengths, reason_codes }
