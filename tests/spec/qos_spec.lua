-- SPDX-License-Identifier: BSD-2-Clause
--
-- Delivery guarantees in both directions, duplicates and acknowledgements out
-- of order.

local with_broker = require("support.broker").with_broker

for version = 3, 5 do
    describe("QoS at protocol level " .. version, function()
        for sent = 0, 2 do
            for granted = 0, 2 do
                local wanted = math.min(sent, granted)
                it(("%d published, %d subscribed is delivered as %d"):format(sent, granted, wanted), function()
                    with_broker({}, function(b) -- [MQTT-3.8.4-6]
                        local c = b:client("c", { version = version }):subscribe("t", granted)
                        b:client("p", { version = version }):publish("t", "x", { qos = sent })
                        c:expect_publish("t", "x", { qos = wanted, dup = false, retain = false }):ack()
                        c:expect_nothing()
                    end)
                end)
            end
        end

        it("2 delivers once, however often the publish is repeated", function() -- [MQTT-4.3.3-2]
            with_broker({}, function(b)
                local s = b:client("s", { version = version }):subscribe("t", 2)
                local p = b:client("p", { version = version })
                for i = 1, 3 do
                    p:publish("t", "once", { qos = 2, id = 9, dup = i > 1, wait = false })
                    p:expect("PUBREC", { id = 9 })
                end
                p:send({ type = "PUBREL", id = 9 }):expect("PUBCOMP", { id = 9 })
                s:expect_publish("t", "once", { dup = false }):ack():expect_nothing()
            end)
        end)

        it("2 takes an identifier again after its release", function()
            with_broker({}, function(b)
                local s = b:client("s", { version = version }):subscribe("t", 2)
                local p = b:client("p", { version = version })
                p:publish("t", "1", { qos = 2, id = 9 })
                p:publish("t", "2", { qos = 2, id = 9 })
                s:expect_publish("t", "1"):ack()
                s:expect_publish("t", "2"):ack():expect_nothing()
            end)
        end)

        it("2 completes a PUBREL of an unknown identifier", function()
            with_broker({}, function(b)
                local p = b:client("p", { version = version })
                p:send { type = "PUBREL", id = 4711 }
                -- 0x92 Packet Identifier not found where there are reason codes
                local comp = p:expect("PUBCOMP", { id = 4711 })
                assert.is_true(comp.rc == 0 or comp.rc == 0x92)
                p:publish("t", "x", { qos = 2 }):ping()
            end)
        end)

        it("1 delivers a publish repeated with DUP as a new message without DUP", function() -- [MQTT-3.3.1-3]
            with_broker({}, function(b)
                local s = b:client("s", { version = version }):subscribe("t", 1)
                b:client("p", { version = version }):publish("t", "x", { qos = 1, dup = true })
                s:expect_publish("t", "x", { dup = false }):ack():expect_nothing()
            end)
        end)

        it("acknowledges in the order of publishing", function() -- [MQTT-4.6.0-2]
            with_broker({}, function(b)
                local p = b:client("p", { version = version })
                for id = 1, 20 do p:publish("t", "m", { qos = 1, id = id, wait = false }) end
                for id = 1, 20 do p:expect("PUBACK", { id = id }) end
                for id = 21, 40 do p:publish("t", "m", { qos = 2, id = id, wait = false }) end
                for id = 21, 40 do p:expect("PUBREC", { id = id }) end
                for id = 21, 40 do p:send { type = "PUBREL", id = id } end
                for id = 21, 40 do p:expect("PUBCOMP", { id = id }) end
            end)
        end)

        for qos = 0, 2 do
            it(("%d keeps the order of one publisher, whatever else it sends"):format(qos), function()
                with_broker({}, function(b) -- [MQTT-4.6.0-5]
                    local s = b:client("s", { version = version }):subscribe("t", 2)
                    local p = b:client("p", { version = version })
                    for i = 1, 30 do p:publish("t", tostring(i), { qos = i % 3, id = i, wait = false }) end
                    for i = 2, 30, 3 do p:send { type = "PUBREL", id = i } end
                    local last, n = 0, 0
                    for _ = 1, 30 do
                        local m = s:expect "PUBLISH"
                        if m.qos == qos then
                            assert.is_true(tonumber(m.payload) > last)
                            last, n = tonumber(m.payload), n + 1
                        end
                        m:ack()
                    end
                    assert.equal(10, n)
                end)
            end)
        end

        it("takes acknowledgements out of order", function()
            with_broker({}, function(b)
                local s = b:client("s", { version = version }):subscribe("t", 1)
                local p = b:client("p")
                for i = 1, 5 do p:publish("t", "m" .. i, { qos = 1 }) end
                local got = {}
                for i = 1, 5 do got[i] = s:expect_publish("t", "m" .. i) end
                for i = 5, 1, -1 do got[i]:ack() end
                s:expect_nothing()
                p:publish("t", "m6", { qos = 1 })
                s:expect_publish("t", "m6"):ack():expect_nothing()
            end)
        end)

        it("survives acknowledgements nobody waits for", function()
            with_broker({}, function(b)
                local c = b:client("c", { version = version })
                c:send { type = "PUBACK", id = 5 }
                c:send { type = "PUBCOMP", id = 6 }
                c:ping()
                b:client("other"):ping()
            end)
        end)

        it("never gives two messages in flight one identifier", function()
            with_broker({ config = "max_inflight = 100" }, function(b)
                local s = b:client("s", { version = version }):subscribe("t", 2)
                local p = b:client("p")
                for i = 1, 60 do p:publish("t", "m" .. i, { qos = 1 + i % 2 }) end
                local seen = {}
                for i = 1, 60 do
                    local id = s:expect_publish("t", "m" .. i).id
                    assert.is_nil(seen[id])
                    seen[id] = true
                end
            end)
        end)

        it("carries every payload byte", function()
            with_broker({}, function(b)
                local bytes = {}
                for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
                local all = table.concat(bytes)
                local s = b:client("s", { version = version }):subscribe("t", 2)
                local p = b:client("p", { version = version })
                for qos = 0, 2 do
                    p:publish("t", all, { qos = qos }):publish("t", "", { qos = qos })
                    s:expect_publish("t", all, { qos = qos }):ack()
                    s:expect_publish("t", "", { qos = qos }):ack()
                end
                s:expect_nothing()
            end)
        end)
    end)
