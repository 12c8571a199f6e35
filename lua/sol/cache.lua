-- SPDX-License-Identifier: BSD-2-Clause
--
-- cache.lua -- sol.cache: values of this policy's own, for a while.
--
-- Bounded by the number of entries; the one not used for longest goes first.  What is not
-- there can be fetched by a function, once however many ask for it at a time; that there is
-- nothing to be fetched can be remembered too.

local sol, native = ...

local error, pairs, random, setmetatable = error, pairs, math.random, setmetatable
local now, huge = sol.now, math.huge
local check_function, fly, is_loading, lru, make_options =
    native.check_function, native.fly, native.is_loading, native.lru, native.options
local trace = native.trace

local PRIVATE = {} -- key of what a cache keeps
local NOTHING = {} -- the value of an entry that says there is none

local OPTIONS = {
    size = { "integer", 1, 1 << 30, default = 1000 },
    ttl = { "number", 0.001 },
    negative_ttl = { "number", 0, default = 0 },
    jitter = { "number", 0, 1, default = 0 },
    timeout = { "number", 0.001, default = 30 },
}

local Cache = { __name = "sol.cache", __metatable = false }
Cache.__index = Cache

local function check_key(key, name)
    if key == nil or key ~= key then error(("bad argument #1 to '%s' (a key expected)"):format(name), 3) end
end

--- The present value, NOTHING included; or nil.
local function find(state, key)
    local node = state.lru:use(key)
    if not node then return nil end
    if node.expires > now() then return node.value, node.err end
    state.lru:remove(key)
    return nil
end

local function store(state, key, value, err, ttl)
    if ttl < huge then ttl = ttl * (1 - state.jitter * random()) end -- not all at the same moment
    state.lru:add(key, { value = value, err = err, expires = now() + ttl })
end

local function fetch(state, key, fn)
    return fly(state.flights, key, function(_, is_current)
        local value, err, ttl = fn(key)
        if not is_current() then return value, err end -- set or deleted meanwhile
        ttl = ttl or value == nil and state.negative_ttl or state.ttl
        if ttl > 0 then store(state, key, value == nil and NOTHING or value, err, ttl) end
        return value, err
    end, state.timeout)
end

--- The value, or nil.  With `fn` what is not there is fetched: value or nil, err, and how long
--- that is good where it is not as long as usual (0: for those who ask now).
function Cache:get(key, fn)
    check_key(key, "get")
    if fn ~= nil then check_function("get", 2, fn) end
    local state = self[PRIVATE]
    local value, err = find(state, key)
    if trace.note then trace.note(key, value ~= nil) end
    if value == NOTHING then return nil, err end
    if value ~= nil or not fn then return value end
    if is_loading() then error("cache:get cannot fetch while the policy is loaded", 2) end
    return fetch(state, key, fn)
end

---@param ttl number? seconds; the cache's own otherwise
function Cache:set(key, value, ttl)
    check_key(key, "set")
    local state = self[PRIVATE]
    if value == nil then return self:delete(key) end
    ttl = native.check_seconds("set", 3, ttl, state.ttl)
    state.flights[key] = nil -- what is being fetched is old
    store(state, key, value, nil, ttl)
end

--- True when there was something to delete.
function Cache:delete(key)
    check_key(key, "delete")
    local state = self[PRIVATE]
    state.flights[key] = nil -- what is being fetched is old
    return state.lru:remove(key)
end

function Cache:clear()
    local state = self[PRIVATE]
    state.lru = lru(state.lru.size)
    for key in pairs(state.flights) do state.flights[key] = nil end
end

--- How many entries there are, those included that have outlived their time.
function Cache:count() return self[PRIVATE].lru.count end

return {
    cache = function(given)
        local options = make_options("sol.cache", given, OPTIONS)
        return setmetatable({ [PRIVATE] = {
            lru = lru(options.size), flights = {}, ttl = options.ttl or huge,
            negative_ttl = options.negative_ttl, jitter = options.jitter, timeout = options.timeout,
        } }, Cache)
    end,
}
