-- SPDX-License-Identifier: BSD-2-Clause
--
-- Policy in Lua that waits: sol.sleep parks the client it works for and nobody
-- else; timers; what happens when the client goes, or the wait is too long.

local broker = require "support.broker"
local proc = require "support.proc"
local wait = require "support.wait"

local function policy(text, spec) broker.with_broker({ config = text }, spec) end

local NAP = wait.scaled(1)
local SLEEPER = ([[
    hook_timeout = 60
    sol.on("publish", "slow/#", function(client, message)
        sol.sleep(%g)
        message.payload = message.payload .. " slept"
    end)
]]):format(NAP)

describe("sol.sleep in a publish hook", function()
    it("parks its own client, while the messages of others flow", function()
        policy(SLEEPER, function(b)
            local watcher = b:client("w"):subscribe("#", 1)
            local slow, fast = b:client("slow"), b:client("fast")
            local since = proc.now()
            slow:publish("slow/1", "x", { qos = 1, wait = false })
            for i = 1, 200 do
                fast:publish("fast", tostring(i), { qos = 1 })
                watcher:expect_publish("fast", tostring(i)):ack()
            end
            assert.is_true(proc.now() - since < NAP, "others were kept waiting")
            watcher:expect_publish("slow/1", "x slept"):ack()
            assert.is_true(proc.now() - since >= NAP * 0.95)
            slow:await("PUBACK")
        end)
    end)

    it("keeps the order of its client", function()
        policy([[
            sol.on("publish", "t", function(_, m) if m.payload == "1" then sol.sleep(0.3) end end)
        ]], function(b)
            local watcher = b:client("w"):subscribe("t", 1)
            local c = b:client("c")
            for i = 1, 5 do c:publish("t", tostring(i), { qos = 1, id = i, wait = false }) end
            c:send { type = "PINGREQ" }
            for i = 1, 5 do watcher:expect_publish("t", tostring(i)):ack() end
            for i = 1, 5 do c:expect("PUBACK", { id = i }) end
            c:expect "PINGRESP"
        end)
    end)

    it("parks many clients at once, each for its own time", function()
        policy([[sol.on("publish", "slow", function() sol.sleep(0.5) end)]], function(b)
            local all, since = {}, proc.now()
            for i = 1, 100 do
                all[i] = b:client("c" .. i):publish("slow", "x", { qos = 1, wait = false })
            end
            for _, c in ipairs(all) do c:await "PUBACK" end
            local took = proc.now() - since
            assert.is_true(took >= 0.45 and took < wait.scaled(3), ("took %.2f s"):format(took))
        end)
    end)

    it("still delivers to the parked client", function()
        policy(SLEEPER, function(b)
            local slow = b:client("slow"):subscribe("news")
            local since = proc.now()
            slow:publish("slow/1", "x", { qos = 1, wait = false })
            b:client("p"):publish("news", "while you wait")
            slow:expect_publish("news", "while you wait")
            assert.is_true(proc.now() - since < NAP)
            slow:await "PUBACK"
        end)
    end)

    it("reads no more of a parked client: TCP pushes back", function()
        policy([[sol.on("publish", "slow", function() sol.sleep(2) end)]], function(b)
            local c = b:client("c"):publish("slow", "x")
            local before, sent = b:rss_kb(), 0
            local packet = "\x30\x81\x80\x04\x00\x01t" .. ("x"):rep(65534)
            local deadline = proc.now() + 1
            while proc.now() < deadline and sent < 100 << 20 do
                local n = c.sock:send(packet)
                if n then sent = sent + n else c.sock:wait("w", 0.05) end
            end
            assert.is_true(sent < 50 << 20, sent .. " bytes were taken")
            if broker.is_lean() then assert.is_true(b:rss_kb() - before < 20000) end
            b:client("other"):ping()
        end)
    end)

    it("is forgotten when its client goes away", function()
        policy([[
            sol.on("publish", "slow", function()
                local guard <close> = setmetatable({}, { __close = function() sol.log.info "guard closed" end })
                sol.log.info "asleep"
                sol.sleep(600)
                sol.log.info "slept to the end"
            end, { timeout = 600 })
        ]], function(b)
            local watcher = b:client("w"):subscribe("#")
            local c = b:client("c"):publish("slow", "x", { qos = 1, wait = false })
            b:log_wait "asleep"
            c:reset()
            b:log_wait "guard closed"
            watcher:expect_nothing()
            assert.is_nil(b:log():find "slept to the end")
        end)
    end)

    it("is forgotten when its client is taken over", function()
        policy([[
            sol.on("publish", "slow", function() sol.sleep(600) end, { timeout = 600 })
        ]], function(b)
            local c = b:client("c"):publish("slow", "x", { qos = 1, wait = false })
            b:client("c"):ping()
            c:expect_close()
        end)
    end)

    it("longer than hook_timeout is a denial", function()
        policy([[
            hook_timeout = 0.3
            sol.on("publish", "slow", function() sol.sleep(30) end)
        ]], function(b)
            local watcher = b:client("w"):subscribe("#")
            local c, since = b:client("c", { version = 5 }), proc.now()
            c:publish("slow", "x", { qos = 1, rc = "refused" })
            local took = proc.now() - since
            assert.is_true(took >= 0.25 and took < wait.scaled(3), ("took %.2f s"):format(took))
            c:publish("t", "x", { qos = 1 })
            watcher:expect_publish("t", "x"):expect_nothing()
            b:log_wait "sol%.lua:"
        end)
    end)

    it("does not keep the broker from stopping", function()
        policy([[
            hook_timeout = 60
            sol.on("publish", "slow", function() sol.sleep(50) end)
        ]], function(b)
            b:client("c"):publish("slow", "x", { qos = 1, wait = false })
            b:client("probe"):ping()
            local since = proc.now()
            b:stop()
            assert.is_true(proc.now() - since < wait.scaled(5))
        end)
    end)

    it("does not count against the running budget", function()
        policy([[
            hook_budget = 0.1
            sol.on("publish", "t", function(_, m)
                for _ = 1, 4 do sol.sleep(0.1) end
                m.payload = "done"
            end)
        ]], function(b)
            b:client("c"):subscribe("t"):publish("t", ""):expect_publish("t", "done")
        end)
    end)

    it("outlasts the keep-alive of its client without ending it", function()
        policy([[sol.on("publish", "slow", function() sol.sleep(2) end)]], function(b)
            local c = b:client("c", { keepalive = 1 }):publish("slow", "x", { qos = 1, wait = false })
            c:send({ type = "PINGREQ" })
            c:expect "PUBACK"
            c:expect "PINGRESP"
        end)
    end)
end)

