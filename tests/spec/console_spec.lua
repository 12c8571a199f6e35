-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol console: Lua in a worker of a broker that runs.

local broker = require "support.broker"
local Door = require "support.door"
local wait = require "support.wait"

local with_broker = broker.with_broker

--- Run the console with these arguments: its standard output, its errors, its status.
local function console(b, ...)
    local args = { "console", ... }
    args[#args + 1] = b.dir .. "/sol.sock"
    local result = broker.sol(table.unpack(args))
    return result.stdout, result.stderr, result.status
end

local function eval(b, code)
    local out, err, status = console(b, "-e", code)
    assert.equal(0, status, err)
    return out
end

--- Ask through a door until the answer matches.
local function ask_until(door, code, pattern)
    local id = 1000
    return wait.till(code .. " to say " .. pattern, function()
        id = id + 1
        local _, text = door:ask(id, "eval", code):answer(id)
        return text:match(pattern)
    end)
end

describe("the console", function()
    it("shows values as Lua would write them", function()
        with_broker({ config = "max_queued = 77" }, function(b)
            for _, row in ipairs {
                { "1 + 1", "2" }, { "10 / 4", "2.5" }, { "'text'", "text" }, { "nil", "nil" }, { "", "" },
                { "local x = 5", "" }, { "max_queued", "77" }, { "nil, true", "nil\ntrue" },
                { "{ 1, 'two', { three = 3 } }", '{ 1, "two", { three = 3 } }' },
                { "{ ['a b'] = '\\n', [9] = false }", '{ [9] = false, ["a b"] = "\\n" }' },
                { "{ { id = 'x', n = 1 }, { id = 'y' } }", "id  n\nx   1\ny   -" },
                { "{ { id = 'bell\\a' } }", "id\nbell\\007" }, { "{}", "{}" },
                { "local t = {} t.t = t return t", "{ t = { t = { t = { t = {...} } } } }" },
                { "print('a', nil, 1) return 2", "a\tnil\t1\n2" },
            } do
                assert.equal(row[2] == "" and "" or row[2] .. "\n", eval(b, row[1]), row[1])
            end
        end)
    end)

    it("shows clients a row each, and one with its fields", function()
        local config = [[workers = 2 sol.on("connected", function(c) c.attributes.team = "red" end)]]
        with_broker({ config = config }, function(b)
            for _, id in ipairs { "ann", "bob", "eve" } do b:client(id, { version = 5, username = "u-" .. id }) end
            local rows = {}
            for line in eval(b, "clients()"):gmatch "[^\n]+" do rows[#rows + 1] = line end
            assert.equal(4, #rows)
            assert.truthy(rows[1]:find "^id +username +address +version +connected", rows[1])
            table.sort(rows)
            assert.truthy(rows[1]:find "^ann +u%-ann +127%.0%.0%.1:%d+ +5 +true", rows[1])
            assert.truthy(eval(b, 'clients { username = "u-bob" }'):find "^id[^\n]*\nbob[^\n]*\n$")
            local one = eval(b, 'client "eve"')
            assert.truthy(one:find '^client {\n.*id = "eve".*username = "u%-eve"', one)
            assert.truthy(one:find('attributes = client.attributes { team = "red" }', 1, true), one)
            assert.equal("nil\n", eval(b, 'client "nobody"'))
        end)
    end)

    it("reads a script and says by its status whether all went well", function()
        with_broker({ config = "" }, function(b)
            local argv = { broker.binary(), "console", b.dir .. "/sol.sock" }
            local script = "x = 4\nfunction double(n)\n  return 2 * n\nend\ndouble(x)\nprint 'end'"
            local good = broker.run(argv, { input = script })
            assert.same({ "8\nend\n", "", 0 }, { good.stdout, good.stderr, good.status })
            local bad = broker.run(argv, { input = "error 'boo'\n1 + 1\nif true then" })
            assert.equal(1, bad.status)
            assert.equal("2\n", bad.stdout)
            assert.truthy(bad.stderr:find "console:1: boo\nstack traceback:", bad.stderr)
            assert.truthy(bad.stderr:find "'end' expected near <eof>\n$", bad.stderr)
        end)
    end)

    it("runs in the worker that is named", function()
        with_broker({ config = "workers = 2 sol.every(3600, function() end)" }, function(b)
            assert.truthy(console(b, "-w", "0", "-e", "timers()"):find "sol%.every .*sol%.lua:2 .*3600")
            assert.equal("(none)\n", (console(b, "-w", "1", "-e", "timers()")))
            local _, err, status = console(b, "-w", "2", "-e", "1")
            assert.same({ "there is no such worker\n", 1 }, { err, status })
        end)
    end)

    it("waits, has its budget, and disturbs nobody", function()
        with_broker({ config = "" }, function(b)
            local c = b:client "c"
            assert.equal("done\n", eval(b, "sol.sleep(0.05) return 'done'"))
            for _, code in ipairs { "while true do end", "while true do pcall(error) end",
                "while true do print 'again' end" } do
                local door = Door.open(b):ask(1, "eval", code)
                local kind, text = door:answer(1)
                assert.equal("fail", kind)
                assert.truthy(text:find "ran past its budget of %d+ ms" or text:find "is not read", text)
                assert.equal("ok", (door:ask(2, "eval", "1"):answer(2)))
            end
            local greedy = "local t = {} while true do t[#t + 1] = ('x'):rep(1e6) .. #t end"
            local _, text = Door.open(b):ask(1, "eval", greedy):answer(1)
            assert.truthy(text:find "not enough memory" or text:find "budget", text)
            c:subscribe("t"):publish("t", "x"):expect_publish("t", "x")
        end)
    end)

    it("gives each connection variables of its own", function()
        with_broker({ config = "" }, function(b)
            local one, two = Door.open(b), Door.open(b)
            one:ask(1, "eval", "x = 1"):ask(2, "eval", "sol.sleep(3600)"):ask(3, "eval", "x")
            two:ask(1, "eval", "x = 2 string.own = 1"):ask(2, "eval", "x")
            assert.same({ "ok", "1", "" }, { one:answer(3) })
            assert.same({ "ok", "2", "" }, { two:answer(2) })
            assert.equal("fail", (Door.open(b):ask(1, "eval", "x"):answer(1)))
        end)
    end)

    it("cuts off what its asker no longer waits for", function()
        with_broker({ config = "" }, function(b)
            local c = b:client("c"):subscribe "over"
            local code = [[local _ <close> = setmetatable({}, { __close = function() sol.publish("over", "%s") end })
                sol.sleep(3600)]]
            local door = Door.open(b):ask(1, "eval", code:format "cancelled")
            ask_until(Door.open(b), "parked()", "sol%.sleep")
            door:send("1 cancel 0\n")
            assert.same({ "fail", "cancelled", "" }, { door:answer(1) })
            c:expect_publish("over", "cancelled")
            door:ask(2, "eval", code:format "gone")
            ask_until(Door.open(b), "parked()", "sol%.sleep")
            door:close()
            c:expect_publish("over", "gone")
            assert.truthy(eval(b, "parked()"):find "none")
            Door.open(b):ask(1, "eval", "sol.sleep(3600)") -- is there when the broker stops
            ask_until(Door.open(b), "parked()", "sol%.sleep")
        end)
    end)

    it("holds a bounded amount for a peer that does not read", function()
        with_broker({ config = "" }, function(b)
            local door = Door.open(b)
            door:ask(1, "eval", "for i = 1, 1e5 do print(('x'):rep(1000)) if i % 50 == 0 then sol.sleep(0) end end")
            ask_until(Door.open(b), "parked()", "none")
            local kind, text, said = door:answer(1)
            assert.equal("fail", kind)
            assert.truthy(text:find "what is printed here is not read", text)
            assert.is_true(#said < 8 * 1024 * 1024)
        end)
    end)

    it("says who waits, for what, since when", function()
        local config = [[workers = 1 hook_timeout = 3600
            sol.on("publish", "slow", function() sol.sleep(3600) end)
            local gate = sol.semaphore(1)
            sol.on("start", function() gate:acquire() end)
            sol.on("publish", "gate", function() gate:acquire() end)]]
        with_broker({ config = config }, function(b)
            local door = Door.open(b)
            b:client("sleepy"):publish("slow", "x", { qos = 1, wait = false })
            ask_until(door, "parked()", "publish .-sol%.lua:3 +sleepy +sol%.sleep +%S+sol%.lua:3")
            b:client("queuing"):publish("gate", "x", { qos = 1, wait = false })
            ask_until(door, "parked()", "publish .-sol%.lua:6 +queuing +acquire +%S+sol%.lua:6")
            assert.equal("2\n", eval(b, "#parked()"))
        end)
    end)

    it("counts what hooks cost", function()
        local config = [[
            workers = 1 sol.on("publish", "a", function() end)
            sol.on("publish", "b", function() local s = 0 for i = 1, 1e5 do s = s + i end end)]]
        with_broker({ config = config }, function(b)
            local c = b:client "c"
            for _ = 1, 5 do c:publish("a", "x", { qos = 1 }) end
            c:publish("b", "x", { qos = 1 })
            local function first(code) return eval(b, code):match "\n%S-sol%.lua:(%d)" end
            assert.equal("2", first 'top "calls"')
            assert.equal("3", first "top()")
            assert.truthy(eval(b, "hooks()"):find "publish +%S+sol%.lua:2 +0 +5 ")
        end)
    end)

    it("names what the loop runs", function()
        local config = "workers = 1 sol.every(3600, function() end) sol.on('publish', function() end)"
        with_broker({ config = config }, function(b)
            b:client "c"
            local before = eval(b, "closures()")
            for _, pattern in ipairs { " hook +%S+sol%.lua:2", " timer +sol%.every %S+sol%.lua:2 +3%d%d%d",
                " watch +accept ", " watch +connection " } do
                assert.truthy(before:find(pattern), pattern .. " in " .. before)
            end
            local uuid = before:match "\n(%x+%-%x+%-%x+%-%x+%-%x+)[^\n]*connection"
            assert.equal(uuid, eval(b, 'closures "connection"'):match "\n(%S+)[^\n]*\n$")
        end)
    end)

    it("reloads, and lives on in the new policy", function()
        with_broker({ config = "max_queued = 1" }, function(b)
            local door = Door.open(b)
            door:ask(1, "eval", "x = 1 return max_queued")
            assert.same({ "ok", "1", "" }, { door:answer(1) })
            b:configure "max_queued = 2"
            door:ask(2, "eval", "local was = max_queued return reload(), was")
            assert.same({ "ok", "policy generation 2 is in place\n1", "" }, { door:answer(2) })
            assert.same({ "ok", "2", "" }, { door:ask(3, "eval", "max_queued"):answer(3) })
            b:configure "max_queue = 2"
            local kind, text = door:ask(4, "eval", "reload()"):answer(4)
            assert.equal("ok", kind)
            assert.truthy(text:find "^nil\n%S+sol%.lua:2: unknown setting", text)
        end)
    end)

    it("ends what still waits when the old policy has to go", function()
        with_broker({ config = "reload_timeout = 0.05" }, function(b)
            local door = Door.open(b):ask(1, "eval", "sol.sleep(3600)")
            ask_until(Door.open(b), "parked()", "sol%.sleep")
            assert.equal("policy generation 2 is in place\n", eval(b, "reload()"))
            local why = "its policy was replaced, and it went on for reload_timeout"
            assert.same({ "fail", why, "" }, { door:answer(1) })
        end)
    end)

    it("completes names", function()
        with_broker({ config = "" }, function(b)
            local door, id = Door.open(b), 0
            local function complete(line)
                id = id + 1
                return select(2, door:ask(id, "complete", line):answer(id))
            end
            assert.equal("3\nclient\nclients", complete "cli")
            assert.equal("2\nsol", complete "return so")
            assert.equal("3\nwhile", complete "f() whi")
            assert.equal("2\ndecode", complete "sol.json.de")
            assert.equal("0", complete "nothing.x")
            assert.equal("0", complete "f().x")
            assert.equal("0", complete "sol.nothing.x")
            door:ask(99, "eval", "word = 'x' t = { one = 1, [2] = 3 }"):answer(99)
            assert.equal("2\nupper", complete "word:up")
            assert.equal("0\none", complete "t.")
            b:client "c"
            door:ask(98, "eval", 'c = client "c"'):answer(98)
            assert.equal("3\nconnected\nconnected_at", complete "c.con")
            assert.equal("4\ndisconnect", complete "c:disc")
        end)
    end)

    -- spec(terminal, type_in): the console on a terminal; type_in types keys and waits for what is to
    -- be seen then.
    local function on_terminal(b, spec)
        -- exec: a shell beside it would be interrupted with it.
        local command = ("exec %s console %s/sol.sock"):format(broker.binary(), b.dir)
        local terminal = broker.spawn(b.dir, { "/usr/bin/env", "LC_ALL=C.UTF-8", "TERM=xterm",
            "XDG_STATE_HOME=" .. b.dir, "script", "-qec", command, "/dev/null" })
        local seen = 1
        local function type_in(keys, pattern)
            terminal:write(keys)
            wait.till("the terminal to show " .. pattern, function()
                local _, last = broker.read_file(b.dir .. "/out"):find(pattern, seen)
                seen = last and last + 1 or seen
                return last
            end)
        end
        type_in("", "sol> ")
        spec(terminal, type_in)
        terminal:write "\4"
        assert.same({ "exit", 0 }, { terminal:wait(wait.scaled()) })
    end

    it("edits lines on a terminal, completes them and remembers them", function()
        with_broker({ config = "" }, function(b)
            on_terminal(b, function(_, type_in)
                type_in("client\t", "client  clients")
                type_in("s { connected = fal\t }\r", "%(none%).-sol> ")
                type_in("function twice(n)\r", "%.%.%.> ")
                type_in("return 2 * n end\r", "sol> ")
                type_in("twice(21)\r", "42.-sol> ")
                type_in("sol.sleep(3600)\r", "sleep%(3600%)")
                ask_until(Door.open(b), "parked()", "sol%.sleep")
                type_in("\3", "cancelled.-sol> ")
                type_in("not to be run\3", "sol> ")
                type_in('"\\27[31m"\r', "\\027%[31m.-sol> ")
                type_in('print "<\\u{9b}31m\\u{e9}>"\r', "<\\194\\15531m\u{e9}>.-sol> ")
                type_in('print "<\\u{202e}\\xff\\u{20ac}>"\r', "<\\226\\128\\174\\255\u{20ac}>.-sol> ")
                type_in('"\u{20ac}" .. "!"\r', '\u{20ac}!.-sol> ')
                type_in(("\27[A"):rep(6) .. "\r", "42.-sol> ")
            end)
            local history = broker.read_file(b.dir .. "/sol_history")
            assert.truthy(history:find("twice(21)", 1, true), history)
            assert.falsy(history:find("not to be run", 1, true))
        end)
    end)

    it("hears an interrupt that comes while it is busy with what was typed", function()
        with_broker({ config = "" }, function(b)
            on_terminal(b, function(terminal, type_in)
                for _ = 1, 5 do
                    terminal:write(("x"):rep(1000))
                    broker.run { "/usr/bin/pkill", "-INT", "-P", tostring(terminal:pid()) }
                    type_in("", "sol> ")
                end
                type_in("\3", "sol> ")
            end)
        end)
    end)
end)
