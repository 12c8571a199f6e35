-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol.socket: what goes out and comes in, what the world does to it, pools, TLS, and
-- what becomes of a socket whose hook is over.

local broker = require "support.broker"
local proc = require "support.proc"
local wait = require "support.wait"
local world = require "support.world"
local with_broker = broker.with_broker
local with_world, run = world.with_world, world.run

-- A broker and the server `argv`; code is run with `url` in place of $URL.
local function talk(argv, spec)
    with_world(argv, function(server)
        with_broker({ config = world.RUNNER }, function(b)
            local c = b:client "c"
            local url = ("%s://localhost:%d"):format(argv[1] == "tls" and "tls" or "tcp", server.port)
            spec(function(code) return run(c, (server:fill(code):gsub("$URL", url))) end, server, b)
        end)
    end)
end

local function tls(spec)
    talk({ "tls", "$DIR2/server.pem", "$DIR2/server.key", prepare = world.certificates }, spec)
end

describe("sol.socket", function()
    it("sends, and receives lines, counts and all", function()
        talk({ "talk" }, function(code)
            assert.equal("10|hello there|hel|lo|again|mo|re|3|bye", code [[
                local s <close> = assert(sol.socket.connect "$URL")
                local n = s:send "echo hello"
                s:send { " ", "there\n" }
                local line = s:receive "line"
                s:send "echo hello\necho again\necho more\n"
                local three, two = s:receive(3), s:receive(2)
                s:receive()
                local again = s:receive()
                local mo, re = s:receive_any(2), s:receive_any(2)
                s:receive "line"
                local bytes = s:send "end"
                s:send "\n"
                return n, line, three, two, again, mo, re, bytes, s:receive "all" == "" and "bye"
            ]])
        end)
    end)

    it("waits for a line that comes byte by byte", function()
        talk({ "talk" }, function(code)
            assert.equal("one at a time", code [[
                local s <close> = sol.socket.connect "$URL"
                s:send "slowly one at a time\n"
                return s:receive()
            ]])
        end)
    end)

    it("carries megabytes both ways", function()
        talk({ "talk" }, function(code)
            assert.equal("8388610|8388608|true", code [[
                local s <close> = sol.socket.connect("$URL", { max_receive = 16 << 20, timeout = 30 })
                local text = ("y"):rep(8 << 20)
                local n = s:send("echo " .. text .. "\n") - 4
                local line = s:receive()
                return n, #line, line == text
            ]])
        end)
    end)

    it("says what the world did", function()
        talk({ "talk" }, function(code)
            local port = broker.free_port()
            assert.equal("nil|connection refused",
                code(("return sol.socket.connect 'tcp://127.0.0.1:%d'"):format(port)))
            assert.equal("nil|No such file or directory", code "return sol.socket.connect 'unix:///no/such/socket'")
            assert.equal("nil|closed|half a line", code [[
                local s <close> = sol.socket.connect "$URL"
                s:send "half half a line\n"
                return s:receive "line"
            ]])
            assert.equal("nil|closed|half", code [[
                local s <close> = sol.socket.connect "$URL"
                s:send "half half\n"
                return s:receive(100)
            ]])
            assert.equal("half", code [[
                local s <close> = sol.socket.connect "$URL"
                s:send "half half\n"
                return s:receive "all"
            ]])
            assert.equal("nil|timeout|", code [[
                local s <close> = sol.socket.connect "$URL"
                s:settimeouts(1, 0.1)
                s:send "silent\n"
                return s:receive()
            ]])
            assert.equal("nil|closed", code [[
                local s = sol.socket.connect "$URL"
                s:close()
                return s:send "echo x\n"
            ]])
            assert.equal("false|nil|closed", code [[
                local s = sol.socket.connect "$URL"
                s:close()
                return s.open, s:close()
            ]])
        end)
    end)

    it("bounds what it receives", function()
        talk({ "talk" }, function(code)
            for _, what in ipairs { '"line"', '"all"', "1001" } do
                assert.equal("nil|too long|", code([[
                    local s <close> = sol.socket.connect("$URL", { max_receive = 1000 })
                    s:send "bytes 5000\nend\n"
                    local data, err, partial = s:receive(]] .. what .. [[)
                    return data, err, partial or ""
                ]]))
            end
            assert.equal("1000", code [[
                local s <close> = sol.socket.connect("$URL", { max_receive = 1000 })
                s:send "bytes 5000\n"
                return #s:receive(1000)
            ]])
        end)
    end)

    it("times out a send that nobody reads", function()
        talk({ "talk" }, function(code)
            assert.equal("nil|timeout|nil|a send was cut off", code [[
                local s <close> = sol.socket.connect "$URL"
                s:send "deaf\n"
                s:settimeouts(0.2)
                local ok, err = s:send(("x"):rep(16 << 20))
                return ok, err, s:send "more"
            ]])
        end)
    end)

    it("raises what the caller did wrong", function()
        talk({ "talk" }, function(code)
            for wrong, says in pairs {
                ["sol.socket.connect 'ftp://x:1'"] = "expected tcp://HOST:PORT",
                ["sol.socket.connect 'tcp://localhost'"] = "a host and a port are needed",
                ["sol.socket.connect('$URL', { timout = 1 })"] = 'unknown option "timout"; did you mean "timeout"?',
                ["sol.socket.connect('$URL', { timeout = 0 })"] = 'option "timeout" must be seconds',
                ["sol.socket.connect('$URL', { cert = 'x' })"] = 'options "cert" and "key" belong together',
                ["sol.socket.connect('$URL'):receive(-1)"] = "expected a number of bytes",
                ["sol.socket.connect('$URL'):receive('word')"] = "invalid option 'word'",
                ["sol.socket.connect('$URL'):send(nil)"] = "string expected",
                ["sol.socket.connect('$URL').sock"] = 'no field "sock"',
            } do
                assert.truthy(code("return " .. wrong):find(says, 1, true), wrong)
            end
        end)
    end)

    it("tells a second coroutine that the socket is in use", function()
        talk({ "talk" }, function(code)
            assert.truthy(code [[
                local s <close> = sol.socket.connect "$URL"
                s:send "silent\n"
                sol.spawn(function() s:receive() end)
                return s:receive()
            ]]:find "another coroutine is receiving on this socket")
        end)
    end)

    it("lets one coroutine send while another receives, and wakes it on close", function()
        talk({ "talk" }, function(code)
            assert.equal("hello|nil|closed", code [[
                local s <close> = sol.socket.connect "$URL"
                local got = {}
                sol.spawn(function()
                    got[1] = s:receive()
                    got[2], got[3] = s:receive()
                    got.done = true
                end)
                s:send "echo hello\n"
                while not got[1] do sol.sleep(0.01) end
                s:close()
                while not got.done do sol.sleep(0.01) end
                return got[1], got[2], got[3]
            ]])
        end)
    end)

    it("works over a unix socket", function()
        with_world({ "talk", "unix", "$DIR2/socket" }, function(server)
            with_broker({ config = world.RUNNER }, function(b)
                assert.equal("hello", run(b:client "c", server:fill [[
                    local s <close> = assert(sol.socket.connect "unix://$DIR2/socket")
                    s:send "echo hello\n"
                    return s:receive()
                ]]))
            end)
        end)
    end)

    it("cannot be used while the policy is loaded, nor where nothing can wait", function()
        broker.refuses('sol.socket.connect "tcp://127.0.0.1:1"', "while the policy is loaded")
        talk({ "talk" }, function(code)
            assert.truthy(code [[
                return (("x"):gsub("x", function() return (sol.socket.connect "$URL") end))
            ]]:find "cannot wait inside a function that C calls")
        end)
    end)
end)

