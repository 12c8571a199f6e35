-- SPDX-License-Identifier: BSD-2-Clause
--
-- breaker.lua -- sol.breaker: leaves somebody alone who has failed too often.
--
-- Closed, it calls; after so many failures in a row it is open and calls nobody for a while;
-- then one call is let through, whose outcome closes it or opens it again.

local sol, native = ...

local setmetatable, tostring = setmetatable, tostring
local now = sol.now
local check_function, make_options = native.check_function, native.options

local PRIVATE = {} -- key of what a breaker keeps

local OPTIONS = {
    failures = { "integer", 1, 1 << 30, default = 5 },
    pause = { "number", 0.001, 86400, default = 10 },
}

local Breaker = { __name = "sol.breaker", __metatable = false }
Breaker.__index = Breaker

local function succeeded(state)
    state.failures, state.is_trying = 0, false
end

local function failed(state, err)
    state.failures, state.is_trying = state.failures + 1, false
    state.err, state.closes_at = err, now() + state.options.pause
end

--- What fn(...) gave; counts a nil with an error as a failure.
local function settle(state, mark, value, err, ...)
    mark.is_settled = true
    if value == nil and err ~= nil then failed(state, err) else succeeded(state) end
    return value, err, ...
end

-- A call that was cut short tells nothing, one that raised has failed.
local Mark = { __close = function(mark, err)
    if mark.is_settled then return end
    if err ~= nil then failed(mark.state, tostring(err)) else mark.state.is_trying = false end
end }

--- What fn(...) gives; or nil and why it is not called.
function Breaker:call(fn, ...)
    check_function("call", 1, fn)
    local state = self[PRIVATE]
    if state.failures >= state.options.failures then
        if state.is_trying or now() < state.closes_at then return nil, "not asked: " .. tostring(state.err) end
        state.is_trying = true
    end
    local mark <close> = setmetatable({ state = state }, Mark)
    return settle(state, mark, fn(...))
end

--- Does it call nobody just now?
function Breaker:is_open()
    local state = self[PRIVATE]
    return state.failures >= state.options.failures and (state.is_trying or now() < state.closes_at)
end

return {
    breaker = function(given)
        local options = make_options("sol.breaker", given, OPTIONS)
        return setmetatable({ [PRIVATE] = { options = options, failures = 0, is_trying = false } }, Breaker)
    end,
}
