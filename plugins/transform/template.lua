-- SPDX-License-Identifier: BSD-2-Clause
--
-- template.lua -- templates and paths of the transform plugin, compiled to functions.

local sol = require "sol"

local M = {}

--- "a.b[2].c" or "a.b.2.c" as a list of keys; numbers count from 1.
function M.path(text)
    local path = {}
    for key in text:gsub("%[(%d+)%]", ".%1"):gmatch "[^.]+" do path[#path + 1] = math.tointeger(key) or key end
    if #path == 0 then error(("no path: %q"):format(text), 0) end
    return path
end

--- Numbers find elements of arrays, and fields of objects that look like them.
local function field(t, key)
    if type(t) ~= "table" then return nil end
    if t[key] == nil and math.type(key) == "integer" then return t[tostring(key)] end
    return t[key]
end

--- What lies at the path, or nil.
function M.get(document, path)
    for _, key in ipairs(path) do document = field(document, key) end
    return document
end

--- Puts a value at the path, making what lies on the way; nil removes.
function M.put(document, path, value)
    for i = 1, #path - 1 do
        local inner = field(document, path[i])
        if type(inner) ~= "table" then
            if value == nil then return end
            inner = {}
            document[path[i]] = inner
        end
        document = inner
    end
    local last = path[#path]
    if math.type(last) == "integer" and value == nil and document[last] ~= nil then
        table.remove(document, last)
    elseif type(last) == "string" or getmetatable(document) == false then -- false: marked as an array
        document[last] = value
    else
        document[tostring(last)] = value
    end
end

-- Values ------------------------------------------------------------------------------------

-- What "$name" stands for.
local NAMES = {
    topic = function(at) return at.message.topic end,
    client = function(at) return at.client.id end,
    username = function(at) return at.client.username end,
    time = function() return math.floor(sol.time()) end,
    payload = function(at) return at.document end,
}

-- What there is no such value of is nil: an object as a string would say where it lies in memory.
local AS = {
    number = tonumber,
    string = function(v) return type(v) ~= "table" and tostring(v) or nil end,
    integer = function(v)
        v = tonumber(v)
        return v and math.tointeger(v // 1)
    end,
    boolean = function(v) return v == true or v == "true" or v == "on" or v == "1" or v == 1 end,
}

--- value * scale + offset; as a float where integers would overflow.
local function scaled(value, scale, offset)
    local result, rough = value * scale + offset, (value + 0.0) * scale + offset
    return math.abs(rough) < 2 ^ 53 and result or rough
end

local OPTIONS = { path = "string", default = "any", scale = "number", offset = "number", round = "number",
    map = "table", as = "string" }

--- { path = ..., ... }: a value of the document, worked on.
local function lookup(spec)
    for name, value in pairs(spec) do
        if not OPTIONS[name] or OPTIONS[name] ~= "any" and type(value) ~= OPTIONS[name] then
            error(("%s = %s: expected as, default, map, offset, path, round, scale"):format(name, tostring(value)), 0)
        end
    end
    if spec.as and not AS[spec.as] then error("as: expected boolean, integer, number or string, got " .. spec.as, 0) end
    local path, as = M.path(spec.path), spec.as and AS[spec.as]
    local round = math.tointeger(spec.round)
    if spec.round and not (round and round >= 0 and round <= 15) then error("round: expected digits, 0 to 15", 0) end
    local digits = round and ("%%.%df"):format(round)
    local counts = spec.scale or spec.offset or spec.round

    return function(at)
        local value = M.get(at.document, path)
        if value == sol.json.null then value = nil end
        if value ~= nil and spec.map then value = spec.map[value] end
        if value ~= nil and counts then
            value = tonumber(value)
            if value and (spec.scale or spec.offset) then value = scaled(value, spec.scale or 1, spec.offset or 0) end
            if value and digits then value = tonumber(digits:format(value)) end
        end
        if value ~= nil and as then value = as(value) end
        if value == nil then return spec.default end
        return value
    end
end

--- A string: "$.path", "$name", or text with %1 ... in it.
local function text(value, captures)
    if value:sub(1, 2) == "$." then return lookup { path = value:sub(3) } end
    if value:sub(1, 1) == "$" then
        return NAMES[value:sub(2)] or error(("no such name: %s, expected $client, $payload, $time, $topic, $username")
            :format(value), 0)
    end
    for c in value:gmatch "%%(.?)" do
        if c ~= "%" and not (c:match "^[1-9]$" and tonumber(c) <= captures) then
            error(("%%%s: the filter has %d wildcard%s"):format(c, captures, captures == 1 and "" or "s"), 0)
        end
    end
    if not value:find "%%" then return function() return value end end
    return function(at)
        return (value:gsub("%%(.)", function(c) return c == "%" and c or at.captures[tonumber(c)] end))
    end
end

--- The function for a template: a scalar, a list, an object, or { path = ... }.
function M.value(template, captures)
    if type(template) == "string" then return text(template, captures) end
    if type(template) == "function" then error("expected a value, got a function: see the rewrite plugin", 0) end
    if type(template) ~= "table" or template == sol.json.null then return function() return template end end
    if type(template.path) == "string" then return lookup(template) end
    local parts = {}
    for key, value in pairs(template) do parts[key] = M.value(value, captures) end
    local is_list = #template > 0
    return function(at)
        local result = is_list and sol.json.array() or {}
        for key, part in pairs(parts) do
            result[key] = part(at)
            if is_list and result[key] == nil then result[key] = sol.json.null end
        end
        return result
    end
end

return M
