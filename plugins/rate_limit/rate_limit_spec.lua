-- SPDX-License-Identifier: BSD-2-Clause
--
-- rate_limit: what is let through, what becomes of the rest, and rules that are refused.

local testing = require "sol.testing"

local function with_rules(rules)
    return testing.broker { text = 'plugin("rate_limit", { rules = {' .. rules .. "} })" }
end

describe("rate_limit", function()
    it("refuses a client's publishes beyond the burst, and nobody else's", function()
        local b = with_rules '{ rate = 1, burst = 2, exempt = { "root" } }'
        local all, c, d = b:connect {}, b:connect {}, b:connect {}
        all:subscribe "#"
        for i, rc in ipairs { 0, 0, 0x97, 0x97 } do assert.equal(rc, c:publish("t", tostring(i))) end
        assert.equal(0x97, c:publish("t", "5", { qos = 2 }))
        assert.equal(0, d:publish("t", "d"))
        local root = b:connect { username = "root", password = "" }
        for _ = 1, 5 do assert.equal(0, root:publish("t", "r")) end
        assert.equal(8, #all:messages())
    end)

    it("lets more through as time passes, up to the burst", function()
        local b = with_rules "{ rate = 2, burst = 3 }"
        local c = b:connect {}
        local function publishes(count)
            for _ = 1, count do assert.equal(0, c:publish "t") end
            assert.equal(0x97, c:publish "t")
        end
        publishes(3)
        b:advance(1)
        publishes(2)
        b:advance(3600)
        publishes(3)
    end)

    it("counts by user, address, topic or all together", function()
        for per, outcome in pairs {
            client = { 0, 0, 0, 0 }, user = { 0, 0x97, 0, 0x97 }, address = { 0, 0x97, 0, 0 },
            all = { 0, 0x97, 0x97, 0x97 }, topic = { 0, 0, 0, 0x97 },
        } do
            local b = with_rules(('{ rate = 0.001, per = "%s" }'):format(per))
            for i, row in ipairs { { "ada", "t/1", "10.0.0.1:99" }, { "ada", "t/2", "10.0.0.1:98" },
                { "bob", "t/3", "10.0.0.2:99" }, { "bob", "t/1", "[::1]:99" } } do
                local c = b:connect { username = row[1], password = "", address = row[3] }
                assert.equal(outcome[i], c:publish(row[2], "x"), per .. " " .. i)
            end
        end
    end)

    it("counts only what its filter matches, and bytes", function()
        local b = with_rules [[{ rate = 0.001, topic = "a/+" },
            { rate = 0.001, burst = 10, unit = "bytes", over = "drop" }]]
        local c = b:connect {}
        c:subscribe "#"
        assert.equal(0, c:publish("b", "12345"))
        assert.equal(0, c:publish("a/1", "123"))
        assert.equal(0x97, c:publish("a/2", "1"))
        assert.equal(0, c:publish("b", "123")) -- too many bytes: dropped
        assert.equal(0, c:publish("b", "12"))
        for _, payload in ipairs { "12345", "123", "12" } do c:expect(nil, payload) end
        c:expect_none()
    end)

    it("lets a client wait, whose messages all arrive in time", function()
        local b = with_rules '{ rate = 0.5, over = "wait" }'
        local sub, c = b:connect {}, b:connect {}
        sub:subscribe "t"
        for i = 1, 3 do c:publish("t", tostring(i), { qos = 0 }) end
        sub:expect("t", "1")
        for i = 2, 3 do
            b:advance(1.8)
            sub:expect_none()
            b:advance(0.3)
            sub:expect("t", tostring(i))
        end
    end)

    it("limits logins and subscriptions, or ends the connection", function()
        local b = with_rules [[{ event = "connect", per = "all", rate = 0.001, burst = 2 },
            { event = "subscribe", rate = 0.001 }, { rate = 0.001, over = "disconnect" }]]
        local c = b:connect {}
        assert.equal(0, c:subscribe "a")
        assert.equal(0x97, c:subscribe "b")
        assert.is_true(b:connect({ version = 4 }).connected)
        assert.equal(0x97, b:connect({}).reason_code)
        c:publish("t", "x", { qos = 0 })
        c:publish("t", "x", { qos = 0 })
        assert.is_false(c.connected)
        assert.equal(0x96, c.reason_code)
    end)
end)

describe("rate_limit does not load", function()
    local rows = {
        ["without rules"] = { "", "rules is missing" },
        ["a rule that is no table"] = { "5", "rules[1]: expected a table, got number" },
        ["an unknown field"] = { "{ rate = 1, limit = 2 }", "rules[1].limit: no such field" },
        ["no rate"] = { "{ burst = 2 }", "rules[1].rate: expected a number above 0, got nil" },
        ["an unknown per"] = { '{ rate = 1, per = "ip" }',
            "rules[1].per: expected address, all, client, topic, user, got ip" },
        ["a filter that is none"] = { '{ rate = 1, topic = "a/#/b" }', "rules[1].topic: expected" },
        ["a connect by topic"] = { '{ rate = 1, event = "connect", per = "topic" }', "has no topic" },
        ["a connect dropped"] = { '{ rate = 1, event = "connect", over = "drop" }',
            "rules[1]: drop is for event publish" },
    }
    for name, row in pairs(rows) do
        it(name, function()
            assert.error_matches(function() with_rules(row[1]) end, row[2], 1, true)
        end)
    end
end)
