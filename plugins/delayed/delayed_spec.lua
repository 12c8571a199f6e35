-- SPDX-License-Identifier: BSD-2-Clause
--
-- delayed: what comes later, what never comes, and what is refused at once.

local broker = require "support.broker"
local with_broker, with_dir, write_file = broker.with_broker, broker.with_dir, broker.write_file

local function with(options, spec, config)
    with_broker({ config = 'plugin("delayed", {' .. options .. "})\n" .. (config or "") }, spec)
end

describe("delayed", function()
    it("publishes later, as the message was", function()
        with("", function(b)
            local sub = b:client("sub", { version = 5 }):subscribe("#", 2):subscribe("$delayed/#", 0)
            local c = b:client("c", { version = 5 })
            c:publish("$delayed/600/t", "much later", { qos = 1, rc = 0 })
            c:publish("$delayed/0.05/a/c", "x", { qos = 1, rc = 0 })
            c:publish("$delayed/0.2/a/b", "later", { qos = 2, retain = true,
                props = { content_type = "text/x", user = { { "k", "v" } } } })
            sub:expect_publish("a/c", "x", { qos = 1 }):ack()
            local got = sub:expect_publish("a/b", "later", { qos = 2, props = { content_type = "text/x" } })
            assert.same({ { "k", "v" } }, got.props.user)
            got:ack():expect_nothing()
            b:client("late"):subscribe("a/b", 0):expect_publish("a/b", "later", { retain = true })
        end)
    end)

    it("has the author's rights to the topic checked, when the time has come", function()
        with("", function(b)
            local sub = b:client("sub"):subscribe("#", 0)
            b:client("c"):publish("$delayed/0/secret", "x", { qos = 1 }):publish("$delayed/0.05/open", "y", { qos = 1 })
            sub:expect_publish("open", "y"):expect_nothing()
            b:log_wait "(delayed message of c to secret: [^\n]*)\n"
        end, 'plugin("acl", { rules = { { topic = "open" }, { action = "subscribe", topic = "#" } } })')
    end)

    it("publishes for a client that is away as long as its session lives", function()
        with("", function(b)
            local sub = b:client("sub"):subscribe("#", 0)
            b:client("stays", { clean = false }):publish("$delayed/1.2/t", "stays", { qos = 1 }):disconnect()
            b:client("goes"):publish("$delayed/1/t", "goes", { qos = 1 }):disconnect()
            sub:expect_publish("t", "stays"):expect_nothing()
            b:log_wait "(delayed message of goes: gone with its session)"
        end)
    end)

    it("outlives a reload, bytes and all", function()
        with("max_per_client = 3", function(b)
            local sub = b:client("sub", { version = 5 }):subscribe("#", 0)
            local c = b:client("c", { version = 5 })
            c:publish("$delayed/1/t", "\0\xff", { qos = 1, rc = 0, props = { correlation_data = "\0\xfe" } })
            for _ = 1, 2 do c:publish("$delayed/600/u", "", { qos = 1, rc = 0 }) end
            b:signal "HUP"
            b:log_wait "(generation 2 is in place)"
            sub:expect_publish("t", "\0\xff", { props = { correlation_data = "\0\xfe" } }):expect_nothing()
            c:publish("$delayed/600/u", "", { qos = 1, rc = 0 }) -- the third: two are known again
            c:publish("$delayed/600/u", "", { qos = 1, rc = 0x97 })
        end)
    end)

    it("goes with a session that is given up", function()
        with("", function(b)
            local sub = b:client("sub"):subscribe("#", 0)
            local c = b:client("c", { clean = false }):publish("$delayed/1/t", "x", { qos = 1 })
            c:reconnect { clean = true }
            b:log_wait "(delayed message of c: gone with its session)"
            sub:expect_nothing()
        end)
    end)

    it("refuses what a session cannot keep", function()
        with("", function(b)
            b:client("c", { version = 5 }):publish("$delayed/1/t", ("x"):rep(60000), { qos = 1, rc = 0x97 })
        end)
    end)

    it("refuses delays and topics that make no sense", function()
        with("max_delay = 60", function(b)
            local c = b:client("c", { version = 5 })
            for _, topic in ipairs { "$delayed", "$delayed/5", "$delayed/5/", "$delayed/x/t", "$delayed/-1/t",
                "$delayed/61/t", "$delayed//t", "$delayed/1e1/t", "$delayed/0x1/t" } do
                c:publish(topic, "x", { qos = 1, rc = 0x90 })
            end
        end)
    end)

    it("holds so many and no more", function()
        with("max_pending = 3, max_per_client = 2, max_bytes = 700", function(b)
            local c, d = b:client("c", { version = 5 }), b:client("d", { version = 5 })
            local FITS, FULL = { qos = 1, rc = 0 }, { qos = 1, rc = 0x97 }
            c:publish("$delayed/600/t", "", FITS):publish("$delayed/600/t", ("x"):rep(900), FULL)
            c:publish("$delayed/600/t", "", FITS):publish("$delayed/600/t", "", FULL)
            d:publish("$delayed/600/t", "", FITS):publish("$delayed/600/t", "", FULL)
        end)
    end)

    it("has room again when messages have gone", function()
        with("max_pending = 1", function(b)
            local sub = b:client("sub"):subscribe("t", 0)
            local c = b:client("c", { version = 5 })
            for i = 1, 3 do
                c:publish("$delayed/0.01/t", tostring(i), { qos = 1, rc = 0 })
                sub:expect_publish("t", tostring(i))
            end
        end)
    end)
end)

describe("delayed does not load", function()
    for name, row in pairs {
        ["a bound of nothing"] = { "{ max_pending = 0 }", "max_pending: expected a number above 0" },
        ["an unknown option"] = { "{ max_delays = 1 }", "unknown option" },
    } do
        it(name, function()
            with_dir(function(dir)
                write_file(dir .. "/sol.lua", 'plugin("delayed", ' .. row[1] .. ")")
                local result = broker.sol("check", "-c", dir .. "/sol.lua")
                assert.not_equal(0, result.status)
                assert.truthy((result.stderr .. result.stdout):find(row[2], 1, true), result.stderr)
            end)
        end)
    end
end)
