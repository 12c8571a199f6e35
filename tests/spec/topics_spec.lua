-- SPDX-License-Identifier: BSD-2-Clause
--
-- Which filters match which topics, overlaps, and names that are not allowed.

local mqtt = require "support.mqtt"
local with_broker = require("support.broker").with_broker

describe("filters", function()
    -- filter, topics that match, topics that do not
    local rows = {
        { "a/b", { "a/b" }, { "a", "a/b/", "/a/b", "a/c", "A/b", "a/b/c" } },
        { "a/+", { "a/b", "a/", "a/x y" }, { "a", "a/b/c", "b/a" } },
        { "+", { "a", "finance" }, { "/a", "a/b", "a/", "$x" } },
        { "+/+", { "/a", "a/b", "a/", "/" }, { "a", "a/b/c", "$x/y" } },
        { "/+", { "/a", "/" }, { "a", "/a/b", "a/b" } },
        { "a/+/c", { "a/b/c", "a//c" }, { "a/c", "a/b/d", "a/b/c/d" } },
        { "#", { "a", "a/b", "/", "/a/b/c" }, { "$SYS", "$x/y" } },
        { "a/#", { "a", "a/", "a/b", "a/b/c/d" }, { "b", "ab", "/a" } },
        { "/#", { "/", "/a", "/a/b" }, { "a", "a/b" } },
        { "+/#", { "a", "a/b", "/", "a/b/c" }, { "$x", "$x/y" } },
        { "+/b/#", { "a/b", "a/b/c", "/b" }, { "b", "a/c/b", "$x/b" } },
        { "a/+/#", { "a/b", "a/b/c", "a/" }, { "a", "b/a" } },
        { "$x/#", { "$x", "$x/y", "$x/y/z" }, { "x", "x/y", "$xy" } },
        { "$x/+", { "$x/y" }, { "$x", "$x/y/z", "x/y" } },
        { "+/+/#", { "a/b", "a/b/c", "//" }, { "a", "$x/b" } },
        { "a//b", { "a//b" }, { "a/b", "a/x/b" } },
        { "é/日本/🐎", { "é/日本/🐎" }, { "e/日本/🐎" } },
        { " a / b ", { " a / b " }, { "a/b", " a/ b " } },
    }
    for _, row in ipairs(rows) do
        it(("%q matches as the standard says"):format(row[1]), function() -- [MQTT-4.7]
            with_broker({}, function(b)
                local c = b:client("c"):subscribe(row[1])
                local p = b:client("p")
                for _, topic in ipairs(row[2]) do
                    p:publish(topic, "yes")
                    c:expect_publish(topic, "yes")
                end
                for _, topic in ipairs(row[3]) do p:publish(topic, "no") end
                c:expect_nothing()
            end)
        end)
    end

    it("match topics of two hundred levels", function()
        with_broker({}, function(b)
            local topic = ("l/"):rep(199) .. "end"
            local c = b:client("c"):subscribe(("+/"):rep(199) .. "end"):subscribe("other/#")
            c:publish(topic, "x"):expect_publish(topic, "x"):expect_nothing()
        end)
    end)

    it("match topics of 65,535 bytes", function()
        with_broker({}, function(b)
            local topic = ("x"):rep(65535)
            local c = b:client("c"):subscribe(topic, 1)
            c:publish(topic, "long", { qos = 1 }):expect_publish(topic, "long"):ack():expect_nothing()
        end)
    end)
end)

