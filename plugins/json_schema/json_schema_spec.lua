-- SPDX-License-Identifier: BSD-2-Clause
--
-- json_schema: the vocabulary row by row, then what clients see of it.

local testing = require "sol.testing"

--- The budget counts real time: it shall not run out before the plugin's own bounds do.
local function with_rules(rules, files, tolerate)
    return testing.broker { text = 'hook_budget = 30 plugin("json_schema", { rules = {' .. rules .. "} })",
        files = files, tolerate = tolerate }
end

--- A client of a broker with these schemas, JSON texts: the n-th is that of topic r/n.
local function client_of(schemas, tolerate)
    local rules = {}
    for n, schema in ipairs(schemas) do
        rules[n] = ("{ topic = 'r/%d', schema = sol.json.decode(%q) }"):format(n, schema)
    end
    local b = with_rules(table.concat(rules, ", "), nil, tolerate)
    return b:connect {}, b
end

--- A Lua string as JSON.
local function quoted(text) return '"' .. text:gsub('[\\"]', "\\%0"):gsub("\n", "\\n") .. '"' end

-- Schema, what fits it, what does not with what is said of it.
local ROWS = {
    { "true", { "1", "null" }, {} },
    { "false", {}, { { "1", " nothing is allowed here" } } },
    { "{}", { "1", "[]" }, {} },
    { '{"type":"integer"}', { "1", "1.0", "-3" }, { { "1.5", " expected integer" }, { '"1"', " expected integer" } } },
    { '{"type":["object","null"]}', { "{}", "null" }, { { "[]", " expected object or null" }, { "false" } } },
    { '{"type":"array"}', { "[]", "[1]" }, { { "{}" } } },
    { '{"type":"boolean"}', { "true" }, { { "0" } } },
    { '{"enum":[1,"a",null,[2]]}', { "1", "1.0", '"a"', "null", "[2]" },
        { { "2", ' expected one of [1,"a",null,[2]]' }, { "[]" }, { "false" } } },
    { '{"const":{"a":[1,{}]}}', { '{"a":[1,{}]}' }, { { '{"a":[1,[]]}', ' expected {"a":[1,{}]}' }, { "{}" } } },
    { '{"const":null}', { "null" }, { { "false" } } },
    { '{"minimum":2,"maximum":4}', { "2", "4", '"x"' }, { { "1.9", " less than 2" }, { "5", " more than 4" } } },
    { '{"exclusiveMinimum":2,"exclusiveMaximum":4}', { "3" }, { { "2", " not more than 2" }, { "4",
        " not less than 4" } } },
    { '{"multipleOf":0.01}', { "4.02", "0", "-1.1" }, { { "0.0075", " not a multiple of 0.01" } } },
    { '{"minLength":2,"maxLength":3}', { '"ab"', '"äöü"', "1" }, { { '"ä"', " shorter than 2 characters" },
        { '"abcd"' } } },
    { '{"pattern":"^a+$"}', { '"aa"', "7" }, { { '"ab"', " does not match ^a+$" } } },
    { '{"minItems":1,"maxItems":2,"uniqueItems":true}', { "[1]", '[1,"1"]', "[[1],[2]]" },
        { { "[]", " fewer than 1 items" }, { "[1,2,3]" }, { "[1,1]", " two equal items" }, { '[{"a":1},{"a":1}]' } } },
    { '{"items":{"type":"number"}}', { "[]", "[1,2]", "{}" }, { { '[1,"x"]', "/1 expected number" } } },
    { '{"prefixItems":[{"type":"number"}],"items":{"type":"string"}}', { "[]", "[1]", '[1,"a"]' },
        { { '["a"]', "/0 expected number" }, { "[1,2]", "/1 expected string" } } },
    { '{"items":[{"type":"number"}],"additionalItems":false}', { "[1]", "[]" },
        { { "[1,2]", "/1 nothing is allowed here" }, { '["a"]' } } },
    { '{"contains":{"const":1},"maxContains":2}', { "[1]", "[0,1,1]" }, { { "[0]", " fewer than 1 fitting items" },
        { "[1,1,1]", " more than 2 fitting items" } } },
    { '{"contains":{"const":1},"minContains":0}', { "[]", "[1]" }, {} },
    { '{"required":["a","b"]}', { '{"a":1,"b":null}', "[]" }, { { '{"a":1}', " b is missing" } } },
    { '{"minProperties":1,"maxProperties":1}', { '{"a":1}' }, { { "{}" }, { '{"a":1,"b":2}' } } },
    { '{"properties":{"a":{"type":"string"},"c/d":{"minimum":1}},"additionalProperties":false}', { "{}", '{"a":"x"}' },
        { { '{"a":1}', "/a expected string" }, { '{"b":1}', "/b is not expected" }, { '{"c/d":0}',
            "/c~1d less than 1" } } },
    { '{"patternProperties":{"^x-":{"type":"number"}},"additionalProperties":{"type":"string"}}',
        { '{"x-a":1,"b":"s"}' }, { { '{"x-a":"s"}', "/x-a expected number" }, { '{"b":1}', "/b expected string" } } },
    { '{"properties":{"ab":true},"patternProperties":{"^a":{"minimum":5}}}', { '{"ab":5}' }, { { '{"ab":1}' } } },
    { '{"propertyNames":{"maxLength":2}}', { '{"ab":1}' }, { { '{"abc":1}',
        "/abc as a name: longer than 2 characters" } } },
    { '{"dependentRequired":{"a":["b"]}}', { '{"b":1}', '{"a":1,"b":1}' }, { { '{"a":1}', " b is missing, with a" } } },
    { '{"dependencies":{"a":["b"],"c":{"required":["d"]}}}', { "{}" }, { { '{"a":1}' }, { '{"c":1}',
        " d is missing" } } },
    { '{"dependentSchemas":{"a":{"maxProperties":1}}}', { '{"a":1}' }, { { '{"a":1,"b":1}' } } },
    { '{"allOf":[{"minimum":1},{"maximum":3}]}', { "2" }, { { "0", " less than 1" }, { "4" } } },
    { '{"anyOf":[{"type":"string"},{"minimum":3}]}', { '"a"', "3" }, { { "1", " fits none of anyOf" } } },
    { '{"oneOf":[{"multipleOf":2},{"multipleOf":3}]}', { "2", "3" }, { { "6", " fits 2 of oneOf" }, { "5",
        " fits 0 of oneOf" } } },
    { '{"not":{"type":"string"}}', { "1" }, { { '"a"', " fits what it must not" } } },
    { '{"if":{"type":"string"},"then":{"minLength":2},"else":{"minimum":2}}', { '"ab"', "2" }, { { '"a"' }, { "1" } } },
    { '{"then":{"minLength":2}}', { '"a"' }, {} },
    { '{"$defs":{"n":{"type":"number"}},"items":{"$ref":"#/$defs/n"}}', { "[1]" }, { { '["a"]',
        "/0 expected number" } } },
    { '{"properties":{"next":{"$ref":"#"}},"additionalProperties":false}', { '{"next":{"next":{}}}' },
        { { '{"next":{"next":{"x":1}}}', "/next/next/x is not expected" } } },
    { '{"$id":"http://x/y","$defs":{"a":{"$anchor":"here","const":1}},"$ref":"http://x/y#here"}', { "1" },
        { { "2" } } },
    { '{"$schema":"http://json-schema.org/draft-07/schema#","definitions":{"a b/c":{"type":"number"}},'
        .. '"$ref":"#/definitions/a%20b~1c","minimum":5}', { "1" }, { { '"a"' } } },
    { '{"$ref":"#/$defs/a","$defs":{"a":true},"minimum":5}', { "5" }, { { "1" } } },
    { '{"format":"date-time"}', { '"2024-02-29T23:59:60Z"', '"2024-01-01t00:00:00.5+02:00"', "1" },
        { { '"2023-02-29T00:00:00Z"', " no date-time" }, { '"2024-01-01 00:00:00Z"' }, { '"2024-01-01T24:00:00Z"' } } },
    { '{"format":"ipv4"}', { '"127.0.0.1"' }, { { '"256.0.0.1"' }, { '"1.2.3"' }, { '"01.2.3.4"' } } },
    { '{"format":"ipv6"}', { '"::"', '"::1"', '"2001:db8::7"', '"1:2:3:4:5:6:7:8"', '"::ffff:10.0.0.1"' },
        { { '"1::2::3"' }, { '"1:2:3"' }, { '"g::"' }, { '"1:2:3:4:5:6:7:8:9"' } } },
    { '{"format":"email"}', { '"a.b@c.example"' }, { { '"a@"' }, { '"a..b@c"' }, { '"@c"' } } },
    { '{"format":"uuid"}', { '"3f2c8a4e-0000-4000-8000-00000000000F"' }, { { '"3f2c8a4e00004000800000000000000F"' } } },
    { '{"format":"uri"}', { '"mqtt://h:1883/x?y#z"' }, { { '"no scheme"' }, { '"http://a b"' } } },
    { '{"format":"of our own"}', { '"anything"' }, {} },
}

