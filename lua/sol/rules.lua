-- SPDX-License-Identifier: BSD-2-Clause
--
-- rules.lua -- native.rules: rights as other brokers' databases and services write them, as a
-- grant.
--
-- A rule is { permission, action, topic, qos, retain }; the words are EMQX's.  The first that
-- matches counts, and what none of them allows is refused.

local sol, native = ...

local ipairs, next, tostring, type = ipairs, next, tostring, type
local null = sol.json.null

local rules = {}

-- What an action grants, and what it means to deny it.
local ALLOWS = { publish = { "publish" }, subscribe = { "subscribe" }, all = { "publish", "subscribe" } }
local DENIES = { publish = "publish", subscribe = "read" } -- and everything

local RETAIN = { [true] = true, [1] = true, [false] = false, [0] = false, all = false }

local PLACEHOLDERS = { clientid = "%c", username = "%u" }

--- A topic filter with ${clientid}, ${username}, ${client_attrs.NAME}, %c and %u as a grant's
--- pattern; or nil.
local function pattern_of(topic)
    if type(topic) ~= "string" or topic:find "^eq " then return nil end -- EMQX's topics that are no filters
    local is_known = true
    local pattern = topic:gsub("%%", "%%%%"):gsub("%%%%([cu])", "%%%1"):gsub("%${([^}]*)}", function(name)
        local attribute = name:match "^client_attrs%.(.+)$"
        is_known = is_known and (PLACEHOLDERS[name] or attribute) ~= nil
        return PLACEHOLDERS[name] or attribute and "%{" .. attribute .. "}"
    end)
    return is_known and sol.topic.valid_filter(pattern) and not sol.topic.shared(pattern) and pattern or nil
end

local function absent(value)
    if value == null then return nil end
    return value
end

--- Adds a rule's entries to the grant; nil, or what is wrong with the rule.
local function add(grant, rule)
    if type(rule) ~= "table" then return "it is a " .. type(rule) end
    local permission, action = absent(rule.permission) or "allow", absent(rule.action) or "all"
    local pattern, qos, retain = pattern_of(rule.topic), absent(rule.qos), absent(rule.retain)
    if not pattern then return "no topic filter: " .. tostring(rule.topic) end
    if not ALLOWS[action] then return "no action: " .. tostring(action) end
    if qos ~= nil and qos ~= 0 and qos ~= 1 and qos ~= 2 then return "qos is not the highest one, 0, 1 or 2" end
    if retain ~= nil and RETAIN[retain] == nil then return "retain is neither true nor false" end
    if retain == "all" then retain = nil end
    if permission == "deny" then
        if qos or retain ~= nil then return "a rule that denies knows no qos and no retain" end
        grant[#grant + 1] = { "deny", pattern, action = DENIES[action] }
        return nil
    end
    if permission ~= "allow" then return "no permission: " .. tostring(permission) end
    for _, word in ipairs(ALLOWS[action]) do
        local entry = { word, pattern, qos = qos }
        if word == "publish" and retain ~= nil then entry.retain = RETAIN[retain] end
        grant[#grant + 1] = entry
    end
end

--- The rules as client:grant takes them; or nil and what is wrong.
---@param list table[]
function rules.grant(list)
    local grant = {}
    for n, rule in ipairs(list) do
        local wrong = add(grant, rule)
        if wrong then return nil, ("acl[%d]: %s"):format(n, wrong) end
    end
    if #list == 0 and next(list) ~= nil then return nil, "acl is no list" end
    grant[#grant + 1] = { "deny", "#" }
    grant[#grant + 1] = { "deny", "$SYS/#" }
    return grant
end

native.rules = rules

return {}
