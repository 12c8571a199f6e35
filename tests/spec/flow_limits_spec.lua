-- SPDX-License-Identifier: BSD-2-Clause
--
-- What the settings make of messages on their way: full queues, absent clients, rates,
-- overlapping subscriptions.

local proc = require "support.proc"
local wait = require "support.wait"
local with_broker = require("support.broker").with_broker

-- A kept session that comes and goes; it subscribes to `filter` with `qos`.
local function kept(b, version, filter, qos, props)
    local c = b:client("kept", { version = version, clean = true })
    props = version == 5 and props or {}
    props.session_expiry = version == 5 and 1000 or nil
    return c:reconnect({ clean = false, props = props }):subscribe(filter, qos)
end

local function publish_numbers(b, topic, n, qos)
    local p = b:client "p"
    for i = 1, n do p:publish(topic, tostring(i), { qos = qos }) end
    p:ping():disconnect()
end

local function expect_numbers(c, topic, from, to, qos)
    for i = from, to do c:expect_publish(topic, tostring(i), { qos = qos }):ack() end
    return c:expect_nothing()
end

for version = 4, 5 do
    describe("drop at level " .. version, function()
        local CONFIG = "max_queued = 3\n"

        it("is the newest message unless told otherwise", function()
            with_broker({ config = CONFIG }, function(b)
                local c = kept(b, version, "t", 1):drop()
                publish_numbers(b, "t", 5, 1)
                expect_numbers(c:reconnect(), "t", 1, 3, 1)
            end)
        end)

        it("may be the eldest that waits", function()
            with_broker({ config = CONFIG .. [[drop = "oldest"]] }, function(b)
                local c = kept(b, version, "t", 1):drop()
                publish_numbers(b, "t", 50, 1)
                expect_numbers(c:reconnect(), "t", 48, 50, 1)
            end)
        end)

        it("is told to handlers", function()
            with_broker({ config = CONFIG .. [[
                drop = "oldest"
                sol.on("dropped", "t", function(_, message) sol.publish("lost", message.payload) end)
            ]] }, function(b)
                local listener = b:client("listener"):subscribe("lost")
                kept(b, version, "t", 1):drop()
                publish_numbers(b, "t", 5, 1)
                expect_numbers(listener, "lost", 1, 2, 0)
            end)
        end)
    end)

    describe("queue_qos0 at level " .. version, function()
        it("keeps QoS 0 for a client that is away", function()
            with_broker({ config = "queue_qos0 = true" }, function(b)
                local c = kept(b, version, "t", 1):drop()
                local p = b:client "p"
                p:publish("t", "a"):publish("t", "b", { qos = 1 }):publish("t", "c"):ping()
                c:reconnect():expect_publish("t", "a", { qos = 0 })
                c:expect_publish("t", "b", { qos = 1 }):ack():expect_publish("t", "c", { qos = 0 })
                p:publish("t", "d")
                c:expect_publish("t", "d", { qos = 0 }):expect_nothing()
            end)
        end)

        it("is off unless told otherwise", function()
            with_broker({}, function(b)
                local c = kept(b, version, "t", 1):drop()
                publish_numbers(b, "t", 3, 0)
                c:reconnect():expect_nothing()
            end)
        end)

        it("is bounded by max_queued", function()
            with_broker({ config = "queue_qos0 = true\nmax_queued = 4" }, function(b)
                local c = kept(b, version, "t", 0):drop()
                publish_numbers(b, "t", 9, 0)
                expect_numbers(c:reconnect(), "t", 1, 4, 0)
            end)
        end)
    end)

    describe("max_inflight_bytes at level " .. version, function()
        it("holds messages back until enough is acknowledged", function()
            with_broker({ config = "max_inflight_bytes = 200" }, function(b)
                local c, p = b:client("c", { version = version }):subscribe("t", 2), b:client "p"
                for i = 1, 4 do p:publish("t", i .. ("x"):rep(150), { qos = i % 2 + 1 }) end
                local first = c:expect_publish("t", "1" .. ("x"):rep(150))
                local second = c:expect_publish("t", "2" .. ("x"):rep(150)) -- the first left room
                c:expect_nothing()
                p:publish("t", "small"):ping() -- QoS 0 is not held up
                c:expect_publish("t", "small")
                first:ack()
                c:expect_publish("t", "3" .. ("x"):rep(150)):ack()
                second:ack()
                c:expect_publish("t", "4" .. ("x"):rep(150)):ack():expect_nothing()
            end)
        end)

        it("counts anew after a reconnect", function()
            with_broker({ config = "max_inflight_bytes = 1" }, function(b)
                local c = kept(b, version, "t", 1)
                publish_numbers(b, "t", 3, 1)
                c:expect_publish("t", "1")
                c:expect_nothing():reconnect()
                c:expect_publish("t", "1", { dup = true }):ack()
                expect_numbers(c, "t", 2, 3, 1)
            end)
        end)
    end)

    describe("overlapping at level " .. version, function()
        it("is one delivery unless told otherwise", function()
            with_broker({}, function(b)
                b:client("c", { version = version }):subscribe("a/b", 0):subscribe("a/+", 1)
                    :publish("a/b", "x", { qos = 1 }):expect_publish("a/b", "x", { qos = 1 }):ack():expect_nothing()
            end)
        end)

        it("may be one for each", function()
            with_broker({ config = [[overlapping = "each"]] }, function(b)
                local c = b:client("c", { version = version })
                c:subscribe("a/b", 0, { props = { subscription_id = 7 } })
                c:subscribe("a/+", 1, { props = { subscription_id = 8 } }):subscribe("#", 2)
                c:publish("a/b", "x", { qos = 2 })
                local seen = {}
                for _ = 1, 3 do
                    local m = c:expect_publish("a/b", "x")
                    local id = m.props and m.props.subscription_id
                    seen[m.qos] = type(id) == "table" and table.concat(id, " ") or id or "none"
                    m:ack()
                end
                local five = version == 5
                assert.same({ [0] = five and "7" or "none", five and "8" or "none", "none" },
                    { [0] = tostring(seen[0]), tostring(seen[1]), tostring(seen[2]) })
                c:expect_nothing()
            end)
        end)
    end)

    describe("a rate at level " .. version, function()
        -- Seconds until `n` publishes of this size have been acknowledged.
        local function seconds_for(b, n, size)
            local c = b:client("c", { version = version, keepalive = 1 })
            local from = proc.now()
            for _ = 1, n do c:publish("t", ("x"):rep(size), { qos = 1, wait = false }) end
            for _ = 1, n do c:expect("PUBACK") end
            c:ping()
            return proc.now() - from
        end

        it("of messages slows a client down and loses nothing", function()
            with_broker({ config = "message_rate = 10" }, function(b)
                local other = b:client("other"):subscribe("t", 0)
                local took = seconds_for(b, 25, 1) -- ten at once, then one every 100 ms
                assert.is_true(took > 1.3, took .. " s")
                for _ = 1, 25 do other:expect_publish("t", "x") end
                other:expect_nothing()
            end)
        end)

        it("of bytes slows a client down", function()
            with_broker({ config = "byte_rate = 10000" }, function(b)
                local took = seconds_for(b, 25, 1000)
                assert.is_true(took > 1.3, took .. " s")
            end)
        end)

        it("is each client's own", function()
            with_broker({ config = "message_rate = 1" }, function(b)
                local slow, other = b:client("slow", { version = version }), b:client("other"):subscribe("#")
                for i = 1, 8 do slow:publish("t", tostring(i)) end -- takes seven seconds
                other:expect_publish("t", "1")
                other:publish("u", "x", { qos = 1 })
                b:client("third"):publish("u", "last", { qos = 1 })
                local before = 1
                while other:expect("PUBLISH").payload ~= "last" do before = before + 1 end
                assert.is_true(before < 8, "the others had to wait as well")
            end)
        end)

        it("leaves room for a burst", function()
            with_broker({ config = "message_rate = 100\nbyte_rate = 1000000" }, function(b)
                -- a busy machine may be slow once; without a burst it takes a second each time
                wait.till("a burst to pass at once", function() return seconds_for(b, 99, 1) < 0.9 end, 20)
            end)
        end)

        it("keeps a client that goes meanwhile from harm", function()
            with_broker({ config = "message_rate = 1" }, function(b)
                local c = b:client("c", { version = version, will = { topic = "w", payload = "gone" } })
                local other = b:client("other"):subscribe("w"):subscribe("t")
                c:publish("t", "1"):publish("t", "2"):publish("t", "3")
                other:expect_publish("t", "1")
                c:reset()
                other:await "PUBLISH"
                b:client("c", { version = version }):ping() -- takes the session over at the latest
                b:client("more"):ping()
            end)
        end)
    end)
end
