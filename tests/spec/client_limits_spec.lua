-- SPDX-License-Identifier: BSD-2-Clause
--
-- What the settings let a client do: CONNECT, PUBLISH and SUBSCRIBE that go beyond them.

local with_broker = require("support.broker").with_broker

-- CONNECT of this version must be refused with `code3` (3.x) or `code5`.
local function expect_refused(b, version, fields, code3, code5)
    local c = b:raw { version = version }
    fields.type = "CONNECT"
    fields.client_id = fields.client_id or "refused"
    c:send(fields)
    c:expect("CONNACK", { rc = version == 5 and code5 or code3 })
    c:expect_close()
end

-- `name` of CONNACK's properties is `value` when the setting is `config`, and not there by default.
local function announced(config, name, value)
    it("is announced to MQTT 5 clients", function()
        with_broker({ config = config }, function(b)
            assert.equal(value, b:client("c", { version = 5 }).connack.props[name])
            b:client("d", { version = 4 })
        end)
        with_broker({}, function(b)
            assert.is_nil(b:client("c", { version = 5 }).connack.props[name])
        end)
    end)
end

describe("max_qos", function()
    announced("max_qos = 1", "maximum_qos", 1) -- [MQTT-3.2.2-9]
    announced("max_qos = 0", "maximum_qos", 0)

    for version = 3, 5 do
        it("ends a connection that publishes above at level " .. version, function() -- [MQTT-3.2.2-11]
            with_broker({ config = "max_qos = 1" }, function(b)
                local other = b:client("other"):subscribe("t", 1)
                local c = b:client("c", { version = version })
                c:publish("t", "fine", { qos = 1 })
                other:expect_publish("t", "fine", { qos = 1 }):ack()
                c:publish("t", "x", { qos = 2, wait = false }):expect_disconnect(0x9B)
                other:expect_nothing()
            end)
        end)

        it("grants subscriptions at the lower QoS at level " .. version, function() -- [MQTT-3.2.2-10]
            with_broker({ config = "max_qos = 0" }, function(b)
                local c = b:client("c", { version = version })
                c:subscribe("a", 2, { rc = 0 }):subscribe("b", 1, { rc = 0 }):subscribe("c", 0)
                c:publish("a", "x"):expect_publish("a", "x", { qos = 0 })
            end)
        end)

        it("refuses a will above at level " .. version, function() -- [MQTT-3.2.2-12]
            with_broker({ config = "max_qos = 1" }, function(b)
                expect_refused(b, version, { will = { topic = "w", payload = "x", qos = 2 } }, 5, 0x9B)
                b:client("c", { version = version, will = { topic = "w", payload = "x", qos = 1 } })
            end)
        end)
    end

    it("says to authorize handlers what will be granted", function()
        with_broker({ config = [[
            max_qos = 1
            sol.on("authorize", function(_, request) return request.qos < 2 end)
        ]] }, function(b)
            b:client("c"):subscribe("t", 2, { rc = 1 })
        end)
    end)
end)

describe("retain_available", function()
    announced("retain_available = false", "retain_available", 0)

    for version = 3, 5 do
        it("ends a connection that retains at level " .. version, function() -- [MQTT-3.2.2-14]
            with_broker({ config = "retain_available = false" }, function(b)
                local c = b:client("c", { version = version })
                c:publish("t", "fine", { qos = 1 })
                c:publish("t", "x", { retain = true }):expect_disconnect(0x9A)
                b:client("other"):subscribe("t"):expect_nothing()
            end)
        end)

        it("refuses a retained will at level " .. version, function() -- [MQTT-3.2.2-13]
            with_broker({ config = "retain_available = false" }, function(b)
                expect_refused(b, version, { will = { topic = "w", payload = "x", retain = true } }, 5, 0x9A)
                b:client("c", { version = version, will = { topic = "w", payload = "x" } })
            end)
        end)
    end
end)