describe("a pool of sockets", function()
    it("hands a kept connection to the next who asks", function()
        talk({ "talk" }, function(code, server)
            assert.equal("0|1|2|hello", code [[
                local reused = {}
                for i = 1, 3 do
                    local s = sol.socket.connect "$URL"
                    reused[i] = s.reused
                    s:send "echo hello\n"
                    reused[4] = s:receive()
                    assert(s:setkeepalive(10))
                end
                return table.unpack(reused)
            ]])
            assert.equal(1, server:count "accepted")
        end)
    end)

    it("keeps no connection with unread input, nor one that has ended", function()
        talk({ "talk" }, function(code, server)
            assert.equal("nil|there is unread input|0", code [[
                local s = sol.socket.connect "$URL"
                s:send "echo hello\n"
                s:receive(1)
                local ok, err = s:setkeepalive()
                return ok, err, sol.socket.connect("$URL").reused
            ]])
            assert.equal("0", code [[
                local s = sol.socket.connect "$URL"
                s:send "end\n"
                s:setkeepalive()
                sol.sleep(0.3)
                return sol.socket.connect("$URL").reused
            ]])
            server:wait "accepted.*accepted.*accepted.*accepted"
        end)
    end)

    it("closes what stays idle too long, and more than its size", function()
        talk({ "talk" }, function(code, server)
            assert.equal("true", code [[return sol.socket.connect("$URL"):setkeepalive(0.05)]])
            server:wait "ended"
            assert.equal("done", code [[
                local all = {}
                for i = 1, 5 do all[i] = sol.socket.connect "$URL" end
                for i = 1, 5 do all[i]:setkeepalive(60, 2) end
                return "done"
            ]])
            wait.till("three to be closed", function() return server:count "ended" == 4 end)
            assert.equal("1|1|0", code [[
                local all = {}
                for i = 1, 3 do all[i] = sol.socket.connect "$URL" end
                return all[1].reused, all[2].reused, all[3].reused
            ]])
        end)
    end)

    it("with a size lets the others wait their turn, as many as its backlog", function()
        talk({ "talk" }, function(code, server)
            assert.equal("10|10|nil|too many wait for this pool", code [[
                local options = { pool_size = 2, backlog = 8 }
                local served, came = 0, 0
                for i = 1, 10 do
                    sol.spawn(function()
                        local s = assert(sol.socket.connect("$URL", options))
                        came = came + 1
                        s:send("echo " .. i .. "\n")
                        if s:receive() == tostring(i) then served = served + 1 end
                        if i % 3 == 0 then s:close() else s:setkeepalive() end
                    end)
                end
                local _, err = sol.socket.connect("$URL", options)
                while came < 10 or served < 10 do sol.sleep(0.01) end
                return came, served, _, err
            ]])
            assert.is_true(server:count "accepted" <= 5)
        end)
    end)

    it("times out who waits too long for a turn", function()
        talk({ "talk" }, function(code)
            assert.equal("nil|timeout|true", code [[
                local options = { pool_size = 1, backlog = 5, timeout = 0.1 }
                local first = sol.socket.connect("$URL", options)
                local s, err = sol.socket.connect("$URL", options)
                first:setkeepalive()
                return s, err, sol.socket.connect("$URL", options) ~= nil
            ]])
        end)
    end)
end)

