-- SPDX-License-Identifier: BSD-2-Clause
--
-- observe.lua -- sol.observe: what happens, as plain tables that can be kept, and be JSON.

local sol, native = ...

local error, ipairs, pairs, sort, tostring, type = error, ipairs, pairs, table.sort, tostring, type
local time, utf8_len = sol.time, utf8.len
local check_function, make_options = native.check_function, native.options

local OPTIONS = {
    topics = { "any", default = "#" },
    max_payload = { "integer", 0, 1 << 20, default = 65536 },
    name = { "string", default = "observe" },
}

--- Which fields of what a handler is told go into the table.
local FACTS = {
    connected = { "session_present" },
    disconnected = { "reason", "reason_code", "normal" },
    subscribed = { "filter", "qos" },
    unsubscribed = { "filter" },
    refused = { "action", "topic", "reason", "reason_code" },
}

local OF_CLIENTS, OF_MESSAGES, OF_BROKER = {}, {}, { start = true, stop = true, reload = true }
for name in pairs(FACTS) do OF_CLIENTS[name] = true end
for _, name in ipairs { "published", "acked", "dropped", "expired", "will" } do OF_MESSAGES[name] = true end

--- The client's part; a message of the broker's own has none.
local function event_of(name, client)
    return { event = name, time = time(), clientid = client and client.id, username = client and client.username }
end

local function of_client(name)
    return function(client, facts)
        local event = event_of(name, client)
        event.address = client.address
        for _, field in ipairs(FACTS[name]) do event[field] = facts[field] end
        return event
    end
end

local function of_message(name, options)
    return function(client, message, reason)
        local event, payload = event_of(name, client), message.payload
        event.topic, event.qos, event.retain, event.reason = message.topic, message.qos, message.retain, reason
        if #payload > options.max_payload then
            event.payload_size = #payload
        elseif utf8_len(payload) then
            event.payload = payload
        else
            event.payload_base64 = sol.base64.encode(payload)
        end
        return event
    end
end

local function of_broker(name)
    return function(generations)
        local event = event_of(name)
        event.generation = generations and generations.generation
        event.old_generation = generations and generations.old_generation
        return event
    end
end

--- What is wrong with a name that is none of ours.
local function unknown(name)
    local names = {}
    for _, set in ipairs { OF_CLIENTS, OF_MESSAGES, OF_BROKER } do
        for known in pairs(set) do names[#names + 1] = known end
    end
    sort(names)
    return ("sol.observe: there is no event %q to tell of%s"):format(tostring(name),
        native.suggest(tostring(name), names))
end

--- Calls fn(event) for each of these events, with a table that may be kept.
---@param events string[]
---@param fn fun(event: table)
---@param given table?
local function observe(events, fn, given)
    if type(events) ~= "table" then
        error(("bad argument #1 to 'observe' (table expected, got %s)"):format(type(events)), 2)
    end
    check_function("observe", 2, fn)
    local options = make_options("sol.observe", given, OPTIONS)
    for _, name in ipairs(events) do
        local make = OF_CLIENTS[name] and of_client or OF_MESSAGES[name] and of_message
            or OF_BROKER[name] and of_broker or error(unknown(name), 2)
        local describe, handler = make(name, options), { name = options.name }
        local function tell(...) fn(describe(...)) end
        if OF_MESSAGES[name] then sol.on(name, options.topics, tell, handler) else sol.on(name, tell, handler) end
    end
end

return { observe = observe }
