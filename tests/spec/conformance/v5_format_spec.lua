-- SPDX-License-Identifier: BSD-2-Clause
--
-- MQTT 5.0, chapters 1 and 2: strings, integers, flags, packet identifiers, properties.

local mqtt = require "support.mqtt"
local shared = require "spec.conformance.shared"

local hex, str, packet = mqtt.hex, mqtt.str, mqtt.packet

describe("MQTT 5.0", function()
    local test = shared.broker({ version = 5 }, it, teardown)

    -- what a connected client sends must end its connection as a malformed packet
    local function malformed(name, bytes)
        test(name, function(b) b:client("bad"):send_raw(bytes):expect_disconnect(0x81) end)
    end

    -- the CONNECT packet `fields` must be refused
    local function connect_refused(name, fields)
        fields.type = "CONNECT"
        test(name, function(b) b:raw():send_raw(mqtt.encode(fields, 5)):expect_refused { 0x81, 0x82 } end)
    end

    local ILL_FORMED = {
        { "a lone continuation byte", "a\x80" }, { "an overlong form", "\xC0\xAF" },
        { "an overlong form of three bytes", "\xE0\x80\xAF" }, { "a high surrogate", "\xED\xA0\x80" },
        { "a low surrogate", "\xED\xBF\xBF" }, { "a code point beyond U+10FFFF", "\xF4\x90\x80\x80" },
        { "a sequence that is cut off", "a\xE2\x82" }, { "a byte that never occurs", "\xFF" },
    }
    for _, row in ipairs(ILL_FORMED) do
        malformed("[MQTT-1.5.4-1] closes on " .. row[1] .. " in a topic", packet(0x30, str(row[2]) .. "\0x"))
    end
    local strings = { ["1.5.4-1"] = { "ill-formed UTF-8", "a\xED\xA0\x80" }, ["1.5.4-2"] = { "U+0000", "a\0b" } }
    for id, row in pairs(strings) do
        local what, s = row[1], row[2]
        local name = ("[MQTT-%s] closes on %s in "):format(id, what)
        malformed(name .. "a topic of QoS 1", packet(0x32, str(s) .. "\0\1\0x"))
        malformed(name .. "a filter to subscribe to", packet(0x82, "\0\1\0" .. str(s) .. "\0"))
        malformed(name .. "a filter to unsubscribe from", packet(0xA2, "\0\1\0" .. str(s)))
        malformed(name .. "a response topic", mqtt.encode({ type = "PUBLISH", topic = "t",
            props = { response_topic = s } }, 5))
        malformed(name .. "a content type", mqtt.encode({ type = "PUBLISH", topic = "t",
            props = { content_type = s } }, 5))
        malformed(name .. "a reason string", mqtt.encode({ type = "DISCONNECT", rc = 0, props = { reason = s } }, 5))
        connect_refused(name .. "a client identifier", { client_id = s })
        connect_refused(name .. "a user name", { client_id = "c", username = s })
        connect_refused(name .. "a will topic", { client_id = "c", will = { topic = s, payload = "x" } })
        connect_refused(name .. "a will's content type", { client_id = "c",
            will = { topic = "t", payload = "x", props = { content_type = s } } })
        connect_refused(name .. "an authentication method", { client_id = "c", props = { auth_method = s } })
        for place, pair in pairs { name = { s, "x" }, value = { "x", s } } do
            malformed(("[MQTT-1.5.7-1] closes on %s in the %s of a user property"):format(what, place),
                mqtt.encode({ type = "PUBLISH", topic = "t", props = { user = { pair } } }, 5))
        end
    end
    malformed("[MQTT-1.5.7-1] closes on a user property without a value", packet(0x30, str "t" .. "\4\x26\0\1a"))
    test("[MQTT-1.5.7-1] takes any strings as a pair, empty ones too", function(b, t)
        local pairs_sent = { { "", "" }, { "größe", "\u{1F600}" }, { "a", "" }, { "", "b" } }
        local c = b:client("c"):subscribe(t)
        c:publish(t, "y", { props = { user = pairs_sent } })
        assert.same(pairs_sent, c:expect_publish(t, "y").props.user)
    end)

    test("[MQTT-1.5.4-3] keeps U+FEFF where it stands", function(b, t)
        local with, without = "\u{FEFF}" .. t .. "/a\u{FEFF}", t .. "/a"
        local c = b:client("c"):subscribe("+/+")
        c:publish(with, "x", { props = { content_type = "\u{FEFF}text" } })
        c:expect_publish(with, "x", { props = { content_type = "\u{FEFF}text" } })
        b:client("d"):subscribe(without):publish(with, "x"):expect_nothing()
    end)

    malformed("[MQTT-1.5.5-1] closes on a remaining length of more bytes than needed", hex "30 85 00 00 01 74 00 78")
    malformed("[MQTT-1.5.5-1] closes on a remaining length of 0 in two bytes", hex "C0 80 00")
    malformed("[MQTT-1.5.5-1] closes on a remaining length of five bytes", hex "30 80 80 80 80 01")
    malformed("[MQTT-1.5.5-1] closes on a length of properties of more bytes than needed",
        packet(0x30, str "t" .. "\x80\0" .. "x"))
    malformed("[MQTT-1.5.5-1] closes on a subscription identifier of more bytes than needed",
        packet(0x82, "\0\1" .. "\3\x0B\x81\0" .. str "t" .. "\0"))
    malformed("[MQTT-1.5.5-1] closes on a subscription identifier of five bytes",
        packet(0x82, "\0\1" .. "\6\x0B\xFF\xFF\xFF\xFF\1" .. str "t" .. "\0"))
    test("[MQTT-1.5.5-1] writes lengths in as few bytes as they need", function(b, t)
        for _, size in ipairs { 1, 100, 127, 128, 200, 16383, 16384, 20000 } do
            local payload = ("x"):rep(size)
            local c = b:client("c" .. size)
            c:send { type = "SUBSCRIBE", id = 1, { filter = t, qos = 0 } }
            shared.expect_bytes(c, "90 04 00 01 00 00")
            c:publish(t, payload)
            assert.equal(packet(0x30, str(t) .. "\0" .. payload), shared.packet_bytes(c))
            c:drop()
        end
        local c = b:client("c"):subscribe(t)
        for _, size in ipairs { 100, 121, 122, 123, 124, 500 } do -- around a length of properties of 128
            local value = ("v"):rep(size)
            c:publish(t, "p", { props = { user = { { "k", value } } } })
            assert.same({ { "k", value } }, c:expect_publish(t, "p").props.user)
        end
    end)

    local WRONG_FLAGS = {
        { "PUBACK", "41 02 00 01" }, { "PUBREC", "52 02 00 01" }, { "PUBREL", "60 02 00 01" },
        { "PUBREL", "66 02 00 01" }, { "PUBCOMP", "78 02 00 01" }, { "SUBSCRIBE", "80 07 00 01 00 00 01 74 00" },
        { "UNSUBSCRIBE", "A0 06 00 01 00 00 01 74" }, { "PINGREQ", "C1 00" }, { "DISCONNECT", "E2 00" },
        { "AUTH", "F1 00" },
    }
    for _, row in ipairs(WRONG_FLAGS) do
        malformed(("[MQTT-2.1.3-1] closes on %s with flags %s"):format(row[1], row[2]:sub(2, 2)), hex(row[2]))
    end
    test("[MQTT-2.1.3-1] refuses CONNECT with flags", function(b)
        b:raw():send_raw(hex "11 0E 00 04 4D 51 54 54 05 02 00 00 00 00 01 63"):expect_refused { 0x81 }
    end)
    test("[MQTT-2.1.3-1] sends the flags that the standard lists", function(b, t)
        local c, p = b:client("c"), b:client("p")
        local function first_of(request)
            return shared.packet_bytes(c:send_raw(hex(request))):byte(1)
        end
        assert.equal(0xD0, first_of "C0 00")
        assert.equal(0x90, first_of "82 07 00 01 00 00 01 74 02")
        assert.equal(0xB0, first_of "A2 06 00 02 00 00 01 74")
        assert.equal(0x40, first_of "32 06 00 01 74 00 07 00")
        assert.equal(0x50, first_of "34 06 00 01 74 00 08 00")
        assert.equal(0x70, first_of "62 02 00 08")
        c:send { type = "SUBSCRIBE", id = 3, { filter = t, qos = 2 } }
        shared.expect_bytes(c, "90 04 00 03 00 02")
        p:publish(t, "x", { qos = 2 })
        local message = shared.packet_bytes(c)
        assert.equal(0x34, message:byte(1))
        local id = message:sub(#t + 5, #t + 6)
        assert.equal(0x62, shared.packet_bytes(c:send_raw("\x50\x02" .. id)):byte(1))
        c:send_raw("\x70\x02" .. id)
        assert.equal(0xE0, shared.packet_bytes(c:send_raw(hex "00 00")):byte(1))
    end)

    test("[MQTT-2.2.1-2] sends and takes QoS 0 without an identifier", function(b, t)
        local c = b:client("c"):subscribe(t)
        c:send_raw(packet(0x30, str(t) .. "\0xyz"))
        assert.equal(packet(0x30, str(t) .. "\0xyz"), shared.packet_bytes(c))
    end)

    for name, bytes in pairs {
        ["SUBSCRIBE"] = "82 07 00 00 00 00 01 74 00", ["UNSUBSCRIBE"] = "A2 06 00 00 00 00 01 74",
        ["PUBLISH of QoS 1"] = "32 07 00 01 74 00 00 00 78", ["PUBLISH of QoS 2"] = "34 07 00 01 74 00 00 00 78",
    } do
        test(("[MQTT-2.2.1-3] closes on %s with identifier 0"):format(name), function(b)
            b:client("bad"):send_raw(hex(bytes)):expect_disconnect { 0x81, 0x82 }
        end)
    end

    test("[MQTT-2.2.2-1] writes a length of 0 where there are no properties", function(b, t)
        local c = b:client("c")
        shared.expect_bytes(c:send_raw(packet(0x82, "\0\1\0" .. str(t) .. "\0")), "90 04 00 01 00 00")
        c:send_raw(packet(0x30, str(t) .. "\0" .. "x"))
        assert.equal(packet(0x30, str(t) .. "\0" .. "x"), shared.packet_bytes(c))
        shared.expect_bytes(c:send_raw(packet(0xA2, "\0\2\0" .. str(t))), "B0 04 00 02 00 00")
    end)
    malformed("[MQTT-2.2.2-1] closes on PUBLISH without a length of properties", packet(0x30, str "t"))
    malformed("[MQTT-2.2.2-1] closes on SUBSCRIBE without a length of properties", packet(0x82, "\0\1"))
    test("[MQTT-2.2.2-1] refuses CONNECT without a length of properties", function(b)
        b:raw():send_raw(hex "10 0A 00 04 4D 51 54 54 05 02 00 3C"):expect_refused { 0x81 }
    end)
end)
