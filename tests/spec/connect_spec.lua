-- SPDX-License-Identifier: BSD-2-Clause
--
-- How a connection begins: versions, CONNACK, client ids, the first packet.

local mqtt = require "support.mqtt"
local with_broker = require("support.broker").with_broker

local NAME = { [3] = "MQTT 3.1", [4] = "MQTT 3.1.1", [5] = "MQTT 5.0" }

for version = 3, 5 do
    describe("CONNECT of " .. NAME[version], function()
        it("is answered by CONNACK 0 without session present", function()
            with_broker({}, function(b)
                local c = b:client("c", { version = version })
                assert.is_false(c.connack.session_present)
                c:ping():disconnect()
            end)
        end)

        it("says session present when a kept session is resumed", function()
            with_broker({}, function(b)
                local props = version == 5 and { session_expiry = 300 } or nil
                local c = b:client("c", { version = version, clean = false, props = props })
                assert.is_false(c.connack.session_present)
                c:disconnect()
                c:reconnect()
                -- [MQTT-3.2.2-2]; before 3.1.1 the byte was reserved
                assert.equal(version > 3, c.connack.session_present)
            end)
        end)

        it("does not say session present after a clean start", function()
            with_broker({}, function(b)
                local props = version == 5 and { session_expiry = 300 } or nil
                local c = b:client("c", { version = version, clean = false, props = props })
                c:disconnect():reconnect { clean = true }
                assert.is_false(c.connack.session_present)
            end)
        end)

        it("takes user name and password when anonymous clients are allowed anyway", function()
            with_broker({}, function(b)
                b:client("c", { version = version, username = "u", password = "p" }):ping()
            end)
        end)

        it("takes a keep-alive of zero and of 65535", function()
            with_broker({}, function(b)
                b:client("a", { version = version, keepalive = 0 }):ping()
                b:client("z", { version = version, keepalive = 65535 }):ping()
            end)
        end)

        it("twice on one connection is a protocol error", function() -- [MQTT-3.1.0-2]
            with_broker({}, function(b)
                local c = b:client("c", { version = version })
                c:send { type = "CONNECT", client_id = "c" }
                c:expect_disconnect(0x82)
                b:client("other"):ping()
            end)
        end)

        it("ends with DISCONNECT, after which the broker closes", function()
            with_broker({}, function(b)
                b:client("c", { version = version }):disconnect()
            end)
        end)

        it("answers PINGREQ with PINGRESP, as often as asked", function()
            with_broker({}, function(b)
                local c = b:client("c", { version = version })
                for _ = 1, 10 do c:send { type = "PINGREQ" } end
                for _ = 1, 10 do c:expect "PINGRESP" end
                c:expect_nothing()
            end)
        end)
    end)
end

