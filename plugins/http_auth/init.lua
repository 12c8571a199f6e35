-- SPDX-License-Identifier: BSD-2-Clause
--
-- http_auth -- let a web service say who comes in.
--
-- One request a login, remembered for a while (sol.authenticator).  What the service may
-- answer is a table below: the words of EMQX, mosquitto-go-auth and RabbitMQ are understood.
-- What is none of that is no answer, and never lets anybody in.

local sol = require "sol"

local M = { defaults = {
    url = "", method = "POST", body = {}, headers = {}, timeout = 3, ca = "", verify = true,
    cache_ttl = 60, deny_ttl = 5, cache_size = 10000, failures = 5, pause = 10, on_failure = "deny",
} }

local NAMES = { "clientid", "username", "password", "peerhost", "listener" }
local BODY = { clientid = "${clientid}", username = "${username}", password = "${password}", peerhost = "${peerhost}" }

--- What a word in an answer means.
local WORDS = { allow = true, ok = true, [""] = true, deny = false, ignore = "ignore" }

local function percent(text)
    return (text:gsub("[^%w._~-]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- What the service said, as sol.authenticator takes it; or nil and what is wrong with it.
local function answer_of(reply)
    local status, body = reply.status, reply.body
    if status == 204 then return true end
    if status >= 500 or status == 408 or status == 429 then return nil, "status " .. status end
    if status >= 400 then return false end
    if status ~= 200 then return nil, "status " .. status end

    local word = #body < 20 and body:lower():match "^%s*(%l*)%s*$"
    if WORDS[word] ~= nil then return WORDS[word] end
    local said = sol.json.decode(body)
    if type(said) ~= "table" then return nil, "neither JSON nor a word that is known" end
    local result = said.result
    if result == nil and type(said.ok) == "boolean" then result = said.ok and "allow" or "deny" end
    if result == "deny" or result == "ignore" then return WORDS[result] end
    if result ~= "allow" then return nil, "no result in the answer" end
    return {
        attributes = said.client_attrs, superuser = said.is_superuser, username = said.username,
        expires = said.expire_at, acl = said.acl,
    }
end

--- The parts of a request as templates; `url` and `headers` are texts, the body is JSON.
local function read_templates(options)
    local body, headers = {}, {}
    for name, text in pairs(next(options.body) and options.body or BODY) do
        body[name] = sol.template(text, NAMES)
    end
    for name, text in pairs(options.headers) do headers[name] = sol.template(text, NAMES) end
    return sol.template(options.url, NAMES), body, headers
end

local function fill(templates, login, escape)
    local filled = {}
    for name, template in pairs(templates) do filled[name] = template(login, escape) end
    return filled
end

function M.setup(options)
    if not options.url:find "^https?://" then error("url: expected http:// or https://", 0) end
    if options.method ~= "POST" and options.method ~= "GET" then error('method: expected "POST" or "GET"', 0) end
    local url, body, headers = read_templates(options)

    local function ask(login)
        local request = {
            url = url(login, percent), method = options.method, headers = fill(headers, login, percent),
            timeout = options.timeout, max_body = 65536, verify = options.verify,
            ca = options.ca ~= "" and options.ca or nil,
        }
        if options.method == "POST" then
            local text = sol.json.encode(fill(body, login))
            if not text then return false end -- a password that JSON cannot say is nobody's
            request.body, request.headers["Content-Type"] = text, "application/json"
        end
        local reply, err = sol.http.request(request)
        if not reply then return nil, err end
        return answer_of(reply)
    end

    sol.on("authenticate", sol.authenticator({
        name = "http_auth", cache_ttl = options.cache_ttl, deny_ttl = options.deny_ttl,
        cache_size = options.cache_size, failures = options.failures, pause = options.pause,
        on_failure = options.on_failure,
    }, ask), { timeout = options.timeout + 1, name = "http_auth" })
end

return M
