-- SPDX-License-Identifier: BSD-2-Clause
--
-- MQTT 3.1.1, sections 3.3 to 3.7: PUBLISH, retained messages, acknowledgements.

local mqtt = require "support.mqtt"
local shared = require "spec.conformance.shared"

local hex, str = mqtt.hex, mqtt.str

local CONFIG = [[
    allow_anonymous = true
    sol.on("publish", "+/forbidden", function() return sol.deny(0x87) end)
]]

describe("MQTT 3.1.1", function()
    local test = shared.broker({ config = CONFIG }, it, teardown)

    local function closes(name, bytes)
        test(name, function(b) b:client("bad"):send_raw(bytes):expect_close() end)
    end

    closes("[MQTT-3.3.1-2] closes on QoS 0 with DUP", hex "38 04 00 01 74 78")

    closes("[MQTT-3.3.1-4] closes on QoS 3", hex "36 07 00 01 74 00 01 78 79")
    closes("[MQTT-3.3.1-4] closes on QoS 3 with DUP and RETAIN", hex "3F 07 00 01 74 00 01 78 79")

    test("[MQTT-3.3.1-5] stores a retained message with its QoS", function(b, t)
        local p = b:client("p")
        for qos = 0, 2 do
            p:publish(t .. "/" .. qos, "kept", { qos = qos, retain = true }):ping()
            b:client("s" .. qos):subscribe(t .. "/" .. qos, 2)
                :expect_publish(t .. "/" .. qos, "kept", { qos = qos, retain = true }):ack()
        end
        p:publish(t .. "/1", "newer", { qos = 1, retain = true })
        b:client("s"):subscribe(t .. "/1"):expect_publish(t .. "/1", "newer", { retain = true }):expect_nothing()
    end)

    test("[MQTT-3.3.1-6] brings each matching retained message to a new subscription", function(b, t)
        local p, wanted = b:client("p"), {}
        for _, level in ipairs { "a", "b", "c/d", "" } do
            local topic = t .. "/" .. level
            p:publish(topic, "old", { qos = 1, retain = true }):publish(topic, "last", { qos = 1, retain = true })
            wanted[topic] = true
        end
        p:publish(t .. "x", "other", { qos = 1, retain = true })
        local c = b:client("c"):subscribe(t .. "/#")
        for _ = 1, 4 do
            local m = c:expect("PUBLISH", { payload = "last", retain = true })
            assert.is_true(wanted[m.topic])
            wanted[m.topic] = nil
        end
        c:expect_nothing()
    end)

    test("[MQTT-3.3.1-7] lets a retained message of QoS 0 displace the older one", function(b, t)
        local p = b:client("p"):publish(t, "old", { qos = 2, retain = true })
        p:publish(t, "new", { qos = 0, retain = true }):ping()
        for _, m in ipairs(shared.drain(b:client("c"):subscribe(t))) do assert.equal("new", m.payload) end
    end)

    test("[MQTT-3.3.1-8] sets RETAIN in what a new subscription brings", function(b, t)
        b:client("p"):publish(t, "x", { qos = 1, retain = true })
        local c = b:client("c")
        for _, filter in ipairs { t, t .. "/#", "+" } do
            assert.is_true(c:subscribe(filter):await("PUBLISH").retain)
            c:unsubscribe(filter)
        end
        b:client("d"):subscribe(t):expect_publish(t, "x", { retain = true })
    end)

    test("[MQTT-3.3.1-9] clears RETAIN in what an existing subscription brings", function(b, t)
        local c = b:client("c"):subscribe(t, 1)
        b:client("p"):publish(t, "x", { qos = 1, retain = true })
        c:expect_publish(t, "x", { retain = false }):ack()
    end)

    test("[MQTT-3.3.1-10] delivers an empty retained message and removes what was retained", function(b, t)
        local c, p = b:client("c"):subscribe(t), b:client("p")
        p:publish(t, "x", { qos = 1, retain = true })
        c:expect_publish(t, "x")
        p:publish(t, "", { qos = 1, retain = true })
        c:expect_publish(t, "", { retain = false })
        b:client("late"):subscribe(t):expect_nothing()
    end)

    closes("[MQTT-3.3.2-1] closes on PUBLISH without a topic", hex "30 00")
    closes("[MQTT-3.3.2-1] closes on PUBLISH that is shorter than its topic", hex "30 04 00 09 74 78")
    closes("[MQTT-3.3.2-1] closes on a topic that is not UTF-8", hex "30 05 00 02 C3 28 78")
    test("[MQTT-3.3.2-1] sends the topic first", function(b, t)
        b:client("p"):publish(t .. "/größe", "x", { qos = 1, retain = true })
        local c = b:client("c"):send({ type = "SUBSCRIBE", id = 1, { filter = t .. "/#", qos = 1 } })
        shared.expect_bytes(c, "90 03 00 01 01")
        local packet = shared.packet_bytes(c)
        assert.equal(str(t .. "/größe"), packet:sub(3, #t + #"/größe" + 4))
    end)

    for _, topic in ipairs { "#", "+", "a/+/b", "a/#", "a#", "a+b" } do
        for qos = 0, 1 do
            closes(("[MQTT-3.3.2-2] closes on PUBLISH of QoS %d to %q"):format(qos, topic),
                mqtt.packet(0x30 | qos << 1, str(topic) .. (qos > 0 and "\0\1" or "") .. "x"))
        end
    end

    test("[MQTT-3.3.5-2] acknowledges a publish that is not allowed, or closes", function(b, t)
        local w = b:client("w"):subscribe(t .. "/#")
        for qos = 1, 2 do
            local c = b:client("c"):publish(t .. "/forbidden", "x", { qos = qos, id = 9, wait = false })
            c:expect_rejected(qos == 1 and "PUBACK" or "PUBREC", { 0 })
            c:drop()
        end
        w:expect_nothing()
    end)

    for _, first in ipairs { "60", "61", "63", "66", "6A", "6F" } do
        closes("[MQTT-3.6.1-1] closes on PUBREL with flags " .. first:sub(2), hex(first .. "02 00 01"))
    end
    test("[MQTT-3.6.1-1] sends PUBREL with flags 2", function(b, t)
        local c = b:client("c")
        c:send_raw(mqtt.encode({ type = "SUBSCRIBE", id = 1, { filter = t, qos = 2 } }, 4))
        shared.expect_bytes(c, "90 03 00 01 02")
        b:client("p"):publish(t, "x", { qos = 2 })
        local id = shared.packet_bytes(c):sub(-3, -2)
        shared.expect_bytes(c:send_raw("\x50\2" .. id), "62 02" .. shared.to_hex(id))
    end)
end)
