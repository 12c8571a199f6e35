-- SPDX-License-Identifier: BSD-2-Clause
--
-- Limits of one listener, and of one client by its connect handler.

local broker = require "support.broker"
local with_broker = broker.with_broker

-- Two doors: the limits stand at the one on PORT2 (which is open when that on PORT is).
local function two_doors(limits)
    return ([[
        listen { "mqtt://127.0.0.1:$PORT2", %s }
        listen "mqtt://127.0.0.1:$PORT"
    ]]):format(limits)
end

-- The same limits where one client's connect handler sets them: for those called "limited...".
local function by_handler(limits)
    return ([[
        sol.on("connect", function(client, connect)
            if not connect.client_id:find "^limited" then return end
            connect.limits = { %s }
        end)
    ]]):format(limits)
end

-- Runs `spec(b, new)` twice; `new(id, opts)` gives a client the limits hold for.
local function both_ways(limits, what, spec)
    it(what .. " (listener)", function()
        with_broker({ listen = two_doors(limits) }, function(b)
            spec(b, function(id, opts)
                opts = opts or {}
                opts.port = b.port2
                return b:client(id, opts)
            end)
        end)
    end)
    it(what .. " (connect handler)", function()
        with_broker({ config = by_handler(limits) }, function(b)
            spec(b, function(id, opts) return b:client("limited-" .. id, opts) end)
        end)
    end)
end

describe("limits of a listener or client", function()
    both_ways("max_qos = 1, max_packet_size = 300, max_inflight = 7, max_topic_alias = 3, max_keepalive = 60, "
        .. "retain_available = false, wildcard_subscription = false, shared_subscription = false, "
        .. "subscription_identifiers = false, max_session_expiry = 100",
        "are announced to those they hold for, and to nobody else", function(b, new)
            local wish = { session_expiry = 5000 }
            local props = new("c", { version = 5, keepalive = 100, props = wish }).connack.props
            assert.same({ maximum_qos = 1, maximum_packet_size = 300, receive_maximum = 7, topic_alias_maximum = 3,
                server_keep_alive = 60, retain_available = 0, wildcard_available = 0, shared_available = 0,
                subscription_id_available = 0, session_expiry = 100 }, props)
            assert.same({ maximum_packet_size = 1048576, receive_maximum = 1024, topic_alias_maximum = 32 },
                b:client("free", { version = 5, keepalive = 100, props = wish }).connack.props)
        end)

    for version = 3, 5 do
        both_ways("max_qos = 0", "end a publish above them at level " .. version, function(b, new)
            new("c", { version = version }):publish("t", "x", { qos = 1, wait = false }):expect_disconnect(0x9B)
            b:client("free"):publish("t", "x", { qos = 2 })
        end)

        both_ways("max_packet_size = 128", "bound packets at level " .. version, function(b, new)
            local c = new("c", { version = version })
            c:publish("t", ("x"):rep(100)):ping()
            c:publish("t", ("x"):rep(130)):expect_disconnect(0x95)
            b:client("free"):publish("t", ("x"):rep(1000), { qos = 1 })
        end)

        both_ways("max_topic_levels = 2, max_topic_length = 10", "bound topics at level " .. version, function(b, new)
            local refused = version == 5 and 0x8F or 0x80
            local c = new("c", { version = version })
            c:subscribe("a/b", 0):subscribe("a/b/c", 0, { rc = refused }):subscribe("abcdefghijk", 0, { rc = refused })
            b:client("free"):subscribe("a/b/c", 0):publish("a/b/c", "x"):expect_publish("a/b/c", "x")
            c:publish("a/b/c", "x"):expect_disconnect(0x90)
            new("d", { version = version }):publish("abcdefghijk", "x"):expect_disconnect(0x90)
        end)

        both_ways("max_subscriptions = 1", "bound subscriptions at level " .. version, function(b, new)
            local c = new("c", { version = version })
            c:subscribe("a", 0):subscribe("b", 0, { rc = version == 5 and 0x97 or 0x80 }):subscribe("a", 1)
            b:client("free"):subscribe("a", 0):subscribe("b", 0)
        end)

        both_ways("max_payload_size = 10", "bound payloads at level " .. version, function(b, new)
            local other = b:client("other"):subscribe("t", 0)
            local c = new("c", { version = version })
            c:publish("t", ("x"):rep(11), { qos = 1, rc = version == 5 and 0x97 or 0 })
            c:publish("t", ("x"):rep(10), { qos = 1 })
            other:expect_publish("t", ("x"):rep(10))
            b:client("free"):publish("t", ("y"):rep(11), { qos = 1 })
            other:expect_publish("t", ("y"):rep(11))
        end)
    end

    both_ways("max_inflight = 2", "bound what is on its way", function(b, new)
        local c, p = new("c"):subscribe("t", 1), b:client("p")
        for i = 1, 4 do p:publish("t", tostring(i), { qos = 1 }) end
        c:expect_publish("t", "1")
        local second = c:expect_publish("t", "2")
        c:expect_nothing()
        c:send { type = "PUBACK", id = second.id }
        c:expect_publish("t", "3")
    end)

    both_ways("max_inflight_bytes = 8", "bound its bytes", function(b, new)
        local c, p = new("c"):subscribe("t", 1), b:client("p")
        for i = 1, 3 do p:publish("t", "payload" .. i, { qos = 1 }) end
        local first = c:expect_publish("t", "payload1")
        c:expect_nothing()
        c:send { type = "PUBACK", id = first.id }
        c:expect_publish("t", "payload2")
    end)

    both_ways("max_queued = 2", "bound the queue of a session that is away", function(b, new)
        local c, p = new("c", { clean = false }):subscribe("t", 1), b:client("p")
        c:disconnect()
        for i = 1, 4 do p:publish("t", tostring(i), { qos = 1 }) end
        c:reconnect():expect_publish("t", "1"):ack()
        c:expect_publish("t", "2"):ack()
        c:expect_nothing()
    end)

    both_ways("max_queued_bytes = 1024, max_inflight = 1",
        "bound the bytes of those that wait, not of those on their way", function(b, new)
            local c, p = new("c"):subscribe("t", 1), b:client("p")
            for i = 1, 4 do p:publish("t", tostring(i):rep(500), { qos = 1 }) end
            for i = 1, 3 do c:expect_publish("t", tostring(i):rep(500)):ack() end
            c:expect_nothing()
        end)

    both_ways("message_rate = 2", "slow a client down", function(b, new)
        local other, c = b:client("other"):subscribe("t", 0), new("c")
        for i = 1, 4 do c:publish("t", tostring(i)) end
        for i = 1, 3 do other:expect_publish("t", tostring(i)) end
        other:expect_nothing(true)
        other:expect_publish("t", "4")
        b:client("free")
    end)

    it("do not inherit what the global setting says of the same limit", function()
        with_broker({ listen = two_doors "max_qos = 2", config = "max_qos = 0" }, function(b)
            b:client("c", { port = b.port2 }):publish("t", "x", { qos = 2 })
            b:client("d"):publish("t", "x", { qos = 1, wait = false }):expect_disconnect(0x9B)
        end)
    end)

    it("inherit the others, wherever they stand in the file", function()
        with_broker({ listen = two_doors "max_qos = 1", config = "max_topic_alias = 9" }, function(b)
            assert.equal(9, b:client("c", { version = 5, port = b.port2 }).connack.props.topic_alias_maximum)
        end)
    end)
end)

