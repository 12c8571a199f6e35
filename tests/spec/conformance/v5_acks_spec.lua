-- SPDX-License-Identifier: BSD-2-Clause
--
-- MQTT 5.0, sections 3.4 to 3.7: PUBACK, PUBREC, PUBREL, PUBCOMP and what they may say.

local mqtt = require "support.mqtt"
local shared = require "spec.conformance.shared"

local hex = mqtt.hex

local function set(codes)
    local all = {}
    for _, code in ipairs(codes) do all[code] = true end
    return all
end

-- The reason codes of tables 3-4 and 3-5.
local CODES = set { 0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99 }

local REASON = ("because "):rep(40)

-- Topics "+/deny/XX" are refused with that code and a long reason.
local CONFIG = ([[
    allow_anonymous = true
    sol.on("publish", "+/deny/+", function(client, message)
        return sol.deny(tonumber(message.topic:match "..$", 16), %q)
    end)
]]):format(REASON)

describe("MQTT 5.0", function()
    local test = shared.broker({ version = 5, config = CONFIG }, it, teardown)

    for _, row in ipairs { { "3.4", "PUBACK", 1 }, { "3.5", "PUBREC", 2 } } do
        local section, kind, qos = row[1], row[2], row[3]

        test(("[MQTT-%s.2-1] uses the codes that are made for %s"):format(section, kind), function(b, t)
            local c = b:client("c")
            c:publish(t, "x", { qos = qos, wait = false })
            assert.is_true(CODES[c:expect(kind).rc])
            for code = 0x80, 0xA2 do
                c:publish(("%s/deny/%02X"):format(t, code), "x", { qos = qos, wait = false })
                local rc = c:expect(kind).rc
                assert.is_true(rc >= 0x80 and CODES[rc], ("%s 0x%02X"):format(kind, rc))
                if CODES[code] then assert.equal(code, rc) end
            end
        end)

        test(("[MQTT-%s.2-1] closes on %s with a code that is not made for it"):format(section, kind), function(b)
            local first = kind == "PUBACK" and "40" or "50"
            for _, code in ipairs { "01", "7E", "8E", "FF" } do
                b:client("c"):send_raw(hex(first .. "03 00 01" .. code)):expect_disconnect { 0x81, 0x82 }
            end
        end)

        test(("[MQTT-%s.2-2] [MQTT-%s.2-3] leaves a reason out of %s that would make it too large")
            :format(section, section, kind), function(b, t)
            local topic = t .. "/deny/99"
            b:client("large"):publish(topic, "x", { qos = qos, wait = false })
                :expect(kind, { rc = 0x99, props = { reason = REASON } })
            local small = b:client("small", { props = { maximum_packet_size = 50 } })
            small:publish(topic, "x", { qos = qos, wait = false })
            assert.same({}, small:expect(kind, { rc = 0x99 }).props)
            small:ping()
        end)
    end

    for _, first in ipairs { "60", "61", "63", "66", "6A", "6F" } do
        test("[MQTT-3.6.1-1] closes on PUBREL with flags " .. first:sub(2), function(b)
            b:client("c"):send_raw(hex(first .. "02 00 01")):expect_disconnect(0x81)
        end)
    end

    -- a subscriber that has a message of QoS 2 waiting for its PUBREC, and the message
    local function receiving(b, t, props)
        local c = b:client("c", { props = props }):subscribe(t, 2)
        b:client("p"):publish(t, "x", { qos = 2 })
        return c, c:expect_publish(t, "x")
    end

    test("[MQTT-3.6.1-1] sends PUBREL with flags 2", function(b, t)
        local c, m = receiving(b, t)
        local bytes = shared.packet_bytes(c:send { type = "PUBREC", id = m.id })
        assert.equal(0x62, bytes:byte(1))
    end)

    test("[MQTT-3.6.2-1] uses the codes that are made for PUBREL", function(b, t)
        local c, m = receiving(b, t)
        c:send({ type = "PUBREC", id = m.id }):expect("PUBREL", { id = m.id, rc = 0 })
        c:send({ type = "PUBREC", id = m.id }):expect("PUBREL", { id = m.id, rc = 0 }) -- again
        c:send({ type = "PUBREC", id = 999 }):expect("PUBREL", { id = 999, rc = 0x92 })
    end)
    test("[MQTT-3.6.2-1] closes on PUBREL with a code that is not made for it", function(b)
        for _, code in ipairs { "10", "80", "91", "FF" } do
            b:client("c"):send_raw(hex("62 03 00 01" .. code)):expect_disconnect { 0x81, 0x82 }
        end
    end)

    test("[MQTT-3.6.2-2] [MQTT-3.6.2-3] keeps PUBREL within the maximum packet size", function(b, t)
        local c, m = receiving(b, t, { maximum_packet_size = 20 })
        assert.same({}, c:send({ type = "PUBREC", id = m.id }):expect("PUBREL", { id = m.id }).props)
        assert.same({}, c:send({ type = "PUBREC", id = 999 }):expect("PUBREL", { id = 999 }).props)
    end)

    test("[MQTT-3.7.2-1] uses the codes that are made for PUBCOMP", function(b, t)
        local c = b:client("c"):publish(t, "x", { qos = 2, id = 5, wait = false })
        c:expect("PUBREC", { id = 5 })
        c:send({ type = "PUBREL", id = 5 }):expect("PUBCOMP", { id = 5, rc = 0 })
        c:send({ type = "PUBREL", id = 5 }):expect("PUBCOMP", { id = 5, rc = 0x92 })
    end)
    test("[MQTT-3.7.2-1] closes on PUBCOMP with a code that is not made for it", function(b)
        for _, code in ipairs { "10", "80", "91", "FF" } do
            b:client("c"):send_raw(hex("70 03 00 01" .. code)):expect_disconnect { 0x81, 0x82 }
        end
    end)

    test("[MQTT-3.7.2-2] [MQTT-3.7.2-3] keeps PUBCOMP within the maximum packet size", function(b, t)
        local c = b:client("c", { props = { maximum_packet_size = 20 } })
        c:publish(t, "x", { qos = 2, id = 5, wait = false }):expect("PUBREC", { id = 5 })
        assert.same({}, c:send({ type = "PUBREL", id = 5 }):expect("PUBCOMP", { id = 5 }).props)
        assert.same({}, c:send({ type = "PUBREL", id = 6 }):expect("PUBCOMP", { id = 6 }).props)
    end)
end)
