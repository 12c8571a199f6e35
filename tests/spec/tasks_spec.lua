-- SPDX-License-Identifier: BSD-2-Clause
--
-- Tasks, semaphores, single flight: parts of a policy that wait for one another.

local eval = require "support.eval"
local with_broker = require("support.broker").with_broker

describe("sol.spawn", function()
    it("gives a task that can be joined", function()
        eval.with({}, function(run)
            assert.equal("true 3 nil x done", run [[
                local t = sol.spawn(function(a, b) sol.sleep(0.01) return a + b, nil, "x" end, 1, 2)
                assert(t:status() == "running")
                local results = table.pack(t:join())
                return results[1], results[2], results[3], results[4], t:status() ]])
            assert.equal("true at once", run "return sol.spawn(function() return 'at once' end):join()")
            assert.equal("true 1 true 1", run [[
                local t = sol.spawn(function() sol.sleep(0.01) return 1 end)
                local a, b = t:join()
                return a, b, t:join() ]])
        end)
    end)

    it("tells many that wait for one", function()
        eval.with({}, function(run)
            assert.equal("20", run [[
                local t = sol.spawn(function() sol.sleep(0.02) return 1 end)
                local sum, all = 0, {}
                for i = 1, 20 do all[i] = sol.spawn(function()
                    local _, n = t:join()
                    sum = sum + n
                end) end
                for _, other in ipairs(all) do other:join() end
                return sum ]])
        end)
    end)

    it("gives a join time to run out, and the task time to go on", function()
        eval.with({}, function(run)
            assert.equal("nil timeout nil timeout true 7", run [[
                local t = sol.spawn(function() sol.sleep(0.1) return 7 end)
                local a, b = t:join(0.01)
                local c, d = t:join(0)
                return a, b, c, d, t:join() ]])
        end)
    end)

    it("logs a failure and gives it to whoever joins", function()
        eval.with({}, function(run, b)
            assert.matches("^nil eval:%d: oh no failed", run [[
                local t = sol.spawn(function() sol.sleep(0.01) error("oh no") end)
                local ok, err = t:join()
                return ok, err, t:status() ]])
            b:log_wait "(sol.spawn failed: eval:%d: oh no\\nstack traceback)"
            assert.matches("^nil .* failed", run [[
                local t = sol.spawn(function() sol.sleep(0.01) while true do end end)
                local ok, err = t:join(5)
                return ok, err, t:status() ]])
            b:log_wait "(ran past its budget)"
        end)
    end)

    it("names the caller's mistakes", function()
        eval.with({}, function(run)
            assert.matches("error: eval:1: bad argument #1 to 'spawn' %(function expected, got number%)",
                run "sol.spawn(3)")
            assert.matches("error: eval:1: bad argument #1 to 'join'", run "sol.spawn(print):join 'soon'")
        end)
    end)
end)