-- Pattern, what it matches, what it does not.
local PATTERNS = {
    { "b", { "abc" }, { "ac" } },
    { "^(ab|c)*d?$", { "", "abab", "ccd", "abcd" }, { "a", "dd" } },
    { "^[a-f\\d_-]{2,3}$", { "a1", "-_f" }, { "a", "a1b2", "gg" } },
    { "^[^\\s\\]x]+$", { "ab" }, { "a b", "a]", "x" } },
    { "^\\w+@\\w+\\.\\w{2,}$", { "a@b.cd" }, { "a@b.c", "ab.cd" } },
    { "^(?:a+)+$", { "aaa" }, { "aaab" } },
    { "^(?!no)\\w+$", { "yes" }, { "nope" } },
    { "^(?=.*\\d)(?=.*[A-Z]).{4,}$", { "abcD1" }, { "abcd1", "AB1" } },
    { "\\bcat\\b", { "a cat!" }, { "concat" } },
    { "^ä.ü$", { "äöü", "äxü" }, { "äü" } },
    { "^\\u00e4\\x41\\/\\.$", { "äA/." }, { "aA/." } },
    { "^(a*)*$", { "", "aa" }, { "b" } },
    { "^(a|ab)(c|bcd)(d*)$", { "abcd", "acd" }, { "abc d" } },
    { "^a{2}$", { "aa" }, { "a", "aaa" } },
    { "^a{,2}$", { "a{,2}" }, { "aa" } },
    { "^<.+?>$", { "<a>", "<a><b>" }, { "<>" } },
    { "^(x{1,2}y){2}$", { "xyxxy" }, { "xxxyxy", "xy" } },
}

