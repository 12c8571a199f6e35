-- SPDX-License-Identifier: BSD-2-Clause
--
-- jwt_auth -- let in who brings a JSON Web Token that is in order.
--
-- The algorithms are the operator's choice, never the token's.  What the token claims can
-- become attributes and rights; when its time is over its connection ends.

local sol = require "sol"

local M = { defaults = {
    key = "", key_file = "", jwks_file = "", jwks_url = "", refresh = 300, timeout = 3, ca = "", verify = true,
    algorithms = {}, issuer = {}, audience = {}, leeway = 0, require = { "exp" }, claims = {},
    from = "password", optional = false, username = "", attributes = {}, acl = "acl", disconnect = true,
    failures = 5, pause = 10, on_failure = "deny",
} }

local NAMES = { "clientid", "username", "peerhost", "listener" }

--- The one option that says where the keys are, as sol.jwt.verify takes it.
local function keys_of(options)
    local found
    for _, name in ipairs { "key", "key_file", "jwks_file", "jwks_url" } do
        if options[name] ~= "" then
            if found then error(("give either %s or %s"):format(found, name), 0) end
            found = name
        end
    end
    if not found then error("give one of key, key_file, jwks_file, jwks_url", 0) end
    if found == "jwks_url" and not options.jwks_url:find "^https?://" then
        error("jwks_url: expected http:// or https://", 0)
    end
    if not found:find "_file$" then return found, options[found] end
    local text, err = sol.read_file(options[found])
    if not text then error(err, 0) end
    if found == "key_file" then return "key", text:match "^(.-)%s*$" end -- without a secret's line end
    return "jwks", text
end

--- The options of sol.jwt.verify.
local function expectations(options)
    local expected = { algorithms = options.algorithms, leeway = options.leeway, require = options.require }
    for _, name in ipairs { "issuer", "audience" } do
        local value = options[name]
        if type(value) ~= "table" or next(value) then expected[name] = value end
    end
    local name, keys = keys_of(options)
    expected[name] = keys
    if name == "jwks_url" then
        expected.jwks_ttl = options.refresh
        expected.http = { timeout = options.timeout, verify = options.verify,
            ca = options.ca ~= "" and options.ca or nil }
    end
    sol.jwt.verify("", expected) -- raises what is wrong with them
    return expected
end

local function is_token(text) return text:find "^[%w_-]+%.[%w_-]+%.[%w_-]*$" ~= nil end

--- A claim as an attribute: lists and objects as JSON.
local function plain(value)
    if value == sol.json.null then return nil end
    return type(value) == "table" and sol.json.encode(value) or value
end

--- EMQX's { pub = {filter...}, sub = {...}, all = {...} } as a list of rules; a list as it is.
local function rules_of(acl)
    if type(acl) ~= "table" or not (acl.pub or acl.sub or acl.all) then return acl end
    local rules = {}
    for word, action in pairs { pub = "publish", sub = "subscribe", all = "all" } do
        for _, topic in ipairs(acl[word] or {}) do rules[#rules + 1] = { action = action, topic = topic } end
    end
    return rules
end

function M.setup(options)
    if options.from ~= "password" and options.from ~= "username" then
        error('from: expected "password" or "username"', 0)
    end
    local expected, wanted = expectations(options), {}
    for name, text in pairs(options.claims) do wanted[name] = sol.template(text, NAMES) end

    local function ask(login)
        local token = login[options.from] or ""
        if options.optional and not is_token(token) then return "ignore" end
        local claims, wrong, has_no_keys = sol.jwt.verify(token, expected)
        if has_no_keys then return nil, wrong end
        for name, template in pairs(claims and wanted or {}) do
            if tostring(claims[name]) ~= template(login) then claims, wrong = nil, name .. " is another's" break end
        end
        if not claims then
            sol.log.info("client %s: %s", login.clientid, wrong)
            return false
        end
        local attributes = {}
        for attribute, claim in pairs(options.attributes) do attributes[attribute] = plain(claims[claim]) end
        return {
            attributes = attributes, superuser = claims.is_superuser, acl = rules_of(claims[options.acl]),
            username = claims[options.username] or options.from == "username" and (claims.sub or "") or nil,
            expires = options.disconnect and claims.exp and claims.exp + options.leeway or nil,
        }
    end

    local decide = sol.authenticator({ name = "jwt_auth", cache_ttl = 0, failures = options.failures,
        pause = options.pause, on_failure = options.on_failure }, ask)
    sol.on("authenticate", function(client, credentials)
        local name = credentials.username
        if options.from ~= "username" or not name or not is_token(name) then return decide(client, credentials) end
        -- A token is a secret and must not go about as a name, in logs least of all.
        local login = { client_id = credentials.client_id, username = name, password = credentials.password }
        credentials.username = ""
        local verdict = decide(client, login)
        if login.username ~= name then credentials.username = login.username end
        return verdict
    end, { timeout = 2 * options.timeout + 1, name = "jwt_auth" })
end

return M
