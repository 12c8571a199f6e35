-- SPDX-License-Identifier: BSD-2-Clause
--
-- framing.lua -- the fixed header, garbage, and packets that are not the client's to send, or not yet.

local bits = require "spec.bad_packets.bits"

local hex, packet, said, ends, closes = bits.hex, bits.packet, bits.said, bits.ends, bits.closes

-- A good packet of each type a client may send, by its first byte.
local function good_packets(version)
    local all = {
        { "CONNECT", bits.connect(version) }, { "PUBACK", hex "40 02 00 01" }, { "PUBREC", hex "50 02 00 01" },
        { "PUBREL", hex "62 02 00 01" }, { "PUBCOMP", hex "70 02 00 01" }, { "SUBSCRIBE", bits.subscribe(version) },
        { "UNSUBSCRIBE", bits.unsubscribe(version) }, { "PINGREQ", hex "C0 00" }, { "DISCONNECT", hex "E0 00" },
    }
    if version == 5 then all[#all + 1] = { "AUTH", hex "F0 00" } end
    return all
end

-- In 3.1 a request that is sent again has DUP set.
local function may_be_dup(name, version)
    return version == 3 and (name == "PUBREL" or name == "SUBSCRIBE" or name == "UNSUBSCRIBE")
end

local function flags(add, version)
    local statement = said(version, "2.1", "MQTT-2.2.2-2", "MQTT-2.1.3-1")
    local why = version == 3
        and "3.1 calls them unused; no client of it sets them, and one rule for all versions is simpler" or nil
    for _, good in ipairs(good_packets(version)) do
        local name, bytes = good[1], good[2]
        for bit = 0, 3 do
            if not (bit == 3 and may_be_dup(name, version)) then
                local first = bytes:byte() ~ 1 << bit
                local state = name == "CONNECT" and "first" or "open"
                add(("%s with flags 0x%X"):format(name, first & 15), string.char(first) .. bytes:sub(2),
                    name == "CONNECT" and closes or ends(0x81), statement, { state = state, why = why })
            end
        end
    end
end

local function types(add, version)
    local unknown = said(version, "2.1", "2.2.1", "2.1.2")
    for bit = 0, 15 do
        add(("packet type 0 with flags 0x%X"):format(bit), string.char(bit, 0), ends(0x81), unknown)
    end
    if version < 5 then
        add("packet type 15, which comes with 5.0", hex "F0 00", closes, unknown)
        add("packet type 15 with a body", hex "F0 02 18 00", closes, unknown)
        add("packet type 15 with flags", hex "FF 00", closes, unknown)
    end
end

-- Well-formed, and the server's to send.
local function servers_packets(add, version)
    local p = bits.props(version)
    local SERVERS = {
        { "CONNACK", packet(0x20, "\0\0" .. p), said(version, "3.2", "3.2", "3.2") },
        { "CONNACK that refuses", packet(0x20, "\0\5" .. p), said(version, "3.2", "3.2", "3.2") },
        { "SUBACK", packet(0x90, "\0\1" .. p .. "\0"), said(version, "3.9", "3.9", "3.9") },
        { "SUBACK that refuses", packet(0x90, "\0\1" .. p .. "\x80"), said(version, "3.9", "3.9", "3.9") },
        { "UNSUBACK", packet(0xB0, "\0\1" .. p .. (version == 5 and "\0" or "")),
            said(version, "3.11", "3.11", "3.11") },
        { "PINGRESP", hex "D0 00", said(version, "3.13", "3.13", "3.13") },
    }
    for _, row in ipairs(SERVERS) do
        for _, state in ipairs { "open", "subscribed" } do
            add(("%s from a client, %s"):format(row[1], state), row[2], ends(0x82), row[3],
                { state = state, why = "table 2.1 gives the direction; a packet the other way is no part of MQTT" })
        end
    end
end

local function remaining_length(add, version)
    local statement = said(version, "2.1", "2.2.3", "MQTT-1.5.5-1")
    local shortest = version < 5 and "3.x does not ask for the shortest form; nobody sends another" or nil
    local LENGTHS = {
        { "of five bytes", "80 80 80 80 01" }, { "of five bytes, all ones", "FF FF FF FF 7F" },
        { "without end", "FF FF FF FF FF FF FF FF" }, { "of four zeros with another to come", "80 80 80 80" },
    }
    for _, first in ipairs { "10", "30", "82", "C0" } do
        for _, row in ipairs(LENGTHS) do
            local state = first == "10" and "first" or "open"
            add(("remaining length %s after 0x%s"):format(row[1], first), hex(first .. row[2]),
                first == "10" and closes or ends(0x81), statement, { state = state })
        end
    end
    for _, row in ipairs { { "two", "80 00" }, { "three", "80 80 00" }, { "four", "80 80 80 00" } } do
        add("remaining length 0 in " .. row[1] .. " bytes", hex("C0" .. row[2]), ends(0x81), statement,
            { why = shortest })
    end
    local body = bits.publish(version, { topic = "long" }):sub(3)
    for _, more in ipairs { "\0", "\x80\0", "\x80\x80\0" } do
        add(("PUBLISH whose remaining length takes %d bytes too many"):format(#more),
            "\x30" .. string.char(#body | 0x80) .. more .. body, ends(0x81), statement, { why = shortest })
    end
end

-- max_packet_size is 4096 (run.lua)
local function too_large(add, version)
    local statement = said(version, "2.1", "2.2.3", "MQTT-3.2.2-15")
    for _, row in ipairs {
        { "PUBLISH of one byte too many", "\x30" .. bits.varint(4094) },
        { "PUBLISH of 256 MB", hex "30 FF FF FF 7F" }, { "PUBLISH of QoS 2 and 100 MB", hex "34 80 C2 D7 2F" },
        { "SUBSCRIBE of 256 MB", hex "82 FF FF FF 7F" }, { "PUBACK of 256 MB", hex "40 FF FF FF 7F" },
        { "PINGREQ of 256 MB", hex "C0 FF FF FF 7F" },
    } do
        add(row[1] .. ", judged by its header", row[2], ends(0x95), statement)
    end
    add("CONNECT of 256 MB, judged by its header", hex "10 FF FF FF 7F", closes, statement, { state = "first",
        why = "its version is not known yet, nor the form of a CONNACK" })
    add("CONNECT of one byte too many", "\x10" .. bits.varint(4094), closes, statement, { state = "first",
        why = "its version is not known yet, nor the form of a CONNACK" })
end

local function before_connect(add, version)
    local statement = said(version, "3.1", "MQTT-3.1.0-1", "MQTT-3.1.0-1")
    local EARLY = {
        { "PUBLISH of QoS 0", bits.publish(version) },
        { "PUBLISH of QoS 1", bits.publish(version, { first = 0x32, id = 1 }) },
        { "PUBLISH of QoS 2", bits.publish(version, { first = 0x34, id = 1 }) },
        { "CONNACK", packet(0x20, "\0\0" .. bits.props(version)) }, { "SUBACK", packet(0x90, "\0\1\0") },
        { "UNSUBACK", hex "B0 02 00 01" }, { "PINGRESP", hex "D0 00" }, { "packet type 0", hex "00 00" },
        { "AUTH", hex "F0 00" }, { "AUTH that continues", hex "F0 02 18 00" },
    }
    for i, good in ipairs(good_packets(version)) do
        if i > 1 and good[1] ~= "AUTH" then EARLY[#EARLY + 1] = good end
    end
    for _, row in ipairs(EARLY) do
        add(row[1] .. " in place of CONNECT", row[2], closes, statement, { state = "first" })
        add(row[1] .. " in place of CONNECT, which follows", row[2] .. bits.connect(version), closes, statement,
            { state = "first" })
    end
end

local function second_connect(add, version)
    local statement = said(version, "3.1", "MQTT-3.1.0-2", "MQTT-3.1.0-2")
    for level = 3, 5 do
        add("second CONNECT, of level " .. level, bits.connect(level), ends(0x82), statement)
    end
    add("second CONNECT of another client", bits.connect(version, { client_id = "another" }), ends(0x82), statement)
    add("second CONNECT without clean session", bits.connect(version, { flags = 0 }), ends(0x82), statement)
    add("second CONNECT after a subscription", bits.connect(version), ends(0x82), statement, { state = "subscribed" })
    add("second CONNECT in the middle of QoS 2", bits.connect(version), ends(0x82), statement,
        { state = "owing PUBREL" })
    add("second CONNECT of no bytes", hex "10 00", ends(0x82), statement)
end

local function garbage(add, version)
    local statement = said(version, "3.1", "MQTT-3.1.0-1", "MQTT-3.1.0-1")
    for _, row in ipairs {
        { "an HTTP request", "GET / HTTP/1.1\r\nHost: example\r\n\r\n" },
        { "a POST request", "POST /mqtt HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}" },
        { "an HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" },
        { "a TLS client hello", hex "16 03 01 00 05 01 00 00 01 00" }, { "an SSH banner", "SSH-2.0-OpenSSH_9.2\r\n" },
        { "an SMTP greeting", "EHLO example\r\n" }, { "an AMQP header", "AMQP\0\0\9\1" },
        { "a STOMP frame", "CONNECT\naccept-version:1.2\n\n\0" }, { "a Redis command", "*1\r\n$4\r\nPING\r\n" },
        { "a PROXY header nobody asked for", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" }, { "JSON", '{"type":"connect"}' },
        { "a thousand zeros", ("\0"):rep(1000) }, { "a thousand ones", ("\xFF"):rep(1000) },
        { "a line end", "\r\n" }, { "the letters MQTT", "MQTT" },
    } do
        add(row[1] .. " in place of CONNECT", row[2], closes, statement, { state = "first" })
    end
    local late = said(version, "2.1", "2.2.1", "2.1.2")
    add("a thousand zeros", ("\0"):rep(1000), ends(0x81), late)
    add("a thousand ones", ("\xFF"):rep(1000), ends(0x81), late)
    add("a good packet behind garbage", hex "00 00" .. bits.publish(version), ends(0x81), late)
end

return { flags, types, servers_packets, remaining_length, too_large, before_connect, second_connect, garbage }
