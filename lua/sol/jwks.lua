-- SPDX-License-Identifier: BSD-2-Clause
--
-- jwks.lua -- native.jwks: key sets from a web server, remembered.
--
-- A set is fetched once for all who want it at a time, again when it is old or lacks a key
-- somebody names, and never twice in a row: who makes tokens up cannot make us ask for each.
-- While the server is away the keys it gave last go on counting, for a day.

local sol, native = ...

local min, pairs = math.min, pairs
local fly, keys, log, lru, now = native.fly, native.keys, sol.log, native.lru, sol.now

local REMEMBERED = 16 -- sets
local PAUSE = 10      -- seconds between two attempts, or less where a set is old sooner
local STALE = 86400   -- seconds that keys count without their server
local TIMEOUT = 5     -- seconds of a request, unless its options say

local sets = lru(REMEMBERED) -- by URL: { keys, fetched, tried, err }
local flights = {}           -- by URL

local function fetch(url, http)
    local options = { timeout = TIMEOUT, max_body = 1 << 20, follow = 3 }
    for name, value in pairs(http or {}) do options[name] = value end
    local reply, err = sol.http.get(url, options)
    if not reply then return nil, err end
    if reply.status ~= 200 then return nil, ("status %d"):format(reply.status) end
    local set
    set, err = keys.set(reply.body)
    return set, err
end

local function refresh(url, http, set)
    set.tried = now()
    local fetched, err = fly(flights, url, function() return fetch(url, http) end)
    if fetched then
        set.keys, set.fetched, set.err = fetched, now(), nil
    else
        set.err = ("%s: %s"):format(url, err)
        log.warn("sol.jwt: %s", set.err)
    end
end

--- The keys at options.jwks_url, as native.keys.set gives them; or nil and why.  `lacks`: those
--- there were are not enough.  Waits.
---@param options {jwks_url: string, jwks_ttl: number, http: table?}
function native.jwks(options, lacks)
    local url, ttl = options.jwks_url, options.jwks_ttl
    local pause = min(PAUSE, ttl)
    local node = sets:use(url) or sets:add(url, { value = {} })
    local set = node.value
    local is_fresh = set.keys and now() < set.fetched + ttl
    if is_fresh and not lacks then return set.keys end
    if flights[url] or now() >= (set.tried or -pause) + pause then refresh(url, options.http, set) end
    if set.keys and now() < set.fetched + STALE then return set.keys end
    return nil, set.err
end

return {}
