-- SPDX-License-Identifier: BSD-2-Clause
--
-- Bytes on their way: addresses, unix sockets, packets cut anywhere, peers that
-- stop half-way.

local broker = require "support.broker"
local mqtt = require "support.mqtt"
local proc = require "support.proc"
local wait = require "support.wait"

local with_broker = broker.with_broker

describe("addresses", function()
    it("127.0.0.1 is served", function()
        with_broker({}, function(b) b:client("c"):subscribe("t"):publish("t", "x"):expect_publish("t", "x") end)
    end)

    it("::1 is served", function()
        with_broker({ listen = [[listen "mqtt://[::1]:$PORT"]], host = "::1" }, function(b)
            b:client("c"):subscribe("t"):publish("t", "x"):expect_publish("t", "x")
        end)
    end)

    it("localhost is served by name", function()
        with_broker({ listen = [[listen "mqtt://localhost:$PORT"]] }, function(b) b:client("c"):ping() end)
    end)

    it("* listens on IPv4 and IPv6 at once", function()
        with_broker({ listen = [[listen "mqtt://*:$PORT"]], config = "allow_anonymous = true" }, function(b)
            local four = b:client("four", { host = "127.0.0.1" }):subscribe("t")
            b:client("six", { host = "::1" }):publish("t", "x")
            four:expect_publish("t", "x")
        end)
    end)

    it("that others can reach let no stranger in unless told to", function()
        with_broker({ listen = [[listen "mqtt://*:$PORT"]] }, function(b)
            b:client("c", { connack = 5 }):expect_close()
        end)
    end)

    it("several may be served together", function()
        with_broker({ listen = [[
            listen "mqtt://127.0.0.1:$PORT"
            listen "mqtt://127.0.0.1:$PORT2"
            listen "unix://$DIR/mqtt.sock"
        ]] }, function(b)
            local one = b:client("one"):subscribe("t")
            local three = b:client("three", { path = b.dir .. "/mqtt.sock" }):subscribe("t")
            b:client("two", { port = b.port2 }):publish("t", "x")
            one:expect_publish("t", "x")
            three:expect_publish("t", "x")
        end)
    end)

    it("that are taken end the broker with a message", function()
        with_broker({}, function(b)
            broker.with_dir(function(dir)
                broker.write_file(dir .. "/sol.lua", ('listen "mqtt://127.0.0.1:%d"\n'):format(b.port))
                local r = broker.sol("-c", dir .. "/sol.lua")
                assert.is_true(r.status > 0)
                assert.matches(tostring(b.port), r.stdout .. r.stderr, 1, true)
            end)
            b:client("c"):ping()
        end)
    end)
end)

describe("a unix socket", function()
    local UNIX = { listen = [[listen "unix://$DIR/mqtt.sock"]], path = "$DIR/mqtt.sock" }

    it("serves clients", function()
        with_broker(UNIX, function(b)
            b:client("c"):subscribe("t", 2):publish("t", "x", { qos = 2 }):expect_publish("t", "x"):ack()
        end)
    end)

    it("is removed when the broker stops", function()
        with_broker(UNIX, function(b)
            assert.equal("socket", proc.stat(b.dir .. "/mqtt.sock").kind)
            b:stop()
            assert.is_nil(proc.stat(b.dir .. "/mqtt.sock"))
        end)
    end)

    it("left behind by a crash is replaced", function()
        with_broker(UNIX, function(b)
            b:client("c"):ping()
            b:kill9()
            assert.equal("socket", proc.stat(b.dir .. "/mqtt.sock").kind)
            b:start():client("d"):ping()
        end)
    end)

    it("that somebody serves is refused, and left alone", function()
        with_broker(UNIX, function(b)
            local r = broker.sol("-c", b.dir .. "/sol.lua")
            assert.is_true(r.status > 0)
            assert.matches("mqtt.sock", r.stdout .. r.stderr, 1, true)
            b:client("c"):ping()
        end)
    end)

    it("in place of a file that is no socket is refused, and the file kept", function()
        broker.with_dir(function(dir)
            broker.write_file(dir .. "/mqtt.sock", "precious")
            broker.write_file(dir .. "/sol.lua", ('listen "unix://%s/mqtt.sock"\n'):format(dir))
            local r = broker.sol("-c", dir .. "/sol.lua")
            assert.is_true(r.status > 0)
            assert.equal("precious", broker.read_file(dir .. "/mqtt.sock"))
        end)
    end)

    it("has the mode it is given", function()
        local private = [[listen { "unix://$DIR/mqtt.sock", mode = tonumber("600", 8) }]]
        with_broker({ listen = private, path = UNIX.path }, function(b)
            assert.equal(tonumber("600", 8), proc.stat(b.dir .. "/mqtt.sock").mode)
            b:client("c"):ping()
        end)
    end)
end)

-- One whole conversation of a client, as bytes, and what the broker must answer.
local function conversation(version)
    local function packet(p) return mqtt.encode(p, version) end
    return {
        packet { type = "CONNECT", client_id = "split" },
        packet { type = "SUBSCRIBE", id = 1, { filter = "split/+", qos = 2 } },
        packet { type = "PUBLISH", topic = "split/0", payload = "zero" },
        packet { type = "PUBLISH", topic = "split/1", payload = ("one"):rep(60), qos = 1, id = 2 },
        packet { type = "PUBLISH", topic = "split/2", payload = "two", qos = 2, id = 3 },
        packet { type = "PUBREL", id = 3 },
        packet { type = "PINGREQ" },
        packet { type = "UNSUBSCRIBE", id = 4, "split/+" },
    }
end

