-- SPDX-License-Identifier: BSD-2-Clause
--
-- MQTT 3.1.1, chapters 4 and 7: sessions, QoS, order, topics, errors, conformance.

local mqtt = require "support.mqtt"
local shared = require "spec.conformance.shared"

local hex, str = mqtt.hex, mqtt.str

-- Descriptors of the broker that are connections it has opened itself.
local function outgoing(b)
    local own, found = {}, {}
    local listing = io.popen(("ls -l /proc/%d/fd"):format(b.pid))
    for inode in listing:read("a"):gmatch "socket:%[(%d+)%]" do own[inode] = true end
    listing:close()
    for line in io.lines(("/proc/%d/net/tcp"):format(b.pid)) do
        local port, state, inode = line:match "%d+: %x+:(%x+) %S+ (%x+) %S+ %S+ %S+ +%d+ +%d+ (%d+)"
        if own[inode] and state == "01" and tonumber(port, 16) ~= b.port then found[#found + 1] = line end
    end
    return found
end

describe("MQTT 3.1.1", function()
    local test = shared.broker({ config = "max_packet_size = 200000\nmax_topic_levels = 50" }, it, teardown)

    local function closes(name, bytes)
        test(name, function(b) b:client("bad"):send_raw(bytes):expect_close() end)
    end

    test("[MQTT-4.1.0-1] keeps the whole state of a session", function(b, t)
        local c = b:client("c", { clean = false }):subscribe(t .. "/s", 2)
        local p = b:client("p"):publish(t .. "/s", "1", { qos = 2 }):publish(t .. "/s", "2", { qos = 2 })
        local one = c:expect_publish(t .. "/s", "1")
        local two = c:expect_publish(t .. "/s", "2")
        one:send({ type = "PUBREC", id = one.id }):expect("PUBREL", { id = one.id })
        c:publish(t .. "/r", "in", { qos = 2, id = 77, wait = false }):expect("PUBREC", { id = 77 })
        c:drop()
        p:publish(t .. "/s", "3", { qos = 1 })
        c:reconnect()
        local seen = {}
        for _ = 1, 3 do
            local m = c:take()
            seen[#seen + 1] = m.type .. (m.payload or "")
            if m.type == "PUBLISH" and m.qos == 2 then assert.equal(two.id, m.id) end
        end
        table.sort(seen)
        assert.same({ "PUBLISH2", "PUBLISH3", "PUBREL" }, seen)
        -- the identifier of a message that was received is part of it too
        local w = b:client("w"):subscribe(t .. "/r")
        c:publish(t .. "/r", "in", { qos = 2, id = 77, dup = true, wait = false }):expect("PUBREC", { id = 77 })
        c:send({ type = "PUBREL", id = 77 }):expect("PUBCOMP", { id = 77 })
        w:expect_nothing()
    end)

    test("[MQTT-4.1.0-2] lets the session live while its connection does", function(b, t)
        local c = b:client("c"):subscribe(t, 2)
        for i = 1, 20 do
            c:publish(t, tostring(i), { qos = i % 3 }):expect_publish(t, tostring(i)):ack()
            b:client("other" .. i):disconnect()
        end
    end)

    test("[MQTT-4.3.3-1] sends QoS 2 through PUBREC, PUBREL and PUBCOMP", function(b, t)
        local c = b:client("c", { clean = false }):subscribe(t, 2)
        b:client("p"):publish(t, "x", { qos = 2 })
        local m = c:expect_publish(t, "x", { qos = 2, dup = false })
        c:reconnect():expect_publish(t, "x", { id = m.id, dup = true }) -- until PUBREC
        c:send({ type = "PUBREC", id = m.id }):expect("PUBREL", { id = m.id })
        for _ = 1, 2 do c:reconnect():expect("PUBREL", { id = m.id }) end -- until PUBCOMP, and no PUBLISH
        c:send({ type = "PUBCOMP", id = m.id }):expect_nothing()
        c:reconnect():expect_nothing()
    end)

    test("[MQTT-4.3.3-2] receives QoS 2 once, however often it is sent", function(b, t)
        local c = b:client("c", { clean = false }):subscribe(t)
        for turn = 1, 2 do -- after PUBCOMP the identifier is new
            for i = 1, 3 do
                c:publish(t, "x", { qos = 2, id = 8, dup = i > 1, wait = false }):await("PUBREC", 8)
            end
            c:drop()
            c:reconnect():publish(t, "x", { qos = 2, id = 8, dup = true, wait = false }):await("PUBREC", 8)
            c:send({ type = "PUBREL", id = 8 }):await("PUBCOMP", 8)
            c:publish(t .. "/" .. turn, "y"):ping()
        end
        local w = b:client("w"):subscribe(t)
        c:publish(t, "once", { qos = 2, id = 8, wait = false }):await("PUBREC", 8)
        c:publish(t, "once", { qos = 2, id = 8, dup = true, wait = false }):await("PUBREC", 8)
        c:send({ type = "PUBREL", id = 8 }):await("PUBCOMP", 8)
        w:expect_publish(t, "once"):expect_nothing()
    end)

    test("[MQTT-4.6.0-2] acknowledges QoS 1 in the order received", function(b, t)
        local c = b:client("c")
        local ids = { 5, 3, 9, 1, 65535, 2, 7 }
        for _, id in ipairs(ids) do c:publish(t, "x", { qos = 1, id = id, wait = false }) end
        for _, id in ipairs(ids) do c:expect("PUBACK", { id = id }) end
    end)

    test("[MQTT-4.6.0-3] answers QoS 2 in the order received", function(b, t)
        local c = b:client("c")
        local ids = { 5, 3, 9, 1, 65535, 2, 7 }
        for _, id in ipairs(ids) do c:publish(t, "x", { qos = 2, id = id, wait = false }) end
        for _, id in ipairs(ids) do c:expect("PUBREC", { id = id }) end
    end)

    test("[MQTT-4.6.0-4] sends PUBREL in the order of the PUBREC packets", function(b, t)
        local c, p, ids = b:client("c", { clean = false }):subscribe(t, 2), b:client("p"), {}
        for i = 1, 10 do p:publish(t, tostring(i), { qos = 2 }) end
        for i = 1, 10 do ids[i] = c:expect_publish(t, tostring(i)).id end
        for i = 1, 10 do c:send { type = "PUBREC", id = ids[i] } end
        for i = 1, 10 do c:expect("PUBREL", { id = ids[i] }) end
        c:reconnect()
        for i = 1, 10 do c:expect("PUBREL", { id = ids[i] }) end
    end)

    for _, topic in ipairs { "+", "#", "a/+", "a/#/b", "a+/b", "a#" } do
        closes(("[MQTT-4.7.1-1] closes on a topic name %q"):format(topic), mqtt.packet(0x30, str(topic) .. "x"))
    end

    closes("[MQTT-4.7.3-1] closes on an empty topic name", hex "30 03 00 00 78")
    test("[MQTT-4.7.3-1] closes on, or answers, UNSUBSCRIBE from an empty filter", function(b)
        b:client("c"):send({ type = "UNSUBSCRIBE", id = 1, "" }):expect_rejected("UNSUBACK", { 0 })
    end)

    closes("[MQTT-4.7.3-2] closes on U+0000 in a topic name", mqtt.packet(0x30, str "a\0" .. "x"))
    closes("[MQTT-4.7.3-2] closes on U+0000 in a filter", mqtt.packet(0x82, "\0\1" .. str "a\0" .. "\0"))
    closes("[MQTT-4.7.3-2] closes on U+0000 in a filter to unsubscribe", mqtt.packet(0xA2, "\0\1" .. str "\0"))

    for name, bytes in pairs {
        ["type 0"] = "00 00", ["type 15"] = "F0 00", ["CONNACK of a client"] = "20 02 00 00",
        ["SUBACK of a client"] = "90 03 00 01 00", ["UNSUBACK of a client"] = "B0 02 00 01",
        ["PINGRESP of a client"] = "D0 00", ["PUBACK of one byte"] = "40 01 00",
        ["PUBACK of three bytes"] = "40 03 00 01 00", ["PINGREQ with a body"] = "C0 01 00",
        ["DISCONNECT with a body"] = "E0 01 00", ["a length of five bytes"] = "30 80 80 80 80 01",
        ["an endless length"] = "30 FF FF FF FF",
    } do
        closes("[MQTT-4.8.0-1] closes on " .. name, hex(bytes))
    end

    closes("[MQTT-4.8.0-2] closes when a packet is larger than it can take", mqtt.packet(0x30, str "t"
        .. ("x"):rep(300000)):sub(1, 1000))
    closes("[MQTT-4.8.0-2] closes when a topic has more levels than it can take",
        mqtt.packet(0x32, str(("/"):rep(60)) .. "\0\1x"))

    test("[MQTT-7.0.0-1] opens no connections to other servers", function(b)
        b:client("c"):ping()
        assert.same({}, outgoing(b))
    end)

    test("[MQTT-7.0.0-2] serves a client that knows the standard and no more", function(b)
        local c = b:raw():send_raw(hex "10 0D 00 04 4D 51 54 54 04 02 00 3C 00 01 41")
        shared.expect_bytes(c, "20 02 00 00")
        shared.expect_bytes(c:send_raw(hex "82 08 00 01 00 03 61 2F 62 01"), "90 03 00 01 01")
        shared.expect_bytes(c:send_raw(hex "30 07 00 03 61 2F 62 68 69"), "30 07 00 03 61 2F 62 68 69")
        shared.expect_bytes(c:send_raw(hex "A2 07 00 02 00 03 61 2F 62"), "B0 02 00 02")
        c:send_raw(hex "E0 00"):expect_close()
    end)

end)
