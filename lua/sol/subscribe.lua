-- SPDX-License-Identifier: BSD-2-Clause
--
-- subscribe.lua -- sol.subscribe, await, request: messages for the policy itself.

local sol, native = ...

local error, ipairs, pairs, remove, setmetatable, type = error, ipairs, pairs, table.remove, setmetatable, type
local gsub = string.gsub
local check_function, check_seconds, is_first, is_loading, listen, unlisten, waiter =
    native.check_function, native.check_seconds, native.is_first, native.is_loading, native.listen,
    native.unlisten, native.waiter
local sort = table.sort
local publish, random, spawn, uuid, valid_filter = sol.publish, sol.random, sol.spawn, sol.uuid, sol.topic.valid_filter

local LEVELS_MAX = 1000 -- of any filter
local PRIVATE = {} -- key of what a subscription keeps

-- ---- filters -----------------------------------------------------------------------

local by_filter, by_number = {}, {} -- the same: { filter, number, subscriptions... }
local last_number = 0

--- Calls `fn(message)` for every message that matches, until `drop`.
local function add(filter, fn)
    local entry = by_filter[filter]
    if not entry then
        last_number = last_number % 0xfffffff + 1
        while by_number[last_number] do last_number = last_number % 0xfffffff + 1 end
        entry = { filter = filter, number = last_number }
        listen(filter, entry.number)
        by_filter[filter], by_number[entry.number] = entry, entry
    end
    local subscription = { entry = entry, fn = fn }
    entry[#entry + 1] = subscription
    return subscription
end

local function drop(subscription)
    local entry = subscription.entry
    if not entry then return false end
    subscription.entry = nil
    for i, other in ipairs(entry) do
        if other == subscription then
            remove(entry, i)
            break
        end
    end
    if #entry == 0 then
        unlisten(entry.filter)
        by_filter[entry.filter], by_number[entry.number] = nil, nil
    end
    return true
end

--- Whoever is to hear of a message: functions, without those that unsubscribe meanwhile.
local function hearers(...)
    local list, numbers = {}, { ... }
    sort(numbers) -- older filters first
    for _, number in ipairs(numbers) do
        for _, subscription in ipairs(by_number[number] or {}) do list[#list + 1] = subscription end
    end
    return list
end

local function copy(message)
    local own = {}
    for name, value in pairs(message) do own[name] = value end
    return own
end

native.on_message(function(message, ...)
    local list = hearers(...)
    for i, subscription in ipairs(list) do
        if not subscription.entry then goto continue end
        if i == #list then return subscription.fn(message) end
        local own = copy(message)
        own.properties = copy(message.properties)
        spawn(subscription.fn, own)
        ::continue::
    end
end)

-- ---- sol.subscribe -----------------------------------------------------------------

local Subscription = { __name = "sol.subscription", __metatable = false }
Subscription.__index = Subscription

--- True; false when it had ended.
function Subscription:unsubscribe()
    local own = self[PRIVATE]
    return own.entry ~= nil and drop(own)
end

local function check_filter(name, filter)
    if type(filter) ~= "string" or not valid_filter(filter) or filter:find "^%$share/" then
        error(("bad argument #1 to '%s' (expected a topic filter, not a shared one)"):format(name), 3)
    end
    local _, slashes = gsub(filter, "/", "")
    if slashes >= LEVELS_MAX then
        error(("bad argument #1 to '%s' (more than %d levels)"):format(name, LEVELS_MAX), 3)
    end
end

local OPTIONS = { each_worker = { "boolean", default = false } }

local function subscribe(filter, fn, given)
    check_filter("subscribe", filter)
    check_function("subscribe", 2, fn)
    local options = native.options("sol.subscribe", given, OPTIONS)
    local is_elsewhere = is_loading() and not options.each_worker and not is_first()
    return setmetatable({ [PRIVATE] = is_elsewhere and {} or add(filter, fn) }, Subscription)
end

-- ---- sol.await ---------------------------------------------------------------------

local Ending = { __close = function(held) drop(held.subscription) end }

local function await(filter, timeout)
    check_filter("await", filter)
    timeout = check_seconds("await", 2, timeout)
    if is_loading() then error("sol.await cannot be used while the policy is loaded", 2) end
    local w = waiter()
    local _ <close> = setmetatable({ subscription = add(filter, function(message) w:wake(message) end) }, Ending)
    local came, message = w:wait(timeout)
    if not came then return nil, "timeout" end
    return message
end

-- ---- sol.request -------------------------------------------------------------------

local TIMEOUT = 5 -- seconds for an answer

local asked = {} -- by correlation data: who waits
local response_topic

--- Where answers to this VM come; the subscription is made with the first request.
local function answers()
    if not response_topic then
        response_topic = "sol/response/" .. uuid()
        add(response_topic, function(message)
            local w = asked[message.properties.correlation_data or ""]
            if w then w:wake(message) end
        end)
    end
    return response_topic
end

local Asking = { __close = function(asking) asked[asking.correlation] = nil end }

local REQUEST = { timeout = { "number", 0.001, 1e6, default = TIMEOUT }, qos = { "integer", 0, 2, default = 1 },
    properties = { "table" }, as = { "any" } }

local function request(topic, payload, given)
    local options = native.options("sol.request", given, REQUEST)
    if is_loading() then error("sol.request cannot be used while the policy is loaded", 2) end
    local correlation = random(16)
    local properties = copy(options.properties or {})
    properties.response_topic, properties.correlation_data = answers(), correlation
    local w = waiter()
    asked[correlation] = w
    local _ <close> = setmetatable({ correlation = correlation }, Asking)
    local ok, err, code = publish(topic, payload, { qos = options.qos, properties = properties, as = options.as })
    if not ok then return nil, err, code end
    local came, message = w:wait(options.timeout)
    if not came then return nil, "timeout" end
    return message
end

return { subscribe = subscribe, await = await, request = request }