describe("what subscriptions there are", function()
    announced("wildcard_subscription = false", "wildcard_available", 0)
    announced("shared_subscription = false", "shared_available", 0)
    announced("subscription_identifiers = false", "subscription_id_available", 0)

    for version = 4, 5 do
        local function refusal(code) return version == 5 and code or 0x80 end

        it("wildcard_subscription refuses + and # at level " .. version, function() -- 3.2.2.3.11
            with_broker({ config = "wildcard_subscription = false" }, function(b)
                local c = b:client("c", { version = version })
                c:subscribe { { filter = "a/+" }, { filter = "a/b", qos = 1 }, { filter = "#" } }
                assert.same({ refusal(0xA2), 1, refusal(0xA2) }, c.last.codes)
                c:subscribe("$share/g/a/#", 0, { rc = refusal(0xA2) }):subscribe("$share/g/a/c")
                c:publish("a/b", "x"):expect_publish("a/b", "x")
            end)
        end)

        it("shared_subscription refuses $share at level " .. version, function() -- 3.2.2.3.13
            with_broker({ config = "shared_subscription = false" }, function(b)
                local c = b:client("c", { version = version })
                c:subscribe("$share/g/a", 1, { rc = refusal(0x9E) }):subscribe("a/#", 1)
                c:unsubscribe("$share/g/a")
            end)
        end)

        it("max_subscriptions refuses one too many at level " .. version, function()
            with_broker({ config = "max_subscriptions = 2" }, function(b)
                local c = b:client("c", { version = version, clean = false, props = version == 5
                    and { session_expiry = 100 } or nil })
                c:subscribe("a"):subscribe("b"):subscribe("c", 0, { rc = refusal(0x97) })
                c:subscribe("b", 1) -- one it has
                c:unsubscribe("a"):subscribe("$share/g/c")
                c:reconnect():subscribe("d", 0, { rc = refusal(0x97) })
                b:client("other", { version = version }):subscribe("d")
            end)
        end)
    end

    it("subscription_identifiers ends a connection that sends one", function() -- 3.2.2.3.12
        with_broker({ config = "subscription_identifiers = false" }, function(b)
            local c = b:client("c", { version = 5 }):subscribe("t")
            c:send { type = "SUBSCRIBE", id = 9, props = { subscription_id = 7 }, { filter = "u" } }
            c:expect_disconnect(0xA1)
            b:client("other"):ping()
        end)
    end)
end)

describe("max_topic_length", function()
    for version = 3, 5 do
        it("bounds topics, filters and wills at level " .. version, function()
            with_broker({ config = "max_topic_length = 10" }, function(b)
                local c = b:client("c", { version = version }):subscribe(("t"):rep(10))
                c:subscribe(("t"):rep(11), 0, { rc = version == 5 and 0x8F or 0x80 })
                c:publish(("t"):rep(10), "x"):expect_publish(("t"):rep(10), "x")
                c:publish(("t"):rep(11), "x"):expect_disconnect(0x90)
                expect_refused(b, version, { will = { topic = ("w"):rep(11), payload = "" } }, 5, 0x90)
            end)
        end)
    end
end)

describe("max_payload_size", function()
    for version = 3, 5 do
        it("lets no larger payload pass at level " .. version, function()
            with_broker({ config = "max_payload_size = 10" }, function(b)
                local other = b:client("other"):subscribe("t", 2)
                local c = b:client("c", { version = version })
                local rc = version == 5 and 0x97 or nil
                for qos = 0, 2 do
                    c:publish("t", ("x"):rep(11), { qos = qos, rc = rc })
                    c:publish("t", ("y"):rep(10), { qos = qos })
                    other:expect_publish("t", ("y"):rep(10), { qos = qos }):ack()
                end
                other:expect_nothing()
                expect_refused(b, version, { will = { topic = "w", payload = ("x"):rep(11) } }, 3, 0x97)
            end)
        end)
    end

    it("counts what it drops", function()
        with_broker({ config = "max_payload_size = 10\nsys_interval = 0.1" }, function(b)
            local c = b:client("c"):publish("t", ("x"):rep(11))
            c:subscribe("$SYS/broker/publish/messages/dropped")
            repeat local figure = c:take().payload until figure == "1"
        end)
    end)
end)

