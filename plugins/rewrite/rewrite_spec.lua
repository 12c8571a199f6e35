-- SPDX-License-Identifier: BSD-2-Clause
--
-- rewrite: new topics and payloads, and rules that are refused.

local testing = require "sol.testing"

local function with_rules(rules, options)
    options = options or {}
    options.text = 'plugin("rewrite", { rules = ' .. rules .. " })"
    return testing.broker(options)
end

-- A client that hears everything.
local function listener(b)
    local c = b:connect {}
    c:subscribe "#"
    return c
end

-- What becomes of `topic` and `payload` when they are published.
local function becomes(b, topic, payload, new_topic, new_payload)
    local c = listener(b)
    assert.equal(0, c:publish(topic, payload))
    c:expect(new_topic, new_payload)
    c:disconnect()
end

describe("rewrite", function()
    it("maps topics with what the wildcards matched", function()
        local b = with_rules [[{
            { from = "sensors/+/raw", to = "sensors/%1/celsius" },
            { from = "+/old/#", to = "new/%2/%1" },
            { from = "percent", to = "100%%/x" },
        }]]
        becomes(b, "sensors/kitchen/raw", "1", "sensors/kitchen/celsius", "1")
        becomes(b, "a/old/b/c", "2", "new/b/c/a", "2")
        becomes(b, "percent", "3", "100%/x", "3")
        becomes(b, "sensors/kitchen/cooked", "4", "sensors/kitchen/cooked", "4")
        becomes(b, "sensors/%1/raw", "5", "sensors/%1/celsius", "5")
    end)

    it("transforms payloads", function()
        local b = with_rules [[{
            {
                from = "sensors/+/raw", to = "sensors/%1/celsius",
                payload = function(payload, topic, captures)
                    local reading = sol.json.decode(payload)
                    return sol.json.encode { value = (reading.f - 32) / 1.8, of = captures[1], was = topic }
                end,
            },
            { from = "upper", payload = string.upper },
            { from = "as-it-is", payload = function() end },
        }]]
        becomes(b, "sensors/kitchen/raw", '{"f":68}', "sensors/kitchen/celsius",
            '{"of":"kitchen","value":20.0,"was":"sensors/kitchen/raw"}')
        becomes(b, "upper", "abc", "upper", "ABC")
        becomes(b, "as-it-is", "\0\xff", "as-it-is", "\0\xff")
    end)

    it("refuses a message whose payload function fails, and says so in the log", function()
        local b = with_rules([[{ { from = "t", payload = function(p) return p.x.y end } }]], { tolerate = true })
        local c = listener(b)
        assert.equal(0x87, c:publish("t", "x"))
        c:expect_none()
        assert.truthy(b:errors()[1]:find "index a nil value")
    end)

    it("is done before anybody judges the topic", function()
        local c = testing.broker({ text = [[
            plugin("rewrite", { rules = { { from = "in/+", to = "out/%1" } } })
            plugin("acl", { rules = { { topic = "out/#" } } })
        ]] }):connect {}
        assert.equal(0, c:subscribe "out/#")
        assert.equal(0, c:publish("in/x", "1"))
        assert.equal(0x87, c:publish("other", "2"))
        c:expect("out/x", "1")
        c:expect_none()
    end)

    it("takes a captured level as it is, and an empty rest", function()
        local b = with_rules [[{ { from = "a/#", to = "b/%1" } }]]
        becomes(b, "a/%2", "1", "b/%2", "1")
        becomes(b, "a", "2", "b/", "2")
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
            assert.error_matches(function() with_rules(row[1]) end, row[2], 1, true)
        end)
    end
end)
