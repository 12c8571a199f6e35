-- SPDX-License-Identifier: BSD-2-Clause
--
-- What the broker remembers for a client: clean and kept sessions, take-over,
-- the offline queue, redelivery, expiry and the in-flight window.

local proc = require "support.proc"
local wait = require "support.wait"
local with_broker = require("support.broker").with_broker

-- Options of a client whose session is kept.
local function kept(version, more)
    local opts = { version = version, clean = false, props = version == 5 and { session_expiry = 300 } or nil }
    for name, value in pairs(more or {}) do opts[name] = value end
    return opts
end

for version = 3, 5 do
    describe("a session at protocol level " .. version, function()
        it("that is kept remembers subscriptions", function()
            with_broker({}, function(b)
                local c = b:client("c", kept(version)):subscribe("t", 1):disconnect():reconnect()
                b:client("p"):publish("t", "x", { qos = 1 })
                c:expect_publish("t", "x", { qos = 1, dup = false }):ack():expect_nothing()
            end)
        end)

        it("that is clean forgets subscriptions", function()
            with_broker({}, function(b)
                local c = b:client("c", { version = version }):subscribe("t", 1):disconnect():reconnect()
                b:client("p"):publish("t", "x", { qos = 1 })
                c:expect_nothing()
            end)
        end)

        it("is wiped by a later clean start", function() -- [MQTT-3.1.2-4]
            with_broker({}, function(b)
                local c = b:client("c", kept(version)):subscribe("t", 1):disconnect()
                b:client("p"):publish("t", "lost", { qos = 1 })
                c:reconnect({ clean = true }):disconnect()
                c:reconnect({ clean = false }):expect_nothing()
            end)
        end)

        for qos = 1, 2 do
            it("queues QoS " .. qos .. " while its client is away, in order", function()
                with_broker({}, function(b)
                    local c = b:client("c", kept(version)):subscribe("t/#", qos):disconnect()
                    local p = b:client("p", { version = version })
                    for i = 1, 15 do p:publish("t/" .. i % 3, "m" .. i, { qos = qos }) end
                    c:reconnect()
                    for i = 1, 15 do
                        c:expect_publish("t/" .. i % 3, "m" .. i, { qos = qos, dup = false }):ack()
                    end
                    c:expect_nothing()
                end)
            end)

            it("queues QoS " .. qos .. " after an abrupt end, too", function()
                with_broker({}, function(b)
                    local c = b:client("c", kept(version)):subscribe("t", qos):drop()
                    b:client("p"):publish("t", "x", { qos = qos })
                    c:reconnect():expect_publish("t", "x", { qos = qos }):ack():expect_nothing()
                end)
            end)
        end

        it("redelivers unacknowledged QoS 1 with DUP, in order, before newer ones", function() -- [MQTT-4.6.0-1]
            with_broker({}, function(b)
                local c = b:client("c", kept(version)):subscribe("t", 1)
                local p = b:client("p")
                for i = 1, 5 do p:publish("t", "m" .. i, { qos = 1 }) end
                local ids = {}
                for i = 1, 5 do ids[i] = c:expect_publish("t", "m" .. i, { dup = false }).id end
                c:drop()
                p:publish("t", "m6", { qos = 1 })
                c:reconnect()
                for i = 1, 5 do c:expect_publish("t", "m" .. i, { dup = true, id = ids[i] }) end
                c:expect_publish("t", "m6") -- it may have been on its way before the end was noticed
            end)
        end)

        it("does not redeliver what was acknowledged", function()
            with_broker({}, function(b)
                local c = b:client("c", kept(version)):subscribe("t", 1)
                local p = b:client("p")
                for i = 1, 3 do p:publish("t", "m" .. i, { qos = 1 }) end
                local first = c:expect_publish("t", "m1")
                c:expect_publish("t", "m2"):ack()
                c:expect_publish("t", "m3")
                c:ping():drop():reconnect()
                c:expect_publish("t", "m1", { dup = true, id = first.id }):ack()
                c:expect_publish("t", "m3", { dup = true }):ack():expect_nothing()
            end)
        end)

        it("redelivers QoS 2 from where its handshake stopped", function()
            with_broker({}, function(b)
                local c = b:client("c", kept(version)):subscribe("t", 2)
                b:client("p"):publish("t", "x", { qos = 2 })
                local id = c:expect_publish("t", "x", { qos = 2, dup = false }).id
                c:drop():reconnect()
                c:expect_publish("t", "x", { qos = 2, dup = true, id = id })
                c:send({ type = "PUBREC", id = id }):expect("PUBREL", { id = id })
                c:drop():reconnect()
                c:expect("PUBREL", { id = id }) -- not the message again [MQTT-4.3.3-1]
                c:send({ type = "PUBCOMP", id = id }):ping():drop():reconnect():expect_nothing()
            end)
        end)

        it("remembers a QoS 2 publish it has not seen released", function()
            with_broker({}, function(b)
                local s = b:client("s"):subscribe("t", 2)
                local c = b:client("c", kept(version))
                c:publish("t", "once", { qos = 2, id = 77, wait = false }):expect("PUBREC", { id = 77 })
                c:drop():reconnect()
                c:publish("t", "once", { qos = 2, id = 77, dup = true, wait = false }):expect("PUBREC", { id = 77 })
                c:send({ type = "PUBREL", id = 77 }):expect("PUBCOMP", { id = 77 })
                s:expect_publish("t", "once"):ack():expect_nothing()
            end)
        end)

        it("is taken over by a second connection with its client id", function() -- [MQTT-3.1.4-2]
            with_broker({}, function(b)
                local one = b:client("c", kept(version)):subscribe("t", 1)
                local two = b:client("c", kept(version))
                one:expect_disconnect(0x8E)
                assert.equal(version > 3, two.connack.session_present)
                b:client("p"):publish("t", "x", { qos = 1 })
                two:expect_publish("t", "x"):ack():expect_nothing()
            end)
        end)

        it("that is clean is taken over without its subscriptions", function()
            with_broker({}, function(b)
                local one = b:client("c", { version = version }):subscribe("t", 1)
                local two = b:client("c", { version = version })
                one:expect_disconnect(0x8E)
                assert.is_false(two.connack.session_present)
                b:client("p"):publish("t", "x", { qos = 1 })
                two:expect_nothing()
            end)
        end)

        it("hands what was in flight to the connection that took it over", function()
            with_broker({}, function(b)
                local one = b:client("c", kept(version)):subscribe("t", 1)
                b:client("p"):publish("t", "x", { qos = 1 })
                local id = one:expect_publish("t", "x").id
                local two = b:client("c", kept(version))
                two:expect_publish("t", "x", { dup = true, id = id }):ack():expect_nothing()
            end)
        end)

        it("sends no more than the window unacknowledged, and goes on with each acknowledgement", function()
            with_broker({ config = "max_inflight = 3" }, function(b)
                local c = b:client("c", kept(version)):subscribe("t", 1)
                local p = b:client("p")
                for i = 1, 6 do p:publish("t", "m" .. i, { qos = 1 }) end
                local first = c:expect_publish("t", "m1")
                local second = c:expect_publish("t", "m2")
                c:expect_publish("t", "m3")
                c:expect_nothing()
                first:ack()
                c:expect_publish("t", "m4")
                c:expect_nothing()
                second:ack()
                c:expect_publish("t", "m5")
                c:expect_nothing()
            end)
        end)
    end)
