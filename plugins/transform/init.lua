-- SPDX-License-Identifier: BSD-2-Clause
--
-- transform -- reshape JSON payloads and map topics, by rules without code.
--
-- A rule's templates are compiled to functions when the policy is loaded: fn(at) gives a value,
-- `at` being what there is to take it from: document, captures of the topic filter, message
-- and client.  Each rule is a handler of its own.

local compile = require "template"
local sol = require "sol"

local M = { defaults = { rules = {} } }

local KNOWN = { from = "string", to = "string", payload = "any", set = "table", remove = "table", keep = "table",
    invalid = "string" }
local INVALID = { pass = true, deny = true, drop = true }

--- Checks rule `n`, and compiles it.
local function compiled(rule, n)
    local function fail(where, ...) error(("rules[%d]%s: %s"):format(n, where, (...):format(select(2, ...))), 0) end
    if type(rule) ~= "table" then fail("", "expected a table, got %s", type(rule)) end
    for name, value in pairs(rule) do
        if not KNOWN[name] then fail("." .. tostring(name), "no such field") end
        if KNOWN[name] ~= "any" and type(value) ~= KNOWN[name] then
            fail("." .. name, "expected a %s, got %s", KNOWN[name], type(value))
        end
    end
    if not sol.topic.valid_filter(rule.from or "") then fail(".from", "expected a topic filter, got %s", rule.from) end
    if not INVALID[rule.invalid or "deny"] then
        fail(".invalid", "expected deny, drop or pass, got %s", rule.invalid)
    end
    if rule.payload ~= nil and (rule.set or rule.remove or rule.keep) then
        fail(".payload", "replaces all; set, remove and keep change what is there")
    end
    local _, captures = rule.from:gsub("[+#]", "")
    local function template(where, value)
        local ok, result = pcall(compile.value, value, captures)
        return ok and result or fail(where, "%s", (tostring(result):gsub("^.-:%d+: ", "")))
    end
    local full = { from = rule.from, invalid = rule.invalid or "deny", set = {}, remove = {}, keep = rule.keep and {} }
    if rule.to then full.to = template(".to", rule.to) end
    if rule.payload ~= nil then full.payload = template(".payload", rule.payload) end
    for path, value in pairs(rule.set or {}) do
        full.set[#full.set + 1] = { path = compile.path(path), value = template(".set." .. path, value), name = path }
    end
    table.sort(full.set, function(a, b) return a.name < b.name end)
    for _, name in ipairs { "remove", "keep" } do
        for i, path in ipairs(rule[name] or {}) do full[name][i] = compile.path(path) end
    end
    full.reshapes = rule.payload ~= nil or rule.set or rule.remove or rule.keep
    full.reads_json = full.reshapes or rule.to and rule.to:find "^%$"
    return full
end

--- The document after `keep`, `set` and `remove`.
local function edited(rule, at)
    local document = at.document
    if type(document) ~= "table" then error "neither object nor array" end
    if rule.keep then
        local kept = {}
        for _, path in ipairs(rule.keep) do compile.put(kept, path, compile.get(document, path)) end
        document = kept
    end
    local values = {} -- all of them first: they see the document as it came
    for i, one in ipairs(rule.set) do values[i] = one.value(at) end
    for i, one in ipairs(rule.set) do compile.put(document, one.path, values[i]) end
    for _, path in ipairs(rule.remove) do compile.put(document, path, nil) end
    return document
end

--- The new payload; raises for a document that cannot be changed so, an array that is to have fields.
local function reshaped(rule, at)
    local result
    if rule.payload then result = rule.payload(at) else result = edited(rule, at) end
    return assert(sol.json.encode(result == nil and sol.json.null or result))
end

--- What becomes of a message that the rule cannot be applied to.
local function refuse(rule, why)
    if rule.invalid == "pass" then return nil end
    return rule.invalid == "drop" and sol.drop() or sol.deny(0x99, why)
end

local function apply(rule, client, message)
    local at = { captures = sol.topic.capture(rule.from, message.topic), message = message, client = client }
    local payload, topic = message.payload, message.topic
    if rule.reads_json then
        local document, err = sol.json.decode(payload)
        if document == nil then return refuse(rule, err) end
        at.document = document
    end
    if rule.to then topic = rule.to(at) end -- before the document is changed
    if type(topic) ~= "string" or not sol.topic.valid_name(topic) then return refuse(rule, "it gives no topic") end
    if rule.reshapes then
        local ok, result = pcall(reshaped, rule, at)
        if not ok then return refuse(rule, "it cannot be reshaped") end
        payload = result
    end
    message.topic, message.payload = topic, payload
end

---@param options {rules: table[]}
function M.setup(options)
    if #options.rules == 0 then error("rules is missing: a list of tables", 0) end
    for n, rule in ipairs(options.rules) do
        rule = compiled(rule, n)
        sol.on("publish", rule.from, function(client, message) return apply(rule, client, message) end,
            { name = ("transform, rule %d"):format(n) })
    end
end

return M
