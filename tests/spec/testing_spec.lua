-- SPDX-License-Identifier: BSD-2-Clause
--
-- sol.testing: what a test of a policy can say, hear and make happen. Run by `sol test`.

local testing = require "sol.testing"
local sol = require "sol"

local function broker(text, options)
    options = options or {}
    options.text = text
    return testing.broker(options)
end

-- The error that `fn` raises, as it is told at this place.
local function error_of(fn, ...)
    local ok, err = pcall(function(...)
        local result = fn(...)
        return result
    end, ...)
    assert.is_false(ok)
    return tostring(err)
end

local function has(text, part) assert.truthy(text:find(part, 1, true), text .. "\nhas no\n" .. part) end

describe("a client", function()
    it("is let in or refused, with the reason", function()
        local b = broker [[
            sol.on("connect", function(client)
                if client.id == "evil" then return sol.deny(0x8A, "you know why") end
            end)
        ]]
        local c = b:connect { client_id = "good" }
        assert.is_true(c.connected)
        assert.equal(0, c.reason_code)
        assert.is_false(c.session_present)
        local evil = b:connect { client_id = "evil" }
        assert.is_false(evil.connected)
        assert.equal(0x8A, evil.reason_code)
        assert.equal("you know why", evil.reason)
        has(error_of(evil.publish, evil, "t", "x"), 'client "evil" is not connected (0x8A, you know why)')
    end)

    it("of an old version gets its return code", function()
        local b = broker "allow_anonymous = false"
        assert.equal(5, b:connect { version = 4 }.reason_code)
        assert.equal(5, b:connect { version = "3.1" }.reason_code)
        has(error_of(b.connect, b, { version = 6 }), "version must be 3, 4 or 5, not 6")
    end)

    it("shows itself as it was told to", function()
        local b = broker [[
            listen { "mqtt://127.0.0.1:1883" }
            listen { "mqtt://127.0.0.1:1884", mount_point = "m/" }
            sol.on("authenticate", function(client, credentials)
                sol.log.info(table.concat({ client.id, credentials.username or "", credentials.password or "",
                    client.address, client.listener }, " "))
                return true
            end)
        ]]
        b:connect { client_id = "c", username = "u", password = "p", address = "10.1.2.3:4567" }
        assert.truthy(b:logged "^c u p 10%.1%.2%.3.*1883$")
        b:connect { listener = "mqtt://127.0.0.1:1884", client_id = "d" }:publish("x", "")
        assert.truthy(b:logged "1884")
    end)

    it("publishes and hears what became of it", function()
        local b = broker [[
            sol.on("publish", "in", function(_, message)
                if message.payload == "bad" then return sol.deny(0x99, "no") end
                if message.payload == "drop" then return sol.drop() end
                message.topic = "out"
                message.properties.user_properties.seen = "yes"
            end)
        ]]
        local c = b:connect {}
        for qos = 0, 2 do
            assert.equal(0, c:subscribe("#"))
            local properties = { content_type = "t" }
            assert.equal(qos > 0 and 0 or nil, c:publish("in", "x", { qos = qos, properties = properties }))
            local message = c:expect("out", "x")
            assert.equal("t", message.properties.content_type)
            assert.same({ { "seen", "yes" } }, message.properties.user_properties)
            c:publish("in", "drop", { qos = qos })
            c:expect_none()
        end
        assert.same({ 0x99, "no" }, { c:publish("in", "bad") })
        assert.equal("no", c.answer.reason)
        assert.equal(0x99, c:publish("in", "bad", { qos = 2 }))
        c:unsubscribe "#"
        assert.equal(0, c:publish("nobody", "x"))
        assert.equal(0x10, c.answer.reason_code)
    end)

    it("subscribes and unsubscribes", function()
        local b = broker [[
            sol.on("authorize", function(_, request) return request.topic ~= "secret" end)
        ]]
        local c = b:connect {}
        local properties = { subscription_identifier = 7 }
        assert.equal(2, c:subscribe("a", { qos = 2, retain_as_published = true, properties = properties }))
        assert.equal(0x87, c:subscribe "secret")
        assert.equal(0x87, c:publish("secret", "x"))
        c:publish("a", "x", { qos = 2, retain = true })
        local message = c:expect "a"
        assert.is_true(message.retain)
        assert.equal(2, message.qos)
        assert.equal(7, message.properties.subscription_identifier)
        assert.equal(0, c:unsubscribe "a")
        assert.equal(0x11, c:unsubscribe "a")
    end)

    it("says what it expected and what came instead", function()
        local b = broker ""
        local c = b:connect { client_id = "c" }
        has(error_of(c.expect, c, "t", "x"), 'expected "x" on "t", but client "c" has received nothing')
        c:subscribe "#"
        c:publish("u", "y")
        has(error_of(c.expect_none, c), 'expected nothing, but client "c" received "y" on "u"')
        has(error_of(c.expect, c, "t"), 'expected a message on "t", but client "c" received "y" on "u"')
        c:publish("u", "1")
        c:publish("u", "2")
        assert.equal(2, #c:messages())
        c:expect_none()
    end)

    it("leaves with and without a word", function()
        local b = broker ""
        local watcher = b:connect {}
        watcher:subscribe "will"
        local will = { topic = "will", payload = "gone", properties = { content_type = "w" } }
        b:connect { will = will }:disconnect()
        watcher:expect_none()
        b:connect { will = will }:drop()
        assert.equal("w", watcher:expect("will", "gone").properties.content_type)
        b:connect { will = will }:disconnect(4)
        watcher:expect("will", "gone")
    end)

    it("is told when a packet cannot say what it should", function()
        local b = broker ""
        local c = b:connect {}
        local rows = {
            { "publish: topic must be a string, not a number", c.publish, c, 5 },
            { "publish: payload must be a string, not a table", c.publish, c, "t", {} },
            { "publish: qos must be an integer from 0 to 255, not many", c.publish, c, "t", "", { qos = "many" } },
            { 'publish: there is no property "content"', c.publish, c, "t", "", { properties = { content = "x" } } },
            { "user_properties: expected { name, value }", c.publish, c, "t", "",
                { properties = { user_properties = { "x" } } } },
            { 'publish: unknown option "retained"', c.publish, c, "t", "", { retained = true } },
            { "subscribe: filter must be a string, not a nil", c.subscribe, c },
            { "subscribe: a filter longer than 65535 bytes", c.subscribe, c, ("x"):rep(70000) },
            { "connect: no MQTT packet can hold this", b.connect, b, { client_id = ("x"):rep(70000) } },
            { "connect: topic must be a string, not a boolean", b.connect, b, { will = { topic = true } } },
            { "connect: keep_alive must be an integer from 0 to 65535", b.connect, b, { keep_alive = 1 << 16 } },
        }
        for _, row in ipairs(rows) do
            local err = error_of(table.unpack(row, 2))
            has(err, row[1])
            has(err, "testing_spec.lua:")
        end
        assert.is_true(c:ping())
    end)

    it("may say what no client would", function()
        local c = broker("sol.on('disconnected', function(_, info) sol.log.info(info.reason) end)"):connect {}
        c:send "\x00\x00"
        assert.is_false(c.connected)
        assert.equal(0x81, c.reason_code)
    end)

    it("keeps its session, and acknowledges when it wants to", function()
        local b = broker ""
        local c = b:connect { client_id = "c", session_expiry = 60, acknowledge = false }
        c:subscribe("t", { qos = 1 })
        c:publish("t", "x")
        c:expect "t"
        c:drop()
        c = b:connect { client_id = "c", clean_start = false }
        assert.is_true(c.session_present)
        assert.is_true(c:expect("t", "x").dup)
    end)

    it("takes turns in an enhanced authentication", function()
        local b = broker [[
            sol.on("auth", function(_, exchange)
                if exchange.data == "hello" then return sol.continue("who?") end
                return exchange.data == "ada"
            end)
        ]]
        local method = { authentication_method = "m", authentication_data = "hello" }
        local c = b:connect { properties = method }
        assert.is_nil(c.reason_code)
        assert.equal("who?", c.challenge)
        assert.is_true(c:auth("m", "ada"))
        c = b:connect { properties = method }
        assert.is_false(c:auth("m", "eve"))
        assert.equal(0x87, c.reason_code)
    end)
end)

describe("time", function()
    it("passes for timers, sleepers and clocks when told", function()
        local b = broker [[
            local start, wall, os_start = sol.now(), sol.time(), os.time()
            local function say(what)
                local passed = os.time() - os_start
                sol.log.info(("%s %.0f %.0f %d"):format(what, sol.now() - start, sol.time() - wall, passed))
            end
            sol.after(10, function() say "after" end)
            sol.every(25, function() sol.sleep(5) say "every" end)
        ]]
        b:advance(9)
        assert.is_nil(b:logged "after")
        b:advance(60)
        assert.truthy(b:logged "after 10 10 10")
        assert.truthy(b:logged "every 55 55 55")
    end)

    it("parks a client that waits, and answers it later", function()
        local b = broker [[
            hook_timeout = 60
            sol.on("publish", function() sol.sleep(3) end)
        ]]
        local c = b:connect {}
        assert.is_nil(c:publish("t", "x"))
        assert.is_false(c.answer.answered)
        b:advance(2.9)
        assert.is_false(c.answer.answered)
        b:advance(0.1)
        assert.is_true(c.answer.answered)
        assert.equal(0x10, c.answer.reason_code)
    end)

    it("is over for silent clients, for sessions and for messages", function()
        local b = broker ""
        local c = b:connect { client_id = "c", keep_alive = 10, session_expiry = 100 }
        local d = b:connect {}
        c:subscribe("t", { qos = 1 })
        d:publish("r", "x", { retain = true, properties = { message_expiry_interval = 20 } })
        b:advance(14)
        assert.is_true(c:ping())
        b:advance(16)
        assert.is_false(c.connected)
        assert.equal(0x8D, c.reason_code)
        d:subscribe "r"
        d:expect_none()
        b:advance(90)
        assert.is_true(b:connect({ client_id = "c", clean_start = false, session_expiry = 100 }).session_present)
        b:connect({ client_id = "c", clean_start = false, session_expiry = 100 }):disconnect()
        b:advance(101)
        assert.is_false(b:connect({ client_id = "c", clean_start = false }).session_present)
    end)

    it("is over for entries of sol.shared and sol.cache", function()
        local b = broker [[
            shared = { seen = 16384 }
            local made = 0
            local cache = sol.cache { size = 10, ttl = 30 }
            sol.on("publish", function(client)
                if not sol.shared.seen:add(client.id, true, 60) then return sol.deny(0x97) end
                cache:get("k", function() made = made + 1 return made end)
                sol.log.info("made " .. made)
            end)
        ]]
        local c = b:connect {}
        assert.equal(0, c:publish("t", ""))
        assert.equal(0x97, c:publish("t", ""))
        b:advance(61)
        assert.equal(0, c:publish("t", ""))
        assert.truthy(b:logged "made 2")
    end)
end)

describe("the world", function()
    it("of http is a function", function()
        local b = broker [[
            sol.on("publish", function(_, message)
                local response, err = sol.http.post("https://api.example/check", message.payload,
                    { headers = { ["X-Key"] = "k" }, timeout = 2, follow = 1 })
                if not response then return sol.deny(0x83, err) end
                return response.status == 200 and response.headers["X-Answer"] == "yes"
            end)
        ]]
        local seen
        b:stub("http", function(request)
            seen = request
            if request.url:find "check$" then return { status = 307, headers = { Location = "/again" } } end
            return { status = 200, headers = { ["x-answer"] = request.body } }
        end)
        local c = b:connect {}
        assert.equal(0, c:publish("t", "yes"))
        local headers = { ["x-key"] = "k" }
        assert.same({ method = "POST", url = "https://api.example/again", body = "yes", headers = headers }, seen)
        assert.equal(0x87, c:publish("t", "no"))
        b:stub("http", function() return nil, "connection refused" end)
        assert.equal(0x83, c:publish("t", "yes"))
        assert.equal("connection refused", c.answer.reason)
    end)

    it("may be slow, and too slow", function()
        local b = broker [[
            sol.on("connect", function()
                local response, err = sol.http.get("http://x/", { timeout = 2 })
                if not response then return sol.deny(0x88, err) end
            end)
        ]]
        b:stub("http", function() return {} end, { delay = 1 })
        local c = b:connect {}
        assert.is_nil(c.reason_code)
        b:advance(1)
        assert.is_true(c.connected)
        b:stub("http", function() return {} end, { delay = 3 })
        c = b:connect {}
        b:advance(2)
        assert.equal("timeout", c.reason)
    end)

    it("of redis is a function of commands", function()
        local b = broker [[
            local redis = sol.redis.pool { host = "r", password = "x", db = 3 }
            sol.on("connect", function(client)
                assert(redis:set("k", 1) == "OK" or true)
                local name, err = redis:get(client.id)
                local many = redis:mget("a", "b")
                local none, why = redis:incr("text")
                sol.log.info(name .. "; " .. tostring(err) .. "; " .. many[1] .. "; " .. tostring(why))
            end)
        ]]
        local asked = {}
        b:stub("redis", function(command)
            asked[#asked + 1] = table.concat(command, " ")
            local name = command[1]
            if name == "GET" then return "name of " .. command[2] end
            if name == "MGET" then return { 5, nil, n = 2 } end
            if name == "INCR" then return nil, "ERR not an integer" end
            return true
        end)
        b:connect { client_id = "c" }
        assert.same({ "SET k 1", "GET c", "MGET a b", "INCR text" }, asked)
        assert.equal("name of c; nil; 5; ERR not an integer", b:logged "name of")
    end)

    it("of PostgreSQL is a function of SQL", function()
        local b = broker [[
            local db = sol.pg.pool { user = "u", host = "db.example" }
            sol.on("authorize", function(client, request)
                local rows, err = db:execute("SELECT ok FROM acl WHERE t = $1 AND c = $2", request.topic, client.id)
                if not rows then return sol.deny(0x83, err) end
                return rows[1] ~= nil and rows[1].ok
            end)
        ]]
        b:stub("pg", function(sql, params)
            assert(sql:find "^SELECT" and params[2] == "c")
            if params[1] == "broken" then return nil, "syntax error" end
            return { { ok = params[1] == "open" } }
        end)
        local c = b:connect { client_id = "c" }
        assert.equal(0, c:publish("open", ""))
        assert.equal(0x87, c:publish("closed", ""))
        assert.equal(0x83, c:publish("broken", ""))
    end)

    it("of sockets and names is a function, too", function()
        local b = broker [[
            sol.on("connect", function(client)
                local addresses = sol.dns.resolve("db.example")
                local s <close>, err = sol.socket.connect("tcp://" .. addresses[1] .. ":7000")
                if not s then return sol.deny(0x88, err) end
                s:send { "LOOKUP ", client.id, "\n" }
                local answer, why = s:receive "line"
                return answer == "yes" or sol.deny(0x87, why or answer)
            end)
        ]]
        b:stub("dns", function(name) return name == "db.example" and { "10.0.0.1" } or nil, "no such name" end)
        b:stub("socket", function(url, sent)
            if url ~= "tcp://10.0.0.1:7000" then return nil, "connection refused" end
            if not sent then return true end
            return sent == "LOOKUP ada\n" and "yes\r\n" or sent == "LOOKUP eve\n" and "no\n" or false
        end)
        assert.is_true(b:connect({ client_id = "ada" }).connected)
        assert.equal("no", b:connect({ client_id = "eve" }).reason)
        assert.equal("closed", b:connect({ client_id = "bob" }).reason)
    end)

    it("of a socket answers those who receive while others send", function()
        local b = broker([[
            hook_timeout = 60
            sol.on("start", function()
                local s = sol.socket.connect "tcp://other:1"
                sol.spawn(function()
                    sol.log.info("heard " .. s:receive(3) .. " " .. s:receive "line" .. " " .. s:receive_any())
                    local nothing, why, rest = s:receive(9)
                    sol.log.info(tostring(nothing) .. " " .. why .. " " .. rest)
                    sol.log.info("all " .. s:receive "all")
                end)
                for _, word in ipairs { "one", "two", "three", "four", "five", "end" } do
                    sol.sleep(1)
                    s:send(word)
                end
            end)
        ]], { stubs = { socket = function(_, sent)
            local answers = { one = "abc", two = "line\r\nmore", four = "xy", ["end"] = false }
            if not sent then return true end
            return answers[sent]
        end } })
        b:advance(1.9)
        assert.is_nil(b:logged "heard")
        b:advance(0.1)
        assert.truthy(b:logged "heard abc line more")
        b:advance(4)
        assert.truthy(b:logged "nil closed xy")
        assert.truthy(b:logged "all $")
    end)

    it("is not asked behind the test's back", function()
        local rows = {
            http = "sol.http.get 'http://127.0.0.1/'", redis = "sol.redis.pool {}:get 'x'",
            pg = "sol.pg.connect { user = 'u' }:query 'x'", socket = "sol.socket.connect 'tcp://127.0.0.1:1'",
            dns = "sol.dns.resolve 'localhost'",
        }
        for kind, call in pairs(rows) do
            local says = ("the policy asks for sol.%s, and a test has no network"):format(kind)
            local swallowed = "sol.on('publish', function() pcall(function() " .. call .. " end) end)"
            local b = broker(swallowed, { tolerate = true })
            local c = b:connect {}
            has(error_of(c.publish, c, "t", ""), says)
            assert.equal(0, c.answer.reason_code & 0x80)
            b = broker("sol.on('publish', function()\n" .. call .. " end)")
            c = b:connect {}
            local err = error_of(c.publish, c, "t", "")
            has(err, says)
            has(err, "policy:2:")
        end
    end)

    it("is there from the start when given with the broker", function()
        local b = broker([[
            sol.on("start", function() sol.log.info("status " .. sol.http.get("http://x/").status) end)
            local other = sol.mqtt.connect { host = "other" }
            sol.on("publish", function() return other.connected end)
        ]], { stubs = {
            http = function() return { status = 204 } end,
            socket = function() return nil, "connection refused" end,
        } })
        assert.truthy(b:logged "status 204")
        assert.equal(0x87, b:connect({}):publish("t", ""))
        b:advance(100)
    end)

    it("of sol.mqtt is a socket that speaks MQTT", function()
        local sent = {}
        local b = broker([[
            local other = sol.mqtt.connect { host = "other", client_id = "me" }
            sol.on("published", "up/#", function(_, message)
                sol.log.info("sent: " .. tostring(other:publish(message.topic, message.payload, { qos = 1 })))
            end)
        ]], { stubs = { socket = function(_, bytes)
            if not bytes then return true end
            local kind = bytes:byte() >> 4
            sent[#sent + 1] = kind
            if kind == 1 then return "\x20\x03\0\0\0" end -- CONNACK
            if kind == 3 then return "\x40\x02" .. bytes:sub(9, 10) end -- PUBACK with the id behind "up/x"
        end } })
        b:connect({}):publish("up/x", "1")
        b:advance(1)
        assert.same({ 1, 3 }, sent)
        assert.truthy(b:logged "^sent: true$")
    end)

    it("that fails itself fails the test", function()
        local b = broker "sol.on('connect', function() sol.http.get 'http://x' end)"
        b:stub("http", function() error "what?" end)
        has(error_of(b.connect, b, {}), "testing_spec.lua")
        b:stub("http", function() return 200 end)
        has(error_of(b.connect, b, {}), "the stub of sol.http gave 200; expected { status =, headers =, body = }")
        b:stub("http", function() b:advance(1) end)
        has(error_of(b.connect, b, {}), "a stub cannot use the broker that asks it")
        b:stub("http", function() return { body = print } end)
        has(error_of(b.connect, b, {}), "a stub may give plain values only")
        b = broker [[local db = sol.pg.pool { user = "u", host = "h" }
            sol.on("connect", function() db:execute("select $1", { [sol.json.null] = 1 }) end)]]
        b:stub("pg", function() return {} end)
        has(error_of(b.connect, b, {}), "only plain values can be asked of a test")
        b:advance(1)
        has(error_of(b.stub, b, "htpp", print), 'expected http, redis, pg, socket or dns, got "htpp"')
    end)
end)

describe("a broker", function()
    it("has the faults of its policy told", function()
        has(error_of(testing.broker, { text = "\nfoo = 1" }), 'policy:2: unknown setting "foo"')
        has(error_of(testing.broker, { config = "no/such/sol.lua" }), "no/such/sol.lua")
        has(error_of(testing.broker, { confg = "x" }), 'unknown option "confg"; it knows config, files')
    end)

    it("makes an error of a handler the test's, with its place", function()
        local b = broker [[

            sol.on("publish", function(_, message) return message.nothing end)
            sol.after(5, function() error "late" end)
        ]]
        local c = b:connect {}
        has(error_of(c.publish, c, "t", ""), "policy:2:")
        has(error_of(b.advance, b, 5), "policy:3: late")
        b:advance(5)
    end)

    it("says when a policy gives it no rest", function()
        local b = broker "sol.on('publish', function() while true do sol.sleep(0) end end)"
        local c = b:connect {}
        has(error_of(c.publish, c, "t", ""), "the broker finds no rest")
    end)

    it("ends a handler that waits too long by its own clock", function()
        local b = broker("hook_timeout = 2\nsol.on('publish', function() sol.sleep(10) end)", { tolerate = true })
        local c = b:connect {}
        c:publish("t", "")
        b:advance(1.9)
        assert.is_false(c.answer.answered)
        b:advance(0.2)
        assert.equal(0x87, c.answer.reason_code)
        has(b:errors()[1], "it waited longer than 2000 ms")
    end)

    it("tolerates errors when told, and remembers them", function()
        local b = broker("sol.on('deliver', function() error 'never mind' end)", { tolerate = true })
        local c = b:connect {}
        c:subscribe "t"
        assert.equal(0, c:publish("t", ""))
        c:expect_none()
        local errors = b:errors()
        assert.equal(1, #errors)
        has(errors[1], "policy:1: never mind")
        assert.same({}, b:errors())
    end)

    it("has a log", function()
        local b = broker "sol.log.warn('loaded ' .. 1)\nsol.on('publish', function() print 'printed' end)"
        b:connect {}:publish("t", "")
        assert.equal("loaded 1", b:logged "^loaded")
        assert.is_nil(b:logged "^nothing$")
        local lines = {}
        for _, line in ipairs(b:log()) do lines[#lines + 1] = tostring(line) end
        has(table.concat(lines, "\n"), "warn policy: loaded 1")
    end)

    it("knows what its handlers have done", function()
        local b = broker [[
            sol.on("publish", "a", function() return sol.drop() end)
            sol.on("publish", "b", function() return true end)
            sol.on("subscribe", function() end)
        ]]
        local c = b:connect {}
        c:publish("a", "")
        c:publish("a", "")
        local hooks = b:hooks()
        assert.equal("subscribe", hooks[1].event)
        assert.equal(0, hooks[1].calls)
        assert.same({ "policy:1", 2, 2, 0 }, { hooks[2].name, hooks[2].calls, hooks[2].drop, hooks[2].allow })
        assert.equal(0, hooks[3].calls)
    end)

    it("starts, reloads and stops as always", function()
        local b = broker([[
            sol.on("start", function() sol.log.info "start" end)
            sol.on("reload", function(now) sol.log.info("reload " .. now.generation) end)
            sol.on("stop", function() sol.log.info "stop" end)
            sol.on("publish", function() return sol.read_file "x" and nil end)
        ]], { files = { x = "1" }, tolerate = true })
        assert.truthy(b:logged "^start$")
        local c = b:connect {}
        b:write("x", "2")
        assert.is_true(b:reload())
        assert.truthy(b:logged "^reload 2$")
        local ok, err = b:reload "nonsense("
        assert.is_nil(ok)
        has(err, "sol.lua:1:")
        assert.is_true(b:reload 'sol.on("stop", function() sol.log.info "end" end)')
        assert.is_true(c.connected)
        b:stop()
        assert.truthy(b:logged "^end$")
        assert.is_false(c.connected)
        assert.equal(0x8B, c.reason_code)
    end)

    it("is closed once, and then of no use", function()
        local b <close> = broker ""
        local c = b:connect {}
        b:close()
        b:close()
        has(error_of(c.publish, c, "t", ""), "this broker is closed")
    end)
end)

describe("several brokers", function()
    local one
    setup(function() one = broker "" end)

    it("stand side by side, each with its own time", function()
        local two = broker "sol.after(5, function() sol.log.info 'now' end)"
        one:advance(10)
        assert.is_nil(two:logged "now")
        two:advance(5)
        assert.truthy(two:logged "now")
    end)

    it("live as long as they are held", function() assert.is_true(one:connect({}).connected) end)

    it("are many, one after the other", function()
        for _ = 1, 40 do broker("").clients = {} end
    end)
end)

describe("the tools of sol", function()
    it("are there for payloads and tokens", function()
        assert.equal('{"a":1}', sol.json.encode { a = 1 })
        assert.equal("aGk=", sol.base64.encode "hi")
        assert.is_true(sol.topic.match("a/+", "a/b"))
    end)
end)

describe("the documents", function()
    local function text_of(path)
        local file <close> = assert(io.open(path))
        return file:read "a"
    end

    it("know every function and option", function()
        local docs = text_of("docs/lua-api.md"):match "\n### sol%.testing\n(.-)\n## "
        local meta, source = text_of "lua/sol/meta_testing.lua", text_of "lua/sol/testing.lua"
        for class, name in source:gmatch "\nfunction (%u%l+):([%l_]+)%(" do
            has(docs, "`" .. name .. "(")
            has(meta, ("\nfunction %s:%s("):format(class:lower(), name))
        end
        for list in source:gmatch "_OPTIONS = set ([%[\"][^%]\"]+)" do
            for name in list:gmatch "[%l_]+" do
                has(docs, "`" .. name .. "`")
                has(meta, "@field " .. name .. "? ")
            end
        end
        for name in source:match('KINDS = set "([^"]+)"'):gmatch "%l+" do has(docs, ('`"%s"` |'):format(name)) end
    end)
end)
