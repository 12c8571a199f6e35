-- SPDX-License-Identifier: BSD-2-Clause
--
-- Bytes that no honest client sends.  Each row must end its own connection (an
-- MQTT 5 client may be told why) and nobody else's.

local broker = require "support.broker"
local mqtt = require "support.mqtt"
local proc = require "support.proc"
local wait = require "support.wait"

local with_broker, hex = broker.with_broker, mqtt.hex

local MALFORMED = { 0x81, 0x82 }

-- name, bytes after a successful CONNECT of 3.1.1, statement of the standard
local OPEN_4 = {
    { "packet type 0", "00 00", "2.2.1" },
    { "packet type 15", "F0 00", "2.2.1" },
    { "CONNACK from a client", "20 02 00 00", "3.2" },
    { "SUBACK from a client", "90 03 00 01 00", "3.9" },
    { "UNSUBACK from a client", "B0 02 00 01", "3.11" },
    { "PINGRESP from a client", "D0 00", "3.13" },
    { "remaining length of five bytes", "30 80 80 80 80 01", "2.2.3" },
    { "remaining length without end", "30 FF FF FF FF FF FF", "2.2.3" },
    { "PUBLISH of QoS 3", "36 07 00 01 74 00 01 78 79", "[MQTT-3.3.1-4]" },
    { "PUBLISH of QoS 0 with DUP", "38 04 00 01 74 78", "[MQTT-3.3.1-2]" },
    { "PUBLISH with packet id 0", "32 06 00 01 74 00 00 78", "[MQTT-2.3.1-1]" },
    { "PUBLISH shorter than its topic", "30 04 00 09 74 78", "3.3.2" },
    { "PUBLISH without a topic", "30 00", "3.3.2" },
    { "PUBLISH with half a topic length", "30 01 00", "3.3.2" },
    { "PUBLISH of QoS 1 without a packet id", "32 03 00 01 74", "3.3.2" },
    { "PUBLISH with U+0000 in its topic", "30 05 00 03 61 00 62", "[MQTT-1.5.3-2]" },
    { "PUBLISH with a lone continuation byte", "30 04 00 02 61 80", "[MQTT-1.5.3-1]" },
    { "PUBLISH with an overlong form", "30 04 00 02 C0 AF", "[MQTT-1.5.3-1]" },
    { "PUBLISH with a surrogate", "30 05 00 03 ED A0 80", "[MQTT-1.5.3-1]" },
    { "PUBLISH with a cut-off sequence", "30 04 00 02 61 E2", "[MQTT-1.5.3-1]" },
    { "PUBLISH beyond U+10FFFF", "30 06 00 04 F4 90 80 80", "[MQTT-1.5.3-1]" },
    { "PUBLISH to a wildcard", "30 04 00 01 23 78", "[MQTT-3.3.2-2]" },
    { "PUBACK with flags", "41 02 00 01", "[MQTT-2.2.2-2]" },
    { "PUBACK of one byte", "40 01 00", "3.4" },
    { "PUBACK of three bytes", "40 03 00 01 00", "3.4" },
    { "PUBREL without its flag", "60 02 00 01", "[MQTT-3.6.1-1]" },
    { "PUBREL of no bytes", "62 00", "3.6" },
    { "SUBSCRIBE without its flag", "80 06 00 01 00 01 74 00", "[MQTT-3.8.1-1]" },
    { "SUBSCRIBE without a filter", "82 02 00 01", "[MQTT-3.8.3-3]" },
    { "SUBSCRIBE without a QoS", "82 05 00 01 00 01 74", "3.8.3" },
    { "SUBSCRIBE with QoS 3", "82 06 00 01 00 01 74 03", "[MQTT-3-8.3-4]" },
    { "SUBSCRIBE with reserved bits", "82 06 00 01 00 01 74 04", "[MQTT-3-8.3-4]" },
    { "SUBSCRIBE with packet id 0", "82 06 00 00 00 01 74 00", "[MQTT-2.3.1-1]" },
    { "SUBSCRIBE with bad UTF-8", "82 07 00 01 00 02 C3 28 00", "[MQTT-1.5.3-1]" },
    { "UNSUBSCRIBE without its flag", "A0 05 00 01 00 01 74", "[MQTT-3.10.1-1]" },
    { "UNSUBSCRIBE without a filter", "A2 02 00 01", "[MQTT-3.10.3-2]" },
    { "UNSUBSCRIBE with half a filter", "A2 05 00 01 00 05 74", "3.10.3" },
    { "PINGREQ with flags", "C1 00", "[MQTT-2.2.2-2]" },
    { "PINGREQ with a body", "C0 01 00", "3.12" },
    { "DISCONNECT with flags", "E1 00", "[MQTT-3.14.1-1]" },
    { "DISCONNECT with a body in 3.1.1", "E0 01 00", "3.14" },
}

