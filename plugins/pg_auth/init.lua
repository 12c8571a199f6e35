-- SPDX-License-Identifier: BSD-2-Clause
--
-- pg_auth -- let in who is in a PostgreSQL database.
--
-- Queries of the operator's find the user's row and rules; what is put into them goes as
-- parameters, so no name can become SQL.  They are made once a login, whose outcome is remembered for a while
-- (sol.authenticator).

local sol = require "sol"

local M = { defaults = {
    pg = {}, query = "SELECT password_hash, is_superuser FROM mqtt_user WHERE username = ${username} LIMIT 1",
    acl_query = "",
    cache_ttl = 60, deny_ttl = 5, cache_size = 10000, failures = 5, pause = 10, on_failure = "deny",
} }

local NAMES = { "clientid", "username", "peerhost", "listener" }
local TRUE = { [true] = true, [1] = true, t = true, ["true"] = true, ["1"] = true }

--- The query with $1, $2 ... in it, and a function that gives their values for a login.
local function read_query(text)
    local names = {}
    local sql = sol.template(text, NAMES)(function(name)
        names[#names + 1] = name
        return "$" .. #names
    end)
    return sql, function(login)
        local values = {}
        for i, name in ipairs(names) do values[i] = login[name] or sol.json.null end
        return table.unpack(values)
    end
end

function M.setup(options)
    local sql, values = read_query(options.query)
    local acl_sql, acl_values = read_query(options.acl_query)
    local where = { timeout = 3, pool_size = 8, backlog = 1000 }
    for name, value in pairs(options.pg) do where[name] = value end
    local db = sol.pg.pool(where)

    local function ask(login)
        if not login.username then return "ignore" end
        local rows, err = db:execute(sql, values(login))
        if not rows then return nil, err end
        local attributes = rows[1]
        if not attributes then return false end
        local hash, is_superuser = attributes.password_hash, attributes.is_superuser
        attributes.password_hash, attributes.is_superuser = nil, nil
        local acl
        if acl_sql ~= "" then acl, err = db:execute(acl_sql, acl_values(login)) end
        if err then return nil, err end
        acl = acl and table.move(acl, 1, #acl, 1, {}) -- the rows alone
        return { password_hash = hash or "", superuser = TRUE[is_superuser] or false, attributes = attributes,
            acl = acl }
    end

    sol.on("authenticate", sol.authenticator({
        name = "pg_auth", cache_ttl = options.cache_ttl, deny_ttl = options.deny_ttl,
        cache_size = options.cache_size, failures = options.failures, pause = options.pause,
        on_failure = options.on_failure,
    }, ask), { name = "pg_auth" })
end

return M