describe("limits of a listener alone", function()
    it("count the connections of that listener", function()
        with_broker({ listen = two_doors "max_connections = 1" }, function(b)
            for i = 1, 3 do b:client("free" .. i) end
            b:client("first", { port = b.port2, clean = false })
            b:client("no", { port = b.port2, version = 5, connack = 0x89 })
            b:client("no", { port = b.port2, version = 4, connack = 3 })
            b:client("free1", { port = b.port2, connack = 3 }) -- comes from elsewhere: one more here
            local first = b:client("first", { port = b.port2, clean = false }) -- takes its own place
            first:disconnect()
            b:client("second", { port = b.port2 })
        end)
    end)

    it("leave the global max_connections in force", function()
        with_broker({ listen = two_doors "max_connections = 5", config = "max_connections = 2" }, function(b)
            b:client("a")
            b:client("b", { port = b.port2 })
            b:client("c", { port = b.port2, connack = 3 })
        end)
    end)

    it("say which versions are served", function()
        with_broker({ listen = two_doors "protocol_versions = { 5 }" }, function(b)
            b:client("c", { port = b.port2, version = 4, connack = 1 })
            b:client("c", { port = b.port2, version = 5 })
            b:client("d", { version = 4 })
        end)
    end)

    it("say whether a client needs a name", function()
        with_broker({ listen = two_doors "allow_empty_client_id = false" }, function(b)
            b:client("", { port = b.port2, version = 5, connack = 0x85 })
            b:client("", { port = b.port2, version = 4, connack = 2 })
            b:client("", { version = 5 })
        end)
    end)

    it("say who may come without proof", function()
        with_broker({ listen = two_doors "allow_anonymous = true", config = "allow_anonymous = false" }, function(b)
            b:client("c", { port = b.port2 })
            b:client("d", { connack = 5 })
        end)
    end)

    it("say how long a connection may take to CONNECT", function()
        with_broker({ listen = two_doors "connect_timeout = 0.1" }, function(b)
            b:raw { port = b.port2 }:expect_close()
            b:client("c")
        end)
    end)
end)