describe("max_keepalive", function()
    it("shortens that of MQTT 5 clients and tells them", function() -- [MQTT-3.2.2-21]
        with_broker({ config = "max_keepalive = 100" }, function(b)
            for asked, told in pairs { [0] = 100, [101] = 100 } do
                assert.equal(told, b:client("c", { version = 5, keepalive = asked }).connack.props.server_keep_alive)
            end
            assert.is_nil(b:client("c", { version = 5, keepalive = 100 }).connack.props.server_keep_alive)
        end)
    end)

    it("holds those it has told", function()
        with_broker({ config = "max_keepalive = 1" }, function(b)
            b:client("c", { version = 5, keepalive = 0 }):expect_disconnect(0x8D, 5)
        end)
    end)

    for version = 3, 4 do
        it("refuses longer ones at level " .. version, function()
            with_broker({ config = "max_keepalive = 100" }, function(b)
                expect_refused(b, version, { keepalive = 101 }, 2)
                expect_refused(b, version, { keepalive = 0 }, 2)
                b:client("c", { version = version, keepalive = 100 })
            end)
        end)
    end

    it("lets a connect handler choose one that fits", function()
        with_broker({ config = [[
            max_keepalive = 100
            sol.on("connect", function(_, connect) connect.keep_alive = 60 end)
        ]] }, function(b)
            b:client("c", { keepalive = 0 }):ping()
        end)
    end)
end)

describe("who may come in", function()
    it("allow_empty_client_id = false refuses clients without a name", function()
        with_broker({ config = "allow_empty_client_id = false" }, function(b)
            for version = 3, 5 do expect_refused(b, version, { client_id = "", clean = true }, 2, 0x85) end
            b:client("c"):ping()
        end)
    end)

    it("allow_empty_client_id = false lets a connect handler give the name", function()
        with_broker({ config = [[
            allow_empty_client_id = false
            sol.on("connect", function(_, connect) connect.client_id = "named" end)
        ]] }, function(b)
            b:client("", { version = 4 }):ping()
        end)
    end)

    for version = 3, 5 do
        it("protocol_versions refuses what is not in it: level " .. version, function()
            local others = {}
            for other = 3, 5 do if other ~= version then others[#others + 1] = other end end
            with_broker({ config = ("protocol_versions = { %s }"):format(table.concat(others, ", ")) }, function(b)
                expect_refused(b, version, {}, 1, 0x84)
                for _, other in ipairs(others) do b:client("c" .. other, { version = other }):ping() end
            end)
        end)
    end

    it("protocol_versions comes before every handler", function()
        with_broker({ config = [[
            protocol_versions = { 5 }
            sol.on("connect", function(client) sol.log.info("asked about %s", client.id) end)
        ]] }, function(b)
            expect_refused(b, 4, { client_id = "old" }, 1)
            b:client("new", { version = 5 }):ping()
            b:log_wait "asked about new"
            assert.is_nil(b:log():find "asked about old")
        end)
    end)

    it("strict_3_1_ids refuses long names of MQTT 3.1 clients alone", function()
        with_broker({ config = "strict_3_1_ids = true" }, function(b)
            b:client(("x"):rep(23), { version = 3 }):ping()
            b:client(("é"):rep(23), { version = 3 }):ping() -- characters, not bytes
            expect_refused(b, 3, { client_id = ("x"):rep(24) }, 2)
            b:client(("x"):rep(24), { version = 4 }):ping()
            b:client(("x"):rep(25), { version = 5 }):ping()
        end)
        with_broker({}, function(b) b:client(("x"):rep(24), { version = 3 }):ping() end)
    end)
end)

describe("a reload", function()
    it("leaves the limits of a connection as they were announced", function()
        with_broker({}, function(b)
            local c = b:client("c", { version = 5 }):subscribe("t", 2)
            local from = #b:log() + 1
            b:configure "max_qos = 0"
            b:signal "HUP"
            b:log_wait("reload", from, 15)
            c:publish("t", "x", { qos = 2 }):expect_publish("t", "x", { qos = 2 }):ack()
            assert.equal(0, b:client("new", { version = 5 }).connack.props.maximum_qos)
        end)
    end)
end)
