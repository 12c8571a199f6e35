-- SPDX-License-Identifier: BSD-2-Clause
--
-- shrink.lua -- the shortest sequence that still fails.
--
-- Takes out halves, quarters, ... single actions, then what actions say beyond the need,
-- as long as anything can go.

local shrink = {}

local function without(sequence, first, len)
    local out = { config = sequence.config }
    for i, a in ipairs(sequence) do
        if i < first or i >= first + len then out[#out + 1] = a end
    end
    return out
end

local function copy(t)
    if type(t) ~= "table" then return t end
    local out = {}
    for k, v in pairs(t) do out[k] = copy(v) end
    return out
end

local function shorter(sequence, fails)
    local len = #sequence // 2
    while len >= 1 do
        local first, is_progress = 1, false
        while first <= #sequence do
            local candidate = without(sequence, first, len)
            if fails(candidate) then
                sequence, is_progress = candidate, true
            else
                first = first + len
            end
        end
        if not is_progress or len > 1 then len = len // 2 end
    end
    return sequence
end

local NEEDED = { c = true, version = true, topic = true, qos = true, filter = true, filters = true, ms = true,
    nth = true, type = true, what = true, config = true, max_inflight = true, max_queued = true,
    max_topic_alias = true, workers = true, placement = true }

--- Tables in an action whose fields may be tried.
local function parts(action)
    local out = { action }
    if action.will then out[#out + 1] = action.will end
    for _, f in ipairs(action.filters or {}) do
        if type(f) == "table" then out[#out + 1] = f end
    end
    return out
end

--- Tries another value for a field in place; true when it still fails.
local function try(part, field, value, sequence, fails)
    local before = part[field]
    if before == value then return false end
    part[field] = value
    if fails(sequence) then return true end
    part[field] = before
    return false
end

local function drop_filters(action, sequence, fails)
    local i = 1
    while action.filters and #action.filters > 1 and i <= #action.filters do
        local f = table.remove(action.filters, i)
        if not fails(sequence) then
            table.insert(action.filters, i, f)
            i = i + 1
        end
    end
end

local function simpler(sequence, fails)
    sequence = copy(sequence)
    for _, action in ipairs(sequence) do
        drop_filters(action, sequence, fails)
        for _, part in ipairs(parts(action)) do
            local fields = {}
            for field in pairs(part) do
                if type(field) == "string" and not NEEDED[field] then fields[#fields + 1] = field end
            end
            table.sort(fields)
            for _, field in ipairs(fields) do try(part, field, nil, sequence, fails) end
            if part.nth then try(part, "nth", 1, sequence, fails) end
        end
    end
    for _, row in ipairs { { "max_queued", 1000 }, { "max_inflight", 100 }, { "drop", "newest" },
        { "overlapping", "once" }, { "queue_qos0", false } } do
        try(sequence.config, row[1], row[2], sequence, fails)
    end
    return sequence
end

--- `fails(sequence)`: does it still?  Gives the shortest found.
function shrink.shortest(sequence, fails)
    local before
    repeat
        before = #sequence
        sequence = simpler(shorter(sequence, fails), fails)
    until #sequence == before
    return sequence
end

--- The sequence as Lua source, to be kept.
function shrink.source(sequence)
    local function value(v)
        if type(v) ~= "table" then return type(v) == "string" and ("%q"):format(v) or tostring(v) end
        local out, keys = {}, {}
        for i, item in ipairs(v) do out[i] = value(item) end
        for k in pairs(v) do
            if type(k) == "string" then keys[#keys + 1] = k end
        end
        table.sort(keys)
        for _, k in ipairs(keys) do out[#out + 1] = k .. " = " .. value(v[k]) end
        return "{ " .. table.concat(out, ", ") .. " }"
    end
    local lines = { "{ config = " .. value(sequence.config) .. "," }
    for _, a in ipairs(sequence) do lines[#lines + 1] = "    " .. value(a) .. "," end
    return table.concat(lines, "\n") .. " }"
end

return shrink
