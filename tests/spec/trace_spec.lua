-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol trace: the records of live traffic, as they come, for whoever asks and nobody else.

local broker = require "support.broker"
local Door = require "support.door"
local wait = require "support.wait"

local with_broker = broker.with_broker

local POLICY = [[
workers = 1
sol.on("publish", "#", function(_, message)
    if message.payload == "wait" then sol.sleep(0.01) end
    message.qos = 0
end)
sol.on("connected", function() end)
]]

local function has(text, part) assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text)) end

-- The body of a question to the admin socket.
local function inquiry(fields)
    local body = "action 5\ntrace\n"
    for name, value in pairs(fields) do body = body .. ("%s %d\n%s\n"):format(name, #value, value) end
    return body
end

-- A traced broker: `next_record()` gives what was said next.
local function traced(b, fields, words)
    local door = Door.open(b)
    door:ask(1, "trace", inquiry(fields), words):ask(2, "ping"):answer(2) -- by then it watches
    return function()
        local phrase = door:phrase()
        assert.equal("out", phrase.kind)
        return phrase.body
    end, door
end

describe("a trace", function()
    it("tells what becomes of live traffic", function()
        with_broker({ config = POLICY }, function(b)
            local next_record = traced(b, {})
            local c = b:client "c"
            assert.matches("^connected by c\n  .*sol%.lua:%d+ priority 0: told, ", next_record())
            c:publish("a", "wait", { qos = 1 })
            local text = next_record()
            has(text, "publish a by c\n")
            has(text, "      qos: 1 -> 0\n")
            assert.matches("waited [%d.]+ ms in sol%.sleep %(", text)
        end)
    end)

    it("keeps to the client and the topics asked for", function()
        with_broker({ config = POLICY }, function(b)
            local one, two = b:client "one", b:client "two"
            local next_record = traced(b, { client = "two", topic = "a/+" })
            one:publish("a/1", "x", { qos = 1 })
            two:publish("b/1", "x", { qos = 1 })
            two:publish("a/2", "x", { qos = 1 })
            has(next_record(), "publish a/2 by two\n")
        end)
    end)

    it("tells what grants decide, though no handler is asked", function()
        with_broker({ config = [[
            workers = 1 default_access = "deny"
            sol.on("connected", function(client)
                client:grant { { "publish", "t/%c" }, { "subscribe", "s/#" }, { "deny", "t/#" }, name = "own" }
            end)
        ]] }, function(b)
            local next_record = traced(b, { topic = "#" })
            local c = b:client "c"
            c:publish("t/c", "x", { qos = 1 }):publish("t/d", "x", { qos = 1 }):subscribe("s/1", 1)
            assert.equal("authorize publish t/c by c\n  grant own (t/%c)\n  => allow, by grant own (t/%c)\n",
                next_record())
            has(next_record(), "authorize publish t/d by c\n  grant own (deny t/#)\n  => deny 0x87 ")
            has(next_record(), "authorize subscribe s/1 by c\n  grant own (s/#)\n")
        end)
    end)

    it("goes on over a reload, and ends with its asker", function()
        with_broker({ config = POLICY }, function(b)
            local next_record, door = traced(b, { json = "1" })
            local from = #b:log() + 1
            b:configure [[workers = 1 sol.on("publish", function() return sol.deny(0x97, "new") end)]]
            b:signal "HUP"
            b:log_wait("generation 2 is in place", from, 15)
            local c = b:client "c"
            c:publish("t", "x", { qos = 1 })
            has(next_record(), [["verdict":"deny","reason_code":151,"reason":"new","by":]])
            door:send "1 cancel 0\n"
            assert.equal("ok", (door:answer(1)))
            door:ask(3, "trace", inquiry {}):ask(4, "ping"):answer(4)
            door:close()
            c:publish("t", "x", { qos = 1 }):ping()
        end)
    end)

    it("leaves out what its asker does not read, and says how much", function()
        with_broker({ config = POLICY }, function(b)
            local next_record, door = traced(b, {})
            local c = b:client "c"
            local payload = ("x"):rep(1000)
            for _ = 1, 3 do
                for _ = 1, 4000 do c:publish("t", payload) end
                c:ping(30)
            end
            local seen = 0
            local text
            repeat
                text = next_record()
                seen = seen + 1
                if seen == 4000 then c:publish("end", "x") end
            until text:find " left out)\n" or seen == 20000
            assert.matches("^%(%d+ left out%)\npublish", text)
            door:close()
        end)
    end)

    it("takes only what it can understand", function()
        with_broker({ config = "" }, function(b)
            local door = Door.open(b)
            for i, body in ipairs {
                "", "x", "action 9\ntrace\n", "action 5\ntrace\nclient 5\nabc\n", "client 1\nx\n",
                "action 5\ntrace\nclient 99999999999\nx\n", inquiry { topic = "a/#/b" }, inquiry { filter = "x" },
                inquiry { client = "\xff" }, "action 7\nconnect\nclient 1\nx\n",
            } do
                assert.equal("fail", (door:ask(i, "trace", body):answer(i)), body)
            end
            assert.equal("fail", (door:ask(50, "explain", inquiry {}):answer(50)))
            assert.equal("fail", (door:ask(51, "explain", "action 7\nconnect\n"):answer(51)))
        end)
    end)
end)

describe("sol trace", function()
    it("prints the records of all workers until it is interrupted", function()
        with_broker({ config = POLICY:gsub("workers = 1", "workers = 3") }, function(b)
            broker.with_dir(function(dir)
                local process = broker.spawn(dir, { b.argv[#b.argv - 2], "trace", b.dir .. "/sol.sock" })
                local probe = b:client "probe"
                wait.till("the trace to begin", function()
                    probe:publish("probe", "x", { qos = 1 })
                    return #broker.read_file(dir .. "/out") > 0
                end)
                for i = 1, 9 do b:client("c" .. i):publish("t", "x", { qos = 1 }) end
                wait.till("all records", function()
                    local text, seen = broker.read_file(dir .. "/out"), 0
                    for i = 1, 9 do if text:find("publish t by c" .. i, 1, true) then seen = seen + 1 end end
                    return seen == 9
                end)
                process:kill(2)
                local how, status = process:wait(wait.scaled(10))
                assert.same({ "exit", 0, "" }, { how, status, broker.read_file(dir .. "/err") })
            end)
        end)
    end)

    it("says what is wrong with its command line", function()
        for _, row in ipairs {
            { { "--topic", "a/#/b" }, "--topic is no topic filter" },
            { { "--payload", "x" }, "an option does not go with what is asked" },
            { { "/nowhere/sol.sock" }, "/nowhere/sol.sock: No such file or directory" },
            { { "a", "b" }, 'unexpected argument "b"' },
        } do
            local r = broker.sol("trace", table.unpack(row[1]))
            assert.equal(2, r.status)
            has(r.stderr, row[2])
        end
    end)
end)
