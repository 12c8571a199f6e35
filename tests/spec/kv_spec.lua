-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol.kv: what a policy keeps beyond the broker's end.

local broker = require "support.broker"
local eval = require "support.eval"

local STORE = 'store = "$DIR/sol.db"'

-- Runs one chunk in a new broker's life.
local function once(b, code) return eval.ask(eval.client(b, "eval"), code) end

-- A policy that counts what comes on `count` before it is acknowledged, and answers `total`.
local COUNTS = STORE .. [[

    sol.on("publish", "count", function() sol.kv:incr("n", 1, 0) end)
    sol.on("publish", "total", function() sol.publish("answer", tostring(sol.kv:get "n")) end)
]]

describe("sol.kv", function()
    it("sets, adds, replaces, deletes, counts", function()
        eval.with({ config = STORE }, function(run)
            assert.equal("true v", run "return sol.kv:set('k', 'v'), sol.kv:get 'k'")
            assert.equal("nil exists", run "return sol.kv:add('k', 1)")
            assert.equal("true", run "return sol.kv:add('new', 1)")
            assert.equal("nil not found", run "return sol.kv:replace('none', 1)")
            assert.equal("true false boolean", run [[
                return sol.kv:replace('k', false), sol.kv:get 'k', type(sol.kv:get 'k') ]])
            assert.equal("true false nil", run "return sol.kv:delete 'k', sol.kv:delete 'k', sol.kv:get 'k'")
            assert.equal("true nil", run "return sol.kv:set('new', nil), sol.kv:get 'new'")
            assert.equal("nil not found", run "return sol.kv:incr('n', 1)")
            assert.equal("5 7.5", run "return sol.kv:incr('n', 1, 4), sol.kv:incr('n', 2.5)")
            assert.equal("0.0 nil not found", run "return sol.kv:ttl 'n', sol.kv:expire('none', 1)")
            assert.equal("true true", run [[
                local ok = sol.kv:expire("n", 1000)
                return ok, sol.kv:ttl "n" > 900 and sol.kv:ttl "n" <= 1000 ]])
            assert.equal("n", run "return table.concat(sol.kv:get_keys(), ',')")
            assert.equal("16777216 true", run "return sol.kv:capacity(), sol.kv:free_space() < 16777216")
            assert.matches("^error: .*1 to 65535 bytes", run "sol.kv:set('', 1)")
            assert.matches("^error: .*string, number or boolean", run "sol.kv:set('k', {})")
            assert.matches("^error: .*sol.kv has no field \"sett\"; did you mean \"set\"%?", run "sol.kv:sett('k', 1)")
        end)
    end)

    it("is there after a stop and after a kill, types and times included", function()
        broker.with_broker({ config = eval.policy(STORE) }, function(b)
            once(b, [[
                sol.kv:set("text", "a\0b") sol.kv:set("int", -3) sol.kv:set("float", 1.0)
                sol.kv:set("no", false) sol.kv:set("soon", 1, 3600) sol.kv:set("gone", 1) sol.kv:delete "gone" ]])
            for _, way in ipairs { "stop", "kill9" } do
                b[way](b)
                b:start()
                assert.equal("4 -3 integer 1.0 float false true nil", once(b, [[
                    local kv = sol.kv
                    return #kv:get "text" + 1, kv:get "int", math.type(kv:get "int"), kv:get "float",
                        math.type(kv:get "float"), kv:get "no", kv:ttl "soon" > 3000, kv:get "gone" ]]))
            end
        end)
    end)

    it("has on the disk what was acknowledged", function()
        broker.with_broker({ config = COUNTS }, function(b)
            local acknowledged = 0
            for _ = 1, 5 do
                local c = b:client "counter"
                for _ = 1, 20 do c:publish("count", "", { qos = 1 }) end
                acknowledged = acknowledged + 20
                b:kill9():start()
                local reader = b:client("reader"):subscribe("answer", 0)
                local total = tonumber(reader:publish("total", ""):expect("PUBLISH", { topic = "answer" }).payload)
                assert.equal(acknowledged, total)
            end
        end)
    end)

    it("is one for all workers", function()
        broker.with_broker({ config = COUNTS .. "workers = 4" }, function(b)
            local clients = {}
            for i = 1, 8 do clients[i] = b:client("c" .. i) end
            for _ = 1, 25 do
                for _, c in ipairs(clients) do c:publish("count", "", { qos = 1 }) end
            end
            local reader = b:client("reader"):subscribe("answer", 0)
            assert.equal("200", reader:publish("total", ""):expect("PUBLISH", { topic = "answer" }).payload)
        end)
    end)

    it("stays through a reload; what is set at start only says so", function()
        broker.with_broker({ config = eval.policy(STORE) }, function(b)
            once(b, "sol.kv:set('k', 'kept')")
            b:configure(eval.policy(STORE:gsub("sol.db", "other.db") .. ' durability = "async" kv_size = 20000'))
            b:signal "HUP"
            b:log_wait "generation 2"
            for _, name in ipairs { "store", "durability", "kv_size" } do
                b:log_wait("a change of `" .. name .. "` takes effect at the next start")
            end
            assert.equal("kept", once(b, "return sol.kv:get 'k'"))
        end)
    end)

    it("is memory alone without a store", function()
        eval.with({ config = "" }, function(run, b)
            assert.equal("true 1", run "return sol.kv:set('k', 1), sol.kv:get 'k'")
            b:stop()
            b:start()
            assert.equal("nil", once(b, "return sol.kv:get 'k'"))
        end)
    end)

    it("is not there while a policy is loaded, and changes nothing where it cannot wait", function()
        broker.refuses("sol.kv:get 'k'", "sol.kv")
        eval.with({ config = STORE }, function(run)
            assert.equal("false nil", run [[
                local ok, why = pcall(table.sort, { 1, 2 }, function(x, y) sol.kv:set("k", 1) return x < y end)
                assert(why:find "cannot wait")
                return ok, sol.kv:get "k" ]])
        end)
    end)

    it("waits for nobody with durability = \"async\", and in a stop handler", function()
        local policy = STORE .. [[

            sol.on("stop", function() sol.kv:set("stopped", true) end)
            sol.on("start", function() sol.log("stopped: %s", tostring(sol.kv:get "stopped")) end)
        ]]
        broker.with_broker({ config = policy }, function(b)
            b:log_wait "stopped: nil"
            b:stop()
            b:start()
            b:log_wait "stopped: true"
        end)
        eval.with({ config = STORE .. ' durability = "async"' }, function(run, b)
            run "table.sort({ 2, 1 }, function(x, y) sol.kv:set('k', 1) return x < y end)"
            b:stop()
            b:start()
            assert.equal("1", once(b, "return sol.kv:get 'k'"))
        end)
    end)

    it("has its bounds, and forgets what is over before it refuses", function()
        eval.with({ config = STORE .. " kv_size = 20000" }, function(run, b)
            assert.equal("true nil no memory true", run [[
                local ok = sol.kv:set("big", ("x"):rep(15000))
                local more, why = sol.kv:set("more", ("x"):rep(10000))
                return ok, more, why, sol.kv:get "big" ~= nil ]])
            assert.equal("nil no memory 15000", run [[
                local ok, why = sol.kv:set("big", ("x"):rep(30000))
                return ok, why, #sol.kv:get "big" ]])
            run "sol.kv:expire('big', 0.001) sol.sleep(0.01)"
            assert.equal("true", run "return sol.kv:set('more', ('x'):rep(10000))")
            b:stop()
            b:start()
            assert.equal("more", once(b, "return table.concat(sol.kv:get_keys(), ',')"))
        end)
    end)

    it("gives its waiting up when the client goes or the time is up, but not the change", function()
        -- The file may not grow: the disk is full.
        local config = STORE .. [[

            sol.on("publish", "full", function() sol.kv:set("k", ("x"):rep(300000)) end, { timeout = 0.2 })
        ]]
        broker.with_broker({ config = eval.policy(config) }, function(b)
            local function limit(bytes)
                local fsize = "--fsize=" .. bytes .. ":unlimited"
                assert.equal(0, broker.run({ "prlimit", "--pid", tostring(b.pid), fsize }).status)
            end
            limit(100000)
            local c = b:client("c", { version = 5 })
            c:send { type = "PUBLISH", topic = "full", payload = "", qos = 1, id = 1 }
            b:log_wait "nothing more is safe until it can be written again"
            b:log_wait "waited longer than 200 ms"
            limit "unlimited"
            b:log_wait "sol.db can be written again"
            assert.equal("300000", once(b, "return #sol.kv:get 'k'"))
        end)
    end)
end)

describe("a store that cannot be used", function()
    it("ends the start with one clear error", function()
        local rows = {
            { 'store = "no/such/folder/sol.db"', "no/such/folder/sol.db cannot be used: unable to open database file" },
            { 'store = "sol.lua"', "sol.lua cannot be used: file is not a database" },
        }
        for _, row in ipairs(rows) do
            broker.with_dir(function(dir)
                local listen = ('\nlisten "mqtt://127.0.0.1:%d"'):format(broker.free_port())
                broker.write_file(dir .. "/sol.lua", row[1] .. listen)
                local result = broker.sol("run", "-c", dir .. "/sol.lua")
                assert.equal(1, result.status)
                assert.truthy(result.stderr:find(row[2], 1, true), result.stderr)
            end)
        end
    end)

    it("is not shared by two brokers", function()
        broker.with_broker({ config = STORE }, function(b)
            broker.write_file(b.dir .. "/second.lua",
                ('store = "sol.db" admin_socket = false listen "mqtt://127.0.0.1:%d"'):format(b.port2))
            local result = broker.sol("run", "-c", b.dir .. "/second.lua")
            assert.equal(1, result.status)
            assert.matches("sol.db cannot be used: it is in use by another process", result.stderr)
        end)
    end)

    it("is named by settings that are wrong", function()
        for setting, says in pairs {
            ["store = 5"] = "store: expected the path of a file or false, got 5",
            ["store = ''"] = "store: expected the path of a file or false",
            ["durability = 'asink'"] = 'durability: expected "async" or "sync", got "asink"; did you mean "async"?',
            ["kv_size = 5"] = "kv_size: expected bytes from 16384",
        } do
            broker.refuses(setting, says)
        end
    end)
end)
