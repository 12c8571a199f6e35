-- SPDX-License-Identifier: BSD-2-Clause
--
-- MQTT 5.0, section 3.2: CONNACK, and what a server says of itself there.

local mqtt = require "support.mqtt"
local shared = require "spec.conformance.shared"

-- The reason codes of table 3-1.
local CODES = {}
for _, code in ipairs { 0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
    0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F } do
    CODES[code] = true
end

local REASON = ("because "):rep(40)

-- The identifier "deny-XX" is refused with that code and a long reason.
local CONFIG = ([[
    allow_anonymous = true
    max_inflight = 10
    max_packet_size = 5000
    sol.on("connect", function(client, connect)
        local code = connect.client_id:match "deny%%-(%%x%%x)"
        if code then return sol.deny(tonumber(code, 16), %q) end
        if connect.client_id:match "slower" then connect.keep_alive = 7 end
    end)
]]):format(REASON)

describe("MQTT 5.0", function()
    local test = shared.broker({ version = 5, config = CONFIG }, it, teardown)

    test("[MQTT-3.2.0-2] sends one CONNACK", function(b)
        b:client("c"):ping():expect_nothing()
        b:client("d"):send({ type = "CONNECT", client_id = "d" }):expect("DISCONNECT"):expect_close()
    end)

    test("[MQTT-3.2.2-1] clears the reserved flags of CONNACK", function(b, t)
        local connect = mqtt.encode({ type = "CONNECT", client_id = t, clean = false,
            props = { session_expiry = 60 } }, 5)
        for present = 0, 1 do -- no session, and one
            local bytes = shared.packet_bytes(b:raw():send_raw(connect))
            assert.equal(0x20, bytes:byte(1))
            assert.equal(present, bytes:byte(3))
        end
        local refused = mqtt.encode({ type = "CONNECT", client_id = "deny-87",
            props = { maximum_packet_size = 60 } }, 5)
        assert.equal(0, shared.packet_bytes(b:raw():send_raw(refused)):byte(3))
    end)

    test("[MQTT-3.2.2-3] says whether there was a session", function(b)
        local c = b:client("c", { clean = false, props = { session_expiry = 60 } })
        assert.is_false(c.connack.session_present)
        assert.is_true(c:reconnect().connack.session_present)
        c:disconnect(0, { session_expiry = 0 })
        assert.is_false(c:reconnect().connack.session_present)
    end)

    test("[MQTT-3.2.2-6] [MQTT-3.2.2-7] refuses with session present 0, and closes", function(b, t)
        local id = t .. "deny-87"
        local c = b:raw():send { type = "CONNECT", client_id = id, clean = false, props = { session_expiry = 60 } }
        c:expect("CONNACK", { rc = 0x87, session_present = false }):expect_close()
    end)

    test("[MQTT-3.2.2-8] uses the codes that are made for CONNACK", function(b)
        for code = 0x80, 0xA2 do
            local c = b:client(("deny-%02X"):format(code), { connack = false })
            local ack = c:expect "CONNACK"
            assert.is_true(ack.rc >= 0x80 and CODES[ack.rc], ("CONNACK 0x%02X"):format(ack.rc))
            if CODES[code] then assert.equal(code, ack.rc) end
            c:expect_close()
        end
    end)

    test("[MQTT-3.2.2-9] [MQTT-3.2.2-14] names no maximum QoS where all are available", function(b)
        local props = b:client("c").connack.props
        assert.is_nil(props.maximum_qos)
        assert.is_not.equal(0, props.retain_available)
    end)

    test("[MQTT-3.2.2-15] ends the connection over a packet above its maximum size", function(b)
        local c = b:client("c")
        assert.equal(5000, c.connack.props.maximum_packet_size)
        c:publish("t", ("x"):rep(5000 - 7)):ping()
        c:publish("t", ("x"):rep(5000 - 7 + 1)):expect_disconnect(0x95)
    end)

    test("[MQTT-3.2.2-17] ends the connection over a topic alias above its maximum", function(b)
        local c = b:client("c")
        local most = c.connack.props.topic_alias_maximum or 0
        c:publish("t", "x", { props = { topic_alias = most + 1 } }):expect_disconnect(0x94)
    end)

    test("[MQTT-3.2.2-19] [MQTT-3.2.2-20] leaves a reason out of CONNACK that would make it too large", function(b)
        local c = b:client("deny-87", { connack = 0x87 })
        assert.equal(REASON, c.connack.props.reason)
        local small = b:client("deny-87", { connack = 0x87, props = { maximum_packet_size = 100 } })
        assert.is_nil(small.connack.props.reason)
        assert.is_nil(small.connack.props.user)
    end)

    test("[MQTT-3.2.2-21] names a keep-alive of its own", function(b)
        assert.equal(7, b:client("slower", { keepalive = 60 }).connack.props.server_keep_alive)
    end)

    test("[MQTT-3.2.2-22] heeds the client's keep-alive when it names none", function(b)
        local c = b:client("c", { keepalive = 1 })
        assert.is_nil(c.connack.props.server_keep_alive)
        c:expect("DISCONNECT", { rc = 0x8D }, 5):expect_close()
    end)
end)

describe("MQTT 5.0 with less than all", function()
    local test = shared.broker({ version = 5, config = "max_qos = 1\nretain_available = false" }, it, teardown)

    test("[MQTT-3.2.2-9] names the maximum QoS", function(b)
        assert.equal(1, b:client("c").connack.props.maximum_qos)
    end)

    test("[MQTT-3.2.2-10] takes SUBSCRIBE of any QoS", function(b, t)
        local c = b:client("c")
        for qos = 0, 2 do
            c:subscribe({ { filter = t, qos = qos } })
            assert.is_true(c.last.codes[1] <= qos)
        end
    end)

    test("[MQTT-3.2.2-11] ends the connection over PUBLISH above the maximum QoS", function(b, t)
        b:client("c"):publish(t, "x", { qos = 2, wait = false }):expect_disconnect(0x9B)
    end)

    test("[MQTT-3.2.2-12] refuses a will above the maximum QoS", function(b, t)
        b:client("c", { will = { topic = t, payload = "x", qos = 2 }, connack = 0x9B }):expect_close()
        b:client("d", { will = { topic = t, payload = "x", qos = 1 } }):ping()
    end)

    test("[MQTT-3.2.2-13] refuses a retained will", function(b, t)
        b:client("c", { will = { topic = t, payload = "x", retain = true }, connack = 0x9A }):expect_close()
    end)

    test("[MQTT-3.2.2-14] says that retain is not available, and ends the connection over it", function(b, t)
        local c = b:client("c")
        assert.equal(0, c.connack.props.retain_available)
        c:publish(t, "x", { retain = true }):expect_disconnect(0x9A)
    end)
end)
