-- SPDX-License-Identifier: BSD-2-Clause
--
-- rate_limit -- so many publishes, bytes, logins or subscriptions a second, for each client,
-- user, address or topic.
--
-- A rule is a handler of its own with token buckets of its own: what its topic filter does not
-- match never enters Lua.

local sol = require "sol"

local M = { defaults = { rules = {} } }

local REFUSED = sol.deny(0x97, "too many in too short a time")

local function host(client) return client.address:match "^(.*):%d+$" or client.address end

-- Whose bucket it is.
local PER = {
    client = function(client) return client.id end,
    user = function(client) return client.username or "" end,
    address = host,
    topic = function(_, object) return object.topic or object.filter end,
    all = function() return true end,
}

-- What becomes of what is too much; `wait` is dealt with apart.
local OVER = {
    deny = function() return REFUSED end,
    drop = function() return sol.drop() end,
    disconnect = function(client)
        client:disconnect(0x96)
        return REFUSED
    end,
    wait = true,
}

local EVENTS = { publish = true, subscribe = true, connect = true }
local UNITS = { messages = true, bytes = true }
local KNOWN = { event = EVENTS, per = PER, over = OVER, unit = UNITS, topic = "string", rate = "number",
    burst = "number", keys = "number", exempt = "table" }

local function names(t)
    local list = {}
    for name in pairs(t) do list[#list + 1] = name end
    table.sort(list)
    return table.concat(list, ", ")
end

--- Checks rule `n`, and gives it with its defaults.
local function checked(rule, n)
    local function fail(...) error(("rules[%d]%s"):format(n, (...):format(select(2, ...))), 0) end
    if type(rule) ~= "table" then fail(": expected a table, got %s", type(rule)) end
    for name, value in pairs(rule) do
        local known = KNOWN[name]
        if not known then fail(".%s: no such field; expected %s", tostring(name), names(KNOWN)) end
        if type(known) == "table" and not known[value] then
            fail(".%s: expected %s, got %s", name, names(known), tostring(value))
        elseif type(known) == "string" and type(value) ~= known then
            fail(".%s: expected a %s, got %s", name, known, type(value))
        end
    end
    local full = { event = "publish", per = "client", over = "deny", unit = "messages", keys = 10000, exempt = {} }
    for name, value in pairs(rule) do full[name] = value end
    if not full.rate or full.rate <= 0 then fail(".rate: expected a number above 0, got %s", tostring(full.rate)) end
    if full.topic and (full.event == "connect" or not sol.topic.valid_filter(full.topic)) then
        fail(".topic: expected a topic filter, with event publish or subscribe, got %s", full.topic)
    end
    local is_publish = full.event == "publish"
    if not is_publish and (full.over == "drop" or full.unit == "bytes" or full.over == "disconnect") then
        fail(": %s is for event publish", full.over == "deny" and full.unit or full.over)
    end
    if full.event == "connect" and full.per == "topic" then fail(".per: a connect has no topic") end
    return full
end

--- Takes tokens, and says what becomes of the event when there are none.
local function limiter(rule)
    local burst = rule.burst or math.max(rule.rate, 1)
    local buckets = sol.rate { rate = rule.rate, burst = burst, keys = rule.keys }
    local key_of, exempt = PER[rule.per], {}
    for _, name in ipairs(rule.exempt) do exempt[name] = true end

    return function(client, object)
        if exempt[client.username or ""] then return nil end
        local cost = rule.unit == "bytes" and math.min(#object.payload, burst) or 1
        local key = key_of(client, object)
        local ok, seconds = buckets:take(key, cost)
        if ok then return nil end
        if rule.over ~= "wait" then return OVER[rule.over](client) end
        repeat
            sol.sleep(seconds)
            ok, seconds = buckets:take(key, cost)
        until ok
    end
end

---@param options {rules: table[]}
function M.setup(options)
    if #options.rules == 0 then error("rules is missing: a list of tables", 0) end
    for n, rule in ipairs(options.rules) do
        rule = checked(rule, n)
        local opts = { priority = 100, name = ("rate_limit, rule %d"):format(n) }
        if rule.over == "wait" then opts.timeout = 3600 end
        if rule.topic then
            sol.on(rule.event, rule.topic, limiter(rule), opts)
        else
            sol.on(rule.event, limiter(rule), opts)
        end
    end
end

return M
