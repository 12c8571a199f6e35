-- SPDX-License-Identifier: BSD-2-Clause
--
-- transform: documents and topics in their new shape, and rules that are refused.

local testing = require "sol.testing"

local function with_rules(rules)
    return testing.broker { text = 'plugin("transform", { rules = {' .. rules .. "} })" }
end

--- Calls spec(becomes, pub, all) for a publisher and one who hears everything.
local function try(rules, spec)
    local b = with_rules(rules)
    local all, pub = b:connect {}, b:connect { client_id = "dev-1", username = "ada", password = "" }
    all:subscribe "#"
    spec(function(topic, payload, new_topic, new_payload)
        assert.equal(0, pub:publish(topic, payload))
        all:expect(new_topic, new_payload)
    end, pub, all)
end

describe("transform", function()
    it("builds a new document from the old one, the topic and the client", function()
        try([[{
            from = "+/+/raw", to = "%2/%1/state",
            payload = {
                device = "%2", of = "$client", by = "$username", was = "$topic", literal = "100%%", yes = true, n = 3,
                celsius = { path = "t.f", scale = 5 / 9, offset = -160 / 9, round = 1 },
                first = "$.list[1].x", last = "$.list.2", list = { "$.a", "$.absent" },
                state = { path = "s", map = { [0] = "off", [1] = "on" }, default = "unknown" },
                id = { path = "id", as = "string" }, whole = { path = "w", round = 0 },
                int = { path = "w", as = "integer" },
            },
        }]], function(becomes)
            becomes("site/7/raw", '{"t":{"f":100.04},"list":[{"x":null},"z"],"a":5,"s":1,"id":17,"w":"2.6"}',
                "7/site/state", '{"by":"ada","celsius":37.8,"device":"7","id":"17","int":2,"last":"z","list":[5,null],'
                .. '"literal":"100%","n":3,"of":"dev-1","state":"on","was":"site/7/raw","whole":3,"yes":true}')
            becomes("a/b/raw", "{}", "b/a/state", '{"by":"ada","device":"b","list":[null,null],"literal":"100%","n":3,'
                .. '"of":"dev-1","state":"unknown","was":"a/b/raw","yes":true}')
        end)
    end)

    it("makes no string of an object, and of large numbers no others", function()
        try([[{ from = "t", payload = { s = { path = "v", as = "string", default = "none" },
            n = { path = "v", scale = 2, offset = 1 } } }]], function(becomes)
            becomes("t", '{"v":{}}', "t", '{"s":"none"}')
            becomes("t", '{"v":[1]}', "t", '{"s":"none"}')
            becomes("t", '{"v":true}', "t", '{"s":"true"}')
            becomes("t", '{"v":20}', "t", '{"n":41,"s":"20"}')
            becomes("t", '{"v":9223372036854775807}', "t", '{"n":1.8446744073709552e+19,"s":"9223372036854775807"}')
        end)
    end)

    it("changes what is there: keep, set, remove", function()
        try([[
            { from = "set", set = { ["a.b.c"] = "$.x", x = "$.a", ["list[2]"] = "two" },
                remove = { "secret", "deep.er" } },
            { from = "keep", keep = { "a", "b.c" } },
            { from = "first", remove = { "l[1]" } },
        ]], function(becomes)
            becomes("set", '{"a":1,"x":2,"secret":3,"deep":{"er":4,"other":5},"list":[1,0,3]}', "set",
                '{"a":{"b":{"c":2}},"deep":{"other":5},"list":[1,"two",3],"x":1}')
            becomes("keep", '{"a":[],"b":{"c":2,"d":3},"z":9}', "keep", '{"a":[],"b":{"c":2}}')
            becomes("first", '{"l":[1,2,3]}', "first", '{"l":[2,3]}')
        end)
    end)

    it("wraps a payload that is a bare value, and takes one out", function()
        try([[{ from = "wrap/+", to = "wrapped/%1", payload = { value = "$payload" } },
            { from = "bare", payload = "$.value" }, { from = "other/#", to = "new/%1" }]], function(becomes)
            becomes("wrap/x", "21.5", "wrapped/x", '{"value":21.5}')
            becomes("bare", '{"value":[1]}', "bare", "[1]")
            becomes("bare", "{}", "bare", "null")
            becomes("other/a/b", "no JSON", "new/a/b", "no JSON")
        end)
    end)

    it("sends a message where a field of it says", function()
        try([[{ from = "inbox", to = "$.room", remove = { "room" } }]], function(becomes, pub, all)
            becomes("inbox", '{"room":"rooms/7","x":1}', "rooms/7", '{"x":1}')
            for _, payload in ipairs { '{"room":"#"}', '{"room":""}', '{"room":5}', "{}", "[]", "x" } do
                assert.equal(0x99, pub:publish("inbox", payload), payload)
            end
            all:expect_none()
        end)
    end)

    it("takes whatever JSON there is", function()
        try([[
            { from = "odd", remove = { "r.s.t", "l[1]", "q" }, invalid = "drop", set = {
                ["a.b"] = { path = "a.c[2].d", map = { x = 1 }, scale = 2, round = 1, as = "integer" },
                ["l[3]"] = "$.l", z = "$payload",
            } },
            { from = "odd/kept", keep = { "a.b", "l[2].x" }, invalid = "drop" },
            { from = "odd/built", payload = { a = { path = "a.b.c", as = "number" }, l = { "$.l[1]" } } },
        ]], function(_, pub)
            for _, payload in ipairs {
                "null", "true", "1", '"s"', "[]", "{}", "[[]]", "[null]", '{"a":null}', '{"a":[1,2]}', '{"a":1e308}',
                '{"a":{"c":[1,{"d":"x"}]}}', '{"a":{"c":[1,{"d":{}}]}}', '{"a":{"c":{"2":{"d":"9"}}}}', '{"l":"text"}',
                '{"l":[]}', '{"l":{}}', '{"l":[1,2,3,4]}', '{"r":[1]}', '{"r":{"s":5}}', '{"":{"":1}}',
            } do
                for _, topic in ipairs { "odd", "odd/kept", "odd/built" } do
                    assert.equal(0, pub:publish(topic, payload), topic .. " " .. payload)
                end
            end
        end)
    end)

    it("refuses, drops or passes what is no JSON", function()
        try([[{ from = "deny", set = { a = 1 } }, { from = "drop", set = { a = 1 }, invalid = "drop" },
            { from = "pass", set = { a = 1 }, invalid = "pass" }]], function(becomes, pub, all)
            for _, payload in ipairs { "{", "[", "5", "[1]" } do assert.equal(0x99, pub:publish("deny", payload)) end
            assert.equal(0, pub:publish("drop", "x"))
            becomes("pass", "{", "pass", "{")
            becomes("pass", "[1]", "pass", "[1]")
            all:expect_none()
        end)
    end)
end)

