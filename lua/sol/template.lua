-- SPDX-License-Identifier: BSD-2-Clause
--
-- template.lua -- sol.template: texts with ${placeholders}.
--
-- Taken apart once, so that a mistake is found while the policy is loaded; filling one is a
-- walk over its parts.  What is put in is never looked at again: a client that calls itself
-- "${password}" is called that.

local _, native = ...

local concat, error, ipairs, sort, tostring, type, unpack =
    table.concat, error, ipairs, table.sort, tostring, type, table.unpack

--- The text as a list: strings, and { name } for a placeholder.  An error is its caller's caller's.
local function parse(text, names)
    local known, parts, at = {}, {}, 1
    for _, name in ipairs(names) do known[name] = true end
    for from, name, to in text:gmatch "()%${([^}]*)}()" do
        if not known[name] then
            local sorted = { unpack(names) }
            sort(sorted)
            local near = native.suggest(name, sorted)
            if near == "" then near = "; known are " .. concat(sorted, ", ") end
            error(("sol.template: unknown placeholder ${%s}%s"):format(name, near), 3)
        end
        parts[#parts + 1] = text:sub(at, from - 1)
        parts[#parts + 1] = { name }
        at = to
    end
    if text:find("${", at, true) then error("sol.template: a ${ without its }", 3) end
    parts[#parts + 1] = text:sub(at)
    return parts
end

--- A function that fills the text: fill(values [, escape]).
---@param text string
---@param names string[] the placeholders that may be in it
local function template(text, names)
    if type(text) ~= "string" then
        error(("bad argument #1 to 'template' (string expected, got %s)"):format(type(text)), 2)
    end
    if type(names) ~= "table" then
        error(("bad argument #2 to 'template' (table expected, got %s)"):format(type(names)), 2)
    end
    local parts = parse(text, names)
    return function(values, escape)
        local is_table, filled = type(values) == "table", {}
        for i, part in ipairs(parts) do
            if type(part) == "table" then
                local value
                if is_table then value = values[part[1]] else value = values(part[1]) end
                value = value == nil and "" or tostring(value)
                part = escape and escape(value) or value
            end
            filled[i] = part
        end
        return concat(filled)
    end
end

return { template = template }
