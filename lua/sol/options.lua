-- SPDX-License-Identifier: BSD-2-Clause
--
-- options.lua -- native.options: what the functions written in Lua check their options with;
-- and what they have in common that connect to a server.

local _, native = ...

local error, floor, huge, pairs, setmetatable, sort, tostring, type =
    error, math.floor, math.huge, pairs, setmetatable, table.sort, tostring, type

local function shown(value)
    return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

--- What a value of this rule must be, if it is not; or nil.
local function expected(rule, value)
    local kind, min, max = rule[1], rule[2] or 0, rule[3] or huge
    if kind == "any" then return nil end
    if kind ~= "number" and kind ~= "integer" then return type(value) ~= kind and "a " .. kind or nil end
    local is_right = type(value) == "number" and value >= min and value <= max
    if is_right and (kind == "number" or value < huge and floor(value) == value) then return nil end
    return ("%s %s"):format(kind == "integer" and "an integer" or "a number",
        max < huge and ("from %s to %s"):format(min, max) or ("of at least %s"):format(min))
end

--- `given` with defaults, checked against `known`: name -> { type, min, max, default =, required = }.
--- An error is its caller's caller's.
---@param what string "sol.cache"
---@param given table?
---@param known table<string, table>
---@return table
function native.options(what, given, known)
    local options = {}
    if given ~= nil and type(given) ~= "table" then
        error(("%s: options must be a table, not %s"):format(what, shown(given)), 3)
    end
    for name, rule in pairs(known) do options[name] = rule.default end
    for name, value in pairs(given or {}) do
        local rule = known[name]
        if not rule then
            local names = {}
            for n in pairs(known) do names[#names + 1] = n end
            sort(names)
            error(("%s: unknown option %s%s"):format(what, shown(name), native.suggest(tostring(name), names)), 3)
        end
        local should = expected(rule, value)
        if should then error(("%s: %s must be %s, not %s"):format(what, name, should, shown(value)), 3) end
        options[name] = value
    end
    for name, rule in pairs(known) do
        if rule.required and options[name] == nil then error(("%s: %s is missing"):format(what, name), 3) end
    end
    return options
end

--- Raises in the caller's caller unless `fn` can be called.
function native.check_function(what, arg, fn)
    if type(fn) == "function" then return end
    error(("bad argument #%d to '%s' (function expected, got %s)"):format(arg, what, type(fn)), 3)
end

--- The time-out an argument names: seconds, nil for `default`.  Raises in the caller's caller.
function native.check_seconds(what, arg, value, default)
    if value == nil then return default end
    if type(value) == "number" and value >= 0 then return value end
    error(("bad argument #%d to '%s' (expected seconds, 0 or more)"):format(arg, what), 3)
end

local SERVER = {
    host = { "string", default = "127.0.0.1" },
    port = { "integer", 1, 65535 },
    socket = { "string" },
    tls = { "boolean" },
    ca = { "string" },
    cert = { "string" },
    key = { "string" },
    server_name = { "string" },
    verify = { "boolean" },
}

--- `known` with the options that say where a server is and how it is to be trusted.
function native.server_options(known)
    for name, rule in pairs(SERVER) do known[name] = rule end
    return known
end

--- Their URL for sol.socket.connect; `options.port` is set.
function native.server_url(options)
    if options.socket then return "unix://" .. options.socket end
    local host = options.host
    if host:find(":", 1, true) then host = "[" .. host .. "]" end
    return ("%s://%s:%d"):format(options.tls and "tls" or "tcp", host, options.port)
end

--- The functions connect and pool of a module that has a server: `open(options)` gives a connection, or nil and
--- why; a pool has the metatable `pool_meta`.  No tail calls: errors name the line that called these.
function native.server_functions(what, known, check, open, pool_meta)
    local M = {}

    function M.connect(given)
        local options = native.options(what .. ".connect", given, known)
        check(options)
        local connection, err = open(options)
        return connection, err
    end

    function M.pool(given)
        local options = native.options(what .. ".pool", given, known)
        check(options)
        return setmetatable({ options = options }, pool_meta)
    end

    return M
end

return {}
