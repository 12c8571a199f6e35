-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol.shared: dictionaries that outlive a policy.

local broker = require "support.broker"
local eval = require "support.eval"

local TWO = [[shared = { sessions = "1 MB", small = "16k" }]]

describe("sol.shared", function()
    it("sets, adds, replaces, deletes", function()
        eval.with({ config = TWO }, function(run)
            run "d = sol.shared.sessions"
            assert.equal("true nil false v", run "local a, b, c = d:set('k', 'v') return a, b, c, d:get 'k'")
            assert.equal("false exists false", run "return d:add('k', 1)")
            assert.equal("false not found false", run "return d:replace('none', 1)")
            assert.equal("true nil false", run "return d:replace('k', false)")
            assert.equal("false boolean", run "return d:get 'k', type(d:get 'k')")
            assert.equal("integer float string", run [[
                d:set("i", 1) d:set("f", 1.0) d:set("s", "1")
                return math.type(d:get "i"), math.type(d:get "f"), type(d:get "s") ]])
            assert.equal("true false nil", run "local a, b = d:delete 'k', d:delete 'k' return a, b, d:get 'k'")
            assert.equal("true nil false nil", run "local a, b, c = d:set('i', nil) return a, b, c, d:get 'i'")
        end)
    end)

    it("counts, with a start and a time", function()
        eval.with({ config = TWO }, function(run)
            run "d = sol.shared.sessions"
            assert.equal("nil not found", run "return d:incr('n', 1)")
            assert.equal("5 nil false", run "return d:incr('n', 1, 4, 1000)")
            assert.equal("7 nil false", run "return d:incr('n', 2, 100)")
            assert.equal("true", run "local t = d:ttl 'n' return t > 900 and t <= 1000")
            assert.equal("7.5 nil false", run "return d:incr('n', 0.5)")
            assert.equal("nil not a number", run "d:set('s', 'x') return d:incr('s', 1)")
            assert.equal("0.0 nil not found", run "local a = d:ttl 's' return a, d:ttl 'none'")
            assert.equal("true nil nil not found", run [[
                local a = d:expire("n", 0.01)
                sol.sleep(0.02)
                return a, d:get "n", d:expire("n", 1) ]])
        end)
    end)

    it("has lists", function()
        eval.with({ config = TWO }, function(run)
            run "d = sol.shared.sessions"
            assert.equal("1 2 3", run "return d:rpush('l', 'b'), d:rpush('l', 'c'), d:lpush('l', 'a')")
            assert.equal("3 a c b nil 0",
                run "return d:llen 'l', d:lpop 'l', d:rpop 'l', d:lpop 'l', d:lpop 'l', d:llen 'l'")
            assert.equal("nil value not a list nil value is a list", run [[
                d:set("s", 1) d:rpush("l", 1)
                local a, b = d:lpush("s", 1)
                return a, b, d:get "l" ]])
        end)
    end)

    it("lists and flushes", function()
        eval.with({ config = TWO }, function(run)
            run "d = sol.shared.sessions"
            assert.equal("c b a 1 2 0", run [[
                d:set("a", 1) d:set("b", 1, 0.01) d:set("c", 1)
                local keys, one = d:get_keys(), d:get_keys(1)
                sol.sleep(0.02)
                local rest = #d:get_keys(0)
                d:flush_all()
                return keys[1], keys[2], keys[3], #one, rest, #d:get_keys() ]])
            assert.equal("1 1048576 true", run [[
                d:set("a", 1, 0.01)
                sol.sleep(0.02)
                return d:flush_expired(), d:capacity(), d:free_space() == d:capacity() ]])
        end)
    end)

    it("evicts what was not used for longest, and says so", function()
        eval.with({ config = TWO }, function(run)
            assert.equal("true nil 99 true", run [[
                local d, evicted = sol.shared.small, false
                d:set("kept", 99)
                for i = 1, 1000 do
                    local _, _, e = d:set("k" .. i, i)
                    evicted = evicted or e
                    d:get "kept"
                end
                return evicted, d:get "k1", d:get "kept", d:free_space() < 1000 ]])
            assert.equal("false no memory false", run "return sol.shared.small:set('k', ('x'):rep(20000))")
        end)
    end)

    it("outlives policies, with a new size, until none declares it", function()
        local KEEP = [[
            sol.on("publish", "put", function(_, m) sol.shared.sessions:set("k", m.payload) end)
            sol.on("publish", "get", function(_, m)
                m.payload = tostring(sol.shared.sessions:get "k") .. " " .. sol.shared.sessions:capacity()
            end)
        ]]
        broker.with_broker({ config = TWO .. KEEP }, function(b)
            local c = b:client("c"):subscribe("get", 0)
            c:publish("put", "kept"):publish("get", ""):expect_publish("get", "kept 1048576")
            local generation = 1
            local function reload(config)
                generation = generation + 1
                b:configure(config)
                b:signal "HUP"
                b:log_wait(("(generation %d is in place)"):format(generation))
            end
            reload('shared = { sessions = "32 KB" }' .. KEEP)
            c:publish("get", ""):expect_publish("get", "kept 32768")
            reload ""
            reload(TWO .. KEEP)
            c:publish("get", ""):expect_publish("get", "nil 1048576")
        end)
    end)

    it("can be filled while the policy loads", function()
        assert.matches("seven", broker.check
            [[shared = { d = 1 << 20 } sol.shared.d:set("k", "seven") print(sol.shared.d:get "k")]])
    end)

    it("names mistakes", function()
        for line, expected in pairs {
            ["shared = 7"] = 'shared: expected a table like { sessions = "10 MB" }, got a number',
            ["shared = { 'x' }"] = "shared: expected { NAME = SIZE, ... }",
            ["shared = { a = '10 QB' }"] = 'the size of a must be like "10 MB", at least 16 KB, not 10 QB',
            ["shared = { a = 100 }"] = 'the size of a must be like "10 MB", at least 16 KB, not 100',
            ["shared = { sessions = '1 MB' } print(sol.shared.sesions)"]
                = 'sol.shared.sesions is not declared; did you mean "sessions"?',
            ["sol.shared.x = 1"] = "sol.shared cannot be changed: declare dictionaries in sol.lua",
            ["shared = { a = '1 MB' } sol.shared.a:set('k', {})"] = "expected a string, number or boolean",
            ["shared = { a = '1 MB' } sol.shared.a:set('', 1)"] = "a key has 1 to 65535 bytes",
            ["shared = { a = '1 MB' } sol.shared.a:gett 'k'"] = 'has no field "gett"; did you mean "get"?',
        } do
            broker.refuses(line, "sol.lua:1: ")
            broker.refuses(line, expected)
        end
    end)
end)
