-- SPDX-License-Identifier: BSD-2-Clause
--
-- Enhanced authentication of MQTT 5 (4.12): challenge and response between the client and
-- the policy's `auth` handlers, at CONNECT and again later.

local mqtt = require "support.mqtt"
local with_broker = require("support.broker").with_broker

local function policy(text, spec) with_broker({ config = text }, spec) end

-- A challenge is answered by the password and the challenge, backwards.
local TURN = [[
    local passwords = { ann = "secret", bob = "hunter2" }
    local challenges = 0

    sol.on("auth", function(client, exchange)
        if exchange.method ~= "TURN" then return end
        if not exchange.state.user then
            local hello = sol.json.decode(exchange.data or "")
            if not hello then return sol.deny(0x87, "hello is not JSON") end
            challenges = challenges + 1
            exchange.state.user, exchange.state.challenge = hello.user, "c" .. challenges
            return sol.continue(exchange.state.challenge)
        end
        local password = passwords[exchange.state.user]
        if password and exchange.data == (password .. exchange.state.challenge):reverse() then
            exchange.username = exchange.state.user
            client.attributes.rounds = 2
            return sol.allow("welcome " .. (exchange.reauth and "back " or "") .. exchange.state.user)
        end
        return sol.deny(exchange.reauth and 0x97 or 0x86, "wrong answer")
    end)
]]

local function props(method, data, more)
    local out = { auth_method = method, auth_data = data }
    for name, value in pairs(more or {}) do out[name] = value end
    return out
end

-- A client that has sent CONNECT with a method; what comes of it is the spec's.
local function hello(b, id, method, data, more)
    return b:client(id, { version = 5, connack = false, props = props(method, data, more) })
end

local function auth(c, rc, method, data)
    return c:send { type = "AUTH", rc = rc, props = props(method, data) }
end

-- Answers the challenge it is told.
local function answer(c, password)
    local challenge = c:expect("AUTH", { rc = 0x18, props = { auth_method = "TURN" } }).props.auth_data
    return auth(c, 0x18, "TURN", (password .. challenge):reverse())
end

local function join(b, id, user, password, more)
    local c = answer(hello(b, id, "TURN", ('{"user":"%s"}'):format(user), more), password)
    c:expect("CONNACK", { rc = 0, props = { auth_method = "TURN", auth_data = "welcome " .. user } })
    return c
end

