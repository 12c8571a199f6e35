-- SPDX-License-Identifier: BSD-2-Clause
--
-- acl -- who may publish and subscribe where.
--
-- Rules come from a file (mosquitto's format, or Lua) and from the options.  What no rule
-- grants is refused; a rule that denies counts before all that grant.  The rights of a
-- client are put together once and remembered, and so is what they say of a topic.

local parse_mosquitto = require "mosquitto"
local sol = require "sol"

local M = { defaults = { path = "", rules = {} } }

local REMEMBERED = 20000 -- topics and clients, before everything is forgotten

local ALLOW, DENY = sol.allow(), sol.deny(0x87)

-- What a rule's action covers.
local PUBLISH, SUBSCRIBE, ALL = { "write" }, { "read" }, { "write", "read" }
local ACTIONS = { publish = PUBLISH, write = PUBLISH, subscribe = SUBSCRIBE, read = SUBSCRIBE,
    all = ALL, readwrite = ALL }

local FIELDS = { user = true, action = true, topic = true, deny = true }

local function fail(...) error((...):format(select(2, ...)), 0) end

--- Checks a rule as it stands in Lua and prepares it; `where` names it in errors.
--- user: a name, false for clients without one, nil for everybody.
local function prepare(rule, where)
    if type(rule) ~= "table" then fail("%s: expected a table, got %s", where, type(rule)) end
    for name in pairs(rule) do
        if not FIELDS[name] then fail("%s.%s: no such field; expected user, action, topic, deny", where, name) end
    end
    if type(rule.user) ~= "string" and rule.user then
        fail("%s.user: expected a name, false or nothing, got %s", where, rule.user)
    end
    if rule.action ~= nil and not ACTIONS[rule.action] then
        fail("%s.action: expected publish, subscribe or all, got %s", where, rule.action)
    end
    if type(rule.topic) ~= "string" or not sol.topic.valid_filter(rule.topic) then
        fail("%s.topic: expected a topic filter, got %s", where, rule.topic)
    end
    local prepared = { user = rule.user, actions = ACTIONS[rule.action or "all"], deny = rule.deny,
        topic = rule.topic }
    for _, level in ipairs(sol.topic.parse(rule.topic)) do
        local name = level:match "%%[uc]"
        if name and level ~= name then
            fail("%s.topic: %s must be a whole level, not part of %s", where, name, level)
        end
        if name then prepared.levels = sol.topic.parse(rule.topic) end
        if name == "%c" then prepared.by_id = true end
    end
    return prepared
end

--- A rule of mosquitto's file; a "topic" line knows no patterns.
local function prepare_line(rule)
    local where, literal = rule.where, rule.literal
    rule.where, rule.literal = nil, nil
    if not literal then return prepare(rule, where) end
    if not sol.topic.valid_filter(rule.topic) then fail("%s: expected a topic filter, got %s", where, rule.topic) end
    return { user = rule.user, actions = ACTIONS[rule.action], deny = rule.deny, topic = rule.topic }
end

local function run_file(path)
    local chunk, err = load(assert(sol.read_file(path)), "@" .. path, "t", {})
    if not chunk then error(err, 0) end
    local list = chunk()
    if type(list) ~= "table" then fail("%s: expected a list of rules, got %s", path, type(list)) end
    return list
end

--- The rules of the file, if there is one, then those of the options.
local function read_rules(path, given)
    local rules = {}
    local function add(list, where)
        for n, rule in ipairs(list) do rules[#rules + 1] = prepare(rule, where:format(n)) end
    end
    if path:find "%.lua$" then
        add(run_file(path), path:gsub("%%", "%%%%") .. ": rule %d")
    elseif path ~= "" then
        for n, line in ipairs(parse_mosquitto(assert(sol.read_file(path)), path)) do rules[n] = prepare_line(line) end
    elseif #given == 0 then
        error("give path or rules", 0)
    end
    add(given, "rules[%d]")
    return rules
end

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

--- All that the rules say of one client: filters by what they grant and what they refuse.
local function rights_of(rules, user, id)
    local rights = { read = {}, write = {}, no_read = {}, no_write = {}, known = { read = {}, write = {} } }
    for _, rule in ipairs(rules) do
        local filter, unsafe
        if rule.user == nil or rule.user == (user or false) then filter, unsafe = filter_for(rule, user, id) end
        for _, action in ipairs(filter and rule.actions or {}) do
            local list = rights[rule.deny and "no_" .. action or action]
            list[#list + 1] = filter
        end
        if unsafe and rule.deny then rights.nothing = true end -- what it should refuse cannot be told
    end
    return rights
end

local function any(test, filters, topic)
    for _, filter in ipairs(filters) do
        if test(filter, topic) then return true end
    end
    return false
end

---@param options {path: string, rules: table[]}
function M.setup(options)
    local rules, by_id = read_rules(options.path, options.rules), false
    for _, rule in ipairs(rules) do by_id = by_id or rule.by_id end

    local cache, remembered = {}, 0 -- rights by user, and by client id where rules ask for it
    local function remember(where, key, value)
        remembered = remembered + 1
        if remembered > REMEMBERED then cache, remembered = {}, 0 end
        where[key] = value
        return value
    end

    local function rights(client)
        local user, id = client.username, client.id
        local of_user = cache[user or false] or remember(cache, user or false, {})
        local key = by_id and id or true
        return of_user[key] or remember(of_user, key, rights_of(rules, user, id))
    end

    local function may(mine, action, topic)
        local known = mine.known[action][topic]
        if known ~= nil then return known end
        return remember(mine.known[action], topic, not mine.nothing
            and not any(sol.topic.match, mine["no_" .. action], topic)
            and any(sol.topic.match, mine[action], topic))
    end

    -- Granted when it may bring anything at all: what it may not bring is kept back at each
    -- delivery, which also holds for subscriptions older than the rules.
    local function may_subscribe(mine, filter)
        local _, inner = sol.topic.shared(filter)
        filter = inner or filter
        return not mine.nothing and not any(sol.topic.covers, mine.no_read, filter)
            and any(sol.topic.overlaps, mine.read, filter)
    end

    sol.on("authorize", function(client, request)
        local mine, action, topic = rights(client), request.action, request.topic
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
