-- SPDX-License-Identifier: BSD-2-Clause
--
-- What only MQTT 5 has: aliases, shared subscriptions, subscription identifiers,
-- expiry, delayed wills, flow control of the publisher.

local mqtt = require "support.mqtt"
local proc = require "support.proc"
local wait = require "support.wait"
local with_broker = require("support.broker").with_broker

describe("a topic alias", function()
    it("stands for its topic once it is set, and may be set anew", function() -- [MQTT-3.3.2-12]
        with_broker({}, function(b)
            local w = b:client("w"):subscribe("#")
            local c = b:client("c", { version = 5 })
            c:publish("first", "1", { props = { topic_alias = 1 } }):publish("", "2", { props = { topic_alias = 1 } })
            c:publish("second", "3", { props = { topic_alias = 1 } }):publish("", "4", { props = { topic_alias = 1 } })
            w:expect_publish("first", "1")
            w:expect_publish("first", "2")
            w:expect_publish("second", "3")
            w:expect_publish("second", "4"):expect_nothing()
        end)
    end)

    it("is of one connection, not of the session", function() -- [MQTT-3.3.2-7]
        with_broker({}, function(b)
            local c = b:client("c", { version = 5, clean = false, props = { session_expiry = 60 } })
            c:publish("t", "x", { qos = 1, props = { topic_alias = 1 } }):disconnect():reconnect()
            c:publish("", "x", { props = { topic_alias = 1 } }):expect_disconnect { 0x82, 0x94 }
        end)
    end)

    it("that was never set is a protocol error", function()
        with_broker({}, function(b)
            b:client("c", { version = 5 }):publish("", "x", { props = { topic_alias = 3 } })
                :expect_disconnect { 0x82, 0x94 }
        end)
    end)

    it("beyond the maximum that was announced is invalid", function() -- [MQTT-3.3.2-9]
        with_broker({}, function(b)
            local c = b:client("c", { version = 5 })
            local most = c.connack.props.topic_alias_maximum or 0
            c:publish("t", "x", { props = { topic_alias = most + 1 } }):expect_disconnect(0x94)
        end)
    end)

    it("is used towards a client that takes them, within its maximum, and never towards others", function()
        with_broker({}, function(b)
            local takes = b:client("takes", { version = 5, props = { topic_alias_maximum = 2 } }):subscribe("#")
            local not_5 = b:client("not", { version = 5 }):subscribe("#")
            local p = b:client("p")
            local known = {}
            for i = 1, 30 do
                local topic = "some/rather/long/topic/" .. i % 3
                p:publish(topic, tostring(i))
                local m = takes:expect("PUBLISH", { payload = tostring(i) })
                local alias = m.props.topic_alias
                assert.is_true(alias == nil or alias >= 1 and alias <= 2)
                if alias and m.topic ~= "" then known[alias] = m.topic end
                assert.equal(topic, m.topic ~= "" and m.topic or known[alias])
                assert.is_nil(not_5:expect_publish(topic, tostring(i)).props.topic_alias)
            end
        end)
    end)
end)