-- the same after a CONNECT of 5.0
local OPEN_5 = {
    { "packet type 0", "00 00", "2.1.2" },
    { "remaining length of five bytes", "30 80 80 80 80 01", "[MQTT-1.5.5-1]" },
    { "PUBLISH of QoS 3", "36 08 00 01 74 00 01 00 78 79", "[MQTT-3.3.1-4]" },
    { "PUBLISH with packet id 0", "32 07 00 01 74 00 00 00 78", "[MQTT-2.2.1-3]" },
    { "PUBLISH without a property length", "30 03 00 01 74", "3.3.2.3" },
    { "PUBLISH with an unknown property", "30 06 00 01 74 02 7F 00", "2.2.2.2" },
    { "PUBLISH with a CONNECT property", "30 0A 00 01 74 05 11 00 00 00 01 78", "2.2.2.2" },
    { "PUBLISH with content type twice", "30 0D 00 01 74 08 03 00 01 61 03 00 01 62 78", "3.3.2.3.9" },
    { "PUBLISH whose properties overrun it", "30 05 00 01 74 7F 01", "2.2.2" },
    { "PUBLISH with half a property", "30 06 00 01 74 02 02 00", "2.2.2" },
    { "PUBLISH with payload format 2", "30 07 00 01 74 02 01 02 78", "3.3.2.3.2" },
    { "PUBLISH with a subscription identifier", "30 07 00 01 74 02 0B 01 78", "[MQTT-3.3.4-6]" },
    { "PUBLISH with a wildcard response topic", "30 09 00 01 74 04 08 00 01 23 78", "[MQTT-3.3.2-14]" },
    { "PUBLISH with topic alias 0", "30 07 00 01 74 03 23 00 00", "[MQTT-3.3.2-8]" },
    { "PUBLISH of no topic and no alias", "30 04 00 00 00 78", "[MQTT-3.3.2-8]" },
    { "SUBSCRIBE without a filter", "82 03 00 01 00", "[MQTT-3.8.3-2]" },
    { "SUBSCRIBE with reserved option bits", "82 07 00 01 00 00 01 74 40", "[MQTT-3.8.3-5]" },
    { "SUBSCRIBE with retain handling 3", "82 07 00 01 00 00 01 74 30", "3.8.3.1" },
    { "SUBSCRIBE with subscription identifier 0", "82 09 00 01 02 0B 00 00 01 74 00", "3.8.2.1.2" },
    { "SUBSCRIBE with QoS 3", "82 07 00 01 00 00 01 74 03", "3.8.3.1" },
    { "UNSUBSCRIBE without a filter", "A2 03 00 01 00", "[MQTT-3.10.3-2]" },
    { "PUBACK with an unknown reason code", "40 03 00 01 7E", "3.4.2.1" },
    { "PUBACK with flags", "42 02 00 01", "2.1.3" },
    { "DISCONNECT with an unknown reason code", "E0 01 7E", "3.14.2.1" },
    { "DISCONNECT with bad properties", "E0 03 00 01 7F", "3.14.2.2" },
    { "AUTH when none was begun", "F0 02 18 00", "4.12" },
    { "CONNACK from a client", "20 03 00 00 00", "3.2" },
    { "PINGREQ with a body", "C0 01 00", "3.12" },
}

