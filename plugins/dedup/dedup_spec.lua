-- SPDX-License-Identifier: BSD-2-Clause
--
-- dedup: what is a copy and what is not, and options that are refused.

local testing = require "sol.testing"

--- A broker with the plugin, a publisher and one who hears everything.
local function with(options, settings)
    local b = testing.broker { text = (settings or "") .. '\nplugin("dedup", {' .. options .. "})" }
    local all = b:connect {}
    all:subscribe "#"
    return b, b:connect {}, all
end

local function hears(client, payloads)
    for _, payload in ipairs(payloads) do client:expect(nil, payload) end
    client:expect_none()
end

describe("dedup", function()
    it("lets one of equal messages through, and acknowledges all", function()
        local b, pub, all = with ""
        for qos = 1, 2 do assert.equal(0, pub:publish("t", "x", { qos = qos })) end
        b:connect({}):publish("t", "x")
        hears(all, { "x" })
        pub:publish("t", "y")
        pub:publish("u", "x")
        hears(all, { "y", "x" })
    end)

    it("forgets after the window, which begins with the first copy", function()
        local b, pub, all = with "window = 10"
        pub:publish("t", "x")
        b:advance(9)
        pub:publish("t", "x")
        hears(all, { "x" })
        b:advance(2)
        pub:publish("t", "x")
        hears(all, { "x" })
    end)

    it("looks at its topics alone, and by client where it is told", function()
        local b, pub, all = with 'topics = { "a/+" }, per_client = true'
        for _ = 1, 2 do
            pub:publish("a/1", "x")
            pub:publish("b", "y")
        end
        b:connect({}):publish("a/1", "x")
        hears(all, { "x", "y", "y", "x" })
    end)

    it("remembers so many and no more", function()
        local _, pub, all = with "size = 2"
        for _, payload in ipairs { "1", "2", "3", "3", "1" } do pub:publish("t", payload) end
        hears(all, { "1", "2", "3", "1" })
    end)

    it("compares a field, a property or what a function says", function()
        local _, pub, all = with 'by = "json:order.id"'
        for _, payload in ipairs { '{"order":{"id":7},"n":1}', '{"order":{"id":7},"n":2}', '{"order":{"id":"7"}}',
            "no JSON", "no JSON", "5" } do
            pub:publish("t", payload)
        end
        hears(all, { '{"order":{"id":7},"n":1}', '{"order":{"id":"7"}}', "no JSON", "no JSON", "5" })

        _, pub, all = with 'by = "user:id"'
        for i, id in ipairs { "1", "2", "1" } do
            pub:publish("t", "m" .. i, { properties = { user_properties = { { "id", id } } } })
        end
        pub:publish("t", "m4")
        pub:publish("t", "m5")
        hears(all, { "m1", "m2", "m4", "m5" })

        _, pub, all = with 'by = "correlation"'
        for i = 1, 2 do pub:publish("t", "m" .. i, { properties = { correlation_data = "c" } }) end
        hears(all, { "m1" })

        _, pub, all = with "by = function(message) return message.payload:sub(1, 1) end"
        for _, payload in ipairs { "a1", "a2", "b1" } do pub:publish("t", payload) end
        hears(all, { "a1", "b1" })
    end)

    it("remembers across a reload where it is told", function()
        for options, expected in pairs { [""] = { "x" }, ['shared = "seen"'] = {} } do
            local b, pub, all = with(options, 'shared = { seen = "1 MB" }')
            pub:publish("t", "x")
            pub:publish("t", "x")
            hears(all, { "x" })
            assert(b:reload())
            pub:publish("t", "x")
            hears(all, expected)
        end
    end)
end)

describe("dedup does not load", function()
    local rows = {
        ["a filter that is none"] = { 'topics = { "a", "b/#/c" }', "topics[2]: no topic filter: b/#/c" },
        ["an unknown by"] = { 'by = "topic"', "by: expected payload, correlation, user:NAME" },
        ["a window of nothing"] = { "window = 0", "window: expected a number of seconds above 0" },
        ["an undeclared dictionary"] = { 'shared = "seen"', "seen" },
        ["an unknown option"] = { "windows = 5", "unknown option" },
    }
    for name, row in pairs(rows) do
        it(name, function()
            assert.error_matches(function() with(row[1]) end, row[2], 1, true)
        end)
    end
end)
