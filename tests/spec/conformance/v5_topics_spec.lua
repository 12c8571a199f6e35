-- SPDX-License-Identifier: BSD-2-Clause
--
-- MQTT 5.0, sections 4.7 and 4.8: topics, filters, shared subscriptions.

local mqtt = require "support.mqtt"
local shared = require "spec.conformance.shared"

local hex, str, packet = mqtt.hex, mqtt.str, mqtt.packet

local LASTING = { clean = false, props = { session_expiry = 60 } }

describe("MQTT 5.0", function()
    local test = shared.broker({ version = 5 }, it, teardown)

    local function malformed(name, bytes)
        test(name, function(b) b:client("bad"):send_raw(bytes):expect_disconnect { 0x81, 0x82, 0x90 } end)
    end

    local function no_filter(id, filter)
        test(("[%s] does not grant %q"):format(id, filter), function(b)
            local c = b:client("c"):send { type = "SUBSCRIBE", id = 1, { filter = filter, qos = 0 } }
            c:expect_rejected("SUBACK", { 0x8F, 0x81, 0x82 })
        end)
    end

    for _, topic in ipairs { "+", "#", "a/+", "a/#/b", "a+/b", "a#" } do
        malformed(("[MQTT-4.7.0-1] refuses the topic name %q"):format(topic), packet(0x30, str(topic) .. "\0x"))
    end

    malformed("[MQTT-4.7.3-1] refuses an empty topic name", hex "30 04 00 00 00 78")

    malformed("[MQTT-4.7.3-2] refuses U+0000 in a topic name", packet(0x30, str "a\0" .. "\0x"))
    malformed("[MQTT-4.7.3-2] refuses U+0000 in a filter", packet(0x82, "\0\1\0" .. str "a\0" .. "\0"))

    for _, filter in ipairs { "$share//t", "$share/" } do no_filter("MQTT-4.8.2-1", filter) end
    test("[MQTT-4.8.2-1] takes $SHARE and $shared for topics like others", function(b, t)
        local c = b:client("c"):subscribe("$SHARE/g/" .. t):subscribe("$shared/g/" .. t)
        c:publish(t, "x"):expect_nothing():publish("$SHARE/g/" .. t, "y"):expect_publish("$SHARE/g/" .. t, "y")
    end)

    for _, filter in ipairs { "$share/g", "$share/g/", "$share/g+/t", "$share/+/t", "$share/#/t", "$share/g#/t",
        "$share/g/a#", "$share/g/#/a" } do
        no_filter("MQTT-4.8.2-2", filter)
    end
    test("[MQTT-4.8.2-2] takes any name and filter", function(b, t)
        local c = b:client("c")
        for i, name in ipairs { "g", "größe", "$share", "a b" } do
            c:subscribe(("$share/%s/%s/%d/+"):format(name, t, i))
            c:publish(("%s/%d/x"):format(t, i), "x"):expect_publish(("%s/%d/x"):format(t, i), "x")
        end
    end)

    test("[MQTT-4.8.2-3] gives each member the QoS that was granted to it", function(b, t)
        local members, seen = {}, {}
        for qos = 0, 2 do members[qos] = b:client("m" .. qos):subscribe("$share/g/" .. t, qos) end
        local p = b:client("p")
        for i = 1, 30 do p:publish(t, tostring(i), { qos = 2 }) end
        for qos = 0, 2 do
            for _, m in ipairs(shared.drain(members[qos])) do
                assert.equal(qos, m.qos)
                assert.is_nil(seen[m.payload])
                seen[m.payload] = true
                m:ack()
            end
        end
        for i = 1, 30 do assert.is_true(seen[tostring(i)]) end
    end)

    -- two members of a group, `one` of which has got the only message, of this QoS
    local function chosen(b, t, qos, expiry)
        local opts = { clean = false, props = { session_expiry = expiry } }
        local one = b:client("one", opts):subscribe("$share/g/" .. t, 2)
        local two = b:client("two", LASTING):subscribe("$share/g/" .. t, 2)
        b:client("p"):publish(t, "only", { qos = qos })
        one:ping()
        two:ping()
        if #one.inbox == 0 then
            one, two = two, one
            one.opts.props = { session_expiry = expiry }
        end
        return one, one:expect_publish(t, "only", { qos = qos }), two:expect_nothing()
    end

    test("[MQTT-4.8.2-4] completes QoS 2 with the member that is back", function(b, t)
        local one, m, two = chosen(b, t, 2, 60)
        one:drop()
        two:expect_nothing()
        one:reconnect():expect_publish(t, "only", { id = m.id, dup = true }):ack()
        two:expect_nothing()
    end)

    test("[MQTT-4.8.2-5] gives QoS 2 to nobody else when the member's session ends", function(b, t)
        local one, m, two = chosen(b, t, 2, 60)
        one:drop()
        two:expect_nothing()
        one:reconnect { clean = true } -- the session ends
        one:expect_nothing()
        two:expect_nothing()
        assert.equal(2, m.qos)
    end)

    for qos = 1, 2 do
        test(("[MQTT-4.8.2-6] gives nobody else what was refused, QoS %d"):format(qos), function(b, t)
            local one, m, two = chosen(b, t, qos, 60)
            one:send { type = qos == 1 and "PUBACK" or "PUBREC", id = m.id, rc = 0x83 }
            one:expect_nothing()
            two:expect_nothing()
            one:disconnect(0, { session_expiry = 0 })
            two:expect_nothing()
        end)
    end
end)