describe("a shared subscription", function()
    it("gives each message to one of its group", function() -- [MQTT-4.8.2-4]
        with_broker({}, function(b)
            local members = {}
            for i = 1, 3 do members[i] = b:client("m" .. i, { version = 5 }):subscribe("$share/g/t/+", 1) end
            local outside = b:client("outside", { version = 5 }):subscribe("t/#", 1)
            local p = b:client("p")
            for i = 1, 60 do p:publish("t/x", tostring(i), { qos = 1 }) end
            local seen, n = {}, 0
            for i, c in ipairs(members) do
                c:ping()
                assert.is_true(#c.inbox > 0, "member " .. i .. " got nothing")
                while c.inbox[1] do
                    local m = c:expect("PUBLISH", { topic = "t/x" })
                    assert.is_nil(seen[m.payload])
                    seen[m.payload], n = true, n + 1
                    m:ack()
                end
            end
            assert.equal(60, n)
            for i = 1, 60 do outside:expect_publish("t/x", tostring(i)):ack() end
        end)
    end)

    it("of another name is another group", function()
        with_broker({}, function(b)
            local one = b:client("one", { version = 5 }):subscribe("$share/g/t")
            local two = b:client("two", { version = 5 }):subscribe("$share/h/t")
            b:client("p"):publish("t", "x")
            one:expect_publish("t", "x")
            two:expect_publish("t", "x")
        end)
    end)

    it("goes on with the others when a member leaves", function()
        with_broker({}, function(b)
            local one = b:client("one", { version = 5 }):subscribe("$share/g/t", 1)
            local two = b:client("two", { version = 5 }):subscribe("$share/g/t", 1)
            one:disconnect()
            local p = b:client("p")
            for i = 1, 10 do
                p:publish("t", tostring(i), { qos = 1 })
                two:expect_publish("t", tostring(i)):ack()
            end
            two:unsubscribe("$share/g/t")
            p:publish("t", "x", { qos = 1 })
            two:expect_nothing()
        end)
    end)

    it("brings no retained messages", function() -- 4.8.2
        with_broker({}, function(b)
            b:client("p"):publish("t", "x", { retain = true }):ping()
            b:client("c", { version = 5 }):subscribe("$share/g/t"):expect_nothing()
        end)
    end)

    for _, filter in ipairs { "$share//t", "$share/g", "$share/g/", "$share/g+/t", "$share/#/t" } do
        it(("may not be named %q"):format(filter), function() -- [MQTT-4.8.2-1..2]
            with_broker({}, function(b)
                local c = b:client("c", { version = 5 })
                c:send { type = "SUBSCRIBE", id = 1, { filter = filter, qos = 0 } }
                c:expect_rejected("SUBACK", { 0x8F, 0x81, 0x82 })
                b:client("other"):ping()
            end)
        end)
    end

    it("may not ask for no local copies", function() -- [MQTT-3.8.3-4]
        with_broker({}, function(b)
            local c = b:client("c", { version = 5 })
            c:send { type = "SUBSCRIBE", id = 1, { filter = "$share/g/t", qos = 0, no_local = true } }
            c:expect_disconnect(0x82)
        end)
    end)
end)

describe("a subscription identifier", function()
    it("comes with every message that it brought", function() -- [MQTT-3.3.4-3]
        with_broker({}, function(b)
            local c = b:client("c", { version = 5 })
            c:subscribe("a/+", 0, { props = { subscription_id = 1 } })
            c:subscribe("b/#", 1, { props = { subscription_id = 268435455 } })
            c:subscribe("c", 0)
            c:publish("a/x", "1"):publish("b/x", "2", { qos = 1 }):publish("c", "3")
            assert.same({ 1 }, c:expect_publish("a/x", "1").props.subscription_ids)
            assert.same({ 268435455 }, c:expect_publish("b/x", "2").props.subscription_ids)
            assert.is_nil(c:expect_publish("c", "3").props.subscription_ids)
        end)
    end)

    it("of overlapping subscriptions are sent together", function() -- [MQTT-3.3.4-4..5]
        with_broker({}, function(b)
            local c = b:client("c", { version = 5 })
            c:subscribe("a/+", 0, { props = { subscription_id = 7 } })
            c:subscribe("#", 1, { props = { subscription_id = 8 } })
            b:client("p"):publish("a/x", "m", { qos = 1 })
            local ids = c:expect_publish("a/x", "m", { qos = 1 }).props.subscription_ids
            table.sort(ids)
            assert.same({ 7, 8 }, ids)
            c:expect_nothing()
        end)
    end)

    it("is replaced by subscribing again, and comes with retained messages", function()
        with_broker({}, function(b)
            b:client("p"):publish("t", "x", { retain = true }):ping()
            local c = b:client("c", { version = 5 })
            for _, id in ipairs { 3, 4 } do
                c:subscribe("t", 0, { props = { subscription_id = id } })
                assert.same({ id }, c:expect_publish("t", "x", { retain = true }).props.subscription_ids)
            end
            c:subscribe("t", 0, { retain_handling = 2 }):publish("t", "y")
            assert.is_nil(c:expect_publish("t", "y").props.subscription_ids)
        end)
    end)
end)

describe("a message's expiry", function()
    it("is told to the receiver, less the time it has waited", function() -- [MQTT-3.3.2-6]
        with_broker({}, function(b)
            local c = b:client("c", { version = 5, clean = false, props = { session_expiry = 60 } })
            c:subscribe("t", 1)
            local p = b:client("p", { version = 5 })
            p:publish("t", "at once", { qos = 1, props = { message_expiry = 100 } })
            local m = c:expect_publish("t", "at once")
            assert.is_true(m.props.message_expiry >= 99)
            m:ack():disconnect()
            p:publish("t", "waits", { qos = 1, props = { message_expiry = 100 } })
            proc.sleep(1.2)
            c:reconnect()
            local told = c:expect_publish("t", "waits").props.message_expiry
            assert.is_true(told < 100 and told >= 90, told .. " s left")
        end)
    end)

    it("passes in the queue and in the retained store", function() -- [MQTT-3.3.2-5]
        with_broker({}, function(b)
            local c = b:client("c", { version = 5, clean = false, props = { session_expiry = 60 } })
            c:subscribe("t", 1):disconnect()
            local p = b:client("p", { version = 5 })
            p:publish("t", "short", { qos = 1, props = { message_expiry = 1 } })
            p:publish("t", "long", { qos = 1, props = { message_expiry = 100 } })
            p:publish("kept", "short", { qos = 1, retain = true, props = { message_expiry = 1 } })
            b:client("early"):subscribe("kept"):expect_publish("kept", "short", { retain = true })
            proc.sleep(1.5)
            c:reconnect():expect_publish("t", "long"):ack():expect_nothing()
            b:client("late"):subscribe("kept"):expect_nothing()
        end)
    end)
end)

describe("a delayed will", function()
    -- A client of the id `topic` (default "will") with a will on that topic.
    local function doomed(b, delay, expiry, topic)
        topic = topic or "will"
        return b:client(topic, { version = 5, clean = false, props = { session_expiry = expiry },
            will = { topic = topic, payload = "gone", props = { will_delay = delay } } })
    end

    it("waits its time", function()
        with_broker({}, function(b)
            local w = b:client("w"):subscribe("will")
            local since = proc.now()
            doomed(b, 1, 60):drop()
            w:expect_publish("will", "gone", nil, 8)
            assert.is_true(proc.now() - since >= 0.95)
        end)
    end)

    it("is not sent when the client comes back in time", function() -- [MQTT-3.1.3-9]
        with_broker({}, function(b)
            local w = b:client("w"):subscribe("will/#")
            local back = doomed(b, 2, 60, "will/of/one"):drop()
            back.opts.will = nil
            back:reconnect()
            doomed(b, 3, 60, "will/of/another"):drop()
            w:expect_publish("will/of/another", "gone", nil, 8):expect_nothing()
        end)
    end)

    it("is sent when the session ends before", function()
        with_broker({}, function(b)
            local w = b:client("w"):subscribe("will")
            local since = proc.now()
            doomed(b, 60, 1):drop()
            w:expect_publish("will", "gone", nil, 8)
            assert.is_true(proc.now() - since < wait.scaled(8))
        end)
    end)
end)

describe("the receive maximum of the broker", function()
    it("may be used up and is given back", function()
        with_broker({ config = "max_inflight = 3" }, function(b)
            local c = b:client("c", { version = 5 })
            assert.equal(3, c.connack.props.receive_maximum)
            for turn = 1, 5 do
                for i = 1, 3 do c:publish("t", "x", { qos = 2, id = turn * 10 + i, wait = false }) end
                for i = 1, 3 do c:expect("PUBREC", { id = turn * 10 + i }) end
                for i = 1, 3 do
                    c:send({ type = "PUBREL", id = turn * 10 + i }):expect("PUBCOMP", { id = turn * 10 + i })
                end
            end
        end)
    end)

    it("may not be exceeded", function() -- [MQTT-3.3.4-7..8]
        with_broker({ config = "max_inflight = 3" }, function(b)
            local c = b:client("c", { version = 5 })
            for id = 1, 4 do c:publish("t", "x", { qos = 2, id = id, wait = false }) end
            for id = 1, 3 do c:expect("PUBREC", { id = id }) end
            c:expect_disconnect(0x93)
        end)
    end)
end)

describe("$SYS", function()
    it("has figures of the broker, and nobody else writes there", function()
        with_broker({ config = "sys_interval = 1" }, function(b)
            local c = b:client("c", { version = 5 }):subscribe("$SYS/broker/#")
            local m = c:expect("PUBLISH", nil, 10)
            assert.matches("^%$SYS/broker/", m.topic)
            c:publish("$SYS/broker/uptime", "for ever", { qos = 1, rc = 0x87 })
            b:client("d"):subscribe("#"):expect_nothing()
        end)
    end)
end)

it("a reason string is kept from a client that wants none", function() -- [MQTT-3.1.2-29]
    with_broker({ config = [[
        sol.on("publish", function() return sol.deny(0x99, "a reason") end)
        sol.on("subscribe", function() return sol.deny(0x87, "a reason") end)
    ]] }, function(b)
        for wanted = 0, 1 do
            local c = b:client("c", { version = 5, props = { request_problem = wanted } })
            c:publish("t", "x", { qos = 1, rc = 0x99 })
            assert.equal(wanted == 1 and "a reason" or nil, c.last.props.reason)
            c:subscribe("t", 0, { rc = 0x87 })
            if wanted == 0 then assert.is_nil(c.last.props.reason) end
            c:disconnect()
        end
    end)
end)

it("a client may not send what only a broker may", function()
    for _, packet in ipairs { "D0 00", "90 04 00 01 00 00", "B0 04 00 01 00 00", "20 03 00 00 00" } do
        with_broker({}, function(b)
            b:client("c", { version = 5 }):send_raw(mqtt.hex(packet)):expect_disconnect { 0x81, 0x82 }
            b:client("other"):ping()
        end)
    end
end)