describe("an exchange at CONNECT", function()
    it("lets in whoever answers the challenge, under the name it proved", function()
        policy(TURN .. [[
            sol.on("authenticate", function() error "is not asked" end)
            sol.on("connected", function(client)
                sol.publish("on/" .. client.id, client.username .. client.attributes.rounds, { retain = true })
            end)
        ]], function(b)
            join(b, "a", "ann", "secret"):subscribe("on/a"):expect_publish("on/a", "ann2"):expect_nothing()
            join(b, "b", "bob", "hunter2"):ping()
        end)
    end)

    it("refuses a wrong answer, with the reason", function()
        policy(TURN, function(b)
            local c = answer(hello(b, "a", "TURN", '{"user":"ann"}'), "guess")
            c:expect("CONNACK", { rc = 0x86, props = { reason = "wrong answer" } })
            c:expect_close()
            c = hello(b, "a", "TURN", "no JSON", { request_problem = 0 })
            assert.is_nil(c:expect("CONNACK", { rc = 0x87 }).props.reason)
            c:expect_close()
        end)
    end)

    it("is a bad method's end when nobody knows the method", function()
        policy(TURN, function(b)
            for _, method in ipairs { "SCRAM-SHA-256", "turn", "" } do
                hello(b, "c", method, "x"):expect_refused { 0x8C }
            end
        end)
    end)

    it("asks handler after handler until one knows the method", function()
        policy(TURN .. [[
            sol.on("auth", function(_, exchange)
                if exchange.method == "OPEN" then return true end
                if exchange.method == "SHUT" then return false end
            end)
        ]], function(b)
            local c = hello(b, "c", "OPEN")
            assert.is_nil(c:expect("CONNACK", { rc = 0, props = { auth_method = "OPEN" } }).props.auth_data)
            c:ping()
            hello(b, "d", "SHUT"):expect_refused { 0x87 }
            join(b, "a", "ann", "secret")
        end)
    end)

    it("is nothing that other clients notice, who are asked for passwords", function()
        policy(TURN .. [[
            sol.on("authenticate", function(_, credentials) return credentials.password == "p" end)
        ]], function(b)
            b:client("c", { version = 5, username = "u", password = "p" }):ping()
            b:client("d", { version = 4, username = "u", password = "x", connack = 4 }):expect_close()
        end)
    end)

    it("shuts out strangers unless they are allowed", function()
        policy(TURN, function(b) b:client("c", { version = 5, connack = 0x87 }):expect_close() end)
        policy("allow_anonymous = true\n" .. TURN, function(b) b:client("c"):ping() end)
    end)

    it("carries data that is absent, empty, binary or long", function()
        policy([[
            sol.on("auth", function(_, exchange)
                if exchange.data == "end" then return sol.allow("") end
                return sol.continue(exchange.data)
            end)
        ]], function(b)
            local c = hello(b, "c", "ECHO")
            assert.is_nil(c:expect("AUTH", { rc = 0x18 }).props.auth_data)
            for _, data in ipairs { "", "\0\255\128\n", ("x"):rep(65535) } do
                auth(c, 0x18, "ECHO", data):expect("AUTH", { rc = 0x18, props = { auth_data = data } })
            end
            auth(c, 0x18, "ECHO", "end"):expect("CONNACK", { rc = 0, props = { auth_data = "" } })
        end)
    end)

    it("gives each client a state of its own, and a new one each time", function()
        policy([[
            sol.on("auth", function(_, exchange)
                local state = exchange.state
                state.n = (state.n or 0) + 1
                if exchange.data == "end" then return sol.allow(tostring(state.n)) end
                return sol.continue(tostring(state.n))
            end)
        ]], function(b)
            local one, two = hello(b, "1", "N"), hello(b, "2", "N")
            for i = 1, 3 do
                one:expect("AUTH", { props = { auth_data = tostring(i) } })
                auth(one, 0x18, "N", i == 3 and "end" or nil)
            end
            two:expect("AUTH", { props = { auth_data = "1" } })
            auth(two, 0x18, "N", "end"):expect("CONNACK", { rc = 0, props = { auth_data = "2" } })
            one:expect("CONNACK", { rc = 0, props = { auth_data = "4" } })
            auth(one, 0x19, "N", "end"):expect("AUTH", { rc = 0, props = { auth_data = "1" } })
        end)
    end)

    it("goes on with the connect handlers' names", function()
        policy([[
            sol.on("connect", function(_, connect) connect.username = "x-" .. connect.client_id end)
            sol.on("auth", function(client, exchange)
                assert(client.username == exchange.username)
                return sol.allow(exchange.username)
            end)
        ]], function(b)
            hello(b, "c", "M"):expect("CONNACK", { rc = 0, props = { auth_data = "x-c" } })
        end)
    end)
end)

describe("an exchange that goes wrong", function()
    -- each is sent in answer to the challenge
    for _, row in ipairs {
        { "another method", 0x8C, { type = "AUTH", rc = 0x18, props = props "OTHER" } },
        { "AUTH that begins anew", 0x82, { type = "AUTH", rc = 0x19, props = props "TURN" } },
        { "AUTH of success", 0x82, { type = "AUTH", rc = 0x00, props = props "TURN" } },
        { "AUTH without a method", 0x82, { type = "AUTH", rc = 0x18 } },
        { "PINGREQ", 0x82, { type = "PINGREQ" } },
        { "PUBLISH", 0x82, { type = "PUBLISH", topic = "t", payload = "x" } },
        { "SUBSCRIBE", 0x82, { type = "SUBSCRIBE", id = 1, { filter = "t" } } },
        { "a second CONNECT", 0x82, { type = "CONNECT", client_id = "a" } },
    } do
        it(("because of %s is refused"):format(row[1]), function() -- [MQTT-3.1.2-30], [MQTT-4.12.0-5]
            policy("allow_anonymous = true\n" .. TURN, function(b)
                local watcher = b:client("w"):subscribe("#")
                local c = hello(b, "a", "TURN", '{"user":"ann"}')
                c:expect("AUTH", { rc = 0x18 })
                c:send(row[3]):expect("CONNACK", { rc = row[2] })
                c:expect_close()
                watcher:expect_nothing()
            end)
        end)
    end

    it("because the client has had enough ends without a word", function()
        policy(TURN, function(b)
            local c = hello(b, "a", "TURN", '{"user":"ann"}')
            c:expect("AUTH", { rc = 0x18 })
            c:send({ type = "DISCONNECT" }):expect_close()
            c = hello(b, "a", "TURN", '{"user":"ann"}')
            c:expect("AUTH", { rc = 0x18 })
            c:drop()
            join(b, "a", "ann", "secret")
        end)
    end)

    it("because AUTH is nonsense ends the connection", function()
        policy(TURN, function(b)
            local c = hello(b, "a", "TURN", '{"user":"ann"}')
            c:expect("AUTH", { rc = 0x18 })
            c:send_raw(mqtt.hex "F1 02 18 00"):expect("CONNACK", { rc = 0x81 }):expect_close()
            join(b, "a", "ann", "secret")
        end)
    end)

    it("because the client takes too long is refused", function()
        policy("connect_timeout = 0.3\n" .. TURN, function(b)
            local c = hello(b, "a", "TURN", '{"user":"ann"}')
            c:expect("AUTH", { rc = 0x18 })
            c:expect("CONNACK", { rc = 0x87 })
            c:expect_close()
        end)
    end)

    it("because a handler fails is refused, and only then", function()
        policy([[
            sol.on("auth", function(_, exchange)
                if exchange.data == "boom" then error "boom" end
                if exchange.data == "drop" then return sol.drop() end
                if exchange.data == "number" then return 1 end
                if exchange.data == "long" then return sol.continue(("x"):rep(65536)) end
                if exchange.data == "name" then exchange.username = "\0" end
                return true
            end)
        ]], function(b)
            for _, data in ipairs { "boom", "drop", "number", "long", "name" } do
                hello(b, "c", "M", data):expect_refused { 0x87 }
            end
            hello(b, "c", "M", "fine"):expect("CONNACK", { rc = 0 })
            b:log_wait "auth handler"
        end)
    end)
end)

