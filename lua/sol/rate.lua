-- SPDX-License-Identifier: BSD-2-Clause
--
-- rate.lua -- sol.rate: token buckets, one a key.
--
-- A bucket holds at most `burst` tokens and gains `rate` a second.  A key that is not there
-- has a full one; when there are too many keys, the one not used for longest is forgotten.

local sol, native = ...

local error, min, setmetatable, type = error, math.min, setmetatable, type
local now = sol.now
local lru, make_options = native.lru, native.options

local PRIVATE = {} -- key of what a rate keeps

local OPTIONS = {
    rate = { "number", 1e-6, 1e9, required = true },
    burst = { "number", 1, 1e12 },
    keys = { "integer", 1, 1 << 30, default = 10000 },
}

local Rate = { __name = "sol.rate", __metatable = false }
Rate.__index = Rate

--- Take n tokens: true; or false and the seconds until there will be as many.
---@param n number? 1
function Rate:take(key, n)
    local state = self[PRIVATE]
    n = n or 1
    if key == nil or key ~= key then error("bad argument #1 to 'take' (a key expected)", 2) end
    if type(n) ~= "number" or not (n >= 0 and n <= state.burst) then
        error(("bad argument #2 to 'take' (expected 0 to %s tokens, the burst)"):format(state.burst), 2)
    end
    local time = now()
    local bucket = state.lru:use(key)
    if bucket then
        bucket.tokens = min(state.burst, bucket.tokens + (time - bucket.at) * state.rate)
        bucket.at = time
    else
        bucket = state.lru:add(key, { tokens = state.burst, at = time })
    end
    if bucket.tokens >= n then
        bucket.tokens = bucket.tokens - n
        return true
    end
    return false, (n - bucket.tokens) / state.rate
end

--- Forget a key: its bucket is full again.
function Rate:reset(key) return self[PRIVATE].lru:remove(key) end

return {
    rate = function(given)
        local options = make_options("sol.rate", given, OPTIONS)
        local burst = options.burst or options.rate < 1 and 1 or options.rate
        return setmetatable({ [PRIVATE] = { rate = options.rate, burst = burst, lru = lru(options.keys) } }, Rate)
    end,
}
