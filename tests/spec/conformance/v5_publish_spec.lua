-- SPDX-License-Identifier: BSD-2-Clause
--
-- MQTT 5.0, section 3.3: PUBLISH, its properties, retained messages, flow control.

local mqtt = require "support.mqtt"
local proc = require "support.proc"
local shared = require "spec.conformance.shared"

local hex, str, packet = mqtt.hex, mqtt.str, mqtt.packet

describe("MQTT 5.0", function()
    local test = shared.broker({ version = 5, config = "max_inflight = 5\nmax_topic_alias = 20" }, it, teardown)

    -- what a connected client sends must end its connection, with one of `codes`
    local function ends(name, bytes, codes)
        test(name, function(b) b:client("bad"):send_raw(bytes):expect_disconnect(codes or 0x81) end)
    end

    -- PUBLISH of QoS 0 to "t" with these properties
    local function with(props) return packet(0x30, str "t" .. mqtt.properties(props) .. "x") end

    ends("[MQTT-3.3.1-2] closes on QoS 0 with DUP", hex "38 05 00 01 74 00 78", { 0x81, 0x82 })

    ends("[MQTT-3.3.1-4] closes on QoS 3", hex "36 08 00 01 74 00 01 00 78 79")

    test("[MQTT-3.3.1-5] replaces what was retained, QoS and properties included", function(b, t)
        local p = b:client("p")
        p:publish(t, "old", { qos = 2, retain = true, props = { content_type = "old" } })
        p:publish(t, "new", { qos = 1, retain = true, props = { response_topic = "r" } })
        local m = b:client("c"):subscribe(t, 2):expect_publish(t, "new", { qos = 1, retain = true })
        assert.same({ response_topic = "r" }, m.props)
        m:ack():expect_nothing()
    end)

    test("[MQTT-3.3.1-6] delivers an empty retained message and removes what was retained", function(b, t)
        local c, p = b:client("c"):subscribe(t, 0, { retain_as_published = true }), b:client("p")
        p:publish(t, "x", { qos = 1, retain = true })
        c:expect_publish(t, "x")
        p:publish(t, "", { qos = 1, retain = true, props = { content_type = "none" } })
        c:expect_publish(t, "", { retain = true })
        b:client("late"):subscribe(t):expect_nothing()
    end)

    test("[MQTT-3.3.1-9] brings all retained messages with retain handling 0, every time", function(b, t)
        local p, c = b:client("p"), b:client("c")
        for i = 1, 3 do p:publish(t .. "/" .. i, "x", { qos = 1, retain = true }) end
        for _ = 1, 2 do
            c:subscribe(t .. "/+", 0, { retain_handling = 0 })
            for _ = 1, 3 do c:expect("PUBLISH", { payload = "x", retain = true }) end
            c:expect_nothing()
        end
    end)

    test("[MQTT-3.3.1-10] brings them with retain handling 1 to a new subscription only", function(b, t)
        b:client("p"):publish(t, "x", { qos = 1, retain = true })
        local c = b:client("c")
        c:subscribe(t, 0, { retain_handling = 1 }):expect_publish(t, "x", { retain = true })
        c:subscribe(t, 1, { retain_handling = 1 }):expect_nothing()
        c:unsubscribe(t):subscribe(t, 0, { retain_handling = 1 }):expect_publish(t, "x", { retain = true })
    end)

    test("[MQTT-3.3.1-11] brings none with retain handling 2", function(b, t)
        b:client("p"):publish(t, "x", { qos = 1, retain = true })
        local c = b:client("c"):subscribe(t, 0, { retain_handling = 2 }):expect_nothing()
        c:publish(t, "live"):expect_publish(t, "live")
    end)

    test("[MQTT-3.3.1-12] [MQTT-3.3.1-13] clears RETAIN or keeps it, as the subscription wants", function(b, t)
        local clears, p = b:client("clears"):subscribe(t, 1), b:client("p")
        local keeps = b:client("keeps"):subscribe(t, 1, { retain_as_published = true })
        for _, retain in ipairs { true, false } do
            p:publish(t, "x", { qos = 1, retain = retain })
            clears:expect_publish(t, "x", { retain = false }):ack()
            keeps:expect_publish(t, "x", { retain = retain }):ack()
        end
    end)

    ends("[MQTT-3.3.2-1] closes on PUBLISH without a topic", hex "30 00")
    ends("[MQTT-3.3.2-1] closes on PUBLISH that is shorter than its topic", hex "30 05 00 09 74 00 78")
    ends("[MQTT-3.3.2-1] closes on a topic that is not UTF-8", hex "30 06 00 02 C3 28 00 78")
    test("[MQTT-3.3.2-1] sends the topic first", function(b, t)
        local c = b:client("c")
        c:send { type = "SUBSCRIBE", id = 1, { filter = t .. "/#", qos = 1 } }
        shared.expect_bytes(c, "90 04 00 01 00 01")
        b:client("p"):publish(t .. "/größe", "x", { qos = 1 })
        assert.equal(str(t .. "/größe"), shared.packet_bytes(c):sub(3, #t + #"/größe" + 4))
    end)

    for _, topic in ipairs { "#", "+", "a/+/b", "a/#", "a#", "a+b" } do
        for qos = 0, 2 do
            test(("[MQTT-3.3.2-2] refuses PUBLISH of QoS %d to %q"):format(qos, topic), function(b)
                local c = b:client("bad"):send { type = "PUBLISH", topic = topic, payload = "x", qos = qos, id = 1 }
                c:expect_rejected(qos == 1 and "PUBACK" or "PUBREC", { 0x90, 0x81, 0x82 })
            end)
        end
    end

    -- a property must reach a subscriber who is there, one who was away, and one who comes later
    local function passed_on(name, prop, values)
        test(name, function(b, t)
            local there = b:client("there"):subscribe(t, 1)
            local away = b:client("away", { clean = false, props = { session_expiry = 60 } }):subscribe(t, 1)
            local p = b:client("p")
            away:disconnect()
            for i, value in ipairs(values) do
                p:publish(t, tostring(i), { qos = 1, retain = true, props = { [prop] = value } })
                local m = there:expect_publish(t, tostring(i))
                m:ack()
                assert.same({ [prop] = value }, m.props)
                m = b:client("late" .. i):subscribe(t):expect_publish(t, tostring(i), { retain = true })
                assert.same({ [prop] = value }, m.props)
            end
            away:reconnect()
            for i, value in ipairs(values) do
                local m = away:expect_publish(t, tostring(i))
                m:ack()
                assert.same({ [prop] = value }, m.props)
            end
        end)
    end

    passed_on("[MQTT-3.3.2-4] passes the payload format on", "payload_format", { 0, 1 })
    passed_on("[MQTT-3.3.2-15] passes the response topic on", "response_topic", { "a/b", "$x", "größe/\u{FEFF}" })
    passed_on("[MQTT-3.3.2-16] passes the correlation data on", "correlation_data", { "", "\0\xFF", ("x"):rep(1000) })
    passed_on("[MQTT-3.3.2-17] [MQTT-3.3.2-18] passes user properties on, in their order", "user",
        { { { "a", "1" } }, { { "b", "1" }, { "a", "2" }, { "b", "1" }, { "", "" } } })
    passed_on("[MQTT-3.3.2-20] passes the content type on", "content_type", { "", "text/plain", "größe" })

    test("[MQTT-3.3.2-5] deletes copies that expire before they are delivered", function(b, t)
        local c = b:client("c", { clean = false, props = { session_expiry = 60 } }):subscribe(t, 1):disconnect()
        local full = b:client("full", { props = { receive_maximum = 1 } }):subscribe(t, 1)
        local p = b:client("p")
        p:publish(t, "lasting", { qos = 1 })
        p:publish(t, "short", { qos = 1, props = { message_expiry = 1 } })
        p:publish(t, "long", { qos = 1, props = { message_expiry = 100 } })
        p:publish(t .. "/kept", "short", { qos = 1, retain = true, props = { message_expiry = 1 } })
        local m = full:expect_publish(t, "lasting")
        proc.sleep(1.3)
        m:ack():expect_publish(t, "long"):ack():expect_nothing()
        c:reconnect()
        c:expect_publish(t, "lasting"):ack():expect_publish(t, "long"):ack():expect_nothing()
        b:client("late"):subscribe(t .. "/kept"):expect_nothing()
    end)

    test("[MQTT-3.3.2-6] takes the time waited off the expiry", function(b, t)
        local c = b:client("c", { clean = false, props = { session_expiry = 60 } }):subscribe(t, 1)
        local p = b:client("p"):publish(t, "at once", { qos = 1, props = { message_expiry = 100 } })
        local m = c:expect_publish(t, "at once")
        assert.is_true(m.props.message_expiry == 100 or m.props.message_expiry == 99)
        m:ack():disconnect()
        p:publish(t, "waits", { qos = 1, retain = true, props = { message_expiry = 100 } })
        proc.sleep(2.1)
        local waited = c:reconnect():expect_publish(t, "waits").props.message_expiry
        assert.is_true(waited >= 90 and waited <= 98, waited .. " s left")
        waited = b:client("late"):subscribe(t):expect_publish(t, "waits").props.message_expiry
        assert.is_true(waited >= 90 and waited <= 98, waited .. " s left, retained")
    end)

    test("[MQTT-3.3.2-7] forgets topic aliases with their connection", function(b, t)
        local c = b:client("c", { clean = false, props = { session_expiry = 60, topic_alias_maximum = 5 } })
        c:subscribe(t, 1):publish(t, "x", { qos = 1, props = { topic_alias = 1 } }):expect_publish(t, "x"):ack()
        for i = 1, 5 do c:publish(t, tostring(i)):expect("PUBLISH", { payload = tostring(i) }) end
        c:reconnect() -- the broker's own are gone too: the topic is there again
        c:publish(t, "y"):expect_publish(t, "y")
        c:publish("", "x", { props = { topic_alias = 1 } }):expect_disconnect { 0x82, 0x94 }
    end)

    ends("[MQTT-3.3.2-8] closes on topic alias 0", with { topic_alias = 0 }, { 0x94 })
    ends("[MQTT-3.3.2-9] closes on a topic alias above its maximum", with { topic_alias = 21 }, { 0x94 })
    ends("[MQTT-3.3.2-12] closes on an alias that was never set", packet(0x30, "\0\0" .. "\3\x23\0\5" .. "x"),
        { 0x82, 0x94 })
    test("[MQTT-3.3.2-12] takes every topic alias up to its maximum", function(b, t)
        local w, c = b:client("w"):subscribe(t .. "/#"), b:client("c")
        assert.equal(20, c.connack.props.topic_alias_maximum)
        for alias = 1, 20 do c:publish(t .. "/" .. alias, "set", { props = { topic_alias = alias } }) end
        for alias = 1, 20 do c:publish("", "used", { props = { topic_alias = alias } }) end
        c:publish(t .. "/other", "set", { props = { topic_alias = 20 } })
        c:publish("", "used", { props = { topic_alias = 20 } })
        for alias = 1, 20 do w:expect_publish(t .. "/" .. alias, "set") end
        for alias = 1, 20 do w:expect_publish(t .. "/" .. alias, "used") end
        w:expect_publish(t .. "/other", "set"):expect_publish(t .. "/other", "used")
    end)

    ends("[MQTT-3.3.2-13] closes on a response topic that is not UTF-8", with { response_topic = "\xC3\x28" })
    for _, topic in ipairs { "#", "a/+", "+" } do
        ends("[MQTT-3.3.2-14] closes on the response topic " .. topic, with { response_topic = topic },
            { 0x81, 0x82, 0x90 })
    end
    ends("[MQTT-3.3.2-19] closes on a content type that is not UTF-8", with { content_type = "\xC3\x28" })

    test("[MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT-3.3.4-5] sends the identifiers of all that match", function(b, t)
        local c = b:client("c")
        c:subscribe(t .. "/+", 0, { props = { subscription_id = 7 } })
        c:subscribe(t .. "/#", 1, { props = { subscription_id = 268435455 } })
        c:subscribe(t .. "/a", 1):subscribe(t .. "/b", 1, { props = { subscription_id = 9 } })
        b:client("p"):publish(t .. "/a", "x", { qos = 1 })
        local copies, ids = shared.drain(c), {}
        for _, m in ipairs(copies) do
            for _, id in ipairs(m.props.subscription_ids or {}) do ids[#ids + 1] = id end
            if #copies > 1 then assert.is_true(#(m.props.subscription_ids or {}) <= 1) end
        end
        table.sort(ids)
        assert.same({ 7, 268435455 }, ids)
        c:publish(t .. "/x/y", "z")
        assert.same({ 268435455 }, c:expect_publish(t .. "/x/y", "z").props.subscription_ids)
    end)

    ends("[MQTT-3.3.4-6] closes on PUBLISH with a subscription identifier", with { subscription_id = 1 },
        { 0x81, 0x82 })

    test("[MQTT-3.3.4-7] ends the connection when its receive maximum is exceeded", function(b, t)
        local c = b:client("c")
        assert.equal(5, c.connack.props.receive_maximum)
        for id = 1, 6 do c:publish(t, "x", { qos = 2, id = id, wait = false }) end
        for id = 1, 5 do c:expect("PUBREC", { id = id }) end
        c:expect_disconnect(0x93)
    end)

    test("[MQTT-3.3.4-7] gives the window back with PUBACK and PUBCOMP", function(b, t)
        local c = b:client("c")
        for turn = 1, 4 do
            for id = 1, 5 do c:publish(t, "x", { qos = 2, id = id, wait = false }):expect("PUBREC", { id = id }) end
            for id = 1, 5 do c:send({ type = "PUBREL", id = id }):expect("PUBCOMP", { id = id }) end
            for id = 1, 5 do c:publish(t, tostring(turn), { qos = 1, id = id }) end
        end
    end)

    test("[MQTT-3.3.4-9] [MQTT-3.3.4-10] heeds the client's receive maximum, in PUBLISH only", function(b, t)
        local c = b:client("c", { props = { receive_maximum = 2 } }):subscribe(t, 2)
        local p = b:client("p")
        for i = 1, 5 do p:publish(t, tostring(i), { qos = 1 + i % 2 }) end
        p:publish(t, "0")
        local one, two = c:expect_publish(t, "1", { qos = 2 }), c:expect_publish(t, "2", { qos = 1 })
        c:ping():subscribe(t .. "/other", 1):unsubscribe(t .. "/other")
        c:publish(t .. "/x", "in", { qos = 2 })
        for _, m in ipairs(shared.drain(c)) do assert.equal(0, m.qos) end -- QoS 0 does not count
        one:send({ type = "PUBREC", id = one.id }):expect("PUBREL", { id = one.id })
        for _, m in ipairs(shared.drain(c)) do assert.equal(0, m.qos) end -- PUBREC gives nothing back
        one:send { type = "PUBCOMP", id = one.id }
        local three = c:expect_publish(t, "3", { qos = 2 })
        three:send { type = "PUBREC", id = three.id, rc = 0x80 } -- but this does
        local four = c:expect_publish(t, "4", { qos = 1 })
        two:ack()
        c:expect_publish(t, "5", { qos = 2 }):ack()
        four:ack():expect_nothing()
    end)
end)
