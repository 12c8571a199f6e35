-- SPDX-License-Identifier: BSD-2-Clause
--
-- MQTT 3.1.1, sections 3.1 and 3.2: CONNECT and CONNACK.

local mqtt = require "support.mqtt"
local shared = require "spec.conformance.shared"

local hex, str = mqtt.hex, mqtt.str

-- A user name that comes must be "u" with the password "p"; the identifier "banned" is refused.
local CONFIG = [[
    allow_anonymous = true
    sol.on("connect", function(client, connect)
        if connect.client_id:match "banned" then return sol.deny(0x85) end
    end)
    sol.on("authenticate", function(client, credentials)
        if not credentials.username then return end
        return credentials.username == "u" and credentials.password == "p"
    end)
]]

describe("MQTT 3.1.1", function()
    local test = shared.broker({ config = CONFIG }, it, teardown)

    -- these first bytes of a connection must end it without an answer
    local function refuses(name, bytes)
        test(name, function(b) b:raw():send_raw(bytes):expect_close() end)
    end

    -- CONNECT of clean session from its flags and the payload behind the client identifier "c"
    local function connect(flags, payload)
        return mqtt.packet(0x10, str "MQTT" .. "\4" .. string.char(flags) .. "\0\0" .. str "c" .. (payload or ""))
    end

    local FIRST = {
        { "PINGREQ", "C0 00" }, { "PUBLISH", "30 04 00 01 74 78" }, { "SUBSCRIBE", "82 06 00 01 00 01 74 00" },
        { "DISCONNECT", "E0 00" }, { "PUBREL", "62 02 00 01" }, { "CONNACK", "20 02 00 00" }, { "type 0", "00 00" },
        { "type 15", "F0 00" },
    }
    for _, row in ipairs(FIRST) do
        refuses("[MQTT-3.1.0-1] closes when the first packet is " .. row[1], hex(row[2]))
    end

    test("[MQTT-3.1.0-2] closes on a second CONNECT", function(b)
        b:client("c"):send({ type = "CONNECT", client_id = "c2" }):expect_close()
    end)

    for _, name in ipairs { "MQTX", "mqtt", "MQIsdpx", "" } do
        test(("[MQTT-3.1.2-1] does not serve the protocol %q"):format(name), function(b)
            local c = b:raw { protocol = name, level = 4 }
            c:send { type = "CONNECT", protocol = name, client_id = "c" }
            c:expect_refused { 1 }
        end)
    end

    for _, level in ipairs { 0, 1, 2 } do
        test(("[MQTT-3.1.2-2] refuses protocol level %d with CONNACK 1"):format(level), function(b)
            local c = b:raw():send { type = "CONNECT", level = level, client_id = "c" }
            shared.expect_bytes(c, "20 02 00 01"):expect_close()
        end)
    end

    refuses("[MQTT-3.1.2-3] closes when the reserved flag is set", connect(0x03))

    test("[MQTT-3.1.2-4] resumes the session, makes one where there is none, and keeps it", function(b, t)
        local c = b:client("c", { clean = false }):subscribe(t, 1)
        assert.is_false(c.connack.session_present)
        c:disconnect():reconnect()
        assert.is_true(c.connack.session_present)
        c:publish(t, "still subscribed", { qos = 1 }):expect_publish(t, "still subscribed"):ack():drop()
        assert.is_true(c:reconnect().connack.session_present)
    end)

    test("[MQTT-3.1.2-5] keeps QoS 1 and 2 messages for a session that is away", function(b, t)
        local c = b:client("c", { clean = false }):subscribe(t, 2):disconnect()
        b:client("p"):publish(t, "1", { qos = 1 }):publish(t, "2", { qos = 2 }):publish(t, "3", { qos = 1 })
        c:reconnect()
        c:expect_publish(t, "1", { qos = 1 }):ack()
        c:expect_publish(t, "2", { qos = 2 }):ack()
        c:expect_publish(t, "3", { qos = 1 }):ack()
    end)

    test("[MQTT-3.1.2-6] begins anew with clean session, and keeps nothing of it", function(b, t)
        local c, p = b:client("c", { clean = false }):subscribe(t, 1):disconnect(), b:client("p")
        p:publish(t, "old", { qos = 1 })
        c:reconnect { clean = true }
        c:subscribe(t .. "/new", 1)
        p:publish(t, "nobody", { qos = 1 })
        c:expect_nothing():disconnect()
        p:publish(t .. "/new", "nobody", { qos = 1 })
        c:reconnect { clean = false }
        assert.is_false(c.connack.session_present)
        p:publish(t .. "/new", "nobody", { qos = 1 })
        c:expect_nothing()
    end)

    test("[MQTT-3.1.2-7] keeps retained messages when the session ends", function(b, t)
        b:client("p"):publish(t, "kept", { qos = 1, retain = true }):disconnect()
        b:client("p"):disconnect()
        b:client("s"):subscribe(t):expect_publish(t, "kept", { retain = true })
    end)

    test("[MQTT-3.1.2-8] publishes the will when the connection is lost", function(b, t)
        local w = b:client("w"):subscribe(t, 2)
        local will = { topic = t, payload = "gone", qos = 1 }
        local c = b:client("c", { will = will })
        w:expect_nothing() -- not before
        c:drop()
        w:expect_publish(t, "gone", { qos = 1 }):ack()
        b:client("c", { will = will }):send_raw(hex "00 00") -- a protocol error
        w:expect_publish(t, "gone", { qos = 1 }):ack()
        b:client("c", { will = will })
        b:client("c") -- taken over
        w:expect_publish(t, "gone", { qos = 1 }):ack():expect_nothing()
    end)

    test("[MQTT-3.1.2-8] keeps no will of a CONNECT that is refused", function(b, t)
        local w = b:client("w"):subscribe(t)
        b:client("banned", { will = { topic = t, payload = "x" }, connack = 2 }):expect_close()
        w:expect_nothing()
    end)

    refuses("[MQTT-3.1.2-9] closes when the will flag is set and nothing of it is there", connect(0x06))
    refuses("[MQTT-3.1.2-9] closes when the will message is missing", connect(0x06, str "w"))
    test("[MQTT-3.1.2-9] heeds the will's QoS and retain", function(b, t)
        local w = b:client("w"):subscribe(t, 2)
        b:client("c", { will = { topic = t, payload = "x", qos = 2, retain = true } }):drop()
        w:expect_publish(t, "x", { qos = 2, retain = false }):ack()
        b:client("late"):subscribe(t, 2):expect_publish(t, "x", { qos = 2, retain = true }):ack()
    end)

    refuses("[MQTT-3.1.2-11] closes on a will in the payload without the flag", connect(0x02, str "w" .. str "x"))
    refuses("[MQTT-3.1.2-11] [MQTT-3.1.2-13] closes on will QoS 1 without a will", connect(0x0A))
    refuses("[MQTT-3.1.2-11] [MQTT-3.1.2-13] closes on will QoS 2 without a will", connect(0x12))
    refuses("[MQTT-3.1.2-11] [MQTT-3.1.2-15] closes on will retain without a will", connect(0x22))

    test("[MQTT-3.1.2-12] publishes nothing when there was no will", function(b, t)
        local w = b:client("w"):subscribe(t .. "/#")
        b:client("c", { clean = false, will = { topic = t, payload = "x" } }):disconnect()
        b:client("c", { clean = false }):drop()
        w:expect_nothing()
    end)

    refuses("[MQTT-3.1.2-14] closes on will QoS 3", connect(0x1E, str "w" .. str "x"))

    test("[MQTT-3.1.2-16] publishes the will without retain", function(b, t)
        local w = b:client("w"):subscribe(t)
        b:client("c", { will = { topic = t, payload = "x" } }):drop()
        w:expect_publish(t, "x", { retain = false })
        b:client("late"):subscribe(t):expect_nothing()
    end)

    test("[MQTT-3.1.2-17] publishes the will as retained", function(b, t)
        local w = b:client("w"):subscribe(t)
        b:client("c", { will = { topic = t, payload = "x", retain = true } }):drop()
        w:expect_publish(t, "x")
        b:client("late"):subscribe(t):expect_publish(t, "x", { retain = true })
    end)

    refuses("[MQTT-3.1.2-18] closes on a user name without its flag", connect(0x02, str "u"))
    refuses("[MQTT-3.1.2-19] closes when the user name is missing", connect(0x82))
    refuses("[MQTT-3.1.2-20] closes on a password without its flag", connect(0x82, str "u" .. str "p"))
    refuses("[MQTT-3.1.2-21] closes when the password is missing", connect(0xC2, str "u"))
    refuses("[MQTT-3.1.2-22] closes on a password without a user name", connect(0x42, str "p"))
    test("[MQTT-3.1.2-19] [MQTT-3.1.2-21] takes user name and password", function(b)
        b:client("c", { username = "u", password = "p" }):ping()
        b:client("d", { username = "u", password = "wrong", connack = 4 }):expect_close()
    end)

    test("[MQTT-3.1.3-1] reads identifier, will, user name and password in this order", function(b, t)
        local w = b:client("w"):subscribe(t)
        local c = b:client("c", { username = "u", password = "p", will = { topic = t, payload = "will" } })
        c:drop()
        w:expect_publish(t, "will")
        local swapped = connect(0xC6, str "u" .. str "p" .. str(t) .. str "will")
        b:raw():send_raw(swapped):expect("CONNACK", { rc = 4 }):expect_close()
    end)

    refuses("[MQTT-3.1.3-3] closes when there is no client identifier",
        mqtt.packet(0x10, str "MQTT" .. "\4\2\0\0"))
    refuses("[MQTT-3.1.3-4] closes when the client identifier is not UTF-8",
        mqtt.packet(0x10, str "MQTT" .. "\4\2\0\0" .. str "\xC3\x28"))

    test("[MQTT-3.1.3-6] gives clients of empty identifier different ones", function(b, t)
        local one, two = b:client(""):subscribe(t), b:client(""):subscribe(t)
        b:client("p"):publish(t, "x")
        one:expect_publish(t, "x"):ping()
        two:expect_publish(t, "x"):ping()
    end)

    test("[MQTT-3.1.3-7] [MQTT-3.1.3-8] refuses an empty identifier without clean session", function(b)
        local c = b:raw():send { type = "CONNECT", client_id = "", clean = false }
        shared.expect_bytes(c, "20 02 00 02"):expect_close()
    end)

    test("[MQTT-3.1.3-9] refuses an identifier with CONNACK 2", function(b)
        local c = b:raw():send { type = "CONNECT", client_id = "banned" }
        shared.expect_bytes(c, "20 02 00 02"):expect_close()
    end)

    refuses("[MQTT-3.1.3-10] closes when the will topic is not UTF-8", connect(0x06, str "\xC3\x28" .. str "x"))
    refuses("[MQTT-3.1.3-11] closes when the user name is not UTF-8", connect(0x82, str "\xC3\x28"))
    test("[MQTT-3.1.3-10] takes a will topic beyond ASCII, and any bytes as its message", function(b, t)
        local w = b:client("w"):subscribe(t .. "/+")
        b:client("c", { will = { topic = t .. "/größe", payload = "\xFF\0\x80" } }):drop()
        w:expect_publish(t .. "/größe", "\xFF\0\x80")
    end)

    refuses("[MQTT-3.1.4-1] closes on a CONNECT of no bytes", hex "10 00")
    refuses("[MQTT-3.1.4-1] closes on a CONNECT that ends within its flags", hex "10 08 00 04 4D 51 54 54 04 02")
    refuses("[MQTT-3.1.4-1] closes on a client identifier longer than the packet",
        hex "10 0D 00 04 4D 51 54 54 04 02 00 3C 00 09 63")
    refuses("[MQTT-3.1.4-1] [MQTT-3.2.2-6] closes without CONNACK on bytes behind the payload", connect(0x02, "\0"))

    test("[MQTT-3.1.4-2] ends the older connection of a client identifier", function(b)
        local old = b:client("c")
        local new = b:client("c")
        old:expect_close()
        new:ping()
    end)

    test("[MQTT-3.1.4-3] heeds clean session, also when it takes over", function(b, t)
        local one = b:client("c", { clean = false }):subscribe(t, 1)
        local two = b:client("c", { clean = false })
        one:expect_close()
        assert.is_true(two.connack.session_present)
        two:publish(t, "x", { qos = 1 }):expect_publish(t, "x"):ack()
        local three = b:client("c", { clean = true })
        two:expect_close()
        assert.is_false(three.connack.session_present)
        three:publish(t, "x", { qos = 1 }):expect_nothing()
    end)

    test("[MQTT-3.1.4-4] answers an acceptable CONNECT with CONNACK 0", function(b)
        shared.expect_bytes(b:raw():send_raw(connect(0x02)), "20 02 00 00")
    end)

    test("[MQTT-3.1.4-5] handles nothing that follows a refused CONNECT", function(b, t)
        local w = b:client("w"):subscribe(t)
        local packets = mqtt.encode({ type = "CONNECT", client_id = "banned" }, 4)
            .. mqtt.encode({ type = "PUBLISH", topic = t, payload = "x" }, 4) .. hex "C0 00"
        shared.expect_bytes(b:raw():send_raw(packets), "20 02 00 02"):expect_close()
        w:expect_nothing()
    end)

    test("[MQTT-3.2.2-2] [MQTT-3.2.2-3] says whether there is a session", function(b)
        local c = b:client("c", { clean = false })
        assert.is_false(c.connack.session_present)
        assert.is_true(c:reconnect().connack.session_present)
        c:reconnect({ clean = true }):disconnect()
        assert.is_false(c:reconnect({ clean = false }).connack.session_present)
    end)

    test("[MQTT-3.2.2-4] [MQTT-3.2.2-5] refuses with session present 0, and closes", function(b)
        local c = b:client("c", { clean = false }):disconnect() -- there is a session
        local again = b:raw():send { type = "CONNECT", client_id = c.opts.client_id, clean = false, username = "u",
            password = "wrong" }
        shared.expect_bytes(again, "20 02 00 04"):expect_close()
    end)
end)
