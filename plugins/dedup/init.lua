-- SPDX-License-Identifier: BSD-2-Clause
--
-- dedup -- let a message through once in a while, however often it is published.
--
-- A rule remembers a digest of what makes its messages the same; whoever publishes one that
-- is remembered gets his acknowledgement, and nobody a second copy.  Runs after the other
-- publish handlers: what counts is the message as it will go out.

local sol = require "sol"

-- What makes two messages on one topic the same: the text to remember, nil to let it pass.
local BY = {
    payload = function(message) return message.payload end,
    correlation = function(message) return message.properties.correlation_data end,
}

local M = { defaults = { topics = { "#" }, by = BY.payload, window = 60, per_client = false, size = 10000,
    shared = "" } }

--- A key that `by` names: "payload", "correlation", "user:NAME" or "json:field.field".
local function key_by(by)
    if type(by) == "function" or BY[by] then return BY[by] or by end
    local kind, name = tostring(by):match "^(%a+):(.+)$"
    if kind == "user" then return function(message) return message.properties.user_properties[name] end end
    if kind ~= "json" then
        error(("by: expected payload, correlation, user:NAME, json:PATH or a function, got %s"):format(tostring(by)), 0)
    end
    return function(message)
        local value = sol.json.decode(message.payload)
        for field in name:gmatch "[^.]+" do
            if type(value) ~= "table" then return nil end
            value = value[math.tointeger(field) or field]
        end
        if value ~= nil then return sol.json.encode { value } end
    end
end

--- first(key): is it the first of its kind within the window?
local function memory(options)
    if options.shared ~= "" then
        local seen = sol.shared[options.shared]
        return function(key)
            local _, err = seen:add("dedup/" .. key, true, options.window)
            return err ~= "exists"
        end
    end
    local seen = sol.cache { size = options.size, ttl = options.window }
    return function(key)
        if seen:get(key) then return false end
        seen:set(key, true)
        return true
    end
end

---@param options {topics: string[], by: string|function, window: number, per_client: boolean, size: integer,
--- shared: string}
function M.setup(options)
    for i, filter in ipairs(options.topics) do
        if not sol.topic.valid_filter(filter) then error(("topics[%d]: no topic filter: %s"):format(i, filter), 0) end
    end
    if options.window <= 0 then error("window: expected a number of seconds above 0", 0) end
    local key_of, first = key_by(options.by), memory(options)

    sol.on("publish", options.topics, function(client, message)
        local key = key_of(message)
        if key == nil then return nil end
        local who = options.per_client and client.id or ""
        if not first(sol.sha256(string.pack("s4s4s4", who, message.topic, key))) then return sol.drop() end
    end, { priority = -50 })
end

return M
