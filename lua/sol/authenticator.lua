-- SPDX-License-Identifier: BSD-2-Clause
--
-- authenticator.lua -- sol.authenticator: lets somebody else decide who comes in.
--
-- The policy brings a function that asks (a web service, a database); here is what all such
-- functions need: answers remembered for a while, a breaker for a backend that is down, a
-- stated policy for that case, and what an answer brings along put into force.  Passwords are
-- kept nowhere: answers are found by a keyed digest of the login.

local sol, native = ...

local error, huge, ipairs, max, min, pairs, tostring, type =
    error, math.huge, ipairs, math.max, math.min, pairs, tostring, type
local concat, null, pack, time = table.concat, sol.json.null, string.pack, sol.time
local make_options, rules = native.options, native.rules

local OPTIONS = {
    name = { "string", default = "authenticator" },
    cache_ttl = { "number", 0, 86400, default = 60 },
    deny_ttl = { "number", 0, 86400, default = 5 },
    cache_size = { "integer", 1, 1 << 24, default = 10000 },
    failures = { "integer", 0, 1 << 30, default = 5 },
    pause = { "number", 0.001, 86400, default = 10 },
    on_failure = { "string", default = "deny" },
}

local GRANT = "authenticator" -- its name
local SERVER_UNAVAILABLE, TIME_IS_UP = 0x88, 0xA0

local ON_FAILURE = {
    deny = sol.deny(SERVER_UNAVAILABLE),
    allow = sol.allow(),
    ignore = false, -- no verdict
}

-- ---- the question ------------------------------------------------------------------

local FIELDS = { "clientid", "username", "password", "peerhost", "listener" }

local function login_of(client, credentials)
    local address = client.address
    return {
        clientid = credentials.client_id, username = credentials.username, password = credentials.password,
        peerhost = address:match "^%[?(.-)%]?:%d+$" or address, listener = client.listener,
    }
end

--- What stands for a login in the cache: nobody finds a password in it, with the memory of
--- the process or without.
local function digest(secret, login)
    local parts = {}
    for i, name in ipairs(FIELDS) do
        parts[i] = login[name] and "+" .. pack("s4", login[name]) or "-"
    end
    return sol.hmac("sha256", secret, concat(parts))
end

-- ---- the answer --------------------------------------------------------------------

local SHAPE = {
    attributes = "table", superuser = "boolean", username = "string", expires = "number", password_hash = "string",
    acl = "table",
}

local PLAIN = { string = true, number = true, boolean = true }

--- The rules of an answer as a grant; or nil and what is wrong with them.
local function check_acl(answer)
    local grant, err
    if answer.superuser then
        grant = { name = GRANT, { "all", "#" }, { "all", "$SYS/#" } }
    elseif answer.acl then
        grant, err = rules.grant(answer.acl)
        if not grant then return nil, err end
        grant.name = GRANT
    end
    answer.grant, answer.acl = grant, nil
    return answer
end

--- The answer as a table with a verdict; or nil and what is wrong with it.
local function check(answer)
    if type(answer) == "boolean" then return { verdict = answer and "allow" or "deny" } end
    if answer == "ignore" then return { verdict = "ignore" } end
    if type(answer) ~= "table" then return nil, "the answer is a " .. type(answer) end
    local checked = { verdict = "allow" }
    for name, kind in pairs(SHAPE) do
        local value = answer[name]
        if value == null then value = nil end
        if value ~= nil and type(value) ~= kind then
            return nil, ("%s is no %s in the answer"):format(name, kind)
        end
        checked[name] = value
    end
    for name, value in pairs(checked.attributes or {}) do
        if type(name) ~= "string" or not PLAIN[type(value)] then
            return nil, ("attribute %s is neither text, number nor boolean in the answer"):format(tostring(name))
        end
    end
    if (checked.expires or huge) <= time() then checked.verdict = "deny" end
    return check_acl(checked)
end

--- A function that holds the password of a login against the answer's hash, if it has one:
--- the answer, perhaps another; or nil and an error.  A user whom the backend does not know is
--- held against the hash of the last one it knew, so that both take as long to refuse.
local function password_checker()
    local decoy
    return function(login, answer)
        local hash, password = answer.password_hash, login.password or ""
        answer.password_hash = nil
        if hash then
            local fits, err = sol.password.verify(password, hash)
            if err then return nil, ("password of user %s: %s"):format(login.username, err) end
            decoy = hash
            if not (fits and login.password) then return { verdict = "deny" } end
        elseif decoy and answer.verdict == "deny" then
            sol.password.verify(password, decoy)
        end
        return answer
    end
