-- SPDX-License-Identifier: BSD-2-Clause
--
-- Ten thousand connections held and served, and twenty thousand tried at once.

local Crowd = require "support.crowd"
local broker = require "support.broker"
local mqtt = require "support.mqtt"
local wait = require "support.wait"

local with_broker = broker.with_broker

local MANY = 10000

describe("ten thousand connections", function()
    it("are held and served, for little memory each", function()
        with_broker({}, function(b)
            b:client("warm"):ping()
            local before = b:rss_kb()
            local crowd = Crowd.open(b.port, MANY, "c", wait.scaled(10))
            assert.equal(MANY, #crowd)
            local each = (b:rss_kb() - before) * 1024 / MANY
            io.stderr:write(("\n%d connections: %.0f bytes of the broker's memory each\n"):format(MANY, each))
            if broker.is_lean() then assert.is_true(each < 4096, each .. " bytes") end

            assert.equal(MANY, crowd:exchange("\xC0\x00", "\xD0\x00"))
            local subscribe = mqtt.encode({ type = "SUBSCRIBE", id = 1, { filter = "news/#", qos = 0 } }, 4)
            assert.equal(MANY, crowd:exchange(subscribe, "\x90\x03\x00\x01\x00"))
            local p = b:client("p")
            local all = ""
            for i = 1, 3 do
                p:publish("news/today", "item " .. i)
                all = all .. mqtt.encode({ type = "PUBLISH", topic = "news/today", payload = "item " .. i }, 4)
            end
            assert.equal(MANY, crowd:expect(all))
            p:ping()

            crowd:close()
            wait.till("all connections to be gone", function() return b:fds() < 50 end, 20)
            p:ping()
        end)
    end)
end)

describe("twenty thousand connections", function()
    it("tried at once kill nobody", function()
        with_broker({}, function(b)
            local inside = b:client("inside"):subscribe("t")
            broker.with_dir(function(dir)
                local helpers = {}
                for i = 1, 2 do -- one process may not open as many
                    helpers[i] = broker.spawn(dir, { "lua5.4", "tests/support/crowd.lua", tostring(b.port),
                        tostring(MANY), "h" .. i .. "-" })
                end
                local function reports() return select(2, broker.read_file(dir .. "/out"):gsub("served", "")) end
                wait.till("both crowds to have tried", function()
                    inside:publish("t", "x"):expect_publish("t", "x", nil, 20)
                    return reports() == 2
                end, 100)
                local served = 0
                for n in broker.read_file(dir .. "/out"):gmatch "served (%d+)" do served = served + tonumber(n) end
                io.stderr:write(("\n20000 connections tried, %d served\n"):format(served))
                assert.is_true(served >= 15000)
                for _, helper in ipairs(helpers) do helper:close_stdin() end
                for _, helper in ipairs(helpers) do helper:wait(wait.scaled(20)) end
            end)
            wait.till("all connections to be gone", function() return b:fds() < 50 end, 30)
            b:client("late"):publish("t", "y")
            inside:expect_publish("t", "y")
        end)
    end)
end)
