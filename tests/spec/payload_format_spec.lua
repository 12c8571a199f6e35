-- SPDX-License-Identifier: BSD-2-Clause
--
-- validate_payload_format: what is said to be UTF-8 must be that (MQTT 5.0, 3.3.2.3.2).

local with_broker = require("support.broker").with_broker

local UTF8, CHECKED = { payload_format = 1 }, { config = "validate_payload_format = true" }

local WRONG = {
    ["a lone continuation byte"] = "abcdefgh\x80",
    ["an overlong form"] = "\xC0\xAF",
    ["a surrogate"] = "\xED\xA0\x80",
    ["a character cut short"] = "caf\xC3",
    ["a code point beyond the last"] = "\xF4\x90\x80\x80",
}

describe("a payload said to be UTF-8", function()
    for what, payload in pairs(WRONG) do
        it("is refused with " .. what, function()
            with_broker(CHECKED, function(b)
                local other = b:client("other"):subscribe("t", 0)
                local c = b:client("c", { version = 5 })
                c:publish("t", payload, { qos = 1, props = UTF8, rc = 0x99 })
                c:publish("t", payload, { qos = 2, props = UTF8, rc = 0x99 })
                c:publish("t", payload, { props = UTF8 }):expect_disconnect(0x99)
                other:expect_nothing()
                b:client("w", { version = 5, will = { topic = "w", payload = payload, props = UTF8 }, connack = 0x99 })
            end)
        end)
    end

    it("is fine when it is", function()
        with_broker(CHECKED, function(b)
            local c = b:client("c", { version = 5, will = { topic = "w", payload = "ä", props = UTF8 } })
            c:subscribe("t", 2)
            for qos, payload in ipairs { "", "\0 zeros are text \0", "Grüße an 世界 \u{10FFFF}" } do
                c:publish("t", payload, { qos = qos - 1, props = UTF8 })
                assert.equal(1, c:expect_publish("t", payload).props.payload_format)
            end
        end)
    end)

    it("is nobody's business when it says nothing, or bytes, or MQTT before 5", function()
        with_broker(CHECKED, function(b)
            local c = b:client("c", { version = 5 }):subscribe("t", 0)
            c:publish("t", "\xFF"):publish("t", "\xFE", { props = { payload_format = 0 } })
            c:expect_publish("t", "\xFF")
            c:expect_publish("t", "\xFE")
            b:client("d", { version = 4 }):publish("t", "\xFD", { qos = 1 })
            c:expect_publish("t", "\xFD")
        end)
    end)

    it("is not looked at by default", function()
        with_broker({}, function(b)
            local c = b:client("c", { version = 5 }):subscribe("t", 0)
            c:publish("t", "\xFF", { props = UTF8, qos = 1 }):expect_publish("t", "\xFF")
        end)
    end)

    it("is looked at for one listener", function()
        with_broker({ listen = [[
            listen { "mqtt://127.0.0.1:$PORT2", validate_payload_format = true }
            listen "mqtt://127.0.0.1:$PORT"
        ]] }, function(b)
            b:client("c", { version = 5, port = b.port2 }):publish("t", "\xFF", { props = UTF8, qos = 1, rc = 0x99 })
            b:client("d", { version = 5 }):publish("t", "\xFF", { props = UTF8, qos = 1 })
        end)
    end)

    it("is looked at again when handlers have changed it", function()
        with_broker({ config = [[
            validate_payload_format = true
            sol.on("publish", "to-bytes", function(_, message) message.payload = "\xFF" end)
            sol.on("publish", "to-text", function(_, message) message.properties.payload_format_indicator = 1 end)
            sol.on("deliver", "late", function(_, message) message.payload = "\xFF" end)
        ]] }, function(b)
            local other = b:client("other"):subscribe("#", 0)
            local c = b:client("c", { version = 5 })
            c:publish("to-bytes", "x", { qos = 1, props = UTF8, rc = 0x99 })
            c:publish("to-text", "\xFF", { qos = 2, rc = 0x99 })
            c:publish("to-bytes", "x", { props = UTF8 }):ping() -- the client is not to blame
            c:publish("late", "x", { qos = 1, props = UTF8 })
            other:expect_nothing()
            c:publish("to-bytes", "x", { qos = 1 })
            other:expect_publish("to-bytes", "\xFF")
        end)
    end)
end)
