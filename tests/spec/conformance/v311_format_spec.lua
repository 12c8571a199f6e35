-- SPDX-License-Identifier: BSD-2-Clause
--
-- MQTT 3.1.1, chapters 1 and 2: strings, flags, packet identifiers.

local mqtt = require "support.mqtt"
local shared = require "spec.conformance.shared"

local hex, str = mqtt.hex, mqtt.str

describe("MQTT 3.1.1", function()
    local test = shared.broker({}, it, teardown)

    -- what a connected client sends must end its connection
    local function closes(name, bytes)
        test(name, function(b) b:client("bad"):send_raw(bytes):expect_close() end)
    end

    -- the CONNECT packet `fields` must end the connection without CONNACK
    local function connect_closes(name, fields)
        fields.type = "CONNECT"
        test(name, function(b) b:raw():send_raw(mqtt.encode(fields, 4)):expect_close() end)
    end

    local ILL_FORMED = {
        { "a lone continuation byte", "a\x80" }, { "an overlong form", "\xC0\xAF" },
        { "an overlong form of three bytes", "\xE0\x80\xAF" }, { "a high surrogate", "\xED\xA0\x80" },
        { "a low surrogate", "\xED\xBF\xBF" }, { "a code point beyond U+10FFFF", "\xF4\x90\x80\x80" },
        { "a sequence that is cut off", "a\xE2\x82" }, { "a byte that never occurs", "\xFF" },
    }
    for _, row in ipairs(ILL_FORMED) do
        local what, s = row[1], row[2]
        closes("[MQTT-1.5.3-1] closes on " .. what .. " in a topic", mqtt.packet(0x30, str(s) .. "x"))
    end
    local strings = { ["1.5.3-1"] = { "ill-formed UTF-8", "a\xED\xA0\x80" }, ["1.5.3-2"] = { "U+0000", "a\0b" } }
    for id, row in pairs(strings) do
        local what, s = row[1], row[2]
        local name = ("[MQTT-%s] closes on %s in "):format(id, what)
        closes(name .. "a topic of QoS 1", mqtt.packet(0x32, str(s) .. "\0\1x"))
        closes(name .. "a filter to subscribe to", mqtt.packet(0x82, "\0\1" .. str(s) .. "\0"))
        closes(name .. "a filter to unsubscribe from", mqtt.packet(0xA2, "\0\1" .. str(s)))
        connect_closes(name .. "a client identifier", { client_id = s })
        connect_closes(name .. "a user name", { client_id = "c", username = s })
        connect_closes(name .. "a will topic", { client_id = "c", will = { topic = s, payload = "x" } })
    end
    test("[MQTT-1.5.3-2] takes U+0000 in a payload, which is no string", function(b, t)
        b:client("c"):subscribe(t):publish(t, "a\0b"):expect_publish(t, "a\0b")
    end)

    test("[MQTT-1.5.3-3] keeps U+FEFF where it stands in a topic", function(b, t)
        local with, without = "\u{FEFF}" .. t .. "/a\u{FEFF}", t .. "/a"
        local c = b:client("c"):subscribe("+/+")
        c:publish(with, "x"):expect_publish(with, "x")
        b:client("d"):subscribe(without):publish(with, "x"):expect_nothing()
    end)

    test("[MQTT-2.2.2-1] sends the flags that the standard lists", function(b, t)
        local c, p = b:client("c"), b:client("p")
        local function answers(request, wanted) shared.expect_bytes(c:send_raw(hex(request)), wanted) end
        answers("C0 00", "D0 00")
        answers("82 06 00 01 00 01 74 02", "90 03 00 01 02")
        answers("A2 05 00 02 00 01 74", "B0 02 00 02")
        answers("32 05 00 01 74 00 07", "40 02 00 07")
        answers("34 05 00 01 74 00 08", "50 02 00 08")
        answers("62 02 00 08", "70 02 00 08")
        c:send_raw(mqtt.encode({ type = "SUBSCRIBE", id = 3, { filter = t, qos = 2 } }, 4))
        shared.expect_bytes(c, "90 03 00 03 02")
        p:publish(t, "x", { qos = 2 })
        local message = shared.packet_bytes(c)
        assert.equal(0x34, message:byte(1))
        local id = message:sub(-3, -2)
        shared.expect_bytes(c:send_raw("\x50\x02" .. id), "62 02" .. shared.to_hex(id))
        c:send_raw("\x70\x02" .. id)
        shared.expect_bytes(b:raw():send_raw(mqtt.encode({ type = "CONNECT", client_id = "x" }, 4)), "20 02 00 00")
    end)

    local WRONG_FLAGS = {
        { "PUBACK", "41 02 00 01" }, { "PUBREC", "52 02 00 01" }, { "PUBREL", "60 02 00 01" },
        { "PUBREL", "66 02 00 01" }, { "PUBCOMP", "78 02 00 01" }, { "SUBSCRIBE", "80 06 00 01 00 01 74 00" },
        { "UNSUBSCRIBE", "A0 05 00 01 00 01 74" }, { "PINGREQ", "C1 00" }, { "DISCONNECT", "E2 00" },
        { "a second CONNECT", "11 0D 00 04 4D 51 54 54 04 02 00 00 00 01 63" },
    }
    for _, row in ipairs(WRONG_FLAGS) do
        closes(("[MQTT-2.2.2-2] closes on %s with flags %s"):format(row[1], row[2]:sub(2, 2)), hex(row[2]))
    end
    test("[MQTT-2.2.2-2] closes on CONNECT with flags", function(b)
        b:raw():send_raw(hex "11 0D 00 04 4D 51 54 54 04 02 00 00 00 01 63"):expect_close()
    end)

    closes("[MQTT-2.3.1-1] closes on SUBSCRIBE with identifier 0", hex "82 06 00 00 00 01 74 00")
    closes("[MQTT-2.3.1-1] closes on UNSUBSCRIBE with identifier 0", hex "A2 05 00 00 00 01 74")
    closes("[MQTT-2.3.1-1] closes on PUBLISH of QoS 1 with identifier 0", hex "32 06 00 01 74 00 00 78")
    closes("[MQTT-2.3.1-1] closes on PUBLISH of QoS 2 with identifier 0", hex "34 06 00 01 74 00 00 78")
    test("[MQTT-2.3.1-1] takes the identifier 65535", function(b, t)
        b:client("c"):subscribe(t, 1):publish(t, "x", { qos = 1, id = 65535 }):expect_publish(t, "x"):ack()
    end)

    test("[MQTT-2.3.1-5] sends and takes QoS 0 without an identifier", function(b, t)
        local c = b:client("c"):subscribe(t)
        c:send_raw(mqtt.packet(0x30, str(t) .. "xyz"))
        assert.equal(mqtt.packet(0x30, str(t) .. "xyz"), shared.packet_bytes(c))
    end)

end)