describe("limits in a file", function()
    local listen = 'listen { "mqtt://127.0.0.1:1883", %s }'

    for _, row in ipairs {
        { "max_qoss = 1", 'sol.lua:1: listen: unknown option "max_qoss" %(= 1%); did you mean "max_qos"%?' },
        { "max_qos = 3", "sol.lua:1: max_qos: expected an integer from 0 to 2, got 3" },
        { "max_qos = true", "sol.lua:1: max_qos: expected an integer from 0 to 2, got true" },
        { "max_packet_size = 12", "sol.lua:1: max_packet_size: expected bytes from 128 to 268435460, got 12" },
        { "retain_available = 1", "sol.lua:1: retain_available: expected true or false, got 1" },
        { "connect_timeout = 0", "sol.lua:1: connect_timeout: expected seconds from 0.1" },
        { "protocol_versions = { 6 }", "sol.lua:1: protocol_versions: expected a list" },
        { "overlapping = 'each'", 'sol.lua:1: listen: "overlapping" .* is set for all listeners alone' },
        { "hook_budget = 1", 'sol.lua:1: listen: "hook_budget" .* is set for all listeners alone' },
    } do
        it("are refused: " .. row[1], function()
            local said, status = broker.check(listen:format(row[1]))
            assert.equal(1, status)
            assert.truthy(said:find(row[2]), said)
        end)
    end

    it("may all stand at a listener", function()
        local all = "max_qos = 1, max_session_expiry = 'never', session_expiry_3x = 60"
        local said, status = broker.check(listen:format(all))
        assert.equal(0, status, said)
    end)
end)

describe("connect.limits", function()
    -- CONNECT with this statement in the handler; what it raised is in the log, and it is refused.
    local function refused(statement, wanted)
        it("refuses " .. statement, function()
            with_broker({ config = 'sol.on("connect", function(client, connect) ' .. statement .. " end)" }, function(b)
                b:client("c", { version = 5, connack = 0x87 })
                b:log_wait(wanted)
            end)
        end)
    end

    refused("connect.limits.max_qoss = 1", 'there is no limit "max_qoss"; did you mean "max_qos"')
    refused("connect.limits.max_qos = 5", "max_qos: expected an integer from 0 to 2, got 5")
    refused("connect.limits.protocol_versions = { 5 }",
        "protocol_versions cannot be set for one client, only for a listener or for all")
    refused("connect.limits.connect_timeout = 5", "connect_timeout cannot be set for one client")
    refused("connect.limits.max_connections = 5", "max_connections cannot be set for one client")
    refused("connect.limits.log_level = 'info'", "log_level cannot be set for one client, only for all")
    refused("connect.limits = 5", "connect.limits must be a table, not a number")
    refused("connect.limits = { max_topics = 5 }", 'there is no limit "max_topics"')
    refused("kept = connect.limits", "kept")

    it("shows the listener's limits, and may go beyond them", function()
        with_broker({ listen = two_doors "max_qos = 0, max_session_expiry = 'never'", config = [[
            sol.on("connect", function(client, connect)
                local l = connect.limits
                sol.log("limits %d %s %d %s", l.max_qos, l.retain_available, l.max_packet_size, l.max_session_expiry)
                l.max_qos = 2
            end)
        ]] }, function(b)
            b:client("c", { port = b.port2 }):publish("t", "x", { qos = 2 })
            b:log_wait "limits 0 true 1048576 inf"
        end)
    end)

    it("bound the keep-alive of CONNECT and its will", function()
        with_broker({ config = [[
            sol.on("connect", function(client, connect)
                connect.limits.max_keepalive = 30
                connect.limits.max_qos = 0
                connect.limits.max_payload_size = 3
            end)
        ]] }, function(b)
            assert.equal(30, b:client("a", { version = 5 }).connack.props.server_keep_alive)
            b:client("b", { version = 4, connack = 2 })
            b:client("c", { version = 5, keepalive = 10, will = { topic = "w", payload = "x", qos = 1 },
                connack = 0x9B })
            b:client("d", { version = 5, keepalive = 10, will = { topic = "w", payload = "1234" }, connack = 0x97 })
        end)
    end)

    it("are not another client's", function()
        with_broker({ config = by_handler "max_qos = 0" }, function(b)
            b:client("limited")
            assert.is_nil(b:client("free", { version = 5 }).connack.props.maximum_qos)
        end)
    end)
end)

describe("a reload", function()
    it("leaves a connection the limits it came with, and gives new ones to the next", function()
        with_broker({ config = "max_packet_size = 200" }, function(b)
            local c = b:client("c", { version = 5 })
            b:configure "max_packet_size = 300"
            local from = #b:log()
            b:signal "HUP"
            b:log_wait("generation 2 is in place", from)
            c:publish("t", ("x"):rep(250)):expect_disconnect(0x95)
            local d = b:client("d", { version = 5 })
            assert.equal(300, d.connack.props.maximum_packet_size)
            d:publish("t", ("x"):rep(250), { qos = 1 })
        end)
    end)

    it("changes the limits of a listener that stays", function()
        with_broker({ listen = two_doors "max_qos = 1" }, function(b)
            assert.equal(1, b:client("c", { version = 5, port = b.port2 }).connack.props.maximum_qos)
            b.opts.listen = two_doors "max_qos = 0"
            b:configure ""
            local from = #b:log()
            b:signal "HUP"
            b:log_wait("generation 2 is in place", from)
            assert.equal(0, b:client("d", { version = 5, port = b.port2 }).connack.props.maximum_qos)
        end)
    end)
end)
