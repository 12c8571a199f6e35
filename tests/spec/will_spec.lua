-- SPDX-License-Identifier: BSD-2-Clause
--
-- Wills: sent when a connection ends otherwise than by a friendly DISCONNECT.

local mqtt = require "support.mqtt"
local with_broker = require("support.broker").with_broker

for version = 3, 5 do
    describe("a will at protocol level " .. version, function()
        -- a watcher of "will/#" and a client "c" whose will is `will`
        local function watched(b, will, more)
            local watcher = b:client("watcher", { version = version }):subscribe("will/#", 2)
            local opts = { version = version, will = will }
            for name, value in pairs(more or {}) do opts[name] = value end
            return watcher, b:client("c", opts)
        end

        local will = { topic = "will/c", payload = "gone" }

        for qos = 0, 2 do
            it("of QoS " .. qos .. " is sent when the connection is dropped", function() -- [MQTT-3.1.2-8]
                with_broker({}, function(b)
                    local watcher, c = watched(b, { topic = "will/c", payload = "gone", qos = qos })
                    c:drop()
                    watcher:expect_publish("will/c", "gone", { qos = qos, retain = false }):ack():expect_nothing()
                end)
            end)
        end

        it("is sent when the connection is reset", function()
            with_broker({}, function(b)
                local watcher, c = watched(b, will)
                c:reset()
                watcher:expect_publish("will/c", "gone"):expect_nothing()
            end)
        end)

        it("is sent when the client only stops sending", function()
            with_broker({}, function(b)
                local watcher, c = watched(b, will)
                c:half_close()
                watcher:expect_publish("will/c", "gone"):expect_nothing()
            end)
        end)

        it("is not sent after DISCONNECT", function() -- [MQTT-3.1.2-10]
            with_broker({}, function(b)
                local watcher, c = watched(b, will)
                c:disconnect()
                watcher:expect_nothing()
            end)
        end)

        it("is not sent when DISCONNECT and the end come together", function()
            with_broker({}, function(b)
                local watcher, c = watched(b, will)
                c:send({ type = "DISCONNECT" }):drop()
                b:client("probe"):ping()
                watcher:expect_nothing()
            end)
        end)

        it("is sent when the keep-alive runs out", function()
            with_broker({}, function(b)
                local watcher = watched(b, will, { keepalive = 1 })
                watcher:expect_publish("will/c", "gone", nil, 8):expect_nothing()
            end)
        end)

        it("is sent after a protocol error", function()
            with_broker({}, function(b)
                local watcher, c = watched(b, will)
                c:send_raw(mqtt.hex "00 00")
                watcher:expect_publish("will/c", "gone"):expect_nothing()
            end)
        end)

        it("is sent when the session is taken over", function()
            with_broker({}, function(b)
                local watcher = watched(b, will)
                b:client("c", { version = version }):ping()
                watcher:expect_publish("will/c", "gone"):expect_nothing()
            end)
        end)

        it("is sent when a later packet is cut off", function()
            with_broker({}, function(b)
                local watcher, c = watched(b, will)
                c:send_raw(mqtt.hex "30 10 00"):drop()
                watcher:expect_publish("will/c", "gone"):expect_nothing()
            end)
        end)

        it("is retained when it asks for it", function() -- [MQTT-3.1.2-17]
            with_broker({}, function(b)
                local watcher, c = watched(b, { topic = "will/c", payload = "gone", retain = true })
                c:drop()
                watcher:expect_publish("will/c", "gone", { retain = false })
                b:client("late", { version = version }):subscribe("will/c")
                    :expect_publish("will/c", "gone", { retain = true })
            end)
        end)

        it("that is empty and retained clears the topic", function()
            with_broker({}, function(b)
                b:client("p"):publish("will/c", "here", { retain = true }):ping()
                local watcher, c = watched(b, { topic = "will/c", payload = "", retain = true })
                watcher:expect_publish("will/c", "here", { retain = true })
                c:drop()
                watcher:expect_publish("will/c", "", { retain = false })
                b:client("late", { version = version }):subscribe("will/c"):expect_nothing()
            end)
        end)

        it("is that of the latest connection", function()
            with_broker({}, function(b)
                local watcher, c = watched(b, { topic = "will/c", payload = "first" })
                c:disconnect():reconnect({ will = { topic = "will/c", payload = "second" } }):drop()
                watcher:expect_publish("will/c", "second"):expect_nothing()
            end)
        end)

        it("is forgotten by a connection without one", function()
            with_broker({}, function(b)
                local watcher, c = watched(b, will)
                c:disconnect()
                c.opts.will = nil
                c:reconnect():drop()
                b:client("probe"):ping()
                watcher:expect_nothing()
            end)
        end)

        it("is sent once", function()
            with_broker({}, function(b)
                local watcher, c = watched(b, will, { clean = false,
                    props = version == 5 and { session_expiry = 60 } or nil })
                c:drop()
                watcher:expect_publish("will/c", "gone")
                c:reconnect():disconnect()
                watcher:expect_nothing()
            end)
        end)

        it("is sent to its own kept session", function()
            with_broker({}, function(b)
                local c = b:client("c", { version = version, clean = false, will = { topic = "t", payload = "me",
                    qos = 1 }, props = version == 5 and { session_expiry = 60 } or nil })
                local other = b:client("other"):subscribe("t")
                c:subscribe("t", 1):drop()
                other:expect_publish("t", "me")
                c.opts.will = nil
                c:reconnect():expect_publish("t", "me", { qos = 1 }):ack():expect_nothing()
            end)
        end)

        for _, topic in ipairs { "will/#", "will/+", "+", "" } do
            it(("on topic %q is refused"):format(topic), function()
                with_broker({}, function(b)
                    local c = b:raw { version = version }
                    c:send { type = "CONNECT", client_id = "c", will = { topic = topic, payload = "x" } }
                    c:expect_refused { 0x90, 0x82, 0x81, 0x80, 5, 2 }
                    b:client("other"):ping()
                end)
            end)
        end
    end)
end

describe("a will in MQTT 5", function()
    it("is sent by DISCONNECT with reason code 0x04", function()
        with_broker({}, function(b)
            local watcher = b:client("w"):subscribe("will")
            b:client("c", { version = 5, will = { topic = "will", payload = "gone" } }):disconnect(0x04)
            watcher:expect_publish("will", "gone"):expect_nothing()
        end)
    end)

    it("is not sent by DISCONNECT with reason code 0x00", function()
        with_broker({}, function(b)
            local watcher = b:client("w"):subscribe("will")
            b:client("c", { version = 5, will = { topic = "will", payload = "gone" } }):disconnect(0x00)
            watcher:expect_nothing()
        end)
    end)

    it("brings its properties", function()
        with_broker({}, function(b)
            local watcher = b:client("w", { version = 5 }):subscribe("will")
            local props = { content_type = "text/plain", payload_format = 1, response_topic = "r",
                correlation_data = "c", user = { { "k", "v" } } }
            b:client("c", { version = 5, will = { topic = "will", payload = "gone", props = props } }):drop()
            assert.same(props, watcher:expect_publish("will", "gone").props)
        end)
    end)
end)