describe("transform does not load", function()
    local rows = { -- rules, and what is said of the first
        ["without rules"] = { "", "rules is missing" },
        ["no from"] = { "{ to = 'a' }", "rules[1].from: expected a topic filter" },
        ["an unknown field"] = { "{ from = 'a', fields = {} }", "rules[1].fields: no such field" },
        ["a capture that is not there"] = { "{ from = 'a/+', to = 'b/%2' }",
            "rules[1].to: %2: the filter has 1 wildcard" },
        ["an unknown name"] = { "{ from = 'a', payload = { x = '$clientid' } }",
            "rules[1].payload: no such name: $clientid" },
        ["a lookup with an unknown option"] = { "{ from = 'a', set = { x = { path = 'y', scales = 2 } } }",
            "rules[1].set.x: scales = 2: expected as, default" },
        ["an unknown as"] = { "{ from = 'a', set = { x = { path = 'y', as = 'float' } } }", "as: expected boolean" },
        ["payload and set"] = { "{ from = 'a', payload = {}, set = {} }", "rules[1].payload: replaces all" },
        ["an unknown invalid"] = { "{ from = 'a', set = {}, invalid = 'x' }",
            "rules[1].invalid: expected deny, drop or pass" },
    }
    for name, row in pairs(rows) do
        it(name, function()
            assert.error_matches(function() with_rules(row[1]) end, row[2], 1, true)
        end)
    end
end)
