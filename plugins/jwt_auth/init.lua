-- SPDX-License-Identifier: BSD-2-Clause
--
-- jwt_auth -- let in who brings a JSON Web Token that is in order.
--
-- The algorithms are the operator's choice, never the token's.  What the token claims can
-- become attributes and rights; when its time is over its connection ends.

local key_source = require "keys"
local sol = require "sol"

local M = { defaults = {
    key = "", key_file = "", jwks_file = "", jwks_url = "", refresh = 300, timeout = 3, ca = "", verify = true,
    algorithms = {}, issuer = {}, audience = {}, leeway = 0, require = { "exp" }, claims = {},
    from = "password", optional = false, username = "", attributes = {}, disconnect = true,
    failures = 5, pause = 10, on_failure = "deny",
} }

local NAMES = { "clientid", "username", "peerhost", "listener" }

--- The options of sol.jwt.verify but for the keys.
local function expectations(options)
    local expected = { algorithms = options.algorithms, leeway = options.leeway, require = options.require }
    for _, name in ipairs { "issuer", "audience" } do
        local value = options[name]
        if type(value) ~= "table" or next(value) then expected[name] = value end
    end
    return expected
end

--- A claim as an attribute: lists and objects as JSON.
local function plain(value)
    if value == sol.json.null then return nil end
    return type(value) == "table" and sol.json.encode(value) or value
end

function M.setup(options)
    if options.from ~= "password" and options.from ~= "username" then
        error('from: expected "password" or "username"', 0)
    end
    local expected, wanted = expectations(options), {}
    for name, text in pairs(options.claims) do wanted[name] = sol.template(text, NAMES) end

    local function verify(token, keys)
        local given = { key = keys.key, jwks = keys.jwks }
        for name, value in pairs(expected) do given[name] = value end
        return sol.jwt.verify(token, given)
    end
    local keys_for = key_source(options, function(keys) verify("", keys) end)

    --- The claims; or false and what is wrong with the token; or nil and an error.
    local function read(token, is_missing)
        local keys, failure = keys_for(is_missing)
        if not keys then return nil, failure end
        local claims, wrong = verify(token, keys)
        if claims then return claims end
        if not is_missing and keys.jwks and wrong:find "^no key for" then return read(token, true) end
        return false, wrong
    end

    local function ask(login)
        local token = login[options.from] or ""
        if options.optional and not token:find "^[%w_-]+%.[%w_-]+%.[%w_-]*$" then return "ignore" end
        local claims, wrong = read(token)
        for name, template in pairs(claims and wanted or {}) do
            local value = template(login)
            if tostring(claims[name]) ~= value then claims, wrong = false, name .. " is another's" break end
        end
        if not claims then
            if claims == false then sol.log.info("client %s: %s", login.clientid, wrong) end
            return claims, wrong
        end
        local attributes = {}
        for attribute, claim in pairs(options.attributes) do attributes[attribute] = plain(claims[claim]) end
        return {
            attributes = attributes, username = claims[options.username], superuser = claims.is_superuser,
            expires = options.disconnect and claims.exp and claims.exp + options.leeway or nil,
        }
    end

    sol.on("authenticate", sol.authenticator({
        name = "jwt_auth", cache_ttl = 0, failures = options.failures, pause = options.pause,
        on_failure = options.on_failure,
    }, ask), { timeout = 2 * options.timeout + 1, name = "jwt_auth" })
end

return M