describe("verdicts of an exchange", function()
    it("mean nothing elsewhere", function()
        policy([[
            sol.on("publish", "data", function() return sol.allow("data") end)
            sol.on("publish", "more", function() return sol.continue() end)
            sol.on("publish", "both", function() return sol.continue("data") end)
            sol.on("publish", "fine", function() return sol.allow() end)
        ]], function(b)
            local c = b:client("c", { version = 5 })
            for _, topic in ipairs { "data", "more", "both" } do c:publish(topic, "x", { qos = 1, rc = 0x87 }) end
            c:publish("fine", "x", { qos = 1 })
            b:log_wait "sol.allow%(data%)"
            b:log_wait "sol.continue%(%)"
        end)
    end)
end)

-- As TURN, but each round takes a while.
local SLOW = [[
    hook_timeout = 60
    sol.on("auth", function(_, exchange)
        local guard <close> = setmetatable({}, { __close = function() sol.log.info "guard closed" end })
        sol.log.info("asked with " .. tostring(exchange.data))
        sol.sleep(exchange.data == "long" and 50 or 0.3)
        if exchange.data == "end" then return sol.allow "done" end
        return sol.continue(exchange.data)
    end)
]]

describe("a handler that waits", function()
    it("is waited for in every round", function()
        policy(SLOW, function(b)
            local c = hello(b, "c", "M", "one")
            c:expect("AUTH", { rc = 0x18, props = { auth_data = "one" } })
            auth(c, 0x18, "M", "two"):expect("AUTH", { rc = 0x18, props = { auth_data = "two" } })
            auth(c, 0x18, "M", "end"):expect("CONNACK", { rc = 0, props = { auth_data = "done" } })
            c:ping()
        end)
    end)

    it("is called off when its client goes", function()
        policy(SLOW, function(b)
            local from = #b:log() + 1
            local c = hello(b, "c", "M", "long")
            b:log_wait("asked with long", from)
            c:reset()
            b:log_wait("guard closed", from)

            c = hello(b, "c", "M", "end")
            c:expect("CONNACK", { rc = 0 })
            from = #b:log() + 1
            auth(c, 0x19, "M", "long")
            b:log_wait("asked with long", from)
            c:reset()
            b:log_wait("guard closed", from)
        end)
    end)

    it("does not keep the broker from stopping", function()
        policy(SLOW, function(b)
            hello(b, "c", "M", "long")
            hello(b, "d", "M", "one"):expect("AUTH", { rc = 0x18 })
            b:log_wait "asked with long"
            b:stop()
        end)
    end)

    it("holds up its client alone", function()
        policy("allow_anonymous = true\n" .. SLOW, function(b)
            local c = hello(b, "c", "M", "end")
            c:expect("CONNACK", { rc = 0 })
            c:subscribe "t"
            auth(c, 0x19, "M", "end"):publish("own", "later", { qos = 1, wait = false })
            local watcher = b:client("w"):subscribe("#")
            b:client("p"):publish("t", "now")
            c:expect_publish("t", "now") -- while it is parked
            watcher:expect_publish("t", "now")
            c:expect("AUTH", { rc = 0, props = { auth_data = "done" } })
            c:expect("PUBACK")
            watcher:expect_publish("own", "later")
        end)
    end)

    it("has hook_timeout for it", function()
        policy(SLOW:gsub("hook_timeout = 60", "hook_timeout = 0.2"), function(b)
            hello(b, "c", "M", "long"):expect_refused { 0x87 }
        end)
    end)
end)

