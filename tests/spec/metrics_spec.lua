-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol.metrics and sol.hooks: figures of the policy's own, and of its handlers.

local eval = require "support.eval"
local with_broker = require("support.broker").with_broker

describe("sol.metrics", function()
    it("counts, and writes what Prometheus reads", function()
        eval.with({}, function(run)
            assert.equal([[
# HELP logins_total Logins.
# TYPE logins_total counter
logins_total{result="no"} 2.5
logins_total{result="say \"yes\""} 1
# TYPE sessions gauge
sessions 6
]], run [[
                local logins = sol.metrics.counter("logins_total", { help = "Logins.", labels = { "result" } })
                logins:add(nil, { result = 'say "yes"' })
                logins:add(2, { result = "no" })
                logins:add(0.5, { result = "no" })
                local sessions = sol.metrics.gauge "sessions"
                sessions:set(7)
                sessions:add(-1)
                return sol.metrics.collect() ]])
        end)
    end)

    it("puts observations into buckets", function()
        eval.with({}, function(run)
            assert.equal([[
# TYPE seconds histogram
seconds_bucket{le="0.1"} 2
seconds_bucket{le="1"} 3
seconds_bucket{le="+Inf"} 4
seconds_sum 10.7
seconds_count 4
]], run [[
                local h = sol.metrics.histogram("seconds", { buckets = { 0.1, 1 } })
                for _, s in ipairs { 0.1, 0.05, 0.55, 10 } do h:observe(s) end
                return sol.metrics.collect() ]])
        end)
    end)

    it("bounds the series of a metric", function()
        eval.with({}, function(run)
            assert.equal('4 true', run [[
                local c = sol.metrics.counter("c", { labels = { "id" }, max_series = 3 })
                for i = 1, 100 do c:add(1, { id = i }) end
                local text = sol.metrics.collect()
                local _, n = text:gsub("c{", "")
                return n, text:find('c{id="(other)"} 97', 1, true) ~= nil ]])
        end)
    end)

    it("counts over workers and generations", function()
        local POLICY = [[
            workers = 2
            local c = sol.metrics.counter("published_total")
            sol.on("publish", "count", function() c:add() end)
            sol.on("publish", "read", function(_, m)
                m.payload = sol.metrics.collect():match "published_total (%d+)"
            end)
        ]]
        with_broker({ config = POLICY }, function(b)
            for i = 1, 6 do b:client("p" .. i):publish("count", "", { qos = 1 }) end
            local c = b:client("c"):subscribe("read", 0)
            c:publish("read", ""):expect_publish("read", "6")
            b:signal "HUP"
            b:log_wait "(generation 2 is in place)"
            c:publish("count", ""):publish("read", ""):expect_publish("read", "7")
        end)
    end)

    it("names the caller's mistakes", function()
        eval.with({}, function(run)
            for code, err in pairs {
                ["sol.metrics.counter '7x'"] = "sol.metrics.counter: 7x is no name of a metric",
                ["sol.metrics.counter('a', { labels = { 'x y' } })"] = "x y is no name of a label",
                ["sol.metrics.counter('b', { label = {} })"] = 'unknown option "label"; did you mean "labels"?',
                ["sol.metrics.counter 'c' sol.metrics.gauge 'c'"] = "sol.metrics.gauge: c is a counter",
                ["sol.metrics.counter('d'):add(-1)"] = "d: expected a number of at least 0, got -1",
                ["sol.metrics.gauge('e'):set('x')"] = "e: expected a number, got x",
                ["sol.metrics.counter('f', { labels = { 'l' } }):add(1)"] = "f: label l must be a string",
                ["sol.metrics.counter('g'):add(1, { l = 1 })"] = 'g: unknown label "l"',
                ["sol.metrics.histogram('h', { buckets = { 2, 1 } })"] = "buckets must be numbers that rise",
            } do
                local said = run(code)
                assert.truthy(said:find("error: eval:1: ", 1, true), said)
                assert.truthy(said:find(err, 1, true), said)
            end
        end)
    end)
end)

describe("sol.hooks", function()
    it("tells what has become of every handler", function()
        eval.with({ config = [[
            workers = 1 -- each worker counts its own
            sol.on("publish", "bad", function() error "no" end, { name = "bad" })
            sol.on("publish", "slow", function() sol.sleep(1000) end, { name = "slow", timeout = 0.01, priority = 3 })
            sol.on("publish", "busy", function() local t = sol.now() + 0.003 while sol.now() < t do end end,
                { name = "busy" })
        ]] }, function(run, b)
            local c = b:client "c"
            for _ = 1, 3 do c:publish("bad", "") end
            c:publish("slow", "")
            for _ = 1, 70 do c:publish("busy", "") end
            c:ping()
            local function of(name, fields)
                return run(([[for _, h in ipairs(sol.hooks()) do
                    if h.name:find(%q, 1, true) == 1 then return h.event, %s end end]]):format(name, fields))
            end
            assert.equal("publish 3 3 0 0", of("bad", "h.calls, h.errors, h.timeouts, h.waits"))
            assert.equal("publish 1 1 1 1 3", of("slow", "h.calls, h.errors, h.timeouts, h.waits, h.priority"))
            assert.equal("publish 70 2 true 16", of("busy", "h.calls, h.timed, h.mean >= 0.003, #h.times"))
            assert.equal("publish 1 true 0 0", of("busy", "h.counted, h.instructions > 100") .. " "
                .. of("slow", "h.counted, h.instructions"):gsub("publish ", ""))
            assert.equal("publish 2", of("busy", "(function() local n = 0 for _, t in ipairs(h.times) do "
                .. "if t.below > 0.003 then n = n + t.count end end return n end)()"))
        end)
    end)
end)
