-- SPDX-License-Identifier: BSD-2-Clause
--
-- topics.lua -- which topic names a filter means, as section 4.7 of the standard has it.
--
-- Level by level and remembered: the sequences know few topics.

local topics = {}

local function levels(text)
    local out = {}
    for level in (text .. "/"):gmatch("([^/]*)/") do out[#out + 1] = level end
    return out
end

--- What is shared, and by which group; the filter itself when it is not shared.
function topics.shared(filter)
    if filter:byte(2) ~= 115 then return filter end -- "$s"
    local group, inner = filter:match("^%$share/([^/]+)/(.+)$")
    return inner or filter, group
end

local function match(filter, topic)
    if topic:sub(1, 1) == "$" and filter:find("^[+#]") then return false end -- 4.7.2
    local want, have = levels(filter), levels(topic)
    for i, level in ipairs(want) do
        if level == "#" then return true end -- the parent level, too: 4.7.1.2
        if have[i] == nil or (level ~= "+" and level ~= have[i]) then return false end
    end
    return #want == #have
end

local known = {}

--- Does the filter (of a shared one what is shared) mean this topic name?
function topics.match(filter, topic)
    local row = known[filter] or {}
    known[filter] = row
    if row[topic] == nil then row[topic] = match(filter, topic) end
    return row[topic]
end

return topics
