-- SPDX-License-Identifier: BSD-2-Clause
--
-- MQTT 3.1.1, sections 3.8 to 3.14: SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT.

local mqtt = require "support.mqtt"
local shared = require "spec.conformance.shared"

local hex = mqtt.hex

local CONFIG = [[
    allow_anonymous = true
    sol.on("subscribe", function(client, subscription)
        if subscription.filter:match "/forbidden$" then return sol.deny(0x87) end
    end)
]]

describe("MQTT 3.1.1", function()
    local test = shared.broker({ config = CONFIG }, it, teardown)

    local function closes(name, bytes)
        test(name, function(b) b:client("bad"):send_raw(bytes):expect_close() end)
    end

    for _, flags in ipairs { "0", "1", "3", "6", "A", "F" } do
        closes("[MQTT-3.8.1-1] closes on SUBSCRIBE with flags " .. flags, hex("8" .. flags .. "06 00 01 00 01 74 00"))
        closes("[MQTT-3.10.1-1] closes on UNSUBSCRIBE with flags " .. flags, hex("A" .. flags .. "05 00 01 00 01 74"))
    end

    closes("[MQTT-3.8.3-1] closes on SUBSCRIBE whose filter is not UTF-8", hex "82 07 00 01 00 02 C3 28 00")
    closes("[MQTT-3.8.3-1] closes when the second filter is not UTF-8", hex "82 0B 00 01 00 01 74 00 00 02 C3 28 00")

    test("[MQTT-3.8.3-2] has wildcards", function(b, t)
        assert.same({ 0, 1, 2 }, shared.codes_of(b:client("c"), { t .. "/+", 0 }, { t .. "/#", 1 }, { "+/" .. t, 2 }))
    end)

    closes("[MQTT-3.8.3-3] closes on SUBSCRIBE without a filter", hex "82 02 00 01")
    closes("[MQTT-3.8.3-3] closes on SUBSCRIBE without a QoS", hex "82 05 00 01 00 01 74")

    for _, byte in ipairs { "03", "04", "08", "10", "20", "40", "80", "FF" } do
        closes("[MQTT-3.8.3-4] closes on the QoS byte " .. byte, hex("82 06 00 01 00 01 74" .. byte))
    end

    test("[MQTT-3.8.4-1] [MQTT-3.8.4-2] answers SUBSCRIBE with SUBACK of its identifier", function(b)
        local c = b:client("c")
        shared.expect_bytes(c:send_raw(hex "82 06 12 34 00 01 74 01"), "90 03 12 34 01")
    end)

    test("[MQTT-3.8.4-3] replaces the subscription of an equal filter", function(b, t)
        local c, p = b:client("c"):subscribe(t, 2), b:client("p")
        p:publish(t, "kept", { qos = 2, retain = true })
        c:expect_publish(t, "kept", { qos = 2, retain = false }):ack()
        c:subscribe(t, 1):expect_publish(t, "kept", { qos = 1, retain = true }):ack()
        p:publish(t, "once", { qos = 2 })
        c:expect_publish(t, "once", { qos = 1 }):ack():expect_nothing()
    end)

    test("[MQTT-3.8.4-3] loses nothing while it replaces", function(b, t)
        local c, p = b:client("c"):subscribe(t, 1), b:client("p")
        for i = 1, 50 do
            p:publish(t, tostring(i), { qos = 1, wait = false })
            c:send { type = "SUBSCRIBE", id = 1000 + i, { filter = t, qos = 1 } }
        end
        p:ping()
        local n = 0
        for _, packet in ipairs(shared.drain(c)) do
            if packet.type == "PUBLISH" then
                n = n + 1
                assert.equal(tostring(n), packet.payload)
            end
        end
        assert.equal(50, n)
    end)

    test("[MQTT-3.8.4-5] [MQTT-3.9.3-1] [MQTT-3.9.3-2] gives each filter its code, in order", function(b, t)
        local c = b:client("c")
        assert.same({ 2, 0x80, 0, 1 }, shared.codes_of(c, { t .. "/a", 2 }, { t .. "/forbidden", 2 }, { t .. "/b", 0 },
            { t .. "/c", 1 }))
        assert.same({ 0x80 }, shared.codes_of(c, { t .. "/forbidden", 0 }))
        c:publish(t .. "/forbidden", "x"):expect_nothing()
    end)

    closes("[MQTT-3.10.3-1] closes on UNSUBSCRIBE whose filter is not UTF-8", hex "A2 06 00 01 00 02 C3 28")
    closes("[MQTT-3.10.3-1] closes on UNSUBSCRIBE whose filter is cut off", hex "A2 05 00 01 00 05 74")
    closes("[MQTT-3.10.3-2] closes on UNSUBSCRIBE without a filter", hex "A2 02 00 01")

    test("[MQTT-3.10.4-4] answers UNSUBSCRIBE with UNSUBACK of its identifier", function(b, t)
        local c = b:client("c"):subscribe(t)
        c:send { type = "UNSUBSCRIBE", id = 0x1234, t }
        shared.expect_bytes(c, "B0 02 12 34")
    end)

    test("[MQTT-3.10.4-5] answers UNSUBSCRIBE from what never was", function(b)
        shared.expect_bytes(b:client("c"):send_raw(hex "A2 05 00 07 00 01 74"), "B0 02 00 07")
    end)

    test("[MQTT-3.10.4-6] takes several filters as several requests", function(b, t)
        local c = b:client("c"):subscribe(t .. "/a"):subscribe(t .. "/b"):subscribe(t .. "/c")
        c:unsubscribe { t .. "/a", t .. "/nothing", t .. "/c" }
        c:publish(t .. "/a", "1"):publish(t .. "/b", "2"):publish(t .. "/c", "3")
        c:expect_publish(t .. "/b", "2"):expect_nothing()
    end)

    for _, first in ipairs { "E1", "E2", "E4", "E8", "EF" } do
        test("[MQTT-3.14.1-1] takes DISCONNECT with flags " .. first:sub(2) .. " for an error", function(b, t)
            local w = b:client("w"):subscribe(t)
            b:client("c", { will = { topic = t, payload = "x" } }):send_raw(hex(first .. "00")):expect_close()
            w:expect_publish(t, "x") -- it was no DISCONNECT
        end)
    end

    test("[MQTT-3.14.4-3] discards the will at DISCONNECT", function(b, t)
        local w = b:client("w"):subscribe(t .. "/#")
        b:client("c", { will = { topic = t, payload = "x", qos = 1, retain = true } }):disconnect()
        w:expect_nothing()
        b:client("late"):subscribe(t):expect_nothing()
    end)
end)

describe("MQTT 3.1.1 without wildcards", function()
    local test = shared.broker({ config = "wildcard_subscription = false" }, it, teardown)

    test("[MQTT-3.8.3-2] refuses filters with wildcards, and only those", function(b, t)
        local c = b:client("c")
        assert.same({ 0x80, 0x80, 1 }, shared.codes_of(c, { t .. "/+", 0 }, { t .. "/#", 1 }, { t .. "/a", 1 }))
        c:publish(t .. "/b", "x"):publish(t .. "/a", "y"):expect_publish(t .. "/a", "y"):expect_nothing()
    end)
end)