describe("authenticating again", function()
    it("succeeds with AUTH, under the new name", function() -- 4.12.1
        policy(TURN .. [[
            sol.on("publish", "who", function(client, message) message.payload = client.username end)
        ]], function(b)
            local c = join(b, "c", "ann", "secret"):subscribe("who")
            auth(c, 0x19, "TURN", '{"user":"bob"}')
            local challenge = c:expect("AUTH", { rc = 0x18, props = { auth_method = "TURN" } }).props.auth_data
            c:publish("who", "?"):expect_publish("who", "ann"):ping() -- the old name, meanwhile
            auth(c, 0x18, "TURN", ("hunter2" .. challenge):reverse())
            c:expect("AUTH", { rc = 0, props = { auth_method = "TURN", auth_data = "welcome back bob" } })
            c:publish("who", "?"):expect_publish("who", "bob"):expect_nothing()
        end)
    end)

    it("ends the connection when it fails", function() -- [MQTT-4.12.1-2]
        policy(TURN, function(b)
            local c = join(b, "c", "ann", "secret")
            answer(auth(c, 0x19, "TURN", '{"user":"ann"}'), "guess")
            c:expect("DISCONNECT", { rc = 0x97, props = { reason = "wrong answer" } })
            c:expect_close()

            c = join(b, "c", "ann", "secret", { request_problem = 0 })
            answer(auth(c, 0x19, "TURN", '{"user":"ann"}'), "guess")
            assert.is_nil(c:expect("DISCONNECT", { rc = 0x97 }).props.reason)
            c:expect_close()
        end)
    end)

    for _, row in ipairs {
        { "with another method", 0x8C, 0x19, "OTHER" }, -- [MQTT-4.12.1-1]
        { "with a continuation of nothing", 0x82, 0x18, "TURN" },
        { "with success", 0x82, 0x00, "TURN" },
    } do
        it(row[1] .. " is refused", function()
            policy(TURN, function(b)
                auth(join(b, "c", "ann", "secret"), row[3], row[4], "x"):expect_disconnect(row[2])
            end)
        end)
    end

    it("twice at once is refused", function()
        policy(TURN, function(b)
            local c = join(b, "c", "ann", "secret")
            auth(c, 0x19, "TURN", '{"user":"ann"}'):expect("AUTH", { rc = 0x18 })
            auth(c, 0x19, "TURN", '{"user":"ann"}'):expect_disconnect(0x82)
        end)
    end)

    it("is refused to a client whose CONNECT named no method", function() -- [MQTT-4.12.0-7]
        policy("allow_anonymous = true\n" .. TURN, function(b)
            auth(b:client("c", { version = 5 }), 0x19, "TURN", '{"user":"ann"}'):expect_disconnect(0x82)
        end)
    end)

    it("takes no longer than connect_timeout a round", function()
        policy("connect_timeout = 0.3\n" .. TURN, function(b)
            local c = join(b, "c", "ann", "secret")
            auth(c, 0x19, "TURN", '{"user":"ann"}'):expect("AUTH", { rc = 0x18 })
            c:expect_disconnect(0x87)
        end)
    end)

    it("sends the will of a client that fails", function()
        policy(TURN .. [[ allow_anonymous = true ]], function(b)
            local watcher = b:client("w"):subscribe("will")
            local c = b:client("c", { version = 5, connack = false, will = { topic = "will", payload = "x" },
                props = props("TURN", '{"user":"ann"}') })
            answer(c, "secret"):expect("CONNACK", { rc = 0 })
            answer(auth(c, 0x19, "TURN", '{"user":"ann"}'), "guess"):expect_disconnect(0x97)
            watcher:expect_publish("will", "x")
        end)
    end)

    it("goes on after a reload, with the new handlers", function()
        policy(TURN, function(b)
            local c = join(b, "c", "ann", "secret")
            b:configure [[sol.on("auth", function(_, exchange)
                return exchange.data == "new" and sol.allow(tostring(next(exchange.state))) or sol.continue("half")
            end)]]
            auth(c, 0x19, "TURN", '{"user":"ann"}'):expect("AUTH", { rc = 0x18 })
            b:signal "HUP"
            b:log_wait "generation 2"
            auth(c, 0x18, "TURN", "new"):expect("AUTH", { rc = 0, props = { auth_data = "nil" } })
        end)
    end)
end)