-- instead of CONNECT
local FIRST = {
    { "an HTTP request", "47 45 54 20 2F 20 48 54 54 50 2F 31 2E 31 0D 0A 0D 0A" },
    { "a TLS client hello", "16 03 01 00 05 01 00 00 01 00" },
    { "zeros", ("00 "):rep(64) },
    { "ones", ("FF "):rep(64) },
    { "CONNECT with flags", "11 0D 00 04 4D 51 54 54 04 02 00 3C 00 01 63" },
    { "CONNECT of no bytes", "10 00" },
    { "CONNECT cut after its name", "10 06 00 04 4D 51 54 54" },
    { "CONNECT cut after its flags", "10 08 00 04 4D 51 54 54 04 02" },
    { "CONNECT without a client id", "10 0A 00 04 4D 51 54 54 04 02 00 3C" },
    { "CONNECT shorter than its client id", "10 0D 00 04 4D 51 54 54 04 02 00 3C 00 09 63" },
    { "CONNECT with bytes left over", "10 0E 00 04 4D 51 54 54 04 02 00 3C 00 01 63 00" },
    { "CONNECT with bad UTF-8 in the client id", "10 0E 00 04 4D 51 54 54 04 02 00 3C 00 02 C3 28" },
    { "CONNECT with U+0000 in the client id", "10 0D 00 04 4D 51 54 54 04 02 00 3C 00 01 00" },
    { "CONNECT of 5.0 without properties", "10 0A 00 04 4D 51 54 54 05 02 00 3C" },
    { "CONNECT of 5.0 with an unknown property", "10 10 00 04 4D 51 54 54 05 02 00 3C 02 7F 00 00 01 63" },
    { "CONNECT of 5.0 with receive maximum 0", "10 11 00 04 4D 51 54 54 05 02 00 3C 03 21 00 00 00 01 63" },
    { "CONNECT of 5.0 with session expiry twice",
        "10 18 00 04 4D 51 54 54 05 02 00 3C 0A 11 00 00 00 01 11 00 00 00 01 00 01 63" },
    { "CONNECT of 5.0 with auth data alone", "10 12 00 04 4D 51 54 54 05 02 00 3C 04 16 00 01 78 00 01 63" },
    { "CONNECT of 5.0 with maximum packet size 0",
        "10 13 00 04 4D 51 54 54 05 02 00 3C 05 27 00 00 00 00 00 01 63" },
}

local function rows(title, list, version, play)
    describe(title, function()
        for _, row in ipairs(list) do
            it(row[1] .. (row[3] and " (" .. row[3] .. ")" or ""), function()
                with_broker({}, function(b)
                    local other = b:client("other"):subscribe("still/here", 1)
                    local c = version and b:client("bad", { version = version }) or b:raw { version = 5 }
                    play(c, hex(row[2]))
                    other:publish("still/here", "x", { qos = 1 }):expect_publish("still/here", "x"):ack()
                end)
            end)
        end
    end)
end

rows("bad input at level 4 is closed:", OPEN_4, 4, function(c, bytes) c:send_raw(bytes):expect_close() end)

rows("bad input at level 5 is told and closed:", OPEN_5, 5, function(c, bytes)
    c:send_raw(bytes):expect_disconnect { 0x81, 0x82, 0x90, 0x94, 0x99 }
end)

rows("instead of CONNECT is closed:", FIRST, nil, function(c, bytes)
    c.sock:send(bytes)
    c.sock:shutdown() -- what is too short for a packet ends here
    c.version = bytes:byte(9) == 5 and 5 or 4
    c:expect_refused { 0x80, 0x81, 0x82, 0x84, 0x85, 1, 2 }
end)

describe("a packet cut off by the end of the connection", function()
    it("is forgotten at every length", function()
        with_broker({}, function(b)
            local other = b:client("other"):subscribe("#")
            local packet = mqtt.encode({ type = "PUBLISH", topic = "t", payload = "whole", qos = 2, id = 5 }, 4)
            for cut = 1, #packet - 1 do b:client("cut"):send_raw(packet:sub(1, cut)):drop() end
            other:expect_nothing()
        end)
    end)
end)

