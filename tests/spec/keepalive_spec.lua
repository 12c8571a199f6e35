-- SPDX-License-Identifier: BSD-2-Clause
--
-- Silent clients are disconnected after one and a half times their keep-alive.

local proc = require "support.proc"
local with_broker = require("support.broker").with_broker

for version = 3, 5 do
    describe("keep-alive at protocol level " .. version, function()
        it("ends a connection that is silent for 1.5 times its length", function() -- [MQTT-3.1.2-22]
            with_broker({}, function(b)
                local idle = b:client("idle", { version = version, keepalive = 0 })
                local c = b:client("c", { version = version, keepalive = 1 })
                local since = proc.now()
                c:expect_disconnect(0x8D, 8)
                local silent = proc.now() - since
                assert.is_true(silent >= 1.45, ("after %.2f s"):format(silent))
                idle:ping()
            end)
        end)

        it("is renewed by every packet", function()
            with_broker({}, function(b)
                local c = b:client("c", { version = version, keepalive = 1 })
                local stop = proc.now() + 2.6
                while proc.now() < stop do
                    c:publish("t", "x"):ping()
                    proc.sleep(0.4)
                end
                c:ping()
            end)
        end)

        it("is not renewed by what the broker sends", function()
            with_broker({}, function(b)
                local c = b:client("c", { version = version, keepalive = 1 }):subscribe("t")
                local p = b:client("p")
                local since = proc.now()
                repeat
                    p:publish("t", "x"):ping()
                    proc.sleep(0.2)
                    local ended = c.sock:wait("r", 0) and not c.sock:recv()
                until ended or proc.now() - since > 8
                local took = proc.now() - since
                assert.is_true(took >= 1.4 and took < 8, ("after %.2f s"):format(took))
            end)
        end)
    end)
end

it("a keep-alive of zero is never over", function()
    with_broker({}, function(b)
        local zero = b:client("zero", { keepalive = 0 })
        b:client("one", { keepalive = 1 }):expect_close(8)
        zero:ping()
    end)
end)

it("half a packet does not renew the keep-alive for ever", function()
    with_broker({}, function(b)
        local c = b:client("c", { keepalive = 1 })
        local since = proc.now()
        c:send_raw "\x30" -- the first byte of a PUBLISH, and no more
        c:expect_close(8)
        assert.is_true(proc.now() - since >= 1)
    end)
end)
