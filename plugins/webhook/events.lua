-- SPDX-License-Identifier: BSD-2-Clause
--
-- events.lua -- what happens, as JSON objects.

local sol = require "sol"

local M = {}

--- The client's part; a message of the broker's own has none.
local function event_of(name, client)
    return { event = name, time = sol.time(), clientid = client and client.id, username = client and client.username }
end

local function add_message(event, message, options)
    local payload = message.payload
    event.topic, event.qos, event.retain = message.topic, message.qos, message.retain
    if #payload > options.max_payload then
        event.payload_size = #payload
    elseif utf8.len(payload) then
        event.payload = payload
    else
        event.payload_base64 = sol.base64.encode(payload)
    end
end

local function of_message(name, options)
    return function(client, message, reason)
        local event = event_of(name, client)
        add_message(event, message, options)
        event.reason = reason
        return event
    end
end

--- Which fields of what the handler is told go into the event.
local FACTS = {
    connected = { "session_present" },
    disconnected = { "reason", "reason_code", "normal" },
    subscribed = { "filter", "qos" },
    unsubscribed = { "filter" },
}

local function of_facts(name)
    return function(client, facts)
        local event = event_of(name, client)
        for _, field in ipairs(FACTS[name]) do event[field] = facts[field] end
        event.address = name == "connected" and client.address or nil
        return event
    end
end

local OF_MESSAGES = { "published", "acked", "dropped", "expired", "will" }

local KNOWN = {}
for _, name in ipairs(OF_MESSAGES) do KNOWN[name] = of_message end
for name in pairs(FACTS) do KNOWN[name] = of_facts end

--- Calls `push(text)` for every event that the options name.
---@param options {events: string[], topics: string[], max_payload: integer}
function M.listen(options, push)
    for _, name in ipairs(options.events) do
        if not KNOWN[name] then error(("events: there is no event %q to tell of"):format(tostring(name)), 0) end
        local describe = KNOWN[name](name, options)
        local function tell(...) push(assert(sol.json.encode(describe(...)))) end
        if KNOWN[name] == of_message then
            sol.on(name, options.topics, tell, { name = "webhook" })
        else
            sol.on(name, tell, { name = "webhook" })
        end
    end
end

return M
