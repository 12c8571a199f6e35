-- SPDX-License-Identifier: BSD-2-Clause
--
-- Large payloads: as they were sent, however many come at once, whoever keeps them.

local broker = require "support.broker"
local mqtt = require "support.mqtt"

local with_broker = broker.with_broker

--- `size` bytes that no other number has.
local function payload(number, size)
    local line = ("%d:"):format(number)
    return (line:rep(size // #line + 1):sub(1, size))
end

--- Several PUBLISH packets in one piece.
local function publishes(topic, from, to, size)
    local all = {}
    for n = from, to do
        all[#all + 1] = mqtt.encode({ type = "PUBLISH", topic = topic, payload = payload(n, size), qos = 0 }, 4)
    end
    return table.concat(all)
end

local function expect_publishes(c, topic, from, to, size)
    for n = from, to do c:expect_publish(topic, payload(n, size)) end
end

--- Others' messages, enough to fill all that the broker reads into several times.
local function fill(b)
    local c = b:client("filler"):subscribe("elsewhere")
    c:send_raw(publishes("elsewhere", 1, 60, 20000))
    expect_publishes(c, "elsewhere", 1, 60, 20000)
    c:disconnect()
end

local SIZES = { 1023, 1024, 16300, 16384, 32768, 65500, 65536, 100000, 262144, 700000 }

describe("a large payload", function()
    for name, opts in pairs {
        ["over TCP"] = {},
        ["over a unix socket"] = { listen = [[listen "unix://$DIR/mqtt.sock"]], path = "$DIR/mqtt.sock" },
    } do
        it("comes as it was sent " .. name, function()
            with_broker(opts, function(b)
                local c = b:client("c"):subscribe("t", 2)
                for n, size in ipairs(SIZES) do
                    for qos = 0, 2 do
                        c:publish("t", payload(n, size), { qos = qos })
                        c:expect_publish("t", payload(n, size), { qos = qos }):ack()
                    end
                end
                c:expect_nothing()
            end)
        end)
    end

    it("goes to many", function()
        with_broker({}, function(b)
            local readers = {}
            for i = 1, 20 do readers[i] = b:client("reader" .. i):subscribe("t", i % 3) end
            local c = b:client("c")
            c:send_raw(publishes("t", 1, 20, 20000))
            for _, r in ipairs(readers) do expect_publishes(r, "t", 1, 20, 20000) end
        end)
    end)

    it("waits for a client that is away", function()
        with_broker({ config = "queue_qos0 = true" }, function(b)
            local c = b:client("c")
            local away = b:client("away", { clean = false }):subscribe("t", 1)
            away:drop()
            c:send_raw(publishes("t", 1, 10, 20000))
            c:publish("t", payload(11, 20000), { qos = 1 })
            fill(b)
            away:reconnect()
            expect_publishes(away, "t", 1, 11, 20000)
        end)
    end)

    it("is retained", function()
        with_broker({}, function(b)
            local c = b:client("c")
            for n, size in ipairs(SIZES) do c:publish("kept/" .. n, payload(n, size), { retain = true }) end
            fill(b)
            for n, size in ipairs(SIZES) do
                c:subscribe("kept/" .. n):expect_publish("kept/" .. n, payload(n, size), { retain = true })
            end
        end)
    end)

    it("comes in the order of its publisher, among others'", function()
        with_broker({}, function(b)
            local all, publishers = b:client("all"):subscribe("t/#"), {}
            for i = 1, 6 do publishers[i] = b:client("publisher" .. i) end
            for i, c in ipairs(publishers) do c:send_raw(publishes("t/" .. i, 1, 8, 30000)) end
            local came = {}
            for _ = 1, 48 do
                local p = all:take()
                came[p.topic] = (came[p.topic] or 0) + 1
                assert.is_true(p.payload == payload(came[p.topic], 30000))
            end
            all:expect_nothing()
        end)
    end)
end)

describe("a policy", function()
    it("keeps a large message while others pass", function()
        with_broker({ config = [[
            local kept = {}
            sol.on("publish", "keep/#", function(_, message) kept[#kept + 1] = message:copy() end)
            sol.on("publish", "give", function()
                for _, message in ipairs(kept) do sol.publish("given", message.payload) end
            end)
        ]] }, function(b)
            local c = b:client("c"):subscribe("given")
            for n, size in ipairs(SIZES) do c:publish("keep/" .. n, payload(n, size)) end
            fill(b)
            c:publish("give", "")
            for n, size in ipairs(SIZES) do c:expect_publish("given", payload(n, size)) end
        end)
    end)

    it("waits with a large message while others pass", function()
        with_broker({ config = [[
            local gate, guard = sol.semaphore(1), nil
            sol.on("publish", "slow", function() guard = gate:acquire() end)
            sol.on("publish", "go", function() guard:release() end)
        ]] .. "\nworkers = 1" }, function(b)
            local slow, c = b:client("slow"), b:client("c"):subscribe("slow")
            slow:send_raw(publishes("slow", 1, 6, 20000))
            for n = 1, 6 do
                c:expect_publish("slow", payload(n, 20000))
                fill(b)
                c:publish("go", "")
            end
        end)
    end)

    it("sees a large message before each of its readers does", function()
        with_broker({ config = [[
            sol.on("deliver", "t", function(client, message)
                sol.sleep(0.01)
                message.payload = client.id .. message.payload
            end)
        ]] }, function(b)
            local one, two = b:client("one"):subscribe("t"), b:client("two"):subscribe("t")
            local c = b:client("c")
            c:send_raw(publishes("t", 1, 5, 20000))
            fill(b)
            for n = 1, 5 do
                one:expect_publish("t", "one" .. payload(n, 20000))
                two:expect_publish("t", "two" .. payload(n, 20000))
            end
        end)
    end)
end)
