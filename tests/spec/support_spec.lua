-- SPDX-License-Identifier: BSD-2-Clause
--
-- The suite's own tools: an expectation that cannot fail expects nothing.

local broker = require "support.broker"
local mqtt = require "support.mqtt"
local proc = require "support.proc"

local with_broker = broker.with_broker

-- `act` must fail with a message that contains `part`.
local function fails(part, act, ...)
    local ok, err = pcall(act, ...)
    assert.is_false(ok, "it did not fail")
    assert.matches(part, tostring(err), 1, true)
end

describe("an expectation fails", function()
    it("when another message comes", function()
        with_broker({}, function(b)
            local c = b:client("c"):subscribe("t"):publish("t", "this")
            fails("got PUBLISH topic=t payload=this", c.expect_publish, c, "t", "that")
            c:publish("t", "x")
            fails("got PUBLISH", c.expect_publish, c, "t", "x", { qos = 1 })
            c:publish("t", "x")
            fails("got PUBLISH", c.expect, c, "PINGRESP")
        end)
    end)

    it("when nothing comes in time", function()
        with_broker({}, function(b)
            local c = b:client("c"):subscribe("t")
            fails("nothing came", c.expect_publish, c, "t", "x", nil, 0.05)
            fails("did not come", c.await, c, "PUBACK", 5, 0.05)
            fails("nothing came", c.expect_close, c, 0.05)
        end)
    end)

    it("when something comes that should not", function()
        with_broker({}, function(b)
            local c = b:client("c"):subscribe("t")
            b:client("p"):publish("t", "late") -- QoS 0: nobody says when it has arrived
            fails("wanted nothing, got PUBLISH topic=t payload=late", c.expect_nothing, c)
        end)
    end)

    it("when the connection stays, or a packet comes first", function()
        with_broker({}, function(b)
            local c = b:client("c")
            c:send { type = "PINGREQ" }
            fails("got PINGRESP", c.expect_close, c)
        end)
    end)

    it("when the connection ends instead", function()
        with_broker({}, function(b)
            local c = b:client("c")
            c:send_raw "\0\0"
            fails("ended", c.expect, c, "PINGRESP")
            fails("ended", c.await, c, "PINGRESP")
        end)
    end)

    it("when a request is refused, or is not refused", function()
        with_broker({}, function(b)
            local c = b:client("c")
            fails("wanted reason code 0x80", c.subscribe, c, "t", 1, { rc = 0x80 })
            fails("wanted a refusal", c.publish, c, "t", "x", { qos = 1, rc = "refused" })
        end)
    end)

    it("when a broker does not start, with what it said", function()
        local stderr = io.stderr
        io.stderr = { write = function() end } -- luacheck: ignore
        local ok, err = pcall(with_broker, { listen = "this is no Lua" }, function() end)
        io.stderr = stderr -- luacheck: ignore
        assert.is_false(ok)
        assert.matches("ended at once", tostring(err), 1, true)
    end)
end)