describe("TLS sockets", function()
    it("verify the server", function()
        tls(function(code)
            assert.equal("secret", code [[
                local s <close> = assert(sol.socket.connect("$URL", { ca = "$DIR2/ca.pem" }))
                s:send "echo secret\n"
                return s:receive()
            ]])
            assert.equal("x|1", code [[
                local options = { ca = "$DIR2/ca.pem" }
                sol.socket.connect("$URL", options):setkeepalive()
                local s <close> = sol.socket.connect("$URL", options)
                s:send "echo x\n"
                return s:receive(), s.reused
            ]])
            for options, says in pairs {
                ["{}"] = "certificate verify failed: unable to get local issuer certificate",
                ['{ ca = "$DIR2/other.pem" }'] = "certificate verify failed: unable to get local issuer certificate",
                ['{ ca = "$DIR2/ca.pem", server_name = "elsewhere.test" }'] =
                    "certificate verify failed: hostname mismatch",
                ['{ ca = "/no/such.pem" }'] = "ca /no/such.pem: No such file or directory",
            } do
                assert.equal("nil|" .. says, code("return sol.socket.connect('$URL', " .. options .. ")"))
            end
            assert.equal("x", code [[
                local s <close> = assert(sol.socket.connect("$URL", { verify = false }))
                s:send "echo x\n"
                return s:receive()
            ]])
        end)
    end)

    it("carry megabytes both ways", function()
        tls(function(code)
            assert.equal("4194304|true", code [[
                local s <close> = sol.socket.connect("$URL",
                    { ca = "$DIR2/ca.pem", max_receive = 16 << 20, timeout = 30 })
                local text = ("y"):rep(4 << 20)
                s:send("echo " .. text .. "\n")
                local line = s:receive()
                return #line, line == text
            ]])
        end)
    end)

    it("fail where nobody speaks TLS", function()
        talk({ "talk" }, function(code)
            assert.truthy(code [[return sol.socket.connect(("$URL"):gsub("tcp", "tls"), { timeout = 0.5 })]]
                :find "^nil|")
        end)
    end)
end)

