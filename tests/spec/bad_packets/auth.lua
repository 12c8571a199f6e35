-- SPDX-License-Identifier: BSD-2-Clause
--
-- auth.lua -- AUTH of 5.0 out of turn, and other packets in the middle of an exchange.

local bits = require "spec.bad_packets.bits"

local str, u16, packet, hex, ends, connack = bits.str, bits.u16, bits.packet, bits.hex, bits.ends, bits.connack

local function auth(code, method)
    return packet(0xF0, string.char(code) .. bits.props(5, "\x15" .. str(method or "challenge")))
end

local function without_method(add)
    for _, code in ipairs { 0x00, 0x18, 0x19 } do
        for _, state in ipairs { "open", "subscribed", "owing PUBACK" } do
            add(("AUTH 0x%02X of a client without a method, %s"):format(code, state), auth(code), ends(0x82),
                "MQTT-4.12.0-7", { state = state })
        end
    end
    add("AUTH of no bytes of a client without a method", hex "F0 00", ends(0x82), "MQTT-4.12.0-7")
    add("AUTH of a client without a method, naming none", hex "F0 02 18 00", ends(0x82), "3.15.2.2.2")
    for _, method in ipairs { "unknown", "", "challengE" } do
        add(("CONNECT by the method %q, which nobody knows"):format(method),
            bits.connect(5, { props = "\x15" .. str(method) }), connack(0x8C), "MQTT-4.12.0-1", { state = "first" })
    end
end

local function in_the_exchange(add)
    local state = "authenticating"
    for _, row in ipairs {
        { "CONNECT", bits.connect(5) }, { "PUBLISH", bits.publish(5) },
        { "PUBLISH of QoS 1", bits.publish(5, { first = 0x32, id = 1 }) }, { "PUBACK", packet(0x40, u16(1)) },
        { "PUBREC", packet(0x50, u16(1)) }, { "PUBREL", packet(0x62, u16(1)) }, { "PUBCOMP", packet(0x70, u16(1)) },
        { "SUBSCRIBE", bits.subscribe(5) }, { "UNSUBSCRIBE", bits.unsubscribe(5) }, { "PINGREQ", hex "C0 00" },
        { "CONNACK", hex "20 03 00 00 00" }, { "PINGRESP", hex "D0 00" },
    } do
        add(row[1] .. " in the middle of the exchange", row[2], connack(0x82), "MQTT-3.1.2-30", { state = state })
    end
    add("AUTH 0x19 in the middle of the exchange", auth(0x19), connack(0x82), "MQTT-4.12.0-3", { state = state })
    add("AUTH 0x00 in the middle of the exchange", auth(0x00), connack(0x82), "MQTT-4.12.0-3", { state = state })
    add("AUTH by another method", auth(0x18, "another"), connack(0x8C), "MQTT-4.12.0-5", { state = state })
    add("AUTH without a method", hex "F0 02 18 00", connack(0x82), "3.15.2.2.2", { state = state })
    add("AUTH with a code of nobody in the exchange", auth(0x80), connack(0x82), "MQTT-3.15.2-1", { state = state })
    add("AUTH of no bytes in the exchange", hex "F0 00", connack(0x82), "MQTT-4.12.0-3", { state = state })
    add("AUTH with data twice in the exchange",
        packet(0xF0, "\x18" .. bits.props(5, "\x15" .. str "challenge" .. ("\x16" .. str "x"):rep(2))), connack(0x82),
        "2.2.2.2", { state = state })
    add("AUTH with flags in the exchange", hex "F1 02 18 00", connack(0x81), "MQTT-3.15.1-1", { state = state })
    add("packet type 0 in the exchange", hex "00 00", connack(0x81), "2.1.2", { state = state })
    add("AUTH of 256 MB in the exchange", hex "F0 FF FF FF 7F", connack(0x95), "MQTT-3.2.2-15", { state = state })
end

local function afterwards(add)
    local state = "authenticated"
    add("AUTH 0x18 when nothing is asked", auth(0x18), ends(0x82), "MQTT-4.12.0-3", { state = state })
    add("AUTH 0x00 when nothing is asked", auth(0x00), ends(0x82), "MQTT-4.12.0-3", { state = state })
    add("AUTH of no bytes when nothing is asked", hex "F0 00", ends(0x82), "MQTT-4.12.0-3", { state = state })
    add("authentication again by another method", auth(0x19, "another"), ends(0x8C), "MQTT-4.12.1-1", { state = state })
    add("authentication again by no method", packet(0xF0, "\x19\0"), ends(0x82), "3.15.2.2.2", { state = state })
    add("authentication again, data without a method",
        packet(0xF0, "\x19" .. bits.props(5, "\x16" .. str "x")), ends(0x82), "3.15.2.2.3", { state = state })
    state = "authenticating again"
    add("AUTH 0x19 while one goes on", auth(0x19), ends(0x82), "MQTT-4.12.0-3", { state = state })
    add("AUTH 0x00 while one goes on", auth(0x00), ends(0x82), "MQTT-4.12.0-3", { state = state })
    add("AUTH by another method while one goes on", auth(0x18, "another"), ends(0x8C), "MQTT-4.12.0-5",
        { state = state })
end

return { without_method, in_the_exchange, afterwards }