describe("a packet", function()
    it("is written as the standard prints it", function()
        for _, row in ipairs {
            { { type = "CONNECT", client_id = "c", keepalive = 60 }, 4,
                "10 0D 00 04 4D 51 54 54 04 02 00 3C 00 01 63" },
            { { type = "CONNECT", client_id = "c" }, 3, "10 0F 00 06 4D 51 49 73 64 70 03 02 00 00 00 01 63" },
            { { type = "CONNECT", client_id = "", props = { session_expiry = 10 } }, 5,
                "10 12 00 04 4D 51 54 54 05 02 00 00 05 11 00 00 00 0A 00 00" },
            { { type = "PUBLISH", topic = "a/b", payload = "x", qos = 1, id = 10 }, 4,
                "32 08 00 03 61 2F 62 00 0A 78" },
            { { type = "SUBSCRIBE", id = 10, { filter = "a/b", qos = 1 }, { filter = "c/d", qos = 2 } }, 4,
                "82 0E 00 0A 00 03 61 2F 62 01 00 03 63 2F 64 02" },
            { { type = "PUBREL", id = 258, rc = 0x92 }, 5, "62 03 01 02 92" },
            { { type = "DISCONNECT", rc = 4 }, 5, "E0 01 04" },
        } do
            assert.equal(mqtt.hex(row[3]), mqtt.encode(row[1], row[2]))
        end
    end)

    it("is read only when it is whole", function()
        local bytes = mqtt.hex "32 08 00 03 61 2F 62 00 0A 78"
        for cut = 0, #bytes - 1 do assert.is_nil(mqtt.decode(bytes:sub(1, cut), 1, 4)) end
        local p, at = mqtt.decode(bytes, 1, 4)
        assert.equal(#bytes + 1, at)
        assert.same({ "a/b", "x", 1, 10 }, { p.topic, p.payload, p.qos, p.id })
    end)

    it("that is malformed is not read", function()
        for _, row in ipairs { { "00 00", 4 }, { "36 03 00 01 61", 4 }, { "20 02 02 00", 4 }, { "E0 00", 4 },
            { "30 05 00 01 61 01 7F", 5 }, { "82 00", 4 }, { "60 02 00 01", 4 }, { "D0 01 00", 4 } } do
            assert.is_false(pcall(mqtt.decode, mqtt.hex(row[1]), 1, row[2]))
        end
    end)
end)

describe("a process", function()
    it("tells how it ended", function()
        assert.equal(0, broker.run({ "true" }).status)
        assert.equal(3, broker.run({ "sh", "-c", "exit 3" }).status)
        assert.equal(-9, broker.run({ "sh", "-c", "kill -9 $$" }).status)
        assert.equal("in out", broker.run({ "cat" }, { input = "in out" }).stdout)
    end)

    it("has nothing of the shell's environment that is not meant for specs", function()
        local load = { "/usr/bin/env", "SOL_PLUGINS=/nowhere", "HOME=/nowhere", "SPEC_WORKERS=2", "lua5.4", "-e",
            [[require "support.proc" os.execute "/usr/bin/env"]] }
        local names = {}
        for name in broker.run(load).stdout:gmatch "([%w_]+)=[^\n]*\n" do names[name] = true end
        assert.same({ true, true }, { names.PATH, names.SPEC_WORKERS })
        assert.same({}, { names.SOL_PLUGINS, names.HOME })
    end)

    it("that cannot be started is an error", function()
        local p, err = proc.spawn { "/no/such/program" }
        assert.is_nil(p)
        assert.matches("No such file", err)
    end)

    it("is gone when it is forgotten", function()
        local pid = assert(proc.spawn { "sleep", "60" }):pid()
        collectgarbage()
        collectgarbage()
        assert.is_nil(proc.stat("/proc/" .. pid))
    end)
end)

describe("the runner of all tests", function()
    local PASSES = "echo one; echo '[  PASSED  ] 2 test(s).'"
    local FAILS = "echo '[  PASSED  ] 1 test(s).'; echo '[  FAILED  ] tests: 2 test(s), listed below:'; exit 2"

    -- What it says, and its status, about programs of which these are the texts.
    local function run_all(texts)
        local result
        broker.with_dir(function(dir)
            local argv = { "lua5.4", "tests/run.lua", "2" }
            for i, text in ipairs(texts) do
                local file = ("%s/test_%d"):format(dir, i)
                broker.write_file(file, "#!/bin/sh\n" .. text .. "\n")
                assert.equal(0, broker.run({ "chmod", "+x", file }).status)
                table.insert(argv, file)
            end
            result = broker.run(argv)
        end)
        return result.stdout, result.status
    end

    it("adds up what they say, in order", function()
        -- The first of them is not done before the second.
        local said, status = run_all { "until [ -e $0.go ]; do :; done; " .. PASSES,
            "echo two; : >${0%2}1.go; echo '12 successes / 0 failures / 0 errors / 3 pending : 1.5 seconds'" }
        assert.equal(0, status)
        assert.matches("one.*two.*\n14 passed, 0 failed, 3 skipped\n$", said)
    end)

    for _, row in ipairs {
        { "fails", FAILS, "exit 2\n3 passed, 2 failed, 0 skipped\n$" },
        { "has an error", "echo '1 success / 1 failure / 2 errors / 0 pending : 1 seconds'; exit 3",
            "exit 3\n3 passed, 3 failed, 0 skipped\n$" },
        { "crashes", "kill -9 $$", "signal 9\n2 passed, 1 failed, 0 skipped\n$" },
        { "says nothing and fails", "exit 1", "exit 1\n2 passed, 1 failed, 0 skipped\n$" },
    } do
        it("fails when one of them " .. row[1], function()
            local said, status = run_all { row[2], PASSES }
            assert.equal(1, status)
            assert.matches("FAILED /tmp/[^\n]*/test_1: " .. row[3], said)
        end)
    end
end)