describe("random bytes", function()
    for seed = 1, 12 do
        it("of seed " .. seed .. " harm nobody", function()
            with_broker({}, function(b)
                local other = b:client("other"):subscribe("still/here", 1)
                local random = seed -- a generator of our own: the same bytes everywhere
                local function byte()
                    random = (random * 6364136223846793005 + 1442695040888963407)
                    return string.char(random >> 33 & 0xFF)
                end
                for turn = 1, 20 do
                    local bytes = {}
                    for i = 1, 20 * turn do bytes[i] = byte() end
                    local c = turn % 3 == 0 and b:raw() or b:client("r", { version = 3 + turn % 3 })
                    c.sock:send(table.concat(bytes))
                    c:drop()
                end
                other:publish("still/here", "x", { qos = 1 }):expect_publish("still/here", "x"):ack()
                assert.is_true(b:fds() < 40)
            end)
        end)
    end

    it("put into good packets harm nobody", function()
        with_broker({}, function(b)
            local other = b:client("other")
            for version = 3, 5 do
                local good = mqtt.encode({ type = "CONNECT", client_id = "m", username = "u", password = "p",
                    will = { topic = "w", payload = "x", qos = 1 } }, version)
                    .. mqtt.encode({ type = "SUBSCRIBE", id = 1, { filter = "a/+", qos = 1 } }, version)
                    .. mqtt.encode({ type = "PUBLISH", topic = "a/b", payload = "x", qos = 2, id = 2 }, version)
                for at = 1, #good do
                    for _, value in ipairs { 0x00, 0x7F, 0x80, 0xFF } do
                        local c = b:raw { version = version }
                        c.sock:send(good:sub(1, at - 1) .. string.char(value) .. good:sub(at + 1))
                        c:drop()
                    end
                end
            end
            other:ping(20)
        end)
    end)
end)

describe("a client that does not finish its CONNECT", function()
    it("is closed after connect_timeout", function()
        with_broker({ config = "connect_timeout = 1" }, function(b)
            local other = b:client("other")
            local since = proc.now()
            local silent, half = b:raw(), b:raw():send_raw(hex "10 0D 00 04")
            half:expect_close()
            silent:expect_close()
            assert.is_true(proc.now() - since >= 0.9)
            other:ping()
        end)
    end)

    it("is closed even when it sends a byte now and then", function()
        with_broker({ config = "connect_timeout = 1" }, function(b)
            local c = b:raw()
            local packet = mqtt.encode({ type = "CONNECT", client_id = ("slow"):rep(30) }, 4)
            local since, at, ended = proc.now(), 0
            repeat
                at = at + 1
                c.sock:send(packet:sub(at, at))
                ended = c.sock:wait("r", 0.1)
            until ended or proc.now() - since > wait.scaled(5)
            c:expect_close()
            assert.is_true(at < #packet)
        end)
    end)

    it("does not keep others out while hundreds of it wait", function()
        with_broker({ config = "connect_timeout = 2" }, function(b)
            local slow = {}
            for i = 1, 300 do slow[i] = b:raw():send_raw "\x10" end
            b:client("c"):subscribe("t"):publish("t", "x"):expect_publish("t", "x")
            for _, c in ipairs(slow) do c:expect_close(10) end
            wait.till("descriptors to be given back", function() return b:fds() < 40 end)
        end)
    end)

    it("is not a client that has finished it", function()
        with_broker({ config = "connect_timeout = 1" }, function(b)
            local c = b:client("c")
            b:raw():expect_close()
            c:ping()
        end)
    end)
end)

describe("out of order packets", function()
    it("PUBREL, PUBCOMP and PUBREC for what never was are answered or ignored", function()
        with_broker({}, function(b)
            for version = 4, 5 do
                local c = b:client("c", { version = version })
                c:send { type = "PUBCOMP", id = 3 }
                c:send { type = "PUBREL", id = 3 }
                c:expect("PUBCOMP", { id = 3 })
                c:send { type = "PUBREC", id = 4 }
                c:ping()
                local answer = c.inbox[1]
                assert.is_true(answer == nil or answer.type == "PUBREL")
                c:disconnect()
            end
        end)
    end)

    it("packets after DISCONNECT are not served", function()
        with_broker({}, function(b)
            local other = b:client("other"):subscribe("#")
            for version = 3, 5 do
                local c = b:client("c", { version = version })
                c:send_raw(hex "E0 00" .. mqtt.encode({ type = "PUBLISH", topic = "late", payload = "x" }, version))
                c:expect_close()
            end
            other:expect_nothing()
        end)
    end)

    it("packets after a malformed one are not served", function()
        with_broker({}, function(b)
            local other = b:client("other"):subscribe("#")
            local c = b:client("c", { version = 5 })
            c:send_raw(hex "00 00" .. mqtt.encode({ type = "PUBLISH", topic = "late", payload = "x" }, 5))
            c:expect_disconnect(MALFORMED)
            other:expect_nothing()
        end)
    end)
end)
