-- SPDX-License-Identifier: BSD-2-Clause
--
-- MQTT 5.0, sections 3.14 and 4.13: DISCONNECT, and what becomes of errors.

local mqtt = require "support.mqtt"
local shared = require "spec.conformance.shared"

local hex, str, packet = mqtt.hex, mqtt.str, mqtt.packet

-- What a server may say in DISCONNECT (table 3-10; 0x8C is in table 2-6 only).
local CODES = {}
for _, code in ipairs { 0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95,
    0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2 } do
    CODES[code] = true
end

local REASON = ("because "):rep(40)

-- Whoever publishes to "+/end/XX" is disconnected with that code and a long reason; the identifier
-- "banned" is refused.
local CONFIG = ([[
    allow_anonymous = true
    sol.on("connect", function(client, connect)
        if connect.client_id:match "banned" then return sol.deny(0x8A) end
    end)
    sol.on("publish", "+/end/+", function(client, message)
        client:disconnect(tonumber(message.topic:match "..$", 16), %q)
    end)
]]):format(REASON)

describe("MQTT 5.0", function()
    local test = shared.broker({ version = 5, config = CONFIG }, it, teardown)

    test("[MQTT-3.14.0-1] sends no DISCONNECT after a refusal", function(b)
        b:client("banned", { connack = 0x8A }):expect_close()
        b:raw():send_raw(hex "10 02 00 04"):expect_refused { 0x81 }
    end)

    for _, first in ipairs { "E1", "E2", "E4", "E8", "EF" } do
        test("[MQTT-3.14.1-1] answers DISCONNECT with flags " .. first:sub(2) .. " with 0x81", function(b, t)
            local w = b:client("w"):subscribe(t)
            b:client("c", { will = { topic = t, payload = "x" } }):send_raw(hex(first .. "00")):expect_disconnect(0x81)
            w:expect_publish(t, "x") -- it was no DISCONNECT
        end)
    end

    test("[MQTT-3.14.2-1] uses the codes that are made for DISCONNECT", function(b, t)
        for code = 0x80, 0xA2 do
            local c = b:client("c"):publish(("%s/end/%02X"):format(t, code), "x")
            local rc = c:expect("DISCONNECT").rc
            assert.is_true(CODES[rc], ("DISCONNECT 0x%02X"):format(rc))
            if CODES[code] then assert.equal(code, rc) end
            c:expect_close()
        end
    end)
    for _, code in ipairs { "01", "03", "05", "7F", "84", "FF" } do
        test("[MQTT-3.14.2-1] takes DISCONNECT with the code " .. code .. " for an error", function(b, t)
            local w = b:client("w"):subscribe(t)
            local c = b:client("c", { will = { topic = t, payload = "x" } })
            c:send_raw(hex("E0 01" .. code)):expect_disconnect { 0x81, 0x82 }
            w:expect_publish(t, "x")
        end)
    end

    test("[MQTT-3.14.2-2] names no session expiry in DISCONNECT", function(b, t)
        local c = b:client("c", { clean = false, props = { session_expiry = 60 } })
        c:publish(t .. "/end/98", "x")
        assert.is_nil(c:expect("DISCONNECT", { rc = 0x98 }).props.session_expiry)
        c:reconnect():send_raw(hex "00 00")
        assert.is_nil(c:expect("DISCONNECT", { rc = 0x81 }).props.session_expiry)
    end)

    test("[MQTT-3.14.2-3] [MQTT-3.14.2-4] leaves a reason out that would make it too large", function(b, t)
        local large = b:client("large"):publish(t .. "/end/98", "x")
        assert.equal(REASON, large:expect("DISCONNECT", { rc = 0x98 }).props.reason)
        local small = b:client("small", { props = { maximum_packet_size = 50 } }):publish(t .. "/end/98", "x")
        assert.same({}, small:expect("DISCONNECT", { rc = 0x98 }).props)
    end)

    test("[MQTT-3.14.4-1] [MQTT-3.14.4-2] sends nothing after DISCONNECT, and closes", function(b, t)
        local c = b:client("c"):subscribe(t, 1)
        local good = mqtt.encode({ type = "PUBLISH", topic = t, payload = "x", qos = 1, id = 1 }, 5) .. hex "C0 00"
        c:send_raw(hex "00 00" .. good)
        c:expect("DISCONNECT", { rc = 0x81 }):expect_close()
    end)
    test("[MQTT-3.14.4-1] handles nothing that follows a client's DISCONNECT, and closes", function(b, t)
        local w = b:client("w"):subscribe(t)
        b:client("c"):send_raw(hex "E0 00" .. mqtt.encode({ type = "PUBLISH", topic = t, payload = "x" }, 5))
            :expect_close()
        w:expect_nothing()
    end)

    test("[MQTT-3.14.4-3] discards the will at DISCONNECT 0, and at no other", function(b, t)
        local w = b:client("w"):subscribe(t)
        local function goes(rc, props) b:client("c", { will = { topic = t, payload = "x" } }):disconnect(rc, props) end
        goes()
        goes(0)
        goes(0, { reason = "bye" })
        w:expect_nothing()
        for _, rc in ipairs { 0x04, 0x80, 0x81, 0x93, 0x97 } do
            goes(rc)
            w:expect_publish(t, "x")
        end
    end)

    local ERRORS = { -- what, bytes, codes that the standard gives it
        { "type 0", hex "00 00", { 0x81 } }, { "CONNACK of a client", hex "20 03 00 00 00", { 0x81, 0x82 } },
        { "SUBACK of a client", hex "90 04 00 01 00 00", { 0x81, 0x82 } },
        { "UNSUBACK of a client", hex "B0 04 00 01 00 00", { 0x81, 0x82 } },
        { "PINGRESP of a client", hex "D0 00", { 0x81, 0x82 } }, { "PINGREQ with a body", hex "C0 01 00", { 0x81 } },
        { "PUBACK of one byte", hex "40 01 00", { 0x81 } },
        { "PUBLISH with an unknown property", hex "30 06 00 01 74 02 7F 00", { 0x81 } },
        { "PUBLISH with a property of CONNECT", hex "30 0A 00 01 74 05 11 00 00 00 01 78", { 0x81, 0x82 } },
        { "PUBLISH with a property twice", hex "30 0D 00 01 74 08 03 00 01 61 03 00 01 62 78", { 0x82 } },
        { "PUBLISH whose properties overrun it", hex "30 05 00 01 74 7F 01", { 0x81 } },
        { "PUBLISH with half a property", hex "30 06 00 01 74 02 02 00", { 0x81 } },
        { "PUBLISH with payload format 2", hex "30 07 00 01 74 02 01 02 78", { 0x81, 0x82, 0x99 } },
        { "PUBLISH without topic and alias", hex "30 04 00 00 00 78", { 0x82 } },
        { "SUBSCRIBE with identifier 0", packet(0x82, "\0\1" .. "\2\x0B\0" .. str "t" .. "\0"), { 0x82 } },
        { "SUBSCRIBE with two identifiers", packet(0x82, "\0\1" .. "\4\x0B\1\x0B\2" .. str "t" .. "\0"), { 0x82 } },
        { "retain handling 3", hex "82 07 00 01 00 00 01 74 30", { 0x81, 0x82 } },
        { "AUTH that nothing began", hex "F0 02 18 00", { 0x82 } },
        { "DISCONNECT that sets a session expiry from 0", hex "E0 07 00 05 11 00 00 00 0A", { 0x82 } },
        { "PUBREL with session expiry", hex "62 09 00 01 00 05 11 00 00 00 0A", { 0x81, 0x82 } },
    }
    for _, row in ipairs(ERRORS) do
        test("[MQTT-4.13.1-1] ends the connection over " .. row[1], function(b)
            b:client("c"):send_raw(row[2]):expect_disconnect(row[3])
        end)
    end

    test("[MQTT-4.13.2-1] closes after a CONNACK or DISCONNECT of 0x80 and above", function(b, t)
        b:client("banned", { connack = 0x8A }):expect_close()
        b:client("c"):publish(t .. "/end/80", "x"):expect("DISCONNECT", { rc = 0x80 }):expect_close()
        b:client("d"):disconnect(0x80) -- waits for the end
    end)
end)
