-- SPDX-License-Identifier: BSD-2-Clause
--
-- Silent clients are disconnected after one and a half times their keep-alive.
-- Each spec has a client of every protocol version, all at once, to save time.

local proc = require "support.proc"
local with_broker = require("support.broker").with_broker

-- Clients of versions 3, 4 and 5 with a keep-alive of one second.
local function three(b)
    local all = {}
    for version = 3, 5 do all[#all + 1] = b:client("c" .. version, { version = version, keepalive = 1 }) end
    return all
end

describe("keep-alive", function()
    it("ends a connection that is silent for 1.5 times its length", function() -- [MQTT-3.1.2-22]
        with_broker({}, function(b)
            local idle = b:client("idle", { keepalive = 0 })
            local since = proc.now()
            for _, c in ipairs(three(b)) do
                c:expect_disconnect(0x8D, 8)
                local silent = proc.now() - since
                assert.is_true(silent >= 1.45, ("after %.2f s"):format(silent))
            end
            idle:ping()
        end)
    end)

    it("is renewed by every packet", function()
        with_broker({}, function(b)
            local all, stop = three(b), proc.now() + 2.6
            while proc.now() < stop do
                all[1]:ping()
                all[2]:publish("t", "x")
                all[3]:send { type = "PUBACK", id = 5 } -- of nothing, but it is a packet
                proc.sleep(0.4)
            end
            for _, c in ipairs(all) do c:ping() end
        end)
    end)

    it("is not renewed by what the broker sends", function()
        with_broker({}, function(b)
            local all, p = three(b), b:client("p")
            local since, open = proc.now(), #all
            for _, c in ipairs(all) do c:subscribe("t") end
            repeat
                p:publish("t", "x"):ping()
                proc.sleep(0.1)
                for i = open, 1, -1 do
                    local c = all[i]
                    while not c.closed and c.sock:wait("r", 0) do
                        if not c.sock:recv() then c.closed = "closed" end
                    end
                    if c.closed then
                        table.remove(all, i)
                        open = open - 1
                    end
                end
                assert.is_true(open == 3 or proc.now() - since >= 1.4)
            until open == 0 or proc.now() - since > 8
            assert.equal(0, open)
        end)
    end)

    it("of zero is never over", function()
        with_broker({}, function(b)
            local zero = b:client("zero", { keepalive = 0 })
            b:client("one", { keepalive = 1 }):expect_close(8)
            zero:ping()
        end)
    end)

    it("is not renewed for ever by half a packet", function()
        with_broker({}, function(b)
            local c = b:client("c", { keepalive = 1 })
            local since = proc.now()
            c:send_raw "\x30" -- the first byte of a PUBLISH, and no more
            c:expect_close(8)
            assert.is_true(proc.now() - since >= 1)
        end)
    end)
end)
