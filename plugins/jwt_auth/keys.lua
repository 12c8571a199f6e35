-- SPDX-License-Identifier: BSD-2-Clause
--
-- keys.lua -- where jwt_auth has its keys from.
--
-- One key or a JWK Set, from the options, a file or a URL.  A set from a URL is fetched by the
-- clock, and out of turn when a token names a key that is not in it; one that cannot be
-- fetched, or is none, leaves the old one in place.

local sol = require "sol"

local RETRY = 10 -- seconds between two looks for a key that is not in the set
local FROM = { "key", "key_file", "jwks_file", "jwks_url" }

--- Which of the options it is.
local function kind_of(options)
    local found
    for _, name in ipairs(FROM) do
        if options[name] ~= "" then
            if found then error(("give either %s or %s"):format(found, name), 0) end
            found = name
        end
    end
    return found or error("give one of " .. table.concat(FROM, ", "), 0)
end

--- As below, for a set that is fetched.
local function fetched(options, check)
    local url, current = options.jwks_url, nil
    local hurry = sol.rate { rate = 1 / RETRY }

    local function get()
        local reply, err = sol.http.get(url, { timeout = options.timeout, follow = 3, verify = options.verify,
            ca = options.ca ~= "" and options.ca or nil })
        if not reply then return nil, err end
        if reply.status ~= 200 then return nil, "status " .. reply.status end
        local is_good, wrong = pcall(check, { jwks = reply.body })
        if not is_good then return nil, wrong end
        return { jwks = reply.body }
    end

    local function fetch()
        local keys, err = get()
        if not keys then
            sol.log.warn("%s: %s; %s", url, err, current and "the old keys stay" or "there are no keys")
        end
        current = keys or current
        return current, err
    end

    sol.after(0, fetch, { each_worker = true })
    sol.every(options.refresh, fetch, { each_worker = true })
    return function(is_missing)
        if current and not (is_missing and hurry:take "a look") then return current end
        return sol.once("jwt_auth " .. url, fetch)
    end
end

--- A function that gives { key = } or { jwks = }, or nil and an error; it may wait.  Its
--- argument says that a token's key was not in what it gave before.
---@param check fun(keys: table) raises what is wrong with them
return function(options, check)
    local kind = kind_of(options)
    if kind == "jwks_url" then
        if not options.jwks_url:find "^https?://" then error("jwks_url: expected http:// or https://", 0) end
        check { key = "any" } -- the other options at least
        return fetched(options, check)
    end
    local text, err = options[kind], nil
    if kind ~= "key" then text, err = sol.read_file(text) end
    if not text then error(err, 0) end
    if kind == "key_file" then text = text:match "^(.-)%s*$" end -- a secret's last line end
    local keys = kind == "jwks_file" and { jwks = text } or { key = text }
    check(keys)
    return function() return keys end
end
