-- SPDX-License-Identifier: BSD-2-Clause
--
-- dedup: what is a copy and what is not, and options that are refused.

local broker = require "support.broker"
local with_broker, with_dir, write_file = broker.with_broker, broker.with_dir, broker.write_file

local function with(options, spec, config)
    with_broker({ config = (config or "") .. '\nplugin("dedup", {' .. options .. "})" }, function(b)
        spec(b:client("pub", { version = 5 }), b:client("all", { version = 5 }):subscribe("#", 0), b)
    end)
end

describe("dedup", function()
    it("lets one of equal messages through, and acknowledges all", function()
        with("", function(pub, all, b)
            for qos = 1, 2 do pub:publish("t", "x", { qos = qos, rc = 0 }) end
            b:client("other"):publish("t", "x", { qos = 1 })
            all:expect_publish("t", "x"):expect_nothing()
            pub:publish("t", "y"):publish("u", "x")
            all:expect_publish("t", "y"):expect_publish("u", "x"):expect_nothing()
        end)
    end)

    it("forgets after the window", function()
        with("window = 0.05", function(pub, all)
            pub:publish("t", "x")
            all:expect_publish("t", "x")
            local again = 0
            repeat -- until one comes through
                pub:publish("t", "x", { qos = 1 }):publish("end", tostring(again))
                local got = all:expect "PUBLISH"
                again = again + 1
            until got.topic == "t"
        end)
    end)

    it("looks at its topics alone, and by client where it is told", function()
        with('topics = { "a/+" }, per_client = true', function(pub, all, b)
            pub:publish("a/1", "x"):publish("a/1", "x"):publish("b", "x"):publish("b", "x")
            all:expect_publish("a/1", "x"):expect_publish("b", "x"):expect_publish("b", "x"):expect_nothing()
            b:client("other"):publish("a/1", "x")
            all:expect_publish("a/1", "x"):expect_nothing()
        end)
    end)

    it("compares a field, a property or what a function says", function()
        with('by = "json:order.id"', function(pub, all)
            pub:publish("t", '{"order":{"id":7},"n":1}'):publish("t", '{"order":{"id":7},"n":2}')
            pub:publish("t", '{"order":{"id":"7"}}'):publish("t", "no JSON"):publish("t", "no JSON")
            all:expect_publish("t", '{"order":{"id":7},"n":1}'):expect_publish("t", '{"order":{"id":"7"}}')
            all:expect_publish("t", "no JSON"):expect_publish("t", "no JSON"):expect_nothing()
        end)
        with('by = "user:id"', function(pub, all)
            for i, id in ipairs { "1", "2", "1" } do
                pub:publish("t", "m" .. i, { props = { user = { { "id", id } } } })
            end
            pub:publish("t", "m4"):publish("t", "m5")
            for _, payload in ipairs { "m1", "m2", "m4", "m5" } do all:expect_publish("t", payload) end
            all:expect_nothing()
        end)
        with('by = "correlation"', function(pub, all)
            for i = 1, 2 do pub:publish("t", "m" .. i, { props = { correlation_data = "c" } }) end
            all:expect_publish("t", "m1"):expect_nothing()
        end)
        with("by = function(message) return message.payload:sub(1, 1) end", function(pub, all)
            pub:publish("t", "a1"):publish("t", "a2"):publish("t", "b1")
            all:expect_publish("t", "a1"):expect_publish("t", "b1"):expect_nothing()
        end)
    end)

    it("remembers for all workers, across a reload", function()
        with('shared = "seen"', function(pub, all, b)
            pub:publish("t", "x", { qos = 1 })
            all:expect_publish("t", "x")
            for i = 1, 4 do b:client("c" .. i):publish("t", "x", { qos = 1 }) end
            b:signal "HUP"
            b:log_wait "(generation 2 is in place)"
            pub:publish("t", "x", { qos = 1 })
            all:expect_nothing()
        end, 'workers = 2 shared = { seen = "1 MB" }')
    end)
end)

describe("dedup does not load", function()
    local rows = {
        ["a filter that is none"] = { '{ topics = { "a", "b/#/c" } }', "topics[2]: no topic filter: b/#/c" },
        ["an unknown by"] = { '{ by = "topic" }', "by: expected payload, correlation, user:NAME" },
        ["a window of nothing"] = { "{ window = 0 }", "window: expected a number of seconds above 0" },
        ["an undeclared dictionary"] = { '{ shared = "seen" }', "seen" },
        ["an unknown option"] = { "{ windows = 5 }", "unknown option" },
    }
    for name, row in pairs(rows) do
        it(name, function()
            with_dir(function(dir)
                write_file(dir .. "/sol.lua", 'plugin("dedup", ' .. row[1] .. ")")
                local result = broker.sol("check", "-c", dir .. "/sol.lua")
                assert.not_equal(0, result.status)
                assert.truthy((result.stderr .. result.stdout):find(row[2], 1, true), result.stderr)
            end)
        end)
    end
end)
