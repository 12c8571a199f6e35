-- SPDX-License-Identifier: BSD-2-Clause
--
-- MQTT 5.0, sections 3.8 to 3.12: SUBSCRIBE, UNSUBSCRIBE, PINGREQ.

local mqtt = require "support.mqtt"
local shared = require "spec.conformance.shared"

local hex, str, packet = mqtt.hex, mqtt.str, mqtt.packet

-- The reason codes of tables 3-8 (SUBACK) and 3-9 (UNSUBACK).
local SUBACK, UNSUBACK = {}, {}
for _, code in ipairs { 0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2 } do
    SUBACK[code] = true
end
for _, code in ipairs { 0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91 } do UNSUBACK[code] = true end

local REASON = ("because "):rep(40)

-- Filters "...deny/XX" are refused with that code and a long reason.
local CONFIG = ([[
    allow_anonymous = true
    sol.on("subscribe", function(client, subscription)
        local code = subscription.filter:match "deny/(%%x%%x)$"
        if code then return sol.deny(tonumber(code, 16), %q) end
    end)
]]):format(REASON)

describe("MQTT 5.0", function()
    local test = shared.broker({ version = 5, config = CONFIG }, it, teardown)

    local function ends(name, bytes, codes)
        test(name, function(b) b:client("bad"):send_raw(bytes):expect_disconnect(codes or 0x81) end)
    end

    for _, flags in ipairs { "0", "1", "3", "6", "A", "F" } do
        ends("[MQTT-3.8.1-1] closes on SUBSCRIBE with flags " .. flags,
            hex("8" .. flags .. "07 00 01 00 00 01 74 00"))
        ends("[MQTT-3.10.1-1] closes on UNSUBSCRIBE with flags " .. flags,
            hex("A" .. flags .. "06 00 01 00 00 01 74"))
    end

    ends("[MQTT-3.8.3-1] closes on SUBSCRIBE whose filter is not UTF-8", hex "82 08 00 01 00 00 02 C3 28 00")
    ends("[MQTT-3.8.3-1] closes when the second filter is not UTF-8", hex "82 0C 00 01 00 00 01 74 00 00 02 C3 28 00")
    ends("[MQTT-3.8.3-2] closes on SUBSCRIBE without a filter", hex "82 03 00 01 00", { 0x82, 0x81 })
    ends("[MQTT-3.8.3-2] closes on SUBSCRIBE without options", hex "82 06 00 01 00 00 01 74")

    test("[MQTT-3.8.3-3] sends a client nothing of its own with no local", function(b, t)
        local c, p = b:client("c"):subscribe(t, 1, { no_local = true }), b:client("p")
        c:publish(t, "own", { qos = 1 }):expect_nothing()
        p:publish(t, "other's", { qos = 1 })
        c:expect_publish(t, "other's"):ack()
        c:subscribe(t .. "/+", 0, { no_local = true }):subscribe(t .. "/a", 0)
        c:publish(t .. "/a", "by the other subscription"):expect_publish(t .. "/a", "by the other subscription")
        c:publish(t .. "/b", "own"):expect_nothing()
    end)
    test("[MQTT-3.8.3-3] knows a client's own by its identifier, on another connection too", function(b, t)
        local c = b:client("c", { clean = false, props = { session_expiry = 60 } })
        c:subscribe(t, 1, { no_local = true }):publish(t, "own", { qos = 1 })
        c:reconnect():publish(t, "own", { qos = 1 }):expect_nothing()
    end)

    ends("[MQTT-3.8.3-4] closes on no local in a shared subscription",
        packet(0x82, "\0\1\0" .. str "$share/g/t" .. "\4"), { 0x82 })

    for _, byte in ipairs { "40", "80", "C0" } do
        ends("[MQTT-3.8.3-5] closes on the option byte " .. byte, hex("82 07 00 01 00 00 01 74" .. byte))
    end
    for _, byte in ipairs { "03", "30" } do
        ends("[MQTT-3.8.3-5] closes on the option byte " .. byte, hex("82 07 00 01 00 00 01 74" .. byte),
            { 0x81, 0x82 })
    end

    test("[MQTT-3.8.4-1] [MQTT-3.8.4-2] answers SUBSCRIBE with SUBACK of its identifier", function(b)
        local c = b:client("c")
        shared.expect_bytes(c:send_raw(hex "82 07 12 34 00 00 01 74 01"), "90 04 12 34 00 01")
    end)

    test("[MQTT-3.8.4-3] replaces the subscription of an equal filter, options included", function(b, t)
        local c, p = b:client("c"), b:client("p")
        c:subscribe(t, 2, { no_local = true, retain_as_published = true, props = { subscription_id = 1 } })
        c:subscribe(t, 1, { props = { subscription_id = 2 } })
        p:publish(t, "x", { qos = 2, retain = true })
        local m = c:expect_publish(t, "x", { qos = 1, retain = false })
        assert.same({ 2 }, m.props.subscription_ids)
        m:ack():expect_nothing():publish(t, "own"):expect_publish(t, "own")
    end)

    test("[MQTT-3.8.4-4] brings retained messages again, and loses nothing while it replaces", function(b, t)
        local c, p = b:client("c"):subscribe(t, 1), b:client("p")
        for i = 1, 50 do
            p:publish(t, tostring(i), { qos = 1, wait = false })
            c:send { type = "SUBSCRIBE", id = 1000 + i, { filter = t, qos = 1, retain_handling = 0 } }
        end
        p:ping()
        local n = 0
        for _, m in ipairs(shared.drain(c)) do
            if m.type == "PUBLISH" then
                n = n + 1
                assert.equal(tostring(n), m.payload)
            end
        end
        assert.equal(50, n)
        p:publish(t, "kept", { qos = 1, retain = true })
        local d = b:client("d")
        for _ = 1, 3 do d:subscribe(t, 1):expect_publish(t, "kept", { retain = true }):ack() end
    end)

    test("[MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] gives each filter its code, in order", function(b, t)
        local c = b:client("c")
        assert.same({ 2, 0x87, 0, 0x8F, 1 }, shared.codes_of(c, { t .. "/a", 2 }, { t .. "/deny/87", 2 },
            { t .. "/b", 0 }, { t .. "/deny/8F", 0 }, { t .. "/c", 1 }))
        c:publish(t .. "/deny/87", "x"):expect_nothing()
    end)

    test("[MQTT-3.9.2-1] [MQTT-3.9.2-2] leaves a reason out of SUBACK that would make it too large", function(b, t)
        local large = b:client("large"):subscribe(t .. "/deny/87", 0, { rc = 0x87 })
        assert.is_true(large.last.props.reason == REASON or large.last.props.reason == nil)
        local small = b:client("small", { props = { maximum_packet_size = 50 } })
        assert.same({}, small:subscribe(t .. "/deny/87", 0, { rc = 0x87 }).last.props)
    end)

    test("[MQTT-3.9.3-2] uses the codes that are made for SUBACK", function(b, t)
        local c = b:client("c")
        for code = 0x80, 0xA2 do
            local rc = shared.codes_of(c, { ("%s/deny/%02X"):format(t, code), 0 })[1]
            assert.is_true(rc >= 0x80 and SUBACK[rc], ("SUBACK 0x%02X"):format(rc))
            if SUBACK[code] then assert.equal(code, rc) end
        end
    end)

    ends("[MQTT-3.10.3-1] closes on UNSUBSCRIBE whose filter is not UTF-8", hex "A2 07 00 01 00 00 02 C3 28")
    ends("[MQTT-3.10.3-1] closes on UNSUBSCRIBE whose filter is cut off", hex "A2 06 00 01 00 00 05 74")
    ends("[MQTT-3.10.3-2] closes on UNSUBSCRIBE without a filter", hex "A2 03 00 01 00", { 0x82, 0x81 })

    test("[MQTT-3.10.4-4] [MQTT-3.10.4-5] answers UNSUBSCRIBE with UNSUBACK of its identifier", function(b, t)
        local c = b:client("c"):subscribe(t)
        c:send({ type = "UNSUBSCRIBE", id = 0x1234, t }):expect("UNSUBACK", { id = 0x1234, rc = 0 })
        c:send({ type = "UNSUBSCRIBE", id = 7, t }):expect("UNSUBACK", { id = 7, rc = 0x11 }) -- nothing to delete
    end)

    test("[MQTT-3.10.4-6] [MQTT-3.11.3-1] [MQTT-3.11.3-2] answers several filters in their order", function(b, t)
        local c = b:client("c"):subscribe(t .. "/a"):subscribe(t .. "/b"):subscribe(t .. "/c")
        local codes = c:unsubscribe({ t .. "/a", t .. "/nothing", t .. "/c" }).last.codes
        assert.same({ 0, 0x11, 0 }, codes)
        for _, code in ipairs(codes) do assert.is_true(UNSUBACK[code]) end
        c:publish(t .. "/a", "1"):publish(t .. "/b", "2"):publish(t .. "/c", "3")
        c:expect_publish(t .. "/b", "2"):expect_nothing()
    end)

    test("[MQTT-3.11.2-1] [MQTT-3.11.2-2] keeps UNSUBACK within the maximum packet size", function(b, t)
        local c = b:client("c", { props = { maximum_packet_size = 20 } })
        assert.same({}, c:unsubscribe({ t .. "/a", t .. "/b", t .. "/c" }).last.props)
    end)

end)