describe("sol.sleep in the other hooks", function()
    for event, play in pairs {
        connect = function(b) b:client("c"):ping() end,
        authenticate = function(b) b:client("c", { username = "u", password = "p" }):ping() end,
        subscribe = function(b) b:client("c"):subscribe("t", 1) end,
        unsubscribe = function(b) b:client("c"):unsubscribe("t") end,
        authorize = function(b) b:client("c"):publish("t", "x", { qos = 1 }) end,
    } do
        it("waits in " .. event .. ", while others are served", function()
            policy(([[
                allow_anonymous = true
                sol.on("%s", function(client) if client.id == "c" then sol.sleep(0.4) return true end end)
            ]]):format(event), function(b)
                local other, since = b:client("other"), proc.now()
                play(b)
                assert.is_true(proc.now() - since >= 0.35)
                other:ping()
            end)
        end)
    end

    it("waits in deliver and keeps the order of the subscriber", function()
        policy([[
            workers = 1
            local go = false
            sol.on("publish", "go", function() go = true end)
            sol.on("deliver", function(client, m)
                while client.id == "c" and m.payload == "1" and not go do sol.sleep(0.01) end
            end, { timeout = 600 })
        ]], function(b)
            local c, other = b:client("c"):subscribe("t", 1), b:client("other"):subscribe("t", 1)
            local p = b:client("p")
            for i = 1, 4 do p:publish("t", tostring(i), { qos = 1 }) end
            for i = 1, 4 do other:expect_publish("t", tostring(i)):ack() end
            c:expect_nothing()
            p:publish("go", "")
            for i = 1, 4 do c:expect_publish("t", tostring(i)):ack() end
        end)
    end)

    it("is refused to a handler that was declared not to wait", function()
        policy([[
            sol.on("deliver", "t", function() sol.sleep(0.01) end, { waits = false, on_error = "allow" })
            sol.on("publish", "u", function() sol.sleep(0.01) end, { waits = false, priority = 2 })
            sol.on("publish", "v", function(_, m) m.payload = "waited not" end, { waits = false, priority = 2 })
            sol.on("publish", "v", function(_, m) sol.sleep(0.01) m.payload = m.payload .. ", waited" end)
        ]], function(b)
            local c = b:client("c", { version = 5 }):subscribe("#", 0)
            c:publish("t", "x", { qos = 0 }):expect_publish("t", "x")
            b:log_wait "cannot wait here"
            c:publish("u", "x", { qos = 1, wait = false })
            assert.equal(0x87, c:await("PUBACK").rc)
            c:publish("v", "x", { qos = 0 }):expect_publish("v", "waited not, waited")
        end)
    end)

    it("a CONNECT that comes with more packets is answered in order", function()
        policy([[sol.on("connect", function() sol.sleep(0.3) end)]], function(b)
            local c = b:client("c", { connack = false }):send({ type = "PINGREQ" })
            c:expect "CONNACK"
            c:expect "PINGRESP"
        end)
    end)

    it("a client that leaves while its CONNECT waits is forgotten", function()
        policy([[sol.on("connect", function(_, c) if c.client_id == "c" then sol.sleep(0.3) end end)]], function(b)
            local w = b:client("w"):subscribe("#")
            b:client("c", { connack = false, will = { topic = "will", payload = "x" } }):drop()
            b:client("probe"):ping()
            w:expect_nothing()
        end)
    end)
end)

describe("timers", function()
    it("sol.after runs once, sol.every again and again", function()
        policy([[
            local ticks = 0
            sol.after(0.1, function() sol.publish("after", "once") end)
            local timer
            timer = sol.every(0.1, function()
                ticks = ticks + 1
                sol.publish("every", tostring(ticks))
                if ticks == 3 then timer:cancel() end
            end)
        ]], function(b)
            local c, since = b:client("c"):subscribe("after"):subscribe("every"), proc.now()
            c:await("PUBLISH")
            wait.till("three ticks and one shot", function()
                c:ping()
                return c.inbox[#c.inbox] and c.inbox[#c.inbox].payload == "3"
            end)
            assert.is_true(proc.now() - since < wait.scaled(3))
        end)
    end)

    it("may sleep, and fail, without harm", function()
        policy([[
            sol.after(0.05, function() sol.sleep(0.05) sol.publish("t", "after a nap") end)
            sol.every(0.05, function() error "tick failed" end)
        ]], function(b)
            b:log_wait "tick failed.*tick failed"
            b:client("c"):ping()
        end)
    end)

    it("sol.spawn goes on by itself", function()
        policy([[
            sol.on("publish", "go", function()
                sol.spawn(function() sol.sleep(0.1) sol.publish("done", "later") end)
            end)
        ]], function(b)
            local c = b:client("c"):subscribe("done"):publish("go", "", { qos = 1 })
            c:expect_publish("done", "later")
        end)
    end)
end)
