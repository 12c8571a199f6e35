-- SPDX-License-Identifier: BSD-2-Clause
--
-- semaphore.lua -- sol.semaphore: at most so many at a time, the others in a row.
--
-- Permits go from hand to hand: one that is released while somebody waits is his at once, so
-- nobody who comes later is served first.  Whoever is cut off while he waits leaves the row,
-- and gives back what he had already been handed.

local _, native = ...

local error, setmetatable, type = error, setmetatable, type
local check_seconds, waiter = native.check_seconds, native.waiter

local PRIVATE = {} -- key of what a semaphore or guard keeps

local Guard = { __name = "sol.guard", __metatable = false }
Guard.__index = Guard

local function give(state)
    while state.first <= state.last do
        local place = state.row[state.first]
        state.row[state.first] = nil
        state.first = state.first + 1
        if place and place.waiter:wake() then
            place.is_handed = true
            return
        end
    end
    state.free = state.free + 1
end

--- Give the permit back: true; false when that has been done.
function Guard:release()
    local state = self[PRIVATE]
    if not state then return false end
    self[PRIVATE] = nil
    give(state)
    return true
end

Guard.__close = Guard.release

--- Leaves the row, without a guard unless it is served.
local Place = { __close = function(place)
    place.state.row[place.at] = nil
    if place.is_handed and not place.is_served then give(place.state) end
end }

local Semaphore = { __name = "sol.semaphore", __metatable = false }
Semaphore.__index = Semaphore

--- A guard; or nil and "timeout".
---@param timeout number? seconds; 0: do not wait
function Semaphore:acquire(timeout)
    timeout = check_seconds("acquire", 1, timeout)
    local state = self[PRIVATE]
    if state.free > 0 then
        state.free = state.free - 1
        return setmetatable({ [PRIVATE] = state }, Guard)
    end
    if timeout == 0 then return nil, "timeout" end
    local at = state.last + 1
    local place <close> = setmetatable({ state = state, at = at, waiter = waiter() }, Place)
    state.row[at], state.last = place, at
    if not place.waiter:wait(timeout) then return nil, "timeout" end
    place.is_served = true
    return setmetatable({ [PRIVATE] = state }, Guard)
end

--- How many permits are free.
function Semaphore:available() return self[PRIVATE].free end

return {
    semaphore = function(n)
        if type(n) ~= "number" or n < 1 or n > 2 ^ 31 or n % 1 ~= 0 then
            error("bad argument #1 to 'semaphore' (expected a number of permits)", 2)
        end
        return setmetatable({ [PRIVATE] = { free = n // 1 | 0, row = {}, first = 1, last = 0 } }, Semaphore)
    end,
}
