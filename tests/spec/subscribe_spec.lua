-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol.subscribe, sol.await, sol.request: messages for the policy itself.

local broker = require "support.broker"
local eval = require "support.eval"
local with_broker = broker.with_broker

local SAY = [[
    local function say(what) return function(m)
        sol.publish("said", ("%s %s %s q%d %s"):format(what, m.topic, m.payload, m.qos, m.retain))
    end end
]]

describe("sol.subscribe", function()
    it("hands over every message that matches, the broker's own too", function()
        with_broker({ config = SAY .. [[
            sol.subscribe("a/+", say "plus")
            sol.subscribe("b/#", say "hash")
            sol.on("publish", "own", function() sol.publish("b/own", "mine", { qos = 1 }) end)
        ]] }, function(b)
            local c = b:client("c"):subscribe("said", 0)
            c:publish("a/1", "x", { qos = 1 }):expect_publish("said", "plus a/1 x q1 false")
            c:publish("a/2", "y", { retain = true }):expect_publish("said", "plus a/2 y q0 true")
            c:publish("a/b/c", "no"):publish("b", "z"):expect_publish("said", "hash b z q0 false")
            c:publish("own", ""):expect_publish("said", "hash b/own mine q1 false")
        end)
    end)

    it("calls several functions, each in a task of its own", function()
        with_broker({ config = SAY .. [[
            sol.subscribe("t/+", function() sol.sleep(0.05) error("oh no") end)
            sol.subscribe("t/+", say "two")
            sol.subscribe("t/#", say "three")
        ]] }, function(b)
            local c = b:client("c"):subscribe("said", 0)
            c:publish("t/1", "x"):expect_publish("said", "two t/1 x q0 false")
            c:expect_publish("said", "three t/1 x q0 false")
            b:log_wait "(sol.lua:%d+: oh no)"
            c:publish("t/2", "x"):expect_publish("said", "two t/2 x q0 false")
        end)
    end)

    it("ends when it is told to, also from within", function()
        eval.with({}, function(run)
            assert.equal("1 true false 3", run [[
                local first, other = 0, 0
                local s
                s = sol.subscribe("t", function() first = first + 1 s:unsubscribe() end)
                local o = sol.subscribe("t", function() other = other + 1 end)
                for _ = 1, 3 do sol.publish("t", "x") end
                sol.sleep(0.01)
                local a, b = o:unsubscribe(), o:unsubscribe()
                sol.publish("t", "x")
                sol.sleep(0.01)
                return first, a, b, other ]])
        end)
    end)

    it("is the new policy's after a reload", function()
        with_broker({ config = SAY .. [[sol.subscribe("t", say "old")]] }, function(b)
            local c = b:client("c"):subscribe("said", 0)
            c:publish("t", "x"):expect_publish("said", "old t x q0 false")
            b:configure(SAY .. [[sol.subscribe("t", say "new")]])
            b:signal "HUP"
            b:log_wait "(generation 2 is in place)"
            c:publish("t", "x"):expect_publish("said", "new t x q0 false")
            c:publish("said", "end"):expect_publish("said", "end")
        end)
    end)

    it("does not go round in circles", function()
        with_broker({ config = [[
            sol.subscribe("a", function() sol.publish("b", "x") end)
            sol.subscribe("b", function() sol.sleep(0) sol.publish("a", "x") end)
        ]] }, function(b)
            b:client("c"):publish("a", "x")
            b:log_wait "(messages cause messages, 20 in a row)"
        end)
    end)

    it("runs once however many workers there are, or on each", function()
        with_broker({ config = SAY .. [[
            workers = 3
            sol.subscribe("one", say "one")
            sol.subscribe("each", say "each", { each_worker = true })
        ]] }, function(b)
            local c = b:client("c"):subscribe("said", 0)
            for i = 1, 5 do b:client("p" .. i):publish("one", "x") end
            for _ = 1, 5 do c:expect_publish("said", "one one x q0 false") end
            c:publish("each", "x")
            for _ = 1, 3 do c:expect_publish("said", "each each x q0 false") end
            c:publish("said", "end"):expect_publish("said", "end")
        end)
    end)

    it("is not among the clients", function()
        eval.with({ config = [[sol.subscribe("t", print)]] }, function(run)
            assert.equal("1", run "return #sol.clients()")
        end)
    end)

    it("names the caller's mistakes", function()
        eval.with({}, function(run)
            for call, err in pairs {
                ["sol.subscribe('a/#/b', print)"] = "bad argument #1 to 'subscribe' %(expected a topic filter",
                ["sol.subscribe('$share/g/t', print)"] = "bad argument #1 to 'subscribe' %(expected a topic filter",
                ["sol.subscribe(('a/'):rep(1000) .. '#', print)"] = "bad argument #1 to 'subscribe' %(more than 1000",
                ["sol.subscribe('t')"] = "bad argument #2 to 'subscribe' %(function expected, got nil%)",
                ["sol.subscribe('t', print, { each = true })"] = 'unknown option "each"; did you mean "each_worker"%?',
                ["sol.await(7)"] = "bad argument #1 to 'await'",
                ["sol.await('t', -1)"] = "bad argument #2 to 'await'",
                ["sol.request('t', 'x', { timeout = 0 })"] = "sol.request: timeout must be a number from 0.001",
                ["sol.request('t/+', 'x')"] = "not a topic name",
            } do
                assert.matches("^error: .*" .. err, run(call), call)
            end
        end)
    end)
end)

describe("sol.await", function()
    it("gives the next message that matches, or up", function()
        eval.with({}, function(run)
            assert.equal("t/1 first", run [[
                sol.after(0.01, function() sol.publish("t/1", "first") sol.publish("t/2", "second") end)
                local m = sol.await("t/+", 5)
                return m.topic, m.payload ]])
            assert.equal("nil timeout", run "return sol.await('t/+', 0.01)")
        end)
    end)

    it("forgets its subscription with the client that waits", function()
        with_broker({ config = [[
            sol.on("publish", "wait", function() sol.await("t") end)
        ]] }, function(b)
            for i = 1, 3 do b:client("w" .. i):publish("wait", ""):drop() end
            b:client("c"):publish("t", "x"):publish("t", "y")
        end)
    end)
end)

describe("sol.request", function()
    it("finds the answer by its correlation data", function()
        eval.with({}, function(run, b)
            local answers = b:client("answers", { version = 5 }):subscribe("ask", 1)
            local asks = eval.client(b, "asks")
            asks:publish("eval", [[
                local one = sol.spawn(sol.request, "ask", "one")
                local two = sol.spawn(sol.request, "ask", "two", { properties = { content_type = "text" } })
                local _, a = one:join()
                local _, b = two:join()
                return a.payload, b.payload ]])
            local first = answers:expect("PUBLISH", { topic = "ask" })
            local second = answers:expect("PUBLISH", { topic = "ask" })
            for _, m in ipairs { second, first } do
                answers:publish(m.props.response_topic, "re " .. m.payload,
                    { props = { correlation_data = m.props.correlation_data } })
            end
            assert.equal("re one re two", asks:expect("PUBLISH", { topic = "answer/asks" }).payload)
            assert.equal("nil timeout", run "return sol.request('nobody', 'x', { timeout = 0.01 })")
        end)
    end)
end)
