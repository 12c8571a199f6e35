-- SPDX-License-Identifier: BSD-2-Clause
--
-- Where else to go: Server Reference (MQTT 5.0, 4.13); and Response Information (4.10.1).

local with_broker = require("support.broker").with_broker

local function policy(text) return { config = "allow_anonymous = true\n" .. text } end

describe("sol.deny with a server reference", function()
    for _, event in ipairs { "connect", "authenticate" } do
        for code, name in pairs { [0x9C] = "use another server", [0x9D] = "server moved" } do
            it("says " .. name .. " in " .. event, function()
                with_broker(policy(([[
                    sol.on(%q, function() return sol.deny(%d, "elsewhere", { server_reference = "b.example:1883" }) end)
                ]]):format(event, code)), function(b)
                    local c = b:raw { version = 5 }
                    c:send { type = "CONNECT", client_id = "c" }
                    local ack = c:expect("CONNACK", { rc = code })
                    assert.same({ server_reference = "b.example:1883", reason = "elsewhere" }, ack.props)
                    c:expect_close()
                    for version = 3, 4 do b:client("d", { version = version, connack = 3 }) end
                end)
            end)
        end
    end

    it("does so at the end of an exchange", function()
        with_broker(policy [[
            sol.on("auth", function(client, exchange)
                if exchange.reauth or exchange.data == "away" then
                    return sol.deny(0x9C, nil, { server_reference = "b.example" })
                end
                return sol.allow()
            end)
        ]], function(b)
            local function props(data) return { auth_method = "M", auth_data = data } end
            local c = b:client("c", { version = 5, props = props "away", connack = 0x9C })
            assert.equal("b.example", c.connack.props.server_reference)
            local d = b:client("d", { version = 5, props = props "in" })
            d:send { type = "AUTH", rc = 0x19, props = props "again" }
            assert.equal("b.example", d:expect("DISCONNECT", { rc = 0x9C }).props.server_reference)
        end)
    end)

    it("needs a code that means it, text, and an event that knows it", function()
        with_broker(policy [[
            for name, fn in pairs {
                code = function() sol.deny(0x87, nil, { server_reference = "x" }) end,
                none = function() sol.deny(nil, nil, { server_reference = "x" }) end,
                name = function() sol.deny(0x9C, nil, { server = "x" }) end,
                kind = function() sol.deny(0x9C, nil, { server_reference = 5 }) end,
                utf8 = function() sol.deny(0x9C, nil, { server_reference = "\xFF" }) end,
                long = function() sol.deny(0x9C, nil, { server_reference = ("x"):rep(1025) }) end,
                table = function() sol.deny(0x9C, nil, "x") end,
            } do sol.log("%s: %s", name, select(2, pcall(fn))) end
            sol.on("publish", function() return sol.deny(0x9C, nil, { server_reference = "x" }) end)
        ]], function(b)
            b:log_wait "code: .*goes with 0x9C or 0x9D"
            b:log_wait "none: .*goes with 0x9C or 0x9D"
            b:log_wait "name: .*the only option is server_reference"
            b:log_wait "kind: .*expected UTF%-8"
            b:log_wait "utf8: .*expected UTF%-8"
            b:log_wait "long: .*expected UTF%-8"
            b:log_wait "table: .*table expected"
            b:client("c", { version = 5 }):publish("t", "x", { qos = 1, rc = 0x87 })
            b:log_wait "which is for connect, authenticate, auth"
        end)
    end)

    it("leaves the reference out where the client has no room for it", function()
        with_broker(policy [[
            sol.on("connect", function() return sol.deny(0x9D, "why", { server_reference = ("x"):rep(100) }) end)
        ]], function(b)
            local c = b:client("c", { version = 5, props = { maximum_packet_size = 50 }, connack = 0x9D })
            assert.same({}, c.connack.props)
        end)
    end)
end)

describe("client:disconnect with a server reference", function()
    it("tells an MQTT 5 client where to go", function()
        with_broker(policy [[
            sol.on("publish", "away", function(client)
                client:disconnect(0x9D, "moved", { server_reference = "c.example" })
            end)
            sol.on("publish", "wrong", function(client)
                client:disconnect(0x98, "moved", { server_reference = "c.example" })
            end)
        ]], function(b)
            local c = b:client("c", { version = 5 })
            c:publish("wrong", "", { qos = 1, rc = 0x87 })
            c:publish("away", "")
            assert.same({ server_reference = "c.example", reason = "moved" },
                c:expect("DISCONNECT", { rc = 0x9D }).props)
            c:expect_close()
            b:client("d", { version = 4 }):publish("away", ""):expect_close()
        end)
    end)
end)

describe("connect.response_information", function()
    local told = policy [[
        sol.on("connect", function(client, connect)
            connect.response_information = "replies/" .. connect.client_id
            assert(connect.response_information == "replies/" .. connect.client_id)
            if connect.client_id == "none" then connect.response_information = nil end
        end)
    ]]

    it("goes to a client that asks for it, and to no other", function() -- [MQTT-3.1.2-28]
        with_broker(told, function(b)
            local function information(id, asks)
                local c = b:client(id, { version = 5, props = { request_response = asks } })
                return c.connack.props.response_information
            end
            assert.equal("replies/c", information("c", 1))
            assert.is_nil(information("d", 0))
            assert.is_nil(information("e", nil))
            assert.is_nil(information("none", 1))
            b:client("f", { version = 4 })
        end)
    end)

    it("is left out where the client has no room for it", function()
        with_broker(told, function(b)
            local props = { request_response = 1, maximum_packet_size = 40 }
            local c = b:client(("x"):rep(60), { version = 5, props = props })
            assert.is_nil(c.connack.props.response_information)
        end)
    end)
end)
