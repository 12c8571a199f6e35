-- SPDX-License-Identifier: BSD-2-Clause
--
-- rules.lua -- rules from files and options, checked and made ready.
--
-- A prepared rule: user (a name, false for clients without one, nil for everybody),
-- actions ("read", "write"), deny, topic, levels (of a topic with %u or %c), by_id (it has
-- %c), is_later (it is asked when the others have not decided).

local parse_mosquitto = require "mosquitto"
local sol = require "sol"

-- What a rule's action covers.
local PUBLISH, SUBSCRIBE, ALL = { "write" }, { "read" }, { "write", "read" }
local ACTIONS = { publish = PUBLISH, write = PUBLISH, subscribe = SUBSCRIBE, read = SUBSCRIBE,
    all = ALL, readwrite = ALL }

local FIELDS = { user = true, action = true, topic = true, deny = true }

local function fail(...) error((...):format(select(2, ...)), 0) end

--- Checks a rule as it stands in Lua and prepares it; `where` names it in errors.
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
    if rule.deny ~= nil and type(rule.deny) ~= "boolean" then
        fail("%s.deny: expected true or false, got %s", where, rule.deny)
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

--- A rule of mosquitto's file.  A "topic" line knows no patterns; a "pattern" line is asked
--- when the others have not decided.
local function prepare_line(rule)
    local where, literal = rule.where, rule.literal
    rule.where, rule.literal = nil, nil
    if not literal then
        local prepared = prepare(rule, where)
        prepared.is_later = true
        return prepared
    end
    if not sol.topic.valid_filter(rule.topic) then fail("%s: expected a topic filter, got %s", where, rule.topic) end
    return { user = rule.user, actions = ACTIONS[rule.action], deny = rule.deny, topic = rule.topic }
end

local function read(path)
    local text, err = sol.read_file(path)
    return text or fail("%s", err)
end

local function run_file(path)
    local chunk, err = load(read(path), "@" .. path, "t", {})
    if not chunk then error(err, 0) end
    local list = chunk()
    if type(list) ~= "table" then fail("%s: expected a list of rules, got %s", path, type(list)) end
    return list
end

--- The rules of the file, if there is one, then those of the options.
---@param path string
---@param given table[]
---@return table[]
return function(path, given)
    local rules = {}
    local function add(list, where)
        for n, rule in ipairs(list) do rules[#rules + 1] = prepare(rule, where:format(n)) end
    end
    if path:find "%.lua$" then
        add(run_file(path), path:gsub("%%", "%%%%") .. ": rule %d")
    elseif path ~= "" then
        for n, line in ipairs(parse_mosquitto(read(path), path)) do rules[n] = prepare_line(line) end
    elseif #given == 0 then
        error("give path or rules", 0)
    end
    add(given, "rules[%d]")
    return rules
end
