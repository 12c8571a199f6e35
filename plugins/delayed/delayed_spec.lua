-- SPDX-License-Identifier: BSD-2-Clause
--
-- delayed: what comes later, what never comes, and what is refused at once.

local testing = require "sol.testing"

--- A broker with the plugin, and a client that hears everything.
local function with(options, more)
    local b = testing.broker { text = 'plugin("delayed", {' .. options .. "})\n" .. (more or "") }
    local all = b:connect {}
    all:subscribe("#", { qos = 2 })
    all:subscribe "$delayed/#"
    return b, all
end

describe("delayed", function()
    it("publishes later, as the message was", function()
        local b, all = with ""
        local c = b:connect {}
        assert.equal(0, c:publish("$delayed/60/a/b", "later", { qos = 2, retain = true,
            properties = { content_type = "text/x", user_properties = { { "k", "v" } } } }))
        assert.equal(0, c:publish("$delayed/0.5/a/c", "sooner"))
        all:expect_none()
        b:advance(0.6)
        assert.equal(1, all:expect("a/c", "sooner").qos)
        b:advance(59)
        all:expect_none()
        b:advance(1)
        local got = all:expect("a/b", "later")
        assert.equal(2, got.qos)
        assert.equal("text/x", got.properties.content_type)
        assert.same({ { "k", "v" } }, got.properties.user_properties)
        local late = b:connect {}
        late:subscribe "a/b"
        assert.is_true(late:expect("a/b", "later").retain)
    end)

    it("has the author's rights to the topic checked, when the time has come", function()
        local rules = '{ { topic = "open" }, { action = "subscribe", topic = "#" } }'
        local b, all = with("", 'plugin("acl", { rules = ' .. rules .. " })")
        local c = b:connect { client_id = "c" }
        assert.equal(0, c:publish("$delayed/1/secret", "x"))
        assert.equal(0, c:publish("$delayed/1/open", "y"))
        b:advance(2)
        all:expect("open", "y")
        all:expect_none()
        assert.truthy(b:logged "delayed message of c to secret: ")
    end)

    it("publishes for a client that is away as long as its session lives", function()
        local b, all = with ""
        for _, id in ipairs { "stays", "goes" } do
            local c = b:connect { client_id = id, session_expiry = id == "stays" and 3600 or nil }
            c:publish("$delayed/60/t", id)
            c:disconnect()
        end
        b:advance(61)
        all:expect("t", "stays")
        all:expect_none()
        assert.truthy(b:logged "delayed message of goes: gone with its session")
    end)

    it("outlives a reload, bytes and all", function()
        local b, all = with "max_per_client = 3"
        local c = b:connect {}
        c:publish("$delayed/10/t", "\0\xff", { properties = { correlation_data = "\0\xfe" } })
        for _ = 1, 2 do c:publish "$delayed/60/u" end
        b:advance(5)
        assert(b:reload())
        assert.equal(0x97, c:publish "$delayed/60/u") -- all three are known again
        b:advance(6)
        assert.equal("\0\xfe", all:expect("t", "\0\xff").properties.correlation_data)
        b:advance(44)
        all:expect_none()
        b:advance(6)
        for _ = 1, 2 do all:expect "u" end
        all:expect_none()
    end)

    it("goes with a session that is given up", function()
        local b, all = with ""
        b:connect({ client_id = "c", session_expiry = 3600 }):publish("$delayed/10/t", "x")
        b:connect { client_id = "c", clean_start = true }
        b:advance(11)
        all:expect_none()
        assert.truthy(b:logged "delayed message of c: gone with its session")
    end)

    it("refuses delays and topics that make no sense, and what a session cannot keep", function()
        local b = with "max_delay = 60"
        local c = b:connect {}
        for _, topic in ipairs { "$delayed", "$delayed/5", "$delayed/5/", "$delayed/x/t", "$delayed/-1/t",
            "$delayed/61/t", "$delayed//t", "$delayed/1e1/t", "$delayed/0x1/t" } do
            assert.equal(0x90, c:publish(topic, "x"), topic)
        end
        assert.equal(0x97, c:publish("$delayed/1/t", ("x"):rep(60000)))
    end)

    it("holds so many and no more, until they have gone", function()
        local b, all = with "max_pending = 3, max_per_client = 2, max_bytes = 700"
        local c, d = b:connect {}, b:connect {}
        local function publishes(client, rc, payload)
            assert.equal(rc, client:publish("$delayed/60/t", payload))
        end
        publishes(c, 0)
        publishes(c, 0x97, ("x"):rep(900))
        publishes(c, 0)
        publishes(c, 0x97)
        publishes(d, 0)
        publishes(d, 0x97)
        b:advance(61)
        assert.equal(3, #all:messages())
        publishes(d, 0)
    end)

    it("keeps no room for clients that have gone with their sessions", function()
        local b, all = with "max_pending = 2"
        local stays = b:connect { client_id = "stays", session_expiry = 3600 }
        assert.equal(0, stays:publish("$delayed/60/t", "stays"))
        stays:disconnect()
        for i = 1, 5 do
            local c = b:connect { client_id = "passer-by " .. i }
            assert.equal(0, c:publish("$delayed/3600/t", "x"), i)
            assert.equal(0x97, c:publish("$delayed/3600/t", "x"), i)
            c:disconnect()
            b:advance(2)
        end
        b:advance(60)
        all:expect("t", "stays")
        b:advance(3600)
        all:expect_none()
    end)
end)

describe("delayed does not load", function()
    for name, row in pairs {
        ["a bound of nothing"] = { "max_pending = 0", "max_pending: expected a number above 0" },
        ["an unknown option"] = { "max_delays = 1", "unknown option" },
    } do
        it(name, function()
            assert.error_matches(function() with(row[1]) end, row[2], 1, true)
        end)
    end
end)
