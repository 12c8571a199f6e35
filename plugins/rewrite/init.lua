-- SPDX-License-Identifier: BSD-2-Clause
--
-- rewrite -- give messages another topic or another payload on their way in.
--
-- A rule names a topic filter; what its wildcards matched can be used in the new topic as
-- %1, %2 ... and is handed to the payload function.  Each rule is a handler of its own: a
-- message that no rule is for never enters Lua.

local sol = require "sol"

local M = { defaults = { rules = {} } }

local KNOWN = { from = "string", to = "string", payload = "function" }

--- Checks rule `n` at load time, so that a mistake is not found by a client.
local function check(rule, n)
    local function fail(...) error(("rules[%d]%s"):format(n, (...):format(select(2, ...))), 0) end
    if type(rule) ~= "table" then fail(": expected a table, got %s", type(rule)) end
    for name, value in pairs(rule) do
        if not KNOWN[name] then fail(".%s: no such field; expected from, to, payload", tostring(name)) end
        if type(value) ~= KNOWN[name] then fail(".%s: expected a %s, got %s", name, KNOWN[name], type(value)) end
    end
    if not rule.from or not sol.topic.valid_filter(rule.from) then
        fail(".from: expected a topic filter, got %s", tostring(rule.from))
    end
    if not rule.to then
        if not rule.payload then fail(": neither to nor payload is given") end
        return
    end
    local _, captures = rule.from:gsub("[+#]", "")
    local example = rule.to:gsub("%%(.)", function(c)
        if c == "%" then return c end
        if not c:match "[1-9]" or tonumber(c) > captures then
            fail(".to: %%%s: the filter has %d wildcard%s", c, captures, captures == 1 and "" or "s")
        end
        return "x"
    end)
    if not sol.topic.valid_name(example) or example:find "%%$" then
        fail(".to: expected a topic name, got %s", rule.to)
    end
end

--- `to` with its placeholders filled in.
local function fill(to, captures)
    return (to:gsub("%%(.)", function(c) return c == "%" and c or captures[tonumber(c)] end))
end

---@param options {rules: {from: string, to?: string, payload?: function}[]}
function M.setup(options)
    for n, rule in ipairs(options.rules) do check(rule, n) end

    for _, rule in ipairs(options.rules) do
        sol.on("publish", rule.from, function(_, message)
            local topic = message.topic
            local captures = sol.topic.capture(rule.from, topic)
            if rule.payload then
                local payload = rule.payload(message.payload, topic, captures)
                if payload ~= nil then message.payload = payload end
            end
            if rule.to then message.topic = fill(rule.to, captures) end
        end)
    end
end

return M
