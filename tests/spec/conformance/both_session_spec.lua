-- SPDX-License-Identifier: BSD-2-Clause
--
-- MQTT 3.1.1 and 5.0: what both say of CONNECT, sessions, QoS, repetition and order.

local mqtt = require "support.mqtt"
local proc = require "support.proc"
local shared = require "spec.conformance.shared"
local wait = require "support.wait"

local hex = mqtt.hex

for version = 4, 5 do
    describe(shared.STANDARD[version], function()
        local test = shared.both({ version = version }, it, teardown)

        test("[MQTT-3.1.2-10]", "forgets the will once published, and after DISCONNECT 0", function(b, t)
            local w = b:client("w"):subscribe(t)
            local c = b:lasting("c", { will = { topic = t, payload = "x" } })
            c:drop()
            w:expect_publish(t, "x")
            c.opts.will = nil
            c:reconnect():drop()
            w:expect_nothing()
            b:client("d", { will = { topic = t, payload = "y" } }):disconnect()
            w:expect_nothing()
        end)

        test({ "[MQTT-3.1.2-14]", "[MQTT-3.1.2-12]" }, "takes wills of QoS 0, 1 and 2", function(b, t)
            local w = b:client("w"):subscribe(t, 2)
            for qos = 0, 2 do
                b:client("c", { will = { topic = t, payload = "x", qos = qos } }):drop()
                w:expect_publish(t, "x", { qos = qos }):ack()
            end
        end)

        test({ "[MQTT-3.1.2-24]", "[MQTT-3.1.2-22]" },
            "ends a silent connection after one and a half keep-alives", function(b, t)
            local w = b:client("w"):subscribe(t)
            local since = proc.now()
            local silent = b:client("silent", { keepalive = 1, will = { topic = t, payload = "silent" } })
            b:client("endless", { keepalive = 0 }) -- 0: no limit
            silent:expect_disconnect(0x8D, 5)
            local took = proc.now() - since
            assert.is_true(took > 1.4 and took < wait.scaled(2.5), took .. " s")
            w:expect_publish(t, "silent") -- as after a network failure
        end)

        test("[MQTT-3.1.3-2]", "knows a session by its client identifier", function(b, t)
            b:lasting("one"):subscribe(t, 1):disconnect()
            assert.is_false(b:lasting("two").connack.session_present)
            assert.is_false(b:lasting("ONE").connack.session_present)
            assert.is_true(b:lasting("one").connack.session_present)
        end)

        test("[MQTT-3.1.3-5]", "takes identifiers of 1 to 23 letters and digits", function(b)
            local all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
            for len = 1, 23 do
                b:raw():send({ type = "CONNECT", client_id = all:sub(len, 2 * len - 1) }):expect("CONNACK", { rc = 0 })
            end
            for at = 1, #all, 23 do
                b:raw():send({ type = "CONNECT", client_id = all:sub(at, at + 22) }):expect("CONNACK", { rc = 0 })
            end
        end)

        test("[MQTT-3.2.0-1]", "sends CONNACK before anything else", function(b, t)
            local c = b:lasting("c"):subscribe(t, 1):disconnect()
            b:client("p"):publish(t, "waits", { qos = 1 })
            c:reconnect() -- the next packet must be CONNACK
            c:expect_publish(t, "waits"):ack()
            local packets = mqtt.encode({ type = "CONNECT", client_id = t .. "fast" }, version) .. hex "C0 00"
            b:raw():send_raw(packets):expect("CONNACK"):expect("PINGRESP")
        end)

        test({ "[MQTT-3.2.2-1]", "[MQTT-3.2.2-2]" }, "says no session present with clean start", function(b)
            local c = b:lasting("c"):disconnect()
            assert.is_false(c:reconnect({ clean = true }).connack.session_present)
        end)

        test({ "[MQTT-7.1.1-1]", "[MQTT-4.2.0-1]" }, "loses and reorders nothing of a long stream", function(b, t)
            local c, total = b:client("c"):subscribe(t, 1), 0
            for i = 1, 40 do
                local payload = ("%d "):format(i):rep(1 + i * 400)
                total = total + #payload
                c:publish(t, payload, { qos = 1 }):expect_publish(t, payload):ack()
            end
            assert.is_true(total > 5e5)
        end)

        test("[MQTT-4.3.1-1]", "sends QoS 0 without DUP, and once", function(b, t)
            local c = b:lasting("c"):subscribe(t, 0)
            b:client("p"):publish(t, "x", { qos = 2 })
            c:expect_publish(t, "x", { qos = 0, dup = false })
            c:reconnect():expect_nothing()
        end)

        test({ "[MQTT-4.3.2-1]", "[MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.2-3]" },
            "sends QoS 1 until PUBACK", function(b, t)
            local c = b:lasting("c"):subscribe(t, 1)
            b:client("p"):publish(t, "1", { qos = 1 }):publish(t, "2", { qos = 1 })
            local one = c:expect_publish(t, "1", { qos = 1, dup = false })
            local two = c:expect_publish(t, "2", { qos = 1, dup = false })
            assert.not_equal(one.id, two.id)
            for _ = 1, 2 do
                c:reconnect()
                c:expect_publish(t, "1", { id = one.id, dup = true })
                c:expect_publish(t, "2", { id = two.id, dup = true })
            end
            one:ack():ping()
            c:reconnect():expect_publish(t, "2", { id = two.id, dup = true }):ack():ping()
            c:reconnect():expect_nothing()
        end)

        test({ "[MQTT-4.3.2-2]", "[MQTT-4.3.2-4] [MQTT-4.3.2-5]" },
            "answers QoS 1 with PUBACK, and takes the identifier anew", function(b, t)
            local c = b:client("c"):subscribe(t)
            for i, dup in ipairs { false, true, true } do
                c:publish(t, tostring(i), { qos = 1, id = 10, dup = dup }):expect_publish(t, tostring(i))
            end
            c:expect_nothing()
        end)

        test("[MQTT-4.4.0-1]", "sends what is unacknowledged again, with its identifiers", function(b, t)
            local c = b:lasting("c"):subscribe(t, 2)
            local p, ids = b:client("p"), {}
            for i = 1, 6 do p:publish(t, tostring(i), { qos = 1 + i % 2 }) end
            for i = 1, 6 do ids[i] = c:expect_publish(t, tostring(i)).id end
            c:send({ type = "PUBREC", id = ids[1] }):expect("PUBREL", { id = ids[1] })
            c:send({ type = "PUBACK", id = ids[2] }):ping()
            for _ = 1, version == 5 and 4 or 0 do
                proc.sleep(0.1)
                c:expect_nothing() -- 5.0: no repetition on the same connection
            end
            c:reconnect()
            local seen = {}
            for _ = 1, 5 do
                local m = c:take()
                seen[m.id] = m.type
                if m.type == "PUBLISH" then assert.is_true(m.dup) end
            end
            assert.equal("PUBREL", seen[ids[1]])
            assert.is_nil(seen[ids[2]])
            for i = 3, 6 do assert.equal("PUBLISH", seen[ids[i]]) end
            c:expect_nothing()
        end)

        test("[MQTT-4.5.0-1]", "adds a message to every session with a matching subscription", function(b, t)
            local clients = {}
            for i, filter in ipairs { t .. "/a", t .. "/+", t .. "/#", "+/a" } do
                clients[i] = b:lasting("c" .. i):subscribe(filter, 1)
                if i % 2 == 0 then clients[i]:disconnect() end
            end
            b:client("p"):publish(t .. "/a", "x", { qos = 1 })
            for i, c in ipairs(clients) do
                if i % 2 == 0 then c:reconnect() end
                c:expect_publish(t .. "/a", "x", { qos = 1 }):ack():expect_nothing()
            end
        end)

        test("[MQTT-4.6.0-1]", "sends again in the original order", function(b, t)
            local c, p = b:lasting("c"):subscribe(t, 2), b:client("p")
            for i = 1, 30 do p:publish(t, tostring(i), { qos = 1 + i % 2 }) end
            for i = 1, 30 do c:expect_publish(t, tostring(i)) end
            p:publish(t, "31", { qos = 1 })
            c:reconnect()
            for i = 1, 31 do c:expect_publish(t, tostring(i)) end
        end)

        test("[MQTT-4.6.0-5] [MQTT-4.6.0-6]", "keeps a publisher's order in every topic", function(b, t)
            local exact, wild = b:client("exact"):subscribe(t .. "/a", 2), b:client("wild"):subscribe(t .. "/#", 2)
            local slow = b:client("slow", { props = { receive_maximum = 3 } }):subscribe(t .. "/#", 1)
            local one, two = b:client("one"), b:client("two")
            for i = 1, 60 do
                one:publish(t .. "/a", tostring(i), { qos = i % 3, wait = false })
                two:publish(t .. "/b", tostring(i), { qos = 1, wait = false })
            end
            one:ping()
            two:ping()
            local function in_order(packets)
                local last = {} -- topic and QoS -> number
                for _, m in ipairs(packets) do
                    local key, n = m.topic .. m.qos, tonumber(m.payload)
                    assert.is_true(n > (last[key] or 0), key)
                    last[key] = n
                end
                return last
            end
            for _, c in ipairs { exact, wild } do
                local last = in_order(shared.drain(c))
                assert.is_truthy(last[t .. "/a0"] and last[t .. "/a1"])
            end
            local got = {}
            while #got < 120 do
                got[#got + 1] = slow:expect("PUBLISH")
                got[#got]:ack()
            end
            in_order(got)
        end)
    end)
end
