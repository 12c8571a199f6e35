-- SPDX-License-Identifier: BSD-2-Clause
--
-- MQTT 3.1.1 and 5.0: what both say of PUBLISH, its identifiers and retained messages.

local shared = require "spec.conformance.shared"

for version = 4, 5 do
    describe(shared.STANDARD[version], function()
        local test = shared.both({ version = version }, it, teardown)

        test({ "[MQTT-2.3.1-4]", "[MQTT-2.2.1-4]" },
            "gives every message in flight an identifier of its own", function(b, t)
            local c, p = b:lasting("c"):subscribe(t, 2), b:client("p")
            local ids = {}
            for i = 1, 200 do p:publish(t, tostring(i), { qos = 1 + i % 2 }) end
            for i = 1, 200 do
                local m = c:expect_publish(t, tostring(i))
                assert.is_true(m.id ~= 0 and not ids[m.id])
                ids[m.id] = m.payload
            end
            c:reconnect() -- sent again, each keeps its identifier
            for i = 1, 200 do assert.equal(tostring(i), ids[c:expect_publish(t, tostring(i), { dup = true }).id]) end
            c:reconnect { clean = true }
        end)

        test({ "[MQTT-2.3.1-6]", "[MQTT-2.2.1-5]" }, "acknowledges with the identifier of the PUBLISH", function(b, t)
            local c = b:client("c")
            for _, id in ipairs { 1, 0x1234, 65535 } do
                c:publish(t, "x", { qos = 1, id = id, wait = false }):expect("PUBACK", { id = id })
                c:publish(t, "x", { qos = 2, id = id, wait = false }):expect("PUBREC", { id = id })
                c:send({ type = "PUBREL", id = id }):expect("PUBCOMP", { id = id })
            end
            local m = b:client("s"):subscribe(t, 2):publish(t, "x", { qos = 2 }):expect_publish(t, "x")
            m:send({ type = "PUBREC", id = m.id }):expect("PUBREL", { id = m.id })
        end)

        test("[MQTT-3.3.1-1]", "sets DUP when it sends PUBLISH again", function(b, t)
            local c = b:lasting("c"):subscribe(t, 2)
            b:client("p"):publish(t, "1", { qos = 1 }):publish(t, "2", { qos = 2 })
            c:expect_publish(t, "1", { dup = false })
            c:expect_publish(t, "2", { dup = false })
            c:reconnect()
            c:expect_publish(t, "1", { dup = true }):ack()
            c:expect_publish(t, "2", { dup = true }):ack()
        end)

        test("[MQTT-3.3.1-2]", "sends QoS 0 without DUP", function(b, t)
            local c = b:client("c"):subscribe(t)
            b:client("p"):publish(t, "x", { qos = 1, dup = true })
            c:expect_publish(t, "x", { qos = 0, dup = false })
        end)

        test("[MQTT-3.3.1-3]", "does not pass the publisher's DUP on", function(b, t)
            local c = b:client("c"):subscribe(t, 2)
            b:client("p"):publish(t, "1", { qos = 1, dup = true }):publish(t, "2", { qos = 2, dup = true })
            c:expect_publish(t, "1", { qos = 1, dup = false }):ack()
            c:expect_publish(t, "2", { qos = 2, dup = false }):ack()
        end)

        test({ "[MQTT-3.3.1-11]", "[MQTT-3.3.1-7]" }, "stores no empty retained message", function(b, t)
            local p = b:client("p")
            for qos = 0, 2 do p:publish(t, "", { qos = qos, retain = true }) end
            b:client("late"):subscribe(t):expect_nothing()
        end)

        test({ "[MQTT-3.3.1-12]", "[MQTT-3.3.1-8]" }, "leaves the retained message alone without RETAIN", function(b, t)
            local p = b:client("p"):publish(t .. "/none", "x", { qos = 1 })
            p:publish(t .. "/kept", "kept", { qos = 1, retain = true })
            p:publish(t .. "/kept", "passes", { qos = 1 }):publish(t .. "/kept", "", { qos = 1 })
            local late = b:client("late"):subscribe(t .. "/#")
            late:expect_publish(t .. "/kept", "kept", { retain = true }):expect_nothing()
        end)

        test("[MQTT-3.3.2-3]", "sends a subscriber what matches its filter, and nothing else", function(b, t)
            local rows = { -- filter, topic, whether it matches
                { "/a/b", "/a/b", true }, { "/a/b", "/a", false }, { "/a/b", "/a/b/c", false },
                { "/a/b", "/A/b", false },
                { "/#", "", true }, { "/#", "/a", true }, { "/#", "/a/b/c", true }, { "/+", "/a", true },
                { "/+", "", false }, { "/+", "/a/b", false }, { "/+", "/", true }, { "/+/b", "/a/b", true },
                { "/+/b", "/a/c", false }, { "/a/+", "/a/", true }, { "/+/+", "//", true }, { "/+/#", "/a", true },
                { "/a/#", "/a", true }, { "/a/#", "/ab", false }, { "/a/+/#", "/a/b/c", true },
                { "/a/+/#", "/a/b", true }, { "/a/+/#", "/a", false },
            }
            local p = b:client("p")
            for i, row in ipairs(rows) do
                local c = b:client("c" .. i):subscribe(t .. row[1], 1)
                p:publish(t .. row[2], tostring(i), { qos = 1 })
                local got = shared.drain(c)
                assert.equal(row[3] and 1 or 0, #got, row[1] .. " and " .. row[2])
                if row[3] then assert.equal(t .. row[2], got[1].topic) end
                c:disconnect()
            end
        end)

        test("[MQTT-3.3.4-1]", "answers PUBLISH as its QoS demands", function(b, t)
            local c = b:client("c"):publish(t, "0"):expect_nothing()
            c:publish(t, "1", { qos = 1, id = 5, wait = false }):expect("PUBACK", { id = 5 })
            c:publish(t, "2", { qos = 2, id = 6, wait = false }):expect("PUBREC", { id = 6 })
            c:send({ type = "PUBREL", id = 6 }):expect("PUBCOMP", { id = 6 })
            c:expect_nothing()
        end)

        test({ "[MQTT-3.3.5-1]", "[MQTT-3.3.4-2]" },
            "delivers at the highest QoS of overlapping subscriptions", function(b, t)
            local c, p = b:client("c"), b:client("p")
            c:subscribe(t .. "/a", 0):subscribe(t .. "/+", 2):subscribe(t .. "/#", 1)
            for qos = 0, 2 do
                p:publish(t .. "/a", "x", { qos = qos }):ping()
                local best = 0
                for _, m in ipairs(shared.drain(c)) do
                    best = math.max(best, m.qos)
                    m:ack()
                end
                assert.equal(qos, best)
            end
        end)
    end)
end