local function expect_answers(c)
    c:await "CONNACK"
    c:await("SUBACK", 1)
    c:await("PUBACK", 2)
    c:await("PUBREC", 3)
    c:await("PUBCOMP", 3)
    c:await "PINGRESP"
    c:await("UNSUBACK", 4)
    c:expect_publish("split/0", "zero")
    c:expect_publish("split/1", ("one"):rep(60), { qos = 1 })
    c:expect_publish("split/2", "two", { qos = 2 })
    assert.equal(0, #c.inbox)
end

for version = 3, 5 do
    describe("a stream at protocol level " .. version, function()
        local packets = conversation(version)
        local bytes = table.concat(packets)

        it("may come in one write", function()
            with_broker({}, function(b) expect_answers(b:raw({ version = version }):send_raw(bytes)) end)
        end)

        it("may come byte by byte", function()
            with_broker({}, function(b)
                local c = b:raw { version = version }
                for i = 1, #bytes do c:send_raw(bytes:sub(i, i)) end
                expect_answers(c)
            end)
        end)

        for _, size in ipairs { 2, 3, 7, 13, 64 } do
            it(("may come in pieces of %d bytes"):format(size), function()
                with_broker({}, function(b)
                    local c = b:raw { version = version }
                    for i = 1, #bytes, size do c:send_raw(bytes:sub(i, i + size - 1)) end
                    expect_answers(c)
                end)
            end)
        end

        it("may be cut at every boundary", function()
            with_broker({}, function(b)
                for cut = 1, #bytes - 1 do
                    local c = b:raw({ version = version }):send_raw(bytes:sub(1, cut))
                    if cut > #packets[1] then c:await "CONNACK" end -- the first part has been read
                    c:send_raw(bytes:sub(cut + 1))
                    if cut > #packets[1] then table.insert(c.inbox, { type = "CONNACK" }) end
                    expect_answers(c)
                    c:drop()
                end
            end)
        end)
    end)
end

describe("many packets in one write", function()
    it("are all served, in order", function()
        with_broker({}, function(b)
            local s = b:client("s"):subscribe("t", 0)
            local p = b:client("p")
            local all = {}
            for i = 1, 5000 do all[i] = mqtt.encode({ type = "PUBLISH", topic = "t", payload = tostring(i) }, 4) end
            p:send_raw(table.concat(all))
            for i = 1, 5000 do s:expect_publish("t", tostring(i)) end
            s:expect_nothing()
        end)
    end)

    it("do not keep others waiting", function()
        with_broker({}, function(b)
            local flood, other = b:client("flood"), b:client("other")
            local ping = mqtt.encode({ type = "PUBLISH", topic = "nobody", payload = ("x"):rep(100) }, 4):rep(2000)
            for _ = 1, 20 do flood:send_raw(ping) end
            local since = proc.now()
            other:ping()
            assert.is_true(proc.now() - since < wait.scaled(1))
            flood:ping(20)
        end)
    end)
end)

describe("a peer that sends no more", function()
    for version = 4, 5 do
        it("still gets its answers, level " .. version, function()
            with_broker({}, function(b)
                local c = b:raw({ version = version }):send_raw(table.concat(conversation(version))):half_close()
                expect_answers(c)
                c:expect_close()
            end)
        end)
    end

    it("still gets the last bytes of a large answer", function()
        with_broker({ config = "max_packet_size = 4000000" }, function(b)
            local payload = ("x"):rep(3000000)
            b:client("p"):publish("big", payload, { qos = 1, retain = true })
            local c = b:raw { rcvbuf = 4096 }
            c:send { type = "CONNECT", client_id = "c" }
            c:send { type = "SUBSCRIBE", id = 1, { filter = "big", qos = 0 } }
            c:half_close()
            c:await "CONNACK"
            c:await("SUBACK", 1)
            assert.is_true(c:expect("PUBLISH", nil, 20).payload == payload)
            c:expect_close()
        end)
    end)
end)

describe("a reader", function()
    it("with a tiny window gets a large message whole", function()
        with_broker({ config = "max_packet_size = 4000000" }, function(b)
            local c = b:client("c", { rcvbuf = 2048 }):subscribe("big", 1)
            local payload = ("0123456789"):rep(300000)
            b:client("p"):publish("big", payload, { qos = 1 })
            assert.is_true(c:expect("PUBLISH", nil, 30).payload == payload)
        end)
    end)

    it("that reads nothing does not stop the others", function()
        with_broker({}, function(b)
            b:client("stuck", { rcvbuf = 2048 }):subscribe("flood")
            local reader = b:client("reader"):subscribe("flood")
            local p = b:client("p")
            local payload = ("x"):rep(100000)
            for _ = 1, 200 do -- 20 MB: more than a connection's buffers may hold
                p:publish("flood", payload)
                reader:expect("PUBLISH", nil, 10)
            end
            p:ping(10)
            reader:ping()
        end)
    end)

    it("that never reads its acknowledgements is not read for ever", function()
        with_broker({}, function(b)
            local c, other = b:client("c", { rcvbuf = 2048 }), b:client("other")
            local before = b:rss_kb()
            local pings = ("\xC0\x00"):rep(50000)
            local deadline = proc.now() + 1
            while proc.now() < deadline do
                if not c.sock:send(pings) then c.sock:wait("w", 0.05) end
            end
            other:ping()
            if broker.is_lean() then assert.is_true(b:rss_kb() - before < 65536) end
        end)
    end)

    it("that resets the connection in the middle of a delivery harms nobody", function()
        with_broker({}, function(b)
            local p = b:client("p")
            for i = 1, 20 do
                local c = b:client("c" .. i, { rcvbuf = 2048 }):subscribe("t", i % 2)
                p:publish("t", ("x"):rep(200000), { qos = i % 2 })
                c:reset()
            end
            p:ping(10)
            b:client("late"):ping()
        end)
    end)
end)
