-- SPDX-License-Identifier: BSD-2-Clause
--
-- once.lua -- sol.once: of many that want the same thing at a time, one fetches it.
--
-- The function runs in a task of its own: whoever asked first may go away, the others still
-- get their answer.

local _, native = ...

local error, setmetatable = error, setmetatable
local check_function, check_seconds, is_loading, spawn =
    native.check_function, native.check_seconds, native.is_loading, native.spawn

local TIMEOUT = 30 -- seconds that somebody waits for another one's result

local function unwrap(ok, ...)
    if ok then return ... end
    return nil, (...)
end

--- Single flight among the keys of one table; gives what fn(key, is_current) gave, or nil and
--- an error.  is_current() is false once somebody took the flight out of the table.
function native.fly(flights, key, fn, timeout)
    local flight = flights[key]
    if not flight then
        local is_filed
        local function is_current() return not is_filed or flights[key] == flight end
        flight = spawn(function()
            local _ <close> = setmetatable({}, { __close = function()
                if is_filed and is_current() then flights[key] = nil end
            end })
            return fn(key, is_current)
        end)
        if flight:status() == "running" then flights[key], is_filed = flight, true end
    end
    local function settle(ok, ...)
        -- one that hangs must not hold up those who come later
        if not ok and (...) == "timeout" and flights[key] == flight then flights[key] = nil end
        return unwrap(ok, ...)
    end
    return settle(flight:join(timeout))
end

local flights = {}

return {
    once = function(key, fn, timeout)
        if key == nil or key ~= key then error("bad argument #1 to 'once' (a key expected)", 2) end
        check_function("once", 2, fn)
        timeout = check_seconds("once", 3, timeout, TIMEOUT)
        if is_loading() then error("sol.once cannot be used while the policy is loaded", 2) end
        return native.fly(flights, key, function() return fn(key) end, timeout)
    end,
}
