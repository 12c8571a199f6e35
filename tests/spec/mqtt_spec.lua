-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol.mqtt: a policy as another broker's client; Sol, mosquitto and one that follows a script
-- are the others.

local broker = require "support.broker"
local eval = require "support.eval"
local proc = require "support.proc"
local wait = require "support.wait"
local world = require "support.world"
local with_broker = broker.with_broker

-- A policy whose chunks have far(more), which connects to $FAR, and heard(connection, filter, qos),
-- which gives a function that waits for the next message.
local GLOBALS = [[{
    far = function(more)
        local options = { port = $FAR, timeout = 60, retry = 0.02, max_retry = 0.05 }
        for name, value in pairs(more or {}) do options[name] = value end
        return sol.mqtt.connect(options)
    end,
    refused = function(connection)
        local ok, err
        repeat ok, err = connection:ready(0.02) until err ~= "timeout"
        return ok, err
    end,
    heard = function(connection, filter, options)
        local queue, first = {}, 1
        assert(connection:subscribe(filter, function(m) queue[#queue + 1] = m end, options))
        return function()
            while not queue[first] do sol.sleep(0.005) end
            first = first + 1
            return queue[first - 1]
        end
    end,
}]]

local function near(port, spec, more)
    local function fill(text) return text and (text:gsub("%$FAR", tostring(port))) end
    -- one worker, whose connections bear the name they were given
    eval.with({ globals = fill(GLOBALS), config = "workers = 1\n" .. (fill(more) or "") }, spec)
end

-- use(port, dir) with mosquitto on that port; `more` goes into its configuration.
local function with_mosquitto(use, more)
    broker.with_dir(function(dir)
        local port = broker.free_port()
        if more then world.certificates(dir) end
        broker.write_file(dir .. "/m.conf", ("listener %d 127.0.0.1\nallow_anonymous true\nuser root\n%s")
            :format(port, (more or ""):gsub("$DIR", dir)))
        local process = broker.spawn(dir, { "/usr/sbin/mosquitto", "-c", dir .. "/m.conf" })
        wait.till("mosquitto", function()
            local s = proc.connect { host = "127.0.0.1", port = port }
            return s and (s:close() or true)
        end, 10)
        local ok, err = xpcall(use, function(e) return e end, port, dir)
        process:kill(15)
        process:wait(wait.scaled(5))
        if not ok then error(err, 0) end
    end)
end

-- ---- a broker that follows a script --------------------------------------------------------------

local CONNACK, SESSION = "write 20020000", "write 20020100"

-- Runs `spec(code, server, packets)`; packets() are those the server has read, as hex.
local function scripted(lines, spec)
    world.with_world({ "mqtt", "$DIR2/script", prepare = function(dir)
        broker.write_file(dir .. "/script", table.concat(lines, "\n") .. "\n")
    end }, function(server)
        near(server.port, function(code, b)
            spec(code, server, function()
                local found = {}
                for hex in server:said():gmatch "packet (%x+)" do found[#found + 1] = hex end
                return found
            end, b)
        end)
    end)
end

describe("sol.mqtt", function()
    it("talks to Sol and to mosquitto, in both versions", function()
        local talk = [[
            local c <close> = far { version = %d, client_id = "near%d" }
            local hear = heard(c, "t/#", { qos = 2 })
            local said = {}
            for qos = 0, 2 do
                said[#said + 1] = tostring(c:publish("t/" .. qos, "hello", { qos = qos }))
                local m = hear()
                said[#said + 1] = ("%%s=%%s,%%d"):format(m.topic, m.payload, m.qos)
            end
            return table.concat(said, " "), c.connected
        ]]
        local function check(port)
            near(port, function(code)
                for version = 4, 5 do
                    assert.equal("true t/0=hello,0 true t/1=hello,1 true t/2=hello,2 true",
                        code(talk:format(version, version)))
                end
            end)
        end
        with_broker({}, function(b) check(b.port) end)
        with_mosquitto(check)
    end)

    it("speaks TLS, and over unix sockets", function()
        with_mosquitto(function(port, dir)
            near(port, function(code)
                assert.equal("true", code(("local c <close> = far { tls = true, host = 'localhost', ca = '%s/ca.pem' }")
                    :format(dir) .. "local ok = c:publish('t', 'x', { qos = 1 }) return ok"))
                assert.matches("^nil certificate verify failed", code(
                    ("local c <close> = far { tls = true, host = 'localhost', ca = '%s/other.pem' }"):format(dir)
                    .. " return refused(c)"))
            end)
        end, "certfile $DIR/server.pem\nkeyfile $DIR/server.key\n")
        with_broker({ listen = [[listen "mqtt://127.0.0.1:$PORT" listen "unix://$DIR/far.sock"]] }, function(b)
            near(1, function(code)
                assert.equal("true", code(("local c <close> = far { socket = '%s/far.sock' }"):format(b.dir)
                    .. "local ok = c:publish('t', 'x', { qos = 1 }) return ok"))
            end)
        end)
    end)

    it("carries MQTT 5's properties, retains, and leaves a will", function()
        with_broker({}, function(b)
            local c = b:client("c", { version = 5 }):subscribe("#", 1)
            near(b.port, function(code)
                assert.equal("true 2 a b c d text/plain r/t \0\1 30 true", code [[
                    local c <close> = far { will = { topic = "will", payload = "gone", qos = 1 } }
                    assert(c:publish("kept", "x", { qos = 1, retain = true, expiry = 30, properties = {
                        user_properties = { { "a", "b" }, { "c", "d" } }, content_type = "text/plain",
                        response_topic = "r/t", correlation_data = "\0\1" } }))
                    local m = heard(c, "kept")()
                    local p = m.properties
                    local u = p.user_properties
                    return m.retain, #u, u[1][1], u[1][2], u[2][1], u[2][2], p.content_type, p.response_topic,
                        p.correlation_data, m.expiry, m.expiry == p.message_expiry_interval
                ]])
                c:expect_publish("kept", "x"):ack()
                -- closed in good order: nobody hears of a will
                code [[
                    local c = far { client_id = "doomed", will = { topic = "will", payload = "gone", qos = 1 } }
                    assert(c:ready())
                ]]
                b:client "doomed" -- takes the session over
                c:expect_publish("will", "gone")
            end)
        end)
    end)

    it("gives each message to those subscribed, once", function()
        with_broker({}, function(b)
            near(b.port, function(code)
                assert.equal("a/1:all a/1:one b/1:all b/1:shared end:all", code [[
                    local c <close>, said = far(), {}
                    local function by(name) return function(m) said[#said + 1] = m.topic .. ":" .. name end end
                    assert(c:subscribe("#", by "all"))
                    local one = assert(c:subscribe("a/1", by "one"))
                    assert(c:subscribe("$share/g/b/+", by "shared"))
                    for _, topic in ipairs { "a/1", "b/1" } do assert(c:publish(topic, "", { qos = 1 })) end
                    while #said < 4 do sol.sleep(0.005) end
                    assert(one:unsubscribe() and not one:unsubscribe())
                    assert(c:publish("end", "", { qos = 1 }))
                    while #said < 5 do sol.sleep(0.005) end
                    table.sort(said)
                    return table.concat(said, " ")
                ]])
            end)
        end)
    end)

    it("says what the other broker refuses", function()
        with_broker({ config = [[
            sol.on("authenticate", function(client, credentials)
                return credentials.password == "right" or sol.deny(0x86, "not with this")
            end)
            sol.on("authorize", function(_, request)
                if request.topic:match "^secret" then return sol.deny(0x87, "secret") end
                return true
            end)
        ]] }, function(b)
            near(b.port, function(code)
                assert.equal("nil refused (0x86): not with this", code [[
                    local c <close> = far { username = "u", password = "wrong" }
                    return refused(c)
                ]])
                assert.equal("nil refused (0x04)", code [[
                    local c <close> = far { username = "u", password = "wrong", version = 4 }
                    return refused(c)
                ]])
                assert.equal("nil refused (0x87): secret 135 nil refused (0x87): secret 135", code [[
                    local c <close> = far { username = "u", password = "right" }
                    local a, b, n = c:subscribe("secret/1", print)
                    return a, b, n, c:publish("secret/1", "x", { qos = 1 })
                ]])
                assert.equal("true", code [[
                    local c <close> = far { username = "u", password = "right" }
                    return c:publish("public", "x", { qos = 1 })
                ]])
            end)
        end)
    end)

    it("keeps messages while there is no connection, as many as it may", function()
        local port = broker.free_port()
        near(port, function(code, b)
            assert.equal("nil queue full nil connection refused 2", code [[
                keep = far { max_queue = 2, client_id = "keeper" }
                for i = 1, 2 do
                    sol.spawn(function() sol.log("%d %s", i, keep:publish("t", "n" .. i, { qos = 1 })) end)
                end
                local a, b = keep:publish("t", "x")
                local c, d = refused(keep)
                return a, b, c, d, keep.queued
            ]])
            assert.equal("nil timeout 0", code [[
                local c <close> = far { timeout = 0.05 }
                local a, b = c:publish("t", "x", { qos = 1 })
                return a, b, c.queued
            ]])
            assert.equal("nil closed nil closed false", code [[
                local c, said = far(), {}
                local t = sol.spawn(function() return c:publish("t", "x", { qos = 1 }) end)
                c:close()
                local _, a, b = t:join()
                local d, e = c:publish("t", "x")
                return a, b, d, e, c:close()
            ]])
            with_broker({ listen = ('listen "mqtt://127.0.0.1:$PORT" listen "mqtt://127.0.0.1:%d"'):format(port) },
                function(far)
                    b:log_wait "1 true"
                    b:log_wait "2 true"
                    assert.truthy(far:log():find "client keeper")
                    code "keep:close()"
                end)
        end)
    end)

    it("comes back when the connection is lost, with its subscriptions", function()
        with_broker({}, function(far)
            near(far.port, function(code, b)
                assert.equal("1", code [[
                    line = far()
                    hear = heard(line, "t", { qos = 1 })
                    assert(line:publish("t", "1", { qos = 1 }))
                    return hear().payload
                ]])
                b:log_wait "sol.mqtt tcp://127.0.0.1:%d+: connected"
                far:kill9():start()
                assert.equal("2", code [[
                    local got
                    sol.spawn(function() got = hear().payload end)
                    repeat line:publish("t", "2", { qos = 1 }) sol.sleep(0.005) until got
                    return got
                ]])
                assert.truthy(b:log():find "sol.mqtt tcp://127.0.0.1:%d+: closed")
                code "line:close()"
            end)
        end)
    end)

    it("sends again what was not acknowledged, once the session is there", function()
        scripted({ "accept", "read", CONNACK, "read", "end",
            "accept", "read", SESSION, "read", "write 40020001", "hold" }, function(code, server, packets)
            assert.equal("true", code [[
                local c <close> = far { version = 4, clean = false, keepalive = 0 }
                return c:publish("t", "x", { qos = 1 })
            ]])
            server:wait "script over"
            local p = packets()
            assert.equal("3206" .. "000174" .. "0001" .. "78", p[2])
            assert.equal("3a06" .. "000174" .. "0001" .. "78", p[4]) -- with DUP
        end)
    end)

    it("sends QoS 2 once: PUBREL again, not PUBLISH", function()
        scripted({ "accept", "read", CONNACK, "read", "write 50020001", "read", "end",
            "accept", "read", SESSION, "read", "write 70020001", "hold" }, function(code, server, packets)
            assert.equal("true 0", code [[
                local c <close> = far { version = 4, clean = false, keepalive = 0 }
                local a = c:publish("t", "x", { qos = 2 })
                return a, c.queued
            ]])
            server:wait "script over"
            local p = packets()
            assert.equal("3406" .. "000174" .. "0001" .. "78", p[2])
            assert.equal("62020001", p[3])
            assert.equal("62020001", p[5])
        end)
    end)

    it("takes QoS 2 once, and acknowledges when it has been handled", function()
        local publish, again = "write 3406" .. "000174" .. "0007" .. "78", "write 3c06" .. "000174" .. "0007" .. "78"
        scripted({ "accept", "read", CONNACK, "read", "write 9003000102", publish, "read", again, "read",
            "write 62020007", "read", publish, "read", "hold" }, function(code, server, packets, b)
            assert.equal("true", code [[
                taken = far { version = 4, keepalive = 0 }
                local function handle(m) sol.sleep(0.05) sol.log("handled " .. m.payload) end
                return taken:subscribe("t", handle, { qos = 2 }) ~= nil
            ]])
            server:wait "holding"
            local p = packets()
            assert.equal("8206" .. "0001" .. "000174" .. "02", p[2])
            assert.same({ "50020007", "50020007", "70020007", "50020007" }, { table.unpack(p, 3) })
            assert.equal(2, select(2, b:log():gsub("handled x", "")))
            code "taken:close()"
        end)
    end)

    it("pings, and leaves a broker that is silent", function()
        scripted({ "accept", "read", CONNACK, "read", "hold", "accept", "read", CONNACK, "hold" },
            function(code, server, packets)
                code "quiet = far { version = 4, keepalive = 1, timeout = 0.05 }"
                server:wait("holding.*holding")
                assert.equal("c000", packets()[2])
                code "quiet:close()"
            end)
    end)

    it("leaves a broker that makes no sense", function()
        for _, row in ipairs {
            { "write ffffffffff", "malformed packet" }, { "write 30ff7f", "packet too large" },
            { "write 8200", "malformed packet" }, { "write 1000", "malformed packet" },
            { "write 3003000141", "closed" },
        } do
            scripted({ "accept", "read", CONNACK, row[1], row[2] == "closed" and "end" or "hold" },
                function(code, _, _, b)
                    code "odd = far { version = 4, keepalive = 0, max_packet = 256 }"
                    b:log_wait("sol.mqtt tcp://127.0.0.1:%d+: " .. row[2])
                    code "odd:close()"
                end)
        end
        scripted({ "accept", "read", "write 20020001", "hold" }, function(code)
            assert.equal("nil refused (0x01): it knows another version of MQTT", code [[
                local c <close> = far()
                return refused(c)
            ]])
        end)
    end)

    it("goes with its policy, in good order", function()
        local function policy(n)
            return ([[
                local c = sol.mqtt.connect { port = $FAR, client_id = "near", retry = 0.02,
                    will = { topic = "will", payload = "gone" } }
                c:subscribe("to/near", function(m) c:publish("from/near", m.payload .. " %d", { qos = 1 }) end)
            ]]):format(n)
        end
        with_broker({}, function(far)
            local c = far:client("c"):subscribe("from/near", 0):subscribe("will", 0)
            local function config(n) return (policy(n):gsub("%$FAR", far.port)) end
            with_broker({ config = config(1) }, function(b)
                far:log_wait "client near .*connected"
                repeat c:publish("to/near", "a") until c.sock:wait("r", 0.05)
                c:expect_publish("from/near", "a 1")
                while c.sock:wait("r", 0.05) do c:expect_publish("from/near", "a 1") end
                local from = #far:log()
                b:configure(config(2))
                b:signal "HUP"
                far:log_wait("near .*: DISCONNECT\n.*client near .*connected", from)
                repeat c:publish("to/near", "b") until c.sock:wait("r", 0.05)
                c:expect_publish("from/near", "b 2")
                from = #far:log()
                b:stop()
                far:log_wait("near .*: DISCONNECT\n", from)
                while c.sock:wait("r", 0.05) do c:expect_publish("from/near", "b 2") end -- and no will
            end)
        end)
    end)

    it("connects every worker under a name of its own, but subscribes once", function()
        with_broker({}, function(far)
            local c = far:client("c"):subscribe("echo", 1)
            with_broker({ config = ([[
                workers = 2
                local c = sol.mqtt.connect { port = %d, client_id = "near" }
                c:subscribe("in", function(m) c:publish("echo", m.payload, { qos = 1 }) end, { qos = 1 })
                sol.on("publish", "out", function(client, m) assert(c:publish("echo", client.id, { qos = 1 })) end)
            ]]):format(far.port) }, function(b)
                far:log_wait "client near %("
                repeat c:publish("in", "x") until c.sock:wait("r", 0.05)
                c:expect_publish("echo", "x"):ack()
                local seen, n = {}, 0
                while not far:log():find "client near%-2 %(" do
                    n = n + 1
                    b:client("p" .. n):publish("out", "", { qos = 1 })
                    while not seen["p" .. n] do
                        local p = c:expect("PUBLISH", { topic = "echo" })
                        p:ack()
                        seen[p.payload] = true
                    end
                end
            end)
        end)
    end)

    it("raises what the caller did wrong", function()
        near(1, function(code)
            local function raises(with, text) assert.matches(with, code("local _ = " .. text)) end
            raises("error: eval:1: sol.mqtt.connect: unknown option \"hots\"; did you mean \"host\"%?",
                "sol.mqtt.connect { hots = 'x' }")
            raises("version must be an integer from 4 to 5, not 3", "sol.mqtt.connect { version = 3 }")
            raises("will: topic is missing", "sol.mqtt.connect { will = {} }")
            raises("will: not a topic name", "sol.mqtt.connect { will = { topic = 'a/#' } }")
            raises("no password without a username", "sol.mqtt.connect { version = 4, password = 'x' }")
            code "one = far()"
            raises("eval:1: sol.mqtt publish: not a topic name", "one:publish('a/+')")
            raises("payload must be a string, not a table", "one:publish('a', {})")
            raises("qos must be an integer from 0 to 2, not 3", "one:publish('a', '', { qos = 3 })")
            raises("a message has no property \"contant_type\"; did you mean \"content_type\"%?",
                "one:publish('a', '', { properties = { contant_type = 'x' } })")
            raises("not a topic filter", "one:subscribe('a/#/b', print)")
            raises("bad argument #2 to 'subscribe' %(function expected, got nil%)", "one:subscribe('a')")
            code "one:close()"
        end)
        broker.refuses("sol.mqtt.connect():publish('a', '')",
            "sol.lua:1: sol.mqtt publish cannot be used while the policy is loaded")
    end)
end)
