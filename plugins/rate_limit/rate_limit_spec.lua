-- SPDX-License-Identifier: BSD-2-Clause
--
-- rate_limit: what is let through, what becomes of the rest, and rules that are refused.

local broker = require "support.broker"
local with_broker, with_dir, write_file = broker.with_broker, broker.with_dir, broker.write_file

local function with_rules(rules, spec)
    with_broker({ config = 'plugin("rate_limit", { rules = {' .. rules .. "} })" }, spec)
end

local SLOW = "rate = 0.001, burst = 2" -- refills too slowly for a spec to see it

describe("rate_limit", function()
    it("refuses a client's publishes beyond the burst, and nobody else's", function()
        with_rules("{ " .. SLOW .. ' , exempt = { "root" } }', function(b)
            local all = b:client("all"):subscribe("#", 0)
            local c = b:client("c", { version = 5 })
            c:publish("a", "1", { qos = 1, rc = 0 }):publish("b", "2", { qos = 1, rc = 0 })
            c:publish("a", "3", { qos = 1, rc = 0x97 }):publish("b", "4", { qos = 2, rc = 0x97 })
            b:client("d", { version = 5 }):publish("a", "5", { qos = 1, rc = 0 })
            local root = b:client("r", { version = 5, username = "root", password = "" })
            for _ = 1, 5 do root:publish("a", "r", { qos = 1, rc = 0 }) end
            for _, payload in ipairs { "1", "2", "5", "r", "r", "r", "r", "r" } do
                assert.equal(payload, all:expect("PUBLISH").payload)
            end
            all:expect_nothing()
        end)
    end)

    it("counts by user, address, topic or all together", function()
        for per, outcome in pairs {
            client = { 0x10, 0x10, 0x10, 0x10 }, user = { 0x10, 0x97, 0x10, 0x97 },
            address = { 0x10, 0x97, 0x97, 0x97 }, all = { 0x10, 0x97, 0x97, 0x97 }, topic = { 0x10, 0x10, 0x10, 0x97 },
        } do
            with_rules(('{ rate = 0.001, per = "%s" }'):format(per), function(b)
                for i, row in ipairs { { "ada", "t/1" }, { "ada", "t/2" }, { "bob", "t/3" }, { "bob", "t/1" } } do
                    b:client("c" .. i, { version = 5, username = row[1], password = "" })
                        :publish(row[2], "x", { qos = 1, rc = outcome[i] })
                end
            end)
        end
    end)

    it("counts only what its filter matches, and bytes", function()
        with_rules('{ rate = 0.001, topic = "a/+" }, { rate = 0.001, burst = 10, unit = "bytes", over = "drop" }',
            function(b)
                local c = b:client("c", { version = 5 }):subscribe("#", 0)
                c:publish("b", "12345", { qos = 1, rc = 0 }):expect_publish("b", "12345")
                c:publish("a/1", "123", { qos = 1, rc = 0 }):expect_publish("a/1", "123")
                c:publish("a/2", "1", { qos = 1, rc = 0x97 })
                c:publish("b", "123", { qos = 1, rc = 0 }):publish("b", "12", { qos = 1, rc = 0 })
                c:expect_publish("b", "12"):expect_nothing()
            end)
    end)

    it("lets a client wait, whose messages all arrive", function()
        with_rules('{ rate = 20, burst = 1, over = "wait" }', function(b)
            local sub = b:client("sub"):subscribe("t", 0)
            local c = b:client "c"
            for i = 1, 6 do c:publish("t", tostring(i)) end
            for i = 1, 6 do sub:expect_publish("t", tostring(i)) end
        end)
    end)

    it("limits logins and subscriptions, or ends the connection", function()
        with_rules(([[{ event = "connect", per = "address", %s }, { event = "subscribe", rate = 0.001 },
            { rate = 0.001, over = "disconnect" }]]):format(SLOW), function(b)
            local c = b:client("c", { version = 5 }):subscribe("a", 0):subscribe("b", 0, { rc = 0x97 })
            b:client("d", { version = 4 })
            b:client("e", { version = 5, connack = 0x97 })
            c:publish("t", "x"):publish("t", "x")
            c:expect_disconnect(0x96)
        end)
    end)
end)

describe("rate_limit does not load", function()
    local rows = {
        ["without rules"] = { "{}", "rules is missing" },
        ["a rule that is no table"] = { "{ rules = { 5 } }", "rules[1]: expected a table, got number" },
        ["an unknown field"] = { "{ rules = { { rate = 1, limit = 2 } } }", "rules[1].limit: no such field" },
        ["no rate"] = { "{ rules = { { burst = 2 } } }", "rules[1].rate: expected a number above 0, got nil" },
        ["an unknown per"] = { '{ rules = { { rate = 1, per = "ip" } } }',
            "rules[1].per: expected address, all, client, topic, user, got ip" },
        ["a filter that is none"] = { '{ rules = { { rate = 1, topic = "a/#/b" } } }', "rules[1].topic: expected" },
        ["a connect by topic"] = { '{ rules = { { rate = 1, event = "connect", per = "topic" } } }', "has no topic" },
        ["a connect dropped"] = { '{ rules = { { rate = 1, event = "connect", over = "drop" } } }',
            "rules[1]: drop is for event publish" },
    }
    for name, row in pairs(rows) do
        it(name, function()
            with_dir(function(dir)
                write_file(dir .. "/sol.lua", 'plugin("rate_limit", ' .. row[1] .. ")")
                local result = broker.sol("check", "-c", dir .. "/sol.lua")
                assert.not_equal(0, result.status)
                assert.truthy((result.stderr .. result.stdout):find(row[2], 1, true), result.stderr)
            end)
        end)
    end
end)
