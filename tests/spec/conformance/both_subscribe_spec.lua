-- SPDX-License-Identifier: BSD-2-Clause
--
-- MQTT 3.1.1 and 5.0: what both say of SUBSCRIBE, UNSUBSCRIBE, PINGREQ and topics.

local mqtt = require "support.mqtt"
local shared = require "spec.conformance.shared"

local hex = mqtt.hex

for version = 4, 5 do
    describe(shared.STANDARD[version], function()
        local test = shared.both({ version = version }, it, teardown)

        local function no_filter(numbers, filter)
            test(numbers, ("does not grant %q"):format(filter), function(b)
                local c = b:client("c"):send { type = "SUBSCRIBE", id = 1, { filter = filter, qos = 0 } }
                c:expect_rejected("SUBACK", version == 5 and { 0x8F, 0x81, 0x82 } or { 0x80 })
            end)
        end

        for _, filter in ipairs { "a#", "a/b#", "a/#/b", "#/a", "##", "a/#/" } do
            no_filter({ "[MQTT-4.7.1-2]", "[MQTT-4.7.1-1]" }, filter)
        end
        for _, filter in ipairs { "a+", "+a", "a/b+/c", "a/+b", "++", "a/+#" } do
            no_filter({ "[MQTT-4.7.1-3]", "[MQTT-4.7.1-2]" }, filter)
        end
        no_filter("[MQTT-4.7.3-1]", "")

        test({ "[MQTT-2.3.1-7]", "[MQTT-2.2.1-6]" },
            "answers SUBSCRIBE and UNSUBSCRIBE with their identifier", function(b, t)
            local c = b:client("c")
            for _, id in ipairs { 1, 0x1234, 65535 } do
                c:send({ type = "SUBSCRIBE", id = id, { filter = t, qos = 0 } }):expect("SUBACK", { id = id })
                c:send({ type = "UNSUBSCRIBE", id = id, t }):expect("UNSUBACK", { id = id })
            end
        end)

        test({ "[MQTT-3.8.4-4]", "[MQTT-3.8.4-5]" }, "takes several filters as several subscriptions", function(b, t)
            local c = b:client("c")
            b:client("p"):publish(t .. "/a", "kept", { qos = 1, retain = true })
            assert.same({ 1, 0, 2 }, shared.codes_of(c, { t .. "/a", 1 }, { t .. "/b", 0 }, { t .. "/c", 2 }))
            c:expect_publish(t .. "/a", "kept", { retain = true, qos = 1 }):ack()
            c:publish(t .. "/b", "x", { qos = 2 }):expect_publish(t .. "/b", "x", { qos = 0 })
            c:publish(t .. "/c", "y", { qos = 2 }):expect_publish(t .. "/c", "y", { qos = 2 }):ack()
            c:unsubscribe(t .. "/b"):publish(t .. "/b", "x"):expect_nothing()
        end)

        test({ "[MQTT-3.8.4-6]", "[MQTT-3.8.4-8]" },
            "delivers at the lower QoS of message and subscription", function(b, t)
            local p = b:client("p")
            for granted = 0, 2 do
                local c = b:client("c" .. granted):subscribe(t, granted)
                for qos = 0, 2 do
                    p:publish(t, "x", { qos = qos }):ping()
                    c:expect_publish(t, "x", { qos = math.min(qos, granted) }):ack()
                end
                c:expect_nothing():disconnect()
            end
        end)

        test("[MQTT-3.10.4-1]", "deletes the subscription whose filter is equal, and no other", function(b, t)
            local c = b:client("c"):subscribe(t .. "/+")
            local others = { t .. "/a", t .. "/#", t .. "/+/", t:upper() .. "/+", "#", "$share/g/" .. t .. "/+" }
            for _, filter in ipairs(others) do
                c:unsubscribe(filter):publish(t .. "/a", "x"):expect_publish(t .. "/a", "x")
            end
            c:unsubscribe(t .. "/+"):publish(t .. "/a", "x"):expect_nothing()
        end)

        test("[MQTT-3.10.4-2]", "adds no message after UNSUBSCRIBE", function(b, t)
            local c = b:lasting("c"):subscribe(t, 1):unsubscribe(t)
            local p = b:client("p"):publish(t, "x", { qos = 1 })
            c:expect_nothing():disconnect()
            p:publish(t, "x", { qos = 1 })
            c:reconnect():expect_nothing()
        end)

        test("[MQTT-3.10.4-3]", "completes what it has begun to deliver", function(b, t)
            local c = b:lasting("c"):subscribe(t, 2)
            b:client("p"):publish(t, "1", { qos = 1 }):publish(t, "2", { qos = 2 }):publish(t, "3", { qos = 2 })
            c:expect_publish(t, "1")
            local two = c:expect_publish(t, "2")
            local three = c:expect_publish(t, "3")
            three:send({ type = "PUBREC", id = three.id }):expect("PUBREL", { id = three.id })
            c:unsubscribe(t)
            c:send({ type = "PUBREC", id = two.id }):expect("PUBREL", { id = two.id })
            c:send({ type = "PUBCOMP", id = two.id })
            c:reconnect()
            c:await("PUBREL", three.id):send { type = "PUBCOMP", id = three.id } -- before the others or after
            c:expect_publish(t, "1", { dup = true, qos = 1 }):ack()
            c:reconnect():expect_nothing()
        end)

        test("[MQTT-3.12.4-1]", "answers PINGREQ with PINGRESP", function(b)
            local c = b:client("c")
            for _ = 1, 3 do shared.expect_bytes(c:send_raw(hex "C0 00"), "D0 00") end
        end)

        test({ "[MQTT-4.7.1-2]", "[MQTT-4.7.1-1]" }, "takes # alone and behind a separator", function(b, t)
            b:client("c"):subscribe("#", 1):unsubscribe("#"):subscribe(t .. "/#", 1):subscribe("/#", 1)
        end)

        test({ "[MQTT-4.7.1-3]", "[MQTT-4.7.1-2]" }, "takes + at every level, first and last too", function(b, t)
            local c = b:client("c"):subscribe("+/b/" .. t):subscribe(t .. "/+/c"):subscribe(t .. "/d/+")
            c:publish("x/b/" .. t, "1"):publish(t .. "/x/c", "2"):publish(t .. "/d/x", "3")
            c:expect_publish("x/b/" .. t, "1"):expect_publish(t .. "/x/c", "2"):expect_publish(t .. "/d/x", "3")
        end)

        test("[MQTT-4.7.2-1]", "does not match a leading wildcard with a topic that begins with $", function(b, t)
            local c = b:client("c"):subscribe("#"):subscribe("+/" .. t)
            c:subscribe("$share/g/#"):subscribe("$share/g/+/" .. t)
            local d = b:client("d"):subscribe("$" .. t .. "/#"):subscribe("$" .. t .. "/+")
            b:client("p"):publish("$" .. t .. "/" .. t, "x"):ping()
            d:expect_publish("$" .. t .. "/" .. t, "x")
            for _, m in ipairs(shared.drain(c)) do assert.not_equal("$", m.topic:sub(1, 1)) end
        end)

        test("[MQTT-4.7.3-1]", "takes topics of one character", function(b)
            b:client("c"):subscribe("/"):publish("/", "x"):expect_publish("/", "x")
        end)

        test("[MQTT-4.7.3-3]", "takes topics of 65,535 bytes", function(b, t)
            local longest = t .. ("x"):rep(65535 - #t)
            local c = b:client("c"):subscribe(longest, 1)
            c:publish(longest, "whole", { qos = 1 }):expect_publish(longest, "whole"):ack()
            c:publish(longest:sub(1, -2), "another", { qos = 1 }):expect_nothing()
        end)

        test("[MQTT-4.7.3-4]", "normalizes nothing", function(b, t)
            local topics = { t, t .. "/", "/" .. t, t:upper(), t .. "//", t .. "/.", t .. " ", t .. "é",
                t .. "e\u{301}", t .. "%2F", t .. "\\", t .. "\t", t .. "\u{FFFD}" }
            local c, p = b:client("c"), b:client("p")
            for _, topic in ipairs(topics) do
                c:subscribe(topic, 1)
                for _, other in ipairs(topics) do p:publish(other, other, { qos = 1 }) end
                c:expect_publish(topic, topic):ack():expect_nothing():unsubscribe(topic)
            end
        end)
    end)
end
