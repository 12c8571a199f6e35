-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol.password, sol.log and the other tools as a policy meets them in the broker.

local broker = require "support.broker"
local with_broker = broker.with_broker

-- A client that says what the policy answers to a topic.
local function asks(b, topic, payload, seconds)
    local c = b.asker or b:client("asker"):subscribe("answer", 0)
    b.asker = c
    return c:publish(topic, payload or ""):expect("PUBLISH", { topic = "answer" }, seconds).payload
end

local ANSWER = [[
    local function answer(...)
        local parts = table.pack(...)
        for i = 1, parts.n do parts[i] = tostring(parts[i]) end
        sol.publish("answer", table.concat(parts, " "))
    end
]]

describe("sol.password", function()
    local POLICY = ANSWER .. [[
        sol.on("publish", "hash", function(_, m) answer(sol.password.hash(m.payload, { ops = 1, memory = 8192 })) end)
        sol.on("publish", "default", function(_, m) answer(sol.password.hash(m.payload)) end)
        sol.on("publish", "verify/#", function(_, m)
            answer(sol.password.verify(m.payload, (m.topic:match "/(.*)":gsub("!", "+"))))
        end)
        sol.on("publish", "kind/#", function(_, m) answer(sol.password.kind(m.topic:match "/(.*)")) end)
        sol.on("publish", "raises/#", function(_, m)
            answer(select(2, pcall(load("return sol.password." .. m.payload, "=x", "t", { sol = sol }))))
        end)
    ]]

    it("hashes and verifies", function()
        with_broker({ config = POLICY }, function(b)
            local hash = asks(b, "hash", "s\0crét")
            assert.matches("^%$argon2id%$v=19%$m=8,t=1,p=1%$", hash)
            local topic = "verify/" .. hash:gsub("%+", "!")
            assert.equal("true", asks(b, topic, "s\0crét"))
            assert.equal("false", asks(b, topic, "s\0cret"))
            assert.equal("argon2id", asks(b, "kind/" .. hash:gsub("%+", "x")))
            assert.matches("^%$argon2id%$v=19%$m=65536,t=2,p=1%$", asks(b, "default", "x"))
        end)
    end)

    it("says what is no hash, and what would cost too much", function()
        with_broker({ config = POLICY }, function(b)
            assert.equal("nil not a password hash of a known form", asks(b, "verify/plain", "x"))
            assert.equal("nil not a password hash of a known form", asks(b, "kind/$9$x"))
            assert.equal("nil the hash asks for too much time or memory", asks(b, "verify/$argon2id$v=19"
                .. "$m=4194304,t=9,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"))
        end)
    end)

    it("raises for what the caller did wrong", function()
        with_broker({ config = POLICY }, function(b)
            assert.matches("ops must be between 1 and 64", asks(b, "raises/1", "hash('x', { ops = 0 })"))
            assert.matches("memory must be between", asks(b, "raises/2", "hash('x', { memory = 1 << 40 })"))
            assert.matches("memory must be between", asks(b, "raises/3", "hash('x', { memory = 'much' })"))
            assert.matches("bad argument #2", asks(b, "raises/4", "verify('x')"))
            assert.matches("bad argument #1", asks(b, "raises/5", "kind({})"))
            assert.matches("longer than 65535 bytes", asks(b, "raises/6", "hash(('x'):rep(65536))"))
        end)
    end)

    it("cannot be waited for while the policy is loaded", function()
        broker.refuses('sol.password.hash("x")',
            "sol.lua:1: sol.password.hash cannot be used while the policy is loaded")
    end)

    it("parks its own client only", function()
        with_broker({ config = POLICY }, function(b)
            local slow, quick = b:client("slow"), b:client("quick"):subscribe("t", 0)
            slow:publish("default", "x"):publish("t", "after the hash")
            for i = 1, 20 do
                quick:publish("t", "quick " .. i):expect_publish("t", "quick " .. i)
            end
            quick:expect_publish("t", "after the hash")
        end)
    end)

    it("bounds what is under way, and goes on afterwards", function()
        with_broker({ config = ANSWER .. [[
            hook_budget = 30
            sol.on("publish", "flood", function()
                local done, refused = 0, 0
                for _ = 1, 1100 do
                    sol.spawn(function()
                        local hash, err = sol.password.hash("x", { ops = 1, memory = 8192 })
                        if hash then done = done + 1 else refused = refused + 1 end
                        if err then assert(err == "too many passwords under way", err) end
                        if done + refused == 1100 then answer(done, refused) end
                    end)
                end
            end)
        ]] }, function(b)
            for _ = 1, 2 do
                local done, refused = asks(b, "flood", "", 20):match "^(%d+) (%d+)$"
                assert.equal(1100, done + refused)
                assert.is_true(tonumber(done) >= 1024)
            end
        end)
    end)

    it("is forgotten with its client, its hook, its policy and the broker", function()
        with_broker({ config = POLICY .. "hook_timeout = 0.01" }, function(b)
            for round = 1, 3 do
                for i = 1, 10 do
                    local c = b:client(("c%d-%d"):format(round, i)):publish("default", "x")
                    if i % 2 == 0 then c:drop() end
                end
                b:signal "HUP"
                b:log_wait(("(generation %d is in place)"):format(round + 1))
            end
            b:client("last"):publish("default", "x"):publish("default", "y")
        end)
    end)
end)

