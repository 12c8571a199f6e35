-- SPDX-License-Identifier: BSD-2-Clause
--
-- schema.lua -- JSON Schema (draft 7 and 2020-12) compiled to closures.
--
-- A check is a function (value) that returns nothing when the value is right, else where and
-- what: a JSON pointer relative to the value, and words.  Each schema object is compiled once,
-- also when it refers to itself.  Keywords that cannot be checked are refused, not skipped.

local formats = require "format"
local regex = require "regex"
local sol = require "sol"

local M = {}

local NULL = sol.json.null

-- Values ------------------------------------------------------------------------------------

--- Is it an array?  What was decoded carries a mark that hides itself; tables of Lua do not.
local function is_array(v) return type(v) == "table" and (getmetatable(v) == false or #v > 0) end
local function is_object(v) return type(v) == "table" and not is_array(v) end

local TYPES = {
    string = function(v) return type(v) == "string" end,
    number = function(v) return type(v) == "number" end,
    integer = function(v) return type(v) == "number" and math.tointeger(v) ~= nil end,
    boolean = function(v) return type(v) == "boolean" end,
    null = function(v) return v == NULL end,
    array = is_array,
    object = is_object,
}

local function equal(a, b)
    if a == b then return true end
    if type(a) ~= "table" or type(b) ~= "table" or is_array(a) ~= is_array(b) then return false end
    for key, value in pairs(a) do
        if not equal(value, b[key]) then return false end
    end
    for key in pairs(b) do
        if a[key] == nil then return false end
    end
    return true
end

local function show(v)
    local ok, text = pcall(sol.json.encode, v)
    text = ok and text or tostring(v)
    return #text > 60 and text:sub(1, 57) .. "..." or text
end

--- A name as a step of a JSON pointer.
local function pointer(name) return "/" .. tostring(name):gsub("~", "~0"):gsub("/", "~1") end

-- Keywords ----------------------------------------------------------------------------------

-- name -> fn(value of the keyword, schema, compiler) that gives a check.
local K = {}

function K.type(names)
    local list = type(names) == "table" and names or { names }
    local tests = {}
    for i, name in ipairs(list) do
        tests[i] = TYPES[name] or error("type: no such type: " .. tostring(name), 0)
    end
    local message = "expected " .. table.concat(list, " or ")
    return function(v)
        for _, test in ipairs(tests) do
            if test(v) then return nil end
        end
        return "", message
    end
end

function K.enum(values)
    local message = "expected one of " .. show(sol.json.array { table.unpack(values) })
    return function(v)
        for _, value in ipairs(values) do
            if equal(v, value) then return nil end
        end
        return "", message
    end
end

function K.const(value)
    return function(v)
        if not equal(v, value) then return "", "expected " .. show(value) end
    end
end

--- A keyword that compares what `measure` gives for a value of its type.
local function bound(measure, is_right, words)
    return function(limit)
        if type(limit) ~= "number" then error("expected a number, got " .. show(limit), 0) end
        local message = words:format(show(limit))
        return function(v)
            local size = measure(v)
            if size and not is_right(size, limit) then return "", message end
        end
    end
end

local function count(t)
    local n = 0
    for _ in pairs(t) do n = n + 1 end
    return n
end

local function number(v) return type(v) == "number" and v end
local function length(v) return type(v) == "string" and utf8.len(v) end
local function items(v) return is_array(v) and #v end
local function fields(v) return is_object(v) and count(v) end
local function at_least(a, b) return a >= b end
local function at_most(a, b) return a <= b end

K.minimum, K.maximum = bound(number, at_least, "less than %s"), bound(number, at_most, "more than %s")
K.exclusiveMinimum = bound(number, function(a, b) return a > b end, "not more than %s")
K.exclusiveMaximum = bound(number, function(a, b) return a < b end, "not less than %s")
K.multipleOf = bound(number, function(a, b)
    local times = a / b
    return math.abs(times - math.floor(times + 0.5)) <= 1e-9 * math.max(1, math.abs(times))
end, "not a multiple of %s")
K.minLength = bound(length, at_least, "shorter than %s characters")
K.maxLength = bound(length, at_most, "longer than %s characters")
K.minItems, K.maxItems = bound(items, at_least, "fewer than %s items"), bound(items, at_most, "more than %s items")
K.minProperties = bound(fields, at_least, "fewer than %s properties")
K.maxProperties = bound(fields, at_most, "more than %s properties")

function K.pattern(text)
    local matches = regex.compile(text)
    return function(v)
        if type(v) == "string" and not matches(v) then return "", "does not match " .. text end
    end
end

function K.format(name, _, compiler)
    local is_right = compiler.formats and formats[name]
    return is_right and function(v)
        if type(v) == "string" and not is_right(v) then return "", "no " .. name end
    end
end

function K.uniqueItems(wanted)
    return wanted and function(v)
        if not is_array(v) then return nil end
        local seen, tables = {}, {}
        for _, item in ipairs(v) do
            if seen[item] then return "", "two equal items" end
            for _, other in ipairs(type(item) == "table" and tables or {}) do
                if equal(item, other) then return "", "two equal items" end
            end
            if type(item) == "table" then tables[#tables + 1] = item else seen[item] = true end
        end
    end
end

function K.required(names)
    return function(v)
        for _, name in ipairs(is_object(v) and names or {}) do
            if v[name] == nil then return "", name .. " is missing" end
        end
    end
end

function K.dependentRequired(lists)
    local checks = {}
    for name, names in pairs(lists) do checks[name] = K.required(names) end
    return function(v)
        for name, check in pairs(is_object(v) and checks or {}) do
            if v[name] ~= nil then
                local where, what = check(v)
                if where then return where, ("%s, with %s"):format(what, name) end
            end
        end
    end
end

--- Checks the elements of `v` from `first` on.
local function each(v, check, first)
    for i = first, #v do
        local where, what = check(v[i])
        if where then return pointer(i - 1) .. where, what end
    end
end

--- prefixItems, or draft 7's items that is a list: a schema for each of the first.
function K.prefixItems(list, _, compiler)
    local checks = {}
    for i, schema in ipairs(list) do checks[i] = compiler:check(schema) end
    return function(v)
        for i, check in ipairs(is_array(v) and checks or {}) do
            if v[i] == nil then return nil end
            local where, what = check(v[i])
            if where then return pointer(i - 1) .. where, what end
        end
    end
end

function K.items(schema, whole, compiler)
    if is_array(schema) then return K.prefixItems(schema, whole, compiler) end
    local check, first = compiler:check(schema), #(whole.prefixItems or {}) + 1
    return function(v)
        if is_array(v) then return each(v, check, first) end
    end
end

function K.additionalItems(schema, whole, compiler)
    if not is_array(whole.items) then return nil end
    local check, first = compiler:check(schema), #whole.items + 1
    return function(v)
        if is_array(v) then return each(v, check, first) end
    end
end

function K.contains(schema, whole, compiler)
    local check, min, max = compiler:check(schema), whole.minContains or 1, whole.maxContains or math.huge
    return function(v)
        if not is_array(v) then return nil end
        local n = 0
        for _, item in ipairs(v) do
            if not check(item) then n = n + 1 end
        end
        if n < min then return "", ("fewer than %d fitting items"):format(min) end
        if n > max then return "", ("more than %d fitting items"):format(max) end
    end
end

--- All that is said of an object's fields: by name, by pattern, and of the others.
local function all_properties(_, schema, compiler)
    local named, patterns = {}, {}
    for name, one in pairs(schema.properties or {}) do named[name] = compiler:check(one) end
    for text, one in pairs(schema.patternProperties or {}) do
        patterns[#patterns + 1] = { matches = regex.compile(text), check = compiler:check(one) }
    end
    local others = schema.additionalProperties ~= nil and compiler:check(schema.additionalProperties)

    local function field(name, value)
        local check, is_known = named[name], named[name] ~= nil
        local where, what
        if check then where, what = check(value) end
        for _, one in ipairs(patterns) do
            if not where and one.matches(name) then
                is_known, where, what = true, one.check(value)
            end
        end
        if not where and not is_known and others then
            where, what = others(value)
            if where and schema.additionalProperties == false then what = "is not expected" end
        end
        return where, what
    end

    return function(v)
        for name, value in pairs(is_object(v) and v or {}) do
            local where, what = field(name, value)
            if where then return pointer(name) .. where, what end
        end
    end
end

K.properties = all_properties
function K.patternProperties(_, schema, compiler)
    return schema.properties == nil and all_properties(nil, schema, compiler) or nil
end
function K.additionalProperties(_, schema, compiler)
    return schema.properties == nil and schema.patternProperties == nil and all_properties(nil, schema, compiler) or nil
end

function K.propertyNames(schema, _, compiler)
    local check = compiler:check(schema)
    return function(v)
        for name in pairs(is_object(v) and v or {}) do
            local where, what = check(name)
            if where then return pointer(name), "as a name: " .. what end
        end
    end
end

function K.dependentSchemas(schemas, _, compiler)
    local checks = {}
    for name, schema in pairs(schemas) do
        checks[name] = is_array(schema) and K.required(schema) or compiler:check(schema)
    end
    return function(v)
        for name, check in pairs(is_object(v) and checks or {}) do
            if v[name] ~= nil then
                local where, what = check(v)
                if where then return where, what end
            end
        end
    end
end

K.dependencies = K.dependentSchemas -- draft 7: lists of names as well

local function checks_of(list, compiler)
    local checks = {}
    for i, schema in ipairs(list) do checks[i] = compiler:check(schema) end
    return checks
end

function K.allOf(list, _, compiler)
    local checks = checks_of(list, compiler)
    return function(v)
        for _, check in ipairs(checks) do
            local where, what = check(v)
            if where then return where, what end
        end
    end
end

function K.anyOf(list, _, compiler)
    local checks = checks_of(list, compiler)
    return function(v)
        local where, what
        for _, check in ipairs(checks) do
            where, what = check(v)
            if not where then return nil end
        end
        return where, #checks == 1 and what or "fits none of anyOf"
    end
end

function K.oneOf(list, _, compiler)
    local checks = checks_of(list, compiler)
    return function(v)
        local n = 0
        for _, check in ipairs(checks) do
            if not check(v) then n = n + 1 end
        end
        if n ~= 1 then return "", ("fits %d of oneOf"):format(n) end
    end
end

K["not"] = function(schema, _, compiler)
    local check = compiler:check(schema)
    return function(v)
        if not check(v) then return "", "fits what it must not" end
    end
end

K["if"] = function(schema, whole, compiler)
    local condition = compiler:check(schema)
    local function branch(name) return compiler:check(whole[name] == nil or whole[name]) end
    local yes, no = branch "then", branch "else"
    return function(v)
        if condition(v) then return no(v) end
        return yes(v)
    end
end

K["$ref"] = function(target, _, compiler) return compiler:check(compiler:resolve(target)) end

local REFUSED = { "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef" }

-- Compiling ---------------------------------------------------------------------------------

local Compiler = {}
Compiler.__index = Compiler

--- What "#", "#/a/b" and "#name" stand for.
function Compiler:resolve(target)
    local base, fragment = target:match "^([^#]*)#?(.*)$"
    if base ~= "" and base ~= self.root["$id"] then
        error(("$ref: %s: only references within the schema are followed"):format(target), 0)
    end
    local at = self.anchors[fragment]
    if at ~= nil then return at end
    at = self.root
    for step in fragment:gmatch "/([^/]*)" do
        step = step:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
        step = step:gsub("~1", "/"):gsub("~0", "~")
        if type(at) == "table" then at = is_array(at) and at[(tonumber(step) or -1) + 1] or at[step] end
    end
    if at == nil or fragment ~= "" and fragment:sub(1, 1) ~= "/" then
        error(("$ref: there is no %s"):format(target), 0)
    end
    return at
end

function Compiler:find_anchors(schema, depth)
    if type(schema) ~= "table" or depth > 64 then return end
    local id = type(schema["$id"]) == "string" and schema["$id"]:match "^#(.+)$"
    local name = id or type(schema["$anchor"]) == "string" and schema["$anchor"]
    if name then self.anchors[name] = schema end
    for key, inner in pairs(schema) do
        if key ~= "enum" and key ~= "const" then self:find_anchors(inner, depth + 1) end
    end
end

local function nothing() end
local function never() return "", "nothing is allowed here" end

--- The keywords of a schema in a fixed order, so that the same mistake is always told first.
local function keywords_of(schema)
    local names = {}
    for name in pairs(schema) do
        if K[name] then names[#names + 1] = name end
    end
    table.sort(names, function(a, b)
        if (a == "type") ~= (b == "type") then return a == "type" end
        return a < b
    end)
    return names
end

--- The check for a schema.
function Compiler:check(schema)
    if schema == true then return nothing end
    if schema == false then return never end
    if type(schema) ~= "table" then error("a schema must be an object or a boolean, not " .. show(schema), 0) end
    if self.done[schema] then return self.done[schema] end
    local list = {}
    self.done[schema] = function(v) -- for references to what is not compiled yet
        for _, check in ipairs(list) do
            local where, what = check(v)
            if where then return where, what end
        end
    end
    for _, name in ipairs(REFUSED) do
        if schema[name] ~= nil then error(name .. " is not supported", 0) end
    end
    local names = keywords_of(schema)
    if self.is_old and schema["$ref"] then names = { "$ref" } end -- draft 7: what stands beside it does not count
    for _, name in ipairs(names) do
        local ok, check = pcall(K[name], schema[name], schema, self)
        if not ok then error(check:find("^" .. name:gsub("%p", "%%%0")) and check or name .. ": " .. check, 0) end
        list[#list + 1] = check or nil
    end
    if #list == 1 then self.done[schema] = list[1] end
    return self.done[schema]
end

--- fn(value): nothing when it is right, else where and what.  Raises for a schema that is none.
---@param schema table|boolean a decoded JSON Schema
---@param with_formats boolean check `format` too
function M.compile(schema, with_formats)
    local old = type(schema) == "table" and tostring(schema["$schema"]):find "draft%-0[467]" ~= nil
    local compiler = setmetatable({ root = schema, anchors = {}, done = {}, formats = with_formats, is_old = old },
        Compiler)
    compiler:find_anchors(schema, 0)
    return compiler:check(schema)
end

return M
