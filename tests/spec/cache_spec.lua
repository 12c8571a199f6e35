-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol.cache and sol.rate.

local eval = require "support.eval"

describe("sol.cache", function()
    it("keeps values, and forgets the one not used for longest", function()
        eval.with({}, function(run)
            assert.equal("1 nil 3 4 3", run [[
                local c = sol.cache { size = 3 }
                c:set("a", 1) c:set("b", 2) c:set("c", 3)
                c:get "a"
                c:set("d", 4)
                return c:get "a", c:get "b", c:get "c", c:get "d", c:count() ]])
            assert.equal("true false nil 0", run [[
                local c = sol.cache()
                c:set("a", false)
                assert(c:get "a" == false)
                local first, again = c:delete "a", c:delete "a"
                c:set("b", 1)
                c:clear()
                return first, again, c:get "b", c:count() ]])
        end)
    end)

    it("keeps them for their time only", function()
        eval.with({}, function(run)
            assert.equal("1 2 nil 2 nil", run [[
                local c = sol.cache { ttl = 0.05 }
                c:set("a", 1) c:set("b", 2, 1000)
                local a, b = c:get "a", c:get "b"
                sol.sleep(0.06)
                return a, b, c:get "a", c:get "b", c:get "never" ]])
        end)
    end)

    it("fetches what is not there, once for all who ask", function()
        eval.with({}, function(run)
            assert.equal("1 k! k!", run [[
                local c, runs, all = sol.cache { ttl = 60 }, 0, {}
                local function fetch(key) runs = runs + 1 sol.sleep(0.02) return key .. "!" end
                for i = 1, 20 do all[i] = sol.spawn(function() return c:get("k", fetch) end) end
                local _, value = all[20]:join()
                return runs, value, c:get "k" ]])
        end)
    end)

    it("remembers that there is nothing, where asked to", function()
        eval.with({}, function(run)
            assert.equal("nil gone nil gone 1 nil gone 2", run [[
                local c, runs = sol.cache { negative_ttl = 0.05 }, 0
                local function fetch() runs = runs + 1 return nil, "gone" end
                local a, b = c:get("k", fetch)
                local d, e = c:get("k", fetch)
                local f = runs
                sol.sleep(0.06)
                local g, h = c:get("k", fetch)
                return a, b, d, e, f, g, h, runs ]])
            assert.equal("2", run [[
                local c, runs = sol.cache {}, 0
                local function fetch() runs = runs + 1 return nil, "gone" end
                c:get("k", fetch) c:get("k", fetch)
                return runs ]])
            assert.matches("^nil eval:1: broken 2", run [[local c, runs = sol.cache { negative_ttl = 60 }, 0
                local function fetch() runs = runs + 1 error("broken", 0) end
                local a, b = c:get("k", fetch) c:get("k", fetch)
                return a, "eval:1: " .. b, runs ]])
        end)
    end)

    it("does not store what was set or deleted while it was fetched", function()
        eval.with({}, function(run)
            assert.equal("old newer old nil", run [[
                local c = sol.cache()
                local function fetch() sol.sleep(0.02) return "old" end
                local t = sol.spawn(function() return c:get("k", fetch) end)
                c:set("k", "newer")
                local _, fetched = t:join()
                local kept = c:get "k"
                c:delete "k"
                t = sol.spawn(function() return c:get("k", fetch) end)
                c:delete "k"
                return fetched, kept, select(2, t:join()), c:get "k" ]])
        end)
    end)

    it("spreads the times by jitter", function()
        eval.with({}, function(run)
            assert.equal("true true", run [[
                local c, left = sol.cache { ttl = 0.2, jitter = 1, size = 2000 }, 0
                for i = 1, 1000 do c:set(i, i) end
                sol.sleep(0.1)
                for i = 1, 1000 do left = left + (c:get(i) and 1 or 0) end
                return left > 100, left < 900 ]])
        end)
    end)

    it("names the caller's mistakes", function()
        eval.with({}, function(run)
            assert.matches('error: eval:1: sol.cache: unknown option "siz"; did you mean "size"%?',
                run "sol.cache { siz = 1 }")
            assert.matches("eval:1: sol.cache: size must be an integer from 1 to %d+, not 0",
                run "sol.cache { size = 0 }")
            assert.matches("eval:1: sol.cache: ttl must be a number of at least 0.001, not \"x\"",
                run "sol.cache { ttl = 'x' }")
            assert.matches("eval:1: sol.cache: options must be a table", run "sol.cache(3)")
            assert.matches("eval:1: bad argument #1 to 'get'", run "sol.cache():get(nil)")
            assert.matches("eval:1: bad argument #2 to 'get'", run "sol.cache():get(1, 2)")
            assert.matches("eval:1: bad argument #3 to 'set'", run "sol.cache():set(1, 2, -1)")
        end)
    end)
end)

describe("sol.rate", function()
    it("gives tokens as they come in", function()
        eval.with({}, function(run)
            assert.equal("3 true true", run [[
                local r, taken, wait = sol.rate { rate = 10, burst = 3 }, 0, nil
                for _ = 1, 5 do
                    local ok, seconds = r:take "k"
                    if ok then taken = taken + 1 else wait = seconds end
                end
                sol.sleep(wait)
                return taken, wait > 0 and wait <= 0.1, (r:take "k") ]])
            assert.equal("true false true", run [[
                local r = sol.rate { rate = 0.001, burst = 5 }
                local a, b = r:take("k", 4), r:take("k", 2)
                r:reset "k"
                return a, b, (r:take("k", 5)) ]])
        end)
    end)

    it("knows so many keys only", function()
        eval.with({}, function(run)
            assert.equal("false true", run [[
                local r = sol.rate { rate = 0.001, burst = 1, keys = 10 }
                r:take "old" r:take "used"
                for i = 1, 9 do r:take(i) r:take "used" end
                return (r:take "used"), (r:take "old") ]])
        end)
    end)

    it("names the caller's mistakes", function()
        eval.with({}, function(run)
            assert.matches("eval:1: sol.rate: rate is missing", run "sol.rate {}")
            assert.matches("eval:1: bad argument #2 to 'take' %(expected 0 to 3 tokens",
                run "sol.rate { rate = 1, burst = 3 }:take('k', 4)")
            assert.matches("eval:1: bad argument #1 to 'take'", run "sol.rate { rate = 1 }:take(nil)")
        end)
    end)
end)