describe("sol.log", function()
    it("writes at every level, in the plugin's name", function()
        with_broker({ config = [[
            log_level = "debug"
            sol.on("start", function()
                sol.log("plain") sol.log.debug("d") sol.log.warn("w") sol.log.error("e")
            end)
            plugin "./loud"
        ]], files = { ["loud/init.lua"] = [[
            local sol = require "sol"
            return { setup = function() sol.log.info("%s has %d", "it", 7) end }
        ]] } }, function(b)
            b:log_wait "(error policy   e\n)"
            for _, line in ipairs { "info  policy   plain", "debug policy   d", "warn  policy   w",
                "info  loud     it has 7" } do
                assert.truthy(b:log():find(line .. "\n", 1, true), line)
            end
        end)
    end)

    it("writes one argument as it is, whatever it is", function()
        with_broker({ config = [[
            sol.log.info("100% %s of it") sol.log.info(nil) sol.log.info(1.5) sol.log.info(true)
            sol.log.info(setmetatable({}, { __tostring = function() return "a table" end }))
            sol.log.info("zero\0inside\nline") sol.log.info("")
            sol.log.info(("x"):rep(100000))
        ]] }, function(b)
            local log = b:log()
            for _, text in ipairs { "100% %s of it", "nil", "1.5", "true", "a table", "zero␀inside\\nline", "" } do
                assert.truthy(log:find("policy   " .. text .. "\n", 1, true), text)
            end
            assert.matches("policy   x+%.%.%.\n", log)
        end)
    end)

    it("writes a table of fields behind the text, in the order of their names", function()
        with_broker({ config = [[
            sol.log.info("told", { client = "c 1", bytes = 12, ok = true, quote = 'say "no"', none = "", eq = "a=b" })
            sol.log("%d%%", 7, { what = "done" })
            sol.log.warn("no fields", {})
            sol.log.info("%s", setmetatable({}, { __tostring = function() return "no field" end }))
            sol.log(select(2, pcall(sol.log.info, "list", { "first" })))
        ]] }, function(b)
            local log = b:log()
            -- the log itself shows a backslash as two
            for _, text in ipairs { [[told bytes=12 client="c 1" eq="a=b" none="" ok=true quote="say \\"no\\""]],
                "7% what=done", "no fields", "no field", "sol.log: the name of a field is a number, not a string" } do
                assert.truthy(log:find("policy   " .. text .. "\n", 1, true), text)
            end
        end)
    end)

    it("raises for a format that does not fit", function()
        broker.with_dir(function(dir)
            for _, call in ipairs { "sol.log.info()", "sol.log()", "sol.log.info('%d', 'x')", "sol.log('%d %d', 1)" } do
                broker.write_file(dir .. "/sol.lua", call)
                assert.not_equal(0, broker.sol("check", "-c", dir .. "/sol.lua").status, call)
            end
        end)
    end)
end)

describe("sol.uuid", function()
    it("gives another one each time", function()
        with_broker({ config = ANSWER .. [[sol.on("publish", "uuid", function() answer(sol.uuid()) end)]] }, function(b)
            local one, two = asks(b, "uuid"), asks(b, "uuid")
            for _, uuid in ipairs { one, two } do
                assert.matches("^%x%x%x%x%x%x%x%x%-%x%x%x%x%-4%x%x%x%-[89ab]%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$", uuid)
            end
            assert.not_equal(one, two)
        end)
    end)
end)