describe("a hook that waits on a socket", function()
    local HOOK = world.RUNNER .. [[
        sol.on("publish", "ask", function()
            local s = sol.socket.connect "tcp://127.0.0.1:$WORLD" -- closed by the wait that ends
            local guard <close> = setmetatable({}, { __close = function() sol.log.info "guard closed" end })
            s:send "silent\n"
            s:receive()
        end)
    ]]

    local function parked(spec)
        with_world({ "talk" }, function(server)
            with_broker({ config = server:fill(HOOK) }, function(b)
                local c = b:client "c"
                c:publish("ask", "x", { qos = 1, wait = false })
                server:wait "silent"
                spec(b, c, server)
            end)
        end)
    end

    it("is let go with its client, and so is the socket", function()
        parked(function(b, c, server)
            c:reset()
            b:log_wait "guard closed"
            server:wait "ended"
        end)
    end)

    it("is let go when its client is taken over", function()
        parked(function(b, _, server)
            b:client "c"
            b:log_wait "guard closed"
            server:wait "ended"
        end)
    end)

    it("is let go by its time-out", function()
        with_world({ "talk" }, function(server)
            local hook = HOOK:gsub("hook_timeout = 60", "hook_timeout = 0.2")
            with_broker({ config = server:fill(hook) }, function(b)
                local c = b:client("c", { version = 5 })
                c:publish("ask", "x", { qos = 1, rc = "refused" })
                server:wait "ended"
                c:ping()
            end)
        end)
    end)

    it("is let go when a reload has waited for it", function()
        parked(function(b, c, server)
            b:configure(world.RUNNER)
            b:signal "HUP"
            b:log_wait "[Rr]eload"
            assert.equal("new", run(b:client "d", [[return "new"]]))
            c:reset()
            b:log_wait "guard closed"
            server:wait "ended"
        end)
    end)

    it("does not keep the broker from stopping", function()
        parked(function(b, _, server)
            local since = proc.now()
            b:stop()
            assert.is_true(proc.now() - since < wait.scaled(5))
            server:wait "ended"
        end)
    end)

    it("may be one of a thousand", function()
        with_world({ "talk" }, function(server)
            with_broker({ config = server:fill [[
                workers = 1 -- a pool is the worker's own
                max_parked = 2000
                sol.on("publish", "ask", function(_, m)
                    local s <close> = assert(sol.socket.connect("tcp://127.0.0.1:$WORLD",
                        { pool_size = 20, backlog = 2000, timeout = 60 }))
                    s:send("echo " .. m.payload .. "\n")
                    m.payload = s:receive()
                    s:setkeepalive()
                end)
                hook_timeout = 60
            ]] }, function(b)
                local all = {}
                for i = 1, 1000 do
                    all[i] = b:client("c" .. i):subscribe("ask/" .. i)
                end
                for i = 1, 1000 do all[i]:publish("ask", tostring(i), { qos = 1, wait = false, id = 7 }) end
                for i = 1, 1000 do all[i]:await "PUBACK" end
                assert.is_true(server:count "accepted" <= 20)
                assert.is_true(b:fds() < 1100)
            end)
        end)
    end)

    it("leaves nothing behind in its pools when a reload replaces it", function()
        talk({ "talk" }, function(code, server, b)
            local before = b:fds()
            for i = 1, 10 do
                code [[ sol.socket.connect("$URL"):setkeepalive(600) ]]
                local from = #b:log() + 1
                b:signal "HUP"
                b:log_wait("[Rr]eload", from, 15)
                wait.till("the connection to end", function() return server:count "ended" == i end)
            end
            assert.is_true(b:fds() <= before + 3)
        end)
    end)

    it("may run on any worker", function()
        with_world({ "talk" }, function(server)
            with_broker({ config = "workers = 3\n" .. world.RUNNER }, function(b)
                local all = {}
                for i = 1, 12 do all[i] = b:client("c" .. i):subscribe "run" end
                for i, c in ipairs(all) do
                    c:publish("run", server:fill(([[
                        local s <close> = sol.socket.connect "tcp://localhost:$WORLD"
                        s:send "echo from %d\n"
                        return s:receive()
                    ]]):format(i)))
                    c:expect_publish("run", "from " .. i)
                    for j, other in ipairs(all) do
                        if j ~= i then other:expect_publish("run", "from " .. i) end
                    end
                end
            end)
        end)
    end)

    it("leaves no descriptor behind when sockets are forgotten", function()
        talk({ "talk" }, function(code, _, b)
            local before = b:fds()
            for _ = 1, 20 do
                code [[ for _ = 1, 50 do sol.socket.connect "$URL" end ]]
            end
            assert.is_true(b:fds() - before < 300, b:fds() - before .. " descriptors more")
        end)
    end)
end)
