-- SPDX-License-Identifier: BSD-2-Clause
--
-- redis_auth -- let in who is in a Redis database.
--
-- A user is a hash with the field password_hash, his rights another one; the layout is EMQX's.
-- One round trip a login, whose outcome is remembered for a while (sol.authenticator).

local sol = require "sol"

local M = { defaults = {
    redis = { host = "127.0.0.1" }, key = "mqtt_user:${username}", acl_key = "",
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

local ACTIONS = { ["1"] = "subscribe", ["2"] = "publish", ["3"] = "all" } -- as EMQX 4 had them

--- A hash of topic filters and what is allowed there as rules.
local function rules_of(reply)
    local rules = {}
    for topic, text in pairs(by_field(reply)) do
        local rule = text:find "^{" and sol.json.decode(text) or { action = ACTIONS[text] or text }
        rule.topic, rule.permission = topic, "allow" -- a hash has no order
        rules[#rules + 1] = rule
    end
    return rules
end

function M.setup(options)
    local key, acl_key = sol.template(options.key, NAMES), sol.template(options.acl_key, NAMES)
    local where = { timeout = 3, pool_size = 16, backlog = 1000 }
    for name, value in pairs(options.redis) do where[name] = value end
    local db = sol.redis.pool(where)

    local function ask(login)
        if not login.username then return "ignore" end
        local commands = { { "HGETALL", key(login) } }
        if options.acl_key ~= "" then commands[2] = { "HGETALL", acl_key(login) } end
        local replies, err = db:pipeline(commands)
        for _, reply in ipairs(replies or {}) do
            if type(reply) ~= "table" or reply.err then err = type(reply) == "table" and reply.err or "not a hash" end
        end
        if err then return nil, err end
        local attributes = by_field(replies[1])
        local hash, is_superuser = attributes.password_hash, attributes.is_superuser
        attributes.password_hash, attributes.is_superuser, attributes.salt = nil, nil, nil
        if not hash then return false end
        return { password_hash = hash, superuser = TRUE[is_superuser] or false, attributes = attributes,
            acl = replies[2] and rules_of(replies[2]) }
    end

    sol.on("authenticate", sol.authenticator({
        name = "redis_auth", cache_ttl = options.cache_ttl, deny_ttl = options.deny_ttl,
        cache_size = options.cache_size, failures = options.failures, pause = options.pause,
        on_failure = options.on_failure,
    }, ask), { name = "redis_auth" })
end

return M
