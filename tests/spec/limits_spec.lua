-- SPDX-License-Identifier: BSD-2-Clause
--
-- Limits an operator sets: packet size, connections, descriptors.

local mqtt = require "support.mqtt"
local proc = require "support.proc"
local wait = require "support.wait"
local with_broker = require("support.broker").with_broker

describe("max_packet_size", function()
    -- a PUBLISH of exactly `size` bytes
    local function publish(size, version)
        local p = { type = "PUBLISH", topic = "t", payload = "" }
        p.payload = ("x"):rep(size - #mqtt.encode(p, version))
        local bytes = mqtt.encode(p, version)
        if #bytes > size then
            p.payload = p.payload:sub(1, -1 - (#bytes - size))
            bytes = mqtt.encode(p, version)
        end
        assert(#bytes == size)
        return bytes
    end

    for version = 3, 5 do
        it("lets a packet of just that size pass at level " .. version, function()
            with_broker({ config = "max_packet_size = 1000" }, function(b)
                local c = b:client("c", { version = version }):subscribe("t")
                c:send_raw(publish(1000, version)):expect "PUBLISH"
                c:ping()
            end)
        end)

        it("refuses one byte more at level " .. version, function()
            with_broker({ config = "max_packet_size = 1000" }, function(b)
                local other = b:client("other"):subscribe("#")
                local c = b:client("c", { version = version })
                c:send_raw(publish(1001, version)):expect_disconnect(0x95)
                other:expect_nothing()
            end)
        end)

        it("is judged by the header alone at level " .. version, function()
            with_broker({ config = "max_packet_size = 1000" }, function(b)
                local c = b:client("c", { version = version })
                c:send_raw(mqtt.hex "30 FF FF FF 7F") -- 256 MB, none of which will come
                c:expect_disconnect(0x95)
            end)
        end)
    end

    it("holds for CONNECT, too", function()
        with_broker({ config = "max_packet_size = 150" }, function(b)
            local c = b:raw { version = 4 }
            c:send { type = "CONNECT", client_id = ("x"):rep(200) }
            c:expect_refused { 2, 0x95 }
            b:client("other"):ping()
        end)
    end)

    it("is announced to MQTT 5 clients", function() -- 3.2.2.3.6
        with_broker({ config = "max_packet_size = 1000" }, function(b)
            assert.equal(1000, b:client("c", { version = 5 }).connack.props.maximum_packet_size)
        end)
    end)
end)

describe("the maximum packet size of an MQTT 5 client", function()
    it("is never exceeded; the message is dropped for that client", function() -- [MQTT-3.1.2-24..25]
        with_broker({}, function(b)
            local small = b:client("small", { version = 5, props = { maximum_packet_size = 60 } }):subscribe("t", 1)
            local large = b:client("large", { version = 5 }):subscribe("t", 1)
            local p = b:client("p")
            p:publish("t", ("x"):rep(100), { qos = 1 }):publish("t", "short", { qos = 1 })
            large:expect_publish("t", ("x"):rep(100)):ack()
            large:expect_publish("t", "short"):ack()
            small:expect_publish("t", "short"):ack():expect_nothing()
        end)
    end)

    it("drops no more than it must from the window", function()
        with_broker({}, function(b)
            local c = b:client("c", { version = 5, props = { maximum_packet_size = 60, receive_maximum = 2 } })
            c:subscribe("t", 1)
            local p = b:client("p")
            for i = 1, 10 do
                p:publish("t", ("x"):rep(100), { qos = 1 })
                p:publish("t", "m" .. i, { qos = 1 })
                c:expect_publish("t", "m" .. i):ack()
            end
            c:expect_nothing()
        end)
    end)
end)

describe("max_connections", function()
    it("refuses the next client and serves it when there is room", function()
        with_broker({ config = "max_connections = 3" }, function(b)
            local held = {}
            for i = 1, 3 do held[i] = b:client("c" .. i) end
            for _, version in ipairs { 4, 5 } do
                local c = b:raw { version = version }
                c:send { type = "CONNECT", client_id = "more" }
                c:expect_refused { 3, 0x97, 0x89 }
            end
            for _, c in ipairs(held) do c:ping() end
            held[1]:disconnect()
            wait.till("room for another", function()
                local c = b:raw()
                c:send { type = "CONNECT", client_id = "again" }
                c.sock:wait("r", 1)
                local bytes = c.sock:recv()
                return bytes == "\x20\x02\x00\x00"
            end)
        end)
    end)
end)

describe("the limit of descriptors", function()
    it("keeps newcomers waiting, not those inside", function()
        with_broker({ nofile = 100 }, function(b)
            local inside = b:client("inside"):subscribe("t")
            local crowd = {}
            for i = 1, 150 do
                crowd[i] = proc.connect { host = b.host, port = b.port }
                if crowd[i] then crowd[i]:send(mqtt.encode({ type = "CONNECT", client_id = "c" .. i }, 4)) end
            end
            inside:publish("t", "x"):expect_publish("t", "x")
            for _, s in pairs(crowd) do s:close() end
            local late = b:client("late"):subscribe("t")
            inside:publish("t", "y"):expect_publish("t", "y")
            late:expect_publish("t", "y")
        end)
    end)

    it("does not make the broker spin", function()
        with_broker({ nofile = 60 }, function(b)
            local inside = b:client("inside")
            local crowd = {}
            for i = 1, 80 do crowd[i] = proc.connect { host = b.host, port = b.port } end
            inside:ping()
            local before = b:cpu_seconds()
            proc.sleep(1)
            assert.is_true(b:cpu_seconds() - before < 0.5)
            for _, s in pairs(crowd) do s:close() end
            inside:ping()
        end)
    end)
end)