describe("the client id", function()
    it("may be empty with a clean session in 3.1.1", function() -- [MQTT-3.1.3-6]
        with_broker({}, function(b) b:client("", { version = 4, clean = true }):ping() end)
    end)

    it("may not be empty with a kept session in 3.1.1", function() -- [MQTT-3.1.3-8]
        with_broker({}, function(b)
            b:client("", { version = 4, clean = false, connack = 2 }):expect_close()
        end)
    end)

    it("may not be empty in 3.1", function()
        with_broker({}, function(b)
            b:client("", { version = 3, clean = true, connack = 2 }):expect_close()
        end)
    end)

    it("is assigned and told when it is empty in 5.0", function() -- [MQTT-3.1.3-7], [MQTT-3.2.2-16]
        with_broker({}, function(b)
            local one = b:client("", { version = 5 })
            local two = b:client("", { version = 5 })
            local id1, id2 = one.connack.props.assigned_client_id, two.connack.props.assigned_client_id
            assert.is_true(#id1 > 0 and #id2 > 0)
            assert.not_equal(id1, id2)
            one:ping()
        end)
    end)

    it("that was assigned names the session afterwards", function()
        with_broker({}, function(b)
            local c = b:client("", { version = 5, clean = false, props = { session_expiry = 300 } })
            local id = c.connack.props.assigned_client_id
            c:subscribe("t", 1):disconnect()
            c:reconnect { client_id = id }
            assert.is_true(c.connack.session_present)
            assert.is_nil(c.connack.props.assigned_client_id)
        end)
    end)

    it("that is given is not assigned again", function()
        with_broker({}, function(b)
            assert.is_nil(b:client("mine", { version = 5 }).connack.props.assigned_client_id)
        end)
    end)

    it("is not shared by two anonymous ones", function()
        with_broker({}, function(b)
            local one = b:client("", { version = 4 })
            b:client("", { version = 4 }):ping()
            one:ping() -- not taken over
        end)
    end)

    for _, id in ipairs { ("x"):rep(23), ("x"):rep(300), "a/b c+#", "Žluťoučký-🐎", "0" } do
        it("may be " .. (#id > 40 and #id .. " bytes long" or id), function()
            with_broker({}, function(b)
                for version = 4, 5 do
                    local c = b:client(id, { version = version }):subscribe("t"):publish("t", "x")
                    c:expect_publish("t", "x"):expect_nothing()
                end
            end)
        end)
    end
end)

describe("CONNACK of MQTT 5", function()
    it("takes nothing away that Sol can do", function()
        with_broker({}, function(b)
            local props = b:client("c", { version = 5 }).connack.props
            assert.not_equal(0, props.wildcard_available)
            assert.not_equal(0, props.shared_available)
            assert.not_equal(0, props.subscription_id_available)
            assert.not_equal(0, props.retain_available)
            assert.is_nil(props.maximum_qos) -- absent means 2 [MQTT-3.2.2-9]
        end)
    end)

    it("does not offer response information nobody made", function()
        with_broker({}, function(b)
            local c = b:client("c", { version = 5, props = { request_response = 1, request_problem = 1 } })
            assert.is_nil(c.connack.props.response_information)
            c:ping()
        end)
    end)

    it("accepts every property a client may send", function()
        with_broker({}, function(b)
            b:client("c", { version = 5, props = { session_expiry = 1, receive_maximum = 10,
                maximum_packet_size = 1000, topic_alias_maximum = 5, request_response = 0, request_problem = 0,
                user = { { "a", "1" }, { "a", "2" }, { "", "" } } } }):ping()
        end)
    end)

    it("refuses an authentication method that is not configured", function()
        with_broker({ config = "" }, function(b)
            b:client("c", { version = 5, connack = 0x8C, props = { auth_method = "SCRAM-SHA-256" } }):expect_close()
            b:client("other"):ping()
        end)
    end)
end)

describe("a CONNECT of another protocol", function()
    for _, row in ipairs {
        { "MQTT", 6 }, { "MQTT", 7 }, { "MQTT", 2 }, { "MQTT", 0 }, { "MQTT", 255 }, { "MQIsdp", 9 },
    } do
        it(("named %s at level %d is refused"):format(row[1], row[2]), function() -- [MQTT-3.1.2-2]
            with_broker({}, function(b)
                -- what is newer than 5 is answered as 5 is, what is older as 3.1.1
                local c = b:raw { version = row[2] > 5 and 5 or 4 }
                c:send { type = "CONNECT", client_id = "c", protocol = row[1], level = row[2] }
                c:expect_refused { 0x01, 0x84 }
                b:client("other"):ping()
            end)
        end)
    end

    for _, name in ipairs { "MQTX", "mqtt", "MQTTT", "", "HTTP/1.1" } do
        it(("named %q is refused"):format(name), function() -- [MQTT-3.1.2-1]
            with_broker({}, function(b)
                local c = b:raw()
                c:send { type = "CONNECT", client_id = "c", protocol = name, level = 4 }
                c:expect_refused { 0x01, 0x84 }
                b:client("other"):ping()
            end)
        end)
    end
end)

describe("a first packet that is not CONNECT", function() -- [MQTT-3.1.0-1]
    for _, row in ipairs {
        { "PINGREQ", "C0 00" },
        { "PUBLISH", "30 05 00 03 61 2F 62" },
        { "SUBSCRIBE", "82 06 00 01 00 01 61 00" },
        { "DISCONNECT", "E0 00" },
        { "CONNACK", "20 02 00 00" },
        { "PUBREL", "62 02 00 01" },
        { "AUTH", "F0 02 18 00" },
    } do
        it("but " .. row[1] .. " is closed without an answer", function()
            with_broker({}, function(b)
                local other = b:client("other")
                b:raw():send_raw(mqtt.hex(row[2])):expect_close()
                other:ping()
            end)
        end)
    end
end)

describe("CONNECT flags", function()
    -- client id "c", keep-alive 60, MQTT 3.1.1; the flags byte is the row's
    local function connect(flags, tail)
        return mqtt.packet(0x10, mqtt.hex("00 04 4D 51 54 54 04" .. flags .. "00 3C 00 01 63" .. (tail or "")))
    end

    for _, row in ipairs {
        { "the reserved bit", "03", "", "[MQTT-3.1.2-3]" },
        { "a password without a user name", "42", "00 01 70", "[MQTT-3.1.2-22]" },
        { "a will of QoS 3", "1E", "00 01 74 00 01 78", "[MQTT-3.1.2-14]" },
        { "a will QoS without a will", "0A", "", "[MQTT-3.1.2-13]" },
        { "will retain without a will", "22", "", "[MQTT-3.1.2-15]" },
        { "a user name that is missing", "82", "", "[MQTT-3.1.2-19]" },
        { "a password that is missing", "C2", "00 01 75", "[MQTT-3.1.2-21]" },
        { "a will that is missing", "06", "", "[MQTT-3.1.2-9]" },
    } do
        it(("with %s are refused %s"):format(row[1], row[4]), function()
            with_broker({}, function(b)
                local c = b:raw():send_raw(connect(row[2], row[3]))
                c:expect_refused { 0x01, 0x02, 0x04, 0x05 }
                b:client("other"):ping()
            end)
        end)
    end

    it("allow a user name without a password", function()
        with_broker({}, function(b) b:raw():send_raw(connect("82", "00 01 75")):expect("CONNACK", { rc = 0 }) end)
    end)

    it("allow a password without a user name in 5.0", function()
        with_broker({}, function(b) b:client("c", { version = 5, password = "p" }):ping() end)
    end)

    it("allow bytes after CONNECT in the same write", function()
        with_broker({}, function(b)
            local c = b:raw():send_raw(connect("02") .. mqtt.hex "C0 00")
            c:expect("CONNACK", { rc = 0 })
            c:expect "PINGRESP"
        end)
    end)
end)