describe("sol.semaphore", function()
    it("lets so many in at a time, in the order they came", function()
        eval.with({}, function(run)
            assert.equal("2 1 2 3 4 5 6 7 8", run [[
                local s, inside, most, order, all = sol.semaphore(2), 0, 0, {}, {}
                for i = 1, 8 do
                    all[i] = sol.spawn(function()
                        local guard <close> = assert(s:acquire())
                        inside = inside + 1
                        most = math.max(most, inside)
                        order[#order + 1] = i
                        sol.sleep(0.005)
                        inside = inside - 1
                    end)
                end
                for _, t in ipairs(all) do assert(t:join()) end
                assert(s:available() == 2)
                return most, table.concat(order, " ") ]])
        end)
    end)

    it("gives up when the time is over, and leaves the row", function()
        eval.with({}, function(run)
            assert.equal("nil timeout nil timeout true false 1", run [[
                local s = sol.semaphore(1)
                local guard = s:acquire()
                local a, b = s:acquire(0)
                local c, d = s:acquire(0.01)
                local first, again = guard:release(), guard:release()
                return a, b, c, d, first, again, s:available() ]])
        end)
    end)

    it("loses no permit with a client that goes while it waits or has just been handed one", function()
        eval.with({ config = [[
            local s = sol.semaphore(1)
            local held
            sol.on("publish", "hold", function() held = s:acquire() end)
            sol.on("publish", "wait", function(client) local g <close> = s:acquire() end)
            sol.on("publish", "kick", function()
                held:release()                       -- it is the first waiter's now, who ...
                sol.client("w1"):disconnect()        -- ... is cut off before he can go on
            end)
            sol.on("publish", "kick2", function() sol.client("w2"):disconnect() end)
            sol.on("publish", "free", function(c) sol.publish("free/is", tostring(s:available())) end)
        ]] }, function(_, b)
            local c = b:client("c"):subscribe("free/is", 0):subscribe("waits/#", 0)
            c:publish("hold", "")
            b:client("w1"):publish("wait", "")
            b:client("w2"):publish("wait", "")
            c:publish("kick2", ""):publish("kick", "")
            local function is_free()
                return c:publish("free", ""):expect("PUBLISH", { topic = "free/is" }).payload == "1"
            end
            require("support.wait").till("the permit to be free", is_free)
        end)
    end)

    it("names the caller's mistakes", function()
        eval.with({}, function(run)
            for _, n in ipairs { "0", "-1", "1.5", "'x'", "nil" } do
                assert.matches("error: eval:1: bad argument #1 to 'semaphore'", run("sol.semaphore(" .. n .. ")"))
            end
        end)
    end)
end)

describe("whatever waits", function()
    -- One worker: a semaphore is the worker's own.
    local PARKED = [[
        workers = 1
        local s, t = sol.semaphore(1), nil
        sol.on("start", function()
            s:acquire()
            t = sol.spawn(function() sol.sleep(1000) end)
            for _ = 1, 10 do
                sol.spawn(function() local g <close> = s:acquire() end)
                sol.spawn(function() t:join() end)
                sol.spawn(function() sol.once("k", function() sol.sleep(1000) end, 1000) end)
                sol.spawn(function() sol.await "never" end)
                sol.spawn(function() coroutine.wrap(function() pcall(s.acquire, s, 1000) end)() end)
            end
        end)
        sol.on("publish", "wait", function()
            local g <close> = s:acquire()
        end)
        sol.on("publish", "sort", function(_, m)
            m.payload = select(2, pcall(table.sort, { 2, 1 }, function() s:acquire() end))
        end)
    ]]

    it("ends with its policy and with the broker", function()
        with_broker({ config = PARKED }, function(b)
            for i = 1, 3 do b:client("w" .. i):publish("wait", "") end
            local c = b:client("c"):subscribe("sort", 0)
            assert.matches("cannot wait inside a function that C calls",
                c:publish("sort", ""):expect("PUBLISH", { topic = "sort" }).payload)
            b:signal "HUP"
            b:log_wait "(generation 2 is in place)"
            b:client("late"):publish("wait", "")
        end)
    end)
end)

describe("sol.once", function()
    it("runs the function once for all who ask meanwhile", function()
        eval.with({}, function(run)
            assert.equal("1 50 2", run [[
                local runs, sum, all = 0, 0, {}
                local function fetch(key) runs = runs + 1 sol.sleep(0.02) return key end
                for i = 1, 50 do all[i] = sol.spawn(function()
                    local n = sol.once(1, fetch)
                    sum = sum + n
                end) end
                for _, t in ipairs(all) do t:join() end
                local before = runs
                sol.once(1, fetch)
                return before, sum, runs ]])
        end)
    end)

    it("gives everybody the failure", function()
        eval.with({}, function(run)
            assert.equal("nil gone nil gone", run [[
                local function fetch() sol.sleep(0.01) return nil, "gone" end
                local a, b
                local t = sol.spawn(function() a, b = sol.once("k", fetch) end)
                local c, d = sol.once("k", fetch)
                t:join()
                return a, b, c, d ]])
            assert.matches("^nil eval:1: broken", run "return sol.once('k', function() error 'broken' end)")
        end)
    end)

    it("does not depend on who asked first", function()
        eval.with({ config = [[
            workers = 1 -- sol.once is the worker's own
            local function fetch() sol.sleep(0.1) return "there" end
            sol.on("publish", "first", function() sol.once("k", fetch) end)
            sol.on("publish", "kick", function() sol.client("first"):disconnect() end)
            sol.on("publish", "second", function(_, m) m.payload = sol.once("k", error) end)
        ]] }, function(_, b)
            b:client("first"):publish("first", "")
            local c = b:client("c"):subscribe("second", 0)
            c:publish("kick", ""):publish("second", ""):expect_publish("second", "there")
        end)
    end)

    it("lets nobody wait longer than asked, nor later ones behind one that hangs", function()
        eval.with({}, function(run)
            assert.equal("nil timeout fresh", run [[
                local a, b = sol.once("k", function() sol.sleep(1000) end, 0.01)
                return a, b, (sol.once("k", function() return "fresh" end)) ]])
        end)
    end)
end)
