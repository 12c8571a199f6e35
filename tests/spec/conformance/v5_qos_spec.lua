-- SPDX-License-Identifier: BSD-2-Clause
--
-- MQTT 5.0, sections 4.1 to 4.6 and 4.9: sessions, QoS, repetition, order, flow control.

local proc = require "support.proc"
local shared = require "spec.conformance.shared"

-- Publishing to "+/no" is refused.
local CONFIG = [[
    allow_anonymous = true
    sol.on("publish", "+/no", function() return sol.deny(0x99) end)
]]

local LASTING = { clean = false, props = { session_expiry = 60 } }

describe("MQTT 5.0", function()
    local test = shared.broker({ version = 5, config = CONFIG }, it, teardown)

    test("[MQTT-4.1.0-1] keeps the session's state while the connection is open", function(b, t)
        local c = b:client("c"):subscribe(t, 2) -- session expiry 0
        for i = 1, 20 do
            c:publish(t, tostring(i), { qos = i % 3 }):expect_publish(t, tostring(i)):ack()
            b:client("other" .. i):disconnect()
        end
        c:publish(t .. "/r", "in", { qos = 2, id = 77, wait = false }):expect("PUBREC", { id = 77 })
        local short = b:client("short", { clean = false, props = { session_expiry = 1 } }):subscribe(t, 1)
        proc.sleep(1.2)
        c:send({ type = "PUBREL", id = 77 }):expect("PUBCOMP", { id = 77, rc = 0 })
        c:publish(t, "x", { qos = 1 }):expect_publish(t, "x"):ack()
        short:expect_publish(t, "x"):ack()
    end)

    test("[MQTT-4.1.0-2] discards the session when its expiry is over", function(b, t)
        local c = b:client("c", { clean = false, props = { session_expiry = 1 } }):subscribe(t, 1)
        local never = b:client("never", { clean = false, props = { session_expiry = 0xFFFFFFFF } }):disconnect()
        local at_end = b:client("at end", LASTING):disconnect(0, { session_expiry = 1 })
        c:drop()
        proc.sleep(1.4)
        assert.is_false(c:reconnect().connack.session_present)
        assert.is_false(at_end:reconnect().connack.session_present)
        assert.is_true(never:reconnect({ clean = false, props = {} }).connack.session_present)
        c:publish(t, "x", { qos = 1 }):expect_nothing()
    end)

    test("[MQTT-4.3.3-1] [MQTT-4.3.3-2] [MQTT-4.3.3-3] sends QoS 2 until PUBREC", function(b, t)
        local c = b:client("c", LASTING):subscribe(t, 2)
        b:client("p"):publish(t, "1", { qos = 2 }):publish(t, "2", { qos = 2 })
        local one = c:expect_publish(t, "1", { qos = 2, dup = false })
        local two = c:expect_publish(t, "2", { qos = 2, dup = false })
        assert.not_equal(one.id, two.id)
        c:reconnect()
        c:expect_publish(t, "1", { id = one.id, dup = true })
        c:expect_publish(t, "2", { id = two.id, dup = true })
    end)

    test("[MQTT-4.3.3-4] [MQTT-4.3.3-5] [MQTT-4.3.3-6] sends PUBREL until PUBCOMP, and no PUBLISH", function(b, t)
        local c = b:client("c", LASTING):subscribe(t, 2)
        b:client("p"):publish(t, "x", { qos = 2 }):publish(t, "y", { qos = 2 })
        local x, y = c:expect_publish(t, "x"), c:expect_publish(t, "y")
        c:send({ type = "PUBREC", id = x.id }):expect("PUBREL", { id = x.id, rc = 0 })
        c:send({ type = "PUBREC", id = y.id, rc = 0x10 }):expect("PUBREL", { id = y.id, rc = 0 })
        for _ = 1, 2 do
            c:reconnect():expect("PUBREL", { id = x.id })
            c:expect("PUBREL", { id = y.id })
        end
        c:send({ type = "PUBCOMP", id = x.id }):send({ type = "PUBCOMP", id = y.id }):expect_nothing()
        c:reconnect():expect_nothing()
    end)

    test("[MQTT-4.3.3-4] sends no PUBREL after PUBREC of 0x80 and above", function(b, t)
        local c = b:client("c", LASTING):subscribe(t, 2)
        b:client("p"):publish(t, "x", { qos = 2 })
        local m = c:expect_publish(t, "x")
        c:send({ type = "PUBREC", id = m.id, rc = 0x80 }):expect_nothing()
        c:reconnect():expect_nothing()
    end)

    test("[MQTT-4.3.3-7] sends what it has sent before even if it has expired since", function(b, t)
        local c = b:client("c", LASTING):subscribe(t, 2)
        b:client("p"):publish(t, "x", { qos = 2, props = { message_expiry = 1 } })
        local m = c:expect_publish(t, "x")
        proc.sleep(1.3)
        c:reconnect():expect_publish(t, "x", { id = m.id, dup = true }):ack()
    end)

    test("[MQTT-4.3.3-8] [MQTT-4.3.3-10] [MQTT-4.3.3-11] receives QoS 2 once, however often it is sent", function(b, t)
        local w, c = b:client("w"):subscribe(t), b:client("c", LASTING)
        for i = 1, 3 do
            c:publish(t, "x", { qos = 2, id = 8, dup = i > 1, wait = false }):expect("PUBREC", { id = 8 })
        end
        c:reconnect():publish(t, "x", { qos = 2, id = 8, dup = true, wait = false })
        assert.is_true(c:expect("PUBREC", { id = 8 }).rc < 0x80)
        c:send({ type = "PUBREL", id = 8 }):expect("PUBCOMP", { id = 8, rc = 0 })
        w:expect_publish(t, "x"):expect_nothing()
    end)

    test("[MQTT-4.3.3-9] takes the identifier anew after it has refused", function(b, t)
        local c = b:client("c"):subscribe(t)
        c:publish(t .. "/no", "x", { qos = 2, id = 8, wait = false }):expect("PUBREC", { id = 8, rc = 0x99 })
        c:publish(t, "y", { qos = 2, id = 8, dup = true }):expect_publish(t, "y")
    end)

    test("[MQTT-4.3.3-12] takes the identifier anew after PUBCOMP", function(b, t)
        local c = b:client("c"):subscribe(t)
        for i = 1, 3 do c:publish(t, tostring(i), { qos = 2, id = 8, dup = i > 1 }):expect_publish(t, tostring(i)) end
    end)

    test("[MQTT-4.3.3-13] goes on with the exchange when the message has expired", function(b, t)
        local c = b:client("c"):publish(t, "x", { qos = 2, id = 8, wait = false, props = { message_expiry = 1 } })
        c:expect("PUBREC", { id = 8 })
        local away = b:client("away", LASTING):subscribe(t .. "/a", 2):disconnect()
        b:client("p"):publish(t .. "/a", "x", { qos = 2, id = 9, wait = false, props = { message_expiry = 1 } })
            :expect("PUBREC", { id = 9 })
        proc.sleep(1.3)
        away:reconnect():expect_nothing()
        c:publish(t, "x", { qos = 2, id = 8, dup = true, wait = false }):expect("PUBREC", { id = 8 })
        c:send({ type = "PUBREL", id = 8 }):expect("PUBCOMP", { id = 8, rc = 0 })
    end)

    test("[MQTT-4.4.0-2] does not repeat what was refused with PUBACK or PUBREC", function(b, t)
        local c = b:client("c", LASTING):subscribe(t, 2)
        b:client("p"):publish(t, "1", { qos = 1 }):publish(t, "2", { qos = 2 })
        c:send { type = "PUBACK", id = c:expect_publish(t, "1").id, rc = 0x83 }
        c:send { type = "PUBREC", id = c:expect_publish(t, "2").id, rc = 0x97 }
        c:expect_nothing()
        c:reconnect():expect_nothing()
    end)

    test("[MQTT-4.9.0-1] [MQTT-4.9.0-2] begins with a quota within the receive maximum", function(b, t)
        local p = b:client("p")
        for _, most in ipairs { 1, 3, 10 } do
            local c = b:client("c" .. most, { props = { receive_maximum = most } }):subscribe(t, 2)
            for i = 1, most + 3 do p:publish(t, tostring(i), { qos = 1 + i % 2 }) end
            local got = shared.drain(c)
            assert.equal(most, #got)
            got[1]:ack()
            c:expect_publish(t, tostring(most + 1)):expect_nothing():drop()
        end
    end)

    test("[MQTT-4.9.0-3] handles everything else while the quota is used up", function(b, t)
        local c = b:client("c", { props = { receive_maximum = 1 } }):subscribe(t, 1)
        b:client("p"):publish(t, "1", { qos = 1 }):publish(t, "2", { qos = 1 })
        local one = c:expect_publish(t, "1")
        c:ping():subscribe(t .. "/a"):publish(t .. "/a", "0"):expect_publish(t .. "/a", "0")
        c:publish(t .. "/b", "in", { qos = 1 }):publish(t .. "/b", "in", { qos = 2 }):unsubscribe(t .. "/a")
        c:expect_nothing()
        one:ack():expect_publish(t, "2"):ack()
    end)
end)