end

--- How long this answer is good: seconds.
local function lifetime(options, answer)
    if answer.verdict == "deny" then return min(options.deny_ttl, options.cache_ttl) end
    return max(0, min(options.cache_ttl, (answer.expires or huge) - time()))
end

-- ---- clients whose time is limited ----------------------------------------------------

local EXPIRES = "expires_at" -- the attribute
local ending = {} -- client id -> { timer =, connected_at = }

local function end_when_over(id, expires_at, connected_at)
    local old = ending[id]
    if old then old.timer:cancel() end
    local timer = sol.after(max(0, expires_at - time()), function()
        ending[id] = nil
        local client = sol.client(id)
        if not client or client.connected_at ~= connected_at then return end
        client:disconnect(TIME_IS_UP, "the time of this login is over")
    end)
    ending[id] = { timer = timer, connected_at = connected_at }
end

local is_watching = false

local function watch_expiry()
    if is_watching then return end
    is_watching = true
    local function begin(client)
        local expires_at = client.attributes[EXPIRES]
        if type(expires_at) == "number" then end_when_over(client.id, expires_at, client.connected_at) end
    end
    sol.on("connected", begin, { name = "expiry" })
    sol.on("disconnected", function(client)
        local entry = ending[client.id]
        if not entry or entry.connected_at ~= client.connected_at then return end -- of one that came after
        entry.timer:cancel()
        ending[client.id] = nil
    end, { name = "expiry" })
    sol.on("reload", function()
        for _, client in ipairs(sol.clients { connected = true }) do begin(client) end
    end, { name = "expiry" })
end

-- ---- the verdict ---------------------------------------------------------------------

local function apply(answer, client, credentials)
    if answer.username then credentials.username = answer.username end
    for name, value in pairs(answer.attributes or {}) do client.attributes[name] = value end
    if answer.superuser then client.attributes.superuser = true end
    if answer.expires then client.attributes[EXPIRES] = answer.expires end
    if answer.grant then client:grant(answer.grant) end
    return sol.allow()
end

--- A handler for "authenticate" that does as `ask` says.
---@param given table?
---@param ask fun(login: table): any, string?
local function authenticator(given, ask)
    local options = make_options("sol.authenticator", given, OPTIONS)
    native.check_function("authenticator", 2, ask)
    local verdict = ON_FAILURE[options.on_failure]
    if verdict == nil then error('sol.authenticator: on_failure must be "deny", "allow" or "ignore"', 2) end

    local secret, check_password = sol.random(32), password_checker()
    local breaker = options.failures > 0 and sol.breaker { failures = options.failures, pause = options.pause }
    local answers = options.cache_ttl > 0 and sol.cache { size = options.cache_size }
    local logins = sol.metrics.counter("sol_logins_total", { labels = { "by", "result" },
        help = "Logins decided by an authenticator, by its result." })

    -- Only what fails as a whole counts against the backend, not what it says of one user.
    local function question(login)
        local answer, err = ask(login)
        if answer == nil then return nil, err or "no answer" end
        return answer
    end

    local function fetch(login)
        local answer, err
        if breaker then answer, err = breaker:call(question, login) else answer, err = question(login) end
        if answer ~= nil then answer, err = check(answer) end
        if answer then answer, err = check_password(login, answer) end
        return answer, err, answer and lifetime(options, answer)
    end

    local function failed(err)
        sol.log.warn("%s: %s", options.name, err)
        logins:add(1, { by = options.name, result = "failure" })
        return verdict or nil
    end

    watch_expiry()
    return function(client, credentials)
        local login = login_of(client, credentials)
        if not login.username and not login.password then return end -- allow_anonymous decides
        local answer, err
        if answers then
            answer, err = answers:get(digest(secret, login), function() return fetch(login) end)
        else
            answer, err = fetch(login)
        end
        if not answer then return failed(err) end
        logins:add(1, { by = options.name, result = answer.verdict })
        if answer.verdict == "allow" then return apply(answer, client, credentials) end
        if answer.verdict == "deny" then return sol.deny() end
    end
end

return { authenticator = authenticator }
