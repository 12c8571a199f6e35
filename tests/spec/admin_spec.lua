-- SPDX-License-Identifier: BSD-2-Clause
--
-- The admin socket: who gets it, what it says, and how it bears bad company.

local broker = require "support.broker"
local Door = require "support.door"
local proc = require "support.proc"
local wait = require "support.wait"

local with_broker = broker.with_broker

describe("the admin socket", function()
    it("answers its owner and says what is running", function()
        with_broker({ config = "workers = 2" }, function(b)
            b:client "c"
            local door = Door.open(b)
            door:ask(7, "ping", "hello"):ask(8, "status")
            assert.same({ "ok", "hello", "" }, { door:answer(7) })
            local kind, text = door:answer(8)
            assert.equal("ok", kind)
            assert.truthy(text:find('"workers":2,"generation":1,"connected":1', 1, true), text)
            assert.truthy(text:find(('"pid":%d'):format(b.pid), 1, true), text)
            local mode = proc.stat(b.dir .. "/sol.sock").mode
            assert.equal(6 * 64, mode)
        end)
    end)

    it("is taken over from a dead broker and goes with its own", function()
        with_broker({ config = "" }, function(b)
            b:kill9()
            assert.truthy(proc.stat(b.dir .. "/sol.sock"))
            b:start()
            Door.open(b):ask(1, "ping"):answer(1)
            b:stop()
            assert.is_nil(proc.stat(b.dir .. "/sol.sock"))
        end)
    end)

    it("is not taken from a living broker", function()
        local config = [[admin_socket = "$DIR/own.sock"]]
        with_broker({ config = config }, function(b)
            local other = ([[listen "mqtt://127.0.0.1:%d"]]):format(b.port2)
            b:write("other.lua", other .. "\n" .. b:expand(config))
            local result = broker.sol("-c", b.dir .. "/other.lua")
            assert.equal(1, result.status)
            assert.truthy(result.stderr:find "own%.sock: another process is listening there", result.stderr)
            assert.equal("ok", (Door.open(b, b.dir .. "/own.sock"):ask(1, "ping"):answer(1)))
            assert.is_nil(proc.stat(b.dir .. "/sol.sock"))
        end)
    end)

    it("is done without where its usual place is another's", function()
        with_broker({ config = "" }, function(b)
            b:write("other.lua", ([[listen "mqtt://127.0.0.1:%d"]]):format(b.port2))
            local args = { stdout = b.dir .. "/second", stderr = b.dir .. "/second", table.unpack(b.argv) }
            args[#args] = b.dir .. "/other.lua"
            local second = assert(proc.spawn(args))
            wait.till("the second broker to run", function()
                return broker.read_file(b.dir .. "/second"):find "is running"
            end)
            assert.truthy(broker.read_file(b.dir .. "/second"):find "another broker's")
            second:kill(15)
            second:wait(wait.scaled())
            assert.equal("ok", (Door.open(b):ask(1, "ping"):answer(1)))
        end)
    end)

    it("may be switched off", function()
        with_broker({ config = "admin_socket = false" }, function(b)
            assert.is_nil(proc.stat(b.dir .. "/sol.sock"))
        end)
    end)

    it("bears garbage, halves and floods", function()
        with_broker({ config = "" }, function(b)
            for _, bytes in ipairs { "\n", "nonsense\n", "1 ping\n", "1 ping x\n", "1 ping 99999999\n", "\0\1\2\n",
                "-1 ping 0\n", ("x"):rep(512), "1 " .. ("y "):rep(255) } do
                local door = Door.open(b)
                door:send(bytes)
                assert.same({ "fail", "expected: ID VERB [WORD ...] LENGTH, a line feed, and LENGTH bytes", "" },
                    { door:answer(0) }, bytes)
                assert.is_nil(door:phrase())
            end
            Door.open(b):send("1 ping 100\nhalf"):close()
            local half = Door.open(b):send "1 ping 5\nhal"
            local slow = Door.open(b)
            local big = ("z"):rep(500000)
            for i = 1, 3 do slow:ask(i, "ping", big) end -- and reads nothing
            local door = Door.open(b)
            door:ask(1, "no_such_thing"):ask(2, "ping", "still here")
            assert.same({ "fail", "unknown verb", "" }, { door:answer(1) })
            assert.same({ "ok", "still here", "" }, { door:answer(2) })
            half:send "f."
            assert.same({ "ok", "half.", "" }, { half:answer(1) })
            for i = 1, 3 do assert.same({ "ok", big, "" }, { slow:answer(i) }) end
        end)
    end)

    it("has room for a bounded number of peers", function()
        with_broker({ config = "" }, function(b)
            local doors = {}
            for i = 1, 32 do doors[i] = Door.open(b):ask(1, "ping") end
            for i = 1, 32 do assert.equal("ok", (doors[i]:answer(1))) end
            assert.same({ "fail", "too many connections", "" }, { Door.open(b):answer(0) })
            doors[1]:close()
            wait.till("a place", function() return Door.open(b):ask(1, "ping"):answer(1) == "ok" end)
        end)
    end)

    it("outlives a storm of operators", function()
        with_broker({ config = "workers = 2 reload_timeout = 0.01" }, function(b)
            local client = b:client("c"):subscribe "t"
            local before = b:fds()
            local questions = { { "eval", "sol.sleep(3600)" }, { "eval", "sol.sleep(0)" }, { "eval", "reload()" },
                { "eval", "for _ = 1, 100 do print(('x'):rep(5000)) end" }, { "eval", "clients()" }, { "reload" },
                { "eval", "x = sol.clients() return #closures()" }, { "complete", "sol." }, { "status" } }
            local random, doors, id = math.random, {}, 0
            math.randomseed(20260131)
            for i = 1, 300 do
                local n = random(8)
                doors[n] = doors[n] or Door.open(b)
                id = id + 1
                local question = questions[i % 29 == 0 and 6 or i % 31 == 0 and 3 or random(#questions)]
                if question[2] == "reload()" and i % 31 > 0 or question[1] == "reload" and i % 29 > 0 then
                    question = questions[1]
                end
                doors[n]:ask(id, question[1], question[2], "worker=" .. random(0, 1))
                if random(4) == 1 then doors[n]:send((id - random(0, 2)) .. " cancel 0\n") end
                if random(6) == 1 then
                    doors[n]:close()
                    doors[n] = nil
                end
            end
            for _, door in pairs(doors) do door:close() end
            local door -- answered when those before it have been accepted
            wait.till("all to have come and gone", function()
                door = Door.open(b):ask(1, "ping")
                return door:answer(1) == "ok" and b:fds() <= before + 1 or door:close()
            end)
            for worker = 0, 1 do
                door:ask(worker, "eval", "parked()", "worker=" .. worker)
                assert.same({ "ok", "(none)", "" }, { door:answer(worker) })
            end
            client:publish("t", "x"):expect_publish("t", "x")
        end)
    end)
end)