end

describe("take-over", function()
    it("works across protocol versions", function()
        with_broker({}, function(b)
            local old = b:client("c", { version = 4 })
            local new = b:client("c", { version = 5 })
            old:expect_close()
            b:client("c", { version = 3 }):ping()
            new:expect_disconnect(0x8E)
        end)
    end)

    it("can be repeated quickly without losing the last one", function()
        with_broker({}, function(b)
            local last
            for _ = 1, 50 do last = b:client("c", { version = 4 }) end
            last:subscribe("t"):publish("t", "x"):expect_publish("t", "x")
            last:expect_nothing()
        end)
    end)

    it("leaves nothing open", function()
        with_broker({}, function(b)
            b:client("warm"):ping()
            local before = b:fds()
            local last
            for _ = 1, 20 do
                local new = b:client("c", { version = 5 })
                if last then last:expect_disconnect(0x8E) end
                last = new
            end
            last:ping()
            wait.till("the old connections to be closed", function() return b:fds() <= before + 1 end)
        end)
    end)
end)

describe("the session expiry interval of MQTT 5", function()
    it("of zero (or absent) ends the session with the connection", function()
        with_broker({}, function(b)
            local c = b:client("c", { version = 5, clean = false }):subscribe("t", 1):disconnect():reconnect()
            assert.is_false(c.connack.session_present)
            b:client("p"):publish("t", "x", { qos = 1 })
            c:expect_nothing()
        end)
    end)

    it("keeps the session of a clean start, too", function()
        with_broker({}, function(b)
            local c = b:client("c", { version = 5, clean = true, props = { session_expiry = 300 } })
            c:subscribe("t", 1):disconnect():reconnect { clean = false }
            assert.is_true(c.connack.session_present)
        end)
    end)

    it("passes", function()
        with_broker({}, function(b)
            local c = b:client("c", { version = 5, clean = false, props = { session_expiry = 1 } })
            c:subscribe("t", 1):disconnect()
            local left, deadline = proc.now(), proc.now() + 10
            repeat -- connecting again before it has expired would renew it: wait as long as it takes
                proc.sleep(1.5)
                c:reconnect()
                if c.connack.session_present then c:disconnect() end
            until not c.connack.session_present or proc.now() > deadline
            assert.is_false(c.connack.session_present)
            assert.is_true(proc.now() - left >= 1)
        end)
    end)

    it("is not over before its time", function()
        with_broker({}, function(b)
            local c = b:client("c", { version = 5, clean = false, props = { session_expiry = 60 } })
            c:disconnect()
            proc.sleep(0.3)
            assert.is_true(c:reconnect().connack.session_present)
        end)
    end)

    it("may be changed by DISCONNECT", function()
        with_broker({}, function(b)
            local c = b:client("c", { version = 5, clean = false, props = { session_expiry = 300 } })
            c:disconnect(0, { session_expiry = 0 }):reconnect()
            assert.is_false(c.connack.session_present)
        end)
    end)

    it("may not be raised from zero by DISCONNECT", function() -- [MQTT-3.1.2-23]
        with_broker({}, function(b)
            local c = b:client("c", { version = 5 })
            c:send { type = "DISCONNECT", rc = 0, props = { session_expiry = 10 } }
            c:expect_end { 0x82 }
            assert.is_false(c:reconnect({ clean = false }).connack.session_present)
        end)
    end)
end)

