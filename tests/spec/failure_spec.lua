-- SPDX-License-Identifier: BSD-2-Clause
--
-- Policy in Lua that goes wrong: errors, endless loops and greed deny what they
-- were asked about, are logged with file and line, and harm nobody else.

local broker = require "support.broker"
local proc = require "support.proc"
local wait = require "support.wait"
local with_broker = broker.with_broker

local function policy(text, spec) with_broker({ config = text, hook_budget = 0.1 }, spec) end

-- What may go wrong in a handler that starts on line 2 of sol.lua, and what the log says of it.
local FAILURES = {
    { "an error", [[error "broken on purpose"]], "sol%.lua:%d+.*broken on purpose" },
    { "an error that is a table", [[error { code = 1 }]], "table" },
    { "a nil index", [[local t; return t.x]], "sol%.lua:%d+.*attempt to index" },
    { "an endless loop", [[while true do end]], "sol%.lua:%d+" },
    { "an endless loop around pcall", [[while true do pcall(function() while true do end end) end]], "sol%.lua:%d+" },
    { "an endless loop in a coroutine",
        [[coroutine.wrap(function() while true do end end)()]], "sol%.lua:%d+" },
    { "endless recursion", [[local function f() return 1 + f() end f()]], "sol%.lua:%d+" },
    { "a huge string", [[return #("x"):rep(1 << 30)]], "memory" },
    { "a table without end", [[local t = {} for i = 1, math.huge do t[i] = ("x"):rep(1000) .. i end]], "" },
    { "a verdict of the wrong type", [[return "yes"]], "sol%.lua" },
    { "a pattern that never ends",
        [[return ("a"):rep(60):find(("a*"):rep(30) .. "b")]], "" },
}

-- How each event is provoked, and what the client must see.
local EVENTS = {
    connect = function(b)
        local c = b:raw { version = 5 }
        c:send { type = "CONNECT", client_id = "victim" }
        local m = c:expect("CONNACK", nil, 10)
        assert.is_true(m.rc >= 0x80)
        c:expect_close()
    end,
    authenticate = function(b)
        local c = b:raw { version = 5 }
        c:send { type = "CONNECT", client_id = "victim", username = "u", password = "p" }
        local m = c:expect("CONNACK", nil, 10)
        assert.is_true(m.rc >= 0x80)
        c:expect_close()
    end,
    subscribe = function(b) b:client("victim", { version = 5 }):subscribe("t", 0, { rc = "refused" }) end,
    publish = function(b) b:client("victim", { version = 5 }):publish("t", "x", { qos = 1, rc = "refused" }) end,
    authorize = function(b) b:client("victim", { version = 5 }):publish("t", "x", { qos = 1, rc = "refused" }) end,
    deliver = function(b)
        local c = b:client("victim", { version = 5 }):subscribe("t", 1)
        b:client("p"):publish("t", "x", { qos = 1 })
        c:expect_nothing()
    end,
}

for _, failure in ipairs(FAILURES) do
    describe(failure[1], function()
        for _, event in ipairs { "connect", "authenticate", "subscribe", "publish", "authorize", "deliver" } do
            it("in " .. event .. " denies, is logged, and others go on", function()
                policy(([[
                    allow_anonymous = true
                    vm_memory = 64 << 20
                    sol.on("%s", function(client)
                        if client.id ~= "victim" then return end
                        %s
                    end)
                ]]):format(event, failure[2]), function(b)
                    local other = b:client("other"):subscribe("still/here", 1)
                    local fds = b:fds()
                    EVENTS[event](b)
                    b:log_wait(failure[3])
                    assert.matches(event, b:log(), 1, true)
                    other:publish("still/here", "x", { qos = 1 }):expect_publish("still/here", "x"):ack()
                    EVENTS[event](b) -- and again: the VM has survived
                    other:publish("still/here", "y", { qos = 1 }):expect_publish("still/here", "y"):ack()
                    assert.is_true(b:fds() <= fds + 4)
                end)
            end)
        end
    end)
end

describe("an error in a hook", function()
    it("is logged with its traceback", function()
        policy([[
            local function inner() error "deep down" end
            local function outer() inner() end
            sol.on("publish", "t", function() outer() end)
        ]], function(b)
            b:client("c", { version = 5 }):publish("t", "x", { qos = 1, rc = "refused" })
            b:log_wait "sol%.lua:2: deep down"
            b:log_wait "sol%.lua:3"
            b:log_wait "sol%.lua:4"
        end)
    end)

    it("may be answered otherwise with on_error", function()
        policy([[
            sol.on("publish", "a", function() error "broken" end, { on_error = "allow" })
            sol.on("publish", "b", function() error "broken" end, { on_error = "deny" })
            sol.on("publish", "c", function() error "broken" end, { on_error = "drop" })
        ]], function(b)
            local w = b:client("w"):subscribe("#")
            local c = b:client("c", { version = 5 })
            c:publish("a", "x", { qos = 1 }):publish("b", "x", { qos = 1, rc = "refused" })
            c:publish("c", "x", { qos = 1 })
            w:expect_publish("a", "x"):expect_nothing()
        end)
    end)

    it("in every hook at once leaves the broker up", function()
        policy([[
            for _, event in ipairs { "connected", "disconnected", "subscribed", "unsubscribed", "published", "acked",
                "dropped", "expired", "will", "start", "stop", "reload", "unsubscribe" } do
                sol.on(event, function() error("broken " .. event) end)
            end
        ]], function(b)
            local c = b:client("c", { will = { topic = "w", payload = "x" } }):subscribe("#", 1)
            c:publish("t", "x", { qos = 1 }):expect_publish("t", "x"):ack()
            c:drop():reconnect():ping()
        end)
    end)

    it("undoes nothing of what other clients have", function()
        policy([[
            sol.on("publish", function(client, m) if m.payload == "bad" then m.topic = "changed" error "late" end end)
        ]], function(b)
            local w = b:client("w"):subscribe("#")
            local c = b:client("c", { version = 5 })
            for _ = 1, 3 do
                c:publish("t", "bad", { qos = 1, rc = "refused" }):publish("t", "good", { qos = 1 })
                w:expect_publish("t", "good")
            end
            w:expect_nothing()
        end)
    end)
end)

describe("the time budget", function()
    it("ends a loop within hook_budget, and not before it", function()
        policy([[
            hook_budget = 0.3
            sol.on("publish", "loop", function() while true do end end)
        ]], function(b)
            local c = b:client("c", { version = 5 })
            local since = proc.now()
            c:publish("loop", "x", { qos = 1, rc = "refused" })
            local took = proc.now() - since
            assert.is_true(took >= 0.2 and took < wait.scaled(1.5), ("took %.2f s"):format(took))
        end)
    end)

    it("leaves a busy but honest hook alone", function()
        policy([[
            hook_budget = 1
            sol.on("publish", "busy", function(_, m)
                local n = 0
                for i = 1, 1000000 do n = n + i end
                m.payload = tostring(n)
            end)
        ]], function(b)
            b:client("c"):subscribe("busy"):publish("busy", ""):expect_publish("busy", "500000500000")
        end)
    end)

    it("holds for timers", function()
        policy([[
            sol.after(0.01, function() while true do end end)
        ]], function(b)
            b:log_wait "sol%.lua:2"
            b:client("c"):ping()
        end)
    end)
end)

describe("the memory cap", function()
    it("lets a VM be used up and given back many times", function()
        policy([[
            vm_memory = 32 << 20
            sol.on("publish", "greedy", function()
                local t = {}
                for i = 1, 100000000 do t[i] = ("x"):rep(10000) .. i end
            end)
            sol.on("publish", "modest", function(_, m) m.payload = ("x"):rep(1000) end)
        ]], function(b)
            local c = b:client("c", { version = 5 }):subscribe("modest")
            for _ = 1, 10 do
                c:publish("greedy", "x", { qos = 1, rc = "refused" })
                c:publish("modest", ""):expect_publish("modest", ("x"):rep(1000))
            end
            if broker.is_lean() then assert.is_true(b:rss_kb() < 120000, b:rss_kb() .. " KiB") end
        end)
    end)

    it("does not outlive what it stopped: garbage is collected", function()
        policy([[
            vm_memory = 32 << 20
            hook_budget = 30
            local kept
            sol.on("publish", "keep", function() kept = ("x"):rep(8 << 20) end)
            sol.on("publish", "let_go", function() kept = nil end)
        ]], function(b)
            local c = b:client("c", { version = 5 })
            for _ = 1, 5 do c:publish("keep", "", { qos = 1 }):publish("let_go", "", { qos = 1 }) end
        end)
    end)
end)

describe("the sandbox", function()
    for _, row in ipairs {
        { "os.exit", "os.exit(1)" },
        { "os.execute", "os.execute('true')" },
        { "io.popen", "io.popen('true')" },
        { "debug.sethook", "debug.sethook()" },
        { "string.dump and load of bytecode", "load(string.dump(function() end), 'x', 'b')()" },
        { "a missing function", "sol.no_such_thing()" },
    } do
        it("does not let " .. row[1] .. " hurt the broker", function()
            policy(("sol.on('publish', 't', function() %s end)"):format(row[2]), function(b)
                local other = b:client("other")
                b:client("c", { version = 5 }):publish("t", "x", { qos = 1, wait = false }):await("PUBACK")
                other:ping()
            end)
        end)
    end

    it("reports a global that is no setting", function()
        policy([[sol.on("publish", "t", function() return undefined_thing.x end)]], function(b)
            b:client("c", { version = 5 }):publish("t", "x", { qos = 1, rc = "refused" })
            b:log_wait "sol%.lua:2.*undefined_thing"
        end)
    end)
end)