-- Schemas and patterns that cannot be compiled, and what is said.
local BROKEN = {
    { "5", "a schema must be an object or a boolean, not 5" },
    { '{"type":"float"}', "type: no such type: float" },
    { '{"minimum":"1"}', 'minimum: expected a number, got "1"' },
    { '{"items":{"properties":{"a":{"pattern":"("}}}}', 'pattern "(": ( is not closed' },
    { '{"pattern":"(?<=a)b"}', "look-behind and named groups are not supported" },
    { '{"pattern":"(a)\\\\1"}', "\\1 is not supported" },
    { '{"pattern":"*"}', "nothing to repeat" },
    { '{"pattern":"a)"}', ") without (" },
    { '{"pattern":"[a"}', "[ is not closed" },
    { '{"pattern":"a{5,2}"}', "{n,m} is out of range" },
    { '{"$ref":"http://elsewhere/x"}', "only references within the schema are followed" },
    { '{"$ref":"#/nowhere"}', "there is no #/nowhere" },
    { '{"unevaluatedProperties":false}', "unevaluatedProperties is not supported" },
}

--- The first fields of the rows.
local function firsts(rows, change)
    local list = {}
    for n, row in ipairs(rows) do list[n] = change and change(row[1]) or row[1] end
    return list
end

describe("json_schema", function()
    it("knows the vocabulary", function()
        local c = client_of(firsts(ROWS))
        for n, row in ipairs(ROWS) do
            for _, value in ipairs(row[2]) do assert.equal(0, c:publish("r/" .. n, value), row[1] .. "  " .. value) end
            for _, bad in ipairs(row[3]) do
                local about = row[1] .. "  " .. bad[1]
                local rc, reason = c:publish("r/" .. n, bad[1])
                assert.equal(0x99, rc, about)
                local where, what = (bad[2] or ""):match "^(%S*) (.+)$"
                where = where == "" and "the document" or where
                if what then assert.equal(where .. ": " .. what, reason, about) end
            end
        end
    end)

    it("knows regular expressions", function()
        local c = client_of(firsts(PATTERNS, function(pattern) return '{"pattern":' .. quoted(pattern) .. "}" end))
        for n, row in ipairs(PATTERNS) do
            for i, rc in pairs { [2] = 0, [3] = 0x99 } do
                for _, text in ipairs(row[i]) do
                    assert.equal(rc, c:publish("r/" .. n, quoted(text)), row[1] .. "  " .. text)
                end
            end
        end
    end)

    it("gives up on a pattern that takes too long", function()
        local c, b = client_of({ '{"pattern":"^(a+)+$"}' }, true)
        assert.equal(0x87, c:publish("r/1", '"' .. ("a"):rep(40) .. 'b"'))
        assert.truthy(b:errors()[1]:find "a pattern takes too long")
        assert.equal(0, c:publish("r/1", '"aaa"'))
    end)

    it("says what is wrong with a schema", function()
        for _, row in ipairs(BROKEN) do
            local ok, err = pcall(client_of, { row[1] })
            assert.is_false(ok, row[1])
            assert.truthy(err:find("rules[1].schema: ", 1, true) and err:find(row[2], 1, true), row[1] .. ": " .. err)
        end
    end)

    it("refuses, drops or reports what does not fit", function()
        local b = with_rules([[
            { topic = "sensors/+", path = "sensor.json" },
            { topic = "drop", schema = { type = "object", required = { "id" } }, over = "drop", dead_letter = "dead" },
            { topic = "log", schema = { enum = { 1, 2 } }, over = "log" },
        ]], { ["sensor.json"] = [[{ "properties": { "t": { "maximum": 100 } }, "required": ["t"] }]] })
        local all, c = b:connect {}, b:connect { client_id = "c" }
        all:subscribe "#"
        local function publishes(topic, payload, rc, reason)
            local got, why = c:publish(topic, payload)
            assert.equal(rc, got)
            assert.equal(reason, why)
        end
        publishes("sensors/1", '{"t":20.5}', 0)
        publishes("sensors/1", '{"t":101}', 0x99, "/t: more than 100")
        publishes("sensors/1", "{}", 0x99, "the document: t is missing")
        assert.equal(0x99, c:publish("sensors/1", '{"t":', { qos = 2 }))
        publishes("other", "{", 0)
        publishes("drop", '{"id":1}', 0)
        publishes("drop", "{}", 0)
        publishes("log", "3", 0)
        all:expect("sensors/1", '{"t":20.5}')
        all:expect("other", "{")
        all:expect("drop", '{"id":1}')
        local dead = all:expect("dead/drop", "{}")
        assert.same({ { "error", "the document: id is missing" }, { "client", "c" } }, dead.properties.user_properties)
        all:expect("log", "3")
        all:expect_none()
        assert.truthy(b:logged "log, client c: the document: expected one of %[1,2%]")
    end)
end)

describe("json_schema does not load", function()
    local rows = {
        ["without rules"] = { "", "rules is missing" },
        ["a rule without a schema"] = { '{ topic = "a" }', "rules[1]: schema or path must be given" },
        ["a rule without a topic"] = { "{ schema = true }", "rules[1].topic: expected a topic filter" },
        ["a schema that is none"] = { '{ topic = "a", schema = { type = "text" } }',
            "rules[1].schema: type: no such type: text" },
        ["a file that is not there"] = { '{ topic = "a", path = "x.json" }', "rules[1].path: x.json" },
        ["a file that is no JSON"] = { '{ topic = "a", path = "sol.lua" }', "rules[1].path: sol.lua: " },
        ["an unknown over"] = { '{ topic = "a", schema = true, over = "warn" }', "rules[1].over: expected deny" },
    }
    for name, row in pairs(rows) do
        it(name, function()
            assert.error_matches(function() with_rules(row[1], {}) end, row[2], 1, true)
        end)
    end
end)
