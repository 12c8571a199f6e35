-- SPDX-License-Identifier: BSD-2-Clause
--
-- rewrite: new topics and payloads, and rules that are refused.

local broker = require "support.broker"
local with_broker, with_dir, write_file = broker.with_broker, broker.with_dir, broker.write_file

local function with_rules(rules, spec)
    with_broker({ config = 'local sol = require "sol"\nplugin("rewrite", { rules = ' .. rules .. " })" }, spec)
end

-- What a subscriber of everything gets when `topic` and `payload` are published.
local function becomes(b, topic, payload, new_topic, new_payload)
    local all = b.all or b:client("all"):subscribe("#", 0)
    b.all = all
    b:client("pub"):publish(topic, payload, { qos = 1 }):disconnect()
    all:expect_publish(new_topic, new_payload)
end

describe("rewrite", function()
    it("maps topics with what the wildcards matched", function()
        with_rules([[{
            { from = "sensors/+/raw", to = "sensors/%1/celsius" },
            { from = "+/old/#", to = "new/%2/%1" },
            { from = "percent", to = "100%%/x" },
        }]], function(b)
            becomes(b, "sensors/kitchen/raw", "1", "sensors/kitchen/celsius", "1")
            becomes(b, "a/old/b/c", "2", "new/b/c/a", "2")
            becomes(b, "percent", "3", "100%/x", "3")
            becomes(b, "sensors/kitchen/cooked", "4", "sensors/kitchen/cooked", "4")
            becomes(b, "sensors/%1/raw", "5", "sensors/%1/celsius", "5")
        end)
    end)

    it("transforms payloads", function()
        with_rules([[{
            {
                from = "sensors/+/raw", to = "sensors/%1/celsius",
                payload = function(payload, topic, captures)
                    local reading = sol.json.decode(payload)
                    return sol.json.encode { value = (reading.f - 32) / 1.8, of = captures[1], was = topic }
                end,
            },
            { from = "upper", payload = string.upper },
            { from = "as-it-is", payload = function() end },
        }]], function(b)
            becomes(b, "sensors/kitchen/raw", '{"f":68}', "sensors/kitchen/celsius",
                '{"of":"kitchen","value":20.0,"was":"sensors/kitchen/raw"}')
            becomes(b, "upper", "abc", "upper", "ABC")
            becomes(b, "as-it-is", "\0\xff", "as-it-is", "\0\xff")
        end)
    end)

    it("refuses a message whose payload function fails, and says so in the log", function()
        with_rules([[{ { from = "t", payload = function(p) return p.x.y end } }]], function(b)
            local sub = b:client("sub"):subscribe("#", 0)
            b:client("pub", { version = 5 }):publish("t", "x", { qos = 1, rc = 0x87 })
            sub:expect_nothing()
            b:log_wait "(index a nil value[^\n]*)"
        end)
    end)

    it("is done before anybody judges the topic", function()
        with_broker({ config = [[
            plugin("rewrite", { rules = { { from = "in/+", to = "out/%1" } } })
            plugin("acl", { rules = { { topic = "out/#" } } })
        ]] }, function(b)
            local c = b:client("c", { version = 5 }):subscribe("out/#", 0)
            c:publish("in/x", "1", { qos = 1, rc = 0 }):publish("other", "2", { qos = 1, rc = 0x87 })
            c:expect_publish("out/x", "1"):expect_nothing()
        end)
    end)

    it("takes a captured level as it is, and an empty rest", function()
        with_rules([[{ { from = "a/#", to = "b/%1" } }]], function(b)
            becomes(b, "a/%2", "1", "b/%2", "1")
            becomes(b, "a", "2", "b/", "2")
        end)
    end)
end)

describe("rewrite does not load", function()
    local rows = {
        ["a rule that is no table"] = { "{ 1 }", "rules[1]: expected a table, got number" },
        ["an unknown field"] = { '{ { from = "a", two = "b" } }', "rules[1].two: no such field" },
        ["a rule without from"] = { '{ { to = "b" } }', "rules[1].from: expected a topic filter, got nil" },
        ["a from that is no filter"] = { '{ { from = "a/#/b", to = "b" } }',
            "rules[1].from: expected a topic filter, got a/#/b" },
        ["a capture that is not there"] = { '{ { from = "a/+", to = "b/%2" } }',
            "rules[1].to: %2: the filter has 1 wildcard" },
        ["a to with a wildcard"] = { '{ { from = "a/+", to = "b/+" } }',
            "rules[1].to: expected a topic name" },
        ["a to that ends in a percent sign"] = { '{ { from = "a/+", to = "b%" } }', "rules[1].to: expected" },
        ["a payload that is no function"] = { '{ { from = "a", payload = "x" } }',
            "rules[1].payload: expected a function, got string" },
        ["a rule that does nothing"] = { '{ { from = "a" } }', "rules[1]: neither to nor payload" },
    }
    for name, row in pairs(rows) do
        it(name, function()
            with_dir(function(dir)
                write_file(dir .. "/sol.lua", 'plugin("rewrite", { rules = ' .. row[1] .. " })")
                local result = broker.sol("check", "-c", dir .. "/sol.lua")
                assert.not_equal(0, result.status)
                assert.truthy((result.stderr .. result.stdout):find(row[2], 1, true), result.stderr)
            end)
        end)
    end
end)
