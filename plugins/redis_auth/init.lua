-- SPDX-License-Identifier: BSD-2-Clause
--
-- redis_auth -- let in who is in a Redis database.
--
-- A user is a hash with the field password_hash; the layout is EMQX's.  One round trip a
-- login, whose outcome is remembered for a while (sol.authenticator).

local sol = require "sol"

local M = { defaults = {
    redis = { host = "127.0.0.1" }, key = "mqtt_user:${username}",
    cache_ttl = 60, deny_ttl = 5, cache_size = 10000, failures = 5, pause = 10, on_failure = "deny",
} }

local NAMES = { "clientid", "username", "peerhost", "listener" }
local TRUE = { ["1"] = true, ["true"] = true }

--- A hash of Redis as a table by field: RESP2 gives a list of fields and values in turn.
local function by_field(reply)
    if reply[1] == nil then return reply end
    local fields = {}
    for i = 1, #reply, 2 do fields[reply[i]] = reply[i + 1] end
    return fields
end

function M.setup(options)
    local key = sol.template(options.key, NAMES)
    local where = { timeout = 3, pool_size = 16, backlog = 1000 }
    for name, value in pairs(options.redis) do where[name] = value end
    local db = sol.redis.pool(where)

    local function ask(login)
        if not login.username then return "ignore" end
        local reply, err = db:hgetall(key(login))
        if type(reply) ~= "table" then return nil, err or "not a hash" end
        local attributes = by_field(reply)
        local hash, is_superuser = attributes.password_hash, attributes.is_superuser
        attributes.password_hash, attributes.is_superuser, attributes.salt = nil, nil, nil
        if not hash then return false end
        return { password_hash = hash, superuser = TRUE[is_superuser] or false, attributes = attributes }
    end

    sol.on("authenticate", sol.authenticator({
        name = "redis_auth", cache_ttl = options.cache_ttl, deny_ttl = options.deny_ttl,
        cache_size = options.cache_size, failures = options.failures, pause = options.pause,
        on_failure = options.on_failure,
    }, ask), { name = "redis_auth" })
end

return M
