-- SPDX-License-Identifier: BSD-2-Clause
--
-- acl.lua -- the lists that auth_cache.insert takes: checked, written as text, asked.
--
-- They travel as text in an attribute of the client, so they come with it to its worker and
-- outlive a reload; each worker keeps the compiled form of those it was asked about lately.

local sol = require "sol"

local M = {}

local KNOWN = { pattern = "string", max_qos = "number", max_payload_size = "number", allowed_retain = "boolean",
    modifiers = "table" }

--- The pattern with %m, %c and %u filled in where they are whole levels; nil when a name would
--- reach beyond its level, so that nobody names himself into other people's topics.
local function fill(pattern, values)
    local levels = sol.topic.parse(pattern)
    for i, level in ipairs(levels) do
        local value = values[level]
        if value and (value:find "[+#/]" or i == 1 and value:find "^%$") then return nil end
        levels[i] = value or level
    end
    return table.concat(levels, "/")
end

local function compile(acls, values)
    local list = {}
    for n, acl in ipairs(acls or {}) do
        for name, value in pairs(acl) do
            if not KNOWN[name] then
                sol.log.warn("auth_cache.insert: acl %d has an unknown %s", n, name)
            elseif type(value) ~= KNOWN[name] then
                error(("auth_cache.insert: %s of acl %d must be a %s, not a %s"):format(name, n, KNOWN[name],
                    type(value)), 0)
            end
        end
        if not sol.topic.valid_filter(acl.pattern or "") then
            error(("auth_cache.insert: pattern of acl %d is no topic filter: %s"):format(n, acl.pattern), 0)
        end
        acl.pattern = fill(acl.pattern, values)
        if acl.pattern then list[#list + 1] = acl end
    end
    return sol.json.array(list)
end

--- The text of a client's lists.
function M.text(mountpoint, client_id, username, publish, subscribe)
    local values = { ["%m"] = mountpoint, ["%c"] = client_id, ["%u"] = username }
    return assert(sol.json.encode { publish = compile(publish, values), subscribe = compile(subscribe, values) })
end

--- Its lists again.
function M.of_text(text) return assert(sol.json.decode(text)) end

--- Is it granted?  false, true, or what is to be modified.
function M.may_publish(lists, topic, qos, payload, retain)
    for _, acl in ipairs(lists.publish) do
        if qos <= (acl.max_qos or 2) and #payload <= (acl.max_payload_size or math.huge)
            and (not retain or acl.allowed_retain ~= false) and sol.topic.match(acl.pattern, topic) then
            return acl.modifiers or true
        end
    end
    return false
end

function M.may_subscribe(lists, filter, qos)
    local _, inner = sol.topic.shared(filter)
    for _, acl in ipairs(lists.subscribe) do
        if qos <= (acl.max_qos or 2) and sol.topic.covers(acl.pattern, inner or filter) then
            return acl.modifiers or true
        end
    end
    return false
end

return M
