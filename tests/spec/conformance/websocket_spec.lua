-- SPDX-License-Identifier: BSD-2-Clause
--
-- MQTT 3.1.1 and 5.0, chapter 6: MQTT over WebSocket, which says the same in both.

local mqtt = require "support.mqtt"
local shared = require "spec.conformance.shared"
local websocket = require "spec.conformance.websocket"

local NAMES = { [4] = "MQTT 3.1.1", [5] = "MQTT 5.0" }
local LISTEN = [[listen "mqtt://127.0.0.1:$PORT"
listen "ws://127.0.0.1:$PORT2/mqtt"]]

local PING, PONG = "\xC0\0", "\xD0\0"

-- Read the CONNACK: the bytes must be one, whole, and accept.
local function expect_connack(ws)
    local head = ws:bytes(2)
    local packet = #head >= head:byte(2) + 2 and head or head .. ws:bytes(head:byte(2) + 2 - #head)
    assert.equal("\x20", packet:sub(1, 1))
    assert.equal("\0\0", packet:sub(3, 4))
end

for version, name in pairs(NAMES) do
    describe(name, function()
        local CONNECT = mqtt.encode({ type = "CONNECT", client_id = "ws" }, version)
        local test = shared.broker({ version = version, listen = LISTEN }, it, teardown)

        test("[MQTT-6.0.0-1] speaks in binary frames", function(b)
            local ws = websocket.connect(b.port2, "/mqtt", "mqtt"):send(websocket.BINARY, CONNECT)
            expect_connack(ws)
            assert.equal(PONG, ws:send(websocket.BINARY, PING):bytes(2))
        end)

        test("[MQTT-6.0.0-1] closes on a text frame", function(b)
            websocket.connect(b.port2, "/mqtt", "mqtt"):send(websocket.TEXT, CONNECT):expect_close()
            local ws = websocket.connect(b.port2, "/mqtt", "mqtt"):send(websocket.BINARY, CONNECT)
            expect_connack(ws)
            ws:send(websocket.TEXT, PING):expect_close()
        end)

        test("[MQTT-6.0.0-2] takes several packets in a frame, and a packet in several frames", function(b)
            local ws = websocket.connect(b.port2, "/mqtt", "mqtt")
            ws:send(websocket.BINARY, CONNECT .. PING .. PING:sub(1, 1))
            expect_connack(ws)
            assert.equal(PONG, ws:bytes(2))
            assert.equal(PONG, ws:send(websocket.BINARY, PING:sub(2)):bytes(2))
            for i = 1, #PING do ws:send(websocket.BINARY, PING:sub(i, i)) end
            assert.equal(PONG, ws:bytes(2))
            ws:send(websocket.BINARY, PING:sub(1, 1), true):send(0, PING:sub(2)) -- one message, two fragments
            assert.equal(PONG, ws:bytes(2))
        end)

        test("[MQTT-6.0.0-4] selects the subprotocol mqtt", function(b)
            for _, offered in ipairs { "mqtt", "chat, mqtt" } do
                local ws = websocket.connect(b.port2, "/mqtt", offered)
                assert.equal(101, ws.status)
                assert.equal("mqtt", ws.headers["sec-websocket-protocol"])
            end
        end)
    end)
end
