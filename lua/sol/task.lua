-- SPDX-License-Identifier: BSD-2-Clause
--
-- task.lua -- sol.spawn: a function that runs beside its caller, and can be waited for.

local sol, native = ...

local error, ipairs, pack, setmetatable, tostring, unpack =
    error, ipairs, table.pack, setmetatable, tostring, table.unpack
local check_function, check_seconds, is_loading, waiter =
    native.check_function, native.check_seconds, native.is_loading, native.waiter
local spawn = sol.spawn -- C's, which gives nothing

local PRIVATE = {} -- key of what a task keeps: results, err, waiters, is_over

local Task = { __name = "sol.task", __metatable = false }
Task.__index = Task

--- Wait for the end: true and the results; or nil and an error, "timeout" among them.
---@param timeout number? seconds
function Task:join(timeout)
    timeout = check_seconds("join", 1, timeout)
    local state = self[PRIVATE]
    if not state.is_over then
        local w = waiter()
        state.waiters[#state.waiters + 1] = w
        if not w:wait(timeout) then return nil, "timeout" end
    end
    if state.err then return nil, state.err end
    return true, unpack(state.results, 1, state.results.n)
end

--- "running", "done" or "failed".
function Task:status()
    local state = self[PRIVATE]
    if not state.is_over then return "running" end
    return state.err and "failed" or "done"
end

--- Runs however the function ends: it returns, raises, is cut off.
local Ending = { __close = function(state, err)
    if not state.results then state.err = err ~= nil and tostring(err) or "cut off" end
    state.is_over = true
    for _, w in ipairs(state.waiters) do w:wake() end
    state.waiters = nil
end }

local function run(state, fn, ...)
    local _ <close> = setmetatable(state, Ending)
    state.results = pack(fn(...))
end

--- As sol.spawn, for callers that have checked.
function native.spawn(fn, ...)
    local task = setmetatable({ [PRIVATE] = { waiters = {} } }, Task)
    spawn(run, task[PRIVATE], fn, ...)
    return task
end

return {
    spawn = function(...)
        check_function("spawn", 1, (...))
        if is_loading() then error("sol.spawn cannot be used while the policy is loaded", 2) end
        return native.spawn(...)
    end,
}
