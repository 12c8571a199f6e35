-- SPDX-License-Identifier: BSD-2-Clause
--
-- MQTT 5.0, sections 3.15 and 4.12: AUTH and enhanced authentication.

local mqtt = require "support.mqtt"
local shared = require "spec.conformance.shared"

local hex, packet = mqtt.hex, mqtt.packet

-- A method "challenge": the client says its name, is asked, and must answer with the name backwards.
local CONFIG = [[
    allow_anonymous = true
    sol.on("auth", function(client, exchange)
        if exchange.method ~= "challenge" then return end
        if exchange.data == "wrong" then return sol.deny(0x87) end
        if exchange.data == "tca" or exchange.data == "niaga" then return sol.allow() end
        return sol.continue("answer me")
    end)
]]

describe("MQTT 5.0", function()
    local test = shared.broker({ version = 5 }, it, teardown)

    test("[MQTT-4.12.0-1] refuses a method that it does not know, and closes", function(b)
        b:raw():send({ type = "CONNECT", client_id = "c", props = { auth_method = "unknown" } })
            :expect_refused { 0x8C, 0x87 }
    end)

    test("[MQTT-4.12.0-6] sends no AUTH and names no method to a client without one", function(b)
        local c = b:client("c")
        assert.is_nil(c.connack.props.auth_method)
        assert.is_nil(c.connack.props.auth_data)
        c:expect_nothing()
    end)

    for _, code in ipairs { "00", "18", "19" } do
        test(("[MQTT-4.12.0-7] takes AUTH %s of a client without a method for an error"):format(code), function(b)
            b:client("c"):send_raw(hex("F0 02" .. code .. "00")):expect_disconnect { 0x82, 0x81 }
        end)
    end

    for _, first in ipairs { "F1", "F2", "F4", "F8", "FF" } do
        test("[MQTT-3.15.1-1] closes on AUTH with flags " .. first:sub(2), function(b)
            b:client("c"):send_raw(hex(first .. "02 18 00")):expect_disconnect(0x81)
        end)
    end
end)

describe("MQTT 5.0 with a method", function()
    local test = shared.broker({ version = 5, config = CONFIG }, it, teardown)

    local METHOD = { auth_method = "challenge" }

    -- CONNECT by the method, up to the broker's question
    local function asked(b, props)
        local all = { auth_method = "challenge", auth_data = "act" }
        for name, value in pairs(props or {}) do all[name] = value end
        local c = b:client("c", { props = all, connack = false })
        return c, c:expect("AUTH")
    end

    local function answer(c, data, code)
        return c:send { type = "AUTH", rc = code or 0x18, props = { auth_method = "challenge", auth_data = data } }
    end

    local function accepted(b)
        local c = answer(asked(b), "tca")
        c:expect("CONNACK", { rc = 0, props = METHOD })
        return c
    end

    test("[MQTT-3.15.2-1] [MQTT-4.12.0-2] asks for more with 0x18", function(b)
        local _, question = asked(b)
        assert.equal(0x18, question.rc)
        assert.equal("answer me", question.props.auth_data)
    end)

    test("[MQTT-3.15.2-1] takes AUTH with a code that is not made for it for an error", function(b)
        for _, code in ipairs { 0x01, 0x17, 0x80 } do
            answer(asked(b), "tca", code):expect_refused { 0x81, 0x82 }
            answer(accepted(b), "tca", code):expect_disconnect { 0x81, 0x82 }
        end
    end)

    test("[MQTT-3.15.2-2] [MQTT-3.15.2-3] keeps AUTH within the maximum packet size", function(b)
        local _, question = asked(b, { maximum_packet_size = 40 })
        assert.same({ auth_method = "challenge", auth_data = "answer me" }, question.props)
    end)

    test("[MQTT-3.1.2-30] takes another packet during the exchange for an error", function(b)
        asked(b):send({ type = "PINGREQ" }):expect_refused { 0x82 }
    end)

    test("[MQTT-4.12.0-3] takes an answer with another code for an error", function(b)
        answer(asked(b), "tca", 0x19):expect_refused { 0x82, 0x81 }
    end)

    test("[MQTT-4.12.0-4] refuses with CONNACK, and closes", function(b)
        answer(asked(b), "wrong"):expect("CONNACK", { rc = 0x87 }):expect_close()
    end)

    test("[MQTT-4.12.0-5] names the method of CONNECT in every AUTH and in CONNACK", function(b)
        local c, question = asked(b)
        assert.equal("challenge", question.props.auth_method)
        answer(c, "again"):expect("AUTH", { rc = 0x18, props = METHOD })
        answer(c, "tca"):expect("CONNACK", { rc = 0, props = METHOD })
    end)

    test("[MQTT-4.12.0-6] lets clients without a method in without AUTH", function(b)
        assert.is_nil(b:client("c").connack.props.auth_method)
    end)

    test("[MQTT-4.12.1-1] authenticates again by the same method", function(b)
        local c = accepted(b)
        answer(c, "again", 0x19):expect("AUTH", { rc = 0x18, props = METHOD })
        answer(c, "niaga"):expect("AUTH", { rc = 0, props = METHOD })
        c:ping()
        local other = packet(0xF0, "\x19" .. mqtt.properties { auth_method = "other" })
        c:send_raw(other):expect_disconnect { 0x82, 0x8C }
    end)

    test("[MQTT-4.12.1-2] ends the connection when that fails", function(b)
        local c = accepted(b)
        answer(c, "again", 0x19):expect("AUTH", { rc = 0x18 })
        answer(c, "wrong"):expect_disconnect(0x87)
    end)
end)