describe("receive maximum of MQTT 5", function()
    it("bounds what is in flight to the client", function() -- [MQTT-3.3.4-9]
        with_broker({}, function(b)
            local c = b:client("c", { version = 5, props = { receive_maximum = 2 } }):subscribe("t", 2)
            local p = b:client("p")
            for i = 1, 5 do p:publish("t", "m" .. i, { qos = 1 + i % 2 }) end
            local first = c:expect_publish("t", "m1", { qos = 2 })
            local second = c:expect_publish("t", "m2", { qos = 1 })
            c:expect_nothing()
            first:ack()
            local third = c:expect_publish("t", "m3")
            c:expect_nothing()
            second:ack()
            c:expect_publish("t", "m4"):ack()
            third:ack()
            c:expect_publish("t", "m5"):ack():expect_nothing()
        end)
    end)

    it("does not bound QoS 0", function()
        with_broker({}, function(b)
            local c = b:client("c", { version = 5, props = { receive_maximum = 1 } }):subscribe("t", 1)
            local p = b:client("p")
            p:publish("t", "one", { qos = 1 })
            for i = 1, 10 do p:publish("t", "zero" .. i) end
            c:expect_publish("t", "one")
            for i = 1, 10 do c:expect_publish("t", "zero" .. i, { qos = 0 }) end
        end)
    end)

    it("of zero is a protocol error", function()
        with_broker({}, function(b)
            local c = b:raw { version = 5 }
            c:send { type = "CONNECT", client_id = "c", props = { receive_maximum = 0 } }
            c:expect_refused { 0x82, 0x81 }
        end)
    end)
end)

describe("the offline queue", function()
    it("is bounded by max_queued and keeps order", function()
        with_broker({ config = "max_queued = 10" }, function(b)
            local c = b:client("c", kept(4)):subscribe("t", 1):disconnect()
            local p = b:client("p")
            for i = 1, 50 do p:publish("t", ("%02d"):format(i), { qos = 1 }) end
            c:reconnect():ping()
            local last, n = "", 0
            while c.inbox[1] do
                local m = c:expect("PUBLISH")
                assert.is_true(m.payload > last)
                last, n = m.payload, n + 1
                m:ack():ping()
            end
            assert.is_true(n >= 10 and n < 50)
        end)
    end)

    it("does not keep QoS 0 of a client that is away", function()
        with_broker({}, function(b)
            local c = b:client("c", kept(4)):subscribe("t", 0):disconnect()
            b:client("p"):publish("t", "x"):ping()
            c:reconnect():expect_nothing()
        end)
    end)

    it("lives through a take-over of the publisher", function()
        with_broker({}, function(b)
            local c = b:client("c", kept(4)):subscribe("t", 1):disconnect()
            b:client("p"):publish("t", "1", { qos = 1 })
            b:client("p"):publish("t", "2", { qos = 1 })
            c:reconnect()
            c:expect_publish("t", "1"):ack()
            c:expect_publish("t", "2"):ack():expect_nothing()
        end)
    end)
end)
