-- SPDX-License-Identifier: BSD-2-Clause
--
-- acl -- who may publish and subscribe where.
--
-- Rules come from a file (mosquitto's format, or Lua) and from the options.  What no rule
-- grants is refused; a rule that denies counts before all that grant.  The first time a client
-- asks for something its rights are put together and given to it as a grant, which answers from
-- then on without entering Lua.  Where that cannot be, Lua decides, and remembers what it has
-- said of a topic.

local read_rules = require "rules"
local sol = require "sol"

local M = { defaults = { path = "", rules = {} } }

-- Clients choose topics and names, so what is remembered is bounded: so many filters and
-- topics, of so many bytes each.
local REMEMBERED, LONGEST = 50000, 200
-- A grant is the client's own: so many entries, some 100 bytes each.
local GRANTED = 64

local ALLOW, DENY = sol.allow(), sol.deny(0x87)

--- The rule's topic filter for one client, or nil when the rule does not concern it; then
--- true as well, when a name of the client's would reach beyond its own level.
local function filter_for(rule, user, id)
    if not rule.levels then return rule.topic end
    local values, levels = { ["%u"] = user or false, ["%c"] = id }, {}
    for i, level in ipairs(rule.levels) do
        local value = values[level]
        if value == false then return nil end
        if value and (value:find "[+#/]" or (i == 1 and value:find "^%$")) then return nil, true end
        levels[i] = value or level
    end
    return table.concat(levels, "/")
end

--- All that the rules say of one client: filters by what they grant and what they refuse,
--- in the order in which they are asked; and what they have said of topics so far.
local function rights_of(rules, user, id)
    local function tier() return { read = {}, write = {}, no_read = {}, no_write = {} } end
    local rights = { tier(), tier(), known = { read = {}, write = {} } }
    for _, rule in ipairs(rules) do
        local mine, filter, unsafe = rights[rule.is_later and 2 or 1], nil, nil
        if rule.user == nil or rule.user == (user or false) then filter, unsafe = filter_for(rule, user, id) end
        for _, action in ipairs(filter and rule.actions or {}) do
            local list = mine[rule.deny and "no_" .. action or action]
            list[#list + 1] = filter
        end
        if unsafe and rule.deny then mine.is_closed = true end -- what it should refuse cannot be told
    end
    return rights
end

local function any(test, filters, topic)
    for _, filter in ipairs(filters) do
        if test(filter, topic) then return true end
    end
    return false
end

--- Is the action granted?  A topic is refused by a filter that matches it and granted by one
--- that does; for a subscription, see below.
local function decide(rights, action, topic, refuses, grants)
    for _, mine in ipairs(rights) do
        if mine.is_closed or any(refuses, mine["no_" .. action], topic) then return false end
        if any(grants, mine[action], topic) then return true end
    end
    return false
end

--- The rights of a client as a grant; false when they are too many, or it cannot say them.
local function grant_of(rights)
    local grant = { name = "acl", until_reload = true }
    local function add(filters, word, action)
        for _, filter in ipairs(filters) do
            local pattern = filter:gsub("%%", "%%%%") -- names are filled in already
            -- What begins like this is no topic's business, and no grant's.
            if not filter:find "^%$share/" then grant[#grant + 1] = { word, pattern, action = action } end
        end
    end
    for _, mine in ipairs(rights) do
        if mine.is_closed then break end
        add(mine.no_write, "deny", "publish")
        add(mine.no_read, "deny", "read")
        add(mine.write, "publish")
        add(mine.read, "read")
    end
    grant[#grant + 1] = { "deny", "#" }
    return #grant <= GRANTED and grant
end

---@param options {path: string, rules: table[]}
function M.setup(options)
    local rules, by_id = read_rules(options.path, options.rules), false
    for _, rule in ipairs(rules) do by_id = by_id or rule.by_id end

    local cache, remembered = {}, 0 -- rights by user, and by client id where rules ask for it
    local function remember(where, key, value, weight)
        if #key > LONGEST then return value end
        remembered = remembered + weight
        if remembered > REMEMBERED then cache, remembered = {}, weight end
        where[key] = value
        return value
    end

    local function rights(client)
        local user, id = client.username, client.id
        local name = user and "u" .. user or "" -- "": without a user name
        local of_user = cache[name] or remember(cache, name, {}, 1)
        local key = by_id and id or ""
        return of_user[key] or remember(of_user, key, rights_of(rules, user, id), #rules)
    end

    local function may(mine, action, topic)
        local known = mine.known[action][topic]
        if known ~= nil then return known end
        local granted = decide(mine, action, topic, sol.topic.match, sol.topic.match)
        return remember(mine.known[action], topic, granted, 1)
    end

    -- Granted when it may bring anything at all: what it may not bring is kept back at each
    -- delivery, which also holds for subscriptions older than the rules.
    local function may_subscribe(mine, filter)
        local _, inner = sol.topic.shared(filter)
        return decide(mine, "read", inner or filter, sol.topic.covers, sol.topic.overlaps)
    end

    -- Grants are asked before all handlers: only where ours is the first may they answer for it.
    local ours, is_first
    local function comes_first()
        for _, hook in ipairs(sol.hooks()) do
            if hook.event == "authorize" then return hook.name == ours.name end
        end
    end

    --- Gives the client its rights as a grant, and says whether that will answer: it does for
    --- every topic but those that begin with "$", which its last entry does not reach.
    local function grants(client, mine, topic)
        if is_first == nil then is_first = comes_first() end
        if not is_first or topic:find "^%$" then return false end
        if mine.grant == nil then mine.grant = grant_of(mine) end
        return mine.grant and client:grant(mine.grant)
    end

    ours = sol.on("authorize", function(client, request)
        local mine, action, topic = rights(client), request.action, request.topic
        if grants(client, mine, topic) then return nil end
        local granted
        if action == "subscribe" then
            granted = may_subscribe(mine, topic)
        else
            granted = may(mine, action == "deliver" and "read" or "write", topic)
        end
        return granted and ALLOW or DENY
    end, { actions = { "publish", "subscribe", "will", "deliver" } })
end

return M
