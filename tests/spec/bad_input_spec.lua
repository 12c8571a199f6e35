-- SPDX-License-Identifier: BSD-2-Clause
--
-- Bytes that no honest client sends: in pieces, at random, too late or never.  Single bad packets
-- and what becomes of each are in bad_packets_spec.lua.

local broker = require "support.broker"
local mqtt = require "support.mqtt"
local proc = require "support.proc"
local wait = require "support.wait"

local with_broker, hex = broker.with_broker, mqtt.hex

local MALFORMED = { 0x81, 0x82 }

describe("a packet cut off by the end of the connection", function()
    local PACKETS = {
        { type = "PUBLISH", topic = "t", payload = "whole", qos = 2, id = 5, retain = true },
        { type = "SUBSCRIBE", id = 5, { filter = "t", qos = 1 } }, { type = "UNSUBSCRIBE", id = 5, "t" },
        { type = "PUBREL", id = 5 }, { type = "CONNECT", client_id = "again" },
    }

    for version = 3, 5 do
        it("is forgotten at every length, level " .. version, function()
            with_broker({}, function(b)
                local other = b:client("other"):subscribe("#")
                for _, packet in ipairs(PACKETS) do
                    local bytes = mqtt.encode(packet, version)
                    for cut = 1, #bytes - 1 do
                        b:client("cut", { version = version }):send_raw(bytes:sub(1, cut)):half_close():expect_close()
                    end
                end
                other:expect_nothing()
            end)
        end)
    end

    it("is forgotten at every length of a CONNECT with a will", function()
        with_broker({}, function(b)
            local other = b:client("other"):subscribe("#")
            for version = 3, 5 do
                local bytes = mqtt.encode({ type = "CONNECT", client_id = "cut",
                    will = { topic = "t", payload = "gone" } }, version)
                for cut = 1, #bytes - 1 do
                    b:raw { version = version }:send_raw(bytes:sub(1, cut)):half_close():expect_close()
                end
            end
            other:expect_nothing()
        end)
    end)
end)

describe("random bytes", function()
    for seed = 1, 12 do
        it("of seed " .. seed .. " harm nobody", function()
            with_broker({}, function(b)
                local other = b:client("other"):subscribe("still/here", 1)
                local random = seed -- a generator of our own: the same bytes everywhere
                local function byte()
                    random = (random * 6364136223846793005 + 1442695040888963407)
                    return string.char(random >> 33 & 0xFF)
                end
                for turn = 1, 20 do
                    local bytes = {}
                    for i = 1, 20 * turn do bytes[i] = byte() end
                    local c = turn % 3 == 0 and b:raw() or b:client("r", { version = 3 + turn % 3 })
                    c.sock:send(table.concat(bytes))
                    c:drop()
                end
                other:publish("still/here", "x", { qos = 1 }):expect_publish("still/here", "x"):ack()
                assert.is_true(b:fds() < 40)
            end)
        end)
    end

    it("put into good packets harm nobody", function()
        with_broker({}, function(b)
            local other = b:client("other")
            for version = 3, 5 do
                local good = mqtt.encode({ type = "CONNECT", client_id = "m", username = "u", password = "p",
                    will = { topic = "w", payload = "x", qos = 1 } }, version)
                    .. mqtt.encode({ type = "SUBSCRIBE", id = 1, { filter = "a/+", qos = 1 } }, version)
                    .. mqtt.encode({ type = "PUBLISH", topic = "a/b", payload = "x", qos = 2, id = 2 }, version)
                for at = 1, #good do
                    for _, value in ipairs { 0x00, 0x7F, 0x80, 0xFF } do
                        local c = b:raw { version = version }
                        c.sock:send(good:sub(1, at - 1) .. string.char(value) .. good:sub(at + 1))
                        c:drop()
                    end
                end
            end
            other:ping(20)
        end)
    end)
end)

describe("a client that does not finish its CONNECT", function()
    it("is closed after connect_timeout", function()
        with_broker({ config = "connect_timeout = 1" }, function(b)
            local other = b:client("other")
            local since = proc.now()
            local silent, half = b:raw(), b:raw():send_raw(hex "10 0D 00 04")
            half:expect_close()
            silent:expect_close()
            assert.is_true(proc.now() - since >= 0.9)
            other:ping()
        end)
    end)

    it("is closed even when it sends a byte now and then", function()
        with_broker({ config = "connect_timeout = 1" }, function(b)
            local c = b:raw()
            local packet = mqtt.encode({ type = "CONNECT", client_id = ("slow"):rep(30) }, 4)
            local since, at, ended = proc.now(), 0
            repeat
                at = at + 1
                c.sock:send(packet:sub(at, at))
                ended = c.sock:wait("r", 0.1)
            until ended or proc.now() - since > wait.scaled(5)
            c:expect_close()
            assert.is_true(at < #packet)
        end)
    end)

    it("does not keep others out while hundreds of it wait", function()
        with_broker({ config = "connect_timeout = 2" }, function(b)
            local slow = {}
            for i = 1, 300 do slow[i] = b:raw():send_raw "\x10" end
            b:client("c"):subscribe("t"):publish("t", "x"):expect_publish("t", "x")
            for _, c in ipairs(slow) do c:expect_close(10) end
            wait.till("descriptors to be given back", function() return b:fds() < 40 end)
        end)
    end)

    it("is not a client that has finished it", function()
        with_broker({ config = "connect_timeout = 1" }, function(b)
            local c = b:client("c")
            b:raw():expect_close()
            c:ping()
        end)
    end)
end)

describe("what follows the end", function()
    it("packets after DISCONNECT are not served", function()
        with_broker({}, function(b)
            local other = b:client("other"):subscribe("#")
            for version = 3, 5 do
                local c = b:client("c", { version = version })
                c:send_raw(hex "E0 00" .. mqtt.encode({ type = "PUBLISH", topic = "late", payload = "x" }, version))
                c:expect_close()
            end
            other:expect_nothing()
        end)
    end)

    it("packets after a malformed one are not served", function()
        with_broker({}, function(b)
            local other = b:client("other"):subscribe("#")
            local c = b:client("c", { version = 5 })
            c:send_raw(hex "00 00" .. mqtt.encode({ type = "PUBLISH", topic = "late", payload = "x" }, 5))
            c:expect_disconnect(MALFORMED)
            other:expect_nothing()
        end)
    end)
end)
