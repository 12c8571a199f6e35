-- SPDX-License-Identifier: BSD-2-Clause
--
-- MQTT 5.0, section 3.1: CONNECT.

local mqtt = require "support.mqtt"
local proc = require "support.proc"
local shared = require "spec.conformance.shared"

local hex, str = mqtt.hex, mqtt.str

-- A user name that comes must be "u" with the password "p"; the identifier "banned" is refused;
-- what happens at topics "+/no" is refused with a reason.
local CONFIG = [[
    allow_anonymous = true
    sol.on("connect", function(client, connect)
        if connect.client_id:match "banned" then return sol.deny(0x85) end
    end)
    sol.on("authenticate", function(client, credentials)
        if not credentials.username then return end
        return credentials.username == "u" and credentials.password == "p"
    end)
    sol.on("publish", "+/no", function() return sol.deny(0x99, "a reason") end)
    sol.on("subscribe", function(client, subscription)
        if subscription.filter:match "/no$" then return sol.deny(0x87, "a reason") end
    end)
]]

describe("MQTT 5.0", function()
    local test = shared.broker({ version = 5, config = CONFIG }, it, teardown)

    -- CONNECT of clean start from its flags and the payload behind the client identifier "c"
    local function connect(flags, payload, props)
        return mqtt.packet(0x10, str "MQTT" .. "\5" .. string.char(flags) .. "\0\0" .. mqtt.properties(props)
            .. str "c" .. (payload or ""))
    end

    -- this CONNECT must be refused: CONNACK of one of these codes at most, and the end
    local function refuses(name, bytes, codes)
        test(name, function(b) b:raw():send_raw(bytes):expect_refused(codes or { 0x81, 0x82 }) end)
    end

    local FIRST = {
        { "PINGREQ", "C0 00" }, { "PUBLISH", "30 05 00 01 74 00 78" }, { "AUTH", "F0 00" }, { "PUBREL", "62 02 00 01" },
        { "SUBSCRIBE", "82 07 00 01 00 00 01 74 00" }, { "DISCONNECT", "E0 00" }, { "CONNACK", "20 03 00 00 00" },
        { "type 0", "00 00" },
    }
    for _, row in ipairs(FIRST) do
        test("[MQTT-3.1.0-1] [MQTT-3.14.0-1] closes without a word when the first is " .. row[1], function(b)
            b:raw():send_raw(hex(row[2])):expect_close()
        end)
    end

    test("[MQTT-3.1.0-2] takes a second CONNECT for a protocol error", function(b)
        b:client("c"):send({ type = "CONNECT", client_id = "c2" }):expect_disconnect(0x82)
    end)

    for _, name in ipairs { "MQTX", "mqtt", "MQIsdp", "MQTTT", "" } do
        test(("[MQTT-3.1.2-1] refuses the protocol %q"):format(name), function(b)
            b:raw():send({ type = "CONNECT", protocol = name, client_id = "c" }):expect_refused { 0x84, 0x81 }
        end)
    end

    for _, level in ipairs { 6, 7, 127, 133, 255 } do
        test(("[MQTT-3.1.2-2] refuses version %d"):format(level), function(b)
            b:raw():send({ type = "CONNECT", level = level, client_id = "c" }):expect_refused { 0x84 }
        end)
    end

    refuses("[MQTT-3.1.2-3] refuses a reserved flag that is set", connect(0x03), { 0x81 })

    test("[MQTT-3.1.2-4] throws the old session away with clean start", function(b, t)
        local c = b:client("c", { clean = false, props = { session_expiry = 60 } }):subscribe(t, 1)
        local p = b:client("p")
        c:disconnect()
        p:publish(t, "old", { qos = 1 })
        c:reconnect { clean = true }
        p:publish(t, "nobody", { qos = 1 })
        assert.is_false(c.connack.session_present)
        c:expect_nothing()
    end)

    test("[MQTT-3.1.2-5] [MQTT-3.1.2-6] resumes the session, or makes one", function(b, t)
        local c = b:client("c", { clean = false, props = { session_expiry = 60 } })
        assert.is_false(c.connack.session_present)
        c:subscribe(t, 1):disconnect()
        b:client("p"):publish(t, "waits", { qos = 1 })
        assert.is_true(c:reconnect().connack.session_present)
        c:expect_publish(t, "waits", { qos = 1 }):ack():ping()
        assert.is_true(c:reconnect({ clean = true }):reconnect({ clean = false }).connack.session_present)
    end)

    test("[MQTT-3.1.2-7] [MQTT-3.1.2-8] publishes the will after the connection", function(b, t)
        local w = b:client("w"):subscribe(t, 2)
        local will = { topic = t, payload = "gone", qos = 1 }
        local c = b:client("c", { will = will })
        w:expect_nothing() -- not before
        c:drop()
        w:expect_publish(t, "gone", { qos = 1 }):ack()
        b:client("c", { will = will }):send_raw(hex "00 00") -- a protocol error
        w:expect_publish(t, "gone", { qos = 1 }):ack()
        b:client("c", { will = will }):disconnect(0x04) -- DISCONNECT with will
        w:expect_publish(t, "gone", { qos = 1 }):ack()
        b:client("c", { will = will })
        b:client("c") -- taken over, the session is new
        w:expect_publish(t, "gone", { qos = 1 }):ack():expect_nothing()
    end)

    test("[MQTT-3.1.2-8] publishes the will when delay or session are over, whichever comes first", function(b, t)
        local w, since = b:client("w"):subscribe(t), proc.now()
        local function doomed(name, delay, expiry)
            b:client(name, { clean = false, props = { session_expiry = expiry },
                will = { topic = t, payload = name, props = { will_delay = delay } } }):drop()
        end
        doomed("no session", 100, 0)
        w:expect_publish(t, "no session")
        doomed("delay", 1, 60)
        doomed("session", 60, 1)
        local got = { w:expect("PUBLISH", nil, 6).payload, w:expect("PUBLISH", nil, 6).payload }
        table.sort(got)
        assert.same({ "delay", "session" }, got)
        assert.is_true(proc.now() - since >= 0.95)
        w:expect_nothing()
    end)

    test("[MQTT-3.1.2-8] publishes a delayed will when another client start ends the session", function(b, t)
        local w = b:client("w"):subscribe(t)
        b:client("c", { clean = false, props = { session_expiry = 60 },
            will = { topic = t, payload = "x", props = { will_delay = 60 } } }):drop()
        w:expect_nothing()
        b:client("c", { clean = true })
        w:expect_publish(t, "x")
    end)

    refuses("[MQTT-3.1.2-9] refuses a will of which nothing is there", connect(0x06))
    refuses("[MQTT-3.1.2-9] refuses a will without a payload", connect(0x06, "\0" .. str "w"))
    refuses("[MQTT-3.1.2-9] refuses a will without properties", connect(0x06, str "w" .. str "x"))
    test("[MQTT-3.1.2-9] passes the will's properties on", function(b, t)
        local w = b:client("w"):subscribe(t)
        local props = { payload_format = 1, content_type = "text", response_topic = "a", correlation_data = "\0\1",
            message_expiry = 100 }
        b:client("c", { will = { topic = t, payload = "x", props = props } }):drop()
        local got = w:expect_publish(t, "x").props
        assert.is_true(got.message_expiry >= 99 and got.message_expiry <= 100)
        props.message_expiry, got.message_expiry = nil, nil
        assert.same(props, got)
    end)

    refuses("[MQTT-3.1.2-11] refuses will QoS 1 without a will", connect(0x0A))
    refuses("[MQTT-3.1.2-11] refuses will QoS 2 without a will", connect(0x12))
    refuses("[MQTT-3.1.2-12] refuses will QoS 3", connect(0x1E, "\0" .. str "w" .. str "x"))
    refuses("[MQTT-3.1.2-13] refuses will retain without a will", connect(0x22))

    test("[MQTT-3.1.2-14] publishes the will without retain", function(b, t)
        local w = b:client("w"):subscribe(t, 0, { retain_as_published = true })
        b:client("c", { will = { topic = t, payload = "x" } }):drop()
        w:expect_publish(t, "x", { retain = false })
        b:client("late"):subscribe(t):expect_nothing()
    end)

    test("[MQTT-3.1.2-15] publishes the will as retained", function(b, t)
        local w = b:client("w"):subscribe(t, 0, { retain_as_published = true })
        b:client("c", { will = { topic = t, payload = "x", retain = true } }):drop()
        w:expect_publish(t, "x", { retain = true })
        b:client("late"):subscribe(t):expect_publish(t, "x", { retain = true })
    end)

    refuses("[MQTT-3.1.2-16] refuses a user name without its flag", connect(0x02, str "u"))
    refuses("[MQTT-3.1.2-17] refuses a flag without a user name", connect(0x82))
    refuses("[MQTT-3.1.2-18] refuses a password without its flag", connect(0x82, str "u" .. str "p"))
    refuses("[MQTT-3.1.2-19] refuses a flag without a password", connect(0xC2, str "u"))
    test("[MQTT-3.1.2-17] [MQTT-3.1.2-19] takes user name and password", function(b)
        b:client("c", { username = "u", password = "p" }):ping()
        b:client("d", { username = "u", password = "wrong", connack = 0x86 }):expect_close()
    end)
    test("[MQTT-3.1.2-19] takes a password without a user name", function(b)
        b:client("c", { password = "\0\xFF" }):ping()
    end)

    test("[MQTT-3.1.2-23] keeps the session after the connection when its expiry is above 0", function(b)
        local c = b:client("c", { clean = false, props = { session_expiry = 60 } }):disconnect()
        assert.is_true(c:reconnect().connack.session_present)
        c:disconnect(0, { session_expiry = 0 })
        assert.is_false(c:reconnect({ props = { session_expiry = 0xFFFFFFFF } }).connack.session_present)
        c:drop()
        assert.is_true(c:reconnect({ props = {} }).connack.session_present)
        c:drop()
        assert.is_false(c:reconnect().connack.session_present)
    end)

    test("[MQTT-3.1.2-24] sends no packet that is larger than the client takes", function(b, t)
        local small = b:client("small", { props = { maximum_packet_size = 40 } }):subscribe(t, 1)
        local p = b:client("p")
        for size = 40 - #t - 15, 40 do p:publish(t, ("x"):rep(size), { qos = 1 }) end
        p:publish(t, "props", { qos = 1, props = { content_type = ("y"):rep(30) } })
        p:publish(t, "end", { qos = 1 })
        local largest = 0
        repeat
            local m = small:expect("PUBLISH")
            largest = math.max(largest, 2 + 2 + #m.topic + 2 + 1 + #m.payload)
            m:ack()
        until m.payload == "end"
        assert.equal(40, largest) -- and what just fits is sent
        small:expect_nothing()
    end)

    test("[MQTT-3.1.2-25] counts a message that is too large as sent", function(b, t)
        local small = b:client("small", { clean = false,
            props = { maximum_packet_size = 60, receive_maximum = 2, session_expiry = 60 } }):subscribe(t, 2)
        local other, p = b:client("other"):subscribe(t, 2), b:client("p")
        for i = 1, 5 do p:publish(t, ("large"):rep(20), { qos = 1 + i % 2 }) end
        p:publish(t, "1", { qos = 1 }):publish(t, "2", { qos = 2 }) -- the window is still free
        small:expect_publish(t, "1")
        small:expect_publish(t, "2")
        small:reconnect { props = { session_expiry = 0 } } -- not even when it takes more
        small:expect_publish(t, "1")
        small:expect_publish(t, "2"):expect_nothing()
        for _ = 1, 5 do other:expect_publish(t, ("large"):rep(20)):ack() end
    end)

    test("[MQTT-3.1.2-26] [MQTT-3.3.2-11] uses topic aliases up to the client's maximum", function(b, t)
        local c = b:client("c", { props = { topic_alias_maximum = 2 } }):subscribe(t .. "/#")
        local p, topics = b:client("p"), {}
        for i = 1, 40 do
            local topic = t .. "/a/rather/long/topic/" .. i % 5
            p:publish(topic, tostring(i))
            local m = c:expect("PUBLISH", { payload = tostring(i) })
            local alias = m.props.topic_alias
            assert.is_true(alias == nil or alias == 1 or alias == 2)
            if alias and m.topic ~= "" then topics[alias] = m.topic end
            assert.equal(topic, m.topic ~= "" and m.topic or topics[alias])
        end
    end)

    test("[MQTT-3.1.2-27] uses no topic aliases where there is no maximum, or 0", function(b, t)
        local none = b:client("none"):subscribe(t)
        local zero = b:client("zero", { props = { topic_alias_maximum = 0 } }):subscribe(t)
        local p = b:client("p")
        for i = 1, 20 do
            p:publish(t, tostring(i))
            for _, c in ipairs { none, zero } do
                assert.is_nil(c:expect_publish(t, tostring(i)).props.topic_alias)
            end
        end
    end)

    test("[MQTT-3.1.2-28] gives no response information unless asked", function(b)
        assert.is_nil(b:client("a").connack.props.response_information)
        assert.is_nil(b:client("b", { props = { request_response = 0 } }).connack.props.response_information)
        b:client("c", { props = { request_response = 1 } }):ping()
    end)

    test("[MQTT-3.1.2-29] gives no reasons where problem information is not wanted", function(b, t)
        for wanted = 0, 1 do
            local c = b:client("c" .. wanted, { props = { request_problem = wanted } })
            local expected = wanted == 1 and "a reason" or nil
            for qos = 1, 2 do
                c:publish(t .. "/no", "x", { qos = qos, rc = 0x99 })
                assert.equal(expected, c.last.props.reason)
            end
            c:subscribe(t .. "/no", 0, { rc = 0x87 })
            c:unsubscribe(t .. "/none")
            if wanted == 0 then assert.is_nil(c.last.props.reason) end
            c:publish(t, "x", { qos = 1 })
            assert.is_nil(c.last.props.user)
        end
        local c = b:client("c", { props = { request_problem = 0 } }):subscribe(t)
        b:client("p"):publish(t, "x", { props = { user = { { "a", "b" } } } })
        assert.same({ { "a", "b" } }, c:expect_publish(t, "x").props.user) -- PUBLISH keeps them
    end)

    test("[MQTT-3.1.3-1] reads identifier, will, user name and password in this order", function(b, t)
        local w = b:client("w"):subscribe(t)
        b:client("c", { username = "u", password = "p", will = { topic = t, payload = "will" } }):drop()
        w:expect_publish(t, "will")
        b:raw():send_raw(connect(0xC2, str "p" .. str "u")):expect("CONNACK", { rc = 0x86 }):expect_close()
    end)

    refuses("[MQTT-3.1.3-3] refuses a CONNECT without client identifier",
        mqtt.packet(0x10, str "MQTT" .. "\5\2\0\0\0"))
    refuses("[MQTT-3.1.3-4] refuses a client identifier that is not UTF-8",
        mqtt.packet(0x10, str "MQTT" .. "\5\2\0\0\0" .. str "\xC3\x28"), { 0x81, 0x85 })

    test("[MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16] assigns an identifier and tells it", function(b, t)
        local opts = { clean = false, props = { session_expiry = 60 } }
        local one, two = b:client("", opts):subscribe(t, 1), b:client("", opts)
        local id, other = one.connack.props.assigned_client_id, two.connack.props.assigned_client_id
        assert.is_true(#id > 0 and #other > 0 and id ~= other)
        two:ping()
        one:disconnect()
        b:client("p"):publish(t, "x", { qos = 1 })
        local again = b:raw():send { type = "CONNECT", client_id = id, clean = false }
        again:expect("CONNACK", { session_present = true })
        again:expect_publish(t, "x"):ack()
        assert.is_nil(b:client("own").connack.props.assigned_client_id)
    end)

    test("[MQTT-3.1.3-8] refuses an identifier with 0x85", function(b)
        b:client("banned", { connack = 0x85 }):expect_close()
    end)

    test("[MQTT-3.1.3-9] sends no will when the client is back before its delay is over", function(b, t)
        local w = b:client("w"):subscribe(t)
        local c = b:client("c", { clean = false, props = { session_expiry = 60 },
            will = { topic = t, payload = "x", props = { will_delay = 1 } } })
        c:drop()
        c.opts.will = nil
        c:reconnect()
        proc.sleep(1.3)
        w:expect_nothing()
    end)

    test("[MQTT-3.1.3-10] keeps the order of the will's user properties", function(b, t)
        local w = b:client("w"):subscribe(t)
        local user = { { "b", "1" }, { "a", "2" }, { "b", "1" }, { "", "3" } }
        b:client("c", { will = { topic = t, payload = "x", props = { user = user } } }):drop()
        assert.same(user, w:expect_publish(t, "x").props.user)
    end)

    refuses("[MQTT-3.1.3-11] refuses a will topic that is not UTF-8",
        connect(0x06, "\0" .. str "\xC3\x28" .. str "x"), { 0x81, 0x90 })
    refuses("[MQTT-3.1.3-12] refuses a user name that is not UTF-8", connect(0x82, str "\xC3\x28"), { 0x81, 0x86 })

    local MALFORMED = {
        { "of no bytes", hex "10 00" }, { "that ends in its flags", hex "10 08 00 04 4D 51 54 54 05 02" },
        { "with bytes behind its payload", connect(0x02, "\0") },
        { "with receive maximum 0", connect(0x02, nil, { receive_maximum = 0 }) },
        { "with maximum packet size 0", connect(0x02, nil, { maximum_packet_size = 0 }) },
        { "that asks for problem information 2", connect(0x02, nil, { request_problem = 2 }) },
        { "that asks for response information 2", connect(0x02, nil, { request_response = 2 }) },
        { "with authentication data and no method", connect(0x02, nil, { auth_data = "x" }) },
        { "with session expiry twice", connect(0x02, nil, hex "11 00 00 00 01 11 00 00 00 01") },
        { "with an unknown property", connect(0x02, nil, hex "7F 00") },
        { "with a property of PUBLISH", connect(0x02, nil, { topic_alias = 1 }) },
        { "whose will has payload format 2", connect(0x06, hex "02 01 02" .. str "w" .. str "x") },
        { "whose will has a session expiry", connect(0x06, hex "05 11 00 00 00 01" .. str "w" .. str "x") },
    }
    for _, row in ipairs(MALFORMED) do refuses("[MQTT-3.1.4-1] refuses a CONNECT " .. row[1], row[2]) end

    test("[MQTT-3.1.4-2] refuses whom it does not know", function(b)
        b:client("c", { username = "stranger", password = "p", connack = 0x86 }):expect_close()
    end)

    test("[MQTT-3.1.4-3] tells the older connection of an identifier 0x8E and ends it", function(b)
        local old = b:client("c")
        local new = b:client("c")
        old:expect("DISCONNECT", { rc = 0x8E }):expect_close()
        new:ping()
    end)

    test("[MQTT-3.1.4-4] heeds clean start, also when it takes over", function(b, t)
        local opts = { clean = false, props = { session_expiry = 60 } }
        b:client("c", opts):subscribe(t, 1)
        local two = b:client("c", opts)
        assert.is_true(two.connack.session_present)
        two:publish(t, "x", { qos = 1 }):expect_publish(t, "x"):ack()
        local three = b:client("c", { clean = true })
        assert.is_false(three.connack.session_present)
        three:publish(t, "x", { qos = 1 }):expect_nothing()
    end)

    test("[MQTT-3.1.4-5] answers an acceptable CONNECT with CONNACK 0", function(b)
        b:raw():send_raw(connect(0x02)):expect("CONNACK", { rc = 0, session_present = false })
    end)

    test("[MQTT-3.1.4-6] handles nothing that follows a refused CONNECT", function(b, t)
        local w = b:client("w"):subscribe(t)
        local packets = mqtt.encode({ type = "CONNECT", client_id = "banned" }, 5)
            .. mqtt.encode({ type = "PUBLISH", topic = t, payload = "x" }, 5) .. hex "C0 00"
        b:raw():send_raw(packets):expect("CONNACK", { rc = 0x85 }):expect_close()
        w:expect_nothing()
    end)
end)