end

describe("the sizes of a message", function()
    -- around every step of the remaining length: 7, 14 and 21 bits
    for _, size in ipairs { 0, 1, 100, 120, 121, 122, 123, 124, 125, 126, 127, 128, 16370, 16378, 16379, 16380,
        16381, 16384, 65535, 65536, 250000, 2097140, 2097150 } do
        it(("of %d bytes pass unchanged"):format(size), function()
            -- beyond 1 MiB only where it is allowed
            with_broker({ config = size > 1000000 and "max_packet_size = 4000000" or nil }, function(b)
                local payload = ("0123456789abcdef"):rep(size // 16 + 1):sub(1, size)
                for version = 4, 5 do
                    local c = b:client("c", { version = version }):subscribe("t", 1)
                    c:publish("t", payload, { qos = 1 })
                    assert.is_true(c:expect("PUBLISH").payload == payload)
                    c:disconnect()
                end
            end)
        end)
    end
end)

describe("properties of a PUBLISH in MQTT 5", function()
    local props = { payload_format = 1, content_type = "text/plain", response_topic = "re/ply",
        correlation_data = "\0\1\2", user = { { "k", "v1" }, { "k", "v2" }, { "", "" } } }

    for qos = 0, 2 do
        it(("reach the subscriber unchanged at QoS %d"):format(qos), function() -- [MQTT-3.3.2-15..20]
            with_broker({}, function(b)
                local c = b:client("c", { version = 5 }):subscribe("t", 2)
                b:client("p", { version = 5 }):publish("t", "x", { qos = qos, props = props })
                local m = c:expect_publish("t", "x", { qos = qos })
                assert.same(props, m.props)
                m:ack():expect_nothing()
            end)
        end)
    end

    it("are left out for older subscribers", function()
        with_broker({}, function(b)
            local c = b:client("c", { version = 4 }):subscribe("t")
            b:client("p", { version = 5 }):publish("t", "x", { props = props })
            c:expect_publish("t", "x"):expect_nothing()
        end)
    end)

    it("survive the offline queue", function()
        with_broker({}, function(b)
            local c = b:client("c", { version = 5, clean = false, props = { session_expiry = 60 } })
            c:subscribe("t", 1):disconnect()
            b:client("p", { version = 5 }):publish("t", "x", { qos = 1, props = props })
            assert.same(props, c:reconnect():expect_publish("t", "x").props)
        end)
    end)
end)

describe("a publish in MQTT 5", function()
    it("without subscribers may say so", function()
        with_broker({}, function(b)
            for qos = 1, 2 do
                local c = b:client("c", { version = 5 }):publish("nobody", "x", { qos = qos })
                assert.is_true(c.last.rc == 0 or c.last.rc == 0x10)
            end
        end)
    end)

    it("is not echoed to a subscriber that asked for no local copies", function() -- [MQTT-3.8.3-3]
        with_broker({}, function(b)
            local c = b:client("c", { version = 5 }):subscribe("t", 1, { no_local = true })
            c:publish("t", "mine", { qos = 1 })
            b:client("p"):publish("t", "theirs", { qos = 1 })
            c:expect_publish("t", "theirs"):ack():expect_nothing()
        end)
    end)
end)