for version = 3, 5 do
    describe("subscriptions at protocol level " .. version, function()
        it("that overlap bring one copy with the highest QoS", function() -- [MQTT-3.3.5-1]
            with_broker({}, function(b)
                local c = b:client("c", { version = version })
                c:subscribe("a/+", 0):subscribe("a/b", 2):subscribe("#", 1):subscribe("+/b", 0)
                b:client("p"):publish("a/b", "x", { qos = 2 })
                c:expect_publish("a/b", "x", { qos = 2 }):ack():expect_nothing()
            end)
        end)

        it("are replaced by subscribing again with another QoS", function() -- [MQTT-3.8.4-3]
            with_broker({}, function(b)
                local c = b:client("c", { version = version }):subscribe("t", 2):subscribe("t", 0)
                b:client("p"):publish("t", "x", { qos = 2 })
                c:expect_publish("t", "x", { qos = 0 }):expect_nothing()
            end)
        end)

        it("end with UNSUBSCRIBE", function()
            with_broker({}, function(b)
                local c = b:client("c", { version = version }):subscribe("t", 1):subscribe("u", 1):unsubscribe("t")
                b:client("p"):publish("t", "no", { qos = 1 }):publish("u", "yes", { qos = 1 })
                c:expect_publish("u", "yes"):ack():expect_nothing()
            end)
        end)

        it("end only where the filter is the same", function()
            with_broker({}, function(b)
                local c = b:client("c", { version = version }):subscribe("a/+"):unsubscribe("a/b"):unsubscribe("#")
                c:publish("a/b", "x"):expect_publish("a/b", "x"):expect_nothing()
            end)
        end)

        it("may be many in one packet, each with its own answer", function()
            with_broker({}, function(b)
                local c = b:client("c", { version = version }):subscribe {
                    { filter = "a", qos = 0 }, { filter = "b", qos = 1 }, { filter = "c/#", qos = 2 } }
                assert.same({ 0, 1, 2 }, c.last.codes)
                c:unsubscribe { "a", "c/#" }
                c:publish("a", "no"):publish("b", "yes"):publish("c/d", "no")
                c:expect_publish("b", "yes"):expect_nothing()
            end)
        end)

        it("reach a hundred subscribers once each", function()
            with_broker({}, function(b)
                local all = {}
                for i = 1, 100 do
                    all[i] = b:client("c" .. i, { version = version }):subscribe(i % 2 == 0 and "t/#" or "t/+", i % 3)
                end
                b:client("p"):publish("t/x", "hello", { qos = 2 })
                for i, c in ipairs(all) do
                    c:expect_publish("t/x", "hello", { qos = i % 3 }):ack():expect_nothing(true)
                end
            end)
        end)

        for _, filter in ipairs { "a/#/b", "a#", "#a", "a/b#", "a+", "+a", "a/+b", "a/b+/c", "##", "a/##", "++" } do
            it(("may not have the filter %q"):format(filter), function() -- [MQTT-4.7.1-2..3]
                with_broker({}, function(b)
                    local c = b:client("c", { version = version })
                    c:send { type = "SUBSCRIBE", id = 1, { filter = filter, qos = 0 } }
                    c:expect_rejected("SUBACK", { 0x80, 0x8F, 0x81, 0x82 })
                    b:client("other"):ping()
                end)
            end)
        end

        for _, topic in ipairs { "a/#", "a/+/b", "+", "#" } do
            it(("may not be published to as %q"):format(topic), function() -- [MQTT-3.3.2-2]
                with_broker({}, function(b)
                    local other = b:client("other"):subscribe("#")
                    local c = b:client("c", { version = version })
                    c:publish(topic, "x", { qos = 1, wait = false })
                    local m = c:expect_rejected("PUBACK", { 0x90, 0x81, 0x82 })
                    assert.is_true(m == nil or version == 5)
                    other:expect_nothing()
                end)
            end)
        end
    end)
end

it("an empty filter is refused", function() -- [MQTT-4.7.3-1]
    with_broker({}, function(b)
        local c = b:client("c")
        c:send { type = "SUBSCRIBE", id = 1, { filter = "", qos = 0 } }
        c:expect_rejected("SUBACK", { 0x80, 0x8F, 0x81, 0x82 })
    end)
end)

it("an empty topic is refused", function() -- [MQTT-4.7.3-1]
    with_broker({}, function(b)
        local other = b:client("other"):subscribe("#")
        b:client("c"):publish("", "x"):expect_end {}
        other:expect_nothing()
    end)
end)

it("a filter with QoS 3 is a protocol error", function() -- [MQTT-3.8.3-4]
    with_broker({}, function(b)
        b:client("c"):send_raw(mqtt.hex "82 06 00 01 00 01 74 03"):expect_close()
        b:client("d", { version = 5 }):send_raw(mqtt.hex "82 07 00 01 00 00 01 74 03")
            :expect_disconnect { 0x81, 0x82 }
    end)
end)

describe("SUBSCRIBE of MQTT 5", function()
    it("answers UNSUBSCRIBE filter by filter, 0x11 where there was none", function()
        with_broker({}, function(b)
            local c = b:client("c", { version = 5 }):subscribe("a"):unsubscribe { "a", "nothing" }
            assert.same({ 0x00, 0x11 }, c.last.codes)
        end)
    end)
end)
