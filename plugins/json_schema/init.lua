-- SPDX-License-Identifier: BSD-2-Clause
--
-- json_schema -- refuse publishes whose payload does not fit a JSON Schema.
--
-- Each rule's schema is compiled to closures when the policy is loaded (schema.lua); what it
-- does not say is not looked at again for a message.

local compile = require("schema").compile
local sol = require "sol"

local M = { defaults = { rules = {}, formats = true } }

local KNOWN = { topic = "string", schema = "any", path = "string", over = "string", dead_letter = "string" }
local OVER = { deny = true, drop = true, log = true }

--- The schema of rule `n`, compiled, after the rule has been checked.
local function checked(rule, n, with_formats)
    local function fail(where, ...) error(("rules[%d]%s: %s"):format(n, where, (...):format(select(2, ...))), 0) end
    if type(rule) ~= "table" then fail("", "expected a table, got %s", type(rule)) end
    for name, value in pairs(rule) do
        if not KNOWN[name] then fail("." .. tostring(name), "no such field") end
        if KNOWN[name] ~= "any" and type(value) ~= KNOWN[name] then
            fail("." .. name, "expected a %s, got %s", KNOWN[name], type(value))
        end
    end
    if not sol.topic.valid_filter(rule.topic or "") then
        fail(".topic", "expected a topic filter, got %s", rule.topic)
    end
    if not OVER[rule.over or "deny"] then fail(".over", "expected deny, drop or log, got %s", rule.over) end
    if (rule.schema == nil) == (rule.path == nil) then fail("", "schema or path must be given") end
    local schema = rule.schema
    if rule.path then
        local text, err = sol.read_file(rule.path)
        if text then schema, err = sol.json.decode(text) end
        if schema == nil then fail(".path", "%s: %s", rule.path, err) end
    end
    local ok, check = pcall(compile, schema, with_formats)
    return ok and check or fail(rule.path and ".path" or ".schema", "%s", check)
end

--- What is wrong with a payload, or nil.
local function fault(check, payload)
    local value, err = sol.json.decode(payload)
    if value == nil then return err end
    local where, what = check(value)
    return where and ("%s %s"):format(where == "" and "the document:" or where .. ":", what)
end

---@param options {rules: table[], formats: boolean}
function M.setup(options)
    if #options.rules == 0 then error("rules is missing: a list of tables", 0) end
    for n, rule in ipairs(options.rules) do
        local check, over = checked(rule, n, options.formats), rule.over or "deny"
        sol.on("publish", rule.topic, function(client, message)
            local wrong = fault(check, message.payload)
            if not wrong then return nil end
            sol.log.debug("%s, client %s: %s", message.topic, client.id, wrong)
            if rule.dead_letter then
                sol.publish(rule.dead_letter .. "/" .. message.topic, message.payload, { qos = message.qos,
                    properties = { user_properties = { { "error", wrong }, { "client", client.id } } } })
            end
            if over == "deny" then return sol.deny(0x99, wrong) end
            if over == "drop" then return sol.drop() end
            sol.log.warn("%s, client %s: %s", message.topic, client.id, wrong)
        end, { name = ("json_schema, rule %d"):format(n), priority = -10 })
    end
end

return M
